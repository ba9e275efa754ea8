"""Connected components of a mask by its runs, in numpy: no other library is needed to use them."""

__all__ = ["Component", "components_of"]

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Component(NamedTuple):
    """Pixels that touch each other, also by a corner: the box around them, half-open, and how many they are."""

    x0: int
    y0: int
    x1: int
    y1: int
    pixels: int

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    @property
    def width(self) -> int:
        return self.x1 - self.x0


def components_of(mask: NDArray[np.bool_]) -> list[Component]:
    """Return the components of a mask, bool (H, W), that touch by an edge or a corner, in no particular order.

    >>> components_of(np.array([[1, 0, 0, 1], [0, 1, 0, 0]], bool))
    [Component(x0=0, y0=0, x1=2, y1=2, pixels=2), Component(x0=3, y0=0, x1=4, y1=1, pixels=1)]
    """
    height, width = mask.shape
    padded = np.zeros((height, width + 2), np.int8)
    padded[:, 1:-1] = mask
    steps = np.diff(padded, axis=1)
    rows, starts = np.nonzero(steps == 1)
    _, ends = np.nonzero(steps == -1)
    n = len(rows)
    if not n:
        return []
    first = np.searchsorted(rows, np.arange(height + 1))
    one, other = _touching(starts, ends, first, height)
    parents = _joined(n, one, other)
    names, which = np.unique(parents, return_inverse=True)
    k = len(names)
    x0, y0 = np.full(k, width), np.full(k, height)
    x1, y1, pixels = np.zeros(k, np.int64), np.zeros(k, np.int64), np.zeros(k, np.int64)
    np.minimum.at(x0, which, starts)
    np.maximum.at(x1, which, ends)
    np.minimum.at(y0, which, rows)
    np.maximum.at(y1, which, rows + 1)
    np.add.at(pixels, which, ends - starts)
    return [Component(*map(int, row)) for row in zip(x0, y0, x1, y1, pixels, strict=True)]


def _touching(
    starts: NDArray[np.int64], ends: NDArray[np.int64], first: NDArray[np.int64], height: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs of runs of neighbouring rows that touch."""
    ones, others = [], []
    for row in range(height - 1):
        a, b, c = first[row], first[row + 1], first[row + 2]
        if a == b or b == c:
            continue
        # Of the next row, those from the first that ends at or after our start to the last that starts by our end.
        low = np.searchsorted(ends[b:c], starts[a:b], side="left")
        high = np.searchsorted(starts[b:c], ends[a:b], side="right")
        counts = np.maximum(high - low, 0)
        total = int(counts.sum())
        if total:
            own = np.repeat(np.arange(a, b), counts)
            offset = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
            ones.append(own)
            others.append(b + np.repeat(low, counts) + offset)
    if not ones:
        none = np.zeros(0, np.int64)
        return none, none
    return np.concatenate(ones), np.concatenate(others)


def _joined(n: int, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each of n runs the least number of a run of its component (hooking and pointer jumping)."""
    parents = np.arange(n)
    while True:
        a, b = parents[one], parents[other]
        low = np.minimum(a, b)
        before = parents.copy()
        np.minimum.at(parents, a, low)
        np.minimum.at(parents, b, low)
        while True:
            up = parents[parents]
            if np.array_equal(up, parents):
                break
            parents = up
        if np.array_equal(parents, before):
            return parents
