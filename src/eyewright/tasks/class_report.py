"""The report on a classifier: metrics, classes, confusion, curves, calibration and slices."""

__all__ = ["REPORTING"]

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Metric, Report
from eyewright.core.rng import generator
from eyewright.evaluation.novelty import Novelty, measure_novelty
from eyewright.evaluation.reporting import Reporting
from eyewright.evaluation.slices import slice_accuracy
from eyewright.evaluation.together import count_groups, group_names
from eyewright.metrics import (
    calibration_bins,
    classification_metrics,
    confusion_matrix,
    expected_calibration_error,
    precision_recall_curve,
    precision_recall_f1,
    roc_auc,
    roc_curve,
    uncalibrated,
)
from eyewright.metrics.bootstrap import resample, share_interval
from eyewright.metrics.calibration import fit_confidence
from eyewright.tasks.class_page import AUDIT, explain_mistakes, lay_out, summarise, take_pictures
from eyewright.tasks.class_results import ClassResults, average_cuts, compare_classes, gather_classes
from eyewright.tasks.item_scores import item_scores

_CURVE_POINTS = 200
_MOST_CURVES = 60


def measure(results: ClassResults, seed: int) -> dict[str, Metric]:
    """Return every metric with its interval."""
    groups = group_names(results.dataset)
    return classification_metrics(results.targets, results.scores, rng=generator(seed, "bootstrap"), groups=groups)


def report(
    results: ClassResults, *, seed: int = 0, novelty: Novelty | None = None, temperature: float | None = None
) -> Report:
    """Return the report; with the `temperature` that logits are divided by, calibration before and after."""
    dataset, targets, scores = results.dataset, results.targets, results.scores.astype(np.float64)
    names = dataset.labels.names
    return Report(
        task=dataset.task,
        labels=names,
        n=len(dataset),
        metrics=measure(results, seed),
        per_class=tuple(_per_class(targets, scores, names, seed, group_names(dataset))),
        tables={
            **_tables(targets, scores, temperature),
            "slices": slice_accuracy(dataset, results.right, results.looks),
            "together": count_groups(dataset, results.right.astype(np.float64)),
            "novelty": measure_novelty(novelty, results, seed=seed),
        },
        items=tuple(list_items(results)),
    )


