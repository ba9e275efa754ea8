"""Inference where images form groups: intervals and tests whose independent unit is the group, not the image.

Frames of one video or photographs of one part are not independent samples. With many groups, intervals come from the
cluster bootstrap (`bootstrap_weights`). With up to `MOST_LEFT_OUT` groups they are t intervals: the variance is that of
the jackknife that leaves out one group at a time (CR3 of Bell & McCaffrey 2002), the degrees of freedom are Kish's
effective number of groups minus 1, and a rate gets the Wilson form, which stays honest near 0 and 1. Percentiles of the
bootstrap cover too rarely there: see `benchmarks/groups_coverage.py`.
"""

__all__ = [
    "FEW_GROUPS",
    "MOST_LEFT_OUT",
    "Clusters",
    "clusters_of",
    "effective_n",
    "flip_p_value",
    "grouped_interval",
    "grouped_share",
    "jackknife_variance",
    "student_quantile",
    "t_p_value",
    "two_sample_p_value",
    "weaker_p_value",
]

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FEW_GROUPS = 10
"""With fewer groups than this a report says that its intervals rest on few of them."""

MOST_LEFT_OUT = 200
"""Up to this number of groups intervals are t intervals over groups; above, the cluster bootstrap."""

_FLIPS = 4000
_ENUMERATED = 12
# Weight of the variance that a rate would have if all images of a group were alike, in groups. It keeps the interval
# from collapsing where the few groups happen to agree; chosen by simulation (benchmarks/groups_coverage.py).
_PRIOR_GROUPS = 2.0
# The same for numbers that no counts stand behind, such as average precision. Less is enough, because their intervals
# cover as often as they should on the whole; but where the groups of one set agree by chance, an interval that is
# narrow for that reason contains the truth only half of the time (benchmarks/groups_coverage.py --ap).
_PRIOR_BOUNDED = 0.1

Kind = Literal["share", "bounded", "plain"]


@dataclass(frozen=True, eq=False)
class Clusters:
    """Which group each image is in: `ids` int64 (n,), 0 to `count` - 1."""

    ids: NDArray[np.int64]

    @property
    def n(self) -> int:
        return len(self.ids)

    @cached_property
    def count(self) -> int:
        """The number of groups."""
        return int(self.ids.max()) + 1 if len(self.ids) else 0

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Images in each group, int64 (count,)."""
        return np.bincount(self.ids, minlength=self.count).astype(np.int64)

    @property
    def effective(self) -> float:
        """Kish's effective number of groups: (sum of sizes)² / sum of squared sizes; `count` if all are of one size."""
        sizes = self.sizes.astype(np.float64)
        return float(sizes.sum() ** 2 / (sizes**2).sum()) if self.n else 0.0

    @property
    def by_t(self) -> bool:
        """Whether intervals are t intervals over groups rather than percentiles of the cluster bootstrap."""
        return self.count <= MOST_LEFT_OUT

    def left_out(self) -> NDArray[np.float64]:
        """Return weights, float64 (count, n): each row leaves out one group."""
        weights: NDArray[np.float64] = (self.ids[None] != np.arange(self.count)[:, None]).astype(np.float64)
        return weights

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum values (n,) within each group, float64 (count,)."""
        return np.bincount(self.ids, values, minlength=self.count).astype(np.float64)


def clusters_of(groups: NDArray[Any] | None) -> Clusters | None:
    """Return the clusters of group names (n,); None without groups, or where every image is a group of its own.

    >>> clusters_of(np.array(["a", "b", "a"])).sizes.tolist()
    [2, 1]
    """
    if groups is None or not len(groups):
        return None
    ids = np.unique(groups, return_inverse=True)[1].reshape(-1)
    found = Clusters(ids.astype(np.int64))
    return None if found.count == found.n else found


def jackknife_variance(value: float, left_out: NDArray[np.float64]) -> float:
    """Return the variance of a number from its values with one group left out at a time, NaN with fewer than two.

    Values that are not defined (a class vanishes with its only group) are left out of the sum.
    """
    known = left_out[np.isfinite(left_out)]
    if len(known) < 2 or not math.isfinite(value):
        return math.nan
    return float((len(known) - 1) / len(known) * ((known - value) ** 2).sum())


def grouped_interval(
    value: float,
    left_out: NDArray[np.float64],
    clusters: Clusters,
    *,
    kind: Kind,
    confidence: float = 0.95,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> tuple[float, float]:
    """Return the t interval over groups for a number and its values with one group left out at a time.

    `kind` is "share" for rates of images (the Wilson form, never more certain than the images would be if they were
    independent), "bounded" for other numbers from 0 to 1 (average precision, IoU), "plain" for the rest, which is cut
    off at `bounds`.
    """
    variance = jackknife_variance(value, left_out)
    if not math.isfinite(variance):
        return math.nan, math.nan
    quantile = student_quantile((1 + confidence) / 2, _freedom(clusters))
    if kind == "plain":
        half = quantile * math.sqrt(variance)
        return max(bounds[0], value - half), min(bounds[1], value + half)
    value = min(1.0, max(0.0, value))
    alike = value * (1 - value)
    weight = _PRIOR_GROUPS if kind == "share" else _PRIOR_BOUNDED
    prior = alike / clusters.effective
    variance = (clusters.count * variance + weight * prior) / (clusters.count + weight)
    # Where the groups agree on 0 or 1 each of them counts once.
    n = alike / variance if variance > 0 and alike > 0 else clusters.effective
    return _wilson(value, min(n, clusters.n) if kind == "share" else n, quantile)


def grouped_share(
    hits: NDArray[Any], counts: NDArray[Any], clusters: Clusters, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the interval of a share, hits / counts, from the hits and counts of each image, both (n,)."""
    own, total = clusters.sums(np.asarray(hits, np.float64)), clusters.sums(np.asarray(counts, np.float64))
    there = total > 0
    own, total = own[there], total[there]
    if not len(total):
        return math.nan, math.nan
    if len(total) == 1:
        # One group says nothing of others.
        return 0.0, 1.0
    kept = Clusters(np.repeat(np.arange(len(total)), np.maximum(1, np.round(total)).astype(np.int64)))
    with np.errstate(invalid="ignore", divide="ignore"):
        left = (own.sum() - own) / (total.sum() - total)
    return grouped_interval(float(own.sum() / total.sum()), left, kept, kind="share", confidence=confidence)


