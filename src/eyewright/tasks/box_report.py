"""The report on a detector: metrics, classes, kinds of error, slices, and what was missed and found in each image."""

__all__ = ["INSTANCE_REPORTING", "REPORTING"]

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from eyewright.metrics.bootstrap import resample
from eyewright.metrics.detection import (
    average_precisions,
    detection_errors,
    detection_metrics,
    fit_points,
    moved_interval,
    object_confusion,
    panoptic_quality,
    precision_curve,
    sort_errors,
)
from eyewright.metrics.matching import Detected, Matched, match_detections
from eyewright.tasks.amounts import changed_amounts
from eyewright.tasks.box_page import AUDIT, lay_out, summarise, take_pictures
from eyewright.tasks.box_results import (
    BoxResults,
    Scene,
    first_cut,
    gather_boxes,
    gather_outlined,
    is_sure,
    mean_ap50,
)
from eyewright.tasks.item_scores import item_scores
from eyewright.tasks.scene_blocks import explain_most_confident

_CURVE_POINTS = 200
_MOST_SORTED = 2000
_CHANGED = 0.5


def measure(results: BoxResults, seed: int) -> dict[str, Metric]:
    """Return every metric with its interval: at any score, and at the operating points."""
    return _metrics(results, seed, _matched(results))


def measure_outlined(results: BoxResults, seed: int) -> dict[str, Metric]:
    """Return every metric with its interval, and panoptic quality."""
    return measure(results, seed) | _panoptic_of(results, seed)


def report(
    results: BoxResults, *, seed: int = 0, novelty: Novelty | None = None, temperature: float | None = None
) -> Report:
    """Return the report on boxes."""
    dataset, scenes, points = results.dataset, results.scenes, results.points
    names, groups, matched = dataset.labels.names, group_names(dataset), _matched(results)
    items = list_items(results)
    return Report(
        task=dataset.task,
        labels=names,
        n=len(dataset),
        metrics=_metrics(results, seed, matched),
        per_class=tuple(_class_rows(matched, names, points, generator(seed, "per-class"), groups)),
        tables={
            "confusion": object_confusion(**_shown(scenes, points), n_classes=len(names)),
            "curves": _curves(matched),
            "errors": _errors(scenes, len(names), points, seed),
            "slices": _object_slices(scenes, results.looks, len(names)),
            "together": count_groups(dataset, image_scores(items)),
            "novelty": measure_novelty(novelty, results, seed=seed),
        },
        items=tuple(items),
    )


def report_outlined(
    results: BoxResults, *, seed: int = 0, novelty: Novelty | None = None, temperature: float | None = None
) -> Report:
    """Return the report on boxes and masks, with panoptic quality."""
    found = report(results, seed=seed, novelty=novelty)
    return replace(found, metrics={**found.metrics, **_panoptic_of(results, seed)})


def _matched(results: BoxResults) -> Matched:
    found, truth, near = ([getattr(s, k) for s in results.scenes] for k in ("found", "truth", "overlap"))
    return match_detections(found, truth, results.n_classes, overlaps=near)


def _metrics(results: BoxResults, seed: int, matched: Matched) -> dict[str, Metric]:
    n_classes, groups = results.n_classes, group_names(results.dataset)
    found, truth = ([getattr(s, k) for s in results.scenes] for k in ("found", "truth"))
    metrics = detection_metrics(
        found, truth, n_classes, rng=generator(seed, "bootstrap"), groups=groups, matched=matched
    )
    return metrics | _at_points(results.scenes, results.points, n_classes, generator(seed, "points"), groups)


def _panoptic_of(results: BoxResults, seed: int) -> dict[str, Metric]:
    rng, groups = generator(seed, "panoptic"), group_names(results.dataset)
    return _panoptic(results.scenes, results.points, results.n_classes, rng, groups)


