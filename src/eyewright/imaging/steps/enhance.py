"""Enhance: contrast, brightness, colour cast, sharpness, haze, blur."""

__all__ = ["autocontrast", "clahe", "deblur", "dehaze", "equalise", "gamma", "retinex", "unsharp", "white_balance"]

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.imaging.steps.arrays import Pixels, back_to, extra, luma, on_luma, opencv, through_table, to_unit, top_of


def equalise(image: Pixels) -> Pixels:
    """Spread brightness evenly: v becomes (c(v) - c_min) / (n - c_min) of white, c the cumulative histogram.

    Colours keep their hue: the Y of YCrCb is changed.
    """
    return on_luma(image, _equalise_plane)


def _equalise_plane(plane: Pixels) -> Pixels:
    if plane.dtype == np.uint8:
        even: Pixels = opencv().equalizeHist(plane)
        return even
    counts = np.bincount(plane.ravel(), minlength=65536).cumsum()
    first = int(counts[int(plane.min())])
    if first == plane.size:
        return plane.copy()
    table = np.clip((counts - first) * 65535 / (plane.size - first), 0, 65535)
    return through_table(plane, np.rint(table).astype(np.uint16))


def clahe(image: Pixels, *, clip: float = 2.0, tiles: int = 8) -> Pixels:
    """Equalise in `tiles` x `tiles` parts, each histogram cut at `clip` times its mean (Zuiderveld, 1994)."""
    if image.dtype == np.uint8:
        return on_luma(image, lambda plane: opencv().createCLAHE(clip, (tiles, tiles)).apply(plane))
    return on_luma(image, lambda plane: _clahe_deep(plane, clip, tiles))


