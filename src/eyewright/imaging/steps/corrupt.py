"""The fifteen corruptions of ImageNet-C at five severities (Hendrycks and Dietterich, 2019), to measure robustness by.

Parameters are theirs. Four differ in how they are computed, and so in their pixels, not in their kind: glass blur
draws its displacements for all pixels at once, motion blur and snow are filtered with one kernel instead of summed
shifts, and frost grows its crystals here instead of laying on one of six photographs.
"""

__all__ = ["CORRUPTIONS", "corrupt"]

from collections.abc import Callable
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from eyewright.imaging.decode import read_encoded
from eyewright.imaging.encode import encode_image
from eyewright.imaging.steps.arrays import Pixels, back_to, extra, opencv, to_unit
from eyewright.imaging.steps.enhance import point_spread
from eyewright.imaging.steps.geometry import resize

Unit = NDArray[np.float32]


def corrupt(image: Pixels, *, kind: str = "gaussian_noise", severity: int = 3, rng: np.random.Generator) -> Pixels:
    """Damage an image, uint8, as one of ImageNet-C's fifteen corruptions does at `severity` 1 to 5.

    >>> from eyewright.core.rng import generator
    >>> corrupt(np.full((8, 8, 3), 100, np.uint8), kind="brightness", severity=5, rng=generator(0, "c"))[0, 0, 0]
    np.uint8(228)
    """
    if kind == "jpeg_compression":
        squeezed = read_encoded(encode_image(image, format="JPEG", quality=(25, 18, 15, 10, 7)[severity - 1]))
        return squeezed if image.ndim == 3 else np.ascontiguousarray(squeezed[..., 0])
    if kind == "pixelate":
        share = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1]
        height, width = image.shape[:2]
        small = resize(image, size=f"{max(1, int(width * share))}x{max(1, int(height * share))}", filter="box")
        return resize(small, size=f"{width}x{height}", filter="nearest")
    return back_to(image, _ON_UNIT[kind](to_unit(image), severity - 1, rng).astype(np.float32))


def _gaussian_noise(x: Unit, s: int, rng: np.random.Generator) -> Unit:
    return x + np.float32((0.08, 0.12, 0.18, 0.26, 0.38)[s]) * rng.standard_normal(x.shape, np.float32)


def _shot_noise(x: Unit, s: int, rng: np.random.Generator) -> Unit:
    photons = (60, 25, 12, 5, 3)[s]
    return (rng.poisson(x * photons) / photons).astype(np.float32)


def _impulse_noise(x: Unit, s: int, rng: np.random.Generator) -> Unit:
    drawn = rng.random(x.shape, np.float32)
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[s]
    return np.where(drawn < share / 2, np.float32(0), np.where(drawn < share, np.float32(1), x))


def _defocus_blur(x: Unit, s: int, rng: np.random.Generator) -> Unit:
    cv2 = opencv()
    radius, alias = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))[s]
    reach = 8 if radius <= 8 else radius
    y, x_at = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (x_at**2 + y**2 <= radius**2).astype(np.float32)
    disk = cv2.GaussianBlur(disk / disk.sum(), (3, 3) if radius <= 8 else (5, 5), alias)
    blurred: Unit = cv2.filter2D(x, -1, disk)
    return blurred


def _glass_blur(x: Unit, s: int, rng: np.random.Generator) -> Unit:
    cv2 = opencv()
    sigma, reach, times = ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2))[s]
    found = cv2.GaussianBlur(x, (0, 0), sigma)
    rows, columns = np.mgrid[: x.shape[0], : x.shape[1]]
    for _ in range(times):
        dy, dx = rng.integers(-reach, reach, (2, *x.shape[:2]))
        found = found[np.clip(rows + dy, 0, x.shape[0] - 1), np.clip(columns + dx, 0, x.shape[1] - 1)]
    blurred: Unit = cv2.GaussianBlur(found, (0, 0), sigma)
    return blurred


def _motion_kernel(radius: int, sigma: float, angle: float) -> Unit:
    """Spread a pixel along a half line, with a Gaussian's weights."""
    width = 2 * radius + 1
    kernel = np.zeros((2 * width + 1, 2 * width + 1), np.float32)
    steps = np.arange(width)
    turn = np.deg2rad(angle)
    rows = width - np.rint(steps * np.sin(turn)).astype(int)
    columns = width - np.rint(steps * np.cos(turn)).astype(int)
    np.add.at(kernel, (rows, columns), np.exp(-(steps**2) / (2 * sigma**2)).astype(np.float32))
    result: Unit = kernel / kernel.sum()
    return result


def _motion_blur(x: Unit, s: int, rng: np.random.Generator) -> Unit:
    cv2 = opencv()
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[s]
    kernel = _motion_kernel(radius, sigma, rng.uniform(-45, 45))
    blurred: Unit = cv2.filter2D(x, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    return blurred


def _zoomed(x: Unit, factor: float) -> Unit:
    """Enlarge about the middle and keep the size."""
    cv2 = opencv()
    height, width = x.shape[:2]
    matrix = np.array(
        [[factor, 0, (1 - factor) * (width - 1) / 2], [0, factor, (1 - factor) * (height - 1) / 2]], np.float32
    )
    larger: Unit = cv2.warpAffine(x, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return larger


def _zoom_blur(x: Unit, s: int, rng: np.random.Generator) -> Unit:
    end, step = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))[s]
    factors = np.arange(1, end, step)
    total = x.copy()
    for factor in factors:
        total += _zoomed(x, float(factor))
    return total / np.float32(len(factors) + 1)


