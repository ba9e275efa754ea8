"""Hyperparameter search: trials in a study that can be stopped and gone on with."""

__all__ = ["TuneResult", "tune"]

import contextlib
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from eyewright.core.errors import BudgetError, MissingExtraError, UsageError
from eyewright.core.files import held_lock, write_json
from eyewright.core.installed import installed, open_installed
from eyewright.core.jsonable import to_jsonable
from eyewright.core.quoting import quoted
from eyewright.core.task import task_of
from eyewright.data import label_error_rule, leak_rule
from eyewright.lifecycle.datasets import PathLike, Say, dataset_of, settled, silent
from eyewright.lifecycle.loading import need_torch
from eyewright.lifecycle.opening import asked_of, check_model, free_folder, load_run, once_if_private, recipe_of
from eyewright.lifecycle.spreading import digest_of, on_every_node, path_of
from eyewright.lifecycle.trials import FIRST_GUESSES, place_of, pruner, train_trial
from eyewright.scaling.units import open_units
from eyewright.training.options import StudyOptions, named_options
from eyewright.training.plan import RunPlan
from eyewright.training.recipe import Recipe

if TYPE_CHECKING:
    from eyewright.data import Dataset
    from eyewright.training.run import Run

# Less time is too little for a trial.
_LEAST_S = 3.0


@dataclass(frozen=True)
class TuneResult:
    """What a search found: the best trial's run, what it changed in the recipe, and a row for every trial, also for one
    that was given up (`fail`) because a process was killed, and drawn again. `measured` is how many trials have a
    validation score, at the end or when they were stopped early; `restarts` how often a trial was continued because its
    process was lost."""

    folder: Path
    run: "Run"
    chosen: Mapping[str, Any]
    trials: tuple[Mapping[str, Any], ...]
    measured: int = 0
    restarts: int = 0


@named_options(StudyOptions)
def tune(
    data: "Dataset | PathLike",
    *,
    trials: int = 20,
    budget: str | float | None = None,
    out: PathLike | None = None,
    recipe: "Recipe | None" = None,
    resume: bool = False,
    leaks: str | None = None,
    allow_leaks: bool = False,
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
) -> TuneResult:
    """Train `trials` times with other settings, and return the run that validates best.

    Searched is what the recipe leaves at its default of: learning rate, optimiser, weight decay, label smoothing,
    dropout, augmentation. The first trial is the unchanged recipe, so the result validates no worse. Trials that fall
    behind the median of the others are ended early. The study is `study.db` in the folder, an Optuna study in SQLite;
    with `resume` it continues up to `trials` in all. `budget` is for all trials together. `leaks` and
    `label_errors` are as for `train`.

    `on` spreads the trials over `processes` (by default one per core): "local" those of this machine, "ray",
    "HOST:PORT" or "ray://HOST:PORT" those of a Ray cluster (see `run_job`). `data` is a path then. N processes train N
    trials at a time, and each trial is drawn from the results of those that were drawn N or more before it. So the
    trials depend on `processes`, and not on where or how fast they run. A trial whose process is lost is trained again,
    from its last checkpoint.

    The best validation score is the largest of many, so it is optimistic: only the test part says how good the run is.

    Raises:
        MissingExtraError: optuna is not installed.
        UsageError: another process is using the study, or there is one and `resume` is not asked for.
        BudgetError: no trial could be finished.
        LostError: processes of a trial are lost again and again, or the cluster.
    """
    started = time.monotonic()
    leaks = leak_rule(leaks, allow_leaks)
    label_errors = label_error_rule(label_errors)
    need_torch()
    if find_spec("optuna") is None:
        raise MissingExtraError("--tune needs optuna, which is not installed", fix="pip install 'eyewright[tune]'")
    if trials < 1:
        raise UsageError(f"expected 1 trial or more, found {trials}", fix="change --tune")
    if resume and out is None:
        raise UsageError("expected --out with --resume, found none", fix="name the folder to continue in")
    resolved = recipe_of(recipe, budget=budget, **options)
    once_if_private(resolved, "--tune")
    place = None if on is None else path_of(data, "--tune")
    given = {"group_by": group_by, "label_depth": label_depth, "ignore": ignore, "target": target}
    dataset = dataset_of(data, **asked_of(resolved), **given, quiet=quiet, say=say)
    check_model(resolved.model, dataset.task)
    task_of(dataset.task).require("tune")
    dataset = settled(dataset, leaks, quiet=quiet)
    folder = Path(out) if out is not None else free_folder(Path("runs") / dataset.task, f"{dataset.name}-tune")
    deadline = None if resolved.budget_s is None else started + resolved.budget_s - 2.0
    metric = resolved.chosen_by + task_of(dataset.task).chosen_by
    plan = RunPlan(deadline=deadline, workers=workers, label_errors=label_errors, quiet=quiet, say=say)
    with _open_study(folder, resume=resume) as study:
        _retry_broken(study, resolved)
        if not study.trials:
            study.enqueue_trial({})
        if place is not None:
            asked = {
                "unit": "trial", "data": place, **{k: v if v is None else to_jsonable(v) for k, v in given.items()},
                "leaks": leaks, "label_errors": label_errors, "workers": workers, "metric": metric,
                "digest": digest_of(dataset),
            }  # fmt: skip
            restarts = _spread(
                study, trials, on_every_node(resolved), asked, folder, plan, on=str(on), processes=processes
            )
            return replace(_result(study, folder, metric, say), restarts=restarts)
        while (number := _finished(study)) < trials:
            own = resolved
            if deadline is not None:
                share = (deadline - time.monotonic()) / (trials - number)
                if share < _LEAST_S:
                    say("the budget is used")
                    break
                own = replace(resolved, budget_s=share)
            _one_trial(study, dataset, own, folder, plan, metric)
        return _result(study, folder, metric, say)


