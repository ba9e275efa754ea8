"""Denoise: six classic filters, and the strength that the noise asks for.

OpenCV does Gaussian, median, bilateral and non-local means; scikit-image total variation and wavelets. Chosen by
benchmarks/steps.py and benchmarks/denoising.py; the default by benchmarks/denoiser_choice.py.
"""

__all__ = ["METHODS", "auto_strength", "choose", "denoise", "noise_level"]

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.core.rng import generator
from eyewright.imaging.steps.arrays import Pixels, back_to, extra, opencv, per_channel, to_unit, top_of

METHODS = ("auto", "bilateral", "gaussian", "wavelet", "tv", "nlm", "median")
"""The filters by name; "auto" takes one of the three that follow it."""

_CHOSEN_FROM = ("bilateral", "gaussian", "wavelet")


def denoise(
    image: Pixels,
    *,
    method: str = METHODS[0],
    strength: float | str = "auto",
    patch: int = 7,
    search: int = 21,
    reach: float = 2.0,
) -> Pixels:
    """Take noise away.

    `method` "auto" takes of bilateral, gaussian and wavelet the one with the least expected error on this image, with
    its strength (`choose`): edges ask for the first, smooth pictures for the second, fine texture for the third.

    `strength` is in levels of 0-255 for "nlm" (h), "wavelet" (the noise's sigma), "tv" (the weight times 255) and
    "bilateral" (the range's sigma), in pixels for "gaussian" (sigma) and "median" (radius). "auto" measures the noise
    and takes the strength with the least expected error (`auto_strength`). What is measured is white noise: blocks and
    ringing of JPEG are none, so that "auto" leaves them as they are; give a strength for those.

    - gaussian: each pixel becomes the mean of its surroundings weighted by exp(-d^2 / 2 s^2).
    - median: the middle value of a square window; for single wrong pixels.
    - bilateral: Gaussian in distance and in difference, so that edges stay (Tomasi and Manduchi, 1998).
    - nlm: pixels whose `patch` x `patch` surroundings look similar, within `search` x `search`, are averaged with
      weights exp(-|P - Q|^2 / h^2) (Buades, Coll and Morel, 2005).
    - tv: min over u of |u - y|^2 / 2 + w * sum |grad u| (Rudin, Osher and Fatemi, 1992; Chambolle, 2004).
    - wavelet: coefficients shrunk by s^2 / s_x, level by level (BayesShrink: Chang, Yu and Vetterli, 2000).

    uint8 and uint16, grey and RGB. 16-bit non-local means measures patches by their absolute differences, as
    OpenCV does at that depth; 16-bit bilateral is computed in float.

    >>> noisy = np.full((32, 32), 100, np.uint8) + generator(0, "n").integers(0, 40, (32, 32)).astype(np.uint8)
    >>> bool(denoise(noisy, method="gaussian", strength=2.0).std() < noisy.std() / 3)
    True
    """
    filters = _filters(patch, search, reach)
    if method == "auto":
        if strength != "auto":
            raise UsageError(
                "denoise: a strength belongs to a method, and 'auto' chooses both",
                fix="name the method, as in denoise:bilateral,strength=20",
                code="step_parameter",
            )
        method, strength = choose(image)
    if strength == "auto":
        strength = auto_strength(image, method=method, patch=patch, search=search, reach=reach)
    if method == "median" and float(strength) > 31:
        raise UsageError(
            f"denoise: expected a radius of at most 31 pixels for median, found {float(strength):g}",
            code="step_parameter",
        )
    return filters[method](image, float(strength))


def noise_level(image: Pixels) -> float:
    """Estimate the standard deviation of white noise in levels of 0-255.

    The median absolute value of the finest diagonal wavelet coefficients over 0.6745 (Donoho and Johnstone, 1994), in
    blocks of 32 x 32 pixels, of which the quietest quarter counts: texture is not taken for noise. Where values are cut
    off at black or white the noise is too, so those places count only where there are no others.

    >>> 9 < noise_level((128 + generator(0, "n").normal(0, 10, (64, 64))).astype(np.uint8)) < 11
    True
    """
    levels = image.astype(np.float32) * np.float32(255 / top_of(image))
    planes = [levels] if image.ndim == 2 else [np.ascontiguousarray(levels[..., k]) for k in range(3)]
    if min(image.shape[:2]) < 8:
        return 0.0
    return float(np.mean([_plane_level(plane) for plane in planes]))


_BLOCK = 16
# A block's estimate deviates by 7.3 % at 256 values; its lower quartile lies 0.6745 of that below the middle.
_QUARTER = 1 - 0.6745 * 0.073


