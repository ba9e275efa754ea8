"""How a training is carried out, as one value: what a recipe says is learnt, a plan says by when and from where."""

__all__ = ["Guard", "Learnt", "Probe", "RunPlan"]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from eyewright.imaging.preparation import Preparation
    from eyewright.nets.pixels import PixelNet
    from eyewright.training.loop import FitData
    from eyewright.training.steps import Step


def _silent(text: str) -> None:
    pass


class Learnt(Protocol):
    """What a probe asks of how a dataset is learnt (`training.learner.Learning`)."""

    main_metric: str

    def objective(self, outputs: Any, targets: Any) -> "torch.Tensor": ...

    def condense(self, outputs: Any, targets: Any) -> Any: ...

    def measure(self, kept: Any, targets: Any) -> Mapping[str, float]: ...


class Probe(Protocol):
    """A second validation after every epoch, such as one under attack; its main metric chooses the best epoch."""

    prefix: str
    """What the task's main metric is called here begins with."""

    def rows(self, n: int) -> "NDArray[np.int64]":
        """Return which of n validation images are measured."""
        ...

    def begin(self, history: "Sequence[Mapping[str, str]]", metric: str) -> None:
        """Take notice of the epochs that are done, where training is resumed."""
        ...

    def __call__(self, net: "PixelNet", data: "FitData", learnt: Learnt, device: "torch.device") -> Mapping[str, float]:
        """Return numbers by name, among them the prefix and the main metric in one word."""
        ...


class Guard(Protocol):
    """What a run whose training images must stay private does otherwise: nothing is taken from them but by its step."""

    expected: float
    """How many images an update is expected to learn from."""
    units: int | None
    """How many samples an epoch goes through where they are not single images, such as groups of them; None: images."""
    physical: int
    """How many images pass through the net at once."""
    keeps_last: bool
    """Whether the last weights are taken, so that no validation image chooses among them."""
    saves_every_step: bool
    """Whether a checkpoint is written before every update, so that none is ever done twice."""
    scaling: Mapping[str, Sequence[float]]
    """Mean and std of pixels, which are known beforehand."""

    def begin(self, net: "PixelNet", data: "FitData", device: "torch.device") -> None:
        """Do once, before the first update and before a checkpoint is read, what needs all training images."""
        ...

    def validate(self, net: "PixelNet", data: "FitData", condense: Any, device: "torch.device") -> "NDArray[Any]":
        """Return what `condense(outputs, targets)` keeps of the outputs for the validation images."""
        ...

    def rows(self, step: int) -> "NDArray[np.int64]":
        """Return the images of an update; there may be none."""
        ...

    def state(self, steps: int) -> Mapping[str, Any]:
        """Return what a checkpoint holds of it after so many updates."""
        ...

    def resume(self, state: Mapping[str, Any] | None) -> None:
        """Check what a checkpoint holds of it.

        Raises:
            CheckpointError: it is of another guard, and what was spent cannot be known.
        """
        ...


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
        workers: processes that decode images; None for one per core.
        step: what is done with a batch; None for a plain gradient step.
        guard: what keeps training images private; None where they need not be.
        probe: a second validation, whose main metric chooses the epoch; None for the task's own alone.
        log: "tensorboard" or "mlflow", which get every epoch's numbers too.
        observe: called with every epoch's row; what it raises ends training.
        baseline: also train what the learner compares its nets with (`Learner.baseline`), if the recipe wants it.
        label_errors: "refuse", or "allow" to train where the audit finds that labels were not read as meant.
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
    guard: Guard | None = None
    probe: Probe | None = None
    log: str | None = None
    observe: Callable[[Mapping[str, str]], None] | None = None
    baseline: bool = False
    label_errors: str = "refuse"
    notes: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    quiet: bool = True
    say: Callable[[str], None] = _silent
