"""Boxes enlarged until they hold whole objects with a stated coverage, and the confidence threshold that keeps to a
rate of missed objects: split conformal prediction and conformal risk control for detection."""

__all__ = [
    "BOX_BY",
    "FOUND_IOU",
    "BoxBy",
    "BoxMargins",
    "BoxRecord",
    "MissThreshold",
    "margin_coverage",
    "match_objects",
    "missed_fractions",
    "record_boxes",
    "shortfalls",
]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Metric
from eyewright.metrics.bootstrap import rate_metric
from eyewright.metrics.conformal import conformal_quantile
from eyewright.metrics.matching import Detected, box_overlaps

BoxBy = Literal["all", "class", "image"]

BOX_BY: tuple[BoxBy, ...] = ("all", "class", "image")
"""What the coverage of margins is kept for: an object, an object of each class, or all found objects of an image."""

FOUND_IOU = 0.5
"""The IoU with a box of the same class from which an object counts as found."""

_KEYS = ("box_images", "box_labels", "box_scores", "box_short", "box_groups")


def match_objects(found: Detected, truth: Detected, *, iou: float = FOUND_IOU) -> NDArray[np.int64]:
    """Return which found box each true object was found by, int64 (m,); -1 for one that was missed.

    In the order of their scores, boxes take the free object of their class that they overlap most, by at least `iou`.
    So the objects found at a higher confidence threshold are those whose box reaches it: no second matching is needed.

    >>> one = Detected(np.array([[0.0, 0, 4, 4]]), np.array([0]), np.array([0.9]))
    >>> match_objects(one, Detected(np.array([[0.0, 0, 4, 5], [9, 9, 12, 12]]), np.array([0, 0]))).tolist()
    [0, -1]
    """
    taken = np.full(len(truth), -1, np.int64)
    if not len(found) or not len(truth):
        return taken
    assert found.scores is not None
    overlap = box_overlaps(found.boxes, truth.boxes)
    overlap[found.labels[:, None] != truth.labels[None]] = 0.0
    if truth.crowd is not None:
        # Nobody is to find the objects of a crowd one by one.
        overlap[:, truth.crowd] = 0.0
    for k in np.argsort(-found.scores, kind="stable"):
        free = np.where(taken < 0, overlap[k], 0.0)
        best = int(free.argmax())
        if free[best] >= iou:
            taken[best] = k
    return taken


