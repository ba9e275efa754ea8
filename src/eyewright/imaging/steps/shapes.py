"""Morphology, edges, thresholds, colour spaces and depth."""

__all__ = [
    "SPACES",
    "canny",
    "colour",
    "depth",
    "grey",
    "invert",
    "laplacian",
    "morphology",
    "rgb",
    "sobel",
    "threshold",
]

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.imaging.steps.arrays import Pixels, back_to, luma, opencv, to_unit, top_of

SPACES = ("hsv", "hls", "lab", "luv", "ycrcb", "xyz")


def morphology(image: Pixels, *, do: str = "open", size: int = 3, shape: str = "ellipse", times: int = 1) -> Pixels:
    """Apply a structuring element B of `size` pixels, `times` times (Serra, 1982).

    erode: min over B; dilate: max over B; open: dilate(erode(v)); close: erode(dilate(v)); gradient: dilate(v) -
    erode(v); tophat: v - open(v); blackhat: close(v) - v. On colour, each channel by itself.
    """
    cv2 = opencv()
    kinds = {"ellipse": cv2.MORPH_ELLIPSE, "square": cv2.MORPH_RECT, "cross": cv2.MORPH_CROSS}
    operations = {
        "erode": cv2.MORPH_ERODE,
        "dilate": cv2.MORPH_DILATE,
        "open": cv2.MORPH_OPEN,
        "close": cv2.MORPH_CLOSE,
        "gradient": cv2.MORPH_GRADIENT,
        "tophat": cv2.MORPH_TOPHAT,
        "blackhat": cv2.MORPH_BLACKHAT,
    }
    element = cv2.getStructuringElement(kinds[shape], (size, size))
    shaped: Pixels = cv2.morphologyEx(image, operations[do], element, iterations=times)
    return shaped


def sobel(image: Pixels, *, direction: str = "both", size: int = 3) -> Pixels:
    """Return the slope of brightness, grey: |v * Gx|, |v * Gy| or sqrt of the sum of their squares, over 4 at size 3.

    Gx = [-1 0 1; -2 0 2; -1 0 1] and Gy its transpose (Sobel and Feldman, 1968); the steepest edge becomes white.
    """
    cv2 = opencv()
    plane = luma(image)
    weight = 4.0 if size == 3 else float(4 ** (size - 2) * 1.0)
    parts = [
        cv2.Sobel(plane, cv2.CV_32F, int(d == "x"), int(d == "y"), ksize=size)
        for d in ("x", "y")
        if direction in (d, "both")
    ]
    # OpenCV's square root is off by its last bit or not, by where the values lie in memory; 16 bits show that.
    exact = plane.dtype == np.uint8
    slope = parts[0] if len(parts) == 1 else cv2.magnitude(*parts) if exact else np.sqrt(parts[0] ** 2 + parts[1] ** 2)
    return _absolute(slope, 1 / weight, image)


def _absolute(values: NDArray[np.float32], scale: float, image: Pixels) -> Pixels:
    """Return the absolute values in the image's depth, rounded and clipped."""
    if image.dtype == np.uint8:
        # A little more than half goes up: a last bit must not decide a tie.
        eight: Pixels = opencv().convertScaleAbs(values, alpha=scale, beta=5e-5)
        return eight
    return np.minimum(np.rint(np.abs(values) * scale), top_of(image)).astype(image.dtype)


def laplacian(image: Pixels, *, size: int = 1) -> Pixels:
    """Return the curvature of brightness, grey: |d2v/dx2 + d2v/dy2|; at size 1 by [0 1 0; 1 -4 1; 0 1 0]."""
    cv2 = opencv()
    return _absolute(cv2.Laplacian(luma(image), cv2.CV_32F, ksize=size), 1.0, image)


def canny(image: Pixels, *, low: float = 50.0, high: float = 150.0, sigma: float = 1.4) -> Pixels:
    """Return thin edges, white on black: slopes above `high`, and those above `low` that touch them (Canny, 1986).

    Thresholds are in levels of 0-255 of the Sobel slope after a Gaussian of `sigma` pixels (0 for none). 16-bit images
    give edges in 16 bits, found on their high bytes.
    """
    if high < low:
        raise UsageError(f"canny: expected low <= high, found {low:g} and {high:g}", code="step_parameter")
    cv2 = opencv()
    plane = luma(image)
    plane = (plane >> 8).astype(np.uint8) if plane.dtype == np.uint16 else plane
    if sigma > 0:
        plane = cv2.GaussianBlur(plane, (0, 0), sigma)
    edges: Pixels = cv2.Canny(plane, low, high, L2gradient=True)
    return edges if image.dtype == np.uint8 else edges.astype(np.uint16) * 257