def _per_class(
    targets: NDArray[np.int64],
    scores: NDArray[np.float64],
    names: tuple[str, ...],
    seed: int,
    groups: NDArray[Any] | None,
) -> list[dict[str, Any]]:
    """Return a row per class: counts, precision, recall and F1 with intervals, one-against-rest AUC and AP."""
    n, c = scores.shape
    predicted = scores.argmax(1)
    confusion = confusion_matrix(targets, predicted, c)
    point = precision_recall_f1(confusion)
    answered = confusion.sum(0)
    truth = confusion.sum(1)
    replicates = min(1000, max(100, 60_000_000 // max(1, n * c)))
    plan = resample(n, replicates=replicates, rng=generator(seed, "per-class"), groups=groups)
    kinds = ((targets, slice(None)), (predicted, slice(None)), (targets, predicted == targets))
    counts = np.array(
        [
            [np.bincount(ids[rows], w[rows], minlength=c) for ids, rows in kinds]
            for weights in plan.weights()
            for w in weights
        ]
    )
    total = counts[:, 0] + counts[:, 1]
    f1 = np.divide(2 * counts[:, 2], total, out=np.full(total.shape, np.nan), where=total > 0)
    result = []
    for k, name in enumerate(names):
        positive, given = targets == k, predicted == k
        low, high = plan.interval(float(point.f1[k]), f1[:, k])
        if low == high and truth[k]:
            # No mistake in the sample does not mean none at all: F1 is bounded as recall is.
            low, high = share_interval(positive & given, positive, plan.clusters)
        both = 0 < positive.sum() < n
        result.append(
            {
                "label": name,
                "n": int(truth[k]),
                "answered": int(answered[k]),
                "precision": _interval(point.precision[k], *share_interval(positive & given, given, plan.clusters)),
                "recall": _interval(point.recall[k], *share_interval(positive & given, positive, plan.clusters)),
                "f1": _interval(point.f1[k], low, high),
                "auc": _auc_of(positive, scores[:, k]) if both else None,
                "average_precision": _binary_ap(positive, scores[:, k]) if both else None,
            }
        )
    return result


def _binary_ap(positive: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    precision, recall, _ = precision_recall_curve(positive, score)
    return float(np.sum(np.diff(np.r_[0, recall]) * precision))


def _auc_of(positive: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    return roc_auc(positive.astype(np.int64), np.stack([1 - score, score], 1))


def _interval(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": float(value), "low": low, "high": high}


def _tables(targets: NDArray[np.int64], scores: NDArray[np.float64], temperature: float | None) -> dict[str, Any]:
    c = scores.shape[1]
    predicted, top = scores.argmax(1), scores.max(1)
    present = [k for k in range(c) if 0 < (targets == k).sum() < len(targets)]
    hardest = sorted(present, key=lambda k: _auc_of(targets == k, scores[:, k]))[:_MOST_CURVES]
    curves = {}
    for k in sorted(hardest):
        positive = targets == k
        fpr, tpr, _ = roc_curve(positive, scores[:, k])
        precision, recall, _ = precision_recall_curve(positive, scores[:, k])
        curves[k] = {
            "roc": _thin(np.stack([fpr, tpr], 1)),
            "pr": _thin(np.stack([np.r_[0.0, recall], np.r_[precision[:1], precision]], 1)),
        }
    right = predicted == targets
    tables = {
        "confusion": confusion_matrix(targets, predicted, c),
        "curves": curves,
        "reliability": calibration_bins(top, right),
    }
    if temperature is not None:
        before = uncalibrated(scores, temperature).max(1)
        tables["reliability_before"] = calibration_bins(before, right)
        tables["calibration"] = {
            "temperature": temperature,
            "ece_before": expected_calibration_error(before, right),
            "ece_after": expected_calibration_error(top, right),
        }
    return tables


def _thin(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep at most 200 points of a curve, its ends among them."""
    chosen = np.unique(np.linspace(0, len(points) - 1, _CURVE_POINTS).round().astype(int))
    kept: NDArray[np.float64] = np.round(points[chosen], 5)
    return kept


def list_items(results: ClassResults) -> list[dict[str, Any]]:
    """Return a row per image, mistakes first by falling confidence, then correct ones by rising confidence."""
    dataset, targets, scores = results.dataset, results.targets, results.scores.astype(np.float64)
    names = dataset.labels.names
    predicted, top = scores.argmax(1), scores.max(1)
    wrong = predicted != targets
    order = np.lexsort((np.where(wrong, -top, top), ~wrong))
    return [
        {
            "id": dataset.samples[i].id,
            "name": posixpath.basename(dataset.samples[i].id),
            "index": int(i),
            "true": names[targets[i]],
            "predicted": names[predicted[i]],
            "confidence": float(top[i]),
            "true_score": float(scores[i, targets[i]]),
            "right": bool(not wrong[i]),
        }
        for i in order
    ]


def image_scores(items: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Return 1 for each image that is right, else 0, (N,) by its index."""
    return item_scores(items, lambda item: float(item["right"]))


def changed(before: ClassResults, after: ClassResults) -> list[dict[str, Any]]:
    """Return the images that are given another class, with both classes and the true one."""
    first = before.scores.argmax(1)
    second = after.scores[:, before.dataset.labels.mapping_to(after.dataset.labels)].argmax(1)
    names = before.dataset.labels.names
    return [
        {
            "id": before.dataset.samples[i].id,
            "before": names[first[i]],
            "after": names[second[i]],
            "true": names[before.targets[i]],
        }
        for i in np.flatnonzero(first != second)
    ]


def fit_points(results: ClassResults, groups: NDArray[np.int64], rng: np.random.Generator) -> dict[str, Any]:
    """Return calibration and operating points, fitted on these images; logarithms of probabilities are logits."""
    logits = np.log(np.maximum(results.scores.astype(np.float64), 1e-12))
    return fit_confidence(logits, results.targets, results.dataset.labels.names, groups=groups, rng=rng)


REPORTING = Reporting(
    fit_points=fit_points,
    gather=gather_classes,
    stored=ClassResults,
    at_once=64,
    together=average_cuts,
    metrics=measure,
    report=report,
    items=list_items,
    image_scores=image_scores,
    compare=compare_classes,
    changed=changed,
    replicates=1000,
    spread=("accuracy", "balanced_accuracy", "f1_macro", "auc", "kappa", "log_loss", "ece"),
    summary=summarise,
    page=lay_out,
    pictures=take_pictures,
    explained=explain_mistakes,
    audit=AUDIT,
)
"""How a classifier is measured and reported."""
