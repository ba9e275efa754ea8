"""Intervals that say how far a number can be trusted."""

__all__ = [
    "ClassNumbers",
    "Resampling",
    "bootstrap_weights",
    "classification_metrics",
    "fisher_less",
    "mcnemar_exact",
    "paired_differences",
    "percentile_interval",
    "rate_metric",
    "resample",
    "share_interval",
    "wilson_interval",
]

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Metric
from eyewright.metrics import classification as c
from eyewright.metrics.groups import Clusters, Kind, clusters_of, grouped_interval, grouped_share

_CHUNK_CELLS = 4_000_000
_RANKED_CELLS = 30_000_000
_OF_COUNTS = frozenset(
    {"accuracy", "balanced_accuracy"}
    | {f"{kind}_{mean}" for kind in ("precision", "recall", "f1") for mean in ("macro", "micro", "weighted")}
)
_RANKED = frozenset({"auc", "average_precision"})
_FREE = (-math.inf, math.inf)
_BOUNDS = {"kappa": (-1.0, 1.0), "log_loss": (0.0, math.inf), "brier": (0.0, 2.0), "ece": (0.0, 1.0)}


def wilson_interval(successes: float, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a proportion (Wilson 1927); it stays honest at 0 and n of n.

    >>> low, high = wilson_interval(50, 50)
    >>> round(low, 4), high
    (0.9287, 1.0)
    """
    if n == 0:
        return math.nan, math.nan
    z = _normal_quantile((1 + confidence) / 2)
    p, zz = successes / n, z * z / n
    middle = (p + zz / 2) / (1 + zz)
    half = z / (1 + zz) * math.sqrt(p * (1 - p) / n + zz / (4 * n))
    low = 0.0 if successes == 0 else middle - half
    high = 1.0 if successes == n else middle + half
    return low, high


def percentile_interval(replicates: NDArray[np.float64], *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of bootstrap replicates (Efron 1979), leaving out those that are not defined."""
    finite = replicates[np.isfinite(replicates)]
    if not len(finite):
        return math.nan, math.nan
    tail = (1 - confidence) / 2
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)


