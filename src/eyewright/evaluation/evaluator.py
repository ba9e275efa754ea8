"""Measure any Predictor on any dataset: one evaluator for trained nets, bundles and whatever comes after them."""

__all__ = ["evaluate_predictor", "predict_dataset", "report_predictions"]

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError
from eyewright.core.labels import LabelSpace
from eyewright.core.predictor import Predictor
from eyewright.core.progress import track_progress
from eyewright.core.report import Report
from eyewright.core.rng import generator
from eyewright.core.task import task_of
from eyewright.data.dataset import Dataset
from eyewright.evaluation.novelty import Novelty, measure_novelty
from eyewright.evaluation.slices import slice_accuracy
from eyewright.evaluation.together import count_groups, group_names
from eyewright.metrics import (
    calibration_bins,
    confusion_matrix,
    expected_calibration_error,
    precision_recall_curve,
    precision_recall_f1,
    roc_auc,
    roc_curve,
    uncalibrated,
)
from eyewright.metrics.bootstrap import resample, share_interval

_CHUNK = 64
_CURVE_POINTS = 200
_MOST_CURVES = 60


def evaluate_predictor(
    predictor: Predictor,
    dataset: Dataset,
    *,
    seed: int = 0,
    temperature: float | None = None,
    sections: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    novelty: Novelty | None = None,
    quiet: bool = False,
) -> Report:
    """Predict every image of `dataset` from its file and return the report.

    With the `temperature` that the predictor divides by, the report shows its calibration before and after; with
    `novelty`, of the images in their order, the metric as a function of it.

    Raises:
        DatasetError: the dataset is empty, of another task, or holds a class that the model does not know.
    """
    if dataset.task != "classify":
        from eyewright.evaluation.scenes import evaluate_scenes

        return evaluate_scenes(
            predictor, dataset, seed=seed, sections=sections, provenance=provenance, novelty=novelty, quiet=quiet
        )
    predictions, looks = predict_dataset(predictor, dataset, quiet=quiet)
    return report_predictions(
        predictions,
        dataset,
        labels=predictor.labels,
        looks=looks,
        seed=seed,
        temperature=temperature,
        sections=sections,
        provenance=provenance,
        novelty=novelty,
    )


def predict_dataset(
    predictor: Predictor, dataset: Dataset, *, quiet: bool = False
) -> tuple[list[Any], list[tuple[float, float]]]:
    """Return a prediction for every image of `dataset`, and its longer side in pixels and mean brightness (0-255).

    Raises:
        DatasetError: the dataset is empty, of another task, or holds a class that the model does not know.
    """
    if not len(dataset):
        raise DatasetError("expected images to evaluate on, found none", fix="check the dataset")
    if dataset.task != predictor.task_name:
        raise DatasetError(f"the model is for {predictor.task_name}, the dataset for {dataset.task}")
    dataset.labels.mapping_to(predictor.labels)
    predictions: list[Any] = []
    looks: list[tuple[float, float]] = []
    with track_progress("evaluating", len(dataset), quiet=quiet) as advance:
        for start in range(0, len(dataset), _CHUNK):
            chosen = range(start, min(start + _CHUNK, len(dataset)))
            images = [dataset.image(i) for i in chosen]
            predictions += predictor.predict_images(images)
            looks += [(float(max(i.shape[:2])), float(i.mean())) for i in images]
            advance(len(chosen), "")
    return predictions, looks


def report_predictions(
    predictions: Sequence[Any],
    dataset: Dataset,
    *,
    labels: LabelSpace,
    looks: Sequence[tuple[float, float]],
    seed: int = 0,
    temperature: float | None = None,
    sections: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    novelty: Novelty | None = None,
) -> Report:
    """Return the report of predictions, one for each sample of `dataset` in its order, in the classes of `labels`.

    Classes meet by name: the dataset's may be fewer or ordered otherwise than the model's. When samples carry a
    group, intervals are drawn over groups, since images of one group are not independent.
    """
    targets = dataset.labels.mapping_to(labels)[dataset.targets]
    scores = np.stack([p.probabilities for p in predictions]).astype(np.float64)
    grouped = group_names(dataset)
    metrics = task_of(dataset.task).score(
        predictions, targets.tolist(), rng=generator(seed, "bootstrap"), groups=grouped
    )
    names = labels.names
    right = scores.argmax(1) == targets
    hits = right.astype(np.float64)
    every = right if novelty is None or novelty.beside is None else np.append(right, novelty.beside.kept)
    measured = measure_novelty(
        novelty,
        lambda weights: (weights @ every) / np.maximum(weights.sum(1), 1e-12),
        task=dataset.task,
        groups=grouped if novelty is None else novelty.groups(dataset),
        hits=every,
        seed=seed,
    )
    return Report(
        task=dataset.task,
        labels=names,
        n=len(dataset),
        metrics=metrics,
        per_class=tuple(_per_class(targets, scores, names, seed, grouped)),
        tables={
            **_tables(targets, scores, temperature),
            "slices": slice_accuracy(dataset, right, list(looks)),
            "together": count_groups(dataset, hits),
            "novelty": measured,
        },
        items=tuple(_items(dataset, targets, scores, names)),
        sections=sections or {},
        provenance=provenance or {},
    )


def _per_class(
    targets: NDArray[np.int64],
    scores: NDArray[np.float64],
    names: tuple[str, ...],
    seed: int,
    groups: NDArray[Any] | None,
) -> list[dict[str, Any]]:
    """Return a row a class: counts, precision, recall and F1 with intervals, one-against-rest AUC and AP."""
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


def _items(
    dataset: Dataset, targets: NDArray[np.int64], scores: NDArray[np.float64], names: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Return a row an image, the surest mistakes first, then the least sure right answers."""
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
