"""How well one side of a pair finds the other: recall among the first k and the median rank, with intervals.

The definition: of a query the rank is the number of wrong candidates that score at least as high as its best right one,
plus 1. A query may have several right candidates, and is answered once one of them is found. recall@k is the mean over
items of the fraction of an item's queries whose rank is k or less, so that an image with five captions counts once; the
median rank is over queries. Ties count against the model: one that answers the same for all finds nothing.
"""

__all__ = ["AT", "Ranks", "ranks_of", "retrieval_metrics"]

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Metric
from eyewright.metrics.bootstrap import resample, share_interval

AT = (1, 5, 10)
"""The k of recall@k."""

_CELLS = 4_000_000


def ranks_of(queries: NDArray[Any], candidates: NDArray[Any], right: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the rank of each query, int64 (Q,), 1 is best.

    `queries` (Q, D) and `candidates` (C, D) are compared by their dot product; `right[q]` are the right candidates.

    >>> ranks_of(np.array([[1.0, 0.0]]), np.array([[0.5, 0.0], [0.9, 0.0], [0.1, 0.0]]), [np.array([0])]).tolist()
    [2]
    """
    found = np.empty(len(queries), np.int64)
    # Products of one row and of many differ in the last bit: what is a tie is decided on 7 digits.
    step = max(1, _CELLS // max(1, len(candidates)))
    for start in range(0, len(queries), step):
        scores = np.round(queries[start : start + step].astype(np.float64) @ candidates.astype(np.float64).T, 7)
        for k, row in enumerate(scores):
            own = right[start + k]
            best = row[own].max()
            found[start + k] = 1 + int((row >= best).sum()) - int((row[own] >= best).sum())
    return found


class Ranks:
    """Ranks of queries, (Q,), each of one of N items, `items` (Q,): metrics under weights of the items, (R, N) to (R,).

    >>> measured = Ranks(np.array([1, 7]), np.array([0, 1]), 2)
    >>> {k: float(v[0]) for k, v in measured(np.ones((1, 2))).items()}
    {'recall_at_1': 0.5, 'recall_at_5': 0.5, 'recall_at_10': 1.0, 'median_rank': 4.0}
    """

    def __init__(self, ranks: NDArray[np.int64], items: NDArray[np.int64], n: int, *, prefix: str = "") -> None:
        self.n, self.prefix = n, prefix
        self.items = np.asarray(items, np.int64)
        self.ranks = np.asarray(ranks, np.int64)
        count = np.bincount(self.items, minlength=n)
        self.asked = count > 0
        with np.errstate(invalid="ignore", divide="ignore"):
            hits = {k: np.bincount(self.items, self.ranks <= k, minlength=n) / count for k in AT}
        self.hits = {k: np.where(self.asked, v, 0.0) for k, v in hits.items()}

    @property
    def each(self) -> NDArray[np.float64]:
        """How well each item was found, (N,) in [0, 1]: the mean of 1 over the rank; NaN without a query."""
        with np.errstate(invalid="ignore", divide="ignore"):
            total = np.bincount(self.items, 1 / self.ranks, minlength=self.n)
            return np.asarray(total / np.bincount(self.items, minlength=self.n))

    def __call__(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        with np.errstate(invalid="ignore", divide="ignore"):
            total = weights @ self.asked.astype(np.float64)
            found = {f"{self.prefix}recall_at_{k}": (weights @ self.hits[k]) / total for k in AT}
        return {**found, f"{self.prefix}median_rank": self._medians(weights)}

    def _medians(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        if not len(self.ranks):
            return np.full(len(weights), np.nan)
        order = np.argsort(self.ranks, kind="stable")
        ranks, total = self.ranks[order], np.cumsum(weights[:, self.items[order]], 1)
        half = total[:, -1:] / 2
        low = np.minimum((total < half).sum(1), len(ranks) - 1)
        high = np.minimum((total <= half).sum(1), len(ranks) - 1)
        return np.asarray((ranks[low] + ranks[high]) / 2, np.float64)


def retrieval_metrics(
    directions: Sequence[Ranks],
    *,
    rng: np.random.Generator,
    replicates: int = 1000,
    groups: NDArray[Any] | None = None,
) -> dict[str, Metric]:
    """Measure ranks by every metric, each with its interval over `groups` (N,) of the items.

    The candidates stay the same in every resample: an interval says how far the number depends on which items are
    asked for, not on how many there are to be chosen from.
    """
    if not directions or not directions[0].n:
        return {}
    n = directions[0].n
    plan = resample(n, replicates=replicates, rng=rng, groups=groups)
    point = {name: float(v[0]) for d in directions for name, v in d(np.ones((1, n))).items()}
    drawn: dict[str, list[NDArray[np.float64]]] = {name: [] for name in point}
    for weights in plan.weights():
        for direction in directions:
            for name, values in direction(weights).items():
                drawn[name].append(values)
    result = {}
    for name, value in point.items():
        samples = np.concatenate(drawn[name])
        share = "recall" in name
        bounds = (0.0, 1.0) if share else (1.0, math.inf)
        low, high = plan.interval(value, samples, kind="share" if share else "plain", bounds=bounds)
        method = plan.method
        if share and low == high:
            of = next(d for d in directions if name.startswith(d.prefix) and name in d(np.ones((1, n))))
            hits = of.hits[int(name.rpartition("_")[2])]
            low, high = share_interval(hits, of.asked.astype(np.float64), plan.clusters)
            method = "wilson" if plan.clusters is None else method
        result[name] = Metric(_finite(value), _finite(low), _finite(high), n, method, 0.95, plan.n_groups)
    return result


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
