"""What scores of several folds say together."""

__all__ = ["corrected_interval"]

import math
from collections.abc import Sequence

import numpy as np

from eyewright.core.report import Metric


def corrected_interval(
    scores: Sequence[float],
    *,
    test_share: float,
    confidence: float = 0.95,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Metric:
    """Return the mean of fold scores with the corrected resampled t interval (Nadeau & Bengio 2003).

    Folds share most of their training images, so their scores are not independent: the variance of the mean is taken
    as s² (1/J + test/train) and not as s²/J. `test_share` is test/train, which is 1/(K-1) for K folds. `n` counts the
    folds; an interval ends at the metric's own `bounds`. Needs scipy, which comes with `eyewright[train]`.

    >>> print(corrected_interval([0.9, 0.92, 0.94, 0.92, 0.92], test_share=0.25))
    0.920 [0.894, 0.946] n=5
    """
    values = np.asarray(scores, np.float64)
    count = len(values)
    mean = float(values.mean())
    if count < 2:
        return Metric(mean, n=count, method="corrected t", confidence=confidence)
    from scipy.stats import t

    spread = math.sqrt(float(values.var(ddof=1)) * (1 / count + test_share))
    half = float(t.ppf((1 + confidence) / 2, count - 1)) * spread
    low, high = max(mean - half, bounds[0]), min(mean + half, bounds[1])
    return Metric(mean, low, high, count, "corrected t", confidence)
