"""Attack a task whose answer is not one class: raise the loss it was trained by, and measure it as it is always
measured, before and after."""

__all__ = ["attack_task"]

import hashlib
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eyewright.core.errors import BudgetError, DatasetError, UsageError
from eyewright.core.inputs import Example, Given
from eyewright.core.prediction import Prediction
from eyewright.core.predictor import inputs_of, predict_everything
from eyewright.core.progress import track_progress
from eyewright.core.report import Metric
from eyewright.core.rng import generator
from eyewright.core.task import task_of
from eyewright.data.dataset import Dataset
from eyewright.evaluation.reporting import reporting_of
from eyewright.evaluation.results import gather_results
from eyewright.robustness.checks import CHECKS, NOT_APPLIED, Check, Status
from eyewright.robustness.evaluating import pixels_of
from eyewright.robustness.loop import Plan
from eyewright.robustness.model import to_grid
from eyewright.robustness.report import Level, RobustnessReport
from eyewright.robustness.steps import unit_images, worst_images
from eyewright.robustness.threat import Norm, Threat, check_norm
from eyewright.robustness.white import from_numpy, to_numpy
from eyewright.training.learner import learner_of
from eyewright.training.loop import FitData, tensors_of

if TYPE_CHECKING:
    from eyewright.training.run import Run

_EPS = (1 / 255, 2 / 255, 4 / 255, 8 / 255)
_AT_ONCE = 8
_RISES_PASS, _RISES_WARN = 0.95, 0.80
_ZERO_WARN, _ZERO_FAIL = 0.01, 0.10


