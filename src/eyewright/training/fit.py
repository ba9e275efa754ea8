"""The one training loop. How a single update is done is an argument; nothing here is inherited from."""

__all__ = ["Batch", "FitData", "FitResult", "Step", "TrainState", "fit", "plain_step"]

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eyewright.core.errors import UsageError
from eyewright.core.files import write_text
from eyewright.core.jsonable import dumps_json
from eyewright.core.progress import Progress, track_progress
from eyewright.nets.pixels import PixelNet
from eyewright.training.distributed import join_world
from eyewright.training.loop import Augmenter, Condense, FitData, Loop, not_a_number
from eyewright.training.objectives import Objective
from eyewright.training.optimisers import schedule_factor
from eyewright.training.plan import Guard, Learnt, Probe
from eyewright.training.precision import cpu_has_bfloat16
from eyewright.training.recipe import Recipe
from eyewright.training.steps import Batch, Step, TrainState, plain_step

_COLUMNS = 79
_BAR = 1000
# In a budget: the fraction of it that is trained at least, and that validating takes at most.
_LEAST_TRAINED, _MOST_VALIDATED = 0.75, 0.25
# A look at a loss makes a GPU wait for it; on a CPU it is free.
_LOOK_EVERY = {"cpu": 1}
_SELDOM = 20


@dataclass(frozen=True)
class FitResult:
    """How training went: one row of `metrics.csv` per epoch, why it ended, which epoch is the best."""

    history: tuple[Mapping[str, str], ...]
    best_epoch: int
    best_score: float
    steps: int
    stopped: str
    precision: str = "float32"


Measure = Callable[[Any, Any], Mapping[str, float]]


def to_array(outputs: Tensor, targets: Any) -> NDArray[np.float32]:
    """Keep a net's outputs as they are."""
    kept: NDArray[np.float32] = outputs.cpu().numpy()
    return kept


def fit(
    net: PixelNet,
    data: FitData,
    recipe: Recipe,
    *,
    objective: Objective,
    augmentation: Augmenter,
    measure: Measure,
    condense: Condense = to_array,
    main_metric: str,
    folder: Path,
    device: torch.device,
    step: Step = plain_step,
    deadline: float | None = None,
    resume: bool = False,
    quiet: bool = False,
    say: Callable[[str], None] = lambda text: None,
    observe: Callable[[Mapping[str, str]], None] = lambda row: None,
    probe: Probe | None = None,
    guard: Guard | None = None,
    learnt: Learnt | None = None,
    now: Callable[[], float] = time.monotonic,
) -> FitResult:
    """Train `net` in place and leave the best weights in it.

    The recipe must be resolved (epochs or a `deadline`, a value of `now`, and a batch size). With a deadline the
    schedule follows the clock, so that it always ends annealed, and the last validation ends at the deadline. Where
    validating takes long, an epoch continues without it: at most a quarter of the time is spent on it.

    `condense(outputs, targets)` keeps of each validation batch what counts, and `measure(kept, targets)` gives the
    numbers, of which `main_metric` (higher is better) chooses the best epoch; both see the averaged weights. `observe`
    is called with every row of the history; what it raises ends training. Where `learnt.keeps_start`, the net as it
    begins is kept as epoch 0 unless an epoch is better. `probe` adds numbers of its own, of what is
    `learnt`, after every epoch. A `guard` chooses the images of every update. Started by `torchrun`, the processes
    share every batch.

    Every random draw is a function of (seed, step): training that was cut off and resumed ends with the same weights.

    Raises:
        RefusedError: the loss is no longer a number; the last good checkpoint is kept.
        CheckpointError: `resume` finds no checkpoint, or one of another recipe.
        KeyboardInterrupt, SystemExit(143): after a checkpoint was written.
    """
    with join_world(net, batch=recipe.batch or 64, device=device) as world:
        _check_precision(recipe, device)
        loop = Loop(
            net,
            data,
            recipe,
            objective=objective,
            folder=folder,
            device=device,
            main_metric=main_metric,
            world=world,
            guard=guard,
        )
        if resume:
            loop.restore(say)
        if probe is not None:
            probe.begin(loop.history, main_metric)
        if loop.state.low_precision:
            say("forward and loss are computed in bfloat16, which is faster here (--amp off for float32)")
        # A resumed run has the whole budget as its span and goes on where it was: the time before the stop counts.
        span_s = None if deadline is None else max(0.001, deadline - now())
        started = now() - loop.elapsed_s
        with (
            _deferred_signals() as pending,
            _seeded(),
            track_progress("training", _BAR, quiet=quiet) as advance,
        ):
            clock = _Clock(now, started, span_s, advance)
            loop.state.augmentation, loop.state.signals = augmentation, pending
            fresh = probe is None and not loop.history and loop.best_score == -math.inf
            if fresh and getattr(learnt, "keeps_start", False):
                with clock.validating():
                    start = measure(loop.validate(condense), loop.data.val_targets)
                loop.note_score(start[main_metric], 0)
            # A run that was stopped after its last epoch has nothing left to train.
            stopped = _why_ended(loop, clock) if loop.history else ""
            while not stopped:
                done = len(loop.history)
                more = (
                    None if probe is None or learnt is None else partial(probe, data=data, learnt=learnt, device=device)
                )
                stopped = _one_epoch(loop, augmentation, measure, condense, step, clock, pending, say, more)
                if len(loop.history) > done:
                    observe(loop.history[-1])
            _end_if_asked(loop, clock, pending, say)
        loop.finish(now() - started)
        precision = "bfloat16" if loop.state.low_precision else "float32"
    return FitResult(tuple(loop.history), loop.best_epoch, loop.best_score, loop.step, stopped, precision)


