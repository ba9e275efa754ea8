"""What a recipe's `step` means: the step, how it is probed after every epoch, and what a run says of it."""

__all__ = ["AttackProbe", "NoiseProbe", "hardened"]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eyewright.core.task import task_of
from eyewright.nets.pixels import PixelNet
from eyewright.robustness.steps import (
    Hardening,
    adversarial_step,
    augmix_step,
    fast_step,
    noise_step,
    noisy,
    trades_step,
    unit_images,
    worst_images,
)
from eyewright.robustness.threat import Threat
from eyewright.training.learner import learner_of
from eyewright.training.loop import FitData, tensors_of
from eyewright.training.plan import Learnt, Probe, RunPlan
from eyewright.training.recipe import Recipe
from eyewright.training.steps import Step

DEFAULT_EPS = 8 / 255
_STEPS = 10
_IMAGES = 512
_COLLAPSE_IMAGES = 256
_AT_ONCE = 128


def hardened(recipe: Recipe, task: str, plan: RunPlan) -> RunPlan:
    """Return the plan with the step that the recipe names, its probe, and a note of the threat for `run.json`.

    Raises:
        UsageError: the task has no such step, or the plan has a step of its own.
    """
    if recipe.step == "plain":
        return plan
    task_of(task).require("harden")
    hardening = Hardening(
        recipe.norm,
        DEFAULT_EPS if recipe.eps is None else recipe.eps,
        recipe.attack_steps or 7,
        6.0 if recipe.beta is None else recipe.beta,
        0.25 if recipe.sigma is None else recipe.sigma,
    )
    learner = learner_of(task)
    threat = Threat(hardening.norm, hardening.eps)
    about: dict[str, Any] = {
        "step": recipe.step,
        "norm": threat.norm,
        "eps": threat.eps,
        "attack_steps": hardening.steps,
    }
    step: Step
    probe: Probe | None
    if recipe.step == "noise":
        step, probe = noise_step(hardening), NoiseProbe(hardening.sigma)
        about = {"step": "noise", "sigma": hardening.sigma}
    elif recipe.step == "augmix":
        step, probe = augmix_step(learner.soft, learner.mean), None
        about = {"step": "augmix"}
    elif recipe.step == "trades":
        step, probe = trades_step(hardening, learner.soft), AttackProbe(hardening, plan.say)
        about["beta"] = hardening.beta
    elif recipe.step == "fast":
        step, probe = fast_step(hardening), AttackProbe(hardening, plan.say, collapses=True)
        about["attack_steps"] = 1
    else:
        step, probe = adversarial_step(hardening), AttackProbe(hardening, plan.say)
    return replace(plan, step=step, probe=probe, notes={**plan.notes, "threat": about})


class AttackProbe:
    """Validation under attack after every epoch: PGD with 10 steps on up to 512 images.

    The epoch of the best score under attack is kept, since a net may grow more accurate and less robust (Rice et al.
    2020, "Overfitting in adversarially robust deep learning"). With `collapses`, a fall of the score to less than half
    of its best halves the step of one-step training, which then fits its own single step alone (Andriushchenko and
    Flammarion 2020).
    """

    prefix = "robust_"

    def __init__(self, hardening: Hardening, say: Callable[[str], None], *, collapses: bool = False) -> None:
        self.hardening, self.say, self.collapses = hardening, say, collapses
        self._best = 0.0

    def rows(self, n: int) -> NDArray[np.int64]:
        """Return which of n validation images are attacked."""
        return _some(n, _COLLAPSE_IMAGES if self.collapses else _IMAGES)

    def begin(self, history: Sequence[Mapping[str, str]], metric: str) -> None:
        """Find again, from the epochs that are done, how often training had collapsed."""
        self._best, self.hardening.reduced = 0.0, 1.0
        for row in history:
            self._note(float(row[f"val_{metric}"]))

    def __call__(self, net: PixelNet, data: FitData, learnt: Learnt, device: torch.device) -> Mapping[str, float]:
        """Return the validation numbers under attack."""
        threat = Threat(self.hardening.norm, self.hardening.eps)

        def change(images: Tensor, targets: Any) -> Tensor:
            return worst_images(net, images, lambda out: learnt.objective(out, targets), threat, _STEPS)

        found = _measured(net, data, learnt, device, self.rows(len(data.val_targets)), change, self.prefix)
        score = found[self.prefix + learnt.main_metric]
        if self._note(score):
            self.say(
                f"training collapsed: {learnt.main_metric} under PGD fell to {score:.4f}; the step is reduced to "
                f"{self.hardening.reduced:g} of its size"
            )
        return found

    def _note(self, score: float) -> bool:
        """Return whether this score is a collapse, and halve the step then."""
        collapsed = self.collapses and self._best > 0.1 and score < self._best / 2
        if collapsed:
            self.hardening.reduced /= 2
            self._best = score
        self._best = max(self._best, score)
        return collapsed


class NoiseProbe:
    """Validation under the noise that smoothing adds, on up to 512 images."""

    prefix = "noisy_"

    def __init__(self, sigma: float) -> None:
        self.sigma = sigma

    def rows(self, n: int) -> NDArray[np.int64]:
        """Return which of n validation images are measured."""
        return _some(n, _IMAGES)

    def begin(self, history: Sequence[Mapping[str, str]], metric: str) -> None:
        """Nothing is found again: every epoch is measured by itself."""

    def __call__(self, net: PixelNet, data: FitData, learnt: Learnt, device: torch.device) -> Mapping[str, float]:
        """Return the validation numbers under noise."""

        def change(images: Tensor, targets: Any) -> Tensor:
            pixels = (images * 255).round().to(torch.uint8)
            return noisy(pixels, self.sigma).float() / 255

        return _measured(net, data, learnt, device, self.rows(len(data.val_targets)), change, self.prefix)


def _some(n: int, most: int) -> NDArray[np.int64]:
    """Return up to `most` of n rows, evenly spaced."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))


def _measured(
    net: PixelNet,
    data: FitData,
    learnt: Learnt,
    device: torch.device,
    rows: NDArray[np.int64],
    change: Callable[[Tensor, Any], Tensor],
    prefix: str,
) -> dict[str, float]:
    """Return what the task measures of changed validation images, by names with the prefix; the draws are the same in
    every epoch."""
    kept = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            images = unit_images(torch.from_numpy(np.ascontiguousarray(data.val_pixels[part])).to(device))
            targets = tensors_of(data.val_targets[part], device)
            changed = change(images, targets)
            with torch.inference_mode():
                kept.append(learnt.condense(net.of_unit(changed), targets))
    numbers = learnt.measure(np.concatenate(kept), data.val_targets[rows])
    return {prefix + name: value for name, value in numbers.items() if name == learnt.main_metric}
