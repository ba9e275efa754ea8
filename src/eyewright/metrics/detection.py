"""How well objects are found: COCO's and VOC's average precision, recall, operating points, kinds of errors."""

__all__ = [
    "COCO_METRICS",
    "average_precisions",
    "best_points",
    "fit_points",
    "centred_interval",
    "detection_errors",
    "detection_metrics",
    "moved_interval",
    "object_confusion",
    "panoptic_quality",
    "precision_curve",
    "sort_errors",
]

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Metric
from eyewright.metrics.bootstrap import Resampling, percentile_interval, resample
from eyewright.metrics.matching import Answers, Detected, Matched, match_detections, overlaps_of
from eyewright.metrics.points import OperatingPoint, choose_point, thresholds_of, unknown_point

COCO_METRICS = (
    "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
    "ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large",
)  # fmt: skip
"""COCO's twelve numbers in the order of its own summary."""

_RECALLS = np.linspace(0.0, 1.0, 101)
_CELLS = 40_000_000
_BACKGROUND_IOU = 0.1


def average_precisions(
    answers: Answers, weights: NDArray[np.float64], *, area: int = 0, thresholds: Sequence[int] = (0,)
) -> NDArray[np.float64]:
    """Return one class's AP over 101 recalls at some overlaps, float64 (R, len(thresholds)), for weights (R, N).

    NaN where no object is to be found.
    """
    total = weights @ answers.truths[area]
    result = np.full((len(weights), len(thresholds)), np.nan)
    if not answers.truths[area].any():
        return result
    result[total > 0] = 0.0
    if not len(answers.scores):
        return result
    own = weights[:, answers.images]
    for k, t in enumerate(thresholds):
        kept = ~answers.ignored[area, t]
        hit = answers.right[area, t, kept]
        found = np.cumsum(own[:, kept] * hit, axis=1)
        given = np.cumsum(own[:, kept], axis=1)
        for r in np.flatnonzero(total > 0):
            recall, precision = found[r] / total[r], found[r] / np.maximum(given[r], np.spacing(1))
            result[r, k] = _mean_precision(recall, precision)
    return result


def _mean_precision(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    # The best precision at this recall or any higher one.
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, _RECALLS, side="left")
    return float(envelope[at[at < len(envelope)]].sum() / len(_RECALLS))


