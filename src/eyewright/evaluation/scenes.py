"""Measure detectors and segmenters on a dataset, image by image, keeping only what the numbers need."""

__all__ = [
    "Scene",
    "evaluate_scenes",
    "gather_masks",
    "gather_scenes",
    "mask_items",
    "mean_ap50",
    "mean_iou",
    "object_items",
    "points_of",
    "report_masks",
    "report_objects",
    "true_objects",
]

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError
from eyewright.core.predictor import Predictor, predict_everything
from eyewright.core.progress import track_progress
from eyewright.core.report import Metric, Report
from eyewright.core.rng import generator
from eyewright.data.dataset import Dataset
from eyewright.data.marks import usable_objects
from eyewright.evaluation.novelty import Novelty, measure_novelty
from eyewright.evaluation.together import count_groups, group_names, image_scores
from eyewright.metrics.bootstrap import resample
from eyewright.metrics.detection import (
    average_precisions,
    detection_errors,
    detection_metrics,
    moved_interval,
    object_confusion,
    panoptic_quality,
    precision_curve,
    sort_errors,
)
from eyewright.metrics.masks import boundary_scores, image_confusion, mask_metrics
from eyewright.metrics.matching import Detected, Matched, crop_mask, match_detections, overlaps_of

_CHUNK = 8
_CURVE_POINTS = 200
_MOST_SORTED = 2000
_SMALLEST_SLICE = 10


@dataclass(frozen=True, eq=False)
class Scene:
    """One image as it is measured: what was found, what is there, how much they overlap; without the pixels."""

    found: Detected
    truth: Detected
    overlap: NDArray[np.float64]

    def shown(self, points: NDArray[np.float64]) -> NDArray[np.int64]:
        """Count the objects a class, (C,), whose score reaches the class's operating point."""
        sure = _is_sure(self.found, points)
        return np.bincount(self.found.labels[sure], minlength=len(points))


def evaluate_scenes(
    predictor: Predictor,
    dataset: Dataset,
    *,
    seed: int = 0,
    sections: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    novelty: Novelty | None = None,
    quiet: bool = False,
) -> Report:
    """Predict every image of `dataset` from its file and return the report on its boxes or masks.

    Raises:
        DatasetError: the dataset is empty, of another task, or holds a class that the model does not know.
    """
    if not len(dataset):
        raise DatasetError("expected images to evaluate on, found none", fix="check the dataset")
    if dataset.task != predictor.task_name:
        raise DatasetError(f"the model is for {predictor.task_name}, the dataset for {dataset.task}")
    dataset = dataset.relabelled(predictor.labels)
    if dataset.task == "segment":
        report = report_masks(dataset, *gather_masks(predictor, dataset, quiet=quiet), seed=seed, novelty=novelty)
    else:
        scenes, looks = gather_scenes(predictor, dataset, quiet=quiet)
        report = report_objects(dataset, scenes, looks, points=points_of(predictor), seed=seed, novelty=novelty)
    return replace(report, sections=sections or {}, provenance=provenance or {})


def true_objects(dataset: Dataset, index: int, size_hw: tuple[int, int]) -> Detected:
    """Give what is to be found in one image; for instances with masks."""
    objects = usable_objects(dataset.objects(index, size_hw), size_hw)
    masks, areas = None, objects.areas
    if dataset.task == "instance":
        objects = objects.chosen(np.array([bool(o) for o in objects.outlines], bool))
        masks = [crop_mask(o.mask(size_hw)) for o in objects.outlines]
        areas = objects.areas
    boxes = objects.boxes_xyxy
    if areas is not None:
        own = (boxes[:, 2:] - boxes[:, :2]).prod(1) if masks is None else [m.mask.sum() for m in masks]
        areas = np.where(np.isfinite(areas), areas, own)
    return Detected(boxes, objects.label_ids, crowd=objects.crowd, masks=masks, areas=areas)


