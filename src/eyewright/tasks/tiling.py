"""Look at an image in parts and in its mirror, and join what was seen: small objects in large images."""

__all__ = ["predict_views", "tile_places"]

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.core.predictor import Predictor
from eyewright.tasks import TASKS, predict_everything
from eyewright.tasks.boxes import keep_apart
from eyewright.tasks.detect import BoxPrediction, MaskCrop
from eyewright.tasks.segment import MaskPrediction

_AT_ONCE = 8
# What lies by more than this in a surer box of its class is the part of it that another tile cut off.
_CONTAINED = 0.7
_EDGE = 2.0


def tile_places(size_hw: tuple[int, int], tile: int, overlap: float) -> list[tuple[int, int, int, int]]:
    """Give the tiles of an image as (top, left, bottom, right): of `tile` pixels a side where the image is as large,
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
) -> list[Any]:
    """Give one prediction an image, uint8 (H, W, 3), joined from its tiles, the whole, and with `flip` their mirrors.

    The whole image is looked at too, for objects that no tile holds. Boxes of one class that overlap, or of which one
    holds the other, are one object, and the surer stays; a box that a tile's edge cut gives way to one that is whole.
    Masks are joined by taking each pixel's class from the tile in which it lies farthest from the edge, and the mean
    over mirrors.

    Raises:
        UsageError: tiles for classification, which has no places, or values out of range.
    """
    if predictor.task_name == "classify":
        if tile is not None:
            raise UsageError("expected no tiles for classification, which has no places", fix="leave --tile out")
        return [_mean_classes(predictor, image) for image in images]
    if predictor.task_name == "segment":
        return [_joined_masks(predictor, image, flip, tile, overlap) for image in images]
    return [_joined_boxes(predictor, image, flip, tile, overlap, iou) for image in images]


def _mean_classes(predictor: Predictor, image: NDArray[np.uint8]) -> Any:
    both = predict_everything(predictor, [image, np.ascontiguousarray(image[:, ::-1])])
    return replace(both[0], probabilities=(both[0].probabilities + both[1].probabilities) / 2)


def _views(image: NDArray[np.uint8], tile: int | None, overlap: float) -> list[tuple[int, int, int, int]]:
    height, width = image.shape[:2]
    whole = (0, 0, height, width)
    if tile is None:
        return [whole]
    tiles = tile_places((height, width), tile, overlap)
    return tiles if tiles == [whole] else [*tiles, whole]


def _joined_boxes(
    predictor: Predictor, image: NDArray[np.uint8], flip: bool, tile: int | None, overlap: float, iou: float | None
) -> BoxPrediction:
    height, width = image.shape[:2]
    boxes, scores, labels, crops = [], [], [], []
    has_masks = predictor.task_name == "instance"
    views = [
        (view, mirrored) for view in _views(image, tile, overlap) for mirrored in ((False, True) if flip else (False,))
    ]
    for start in range(0, len(views), _AT_ONCE):
        some = views[start : start + _AT_ONCE]
        parts = [_cut(image, view, mirrored) for view, mirrored in some]
        for (view, mirrored), found in zip(some, predict_everything(predictor, parts, iou=iou), strict=True):
            top, left, bottom, right = view
            own = found.boxes_xyxy.astype(np.float64)
            if mirrored:
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
            if has_masks:
                crops += [_moved(c, view, mirrored) for c in found.crops]
    box, score, label = np.concatenate(boxes), np.concatenate(scores), np.concatenate(labels)
    own_iou: float = getattr(predictor, "decoding", {}).get("iou", 0.6)
    joined = iou if iou is not None else min(own_iou, 0.6)
    contained = _CONTAINED if tile is not None else None
    kept = keep_apart(box, score, iou=joined, labels=label, contained=contained)
    chosen = tuple(crops[i] for i in kept) if has_masks else None
    return BoxPrediction(
        box[kept].astype(np.float32), score[kept], label[kept], predictor.labels, (height, width), chosen
    )


def _cut(image: NDArray[np.uint8], view: tuple[int, int, int, int], mirrored: bool) -> NDArray[np.uint8]:
    top, left, bottom, right = view
    part = image[top:bottom, left:right]
    return np.ascontiguousarray(part[:, ::-1] if mirrored else part)


def _moved(crop: MaskCrop, view: tuple[int, int, int, int], mirrored: bool) -> MaskCrop:
    top, left, _, right = view
    if not mirrored:
        return MaskCrop(crop.top + top, crop.left + left, crop.mask)
    return MaskCrop(crop.top + top, right - crop.left - crop.mask.shape[1], crop.mask[:, ::-1])


def _joined_masks(
    predictor: Predictor, image: NDArray[np.uint8], flip: bool, tile: int | None, overlap: float
) -> MaskPrediction:
    task = TASKS["segment"]
    height, width = image.shape[:2]
    places = [(0, 0, height, width)] if tile is None else tile_places((height, width), tile, overlap)
    mask, second = np.zeros((2, height, width), np.uint8)
    depth = np.full((height, width), -1.0, np.float32)
    sureness = np.zeros(len(predictor.labels), np.float32)
    for view in places:
        top, left, bottom, right = view
        pixels, placements = predictor.preparation.batch([_cut(image, view, False)])
        found = predictor.raw(pixels)["probabilities"][0]
        if flip:
            other, _ = predictor.preparation.batch([_cut(image, view, True)])
            found = (found + predictor.raw(other)["probabilities"][0][..., ::-1]) / 2
        one = task.paint(found, placements[0], predictor.labels)
        rows, columns = (_from_edge(n) for n in (bottom - top, right - left))
        own = np.minimum(rows[:, None], columns[None])
        deeper = own > depth[top:bottom, left:right]
        for whole, part in ((mask, one.mask), (second, one.second), (depth, own)):
            here = whole[top:bottom, left:right]
            here[deeper] = part[deeper]
        sureness = np.maximum(sureness, one.sureness)
    return MaskPrediction(mask, sureness, predictor.labels, second)


def _from_edge(n: int) -> NDArray[np.float32]:
    at = np.arange(n, dtype=np.float32)
    return np.minimum(at, n - 1 - at)