def threshold(
    image: Pixels,
    *,
    method: str = "otsu",
    at: float = 127.0,
    window: int = 31,
    offset: float = 5.0,
    k: float = 0.2,
    invert: bool = False,
) -> Pixels:
    """Split grey into black and white.

    - fixed: v > `at` (levels of 0-255).
    - otsu: the cut with the most variance between the two sides, max of w0 w1 (m0 - m1)^2 (Otsu, 1979).
    - triangle: the bin farthest from the line from peak to tail of the histogram (Zack, Rogers and Latt, 1977).
    - mean, gaussian: v > local mean - `offset`, in a `window`; for uneven light.
    - sauvola: v > m (1 + `k` (s / 128 - 1)), m and s local mean and deviation; for documents (Sauvola, 2000).
    """
    cv2 = opencv()
    plane = luma(image)
    top = top_of(image)
    if method in ("mean", "gaussian", "sauvola"):
        return _threshold_locally(image, plane, method, window | 1, offset, k, invert)
    kind = cv2.THRESH_BINARY_INV if invert else cv2.THRESH_BINARY
    if method == "fixed":
        cut = np.floor(at * top / 255)
    elif method == "otsu":
        cut, split = cv2.threshold(plane, 0, top, kind | cv2.THRESH_OTSU)
        return np.asarray(split, image.dtype)
    else:
        eight = plane if plane.dtype == np.uint8 else (plane >> 8).astype(np.uint8)
        cut, _ = cv2.threshold(eight, 0, 255, cv2.THRESH_TRIANGLE)
        cut = cut * top / 255
    _, split = cv2.threshold(plane, float(cut), top, kind)
    return np.asarray(split, image.dtype)


def _threshold_locally(
    image: Pixels, plane: Pixels, method: str, window: int, offset: float, k: float, invert: bool
) -> Pixels:
    cv2 = opencv()
    if plane.dtype == np.uint8 and method in ("mean", "gaussian"):
        rule = cv2.ADAPTIVE_THRESH_MEAN_C if method == "mean" else cv2.ADAPTIVE_THRESH_GAUSSIAN_C
        kind = cv2.THRESH_BINARY_INV if invert else cv2.THRESH_BINARY
        quick: Pixels = cv2.adaptiveThreshold(plane, 255, rule, kind, window, offset)
        return quick
    values = plane.astype(np.float32) * np.float32(255 / top_of(image))
    if method == "gaussian":
        local = cv2.GaussianBlur(values, (window, window), 0, borderType=cv2.BORDER_REPLICATE) - offset
    else:
        local = cv2.blur(values, (window, window), borderType=cv2.BORDER_REPLICATE)
        if method == "mean":
            local = local - offset
        else:
            square = cv2.blur(values * values, (window, window), borderType=cv2.BORDER_REPLICATE)
            spread = np.sqrt(np.maximum(square - local * local, 0))
            local = local * (1 + k * (spread / 128 - 1))
    top = top_of(image)
    return np.where((values > local) != invert, np.asarray(top, image.dtype), np.asarray(0, image.dtype))


def grey(image: Pixels) -> Pixels:
    """Make grey, (H, W): Y = 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601)."""
    return luma(image).copy() if image.ndim == 2 else luma(image)


def rgb(image: Pixels) -> Pixels:
    """Make three equal channels of grey."""
    return image.copy() if image.ndim == 3 else np.repeat(image[..., None], 3, 2)


def colour(image: Pixels, *, to: str = "hsv") -> Pixels:
    """Return the channels of another colour space in place of red, green and blue.

    Scaled to fill the image's depth: hue over the full circle, L of Lab and Luv from 0 to 100, a and b from -128 to
    127, u from -134 to 220, v from -140 to 122.
    """
    cv2 = opencv()
    if image.dtype == np.uint8:
        # FULL maps the circle to 0-255, not to OpenCV's usual 0-180.
        names = {"hsv": "HSV_FULL", "hls": "HLS_FULL", "lab": "Lab", "luv": "Luv", "ycrcb": "YCrCb", "xyz": "XYZ"}
        there: Pixels = cv2.cvtColor(image, getattr(cv2, f"COLOR_RGB2{names[to]}"))
        return there
    names = {"hsv": "HSV", "hls": "HLS", "lab": "Lab", "luv": "Luv", "ycrcb": "YCrCb", "xyz": "XYZ"}
    found = cv2.cvtColor(to_unit(image), getattr(cv2, f"COLOR_RGB2{names[to]}"))
    low, high = {
        "hsv": ((0, 0, 0), (360, 1, 1)),
        "hls": ((0, 0, 0), (360, 1, 1)),
        "lab": ((0, -128, -128), (100, 127, 127)),
        "luv": ((0, -134, -140), (100, 220, 122)),
    }.get(to, ((0, 0, 0), (1, 1, 1)))
    return back_to(image, ((found - low) / (np.array(high) - low)).astype(np.float32))


def depth(image: Pixels, *, bits: int = 8) -> Pixels:
    """Return the image in 8 or 16 bits: the high byte, or v * 257."""
    if bits not in (8, 16):
        raise UsageError(f"depth: expected bits of 8 or 16, found {bits}", code="step_parameter")
    if bits == 8:
        return (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image.copy()
    return image.astype(np.uint16) * 257 if image.dtype == np.uint8 else image.copy()


def invert(image: Pixels) -> Pixels:
    """Return the negative: white - v."""
    turned: Pixels = opencv().bitwise_not(image)
    return turned
