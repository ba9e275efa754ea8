"""How a training is carried out, as one value: what a recipe says is learnt, a plan says by when and from where."""

__all__ = ["RunPlan"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eyewright.imaging.preparation import Preparation
    from eyewright.nets.pixels import PixelNet
    from eyewright.training.steps import Step


def _silent(text: str) -> None:
    pass


@dataclass(frozen=True)
class RunPlan:
    """What a recipe does not repeat.

    Args:
        deadline: a `time.monotonic` value at which training ends annealed; None for the epochs of the recipe.
        reserve: given the seconds that the net needs for an image, returns how much earlier training ends.
        resume: continue from the last checkpoint of the run folder.
        weights: those to begin with: a safetensors file of the same net, pruned or not, a run or a bundle.
        preparation: that of another model, where both must see the same pixels; None for one that suits the data.
        start: called with the net that was just built, to put weights into it.
        workers: processes that decode images; None for one a core.
        step: what is done with a batch; None for a plain gradient step.
        log: "tensorboard" or "mlflow", which get every epoch's numbers too.
        observe: called with every epoch's row; what it raises ends training.
        baseline: also train what the learner compares its nets with (`Learner.baseline`), if the recipe wants it.
        notes: written into `run.json`.
        quiet: no progress bars.
        say: called with every line of progress.
    """

    deadline: float | None = None
    reserve: Callable[[float], float] | None = None
    resume: bool = False
    weights: Path | None = None
    preparation: "Preparation | None" = None
    start: "Callable[[PixelNet], None] | None" = None
    workers: int | None = None
    step: "Step | None" = None
    log: str | None = None
    observe: Callable[[Mapping[str, str]], None] | None = None
    baseline: bool = False
    notes: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    quiet: bool = True
    say: Callable[[str], None] = _silent
