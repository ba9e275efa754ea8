"""The one training loop. How a single update is done is an argument; nothing here is inherited from."""

__all__ = ["Batch", "FitData", "FitResult", "Step", "TrainState", "fit", "plain_step"]

import contextlib
import copy
import hashlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eyewright.core.errors import CheckpointError, RefusedError
from eyewright.core.files import write_text
from eyewright.core.jsonable import dumps_json
from eyewright.core.progress import Progress, track_progress
from eyewright.core.rng import generator
from eyewright.nets.pixels import PixelNet
from eyewright.training.augment import Augmentation, augment_batch
from eyewright.training.checkpoints import CheckpointState, load_newest, read_tensors, save_best, save_last
from eyewright.training.objectives import Objective
from eyewright.training.optimisers import build_optimiser, schedule_factor
from eyewright.training.recipe import Recipe

# Tests shorten it to catch a save at work; for users it bounds what a power cut costs.
_BAR = 1000
_SAVE_EVERY_S = float(os.environ.get("EYEWRIGHT_SAVE_EVERY_S", "10"))


@dataclass(frozen=True)
class FitData:
    """What is learnt from and validated on: prepared pixels uint8 (N, H, W, C), memory-mapped or not, and targets."""

    train_pixels: NDArray[np.uint8]
    train_targets: NDArray[np.int64]
    val_pixels: NDArray[np.uint8]
    val_targets: NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """One augmented batch: uint8 (B, H, W, C) and int64 (B,)."""

    pixels: Tensor
    targets: Tensor


@dataclass
class TrainState:
    """What an update reads and changes."""

    net: PixelNet
    optimiser: torch.optim.Optimizer
    objective: Objective
    recipe: Recipe


class Step(Protocol):
    """One update of `state.net` from one batch; gives the loss before the update."""

    def __call__(self, state: TrainState, batch: Batch) -> Tensor: ...


@dataclass(frozen=True)
class FitResult:
    """How training went: one row of `metrics.csv` an epoch, why it ended, which epoch is the best."""

    history: tuple[Mapping[str, str], ...]
    best_epoch: int
    best_score: float
    steps: int
    stopped: str


Measure = Callable[[NDArray[np.float32], NDArray[np.int64]], Mapping[str, float]]


def plain_step(state: TrainState, batch: Batch) -> Tensor:
    """Do the usual update: forward, loss, backward, clip, step."""
    recipe = state.recipe
    state.optimiser.zero_grad(set_to_none=True)
    loss = state.objective(state.net(batch.pixels), batch.targets)
    total = loss
    if recipe.l1:
        total = loss + recipe.l1 * sum(p.abs().sum() for p in state.net.parameters() if p.ndim >= 2)
    total.backward()  # type: ignore[no-untyped-call]
    if recipe.clip_norm:
        torch.nn.utils.clip_grad_norm_(state.net.parameters(), recipe.clip_norm)
    state.optimiser.step()
    return loss.detach()


