"""The stages of a model's life, each one call: train, evaluate, export, verify, predict."""

__all__ = [
    "compare",
    "errors_in",
    "evaluate",
    "export",
    "export_checked",
    "predict",
    "title_of",
    "train",
    "train_on",
    "verify",
]

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from eyewright.catalog import build_of
from eyewright.core.errors import BudgetError, LeakError, RefusedError, UsageError
from eyewright.core.files import write_text
from eyewright.core.predictor import inputs_of
from eyewright.core.report import Finding, Metric, Report
from eyewright.core.task import task_of
from eyewright.data import audit_dataset, label_error_rule, leak_rule, open_dataset, refuse_misread
from eyewright.data.edits import show_edits
from eyewright.lifecycle.adding import FOLDER, RECORD, AddGenerated, measured_again, train_with_generated
from eyewright.lifecycle.baselines import deadline_before_baseline, train_baseline, with_baseline
from eyewright.lifecycle.continuing import in_labels_of, weights_in
from eyewright.lifecycle.datasets import (
    PathLike,
    Say,
    count_seen,
    dataset_of,
    fingerprint_of,
    grouped_as,
    ignored_by,
    known_images,
    load_dataset,
    other_images_fix,
    part_of_path,
    part_of_run,
    scan_of,
    settled,
    silent,
    target_of,
    untouched,
)
from eyewright.lifecycle.facts import sections_of
from eyewright.lifecycle.judging import train_judge
from eyewright.lifecycle.loading import need_torch, open_any
from eyewright.lifecycle.newness import novelty_of, with_findings, with_validation
from eyewright.lifecycle.opening import asked_of, check_model, free_folder, load_model, load_run, recipe_of
from eyewright.lifecycle.sharding import train_shards
from eyewright.lifecycle.teaching import published_predictor, teacher_for
from eyewright.lifecycle.trusting import TrustAsked, with_trust
from eyewright.metrics.conformal import Method
from eyewright.metrics.conformal_boxes import BoxBy
from eyewright.metrics.points import group_numbers
from eyewright.training.options import TrainOptions, named_options
from eyewright.training.plan import RunPlan
from eyewright.training.recipe import STEPS

# With less time than that not even one epoch of few images is trained.
_LEAST_TRAINING_S = 2.0

if TYPE_CHECKING:
    from eyewright.bundle import Bundle
    from eyewright.core.predictor import Predictor
    from eyewright.data import Dataset
    from eyewright.evaluation import Comparison
    from eyewright.evaluation.reporting import Results
    from eyewright.exporting import Parity
    from eyewright.training import Recipe
    from eyewright.training.run import Run


