"""Cross-validation: every image is predicted by models that were not trained on it, and the spread between folds
is reported."""

__all__ = ["FoldsResult", "cross_validate", "do_fold", "train_folds"]

import csv
import io
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np

from eyewright.core.errors import CheckpointError, UsageError
from eyewright.core.files import held_lock, write_json, write_text
from eyewright.core.jsonable import to_jsonable
from eyewright.core.quoting import quoted
from eyewright.core.report import Metric, Report
from eyewright.core.task import task_of
from eyewright.data import audit_dataset, fold_datasets, label_error_rule
from eyewright.data.edits import apply_edits
from eyewright.lifecycle.datasets import PathLike, Say, open_readable, scan_of, silent, without_copies
from eyewright.lifecycle.group_folds import group_folds, with_groups
from eyewright.lifecycle.joining import write_ensemble
from eyewright.lifecycle.loading import need_torch
from eyewright.lifecycle.newness import novelty_of_folds
from eyewright.lifecycle.opening import check_model, free_folder, load_run, once_if_private, recipe_of
from eyewright.lifecycle.spreading import digest_of, on_every_node, path_of, refuse_other, when_free
from eyewright.lifecycle.stages import evaluate, train_on
from eyewright.metrics import corrected_interval
from eyewright.scaling.units import open_units
from eyewright.training.options import StudyOptions, named_options
from eyewright.training.plan import RunPlan
from eyewright.training.recipe import Recipe, read_recipe

if TYPE_CHECKING:
    from eyewright.data import Dataset
    from eyewright.evaluation.reporting import Results
    from eyewright.training.run import Run


@dataclass(frozen=True)
class FoldsResult:
    """What cross-validation found.

    `report` is of all out-of-fold predictions together, with intervals over images. `between` gives each metric's
    mean over folds with an interval that allows for what folds share, and `spread` its standard deviation over folds.
    `runs` are the folds' runs; `ensemble` is their mean as a run of its own, if asked for. `restarts` is how often a
    fold was continued because its process was lost.
    """

    folder: Path
    runs: tuple["Run", ...]
    report: Report
    between: Mapping[str, Metric]
    spread: Mapping[str, float]
    ensemble: "Run | None" = None
    restarts: int = 0


