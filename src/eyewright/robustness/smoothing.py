"""Randomised smoothing: the class that wins under Gaussian noise cannot change within a radius (Cohen et al. 2019).

The smoothed classifier is f(x + noise) with f = model(round(clip(·))): the noise is added before pixels are clipped and
rounded to what the model takes, so that the certificate holds for a model of 8-bit images, and needs no torch.
"""

__all__ = ["ABSTAINED", "certify_images", "largest_radius", "radius_of"]

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from eyewright.core.rng import generator
from eyewright.metrics.binomial import clopper_pearson_lower

ABSTAINED = -1
_AT_ONCE = 1000

Probabilities = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Pixels uint8 (N, H, W, C) to probabilities (N, C)."""


def certify_images(
    probabilities: Probabilities,
    pixels: NDArray[np.uint8],
    *,
    sigma: float,
    n0: int,
    samples: int,
    alpha: float,
    seed: int,
    rows: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the class of the smoothed model for each image, `ABSTAINED` where it does not win surely, and the l2
    radius within which it cannot change, both (N,).

    `n0` samples choose the class and `samples` others bound its probability, at confidence 1 - `alpha` per image.
    `rows` name the images, so that each has noise of its own whatever part is certified.
    """
    n = len(pixels)
    classes, radii = np.full(n, ABSTAINED, np.int64), np.zeros(n)
    names = np.arange(n) if rows is None else rows
    for i in range(n):
        rng = generator(seed, "smoothing", repr(sigma), int(names[i]))
        chosen = int(_count(probabilities, pixels[i], sigma, n0, rng).argmax())
        hits = int(_count(probabilities, pixels[i], sigma, samples, rng)[chosen])
        radius = radius_of(hits, samples, sigma, alpha)
        if radius is not None:
            classes[i], radii[i] = chosen, radius
    return classes, radii


def radius_of(hits: int, samples: int, sigma: float, alpha: float) -> float | None:
    """Return the certified l2 radius of a class that won `hits` of `samples`; None where it must abstain.

    >>> round(radius_of(10_000, 10_000, 0.5, 0.001), 3), radius_of(5_000, 10_000, 0.5, 0.001)
    (1.599, None)
    """
    least = clopper_pearson_lower(hits, samples, alpha)
    return sigma * NormalDist().inv_cdf(least) if least > 0.5 else None


def _count(
    probabilities: Probabilities, image: NDArray[np.uint8], sigma: float, samples: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return how often each class wins among `samples` noisy copies of an image."""
    counts: NDArray[np.int64] | None = None
    for start in range(0, samples, _AT_ONCE):
        k = min(_AT_ONCE, samples - start)
        noise = rng.standard_normal((k, *image.shape), np.float32)
        noise *= np.float32(255 * sigma)
        noise += image
        noisy = np.rint(np.clip(noise, 0, 255, out=noise), out=noise).astype(np.uint8)
        found = probabilities(noisy)
        won = np.bincount(found.argmax(1), minlength=found.shape[1]).astype(np.int64)
        counts = won if counts is None else counts + won
    assert counts is not None
    return counts


def largest_radius(samples: int, sigma: float, alpha: float) -> float:
    """Return the radius that is certified where every sample agrees."""
    return radius_of(samples, samples, sigma, alpha) or math.nan
