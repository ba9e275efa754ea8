"""The state of one training run: weights, average, optimiser, place in the data; how it is saved and found again."""

__all__ = ["Augmenter", "Condense", "FitData", "Loop", "Targets", "not_a_number", "run_through", "tensors_of"]

import copy
import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eyewright.core.errors import CheckpointError, RefusedError
from eyewright.core.jsonable import dumps_json
from eyewright.core.rng import generator
from eyewright.nets.pixels import PixelNet, memory_format_of
from eyewright.training.augment import mix_batch
from eyewright.training.checkpoints import CheckpointState, load_newest, read_tensors, save_best, save_last
from eyewright.training.distributed import World
from eyewright.training.lines import by_length
from eyewright.training.objectives import Objective
from eyewright.training.optimisers import above_body, build_optimiser
from eyewright.training.plan import Guard
from eyewright.training.precision import cpu_has_bfloat16, trains_in_bfloat16
from eyewright.training.recipe import Recipe
from eyewright.training.steps import Batch, TrainState

# Tests shorten it to catch a save at work; for users it bounds what a power cut costs.
_SAVE_EVERY_S = float(os.environ.get("EYEWRIGHT_SAVE_EVERY_S", "10"))
# Pixels that pass through a net at once when nothing is learnt from them.
_MOST_PIXELS = 512 * 64 * 64


Condense = Callable[[Any, Any], NDArray[Any]]


