"""What is kept of a segmenter's predictions: the pixels of each image by true and found class, and its edges."""

__all__ = ["MaskResults", "first_cut", "gather_masks", "list_items"]

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from eyewright.core.predictor import Predictor
from eyewright.data.dataset import Dataset
from eyewright.evaluation.novelty import Followed
from eyewright.evaluation.reporting import Batch, Numbers
from eyewright.metrics.bootstrap import Resampling
from eyewright.metrics.masks import boundary_scores, image_confusion

if TYPE_CHECKING:
    from eyewright.tasks.segment import MaskPrediction


@dataclass(frozen=True, eq=False)
class MaskResults:
    """Pixels by true and found class, int64 (N, C, C), counts of edges, (N, C, 4), and how the images look."""

    dataset: Dataset
    confusions: NDArray[np.int64]
    edges: NDArray[np.float64]
    looks: tuple[tuple[float, float], ...]

    def joined(self, *others: "MaskResults") -> "MaskResults":
        """Return the results of the images of all of them, one after the other."""
        every = (self, *others)
        return MaskResults(
            self.dataset.with_samples(s for r in every for s in r.dataset.samples),
            np.concatenate([r.confusions for r in every]),
            np.concatenate([r.edges for r in every]),
            tuple(look for r in every for look in r.looks),
        )

    def numbers(self) -> Numbers:
        """Return mean IoU over the foreground classes that are there, and pixel accuracy, under weights."""
        iou = self._iou()

        def numbers(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
            each, whole = iou(weights)
            known = np.isfinite(each)
            mean = np.where(known, each, 0).sum(1) / np.maximum(known.sum(1), 1)
            right = np.einsum("bii->b", whole)
            return {"miou": mean, "pixel_accuracy": right / np.maximum(whole.sum((1, 2)), 1)}

        return numbers

    def followed(self) -> Followed:
        """Return mean IoU under weights of the images; not defined where no foreground is there."""
        iou = self._iou()

        def mean_iou(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            each, _ = iou(weights)
            known = np.isfinite(each)
            with np.errstate(invalid="ignore"):
                mean: NDArray[np.float64] = np.where(known, each, 0.0).sum(1) / known.sum(1)
            return mean

        return Followed(mean_iou, Resampling.bounded)

    def _iou(self) -> Any:
        n, c, _ = self.confusions.shape
        flat, fore = self.confusions.reshape(n, -1).astype(np.float64), list(self.dataset.foreground)

        def iou(weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            """Return each foreground class's IoU, NaN where it is not there, and the table, under weights."""
            whole = (weights @ flat).reshape(-1, c, c)
            right, truth, found = np.einsum("bii->bi", whole), whole.sum(2), whole.sum(1)
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.where(truth > 0, right / (truth + found - right), np.nan)[:, fore], whole

        return iou

    def answers(self) -> NDArray[np.float64]:
        """Return the fraction of the pixels that each class is given, (N, C)."""
        tables = self.confusions
        shares: NDArray[np.float64] = tables.sum(1) / np.maximum(tables.sum((1, 2)), 1)[:, None]
        return shares

    def asked(self, metric: str) -> NDArray[np.bool_]:
        """Return which images a metric can be moved by, (N,): all."""
        return np.ones(len(self.dataset), bool)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield the IoU of every class that is or was seen in an image."""
        yield ("id", "label", "iou")
        for item in sorted(list_items(self), key=lambda i: str(i["id"])):
            for label, value in item["iou"].items():
                yield (item["id"], label, f"{value:.4f}")


def gather_masks(predictor: Predictor, batch: Batch) -> MaskResults:
    """Return the tables of a batch of images."""
    n_classes = len(predictor.labels)
    tables, edges = [], []
    # As a person is shown them: what is nowhere sure enough is not drawn, and so does not count.
    found = cast("Sequence[MaskPrediction]", predictor.predict_images(batch.images))
    for i, image, prediction in zip(batch.rows, batch.images, found, strict=True):
        truth = batch.dataset.mask(i, (image.shape[0], image.shape[1]))
        tables.append(image_confusion(prediction.mask, truth, n_classes))
        edges.append(boundary_scores(prediction.mask, truth, n_classes))
    return MaskResults(batch.part, np.stack(tables), np.stack(edges), batch.looks)


def first_cut(parts: Sequence[MaskResults], folds: int, dataset: Dataset) -> MaskResults:
    """Return the results of the first cut: masks of several nets have no mean."""
    return parts[0].joined(*parts[1:folds])


def list_items(results: MaskResults) -> list[dict[str, Any]]:
    """Return a row per image, the worst first by the pixels that are wrong in what is or should be marked."""
    items, names, fore = [], results.dataset.labels.names, results.dataset.foreground
    for i, (sample, table) in enumerate(zip(results.dataset.samples, results.confusions, strict=True)):
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