@named_options(StudyOptions)
def cross_validate(
    data: "Dataset | PathLike",
    *,
    folds: int | Literal["groups"] = 5,
    repeats: int = 1,
    ensemble: bool = False,
    budget: str | float | None = None,
    out: PathLike | None = None,
    recipe: "Recipe | None" = None,
    resume: bool = False,
    label_errors: str | None = None,
    group_by: str | None = None,
    label_depth: int | None = None,
    ignore: Sequence[str] = (),
    target: Sequence[str] = (),
    workers: int | None = None,
    on: str | None = None,
    processes: int | None = None,
    quiet: bool = True,
    say: Say = silent,
    **options: Unpack[StudyOptions],
) -> FoldsResult:
    """Train `folds` nets, each without another part of the images, and measure each on the part it has not seen.

    Folds are stratified (boxes and masks by the rarest class that an image holds), and near duplicates and images of
    one group stay in one fold. Within a fold an eighth of the training images chooses the epoch and the temperature,
    so the measured part influences nothing. A test part that comes with the data is kept out of all folds.
    `repeats` repeats it that many times with new folds. `budget` is for all folds together. With `resume` finished
    folds are kept. With `folds="groups"` every group is left out once (more than 20 are put into 10 folds of whole
    groups), and `repeats` is not supported then. `label_errors` is as for `train`.

    `on` spreads the folds over `processes` (by default one per core): "local" those of this machine, "ray",
    "HOST:PORT" or "ray://HOST:PORT" those of a Ray cluster (see `run_job`). `data` is a path then. A fold whose process
    is lost is trained again, from its last checkpoint.

    Raises:
        DatasetError: a class has fewer distinct images than folds.
        UsageError: fewer than 2 folds, an ensemble of boxes, or an option that is unknown.
        LostError: processes of a fold are lost again and again, or the cluster.
    """
    started = time.monotonic()
    label_errors = label_error_rule(label_errors)
    need_torch()
    if repeats < 1:
        raise UsageError(f"expected 1 repeat or more, found {repeats}", fix="change --repeats")
    resolved = recipe_of(recipe, budget=budget, **options)
    once_if_private(resolved, "--folds")
    if resolved.task != "auto":
        check_model(resolved.model, resolved.task)
    if resume and out is None:
        raise UsageError("expected --out with --resume, found none", fix="name the folder to continue in")
    place = None if on is None else path_of(data, "--folds")
    opened = _open(
        data, resolved, label_depth=label_depth, ignore=ignore, target=target, ensemble=ensemble, quiet=quiet, say=say
    )
    folder = Path(out) if out is not None else free_folder(Path("runs") / opened.task, f"{opened.name}-folds")
    if not resume and (folder / "folds.json").exists():
        raise UsageError(f"a cross-validation is already in {quoted(folder)}", fix="choose another --out, or --resume")
    deadline = None if resolved.budget_s is None else started + resolved.budget_s - 2.0
    data, own, note = _grouped(
        opened, resolved.seed, folds=folds, repeats=repeats, group_by=group_by, quiet=quiet, say=say
    )
    folds = len(own) if own is not None else folds
    assert not isinstance(folds, str)
    plan = RunPlan(deadline=deadline, resume=resume, workers=workers, label_errors=label_errors, quiet=quiet, say=say)
    restarts = 0
    if place is not None:
        parts = own or _cut(data, resolved.seed, folds=folds, repeats=repeats, group_by=group_by)
        asked = {
            "unit": "fold", "data": place, "recipe": on_every_node(resolved).to_json(),
            "folds": "groups" if note else folds,
            "repeats": repeats, "ensemble": ensemble, "group_by": group_by, "label_depth": label_depth,
            "ignore": list(ignore), "target": list(target), "label_errors": label_errors, "workers": workers,
        }  # fmt: skip
        restarts = _spread(parts, asked, folder, plan, on=str(on), processes=processes)
        # What follows finds each fold trained.
        own, plan = parts, replace(plan, resume=True)
    parts, runs = train_folds(
        data, resolved, folder, folds=folds, parts=own, repeats=repeats, group_by=group_by, plan=plan
    )
    found = _together(
        data, parts, runs, folder, folds=folds, note=note, ensemble=ensemble, seed=resolved.seed, quiet=quiet, say=say
    )
    return replace(found, restarts=restarts)


def train_folds(
    dataset: "Dataset",
    recipe: "Recipe",
    folder: Path,
    *,
    folds: int,
    repeats: int = 1,
    parts: list["Dataset"] | None = None,
    group_by: str | None = None,
    plan: RunPlan = RunPlan(),  # noqa: B008
) -> tuple[list["Dataset"], list["Run"]]:
    """Train a run for every fold into `folder/fold-K`; return each fold's data, whose test part is its own, and run.

    `parts` are the folds, where they are cut already. The deadline of `plan` is for all of them together.
    """
    parts = parts or _cut(dataset, recipe.seed, folds=folds, repeats=repeats, group_by=group_by, quiet=plan.quiet)
    runs = []
    for i, part in enumerate(parts):
        place = folder / f"fold-{i + 1}"
        plan.say(f"fold {i + 1} of {len(parts)}")
        if plan.resume and (place / "run.json").exists():
            run = load_run(place)
            _check_same(run, part)
        else:
            # What is left is shared by the folds that are left.
            share = None if plan.deadline is None else (plan.deadline - time.monotonic()) / (len(parts) - i)
            run = _train_fold(part, recipe, place, i, plan, share)
        runs.append(run)
    return parts, runs


def _train_fold(part: "Dataset", recipe: Recipe, place: Path, i: int, plan: RunPlan, share_s: float | None) -> "Run":
    """Train the i-th fold, within so many seconds if there is a budget."""
    own, end = replace(recipe, seed=recipe.seed + i), None
    if share_s is not None:
        end, own = time.monotonic() + share_s, replace(own, budget_s=share_s)
    begun = plan.resume and (place / "checkpoints" / "last").exists()
    if begun and share_s is not None:
        # A run is continued with the options that it was started with; its end is that of now.
        own = replace(own, budget_s=read_recipe(place / "recipe.toml").budget_s)
    # Folds keep together what belongs together by their own rule.
    return train_on(part, own, place, replace(plan, deadline=end, resume=begun), leaks="allow")