def fit(
    net: PixelNet,
    data: FitData,
    recipe: Recipe,
    *,
    objective: Objective,
    augmentation: Augmentation,
    measure: Measure,
    main_metric: str,
    folder: Path,
    device: torch.device,
    step: Step = plain_step,
    deadline: float | None = None,
    resume: bool = False,
    quiet: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> FitResult:
    """Train `net` in place and leave the best weights in it.

    The recipe must be resolved (epochs or a `deadline`, a `time.monotonic` value, and a batch size). With a deadline
    the schedule follows the clock, so that it always ends annealed. `measure(logits, targets)` gives the validation
    numbers, of which `main_metric` (higher is better) chooses the best epoch; it sees the averaged weights.

    Every random draw is a function of (seed, step): training that was cut off and resumed ends with the same weights.

    Raises:
        RefusedError: the loss is no longer a number; the last good checkpoint is kept.
        CheckpointError: `resume` finds no checkpoint, or one of another recipe.
        KeyboardInterrupt, SystemExit(143): after a checkpoint was written.
    """
    loop = _Loop(net, data, recipe, objective, folder, device, main_metric)
    if resume:
        loop.restore(say)
    # A resumed run has the whole budget as its span and goes on where it was: the time before the stop counts.
    span_s = None if deadline is None else max(0.001, deadline - time.monotonic())
    started = time.monotonic() - loop.elapsed_s
    stopped = ""
    with (
        _deferred_signals() as pending,
        _seeded(),
        track_progress("training", _BAR, quiet=quiet) as advance,
    ):
        clock = _Clock(started, span_s, advance)
        # A run that was stopped after its last epoch has nothing left to train.
        stopped = _why_ended(loop, clock) if loop.history else ""
        while not stopped:
            stopped = _one_epoch(loop, augmentation, measure, step, clock, pending, say)
    loop.finish(time.monotonic() - started)
    return FitResult(tuple(loop.history), loop.best_epoch, loop.best_score, loop.step, stopped)


class _Loop:
    """The state of one training run and how it is saved."""

    def __init__(
        self,
        net: PixelNet,
        data: FitData,
        recipe: Recipe,
        objective: Objective,
        folder: Path,
        device: torch.device,
        main_metric: str,
    ) -> None:
        self.net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.data, self.recipe, self.folder, self.device = data, recipe, folder, device
        self.main_metric = main_metric
        self.average = copy.deepcopy(self.net).eval().requires_grad_(False)
        self.state = TrainState(self.net, build_optimiser(self.net, recipe), objective, recipe)
        self.peak_lr = [g["lr"] for g in self.state.optimiser.param_groups]
        self.batch = recipe.batch or 64
        # A last batch of one sample breaks batch normalisation; what is left over is seen in another epoch.
        self.steps_an_epoch = max(1, len(data.train_targets) // self.batch)
        self.step = 0
        self.elapsed_s = 0.0
        self.history: list[Mapping[str, str]] = []
        self.best_score, self.best_epoch, self.improved_epoch = -math.inf, 0, 0
        self._pending_best: dict[str, Tensor] | None = None
        self._saved_at = time.monotonic()
        if hasattr(net.body, "fit_patches"):
            chosen = np.sort(generator(recipe.seed, "stem").permutation(len(data.train_targets))[:2048])
            with torch.no_grad():
                images = self.net.scale(torch.from_numpy(np.ascontiguousarray(data.train_pixels[chosen])).to(device))
                self.net.body.fit_patches(images)
            self.average.load_state_dict(self.net.state_dict())

    def indices(self, epoch: int) -> Iterator[NDArray[np.int64]]:
        order = generator(self.recipe.seed, "order", epoch).permutation(len(self.data.train_targets))
        done = self.step - epoch * self.steps_an_epoch
        for i in range(done, self.steps_an_epoch):
            yield order[i * self.batch : (i + 1) * self.batch]

    def batch_of(self, chosen: NDArray[np.int64], augmentation: Augmentation) -> Batch:
        # In file order, a memory-mapped cache is read forwards; the order within a batch does not matter.
        chosen = np.sort(chosen)
        rng = torch.Generator().manual_seed(_step_seed(self.recipe.seed, self.step))
        torch.manual_seed(_step_seed(self.recipe.seed, self.step) + 1)
        pixels = torch.from_numpy(self.data.train_pixels[chosen]).to(self.device)
        targets = torch.from_numpy(self.data.train_targets[chosen]).to(self.device)
        return Batch(augment_batch(pixels, augmentation, rng=rng), targets)

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the averaged weights towards the net's; without an average they follow it when they are looked at."""
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step)) if self.recipe.ema else 0.0
        ours, theirs = list(self.average.state_dict().values()), list(self.net.state_dict().values())
        floats = [(a, b) for a, b in zip(ours, theirs, strict=True) if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1 - decay)
        for a, b in zip(ours, theirs, strict=True):
            if not a.is_floating_point():
                a.copy_(b)

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            parts = [
                self.average(torch.from_numpy(np.ascontiguousarray(pixels[i : i + 512])).to(self.device)).cpu().numpy()
                for i in range(0, len(pixels), 512)
            ]
        return np.concatenate(parts)

    def note_score(self, score: float, epoch: int) -> bool:
        """Keep the weights of the best epoch; of equals the later one, whose learning rate has come down further."""
        if score < self.best_score:
            return False
        if score > self.best_score:
            self.improved_epoch = epoch
        self.best_score, self.best_epoch = score, epoch
        self._pending_best = {k: v.detach().clone() for k, v in self.average.state_dict().items()}
        return True

    def save(self, elapsed_s: float, *, now: bool) -> None:
        if not now and time.monotonic() - self._saved_at < _SAVE_EVERY_S:
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
                self.step, best, self.best_epoch, self.improved_epoch, elapsed_s, digest, tuple(self.history)
            ),
        )
        self._saved_at = time.monotonic()

    def restore(self, say: Callable[[str], None]) -> None:
        tensors, state, damage = load_newest(self.folder)
        if damage:
            say(damage)
        if state.recipe_digest != _recipe_digest(self.recipe):
            raise CheckpointError(
                "the checkpoint was made by another recipe",
                fix="resume with the same options, or train without --resume",
            )

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.net.load_state_dict(part("net."))
        self.average.load_state_dict(part("average."))
        own = self.state.optimiser.state_dict()
        for key, value in part("optimiser.").items():
            i, _, name = key.partition(".")
            own["state"].setdefault(int(i), {})[name] = value
        self.state.optimiser.load_state_dict(own)
        self.step, self.elapsed_s = state.step, state.elapsed_s
        self.history = list(state.history)
        self.best_epoch, self.improved_epoch = state.best_epoch, state.improved_epoch
        self.best_score = -math.inf if state.best_score is None else state.best_score
        say(f"resumed at step {self.step}, epoch {self.step // self.steps_an_epoch + 1}")

    def finish(self, elapsed_s: float) -> None:
        self.save(elapsed_s, now=True)
        weights, _ = read_tensors(self.folder / "best" / "model.safetensors")
        self.net.load_state_dict(weights)
        self.net.eval()


