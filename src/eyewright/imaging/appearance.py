"""What a prepared image looks like in a few numbers, which drift and unfamiliar images are told by."""

__all__ = ["LOOK", "TRAITS", "appearance", "covered"]

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from eyewright.imaging.preparation import Placement

TRAITS = (
    "brightness",
    "contrast",
    "sharpness",
    "noise",
    "detail",
    "clipped",
    "saturation",
    "warmth",
    "height",
    "width",
)
"""The names of the first numbers: what a person can be told."""

_GRID = 4
LOOK = len(TRAITS) + _GRID * _GRID + 5 + 3
"""How many numbers there are in all."""

_LEVELS = np.arange(256.0)
# Rows of an image that its grain is told by.
_ROWS = 64


def appearance(pixels: NDArray[np.uint8], placement: "Placement") -> NDArray[np.float32]:
    """Return what one prepared image, uint8 (h, w, C), looks like: float32 (LOOK,).

    First the `TRAITS`: mean and spread of the luma (0-255), the logarithm of its mean absolute Laplacian (sharpness),
    of the noise after Immerkaer (1996), and of how much of the gradient survives halving the size (detail), the
    fraction of pixels at either end of the range, mean saturation and red less blue (both 0 in grey images), and the
    logarithms of the source's height and width. Then the luma of a 4x4 grid and its quantiles, relative to the mean,
    and how steep it is at three sizes. Only what the image covers counts, not what a letterbox fills.

    >>> from eyewright.imaging import Preparation
    >>> pixels, placement = Preparation((8, 8), channels=1)(np.full((8, 8, 3), 90, np.uint8))
    >>> appearance(pixels, placement)[:2].tolist()
    [90.0, 0.0]
    """
    seen = covered(pixels, placement)
    picture = Image.fromarray(seen[..., 0] if seen.shape[2] == 1 else np.ascontiguousarray(seen))
    luma = picture.convert("L")
    counts = np.array(luma.histogram(), np.float64)
    share = counts / counts.sum()
    mean = float(share @ _LEVELS)
    spread = float(np.sqrt(max(0.0, share @ (_LEVELS - mean) ** 2)))
    grey = np.frombuffer(luma.tobytes(), np.uint8).reshape(luma.height, luma.width)
    sharp, noise, fine, coarse, coarser = _grain(grey)
    saturation = warmth = 0.0
    if seen.shape[2] == 3:
        few = seen[::4, ::4].astype(np.float32)
        red, green, blue = few[..., 0], few[..., 1], few[..., 2]
        # A reduction along three values takes five times as long as two of these.
        high = np.maximum(np.maximum(red, green), blue)
        low = np.minimum(np.minimum(red, green), blue)
        saturation = float(((high - low) / np.maximum(high, 1)).mean())
        warmth = float((red - blue).mean())
    traits = [
        mean,
        spread,
        np.log1p(sharp),
        np.log1p(noise),
        np.log((1 + coarse) / (1 + fine)),
        float(share[:3].sum() + share[253:].sum()),
        saturation,
        warmth,
        np.log(placement.source_hw[0]),
        np.log(placement.source_hw[1]),
    ]
    cells = np.asarray(luma.resize((_GRID, _GRID), Image.Resampling.BOX), np.float32).ravel() - mean
    quantiles = np.searchsorted(share.cumsum(), (0.05, 0.25, 0.5, 0.75, 0.95)) - mean
    return np.concatenate(
        [np.array(traits), cells, quantiles, [np.log1p(fine), np.log1p(coarse), np.log1p(coarser)]]
    ).astype(np.float32)


def covered(pixels: NDArray[Any], placement: "Placement") -> NDArray[Any]:
    """Return the part of the prepared pixels, (h, w, …), that shows the image."""
    ends = []
    for axis in (0, 1):
        start = placement.offset_yx[axis]
        end = start + placement.source_hw[axis] * placement.scale_yx[axis]
        low, high = max(0, round(start)), min(pixels.shape[axis], round(end))
        ends.append(slice(low, high) if high > low else slice(None))
    return pixels[ends[0], ends[1]]


def _grain(grey: NDArray[np.uint8]) -> tuple[float, float, float, float, float]:
    """Return the mean absolute Laplacian, the noise, and how much neighbours differ at three sizes.

    Of large images a few bands of rows tell as much as all of them, in a fraction of the time.
    """
    height, width = grey.shape
    if min(height, width) < 8:
        return 0.0, 0.0, 0.0, 0.0, 0.0
    if height > 2 * _ROWS:
        # Whole blocks of eight rows from everywhere, one below the other: their seams are few.
        starts = np.linspace(0, height - 8, _ROWS // 8).astype(int)
        grey = grey[(starts[:, None] + np.arange(8)).ravel()]
    g = grey[: len(grey) // 4 * 4, : width // 4 * 4].astype(np.int16)
    down = g[:-2] + g[2:]
    cross = down[:, 1:-1] + g[1:-1, :-2] + g[1:-1, 2:]
    bent = 4 * g[1:-1, 1:-1] - cross
    corners = down[:, :-2] + down[:, 2:]
    half = g[::2, ::2] + g[1::2, ::2] + g[::2, 1::2] + g[1::2, 1::2]
    quarter = half[::2, ::2] + half[1::2, ::2] + half[::2, 1::2] + half[1::2, 1::2]
    return (
        _mean_size(bent),
        _mean_size(bent - cross + corners) * 0.2089,
        _steepness(g),
        _steepness(half) / 4,
        _steepness(quarter) / 16,
    )


def _mean_size(values: NDArray[np.int16]) -> float:
    return int(np.add.reduce(np.abs(values).ravel(), dtype=np.int64)) / values.size


def _steepness(g: NDArray[np.int16]) -> float:
    return _mean_size(g[:, 1:] - g[:, :-1]) + _mean_size(g[1:] - g[:-1])
