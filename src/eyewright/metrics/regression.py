"""How far numbers are from the true ones: errors, explained variance, coverage of intervals; each with an interval."""

__all__ = [
    "NumberErrors",
    "conformal_reach",
    "deviations",
    "errors_by_range",
    "regression_metrics",
]

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Metric
from eyewright.metrics.bootstrap import resample, share_interval
from eyewright.metrics.conformal import conformal_quantile
from eyewright.metrics.groups import clusters_of

_FREE = (-math.inf, math.inf)
_BOUNDS = {"mae": (0.0, math.inf), "rmse": (0.0, math.inf), "median_error": (0.0, math.inf), "r2": (-math.inf, 1.0)}


class NumberErrors:
    """The metrics of found and true numbers, float (N, K), under weights of the images, (R, N) to (R,) each.

    Of several numbers, which may have several units, errors are in standard deviations of the true numbers (`unit`,
    (K,), or those of `true`), and each metric is the mean over them; of one number errors are in its unit. `reach` (K,)
    is half the width of each prediction interval.

    >>> measured = NumberErrors(np.array([[1.0], [3.0]]), np.array([[2.0], [3.0]]))
    >>> {k: float(v[0]) for k, v in measured(np.ones((1, 2))).items()}["mae"]
    0.5
    """

    def __init__(
        self,
        true: NDArray[Any],
        found: NDArray[Any],
        reach: NDArray[np.float64] | None = None,
        unit: NDArray[np.float64] | None = None,
    ) -> None:
        self.true, self.found = np.asarray(true, np.float64), np.asarray(found, np.float64)
        errors = np.abs(self.found - self.true)
        # A bound that the answer touches is inside; float32 answers must not fall out by rounding.
        self.inside = None if reach is None else (errors <= np.asarray(reach) * (1 + 1e-6)).mean(1)
        several = self.true.shape[1] > 1
        self.unit = (deviations(self.true) if unit is None else unit) if several else np.ones(1)
        self.errors = errors / self.unit

    def __call__(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Return "mae", "rmse", "r2", "median_error", and "coverage" where there are intervals."""
        with np.errstate(invalid="ignore", divide="ignore"):
            share = weights / weights.sum(1, keepdims=True)
            squares = share @ self.errors**2
            # Around the mean of each resample; squares of centred numbers lose no digits.
            centred = (self.true - self.true.mean(0) if len(self.true) else self.true) / self.unit
            variance = share @ centred**2 - (share @ centred) ** 2
            r2 = np.where(variance > 1e-12 * np.maximum((centred**2).mean(0), 1e-300), 1 - squares / variance, np.nan)
            found = {
                "mae": (share @ self.errors).mean(1),
                "rmse": np.sqrt(squares).mean(1),
                "r2": r2.mean(1),
                "median_error": self._medians(weights).mean(1),
            }
            if self.inside is not None:
                # Not the sum of shares: all of them must be 1 to the bit.
                found["coverage"] = (weights @ self.inside) / weights.sum(1)
        return found

    def _medians(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        columns = []
        for k in range(self.errors.shape[1]):
            order = np.argsort(self.errors[:, k])
            ordered, total = self.errors[order, k], np.cumsum(weights[:, order], 1)
            half = total[:, -1:] / 2
            low = np.minimum((total < half).sum(1), len(ordered) - 1)
            high = np.minimum((total <= half).sum(1), len(ordered) - 1)
            columns.append((ordered[low] + ordered[high]) / 2)
        return np.stack(columns, 1)


def deviations(true: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviation of each number, (K,); NaN where all are the same, or only one is known."""
    spread = true.std(0) if len(true) else np.zeros(true.shape[1])
    return np.where(spread > 1e-12 * np.maximum(np.abs(true).max(0, initial=0.0), 1e-300), spread, np.nan)


def regression_metrics(
    true: NDArray[Any],
    found: NDArray[Any],
    *,
    reach: NDArray[np.float64] | None = None,
    rng: np.random.Generator,
    replicates: int = 1000,
    groups: NDArray[Any] | None = None,
    unit: NDArray[np.float64] | None = None,
) -> dict[str, Metric]:
    """Measure found against true numbers, both float (N, K), by every metric, with intervals over `groups` (N,).

    Of several numbers errors are in standard deviations, `unit` (K,), or those of the true ones; see `NumberErrors`.
    """
    n = len(true)
    if n == 0:
        return {}
    measured, plan = NumberErrors(true, found, reach, unit), resample(n, replicates=replicates, rng=rng, groups=groups)
    point = measured(np.ones((1, n)))
    drawn: dict[str, list[NDArray[np.float64]]] = {name: [] for name in point}
    for weights in plan.weights():
        for name, values in measured(weights).items():
            drawn[name].append(values)
    result = {}
    for name, number in point.items():
        value, method = float(number[0]), plan.method
        samples = np.concatenate(drawn[name])
        kind: Any = "share" if name == "coverage" else "plain"
        low, high = plan.interval(value, samples, kind=kind, bounds=_BOUNDS.get(name, _FREE))
        if name == "coverage" and low == high and measured.inside is not None:
            low, high = share_interval(measured.inside, np.ones(n), plan.clusters)
            method = "wilson" if plan.clusters is None else method
        result[name] = Metric(_finite(value), _finite(low), _finite(high), n, method, 0.95, plan.n_groups)
    return result


def conformal_reach(
    errors: NDArray[np.float64], *, level: float = 0.9, groups: NDArray[Any] | None = None
) -> NDArray[np.float64] | None:
    """Return half the width of a split conformal interval, (K,), from absolute errors (N, K) of images that neither
    were trained on nor chose anything; None where there are too few for `level`.

    It is the `conformal_quantile` of each number's errors: a new image of the same kind, with `groups` (N,) one of a
    new group, lies inside with at least `level`.

    >>> conformal_reach(np.arange(1.0, 20.0)[:, None]).tolist()
    [18.0]
    >>> conformal_reach(np.ones((8, 1))) is None
    True
    """
    found = [conformal_quantile(errors[:, k], level, groups) for k in range(errors.shape[1])]
    known = [q for q in found if q is not None]
    return np.array(known) if known else None


def errors_by_range(
    true: NDArray[np.float64],
    found: NDArray[np.float64],
    *,
    rng: np.random.Generator,
    groups: NDArray[Any] | None = None,
    ranges: int = 5,
) -> list[dict[str, Any]]:
    """Return MAE and bias of one number, (N,) both, in `ranges` of the true value that hold about as many images."""
    edges = np.unique(np.quantile(true, np.linspace(0, 1, ranges + 1)))
    rows = []
    for k in range(max(1, len(edges) - 1)):
        low, high = edges[k], edges[min(k + 1, len(edges) - 1)]
        of = (true >= low) & ((true < high) if k < len(edges) - 2 else (true <= high))
        if not of.any():
            continue
        own = None if groups is None else groups[of]
        mae = regression_metrics(true[of, None], found[of, None], rng=rng, groups=own, replicates=500)["mae"]
        held = clusters_of(own)
        rows.append(
            {
                "from": float(low),
                "to": float(high),
                "n": int(of.sum()),
                "groups": None if held is None else held.count,
                "mae": {"value": mae.value, "low": mae.low, "high": mae.high},
                "bias": float((found[of] - true[of]).mean()),
            }
        )
    return rows


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
