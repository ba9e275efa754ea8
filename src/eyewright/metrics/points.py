"""Operating points: the score above which a prediction is accepted, and how certain that score itself is."""

__all__ = [
    "PSEUDO_GROUPS",
    "OperatingPoint",
    "best_threshold",
    "choose_point",
    "group_numbers",
    "thresholds_of",
    "unknown_point",
]

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.metrics.bootstrap import bootstrap_weights

PSEUDO_GROUPS = 1.0
"""The weight of the prior point, in groups."""

_STANDARD_ERRORS = 0.5
_REPLICATES = 200
_FEWEST_REPLICATES = 50
_CELLS = 40_000_000
_ONE_SIDED_95 = 1.645


@dataclass(frozen=True)
class OperatingPoint:
    """The score above which a class is accepted, its interval, and what it achieves on validation.

    `low` and `high` bound the threshold that is best on new images with 95 %: between them lie the thresholds whose F1
    is lower than the largest by no more than 1.645 standard errors of the difference, by the bootstrap over groups.
    They are `None` where fewer than two groups hold the class. `best` is the threshold of largest F1 itself.
    `precision`, `recall` and `f1` are those at `threshold` on the validation images. `n` counts the objects of the
    class (images, for classification and masks), `images` and `groups` those that hold one.
    """

    threshold: float
    precision: float | None
    recall: float | None
    f1: float | None
    n: int
    low: float | None = None
    high: float | None = None
    best: float | None = None
    images: int = 0
    groups: int = 0


def group_numbers(groups: Sequence[str | None]) -> NDArray[np.int64]:
    """Return the number of each image's group, int64 (N,), from 0; an image without a group is a group of its own.

    >>> group_numbers(["a", None, "a", None]).tolist()
    [0, 1, 0, 2]
    """
    numbers: dict[str | int, int] = {}
    keys: list[str | int] = [i if g is None else g for i, g in enumerate(groups)]
    return np.array([numbers.setdefault(k, len(numbers)) for k in keys], np.int64)


def best_threshold(scores: NDArray[np.float64], right: NDArray[np.bool_], n: int) -> float:
    """Return the threshold of largest F1 for answers with `scores` (D,) that are `right` (D,) or not, of `n` to find.

    It lies in the middle between the scores that it separates; of equally good ones the highest is returned.

    >>> best_threshold(np.array([0.9, 0.8, 0.2]), np.array([True, True, False]), 2)
    0.5
    """
    cuts, f1 = _curve(scores, right, np.zeros(len(scores), np.int64), np.array([float(n)]), np.ones((1, 1)))
    return float(round(cuts[int(f1[0].argmax())], 6))


def choose_point(
    scores: NDArray[np.float64],
    right: NDArray[np.bool_],
    images: NDArray[np.int64],
    truths: NDArray[np.integer[Any]],
    *,
    groups: NDArray[np.int64] | None = None,
    rng: np.random.Generator,
) -> OperatingPoint:
    """Choose the operating point of one class for a large F1 on new images, lower where the evidence is thin.

    The threshold of largest F1 on a few images is noisy, and errs upwards at a higher cost: what is not shown is lost.
    So the threshold is found on 200 bootstrap resamples of whole groups; the point is their mean less half their
    standard deviation (the standard error of the threshold), averaged with a prior point that weighs as one more group
    in addition to those that hold the class. The prior is half the largest F1, the best threshold where scores are
    calibrated (Lipton, Elkan & Narayanaswamy 2014). The point is never higher than the threshold of largest F1, and
    approaches it with many groups. Measured in `benchmarks/operating_points.py`.

    Args:
        scores: of the answers, (D,), in any order.
        right: whether each answer is a hit, (D,).
        images: the image of each answer, (D,), in [0, N).
        truths: how many are to be found in each image, (N,); at least one in all, and at least one answer given.
        groups: the number of each image's group, (N,) from 0, as `group_numbers` gives; by default every image is its
            own.
    """
    scores, right = np.asarray(scores, np.float64), np.asarray(right, bool)
    own = np.arange(len(truths)) if groups is None else np.unique(groups, return_inverse=True)[1]
    there = np.bincount(own, truths).astype(np.float64)
    held = int((there > 0).sum())
    cuts, f1 = _curve(scores, right, own[images], there, np.ones((1, len(there))))
    top = int(f1[0].argmax())
    best = float(round(cuts[top], 6))
    drawn, low, high = np.array([best]), None, None
    if held > 1:
        drawn, error = _resampled(scores, right, own[images], there, top, rng)
        as_good = cuts[f1[0, top] - f1[0] <= _ONE_SIDED_95 * error + 1e-12]
        low, high = float(round(as_good.min(), 6)), float(round(as_good.max(), 6))
    safe = min(best, max(0.0, float(drawn.mean() - _STANDARD_ERRORS * drawn.std())))
    prior = min(safe, float(f1[0, top]) / 2)
    share = PSEUDO_GROUPS / (held + PSEUDO_GROUPS)
    threshold = float(round((1 - share) * safe + share * prior, 6))
    kept = scores >= threshold
    n, given, hits = int(truths.sum()), int(kept.sum()), int(right[kept].sum())
    return OperatingPoint(
        threshold,
        hits / given if given else None,
        hits / n,
        2 * hits / (given + n),
        n,
        low=None if low is None else min(low, threshold),
        high=None if high is None else max(high, threshold),
        best=best,
        images=int((truths > 0).sum()),
        groups=held,
    )