def gather_scenes(
    predictor: Predictor, dataset: Dataset, *, quiet: bool = True
) -> tuple[list[Scene], list[tuple[float, float]]]:
    """Predict every image; give its scene, and its longer side in pixels and mean brightness.

    `dataset` is in the predictor's classes.
    """
    scenes: list[Scene] = []
    looks: list[tuple[float, float]] = []
    with track_progress("evaluating", len(dataset), quiet=quiet) as advance:
        for start in range(0, len(dataset), _CHUNK):
            chosen = range(start, min(start + _CHUNK, len(dataset)))
            images = [dataset.image(i) for i in chosen]
            for i, image, prediction in zip(chosen, images, predict_everything(predictor, images), strict=True):
                found, truth = prediction.detected(), true_objects(dataset, i, (image.shape[0], image.shape[1]))
                overlap = overlaps_of(found, truth)
                # The masks have done their part; what they cover is kept as areas.
                bare = [replace(d, areas=d.area(), masks=None) for d in (found, truth)]
                scenes.append(Scene(bare[0], bare[1], overlap))
                looks.append((float(max(image.shape[:2])), float(image.mean())))
            advance(len(chosen), "")
    return scenes, looks


def report_objects(
    dataset: Dataset,
    scenes: Sequence[Scene],
    looks: Sequence[tuple[float, float]],
    *,
    points: NDArray[np.float64],
    seed: int = 0,
    novelty: Novelty | None = None,
) -> Report:
    """Return the report on what `gather_scenes` gathered, a scene for each sample of `dataset` in its order.

    `points` are the classes' operating points, (C,).
    """
    names = dataset.labels.names
    found, truth, near = ([getattr(s, k) for s in scenes] for k in ("found", "truth", "overlap"))
    matched = match_detections(found, truth, len(names), overlaps=near)
    groups = group_names(dataset)
    metrics = detection_metrics(
        found, truth, len(names), rng=generator(seed, "bootstrap"), groups=groups, matched=matched
    )
    metrics |= _at_points(scenes, points, len(names), generator(seed, "points"), groups)
    if dataset.task == "instance":
        metrics |= _panoptic(scenes, points, len(names), generator(seed, "panoptic"), groups)
    items = object_items(dataset, scenes, names, points)
    measured = _object_novelty(scenes, dataset, novelty, seed)
    return Report(
        task=dataset.task,
        labels=names,
        n=len(dataset),
        metrics=metrics,
        per_class=tuple(_class_rows(matched, names, points, generator(seed, "per-class"), groups)),
        tables={
            "confusion": object_confusion(**_shown(scenes, points), n_classes=len(names)),
            "curves": _curves(matched),
            "errors": _errors(scenes, len(names), points, seed),
            "slices": _object_slices(scenes, looks, dataset, len(names)),
            "together": count_groups(dataset, image_scores(dataset.task, items)),
            "novelty": measured,
        },
        items=tuple(items),
    )


def _object_novelty(
    scenes: Sequence[Scene], dataset: Dataset, novelty: Novelty | None, seed: int
) -> dict[str, Any] | None:
    if novelty is None or novelty.near is None:
        return measure_novelty(novelty, lambda weights: weights[:, 0], task=dataset.task, groups=None)
    every = [*scenes, *(() if novelty.beside is None else novelty.beside.kept)]
    found, truth, near = ([getattr(s, k) for s in every] for k in ("found", "truth", "overlap"))
    n_classes = len(dataset.labels)
    matched = match_detections(found, truth, n_classes, areas=("all",), thresholds=np.array([0.5]), overlaps=near)
    return measure_novelty(
        novelty,
        lambda weights: _mean_ap50(matched, weights),
        task=dataset.task,
        groups=novelty.groups(dataset),
        classes=n_classes,
        seed=seed,
    )