def _snow(x: Unit, s: int, rng: np.random.Generator) -> Unit:
    cv2 = opencv()
    mean, spread, zoom, cut, radius, sigma, keep = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )[s]
    flakes = _zoomed((mean + spread * rng.standard_normal(x.shape[:2], np.float32)).astype(np.float32), zoom)
    flakes = np.clip(np.where(flakes < cut, np.float32(0), flakes), 0, 1)
    kernel = _motion_kernel(radius, sigma, rng.uniform(-135, -45))
    flakes = cv2.filter2D(flakes, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    grey = x if x.ndim == 2 else cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)
    fallen = flakes + np.rot90(flakes, 2)
    pale = np.maximum(x, (grey * 1.5 + 0.5) if x.ndim == 2 else (grey * 1.5 + 0.5)[..., None])
    result: Unit = np.float32(keep) * x + np.float32(1 - keep) * pale + (fallen if x.ndim == 2 else fallen[..., None])
    return result


def _frost(x: Unit, s: int, rng: np.random.Generator) -> Unit:
    keep, ice = ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))[s]
    crystals = _crystals(x.shape[0], x.shape[1], rng)
    tinted = crystals if x.ndim == 2 else crystals[..., None] * np.array([0.92, 0.97, 1.0], np.float32)
    return np.float32(keep) * x + np.float32(ice) * tinted


def _crystals(height: int, width: int, rng: np.random.Generator) -> Unit:
    """Grow needles of ice in many directions, thick in some places and thin in others."""
    cv2 = opencv()
    needles = np.zeros((height, width), np.float32)
    for _ in range(9):
        grain = (rng.random((height, width), np.float32) > 0.985).astype(np.float32)
        length = float(rng.uniform(0.04, 0.14)) * max(16, min(height, width))
        needle = point_spread("motion", round(length, 1), float(rng.uniform(0, 180)))
        needles = np.maximum(needles, cv2.filter2D(grain, -1, needle) * length * 0.5)
    thick = _plasma(height, width, 1.8, rng)
    frost: Unit = np.clip(0.15 + 0.75 * thick * np.clip(needles, 0, 1.2) + 0.35 * thick, 0, 1)
    return frost


def _plasma(height: int, width: int, decay: float, rng: np.random.Generator) -> Unit:
    """Return a cloud in [0, 1]: noise at every octave, each finer one `decay` times weaker."""
    cv2 = opencv()
    side = 1 << (max(height, width) - 1).bit_length()
    cloud = np.zeros((side, side), np.float32)
    weight, cells = 1.0, 2
    while cells <= side:
        noise = rng.uniform(-1, 1, (cells + 1, cells + 1)).astype(np.float32)
        cloud += weight * cv2.resize(noise, (side, side), interpolation=cv2.INTER_LINEAR)
        weight, cells = weight / decay, cells * 2
    cloud = cloud[:height, :width]
    result: Unit = (cloud - cloud.min()) / max(float(np.ptp(cloud)), 1e-6)
    return result


def _fog(x: Unit, s: int, rng: np.random.Generator) -> Unit:
    thickness, decay = ((1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))[s]
    cloud = np.float32(thickness) * _plasma(x.shape[0], x.shape[1], decay, rng)
    brightest = max(float(x.max()), 1e-6)
    return (x + (cloud if x.ndim == 2 else cloud[..., None])) * np.float32(brightest / (brightest + thickness))


def _brightness(x: Unit, s: int, rng: np.random.Generator) -> Unit:
    more = np.float32((0.1, 0.2, 0.3, 0.4, 0.5)[s])
    if x.ndim == 2:
        return x + more
    cv2 = opencv()
    parts = cv2.cvtColor(x, cv2.COLOR_RGB2HSV)
    parts[..., 2] = np.clip(parts[..., 2] + more, 0, 1)
    brighter: Unit = cv2.cvtColor(parts, cv2.COLOR_HSV2RGB)
    return brighter


def _contrast(x: Unit, s: int, rng: np.random.Generator) -> Unit:
    mean = x.mean(axis=(0, 1), keepdims=True)
    result: Unit = (x - mean) * np.float32((0.4, 0.3, 0.2, 0.1, 0.05)[s]) + mean
    return result


def _elastic(x: Unit, s: int, rng: np.random.Generator) -> Unit:
    cv2 = opencv()
    ndimage = extra("scipy.ndimage")
    height, width = x.shape[:2]
    alpha = 250 * (0.05, 0.065, 0.085, 0.1, 0.12)[s]
    reach = height * 0.005
    dx, dy = (
        ndimage.gaussian_filter(
            rng.uniform(-reach, reach, (height, width)), (height * 0.01, width * 0.01), mode="reflect", truncate=3
        )
        * alpha
        for _ in range(2)
    )
    rows, columns = np.mgrid[:height, :width]
    moved: Unit = cv2.remap(
        x,
        (columns + dx).astype(np.float32),
        (rows + dy).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
    return moved


_ON_UNIT: MappingProxyType[str, Callable[[Unit, int, np.random.Generator], Unit]] = MappingProxyType(
    {
        "gaussian_noise": _gaussian_noise,
        "shot_noise": _shot_noise,
        "impulse_noise": _impulse_noise,
        "defocus_blur": _defocus_blur,
        "glass_blur": _glass_blur,
        "motion_blur": _motion_blur,
        "zoom_blur": _zoom_blur,
        "snow": _snow,
        "frost": _frost,
        "fog": _fog,
        "brightness": _brightness,
        "contrast": _contrast,
        "elastic_transform": _elastic,
    }
)

CORRUPTIONS = (*_ON_UNIT, "pixelate", "jpeg_compression")
"""Their names, as ImageNet-C spells them."""