def _clahe_deep(plane: Pixels, clip: float, tiles: int) -> Pixels:
    """Do at 16 bits what OpenCV does at 8: histograms of 256 bins, each tile's curve drawn straight between them.

    OpenCV's own 16-bit form counts in 65,536 bins, most of them empty, so that the limit means something else.
    """
    height, width = plane.shape
    tall, wide = -(-height // tiles), -(-width // tiles)
    padded = np.pad(plane, ((0, tall * tiles - height), (0, wide * tiles - width)), mode="symmetric")
    cap = max(1.0, clip * tall * wide / 256)
    edges = np.arange(65536) / 257
    curves = np.empty((tiles, tiles, 65536), np.float32)
    for r in range(tiles):
        for c in range(tiles):
            part = padded[r * tall : (r + 1) * tall, c * wide : (c + 1) * wide]
            counts = np.bincount(np.rint(part.ravel() / 257).astype(np.int64), minlength=256).astype(np.float64)
            over = np.maximum(counts - cap, 0).sum()
            curve = (np.minimum(counts, cap) + over / 256).cumsum() * (65535 / (tall * wide))
            curves[r, c] = np.interp(edges, np.arange(256), curve)
    y = np.clip((np.arange(height) + 0.5) / tall - 0.5, 0, tiles - 1)
    x = np.clip((np.arange(width) + 0.5) / wide - 0.5, 0, tiles - 1)
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    bottom, right = np.minimum(top + 1, tiles - 1), np.minimum(left + 1, tiles - 1)
    fy, fx = (y - top).astype(np.float32)[:, None], (x - left).astype(np.float32)[None]

    def looked(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = curves[rows[:, None], columns[None], plane]
        return found

    upper = looked(top, left) * (1 - fx) + looked(top, right) * fx
    lower = looked(bottom, left) * (1 - fx) + looked(bottom, right) * fx
    result: Pixels = np.rint(np.clip(upper * (1 - fy) + lower * fy, 0, 65535)).astype(np.uint16)
    return result


def gamma(image: Pixels, *, gamma: float = 1.0) -> Pixels:
    """Brighten (gamma above 1) or darken: v becomes v^(1 / gamma) on [0, 1]."""
    top = top_of(image)
    table = np.rint((np.arange(top + 1) / top) ** (1 / gamma) * top).astype(image.dtype)
    return through_table(image, table)


def autocontrast(image: Pixels, *, cutoff: float = 0.5, channels: str = "together") -> Pixels:
    """Stretch values so that `cutoff` percent at either end become black and white: (v - low) / (high - low).

    "together" takes one range for all channels and keeps colours; "each" stretches every channel by itself and takes
    a cast away with it.
    """
    planes = [image] if image.ndim == 2 or channels == "together" else [image[..., k] for k in range(3)]
    tables = np.stack([_stretch(p, cutoff) for p in planes])
    return through_table(image, tables[0] if len(tables) == 1 else tables)


def _stretch(plane: Pixels, cutoff: float) -> NDArray[Any]:
    top = top_of(plane)
    counts = _histogram(plane).cumsum()
    low = int(np.searchsorted(counts, counts[-1] * cutoff / 100, "right"))
    high = int(np.searchsorted(counts, counts[-1] * (1 - cutoff / 100), "left"))
    if high <= low:
        return np.arange(top + 1, dtype=plane.dtype)
    table = (np.arange(top + 1) - low) * (top / (high - low))
    result: NDArray[Any] = np.rint(np.clip(table, 0, top)).astype(plane.dtype)
    return result


def _histogram(plane: Pixels) -> NDArray[np.int64]:
    if plane.dtype == np.uint8:
        cv2 = opencv()
        channels = 1 if plane.ndim == 2 else plane.shape[2]
        parts = [cv2.calcHist([plane], [k], None, [256], [0, 256]).ravel() for k in range(channels)]
        result: NDArray[np.int64] = np.sum(parts, 0).astype(np.int64)
        return result
    return np.bincount(plane.ravel(), minlength=65536)


def white_balance(image: Pixels, *, method: str = "shades", percent: float = 1.0) -> Pixels:
    """Take a colour cast away by scaling each channel.

    - grey-world: the mean of the scene is grey (Buchsbaum, 1980).
    - white-patch: the brightest `percent` of each channel are white (Land, 1977).
    - shades: the 6-norm of each channel is equal, between the two (Finlayson and Trezzi, 2004).
    """
    top = top_of(image)
    values = np.arange(top + 1, dtype=np.float64)
    levels = []
    for k in range(3):
        counts = _histogram(np.ascontiguousarray(image[..., k]))
        if method == "white-patch":
            cut = counts.cumsum()
            levels.append(float(np.searchsorted(cut, cut[-1] * (1 - percent / 100))))
        else:
            norm = 1 if method == "grey-world" else 6
            levels.append(float((counts @ (values / top) ** norm / counts.sum()) ** (1 / norm) * top))
    wanted = top if method == "white-patch" else float(np.mean(levels))
    tables = [np.clip(np.rint(values * (wanted / max(level, 1e-6))), 0, top) for level in levels]
    return through_table(image, np.stack(tables).astype(image.dtype))


def unsharp(image: Pixels, *, radius: float = 2.0, amount: float = 1.0, threshold: float = 0.0) -> Pixels:
    """Sharpen: v + amount * (v - blurred(v)), where the difference exceeds `threshold` levels of 0-255.

    `radius` is the Gaussian's sigma in pixels.
    """
    cv2 = opencv()
    blurred = cv2.GaussianBlur(image, (0, 0), radius)
    sharp: Pixels = cv2.addWeighted(image, 1 + amount, blurred, -amount, 0)
    if threshold > 0:
        small = cv2.absdiff(image, blurred) <= threshold * top_of(image) / 255
        sharp = np.where(small, image, sharp)
    return sharp


def retinex(image: Pixels, *, scales: tuple[tuple[float, ...], ...] = ((15.0, 80.0, 250.0),)) -> Pixels:
    """Even out the lighting: the mean over Gaussian scales of log(v) - log(blurred(v)), stretched between its 1st and
    99th percentile (multi-scale retinex: Jobson, Rahman and Woodell, 1997). Colours keep their hue.
    """
    return on_luma(image, lambda plane: _retinex_plane(plane, scales[0]))


def _retinex_plane(plane: Pixels, scales: tuple[float, ...]) -> Pixels:
    unit = to_unit(plane) + np.float32(1 / 255)
    log = np.log(unit)
    out = np.zeros_like(log)
    for sigma in scales:
        out += (log - np.log(_wide_blur(unit, sigma))) / len(scales)
    low, high = np.percentile(out[:: max(1, plane.shape[0] // 512), :: max(1, plane.shape[1] // 512)], (1, 99))
    return plane.copy() if high - low < 1e-6 else back_to(plane, ((out - low) / (high - low)).astype(np.float32))


def _wide_blur(unit: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Blur by a wide Gaussian at reduced size: its kernel would have a thousand taps, and it leaves nothing fine."""
    cv2 = opencv()
    height, width = unit.shape[:2]
    factor = max(1, int(sigma / 4))
    if factor == 1 or min(height, width) < 2 * factor:
        wide: NDArray[np.float32] = cv2.GaussianBlur(unit, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
        return wide
    small = cv2.resize(unit, (-(-width // factor), -(-height // factor)), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / factor, borderType=cv2.BORDER_REPLICATE)
    back: NDArray[np.float32] = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return back


def dehaze(image: Pixels, *, strength: float = 0.95, window: int = 15) -> Pixels:
    """Take haze away: J = (I - A) / max(t, 0.1) + A, with t = 1 - strength * dark(I / A) (He, Sun and Tang, 2009).

    dark() is the least value in a `window`, A the colour of the haziest 0.1 % of pixels; t is smoothed along edges by
    a guided filter.
    """
    cv2 = opencv()
    unit = to_unit(image)
    colour = unit if unit.ndim == 3 else unit[..., None]
    square = np.ones((window, window), np.uint8)
    dark = cv2.erode(np.ascontiguousarray(colour.min(2)), square)
    n = max(1, dark.size // 1000)
    haziest = np.argpartition(dark.ravel(), -n)[-n:]
    air = np.maximum(colour.reshape(-1, colour.shape[2])[haziest].mean(0), 0.05).astype(np.float32)
    t = 1 - np.float32(strength) * cv2.erode(np.ascontiguousarray((colour / air).min(2)), square)
    t = guided(to_unit(luma(image)), t.astype(np.float32), radius=window * 2, eps=1e-3)
    clear = (colour - air) / np.maximum(t, 0.1)[..., None] + air
    return back_to(image, clear.reshape(unit.shape).astype(np.float32))


def guided(guide: NDArray[np.float32], values: NDArray[np.float32], *, radius: int, eps: float) -> NDArray[np.float32]:
    """Smooth `values` along the edges of `guide`, both float32 (H, W): mean(a) I + mean(b) with a = cov / (var + eps)
    in each window (He, Sun and Tang, 2010).
    """
    cv2 = opencv()

    def mean(x: NDArray[np.float32]) -> NDArray[np.float32]:
        boxed: NDArray[np.float32] = cv2.blur(x, (2 * radius + 1, 2 * radius + 1))
        return boxed

    mean_i, mean_p = mean(guide), mean(values)
    a = (mean(guide * values) - mean_i * mean_p) / (mean(guide * guide) - mean_i * mean_i + np.float32(eps))
    smoothed: NDArray[np.float32] = mean(a.astype(np.float32)) * guide + mean((mean_p - a * mean_i).astype(np.float32))
    return smoothed


def deblur(
    image: Pixels,
    *,
    method: str = "wiener",
    blur: str = "gaussian",
    size: float = 2.0,
    angle: float = 0.0,
    balance: float = 0.01,
    iterations: int = 20,
) -> Pixels:
    """Undo a known blur.

    `blur` is "gaussian" (`size` its sigma), "disk" (out of focus, `size` its radius) or "motion" (`size` its length, at
    `angle` degrees counter-clockwise), all in pixels.

    - wiener: conj(H) Y / (|H|^2 + balance * |L|^2), L the Laplacian, in the Fourier domain (Wiener, 1949; Hunt, 1973).
    - richardson-lucy: u <- u * (h_mirrored * (y / (h * u))), `iterations` times (Richardson, 1972; Lucy, 1974).
    """
    unit = to_unit(image)
    kernel = point_spread(blur, size, angle)
    undo = _wiener(kernel, balance) if method == "wiener" else _richardson_lucy(kernel, iterations)
    # The picture is mirrored at its edges: the Fourier transform takes it for periodic, which would ring.
    pad = max(kernel.shape)
    planes = [unit] if unit.ndim == 2 else [unit[..., k] for k in range(3)]
    padded = [np.pad(p, pad, mode="symmetric") for p in planes]
    done = [undo(p)[pad : p.shape[0] - pad, pad : p.shape[1] - pad] for p in padded]
    return back_to(image, (done[0] if unit.ndim == 2 else np.stack(done, 2)).astype(np.float32))


@functools.lru_cache(maxsize=32)
def point_spread(blur: str, size: float, angle: float) -> NDArray[np.float32]:
    """Return the kernel of a blur, float32 (odd, odd), sum 1.

    >>> round(float(point_spread("disk", 3.0, 0.0).sum()), 5)
    1.0
    """
    cv2 = opencv()
    reach = max(1, int(np.ceil(size * (3 if blur == "gaussian" else 1 if blur == "disk" else 0.5) + 0.5)))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    if blur == "gaussian":
        kernel = np.exp(-(x * x + y * y) / (2 * size * size))
    elif blur == "disk":
        # The edge pixels count by how much of them the disk covers.
        kernel = np.clip(size + 0.5 - np.hypot(x, y), 0, 1)
    else:
        fine = np.zeros((16 * reach + 8, 16 * reach + 8), np.float32)
        middle, half = 8 * reach + 4, 4 * max(size - 1, 0)
        turn = np.deg2rad(angle)
        ends = [(round(middle + s * half * np.cos(turn)), round(middle - s * half * np.sin(turn))) for s in (-1, 1)]
        cv2.line(fine, ends[0], ends[1], 1.0, 8)
        kernel = cv2.resize(fine, (2 * reach + 1, 2 * reach + 1), interpolation=cv2.INTER_AREA)
    spread: NDArray[np.float32] = (kernel / kernel.sum()).astype(np.float32)
    return spread


def _transfer(kernel: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.complex64]:
    fft = extra("scipy.fft")
    whole = np.zeros(shape, np.float32)
    whole[: kernel.shape[0], : kernel.shape[1]] = kernel
    centred = np.roll(whole, (-(kernel.shape[0] // 2), -(kernel.shape[1] // 2)), (0, 1))
    spectrum: NDArray[np.complex64] = fft.rfft2(centred)
    return spectrum


def _wiener(kernel: NDArray[np.float32], balance: float) -> Any:
    fft = extra("scipy.fft")
    laplacian = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float32)

    def undo(plane: NDArray[np.float32]) -> NDArray[np.float32]:
        shape = tuple(fft.next_fast_len(n, real=True) for n in plane.shape)
        y = np.pad(plane, [(0, a - b) for a, b in zip(shape, plane.shape, strict=True)], mode="symmetric")
        h, smooth = _transfer(kernel, shape), _transfer(laplacian, shape)
        found = fft.irfft2(np.conj(h) * fft.rfft2(y) / (np.abs(h) ** 2 + balance * np.abs(smooth) ** 2), s=shape)
        cut: NDArray[np.float32] = found[: plane.shape[0], : plane.shape[1]]
        return cut

    return undo


def _richardson_lucy(kernel: NDArray[np.float32], iterations: int) -> Any:
    cv2 = opencv()
    mirrored = np.ascontiguousarray(kernel[::-1, ::-1])

    # filter2D correlates and goes over to the Fourier transform by itself where the kernel is large.
    def undo(plane: NDArray[np.float32]) -> NDArray[np.float32]:
        u = np.maximum(plane, np.float32(1e-4))
        for _ in range(iterations):
            seen = np.maximum(cv2.filter2D(u, -1, mirrored, borderType=cv2.BORDER_REFLECT), np.float32(1e-6))
            u = u * cv2.filter2D(plane / seen, -1, kernel, borderType=cv2.BORDER_REFLECT)
        result: NDArray[np.float32] = u
        return result

    return undo
