"""How good restored images are, over many of them: the mean of each image's number, with its interval."""

__all__ = ["HIGHEST_PSNR", "blind_psnr", "capped_psnr", "mean_metrics", "weighted_means"]

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Metric
from eyewright.metrics.bootstrap import resample
from eyewright.metrics.fidelity import psnr

HIGHEST_PSNR = 100.0
"""What equal pictures count as in a mean, in dB."""


def capped_psnr(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the PSNR of two pictures in dB, at most `HIGHEST_PSNR`.

    >>> capped_psnr(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8))
    100.0
    """
    return min(HIGHEST_PSNR, psnr(a, b))


def blind_psnr(found: NDArray[np.uint8], noisy: NDArray[np.uint8], hidden: NDArray[np.bool_], sigma: float) -> float:
    """Return an estimate of the PSNR without a clean picture, from pixels that were hidden from whoever `found` them.

    Noise that is independent between pixels adds its variance to the error at hidden pixels (Batson and Royer 2019);
    `sigma` squared is taken off again, and of what is left at least a tenth of it counts.
    """
    apart = found.astype(np.float64)[hidden] - noisy.astype(np.float64)[hidden]
    error = max(float(np.mean(apart**2)) - sigma**2, sigma**2 / 10, 1e-4)
    return min(HIGHEST_PSNR, 10 * math.log10(255**2 / error))


def weighted_means(
    values: Mapping[str, NDArray[np.float64]], weights: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Return the means of values (N,) by name under weights of the images, (R, N) to (R,)."""
    total = weights.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: weights @ own / total for name, own in values.items()}


def mean_metrics(
    values: Mapping[str, NDArray[np.float64]],
    *,
    rng: np.random.Generator,
    groups: NDArray[Any] | None = None,
    replicates: int = 1000,
    units: Mapping[str, str] | None = None,
) -> dict[str, Metric]:
    """Return the mean of every number, (N,) by name, with its interval over `groups` (N,); numbers that are not finite
    for every picture are left out."""
    kept = {name: np.asarray(own, np.float64) for name, own in values.items() if np.isfinite(own).all()}
    n = len(next(iter(kept.values()), ()))
    if not n:
        return {}
    plan = resample(n, replicates=replicates, rng=rng, groups=groups)
    point = weighted_means(kept, np.ones((1, n)))
    drawn = [weighted_means(kept, w) for w in plan.weights()]
    result = {}
    for name, number in point.items():
        value = float(number[0])
        low, high = plan.interval(value, np.concatenate([d[name] for d in drawn]), kind="plain")
        ends = [float(v) if math.isfinite(v) else None for v in (low, high)]
        unit = (units or {}).get(name, "")
        result[name] = Metric(value, ends[0], ends[1], n, plan.method, groups=plan.n_groups, unit=unit)
    return result
