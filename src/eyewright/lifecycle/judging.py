"""The judge of a generator: trained before it, on the same real images, and never used to train it."""

__all__ = ["train_judge"]

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from eyewright.catalog import build_of
from eyewright.training.plan import RunPlan

if TYPE_CHECKING:
    from pathlib import Path

    from eyewright.data import Dataset, Scan
    from eyewright.training import Recipe

_SHARE, _LONGEST_S, _EPOCHS = 0.15, 60.0, 3


def train_judge(dataset: "Dataset", scan: "Scan", recipe: "Recipe", folder: "Path", plan: RunPlan) -> None:
    """Train and write the judge of a generator into the run folder, if its learner names one and it is not there yet.

    It takes 15 % of a budget, at most a minute, or a few epochs.
    """
    from eyewright.bundle.judge import FOLDER, judge_in, open_judge
    from eyewright.bundle.load import open_session
    from eyewright.training.distributed import rank_of
    from eyewright.training.learner import learner_of
    from eyewright.training.session import train_model

    learner = learner_of(dataset.task)
    place = folder / FOLDER
    if not learner.judge or rank_of() > 0 or judge_in(place):
        return
    from eyewright.exporting.judge import export_judge

    learner.check(dataset)
    now = time.monotonic()
    deadline = None if plan.deadline is None else now + min(_LONGEST_S, _SHARE * (plan.deadline - now))
    few = max(_EPOCHS, round(30_000 / max(1, len(dataset.train))))
    own = type(recipe)(
        task=learner.judge,
        model="quick_net",
        epochs=min(few, 60) if deadline is None else None,
        budget_s=None if deadline is None else max(1.0, deadline - now),
        device=recipe.device,
        seed=recipe.seed,
    )
    run = train_model(
        replace(dataset, task=learner.judge),
        scan,
        own,
        folder=place,
        build_of=build_of,
        plan=RunPlan(
            deadline=deadline,
            preparation=learner.preparation(dataset, scan, recipe, None),
            workers=plan.workers,
            resume=plan.resume and (place / "checkpoints").is_dir(),
            notes={"data_path": plan.notes.get("data_path", "")},
        ),
    )
    export_judge(run, dataset, place)
    judge = open_judge(place, open_session)
    a = judge.accuracy
    plan.say(
        f"judge of the images: {judge.digest[:12]}, accuracy {a['value']:.1%} [{a['low']:.1%}, {a['high']:.1%}] "
        f"on {a['n']:.0f} images; it has no part in what follows"
    )