class Changed:
    """A predictor whose images are exchanged for attacked ones after preparation; others pass unchanged."""

    def __init__(self, inner: Any, pixels: NDArray[np.uint8], changed: NDArray[np.uint8]) -> None:
        self._inner, self.seen = inner, set[bytes]()
        self._changed = {_name(p): c for p, c in zip(pixels, changed, strict=True)}

    @property
    def complete(self) -> bool:
        """Whether every attacked image was asked for: an evaluation that goes past `raw` would measure clean images."""
        return len(self.seen) == len(self._changed)

    def predict_images(self, images: Sequence[Example]) -> Sequence[Prediction]:
        """Return one prediction per image, of its attacked pixels, settled as those of the predictor are."""
        thresholds, task = self._inner.thresholds, task_of(self._inner.task_name)
        least = None if thresholds is None else float(thresholds.min())
        return [task.settle(p, thresholds) for p in predict_everything(self, images, least=least)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def raw(self, given: Given) -> Mapping[str, NDArray[np.float32]]:
        """Return the model's arrays for the attacked images."""
        names = list(inputs_of(self._inner))
        pixels = np.asarray(given[names[0]] if isinstance(given, Mapping) else given)
        names_of = [_name(p) for p in pixels]
        self.seen.update(name for name in names_of if name in self._changed)
        swapped = np.stack([self._changed.get(k, p) for k, p in zip(names_of, pixels, strict=True)])
        found: Mapping[str, NDArray[np.float32]] = self._inner.raw(swapped)
        return found


def attack_task(
    run: "Run",
    dataset: Dataset,
    *,
    sizes: list[tuple[int, int]],
    norm: Norm = "linf",
    eps: tuple[float, ...] | None = None,
    steps: int = 50,
    restarts: int = 1,
    n: int = 1000,
    seed: int = 0,
    deadline: float | None = None,
    model: Mapping[str, Any] | None = None,
    quiet: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> RobustnessReport:
    """Return what PGD on the task's own objective leaves of its main metric, on `n` images drawn by `seed`.

    `sizes` are the sizes (height, width) of the images of `dataset`. Attacked images have whole 8-bit values, and of
    several restarts the image of the largest loss is kept. It is one attack and not a suite, so the result is an upper
    bound of what is robust.

    Raises:
        UsageError: the net only gives its loss while it is trained.
        DatasetError: no image.
        BudgetError: the deadline passed before the first bound was measured.
    """
    started = time.monotonic()
    check_norm(norm)
    predictor, task = run.predictor, task_of(run.task_name)
    net = run.net.eval()
    if getattr(net.body, "takes_targets", False):
        raise UsageError(
            f"expected a net whose loss can be asked for outside of training, found {run.recipe.model_name!r}",
            fix="attack a model of the catalogue",
        )
    if not len(dataset):
        raise DatasetError("expected images to attack, found none", fix="check the dataset")
    plan = Plan(norm, eps or _EPS, ("pgd",), steps, restarts, 1, seed)
    threats = plan.threats
    rows = np.sort(generator(seed, "attacked").permutation(len(dataset))[:n])
    part = dataset.relabelled(predictor.labels).with_samples(dataset.samples[int(i)] for i in rows)
    part = part.relabelled(predictor.labels)
    learner = learner_of(run.task_name)
    chosen = [sizes[int(i)] for i in rows]
    pixels = pixels_of(predictor, part, np.arange(len(part)))
    targets = learner.targets(part, chosen, run.preparation, "")
    learning = learner.learn(net, FitData(pixels, targets, pixels, targets), run.recipe, part, run.preparation)
    loss_of = _PerImage(net, learning.objective, targets)

    def measured(changed: NDArray[np.uint8] | None) -> Metric:
        given: Any = predictor if changed is None else Changed(predictor, pixels, changed)
        (results,) = gather_results([given], part, looks=False)
        assert changed is None or given.complete
        return reporting_of(part.task).metrics(results, seed)[task.main_metric]

    clean = measured(None)
    levels: list[Level] = []
    before, gradient = loss_of(pixels)
    rises = np.ones(len(pixels), np.bool_)
    with track_progress("attacking", len(threats) * len(pixels), quiet=quiet) as advance:
        for threat in threats:
            changed, loss = pixels, before
            for restart in range(restarts):
                one = _attacked(loss_of, pixels, threat, steps, seed + restart, deadline, advance)
                if one is None:
                    break
                found, _ = loss_of(one)
                better = found > loss
                changed = np.where(better[:, None, None, None], one, changed)
                loss = np.maximum(found, loss)
            else:
                metric = measured(changed)
                rises &= (loss > before) | (threat.eps == 0)
                levels.append(Level(threat.eps, metric, metric, {"pgd": metric}, {}))
                say(f"eps {levels[-1].shown}: {task.main_metric} {metric}")
                continue
            break
    if not levels:
        raise BudgetError(
            "the budget ended before a bound was measured", fix="give a larger --budget, or a smaller -n or --steps",
            details={"attacked": 0},
        )  # fmt: skip
    again, _ = loss_of(pixels)
    checks = _checks(
        loss_of, pixels, clean, levels, before, again, gradient, rises, task.metric(task.main_metric), measured
    )
    skipped = len(threats) - len(levels)
    return RobustnessReport(
        task=run.task_name,
        plan=replace(plan, eps=tuple(lv.eps for lv in levels)),
        access="gradients",
        n=len(part),
        asked=len(part),
        clean=clean,
        levels=tuple(levels),
        checks=checks,
        model=dict(model or {}),
        data=part.describe(),
        metric=task.main_metric,
        one_attack=True,
        warnings=(f"The budget ended before {skipped} of {len(threats)} bounds were measured.",) if skipped else (),
        seconds=time.monotonic() - started,
    )


class _PerImage:
    """The loss of each image alone: the objective of a batch of one, and its gradient."""

    def __init__(self, net: Any, objective: Callable[[Any, Any], Tensor], targets: Any) -> None:
        self.net, self.objective, self.targets = net, objective, targets

    def of(self, i: int) -> Callable[[Any], Tensor]:
        own = tensors_of(self.targets[np.array([i])])
        return lambda outputs: self.objective(outputs, own)

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return each image's loss, (N,), and whether its gradient is anything but 0."""
        losses, alive = np.zeros(len(pixels)), np.zeros(len(pixels), np.bool_)
        for i in range(len(pixels)):
            image = unit_images(torch.from_numpy(pixels[i : i + 1])).requires_grad_(True)
            with torch.enable_grad():
                loss = self.of(i)(self.net.of_unit(image))
                if loss.requires_grad:
                    (found,) = torch.autograd.grad(loss, image, allow_unused=True)
                    alive[i] = found is not None and bool((found != 0).any())
            losses[i] = float(loss.detach())
        return losses, alive


def _attacked(
    loss_of: _PerImage,
    pixels: NDArray[np.uint8],
    threat: Threat,
    steps: int,
    seed: int,
    deadline: float | None,
    advance: Callable[[int, str], None],
) -> NDArray[np.uint8] | None:
    """Return images after PGD, uint8 (N, H, W, C); None where the deadline passed."""
    found = pixels.copy()
    with torch.random.fork_rng(devices=[]):
        for i in range(len(pixels)):
            if deadline is not None and time.monotonic() >= deadline:
                return None
            torch.manual_seed(int(generator(seed, "task", i, repr(threat.eps)).integers(2**62)))
            clean = pixels[i : i + 1].astype(np.float32) / np.float32(255)
            moved = worst_images(loss_of.net, from_numpy(clean), loss_of.of(i), threat, steps)
            found[i] = np.rint(to_grid(to_numpy(moved), clean) * 255).astype(np.uint8)[0]
            advance(1, "")
    return found


def _checks(
    loss_of: _PerImage,
    pixels: NDArray[np.uint8],
    clean: Metric,
    levels: list[Level],
    before: NDArray[np.float64],
    again: NDArray[np.float64],
    alive: NDArray[np.bool_],
    rises: NDArray[np.bool_],
    about: Any,
    measured: Callable[[NDArray[np.uint8] | None], Metric],
) -> tuple[Check, ...]:
    """Return the checks that apply to one attack on a loss; the others say why they do not."""
    sign = 1.0 if about.higher_is_better else -1.0
    values = [sign * (m.value or 0.0) for m in (clean, *(lv.robust for lv in levels))]
    rise = max([0.0, *(b - a for a, b in itertools.pairwise(values))])
    widths = [(lv.robust.high or 0.0) - (lv.robust.low or 0.0) for lv in levels]
    nothing = measured(pixels)
    same = nothing.value == clean.value
    zero, apart = float((~alive).mean()), float(np.abs(before - again).max(initial=0.0))
    share = float(rises.mean())
    rows: dict[str, tuple[Status, float | None, str]] = {
        "eps 0": (
            "pass" if same else "fail", 0.0 if same else 1.0,
            "unchanged images give the clean metric exactly" if same else "unchanged images give another metric",
        ),
        "monotone in eps": (
            "pass" if rise <= 0.01 else "fail" if rise > max(widths, default=0.0) / 2 else "warn", rise,
            f"{about.title} gets better by at most {rise:.3f} as eps grows",
        ),
        "zero gradients": (
            "fail" if zero > _ZERO_FAIL else "warn" if zero > _ZERO_WARN else "pass", zero,
            f"the gradient is exactly 0 for {zero:.1%} of the images",
        ),
        "determinism": (
            "pass" if apart == 0 else "fail", apart,
            "two passes give the same loss" if apart == 0 else f"two passes differ by up to {apart:.3g}",
        ),
        "loss rises": (
            "pass" if share >= _RISES_PASS else "warn" if share >= _RISES_WARN else "fail", share,
            f"the loss rises along the attack for {share:.1%} of the images",
        ),
    }  # fmt: skip
    none: tuple[Status, None, str] = ("none", None, f"{NOT_APPLIED}only one attack is made for this task")
    return tuple(Check(name, *rows.get(name, none)) for name in CHECKS)


def _name(pixels: NDArray[np.uint8]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).digest()