def bootstrap_weights(
    n: int,
    *,
    replicates: int,
    rng: np.random.Generator,
    groups: NDArray[Any] | None = None,
) -> Iterator[NDArray[np.float64]]:
    """Yield resampling counts, float (chunk, n), `replicates` rows in all; each row draws n samples with replacement.

    With `groups`, (n,), whole groups are drawn: frames of one video are not n independent samples.
    """
    ids = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = int(ids.max()) + 1 if n else 0
    chunk = max(1, min(replicates, _CHUNK_CELLS // max(n, 1)))
    for start in range(0, replicates, chunk):
        rows = min(chunk, replicates - start)
        drawn = rng.integers(units, size=(rows, units)) + np.arange(rows)[:, None] * units
        counts = np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units)
        yield counts[:, ids].astype(np.float64)


@dataclass(frozen=True, eq=False)
class Resampling:
    """How the interval of any number is found that can be computed under weights of the images, (R, n) -> (R,).

    Without groups, or with many, by the bootstrap; with up to 200 groups by leaving out one group at a time.
    """

    n: int
    replicates: int
    rng: np.random.Generator
    groups: NDArray[Any] | None
    clusters: Clusters | None

    @property
    def by_t(self) -> bool:
        return self.clusters is not None and self.clusters.by_t

    @property
    def method(self) -> str:
        return "t over groups" if self.by_t else "bootstrap"

    @property
    def n_groups(self) -> int | None:
        return None if self.clusters is None else self.clusters.count

    def weights(self) -> Iterator[NDArray[np.float64]]:
        """Yield the weights under which the number is to be computed, float (chunk, n)."""
        if self.clusters is None or not self.clusters.by_t:
            yield from bootstrap_weights(self.n, replicates=self.replicates, rng=self.rng, groups=self.groups)
            return
        left = self.clusters.left_out()
        chunk = max(1, _CHUNK_CELLS // max(self.n, 1))
        for start in range(0, len(left), chunk):
            yield left[start : start + chunk]

    def interval(
        self,
        value: float,
        samples: NDArray[np.float64],
        *,
        kind: Kind = "bounded",
        confidence: float = 0.95,
        bounds: tuple[float, float] = (-math.inf, math.inf),
    ) -> tuple[float, float]:
        """Return the interval of a number from its values under `weights`; see `grouped_interval` for `kind`."""
        if self.clusters is not None and self.clusters.by_t:
            return grouped_interval(value, samples, self.clusters, kind=kind, confidence=confidence, bounds=bounds)
        return percentile_interval(samples, confidence=confidence)

    def bounded(self, value: float, samples: NDArray[np.float64]) -> tuple[float, float]:
        """Return the interval of a number from 0 to 1 that no counts stand behind (average precision, IoU)."""
        return self.widened(value, *self.interval(value, samples, kind="bounded"))

    def widened(self, value: float, low: float, high: float) -> tuple[float, float]:
        """Return an interval, or Wilson's over images where it is a point: one image, or nothing found on all of two,
        does not prove that others are like them.

        >>> low, high = Resampling(2, 9, np.random.default_rng(0), None, None).widened(0.0, 0.0, 0.0)
        >>> low, round(high, 2)
        (0.0, 0.66)
        """
        return wilson_interval(value * self.n, self.n) if low == high else (low, high)


def resample(n: int, *, replicates: int, rng: np.random.Generator, groups: NDArray[Any] | None) -> Resampling:
    """Return how intervals over `n` images are found; `groups`, (n,), names what each image belongs to."""
    return Resampling(n, replicates, rng, groups, clusters_of(groups))


def share_interval(
    hits: NDArray[Any], counts: NDArray[Any], clusters: Clusters | None, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the interval of a share from each image's hits and counts, both (n,): Wilson's, or that over groups."""
    if clusters is None:
        return wilson_interval(float(np.sum(hits)), int(np.sum(counts)), confidence=confidence)
    return grouped_share(hits, counts, clusters, confidence=confidence)


def rate_metric(hits: NDArray[Any], *, groups: NDArray[Any] | None = None) -> Metric:
    """Return the mean of `hits`, (n,) of 0 and 1, with Wilson's interval, or with `groups`, (n,), that over groups; not
    defined without hits.

    >>> print(rate_metric(np.array([True, True, False, True])))
    0.750 [0.301, 0.954] n=4
    """
    if not len(hits):
        return Metric(None, n=0)
    clusters = clusters_of(groups)
    low, high = share_interval(hits, np.ones(len(hits)), clusters)
    if clusters is None:
        return Metric(float(np.mean(hits)), low, high, len(hits), method="wilson")
    return Metric(float(np.mean(hits)), low, high, len(hits), method="t over groups", groups=clusters.count)


def classification_metrics(
    true: NDArray[np.int64],
    scores: NDArray[np.floating[Any]],
    *,
    rng: np.random.Generator,
    replicates: int = 1000,
    confidence: float = 0.95,
    groups: NDArray[Any] | None = None,
) -> dict[str, Metric]:
    """Measure predictions by every classification metric, each with a bootstrap interval and n.

    `true` is int (N,) in [0, C), `scores` float (N, C). Where the bootstrap of a count collapses to a point (all right,
    or all wrong) the accuracy's Wilson interval is given instead: 50 of 50 right does not prove 100 %. With `groups`,
    (N,), intervals are over groups, and so is that of Wilson.

    >>> scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    >>> print(classification_metrics(np.array([0, 1, 1]), scores, rng=np.random.default_rng(0))["accuracy"].value)
    0.6666666666666666
    """
    n = len(true)
    if n == 0:
        return {}
    measured = ClassNumbers(true, scores)
    plan = resample(n, replicates=replicates, rng=rng, groups=groups)
    point = {k: float(v[0]) for k, v in measured(np.ones((1, n))).items()}
    point |= {k: float(v[0]) for k, v in measured.ranks(np.ones((1, n))).items()}
    drawn: dict[str, list[NDArray[np.float64]]] = {name: [] for name in point}
    # Ranking needs a sort a class and replicate; it is bounded so that a large test set does not take minutes.
    ranked_at_most = max(25, min(replicates, _RANKED_CELLS // max(1, scores.size)))
    if plan.by_t:
        # Every group is left out once, or there is no interval.
        ranked_at_most = plan.n_groups or 0 if scores.size * (plan.n_groups or 0) <= 10 * _RANKED_CELLS else 0
    done = 0
    for weights in plan.weights():
        found = measured(weights)
        if done < ranked_at_most:
            found |= measured.ranks(weights[: ranked_at_most - done])
        done += len(weights)
        for name, value in found.items():
            drawn[name].append(value)
    result = {}
    for name, number in point.items():
        samples = np.concatenate([*drawn[name], np.zeros(0)])
        kind: Kind = "share" if name in _OF_COUNTS else "bounded" if name in _RANKED else "plain"
        low, high = plan.interval(number, samples, kind=kind, confidence=confidence, bounds=_BOUNDS.get(name, _FREE))
        method = plan.method
        if low == high and (name in _OF_COUNTS or name == "kappa"):
            low, high = share_interval(measured.right, np.ones(n), plan.clusters, confidence=confidence)
            method = "wilson" if plan.clusters is None else "t over groups"
            if name == "kappa":
                chance = float(((np.bincount(true) / n) ** 2).sum())
                low, high = ((v - chance) / (1 - chance) if chance < 1 else math.nan for v in (low, high))
        result[name] = Metric(_finite(number), _finite(low), _finite(high), n, method, confidence, plan.n_groups)
    return result


class ClassNumbers:
    """One model's answers, ready to be measured under many sets of sample weights, (B, N) -> (B,) a metric."""

    def __init__(self, true: NDArray[np.int64], scores: NDArray[np.floating[Any]]) -> None:
        self.true = np.asarray(true, np.int64)
        p = np.asarray(scores, dtype=np.float64)
        self.p = p / np.maximum(p.sum(1, keepdims=True), np.finfo(np.float64).tiny)
        self.n, self.n_classes = p.shape
        predicted = self.p.argmax(1)
        self.right, self.top = predicted == self.true, self.p.max(1)
        self.losses = c.log_losses(self.true, self.p)
        self.brier = (self.p**2).sum(1) - 2 * self.p[np.arange(self.n), self.true] + 1
        self._counted = ((self.true, slice(None)), (self.true, self.right), (predicted, slice(None)))

    def __call__(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        truth, right, answers = (
            np.array([np.bincount(ids[rows], w[rows], minlength=self.n_classes) for w in weights])
            for ids, rows in self._counted
        )
        confusion = c.Margins(right, truth, answers)
        total = weights.sum(1)
        values = {
            "accuracy": c.accuracy(confusion),
            "balanced_accuracy": c.balanced_accuracy(confusion),
            "kappa": c.cohen_kappa(confusion),
            "log_loss": c._ratio(weights @ self.losses, total),
            "brier": c._ratio(weights @ self.brier, total),
            "ece": c._weighted_ece(self.top, self.right, weights, 15),
        }
        averages: tuple[c.Average, ...] = ("macro", "micro", "weighted")
        for average in averages:
            triple = c.precision_recall_f1(confusion, average=average)
            values |= {f"{name}_{average}": v for name, v in zip(triple._fields, triple, strict=True)}
        return values

    def ranks(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {
            "auc": c._weighted_auc(self.true, self.p, weights),
            "average_precision": _weighted_ap(self.true, self.p, weights),
        }


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Return the two-sided p-value that two models are equally often right (McNemar 1947, exact binomial form).

    `only_a` counts the images that only the first got right, `only_b` those that only the second did.

    >>> round(mcnemar_exact(2, 10), 4)
    0.0386
    """
    n, k = only_a + only_b, min(only_a, only_b)
    if n == 0:
        return 1.0
    log_half = -n * math.log(2)
    below = sum(
        math.exp(math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) + log_half) for i in range(k + 1)
    )
    return min(1.0, 2 * below)


def fisher_less(right_a: int, n_a: int, right_b: int, n_b: int) -> float:
    """Return the one-sided p-value that group A is right no less often than group B (Fisher's exact test, 1922).

    >>> round(fisher_less(2, 10, 9, 10), 4)
    0.0027
    """
    right, n = right_a + right_b, n_a + n_b

    def log_choose(a: int, b: int) -> float:
        return math.lgamma(a + 1) - math.lgamma(b + 1) - math.lgamma(a - b + 1)

    lowest = max(0, right - n_b)
    whole = log_choose(n, right)
    terms = (log_choose(n_a, k) + log_choose(n_b, right - k) - whole for k in range(lowest, right_a + 1))
    return min(1.0, sum(math.exp(t) for t in terms))


def paired_differences(
    true: NDArray[np.int64],
    scores_a: NDArray[np.floating[Any]],
    scores_b: NDArray[np.floating[Any]],
    *,
    rng: np.random.Generator,
    replicates: int = 2000,
    confidence: float = 0.95,
    groups: NDArray[Any] | None = None,
) -> dict[str, Metric]:
    """Return B minus A for every metric of counts and scores, with the paired bootstrap interval.

    Both models are measured on the same resamples, so that what is hard for both cancels out.
    """
    a, b = ClassNumbers(true, scores_a), ClassNumbers(true, scores_b)
    n = len(true)
    plan = resample(n, replicates=replicates, rng=rng, groups=groups)
    ones = np.ones((1, n))
    first, second = a(ones), b(ones)
    drawn: dict[str, list[NDArray[np.float64]]] = {name: [] for name in first}
    for weights in plan.weights():
        left, right = a(weights), b(weights)
        for name, values in drawn.items():
            values.append(right[name] - left[name])
    result = {}
    method = "paired t over groups" if plan.by_t else "paired bootstrap"
    for name, values in drawn.items():
        difference = float(second[name][0] - first[name][0])
        low, high = plan.interval(difference, np.concatenate(values), kind="plain", confidence=confidence)
        result[name] = Metric(_finite(difference), _finite(low), _finite(high), n, method, confidence, plan.n_groups)
    return result


def _weighted_ap(true: NDArray[np.int64], scores: NDArray[np.float64], weights: NDArray[np.float64]) -> Any:
    """Return the average precision for every row of sample weights, (B, N) -> (B,)."""
    total = np.zeros(len(weights))
    classes = np.zeros(len(weights))
    for k in range(scores.shape[1]):
        order = np.argsort(-scores[:, k], kind="stable")
        ranked = scores[order, k]
        last = np.r_[np.flatnonzero(np.diff(ranked)), len(ranked) - 1]
        w = weights[:, order]
        hits = np.cumsum(w * (true == k)[order], axis=1)[:, last]
        answers = np.cumsum(w, axis=1)[:, last]
        step = np.diff(hits, axis=1, prepend=0.0)
        ap = c._ratio((step * c._ratio(hits, answers, undefined=0.0)).sum(1), hits[:, -1])
        defined = np.isfinite(ap)
        total[defined] += ap[defined]
        classes += defined
    return c._ratio(total, classes)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _normal_quantile(p: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(p)
