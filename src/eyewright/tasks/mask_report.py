"""The report on a segmenter: metrics, classes, confusion and slices."""

__all__ = ["REPORTING"]

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Metric, Report
from eyewright.core.rng import generator
from eyewright.evaluation.comparison import Comparison, compare_numbers
from eyewright.evaluation.novelty import Novelty, measure_novelty
from eyewright.evaluation.reporting import Reporting
from eyewright.evaluation.slices import SMALLEST_SLICE, thirds
from eyewright.evaluation.together import count_groups, group_names
from eyewright.metrics.masks import mask_metrics
from eyewright.tasks.amounts import changed_amounts
from eyewright.tasks.item_scores import item_scores
from eyewright.tasks.mask_page import AUDIT, lay_out, summarise, take_pictures
from eyewright.tasks.mask_results import MaskResults, first_cut, gather_masks, list_items
from eyewright.tasks.scene_blocks import explain_most_confident

_CHANGED = 0.01
"""A mask that differs in a smaller share of the image looks the same."""


def _measure(results: MaskResults, seed: int) -> tuple[dict[str, Metric], Sequence[Mapping[str, Any]]]:
    dataset = results.dataset
    rng, groups = generator(seed, "bootstrap"), group_names(dataset)
    names, fore = dataset.labels.names, dataset.foreground
    return mask_metrics(results.confusions, results.edges, names, fore, rng=rng, groups=groups)


def measure(results: MaskResults, seed: int) -> dict[str, Metric]:
    """Return every metric with its interval."""
    return _measure(results, seed)[0]


def report(
    results: MaskResults, *, seed: int = 0, novelty: Novelty | None = None, temperature: float | None = None
) -> Report:
    """Return the report on masks."""
    dataset, items = results.dataset, list_items(results)
    metrics, rows = _measure(results, seed)
    return Report(
        task=dataset.task,
        labels=dataset.labels.names,
        n=len(dataset),
        metrics=metrics,
        per_class=tuple(rows),
        tables={
            "confusion": results.confusions.sum(0),
            "slices": _mask_slices(results.confusions, results.looks, list(dataset.foreground)),
            "together": count_groups(dataset, image_scores(items)),
            "novelty": measure_novelty(novelty, results, seed=seed),
        },
        items=tuple(items),
    )


def _mask_slices(
    confusions: NDArray[np.int64], looks: Sequence[tuple[float, float]], fore: list[int]
) -> list[dict[str, Any]]:
    """Return mean IoU of parts of the images: by how much is marked in them, their size and brightness."""
    marked = confusions[:, fore].sum((1, 2)) / np.maximum(confusions.sum((1, 2)), 1) * 100
    sides, light = (np.array([look[k] for look in looks]) for k in (0, 1))
    rows = []
    values = (("marked fraction of the image", marked, "%"), ("longer side", sides, "px"), ("brightness", light, ""))
    for name, column, unit in values:
        for text, member in thirds(np.where(column > 0, column, np.nan) if unit == "%" else column, unit):
            if member.sum() >= SMALLEST_SLICE:
                row = {"slice": name, "value": text, "n": int(member.sum()), "miou": _miou(confusions[member], fore)}
                rows.append({**row, "rest": _miou(confusions[~member], fore)})
    return sorted(rows, key=lambda r: r["miou"] if r["miou"] is not None else 1.0)


def _miou(confusions: NDArray[np.int64], fore: list[int]) -> float | None:
    table = confusions.sum(0)
    right, truth = np.diag(table), table.sum(1)
    there = [i for i in fore if truth[i]]
    iou = right[there] / np.maximum(truth[there] + table.sum(0)[there] - right[there], 1)
    return float(iou.mean()) if len(there) else None


def image_scores(items: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Return the mean IoU of what is or was seen in each image, (N,) by its index; 1 where nothing is and was."""
    return item_scores(items, lambda item: 1.0 if item["miou"] is None else item["miou"])


def compare(a: MaskResults, b: MaskResults, seed: int) -> Comparison:
    """Compare two segmenters on the same images; of each image by the pixels that are right."""
    right = [np.einsum("nii->n", r.confusions).astype(np.float64) for r in (a, b)]
    return compare_numbers(a, b, right[0], right[1], seed=seed)


def changed(before: MaskResults, after: MaskResults) -> list[dict[str, Any]]:
    """Return the images in which a class covers another share."""
    return changed_amounts(before, after, least=_CHANGED)


REPORTING = Reporting(
    gather=gather_masks,
    stored=MaskResults,
    at_once=8,
    together=first_cut,
    metrics=measure,
    report=report,
    items=list_items,
    image_scores=image_scores,
    compare=compare,
    changed=changed,
    replicates=200,
    spread=("miou", "dice", "boundary_f", "foreground_iou", "found", "found_any", "false_alarms"),
    summary=summarise,
    page=lay_out,
    pictures=take_pictures,
    explained=explain_most_confident,
    audit=AUDIT,
)
"""How a segmenter is measured and reported."""
