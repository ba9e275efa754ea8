"""Does a hit fit? Its score against those of vectors that have nothing to do with the query."""

__all__ = ["SMALLEST_P", "p_values", "share_far_above"]

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

SMALLEST_P = 1e-9
"""Smaller p-values are given as this: a tail that is extrapolated from some thousand scores tells no more."""

_LEAST = 50
_NORMAL = NormalDist()
# The part of a normal distribution below one standard deviation under its median.
_LOW = _NORMAL.cdf(-1.0)
# The nearest part of the background from which distances are extrapolated, and its fewest vectors.
_NEAR, _FEW = 0.02, 5
_STEEPEST = 64.0
# The fewest vectors that are a group.
_SMALLEST = 2


def p_values(scores: NDArray[np.float64], background: NDArray[np.float32], n: int) -> Sequence[float | None]:
    """Return for each score the chance that the best of `n` unrelated vectors reaches it; None below 50 vectors.

    A cosine of 0.3 is much for one query and little for another, so a score is held against this query's own
    background, most of which has nothing to do with the query. There are two ways to reach its tail, and the smaller
    chance counts. By a normal distribution: its centre is the median, its spread the distance from there down to the
    16th percentile, which what fits hardly moves. By distance, 1 - cosine: the count of vectors within a distance falls
    as a power of it, whose exponent is that between the median and the nearest 2 % (Amsaleg et al. 2015, local
    intrinsic dimension). The first knows that many directions are rare, the second that nothing is nearer than a copy.
    The chance for one vector is raised to that for the best of `n` (Sidak 1967). It is at least `SMALLEST_P`.

    >>> background = np.random.default_rng(0).normal(0.2, 0.05, 1000).astype(np.float32)
    >>> [round(p, 4) for p in p_values(np.array([0.75, 0.3]), background, 1000)]
    [0.0, 1.0]
    """
    if len(background) < _LEAST:
        return [None] * len(scores)
    near = max(_NEAR, _FEW / len(background))
    low, centre, high = np.quantile(background.astype(np.float64), (_LOW, 0.5, 1 - near)).tolist()
    spread = max(centre - low, 1e-9)
    nearest, middle = max(1 - high, 1e-9), max(1 - centre, 2e-9)
    exponent = float(np.clip(np.log(0.5 / near) / max(np.log(middle / nearest), 1e-9), 1.0, _STEEPEST))
    single = [
        # 1 - cdf(z) as cdf(-z), which keeps small values.
        min(_NORMAL.cdf((centre - s) / spread), near * min(max(1 - s, 0.0) / nearest, 1 / near) ** exponent)
        for s in scores.tolist()
    ]
    joined = -np.expm1(n * np.log1p(-np.minimum(single, 1 - 1e-16)))
    return [max(SMALLEST_P, float(p)) for p in joined]


def share_far_above(background: NDArray[np.float32], alpha: float) -> float:
    """Return the fraction of the vectors, up to a half, that score far above all others; 0 where no group does.

    Such a group raises the tail that `p_values` measures, so that none of its members stands out, although all may fit
    the query. The group ends at the widest gap between neighbouring scores of the upper half, and counts where its
    lowest score has a p-value of at most `alpha` against the others.

    >>> others = np.linspace(-0.1, 0.1, 90)
    >>> share_far_above(np.concatenate([others, np.full(10, 0.9)]).astype(np.float32), 0.05)
    0.1
    >>> share_far_above(others.astype(np.float32), 0.05)
    0.0
    """
    scores = np.sort(background.astype(np.float64))[::-1]
    most = len(scores) // 2
    if len(scores) < _LEAST:
        return 0.0
    gaps = scores[_SMALLEST - 1 : most] - scores[_SMALLEST : most + 1]
    k = int(gaps.argmax()) + _SMALLEST
    others = scores[k:]
    centre = np.median(others)
    low = np.quantile(others, _LOW)
    chance = _NORMAL.cdf((centre - scores[k - 1]) / max(float(centre - low), 1e-9))
    joined = -np.expm1(len(others) * np.log1p(-min(chance, 1 - 1e-16)))
    apart = joined <= alpha and gaps[k - _SMALLEST] >= float(centre - low)
    return k / len(scores) if apart else 0.0
