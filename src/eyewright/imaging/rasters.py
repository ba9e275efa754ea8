"""Shapes as pixels and back: polygons filled by pixel centres, and COCO's run-length encoding."""

__all__ = [
    "count_classes",
    "decode_counts",
    "encode_classes",
    "encode_counts",
    "fill_polygons",
    "pack_counts",
    "parse_counts",
    "read_counts",
    "trace_outlines",
]

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import DatasetError

_MOST_RUNS = 50_000_000


def fill_polygons(polygons: Sequence[NDArray[np.floating[Any]]], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels whose centres lie in any of the polygons, each (k, 2) in x, y; bool (H, W).

    A polygon that crosses itself is filled by the even-odd rule. Points outside the image are allowed.

    >>> fill_polygons([np.array([[0, 0], [2, 0], [2, 1], [0, 1]])], (2, 3)).astype(int).tolist()
    [[1, 1, 0], [0, 0, 0]]
    """
    height, width = size_hw
    filled = np.zeros((height, width), bool)
    for polygon in polygons:
        points = np.asarray(polygon, np.float64).reshape(-1, 2)
        if len(points) < 3 or not np.isfinite(points).all():
            continue
        start, end = points, np.roll(points, -1, 0)
        down = start[:, 1] <= end[:, 1]
        top, bottom = np.where(down[:, None], start, end), np.where(down[:, None], end, start)
        # An edge is crossed by the rows whose centres lie in [top, bottom).
        first = np.clip(np.ceil(top[:, 1] - 0.5), 0, height).astype(np.int64)
        last = np.clip(np.ceil(bottom[:, 1] - 0.5), 0, height).astype(np.int64)
        n = np.maximum(last - first, 0)
        if not n.any():
            continue
        edge = np.repeat(np.arange(len(points)), n)
        row = first[edge] + np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
        rise = bottom[edge, 1] - top[edge, 1]
        x = top[edge, 0] + (row + 0.5 - top[edge, 1]) * (bottom[edge, 0] - top[edge, 0]) / rise
        column = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
        low, high = int(row.min()), int(row.max()) + 1
        turns = np.zeros((high - low, width + 1), np.int32)
        np.add.at(turns, (row - low, column), 1)
        filled[low:high] |= (np.cumsum(turns, 1)[:, :width] & 1).astype(bool)
    return filled


def parse_counts(text: str) -> NDArray[np.int64]:
    """Return the run-length encoding of COCO's compressed form: 5 bits a character, differences from the third run on.

    >>> parse_counts("13").tolist()
    [1, 3]

    Raises:
        DatasetError: a character that cannot be in it, or text that ends in the middle of a number.
    """
    codes = np.frombuffer(text.encode("latin-1", "replace"), np.uint8).astype(np.int64) - 48
    if len(codes) and (codes.min() < 0 or codes.max() > 63 or codes[-1] & 32):
        raise DatasetError("the compressed run-length encoding is damaged", fix="export the annotations again")
    counts: list[int] = []
    value, shift = 0, 0
    for code in codes.tolist():
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value, shift = 0, 0
    if counts and min(counts) < 0:
        raise DatasetError("the compressed run-length encoding is damaged", fix="export the annotations again")
    return np.array(counts, np.int64)


def pack_counts(counts: Sequence[int]) -> str:
    """Return the compressed form of a run-length encoding; `parse_counts` reads it.

    >>> pack_counts([1, 3])
    '13'
    """
    values = np.array(counts, np.int64)
    values[3:] -= np.array(counts[1:-2], np.int64)
    left = np.ones(len(values), bool)
    digits = []
    while left.any():
        low = values & 31
        values >>= 5
        last = values == -(low >> 4)
        digits.append(np.where(left, np.where(last, low, low | 32) + 48, 0).astype(np.uint8))
        left &= ~last
    text = np.stack(digits, 1).reshape(-1) if digits else np.zeros(0, np.uint8)
    return text[text > 0].tobytes().decode("ascii")


def encode_counts(mask: NDArray[np.bool_]) -> list[int]:
    """Return the run-length encoding of a mask (H, W), column by column, beginning with zeros.

    >>> encode_counts(np.array([[0, 1], [1, 1]], bool))
    [1, 3]
    """
    return encode_classes(np.asarray(mask, bool).view(np.uint8), [1])[0]


def encode_classes(mask: NDArray[np.integer], ids: Sequence[int]) -> list[list[int]]:
    """Return the run-length encoding of each of the classes `ids` of a mask of integers (H, W), which is read once.

    >>> encode_classes(np.array([[7, 1], [1, 1]], np.uint8), [1, 7])
    [[1, 3], [0, 1, 3]]
    """
    starts, values = _runs(mask)
    ends = np.append(starts[1:], mask.size)
    found = []
    for c in ids:
        own = np.flatnonzero(values == c)
        bounds = np.stack([starts[own], ends[own]], 1).reshape(-1)
        runs = np.diff(bounds, prepend=0, append=mask.size).tolist()
        found.append(runs if runs[-1] or len(runs) == 1 else runs[:-1])
    return found


def _runs(mask: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.integer]]:
    """Return where runs of equal values of a mask begin, column by column, and their values.

    The mask is compared row by row, in the order of its memory, and what differs is sorted: turning the whole mask
    takes several times as long where there are few runs.
    """
    height, width = mask.shape
    if not mask.size:
        return np.zeros(0, np.int64), mask.reshape(-1)
    differs = mask[1:] != mask[:-1]
    if np.count_nonzero(differs) * 16 > mask.size:
        flat = mask.T.ravel()
        starts = np.append(0, np.flatnonzero(flat[1:] != flat[:-1]) + 1)
        return starts, flat[starts]
    y, x = np.divmod(np.flatnonzero(differs), width)
    tops = np.flatnonzero(mask[0, 1:] != mask[-1, :-1]) + 1
    starts = np.sort(np.concatenate([[0], tops * height, x * height + y + 1]))
    x, y = np.divmod(starts, height)
    return starts, mask[y, x]


def count_classes(mask: NDArray[np.integer], n: int) -> NDArray[np.int64]:
    """Return how many pixels of a mask of integers (H, W) have each of the values below n, int64 (n,).

    uint8 is fastest.

    >>> count_classes(np.array([[0, 2], [2, 1]], np.uint8), 4).tolist()
    [1, 1, 2, 0]
    """
    if mask.dtype != np.uint8 or not mask.size or n > 256:
        return np.bincount(mask.ravel(), minlength=n)[:n]
    # Pillow counts bytes as they are; numpy's bincount makes an integer of 8 bytes of each before.
    return np.array(Image.fromarray(mask).histogram()[:n], np.int64)


def decode_counts(counts: NDArray[np.int64], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask (H, W) of a run-length encoding.

    Raises:
        DatasetError: they do not make up the image.
    """
    height, width = size_hw
    if len(counts) > _MOST_RUNS or (len(counts) and counts.min() < 0) or int(counts.sum()) != height * width:
        raise DatasetError(
            f"the run-length encoding covers {int(counts.sum())} pixels, the image has {height * width}",
            fix="export the annotations again",
        )
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return np.ascontiguousarray(flat.reshape(width, height).T)


def read_counts(counts: NDArray[np.int64], height: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns that suffice for the box around a run-length encoded mask, without making the mask."""
    ends = np.cumsum(counts)
    starts = ends - counts
    shown = (np.arange(len(counts)) % 2 == 1) & (counts > 0)
    low, high = starts[shown], ends[shown] - 1
    if not len(low):
        return low, high
    rows = np.concatenate([low % height, high % height])
    # A run that passes the foot of a column reaches the top of the next and the foot of its own.
    passes = low // height != high // height
    if passes.any():
        rows = np.concatenate([rows, [0, height - 1]])
    return rows, np.concatenate([low // height, high // height])


def trace_outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Return the outer outlines of a mask as polygons (k, 2) in x, y along the pixels' edges.

    Filled again by `fill_polygons` they give the mask back, except for holes, which polygons do not have.

    >>> trace_outlines(np.array([[0, 0, 0], [0, 1, 1]], bool))[0].tolist()
    [[1.0, 1.0], [3.0, 1.0], [3.0, 2.0], [1.0, 2.0]]
    """
    found = _directed_edges(np.asarray(mask, bool))
    outlines = []
    while found:
        start = next(iter(found))
        loop, at, before = [start], found[start].pop(), start
        _drop_empty(found, start)
        while at != start:
            loop.append(at)
            ways = found[at]
            # Where two corners of pixels touch, turning right keeps what is one region (by edges) one.
            step = (at[0] - before[0], at[1] - before[1])
            right = (at[0] - step[1], at[1] + step[0])
            k = next((i for i, w in enumerate(ways) if _heads(at, w) == _heads(at, right)), 0)
            before, at = at, ways.pop(k)
            _drop_empty(found, before)
        corners = _corners(np.array(loop, np.float64))
        if _signed_area(corners) > 0:
            outlines.append(corners)
    return outlines


def _directed_edges(mask: NDArray[np.bool_]) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Return the unit edges between mask and rest by their start, with the mask to the right (clockwise outside)."""
    padded = np.pad(mask, 1)
    edges: dict[tuple[int, int], list[tuple[int, int]]] = {}
    inner, above, below = padded[1:-1, 1:-1], padded[:-2, 1:-1], padded[2:, 1:-1]
    left, right = padded[1:-1, :-2], padded[1:-1, 2:]
    for side, (dx0, dy0, dx1, dy1) in (
        (inner & ~above, (0, 0, 1, 0)),
        (inner & ~right, (1, 0, 1, 1)),
        (inner & ~below, (1, 1, 0, 1)),
        (inner & ~left, (0, 1, 0, 0)),
    ):
        rows, columns = np.nonzero(side)
        for y, x in zip(rows.tolist(), columns.tolist(), strict=True):
            edges.setdefault((x + dx0, y + dy0), []).append((x + dx1, y + dy1))
    return edges


def _drop_empty(edges: dict[tuple[int, int], list[tuple[int, int]]], at: tuple[int, int]) -> None:
    if not edges[at]:
        del edges[at]


def _heads(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return (b[0] > a[0]) - (b[0] < a[0]), (b[1] > a[1]) - (b[1] < a[1])


def _corners(loop: NDArray[np.float64]) -> NDArray[np.float64]:
    step = np.roll(loop, -1, 0) - loop
    turned = (step != np.roll(step, 1, 0)).any(1)
    corners: NDArray[np.float64] = loop[turned]
    return corners


def _signed_area(points: NDArray[np.float64]) -> float:
    x, y = points.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)
