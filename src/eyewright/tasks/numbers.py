"""An answer in as many numbers as there are classes: what label shift is told by."""

__all__ = ["answer_numbers"]

from typing import Any

import numpy as np
from numpy.typing import NDArray


def answer_numbers(prediction: Any) -> NDArray[np.float32]:
    """Give a prediction in C numbers, float32 (C,): probabilities, shares of the pixels, or objects a class.

    >>> from eyewright.core.labels import LabelSpace
    >>> from eyewright.tasks import MaskPrediction
    >>> shown = MaskPrediction(np.array([[0, 1]], np.uint8), np.ones(2, np.float32), LabelSpace(("a", "b")))
    >>> answer_numbers(shown).tolist()
    [0.5, 0.5]
    """
    n_classes = len(prediction.label_space)
    if prediction.drawn_as == "classify":
        return np.asarray(prediction.probabilities, np.float32)
    if prediction.drawn_as == "segment":
        counts = np.bincount(prediction.mask.ravel(), minlength=n_classes) / prediction.mask.size
    else:
        counts = np.bincount(prediction.label_ids, minlength=n_classes)
    found: NDArray[np.float32] = counts.astype(np.float32)
    return found