def _freedom(clusters: Clusters) -> float:
    return max(1.0, clusters.effective - 1)


def _wilson(p: float, n: float, z: float) -> tuple[float, float]:
    zz = z * z / n
    middle = (p + zz / 2) / (1 + zz)
    half = z / (1 + zz) * math.sqrt(p * (1 - p) / n + zz / (4 * n))
    return (0.0 if p == 0 else max(0.0, middle - half)), (1.0 if p == 1 else min(1.0, middle + half))


def t_p_value(value: float, left_out: NDArray[np.float64], clusters: Clusters) -> float:
    """Return the two-sided p-value that a number is 0, by its values with one group left out at a time."""
    variance = jackknife_variance(value, left_out)
    if not math.isfinite(variance) or value == 0:
        return 1.0
    if variance == 0:
        return 2.0 ** (1 - clusters.count)
    return 2 * (1 - _student_cdf(abs(value) / math.sqrt(variance), _freedom(clusters)))


def effective_n(scores: NDArray[np.float64], clusters: Clusters) -> float:
    """Return how many independent images these are worth: n / (1 + (m - 1) ρ), with ρ the intraclass correlation of
    the images' scores by the analysis of variance (Kish 1965), m the mean group size as an image sees it.

    >>> round(effective_n(np.array([1.0, 1, 0, 0]), Clusters(np.array([0, 0, 1, 1]))), 1)
    2.0
    """
    known = np.isfinite(scores)
    ids, values = np.unique(clusters.ids[known], return_inverse=True)[1], scores[known]
    n = len(values)
    if n < 2:
        return float(n)
    sizes = np.bincount(ids).astype(np.float64)
    k = len(sizes)
    seen = float((sizes**2).sum() / n)
    if k in (1, n):
        return float(k)
    means = np.bincount(ids, values) / sizes
    within = float(((values - means[ids]) ** 2).sum()) / (n - k)
    between = float((sizes * (means - values.mean()) ** 2).sum()) / (k - 1)
    typical = (n - seen) / (k - 1)
    spread = between + (typical - 1) * within
    # Where all scores are the same nothing shows how alike images of one group are: each group counts once.
    rho = 1.0 if spread <= 0 else min(1.0, max(0.0, (between - within) / spread))
    return n / (1 + (seen - 1) * rho)


def flip_p_value(differences: NDArray[np.float64], *, rng: np.random.Generator) -> float:
    """Return the two-sided p-value that differences (count,), one per group, are as often above 0 as below: the
    sign-flip test (Fisher 1935), exact up to 12 groups that differ, else by 4,000 random flips.

    >>> flip_p_value(np.array([1.0, 2.0, 1.0]), rng=np.random.default_rng(0))
    0.25
    """
    moved = differences[differences != 0]
    if not len(moved):
        return 1.0
    sums, exact = _flipped(moved, rng)
    extreme = int((np.abs(sums) >= abs(moved.sum()) - 1e-9).sum())
    return extreme / len(sums) if exact else (extreme + 1) / (len(sums) + 1)