def _check_precision(recipe: Recipe, device: torch.device) -> None:
    """Refuse bfloat16 where it is asked for and the processor does not have it: training would take 20 times as long.

    Raises:
        UsageError: `amp` is "on", and this is such a processor.
    """
    if recipe.amp == "on" and device.type == "cpu" and not cpu_has_bfloat16():
        raise UsageError(
            "expected a GPU, or a processor with AVX512-BF16 or AMX, with --amp on, found neither",
            fix="leave --amp out",
        )


def _one_epoch(
    loop: Loop,
    augmentation: Augmenter,
    measure: Measure,
    condense: Condense,
    step: Step,
    clock: "_Clock",
    pending: "list[int]",
    say: Callable[[str], None],
    probe: Callable[[PixelNet], Mapping[str, float]] | None,
) -> str:
    """Train to the end of an epoch and validate; return why training ends here, or nothing."""
    recipe, world = loop.recipe, loop.world
    epoch = loop.epoch
    losses = _Losses(loop)
    begun, lr, out_of_time, seen = clock.now(), 0.0, False, 0
    for chosen in loop.indices(partial(_goes_on, loop, clock)):
        _end_if_asked(loop, clock, pending, say)
        # The first process's clock is everybody's: all must do the same.
        progress, due = world.agree([world.leads * clock.progress(loop), float(world.leads and loop.save_is_due())])
        if due:
            loop.save(clock.elapsed_s)
        if clock.trains_s is not None and progress >= 1:
            out_of_time = True
            break
        loop.freeze(progress)
        loop.state.progress, loop.state.step = progress, loop.step
        factor = schedule_factor(recipe, progress)
        for group, peak in zip(loop.state.optimiser.param_groups, loop.peak_lr, strict=True):
            group["lr"] = peak * factor
        lr = max(loop.peak_lr) * factor
        for part, batch in loop.batches(chosen, augmentation, progress):
            losses.add(step(loop.state, batch), part, batch.share)
        loop.step += 1
        # How many images a random sample holds is not told.
        seen += len(chosen) if loop.guard is None else loop.images_a_step
        if recipe.ema:
            loop.update_average()
        speed = seen / max(1e-9, clock.now() - begun)
        whole = loop.step / loop.total_steps if loop.total_steps else progress
        clock.show(whole, _bar_text(epoch, recipe.epochs, speed, loop))
    if out_of_time and not seen and loop.history:
        return "the budget is used"
    losses.look()
    if not loop.is_finite():
        raise not_a_number(loop, losses.last)
    mean_loss = losses.mean()
    speed = seen / max(1e-9, clock.now() - begun)
    if not recipe.ema:
        loop.update_average()
    with clock.validating():
        numbers = dict(measure(loop.validate(condense), loop.data.val_targets))
        if probe is not None:
            numbers |= probe(loop.average)
    better = loop.note_score(numbers[loop.main_metric], epoch)
    keeps_last = loop.guard is not None and loop.guard.keeps_last
    row = {
        "epoch": str(epoch),
        "seconds": f"{clock.elapsed_s:.1f}",
        "lr": f"{lr:.5f}",
        # The loss of private images is theirs.
        "train_loss": f"{mean_loss:.4f}" if seen and loop.guard is None else "",
        **{f"val_{k}": f"{v:.4f}" for k, v in numbers.items()},
        "images_per_s": f"{speed:.0f}",
        "best": "*" if better and not keeps_last else "",
    }
    loop.history.append(row)
    if world.leads:
        write_history(loop.folder.parent, loop.history)
    mark = "the weights of the last epoch are kept" if keeps_last else _BEST
    for line in show_row(row, recipe.epochs, headed=not clock.shown_rows, mark=mark).splitlines():
        say(line)
    clock.shown_rows += 1
    return "the budget is used" if out_of_time else _why_ended(loop, clock)