def precision_curve(answers: Answers, *, threshold: int = 0) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return precision, recall and score after each answer of one class at an overlap, all (D,)."""
    kept = ~answers.ignored[0, threshold]
    hit = answers.right[0, threshold, kept]
    found = np.cumsum(hit)
    total = max(1, int(answers.truths[0].sum()))
    return found / np.arange(1, len(hit) + 1), found / total, answers.scores[kept]


def detection_metrics(
    found: Sequence[Detected],
    truth: Sequence[Detected],
    n_classes: int,
    *,
    rng: np.random.Generator,
    groups: NDArray[Any] | None = None,
    replicates: int = 1000,
    matched: Matched | None = None,
) -> dict[str, Metric]:
    """Measure detections: COCO's twelve numbers and VOC's AP50, each with its interval over images.

    Intervals are percentiles of the bootstrap about its median, moved to the value: where a class has few objects, the
    AP of a sample that holds some images twice is larger than that of the images it is drawn from.

    Means are over the classes that are there to be found. `voc_ap50` is the area under the precision envelope at an
    overlap of 0.5, without COCO's 101 steps.
    """
    n = len(truth)
    m = matched or match_detections(found, truth, n_classes)
    ones = np.ones((1, n))
    points = _numbers(m, ones, full=True)
    total = sum(len(c.scores) for c in m.classes)
    rounds = int(np.clip(_CELLS // max(1, total * len(m.thresholds)), 50, replicates))
    plan = resample(n, replicates=rounds, rng=rng, groups=groups)
    drawn = [_numbers(m, w, full=False) for w in plan.weights()]
    result = {}
    for name, value in points.items():
        samples = np.concatenate([d[name] for d in drawn if name in d] or [np.zeros(0)])
        low, high = moved_interval(plan, float(value[0]), samples)
        result[name] = Metric(
            _finite(value[0]), _finite(low), _finite(high), n, method=plan.method, groups=plan.n_groups
        )
    return result


def moved_interval(plan: Resampling, value: float, samples: NDArray[np.float64]) -> tuple[float, float]:
    """Return the interval of an average precision: the centred one of the bootstrap, or the t interval over groups."""
    return plan.bounded(value, samples) if plan.by_t else plan.widened(value, *centred_interval(value, samples))


def centred_interval(value: float, samples: NDArray[np.float64]) -> tuple[float, float]:
    """Return the percentile interval of bootstrap samples, shifted so that its median is the value; within [0, 1]."""
    known = samples[np.isfinite(samples)]
    if not len(known) or not math.isfinite(value):
        return math.nan, math.nan
    low, high = percentile_interval(known)
    middle = float(np.median(known))
    return max(0.0, value + low - middle), min(1.0, value + high - middle)


def _numbers(m: Matched, weights: NDArray[np.float64], *, full: bool) -> dict[str, NDArray[np.float64]]:
    """Return every metric for each row of weights; without `full` those that intervals are given for."""
    every = range(len(m.thresholds))
    whole = np.stack([average_precisions(c, weights, thresholds=every) for c in m.classes])
    at75 = int(np.argmin(np.abs(m.thresholds - 0.75)))
    found = {"ap": _mean(whole, (0, 2)), "ap50": _mean(whole[..., 0], 0), "ap75": _mean(whole[..., at75], 0)}
    found["ar_100"] = _recall(m, weights, most=100)
    if not full:
        return found
    found["voc_ap50"] = _mean(np.array([[_area_under(c)] for c in m.classes]), 0)
    for k, area in enumerate(m.areas):
        if k:
            sized = np.stack([average_precisions(c, weights, area=k, thresholds=every) for c in m.classes])
            found[f"ap_{area}"] = _mean(sized, (0, 2))
            found[f"ar_{area}"] = _recall(m, weights, most=100, area=k)
    for most in (1, 10):
        found[f"ar_{most}"] = _recall(m, weights, most=most)
    order = [name for name in (*COCO_METRICS, "voc_ap50") if name in found]
    return {name: found[name] for name in order}


def _recall(m: Matched, weights: NDArray[np.float64], *, most: int, area: int = 0) -> NDArray[np.float64]:
    """Return the mean over classes and overlaps of the fraction of objects found with `most` answers per image."""
    rows = []
    for c in m.classes:
        total = weights @ c.truths[area]
        hits = c.right[area] & (c.ranks < most)
        per_image = np.stack([np.bincount(c.images, h, minlength=m.n) for h in hits])
        with np.errstate(invalid="ignore", divide="ignore"):
            rows.append(np.where(total > 0, (weights @ per_image.T).T / total, np.nan))
    return _mean(np.stack(rows), (0, 1))


def _area_under(answers: Answers) -> float:
    if not answers.truths[0].any():
        return math.nan
    precision, recall, _ = precision_curve(answers)
    if not len(precision):
        return 0.0
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(np.concatenate([[0.0], recall])) * envelope).sum())


def _mean(values: NDArray[np.float64], axes: Any) -> NDArray[np.float64]:
    """Return the mean of what is defined; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axes)
    total = np.where(known, values, 0.0).sum(axes)
    found: NDArray[np.float64] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return found


def best_points(
    matched: Matched, *, rng: np.random.Generator, groups: NDArray[np.int64] | None = None
) -> tuple[OperatingPoint, ...]:
    """Return each class's operating point at the first overlap of `matched`, an IoU of 0.5; see `choose_point`.

    A class of which nothing was to be found, or nothing was found, has the threshold 0.25, as a model without
    operating points has.
    """
    points = []
    for c in matched.classes:
        truths, kept = c.truths[0], ~c.ignored[0, 0]
        right = c.right[0, 0, kept]
        if truths.any() and right.any():
            points.append(choose_point(c.scores[kept], right, c.images[kept], truths, groups=groups, rng=rng))
        else:
            points.append(unknown_point(0.25, truths, groups=groups))
    return tuple(points)


def fit_points(
    matched: Matched, names: Sequence[str], *, groups: NDArray[np.int64], rng: np.random.Generator
) -> dict[str, dict[str, Any]]:
    """Return `best_points` as "calibration" and "thresholds" of `bundle.json`; scores of boxes are not calibrated."""
    points = best_points(matched, groups=groups, rng=rng)
    return {
        "calibration": {"method": "none", "n": len(groups), "groups": len(np.unique(groups))},
        "thresholds": thresholds_of(names, points, "F1 at an IoU of 0.5", groups),
    }


