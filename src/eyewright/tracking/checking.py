"""Detections of one frame, checked before they are followed."""

__all__ = ["checked"]

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError

_LARGEST = 1e7
# Up to so many boxes, plain Python is quicker than numpy.
_SMALL = 16

_Arrays = tuple[
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.int64] | None,
    NDArray[np.int64] | None,
    float,
]


def checked(
    boxes_xyxy: NDArray[np.float64], scores: NDArray[np.float64] | None, label_ids: NDArray[np.int64] | None
) -> _Arrays:
    """Return boxes, scores and labels of detections that can be followed, their places if some cannot, and the lowest
    score.

    Boxes without an area or with numbers that are not finite are left out; a score that is missing (NaN) is the highest
    of its frame, at least 1.

    Raises:
        UsageError: arrays that do not belong together.
    """
    boxes = np.asarray(boxes_xyxy, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        if boxes.size:
            raise UsageError(f"expected boxes of shape (n, 4), found {boxes.shape}")
        boxes = boxes.reshape(0, 4)
    n = len(boxes)
    try:
        scores = np.ones(n) if scores is None else np.asarray(scores, np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"expected {n} scores as numbers, found other values") from None
    labels = None if label_ids is None else np.asarray(label_ids)
    if scores.shape != (n,) or (labels is not None and labels.shape != (n,)):
        there = "none" if labels is None else str(labels.shape)
        raise UsageError(
            f"expected a score, and a label where there are labels, for each of {n} boxes, found scores of shape "
            f"{scores.shape} and labels of shape {there}"
        )
    if labels is not None and n and (labels.dtype.kind not in "iu" or labels.min() < 0):
        raise UsageError("expected labels as numbers of classes, from 0, found others")
    if not n:
        return boxes, scores, labels, None, 1.0
    if n <= _SMALL and _plain(boxes.tolist()):
        values = scores.tolist()
        if all(value >= 0 for value in values):
            return boxes, scores, labels, None, min(values)
    least = np.minimum.reduce(scores)
    if not least >= 0:
        # NaN fails every comparison.
        scores = np.where(np.isnan(scores), np.fmax(np.fmax.reduce(scores), 1.0), scores)
        least = np.minimum.reduce(scores)
    finite = np.minimum.reduce(boxes, axis=None) > -_LARGEST and np.maximum.reduce(boxes, axis=None) < _LARGEST
    if finite and np.minimum.reduce(boxes[:, 2:] - boxes[:, :2], axis=None) > 0:
        return boxes, scores, labels, None, least
    with np.errstate(invalid="ignore"):
        size = boxes[:, 2:] - boxes[:, :2]
        given = np.flatnonzero((size > 0).all(1) & (abs(boxes) < _LARGEST).all(1))
    kept, own = boxes[given], scores[given]
    least = own.min() if len(own) else 1.0
    return kept, own, None if labels is None else labels[given], given, least


def _plain(boxes: list[list[float]]) -> bool:
    """Return whether all of a few boxes have an area and numbers that can be calculated with."""
    return all(-_LARGEST < x0 < x1 < _LARGEST and -_LARGEST < y0 < y1 < _LARGEST for x0, y0, x1, y1 in boxes)