def _goes_on(loop: Loop, clock: "_Clock") -> bool:
    """Return whether, at the end of an epoch, training continues without validating: no time would be left after it to
    train to the end of the schedule, or validating takes too much of the time."""
    return bool(loop.world.agree([float(loop.world.leads and clock.validates_too_long())])[0])


def _end_if_asked(loop: Loop, clock: "_Clock", pending: "list[int]", say: Callable[[str], None]) -> None:
    """End with a checkpoint when a signal has come, to whichever process."""
    interrupted, terminated = loop.world.agree([float(s in pending) for s in (signal.SIGINT, signal.SIGTERM)])
    if interrupted or terminated:
        loop.save(clock.elapsed_s)
        say("a checkpoint was written")
        raise KeyboardInterrupt if interrupted else SystemExit(143)


def _why_ended(loop: Loop, clock: "_Clock") -> str:
    """Return why training ends after the epochs that are done, or nothing."""
    recipe, done = loop.recipe, loop.epoch - 1
    over = clock.trains_s is not None and clock.elapsed_s >= clock.trains_s
    if loop.world.agree([float(loop.world.leads and over)])[0]:
        return "the budget is used"
    if recipe.epochs and done >= recipe.epochs:
        return "all epochs done"
    if recipe.patience and done - loop.improved_epoch >= recipe.patience:
        return f"no better validation score for {recipe.patience} epochs"
    return ""


