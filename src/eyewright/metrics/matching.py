"""Which found object is which true one: overlaps of boxes and masks, COCO's matching at every threshold at once."""

__all__ = [
    "AREAS",
    "IOU_THRESHOLDS",
    "Answers",
    "Detected",
    "MaskCrop",
    "Matched",
    "box_overlaps",
    "crop_mask",
    "mask_overlaps",
    "match_detections",
    "overlaps_of",
    "whole_masks",
]

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""COCO's ten overlaps."""

AREAS = MappingProxyType(
    {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
)
"""COCO's areas in pixels; both ends belong to a range."""

_MOST = 100
_NO_AREA = 1e-12


@dataclass(frozen=True, eq=False)
class MaskCrop:
    """The mask of one object: bool (h, w) at row `top` and column `left` of the image."""

    top: int
    left: int
    mask: NDArray[np.bool_]


def crop_mask(mask: NDArray[np.bool_]) -> MaskCrop:
    """Cut a mask (H, W) off where it holds nothing.

    >>> crop_mask(np.array([[0, 0, 0], [0, 1, 1]], bool)).left
    1
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return MaskCrop(0, 0, np.zeros((0, 0), bool))
    top, left = int(rows[0]), int(columns[0])
    return MaskCrop(top, left, mask[top : rows[-1] + 1, left : columns[-1] + 1].copy())


def whole_masks(crops: Sequence[MaskCrop], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Return masks, bool (n, H, W), from their crops.

    >>> whole_masks([MaskCrop(1, 1, np.ones((1, 2), bool))], (2, 3)).astype(int).tolist()
    [[[0, 0, 0], [0, 1, 1]]]
    """
    whole = np.zeros((len(crops), *size_hw), bool)
    for k, c in enumerate(crops):
        whole[k, c.top : c.top + c.mask.shape[0], c.left : c.left + c.mask.shape[1]] = c.mask
    return whole


@dataclass(frozen=True, eq=False)
class Detected:
    """The objects of one image, true or found: `boxes` float64 (n, 4) x0 y0 x1 y1, `labels` int64 (n,).

    `scores` float64 (n,) of found ones; `crowd` bool (n,) of true ones, ignore regions; `masks`, one an object, where
    masks and not boxes are compared; `areas` float64 (n,), of the boxes or masks unless the ground truth states others.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64] | None = None
    crowd: NDArray[np.bool_] | None = None
    masks: Sequence[MaskCrop] | None = None
    areas: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def area(self) -> NDArray[np.float64]:
        """Return the area of each object in pixels."""
        if self.areas is not None:
            return self.areas
        if self.masks is not None:
            return np.array([m.mask.sum() for m in self.masks], np.float64)
        area: NDArray[np.float64] = (self.boxes[:, 2:] - self.boxes[:, :2]).prod(1)
        return area


@dataclass(frozen=True, eq=False)
class Answers:
    """One class's answers in all images, sorted by confidence: `scores` (D,), `images` (D,), `ranks` (D,) within the
    image.

    `right` and `ignored` are bool (A, T, D) for A areas and T overlaps; `truths` is int64 (A, N), the objects to be
    found in each image.
    """

    scores: NDArray[np.float64]
    images: NDArray[np.int64]
    ranks: NDArray[np.int64]
    right: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    truths: NDArray[np.int64]


@dataclass(frozen=True)
class Matched:
    """All classes' answers by class id, for `n` images, and the areas and overlaps they were matched under."""

    classes: tuple[Answers, ...]
    n: int
    areas: tuple[str, ...]
    thresholds: NDArray[np.float64]


def box_overlaps(
    a: NDArray[np.float64], b: NDArray[np.float64], crowd: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Return the intersection over union of every box of `a` (n, 4) with every one of `b` (m, 4), float64 (n, m).

    With a crowd it is the fraction of `a` that lies in it.

    >>> box_overlaps(np.array([[0.0, 0, 2, 2]]), np.array([[0.0, 0, 2, 1], [5, 5, 6, 6]])).tolist()
    [[0.5, 0.0]]
    """
    corner = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    both = np.clip(corner, 0, None).prod(2)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).prod(1) for x in (a, b))
    whole = area_a[:, None] + area_b[None] - both
    if crowd is not None:
        whole = np.where(crowd[None], area_a[:, None], whole)
    overlap: NDArray[np.float64] = both / np.maximum(whole, _NO_AREA)
    return overlap


def mask_overlaps(
    a: Sequence[MaskCrop], b: Sequence[MaskCrop], crowd: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Return the intersection over union of every mask of `a` (n) with every one of `b` (m), float64 (n, m).

    With a crowd it is the fraction of `a` that lies in it.

    >>> square = MaskCrop(0, 0, np.ones((2, 2), bool))
    >>> mask_overlaps([square], [MaskCrop(1, 0, np.ones((2, 2), bool))]).round(3).tolist()
    [[0.333]]
    """
    result = np.zeros((len(a), len(b)))
    area_a, area_b = (np.array([int(m.mask.sum()) for m in masks], np.float64) for masks in (a, b))
    for i, one in enumerate(a):
        for j, other in enumerate(b):
            top, left = max(one.top, other.top), max(one.left, other.left)
            bottom = min(one.top + one.mask.shape[0], other.top + other.mask.shape[0])
            right = min(one.left + one.mask.shape[1], other.left + other.mask.shape[1])
            if bottom <= top or right <= left:
                continue
            first = one.mask[top - one.top : bottom - one.top, left - one.left : right - one.left]
            second = other.mask[top - other.top : bottom - other.top, left - other.left : right - other.left]
            both = float(np.count_nonzero(first & second))
            whole = area_a[i] if crowd is not None and crowd[j] else area_a[i] + area_b[j] - both
            result[i, j] = both / max(whole, _NO_AREA)
    return result


def overlaps_of(ours: Detected, theirs: Detected) -> NDArray[np.float64]:
    """Return the overlap of everything found with everything true in one image, of masks where both have them."""
    if ours.masks is not None and theirs.masks is not None:
        return mask_overlaps(ours.masks, theirs.masks, theirs.crowd)
    return box_overlaps(ours.boxes, theirs.boxes, theirs.crowd)


def match_detections(
    found: Sequence[Detected],
    truth: Sequence[Detected],
    n_classes: int,
    *,
    areas: Sequence[str] = tuple(AREAS),
    thresholds: NDArray[np.float64] = IOU_THRESHOLDS,
    overlaps: Sequence[NDArray[np.float64]] | None = None,
) -> Matched:
    """Match what was found with what is there, image by image and class by class, as pycocotools does.

    In the order of their scores, at most 100 an image and class, answers take the true object that they overlap most;
    each can be taken once, a crowd by many. Under every area, objects of another size are ignored. `overlaps`, as
    `overlaps_of` gives for each image, spare computing them.
    """
    parts: list[list[tuple[int, NDArray[Any], NDArray[Any], NDArray[Any]]]] = [[] for _ in range(n_classes)]
    truths = np.zeros((n_classes, len(areas), len(truth)), np.int64)
    limits = np.array([AREAS[a] for a in areas])
    for i, (ours, theirs) in enumerate(zip(found, truth, strict=True)):
        present = np.unique(np.concatenate([ours.labels, theirs.labels]))
        own_area, true_area = ours.area(), theirs.area()
        crowd = theirs.crowd if theirs.crowd is not None else np.zeros(len(theirs), bool)
        for c in present.tolist():
            mine, those = np.flatnonzero(ours.labels == c), np.flatnonzero(theirs.labels == c)
            if ours.scores is not None and len(mine):
                mine = mine[np.argsort(-ours.scores[mine], kind="stable")][:_MOST]
            size = true_area[those]
            off = crowd[those] | (size < limits[:, :1]) | (size > limits[:, 1:])
            truths[c, :, i] = (~off).sum(1)
            if not len(mine):
                continue
            if overlaps is not None:
                overlap = overlaps[i][np.ix_(mine, those)]
            elif ours.masks is not None and theirs.masks is not None:
                chosen, real = [ours.masks[k] for k in mine.tolist()], [theirs.masks[k] for k in those.tolist()]
                overlap = mask_overlaps(chosen, real, crowd[those])
            else:
                overlap = box_overlaps(ours.boxes[mine], theirs.boxes[those], crowd[those])
            right, ignored = _match_one(overlap, off, crowd[those], own_area[mine], limits, thresholds)
            scores = np.ones(len(mine)) if ours.scores is None else ours.scores[mine]
            parts[c].append((i, scores, right, ignored))
    return Matched(
        tuple(_joined(parts[c], truths[c], len(areas), len(thresholds)) for c in range(n_classes)),
        len(truth),
        tuple(areas),
        thresholds,
    )


def _match_one(
    overlap: NDArray[np.float64],
    off: NDArray[np.bool_],
    crowd: NDArray[np.bool_],
    own_area: NDArray[np.float64],
    limits: NDArray[np.float64],
    thresholds: NDArray[np.float64],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Match the answers of one image and class, sorted by confidence; give right and ignored, bool (A, T, D)."""
    n, m = overlap.shape
    shape = (len(limits), len(thresholds))
    least = np.minimum(thresholds, 1 - 1e-10)
    right, ignored = np.zeros((*shape, n), bool), np.zeros((*shape, n), bool)
    # An answer of another size that takes nothing is neither right nor wrong.
    elsewhere = (own_area < limits[:, :1]) | (own_area > limits[:, 1:])
    ignored |= elsewhere[:, None]
    if not m:
        return right, ignored
    free = np.ones((*shape, m), bool)
    reaches = overlap >= least[0]
    for d in np.flatnonzero(reaches.any(1)):
        near = np.flatnonzero(reaches[d])
        iou = overlap[d, near]
        enough = (iou >= least[:, None])[None] & free[:, :, near]
        real = enough & ~off[:, None, near]
        has_real = real.any(2)
        choice = np.where(has_real[..., None], real, enough)
        taken = choice.any(2)
        # Of equals pycocotools takes the last.
        best = len(near) - 1 - np.argmax(np.where(choice, iou, -1.0)[..., ::-1], axis=2)
        g = near[best]
        right[:, :, d] = taken & has_real
        ignored[:, :, d] = np.where(taken, ~has_real, ignored[:, :, d])
        a, t = np.nonzero(taken & ~crowd[g])
        free[a, t, g[a, t]] = False
    return right, ignored


def _joined(parts: Sequence[Any], truths: NDArray[np.int64], n_areas: int, n_thresholds: int) -> Answers:
    if not parts:
        none = np.zeros((n_areas, n_thresholds, 0), bool)
        nothing = np.zeros(0, np.int64)
        return Answers(np.zeros(0), nothing, nothing, none, none, truths)
    scores = np.concatenate([p[1] for p in parts])
    order = np.argsort(-scores, kind="stable")
    images = np.repeat([p[0] for p in parts], [len(p[1]) for p in parts])
    ranks = np.concatenate([np.arange(len(p[1])) for p in parts])
    right, ignored = (np.concatenate([p[k] for p in parts], axis=2)[..., order] for k in (2, 3))
    return Answers(scores[order], images[order], ranks[order], right, ignored, truths)