@named_options(TrainOptions)
def train(
    data: "Dataset | PathLike",
    *,
    model: str | None = None,
    epochs: int | None = None,
    budget: str | float | None = None,
    out: PathLike | None = None,
    recipe: "Recipe | None" = None,
    resume: bool = False,
    weights: "PathLike | None" = None,
    leaks: str | None = None,
    allow_leaks: bool = False,
    label_errors: str | None = None,
    group_by: str | None = None,
    label_depth: int | None = None,
    ignore: Sequence[str] = (),
    target: Sequence[str] = (),
    workers: int | None = None,
    step: Any = None,
    teacher: Any = None,
    shards: int | None = None,
    add_generated: "AddGenerated | PathLike | None" = None,
    log: str | None = None,
    observe: "Callable[[Mapping[str, str]], None] | None" = None,
    quiet: bool = True,
    say: Say = silent,
    **options: Unpack[TrainOptions],
) -> "Run":
    """Train a model and write a run folder, `runs/<task>/<name>` unless `out` names another.

    `step` is the name of a training step (see `Recipe`), or a function of your own.

    `options` are fields of `Recipe` (task, lr, optimizer, loss, batch, imgsz, ...); `task` is "classify", "detect",
    "segment" or "instance", and without it the data decides. With `budget` ("10m") training ends
    annealed when the time is over, counted from this call. `weights` are those to start from,
    of a run, a bundle or a safetensors file. `teacher`, a bundle, a run or `hf:` and a folder, is also learnt from, in
    addition to the labels (`step` is not supported then). `log` ("tensorboard" or "mlflow") writes every epoch's
    numbers for that too, and `observe` is called with them. `shards` trains a net for each of so many parts of the
    training images and joins them to one run, from which `forget` removes images by training one shard again.
    `add_generated`, a bundle of the task generate or an `AddGenerated`, adds images that it generates for rare classes
    and trains pairs of nets with and without them.
    `leaks` says what becomes of training images that are copies of images in a given test or validation part:
    "drop" (the default) leaves up to 1 % of the training images out, "refuse" raises, "allow" (or `allow_leaks`)
    trains on them and writes it down. `label_errors` says what is done where the audit finds that labels were not read
    as intended (boxes in another format, empty masks): "refuse" (the default) raises, "allow" trains on them.

    Raises:
        DatasetError, LeakError: the data cannot be trained on.
        UsageError: an option that is unknown or out of range.
    """
    started = time.monotonic()
    leaks = leak_rule(leaks, allow_leaks)
    label_errors = label_error_rule(label_errors)
    need_torch()
    # The name of a step is a part of the recipe; a function is not.
    named = {"step": step} if isinstance(step, str) else {}
    step = None if named else step
    resolved = recipe_of(recipe, model=model, epochs=epochs, budget=budget, **options, **named)
    if resolved.task != "auto":
        check_model(resolved.model, resolved.task)
    if resume and out is None:
        raise UsageError("expected --out with --resume, found none", fix="name the run folder to continue in")
    from eyewright.training.distributed import launched_by_torchrun

    if out is None and launched_by_torchrun():
        raise UsageError("expected --out with torchrun, found none", fix="name one run folder for all processes")
    given = {"group_by": group_by, "label_depth": label_depth, "ignore": ignore, "target": target}
    dataset = dataset_of(data, **asked_of(resolved), **given, quiet=quiet, say=say)
    check_model(resolved.model, dataset.task)
    if teacher is not None:
        task_of(dataset.task).require("teacher")
        from eyewright.compression.distilling import distil_step

        if step is not None:
            raise UsageError("expected step or teacher, found both", fix="leave one out")
        step = distil_step(teacher_for(teacher, dataset.task, dataset.labels)[1])
    deadline = None if resolved.budget_s is None else started + resolved.budget_s - 1.0
    folder = Path(out) if out is not None else free_folder(Path("runs") / dataset.task, dataset.name)
    plan = RunPlan(
        deadline=deadline,
        resume=resume,
        weights=None if weights is None else Path(weights),
        workers=workers,
        step=step,
        log=log,
        observe=observe,
        baseline=True,
        label_errors=label_errors,
        quiet=quiet,
        say=say,
    )
    if add_generated is not None:
        if shards is not None:
            raise UsageError("expected --shards or --add-generated, found both", fix="leave one out")
        asked = add_generated if isinstance(add_generated, AddGenerated) else AddGenerated(add_generated)
        dataset = settled(dataset, leaks, quiet=quiet)
        return train_with_generated(dataset, resolved, folder, plan, asked, leaks=leaks, train=train_on)
    if resume and (folder / FOLDER / RECORD).is_file():
        raise UsageError("expected --add-generated, with which the run was started", fix="pass it again")
    if shards is None:
        return train_on(dataset, resolved, folder, plan, leaks=leaks)
    dataset = settled(dataset, leaks, quiet=quiet)
    return train_shards(dataset, resolved, folder, plan, count=shards, train=train_on)