class _Losses:
    """The losses of an epoch, looked at often enough to name the batch in which one stopped being a number."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._every = _LOOK_EVERY.get(loop.device.type, _SELDOM)
        self._all: list[Tensor] = []
        self._shares: list[float] = []
        self._waiting: list[tuple[Tensor, NDArray[np.int64]]] = []
        self.last: NDArray[np.int64] | None = None

    def add(self, loss: Tensor, part: NDArray[np.int64], share: float) -> None:
        self._all.append(loss)
        self._shares.append(share)
        self._waiting.append((loss, part))
        self.last = part
        if len(self._waiting) >= self._every:
            self.look()

    def look(self) -> None:
        for loss, part in self._waiting:
            # One process's trouble is everybody's, or the others would wait for it.
            if not math.isfinite(self._loop.world.agree([float(loss)])[0]):
                raise not_a_number(self._loop, part)
        self._waiting.clear()

    def mean(self) -> float:
        """The mean over images, of all processes."""
        if not self._all:
            return math.nan
        shares = torch.tensor(self._shares)
        sums = [float((torch.stack(self._all).cpu() * shares).sum()), float(shares.sum())]
        weighted, whole = self._loop.world.agree(sums)
        return weighted / whole if whole else math.nan


class _Clock:
    """How far training is, by steps or by time, and the bar that shows it.

    `span_s` is the time until the deadline. How long validating takes is known after the first time.
    """

    def __init__(self, now: Callable[[], float], started: float, span_s: float | None, advance: Progress) -> None:
        self.shown_rows = 0
        self.now, self.started, self.span_s, self._advance = now, started, span_s, advance
        self._shown = 0
        self._last_s, self._validated_s = 0.0, 0.0

    @property
    def elapsed_s(self) -> float:
        return self.now() - self.started

    @property
    def trains_s(self) -> float | None:
        """When training ends, so that the last validation ends with the budget; None without one."""
        return None if self.span_s is None else max(self.span_s - self._last_s, _LEAST_TRAINED * self.span_s)

    def progress(self, loop: Loop) -> float:
        return loop.progress() if self.trains_s is None else self.elapsed_s / self.trains_s

    def validates_too_long(self) -> bool:
        """Return whether another validation would take the time that the schedule needs, or too much of it so far."""
        if self.trains_s is None:
            return False
        end_s = self.elapsed_s + self._last_s
        return end_s >= self.trains_s or self._validated_s + self._last_s > _MOST_VALIDATED * end_s

    @contextlib.contextmanager
    def validating(self) -> Iterator[None]:
        """Measure how long what is done inside takes."""
        began = self.now()
        yield
        self._last_s = self.now() - began
        self._validated_s += self._last_s

    def show(self, progress: float, text: str) -> None:
        at = int(min(progress, 1.0) * _BAR)
        self._advance(at - self._shown, text)
        self._shown = at


def _bar_text(epoch: int, epochs: int | None, images_per_s: float, loop: Loop) -> str:
    score = f"  {loop.main_metric} {loop.best_score:.4f}" if loop.history else ""
    return f"epoch {epoch}{f'/{epochs}' if epochs else ''}  {images_per_s:.0f} images/s{score}"


def write_history(folder: Path, history: list[Mapping[str, str]]) -> None:
    """Write `metrics.csv` and `log.jsonl`: the very strings that the console shows."""
    # A run that is resumed by another version may follow a number under another name.
    columns = list(dict.fromkeys(c for row in history for c in row))
    lines = [",".join(columns), *(",".join(row.get(c, "") for c in columns) for row in history)]
    write_text(folder / "metrics.csv", "\n".join(lines) + "\n")
    write_text(folder / "log.jsonl", "".join(dumps_json({"event": "epoch", **row}) + "\n" for row in history))


_BEST = "* the best epoch so far; of equal ones the later is kept"


def show_row(row: Mapping[str, str], epochs: int | None, *, headed: bool, mark: str = _BEST) -> str:
    """Return one epoch as the line of a table that the console shows, at most 79 columns wide; `headed` with the names
    of its columns above it and the line `mark`, which says which epoch is kept.

    Where a task has too many numbers for that, the seconds, the learning rate and the last numbers are in `metrics.csv`
    alone.

    >>> row = {"epoch": "3", "lr": "0.00100", "train_loss": "0.5", "val_accuracy": "0.9", "best": "*"}
    >>> print(show_row(row, 12, headed=True))
    * the best epoch so far; of equal ones the later is kept
    epoch       lr  train_loss  val_accuracy
     3/12  0.00100         0.5           0.9 *
    """
    epoch = f"{row['epoch']}/{epochs}" if epochs else row["epoch"]
    cells = {"epoch": epoch} | {k: v for k, v in row.items() if k not in ("epoch", "best")}
    # The name or the widest value that is usual: columns stay where they are from row to row.
    wide = {k: max(len(k), len(f"{epochs}/{epochs}") if k == "epoch" else 7) for k in cells}
    spare = [k for k in ("seconds", "lr", "images_per_s") if k in cells] + list(cells)[:4:-1]
    while sum(w + 2 for w in wide.values()) > _COLUMNS and spare:
        wide.pop(spare.pop(0), None)
    heading = "  ".join(k.rjust(w) for k, w in wide.items())
    lines = [mark, heading] if headed else []
    lines.append(f"{'  '.join(cells[k].rjust(w) for k, w in wide.items())} {row['best']}".rstrip())
    return "\n".join(lines)


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """Restore the caller's torch generator."""
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
