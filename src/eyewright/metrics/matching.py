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

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
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
# Bounds of memory: pairs that are compared at once, and cells of the tables in which they are matched.
_PAIRS = 1_000_000
_TABLE = 8_000_000


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

    `scores` float64 (n,) of found ones; `crowd` bool (n,) of true ones, ignore regions; `masks`, one per object, where
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
    return _overlap_of(a[:, None], b[None], None if crowd is None else crowd[None])


def _overlap_of(a: NDArray[np.float64], b: NDArray[np.float64], crowd: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """Return the overlap of boxes (..., 4) with boxes (..., 4), whose shapes are broadcast."""
    corner = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    both = np.clip(corner, 0, None).prod(-1)
    area_a, area_b = ((x[..., 2:] - x[..., :2]).prod(-1) for x in (a, b))
    whole = area_a + area_b - both
    if crowd is not None:
        whole = np.where(crowd, area_a, whole)
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
    n, limits = len(truth), np.array([AREAS[a] for a in areas]).reshape(-1, 2)
    ours, theirs = _Flat.of(found), _Flat.of(truth)
    # By class and image, then by confidence: what belongs together is in one piece.
    order = np.lexsort((-ours.scores, ours.images, ours.labels))
    ours = ours.chosen(order)
    group = ours.labels * n + ours.images
    ranks = np.arange(len(group)) - np.searchsorted(group, group, side="left")
    # Without scores there is no order by which some would be left out.
    unscored = np.array([o.scores is None for o in found], bool)
    kept = (ranks < _MOST) | unscored[ours.images]
    ours, group, ranks = ours.chosen(kept), group[kept], ranks[kept]
    theirs = theirs.chosen(np.lexsort((theirs.images, theirs.labels)))
    small, large = limits[:, :1], limits[:, 1:]
    off = theirs.crowd | (theirs.areas < small) | (theirs.areas > large)
    home = theirs.labels * n + theirs.images
    truths = np.stack([np.bincount(home[~o], minlength=n_classes * n) for o in off]).reshape(len(limits), n_classes, n)
    pairs = _near_pairs(found, truth, ours, theirs, group, home, float(_least(thresholds).min()), overlaps)
    right, ignored = _match(pairs, ranks, off, theirs.crowd, thresholds)
    # An answer of another size that takes nothing is neither right nor wrong.
    elsewhere = (ours.areas < small) | (ours.areas > large)
    ignored |= elsewhere[:, None] & ~right
    ends = np.searchsorted(ours.labels, np.arange(n_classes + 1))
    classes = []
    for c, (begin, end) in enumerate(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)):
        by_score = begin + np.argsort(-ours.scores[begin:end], kind="stable")
        picked = (ours.scores[by_score], ours.images[by_score], ranks[by_score])
        own = np.ascontiguousarray(truths[:, c])
        classes.append(Answers(*picked, right[..., by_score], ignored[..., by_score], own))
    return Matched(tuple(classes), n, tuple(areas), thresholds)


