"""Does a hit fit? Its score against those of vectors that have nothing to do with the query."""

__all__ = ["p_values"]

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_LEAST = 50
# The part of a normal distribution below one standard deviation under its median.
_LOW = NormalDist().cdf(-1.0)


def p_values(scores: NDArray[np.float64], background: NDArray[np.float32], n: int) -> Sequence[float | None]:
    """Return for each score the chance that the best of `n` unrelated vectors reaches it; None below 50 vectors.

    A cosine of 0.3 is much for one query and little for another, so a score is held against this query's own
    background, most of which has nothing to do with the query. Its centre is the median, its spread the distance from
    there down to the 16th percentile: what fits lies above and hardly moves either, even if it is a tenth of all. The
    tail is taken to be normal, and the chance for one vector is raised to that for the best of `n` (Sidak 1967).

    >>> background = np.random.default_rng(0).normal(0.2, 0.05, 1000).astype(np.float32)
    >>> [round(p, 4) for p in p_values(np.array([0.75, 0.3]), background, 1000)]
    [0.0, 1.0]
    """
    if len(background) < _LEAST:
        return [None] * len(scores)
    centre, low = np.quantile(background.astype(np.float64), (0.5, _LOW))
    normal = NormalDist()
    spread = max(float(centre - low), 1e-9)
    # 1 - cdf(z) as cdf(-z), which keeps small values.
    single = np.array([normal.cdf(-(s - centre) / spread) for s in scores.tolist()], np.float64)
    joined = -np.expm1(n * np.log1p(-np.minimum(single, 1 - 1e-16)))
    return [float(p) for p in joined]