def object_confusion(
    found: Sequence[Detected],
    truth: Sequence[Detected],
    n_classes: int,
    *,
    iou: float = 0.5,
    overlaps: Sequence[NDArray[np.float64]] | None = None,
) -> NDArray[np.int64]:
    """Count true classes (rows) against found ones (columns), int64 (C + 1, C + 1); the last of each is background.

    Pairs of any class that overlap by `iou` are taken in the order of their overlap, each object once. A miss counts
    as taken for background, a false alarm as background taken for something; what lies in a crowd is left out.
    """
    table = np.zeros((n_classes + 1, n_classes + 1), np.int64)
    for i, (ours, theirs) in enumerate(zip(found, truth, strict=True)):
        crowd = theirs.crowd if theirs.crowd is not None else np.zeros(len(theirs), bool)
        overlap = overlaps[i] if overlaps is not None else overlaps_of(ours, theirs)
        real = np.where(crowd[None], 0.0, overlap)
        free_a, free_b = np.ones(len(ours), bool), ~crowd
        for a, b in _pairs_by_overlap(real, iou):
            if free_a[a] and free_b[b]:
                table[theirs.labels[b], ours.labels[a]] += 1
                free_a[a] = free_b[b] = False
        covered = (overlap * crowd[None]).max(1, initial=0.0) >= iou
        np.add.at(table[n_classes], ours.labels[free_a & ~covered], 1)
        np.add.at(table[:, n_classes], theirs.labels[free_b], 1)
    return table


def detection_errors(
    found: Sequence[Detected],
    truth: Sequence[Detected],
    n_classes: int,
    *,
    points: Sequence[float] | None = None,
    overlaps: Sequence[NDArray[np.float64]] | None = None,
) -> dict[str, dict[str, float]]:
    """Classify errors and say what each kind costs (Bolya et al. 2020, "TIDE"): its number, and how much AP50 would
    rise if only that kind were fixed.

    "class": in place, of the wrong class; "localisation": of the right class, badly placed (IoU 0.1-0.5); "both":
    wrong in both; "duplicate": of an object that a surer answer took; "background": of nothing; "missed": true objects
    that no answer is near to. `points` are thresholds a class: the number "n" is of the errors that a user sees, with
    the answers below the thresholds left out and what only they found missed. "ap50_lost" is always TIDE's: of all
    answers, at every score.
    """
    near = list(overlaps) if overlaps is not None else [overlaps_of(a, b) for a, b in zip(found, truth, strict=True)]
    rows = [sort_errors(*three) for three in zip(found, truth, near, strict=True)]
    seen = rows if points is None else [_sort_seen(*three, points) for three in zip(found, truth, near, strict=True)]
    base = _ap50(found, truth, n_classes, near)
    result: dict[str, dict[str, float]] = {}
    for kind in ("class", "localisation", "both", "duplicate", "background", "missed"):
        missing = kind == "missed"
        count = sum(int(missed.sum() if missing else (kinds == kind).sum()) for kinds, _, missed in seen)
        mended: list[tuple[Detected, Detected, NDArray[np.float64]]] = []
        for (kinds, partners, missed), ours, theirs, overlap in zip(rows, found, truth, near, strict=True):
            if missing:
                mended.append((ours, _subset(theirs, ~missed), overlap[:, ~missed]))
                continue
            mended.append(_mended(ours, theirs, overlap, kinds == kind, partners, kind))
        a, b, c = (list(column) for column in zip(*mended, strict=True)) if mended else ([], [], [])
        gain = _ap50(a, b, n_classes, c) - base
        result[kind] = {"n": float(count), "ap50_lost": max(0.0, gain) if math.isfinite(gain) else 0.0}
    return result


def _sort_seen(
    ours: Detected, theirs: Detected, overlap: NDArray[np.float64], points: Sequence[float]
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.bool_]]:
    """Return what `sort_errors` does, of the answers that reach the threshold of their class alone."""
    keep = np.ones(len(ours), bool) if ours.scores is None else ours.scores >= np.asarray(points)[ours.labels]
    return sort_errors(_subset(ours, keep), theirs, overlap[keep])