def train_on(
    dataset: "Dataset",
    recipe: "Recipe",
    folder: Path,
    plan: RunPlan,
    *,
    leaks: str | None = None,
) -> "Run":
    """Train on a split dataset into `folder`: what `train` does when the data is there and the recipe is read.

    `leaks` is as for `train`.

    Raises:
        LeakError: too many images on both sides of the split, or any that `leaks` refuses.
        DatasetError: the labels were not read as intended, and the plan does not allow it.
        BudgetError: the deadline is too near.
    """
    from eyewright.training.distributed import rank_of
    from eyewright.training.own_steps import own_step, with_packages
    from eyewright.training.session import train_model
    from eyewright.training.watchers import watch

    dataset = settled(dataset, leaks, quiet=plan.quiet)
    scan = scan_of(dataset, quiet=plan.quiet)
    findings = audit_dataset(dataset, scan)
    if plan.label_errors != "allow":
        refuse_misread(findings, len(dataset))
    if plan.weights is not None:
        dataset = in_labels_of(plan.weights, dataset)
    found = dataset.leaks
    assert found is not None
    if plan.deadline is not None and (left := plan.deadline - time.monotonic()) < _LEAST_TRAINING_S:
        more = math.ceil(_LEAST_TRAINING_S - left)
        raise BudgetError(
            "the budget is too short to train in: reading and checking the data took all of it",
            fix=f"give --budget at least {more} s more",
        )
    recipe = with_packages(recipe, dataset.task, plan.say)
    if recipe.step != "plain":
        if plan.step is not None:
            raise UsageError(
                f"expected one step, found {recipe.step!r} and another", fix="leave --step or --teacher out"
            )
        if recipe.step in STEPS:
            from eyewright.robustness.hardening import hardened

            plan = hardened(recipe, dataset.task, plan)
        else:
            plan = replace(plan, step=own_step(recipe))
    if recipe.federated and plan.guard is None:
        raise UsageError("expected a recipe for one machine, found one of a federation", fix="use eyewright federate")
    if recipe.private:
        from eyewright.privacy.guarding import guarded

        recipe, plan = guarded(recipe, dataset, scan, folder, plan, build_of)
    plan.say(dataset.describe() + "".join(f"; {n}" for n in dataset.notes))
    if dataset.grouping is not None and (dataset.grouping.groups or dataset.grouping.rule != "auto"):
        plan.say(dataset.grouping.describe())
    for warning in found.warnings():
        plan.say(f"warning: {warning}")
    first = rank_of() == 0
    with watch(plan.log if first else None, folder, recipe.to_json()) as watcher:

        def after_epoch(row: Mapping[str, str]) -> None:
            watcher(row)
            if plan.observe is not None:
                plan.observe(row)

        notes = {
            "data_path": str(dataset.root.resolve()),
            "ignore": list(dataset.ignore),
            "audit": findings,
            "warnings": list(found.warnings()),
            "leaks": {**found.to_json(), "list": found.listed()},
            **plan.notes,
        }
        weights = None if plan.weights is None else weights_in(plan.weights)
        own = replace(plan, weights=weights, observe=after_epoch, notes=notes)
        train_judge(dataset, scan, recipe, folder, own)
        own = replace(own, deadline=deadline_before_baseline(recipe, plan, dataset.task))
        run = train_model(dataset, scan, recipe, folder=folder, build_of=build_of, plan=own)
    if dataset.edits is not None and first:
        write_text(folder / "edits.csv", show_edits(dataset.edits.edits))
    train_baseline(run, dataset, scan, plan)
    return run