def _one_epoch(
    loop: _Loop,
    augmentation: Augmentation,
    measure: Measure,
    step: Step,
    clock: "_Clock",
    pending: "list[int]",
    say: Callable[[str], None],
) -> str:
    """Train to the end of an epoch and validate; give why training ends here, or nothing."""
    recipe = loop.recipe
    epoch = len(loop.history)
    total = (recipe.epochs or 0) * loop.steps_an_epoch
    loop.net.train()
    losses: list[Tensor] = []
    begun, lr, out_of_time = time.monotonic(), 0.0, False
    for chosen in loop.indices(epoch):
        progress = clock.progress(loop.step, total)
        if clock.span_s is not None and progress >= 1:
            out_of_time = True
            break
        factor = schedule_factor(recipe, progress)
        for group, peak in zip(loop.state.optimiser.param_groups, loop.peak_lr, strict=True):
            group["lr"] = lr = peak * factor
        losses.append(step(loop.state, loop.batch_of(chosen, augmentation)))
        if loop.step % 20 == 0 and not math.isfinite(float(losses[-1])):
            raise _not_a_number(loop, epoch, chosen)
        loop.step += 1
        if recipe.ema:
            loop.update_average()
        seen = len(losses) * loop.batch / max(1e-9, time.monotonic() - begun)
        clock.show(progress, _bar_text(epoch, recipe.epochs, seen, loop))
        if pending:
            loop.save(clock.elapsed_s, now=True)
            say("a checkpoint was written; go on with --resume")
            raise KeyboardInterrupt if pending[0] == signal.SIGINT else SystemExit(143)
        loop.save(clock.elapsed_s, now=False)
    if out_of_time and not losses and loop.history:
        return "the budget is used"
    mean_loss = float(torch.stack(losses).mean()) if losses else math.nan
    if losses and not math.isfinite(mean_loss):
        raise _not_a_number(loop, epoch, None)
    speed = len(losses) * loop.batch / max(1e-9, time.monotonic() - begun)
    if not recipe.ema:
        loop.update_average()
    numbers = measure(loop.predict(loop.data.val_pixels), loop.data.val_targets)
    better = loop.note_score(numbers[loop.main_metric], epoch + 1)
    row = {
        "epoch": str(epoch + 1),
        "seconds": f"{clock.elapsed_s:.1f}",
        "lr": f"{lr:.5f}",
        "train_loss": f"{mean_loss:.4f}" if losses else "",
        **{f"val_{k}": f"{v:.4f}" for k, v in numbers.items()},
        "images_per_s": f"{speed:.0f}",
        "best": "*" if better else "",
    }
    loop.history.append(row)
    write_history(loop.folder.parent, loop.history)
    say(show_row(row, recipe.epochs))
    loop.save(clock.elapsed_s, now=False)
    return "the budget is used" if out_of_time else _why_ended(loop, clock)


