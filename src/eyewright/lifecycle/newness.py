"""What is added to the metrics of a measured run: how new the images are, and how they differ from validation."""

__all__ = ["novelty_of", "novelty_of_folds", "novelty_of_rows", "with_findings", "with_validation"]

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from eyewright.core.errors import DatasetError
from eyewright.core.report import Report
from eyewright.lifecycle.datasets import data_of_run, scan_of
from eyewright.lifecycle.undertrained import undertrained

if TYPE_CHECKING:
    from eyewright.data import Dataset
    from eyewright.evaluation.novelty import Novelty
    from eyewright.training.run import Run


def novelty_of(owner: "Run | None", dataset: "Dataset", *, quiet: bool = True) -> "Novelty":
    """Return how near each image of `dataset` is to the training images of a run, or why that is not known.

    Images of the run's own data are looked up in its `split.csv`; others are compared with its `features.npz`.
    """
    from eyewright.evaluation.known import feature_space, read_features
    from eyewright.evaluation.novelty import Novelty
    from eyewright.metrics.novelty import nearness

    if owner is None:
        return Novelty(reason="a bundle does not hold its training images: evaluate the run it came from")
    if owner.about.get("privacy"):
        # How near an image is to the training images tells of them.
        return Novelty(reason="distances to the training images of a private run are left out")
    if str(dataset.root.resolve()) == owner.about.get("data_path"):
        rows = {r["id"]: r for r in owner.split_rows() if r["split"] != "train"}
        if all(s.id in rows for s in dataset.samples):
            found = novelty_of_rows(rows[s.id] for s in dataset.samples)
            if found.near is not None:
                return found
    known = read_features(owner.folder)
    if known is None:
        return Novelty(reason="the run folder does not describe its training images (features.npz): train it again")
    scan = scan_of(dataset, quiet=quiet)
    if known.space != feature_space(scan):
        return Novelty(reason="the run's training images were described by another version: train it again")
    return Novelty(nearness(scan.features, known.features), note=known.note)


def novelty_of_rows(rows: "Iterable[Mapping[str, str]]") -> "Novelty":
    """Return how near images are from their rows of `split.csv`."""
    from eyewright.evaluation.novelty import Novelty
    from eyewright.metrics.novelty import Nearness

    cells = [(r.get("novelty") or "nan", r.get("novelty_ratio") or "nan") for r in rows]
    values = np.array(cells, np.float64).reshape(-1, 2)
    if not np.isfinite(values[:, 0]).any():
        return Novelty(reason="the run's split.csv does not say how new its images are: train it again")
    return Novelty(Nearness(values[:, 0], values[:, 1]))


def novelty_of_folds(parts: "Sequence[Dataset]", runs: "Sequence[Run]", whole: "Dataset", folds: int) -> "Novelty":
    """Return how near each image of the first cut is to the training images of the fold that did not see it."""
    rows: dict[str, Mapping[str, str]] = {}
    for part, run in zip(parts[:folds], runs, strict=False):
        own = {s.id for s in part.samples if s.split == "test"}
        rows |= {r["id"]: r for r in run.split_rows() if r["id"] in own}
    return novelty_of_rows(rows[s.id] for s in whole.samples)


def with_validation(novelty: "Novelty", owner: "Run | None", dataset: "Dataset", *, quiet: bool = True) -> "Novelty":
    """Return the novelty with the run's validation images also measured, where `dataset` is of its own test part."""
    from eyewright.evaluation.validation import measure_validation

    if owner is None or owner.about.get("privacy"):
        return novelty
    if str(dataset.root.resolve()) != owner.about.get("data_path"):
        return novelty
    rows = {r["id"]: r for r in owner.split_rows()}
    validated = [i for i, r in rows.items() if r["split"] == "val"]
    if not validated or not all(s.id in rows and rows[s.id]["split"] == "test" for s in dataset.samples):
        return novelty
    try:
        validation = data_of_run(owner, ("val",))
    except DatasetError:
        # Of data that has changed since, only what was passed can be measured.
        return novelty
    near = novelty_of_rows(rows[s.id] for s in validation.samples).near
    return replace(novelty, validation=measure_validation(owner.predictor, validation, near=near, quiet=quiet))


def with_findings(
    report: Report, owner: "Run | None", dataset: "Dataset", novelty: "Novelty", *, seed: int = 0
) -> Report:
    """Return the report with its findings: what it says of new things, and whether validation and test differ."""
    from eyewright.evaluation import reporting_of
    from eyewright.evaluation.novelty import novelty_finding
    from eyewright.evaluation.together import count_look_alikes, look_alike_finding
    from eyewright.evaluation.validation import compare_validation, validation_finding

    compared = None
    if owner is not None and novelty.validation is not None:
        compared = compare_validation(
            novelty.validation,
            dataset,
            report,
            training=owner.about["training"],
            history=owner.history(),
            near=novelty.near,
            seed=seed,
        )
    alike = None
    if owner is not None and str(dataset.root.resolve()) == owner.about.get("data_path"):
        tested = {r["id"] for r in owner.split_rows() if r["split"] == "test"}
        if all(s.id in tested for s in dataset.samples):
            alike = count_look_alikes(owner.about.get("grouping"), len(dataset))
    if short := undertrained(owner):
        report = replace(report, tables={**report.tables, "undertrained": short})
    found = (
        novelty_finding(report.tables.get("novelty"), report.task),
        validation_finding(compared, report.task),
        look_alike_finding(alike),
        *reporting_of(report.task).findings(report),
    )
    return replace(
        report,
        tables={**report.tables, "validation": compared} | ({"look_alikes": alike} if alike else {}),
        sections={**report.sections, "findings": tuple(f for f in found if f is not None)},
    )
