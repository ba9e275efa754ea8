"""The loop over a dataset's images: predict each once, and keep what the task measures."""

__all__ = ["gather_batches", "gather_results", "predict_dataset"]

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError
from eyewright.core.inputs import IMAGE
from eyewright.core.prediction import Prediction
from eyewright.core.predictor import Predictor, inputs_of
from eyewright.core.progress import track_progress
from eyewright.data.dataset import Dataset
from eyewright.evaluation.reporting import Batch, Results, reporting_of
from eyewright.imaging.appearance import covered
from eyewright.imaging.preparation import Preparation
from eyewright.imaging.reduction import Prepared

_AT_ONCE = 64
# Bytes of pixels that are held at once; photographs of 12 megapixels are read two at a time.
_MOST_HELD = 64 * 2**20
_UNSEEN = (math.nan, math.nan)


def gather_results(
    predictors: Sequence[Predictor],
    dataset: Dataset,
    *,
    looks: bool = True,
    quiet: bool = True,
    doing: str = "evaluating",
) -> list[Results]:
    """Predict every image of `dataset` with each of the models, each in its own classes; images are read once.

    A report needs `looks`, the size and brightness of each image; a comparison does not.

    Raises:
        DatasetError: the dataset is empty, of another task, or holds a class that a model does not know.
    """
    if not len(dataset):
        raise DatasetError("expected images to evaluate on, found none", fix="check the dataset")
    for predictor in predictors:
        if dataset.task != predictor.task_name:
            raise DatasetError(f"the model is for {predictor.task_name}, the dataset for {dataset.task}")
    views = [dataset.seen_by(*inputs_of(p).values()) for p in predictors]
    reducing = set(map(_reducing, predictors))
    if len(reducing) > 1 or any(
        getattr(v.tree, "sampling", None) != getattr(views[0].tree, "sampling", None) for v in views
    ):
        # Models of clips may take other frames, and others images that were reduced otherwise.
        each = [gather_results([p], v, looks=looks, quiet=quiet) for p, v in zip(predictors, views, strict=True)]
        return [one for (one,) in each]
    dataset = views[0]
    reporting = reporting_of(dataset.task)
    marked = [dataset.relabelled(p.labels) for p in predictors]
    kept: list[list[Results]] = [[] for _ in predictors]
    with track_progress(doing, len(dataset), quiet=quiet) as advance:
        for rows, images in _read_ahead(dataset, reporting.at_once, *reducing):
            seen = tuple(_look(i, *reducing) if looks else _UNSEEN for i in images)
            for own, predictor, part in zip(kept, predictors, marked, strict=True):
                own.append(reporting.gather(predictor, Batch(part, rows, images, seen)))
            advance(len(rows), "")
    return [own[0].joined(*own[1:]) for own in kept]


def gather_batches(predictor: Predictor, dataset: Dataset) -> Iterator[tuple[range, Results]]:
    """Yield the results of one batch of images after the other, with their places in `dataset`: the batches of
    `gather_results`.

    Raises:
        DatasetError: the dataset holds a class that the model does not know.
        UnreadableImageError: an image cannot be read.
    """
    dataset = dataset.seen_by(*inputs_of(predictor).values())
    reporting, marked = reporting_of(dataset.task), dataset.relabelled(predictor.labels)
    preparation = _reducing(predictor)
    for rows, images in _read_ahead(dataset, reporting.at_once, preparation):
        seen = tuple(_look(image, preparation) for image in images)
        yield rows, reporting.gather(predictor, Batch(marked, rows, images, seen))


def predict_dataset(predictor: Predictor, dataset: Dataset, *, quiet: bool = False) -> list[Prediction]:
    """Return a prediction for every image of `dataset`.

    Raises:
        DatasetError: the dataset is empty.
    """
    if not len(dataset):
        raise DatasetError("expected images to predict, found none", fix="check the dataset")
    dataset = dataset.seen_by(*inputs_of(predictor).values())
    predictions: list[Prediction] = []
    with track_progress("predicting", len(dataset), quiet=quiet) as advance:
        for rows, images in _read_ahead(dataset, _AT_ONCE, _reducing(predictor)):
            seen: list[Any] = list(images)
            predictions += predictor.predict_images(seen)
            advance(len(rows), "")
    return predictions


def _reducing(predictor: Predictor) -> Preparation | None:
    """Return the preparation of a model of images that reduces large ones while they are decoded, if it has one.

    Only predictors that say so (`takes_prepared`) are asked with what was prepared already: those of other people take
    arrays.
    """
    if not getattr(predictor, "takes_prepared", False):
        return None
    inputs = inputs_of(predictor)
    found = inputs.get(IMAGE) if len(inputs) == 1 else None
    return found if isinstance(found, Preparation) and found.reduces else None


def _read_ahead(
    dataset: Dataset, size: int, preparation: Preparation | None
) -> Iterator[tuple[range, list[NDArray[np.uint8] | Prepared]]]:
    """Yield the images of a dataset in batches of `size`, or fewer where they are large: memory stays flat."""
    images: list[NDArray[np.uint8] | Prepared] = []
    start = held = 0
    for image in dataset.examples(preparation):
        images.append(image)
        held += image.nbytes
        if len(images) == size or held > _MOST_HELD:
            yield range(start, start + len(images)), images
            start += len(images)
            images, held = [], 0
    if images:
        yield range(start, start + len(images)), images


def _look(image: NDArray[np.uint8] | Prepared, preparation: Preparation | None) -> tuple[float, float]:
    pixels = image
    if isinstance(image, Prepared) and preparation is not None:
        pixels = covered(image.pixels, preparation.place(image.source_hw))
    return float(max(image.shape[:2])), float(np.asarray(pixels).mean())