def weaker_p_value(
    member: NDArray[np.bool_], scores: NDArray[np.float64], clusters: Clusters, *, rng: np.random.Generator
) -> float:
    """Return the one-sided p-value that the images of a slice, bool (n,), score no lower than the rest.

    Group scores of the regression of the score on membership have their signs flipped (Kline & Santos 2012), so
    images of one group never count as independent, wherever the slice cuts through it.
    """
    inside = member.astype(np.float64)
    parts = clusters.sums((inside - inside.mean()) * (scores - scores.mean()))
    moved = parts[parts != 0]
    if not len(moved):
        return 1.0
    sums, exact = _flipped(moved, rng)
    extreme = int((sums <= moved.sum() + 1e-9).sum())
    return extreme / len(sums) if exact else (extreme + 1) / (len(sums) + 1)


def _flipped(values: NDArray[np.float64], rng: np.random.Generator) -> tuple[NDArray[np.float64], bool]:
    if len(values) <= _ENUMERATED:
        signs = 1 - 2 * ((np.arange(2 ** len(values))[:, None] >> np.arange(len(values))) & 1)
        return signs @ values, True
    rows = max(1, 4_000_000 // len(values))
    parts = [
        (1 - 2 * rng.integers(2, size=(min(rows, _FLIPS - start), len(values)))) @ values
        for start in range(0, _FLIPS, rows)
    ]
    return np.concatenate(parts), False


def two_sample_p_value(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    first_groups: Clusters,
    second_groups: Clusters,
    *,
    rng: np.random.Generator,
    rounds: int = 2000,
) -> float:
    """Return the two-sided p-value that two sets of images have the same mean score: a permutation of whole groups.

    The statistic is the difference divided by its standard error over groups, so that sets whose groups differ in size
    and spread may be exchanged (Chung & Romano 2013). 1 where one side has fewer than two groups.
    """
    sizes = np.concatenate([first_groups.sizes, second_groups.sizes]).astype(np.float64)
    sums = np.concatenate([first_groups.sums(first), second_groups.sums(second)])
    k, total = first_groups.count, len(sizes)
    if min(k, total - k) < 2:
        return 1.0
    seen = abs(_studentised(np.arange(total)[None] < k, sizes, sums)[0])
    order = rng.random((rounds, total)).argsort(1).argsort(1) < k
    drawn = np.abs(_studentised(order, sizes, sums))
    return float((1 + (drawn >= seen - 1e-9).sum()) / (rounds + 1))


def _studentised(
    inside: NDArray[np.bool_], sizes: NDArray[np.float64], sums: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the studentised difference of means for rows of membership, bool (R, groups)."""
    means, variances = [], []
    for member in (inside.astype(np.float64), (~inside).astype(np.float64)):
        n, k = member @ sizes, member.sum(1)
        mean = (member @ sums) / n
        residual = (sums[None] - mean[:, None] * sizes[None]) ** 2
        variances.append((member * residual).sum(1) / n**2 * k / np.maximum(k - 1, 1))
        means.append(mean)
    spread = np.sqrt(np.maximum(variances[0] + variances[1], 1e-12))
    found: NDArray[np.float64] = (means[0] - means[1]) / spread
    return found


@lru_cache(maxsize=256)
def student_quantile(p: float, freedom: float) -> float:
    """Return the quantile of Student's t distribution for p in (0.5, 1), by bisection of its exact distribution.

    >>> round(student_quantile(0.975, 4), 4)
    2.7764
    """
    low, high = 0.0, 1.0
    while _student_cdf(high, freedom) < p and high < 1e6:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_cdf(middle, freedom) < p else (low, middle)
    return (low + high) / 2


def _student_cdf(t: float, freedom: float) -> float:
    """Return P(T <= t) for t >= 0: 1 - I(ν / (ν + t²); ν/2, 1/2) / 2."""
    return 1 - _beta_share(freedom / (freedom + t * t), freedom / 2, 0.5) / 2


def _beta_share(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function by Lentz's continued fraction (Press et al. 2007, 6.4)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_share(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    tiny = 1e-300
    c, d = 1.0, 1 / max(1 - (a + b) * x / (a + 1), tiny)
    result = d
    for m in range(1, 400):
        for top in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + top * d or tiny)
            c = 1 + top / c or tiny
            result *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return front * result