def _plane_level(plane: NDArray[np.float32]) -> float:
    cv2, pywt = opencv(), extra("pywt")
    _, (_, _, detail) = pywt.dwt2(plane, "db2")
    detail = np.abs(detail)
    light = cv2.resize(cv2.blur(plane, (9, 9)), detail.shape[::-1], interpolation=cv2.INTER_AREA)
    sigma = float(np.median(detail)) / 0.6745
    for _ in range(2):
        whole = (light > 2 * sigma) & (light < 255 - 2 * sigma)
        if whole.mean() < 0.05:
            whole = np.ones_like(whole)
        blocks = [
            float(np.median(detail[r : r + _BLOCK, c : c + _BLOCK][inside])) / 0.6745
            for r in range(0, detail.shape[0] - _BLOCK + 1, _BLOCK)
            for c in range(0, detail.shape[1] - _BLOCK + 1, _BLOCK)
            if (inside := whole[r : r + _BLOCK, c : c + _BLOCK]).mean() > 0.6
        ]
        sigma = (
            float(np.quantile(blocks, 0.25)) / _QUARTER
            if len(blocks) >= 4
            else float(np.median(detail[whole])) / 0.6745
        )
    return sigma


def choose(image: Pixels) -> tuple[str, float]:
    """Return the filter of bilateral, gaussian and wavelet with the least expected squared error, and its strength.

    Expected as in `auto_strength`; ("bilateral", 0.0) where the image holds no noise to speak of.

    >>> ramp = np.linspace(60, 190, 64).astype(np.float32) + np.zeros((64, 1), np.float32)
    >>> choose((ramp + generator(0, "n").normal(0, 10, ramp.shape)).round().astype(np.uint8))[0]
    'gaussian'
    """
    sigma = noise_level(image)
    if sigma < _LEAST_NOISE:
        return _CHOSEN_FROM[0], 0.0
    windows = _windows(image)
    found = [(*_least_risk(windows, name, _filters(7, 21, 2.0)[name], sigma), name) for name in _CHOSEN_FROM]
    _, strength, name = min(found)
    return name, strength


def auto_strength(
    image: Pixels, *, method: str = "bilateral", patch: int = 7, search: int = 21, reach: float = 2.0
) -> float:
    """Return the strength of `method` with the least expected squared error for this image.

    The error against the clean image cannot be measured, but it can be estimated without it: Stein's unbiased risk
    estimate, |f(y) - y|^2 - s^2 + 2 s^2 div f(y), with the divergence measured by one random probe (Ramani, Blu and
    Unser, 2008) and s from `noise_level`. It is evaluated on five windows of 144 x 144 pixels. 0 where the
    image holds no noise to speak of.
    """
    sigma = noise_level(image)
    if sigma < _LEAST_NOISE:
        return 0.0
    return _least_risk(_windows(image), method, _filters(patch, search, reach)[method], sigma)[1]


def _least_risk(
    windows: list[Pixels], method: str, apply: Callable[[Pixels, float], Pixels], sigma: float
) -> tuple[float, float]:
    """Return the least risk that a strength of this filter has, and that strength."""
    risk = _Risk(windows, apply, sigma)
    if method == "median":
        best = min((0.0, 1.0, 2.0, 3.0, 4.0), key=risk)
        return risk(best), best
    grid = np.array(_GRID[method]) * (1.0 if method == "gaussian" else sigma)
    at = int(np.argmin([risk(s) for s in grid]))
    low, high = grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)]
    golden = (5**0.5 - 1) / 2
    # The risk is noisy at the scale of a percent: four cuts place the strength as finely as it can be told.
    for _ in range(4):
        a, b = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, b) if risk(a) < risk(b) else (a, high)
    best = float(min((*risk.seen, 0.0), key=risk))
    return risk(best), best


_LEAST_NOISE = 0.5
_GRID = {
    "gaussian": (0.3, 0.45, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2, 3.0),
    "bilateral": (0.5, 1.0, 1.5, 2.0, 2.6, 3.4, 4.5, 6.5),
    "nlm": (0.3, 0.5, 0.7, 0.9, 1.1, 1.4, 1.8),
    "tv": (0.15, 0.3, 0.45, 0.6, 0.8, 1.0, 1.3, 1.8),
    "wavelet": (0.3, 0.5, 0.7, 0.9, 1.1, 1.4, 1.8),
}


class _Risk:
    """Stein's estimate of the mean squared error, in levels of 0-255 squared, each strength computed once."""

    def __init__(self, windows: list[Pixels], apply: Callable[[Pixels, float], Pixels], sigma: float) -> None:
        self.windows, self.apply, self.sigma = windows, apply, sigma
        self.scale = top_of(windows[0]) / 255
        self.seen: dict[float, float] = {}
        # Whole levels, so that rounding to the image's depth leaves the probe as it is.
        self.step = max(1.0, round(sigma / 6)) * self.scale
        rng = generator(0, "auto strength")
        self.probes = [(rng.integers(0, 2, w.shape) * 2 - 1).astype(np.float32) for w in windows]
        self.variance = [_clipped_variance(w.astype(np.float32) / np.float32(self.scale), sigma) for w in windows]

    def __call__(self, strength: float) -> float:
        strength = float(strength)
        if strength not in self.seen:
            self.seen[strength] = self._measure(strength)
        return self.seen[strength]

    def _measure(self, strength: float) -> float:
        error = divergence = 0.0
        n = 0
        for window, probe, variance in zip(self.windows, self.probes, self.variance, strict=True):
            if strength <= 0:
                plain, moved = np.zeros(window.shape, np.float32), probe * self.step
            else:
                plain = self.apply(window, strength).astype(np.float32)
                pushed = np.clip(window.astype(np.float32) + probe * self.step, 0, top_of(window)).astype(window.dtype)
                moved = self.apply(pushed, strength).astype(np.float32) - plain
                plain = plain - window
            error += float(np.sum((plain / self.scale) ** 2 - variance, dtype=np.float64))
            divergence += float(np.sum(variance * probe * moved, dtype=np.float64)) / self.step
            n += window.size
        return (error + 2 * divergence) / n


