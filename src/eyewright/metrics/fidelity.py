"""How close one picture is to another: PSNR, SSIM, MS-SSIM, SSIMULACRA 2.

Pictures are uint8 or uint16, (H, W) or (H, W, 3), both of one shape and depth.
"""

__all__ = ["VISUALLY_LOSSLESS", "ms_ssim", "psnr", "ssim", "ssimulacra2"]

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.core.extras import import_extra

VISUALLY_LOSSLESS = 90.0
"""SSIMULACRA 2 above which a difference is not seen side by side at normal distance, by its authors' scale."""


def psnr(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the peak signal-to-noise ratio in dB, 10 log10(top^2 / mean((a - b)^2)); inf for equal pictures.

    >>> round(psnr(np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8)), 6)
    0.0
    """
    _check(a, b)
    error = float(np.mean((a.astype(np.float32) - b.astype(np.float32)) ** 2, dtype=np.float64))
    top = float(np.iinfo(a.dtype).max)
    return math.inf if error == 0 else 10 * math.log10(top * top / error)


def ssim(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the mean structural similarity of the luma, at most 1 (Wang, Bovik, Sheikh and Simoncelli, 2004).

    A Gaussian window of sigma 1.5 over 11 pixels, K1 = 0.01, K2 = 0.03, ITU-R BT.601 luma, the mean over all pixels
    whose window lies inside: as the paper has it.

    >>> ssim(np.zeros((16, 16), np.uint8), np.zeros((16, 16), np.uint8))
    1.0
    """
    _check(a, b)
    if min(a.shape[:2]) < 11:
        raise UsageError(f"expected at least 11 pixels a side for SSIM, found {a.shape[:2]}")
    similar, _ = _ssim_parts(_luma(a), _luma(b), float(np.iinfo(a.dtype).max))
    return similar


