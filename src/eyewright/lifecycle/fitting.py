"""Operating points and calibration of a foreign model, fitted on labelled images."""

__all__ = ["Fitted", "check_fits", "fit_bundle"]

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyewright.core.errors import UsageError
from eyewright.core.rng import generator
from eyewright.core.task import task_names, task_of
from eyewright.data import open_dataset
from eyewright.evaluation.reporting import reporting_of
from eyewright.evaluation.results import gather_results
from eyewright.exporting.card import points_table
from eyewright.lifecycle.datasets import PathLike, fingerprint_of, grouped_as, target_of, without_unreadable
from eyewright.metrics.points import group_numbers

if TYPE_CHECKING:
    from eyewright.bundle import Bundle
    from eyewright.data import Dataset


@dataclass(frozen=True)
class Fitted:
    """What a bundle holds of a fit: `calibration`, `thresholds` and `evidence` of its manifest, `about` the data in its
    provenance, and `said`, Markdown for its card."""

    calibration: Mapping[str, Any]
    thresholds: Mapping[str, Any]
    evidence: Mapping[str, Mapping[str, int]]
    about: Mapping[str, Any]
    said: str


def check_fits(task: str) -> None:
    """Refuse data for a task whose operating points are not fitted for imported models.

    Raises:
        UsageError: it is such a task.
    """
    if reporting_of(task).fit_points is None:
        able = [n for n in task_names() if task_of(n).reporting and "import" in task_of(n).options]
        nouns = " and ".join(task_of(n).words.noun for n in able if reporting_of(n).fit_points is not None)
        raise UsageError(
            f"import --data is not supported for {task_of(task).words.noun}; it is supported for {nouns}",
            fix="leave --data out",
        )


def fit_bundle(bundle: "Bundle", data: "Dataset | PathLike", *, group_by: str | None = None, seed: int = 0) -> Fitted:
    """Return operating points and calibration of a bundle, fitted on the validation part of labelled images, else on
    all of them but the test part.

    Raises:
        UsageError: the task is not supported (`check_fits`), or `group_by` cannot be used.
        DatasetError: the data cannot be read, or holds a class that the model does not know.
    """
    check_fits(bundle.task_name)
    fit_points = reporting_of(bundle.task_name).fit_points
    assert fit_points is not None
    name = Path(data).name if isinstance(data, str | Path) else data.name
    dataset, part = _part(bundle, data)
    dataset = grouped_as({}, dataset, group_by=group_by)
    (results,) = gather_results([bundle], dataset, looks=False)
    groups = group_numbers([s.group for s in results.dataset.samples])
    found = fit_points(results, groups, generator(seed, "import", "points"))
    calibration, thresholds = found["calibration"], found["thresholds"]
    rests_on = {"images": len(groups), "groups": int(thresholds["groups"])}
    fitted = {"thresholds": rests_on} | ({"calibration": rests_on} if "temperature" in calibration else {})
    about = {"data": name, "part": part, "fingerprint": fingerprint_of(dataset, quiet=True), **rests_on}
    return Fitted(calibration, thresholds, fitted, about, _said(calibration, thresholds, rests_on, name, part))


def _part(bundle: "Bundle", data: "Dataset | PathLike") -> "tuple[Dataset, str]":
    """Return the images to fit on and what they are called: never those that the model is to be tested on."""
    if isinstance(data, str | Path):
        data = open_dataset(data, task=bundle.task_name, target=target_of(bundle.task_name, bundle.labels))
    if "val" in data.splits:
        return without_unreadable(data.part("val")), "the validation part"
    if "test" in data.splits:
        return without_unreadable(data.select(lambda s: s.split != "test")), "all but the test part"
    return without_unreadable(data), "all images"


def _said(
    calibration: Mapping[str, Any], thresholds: Mapping[str, Any], rests_on: Mapping[str, int], name: str, part: str
) -> str:
    temperature = calibration.get("temperature")
    tempered = "" if temperature is None else f"Probabilities are calibrated by one temperature ({temperature:.3f}). "
    return f"""
## Fitted on labelled images

Operating points were fitted by `eyewright import --data {name}` on {rests_on["images"]:,} images in
{rests_on["groups"]:,} groups ({part}). {tempered}Measure it on other images.

{points_table(thresholds)}"""
