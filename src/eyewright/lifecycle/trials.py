"""One trial of a search: trained, continued where it was stopped, and ended when it falls behind."""

__all__ = ["FIRST_GUESSES", "do_trial", "place_of", "pruner", "train_trial"]

import csv
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyewright.core.errors import CheckpointError, RefusedError
from eyewright.lifecycle.datasets import dataset_of, settled, silent
from eyewright.lifecycle.opening import asked_of, load_run
from eyewright.lifecycle.spreading import refuse_other, when_free
from eyewright.lifecycle.stages import train_on
from eyewright.training.plan import RunPlan
from eyewright.training.recipe import Recipe

if TYPE_CHECKING:
    from eyewright.data import Dataset
    from eyewright.training.run import Run

FIRST_GUESSES = 5
"""So many trials are drawn at random, and none is ended early before so many are complete."""


def place_of(trial: Any) -> str:
    """Return the name of the folder of a trial: that of the one which it is tried again for."""
    return str(trial.user_attrs.get("place", f"trial-{trial.number + 1}"))


def train_trial(
    dataset: "Dataset", recipe: Recipe, place: Path, plan: RunPlan, metric: str, report: Callable[[int, float], bool]
) -> dict[str, Any]:
    """Train a trial, or with `plan.resume` continue it from its last checkpoint.

    Returns its `state`, the `values` of its epochs, and its `value` if it is complete or a `message` if it was refused.
    `report` says whether it is to be ended.
    """
    import optuna

    values: dict[int, float] = {}
    if plan.resume and (place / "run.json").exists():
        # Only the study was not told.
        return _completed(load_run(place), metric)
    begun = plan.resume and (place / "checkpoints" / "last").exists()
    earlier = _rows_before(place, metric) if begun else {}

    def observe(row: Mapping[str, str]) -> None:
        epoch = int(row["epoch"])
        for known, value in earlier.items():
            if known < epoch:
                values[known] = value
                report(known, value)
        earlier.clear()
        values[epoch] = float(row[f"val_{metric}"])
        if report(epoch, values[epoch]):
            raise optuna.TrialPruned

    end = None if recipe.budget_s is None else time.monotonic() + recipe.budget_s
    try:
        run = train_on(dataset, recipe, place, replace(plan, deadline=end, observe=observe, resume=begun))
    except optuna.TrialPruned:
        return {"state": "pruned", "values": values}
    except RefusedError as error:
        if isinstance(error, CheckpointError):
            raise
        # A rate at which the loss runs away is an answer too: not that one.
        return {"state": "refused", "values": values, "message": error.message}
    return _completed(run, metric)


def _completed(run: "Run", metric: str) -> dict[str, Any]:
    values = {int(row["epoch"]): float(row[f"val_{metric}"]) for row in run.history()}
    return {"state": "complete", "values": values, "value": run.about["training"][f"val_{metric}"]}


def _rows_before(place: Path, metric: str) -> dict[int, float]:
    """Return the validation of epochs that a trial which was stopped has done, by epoch."""
    try:
        with open(place / "metrics.csv", encoding="utf-8", newline="") as file:
            return {int(row["epoch"]): float(row[f"val_{metric}"]) for row in csv.DictReader(file)}
    except (OSError, csv.Error, KeyError, TypeError, ValueError):
        return {}


def do_trial(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Train a trial, as it is asked for in JSON types; a process that does several reads the data once.

    Raises:
        RefusedError: the data of this machine is another one.
        EyewrightError: as `tune`.
    """
    import optuna

    recipe = Recipe.from_mapping(asked["recipe"])
    named = ("data", "leaks", "group_by", "label_depth", "ignore", "target")
    dataset = _read(json.dumps({**{k: asked[k] for k in named}, **asked_of(recipe)}, sort_keys=True))
    refuse_other(dataset, asked["digest"])
    # Whether it falls behind, Optuna's own rule says, from the trials that the driver knew when it was drawn.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    others = optuna.create_study(direction="maximize", pruner=pruner())
    state = optuna.trial.TrialState.COMPLETE
    for values in asked["before"]:
        told = {int(epoch): value for epoch, value in values.items()}
        others.add_trial(optuna.trial.create_trial(state=state, value=0.0, intermediate_values=told))
    trial = others.ask()

    def report(epoch: int, value: float) -> bool:
        trial.report(value, epoch)
        return bool(trial.should_prune())

    begun = asked["resume"] or asked["again"]
    plan = RunPlan(workers=asked["workers"], label_errors=asked["label_errors"], resume=begun)
    place = Path(asked["place"])
    return when_free(lambda: train_trial(dataset, recipe, place, plan, asked["metric"], report))


@lru_cache(maxsize=1)
def _read(text: str) -> "Dataset":
    asked = json.loads(text)
    leaks = asked.pop("leaks")
    return settled(dataset_of(asked.pop("data"), **asked, quiet=True, say=silent), leaks)


def pruner() -> Any:
    import optuna

    return optuna.pruners.MedianPruner(n_startup_trials=FIRST_GUESSES, n_warmup_steps=2)
