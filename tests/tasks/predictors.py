"""A predictor that answers what a test tells it to."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from eyewright.core import LabelSpace
from eyewright.imaging.preparation import Preparation

Answer = Callable[[NDArray[np.uint8]], Mapping[str, NDArray[np.float32]]]


class Told:
    """Answers `answer(pixels)` for prepared pixels, uint8 (N, H, W, 3), of images of any size, letterboxed."""

    def __init__(self, task: str, answer: Answer, *, size_hw: tuple[int, int] = (32, 32), iou: float | None = None):
        self.task_name = task
        self.labels = LabelSpace(("background", "disc") if task == "segment" else ("cross", "disc"))
        self.preparation = Preparation(size_hw, fit="letterbox")
        self.decoding = {} if iou is None else {"iou": iou}
        self.answer = answer
        self.seen = 0

    def raw(self, pixels: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
        self.seen += len(pixels)
        return self.answer(pixels)

    def predict_images(self, images):  # type: ignore[no-untyped-def]
        raise NotImplementedError
