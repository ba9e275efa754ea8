"""Cross-validation of boxes and masks: every image measured by the fold that has not seen it."""

__all__ = ["MEASURED", "measure_scene_folds"]

import csv
import io
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Report
from eyewright.lifecycle.datasets import Say
from eyewright.lifecycle.newness import novelty_of_folds

if TYPE_CHECKING:
    from eyewright.data import Dataset
    from eyewright.evaluation.scenes import Scene
    from eyewright.training.run import Run

MEASURED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "detect": ("ap", "ap50", "precision", "recall", "f1"),
        "instance": ("ap", "ap50", "pq", "precision", "recall", "f1"),
        "segment": ("miou", "dice", "boundary_f", "foreground_iou", "found", "found_any", "false_alarms"),
    }
)
"""The metrics of which the spread between folds is told."""

_LEAST = 0.01


def measure_scene_folds(
    dataset: "Dataset",
    parts: Sequence["Dataset"],
    runs: Sequence["Run"],
    *,
    folds: int,
    seed: int,
    quiet: bool,
    say: Say,
) -> tuple[Report, "Dataset", list[dict[str, float]], dict[str, Any], str]:
    """Measure each fold on its own test part, and all images of the first cut together.

    Boxes and masks of several cuts have no mean, so with repeats the report is of the first cut, and the others tell
    their part of the spread. Gives the report, its dataset, each fold's numbers, pictures and the table of answers.
    """
    from eyewright.evaluation.pictures import scene_pictures
    from eyewright.evaluation.scenes import gather_masks, gather_scenes, points_of, report_masks, report_objects

    masks = dataset.task == "segment"
    names = MEASURED[dataset.task]
    each: list[dict[str, float]] = []
    gathered: list[Any] = []
    for part, run in zip(parts, runs, strict=True):
        test, predictor = part.test.relabelled(run.labels), run.predictor
        found = gather_masks(predictor, test, quiet=quiet) if masks else gather_scenes(predictor, test, quiet=quiet)
        own = (
            report_masks(test, *found, seed=seed)
            if masks
            else report_objects(test, *found, points=points_of(predictor), seed=seed)
        )
        each.append({k: v for k in names if (v := own.metrics[k].value) is not None})
        shown = "miou" if masks else "ap50"
        say(f"fold {len(each)}: {shown} {own.metrics[shown]} on images it had not seen")
        if len(gathered) < folds:
            gathered.append(found)
    samples = [replace(s, split=None) for part in parts[:folds] for s in part.test.samples]
    whole = replace(dataset, samples=tuple(samples))
    owners = {s.id: r.predictor for part, r in zip(parts[:folds], runs, strict=False) for s in part.test.samples}
    fold_of = {s.id: k + 1 for k, part in enumerate(parts[:folds]) for s in part.test.samples}
    novelty = novelty_of_folds(parts, runs, whole, folds)
    if masks:
        report = report_masks(
            whole,
            np.concatenate([g[0] for g in gathered]),
            np.concatenate([g[1] for g in gathered]),
            [look for g in gathered for look in g[2]],
            seed=seed,
            novelty=novelty,
        )
        table = _mask_rows(report, fold_of)
    else:
        scenes = [scene for g in gathered for scene in g[0]]
        points = np.mean([points_of(r.predictor) for r in runs[:folds]], 0)
        # What is drawn is what the report counts: at the mean of the folds' operating points.
        owners = {i: _at(owner, points) for i, owner in owners.items()}
        looks = [look for g in gathered for look in g[1]]
        report = report_objects(whole, scenes, looks, points=points, seed=seed, novelty=novelty)
        table = _box_rows(whole, scenes, fold_of)
    return report, whole, each, scene_pictures(report, whole, runs[0].predictor, owners=owners), table


def _at(predictor: Any, points: NDArray[np.float64]) -> Any:
    other = copy(predictor)
    other.thresholds = points
    return other


def _box_rows(whole: "Dataset", scenes: Sequence["Scene"], fold_of: Mapping[str, int]) -> str:
    """Give every answer of a score of 0.01 or more with its box in source pixels, a row each."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("id", "fold", "label", "score", "x0", "y0", "x1", "y1"))
    for sample, scene in zip(whole.samples, scenes, strict=True):
        found = scene.found
        assert found.scores is not None
        for box, label, score in zip(found.boxes, found.labels, found.scores, strict=True):
            if score >= _LEAST:
                corners = (f"{v:.2f}" for v in box)
                writer.writerow((sample.id, fold_of[sample.id], whole.labels.names[label], f"{score:.4f}", *corners))
    return buffer.getvalue()


def _mask_rows(report: Report, fold_of: Mapping[str, int]) -> str:
    """Give the IoU of every class that is or was seen in an image, a row each."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("id", "fold", "label", "iou"))
    for item in sorted(report.items, key=lambda i: str(i["id"])):
        for label, value in item["iou"].items():
            writer.writerow((item["id"], fold_of[item["id"]], label, f"{value:.4f}"))
    return buffer.getvalue()
