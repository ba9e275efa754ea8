"""Hyperparameter search: trials in a study that can be stopped and gone on with."""

__all__ = ["TuneResult", "tune"]

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from eyewright.core.errors import BudgetError, MissingExtraError, RefusedError, UsageError
from eyewright.core.files import held_lock, write_json
from eyewright.core.installed import installed, open_installed
from eyewright.core.quoting import quoted
from eyewright.core.task import task_of
from eyewright.data import label_error_rule, leak_rule
from eyewright.lifecycle.datasets import PathLike, Say, dataset_of, settled, silent
from eyewright.lifecycle.loading import need_torch
from eyewright.lifecycle.opening import asked_of, check_model, free_folder, load_run, once_if_private, recipe_of
from eyewright.lifecycle.stages import train_on
from eyewright.training.options import StudyOptions, named_options
from eyewright.training.plan import RunPlan
from eyewright.training.recipe import Recipe

if TYPE_CHECKING:
    from eyewright.data import Dataset
    from eyewright.training import Recipe
    from eyewright.training.run import Run

_FIRST_GUESSES = 5


@dataclass(frozen=True)
class TuneResult:
    """What a search found: the best trial's run, what it changed in the recipe, and a row for every trial."""

    folder: Path
    run: "Run"
    chosen: Mapping[str, Any]
    trials: tuple[Mapping[str, Any], ...]


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

    The best validation score is the largest of many, so it is optimistic: only the test part says how good the run is.

    Raises:
        MissingExtraError: optuna is not installed.
        UsageError: another process is using the study, or there is one and `resume` is not asked for.
        BudgetError: no trial could be finished.
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
    given = {"group_by": group_by, "label_depth": label_depth, "ignore": ignore, "target": target}
    dataset = dataset_of(data, **asked_of(resolved), **given, quiet=quiet, say=say)
    check_model(resolved.model, dataset.task)
    task_of(dataset.task).require("tune")
    dataset = settled(dataset, leaks, quiet=quiet)
    folder = Path(out) if out is not None else free_folder(Path("runs") / dataset.task, f"{dataset.name}-tune")
    deadline = None if resolved.budget_s is None else started + resolved.budget_s - 2.0
    with _open_study(folder, seed=resolved.seed, resume=resume) as study:
        _retry_broken(study)
        if not study.trials:
            study.enqueue_trial({})
        while (number := _finished(study)) < trials:
            end, own = deadline, resolved
            if deadline is not None:
                share = (deadline - time.monotonic()) / (trials - number)
                if share < 3:
                    say("the budget is used")
                    break
                end, own = time.monotonic() + share, replace(resolved, budget_s=share)
            _one_trial(study, dataset, own, folder, end, workers, label_errors, quiet, say)
        return _result(study, folder, resolved.chosen_by + task_of(dataset.task).chosen_by, say)


def _one_trial(
    study: Any,
    dataset: "Dataset",
    recipe: "Recipe",
    folder: Path,
    deadline: float | None,
    workers: int | None,
    label_errors: str,
    quiet: bool,
    say: Say,
) -> None:
    import optuna

    metric = recipe.chosen_by + task_of(dataset.task).chosen_by
    trial = study.ask()
    own = _suggest(trial, recipe, first=trial.number == 0)
    changed = {k: v for k, v in own.to_json().items() if v != recipe.to_json()[k]}
    trial.set_user_attr("changed", changed)
    say(
        f"trial {trial.number + 1}: "
        + (", ".join(f"{k} {_short(v)}" for k, v in changed.items()) or "the unchanged recipe")
    )

    def observe(row: Mapping[str, str]) -> None:
        trial.report(float(row[f"val_{metric}"]), int(row["epoch"]))
        if trial.should_prune():
            raise optuna.TrialPruned

    place = folder / f"trial-{trial.number + 1}"
    try:
        run = train_on(
            dataset,
            own,
            place,
            RunPlan(
                deadline=deadline, workers=workers, observe=observe, label_errors=label_errors, quiet=quiet, say=say
            ),
        )
    except optuna.TrialPruned:
        say(f"trial {trial.number + 1} is worse than the others and was stopped")
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    except RefusedError as error:
        # A rate at which the loss runs away is an answer too: not that one.
        say(f"trial {trial.number + 1}: {error.message}")
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    else:
        trial.set_user_attr("run", place.name)
        study.tell(trial, run.about["training"][f"val_{metric}"])


def _takes_dropout(recipe: "Recipe") -> bool:
    """Return whether the net can be built with dropout; a net of the user's own or of a package need not."""
    if ":" in recipe.model:
        return False
    if recipe.model not in installed("eyewright.nets"):
        return True
    taken = signature(open_installed("eyewright.nets", recipe.model)).parameters.values()
    return any(p.name == "dropout" or p.kind is p.VAR_KEYWORD for p in taken)


def _suggest(trial: Any, recipe: "Recipe", *, first: bool) -> "Recipe":
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
def _open_study(folder: Path, *, seed: int, resume: bool, patience_s: float = 5.0) -> Iterator[Any]:
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
            known = path.exists() and bool(optuna.study.get_all_study_names(storage))
            # A sampler that is begun again must not draw what it has drawn before.
            begun = len(optuna.load_study(study_name="eyewright", storage=storage).trials) if known else 0
            study = optuna.create_study(
                study_name="eyewright",
                storage=storage,
                load_if_exists=True,
                direction="maximize",
                sampler=optuna.samplers.TPESampler(seed=seed + begun, n_startup_trials=_FIRST_GUESSES),
                pruner=optuna.pruners.MedianPruner(n_startup_trials=_FIRST_GUESSES, n_warmup_steps=2),
            )
        except (SQLAlchemyError, KeyError, ValueError) as error:
            raise UsageError(
                f"the study {quoted(path)} cannot be opened: {str(error).splitlines()[0]}",
                fix="wait until the other process is done, or choose another --out",
                code="study_in_use" if "locked" in str(error) else "study_unreadable",
            ) from error
        yield study


def _retry_broken(study: Any) -> None:
    """What a killed process was training is tried again."""
    import optuna

    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        if trial.number:
            study.enqueue_trial(trial.params)


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
    say(f"best of {len(rows)}: trial {best['trial']}, validation {metric} {best[f'val_{metric}']:.4f}")
    write_json(folder / "tune.json", {"best": best, "trials": rows})
    return TuneResult(folder, load_run(folder / best["run"]), best["changed"], tuple(rows))


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
