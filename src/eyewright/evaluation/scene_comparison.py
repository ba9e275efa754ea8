"""Two detectors or segmenters on the same images: differences with paired intervals."""

__all__ = ["Numbers", "compare_scenes", "mask_numbers", "object_numbers"]

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.predictor import Predictor
from eyewright.core.report import Metric
from eyewright.core.rng import generator
from eyewright.data.dataset import Dataset
from eyewright.evaluation.scenes import gather_masks, gather_scenes, points_of
from eyewright.evaluation.together import group_names
from eyewright.metrics.bootstrap import Resampling, resample
from eyewright.metrics.detection import average_precisions
from eyewright.metrics.groups import Kind, t_p_value
from eyewright.metrics.matching import Matched, match_detections

_REPLICATES = 400

Numbers = Callable[[NDArray[np.float64]], dict[str, NDArray[np.float64]]]


def compare_scenes(a: Predictor, b: Predictor, dataset: Dataset, *, seed: int, quiet: bool) -> dict[str, Any]:
    """Give the fields of a `Comparison` for boxes or masks: every replicate draws the same images for both models.

    The p-value is twice the smaller share of replicates on one side of no difference, of the main metric; with up to
    200 groups it is that of Student's t over groups.
    """
    measured = mask_numbers if dataset.task == "segment" else object_numbers
    (numbers_a, each_a, _), (numbers_b, each_b, _) = (measured(p, dataset.relabelled(p.labels), quiet) for p in (a, b))
    n = len(dataset)
    plan = resample(n, replicates=_REPLICATES, rng=generator(seed, "paired"), groups=group_names(dataset))
    point = [f(np.ones((1, n))) for f in (numbers_a, numbers_b)]
    drawn: list[tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]] = []
    for weights in plan.weights():
        drawn.append((numbers_a(weights), numbers_b(weights)))
    samples = [{k: np.concatenate([d[side][k] for d in drawn]) for k in point[0]} for side in (0, 1)]

    def metric(value: NDArray[np.float64], several: NDArray[np.float64], kind: Kind = "bounded") -> Metric:
        low, high = plan.interval(float(value[0]), several, kind=kind)
        shown = [float(v) if np.isfinite(v) else None for v in (value[0], low, high)]
        return Metric(shown[0], shown[1], shown[2], n, method=plan.method, groups=plan.n_groups)

    main = next(iter(point[0]))
    apart = samples[1][main] - samples[0][main]
    return {
        "a": {k: metric(v, samples[0][k]) for k, v in point[0].items()},
        "b": {k: metric(v, samples[1][k]) for k, v in point[1].items()},
        "differences": {
            k: metric(point[1][k] - v, samples[1][k] - samples[0][k], "plain") for k, v in point[0].items()
        },
        "only_a": int((each_a > each_b).sum()),
        "only_b": int((each_b > each_a).sum()),
        "p_value": _p_value(plan, float(point[1][main][0] - point[0][main][0]), apart),
        "n": n,
        "groups": plan.n_groups,
    }


def _p_value(plan: Resampling, difference: float, samples: NDArray[np.float64]) -> float:
    """Return the two-sided p-value of a difference: of the bootstrap, or of Student's t over groups."""
    samples = samples[np.isfinite(samples)]
    if not len(samples):
        return 1.0
    if plan.clusters is not None and plan.by_t:
        return t_p_value(difference, samples, plan.clusters)
    return float(min(1.0, 2 * min((samples <= 0).mean(), (samples >= 0).mean())))


def object_numbers(
    predictor: Predictor, dataset: Dataset, quiet: bool
) -> tuple[Numbers, NDArray[np.float64], NDArray[np.float64]]:
    """Give a model's numbers under weights of the images, how well each image went, and what is shown in each (N, C):
    objects that reach the operating point of their class."""
    scenes, _ = gather_scenes(predictor, dataset, quiet=quiet)
    found, truth, near = ([getattr(s, k) for s in scenes] for k in ("found", "truth", "overlap"))
    matched = match_detections(found, truth, len(predictor.labels), areas=("all",), overlaps=near)

    def numbers(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        every = range(len(matched.thresholds))
        each = np.stack([average_precisions(c, weights, thresholds=every) for c in matched.classes])
        with np.errstate(invalid="ignore"):
            return {"ap": _mean(each.mean(2)), "ap50": _mean(each[..., 0])}

    return numbers, _per_image(matched), np.stack([s.shown(points_of(predictor)) for s in scenes])


def _per_image(matched: Matched) -> NDArray[np.float64]:
    """Give each image the scores of what was found in it less those of what was not there: more is better."""
    total = np.zeros(matched.n)
    for c in matched.classes:
        kept = ~c.ignored[0, 0]
        signed = np.where(c.right[0, 0], c.scores, -c.scores)[kept]
        total += np.bincount(c.images[kept], signed, minlength=matched.n)
    return total


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = np.isfinite(values)
    mean: NDArray[np.float64] = np.where(known, values, 0).sum(0) / np.maximum(known.sum(0), 1)
    return mean


def mask_numbers(
    predictor: Predictor, dataset: Dataset, quiet: bool
) -> tuple[Numbers, NDArray[np.float64], NDArray[np.float64]]:
    """Give a model's numbers under weights of the images, how well each image went, and what is shown in each (N, C):
    the share of its pixels."""
    tables, _, _ = gather_masks(predictor, dataset, quiet=quiet)
    fore = list(dataset.foreground)
    n, c, _ = tables.shape
    flat = tables.reshape(n, -1).astype(np.float64)

    def numbers(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        whole = (weights @ flat).reshape(-1, c, c)
        right, truth, found = np.einsum("bii->bi", whole), whole.sum(2), whole.sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            iou = np.where(truth > 0, right / (truth + found - right), np.nan)[:, fore]
        return {"miou": _mean(iou.T), "pixel_accuracy": right.sum(1) / np.maximum(whole.sum((1, 2)), 1)}

    shares = tables.sum(1) / np.maximum(tables.sum((1, 2)), 1)[:, None]
    return numbers, np.einsum("nii->n", tables).astype(np.float64), shares
