"""What `--private` means for a run: what is chosen beforehand, counted in epsilon, and declared public."""

__all__ = ["PrivateGuard", "guarded", "owners_of", "resolve_private"]

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from eyewright.core.errors import CheckpointError, UsageError
from eyewright.core.task import task_of
from eyewright.data.dataset import Dataset
from eyewright.data.scan import Scan
from eyewright.nets.pixels import PixelNet
from eyewright.nets.private import FeatureNet
from eyewright.privacy.accounting import Steps, epsilon_of, noise_for
from eyewright.privacy.gradients import per_sample_bytes
from eyewright.privacy.releases import planned_releases, release_statistics
from eyewright.privacy.sampling import member_rows, poisson_rows, secret_of
from eyewright.privacy.steps import Clipping, private_step
from eyewright.training.distributed import launched_by_torchrun
from eyewright.training.learner import learner_of
from eyewright.training.loop import Condense, FitData, run_through, tensors_of
from eyewright.training.plan import RunPlan
from eyewright.training.private_options import PrivateOptions, parse_private
from eyewright.training.recipe import Recipe
from eyewright.training.run import Builder

DEFAULT_MODEL = "scatter_linear"
LEAST_IMAGES = 100
_GRADIENT_BYTES = 2**25
_FEATURE_BATCH, _AT_ONCE = 256, 2048
_STEADY = 0.4
"""The learning rate times the sum of the noise over all steps, in the units of a mean gradient, is at most this."""

_USUAL = MappingProxyType(
    {"clip": 0.1, "lr": 1.0, "epochs": 40, "whole": False, "schedule": "one_cycle", "warmup": 0.2, "ema": 0.99}
)

_UNITS = MappingProxyType({"image": "training images", "group": "groups of training images"})

_UNIT_NAMES = MappingProxyType({"image": "image", "group": "group of images"})
_NEIGHBOURS = MappingProxyType({"image": "training image", "group": "group of training images, whatever its size"})

RELEASED = ("mean", "second moments")
NOT_PROTECTED = (
    "the number of training images",
    "the names of the classes",
    "the size and the number of channels that images are prepared to",
    "every setting of the recipe: none was chosen by looking at these images",
)
"""What a private run takes as public."""