def evaluate(
    model: "Run | Bundle | PathLike",
    data: "Dataset | PathLike | None" = None,
    *,
    out: PathLike | None = None,
    split: str | None = None,
    allow_leaks: bool = False,
    group_by: str | None = None,
    label_depth: int | None = None,
    ignore: Sequence[str] = (),
    seed: int = 0,
    quiet: bool = True,
    pictures: Mapping[str, Mapping[str, Any]] | None = None,
    coverage: float | None = None,
    coverage_by: BoxBy | None = None,
    sets: Method | None = None,
    miss_rate: float | None = None,
    unfamiliar: PathLike | None = None,
    job: "Callable[[Any, Dataset], tuple[Results, Dataset, tuple[str, ...]]] | None" = None,
) -> Report:
    """Measure a run, a bundle, or `hf:` and a published model as it is; with `out` the report is written there as HTML,
    JSON and Markdown.

    `data` is a dataset, or a path. A run without `data` is measured on its own test part. Of a path the part `split`
    is used, else its test part, else all of it. Images that the run was trained on are refused, and so is the very
    data that a bundle was made from (`allow_leaks`). What belongs together in other data than the run's own is looked
    for as a split does, by the rule `group_by` if there is one; intervals are over these groups.

    Of a bundle, `coverage` also measures its conformal sets (`coverage_by` "all" or "class", `sets` "threshold" or
    "adaptive"), of a detector the margins of its boxes (`coverage_by` also "image"); `miss_rate` the threshold by which
    a detector misses so few objects; `unfamiliar`, a folder of images that it was not made for, how well it recognises
    them. `job` gathers the results of a model and a dataset, and returns what of it was measured (`evaluate_as_job`).

    Raises:
        LeakError: some of the images were trained on.
        DatasetError: the data holds a class that the model does not know.
    """
    from eyewright.evaluation import evaluate_predictor, reporting_of, told, write_report

    if isinstance(model, str) and model.startswith("hf:"):
        predictor, owner = _as_published(model, data, label_depth), None
    else:
        predictor, owner = load_model(model)
    about = told(owner.about if owner is not None else _provenance_of(predictor))
    warnings = list(about.get("warnings") or [])
    left_out, own = "", data is None
    if data is None:
        if owner is None:
            raise UsageError("expected data to evaluate the bundle on, found none", fix="pass a dataset")
        dataset = part_of_run(owner, split or "test")
    else:
        task, wanted = predictor.task_name, target_of(predictor.task_name, predictor.labels)
        if isinstance(data, str | Path):
            data = part_of_path(data, split, label_depth, task, ignore, wanted)
        dataset = data
        left_out = dataset.account.summary()
        if owner is None and not allow_leaks and dataset.splits != ("test",):
            made_from = (_provenance_of(predictor).get("dataset") or {}).get("fingerprint")
            if made_from and made_from == fingerprint_of(dataset, quiet=quiet):
                raise LeakError(
                    "this is the data that the bundle was trained on",
                    fix="evaluate its run, or other images, or measure on it with --allow-leaks",
                )
        known, things = known_images(owner or predictor), f"{dataset.reads}s"
        own = untouched(owner, dataset, quiet=quiet)
        if group_by is not None or (not own and dataset.grouping is None):
            dataset = grouped_as(about, dataset, group_by=group_by, quiet=quiet)
        if known and not own:
            seen = count_seen(dataset, known, quiet=quiet)
            if seen and not allow_leaks:
                raise LeakError(
                    f"{seen:,} of the {len(dataset):,} {things} were trained on", fix=other_images_fix(owner)
                )
            warnings += [f"{seen} of these {len(dataset)} {things} were trained on (--allow-leaks)."] if seen else []
    warnings += [f"{left_out}."] if left_out else []
    dataset = dataset.seen_by(*inputs_of(predictor).values())
    results = None
    if job is not None:
        results, dataset, lost = job(predictor, dataset)
        warnings += lost
    novelty = with_validation(novelty_of(owner, dataset, quiet=quiet), owner, dataset, quiet=quiet)
    report = evaluate_predictor(
        predictor,
        dataset,
        seed=seed,
        temperature=_temperature(predictor),
        sections={
            "thresholds": _points_of(predictor),
            **sections_of(owner, about, warnings, dataset),
            "account": about["dataset"].get("account", {}) if owner and own else dataset.account.to_json(),
        },
        provenance={**_report_provenance(about), "measured_on": _measured_on(dataset)},
        novelty=novelty,
        quiet=quiet,
        results=results,
    )
    report = with_baseline(report, owner, dataset, seed=seed, quiet=quiet)
    report = with_findings(report, owner, dataset, novelty, seed=seed)
    report = measured_again(report, owner, dataset, seed=seed, quiet=quiet)
    asked = TrustAsked(coverage, coverage_by, sets, None if unfamiliar is None else Path(unfamiliar), miss_rate)
    if asked:
        report = with_trust(report, predictor, dataset, asked, seed=seed, quiet=quiet)
    if out is not None:
        if about.get("privacy"):
            pictures = {}
        if pictures is None:
            pictures = reporting_of(report.task).pictures(report, dataset, lambda _: predictor)
        write_report(report, Path(out), title=title_of(predictor, owner), pictures=pictures)
    return report


