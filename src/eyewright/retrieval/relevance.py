"""Does a hit fit? Its score against those of vectors that have nothing to do with the query."""

__all__ = ["p_values", "share_far_above"]

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_LEAST = 50
_NORMAL = NormalDist()
# The part of a normal distribution below one standard deviation under its median.
_LOW = _NORMAL.cdf(-1.0)
# The nearest parts of the background between which the tail is measured, and the fewest vectors of the smaller one.
_NEAR, _WIDER, _FEW = 0.005, 4, 5
# The least cosine of a possible copy, and the part of the background from which distances are extrapolated.
_COPY, _AROUND = 0.97, 0.02
_STEEPEST = 64.0
# The fewest vectors that are a group.
_SMALLEST = 2


def p_values(scores: NDArray[np.float64], background: NDArray[np.float32], n: int) -> Sequence[float | None]:
    """Return for each score the chance that the best of `n` unrelated vectors reaches it; None below 50 vectors.

    A cosine of 0.3 is much for one query and little for another, so a score is held against this query's own
    background, most of which has nothing to do with the query. Beyond the nearest 0.5 % of it (the nearest 5 vectors at
    least) its tail is taken to fall exponentially, as fast as between the nearest 2 % and those (a generalised Pareto
    tail of shape 0, Pickands 1975): a normal tail falls faster, and the embeddings of trained nets do not.

    A score of 0.97 or more may be that of a copy, whose chance is also measured by distance, 1 - cosine: the count of
    vectors within a distance falls as a power of it, whose exponent is that between the median and the nearest 2 %
    (Amsaleg et al. 2015, local intrinsic dimension). The smaller chance counts: nothing is nearer than a copy, however
    many images are near.

    The chance for one vector is raised to that for the best of `n` (Sidak 1967). It is at least 1 / (m + 1), with m the
    size of the background: a tail that is extrapolated from m scores tells no more.

    >>> background = np.random.default_rng(0).normal(0.2, 0.05, 1000).astype(np.float32)
    >>> [round(p, 4) for p in p_values(np.array([0.75, 0.3]), background, 1000)]
    [0.001, 1.0]
    """
    m = len(background)
    if m < _LEAST:
        return [None] * len(scores)
    near, around = (max(part, _FEW / m) for part in (_NEAR, _AROUND))
    wider = min(_WIDER * near, 0.5)
    levels = (0.5, 1 - wider, 1 - near, 1 - around)
    centre, wide, high, close = np.quantile(background.astype(np.float64), levels).tolist()
    fall = max((high - wide) / np.log(wider / near), 1e-9)
    nearest, middle = max(1 - close, 1e-9), max(1 - centre, 2e-9)
    exponent = float(np.clip(np.log(0.5 / around) / max(np.log(middle / nearest), 1e-9), 1.0, _STEEPEST))
    single = near * np.exp(np.minimum((high - scores) / fall, -np.log(near)))
    as_copy = around * np.minimum(np.maximum(1 - scores, 0.0) / nearest, 1 / around) ** exponent
    single = np.where(scores >= _COPY, np.minimum(single, as_copy), single)
    joined = -np.expm1(n * np.log1p(-np.minimum(single, 1 - 1e-16)))
    return [max(1 / (m + 1), float(p)) for p in joined]


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
