"""Training steps that another package or the user's own module adds, found by name."""

__all__ = ["own_step", "packages_in", "with_packages"]

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import torch

from eyewright.core.errors import PackageError, UsageError, spelling_hint
from eyewright.core.installed import Guarded, import_own, installed, open_installed, package_of, versions_of
from eyewright.training.recipe import STEPS, TRAINING_STEPS, Recipe
from eyewright.training.steps import Step


def own_step(recipe: Recipe) -> Step:
    """Return the training step that a recipe names, where it is not built in: that of an installed package (entry
    points of "eyewright.training_steps"), or `package.module:function`.

    What it raises, and a loss that is no tensor of one number, is refused in one line that names the package.

    Raises:
        UsageError: there is no such step, or it cannot be imported.
    """
    name = recipe.step
    if ":" in name:
        found, owner = import_own(name, "training step"), f"the training step {name!r}"
    elif name in installed(TRAINING_STEPS):
        found = open_installed(TRAINING_STEPS, name)
        owner = f"the training step {name!r} of {package_of(TRAINING_STEPS, name)}"
    else:
        raise _unknown(recipe)
    if not callable(found) or isinstance(found, type):
        kind = "a class" if isinstance(found, type) else type(found).__name__
        raise PackageError(f"expected {owner} as a function of (state, batch), found {kind}")
    return cast("Step", _Detached(Guarded(found, owner, _wrong_loss)))


def packages_in(recipe: Recipe) -> dict[str, str]:
    """Return the packages that the task, net, training step and image-processing steps of a recipe are of, by name with
    their versions.

    >>> packages_in(Recipe())
    {}
    """
    used = [("eyewright.tasks", recipe.task), ("eyewright.nets", recipe.model), (TRAINING_STEPS, recipe.step)]
    steps = (part.strip().partition(":")[0] for part in recipe.steps.split("|"))
    return versions_of([*used, *(("eyewright.steps", name) for name in steps)])


def with_packages(recipe: Recipe, task: str, say: Callable[[str], None]) -> Recipe:
    """Return a recipe for a task with the packages that it uses as they are installed; say where it named others.

    Raises:
        UsageError: its training step is of a package that is not installed.
    """
    if recipe.step not in (*STEPS, *installed(TRAINING_STEPS)) and ":" not in recipe.step:
        raise _unknown(recipe)
    now = ", ".join(f"{name} {version}" for name, version in packages_in(replace(recipe, task=task)).items())
    if recipe.packages and now != recipe.packages:
        say(f"warning: the recipe was written with {recipe.packages}; installed is {now or 'none of them'}")
    return replace(recipe, packages=now or None)


def _unknown(recipe: Recipe) -> UsageError:
    known = [*STEPS, *installed(TRAINING_STEPS)]
    if not recipe.packages:
        return UsageError(f"unknown step {recipe.step!r}", fix=spelling_hint(recipe.step, known))
    made_with = f"the recipe was written with {recipe.packages}"
    return UsageError(f"unknown step {recipe.step!r}; {made_with}", fix="install that, or choose another --step")


class _Detached:
    """A step whose loss holds no graph: what a package returns would keep every batch of an epoch in memory."""

    def __init__(self, step: Guarded) -> None:
        self._step = step

    def __call__(self, state: Any, batch: Any) -> torch.Tensor:
        loss: torch.Tensor = self._step(state, batch)
        return loss.detach()


def _wrong_loss(found: Any, given: tuple[Any, ...], named: Mapping[str, Any]) -> str:
    if not isinstance(found, torch.Tensor):
        return f"expected the loss as a tensor of one number, found {type(found).__name__}"
    return "" if found.numel() == 1 else f"expected the loss as a tensor of one number, found {tuple(found.shape)}"
