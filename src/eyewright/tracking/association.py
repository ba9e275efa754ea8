"""Which detection belongs to which track."""

__all__ = ["FEW_PAIRS", "associate", "associate_few", "overlaps"]

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eyewright.metrics.assignment import assign_lists, assign_pairs, greedy_pairs

# With more pairs than this, boxes lie on each other by the hundred, and pairs are taken greedily.
_MOST_PAIRS = 5_000
# Of so many boxes, a track goes on with one of the few that overlap it most.
_RIVALS = 8
_CELLS = 1_000_000
_AT_ONCE = 4_096
# Up to so many pairs, plain Python is quicker than numpy, whose calls take half a microsecond each.
FEW_PAIRS = 100

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]
Boxes = Sequence[Sequence[float]]


def overlaps(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union of boxes (n, 4) with boxes (m, 4), float64 (n, m).

    >>> overlaps(np.array([[0.0, 0, 2, 2]]), np.array([[0.0, 0, 2, 1]])).tolist()
    [[0.5]]
    """
    # Copies, so that every coordinate lies together in memory.
    of_a, of_b = a.T.copy()[:, :, None], b.T.copy()[:, None]
    shared: NDArray[np.float64]
    if len(a) * len(b) <= _AT_ONCE:
        common = np.minimum(of_a[2:], of_b[2:])
        common -= np.maximum(of_a[:2], of_b[:2])
        np.maximum(common, 0.0, out=common)
        shared = common[0]
        shared *= common[1]
        size_a, size_b = of_a[2:] - of_a[:2], of_b[2:] - of_b[:2]
        whole = size_a[0] * size_a[1] + size_b[0] * size_b[1]
    else:
        # One coordinate after another: what is worked on stays in the processor's cache.
        ax0, ay0, ax1, ay1 = of_a
        bx0, by0, bx1, by1 = of_b
        shared = np.minimum(ax1, bx1)
        shared -= np.maximum(ax0, bx0)
        np.maximum(shared, 0.0, out=shared)
        high = np.minimum(ay1, by1)
        high -= np.maximum(ay0, by0)
        np.maximum(high, 0.0, out=high)
        shared *= high
        whole = (ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0)
    whole -= shared
    # Boxes have an area above zero, so the union has one too.
    shared /= whole
    return shared


def associate(
    tracks: NDArray[np.float64],
    boxes: NDArray[np.float64],
    threshold: float,
    *,
    weights: NDArray[np.float64] | None = None,
    allowed: NDArray[np.bool_] | None = None,
) -> Pairs:
    """Return which track, box (n, 4), goes with which detection, box (m, 4): rows and columns of the pairs.

    Pairs overlap by at least `threshold`, and their overlaps have the largest sum. `weights`, (m,), multiply the
    overlap with each detection; `allowed`, bool (n, m), excludes pairs.
    """
    n, m = len(tracks), len(boxes)
    if n == 0 or m == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    if n * m > _CELLS:
        return _sparse(tracks, boxes, threshold, weights, allowed)
    if n * m <= FEW_PAIRS and allowed is None and threshold > 0:
        few = associate_few(tracks.tolist(), boxes.tolist(), threshold, None if weights is None else weights.tolist())
        return np.array(few[0], np.int64), np.array(few[1], np.int64)
    similar = overlaps(tracks, boxes)
    if weights is not None:
        similar *= weights
    close = similar >= threshold
    if allowed is not None:
        close &= allowed
    rows, columns = close.nonzero()
    if len(rows) > _MOST_PAIRS:
        return greedy_pairs(rows, columns, similar[rows, columns])
    return assign_pairs(rows, columns, similar)


def associate_few(
    tracks: Boxes, boxes: Boxes, threshold: float, weights: Sequence[float] | None = None
) -> tuple[list[int], list[int]]:
    """Return what `associate` returns, to the last bit, of lists and as lists; `threshold` is above 0.

    The arithmetic is that of `overlaps`; up to about a hundred pairs it takes less time than numpy's calls.

    >>> associate_few([[0.0, 0, 2, 2]], [[5.0, 0, 6, 1], [0.0, 0, 2, 1]], 0.4)
    ([0], [1])
    """
    factors = [1.0] * len(boxes) if weights is None else weights
    columns = [
        (j, x0, y0, x1, y1, (x1 - x0) * (y1 - y0), w)
        for j, ((x0, y0, x1, y1), w) in enumerate(zip(boxes, factors, strict=True))
    ]
    row_list, column_list, scores = [], [], []
    for i, (ax0, ay0, ax1, ay1) in enumerate(tracks):
        # An expected box may have shrunk to less than nothing.
        if not (ax0 < ax1 and ay0 < ay1):
            continue
        size = (ax1 - ax0) * (ay1 - ay0)
        for j, bx0, by0, bx1, by1, other, weight in columns:
            if bx0 < ax1 and ax0 < bx1 and by0 < ay1 and ay0 < by1:
                shared = ((ax1 if ax1 < bx1 else bx1) - (ax0 if ax0 > bx0 else bx0)) * (
                    (ay1 if ay1 < by1 else by1) - (ay0 if ay0 > by0 else by0)
                )
                similar = shared / (size + other - shared) * weight
                if similar >= threshold:
                    row_list.append(i)
                    column_list.append(j)
                    scores.append(similar)
    return assign_lists(row_list, column_list, scores)


def _sparse(
    tracks: NDArray[np.float64],
    boxes: NDArray[np.float64],
    threshold: float,
    weights: NDArray[np.float64] | None,
    allowed: NDArray[np.bool_] | None,
) -> Pairs:
    """Associate without a whole matrix: tracks from top to bottom, in blocks, each with the boxes of its heights."""
    order, below = np.argsort(tracks[:, 1]), np.argsort(boxes[:, 1])
    tops, tallest = boxes[below, 1], float((boxes[:, 3] - boxes[:, 1]).max())
    rows, columns, scores = [], [], []
    for start in range(0, len(order), 128):
        own = order[start : start + 128]
        first = np.searchsorted(tops, tracks[own, 1].min() - tallest)
        last = np.searchsorted(tops, tracks[own, 3].max())
        near = below[first:last]
        if not len(near):
            continue
        similar = overlaps(tracks[own], boxes[near])
        if weights is not None:
            similar *= weights[near]
        if allowed is not None:
            similar *= allowed[np.ix_(own, near)]
        if len(near) > 4 * _RIVALS:
            best = np.argpartition(-similar, _RIVALS, axis=1)[:, :_RIVALS]
            i, k = (np.take_along_axis(similar, best, 1) >= threshold).nonzero()
            j = best[i, k]
        else:
            i, j = (similar >= threshold).nonzero()
        rows.append(own[i])
        columns.append(near[j])
        scores.append(similar[i, j])
    if not rows:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    row, column, score = np.concatenate(rows), np.concatenate(columns), np.concatenate(scores)
    # One object a place: of thousands, all but a few pairs have no rival.
    alone = (np.bincount(row)[row] == 1) & (np.bincount(column)[column] == 1)
    left = np.flatnonzero(~alone)
    solve = greedy_pairs if len(left) > _MOST_PAIRS else assign_pairs
    more = solve(row[left], column[left], score[left])
    return np.concatenate([row[alone], more[0]]), np.concatenate([column[alone], more[1]])
