"""Sets of labels that hold the true one with a stated coverage: split conformal prediction, over all or by class."""

__all__ = ["BY", "METHODS", "LabelSets", "conformal_quantile", "least_for_coverage", "nonconformity", "set_coverage"]

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Metric
from eyewright.metrics.bootstrap import rate_metric

Method = Literal["threshold", "adaptive"]
By = Literal["all", "class"]

METHODS: tuple[Method, ...] = ("threshold", "adaptive")
BY: tuple[By, ...] = ("all", "class")


def nonconformity(probabilities: NDArray[np.floating[Any]], method: Method = "threshold") -> NDArray[np.float64]:
    """Return how far each class is from being the answer, float (N, C), from probabilities (N, C).

    "threshold" is 1 - p (least ambiguous sets: Sadinle, Lei & Wasserman 2019). "adaptive" is the probability of all
    classes that are more probable (after Romano, Sesia & Candès 2020, without randomisation): sets grow where
    the model is unsure. The most probable class is at 0, so an adaptive set is never empty.

    >>> nonconformity(np.array([[0.5, 0.25, 0.25]]), "adaptive").tolist()
    [[0.0, 0.5, 0.75]]
    """
    values = np.asarray(probabilities, np.float64)
    if method == "threshold":
        return 1 - values
    order = np.argsort(-values, axis=1, kind="stable")
    ranked = np.take_along_axis(values, order, 1)
    above = np.cumsum(ranked, 1) - ranked
    found = np.empty_like(values)
    np.put_along_axis(found, order, above, 1)
    return found


def conformal_quantile(
    scores: NDArray[np.floating[Any]], level: float, groups: NDArray[Any] | None = None
) -> float | None:
    """Return the value that the score of a new example of the same kind does not exceed with probability `level`.

    It is the ceil((N + 1) level)-th smallest of the `scores` (N,) (Vovk et al. 2005; Lei et al. 2018); None where
    there are too few. With `groups` (N,) that holds for an example of a new group: each of G groups has weight
    1 / (G + 1) among its examples together, and the rest is beyond all scores (Lee, Barber & Willett 2023).

    >>> conformal_quantile(np.arange(1.0, 20.0), 0.9)
    18.0
    >>> conformal_quantile(np.ones(8), 0.9) is None
    True
    """
    if not len(scores):
        return None
    ids = np.arange(len(scores)) if groups is None else np.unique(groups, return_inverse=True)[1].reshape(-1)
    sizes = np.bincount(ids)
    n = len(sizes)
    if math.ceil((n + 1) * level - 1e-9) > n:
        return None
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum((1 / (sizes[ids] * (n + 1)))[order]) >= level - 1e-9
    return float(scores[order[int(reached.argmax())]])


def least_for_coverage(level: float) -> int:
    """Return how many examples, or groups of them, `conformal_quantile` needs for a level.

    >>> least_for_coverage(0.9), least_for_coverage(0.95)
    (9, 19)
    """
    return math.ceil(level / (1 - level) - 1e-9)


@dataclass(frozen=True, eq=False)
class LabelSets:
    """Which labels are in a set: those whose nonconformity is within the `limits`, float64 (C,), of their class.

    `n` is the number of calibration images, `groups` that of their groups. `open_classes` have too few calibration
    images of their own for this coverage: they are in every set, which is the only way to keep what is promised.

    >>> sets = LabelSets.fit(np.linspace(0, 0.9, 99), np.zeros(99, int), 2, coverage=0.9)
    >>> sets.of(np.array([[0.95, 0.05], [0.5, 0.5]])).tolist()
    [[True, False], [True, True]]
    """

    limits: NDArray[np.float64]
    coverage: float
    method: Method
    by: By
    n: int
    groups: int
    open_classes: tuple[int, ...] = ()

    @classmethod
    def fit(
        cls,
        scores: NDArray[np.floating[Any]],
        labels: NDArray[np.integer[Any]],
        n_classes: int,
        *,
        coverage: float = 0.9,
        method: Method = "threshold",
        by: By = "all",
        groups: NDArray[Any] | None = None,
    ) -> "LabelSets | None":
        """Return sets from the nonconformity of the true classes, (N,), of images that were not trained on.

        `scores` were measured with the same `method`; `labels` (N,) are the true classes. By "class" each
        class keeps the coverage for itself (Mondrian conformal prediction: Vovk, Gammerman & Shafer 2005). None where
        the images or groups are too few for so much coverage, of every class if `by` is "class".
        """
        own = np.arange(len(scores)) if groups is None else np.asarray(groups)
        n_groups = len(np.unique(own))
        values = np.asarray(scores, np.float64)
        if by == "all":
            limit = conformal_quantile(values, coverage, own)
            if limit is None:
                return None
            return cls(np.full(n_classes, limit), coverage, method, by, len(values), n_groups)
        found = [conformal_quantile(values[labels == k], coverage, own[labels == k]) for k in range(n_classes)]
        if all(limit is None for limit in found):
            return None
        limits = np.array([np.inf if limit is None else limit for limit in found])
        few = tuple(k for k, limit in enumerate(found) if limit is None)
        return cls(limits, coverage, method, by, len(values), n_groups, few)

    def of(self, probabilities: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Return which classes are in the set of each image, bool (N, C); the most probable class always is."""
        values = np.asarray(probabilities, np.float64)
        # Scores were stored as float32.
        inside: NDArray[np.bool_] = nonconformity(values, self.method) <= self.limits + 1e-6
        inside[np.arange(len(values)), values.argmax(1)] = True
        return inside


def set_coverage(
    inside: NDArray[np.bool_], labels: NDArray[np.integer[Any]], *, groups: NDArray[Any] | None = None
) -> Metric:
    """Return the fraction of sets that hold the true label, with its interval; `inside` is bool (N, C), `labels` (N,).

    >>> set_coverage(np.array([[True, False], [True, True]]), np.array([1, 1])).value
    0.5
    """
    return rate_metric(inside[np.arange(len(labels)), labels], groups=groups)