def _clipped_variance(levels: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Return the noise's variance at each pixel: less near black and white, where values were cut off.

    Of a value t with noise of `sigma` cut at 0 and 255, mean and variance are known; the local mean tells t.
    """
    special = extra("scipy.special")
    t = np.linspace(-2 * sigma, 255 + 2 * sigma, 512)
    a, b = -t / sigma, (255 - t) / sigma
    inside = special.ndtr(b) - special.ndtr(a)
    at_a, at_b = (np.exp(-(v**2) / 2) / np.sqrt(2 * np.pi) for v in (a, b))
    mean = t * inside + sigma * (at_a - at_b) + 255 * special.ndtr(-b)
    square = (t**2 + sigma**2) * inside + sigma * (t * (at_a - at_b) - 255 * at_b) + 255**2 * special.ndtr(-b)
    variance = np.maximum(square - mean**2, 0)
    light = opencv().blur(levels, (7, 7))
    result: NDArray[np.float32] = np.interp(light, mean, variance).astype(np.float32).reshape(levels.shape)
    return result


def _windows(image: Pixels, side: int = 144) -> list[Pixels]:
    """Cut five windows, one in the middle and four around it; a small image is its own window."""
    height, width = image.shape[:2]
    if height * width <= 5 * side * side:
        return [image]
    side_h, side_w = min(side, height), min(side, width)
    middles = ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))
    corners = [(int((height - side_h) * a), int((width - side_w) * b)) for a, b in middles]
    return [np.ascontiguousarray(image[r : r + side_h, c : c + side_w]) for r, c in corners]


def _filters(patch: int, search: int, reach: float) -> dict[str, Callable[[Pixels, float], Pixels]]:
    return {
        "gaussian": _gaussian,
        "median": _median,
        "bilateral": lambda image, s: _bilateral(image, s, reach),
        "nlm": lambda image, s: _nlm(image, s, patch, search),
        "tv": _tv,
        "wavelet": _wavelet,
    }


def _gaussian(image: Pixels, sigma: float) -> Pixels:
    if sigma <= 0:
        return image.copy()
    blurred: Pixels = opencv().GaussianBlur(image, (0, 0), sigma)
    return blurred


def _median(image: Pixels, radius: float) -> Pixels:
    window = 2 * round(radius) + 1
    if window <= 1:
        return image.copy()
    if image.dtype == np.uint8 or window <= 5:
        middle: Pixels = opencv().medianBlur(image, window)
        return middle
    ndimage = extra("scipy.ndimage")
    return per_channel(image, lambda plane: ndimage.median_filter(plane, window, mode="nearest"))


def _bilateral(image: Pixels, sigma: float, reach: float) -> Pixels:
    if sigma <= 0:
        return image.copy()
    cv2 = opencv()
    if image.dtype == np.uint8:
        smooth: Pixels = cv2.bilateralFilter(image, 0, sigma, reach)
        return smooth
    return back_to(image, cv2.bilateralFilter(to_unit(image), 0, sigma / 255, reach))


def _nlm(image: Pixels, h: float, patch: int, search: int) -> Pixels:
    if h <= 0:
        return image.copy()
    cv2 = opencv()
    if image.dtype == np.uint8:
        clean: Pixels = cv2.fastNlMeansDenoising(image, [h], None, patch, search, cv2.NORM_L2)
        return clean
    # At 16 bits OpenCV compares by absolute differences only; h in the image's own levels.
    deep: Pixels = cv2.fastNlMeansDenoising(image, [h * 257], None, patch, search, cv2.NORM_L1)
    return deep


def _tv(image: Pixels, strength: float) -> Pixels:
    if strength <= 0:
        return image.copy()
    restoration = extra("skimage.restoration")
    axis = -1 if image.ndim == 3 else None
    return back_to(image, restoration.denoise_tv_chambolle(to_unit(image), weight=strength / 255, channel_axis=axis))


def _wavelet(image: Pixels, sigma: float) -> Pixels:
    if sigma <= 0:
        return image.copy()
    extra("pywt")
    restoration = extra("skimage.restoration")
    axis = -1 if image.ndim == 3 else None
    with warnings.catch_warnings():
        # Small images have fewer levels than asked for, which is as it should be.
        warnings.simplefilter("ignore")
        clean: NDArray[np.float32] = restoration.denoise_wavelet(
            to_unit(image), sigma=sigma / 255, channel_axis=axis, convert2ycbcr=image.ndim == 3, rescale_sigma=True
        )
    return back_to(image, clean.astype(np.float32))
