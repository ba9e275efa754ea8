"""Look at an image in parts and in its mirror, and join what was seen: small objects in large images."""

__all__ = ["JoinedBoxes", "cut_view", "edge_distance", "join_boxes", "mirrored", "predict_views", "tile_places"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.core.prediction import Prediction
from eyewright.core.predictor import Predictor, predict_everything
from eyewright.core.task import task_of
from eyewright.metrics.matching import MaskCrop
from eyewright.tasks.boxes import DEFAULT_IOU, keep_apart

if TYPE_CHECKING:
    from eyewright.tasks.detect import BoxPrediction

_AT_ONCE = 8
# What lies by more than this in a surer box of its class is the part of it that another tile cut off.
_CONTAINED = 0.7
_EDGE = 2.0


def tile_places(size_hw: tuple[int, int], tile: int, overlap: float) -> list[tuple[int, int, int, int]]:
    """Return the tiles of an image as (top, left, bottom, right): of `tile` pixels a side where the image is as large,
    evenly spread, overlapping by at least that share.

    >>> tile_places((100, 250), 100, 0.2)
    [(0, 0, 100, 100), (0, 75, 100, 175), (0, 150, 100, 250)]

    Raises:
        UsageError: a tile under 32 pixels, or an overlap outside [0, 0.9].
    """
    if tile < 32 or not 0 <= overlap <= 0.9:
        raise UsageError(
            f"expected a tile of 32 pixels or more and an overlap in [0, 0.9], found {tile} and {overlap}",
            fix="change --tile or --overlap",
        )

    def starts(side: int) -> list[int]:
        if side <= tile:
            return [0]
        n = int(np.ceil((side - tile) / (tile * (1 - overlap)))) + 1
        return [round(v) for v in np.linspace(0, side - tile, n).tolist()]

    height, width = size_hw
    return [
        (top, left, min(top + tile, height), min(left + tile, width))
        for top in starts(height)
        for left in starts(width)
    ]


def predict_views(
    predictor: Predictor,
    images: Sequence[NDArray[np.uint8]],
    *,
    flip: bool = False,
    tile: int | None = None,
    overlap: float = 0.2,
    iou: float | None = None,
) -> list[Prediction]:
    """Return one prediction per image, uint8 (H, W, 3), joined from its tiles, the whole, and with `flip` their
    mirrors.

    The whole image is looked at too, for objects that no tile holds. How views are joined is the task's matter.

    Raises:
        UsageError: tiles for a task without places, or values out of range.
    """
    task = task_of(predictor.task_name)
    if tile is not None:
        task.require("tile")
    return [task.views(predictor, i, flip=flip, tile=tile, overlap=overlap, iou=iou) for i in images]


def mirrored(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the mirror of an image, left and right exchanged."""
    return np.ascontiguousarray(image[:, ::-1])


def _views(image: NDArray[np.uint8], tile: int | None, overlap: float) -> list[tuple[int, int, int, int]]:
    height, width = image.shape[:2]
    whole = (0, 0, height, width)
    if tile is None:
        return [whole]
    tiles = tile_places((height, width), tile, overlap)
    return tiles if tiles == [whole] else [*tiles, whole]


@dataclass(frozen=True, eq=False)
class JoinedBoxes:
    """Objects joined from several views: `boxes` float32 (n, 4) in source pixels, `scores` and `label_ids` (n,), and
    masks where the model gives any."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    label_ids: NDArray[np.int64]
    crops: tuple[MaskCrop, ...] | None


def join_boxes(
    predictor: Predictor, image: NDArray[np.uint8], *, flip: bool, tile: int | None, overlap: float, iou: float | None
) -> JoinedBoxes:
    """Return the objects of an image as they are found in its tiles, the whole image, and with `flip` their mirrors.

    Boxes of one class whose IoU is above the threshold, or of which one contains the other, are one object, and the one
    of higher score stays; a box that a tile's edge cut is replaced by one that is whole.
    """
    height, width = image.shape[:2]
    boxes, scores, labels = [], [], []
    crops: list[MaskCrop] | None = None
    views = [
        (view, turned) for view in _views(image, tile, overlap) for turned in ((False, True) if flip else (False,))
    ]
    for start in range(0, len(views), _AT_ONCE):
        some = views[start : start + _AT_ONCE]
        parts = [cut_view(image, view, turned) for view, turned in some]
        answers = cast("Sequence[BoxPrediction]", predict_everything(predictor, parts, iou=iou))
        for (view, turned), found in zip(some, answers, strict=True):
            top, left, bottom, right = view
            own = found.boxes_xyxy.astype(np.float64)
            if turned:
                own[:, [0, 2]] = (right - left) - own[:, [2, 0]]
            own += [left, top, left, top]
            # What an inner edge of a tile cuts off is seen whole elsewhere, so it counts for less.
            cut = ((own[:, 0] <= left + _EDGE) & (left > 0)) | ((own[:, 1] <= top + _EDGE) & (top > 0))
            cut |= ((own[:, 2] >= right - _EDGE) & (right < width)) | (
                (own[:, 3] >= bottom - _EDGE) & (bottom < height)
            )
            boxes.append(own)
            scores.append(found.scores * np.where(cut, 0.5, 1.0).astype(np.float32))
            labels.append(found.label_ids)
            if found.crops is not None:
                crops = (crops or []) + [_moved(c, view, turned) for c in found.crops]
    box, score, label = np.concatenate(boxes), np.concatenate(scores), np.concatenate(labels)
    own_iou: float = getattr(predictor, "decoding", {}).get("iou", DEFAULT_IOU)
    joined = iou if iou is not None else min(own_iou, DEFAULT_IOU)
    contained = _CONTAINED if tile is not None else None
    kept = keep_apart(box, score, iou=joined, labels=label, contained=contained)
    chosen = None if crops is None else tuple(crops[i] for i in kept)
    return JoinedBoxes(box[kept].astype(np.float32), score[kept], label[kept], chosen)


def cut_view(image: NDArray[np.uint8], view: tuple[int, int, int, int], turned: bool) -> NDArray[np.uint8]:
    """Return the part of an image that a view is of, (top, left, bottom, right), mirrored if it is `turned`."""
    top, left, bottom, right = view
    part = image[top:bottom, left:right]
    return mirrored(part) if turned else np.ascontiguousarray(part)


def _moved(crop: MaskCrop, view: tuple[int, int, int, int], turned: bool) -> MaskCrop:
    top, left, _, right = view
    if not turned:
        return MaskCrop(crop.top + top, crop.left + left, crop.mask)
    return MaskCrop(crop.top + top, right - crop.left - crop.mask.shape[1], crop.mask[:, ::-1])


def edge_distance(n: int) -> NDArray[np.float32]:
    """Return how far each of n pixels is from the nearer end, float32 (n,)."""
    at = np.arange(n, dtype=np.float32)
    return np.minimum(at, n - 1 - at)