def _open(
    data: "Dataset | PathLike",
    recipe: Recipe,
    *,
    label_depth: int | None,
    ignore: Sequence[str],
    target: Sequence[str],
    ensemble: bool,
    quiet: bool,
    say: Say,
) -> "Dataset":
    """Return data that can be cut into folds.

    Raises:
        UsageError: its task, or its model, is not supported.
    """
    if isinstance(data, str | Path):
        data = open_readable(
            data, label_depth=label_depth, task=recipe.task, ignore=ignore, target=target,
            edits=recipe.edits or None, quiet=quiet, say=say,
        )  # fmt: skip
    elif recipe.edits:
        data = apply_edits(data, recipe.edits)
    check_model(recipe.model, data.task)
    task_of(data.task).require("folds")
    if ensemble:
        task_of(data.task).require("ensemble")
        # The folds are measured on themselves; only the ensemble is measured on the given test part.
        data = without_copies(data, quiet=quiet)
    return data


def _grouped(
    data: "Dataset",
    seed: int,
    *,
    folds: int | Literal["groups"],
    repeats: int,
    group_by: str | None,
    quiet: bool,
    say: Say,
) -> "tuple[Dataset, list[Dataset] | None, str]":
    """Return the data with the groups that stay in one fold, the folds if they are given by groups, and a note."""
    scan, note, own = scan_of(data, quiet=quiet), "", None
    if folds == "groups":
        if repeats > 1:
            raise UsageError("expected no --repeats with --folds groups, whose folds are given", fix="leave it out")
        own, note = group_folds(data, scan=scan, seed=seed, group_by=group_by)
        say(note)
    # Images that belong together stay in one fold, and intervals are over groups.
    return with_groups(data, scan, group_by=group_by), own, note


def _cut(
    data: "Dataset", seed: int, *, folds: int, repeats: int, group_by: str | None, quiet: bool = True
) -> "list[Dataset]":
    scan = scan_of(data, quiet=quiet)
    return [
        part for r in range(repeats) for part in fold_datasets(data, folds, scan=scan, seed=seed + r, group_by=group_by)
    ]


def _spread(
    parts: "Sequence[Dataset]",
    asked: Mapping[str, Any],
    folder: Path,
    plan: RunPlan,
    *,
    on: str,
    processes: int | None,
) -> int:
    """Have the folds that are not trained yet trained by several processes, each into `folder/fold-K`; return how often
    one was lost and continued."""
    todo = [i for i in range(len(parts)) if not (plan.resume and _done(folder, i))]
    if not todo:
        return 0
    busy = f"another cross-validation is writing to {quoted(folder)}"
    with (
        held_lock(folder / ".folds.lock", busy=busy, code="run_in_use"),
        open_units(on, units=len(todo), processes=processes, say=plan.say) as units,
    ):
        # Rounds of as many folds as are trained at a time share the budget.
        share = None
        if plan.deadline is not None:
            share = (plan.deadline - time.monotonic()) / math.ceil(len(todo) / units.size)
        for i in todo:
            place = os.path.abspath(folder / f"fold-{i + 1}")
            more = {"fold": i, "place": place, "share_s": share, "digest": digest_of(parts[i]), "resume": plan.resume}
            units.give(f"fold {i + 1}", {**asked, **more})
        plan.say(f"{len(todo)} folds on {on}, {units.size} at a time")
        left = len(todo)
        while left:
            done = units.wait()
            left -= len(done)
            for name in done:
                plan.say(f"{name} of {len(parts)} is trained")
        if units.restarts:
            plan.say(f"restarts {units.restarts:,}")
        return units.restarts


def _done(folder: Path, i: int) -> bool:
    return (folder / f"fold-{i + 1}" / "run.json").exists()