def _least(thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.minimum(thresholds, 1 - 1e-10)


@dataclass(frozen=True, eq=False)
class _Flat:
    """The objects of all images in one row: `images` and `places` are the image of each and its place there."""

    images: NDArray[np.int64]
    places: NDArray[np.int64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    areas: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    boxes: NDArray[np.float64]

    @classmethod
    def of(cls, objects: Sequence[Detected]) -> "_Flat":
        counts = np.array([len(o) for o in objects], np.int64)
        total = int(counts.sum())
        places = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)

        def joined(parts: Sequence[NDArray[Any]], dtype: type, *shape: int) -> NDArray[Any]:
            return np.concatenate(parts).astype(dtype, copy=False) if total else np.zeros((0, *shape), dtype)

        return cls(
            np.repeat(np.arange(len(objects)), counts),
            places,
            joined([o.labels for o in objects], np.int64),
            joined([np.ones(len(o)) if o.scores is None else o.scores for o in objects], np.float64),
            joined([o.area() for o in objects], np.float64),
            joined([np.zeros(len(o), bool) if o.crowd is None else o.crowd for o in objects], np.bool_),
            joined([o.boxes for o in objects], np.float64, 4),
        )

    def chosen(self, which: NDArray[Any]) -> "_Flat":
        return _Flat(**{f.name: getattr(self, f.name)[which] for f in fields(self)})


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Answers and true objects of one image and class that overlap: row numbers in either and the overlap, all (P,), by
    answer and within one by overlap."""

    answer: NDArray[np.int64]
    true: NDArray[np.int64]
    iou: NDArray[np.float64]


def _near_pairs(
    found: Sequence[Detected],
    truth: Sequence[Detected],
    ours: _Flat,
    theirs: _Flat,
    group: NDArray[np.int64],
    home: NDArray[np.int64],
    least: float,
    overlaps: Sequence[NDArray[np.float64]] | None,
) -> _Pairs:
    """Return the pairs that overlap by `least`; answers and true objects are sorted by their groups."""
    first = np.searchsorted(home, group, side="left")
    many = np.searchsorted(home, group, side="right") - first
    ends = np.cumsum(many)
    parts = []
    begin = 0
    while begin < len(many):
        # As many answers as have a bounded number of pairs, and at least one.
        before = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, before + _PAIRS, side="right")))
        a = np.repeat(np.arange(begin, end), many[begin:end])
        g = first[a] + np.arange(len(a)) - (ends[a] - many[a] - before)
        iou = _pair_overlaps(found, truth, ours, theirs, a, g, overlaps)
        near = iou >= least
        parts.append((a[near], g[near], iou[near]))
        begin = end
    if not parts:
        nothing = np.zeros(0, np.int64)
        return _Pairs(nothing, nothing, np.zeros(0))
    answer, true, iou = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((true, iou, answer))
    return _Pairs(answer[order], true[order], iou[order])


def _pair_overlaps(
    found: Sequence[Detected],
    truth: Sequence[Detected],
    ours: _Flat,
    theirs: _Flat,
    a: NDArray[np.int64],
    g: NDArray[np.int64],
    overlaps: Sequence[NDArray[np.float64]] | None,
) -> NDArray[np.float64]:
    images = ours.images[a]
    iou = _overlap_of(ours.boxes[a], theirs.boxes[g], theirs.crowd[g]) if overlaps is None else np.empty(len(a))
    if not len(a):
        return iou
    # The pairs of one image and class are all answers with all true objects, answer by answer.
    ends = np.flatnonzero(np.diff(images, append=-1) | np.diff(ours.labels[a], append=-1)) + 1
    masked = np.array([f.masks is not None and t.masks is not None for f, t in zip(found, truth, strict=True)], bool)
    for begin, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        i, part = images[begin], slice(begin, end)
        if overlaps is not None:
            iou[part] = overlaps[i][ours.places[a[part]], theirs.places[g[part]]]
        elif masked[i]:
            mine, real = np.unique(a[part]), np.unique(g[part])
            one, other = found[i].masks or (), truth[i].masks or ()
            chosen = [one[k] for k in ours.places[mine].tolist()], [other[k] for k in theirs.places[real].tolist()]
            iou[part] = mask_overlaps(*chosen, theirs.crowd[real]).ravel()
        elif not masked.any():
            break
    return iou


def _match(
    pairs: _Pairs,
    ranks: NDArray[np.int64],
    off: NDArray[np.bool_],
    crowd: NDArray[np.bool_],
    thresholds: NDArray[np.float64],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Match all answers, the most confident ones of every image and class first; return right and ignored, (A, T, D).

    Answers of one rank compete for nothing: they are of different images or classes.
    """
    least = _least(thresholds)[:, None, None]
    shape = (len(off), len(thresholds))
    right, ignored = (np.zeros((*shape, len(ranks)), bool) for _ in range(2))
    free = np.ones((*shape, off.shape[1]), bool)
    answers, begins, counts = np.unique(pairs.answer, return_index=True, return_counts=True)
    by_rank = np.lexsort((counts, ranks[answers]))
    cuts = np.flatnonzero(np.diff(ranks[answers[by_rank]])) + 1
    for alike in np.split(by_rank, cuts):
        at = 0
        while at < len(alike):
            # Sorted by their number of pairs, so that a few answers in a crowd do not widen the table of all.
            wide = np.maximum.accumulate(counts[alike[at:]]) * np.arange(1, len(alike) - at + 1) * math.prod(shape)
            rows = alike[at : at + max(1, int(np.searchsorted(wide, _TABLE, side="right")))]
            at += len(rows)
            k = int(counts[rows].max())
            place = np.arange(k) - (k - counts[rows])[:, None]
            there = place >= 0
            index = begins[rows][:, None] + np.maximum(place, 0)
            g, iou = pairs.true[index], np.where(there, pairs.iou[index], -np.inf)
            enough = (iou >= least)[None] & free[:, :, g]
            real = enough & ~off[:, None, g]
            has_real = np.asarray(real.any(-1))
            choice = np.where(has_real[..., None], real, enough)
            taken = choice.any(-1)
            # The last is the one that overlaps most; of equals pycocotools takes the last, too.
            best = g[np.arange(len(rows)), k - 1 - np.argmax(choice[..., ::-1], axis=-1)]
            d = answers[rows]
            right[:, :, d] = taken & has_real
            ignored[:, :, d] = taken & ~has_real
            area, threshold, which = np.nonzero(taken & ~crowd[best])
            free[area, threshold, best[area, threshold, which]] = False
    return right, ignored
