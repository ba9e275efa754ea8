"""What is kept of a detector's predictions: the objects found and true in each image, without the pixels."""

__all__ = [
    "BoxResults",
    "Scene",
    "first_cut",
    "gather_boxes",
    "gather_outlined",
    "is_sure",
    "mean_ap50",
    "true_objects",
]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from eyewright.core.predictor import Predictor, predict_everything
from eyewright.data.dataset import Dataset
from eyewright.data.marks import usable_objects
from eyewright.evaluation.novelty import Followed
from eyewright.evaluation.reporting import Batch, Numbers
from eyewright.metrics.bootstrap import Resampling
from eyewright.metrics.detection import average_precisions, moved_interval
from eyewright.metrics.matching import Detected, Matched, crop_mask, match_detections, overlaps_of

if TYPE_CHECKING:
    from eyewright.tasks.detect import BoxPrediction

_LEAST = 0.01


@dataclass(frozen=True, eq=False)
class Scene:
    """One image as it is measured: what was found, what is there, how much they overlap; without the pixels."""

    found: Detected
    truth: Detected
    overlap: NDArray[np.float64]

    def shown(self, points: NDArray[np.float64]) -> NDArray[np.int64]:
        """Count the objects per class, (C,), whose score reaches the class's operating point."""
        sure = is_sure(self.found, points)
        return np.bincount(self.found.labels[sure], minlength=len(points))