def _mean_ap50(matched: Matched, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return AP50, the mean over the classes that are there, for each row of weights."""
    each = np.stack([average_precisions(c, weights)[:, 0] for c in matched.classes])
    known = np.isfinite(each)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: NDArray[np.float64] = np.where(known, each, 0.0).sum(0) / known.sum(0)
    return mean


def points_of(predictor: Any) -> NDArray[np.float64]:
    """Give each class's operating point, (C,): the model's own, else 0.25."""
    own = getattr(predictor, "thresholds", None)
    return np.full(len(predictor.labels), 0.25) if own is None else np.asarray(own, np.float64)


def _is_sure(found: Detected, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    assert found.scores is not None
    sure: NDArray[np.bool_] = found.scores >= points[found.labels]
    return sure


def _shown(scenes: Sequence[Scene], points: NDArray[np.float64]) -> dict[str, Any]:
    """Give what a person is shown, answers that reach the operating point of their class, with truth and overlaps."""
    found, overlaps = [], []
    for scene in scenes:
        one, keep = scene.found, _is_sure(scene.found, points)
        assert one.scores is not None
        areas = None if one.areas is None else one.areas[keep]
        found.append(Detected(one.boxes[keep], one.labels[keep], one.scores[keep], areas=areas))
        overlaps.append(scene.overlap[keep])
    return {"found": found, "truth": [s.truth for s in scenes], "overlaps": overlaps}


def _at_points(
    scenes: Sequence[Scene],
    points: NDArray[np.float64],
    n_classes: int,
    rng: np.random.Generator,
    groups: NDArray[Any] | None,
) -> dict[str, Metric]:
    """Give precision, recall and F1 at an IoU of 0.5 of what a person is shown, over all classes."""
    half = np.array([0.5])
    m = match_detections(**_shown(scenes, points), n_classes=n_classes, areas=("all",), thresholds=half)
    counts = np.zeros((len(scenes), 3))
    for c in m.classes:
        kept = ~c.ignored[0, 0]
        counts[:, 0] += np.bincount(c.images[kept], c.right[0, 0, kept], minlength=len(scenes))
        counts[:, 1] += np.bincount(c.images[kept], minlength=len(scenes))
        counts[:, 2] += c.truths[0]
    plan = resample(len(scenes), replicates=1000, rng=rng, groups=groups)
    drawn = [w @ counts for w in plan.weights()]
    samples = np.concatenate(drawn) if drawn else np.zeros((0, 3))
    result = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for name, top, bottom in (
            ("precision", (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
            ("recall", (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
            ("f1", (2.0, 0.0, 0.0), (0.0, 1.0, 1.0)),
        ):
            value = float(counts.sum(0) @ top / (counts.sum(0) @ bottom))
            low, high = plan.bounded(value, (samples @ top) / (samples @ bottom))
            result[name] = Metric(
                _finite(value), _finite(low), _finite(high), len(scenes), method=plan.method, groups=plan.n_groups
            )
    return result


def _panoptic(
    scenes: Sequence[Scene],
    points: NDArray[np.float64],
    n_classes: int,
    rng: np.random.Generator,
    groups: NDArray[Any] | None,
) -> dict[str, Metric]:
    parts = panoptic_quality(**_shown(scenes, points), n_classes=n_classes)

    def quality(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = {k: weights @ v for k, v in parts.items()}
        under = sums["right"] + (sums["false"] + sums["missed"]) / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            each = np.where(under > 0, sums["overlap"] / under, np.nan)
        known = np.isfinite(each)
        mean: NDArray[np.float64] = np.where(known, each, 0).sum(1) / np.maximum(known.sum(1), 1)
        return mean

    value = float(quality(np.ones((1, len(scenes))))[0])
    plan = resample(len(scenes), replicates=1000, rng=rng, groups=groups)
    low, high = plan.bounded(value, np.concatenate([quality(w) for w in plan.weights()]))
    metric = Metric(_finite(value), _finite(low), _finite(high), len(scenes), method=plan.method, groups=plan.n_groups)
    return {"pq": metric}


def _class_rows(
    matched: Matched,
    names: Sequence[str],
    points: NDArray[np.float64],
    rng: np.random.Generator,
    groups: NDArray[Any] | None,
) -> list[dict[str, Any]]:
    """Give a row a class: objects, AP, AP50 with its interval, recall, and both at the operating point."""
    ones = np.ones((1, matched.n))
    plan = resample(matched.n, replicates=200, rng=rng, groups=groups)
    weights = np.concatenate(list(plan.weights()))
    rows = []
    for k, (c, name) in enumerate(zip(matched.classes, names, strict=True)):
        n = int(c.truths[0].sum())
        each = average_precisions(c, ones, thresholds=range(len(matched.thresholds)))[0]
        low, high = moved_interval(plan, float(each[0]), average_precisions(c, weights)[:, 0])
        kept = ~c.ignored[0, 0] & (c.scores >= points[k])
        hits = int(c.right[0, 0, kept].sum())
        given = int(kept.sum())
        rows.append(
            {
                "label": name,
                "n": n,
                "answered": given,
                "ap": _finite(float(each.mean())) if n else None,
                "ap50": {"value": _finite(float(each[0])), "low": _finite(low), "high": _finite(high)},
                "threshold": float(points[k]),
                "precision": hits / given if given else None,
                "recall": hits / n if n else None,
                "f1": 2 * hits / (given + n) if given + n else None,
            }
        )
    return rows


def _curves(matched: Matched) -> dict[int, dict[str, NDArray[np.float64]]]:
    """Give precision over recall, and F1 over the score, at an IoU of 0.5 for every class that is there."""
    curves = {}
    for k, c in enumerate(matched.classes):
        if not c.truths[0].any() or not len(c.scores):
            continue
        precision, recall, scores = precision_curve(c)
        if not len(scores):
            continue
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        some = np.unique(np.linspace(0, len(scores) - 1, _CURVE_POINTS).round().astype(int))
        curves[k] = {
            "pr": np.round(np.stack([recall[some], precision[some]], 1), 5),
            "f1": np.round(np.stack([scores[some], f1[some]], 1)[::-1], 5),
        }
    return curves


def _errors(scenes: Sequence[Scene], n_classes: int, points: NDArray[np.float64], seed: int) -> dict[str, Any]:
    """Tell errors apart, on at most 2,000 images."""
    some = np.arange(len(scenes))
    if len(some) > _MOST_SORTED:
        some = np.sort(generator(seed, "errors").permutation(len(some))[:_MOST_SORTED])
    chosen = [scenes[i] for i in some.tolist()]
    found, truth, near = ([getattr(s, k) for s in chosen] for k in ("found", "truth", "overlap"))
    kinds = detection_errors(found, truth, n_classes, points=points.tolist(), overlaps=near)
    return {"n": len(chosen), "kinds": kinds}


def _object_slices(
    scenes: Sequence[Scene], looks: Sequence[tuple[float, float]], dataset: Dataset, n_classes: int
) -> list[dict[str, Any]]:
    """Give AP50 of parts of the images: by how many objects they hold, their size and brightness; the weakest first."""
    crowding = np.array([float(len(s.truth)) for s in scenes])
    sides, light = (np.array([look[k] for look in looks]) for k in (0, 1))
    usual = np.array([float(np.median(s.truth.area() ** 0.5)) if len(s.truth) else np.nan for s in scenes])
    rows = []
    for name, values, unit in (
        ("objects in the image", crowding, ""),
        ("usual size of its objects", usual, "px"),
        ("longer side", sides, "px"),
        ("brightness", light, ""),
    ):
        for text, member in _thirds(values, unit):
            if member.sum() < _SMALLEST_SLICE:
                continue
            part = [s for s, m in zip(scenes, member, strict=True) if m]
            rest = [s for s, m in zip(scenes, member, strict=True) if not m]
            row = {"slice": name, "value": text, "n": len(part), "ap50": _ap50(part, n_classes)}
            rows.append({**row, "rest": _ap50(rest, n_classes)})
    return sorted(rows, key=lambda r: r["ap50"] if r["ap50"] is not None else 1.0)


def _ap50(scenes: Sequence[Scene], n_classes: int) -> float | None:
    return _finite(mean_ap50(scenes, n_classes))


def mean_ap50(scenes: Sequence[Scene], n_classes: int) -> float:
    """Return AP50 of some images, the mean over the classes that are there; NaN where nothing is."""
    found, truth, near = ([getattr(s, k) for s in scenes] for k in ("found", "truth", "overlap"))
    m = match_detections(found, truth, n_classes, areas=("all",), thresholds=np.array([0.5]), overlaps=near)
    each = np.array([average_precisions(c, np.ones((1, m.n)))[0, 0] for c in m.classes])
    known = each[np.isfinite(each)]
    return float(known.mean()) if len(known) else np.nan


def _thirds(values: NDArray[np.float64], unit: str) -> list[tuple[str, NDArray[np.bool_]]]:
    known = values[np.isfinite(values)]
    if not len(known):
        return []
    low, high = np.quantile(known, [1 / 3, 2 / 3])
    if low == high:
        return []
    members = (values <= low, (values > low) & (values <= high), values > high)
    ends = (f"up to {low:.0f}", f"{low:.0f} to {high:.0f}", f"above {high:.0f}")
    return [(f"{end} {unit}".strip(), m) for end, m in zip(ends, members, strict=True)]


def object_items(
    dataset: Dataset, scenes: Sequence[Scene], names: Sequence[str], points: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """Return a row an image, the worst first, with the objects that were missed and the answers that are false."""
    items = []
    for i, (sample, scene) in enumerate(zip(dataset.samples, scenes, strict=True)):
        sure = np.flatnonzero(_is_sure(scene.found, points))
        assert scene.found.scores is not None
        shown = Detected(scene.found.boxes[sure], scene.found.labels[sure], scene.found.scores[sure])
        kinds, partners, _ = sort_errors(shown, scene.truth, scene.overlap[sure])
        crowd = scene.truth.crowd if scene.truth.crowd is not None else np.zeros(len(scene.truth), bool)
        met = set(partners[kinds == ""].tolist())
        missed = [k for k in range(len(scene.truth)) if k not in met and not crowd[k]]
        false = np.flatnonzero(kinds != "")
        items.append(
            {
                "id": sample.id,
                "name": posixpath.basename(sample.id),
                "index": i,
                "objects": int((~crowd).sum()),
                "right": len(sure) - len(false),
                "found": [_row(shown, k, names) for k in range(len(shown))],
                "truth": [_row(scene.truth, k, names) for k in range(len(scene.truth)) if not crowd[k]],
                "missed": [_row(scene.truth, k, names) for k in missed],
                "false": [{**_row(shown, k, names), "kind": str(kinds[k])} for k in false.tolist()],
            }
        )
    return sorted(items, key=lambda r: (-(len(r["missed"]) + len(r["false"])), r["id"]))


def _row(objects: Detected, k: int, names: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"label": names[objects.labels[k]], "box": [round(float(v), 1) for v in objects.boxes[k]]}
    return row if objects.scores is None else {**row, "score": round(float(objects.scores[k]), 4)}


def gather_masks(
    predictor: Predictor, dataset: Dataset, *, quiet: bool = True
) -> tuple[NDArray[np.int64], NDArray[np.float64], list[tuple[float, float]]]:
    """Predict every image; give its pixels by true and found class (N, C, C), its boundaries' counts (N, C, 4), and its
    longer side in pixels and mean brightness. `dataset` is in the predictor's classes."""
    n_classes = len(predictor.labels)
    tables, edges, looks = [], [], []
    with track_progress("evaluating", len(dataset), quiet=quiet) as advance:
        for start in range(0, len(dataset), _CHUNK):
            chosen = range(start, min(start + _CHUNK, len(dataset)))
            images = [dataset.image(i) for i in chosen]
            # As a person is shown them: what is nowhere sure enough is not drawn, and so does not count.
            for i, image, prediction in zip(chosen, images, predictor.predict_images(images), strict=True):
                truth = dataset.mask(i, (image.shape[0], image.shape[1]))
                tables.append(image_confusion(prediction.mask, truth, n_classes))
                edges.append(boundary_scores(prediction.mask, truth, n_classes))
                looks.append((float(max(image.shape[:2])), float(image.mean())))
            advance(len(chosen), "")
    return np.stack(tables), np.stack(edges), looks


def report_masks(
    dataset: Dataset,
    confusions: NDArray[np.int64],
    edges: NDArray[np.float64],
    looks: Sequence[tuple[float, float]],
    *,
    seed: int = 0,
    novelty: Novelty | None = None,
) -> Report:
    """Return the report on what `gather_masks` gathered, a row for each sample of `dataset` in its order."""
    names = dataset.labels.names
    fore = dataset.foreground
    groups = group_names(dataset)
    metrics, rows = mask_metrics(confusions, edges, names, fore, rng=generator(seed, "bootstrap"), groups=groups)
    items = mask_items(dataset, confusions, list(fore), names)
    beside = None if novelty is None else novelty.beside
    every = confusions if beside is None else np.concatenate([confusions, beside.kept])
    measured = measure_novelty(
        novelty,
        lambda weights: mean_iou(every, fore, weights),
        task="segment",
        groups=groups if novelty is None else novelty.groups(dataset),
        seed=seed,
    )
    return Report(
        task="segment",
        labels=names,
        n=len(dataset),
        metrics=metrics,
        per_class=tuple(rows),
        tables={
            "confusion": confusions.sum(0),
            "slices": _mask_slices(confusions, looks, list(fore)),
            "together": count_groups(dataset, image_scores("segment", items)),
            "novelty": measured,
        },
        items=tuple(items),
    )


def mean_iou(
    confusions: NDArray[np.int64], foreground: Sequence[int], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return mean IoU over the foreground classes that are there, for each row of weights of the images."""
    n, c, _ = confusions.shape
    fore = list(foreground)
    table = (weights @ confusions.reshape(n, -1).astype(np.float64)).reshape(-1, c, c)
    right, truth, found = np.einsum("bii->bi", table), table.sum(2), table.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = np.where(truth > 0, right / (truth + found - right), np.nan)[:, fore]
        known = np.isfinite(iou)
        mean: NDArray[np.float64] = np.where(known, iou, 0.0).sum(1) / known.sum(1)
    return mean


def _mask_slices(
    confusions: NDArray[np.int64], looks: Sequence[tuple[float, float]], fore: list[int]
) -> list[dict[str, Any]]:
    """Give mean IoU of parts of the images: by how much is marked in them, their size and brightness."""
    marked = confusions[:, fore].sum((1, 2)) / np.maximum(confusions.sum((1, 2)), 1) * 100
    sides, light = (np.array([look[k] for look in looks]) for k in (0, 1))
    rows = []
    values = (("marked share of the image", marked, "%"), ("longer side", sides, "px"), ("brightness", light, ""))
    for name, column, unit in values:
        for text, member in _thirds(np.where(column > 0, column, np.nan) if unit == "%" else column, unit):
            if member.sum() >= _SMALLEST_SLICE:
                row = {"slice": name, "value": text, "n": int(member.sum()), "miou": _miou(confusions[member], fore)}
                rows.append({**row, "rest": _miou(confusions[~member], fore)})
    return sorted(rows, key=lambda r: r["miou"] if r["miou"] is not None else 1.0)


def _miou(confusions: NDArray[np.int64], fore: list[int]) -> float | None:
    table = confusions.sum(0)
    right, truth = np.diag(table), table.sum(1)
    there = [i for i in fore if truth[i]]
    iou = right[there] / np.maximum(truth[there] + table.sum(0)[there] - right[there], 1)
    return float(iou.mean()) if len(there) else None


def mask_items(
    dataset: Dataset, confusions: NDArray[np.int64], fore: list[int], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Return a row an image, the worst first by the pixels that are wrong in what is or should be marked."""
    items = []
    for i, (sample, table) in enumerate(zip(dataset.samples, confusions, strict=True)):
        right, truth, found = np.diag(table), table.sum(1), table.sum(0)
        union = truth + found - right
        there = [k for k in fore if union[k]]
        iou = {names[k]: round(float(right[k] / union[k]), 4) for k in there}
        items.append(
            {
                "id": sample.id,
                "name": posixpath.basename(sample.id),
                "index": i,
                "iou": iou,
                "miou": float(np.mean(list(iou.values()))) if iou else None,
                "missed": [names[k] for k in there if truth[k] and not right[k]],
                "false": [names[k] for k in there if found[k] and not truth[k]],
                "wrong_pixels": int(table.sum() - right.sum()),
            }
        )
    return sorted(items, key=lambda r: (r["miou"] if r["miou"] is not None else 2.0, -r["wrong_pixels"], r["id"]))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
