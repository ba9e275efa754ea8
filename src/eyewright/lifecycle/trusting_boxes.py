"""How often margins of boxes hold whole objects, and how many objects a threshold misses, measured on test images."""

__all__ = ["measure_boxes"]

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.bundle.guarantees import Guarantees, points_of
from eyewright.bundle.load import Bundle
from eyewright.core.errors import UsageError
from eyewright.core.predictor import decode_everything
from eyewright.core.progress import track_progress
from eyewright.core.report import Metric
from eyewright.core.rng import generator
from eyewright.data.dataset import Dataset
from eyewright.imaging.preparation import image_preparation
from eyewright.metrics.bootstrap import resample
from eyewright.metrics.conformal_boxes import FOUND_IOU, BoxMargins, BoxRecord, margin_coverage, missed_fractions
from eyewright.tasks.box_margins import BoxRecorder

_REPLICATES = 1000
_BATCH = 16


def measure_boxes(
    bundle: Bundle, dataset: Dataset, promised: Guarantees, *, seed: int = 0, quiet: bool = True
) -> tuple[dict[str, Metric], dict[str, Any]]:
    """Return metrics of what a detector promises of its boxes, and a table for the report.

    Raises:
        UsageError: there are no objects to measure it on.
    """
    record = _record(bundle, dataset, quiet=quiet)
    if not len(record.scores):
        raise UsageError("expected objects in the images, found none", fix="leave --coverage and --miss-rate out")
    points = points_of(bundle, promised.conf)
    metrics: dict[str, Metric] = {}
    table: dict[str, Any] = {"iou": FOUND_IOU, "objects": len(record.scores)}
    if promised.margins is not None:
        metrics["margin_coverage"], table["margins"] = _margins(bundle, record, promised.margins, points)
    if promised.missed is not None:
        missed, groups = missed_fractions(record, points)
        metrics["missed_objects"] = _mean(missed, groups, seed)
        m = promised.missed
        table["miss_rate"] = {"rate": m.miss_rate, "conf": m.conf, "images": m.images, "groups": m.groups}
    return metrics, table


def _record(bundle: Bundle, dataset: Dataset, *, quiet: bool) -> BoxRecord:
    recorder, prepare = BoxRecorder(dataset, bundle.task_name), image_preparation(bundle.inputs)
    with track_progress("measuring boxes", len(dataset), quiet=quiet) as advance:
        for start in range(0, len(dataset), _BATCH):
            rows = range(start, min(start + _BATCH, len(dataset)))
            pixels, placements = prepare.batch(list(dataset.examples(prepare, rows)))
            recorder.take(decode_everything(bundle, bundle.raw(pixels), placements), rows)
            advance(len(rows), "")
    return recorder.record()


def _margins(
    bundle: Bundle, record: BoxRecord, margins: BoxMargins, points: NDArray[np.float64]
) -> tuple[Metric, dict[str, Any]]:
    found, inside = margins.holds(record, points)
    images, labels = record.images[found], record.labels[found]
    # Without margins: how often the box as it is holds the whole object.
    bare = record.short[found].max(1, initial=0.0) <= 1e-6
    rows = []
    for k, name in enumerate(bundle.labels.names):
        own = labels == k
        if not own.any():
            continue
        held = margin_coverage(inside[own], images[own], record.groups, "all")
        rows.append(
            {
                "label": name,
                "n": int(own.sum()),
                "coverage": {"value": held.value, "low": held.low, "high": held.high},
                "side": float(margins.margins[k]) if np.isfinite(margins.margins[k]) else None,
                "open": k in margins.open_classes,
            }
        )
    sides = margins.margins[np.isfinite(margins.margins)]
    return margin_coverage(inside, images, record.groups, margins.by), {
        "coverage": margins.coverage,
        "by": margins.by,
        "objects": margins.n,
        "images": margins.images,
        "groups": margins.groups,
        "found": int(found.sum()),
        "side": float(sides.max()) if len(sides) else None,
        "without": None if not len(bare) else float(bare.mean()),
        "classes": rows,
    }


def _mean(values: NDArray[np.float64], groups: NDArray[np.int64], seed: int) -> Metric:
    """Return a mean of fractions with its bootstrap interval over groups of images."""
    plan = resample(len(values), replicates=_REPLICATES, rng=generator(seed, "missed"), groups=groups)
    samples = np.concatenate([(w @ values) / np.maximum(w.sum(1), 1e-12) for w in plan.weights()])
    value = float(values.mean())
    low, high = plan.bounded(value, samples)
    return Metric(value, low, high, len(values), method=plan.method, groups=plan.n_groups)