def _one_trial(study: Any, dataset: "Dataset", recipe: Recipe, folder: Path, plan: RunPlan, metric: str) -> None:
    """Draw a trial, train it here, and tell the study."""
    trial, own = _ask(study, recipe, 1, plan.say)

    def report(epoch: int, value: float) -> bool:
        trial.report(value, epoch)
        return bool(trial.should_prune())

    plan = replace(plan, resume="place" in trial.user_attrs)
    _tell(study, trial, train_trial(dataset, own, folder / place_of(trial), plan, metric, report), plan.say)


def _ask(study: Any, recipe: Recipe, at_once: int, say: Say) -> tuple[Any, Recipe]:
    """Draw the next trial: a function of the seed, of how many there are, and of what is known of them, so that a study
    that was stopped draws the same."""
    import optuna

    failed = optuna.trial.TrialState.FAIL
    begun = sum(t.state not in (failed, optuna.trial.TrialState.WAITING) for t in study.get_trials(deepcopy=False))
    study.sampler = optuna.samplers.TPESampler(
        seed=recipe.seed + begun, n_startup_trials=FIRST_GUESSES, constant_liar=at_once > 1
    )
    trial = study.ask()
    own = _suggest(trial, recipe, first=begun == 0)
    changed = {k: v for k, v in own.to_json().items() if v != recipe.to_json()[k]}
    trial.set_user_attr("changed", changed)
    trial.set_user_attr("recipe", own.to_json())
    say(
        f"trial {trial.number + 1}: "
        + (", ".join(f"{k} {_short(v)}" for k, v in changed.items()) or "the unchanged recipe")
    )
    return trial, own


def _tell(study: Any, trial: Any, found: Mapping[str, Any], say: Say) -> None:
    """Tell the study what became of a trial."""
    import optuna

    known = study.get_trials(deepcopy=False)[trial.number].intermediate_values
    for epoch, value in found["values"].items():
        if int(epoch) not in known:
            trial.report(value, int(epoch))
    if found["state"] == "complete":
        trial.set_user_attr("run", place_of(trial))
        study.tell(trial, found["value"])
        return
    name = f"trial {trial.number + 1}"
    say(f"{name}: {found['message']}" if "message" in found else f"{name} is worse than the others and was stopped")
    study.tell(trial, state=optuna.trial.TrialState.PRUNED)


def _spread(
    study: Any,
    trials: int,
    recipe: Recipe,
    asked: Mapping[str, Any],
    folder: Path,
    plan: RunPlan,
    *,
    on: str,
    processes: int | None,
) -> int:
    """Have trials trained by several processes; return how often one was lost and continued. They are told to the study
    in the order in which they were drawn, so that what a trial is drawn from does not depend on which of them is
    faster."""
    import optuna

    left = trials - _finished(study)
    if left < 1:
        return 0
    with open_units(on, units=left, processes=processes, say=plan.say) as units:
        size = units.size
        flying: dict[str, Any] = {}
        found: dict[str, Mapping[str, Any]] = {}
        plan.say(f"{left} trials on {on}, {size} at a time")
        while True:
            while left and len(flying) < size:
                own = recipe
                if plan.deadline is not None:
                    share = (plan.deadline - time.monotonic()) / math.ceil(left / size)
                    if share < _LEAST_S:
                        plan.say("the budget is used")
                        left = 0
                        break
                    own = replace(recipe, budget_s=share)
                trial, drawn = _ask(study, own, size, plan.say)
                complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
                name, left = f"trial {trial.number + 1}", left - 1
                flying[name] = trial
                request = {
                    **asked, "recipe": drawn.to_json(), "place": os.path.abspath(folder / place_of(trial)),
                    "before": [t.intermediate_values for t in complete], "resume": "place" in trial.user_attrs,
                }  # fmt: skip
                units.give(name, request)
            if not flying:
                break
            first = next(iter(flying))
            while first not in found:
                found.update(units.wait())
            _tell(study, flying.pop(first), found.pop(first), plan.say)
        if units.restarts:
            plan.say(f"restarts {units.restarts:,}")
        return units.restarts


