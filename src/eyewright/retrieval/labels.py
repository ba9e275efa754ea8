"""Labels without training: images against the words of each label, by a model of both."""

__all__ = ["label_probabilities"]

from typing import Any

import numpy as np
from numpy.typing import NDArray


def label_probabilities(
    images: NDArray[Any], labels: NDArray[Any], scale: float, bias: float | None = None
) -> NDArray[np.float64]:
    """Return the probability of each label for each image, float64 (N, L), from unit vectors (N, D) and (L, D).

    `scale` multiplies the cosine, as the model learnt it. Without `bias` the labels of an image compete (softmax, as
    CLIP is trained); with one each is judged by itself (sigmoid, as SigLIP is).

    >>> label_probabilities(np.array([[1.0, 0.0]]), np.eye(2), 100.0).round(3).tolist()
    [[1.0, 0.0]]
    """
    logits = scale * (images.astype(np.float64) @ labels.astype(np.float64).T)
    if bias is not None:
        return np.asarray(1 / (1 + np.exp(-(logits + bias))))
    logits -= logits.max(1, keepdims=True)
    odds = np.exp(logits)
    return np.asarray(odds / odds.sum(1, keepdims=True))
