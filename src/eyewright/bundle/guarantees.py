"""What a bundle can promise of single predictions, with the finite samples that say so: sets of labels, margins of
boxes, and the threshold of a miss rate."""

__all__ = ["Guarantees", "box_record_in", "guarantees_of", "margins_in", "miss_threshold_in"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from eyewright.bundle.trust import sets_in
from eyewright.core.errors import BundleError, UsageError
from eyewright.core.prediction import Prediction
from eyewright.core.task import task_of
from eyewright.metrics.conformal import BY, By, LabelSets, Method, least_for_coverage
from eyewright.metrics.conformal_boxes import FOUND_IOU, BoxBy, BoxMargins, BoxRecord, MissThreshold

if TYPE_CHECKING:
    from eyewright.bundle.load import Bundle
    from eyewright.tasks.detect import BoxPrediction

_SHOWN = 0.25


def box_record_in(reference: Mapping[str, NDArray[Any]], n_classes: int) -> BoxRecord:
    """Return how the objects of a bundle's validation images were found.

    Raises:
        UsageError: the bundle does not hold it.
        BundleError: it is not valid.
    """
    try:
        record = BoxRecord.of(reference, n_classes)
    except ValueError:
        raise BundleError("the bundle's numbers for margins are not valid", fix="export the model again") from None
    if record is None:
        raise UsageError(
            "expected a bundle with the numbers that margins and miss rates need, found none in this one",
            fix="leave coverage and miss_rate out, or export the run again",
        )
    return record


def margins_in(
    reference: Mapping[str, NDArray[Any]], points: NDArray[np.float64], *, coverage: float, by: BoxBy = "all"
) -> BoxMargins:
    """Return the margins of boxes that reach the `points`, (C,), of their classes.

    Raises:
        UsageError: the bundle does not hold what they need, or too few found objects for so much coverage.
        BundleError: the reference is not valid.
    """
    record = box_record_in(reference, len(points))
    found = BoxMargins.fit(record, points, coverage=coverage, by=by)
    if found is None:
        n = len(np.unique(record.groups[record.images[record.found(points)]]))
        what = "validation images" if len(np.unique(record.groups)) == len(record.groups) else "groups of them"
        each = " of any class" if by == "class" else ""
        raise UsageError(
            f"{n} {what} with found objects are too few for a coverage of {coverage}, which needs "
            f"{least_for_coverage(coverage)}{each}",
            fix="ask for less coverage, or a lower conf",
        )
    return found


def miss_threshold_in(
    reference: Mapping[str, NDArray[Any]], n_classes: int, *, miss_rate: float
) -> tuple[MissThreshold, float]:
    """Return the threshold that keeps to a miss rate, and the threshold alone.

    Raises:
        UsageError: the bundle does not hold what it needs, or no threshold keeps to it.
        BundleError: the reference is not valid.
    """
    found = MissThreshold.fit(box_record_in(reference, n_classes), miss_rate=miss_rate)
    if found.conf is None:
        whose = f"{found.images} validation images" + (
            "" if found.groups == found.images else f" in {found.groups} groups"
        )
        raise UsageError(
            f"no threshold achieves a miss rate of {miss_rate}: the lowest that {whose} "
            f"with objects allow is {found.least:.3g}",
            fix="ask for a higher miss rate",
        )
    return found, found.conf


@dataclass(frozen=True, eq=False)
class Guarantees:
    """What is promised of each prediction of one bundle, and the score `conf` from which objects are shown for that;
    None leaves it to the operating points.

    `sets` gives label sets, `margins` outer boxes, `missed` the confidence threshold for a miss rate.
    """

    names: tuple[str, ...]
    conf: float | None = None
    sets: LabelSets | None = None
    margins: BoxMargins | None = None
    missed: MissThreshold | None = None

    def told(self, shown: Prediction, *, top: int | None = None) -> dict[str, Any]:
        """Return the keys that are added to a prediction in JSON; `top` as in `Prediction.to_json`."""
        told: dict[str, Any] = {}
        if self.sets is not None:
            told["set"] = self._set(self.sets, shown)
        if self.margins is not None:
            boxes = cast("BoxPrediction", shown)
            outer = self.margins.around(boxes.boxes_xyxy, boxes.label_ids, boxes.size_hw)[:top]
            told["outer_boxes_xyxy"] = [[round(v, 2) for v in box] for box in outer.tolist()]
            told["margins"] = self._margins(self.margins)
        if self.missed is not None:
            m = self.missed
            told["miss_rate"] = {"rate": m.miss_rate, "conf": m.conf, "images": m.images, "groups": m.groups}
        return told

    def _set(self, sets: LabelSets, shown: Prediction) -> dict[str, Any]:
        scores = shown.numbers()
        inside = sets.of(scores[None])[0]
        told = {
            "labels": [self.names[k] for k in np.argsort(-scores, kind="stable") if inside[k]],
            "coverage": sets.coverage,
            "n": sets.n,
            "groups": sets.groups,
            "by": sets.by,
            "method": sets.method,
        }
        return told | self._open(sets.open_classes)

    def _margins(self, margins: BoxMargins) -> dict[str, Any]:
        told = {
            "coverage": margins.coverage,
            "by": margins.by,
            "iou": FOUND_IOU,
            "n": margins.n,
            "images": margins.images,
            "groups": margins.groups,
            "sides": {
                name: round(float(m), 6) if np.isfinite(m) else None
                for name, m in zip(self.names, margins.margins, strict=True)
            },
        }
        return told | self._open(margins.open_classes)

    def _open(self, classes: tuple[int, ...]) -> dict[str, list[str]]:
        return {"open": [self.names[k] for k in classes]} if classes else {}


def guarantees_of(
    bundle: "Bundle",
    *,
    coverage: float | None = None,
    by: BoxBy | None = None,
    sets: Method | None = None,
    miss_rate: float | None = None,
    conf: float | None = None,
) -> Guarantees:
    """Return what a bundle promises of its predictions.

    Args:
        coverage: of a classifier, how often a set of labels holds the true one; of a detector, how often the margins of
            a box hold the whole object, given that it was found.
        by: "all" or "class"; for boxes also "image".
        sets: how sets of labels are formed, "threshold" or "adaptive".
        miss_rate: of a detector, the fraction of an image's objects that may be missed on average.
        conf: the score from which objects are shown, instead of the operating points.

    Raises:
        UsageError: the task or the bundle does not support it, or the validation images are too few.
        BundleError: the bundle's reference is not valid.

    >>> from eyewright.bundle import load_bundle
    >>> bundle = load_bundle("photos.bundle")  # doctest: +SKIP
    >>> guarantees_of(bundle, coverage=0.9).told(bundle.predict("one.jpg"))  # doctest: +SKIP
    """
    task, names = task_of(bundle.task_name), bundle.labels.names
    if coverage is None and miss_rate is None and (by is not None or sets is not None):
        raise UsageError("expected coverage with coverage_by and sets, found none", fix="add coverage=0.9")
    for name, value in (("coverage", coverage), ("miss_rate", miss_rate)):
        if value is not None:
            task.require(name)
            if not 0 < value < 1:
                raise UsageError(f"expected {name} between 0 and 1, found {value}", fix="change it")
    if sets is not None:
        task.require("sets")
    boxes = "miss_rate" in task.options
    if by is not None and not boxes and by not in BY:
        raise UsageError(f"expected coverage_by of {', '.join(BY)}, found {by!r}", fix="change it")
    if not boxes:
        found = None
        if coverage is not None:
            found = sets_in(
                bundle.reference, len(names), coverage=coverage, method=sets or "threshold", by=cast("By", by or "all")
            )
        return Guarantees(names, conf, found)
    missed = None
    if miss_rate is not None:
        if conf is not None:
            raise UsageError("expected conf or miss_rate, found both", fix="leave one out: a miss rate chooses conf")
        missed, conf = miss_threshold_in(bundle.reference, len(names), miss_rate=miss_rate)
    margins = None
    if coverage is not None:
        margins = margins_in(bundle.reference, points_of(bundle, conf), coverage=coverage, by=by or "all")
    return Guarantees(names, conf, None, margins, missed)


def points_of(bundle: "Bundle", conf: float | None = None) -> NDArray[np.float64]:
    """Return the score from which objects of each class are shown, float64 (C,), as `Task.settle` chooses it."""
    if conf is None and bundle.thresholds is not None:
        return np.asarray(bundle.thresholds, np.float64)
    return np.full(len(bundle.labels), _SHOWN if conf is None else conf)
