"""The judge of a generator: trained before it, on the same real images, and never used to train it."""

__all__ = ["train_judge"]

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from eyewright.catalog import build_of
from eyewright.core.errors import BudgetError
from eyewright.training.plan import RunPlan

if TYPE_CHECKING:
    from pathlib import Path

    from eyewright.data import Dataset, Scan
    from eyewright.training import Recipe

# Images that the judge is trained on in all: a few seconds' worth where the budget is short.
_SEEN, _SEEN_A_SECOND, _EPOCHS = 120_000, 250, 60
# What a generator is trained for at least, and from when on a machine counts as busy.
_LEAST_S, _BUSY = 3.0, 1.5


def train_judge(dataset: "Dataset", scan: "Scan", recipe: "Recipe", folder: "Path", plan: RunPlan) -> None:
    """Train and write the judge of a generator into the run folder, if its learner names one and it is not there yet.

    It is trained for at most 60 epochs and 120,000 images, fewer where the budget is short or the machine busy. Where
    there is one class, it learns to tell the images from themselves turned by 90, 180 and 270 degrees.

    Raises:
        BudgetError: too little of the budget is left to train the generator.
    """
    from eyewright.bundle.judge import FOLDER, judge_in, open_judge
    from eyewright.bundle.session import open_session
    from eyewright.training.distributed import rank_of
    from eyewright.training.learner import learner_of
    from eyewright.training.session import train_model

    learner = learner_of(dataset.task)
    place = folder / FOLDER
    if not learner.judge or rank_of() > 0 or judge_in(place):
        return
    from eyewright.exporting.judge import export_judge

    learner.check(dataset)
    given = dataset
    learnt: Dataset | None = None
    if len(dataset.labels) == 1:
        from eyewright.data.turned import with_turns

        dataset, scan = with_turns(dataset, scan, task=learner.judge)
        learnt = dataset
    preparation = learner.preparation(given, scan, recipe, None)
    left = None if plan.deadline is None else plan.deadline - time.monotonic()
    seen = _SEEN if left is None else min(_SEEN, _SEEN_A_SECOND * left / how_busy())
    began = time.monotonic()
    own = type(recipe)(
        task=learner.judge,
        model="quick_net",
        # By epochs and not by time: preparing the images first may take longer than a short budget for training.
        epochs=int(min(_EPOCHS, max(1, round(seen / max(1, len(dataset.train)))))),
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
            preparation=preparation,
            workers=plan.workers,
            resume=plan.resume and (place / "checkpoints").is_dir(),
            notes={"data_path": plan.notes.get("data_path", "")},
        ),
    )
    export_judge(run, given, place, learnt=learnt)
    judge = open_judge(place, open_session)
    a = judge.accuracy
    took = time.monotonic() - began
    used = "" if left is None else f"; {took:.0f} s of the budget"
    plan.say(
        f"judge of the images: {judge.digest[:12]}, accuracy {a['value']:.1%} [{a['low']:.1%}, {a['high']:.1%}] "
        f"on {a['n']:.0f} images; it measures the generator and takes no part in training it{used}"
    )
    if left is not None and (rest := left - took) < _LEAST_S:
        raise BudgetError(
            f"the budget is too short to train a generator in: the judge of its images took {took:.0f} s, "
            f"{max(0.0, rest):.0f} s are left",
            fix=f"give --budget at least {math.ceil(took + _LEAST_S)} s more",
        )


def how_busy(spin_s: float = 0.1) -> float:
    """Return how many times longer than on an idle machine work takes now, by a short measurement: 1 if it is idle."""
    began, cpu_s = time.monotonic(), time.process_time()
    while time.process_time() - cpu_s < spin_s:
        pass
    found = (time.monotonic() - began) / spin_s
    return found if found > _BUSY else 1.0