def sort_errors(
    ours: Detected, theirs: Detected, overlap: NDArray[np.float64]
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.bool_]]:
    """Return each prediction's error type ("" if right), the true object it is about (-1 for none), and the objects
    that were missed."""
    crowd = theirs.crowd if theirs.crowd is not None else np.zeros(len(theirs), bool)
    kinds = np.full(len(ours), "background", dtype="<U12")
    partners = np.full(len(ours), -1, np.int64)
    if not len(theirs):
        return kinds, partners, np.zeros(0, bool)
    in_crowd = (overlap * crowd[None]).max(1, initial=0.0) >= 0.5
    real = np.where(crowd[None], 0.0, overlap)
    same = ours.labels[:, None] == theirs.labels[None]
    taken = np.zeros(len(theirs), bool)
    scores = ours.scores if ours.scores is not None else np.ones(len(ours))
    close = real.max(1, initial=0.0) >= _BACKGROUND_IOU
    order = np.argsort(-scores, kind="stable")
    for d in order[close[order]]:
        own = np.where(same[d] & ~taken, real[d], 0.0)
        if own.max() >= 0.5:
            g = int(own.argmax())
            kinds[d], partners[d], taken[g] = "", g, True
    for d in np.flatnonzero((kinds != "") & (close | in_crowd)):
        of_class, other = np.where(same[d], real[d], 0.0), np.where(same[d], 0.0, real[d])
        if in_crowd[d]:
            kinds[d] = ""
        elif of_class.max() >= 0.5:
            kinds[d], partners[d] = "duplicate", int(of_class.argmax())
        elif other.max() >= 0.5:
            kinds[d], partners[d] = "class", int(other.argmax())
        elif of_class.max() >= _BACKGROUND_IOU:
            kinds[d], partners[d] = "localisation", int(of_class.argmax())
        else:
            kinds[d], partners[d] = "both", int(other.argmax())
    near = np.zeros(len(theirs), bool)
    near[partners[(partners >= 0) & np.isin(kinds, ["", "class", "localisation"])]] = True
    return kinds, partners, ~near & ~crowd


def _mended(
    ours: Detected,
    theirs: Detected,
    overlap: NDArray[np.float64],
    wrong: NDArray[np.bool_],
    partners: NDArray[np.int64],
    kind: str,
) -> tuple[Detected, Detected, NDArray[np.float64]]:
    """Return the answers as they were without one kind of error: corrected where that is possible, else left out."""
    if kind not in ("class", "localisation"):
        return _subset(ours, ~wrong), theirs, overlap[~wrong]
    labels, near = ours.labels.copy(), overlap.copy()
    rows = np.flatnonzero(wrong)
    labels[rows] = theirs.labels[partners[rows]]
    if kind == "localisation":
        near[rows, partners[rows]] = 1.0
    return Detected(ours.boxes, labels, ours.scores), theirs, near


def _subset(objects: Detected, keep: NDArray[np.bool_]) -> Detected:
    def part(values: Any) -> Any:
        return None if values is None else values[keep]

    return Detected(
        objects.boxes[keep], objects.labels[keep], part(objects.scores), part(objects.crowd), None, part(objects.areas)
    )


def _ap50(found: Sequence[Detected], truth: Sequence[Detected], n_classes: int, overlaps: Sequence[Any]) -> float:
    m = match_detections(found, truth, n_classes, areas=("all",), thresholds=np.array([0.5]), overlaps=overlaps)
    each = np.array([average_precisions(c, np.ones((1, m.n)))[0, 0] for c in m.classes])
    return float(_mean(each, 0))


def panoptic_quality(
    found: Sequence[Detected],
    truth: Sequence[Detected],
    n_classes: int,
    *,
    overlaps: Sequence[NDArray[np.float64]] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Return the parts of panoptic quality of every image and class (Kirillov et al. 2019), each float64 (N, C).

    "overlap" sums the IoU of the "right" pairs, those of one class above 0.5; "false" and "missed" are the rest.
    PQ is overlap / (right + false / 2 + missed / 2).
    """
    parts = {k: np.zeros((len(truth), n_classes)) for k in ("overlap", "right", "false", "missed")}
    for i, (ours, theirs) in enumerate(zip(found, truth, strict=True)):
        crowd = theirs.crowd if theirs.crowd is not None else np.zeros(len(theirs), bool)
        overlap = overlaps[i] if overlaps is not None else overlaps_of(ours, theirs)
        real = overlap * (ours.labels[:, None] == theirs.labels[None]) * ~crowd[None]
        free_a, free_b = np.ones(len(ours), bool), ~crowd
        for a, b in _pairs_by_overlap(real, 0.5):
            if free_a[a] and free_b[b] and real[a, b] > 0.5:
                parts["overlap"][i, ours.labels[a]] += real[a, b]
                parts["right"][i, ours.labels[a]] += 1
                free_a[a] = free_b[b] = False
        covered = (overlap * crowd[None]).max(1, initial=0.0) > 0.5
        parts["false"][i] = np.bincount(ours.labels[free_a & ~covered], minlength=n_classes)
        parts["missed"][i] = np.bincount(theirs.labels[free_b], minlength=n_classes)
    return parts


def _pairs_by_overlap(overlap: NDArray[np.float64], least: float) -> list[tuple[int, int]]:
    a, b = np.nonzero(overlap >= least)
    order = np.argsort(-overlap[a, b], kind="stable")
    return list(zip(a[order].tolist(), b[order].tolist(), strict=True))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
