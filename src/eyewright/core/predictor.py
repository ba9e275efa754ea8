"""The seam between models and everything that uses them."""

__all__ = ["Predictor"]

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eyewright.core.labels import LabelSpace


class Predictor(Protocol):
    """A model that can be measured, explained and compared, whatever runs it.

    `raw` takes prepared pixels, uint8 (N, H, W, C), and gives the task's named arrays, first axis N. `predict` takes
    images, uint8 (H, W, 3) RGB of any size, and gives one prediction each, in source pixels.
    """

    task_name: str
    labels: LabelSpace

    @property
    def preparation(self) -> Any: ...

    def raw(self, pixels: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]: ...

    def predict_images(self, images: Sequence[NDArray[np.uint8]]) -> Sequence[Any]: ...
