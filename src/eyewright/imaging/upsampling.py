"""The two most likely classes at every pixel of a large picture, from a small map of probabilities."""

__all__ = ["TopTwo", "top_two"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Rows of the small map that are widened at once.
_BAND = 16


@dataclass(frozen=True, eq=False)
class TopTwo:
    """The most likely class of each pixel, the second one, uint8 (H, W), and the value of the first, float32 (H, W).

    `counts` is int64 (C,): at how many pixels each class is the first.
    """

    first: NDArray[np.uint8]
    second: NDArray[np.uint8]
    value: NDArray[np.float32]
    counts: NDArray[np.int64]


def top_two(planes: NDArray[np.float32], size_hw: tuple[int, int], box: tuple[float, float, float, float]) -> TopTwo:
    """Return the two largest of at most 256 planes, (C, h, w), enlarged to `size_hw` from `box` (x0, y0, x1, y1).

    Each plane is enlarged as Pillow's BILINEAR does, bit for bit; of equals the lower class comes first. Of the planes
    a few rows at a time are as wide as the result, so memory hardly grows with their number. Between two rows of the
    small map most columns have two classes that are above all others at both ends, and so everywhere between; only
    these two are computed there.

    >>> top_two(np.array([[[0.2, 0.9]], [[0.8, 0.1]]], np.float32), (1, 4), (0, 0, 2, 1)).first.tolist()
    [[1, 1, 0, 0]]
    """
    height, width = size_hw
    n, rows = len(planes), planes.shape[1]
    first, second = np.zeros((2, height, width), np.uint8)
    value = np.empty((height, width), np.float32)
    counts = np.zeros(n, np.int64)
    begins, weights = _coefficients(rows, box[1], box[3], height)
    ends = [*(np.flatnonzero(np.diff(begins)) + 1).tolist(), height]
    top = low = high = 0
    for bottom in ends:
        part = slice(top, bottom)
        begin, end = int(begins[top]), min(int(begins[top]) + weights.shape[1], rows)
        if end > high:
            low, high = begin, max(end, min(begin + _BAND, rows))
            wide = _widened(planes[:, low:high], width, box)
        taps = wide[:, begin - low : end - low]
        k = weights[part, : taps.shape[1]]
        _strip(taps, k, first[part], second[part], value[part])
        counts += np.bincount(first[part].ravel(), minlength=n)
        top = bottom
    return TopTwo(first, second, value, counts)


def _widened(planes: NDArray[np.float32], width: int, box: Sequence[float]) -> NDArray[np.float32]:
    """Return rows of planes, (C, k, w), as wide as the result, (C, k, width); all are one picture for Pillow."""
    n, rows, narrow = planes.shape
    picture = Image.fromarray(np.ascontiguousarray(planes.reshape(n * rows, narrow), np.float32))
    wide = picture.resize((width, n * rows), Image.Resampling.BILINEAR, box=(box[0], 0, box[2], n * rows))
    return np.asarray(wide).reshape(n, rows, width)


def _coefficients(n: int, start: float, end: float, size: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return for each of `size` output rows the first input row and the weights of those from there on, (size, taps).

    From `precompute_coeffs` in Pillow's Resample.c, whose box is in single precision.
    """
    low, high = np.float32(start), np.float32(end)
    scale = float(high - low) / size
    support = max(scale, 1.0)
    centre = float(low) + (np.arange(size) + 0.5) * scale
    begins = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    ends = np.minimum((centre + support + 0.5).astype(np.int64), n)
    at = begins[:, None] + np.arange(int((ends - begins).max()))
    weights = np.maximum(1.0 - np.abs((at - centre[:, None] + 0.5) * (1.0 / support)), 0.0)
    weights[at >= ends[:, None]] = 0.0
    total = np.zeros(size)
    for column in weights.T:
        total += column
    return begins, weights / total[:, None]


def _blend(taps: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return rows (k, W) between input rows (taps, W), summed in double precision from the first on, as Pillow does."""
    rows = weights[:, :1] * taps[0]
    for tap, column in zip(taps[1:], weights.T[1:], strict=True):
        rows += column[:, None] * tap
    blended: NDArray[np.float32] = rows.astype(np.float32)
    return blended


def _strip(
    taps: NDArray[np.float32],
    weights: NDArray[np.float64],
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    value: NDArray[np.float32],
) -> None:
    """Fill output rows that lie between the same input rows, `taps` (C, taps, W)."""
    n = len(taps)
    if n == 1:
        value[:] = _blend(taps[0], weights)
        return
    low, high = taps.min(1), taps.max(1)
    possible = high >= np.partition(low, n - 2, axis=0)[n - 2]
    one = np.argmax(possible, axis=0)
    other = n - 1 - np.argmax(possible[::-1], axis=0)
    columns = np.arange(taps.shape[2])
    a, b = (_blend(np.ascontiguousarray(taps[c, :, columns].T), weights) for c in (one, other))
    wins = b > a
    one, other = one.astype(np.uint8), other.astype(np.uint8)
    first[:], second[:] = np.where(wins, other, one), np.where(wins, one, other)
    np.maximum(a, b, out=value)
    rest = np.flatnonzero(possible.sum(0) > 2)
    if len(rest):
        shape = (len(weights), len(rest))
        best, runner = np.full((2, *shape), -1.0, np.float32)
        mask, next_best = np.zeros((2, *shape), np.uint8)
        for c in np.flatnonzero(possible[:, rest].any(1)).tolist():
            large = _blend(np.ascontiguousarray(taps[c][:, rest]), weights)
            beats, follows = large > best, large > runner
            np.copyto(next_best, np.uint8(c), where=follows)
            np.copyto(runner, large, where=follows)
            np.copyto(next_best, mask, where=beats)
            np.copyto(runner, best, where=beats)
            np.copyto(mask, np.uint8(c), where=beats)
            np.copyto(best, large, where=beats)
        first[:, rest], second[:, rest], value[:, rest] = mask, next_best, best
