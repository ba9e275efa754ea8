"""Look at a dataset on a local page: what `doctor` and a model say of each image is found while the page is open."""

__all__ = ["browse", "default_edits"]

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eyewright.core.errors import EyewrightError, UsageError
from eyewright.data import audit_dataset, find_groups, open_dataset
from eyewright.lifecycle.datasets import PathLike, Say, known_task, scan_of, silent, target_of
from eyewright.lifecycle.loading import bundle_folder
from eyewright.lifecycle.opening import load_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eyewright.core.predictor import Predictor
    from eyewright.data import Dataset, Scan
    from eyewright.serving.browser import Browser, Scores, Table
    from eyewright.serving.settings import Settings
    from eyewright.training.run import Run

_AT_ONCE = 256
_MOST_FINDINGS = 100_000


def default_edits(data: PathLike) -> Path:
    """Return the edit file of a dataset where none is named: in the current folder, after the data.

    >>> default_edits("photos/cats and dogs.zip").name
    'cats_and_dogs-edits.csv'
    """
    path = Path(data)
    stem = path.stem if path.is_file() or path.suffix == ".zip" else path.resolve().name
    return Path(re.sub(r"[^\w.-]+", "_", stem).strip("_") + "-edits.csv")


def browse(
    data: PathLike,
    *,
    model: PathLike | None = None,
    features: str | None = None,
    edits: PathLike | None = None,
    group_by: str | None = None,
    label_depth: int | None = None,
    task: str | None = None,
    ignore: Sequence[str] = (),
    target: Sequence[str] = (),
    settings: "Settings | None" = None,
    check: bool = True,
    say: Say = silent,
    ready: "Callable[[Browser], None] | None" = None,
) -> None:
    """Show the images of a dataset on a page, to filter, select, export and correct them; blocks until SIGTERM.

    The page is there as soon as the files are listed. What `doctor` finds and a scatter plot follow when every image
    has been read (unless `check` is false), and predictions where `model`, a run or a bundle, is given: of a run, the
    images have its splits. `features`, a bundle or `hf:FOLDER`, describes the images of the plot; without it the run's
    own bundle does, or else their appearance. What is corrected is written to `edits` at once, a file for
    `train(..., edits=...)`; one that is there is continued. The data itself is never changed.

    Raises:
        DatasetError: nothing there, of no known format, or `edits` of other data.
        BundleError, CheckpointError: `model` or `features` names nothing that can be used.
        UsageError: the port is in use, a token is missing.
    """
    from eyewright.serving.browser import Browser, Editor, Table
    from eyewright.serving.settings import Settings

    predictor, owner = (None, None) if model is None else load_model(model)
    wanted = known_task(task)
    if predictor is not None:
        if wanted not in (None, predictor.task_name):
            raise UsageError(
                f"expected a model for {wanted!r}, found one for {predictor.task_name!r}", fix="change --task or --run"
            )
        wanted = predictor.task_name
        target = target or target_of(wanted, predictor.labels)
    dataset = open_dataset(data, label_depth=label_depth, task=wanted, ignore=ignore, target=target)
    say(f"found {dataset.describe()}" + "".join(f"; {n}" for n in dataset.notes))
    if owner is not None:
        dataset = _in_splits_of(owner, dataset)
    table = Table(dataset)
    editor = Editor(dataset, Path(edits) if edits is not None else default_edits(data))
    work = _Work(table, predictor, _title(model), features or _own_features(model), group_by, check)
    for what in work.jobs:
        table.say(what, work.jobs[what])
    Browser(table, editor, settings or Settings(), work=work).run(ready=ready)


def _in_splits_of(owner: "Run", dataset: "Dataset") -> "Dataset":
    """Return the dataset with the parts that a run had; images that the run did not know have none."""
    part = {r["id"]: r["split"] for r in owner.split_rows()}
    if not any(s.id in part for s in dataset.samples):
        return dataset
    return dataset.with_samples(replace(s, split=part.get(s.id)) for s in dataset.samples)  # type: ignore[arg-type]


def _title(model: PathLike | None) -> str:
    return "" if model is None else Path(model).resolve().name


def _own_features(model: PathLike | None) -> str | None:
    """Return the bundle whose features describe images where a run or bundle is looked at with them."""
    if model is None:
        return None
    folder = bundle_folder(Path(model))
    return str(folder) if (folder / "bundle.json").exists() else None


