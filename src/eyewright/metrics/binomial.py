"""Bounds of a probability that hold exactly, from how often something happened (Clopper and Pearson 1934)."""

__all__ = ["clopper_pearson", "clopper_pearson_lower", "fewest_samples"]

import math

_TINY = 1e-300
_MOST_TERMS = 100_000


def clopper_pearson_lower(successes: int, n: int, alpha: float) -> float:
    """Return the one-sided lower bound, at confidence 1 - alpha, of a probability that was hit `successes` of n times.

    >>> round(clopper_pearson_lower(10, 10, 0.05), 4), clopper_pearson_lower(0, 10, 0.05)
    (0.7411, 0.0)
    """
    if successes <= 0:
        return 0.0
    if successes >= n:
        return float(alpha ** (1 / n))
    # P(X >= k) = I_p(k, n - k + 1) rises with p.
    low, high = 0.0, successes / n
    for _ in range(60):
        middle = (low + high) / 2
        if _beta_share(middle, successes, n - successes + 1) < alpha:
            low = middle
        else:
            high = middle
    return low


def clopper_pearson(successes: int, n: int, confidence: float) -> tuple[float, float]:
    """Return the two-sided interval of a probability that was hit `successes` of n times.

    >>> [round(v, 4) for v in clopper_pearson(5, 100, 0.95)]  # scipy.stats.binomtest(5, 100).proportion_ci()
    [0.0164, 0.1128]
    """
    half = (1 - confidence) / 2
    return clopper_pearson_lower(successes, n, half), 1 - clopper_pearson_lower(n - successes, n, half)


def fewest_samples(alpha: float) -> int:
    """Return the smallest number of samples whose lower bound can be above one half.

    >>> fewest_samples(0.001)
    10
    """
    return math.floor(math.log(alpha) / math.log(0.5)) + 1


def _beta_share(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function by Lentz's continued fraction (Press et al. 2007, 6.4)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_share(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    if log_front < -700:
        return 0.0
    c, d = 1.0, 1 / max(1 - (a + b) * x / (a + 1), _TINY)
    result = d
    for m in range(1, _MOST_TERMS):
        for top in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + top * d or _TINY)
            c = 1 + top / c or _TINY
            result *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return math.exp(log_front) * result / a
