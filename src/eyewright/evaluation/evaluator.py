"""Measure any Predictor on any dataset: one evaluator for trained nets, bundles and whatever comes after them."""

__all__ = ["evaluate_predictor"]

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from eyewright.core.predictor import Predictor
from eyewright.core.report import Report
from eyewright.data.dataset import Dataset
from eyewright.evaluation.novelty import Novelty
from eyewright.evaluation.reporting import Results, reporting_of
from eyewright.evaluation.results import gather_results


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
    results: Results | None = None,
) -> Report:
    """Predict every image of `dataset` from its file and return the report.

    Classes are matched by name: the dataset's may be fewer or ordered otherwise than the model's. When samples carry a
    group, intervals are drawn over groups, since images of one group are not independent. With the `temperature` that
    the predictor divides by, the report shows its calibration before and after; with `novelty`, of the images in their
    order, the metric as a function of it. `results` are those of `dataset` where they were gathered before, as by a
    job.

    Raises:
        DatasetError: the dataset is empty, of another task, or holds a class that the model does not know.
    """
    if results is None:
        (results,) = gather_results([predictor], dataset, quiet=quiet)
    report = reporting_of(dataset.task).report(results, seed=seed, novelty=novelty, temperature=temperature)
    return replace(report, sections=sections or {}, provenance=provenance or {})