class Targets(Protocol):
    """What N images teach: `targets[rows]` is that of some of them, an array or a tuple of arrays."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any) -> Any: ...


class Augmenter(Protocol):
    """What may be done to a training image and to its target."""

    def apply(
        self, pixels: Tensor, targets: Any, *, rng: torch.Generator, progress: float = 0.0
    ) -> tuple[Tensor, Any]: ...

    def describe(self) -> str:
        """Say it in a few words, for the console and the report."""
        ...


@dataclass(frozen=True)
class FitData:
    """What is learnt from and validated on: prepared pixels uint8 (N, H, W, C), memory-mapped or not, and targets,
    an array or anything else that gives the targets of some rows.

    `train_ids` are the names of the training images, for messages.
    """

    train_pixels: NDArray[np.uint8]
    train_targets: Targets
    val_pixels: NDArray[np.uint8]
    val_targets: Targets
    train_ids: tuple[str, ...] = ()


class Loop:
    """Everything that a checkpoint holds, and what it is made from."""

    def __init__(
        self,
        net: PixelNet,
        data: FitData,
        recipe: Recipe,
        *,
        objective: Objective,
        folder: Path,
        device: torch.device,
        main_metric: str,
        world: World,
        guard: Guard | None = None,
    ) -> None:
        self.net = net.to(device=device, memory_format=memory_format_of(net))  # type: ignore[call-overload]
        self.data, self.recipe, self.folder, self.device = data, recipe, folder, device
        self.world, self.main_metric, self.guard = world, main_metric, guard
        self.average = copy.deepcopy(self.net).eval().requires_grad_(False)
        self.state = TrainState(
            self.net,
            build_optimiser(self.net, recipe),
            objective,
            recipe,
            world,
            trains_in_bfloat16(recipe, device, net, processes=world.size),
        )
        # What a net holds still for good is never let go.
        self._body = [p for p in above_body(self.net)[1] if p.requires_grad]
        self.peak_lr = [g["lr"] for g in self.state.optimiser.param_groups]
        self.batch = guard.physical if guard is not None else recipe.batch or 64
        n = len(data.train_targets) if guard is None or guard.units is None else guard.units
        # A last batch of one sample breaks batch normalisation; what is left over is seen in another epoch.
        one_step = self.batch * recipe.accumulate if guard is None else round(guard.expected)
        self.images_a_step = n if recipe.optimizer == "gd" else min(n, one_step)
        self.steps_an_epoch = max(1, n // self.images_a_step)
        # The preview is epoch 0 and shorter than the others.
        self.preview_steps = round((recipe.preview or 0.0) * self.steps_an_epoch)
        self.step = 0
        self.elapsed_s = 0.0
        self.history: list[Mapping[str, str]] = []
        self.best_score, self.best_epoch, self.improved_epoch = -math.inf, 0, 0
        self.frozen = False
        self._pending_best: dict[str, Tensor] | None = None
        self._saved_at = time.monotonic()
        if guard is not None:
            guard.begin(self.net, data, device)
            self.average.load_state_dict(self.net.state_dict())
        elif hasattr(net.body, "fit_patches") and not net.has_learnt:
            some = int(np.clip(_MOST_PIXELS // int(np.prod(data.train_pixels.shape[1:3])), 64, 2048))
            chosen = np.sort(generator(recipe.seed, "stem").permutation(n)[:some])
            with torch.no_grad():
                images = self.net.scale(torch.from_numpy(np.ascontiguousarray(data.train_pixels[chosen])).to(device))
                self.net.body.fit_patches(images)
            self.average.load_state_dict(self.net.state_dict())

    @property
    def epoch(self) -> int:
        """The epoch that is being trained: 1, 2, ...; 0 is the preview."""
        return len(self.history) + (0 if self.preview_steps else 1)

    @property
    def total_steps(self) -> int:
        """The updates of the whole run; 0 if a budget and not a number of epochs ends it."""
        return self.preview_steps + self.steps_an_epoch * self.recipe.epochs if self.recipe.epochs else 0

    @property
    def _cycle_steps(self) -> float:
        """The updates of the cycle that is being trained; unknown, and so without end, in a budget."""
        if self.step <= self.preview_steps and self.preview_steps:
            return self.preview_steps
        return self.total_steps - self.preview_steps if self.total_steps else math.inf

    def progress(self) -> float:
        """How far the cycle is that is being trained, in [0, 1]: the preview, or all epochs after it."""
        if self.step < self.preview_steps:
            return self.step / self.preview_steps
        return (self.step - self.preview_steps) / max(1, self.total_steps - self.preview_steps)

    def indices(self, goes_on: Callable[[], bool] = lambda: False) -> Iterator[NDArray[np.int64]]:
        """Return the images of every update that is left of this epoch, and of a further one as often as `goes_on` says
        at the end."""
        if self.guard is not None:
            for step in range(self.step, self.epoch * self.steps_an_epoch):
                yield self.guard.rows(step)
            return
        epoch, size = self.epoch, self.images_a_step
        if not epoch:
            order = self._order(-1)
            for i in range(self.step, self.preview_steps):
                yield order[i * size : (i + 1) * size]
            return
        # The images of a step do not depend on which epochs went on.
        rounds, first = divmod(self.step - self.preview_steps, self.steps_an_epoch)
        while True:
            order = self._order(rounds)
            for i in range(first, self.steps_an_epoch):
                yield order[i * size : (i + 1) * size]
            rounds, first = rounds + 1, 0
            if not goes_on():
                return

    def _order(self, rounds: int) -> NDArray[np.int64]:
        """Return the order of the images after they were all shown so many times; -1 is that of the preview."""
        rng = generator(self.recipe.seed, "order", rounds)
        order = rng.permutation(len(self.data.train_targets))
        lengths = getattr(self.data.train_targets, "lengths", None)
        # Where images have a length, a batch costs what its longest costs.
        return order if lengths is None else by_length(order, lengths, self.images_a_step, rng)

    def batches(
        self, chosen: NDArray[np.int64], augmentation: Augmenter, progress: float = 0.0
    ) -> Iterator[tuple[NDArray[np.int64], Batch]]:
        """Return the batches of one update, with the images that each is made of; only this process's share of them."""
        # A random sample may be empty; the update takes place all the same.
        starts = list(range(0, len(chosen), self.batch)) or [0]
        if self.guard is None and len(starts) > 1 and len(chosen) - starts[-1] == 1:
            starts.pop()
        ends = [*starts[1:], len(chosen)]
        for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
            # In file order, a memory-mapped cache is read forwards; the order within a batch does not matter.
            part = np.sort(chosen[start:end])
            seed = _step_seed(self.recipe.seed, self.step, k)
            rng = torch.Generator().manual_seed(seed)
            torch.manual_seed(seed + 1)
            pixels = torch.from_numpy(self.data.train_pixels[part]).to(self.device)
            targets = tensors_of(self.data.train_targets[part], self.device)
            if len(part):
                pixels, targets = augmentation.apply(pixels, targets, rng=rng, progress=progress)
            others, kept = None, 1.0
            if self.recipe.mixup or self.recipe.cutmix:
                pixels, partners, kept = mix_batch(
                    pixels,
                    mixup=self.recipe.mixup,
                    cutmix=self.recipe.cutmix,
                    rng=generator(self.recipe.seed, "mix", self.step, k),
                )
                others = targets[partners]
            own = self.world.share(len(part))
            mine = pixels[own]
            yield (
                part,
                Batch(
                    mine,
                    _rows(targets, own),
                    share=len(mine) / max(1, len(chosen)),
                    rows=part[own] if self.guard is not None else None,
                    opens=k == 0,
                    closes=end == len(chosen),
                    others=None if others is None else others[own],
                    kept=kept,
                ),
            )

    def freeze(self, progress: float) -> None:
        """Hold the body of a pretrained net still at the beginning of the run, then let it go."""
        wanted = progress < (self.recipe.freeze or 0.0)
        if wanted != self.frozen:
            for p in self._body:
                p.requires_grad_(not wanted)
            self.frozen = wanted
        if self.net.training == wanted:
            # A body that is held still keeps its running statistics too.
            self.net.train(not wanted)

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the averaged weights towards the net's; without an average they follow it when they are looked at."""
        decay = 0.0
        if self.recipe.ema:
            # An average that reaches back over more than a tenth of its cycle would not see the end of it.
            short = 1 - 10 / max(20, self._cycle_steps)
            decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step), short)
        ours, theirs, whole = self._averaged
        torch._foreach_lerp_(ours, theirs, 1 - decay)
        for a, b in whole:
            a.copy_(b)

    @cached_property
    def _averaged(self) -> tuple[list[Tensor], list[Tensor], list[tuple[Tensor, Tensor]]]:
        """The average's numbers, the net's, and pairs of what is counted and not averaged; found once."""
        pairs = list(zip(self.average.state_dict().values(), self.net.state_dict().values(), strict=True))
        floats = [(a, b) for a, b in pairs if a.is_floating_point()]
        whole = [(a, b) for a, b in pairs if not a.is_floating_point()]
        return [a for a, _ in floats], [b for _, b in floats], whole

    def validate(self, condense: Condense) -> NDArray[Any]:
        """Return what `condense(outputs, targets)` keeps of the averaged net's outputs for the validation images."""
        data, device = self.data, self.device
        if self.guard is not None:
            return self.guard.validate(self.average, data, condense, device)
        return run_through(self.average, data.val_pixels, data.val_targets, condense, device)

    def note_score(self, score: float, epoch: int) -> bool:
        """Keep the weights of the best epoch; of equals the later one, whose learning rate has come down further."""
        if score < self.best_score and not (self.guard is not None and self.guard.keeps_last):
            return False
        if score > self.best_score:
            self.improved_epoch = epoch
        self.best_score, self.best_epoch = score, epoch
        self._pending_best = {k: v.detach().clone() for k, v in self.average.state_dict().items()}
        return True

    def is_finite(self) -> bool:
        """Return whether every weight is a number."""
        return all(bool(torch.isfinite(p).all()) for p in self.net.parameters())

    def save_is_due(self) -> bool:
        if self.guard is not None and self.guard.saves_every_step:
            return True
        return time.monotonic() - self._saved_at >= _SAVE_EVERY_S

    def save(self, elapsed_s: float) -> None:
        """Write a checkpoint; what is no number is not written, so that the one before stays the last good one."""
        if not self.is_finite():
            raise not_a_number(self, None)
        self._saved_at = time.monotonic()
        if not self.world.leads:
            return
        if self._pending_best is not None:
            save_best(self.folder, self._pending_best, {"epoch": self.best_epoch, "score": self.best_score})
            self._pending_best = None
        tensors = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for i, values in self.state.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{i}.{k}": v for k, v in values.items() if isinstance(v, Tensor)}
        best = None if self.best_score == -math.inf else self.best_score
        digest = _recipe_digest(self.recipe)
        save_last(
            self.folder,
            tensors,
            CheckpointState(
                self.step,
                best,
                self.best_epoch,
                self.improved_epoch,
                elapsed_s,
                digest,
                tuple(self.history),
                self.state.low_precision,
                None if self.guard is None else self.guard.state(self.step),
            ),
        )
        self._saved_at = time.monotonic()

    def restore(self, say: Callable[[str], None]) -> None:
        """Go back to where the newest undamaged checkpoint stands.

        Raises:
            CheckpointError: there is none, or it was made by another recipe.
        """
        tensors, state, damage = load_newest(self.folder)
        if damage:
            say(damage)
        if state.recipe_digest != _recipe_digest(self.recipe):
            raise CheckpointError(
                "the checkpoint was made by another recipe",
                fix="resume with the same options, or train without --resume",
            )

        if self.guard is not None:
            self.guard.resume(state.guard)

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.net.load_state_dict(part("net."))
        self.average.load_state_dict(part("average."))
        own = self.state.optimiser.state_dict()
        weights = [p for group in self.state.optimiser.param_groups for p in group["params"]]
        for key, value in part("optimiser.").items():
            i, _, name = key.partition(".")
            own["state"].setdefault(int(i), {})[name] = _laid_out_as(weights[int(i)], value)
        self.state.optimiser.load_state_dict(own)
        if state.low_precision != self.state.low_precision:
            self._continue_in(state.low_precision, say)
        self.step, self.elapsed_s = state.step, state.elapsed_s
        self.history = list(state.history)
        self.best_epoch, self.improved_epoch = state.best_epoch, state.improved_epoch
        self.best_score = -math.inf if state.best_score is None else state.best_score
        say(f"resumed at step {self.step}, epoch {self.epoch}")

    def _continue_in(self, low: bool, say: Callable[[str], None]) -> None:
        """Continue in the precision that the run started with, where this machine has it."""
        if low and self.device.type == "cpu" and not cpu_has_bfloat16():
            say("the run was started in bfloat16, which this processor does not have: it continues in float32")
            return
        self.state.low_precision = low

    def finish(self, elapsed_s: float) -> None:
        """Write the last checkpoint and put the best weights into the net."""
        self.save(elapsed_s)
        self.world.wait()
        weights, _ = read_tensors(self.folder / "best" / "model.safetensors")
        self.net.requires_grad_(True)
        self.net.load_state_dict(weights)
        self.net.eval()