def compare(
    a: "Run | Bundle | PathLike",
    b: "Run | Bundle | PathLike",
    data: "Dataset | PathLike | None" = None,
    *,
    split: str | None = None,
    label_depth: int | None = None,
    ignore: Sequence[str] = (),
    allow_leaks: bool = False,
    group_by: str | None = None,
    seed: int = 0,
    quiet: bool = True,
    say: Say = silent,
) -> "Comparison":
    """Return whether B is better than A on the same images, and whether the difference is significant.

    Without `data` the test part of A, else of B, is used, whichever is a run. Images that one of them was trained on
    are refused; with `allow_leaks` they are counted in the result. Groups are found as by `evaluate`.

    Raises:
        LeakError: some of the images were trained on.
        DatasetError: the models do not have the same classes.
    """
    from eyewright.evaluation import compare_predictors

    (first, owner_a), (second, owner_b) = load_model(a), load_model(b)
    if data is None:
        owner = owner_a or owner_b
        if owner is None:
            raise UsageError("expected data to compare the bundles on, found none", fix="pass a dataset")
        dataset = part_of_run(owner, split or "test")
    else:
        task, wanted = first.task_name, target_of(first.task_name, first.labels)
        if isinstance(data, str | Path):
            data = part_of_path(data, split, label_depth, task, ignore, wanted)
        dataset = data
        own = any(untouched(o, dataset, quiet=quiet) for o in (owner_a, owner_b))
        if group_by is not None or (not own and dataset.grouping is None):
            about = owner_a.about if owner_a is not None else _provenance_of(first)
            dataset = grouped_as(about, dataset, group_by=group_by, quiet=quiet)
        if summary := dataset.account.summary():
            say(summary)
    known = known_images(owner_a or first) | known_images(owner_b or second)
    seen = count_seen(dataset, known, quiet=quiet) if known else 0
    if seen and not allow_leaks:
        raise LeakError(
            f"{seen} of the {len(dataset)} {dataset.reads}s were trained on by one of the two",
            fix="use other images, or --allow-leaks, which counts them in the result",
        )
    return replace(compare_predictors(first, second, dataset, seed=seed, quiet=quiet), trained_on=seen)


def export(
    model: "Run | PathLike",
    out: PathLike,
    *,
    validation: "Dataset | PathLike | None" = None,
    report: Report | None = None,
    name: str | None = None,
    policy: Mapping[str, float] | None = None,
    attention: bool = False,
) -> "Bundle":
    """Export a run, or `hf:` and a published model as it is, as a bundle at `out`; refused unless its predictions
    equal the net's on every validation image.

    `policy` holds rules that the report must keep, now and whenever the bundle is served: {"min_recall.person": 0.8}.

    With `attention` the bundle holds the net's attention weights for `attend`, without torch.

    The validation images are read again from where the run found them, or from `validation`.

    Raises:
        ParityError: the exported model disagrees; nothing is left at `out`.
        PolicyError: a rule is not kept; nothing is left at `out`.
    """
    return export_checked(
        model, out, validation=validation, report=report, name=name, policy=policy, attention=attention
    )[0]


def export_checked(
    model: "Run | PathLike",
    out: PathLike,
    *,
    validation: "Dataset | PathLike | None" = None,
    report: Report | None = None,
    name: str | None = None,
    policy: Mapping[str, float] | None = None,
    attention: bool = False,
) -> "tuple[Bundle, Parity]":
    if isinstance(model, str) and model.startswith("hf:"):
        if attention or not isinstance(validation, str | Path | None):
            raise UsageError("expected no --with-attention with a published model", fix="leave it out")
        from eyewright.lifecycle.publishing import export_published

        return export_published(model, out, data=validation, name=name, policy=policy)
    need_torch()
    from eyewright.exporting import export_bundle

    owner = load_run(model) if isinstance(model, str | Path) else model
    if validation is None:
        validation = part_of_run(owner, "val")
    elif isinstance(validation, str | Path):
        validation = load_dataset(
            validation,
            task=owner.task_name,
            ignore=ignored_by(owner),
            target=target_of(owner.task_name, owner.labels),
        ).val
    names = ("report.html", "report.json")
    files = {n: (owner.folder / n).read_bytes() for n in names if (owner.folder / n).exists()}
    if report is None and "report.json" in files:
        report = _read_metrics(files["report.json"])
    if wrong := errors_in(report):
        raise RefusedError(f"nothing was exported: {wrong[0].message}", fix=wrong[0].fix, code=wrong[0].code)
    return export_bundle(
        owner,
        Path(out),
        validation=validation,
        report=report,
        report_files=files,
        name=name,
        policy=policy,
        attention=attention,
    )