def _shown(scenes: Sequence[Scene], points: NDArray[np.float64]) -> dict[str, Any]:
    """Return what a person is shown, objects that reach the operating point of their class, with truth and overlaps."""
    found, overlaps = [], []
    for scene in scenes:
        one, keep = scene.found, is_sure(scene.found, points)
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
    """Return precision, recall and F1 at an IoU of 0.5 of what a person is shown, over all classes."""
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
    """Return a row per class: objects, AP, AP50 with its interval, recall, and both at the operating point."""
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
    """Return precision over recall, and F1 over the score, at an IoU of 0.5 for every class that is there."""
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
    """Return how many errors of each kind there are at the operating points, and what each costs in AP50, which is over
    all scores, on at most 2,000 images."""
    some = np.arange(len(scenes))
    if len(some) > _MOST_SORTED:
        some = np.sort(generator(seed, "errors").permutation(len(some))[:_MOST_SORTED])
    chosen = [scenes[i] for i in some.tolist()]
    found, truth, near = ([getattr(s, k) for s in chosen] for k in ("found", "truth", "overlap"))
    kinds = detection_errors(found, truth, n_classes, points=points.tolist(), overlaps=near)
    return {"n": len(chosen), "kinds": kinds}


def _object_slices(
    scenes: Sequence[Scene], looks: Sequence[tuple[float, float]], n_classes: int
) -> list[dict[str, Any]]:
    """Return AP50 of parts of the images: by number of objects, size and brightness, the weakest first."""
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
        for text, member in thirds(values, unit):
            if member.sum() < SMALLEST_SLICE:
                continue
            part = [s for s, m in zip(scenes, member, strict=True) if m]
            rest = [s for s, m in zip(scenes, member, strict=True) if not m]
            row = {"slice": name, "value": text, "n": len(part), "ap50": _ap50(part, n_classes)}
            rows.append({**row, "rest": _ap50(rest, n_classes)})
    return sorted(rows, key=lambda r: r["ap50"] if r["ap50"] is not None else 1.0)


def _ap50(scenes: Sequence[Scene], n_classes: int) -> float | None:
    return _finite(mean_ap50(scenes, n_classes))


def list_items(results: BoxResults) -> list[dict[str, Any]]:
    """Return a row per image, the worst first, with the objects that were missed and the answers that are false."""
    items, names = [], results.dataset.labels.names
    for i, (sample, scene) in enumerate(zip(results.dataset.samples, results.scenes, strict=True)):
        sure = np.flatnonzero(is_sure(scene.found, results.points))
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


def image_scores(items: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Return F1 at the operating points of each image, (N,) by its index.

    An image without objects in which none was found went well.
    """

    def f1(item: Mapping[str, Any]) -> float:
        right, wrong = item["right"], len(item["false"]) + len(item["missed"])
        return 1.0 if right + wrong == 0 else 2 * right / (2 * right + wrong)

    return item_scores(items, f1)


def compare(a: BoxResults, b: BoxResults, seed: int) -> Comparison:
    """Compare two detectors on the same images by their average precisions."""
    return compare_numbers(a, b, _per_image(a.matched()), _per_image(b.matched()), seed=seed)


def _per_image(matched: Matched) -> NDArray[np.float64]:
    """Return of each image the scores of what was found in it less those of what was not there: more is better."""
    total = np.zeros(matched.n)
    for c in matched.classes:
        kept = ~c.ignored[0, 0]
        signed = np.where(c.right[0, 0], c.scores, -c.scores)[kept]
        total += np.bincount(c.images[kept], signed, minlength=matched.n)
    return total


def changed(before: BoxResults, after: BoxResults) -> list[dict[str, Any]]:
    """Return the images in which another number of objects is shown."""
    return changed_amounts(before, after, least=_CHANGED)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def points_of(results: BoxResults, groups: NDArray[np.int64], rng: np.random.Generator) -> dict[str, Any]:
    """Return operating points, fitted on these images."""
    matched = results.matched(np.array([0.5]))
    return fit_points(matched, results.dataset.labels.names, groups=groups, rng=rng)


REPORTING = Reporting(
    fit_points=points_of,
    gather=gather_boxes,
    stored=BoxResults,
    at_once=8,
    together=first_cut,
    metrics=measure,
    report=report,
    items=list_items,
    image_scores=image_scores,
    compare=compare,
    changed=changed,
    replicates=200,
    spread=("ap", "ap50", "precision", "recall", "f1"),
    summary=summarise,
    page=lay_out,
    pictures=take_pictures,
    explained=explain_most_confident,
    audit=AUDIT,
)
"""How a detector is measured and reported."""

INSTANCE_REPORTING = replace(
    REPORTING,
    gather=gather_outlined,
    stored=BoxResults,
    metrics=measure_outlined,
    report=report_outlined,
    spread=("ap", "ap50", "pq", "precision", "recall", "f1"),
)
"""How a model of instances is measured and reported: as a detector whose objects overlap by their masks."""
