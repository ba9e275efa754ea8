"""What can be explained of a segmentation: the classes that were found, each by its probability where it lies."""

__all__ = ["MaskTarget", "explained"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.task import Explained, Raw


@dataclass(frozen=True, eq=False)
class MaskTarget:
    """The mean probability of a class over the pixels, bool (H, W), that the model gave to it."""

    label: int
    inside: NDArray[np.bool_]

    @property
    def box(self) -> None:
        return None

    shown = ""

    @property
    def cells(self) -> int:
        return 12

    def __call__(self, raw: Raw) -> NDArray[np.float64]:
        planes = raw["probabilities"][:, self.label].reshape(len(raw["probabilities"]), -1)
        mean: NDArray[np.float64] = planes[:, self.inside.ravel()].mean(1, dtype=np.float64)
        return mean


def explained(raw: Raw, prediction: Any, placement: Any, label: int | None) -> Sequence[Explained]:
    """Return the classes that were found, the largest first, without the background."""
    found = raw["probabilities"][0].argmax(0)
    ids = [int(k) for k in prediction.label_ids if label in (None, k)]
    fore = [k for k in ids if prediction.label_space.names[k].lower().strip("_") != "background"]
    return [MaskTarget(k, found == k) for k in fore if (found == k).any()]
