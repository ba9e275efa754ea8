"""Which labels are probably wrong: confident learning."""

__all__ = ["confident_errors"]

from typing import Any

import numpy as np
from numpy.typing import NDArray


def confident_errors(
    true: NDArray[np.integer[Any]], probabilities: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the samples whose label is probably wrong, the most probable first, and the class each seems to be.

    `probabilities`, (N, C), must come from models that have not seen the sample. A sample counts as class j when its
    probability of j reaches the mean probability that samples labelled j have of it, and j is the largest such; it is
    probably wrong when that is not its label, the off-diagonal of the confident joint (Northcutt et al. 2021,
    "Confident learning", equation 1). The order is by the probability of that class less the label's own.

    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.95, 0.05]])
    >>> samples, seems = confident_errors(np.array([0, 0, 1, 1, 1]), p)
    >>> samples.tolist(), seems.tolist()
    ([4], [0])
    """
    labels = np.asarray(true, np.int64)
    p = np.asarray(probabilities, np.float64)
    n, n_classes = p.shape
    own = p[np.arange(n), labels]
    count = np.bincount(labels, minlength=n_classes)
    mean = np.bincount(labels, weights=own, minlength=n_classes) / np.maximum(count, 1)
    # A class that nobody carries a label of can be confused with none.
    reached = (p >= np.where(count, mean, np.inf)) & (p > 0)
    seems = np.where(reached, p, -1.0).argmax(1)
    doubtful = np.flatnonzero(reached.any(1) & (seems != labels) & (p.max(1) > own))
    margin = p[doubtful, seems[doubtful]] - own[doubtful]
    order = np.argsort(-margin, kind="stable")
    return doubtful[order].astype(np.int64), seems[doubtful][order].astype(np.int64)
