"""From what a detector answers at every point to objects: thresholds and non-maximum suppression."""

__all__ = ["DEFAULT_IOU", "choose_boxes", "keep_apart"]

import numpy as np
from numpy.typing import NDArray

DEFAULT_IOU = 0.6
"""The IoU threshold of non-maximum suppression within a class."""

_AT_ONCE = 2000
_BLOCK = 128


def keep_apart(
    boxes: NDArray[np.floating],
    scores: NDArray[np.floating],
    *,
    iou: float,
    labels: NDArray[np.int64] | None = None,
    contained: float | None = None,
    most: int | None = None,
) -> NDArray[np.int64]:
    """Return the indices that greedy non-maximum suppression keeps, sorted by confidence, at most `most`.

    A box is suppressed by one of higher score whose IoU with it is above `iou`; with `labels` only by one of its class.
    With `contained` it is suppressed too when more than that share of it lies in one of higher score, as the cut half
    of an object at the edge of a tile does.

    >>> boxes = np.array([[0.0, 0, 10, 10], [1, 0, 10, 10], [20, 0, 30, 10]])
    >>> keep_apart(boxes, np.array([0.5, 0.9, 0.4]), iou=0.5).tolist()
    [1, 2]
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    b = np.asarray(boxes, np.float64)
    # A block at a time: within it all overlaps at once, and what earlier blocks left is met as a whole.
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        if kept:
            block = block[~_suppressed(b, np.array(kept), block, iou, labels, contained).any(0)]
        gone = _suppressed(b, block, block, iou, labels, contained)
        alive = np.ones(len(block), bool)
        for i in range(len(block)):
            if alive[i]:
                kept.append(int(block[i]))
                if most is not None and len(kept) >= most:
                    return np.array(kept, np.int64)
                alive[i + 1 :] &= ~gone[i, i + 1 :]
    return np.array(kept, np.int64)


def _suppressed(
    boxes: NDArray[np.float64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    iou: float,
    labels: NDArray[np.int64] | None,
    contained: float | None,
) -> NDArray[np.bool_]:
    """Tell which of `second` each of `first` would suppress, bool (n, m)."""
    a, b = boxes[first], boxes[second]
    wide = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0])
    high = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1])
    both = wide.clip(0) * high.clip(0)
    area_a, area_b = ((x[:, 2] - x[:, 0]).clip(0) * (x[:, 3] - x[:, 1]).clip(0) for x in (a, b))
    gone: NDArray[np.bool_] = both > iou * (area_a[:, None] + area_b[None] - both)
    if contained is not None:
        gone |= both > contained * area_b[None]
    if labels is not None:
        gone &= labels[first][:, None] == labels[second][None]
    return gone


def choose_boxes(
    boxes: NDArray[np.floating],
    scores: NDArray[np.floating],
    *,
    least: float,
    iou: float,
    most: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose among the answers of one image, `boxes` (A, 4) and `scores` (A, C); return points and ids, each (k,).

    Every class whose score reaches `least` makes a point a candidate; of more than 2,000 the highest are kept.
    Boxes of one class whose IoU is above `iou` are one object. At most `most` objects stay, sorted by confidence.
    """
    points, labels = np.nonzero(scores >= least)
    own = scores[points, labels]
    if len(own) > _AT_ONCE:
        best = np.argpartition(-own, _AT_ONCE)[:_AT_ONCE]
        best = best[np.lexsort((labels[best], points[best]))]
        points, labels, own = points[best], labels[best], own[best]
    kept = keep_apart(boxes[points], own, iou=iou, labels=labels, most=most)
    return points[kept], labels[kept]
