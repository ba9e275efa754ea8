"""The loop: determinism, resume, budget, early stopping, signals, damaged checkpoints."""

import csv
import errno
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from eyewright.core.errors import CheckpointError, OutputError, RefusedError, UsageError
from eyewright.nets import PixelNet, mlp, quick_net
from eyewright.training import loop, precision
from eyewright.training.augment import Augmentation
from eyewright.training.checkpoints import load_newest, read_tensors
from eyewright.training.fit import FitResult, fit, show_row
from eyewright.training.loop import FitData
from eyewright.training.objectives import classification_objective
from eyewright.training.recipe import Recipe
from eyewright.training.steps import Batch, TrainState, plain_step

STRONG = Augmentation(shift=0.1, flip=True, rotate_deg=10, zoom=0.1, light=0.1)


def data() -> FitData:
    rng = np.random.default_rng(0)
    targets = np.arange(48) % 3
    pixels = rng.integers(0, 60, (48, 20, 20, 3)).astype(np.uint8)
    for i, t in enumerate(targets):
        pixels[i, 3 + 5 * t : 8 + 5 * t, :, t] = 220
    ids = tuple(f"image-{i}" for i in range(36))
    return FitData(pixels[:36], targets[:36], pixels[36:], targets[36:], ids)


def measure(logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    return {"loss": float(logits.std()), "accuracy": float((logits.argmax(1) == targets).mean())}


def train(
    folder: Path, recipe: Recipe | None = None, *, net: nn.Module | None = None, **options: object
) -> tuple[PixelNet, FitResult]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = quick_net(3, size_hw=(20, 20), dropout=0.1)
        if net is not None:
            body = net.apply(lambda m: m.reset_parameters() if isinstance(m, nn.Linear) else None)
        net = PixelNet(body, mean=(0.5,) * 3, std=(0.25,) * 3)
    recipe = recipe or Recipe(epochs=4, batch=8, ema=0.9)
    settings: dict[str, object] = {
        "objective": classification_objective(recipe),
        "augmentation": STRONG,
        "measure": measure,
        "main_metric": "accuracy",
        "folder": folder / "checkpoints",
        "device": torch.device("cpu"),
        **options,
    }
    result = fit(net, data(), recipe, **settings)  # type: ignore[arg-type]
    return net, result


def digest(net: PixelNet) -> str:
    return hashlib.sha256(b"".join(v.numpy().tobytes() for v in net.state_dict().values())).hexdigest()


def stop_after(steps: int) -> Callable[[TrainState, Batch], torch.Tensor]:
    """A step that raises SIGTERM in its own process after so many updates."""
    done = 0

    def step(state: TrainState, batch: Batch) -> torch.Tensor:
        nonlocal done
        done += 1
        if done == steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain_step(state, batch)

    return step


def test_it_learns_and_two_runs_of_one_seed_end_with_the_same_weights(tmp_path: Path) -> None:
    net, result = train(tmp_path / "a")
    again, _ = train(tmp_path / "b")
    assert result.best_score == 1.0
    assert digest(net) == digest(again)


@pytest.mark.parametrize("steps", [1, 3, 4, 5, 9, 15])
def test_a_run_ended_by_sigterm_and_resumed_ends_with_the_same_weights(tmp_path: Path, steps: int) -> None:
    whole, _ = train(tmp_path / "whole")
    with pytest.raises(SystemExit) as ended:
        train(tmp_path / "cut", step=stop_after(steps))
    assert ended.value.code == 143
    said: list[str] = []
    resumed, result = train(tmp_path / "cut", resume=True, say=said.append)
    assert digest(resumed) == digest(whole)
    assert [r["epoch"] for r in result.history] == ["1", "2", "3", "4"]
    assert f"resumed at step {steps}" in said[0]


def test_resuming_a_run_that_was_done_trains_no_further(tmp_path: Path) -> None:
    whole, first = train(tmp_path)
    again, second = train(tmp_path, resume=True)
    assert digest(again) == digest(whole)
    assert second.history == first.history
    assert second.stopped == "all epochs done"


def test_what_a_killed_process_was_writing_is_cleared_away(tmp_path: Path) -> None:
    from eyewright.training.run import open_run_folder

    litter = tmp_path / "checkpoints" / "last" / ".state.safetensors.1234.tmp"
    litter.parent.mkdir(parents=True)
    litter.touch()
    with open_run_folder(tmp_path, resume=True):
        assert not litter.exists()


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_is_used(tmp_path: Path, damage: str) -> None:
    whole, _ = train(tmp_path / "whole")
    for steps in (5, 4):
        with pytest.raises(SystemExit):
            train(tmp_path / "cut", step=stop_after(steps), resume=steps == 4)
    last = tmp_path / "cut/checkpoints/last/state.safetensors"
    content = last.read_bytes()
    if damage == "gone":
        last.unlink()
    else:
        flipped = bytearray(content)
        flipped[len(flipped) * 3 // 4] ^= 1
        # A new file, as a failing disk would give: `previous` is another name of older content.
        last.unlink()
        last.write_bytes(content[: len(content) // 2] if damage == "cut" else bytes(flipped))
    said: list[str] = []
    resumed, _ = train(tmp_path / "cut", resume=True, say=said.append)
    assert digest(resumed) == digest(whole)
    assert damage == "gone" or "the checkpoint before it is used" in said[0]


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        train(tmp_path, step=stop_after(3))
    with pytest.raises(CheckpointError, match="another recipe"):
        train(tmp_path, Recipe(epochs=5, batch=8, ema=0.9), resume=True)


def test_resume_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="found none"):
        train(tmp_path, resume=True)


def test_a_disk_that_fills_up_keeps_the_checkpoint_before(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SystemExit):
        train(tmp_path, step=stop_after(5))
    before = load_newest(tmp_path / "checkpoints")[1]
    real = os.fsync

    def full(descriptor: int) -> None:
        if not os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="no space left"):
        train(tmp_path, resume=True)
    assert load_newest(tmp_path / "checkpoints")[1] == before


def test_metrics_csv_is_what_the_console_showed(tmp_path: Path) -> None:
    said: list[str] = []
    _, result = train(tmp_path, say=said.append)
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [dict(r) for r in result.history]
    table = "\n".join(said).splitlines()
    start = next(k for k, line in enumerate(table) if line.startswith("epoch"))
    names = table[start].split()
    assert {"epoch", "train_loss", "val_accuracy"} <= set(names)
    for row, line in zip(rows, table[start + 1 :], strict=False):
        assert line.split()[1 : len(names)] == [row[name] for name in names[1:]]
        assert len(line) <= 80


def test_a_row_of_any_task_fits_80_columns_under_its_names() -> None:
    numbers = {f"val_number_{k}": "0.1234" for k in range(9)}
    row = {
        "epoch": "7",
        "seconds": "1.0",
        "lr": "0.1",
        "train_loss": "2.0",
        **numbers,
        "images_per_s": "99",
        "best": "*",
    }
    mark, head, line = show_row(row, 1000, headed=True).splitlines()
    assert "best epoch so far" in mark
    assert max(len(head), len(line)) <= 80
    assert head.split()[:3] == ["epoch", "train_loss", "val_number_0"]
    assert line.split()[:3] == ["7/1000", "2.0", "0.1234"]
    assert show_row(row, None, headed=False).split()[0] == "7"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_disk_that_fails_at_every_kth_call_never_costs_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """Whatever call of a save fails, the one before is whole, and training that goes on ends with the same weights."""
    monkeypatch.setattr(loop, "_SAVE_EVERY_S", 0.0)
    recipe = Recipe(epochs=1, batch=12, ema=0.9)
    whole, _ = train(tmp_path / "whole", recipe)
    cut = tmp_path / "cut"
    failures = 0
    for k in range(1, 40):
        with monkeypatch.context() as patch:
            fail_after(patch, call, k, number)
            try:
                net, _ = train(cut, recipe, resume=(cut / "checkpoints/last/state.safetensors").exists())
                break
            except OutputError:
                failures += 1
        folder = cut / "checkpoints"
        if (folder / "last/state.safetensors").exists():
            assert load_newest(folder)[2] == "", "the last checkpoint is whole"
        assert not list(cut.rglob(".*.tmp"))
    assert failures > 3
    assert digest(net) == digest(whole)


def fail_after(patch: pytest.MonkeyPatch, call: str, k: int, number: int) -> None:
    """Let the k-th call of its kind fail, as a full or a dying disk does."""
    from eyewright.core import files

    done = 0

    def counted(*arguments: object, **options: object) -> object:
        nonlocal done
        done += 1
        if done == k:
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    if call == "write":
        real = open

        class Failing:
            def __init__(self, file: object) -> None:
                self._file = file

            def __enter__(self) -> "Failing":
                return self

            def __exit__(self, *about: object) -> None:
                self._file.close()

            def write(self, content: bytes) -> None:
                # Half of it reaches the disk, as it would.
                self._file.write(content[: len(content) // 2])
                counted_write()
                self._file.write(content[len(content) // 2 :])

            def __getattr__(self, name: str) -> object:
                return getattr(self._file, name)

        def counted_write() -> None:
            nonlocal done
            done += 1
            if done == k:
                raise OSError(number, os.strerror(number))

        patch.setattr(files, "open", lambda *a, **o: Failing(real(*a, **o)), raising=False)
    else:
        real = getattr(os, call)
        patch.setattr(os, call, counted)


@pytest.mark.parametrize("steps", [1, 2, 3, 8])
def test_a_preview_is_a_short_cycle_before_the_run_and_resumes_like_it(tmp_path: Path, steps: int) -> None:
    recipe = Recipe(epochs=2, batch=8, ema=0.9, preview=0.5)
    rates: list[float] = []

    def watching(state: TrainState, batch: Batch) -> torch.Tensor:
        rates.append(state.optimiser.param_groups[0]["lr"])
        return plain_step(state, batch)

    whole, result = train(tmp_path / "whole", recipe, step=watching)
    assert [r["epoch"] for r in result.history] == ["0", "1", "2"]
    assert result.steps == len(rates) == 2 + 8
    # Two cycles: it climbs and falls, starts again low, and ends near nothing.
    assert rates[1] > rates[0]
    assert rates[2] == rates[0]
    assert rates[-1] < 0.2 * max(rates)
    with pytest.raises(SystemExit):
        train(tmp_path / "cut", recipe, step=stop_after(steps))
    resumed, again = train(tmp_path / "cut", recipe, resume=True)
    assert digest(resumed) == digest(whole)
    assert [r["epoch"] for r in again.history] == ["0", "1", "2"]


class Clock:
    """A clock that every update moves on by as much: what depends on time is tested without spending any."""

    def __init__(self, step_s: float) -> None:
        self.time_s, self._step_s = 100.0, step_s

    def __call__(self) -> float:
        return self.time_s

    def step(self, state: TrainState, batch: Batch) -> torch.Tensor:
        self.time_s += self._step_s
        return plain_step(state, batch)


def test_training_ends_with_its_deadline_annealed(tmp_path: Path) -> None:
    clock = Clock(0.0625)
    _, result = train(tmp_path, Recipe(budget_s=3.0, batch=8), deadline=103.0, now=clock, step=clock.step)
    assert clock.time_s == pytest.approx(103.0, abs=0.0626)
    assert result.stopped == "the budget is used"
    assert result.steps == 48
    assert float(result.history[-1]["lr"]) < 0.002


def test_validating_takes_at_most_a_quarter_of_a_budget_and_ends_with_it_annealed(tmp_path: Path) -> None:
    clock = Clock(0.1)

    def slow(logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        clock.time_s += 1.0
        return measure(logits, targets)

    recipe = Recipe(budget_s=20.0, batch=8)
    _, result = train(tmp_path, recipe, deadline=120.0, now=clock, step=clock.step, measure=slow)
    assert clock.time_s == pytest.approx(120.0, abs=0.11)
    assert result.stopped == "the budget is used"
    # Epochs take 0.4 s: without a bound, over two thirds of the time went into validating.
    assert 2 <= len(result.history) <= 5
    assert result.steps >= 150
    assert float(result.history[-1]["lr"]) < 0.002


def test_an_epoch_that_goes_on_shows_every_step_the_images_it_has_without_that(tmp_path: Path) -> None:
    def watch(seen: list[list[int]], clock: Clock, stop: int = -1) -> Callable[[TrainState, Batch], torch.Tensor]:
        def step(state: TrainState, batch: Batch) -> torch.Tensor:
            seen.append(batch.targets.tolist())
            if len(seen) == stop:
                os.kill(os.getpid(), signal.SIGTERM)
            return clock.step(state, batch)

        return step

    def slow(clock: Clock) -> Callable[[np.ndarray, np.ndarray], dict[str, float]]:
        def measured(logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
            clock.time_s += 1.0
            return measure(logits, targets)

        return measured

    plain: list[list[int]] = []
    train(tmp_path / "epochs", Recipe(epochs=6, batch=8), step=watch(plain, Clock(0.1)))
    recipe, clock, long = Recipe(budget_s=4.0, batch=8), Clock(0.1), []
    given = {"deadline": 104.0, "now": clock, "measure": slow(clock)}
    _, result = train(tmp_path / "long", recipe, step=watch(long, clock), **given)
    assert len(result.history) == 2
    assert len(long) > 12, "the second epoch has several rounds"
    assert long == plain[: len(long)]
    cut: list[list[int]] = []
    clock = Clock(0.1)
    given = {"deadline": 104.0, "now": clock, "measure": slow(clock)}
    with pytest.raises(SystemExit):
        train(tmp_path / "cut", recipe, step=watch(cut, clock, stop=10), **given)
    clock.time_s = 100.0
    train(tmp_path / "cut", recipe, step=watch(cut, clock), resume=True, **given)
    assert cut == plain[: len(cut)]


@pytest.mark.parametrize(("scores", "best"), [((0.9, 0.5, 0.6), 0), ((0.9, 0.5, 0.9), 2), ((0.1, 0.5, 0.6), 2)])
def test_the_net_as_it_begins_is_kept_where_no_epoch_is_better(
    tmp_path: Path, scores: tuple[float, ...], best: int
) -> None:
    left = list(scores)

    def told(logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        return {"accuracy": left.pop(0)}

    begun: list[str] = []

    def step(state: TrainState, batch: Batch) -> torch.Tensor:
        if not begun:
            begun.append(digest(state.net))
        return plain_step(state, batch)

    given = {"step": step, "measure": told, "learnt": SimpleNamespace(keeps_start=True)}
    net, result = train(tmp_path, Recipe(epochs=2, batch=8), **given)
    assert (result.best_epoch, result.best_score) == (best, max(scores))
    assert [r["epoch"] for r in result.history] == ["1", "2"]
    assert (digest(net) == begun[0]) == (best == 0)
    # Resumed, it is not measured again: nothing is left to be told.
    again, _ = train(tmp_path, Recipe(epochs=2, batch=8), resume=True, **given)
    assert digest(again) == digest(net)


def test_a_resumed_budget_is_what_is_left_of_it(tmp_path: Path) -> None:
    recipe = Recipe(budget_s=4.0, batch=8)
    clock = Clock(0.4)
    stop = stop_after(5)

    def until_stopped(state: TrainState, batch: Batch) -> torch.Tensor:
        clock.step(state, batch)
        return stop(state, batch)

    with pytest.raises(SystemExit):
        train(tmp_path, recipe, step=until_stopped, deadline=104.0, now=clock)
    assert clock.time_s == pytest.approx(102.0)
    again = Clock(0.4)
    _, result = train(tmp_path, recipe, step=again.step, resume=True, deadline=104.0, now=again)
    # Two seconds were used before the stop, so two are left of four.
    assert again.time_s == pytest.approx(102.0, abs=0.41)
    assert float(result.history[-1]["seconds"]) == pytest.approx(4.0, abs=0.41)
    assert all(row["train_loss"] not in ("nan", "") for row in result.history)


def test_early_stopping_waits_for_its_patience(tmp_path: Path) -> None:
    scores = iter([0.5, 0.7, 0.6, 0.7, 0.6, 0.6, 0.9])
    recipe = Recipe(epochs=20, batch=8, patience=3)
    _, result = train(tmp_path, recipe, measure=lambda logits, targets: {"loss": 0.0, "accuracy": next(scores)})
    assert len(result.history) == 5
    assert "no better validation score for 3 epochs" in result.stopped
    # Of equals the later one is kept: its learning rate has come down further.
    assert result.best_epoch == 4


def test_the_best_weights_are_kept_and_not_the_last(tmp_path: Path) -> None:
    scores = iter([0.5, 0.9, 0.6, 0.6])
    net, result = train(tmp_path, measure=lambda logits, targets: {"loss": 0.0, "accuracy": next(scores)})
    assert result.best_epoch == 2
    weights, about = read_tensors(tmp_path / "checkpoints/best/model.safetensors")
    assert about["epoch"] == 2
    assert all(torch.equal(v, weights[k]) for k, v in net.state_dict().items())


def test_a_loss_that_is_no_number_names_its_batch_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        train(tmp_path, step=stop_after(5))
    good = load_newest(tmp_path / "checkpoints")[1]
    seen: list[Batch] = []

    def broken(state: TrainState, batch: Batch) -> torch.Tensor:
        seen.append(batch)
        return plain_step(state, batch) * (float("nan") if len(seen) == 3 else 1.0)

    with pytest.raises(RefusedError, match=r"epoch 2 \(step 8, in the batch of image-\d+, .* and 4 more") as refused:
        train(tmp_path, step=broken, resume=True)
    assert len(seen) == 3
    named = re.findall(r"image-(\d+)", refused.value.message)
    colours = {int(data().train_targets[int(i)]) for i in named}
    assert colours <= set(seen[2].targets.tolist())
    assert load_newest(tmp_path / "checkpoints")[1] == good


def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path) -> None:
    def broken(state: TrainState, batch: Batch) -> torch.Tensor:
        loss = plain_step(state, batch)
        with torch.no_grad():
            next(state.net.parameters()).fill_(float("inf"))
        os.kill(os.getpid(), signal.SIGTERM)
        return loss

    with pytest.raises(RefusedError, match="became NaN or infinite"):
        train(tmp_path, step=broken)
    assert not (tmp_path / "checkpoints/last").exists()


@pytest.mark.parametrize(("optimizer", "batch", "accumulate"), [("momentum", 4, 3), ("gd", 10, 1)])
def test_accumulated_batches_make_the_update_of_a_large_one(
    tmp_path: Path, optimizer: str, batch: int, accumulate: int
) -> None:
    """A net without batch normalisation: there the images of a batch do not know of each other."""
    large = 12 if accumulate > 1 else 36
    common = {"epochs": 2, "schedule": "constant", "warmup": 0.0, "lr": 0.05}
    settings = {"net": mlp(3, size_hw=(20, 20)), "augmentation": Augmentation()}
    parts, first = train(
        tmp_path / "parts", Recipe(optimizer=optimizer, batch=batch, accumulate=accumulate, **common), **settings
    )
    settings["net"] = mlp(3, size_hw=(20, 20))
    whole, second = train(
        tmp_path / "whole",
        Recipe(optimizer="sgd" if optimizer == "gd" else optimizer, batch=large, **common),
        **settings,
    )
    assert first.steps == second.steps == 2 * 36 // large
    for a, b in zip(parts.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-6, rtol=1e-4)


def test_mixed_images_train_and_resume_to_the_same_weights(tmp_path: Path) -> None:
    recipe = Recipe(epochs=4, batch=8, ema=0.9, mixup=0.4, cutmix=1.0)
    whole, _ = train(tmp_path / "whole", recipe)
    with pytest.raises(SystemExit):
        train(tmp_path / "cut", recipe, step=stop_after(6))
    resumed, _ = train(tmp_path / "cut", recipe, resume=True)
    assert digest(resumed) == digest(whole)
    assert digest(whole) != digest(train(tmp_path / "plain")[0])


def test_a_frozen_body_stands_still_and_then_thaws(tmp_path: Path) -> None:
    moved: list[tuple[bool, bool]] = []

    def watching(state: TrainState, batch: Batch) -> torch.Tensor:
        before = [p.detach().clone() for p in state.net.parameters()]
        loss = plain_step(state, batch)
        changed = [not torch.equal(a, b) for a, b in zip(before, state.net.parameters(), strict=True)]
        head = sum(p.numel() for p in state.net.body.head.parameters())
        sizes = [p.numel() for p in before]
        assert sum(sizes[-2:]) == head
        moved.append((any(changed[:-2]), all(changed[-2:])))
        return loss

    recipe = Recipe(model="mine:net", epochs=4, batch=8, freeze=0.5, optimizer="adamw", layer_decay=0.5)
    train(tmp_path, recipe, step=watching)
    assert moved == [(False, True)] * 8 + [(True, True)] * 8


def test_a_step_is_an_argument(tmp_path: Path) -> None:
    seen: list[int] = []

    def counting(state: TrainState, batch: Batch) -> torch.Tensor:
        seen.append(len(batch.targets))
        return plain_step(state, batch)

    train(tmp_path, step=counting)
    assert seen == [8] * 16


@pytest.mark.parametrize("option", [{"l1": 0.1}, {"clip_norm": 1e-4}, {"weight_decay": 5.0}])
def test_penalties_and_clipping_change_the_weights_as_they_should(tmp_path: Path, option: dict[str, float]) -> None:
    plain, _ = train(tmp_path / "plain", Recipe(epochs=4, batch=8, optimizer="momentum", weight_decay=0.0))
    other, _ = train(
        tmp_path / "other", Recipe(**{"epochs": 4, "batch": 8, "optimizer": "momentum", "weight_decay": 0.0, **option})
    )

    def size(net: PixelNet) -> float:
        return sum(p.detach().abs().sum().item() for p in net.parameters() if p.ndim >= 2)

    assert size(other) < size(plain) or "clip_norm" in option
    assert digest(other) != digest(plain)


def test_the_callers_random_state_is_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_a_kill_at_any_instant_loses_nothing_but_time(tmp_path: Path, shapes: Path) -> None:
    """kill -9 in a real process, at three instants, then --resume: the same weights as without."""
    command = [sys.executable, "-m", "eyewright", "train", str(shapes), "--epochs", "8", "--batch", "8", "--quiet"]
    subprocess.run([*command, "--out", str(tmp_path / "whole")], check=True)
    cut = tmp_path / "cut"
    for _ in range(3):
        resume = ["--resume"] if (cut / "checkpoints/last/state.safetensors").exists() else []
        process = subprocess.Popen(
            [*command, "--out", str(cut), *resume], env={**os.environ, "EYEWRIGHT_SAVE_EVERY_S": "0"}
        )
        marker = cut / "checkpoints/last/state.safetensors"
        before = marker.stat().st_mtime_ns if marker.exists() else 0
        while process.poll() is None and (not marker.exists() or marker.stat().st_mtime_ns == before):
            time.sleep(0.005)
        time.sleep(0.05)
        process.kill()
        process.wait()
    subprocess.run([*command, "--out", str(cut), "--resume"], check=True)
    ours, theirs = (read_tensors(f / "checkpoints/best/model.safetensors")[0] for f in (cut, tmp_path / "whole"))
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)


def test_two_runs_in_one_folder_the_second_is_refused(tmp_path: Path) -> None:
    from eyewright.training.run import open_run_folder

    def second() -> None:
        with open_run_folder(tmp_path / "run", resume=True):
            pass

    with open_run_folder(tmp_path / "run", resume=False), pytest.raises(UsageError, match="another run is writing"):
        second()


def _able(patch: pytest.MonkeyPatch, speedup: float, *, has: bool = True) -> None:
    patch.setattr(precision, "cpu_has_bfloat16", lambda: has)
    patch.setattr(precision, "cpu_speedup", lambda: speedup)
    patch.setattr(loop, "cpu_has_bfloat16", lambda: has)


def test_a_run_in_bfloat16_learns_and_keeps_its_weights_in_float32(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    _able(monkeypatch, 2.0)
    said: list[str] = []
    net, result = train(tmp_path, say=said.append)
    assert (result.precision, result.best_score) == ("bfloat16", 1.0)
    assert all(p.dtype == torch.float32 for p in net.parameters())
    assert any("bfloat16" in text for text in said)


@pytest.mark.parametrize(("first", "second"), [(2.0, 1.0), (1.0, 2.0)])
def test_a_resumed_run_keeps_its_precision_whatever_the_probe_says_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: float, second: float
) -> None:
    _able(monkeypatch, first)
    whole, _ = train(tmp_path / "whole")
    with pytest.raises(SystemExit):
        train(tmp_path / "cut", step=stop_after(9))
    _able(monkeypatch, second)
    resumed, result = train(tmp_path / "cut", resume=True)
    assert digest(resumed) == digest(whole)
    assert result.precision == ("bfloat16" if first == 2.0 else "float32")


def test_a_run_continues_in_float32_on_a_processor_without_bfloat16_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _able(monkeypatch, 2.0)
    with pytest.raises(SystemExit):
        train(tmp_path, step=stop_after(9))
    _able(monkeypatch, 2.0, has=False)
    said: list[str] = []
    _, result = train(tmp_path, resume=True, say=said.append)
    assert result.precision == "float32"
    assert any("does not have" in text for text in said)


def test_bfloat16_is_refused_where_it_takes_many_times_as_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eyewright.training.fit.cpu_has_bfloat16", lambda: False)
    with pytest.raises(UsageError, match="AVX512-BF16"):
        train(tmp_path, Recipe(epochs=1, amp="on"))


@pytest.mark.parametrize("optimizer", ["adamw", "momentum"])
def test_other_optimisers_resume_to_the_same_weights_too(tmp_path: Path, optimizer: str) -> None:
    # A fused update of weights in channels-last order went wrong when its moments came back in another order.
    recipe = Recipe(epochs=3, batch=8, ema=0.9, optimizer=optimizer)  # type: ignore[arg-type]
    whole, _ = train(tmp_path / "whole", recipe)
    with pytest.raises(SystemExit):
        train(tmp_path / "cut", recipe, step=stop_after(5))
    resumed, _ = train(tmp_path / "cut", recipe, resume=True)
    assert digest(resumed) == digest(whole)