def unknown_point(
    threshold: float, truths: NDArray[np.integer[Any]], *, groups: NDArray[np.int64] | None = None
) -> OperatingPoint:
    """Return the point of a class that nothing can be said of, with the images and groups that hold it."""
    held = truths > 0
    images = int(held.sum())
    within = images if groups is None else len(np.unique(groups[held]))
    return OperatingPoint(threshold, None, None, None, int(truths.sum()), images=images, groups=within)


def thresholds_of(
    names: Sequence[str], points: Sequence[OperatingPoint], method: str, groups: NDArray[np.int64]
) -> dict[str, Any]:
    """Return "thresholds" as `run.json` and `bundle.json` hold them: each class's point, and what they rest on."""
    how = f"{method}, chosen on validation images by the bootstrap over groups and lowered where few hold the class"
    return {
        "method": how,
        "images": len(groups),
        "groups": len(np.unique(groups)),
        "classes": {name: asdict(point) for name, point in zip(names, points, strict=True)},
    }


def _curve(
    scores: NDArray[np.float64],
    right: NDArray[np.bool_],
    owners: NDArray[np.int64],
    there: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the possible thresholds, highest first (E,), and F1 at each for every row of group weights, (B, E)."""
    order = np.argsort(-scores, kind="stable")
    ranked, hits, own = scores[order], right[order], owners[order]
    # A threshold can only stand between two different scores.
    ends = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True))
    cuts = (ranked[ends] + np.append(ranked[ends[:-1] + 1], 0.0)) / 2
    counted = weights[:, own]
    given = np.cumsum(counted, 1)[:, ends]
    found = np.cumsum(counted * hits, 1)[:, ends]
    return cuts, 2 * found / np.maximum(given + (weights @ there)[:, None], np.finfo(np.float64).tiny)


def _resampled(
    scores: NDArray[np.float64],
    right: NDArray[np.bool_],
    owners: NDArray[np.int64],
    there: NDArray[np.float64],
    best: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the threshold of largest F1 on each resample of the groups in which there is something to find, and for
    every possible threshold the standard error of how much lower F1 is there than at the `best`, (E,)."""
    rounds = int(np.clip(_CELLS // max(1, 3 * len(scores)), _FEWEST_REPLICATES, _REPLICATES))
    size = max(1, _CELLS // (8 * len(scores)))
    found, lower = [], _Moments()
    for weights in bootstrap_weights(len(there), replicates=rounds, rng=rng):
        known = weights[weights @ there > 0]
        for start in range(0, len(known), size):
            cuts, f1 = _curve(scores, right, owners, there, known[start : start + size])
            # Where the answers between two cuts were not drawn, both are as good: the middle is taken.
            first, last = f1.argmax(1), f1.shape[1] - 1 - f1[:, ::-1].argmax(1)
            found.append((cuts[first] + cuts[last]) / 2)
            lower.add(f1[:, best : best + 1] - f1)
    return np.concatenate(found), lower.deviation()


class _Moments:
    """The standard deviation of each column of rows that come in parts."""

    def __init__(self) -> None:
        self._n = 0
        self._sum: Any = 0.0
        self._squares: Any = 0.0

    def add(self, rows: NDArray[np.float64]) -> None:
        self._n += len(rows)
        self._sum = self._sum + rows.sum(0)
        self._squares = self._squares + np.square(rows).sum(0)

    def deviation(self) -> NDArray[np.float64]:
        mean = self._sum / self._n
        found: NDArray[np.float64] = np.sqrt(np.maximum(self._squares / self._n - mean * mean, 0.0))
        return found