def verify(path: PathLike, *, key: PathLike | None = None) -> "Bundle":
    """Check a bundle or a target: every digest, the model's tensors, the golden pairs; return it, ready to predict.

    With `key`, the file of a public key, it must be signed by that key.

    Raises:
        BundleError: it is not what was exported, does not run as it did, or is not signed by that key.
    """
    return open_any(path, key=key)  # type: ignore[no-any-return]


def predict(model: "Bundle | Run | PathLike", source: Any, *, stream: bool = False) -> Any:
    """Predict an image, several, a folder or a glob; see `Bundle.predict`.

    Raises:
        BundleError, InputError: as `verify` and `iter_images`.
    """
    from eyewright.bundle import Bundle

    bundle = model if isinstance(model, Bundle) else verify(model if isinstance(model, str | Path) else model.folder)
    return bundle.predict(source, stream=stream)


def errors_in(report: Report | None) -> list[Finding]:
    """Return what a report finds wrong with the model itself."""
    found = () if report is None else report.sections.get("findings", ())
    return [f for f in found if f.severity == "error"]


def _as_published(model: str, data: "Dataset | PathLike | None", label_depth: int | None) -> Any:
    """Return a published model for the task of the data, in the classes that it was published with."""
    if data is None:
        raise UsageError(f"expected data to evaluate {model!r} on, found none", fix="pass a dataset")
    need_torch()
    task = (open_dataset(data, label_depth=label_depth) if isinstance(data, str | Path) else data).task
    return published_predictor(model, task)


def _provenance_of(predictor: "Predictor") -> Mapping[str, Any]:
    return predictor.manifest.provenance if hasattr(predictor, "manifest") else {}


def _temperature(predictor: "Predictor") -> float | None:
    if hasattr(predictor, "manifest"):
        return predictor.manifest.calibration.get("temperature")  # type: ignore[no-any-return]
    found: float | None = getattr(predictor, "temperature", None)
    return None if found == 1 else found  # Of exactly 1 none was fitted.


def _report_provenance(about: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("dataset", "grouping", "seed", "versions", "hardware", "commit")
    return {k: about[k] for k in keys if about.get(k) is not None}


def _points_of(predictor: "Predictor") -> Mapping[str, Any]:
    return predictor.manifest.thresholds if hasattr(predictor, "manifest") else {}


def _measured_on(dataset: "Dataset") -> dict[str, int]:
    groups = group_numbers([s.group for s in dataset.samples])
    return {"images": len(dataset), "groups": len(set(groups.tolist()))}


def title_of(predictor: "Predictor", owner: "Run | None") -> str:
    if owner is None:
        # A predictor of the caller's own has no manifest.
        manifest = getattr(predictor, "manifest", None)
        return str(manifest.name) if manifest is not None else type(predictor).__name__
    return f"{owner.about['dataset']['name']}: {owner.recipe.model_name}"


def _read_metrics(data: bytes) -> Report:
    content = json.loads(data)
    metrics = {k: Metric(**v) for k, v in content["metrics"].items()}
    provenance, tables = content.get("provenance", {}), content.get("tables", {})
    # What the card says of groups and of new things.
    kept = {k: tables[k] for k in ("together", "novelty") if tables.get(k)}
    findings = tuple(Finding(**f) for f in content.get("sections", {}).get("findings") or ())
    return Report(
        content["task"],
        tuple(content["labels"]),
        content["n"],
        metrics,
        tables=kept,
        sections={"findings": findings},
        provenance=provenance,
    )