def ms_ssim(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the structural similarity of the luma over five scales (Wang, Simoncelli and Bovik, 2003).

    Each scale is the 2x2 mean of the one before, weighted as in the paper. A picture too small for five scales of 11
    pixels uses as many as fit, their weights scaled to sum to 1.
    """
    _check(a, b)
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
    scales = min(5, int(math.log2(min(a.shape[:2]) / 11)) + 1) if min(a.shape[:2]) >= 11 else 0
    if scales < 1:
        raise UsageError(f"expected at least 11 pixels a side for MS-SSIM, found {a.shape[:2]}")
    weights = weights[:scales] / weights[:scales].sum()
    x, y, top = _luma(a), _luma(b), float(np.iinfo(a.dtype).max)
    product = 1.0
    for k, weight in enumerate(weights):
        similar, contrast = _ssim_parts(x, y, top)
        product *= max(similar if k == scales - 1 else contrast, 0.0) ** float(weight)
        x, y = _halved(x), _halved(y)
    return product


def ssimulacra2(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return SSIMULACRA 2 (Sneyers, 2023; version 2.1): 100 for equal pictures, 90 from where nobody sees a difference
    side by side, 70 high, 50 medium, 30 low quality. `a` is the original.

    Six scales in XYB, blurred with sigma 1.5 pixels; structural error and edges that were added or lost, in two norms,
    weighted as learnt by its authors (libjxl, BSD-3-Clause). The blur is theirs: a Gaussian approximated by three
    cosines over 11 pixels (Charalampidis, 2016), with zeros outside the picture.
    """
    _check(a, b)
    if min(a.shape[:2]) < 8:
        raise UsageError(f"expected at least 8 pixels a side for SSIMULACRA 2, found {a.shape[:2]}")
    x, y = _linear(a), _linear(b)
    rows = []
    for scale in range(6):
        if scale:
            if min(x.shape[:2]) < 16:
                break
            x, y = _halved(x), _halved(y)
        rows.append(_scale_errors(_positive_xyb(x), _positive_xyb(y)))
    return _score(rows)


def _check(a: NDArray[Any], b: NDArray[Any]) -> None:
    if a.shape != b.shape or a.dtype != b.dtype or a.dtype not in (np.uint8, np.uint16) or a.ndim not in (2, 3):
        raise UsageError(
            f"expected two pictures of one shape and depth, uint8 or uint16, "
            f"found {a.dtype} {a.shape} and {b.dtype} {b.shape}"
        )


def _opencv() -> Any:
    return import_extra("cv2", extra="pixels", what="measuring pictures")


def _luma(a: NDArray[Any]) -> NDArray[np.float32]:
    x = a.astype(np.float32)
    if x.ndim == 2:
        return x
    grey: NDArray[np.float32] = _opencv().transform(x, np.array([[0.299, 0.587, 0.114]], np.float32))
    return grey.reshape(x.shape[:2])


def _inside(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Blur by the paper's window and keep the pixels whose window lies inside."""
    blurred: NDArray[np.float32] = _opencv().GaussianBlur(x, (11, 11), 1.5)
    return blurred[5:-5, 5:-5]


def _ssim_parts(x: NDArray[np.float32], y: NDArray[np.float32], top: float) -> tuple[float, float]:
    """Return the mean of SSIM and of its contrast-structure part."""
    c1, c2 = np.float32((0.01 * top) ** 2), np.float32((0.03 * top) ** 2)
    mx, my = _inside(x), _inside(y)
    # About the means, since float32 would lose the variance of bright flat areas in the difference of two squares.
    dx, dy = float(x.mean()), float(y.mean())
    x, y, nx, ny = x - np.float32(dx), y - np.float32(dy), mx - np.float32(dx), my - np.float32(dy)
    sx, sy, sxy = _inside(x * x) - nx * nx, _inside(y * y) - ny * ny, _inside(x * y) - nx * ny
    contrast = (2 * sxy + c2) / (sx + sy + c2)
    whole = (2 * mx * my + c1) / (mx * mx + my * my + c1) * contrast
    return float(whole.mean(dtype=np.float64)), float(contrast.mean(dtype=np.float64))


def _halved(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the 2x2 mean; an odd last row or column counts twice."""
    height, width = x.shape[:2]
    if height % 2 or width % 2:
        x = np.pad(x, [(0, height % 2), (0, width % 2)] + [(0, 0)] * (x.ndim - 2), mode="edge")
    small: NDArray[np.float32] = _opencv().resize(
        x, (x.shape[1] // 2, x.shape[0] // 2), interpolation=_opencv().INTER_AREA
    )
    return small


@functools.cache
def _linear_table(n: int) -> NDArray[np.float32]:
    v = np.arange(n) / (n - 1)
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _linear(a: NDArray[Any]) -> NDArray[np.float32]:
    """Return linear light, three channels."""
    x = _linear_table(int(np.iinfo(a.dtype).max) + 1)[a]
    return x if x.ndim == 3 else np.repeat(x[..., None], 3, 2)


_OPSIN = np.array(
    [[0.30, 0.622, 0.078], [0.23, 0.692, 0.078], [0.24342268924547819, 0.20476744424496821, 0.5518098665095536]],
    np.float32,
)
_BIAS = np.float32(0.0037930732552754493)


def _positive_xyb(linear: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return JPEG XL's XYB, shifted and scaled to be positive."""
    mixed = np.cbrt(_opencv().transform(linear, _OPSIN) + _BIAS) - np.cbrt(_BIAS)
    x, y, b = 0.5 * (mixed[..., 0] - mixed[..., 1]), 0.5 * (mixed[..., 0] + mixed[..., 1]), mixed[..., 2]
    return np.stack([x * np.float32(14) + np.float32(0.42), y + np.float32(0.01), b - y + np.float32(0.55)], 2)


def _scale_errors(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float64]:
    """Give, for each channel, the mean and the 4-norm of the structural error, of added and of lost edges: (3, 6)."""
    # A channel at a time: a dozen planes of a large photograph are held, and not three dozen.
    return np.stack([_channel_errors(*(np.ascontiguousarray(v[..., k]) for v in (x, y))) for k in range(3)])


def _channel_errors(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float64]:
    cv2, taps = _opencv(), _cosine_taps()

    def blur(v: NDArray[np.float32]) -> NDArray[np.float32]:
        blurred: NDArray[np.float32] = cv2.sepFilter2D(v, -1, taps, taps, borderType=cv2.BORDER_CONSTANT)
        return blurred

    mx, my = blur(x), blur(y)
    sxx, syy, sxy = blur(x * x), blur(y * y), blur(x * y)
    close = 1 - (mx - my) ** 2
    structure = (2 * (sxy - mx * my) + np.float32(0.0009)) / ((sxx - mx * mx) + (syy - my * my) + np.float32(0.0009))
    error = np.maximum(1 - close * structure, 0)
    edges = (1 + np.abs(y - my)) / (1 + np.abs(x - mx)) - 1
    parts = []
    for values in (error, np.maximum(edges, 0), np.maximum(-edges, 0)):
        square = values * values
        parts += [values.mean(dtype=np.float64), np.mean(square * square, dtype=np.float64) ** 0.25]
    return np.array(parts)


@functools.cache
def _cosine_taps(sigma: float = 1.5) -> NDArray[np.float32]:
    """Return the taps whose recursive form libjxl runs: sum over k = 1, 3, 5 of b_k cos(k pi n / 2 N), |n| <= N."""
    radius = round(3.2795 * sigma + 0.2546)
    omega = np.array([1, 3, 5]) * math.pi / (2 * radius)
    p = np.array([1, -1, 1]) / np.tan(omega / 2)
    r = np.array([1, -1, 1]) * p * p / np.sin(omega)
    rho = np.exp(-0.5 * sigma * sigma * omega * omega) / radius
    d_13, d_35, d_51 = p[0] * r[1] - r[0] * p[1], p[1] * r[2] - r[1] * p[2], p[2] * r[0] - r[2] * p[0]
    zeta = np.array([d_35 / d_13, d_51 / d_13, 1.0])
    beta = np.linalg.solve(np.stack([p, r, zeta]), np.array([1.0, radius**2 - sigma**2, zeta @ rho]))
    n = np.arange(-radius, radius + 1)
    return (beta @ np.cos(omega[:, None] * n)).astype(np.float32)


def _score(rows: list[NDArray[np.float64]]) -> float:
    weights = np.array(_WEIGHTS).reshape(3, 6, 2, 3)
    total = 0.0
    for scale, errors in enumerate(rows):
        # Errors come as (channel, [structure, added, lost] x [mean, 4-norm]), weights as (channel, scale, norm, kind).
        kinds = errors.reshape(3, 3, 2).transpose(0, 2, 1)
        total += float((weights[:, scale] * np.abs(kinds)).sum())
    total *= 0.9562382616834844
    total = 2.326765642916932 * total - 0.020884521182843837 * total**2 + 6.248496625763138e-05 * total**3
    return 100.0 - 10.0 * total**0.6276336467831387 if total > 0 else 100.0


# Learnt by the authors of SSIMULACRA 2.1 (libjxl, tools/ssimulacra2.cc; BSD-3-Clause, the JPEG XL Project Authors).
_WEIGHTS = (
    0.0,
    0.0007376606707406586,
    0.0,
    0.0,
    0.0007793481682867309,
    0.0,
    0.0,
    0.0004371155730107379,
    0.0,
    1.1041726426657346,
    0.00066284834129271,
    0.00015231632783718752,
    0.0,
    0.0016406437456599754,
    0.0,
    1.8422455520539298,
    11.441172603757666,
    0.0,
    0.0007989109436015163,
    0.000176816438078653,
    0.0,
    1.8787594979546387,
    10.94906990605142,
    0.0,
    0.0007289346991508072,
    0.9677937080626833,
    0.0,
    0.00014003424285435884,
    0.9981766977854967,
    0.00031949755934435053,
    0.0004550992113792063,
    0.0,
    0.0,
    0.0013648766163243398,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
    7.466890328078848,
    0.0,
    17.445833984131262,
    0.0006235601634041466,
    0.0,
    0.0,
    6.683678146179332,
    0.00037724407979611296,
    1.027889937768264,
    225.20515300849274,
    0.0,
    0.0,
    19.213238186143016,
    0.0011401524586618361,
    0.001237755635509985,
    176.39317598450694,
    0.0,
    0.0,
    24.43300999870476,
    0.28520802612117757,
    0.0004485436923833408,
    0.0,
    0.0,
    0.0,
    34.77906344483772,
    44.835625328877896,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0008680556573291698,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0005313191874358747,
    0.0,
    0.00016533814161379112,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0004179171803251336,
    0.0017290828234722833,
    0.0,
    0.0020827005846636437,
    0.0,
    0.0,
    8.826982764996862,
    23.19243343998926,
    0.0,
    95.1080498811086,
    0.9863978034400682,
    0.9834382792465353,
    0.0012286405048278493,
    171.2667255897307,
    0.9807858872435379,
    0.0,
    0.0,
    0.0,
    0.0005130064588990679,
    0.0,
    0.00010854057858411537,
)
