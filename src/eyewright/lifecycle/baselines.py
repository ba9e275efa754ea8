"""A simpler net that is trained with every run whose learner names one, and compared with it on the same images."""

__all__ = ["deadline_before_baseline", "train_baseline", "with_baseline"]

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from eyewright.catalog import build_of
from eyewright.core.errors import EyewrightError
from eyewright.core.report import Report
from eyewright.core.task import task_of
from eyewright.lifecycle.opening import load_run
from eyewright.training.plan import RunPlan

if TYPE_CHECKING:
    from eyewright.data import Dataset, Scan
    from eyewright.training import Recipe
    from eyewright.training.learner import Baseline
    from eyewright.training.run import Run

FOLDER = "baseline"
_EPOCHS, _FEWEST_EPOCHS = 0.25, 3
_LEAST_S = 2.0


def _baseline_of(recipe: "Recipe", plan: RunPlan, task: str) -> "Baseline | None":
    from eyewright.training.learner import learner_of

    wanted = plan.baseline and recipe.baseline == "auto"
    return learner_of(task).baseline(recipe) if wanted else None


def deadline_before_baseline(recipe: "Recipe", plan: RunPlan, task: str) -> float | None:
    """Return when the main net must be done, so that a fraction of the budget is left for the baseline."""
    found = _baseline_of(recipe, plan, task)
    if plan.deadline is None or found is None:
        return plan.deadline
    now = time.monotonic()
    return now + (1 - found.time) * (plan.deadline - now)


def train_baseline(run: "Run", dataset: "Dataset", scan: "Scan", plan: RunPlan) -> None:
    """Train the baseline of a run into its folder `baseline`, and say how both do on the validation images.

    It starts from what the trained net has learnt, and so needs a fraction of its time (`Baseline`). Its failure does
    not fail the run.
    """
    from eyewright.evaluation import compare_predictors
    from eyewright.training.distributed import rank_of
    from eyewright.training.session import train_model

    found = _baseline_of(run.recipe, plan, dataset.task)
    if found is None:
        return
    if plan.deadline is not None and plan.deadline - time.monotonic() < _LEAST_S:
        plan.say(f"no time was left for the baseline {found.model}: give a larger --budget")
        return
    folder = run.folder / FOLDER
    epochs = found.epochs or run.recipe.epochs
    if epochs is not None and found.epochs is None:
        epochs = min(epochs, max(_FEWEST_EPOCHS, math.ceil(_EPOCHS * epochs)))
    recipe = replace(
        run.recipe,
        model=found.model,
        baseline="none",
        epochs=epochs,
        budget_s=None if epochs else run.recipe.budget_s,
    )
    plan.say(f"baseline: {found.model}, which cannot {found.lacks}, is trained on the same images")
    try:
        simpler = train_model(
            dataset,
            scan,
            recipe,
            folder=folder,
            build_of=build_of,
            plan=replace(
                plan,
                resume=plan.resume and (folder / "checkpoints").is_dir(),
                preparation=run.preparation,
                deadline=None if epochs else plan.deadline,
                weights=None,
                step=None,
                observe=None,
                say=lambda text: None,
                start=lambda new: found.start(run.net, new),
                notes={"data_path": run.about.get("data_path", ""), "lacks": found.lacks},
            ),
        )
    except EyewrightError as error:
        plan.say(f"warning: the baseline {found.model} could not be trained: {error}")
        return
    if rank_of() == 0:
        on_validation = compare_predictors(simpler.predictor, run.predictor, dataset.val, quiet=True)
        plan.say(f"baseline (A) and model (B) on validation: {on_validation}")


def with_baseline(report: Report, owner: "Run | None", dataset: "Dataset", *, seed: int, quiet: bool) -> Report:
    """Return the report with the comparison of the run and its baseline on the same images, if it has one.

    `tables["baseline"]` has the names and metrics of both, the epochs that each was trained for, and the paired
    difference (model minus baseline) with its interval.
    """
    from eyewright.evaluation import compare_predictors

    if owner is None or not (owner.folder / FOLDER / "run.json").is_file():
        return report
    simpler = load_run(owner.folder / FOLDER)
    found = compare_predictors(simpler.predictor, owner.predictor, dataset, seed=seed, quiet=quiet)
    metric = task_of(report.task).main_metric
    told = {
        **found.to_json(),
        "metric": metric,
        "baseline": simpler.recipe.model_name,
        "model": owner.recipe.model_name,
        "lacks": simpler.about.get("lacks", ""),
        "value": {"baseline": found.a[metric].value, "model": found.b[metric].value},
        "epochs": {"baseline": _epochs(simpler), "model": _epochs(owner)},
    }
    return replace(report, tables={**report.tables, "baseline": told})


def _epochs(run: "Run") -> int:
    return int(run.about["training"]["epochs"])