def run_through(
    net: torch.nn.Module, pixels: NDArray[np.uint8], targets: Targets, condense: Condense, device: torch.device
) -> NDArray[Any]:
    """Return what `condense(outputs, targets)` keeps of a net's outputs for prepared pixels, one row per image."""
    size = max(4, min(512, _MOST_PIXELS // int(np.prod(pixels.shape[1:3]))))
    parts = []
    with torch.inference_mode():
        for start in range(0, len(pixels), size):
            rows = np.arange(start, min(start + size, len(pixels)))
            outputs = net(torch.from_numpy(np.ascontiguousarray(pixels[rows[0] : rows[-1] + 1])).to(device))
            parts.append(condense(outputs, tensors_of(targets[rows], device)))
    return np.concatenate(parts)


def tensors_of(values: Any, device: torch.device | None = None) -> Any:
    """Return targets as tensors, on a device or where arrays are: a tuple of arrays as a tuple."""
    if isinstance(values, tuple):
        return tuple(tensors_of(v, device) for v in values)
    return torch.from_numpy(np.ascontiguousarray(values)).to(device)


def _laid_out_as(weight: Tensor, value: Tensor) -> Tensor:
    """Return a value of an optimiser in the order of memory of its weight: fused updates go by memory, not by index."""
    return torch.empty_like(weight, dtype=value.dtype).copy_(value) if value.shape == weight.shape else value


def _rows(targets: Any, own: Any) -> Any:
    return tuple(t[own] for t in targets) if isinstance(targets, tuple) else targets[own]


def not_a_number(loop: Loop, chosen: NDArray[np.int64] | None) -> RefusedError:
    """Return the refusal of a loss or weight that is no longer a number, with the images of the batch it came from."""
    where = f"step {loop.step + 1}"
    if chosen is not None and len(chosen):
        ids = loop.data.train_ids
        shown = [ids[i] if i < len(ids) else str(i) for i in chosen[:4].tolist()]
        more = f" and {len(chosen) - len(shown)} more" if len(chosen) > len(shown) else ""
        where += f", in the batch of {', '.join(shown)}{more}"
    return RefusedError(
        f"the loss became NaN or infinite in epoch {loop.epoch} ({where}); the last good checkpoint is kept",
        fix="lower --lr, set clip_norm = 1.0 in the recipe, or look at these images",
        code="loss_not_finite",
    )


def _step_seed(seed: int, step: int, k: int) -> int:
    text = f"{seed} {step} {k}" if k else f"{seed} {step}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "little")


def _recipe_digest(recipe: Recipe) -> str:
    return hashlib.sha256(dumps_json(recipe.to_json()).encode()).hexdigest()
