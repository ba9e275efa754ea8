"""Whether a net was trained too little to be judged by how it was measured, and what would be enough."""

__all__ = ["undertrained"]

import math
from typing import TYPE_CHECKING

from eyewright.core.durations import show_duration
from eyewright.core.task import task_of

if TYPE_CHECKING:
    from eyewright.training.run import Run


def undertrained(owner: "Run | None") -> dict[str, str] | None:
    """Return what to say of a run that learnt from fewer images than its task takes at least (`Task.least_seen`),
    and what to do; None where it learnt from enough."""
    if owner is None:
        return None
    training, recipe = owner.about.get("training") or {}, owner.recipe
    least = task_of(owner.task_name).least_seen
    seen = int(training.get("steps") or 0) * (recipe.batch or 0) * recipe.accumulate
    if not 0 < seen < least:
        return None
    epochs, seconds = int(training.get("epochs") or 1), float(training.get("seconds") or 0.0)
    said = f"{epochs} epoch{'s' * (epochs != 1)} of training in {show_duration(seconds)}, {seen:,} images in all"
    if recipe.budget_s is None:
        return {"said": f"only {said}", "fix": f"train with --epochs {math.ceil(epochs * least / seen)} or more"}
    needed = recipe.budget_s + seconds * (least / seen - 1)
    return {"said": f"the budget was enough for {said}", "fix": f"give --budget {budget_of(needed)} or more"}


def budget_of(seconds: float) -> str:
    """Return a duration as `--budget` takes it, rounded up.

    >>> budget_of(61), budget_of(119), budget_of(121), budget_of(7201)
    ('70s', '2m', '3m', '121m')
    """
    if seconds <= 110:
        return f"{10 * math.ceil(seconds / 10)}s"
    return f"{math.ceil(seconds / 60)}m"
