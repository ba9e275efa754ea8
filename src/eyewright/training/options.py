"""The named options of the functions that train, with their types: what an editor completes and mypy checks.

`Recipe` defines each option; a test holds the types here against its fields. A function names some of them itself, so
that each takes the group that its own arguments leave over.
"""

__all__ = [
    "FederateOptions",
    "HardenOptions",
    "QuickstartOptions",
    "RecipeOptions",
    "RetrainOptions",
    "RunOptions",
    "StudyOptions",
    "TrainOptions",
    "named_options",
]

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from eyewright.training.recipe import (
    Amp,
    Augment,
    Baselines,
    Flip,
    NormName,
    OptimizerName,
    Recipe,
    Schedule,
    StepName,
)

_F = TypeVar("_F", bound=Callable[..., Any])


class _Common(TypedDict, total=False):
    imgsz: int | None
    frames: int | None
    span: float | None
    steps: str | None
    edits: str | None
    degrade: str | None
    masks: str | None
    batch: int | None
    accumulate: int | None
    optimizer: OptimizerName | None
    lr: float | None
    schedule: Schedule | None
    warmup: float | None
    preview: float | None
    weight_decay: float | None
    l1: float | None
    clip_norm: float | None
    loss: str | None
    huber_delta: float | None
    label_smoothing: float | None
    class_weights: bool | None
    dropout: float | None
    activation: str | None
    augment: Augment | None
    flip: Flip | None
    mixup: float | None
    cutmix: float | None
    freeze: float | None
    layer_decay: float | None
    ema: float | None
    patience: int | None
    baseline: Baselines | None
    device: str | None
    amp: Amp | None
    seed: int | None


class FederateOptions(_Common, total=False):
    """What `federate` takes of a recipe: the clients' own training has neither attacks nor a budget."""

    task: str | None
    model: str | None


class RecipeOptions(_Common, total=False):
    """Fields of `Recipe` that every function that trains takes; `None` keeps the recipe's."""

    eps: float | None
    norm: NormName | None
    attack_steps: int | None
    beta: float | None
    sigma: float | None
    private: str | None


class TrainOptions(RecipeOptions, total=False):
    """What `train` takes in addition to the arguments that it names."""

    task: str | None


class RunOptions(RecipeOptions, total=False):
    """What `run` takes in addition to the arguments that it names."""

    model: str | None
    epochs: int | None
    step: StepName | str | None


class StudyOptions(RunOptions, total=False):
    """What `cross_validate` and `tune` take in addition to the arguments that they name."""

    task: str | None


class RetrainOptions(StudyOptions, total=False):
    """What `retrain` takes; what the bundle decides (its net, its input) is refused."""

    budget: str | float | None


class QuickstartOptions(StudyOptions, total=False):
    """What `quickstart` hands to `run`."""

    budget: str | float | None
    recipe: Recipe | None
    group_by: str | None
    label_depth: int | None
    leaks: str | None
    allow_leaks: bool
    label_errors: str | None
    ignore: Sequence[str]
    target: Sequence[str]
    workers: int | None


class HardenOptions(TrainOptions, total=False):
    """What `harden` hands to `train`: all of its arguments but `step`."""

    model: str | None
    epochs: int | None
    budget: str | float | None
    out: str | Path | None
    recipe: Recipe | None
    resume: bool
    weights: str | Path | None
    leaks: str | None
    allow_leaks: bool
    label_errors: str | None
    group_by: str | None
    label_depth: int | None
    ignore: Sequence[str]
    target: Sequence[str]
    workers: int | None
    teacher: Any
    shards: int | None
    add_generated: Any
    log: str | None
    observe: Callable[[Mapping[str, str]], None] | None
    quiet: bool
    say: Callable[[str], None]


def named_options(options: type) -> Callable[[_F], _F]:
    """Return a decorator that shows a function's `**options` as the keyword arguments that they are, with defaults.

    `help`, notebooks and the API reference then list them; nothing about a call changes. An option of `Recipe` has the
    recipe's default, another one `None`.

    >>> @named_options(TrainOptions)
    ... def study(data, **options): ...
    >>> inspect.signature(study).parameters["weight_decay"].default
    0.01
    """
    defaults = {f.name: f.default for f in dataclasses.fields(Recipe)}

    def show(function: _F) -> _F:
        signature = inspect.signature(function)
        kept = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        taken = {p.name for p in kept}
        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults.get(name), annotation=annotation)
            for name, annotation in options.__annotations__.items()
            if name not in taken
        ]
        function.__signature__ = signature.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
        return function

    return show
