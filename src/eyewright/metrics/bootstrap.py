"""Intervals that say how far a number can be trusted."""

__all__ = ["bootstrap_weights", "classification_metrics", "percentile_interval", "wilson_interval"]

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Metric
from eyewright.metrics import classification as c

_CHUNK_CELLS = 4_000_000
_OF_COUNTS = frozenset(
    {"accuracy", "balanced_accuracy"}
    | {f"{kind}_{mean}" for kind in ("precision", "recall", "f1") for mean in ("macro", "micro", "weighted")}
)


def wilson_interval(successes: float, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Give the score interval of a proportion (Wilson 1927); it stays honest at 0 and n of n.

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
    """Give the percentile interval of bootstrap replicates (Efron 1979), leaving out those that are not defined."""
    finite = replicates[np.isfinite(replicates)]
    if not len(finite):
        return math.nan, math.nan
    tail = (1 - confidence) / 2
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)


def bootstrap_weights(
    n: int, *, replicates: int, rng: np.random.Generator, groups: NDArray[Any] | None = None
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
    or all wrong) the accuracy's Wilson interval is given instead: 50 of 50 right does not prove 100 %.

    >>> scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    >>> print(classification_metrics(np.array([0, 1, 1]), scores, rng=np.random.default_rng(0))["accuracy"].value)
    0.6666666666666666
    """
    n, n_classes = scores.shape
    p = np.asarray(scores, dtype=np.float64)
    p = p / np.maximum(p.sum(1, keepdims=True), np.finfo(np.float64).tiny)
    predicted = p.argmax(1)
    right, top = predicted == true, p.max(1)
    losses = c.log_losses(true, p)
    brier = (p**2).sum(1) - 2 * p[np.arange(n), true] + 1
    cell = true * n_classes + predicted
    present, cell_at = np.unique(cell, return_inverse=True)
    member = np.zeros((n, len(present)))
    member[np.arange(n), cell_at] = 1.0

    def measure(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        confusion = np.zeros((len(weights), n_classes * n_classes))
        confusion[:, present] = weights @ member
        confusion = confusion.reshape(-1, n_classes, n_classes)
        total = weights.sum(1)
        values = {
            "accuracy": c.accuracy(confusion),
            "balanced_accuracy": c.balanced_accuracy(confusion),
            "kappa": c.cohen_kappa(confusion),
            "auc": c._weighted_auc(true, p, weights),
            "log_loss": weights @ losses / total,
            "brier": weights @ brier / total,
            "ece": c._weighted_ece(top, right, weights, 15),
        }
        averages: tuple[c.Average, ...] = ("macro", "micro", "weighted")
        for average in averages:
            triple = c.precision_recall_f1(confusion, average=average)
            values |= {f"{name}_{average}": v for name, v in zip(triple._fields, triple, strict=True)}
        return values

    # Average precision needs a sort a replicate; it is bounded so that a large test set does not take minutes.
    few = min(replicates, max(100, 30_000_000 // max(1, n * n_classes)))
    point = {k: float(v[0]) for k, v in measure(np.ones((1, n))).items()} if n else {}
    point["average_precision"] = c.average_precision(true, p) if n else math.nan
    drawn: dict[str, list[NDArray[np.float64]]] = {}
    for weights in bootstrap_weights(n, replicates=replicates, rng=rng, groups=groups) if n else ():
        for name, value in measure(weights).items():
            drawn.setdefault(name, []).append(value)
        have = sum(map(len, drawn.get("average_precision", [])))
        if have < few:
            drawn.setdefault("average_precision", []).append(_weighted_ap(true, p, weights[: few - have]))
    result = {}
    for name, number in point.items():
        low, high = percentile_interval(np.concatenate(drawn[name]), confidence=confidence) if n else (math.nan,) * 2
        method = "bootstrap"
        if low == high and (name in _OF_COUNTS or name == "kappa"):
            low, high = wilson_interval(float(right.sum()), n, confidence=confidence)
            method = "wilson"
            if name == "kappa":
                chance = float(((np.bincount(true, minlength=n_classes) / n) ** 2).sum())
                low, high = ((v - chance) / (1 - chance) if chance < 1 else math.nan for v in (low, high))
        result[name] = Metric(_finite(number), _finite(low), _finite(high), n, method, confidence)
    return result


def _weighted_ap(true: NDArray[np.int64], scores: NDArray[np.float64], weights: NDArray[np.float64]) -> Any:
    """Give the average precision for every row of sample weights, (B, N) -> (B,)."""
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
