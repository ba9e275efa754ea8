"""What is explained: a class of the image, an object, or the place of a class; each a score of raw answers."""

__all__ = ["BoxTarget", "ClassTarget", "MaskTarget", "Target"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Raw = Mapping[str, NDArray[np.float32]]


class Target(Protocol):
    """A question to a model's raw answers: how much is there of it in each of N images?"""

    @property
    def label(self) -> int: ...

    def __call__(self, raw: Raw) -> NDArray[np.float64]:
        """Give a score in [0, 1] for each image, (N,)."""
        ...


@dataclass(frozen=True)
class ClassTarget:
    """The probability of a class."""

    label: int

    def __call__(self, raw: Raw) -> NDArray[np.float64]:
        return raw["probabilities"][:, self.label].astype(np.float64)


@dataclass(frozen=True, eq=False)
class BoxTarget:
    """How well the best answer agrees with one object in place and class (Petsiuk et al. 2021, "D-RISE").

    `box` is x0, y0, x1, y1 in prepared pixels; the score is the largest overlap times class score of all answers.
    """

    label: int
    box: NDArray[np.float64]

    def __call__(self, raw: Raw) -> NDArray[np.float64]:
        boxes, scores = raw["boxes"].astype(np.float64), raw["scores"][..., self.label].astype(np.float64)
        wide = np.minimum(boxes[..., 2], self.box[2]) - np.maximum(boxes[..., 0], self.box[0])
        high = np.minimum(boxes[..., 3], self.box[3]) - np.maximum(boxes[..., 1], self.box[1])
        both = wide.clip(0) * high.clip(0)
        area = (boxes[..., 2] - boxes[..., 0]).clip(0) * (boxes[..., 3] - boxes[..., 1]).clip(0)
        own = float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))
        best: NDArray[np.float64] = (both / np.maximum(area + own - both, 1e-9) * scores).max(1)
        return best


@dataclass(frozen=True, eq=False)
class MaskTarget:
    """The mean probability of a class over the pixels, bool (H, W), that the model gave to it."""

    label: int
    inside: NDArray[np.bool_]

    def __call__(self, raw: Raw) -> NDArray[np.float64]:
        planes = raw["probabilities"][:, self.label].reshape(len(raw["probabilities"]), -1)
        mean: NDArray[np.float64] = planes[:, self.inside.ravel()].mean(1, dtype=np.float64)
        return mean
