"""How a task is measured and reported: the part of `core.task.Task` that needs a dataset, found by the task's name."""

__all__ = ["AuditView", "Batch", "Explain", "Explained", "Numbers", "Pictures", "Reporting", "Results", "reporting_of"]

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.core.predictor import Predictor
from eyewright.core.report import Finding, Metric, Report
from eyewright.core.task import task_of
from eyewright.data.dataset import Dataset
from eyewright.imaging.reduction import Prepared

if TYPE_CHECKING:
    from eyewright.data.scan import Scan
    from eyewright.evaluation.blocks import Page
    from eyewright.evaluation.comparison import Comparison
    from eyewright.evaluation.novelty import Followed, Novelty

Numbers = Callable[[NDArray[np.float64]], dict[str, NDArray[np.float64]]]
"""Metrics under weights of the images, (R, N) to (R,) each, the main one first."""

Pictures = Mapping[str, Any]
"""The pictures of a report as data addresses, in the order and form that the task's page shows them."""


class _Verdict(Protocol):
    @property
    def faithful(self) -> bool: ...


class Explained(Protocol):
    """Where an image supports one prediction, and whether that was found to be true of the model."""

    @property
    def label(self) -> str: ...

    @property
    def score(self) -> float: ...

    @property
    def method(self) -> str: ...

    @property
    def source(self) -> str: ...

    @property
    def verdict(self) -> _Verdict: ...

    def overlay(self) -> NDArray[np.uint8]:
        """Return the heat over the pixels that the model saw, uint8 (h, w, 3)."""
        ...


class Explain(Protocol):
    def __call__(
        self, images: Sequence[NDArray[np.uint8]], ids: Sequence[str], labels: Sequence[str] = (), /
    ) -> Sequence[Explained]:
        """Explain the prediction with the highest confidence of each image, given with their ids, or of the label that
        `labels` names for it; images without one are left out."""
        ...


@dataclass(frozen=True, eq=False)
class Batch:
    """Some images of a dataset and their places in it; its marks are in the predictor's classes.

    Images are uint8 (H, W, 3), or `Prepared` for a model that reduces large ones while they are decoded; their `shape`
    is that of the source.

    `looks` are each image's longer side in pixels and mean brightness, 0 to 255; NaN where no report needs them.
    """

    dataset: Dataset
    rows: Sequence[int]
    images: Sequence[NDArray[np.uint8] | Prepared]
    looks: tuple[tuple[float, float], ...]

    @property
    def arrays(self) -> list[NDArray[np.uint8]]:
        """The images as uint8 (H, W, 3), for tasks whose models never reduce them.

        Raises:
            TypeError: the model reduces them.
        """
        found = [image for image in self.images if not isinstance(image, Prepared)]
        if len(found) < len(self.images):
            raise TypeError("expected images as they are in their files, found some that were prepared")
        return found

    @property
    def part(self) -> Dataset:
        """The dataset of these images alone."""
        return self.dataset.with_samples(self.dataset.samples[i] for i in self.rows)


class Results(Protocol):
    """What is kept of a model's predictions, one entry per image: all that the numbers need, without the pixels.

    `dataset` holds the same images in the same order, its marks in the predictor's classes.
    """

    @property
    def dataset(self) -> Dataset: ...

    def joined(self, *others: Self) -> Self:
        """Return the results of the images of all of them, one after the other."""
        ...

    def numbers(self) -> Numbers:
        """Return the metrics that two models are compared by."""
        ...

    def followed(self) -> "Followed":
        """Return the metric that is followed over the distance to the training images."""
        ...

    def answers(self) -> NDArray[np.float64]:
        """Return what a person is shown of each image as one number per class, (N, C)."""
        ...

    def asked(self, metric: str) -> NDArray[np.bool_]:
        """Return which images a metric that is a share can be moved by, (N,)."""
        ...

    def rows(self) -> Iterable[tuple[str, ...]]:
        """Yield the predictions as rows of a table that begin with the image's id; the first holds the titles."""
        ...


R = TypeVar("R", bound=Results)


S = TypeVar("S", bound=Results, contravariant=True)