def _takes_dropout(recipe: Recipe) -> bool:
    """Return whether the net can be built with dropout; a net of the user's own or of a package need not."""
    if ":" in recipe.model:
        return False
    if recipe.model not in installed("eyewright.nets"):
        return True
    taken = signature(open_installed("eyewright.nets", recipe.model)).parameters.values()
    return any(p.name == "dropout" or p.kind is p.VAR_KEYWORD for p in taken)


def _suggest(trial: Any, recipe: Recipe, *, first: bool) -> Recipe:
    """Draw what the recipe leaves open; the first trial takes the defaults."""
    from eyewright.training.optimisers import default_lr

    plain = Recipe()
    if first:
        return recipe
    drawn: dict[str, Any] = {}
    optimizer = recipe.optimizer
    tuned = recipe.model.startswith("hf:")
    if optimizer is None and not tuned:
        drawn["optimizer"] = optimizer = trial.suggest_categorical("optimizer", ["muon", "adamw", "momentum"])
    if recipe.lr is None:
        base = 3e-4 if tuned and optimizer in (None, "adamw") else default_lr(optimizer or "muon")
        drawn["lr"] = base * trial.suggest_float("lr_factor", 0.1, 4.0, log=True)
    if recipe.weight_decay == plain.weight_decay:
        drawn["weight_decay"] = trial.suggest_float("weight_decay", 1e-4, 0.3, log=True)
    if recipe.label_smoothing is None and recipe.loss == "cross_entropy":
        drawn["label_smoothing"] = trial.suggest_float("label_smoothing", 0.0, 0.2)
    if recipe.dropout == plain.dropout and not tuned and _takes_dropout(recipe):
        drawn["dropout"] = trial.suggest_float("dropout", 0.0, 0.4)
    if recipe.augment == "auto":
        drawn["augment"] = trial.suggest_categorical("augment", ["light", "strong"])
    return replace(recipe, **drawn)


@contextlib.contextmanager
def _open_study(folder: Path, *, resume: bool, patience_s: float = 5.0) -> Iterator[Any]:
    """Hold the study for one process; a second one is refused."""
    import optuna
    from sqlalchemy.engine import URL
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = folder / "study.db"
    busy = f"another process is using the study in {quoted(folder)}"
    with held_lock(folder / ".study.lock", busy=busy, code="study_in_use"):
        if path.exists() and not resume:
            raise UsageError(
                f"a study is already in {quoted(folder)}", fix="continue with --resume, or choose another --out"
            )
        try:
            url = URL.create("sqlite", database=str(path.resolve())).render_as_string()
            storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": patience_s}})
            study = optuna.create_study(
                study_name="eyewright",
                storage=storage,
                load_if_exists=True,
                direction="maximize",
                pruner=pruner(),
            )
        except (SQLAlchemyError, KeyError, ValueError) as error:
            raise UsageError(
                f"the study {quoted(path)} cannot be opened: {str(error).splitlines()[0]}",
                fix="wait until the other process is done, or choose another --out",
                code="study_in_use" if "locked" in str(error) else "study_unreadable",
            ) from error
        yield study


def _retry_broken(study: Any, recipe: Recipe) -> None:
    """Try again what a killed process was training; where the options are the same, from its last checkpoint."""
    import optuna

    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        given, now = trial.user_attrs.get("recipe"), recipe.to_json()
        changed = set(trial.user_attrs.get("changed", ()))
        same = given is not None and all(given[k] == now[k] for k in now if k not in changed)
        study.enqueue_trial(trial.params, user_attrs={"place": place_of(trial)} if same else {})


def _finished(study: Any) -> int:
    import optuna

    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return len(study.get_trials(deepcopy=False, states=states))


def _result(study: Any, folder: Path, metric: str, say: Say) -> TuneResult:
    rows = [
        {
            "trial": t.number + 1,
            "state": t.state.name.lower(),
            f"val_{metric}": t.value,
            "epochs": len(t.intermediate_values),
            "changed": t.user_attrs.get("changed", {}),
            "run": t.user_attrs.get("run"),
        }
        for t in study.get_trials(deepcopy=False)
    ]
    done = [r for r in rows if r["run"] is not None]
    if not done:
        raise BudgetError("no trial was finished", fix="give a larger --budget or fewer --tune trials")
    best = max(done, key=lambda r: (r[f"val_{metric}"], -r["trial"]))
    # A trial that a killed process was training was given up and drawn again.
    n = _finished(study)
    say(f"best of {n}: trial {best['trial']}, validation {metric} {best[f'val_{metric}']:.4f}")
    write_json(folder / "tune.json", {"best": best, "trials": rows})
    return TuneResult(folder, load_run(folder / best["run"]), best["changed"], tuple(rows), n)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
