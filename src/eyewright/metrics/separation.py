"""How well a score separates images that a model knows from those that it does not."""

__all__ = ["missed_at", "separation"]

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Metric
from eyewright.metrics.bootstrap import resample


def separation(
    known: NDArray[np.floating[Any]],
    other: NDArray[np.floating[Any]],
    *,
    rng: np.random.Generator,
    groups: NDArray[Any] | None = None,
    replicates: int = 1000,
) -> dict[str, Metric]:
    """Return "auroc" and "missed_at_95" with their intervals, from scores that are higher for what is unfamiliar.

    `known` (N,) are scores of images of the kind that the model was made for, `other` (M,) those of unfamiliar ones.
    The first is the probability that an unfamiliar image has the higher score (Mann & Whitney 1947; ties count half),
    the second the fraction of unfamiliar images that still pass where 95 % of the known ones do ("FPR95"). With
    `groups`, (N,) names of what known images belong to, intervals are over them; each unfamiliar image stands alone.

    >>> found = separation(np.arange(20.0), np.arange(15.0, 35.0), rng=np.random.default_rng(0))
    >>> found["auroc"].value
    0.96875
    """
    everything = np.concatenate([known, other])
    own = np.concatenate([np.zeros(len(known), bool), np.ones(len(other), bool)])
    names = None
    if groups is not None:
        names = np.array([*(f"known {g}" for g in groups), *(f"other {k}" for k in range(len(other)))])
    plan = resample(len(everything), replicates=replicates, rng=rng, groups=names)
    steps = np.unique(everything, return_inverse=True)[1]
    whole = np.ones((1, len(everything)))
    values = _auroc(whole, steps, own)[0], _missed(whole, everything, own)[0]
    drawn = [(_auroc(w, steps, own), _missed(w, everything, own)) for w in plan.weights()]
    found = {}
    for name, value, samples in zip(("auroc", "missed_at_95"), values, zip(*drawn, strict=True), strict=True):
        low, high = plan.bounded(float(value), np.concatenate(samples))
        found[name] = Metric(float(value), low, high, len(everything), method=plan.method, groups=plan.n_groups)
    return found


def missed_at(known: NDArray[np.floating[Any]], other: NDArray[np.floating[Any]], *, passing: float = 0.95) -> float:
    """Return the fraction of unfamiliar images whose score is no higher than that of `passing` of the known ones.

    >>> missed_at(np.arange(100.0), np.array([50.0, 200.0]))
    0.5
    """
    scores = np.concatenate([known, other])
    own = np.concatenate([np.zeros(len(known), bool), np.ones(len(other), bool)])
    return float(_missed(np.ones((1, len(scores))), scores, own, passing)[0])


def _auroc(weights: NDArray[np.float64], steps: NDArray[np.int64], own: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the area under weights (R, n); `steps` (n,) are the ranks of the scores, one rank for equal ones."""
    n = int(steps.max()) + 1
    found = np.empty(len(weights))
    for r, row in enumerate(weights):
        below, above = np.bincount(steps[~own], row[~own], n), np.bincount(steps[own], row[own], n)
        pairs = below.sum() * above.sum()
        found[r] = np.nan if pairs == 0 else (above * (np.cumsum(below) - below / 2)).sum() / pairs
    return found


def _missed(
    weights: NDArray[np.float64], scores: NDArray[np.floating[Any]], own: NDArray[np.bool_], passing: float = 0.95
) -> NDArray[np.float64]:
    order = np.argsort(scores[~own], kind="stable")
    ranked = scores[~own][order]
    found = np.empty(len(weights))
    for r, row in enumerate(weights):
        reached = np.cumsum(row[~own][order])
        total = row[own].sum()
        if not reached[-1] or not total:
            found[r] = np.nan
            continue
        limit = ranked[int((reached >= passing * reached[-1] - 1e-9).argmax())]
        found[r] = row[own][scores[own] <= limit].sum() / total
    return found