@dataclass(frozen=True, eq=False)
class BoxResults:
    """A scene per image, how the images look, and the classes' operating points, (C,)."""

    dataset: Dataset
    scenes: tuple[Scene, ...]
    looks: tuple[tuple[float, float], ...]
    points: NDArray[np.float64]

    def joined(self, *others: "BoxResults") -> "BoxResults":
        """Return the results of the images of all of them; of several models at the mean of their operating points."""
        every = (self, *others)
        same = all((r.points == self.points).all() for r in others)
        return BoxResults(
            self.dataset.with_samples(s for r in every for s in r.dataset.samples),
            tuple(s for r in every for s in r.scenes),
            tuple(look for r in every for look in r.looks),
            self.points if same else np.mean([r.points for r in every], 0),
        )

    @property
    def n_classes(self) -> int:
        return len(self.dataset.labels)

    def matched(self, thresholds: NDArray[np.float64] | None = None) -> Matched:
        """Return what was found matched with what is there, objects of all sizes together."""
        found, truth, near = ([getattr(s, k) for s in self.scenes] for k in ("found", "truth", "overlap"))
        given = {} if thresholds is None else {"thresholds": thresholds}
        return match_detections(found, truth, self.n_classes, areas=("all",), overlaps=near, **given)

    def numbers(self) -> Numbers:
        """Return AP and AP50 under weights of the images."""
        matched = self.matched()

        def numbers(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
            every = range(len(matched.thresholds))
            each = np.stack([average_precisions(c, weights, thresholds=every) for c in matched.classes])
            with np.errstate(invalid="ignore"):
                return {"ap": _mean(each.mean(2)), "ap50": _mean(each[..., 0])}

        return numbers

    def followed(self) -> Followed:
        """Return AP50 under weights of the images, the mean over the classes that are there."""
        matched = self.matched(np.array([0.5]))

        def ap50(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            each = np.stack([average_precisions(c, weights)[:, 0] for c in matched.classes])
            known = np.isfinite(each)
            with np.errstate(invalid="ignore", divide="ignore"):
                mean: NDArray[np.float64] = np.where(known, each, 0.0).sum(0) / known.sum(0)
            return mean

        return Followed(ap50, moved_interval, _moved_apart, cost=self.n_classes)

    def answers(self) -> NDArray[np.float64]:
        """Return how many objects of each class reach its operating point, (N, C)."""
        return np.stack([s.shown(self.points) for s in self.scenes]).astype(np.float64)

    def asked(self, metric: str) -> NDArray[np.bool_]:
        """Return which images a metric can be moved by, (N,): all."""
        return np.ones(len(self.dataset), bool)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield every object with a score of 0.01 or more with its box in source pixels."""
        yield ("id", "label", "score", "x0", "y0", "x1", "y1")
        names = self.dataset.labels.names
        for sample, scene in zip(self.dataset.samples, self.scenes, strict=True):
            found = scene.found
            assert found.scores is not None
            for box, label, score in zip(found.boxes, found.labels, found.scores, strict=True):
                if score >= _LEAST:
                    yield (sample.id, names[label], f"{score:.4f}", *(f"{v:.2f}" for v in box))


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = np.isfinite(values)
    mean: NDArray[np.float64] = np.where(known, values, 0).sum(0) / np.maximum(known.sum(0), 1)
    return mean


def _moved_apart(plan: Resampling, value: float, samples: NDArray[np.float64]) -> tuple[float, float]:
    """Return the interval of a difference of average precisions: their bootstrap is off centre."""
    moved = value - float(np.median(samples)) if len(samples) else 0.0
    low, high = plan.interval(value, samples)
    return low + moved, high + moved


def true_objects(dataset: Dataset, index: int, size_hw: tuple[int, int], *, outlined: bool) -> Detected:
    """Return what is to be found in one image; where masks are found, what is `outlined`, with its mask."""
    objects = usable_objects(dataset.objects(index, size_hw), size_hw)
    masks, areas = None, objects.areas
    if outlined:
        objects = objects.chosen(np.array([bool(o) for o in objects.outlines], bool))
        masks = [crop_mask(o.mask(size_hw)) for o in objects.outlines]
        areas = objects.areas
    boxes = objects.boxes_xyxy
    if areas is not None:
        own = (boxes[:, 2:] - boxes[:, :2]).prod(1) if masks is None else [m.mask.sum() for m in masks]
        areas = np.where(np.isfinite(areas), areas, own)
    return Detected(boxes, objects.label_ids, crowd=objects.crowd, masks=masks, areas=areas)


def _gather(predictor: Predictor, batch: Batch, *, outlined: bool) -> BoxResults:
    scenes = []
    predictions = cast("Sequence[BoxPrediction]", predict_everything(predictor, batch.images))
    for i, image, prediction in zip(batch.rows, batch.images, predictions, strict=True):
        size = (image.shape[0], image.shape[1])
        found, truth = prediction.detected(), true_objects(batch.dataset, i, size, outlined=outlined)
        overlap = overlaps_of(found, truth)
        # The masks have done their part; what they cover is kept as areas.
        bare = [replace(d, areas=d.area(), masks=None) for d in (found, truth)]
        scenes.append(Scene(bare[0], bare[1], overlap))
    return BoxResults(batch.part, tuple(scenes), batch.looks, _points_of(predictor))


gather_boxes = partial(_gather, outlined=False)
"""Keep the boxes that are found in a batch of images, and the true ones."""

gather_outlined = partial(_gather, outlined=True)
"""Keep the objects that are found in a batch of images, and the true ones; masks say how they overlap."""


def _points_of(predictor: Predictor) -> NDArray[np.float64]:
    """Return each class's operating point, (C,): the model's own, else 0.25."""
    own = getattr(predictor, "thresholds", None)
    return np.full(len(predictor.labels), 0.25) if own is None else np.asarray(own, np.float64)


def is_sure(found: Detected, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which objects reach the operating point of their class, bool (n,)."""
    assert found.scores is not None
    sure: NDArray[np.bool_] = found.scores >= points[found.labels]
    return sure


def first_cut(parts: Sequence[BoxResults], folds: int, dataset: Dataset) -> BoxResults:
    """Return the results of the first cut: boxes of several nets have no mean."""
    return parts[0].joined(*parts[1:folds])


def mean_ap50(scenes: Sequence[Scene], n_classes: int) -> float:
    """Return AP50 of some images, the mean over the classes that are there; NaN where nothing is."""
    found, truth, near = ([getattr(s, k) for s in scenes] for k in ("found", "truth", "overlap"))
    m = match_detections(found, truth, n_classes, areas=("all",), thresholds=np.array([0.5]), overlaps=near)
    each = np.array([average_precisions(c, np.ones((1, m.n)))[0, 0] for c in m.classes])
    known = each[np.isfinite(each)]
    return float(known.mean()) if len(known) else np.nan