class _Work:
    """What is done while the page is open, one thing after the other; what fails is said on the page."""

    def __init__(
        self, table: "Table", predictor: "Predictor | None", title: str, features: str | None, group_by: str | None,
        check: bool,
    ) -> None:  # fmt: skip
        self.table, self.predictor, self.title = table, predictor, title
        self.features, self.group_by = features, group_by
        self.jobs: dict[str, str] = {}
        if check:
            self.jobs["findings"] = "Reading every image …"
        if predictor is not None:
            self.jobs["scores"] = "Predictions follow."
        if check:
            self.jobs["points"] = "The scatter plot follows."

    def __call__(self) -> None:
        for what in self.jobs:
            try:
                getattr(self, f"_{what}")()
            except EyewrightError as error:
                self.table.fail(str(error))
            except Exception as fault:  # noqa: BLE001 - the page stays; it says what is missing
                self.table.fail(f"a bug in Eyewright: {type(fault).__name__}: {fault}")
            self.table.say(what, "")

    @property
    def _scan(self) -> "Scan":
        return scan_of(self.table.dataset, quiet=True)

    def _findings(self) -> None:
        dataset, scan = self.table.dataset, self._scan
        self.table.say("findings", "Looking for duplicates and label problems …")
        grouping = find_groups(dataset, scan, group_by=self.group_by)
        found = audit_dataset(dataset, scan, grouping, most=_MOST_FINDINGS)
        self.table.add_findings(found, grouping.ids(len(dataset)))

    def _scores(self) -> None:
        assert self.predictor is not None
        n = len(self.table)
        # A class that the model does not know would fail for every image.
        self.table.dataset.relabelled(self.predictor.labels)
        items: list[tuple[int, dict[str, Any]]] = []
        values = np.full(n, np.nan)
        rank = np.full(n, n, np.int64)
        for start in range(0, n, _AT_ONCE):
            self.table.say("scores", f"Predicting: {start:,} of {n:,} images …")
            rows = range(start, min(n, start + _AT_ONCE))
            for row, score, item in _measured(self.predictor, self.table.dataset, rows):
                values[row] = score
                items.append((row, item))
        order = sorted(items, key=lambda pair: _badness(values[pair[0]], pair[1]))
        rank[[row for row, _ in order]] = np.arange(len(order))
        self.table.add_scores(_as_scores(self.title, values, rank, items))

    def _points(self) -> None:
        from eyewright.metrics.projection import project_plane

        dataset = self.table.dataset
        if self.features is None:
            self.table.add_points(project_plane(self._scan.features), "appearance of the images")
            return
        self.table.say("points", "Computing features for the scatter plot …")
        readable = np.flatnonzero(self._scan.readable)
        vectors = _features(self.features, dataset, readable)
        plane = np.zeros((len(dataset), 2), np.float32)
        plane[readable] = project_plane(vectors)
        name = self.title or Path(self.features.removeprefix("hf:")).name
        self.table.add_points(plane, f"features of {name}")


def _features(model: str, dataset: "Dataset", rows: "NDArray[np.int64]") -> "NDArray[np.float32]":
    if model.startswith("hf:"):
        from eyewright.nets.hub_features import hub_features

        return hub_features(model, (dataset.image(i) for i in rows.tolist()))
    from eyewright.bundle import load_bundle
    from eyewright.exporting.features import bundle_features

    seen = load_bundle(bundle_folder(Path(model)))
    dataset = dataset.seen_by(seen.preparation)
    return bundle_features(seen, (dataset.picture(i) for i in rows.tolist()))


def _measured(predictor: "Predictor", dataset: "Dataset", rows: range) -> list[tuple[int, float, dict[str, Any]]]:
    """Return the place, the score and the row of the report of each image that can be read."""
    from eyewright.evaluation.reporting import reporting_of
    from eyewright.evaluation.results import gather_results

    reporting = reporting_of(dataset.task)

    def of(part: Sequence[int]) -> list[tuple[int, float, dict[str, Any]]]:
        (results,) = gather_results([predictor], dataset.with_samples(dataset.samples[i] for i in part), looks=False)
        items = reporting.items(results)
        scores = reporting.image_scores(items)
        return [(part[item["index"]], float(scores[item["index"]]), dict(item)) for item in items]

    try:
        return of(rows)
    except EyewrightError:
        if len(rows) == 1:
            return []
        # One that cannot be read hides no other.
        half = len(rows) // 2
        return [*_measured(predictor, dataset, rows[:half]), *_measured(predictor, dataset, rows[half:])]


def _badness(score: float, item: dict[str, Any]) -> tuple[float, float]:
    """Return what images are sorted by, the worst first: the score, and among equal ones the confidence of what is
    wrong."""
    confidence = item.get("confidence")
    return (score if np.isfinite(score) else 2.0), -float(confidence) if isinstance(confidence, float) else 0.0


def _as_scores(
    title: str, values: "NDArray[np.float64]", rank: "NDArray[np.int64]", items: Sequence[tuple[int, dict[str, Any]]]
) -> "Scores":
    from eyewright.serving.browser import Scores

    predicted = [""] * len(values)
    confidence = np.full(len(values), np.nan)
    for row, item in items:
        if isinstance(item.get("predicted"), str):
            predicted[row] = item["predicted"]
        if isinstance(item.get("confidence"), float):
            confidence[row] = item["confidence"]
    named = any(predicted)
    return Scores(
        title,
        values,
        rank,
        predicted if named else (),
        confidence if np.isfinite(confidence).any() else None,
        # Where no image is exactly right, being below 1 says nothing.
        mistakes=bool((values == 1).any()),
    )