def resolve_private(recipe: Recipe, task: str, n: int, body: nn.Module) -> Recipe:
    """Return a recipe in which everything follows from the net, its `body`, and the number of units of privacy:
    training images, or with "unit=group" groups of them.

    Raises:
        UsageError: too few images, delta of 1 / n or more, or noise that costs more than epsilon.
    """
    task_of(task).require("private")
    if launched_by_torchrun():
        raise UsageError("expected one process with --private, found several", fix="start it without torchrun")
    asked = parse_private(recipe.private)
    units = _UNITS[asked.unit]
    if n < LEAST_IMAGES:
        raise UsageError(
            f"expected {LEAST_IMAGES} {units} or more with --private, found {n}: noise would hide them all",
            fix="add images, or leave --private out",
        )
    usual: Mapping[str, Any] = getattr(body, "usual", _USUAL)
    delta = asked.delta if asked.delta is not None else 10.0 ** -(math.floor(math.log10(n)) + 1)
    if delta >= 1 / n:
        raise UsageError(
            f"expected delta below 1 / {n:,} = {1 / n:.2g}, found {delta:g}: a larger delta may reveal whole images",
            fix="lower delta",
        )
    expected = recipe.batch or (n if usual["whole"] else min(n, max(256, n // 30)))
    if expected > n:
        raise UsageError(f"expected a batch of at most {n:,} {units}, found {expected:,}", fix="lower --batch")
    epochs = recipe.epochs or int(usual["epochs"])
    steps = epochs * max(1, n // expected)
    released = _releases(body, n)
    found = replace(asked, delta=delta, clip=asked.clip or float(usual["clip"]))
    if asked.noise is None:
        noise = noise_for(asked.epsilon, delta, rate=expected / n, steps=steps, others=released)
        found = replace(found, noise=noise)
    spent = epsilon_of([*released, Steps(found.noise or 0.0, expected / n, steps)], delta)
    if spent > asked.epsilon:
        raise UsageError(
            f"expected noise that keeps epsilon at {asked.epsilon:g} or below, found noise={found.noise:g}, which "
            f"costs {spent:.4g}",
            fix="leave noise out, or raise epsilon",
        )
    if spent == 0:
        raise UsageError(
            f"expected noise that leaves something to learn, found noise={found.noise:g}: its epsilon is 0",
            fix="lower noise, or leave it out",
        )
    # What noise adds up to in a logit is bounded: few images bear small steps only.
    noise_share = (found.noise or 0.0) * (found.clip or 0.0) * math.sqrt(steps) / n
    rate = min(float(usual["lr"]), _STEADY / noise_share)
    return replace(
        recipe,
        private=str(found),
        batch=expected,
        epochs=epochs,
        lr=recipe.lr if recipe.lr is not None else rate,
        optimizer=recipe.optimizer or "momentum",
        schedule=usual["schedule"] if recipe.schedule == Recipe.schedule else recipe.schedule,
        warmup=float(usual["warmup"]) if recipe.warmup == Recipe.warmup else recipe.warmup,
        ema=recipe.ema if recipe.ema is not None else float(usual["ema"]),
        weight_decay=0.0 if recipe.weight_decay == Recipe.weight_decay else recipe.weight_decay,
        label_smoothing=recipe.label_smoothing or 0.0,
        augment="none" if recipe.augment == "auto" else recipe.augment,
        flip="none" if recipe.flip == "auto" else recipe.flip,
        preview=0.0,
        amp="off",
    )


def _releases(body: nn.Module, n: int) -> tuple[Steps, ...]:
    return planned_releases(n, body.head.in_features) if isinstance(body, FeatureNet) else ()


class PrivateGuard:
    """Poisson samples, last weights, and the account of what they cost (`training.plan.Guard`)."""

    def __init__(
        self,
        recipe: Recipe,
        n: int,
        secret: bytes,
        released: tuple[Steps, ...] = (),
        owners: Mapping[str, str] | None = None,
    ) -> None:
        """`n` is the number of units; with "unit=group", `owners` is the group of each training image by its name."""
        asked = parse_private(recipe.private)
        if asked.noise is None or asked.delta is None or asked.clip is None or recipe.batch is None:
            raise ValueError("the recipe is not resolved")
        self.options: PrivateOptions = asked
        self.n, self.rate = n, recipe.batch / n
        self.expected = float(recipe.batch)
        self.physical = asked.physical_batch or 512
        self.units: int | None = None if owners is None else n
        self.keeps_last = asked.validation == "private"
        self.saves_every_step = False
        self.scaling: Mapping[str, Sequence[float]] = {"mean": [0.5] * 3, "std": [0.25] * 3}
        self.steps = (recipe.epochs or 0) * max(1, n // recipe.batch)
        self.released = released
        self.clipping = Clipping(asked.clip, asked.noise, self.expected, secret)
        self._secret = secret
        self._owners, self._groups = owners, np.zeros(0, np.int64)
        self._val: torch.Tensor | None = None
        self._spent: dict[int, float] = {}

    def begin(self, net: PixelNet, data: FitData, device: torch.device) -> None:
        """Compute fixed features once, and release their mean with noise; refuse a net that would look at images."""
        if self._owners is not None:
            owned = [self._owners[i] for i in data.train_ids]
            self._groups = np.unique(owned, return_inverse=True)[1].reshape(-1).astype(np.int64)
        units = len(data.train_targets) if self._owners is None else len(np.unique(self._groups))
        if units != self.n or (self._owners is not None and len(self._groups) != len(data.train_targets)):
            raise ValueError(f"expected {self.n} {_UNITS[self.options.unit]}, found {units}")
        body: Any = net.body
        if self.options.physical_batch is None:
            self.physical = int(np.clip(_GRADIENT_BYTES // max(1, per_sample_bytes(net)), 8, 512))
        if hasattr(body, "fit_patches") and not net.has_learnt:
            raise UsageError(
                "expected a net that does not look at training images beforehand with --private, found one whose stem "
                "is computed from them",
                fix="use --model scatter_linear or private_net, or begin with public --weights",
            )
        if any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in net.modules()):
            raise UsageError(
                "expected no batch normalisation with --private, found some in the net", fix="use --model private_net"
            )
        if not isinstance(body, FeatureNet):
            return
        features = self._features(net, data.train_pixels, device)
        self._val = self._features(net, data.val_pixels, device)
        weights = None
        if self._owners is not None:
            # The images of a group count as much together as one image alone would.
            weights = torch.from_numpy(1 / np.bincount(self._groups)[self._groups]).float()
        release_statistics(body, features, self._secret, self.released, weights=weights)
        # What is released does not change again: features are kept as the linear layer takes them.
        for kept in (features, self._val):
            for start in range(0, len(kept), _AT_ONCE):
                part = kept[start : start + _AT_ONCE]
                part.copy_(body.centred(part.float()))
        self.clipping.features = features
        if self.options.physical_batch is None:
            self.physical = _AT_ONCE

    def _features(self, net: PixelNet, pixels: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
        """Return the features of images, (N, F) in half precision, always computed in the same parts."""
        body: Any = net.body
        found = torch.empty((len(pixels), body.head.in_features), dtype=torch.float16)
        with torch.inference_mode():
            for start in range(0, len(pixels), _FEATURE_BATCH):
                part = torch.from_numpy(np.ascontiguousarray(pixels[start : start + _FEATURE_BATCH])).to(device)
                found[start : start + len(part)] = body.features(net.scale(part)).half().cpu()
        return found

    def validate(self, net: PixelNet, data: FitData, condense: Condense, device: torch.device) -> NDArray[Any]:
        """Return what is kept of the outputs for the validation images; features are not computed again."""
        if self._val is None:
            return run_through(net, data.val_pixels, data.val_targets, condense, device)
        body: Any = net.body
        parts = []
        with torch.inference_mode():
            for start in range(0, len(self._val), _AT_ONCE):
                rows = np.arange(start, min(start + _AT_ONCE, len(self._val)))
                outputs = body.head(self._val[rows[0] : rows[-1] + 1].float())
                parts.append(condense(outputs, tensors_of(data.val_targets[rows], device)))
        return np.concatenate(parts)

    def rows(self, step: int) -> NDArray[np.int64]:
        """Return the Poisson sample of a step: of images, or of groups with one image of each."""
        if self._owners is not None:
            return member_rows(self._secret, step, self._groups, rate=self.rate)
        return poisson_rows(self._secret, step, n=self.n, rate=self.rate)

    def spent(self, steps: int) -> float:
        """Return the epsilon of so many steps, and of what was released in addition."""
        if steps not in self._spent:
            done = [*self.released, Steps(self.clipping.noise, self.rate, steps)]
            self._spent[steps] = epsilon_of(done, self.options.delta or 0.0)
        return self._spent[steps]

    def state(self, steps: int) -> Mapping[str, Any]:
        """Return the noise counter and what it stands for. A step that is replayed has the noise that it had."""
        return {
            "noise_steps": steps,
            "epsilon": self.spent(steps),
            "delta": self.options.delta,
            "noise": self.clipping.noise,
            "rate": self.rate,
            "secret": hashlib.sha256(b"name" + self._secret).hexdigest(),
        }

    def resume(self, state: Mapping[str, Any] | None) -> None:
        """Check that a checkpoint counted the same noise."""
        if state is None or state["secret"] != self.state(0)["secret"]:
            raise CheckpointError(
                "the checkpoint was made with other noise than this run's secret gives",
                fix="train again in another folder",
            )

    def about(self, steps: int) -> dict[str, Any]:
        """Return what is written into `run.json`, the report, the card and `bundle.json`."""
        counted = [f"{steps:,} steps of clipped gradients with noise"]
        names = RELEASED[: len(self.released)]
        counted += [f"the {name} of the fixed features, released once with noise" for name in names]
        public = [*NOT_PROTECTED]
        kept_out = [
            "training loss", "reference statistics of the training images",
            "digests of the training images (only split.csv in the run folder has them)",
            "the fingerprint of the data", "pictures", "distances to training images",
        ]  # fmt: skip
        if self.keeps_last:
            kept_out += ["the best epoch, temperature and thresholds by validation (the last weights are taken)"]
        else:
            public += ["the validation images: they chose the epoch, the temperature and the thresholds"]
        public += ["metrics on the test images, which were not trained on"]
        sampling = "Poisson" if self.rate < 1 else f"all {self.options.unit}s in every step"
        images = {}
        if self._owners is not None:
            sampling += ", one image of each group drawn at random"
            public[0] = "the number of training images and of their groups"
            images = {"images": len(self._owners)}
        return {
            "epsilon": self.spent(steps),
            "delta": self.options.delta,
            "target_epsilon": self.options.epsilon,
            "unit": _UNIT_NAMES[self.options.unit],
            "adjacency": f"add or remove one {_NEIGHBOURS[self.options.unit]}",
            "accountant": "privacy loss distribution, rounded up",
            "sampling": sampling,
            "n": self.n,
            **images,
            "noise": self.clipping.noise,
            "clip": self.clipping.clip,
            "rate": self.rate,
            "steps": steps,
            "released": [{"noise": s.noise, "rate": s.rate, "steps": s.steps} for s in self.released],
            "noise_from": self.options.noise_from,
            "counted": counted,
            "public": public,
            "left_out": kept_out,
        }


def guarded(
    recipe: Recipe, dataset: Dataset, scan: Scan, folder: Path, plan: RunPlan, build_of: Callable[..., Builder]
) -> tuple[Recipe, RunPlan]:
    """Return the resolved recipe and the plan of a private run.

    Raises:
        UsageError: what is asked for cannot be private.
    """
    if plan.step is not None or plan.probe is not None:
        raise UsageError("expected no step of your own and no teacher with --private, found one", fix="leave it out")
    task = dataset.task
    task_of(task).require("private")
    owners = owners_of(dataset) if parse_private(recipe.private).unit == "group" else None
    n = len(dataset.train) if owners is None else len(set(owners.values()))
    recipe = replace(recipe, model=DEFAULT_MODEL) if recipe.model == "auto" else recipe
    own = plan.preparation or learner_of(task).preparation(dataset, scan, recipe, None)
    body = build_of(recipe.model, task)(len(dataset.labels), channels=own.channels, size_hw=own.size_hw)
    resolved = resolve_private(recipe, task, n, body)
    asked = parse_private(resolved.private)
    seed = resolved.seed if asked.noise_from == "seed" else None
    secret = secret_of(folder, resume=plan.resume, seed=seed)
    guard = PrivateGuard(resolved, n, secret, _releases(body, n), owners)
    about = guard.about(guard.steps)
    plan.say(
        f"private: epsilon {about['epsilon']:.4g} at delta {about['delta']:.2g} for {n:,} {_UNITS[asked.unit]}, noise "
        f"{asked.noise:g} x clip {asked.clip:g}, {guard.steps:,} steps of {guard.expected:g} images expected "
        f"({about['sampling']})"
    )
    warnings = _warnings(asked, dataset)
    for warning in warnings:
        plan.say(f"warning: {warning}")
    notes = {**plan.notes, "privacy": {**about, "warnings": warnings}}
    return resolved, replace(plan, guard=guard, step=private_step(guard.clipping), preparation=own, notes=notes)


def owners_of(dataset: Dataset) -> dict[str, str]:
    """Return the group of each training image by its name; an image in no group is one by itself.

    Raises:
        UsageError: no groups are known, or only those that were found by comparing images.
    """
    samples = dataset.train.samples
    if not _states_groups(dataset):
        raise UsageError(
            "expected groups that the data or --group-by states with unit=group, found none",
            fix="say what a group is with --group-by, such as --group-by 'patient-([0-9]+)'",
        )
    return {s.id: f"image {s.id}" if s.group is None else f"group {s.group}" for s in samples}


def _states_groups(dataset: Dataset) -> bool:
    """Return whether the data or --group-by says what a group is, instead of a comparison of images."""
    if dataset.grouping is None:
        return any(s.group is not None for s in dataset.train.samples)
    return dataset.grouping.rule not in (None, "auto", "none") or any(
        g.kind == "given" for g in dataset.grouping.groups
    )


def _shared_groups(dataset: Dataset) -> tuple[int, int]:
    """Return how many training images are in a group with others, and the number of these groups."""
    sizes = Counter(s.group for s in dataset.train.samples if s.group is not None)
    shared = [size for size in sizes.values() if size > 1]
    return sum(shared), len(shared)


def _warnings(asked: PrivateOptions, dataset: Dataset) -> list[str]:
    found = []
    if asked.noise_from == "seed":
        found.append(
            "samples and noise follow from the seed, which the recipe names: who has it can subtract the noise; this "
            "run is an experiment"
        )
    images, groups = _shared_groups(dataset)
    if images and asked.unit != "group":
        fix = "add unit=group" if _states_groups(dataset) else "say what a group is with --group-by, and add unit=group"
        found.append(
            f"{images:,} training images form {groups:,} group{'s' * (groups != 1)}, and epsilon holds for one image, "
            f"not for all images of a group: {fix}"
        )
    if asked.epsilon > 10:
        found.append(f"epsilon {asked.epsilon:g} protects little")
    return found