class _Report(Protocol[S]):
    def __call__(
        self, results: S, *, seed: int = 0, novelty: "Novelty | None" = None, temperature: float | None = None
    ) -> Report: ...


@dataclass(frozen=True)
class AuditView:
    """How the page of `doctor` shows what is marked.

    `caption` says it in a word or two next to a picture. `drawn` is `(dataset, index, size_hw, small)`: the small
    picture, uint8 (h, w, 3), of an image of that size, with its marks. `tiles` are (title, value, hint), `charts`
    (title, note, svg).
    """

    caption: Callable[[Dataset, int], str]
    drawn: Callable[[Dataset, int, tuple[int, int], NDArray[np.uint8]], NDArray[np.uint8]]
    tiles: Callable[[Dataset], Sequence[tuple[str, str, str]]]
    charts: Callable[[Dataset, "Scan"], Sequence[tuple[str, str, str]]]


@dataclass(frozen=True)
class Reporting(Generic[R]):
    """What a task means to evaluation, as values and functions over its own `Results`.

    Args:
        gather: predicts a batch of images and keeps what is measured of it.
        at_once: how many images a batch holds: raw arrays of many pixels or boxes are large.
        together: `(results of each fold, number of folds, dataset)` to the results of all images; where the folds were
            cut several times, results that have a mean are averaged, of others the first cut is taken.
        metrics: `(results, seed)` to all metrics with their intervals.
        report: the report; an option that means nothing to the task is ignored. `temperature` is what the predictor
            divides its logits by.
        items: one row per image for the report, the worst first.
        image_scores: rows of `items` to how well each image went, (N,) by its index, 1 is best.
        compare: `(a, b, seed)`, results of two models on the same images, to a `Comparison`.
        changed: `(before, after)` to the images that are answered in another way: `id`, `before`, `after`.
        replicates: how many resamples `compress` draws a candidate: some metrics are costly.
        spread: the metrics whose spread over folds is reported.
        summary: how good the model is and what goes wrong most, in a sentence or two.
        page: the report's own part of its page, with the pictures that `pictures` made.
        pictures: `(report, dataset, predictor_of)`, the last by sample id, to pictures for the page.
        explained: `(report, dataset, pictures, explain)` to the same pictures with explanations of some predictions.
        audit: how the page of `doctor` shows the marks.
        findings: what a report finds wrong with the model itself; with one that is an error `run` saves no bundle.
        fit_points: `(results, number of each image's group, rng)` to "calibration" and "thresholds" as `bundle.json`
            holds them, fitted on these images; None where that needs more than the results.
        stored: the class of the results where `evaluation.stored` can write them, so that a job of shards measures
            them; None where they hold more than values, such as a net.
    """

    gather: Callable[[Predictor, Batch], R]
    at_once: int
    together: Callable[[Sequence[R], int, Dataset], R]
    metrics: Callable[[R, int], Mapping[str, Metric]]
    report: _Report[R]
    items: Callable[[R], Sequence[Mapping[str, Any]]]
    image_scores: Callable[[Sequence[Mapping[str, Any]]], NDArray[np.float64]]
    compare: Callable[[R, R, int], "Comparison"]
    changed: Callable[[R, R], list[dict[str, Any]]]
    replicates: int
    spread: tuple[str, ...]
    summary: Callable[[Report], str]
    page: Callable[[Report, Pictures], "Page"]
    pictures: Callable[[Report, Dataset, Callable[[str], Predictor]], Pictures]
    explained: Callable[[Report, Dataset, Pictures, Explain], Pictures]
    audit: AuditView
    findings: Callable[[Report], Sequence[Finding]] = lambda report: ()
    fit_points: Callable[[R, NDArray[np.int64], np.random.Generator], dict[str, Any]] | None = None
    stored: type[R] | None = None


@cache
def reporting_of(task: str) -> Reporting[Any]:
    """Return how a task is measured and reported; its file is imported only now.

    Raises:
        UsageError: there is no such task, or it has no reports.
    """
    place = task_of(task).reporting
    if not place:
        raise UsageError(f"a report is not supported for {task_of(task).words.noun}", fix="use another task")
    module, _, attribute = place.partition(":")
    found: Reporting[Any] = getattr(import_module(module), attribute)
    return found