def shortfalls(found: NDArray[np.floating[Any]], true: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return by how much true boxes reach out of found ones, float64 (n, 4), left, top, right and bottom, in fractions
    of the found box's width and height; negative where they lie inside.

    >>> shortfalls(np.array([[10.0, 10, 20, 30]]), np.array([[9.0, 10, 20, 34]])).tolist()
    [[0.1, 0.0, 0.0, 0.2]]
    """
    ours, theirs = np.asarray(found, np.float64), np.asarray(true, np.float64)
    sides = np.maximum(ours[:, 2:] - ours[:, :2], 1e-9)
    out: NDArray[np.float64] = np.concatenate([ours[:, :2] - theirs[:, :2], theirs[:, 2:] - ours[:, 2:]], 1)
    fractions: NDArray[np.float64] = out / np.tile(sides, 2)
    return fractions


@dataclass(frozen=True, eq=False)
class BoxRecord:
    """How the objects of some images were found.

    For each object: `images` int64 (m,), the number of its image; `labels` int64 (m,); `scores` float64 (m,) of the box
    that found it, -1 where it was missed at every score; `short` float64 (m, 4), its `shortfalls`, 0 where it was
    missed. For each image its group: `groups` int64 (N,), of images without objects too.
    """

    images: NDArray[np.int64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    short: NDArray[np.float64]
    groups: NDArray[np.int64]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return it as a bundle's `reference.npz` holds it."""
        values = (
            self.images.astype(np.int32),
            self.labels.astype(np.int32),
            self.scores.astype(np.float32),
            self.short.astype(np.float32),
            self.groups.astype(np.int32),
        )
        return dict(zip(_KEYS, values, strict=True))

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], n_classes: int) -> "BoxRecord | None":
        """Return what `arrays` holds; None where it holds no record.

        Raises:
            ValueError: the arrays do not belong together.
        """
        if any(k not in arrays for k in _KEYS):
            return None
        images, labels, scores, short, groups = (arrays[k] for k in _KEYS)
        m, n = len(scores), len(groups)
        if (
            any(a.shape != (m,) for a in (images, labels, scores))
            or short.shape != (m, 4)
            or groups.ndim != 1
            or not all(np.issubdtype(a.dtype, np.integer) for a in (images, labels, groups))
            or not (np.isfinite(scores).all() and np.isfinite(short).all())
            or (m and not (0 <= images.min() <= images.max() < n and 0 <= labels.min() <= labels.max() < n_classes))
        ):
            raise ValueError("the arrays of boxes do not belong together")
        return cls(
            np.asarray(images, np.int64),
            np.asarray(labels, np.int64),
            np.asarray(scores, np.float64),
            np.asarray(short, np.float64),
            np.asarray(groups, np.int64),
        )

    def found(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which objects are found by a box that reaches the point of its class, bool (m,); `points` is (C,)."""
        # Scores were stored as float32.
        reached: NDArray[np.bool_] = (self.scores >= 0) & (self.scores >= points[self.labels] - 1e-7)
        return reached


def record_boxes(
    found: Sequence[Detected], truth: Sequence[Detected], groups: NDArray[np.integer[Any]], *, iou: float = FOUND_IOU
) -> BoxRecord:
    """Return how the true objects of images were found; `groups` int (N,) says what each image belongs to.

    >>> true = Detected(np.array([[0.0, 0, 4, 5]]), np.array([0]))
    >>> seen = Detected(np.array([[0.0, 0, 4, 4]]), np.array([0]), np.array([0.9]))
    >>> record_boxes([seen, seen], [true, Detected(np.zeros((0, 4)), np.zeros(0, int))], np.arange(2)).short.tolist()
    [[0.0, 0.0, 0.0, 0.25]]
    """
    images, labels, scores, short = [], [], [], []
    for i, (ours, theirs) in enumerate(zip(found, truth, strict=True)):
        taken = match_objects(ours, theirs, iou=iou)
        real = np.ones(len(theirs), bool) if theirs.crowd is None else ~theirs.crowd
        hit = taken >= 0
        own, out = np.full(len(theirs), -1.0), np.zeros((len(theirs), 4))
        if hit.any():
            assert ours.scores is not None
            own[hit] = ours.scores[taken[hit]]
            out[hit] = shortfalls(ours.boxes[taken[hit]], theirs.boxes[hit])
        images.append(np.full(int(real.sum()), i))
        labels.append(theirs.labels[real])
        scores.append(own[real])
        short.append(out[real])
    if not images:
        none = np.zeros(0, np.int64)
        return BoxRecord(none, none, np.zeros(0), np.zeros((0, 4)), none)
    return BoxRecord(
        np.concatenate(images).astype(np.int64),
        np.concatenate(labels).astype(np.int64),
        np.concatenate(scores),
        np.concatenate(short),
        np.asarray(groups, np.int64),
    )


@dataclass(frozen=True, eq=False)
class BoxMargins:
    """By how much each side of a box is moved outward, `margins` float64 (C,) of its class, in fractions of the box's
    width and height, so that the box holds the whole object with probability `coverage`, given that the object was
    found.

    `n` found objects in `images` images and `groups` groups say so. `open_classes` have too few of them: their boxes
    become the whole image, which is the only way to keep what is promised.

    >>> margins = BoxMargins(np.array([0.1]), 0.9, "all", 50, 20, 20)
    >>> margins.around(np.array([[10.0, 10, 20, 30]]), np.array([0]), (100, 100)).tolist()
    [[9.0, 8.0, 21.0, 32.0]]
    """

    margins: NDArray[np.float64]
    coverage: float
    by: BoxBy
    n: int
    images: int
    groups: int
    open_classes: tuple[int, ...] = ()

    @classmethod
    def fit(
        cls, record: BoxRecord, points: NDArray[np.float64], *, coverage: float = 0.9, by: BoxBy = "all"
    ) -> "BoxMargins | None":
        """Return the margins of boxes that reach the `points`, float64 (C,), of their classes.

        One number bounds all four sides at once, so no correction for several sides is needed (after de Grancey et al.
        2022, with margins in proportion to the box). By "all" it holds for an object drawn at random from a new image,
        or group of images: each weighs the same (Lee, Barber & Willett 2023). By "class" it holds for each class alone.
        By "image" it holds for all found objects of a new image together (Andéol et al. 2023). None where the images or
        groups are too few for so much coverage, by "class" those of every class.
        """
        found = record.found(points)
        images, labels = record.images[found], record.labels[found]
        # Margins never shrink a box: its own place is the better estimate.
        need = record.short[found].max(1, initial=0.0)
        own = record.groups[images]
        counts = (len(need), len(np.unique(images)), len(np.unique(own)))
        n_classes = len(points)
        if by == "class":
            each = [conformal_quantile(need[labels == k], coverage, own[labels == k]) for k in range(n_classes)]
            if all(limit is None for limit in each):
                return None
            margins = np.array([np.inf if limit is None else limit for limit in each])
            return cls(margins, coverage, by, *counts, tuple(k for k, limit in enumerate(each) if limit is None))
        if by == "image":
            kept, place = np.unique(images, return_inverse=True)
            worst = np.zeros(len(kept))
            np.maximum.at(worst, place.reshape(-1), need)
            need, own = worst, record.groups[kept]
        limit = conformal_quantile(need, coverage, own)
        return None if limit is None else cls(np.full(n_classes, limit), coverage, by, *counts)

    def around(
        self, boxes: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]], size_hw: tuple[int, int]
    ) -> NDArray[np.float64]:
        """Return the enlarged boxes, float64 (n, 4), x0 y0 x1 y1, cut off at the image's sides."""
        values = np.asarray(boxes, np.float64).reshape(-1, 4)
        height, width = size_hw
        # Shortfalls were stored as float32.
        by = self.margins[np.asarray(labels, np.int64)][:, None] + 1e-6
        sides = np.maximum(values[:, 2:] - values[:, :2], 1e-9)
        grown = np.concatenate([values[:, :2] - by * sides, values[:, 2:] + by * sides], 1)
        bounded: NDArray[np.float64] = np.clip(grown, 0, [width, height, width, height]).round(4)
        return bounded

    def holds(self, record: BoxRecord, points: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which objects of a record are found, bool (m,), and which of those lie in their margins, bool (f,)."""
        found = record.found(points)
        need = record.short[found].max(1, initial=0.0)
        return found, need <= self.margins[record.labels[found]] + 1e-6


def margin_coverage(
    inside: NDArray[np.bool_], images: NDArray[np.integer[Any]], groups: NDArray[np.integer[Any]], by: BoxBy
) -> Metric:
    """Return how often boxes with margins hold the whole object, with an interval over groups of images.

    `inside` is bool (f,) of found objects, `images` (f,) the image of each, `groups` (N,) the group of each image. By
    "image" an image counts where all its found objects are inside.

    >>> margin_coverage(np.array([True, False]), np.array([0, 0]), np.array([0]), "image").value
    0.0
    """
    if by == "image":
        kept, place = np.unique(images, return_inverse=True)
        hits = np.ones(len(kept), bool)
        np.logical_and.at(hits, place.reshape(-1), inside)
        return rate_metric(hits, groups=groups[kept])
    return rate_metric(inside, groups=groups[images])


def missed_fractions(record: BoxRecord, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return of each image with objects the fraction that is missed, float64 (n,), and its group, int64 (n,)."""
    kept, place = np.unique(record.images, return_inverse=True)
    missed = np.bincount(place.reshape(-1), ~record.found(points), minlength=len(kept))
    sizes = np.bincount(place.reshape(-1), minlength=len(kept))
    return missed / np.maximum(sizes, 1), record.groups[kept]


@dataclass(frozen=True)
class MissThreshold:
    """The confidence threshold `conf` by which of the objects of a new image at most the fraction `miss_rate` is missed
    on average; None where no threshold keeps to it, and `least` is the smallest rate that one could keep to.

    `images` images with objects, in `groups` groups, say so.
    """

    miss_rate: float
    conf: float | None
    least: float
    images: int
    groups: int

    @classmethod
    def fit(cls, record: BoxRecord, *, miss_rate: float) -> "MissThreshold":
        """Return the largest threshold that keeps to a miss rate in expectation: conformal risk control (Angelopoulos
        et al. 2022), the loss of an image being the fraction of its objects that is missed.

        A threshold keeps to it where the losses of n groups of images, and 1 for a new one, have a mean of at most
        `miss_rate`. The images of a group have one loss together, their mean.

        >>> scores = np.linspace(0.3, 0.95, 50)
        >>> record = BoxRecord(np.arange(50), np.zeros(50, int), scores, np.zeros((50, 4)), np.arange(50))
        >>> 0.3 < (MissThreshold.fit(record, miss_rate=0.1).conf or 0) < 0.4
        True
        """
        kept, place = np.unique(record.images, return_inverse=True)
        place = place.reshape(-1)
        own, group = np.unique(record.groups[kept], return_inverse=True)
        group = group.reshape(-1)
        n = len(own)
        if not n:
            return cls(miss_rate, None, 1.0, 0, 0)
        # What one object that is found adds: its part of its image, of its group, and of all groups and a new one.
        sizes, members = np.bincount(place), np.bincount(group)
        weight = 1 / (sizes[place] * members[group[place]] * (n + 1))
        order = np.argsort(-record.scores, kind="stable")
        scores, gained = record.scores[order], np.cumsum(weight[order])
        risk = 1 - gained
        # Objects of one score are found together.
        last = np.append(scores[1:] != scores[:-1], True) & (scores >= 0)
        least = float(risk[last].min(initial=1.0))
        enough = last & (risk <= miss_rate + 1e-12)
        conf = float(scores[int(enough.argmax())]) if enough.any() else None
        return cls(miss_rate, conf, least, len(kept), n)
