"""The loop over a dataset's images: predict each once, and keep what the task measures."""

__all__ = ["gather_results", "predict_dataset"]

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError
from eyewright.core.prediction import Prediction
from eyewright.core.predictor import Predictor
from eyewright.core.progress import track_progress
from eyewright.data.dataset import Dataset
from eyewright.evaluation.reporting import Batch, Results, reporting_of

_AT_ONCE = 64
_THREADS = 4
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
    reporting = reporting_of(dataset.task)
    marked = [dataset.relabelled(p.labels) for p in predictors]
    kept: list[list[Results]] = [[] for _ in predictors]
    with track_progress(doing, len(dataset), quiet=quiet) as advance:
        for rows, images in _read_ahead(dataset, reporting.at_once):
            seen = tuple(_look(i) if looks else _UNSEEN for i in images)
            for own, predictor, part in zip(kept, predictors, marked, strict=True):
                own.append(reporting.gather(predictor, Batch(part, rows, images, seen)))
            advance(len(rows), "")
    return [own[0].joined(*own[1:]) for own in kept]


def predict_dataset(predictor: Predictor, dataset: Dataset, *, quiet: bool = False) -> list[Prediction]:
    """Return a prediction for every image of `dataset`.

    Raises:
        DatasetError: the dataset is empty.
    """
    if not len(dataset):
        raise DatasetError("expected images to predict, found none", fix="check the dataset")
    predictions: list[Prediction] = []
    with track_progress("predicting", len(dataset), quiet=quiet) as advance:
        for rows, images in _read_ahead(dataset, _AT_ONCE):
            predictions += predictor.predict_images(images)
            advance(len(rows), "")
    return predictions


def _read_ahead(dataset: Dataset, size: int) -> Iterator[tuple[range, list[NDArray[np.uint8]]]]:
    """Yield the images of a dataset in batches; the next is read while one is used, by as many threads as there are
    cores: a program reads in worker processes, and would wait for each image otherwise."""
    pool = ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1))
    try:
        batches = list(_batches(len(dataset), size))
        reading = [pool.submit(dataset.image, i) for i in batches[0]]
        for rows, following in zip(batches, [*batches[1:], range(0)], strict=True):
            images = [image.result() for image in reading]
            reading = [pool.submit(dataset.image, i) for i in following]
            yield rows, images
    finally:
        pool.shutdown(cancel_futures=True)


def _batches(n: int, size: int) -> Iterator[range]:
    for start in range(0, n, size):
        yield range(start, min(start + size, n))


def _look(image: NDArray[np.uint8]) -> tuple[float, float]:
    return float(max(image.shape[:2])), float(image.mean())