def do_fold(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Train a fold, as it is asked for in JSON types; a process that does several reads the data once.

    Raises:
        RefusedError: the data of this machine is another one.
        EyewrightError: as `cross_validate`.
    """
    place, i = Path(asked["place"]), int(asked["fold"])
    own = ("unit", "fold", "place", "share_s", "digest", "resume", "again", "out", "workers", "label_errors")
    parts = _parts_of(json.dumps({k: v for k, v in asked.items() if k not in own}, sort_keys=True))
    refuse_other(parts[i], asked["digest"])
    if asked["again"] and (place / "run.json").exists():
        # It was trained, and only the answer was lost.
        return {}
    plan = RunPlan(
        resume=asked["resume"] or asked["again"], workers=asked["workers"], label_errors=asked["label_errors"]
    )
    recipe = Recipe.from_mapping(asked["recipe"])
    when_free(lambda: _train_fold(parts[i], recipe, place, i, plan, asked["share_s"]))
    return {}


@lru_cache(maxsize=1)
def _parts_of(text: str) -> "list[Dataset]":
    asked = json.loads(text)
    recipe, folds, group_by = Recipe.from_mapping(asked["recipe"]), asked["folds"], asked["group_by"]
    named = {k: asked[k] for k in ("label_depth", "ignore", "target", "ensemble")}
    data = _open(asked["data"], recipe, **named, quiet=True, say=silent)
    repeats = int(asked["repeats"])
    data, own, _ = _grouped(data, recipe.seed, folds=folds, repeats=repeats, group_by=group_by, quiet=True, say=silent)
    return own or _cut(data, recipe.seed, folds=folds, repeats=repeats, group_by=group_by)


def _check_same(run: "Run", part: "Dataset") -> None:
    known = {(r["id"], r["split"]) for r in run.split_rows()}
    if known != {(s.id, s.split) for s in part.samples}:
        raise CheckpointError(
            f"the fold in {quoted(run.folder)} was trained on other images", fix="use another --out, or the same data"
        )


def _together(
    dataset: "Dataset",
    parts: Sequence["Dataset"],
    runs: Sequence["Run"],
    folder: Path,
    *,
    folds: int,
    note: str,
    ensemble: bool,
    seed: int,
    quiet: bool,
    say: Say,
) -> FoldsResult:
    from eyewright.evaluation import reporting_of, write_report
    from eyewright.evaluation.novelty import novelty_finding

    reporting = reporting_of(dataset.task)
    results, each = _measure(parts, runs, seed=seed, quiet=quiet, say=say)
    unsplit = replace(dataset, samples=tuple(replace(s, split=None) for s in parts[0].samples))
    every = reporting.together(results, folds, unsplit)
    novelty = novelty_of_folds(parts, runs, every.dataset, folds)
    report = reporting.report(every, seed=seed, novelty=novelty)
    by_id = {s.id: s for s in unsplit.samples}
    whole = replace(unsplit, samples=tuple(by_id[s.id] for s in every.dataset.samples))
    fold_of = {s.id: k for k, part in enumerate(parts[:folds]) for s in part.test.samples}
    pictures = reporting.pictures(report, whole, lambda name: runs[fold_of[name]].predictor)
    names = [k for k in each[0] if all(k in row for row in each)]
    share = 1 / (folds - 1) if not note else _test_share(parts)
    task, labels = task_of(dataset.task), dataset.labels.names
    between = {
        k: replace(
            corrected_interval([row[k] for row in each], test_share=share, bounds=task.metric(k).bounds),
            unit=task.unit(labels, k),
        )
        for k in names
    }
    spread = {k: float(np.std([row[k] for row in each], ddof=1)) for k in names}
    report = replace(
        report,
        sections={**_sections(runs, each, between, spread, folds, note), "audit": audit_dataset(whole, scan_of(whole))},
        provenance={k: runs[0].about[k] for k in ("versions", "hardware", "commit") if runs[0].about.get(k)},
    )
    finding = novelty_finding(report.tables.get("novelty"), report.task)
    report = replace(report, sections={**report.sections, "findings": () if finding is None else (finding,)})
    title = f"{dataset.name}: {runs[0].recipe.model_name}, {folds} folds"
    write_report(report, folder, title=title, pictures=pictures)
    write_text(folder / "out-of-fold.csv", _predictions_csv(every, fold_of))
    joined = _join(runs, parts, folder / "ensemble", dataset) if ensemble else None
    held_out = None
    if joined is not None and any(s.split == "test" for s in dataset.samples):
        held_out = evaluate(joined, dataset.test, out=joined.folder, quiet=quiet)
        main = task_of(dataset.task).main_metric
        say(f"ensemble on the test part: {main} {held_out.metrics[main]}")
    facts = {
        "folds": folds,
        "repeats": len(parts) // folds,
        "note": note,
        "between": between,
        "spread": spread,
        "each": each,
        "runs": [r.folder.name for r in runs],
        "out_of_fold": report.metrics,
        "ensemble": None if held_out is None else held_out.metrics,
    }
    write_json(folder / "folds.json", to_jsonable(facts))
    return FoldsResult(folder, tuple(runs), report, between, spread, joined)


def _measure(
    parts: Sequence["Dataset"], runs: Sequence["Run"], *, seed: int, quiet: bool, say: Say
) -> tuple[list["Results"], list[dict[str, float]]]:
    """Measure each fold on its own test part; return what was kept of it, and its numbers."""
    from eyewright.evaluation import gather_results, reporting_of, show_metric

    kept, each = [], []
    for part, run in zip(parts, runs, strict=True):
        reporting, test = reporting_of(part.task), part.test
        (results,) = gather_results([run.predictor], test, quiet=quiet)
        measured = reporting.metrics(results, seed)
        kept.append(results)
        each.append({k: v for k in reporting.spread if (v := measured[k].value) is not None})
        main = task_of(part.task).followed
        say(f"fold {len(each)}: {main} {show_metric(main, measured[main])} on {len(test)} images it had not seen")
    return kept, each


def _test_share(parts: Sequence["Dataset"]) -> float:
    """Return the mean of test/train over folds: groups differ in size."""
    counts = [(sum(s.split == "test" for s in p.samples), len(p.samples)) for p in parts]
    return float(np.mean([test / (n - test) for test, n in counts]))


def _sections(
    runs: Sequence["Run"],
    each: Sequence[Mapping[str, float]],
    between: Mapping[str, Metric],
    spread: Mapping[str, float],
    folds: int,
    note: str,
) -> dict[str, Any]:
    about = runs[0].about
    return {
        "recipe": runs[0].recipe.without_places().to_json(),
        "usual": runs[0].recipe.defaults(),
        "folds": {"each": each, "between": between, "spread": spread, "repeats": len(runs) // folds, "note": note},
        "facts": {
            "net": f"{about['model']}, {about['parameters']:,} weights, {len(runs)} models",
            "cross-validation": f"{folds} folds, repeated {len(runs) // folds} times; every image is evaluated by "
            "models that were not trained on it",
            "training": f"{sum(r.about['training']['seconds'] for r in runs):.0f} s in all",
        },
    }


def _predictions_csv(results: "Results", fold_of: Mapping[str, int]) -> str:
    """Return the predictions of all images as CSV, each with the number of the fold whose net has not seen it."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    titles, *rows = results.rows()
    writer.writerow((titles[0], "fold", *titles[1:]))
    writer.writerows((name, fold_of[name] + 1, *rest) for name, *rest in rows)
    return buffer.getvalue()


def _join(runs: Sequence["Run"], parts: Sequence["Dataset"], folder: Path, dataset: "Dataset") -> "Run":
    """Write the folds' nets as one run. Every image but the test part's was learnt from by some member."""
    # How near an image is to the first fold's training images says nothing of those of all folds.
    rows = {
        r["id"]: {**r, "split": "val" if r["split"] == "test" else "train", "novelty": "", "novelty_ratio": ""}
        for r in runs[0].split_rows()
    }
    scan = scan_of(dataset)
    learnt = np.array([i for i, s in enumerate(dataset.samples) if s.id in rows])
    for sample, record in zip(dataset.samples, scan.records, strict=True):
        if sample.id not in rows:
            label = sample.target.cell(dataset.labels.names)
            rows[sample.id] = {"id": sample.id, "split": "test", "label": label, "sha256": record.digest}
            rows[sample.id]["group"] = sample.group or ""
    return write_ensemble(runs, folder, rows=list(rows.values()), scan=scan, learnt=learnt)