def _why_ended(loop: _Loop, clock: "_Clock") -> str:
    """Give why training ends after the epochs that are done, or nothing."""
    recipe, done = loop.recipe, len(loop.history)
    if clock.span_s is not None and clock.elapsed_s >= clock.span_s:
        return "the budget is used"
    if recipe.epochs and done >= recipe.epochs:
        return "all epochs done"
    if recipe.patience and done - loop.improved_epoch >= recipe.patience:
        return f"no better validation score for {recipe.patience} epochs"
    return ""


class _Clock:
    """How far training is, by steps or by time, and the bar that shows it."""

    def __init__(self, started: float, span_s: float | None, advance: Progress) -> None:
        self.started, self.span_s, self._advance = started, span_s, advance
        self._shown = 0

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started

    def progress(self, step: int, total: int) -> float:
        return step / total if self.span_s is None else self.elapsed_s / self.span_s

    def show(self, progress: float, text: str) -> None:
        at = int(min(progress, 1.0) * _BAR)
        self._advance(at - self._shown, text)
        self._shown = at


def _bar_text(epoch: int, epochs: int | None, images_per_s: float, loop: _Loop) -> str:
    score = f"  {loop.main_metric} {loop.best_score:.4f}" if loop.history else ""
    return f"epoch {epoch + 1}{f'/{epochs}' if epochs else ''}  {images_per_s:.0f} images/s{score}"


def write_history(folder: Path, history: list[Mapping[str, str]]) -> None:
    """Write `metrics.csv` and `log.jsonl`: the very strings that the console shows."""
    columns = list(history[0])
    lines = [",".join(columns), *(",".join(row[c] for c in columns) for row in history)]
    write_text(folder / "metrics.csv", "\n".join(lines) + "\n")
    write_text(folder / "log.jsonl", "".join(dumps_json({"event": "epoch", **row}) + "\n" for row in history))


def show_row(row: Mapping[str, str], epochs: int | None) -> str:
    """Give one epoch as the line that the console shows."""
    total = f"/{epochs}" if epochs else ""
    rest = "  ".join(f"{k} {v}" for k, v in row.items() if k not in ("epoch", "best"))
    return f"epoch {row['epoch']}{total}  {rest} {row['best']}".rstrip()


def _not_a_number(loop: _Loop, epoch: int, chosen: NDArray[np.int64] | None) -> RefusedError:
    where = f"step {loop.step}" if chosen is None else f"step {loop.step}, images {', '.join(map(str, chosen[:5]))}, …"
    return RefusedError(
        f"the loss is no longer a number in epoch {epoch + 1} ({where}); the last good checkpoint is kept",
        fix="lower --lr, or set clip_norm = 1.0 in the recipe",
        code="loss_not_finite",
    )


def _step_seed(seed: int, step: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {step}".encode()).digest()[:7], "little")


def _recipe_digest(recipe: Recipe) -> str:
    return hashlib.sha256(dumps_json(recipe.to_json()).encode()).hexdigest()


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """Give the caller's torch generator back as it was."""
    with torch.random.fork_rng(devices=[]):
        yield


@contextlib.contextmanager
def _deferred_signals() -> Iterator[list[int]]:
    """Note SIGINT and SIGTERM until a step is over, so that a checkpoint can be written."""
    pending: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield pending
        return

    def note(number: int, frame: object) -> None:
        pending.append(number)

    before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield pending
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
