"""Folds and trials that several processes train are those of one process, also when processes are killed.

`fake_ray` stands in for Ray here; `tests/scaling/test_ray_nodes.py` runs Ray itself.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch

import eyewright as ew
from eyewright.cli import main
from eyewright.core.errors import RefusedError, UsageError
from eyewright.lifecycle import folds, spreading, trials, tuning
from eyewright.lifecycle.folds import do_fold
from eyewright.training import Recipe
from eyewright.training.checkpoints import read_tensors
from eyewright.training.plan import RunPlan
from eyewright.training.recipe import write_recipe

FAST = {"epochs": 3, "batch": 16, "model": "mlp", "imgsz": 16, "seed": 1}
WORDS = ["--epochs", "3", "--batch", "16", "--model", "mlp", "--imgsz", "16", "--seed", "1", "--quiet"]
FAKE = Path(__file__).parents[1] / "scaling" / "fake_ray"


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    # Sums in another order differ in their last digits.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("eyewright.scaling.units.usable_cores", lambda: 2)


@pytest.fixture(scope="module")
def plain(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three folds by one process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("folds") / "plain"
    ew.cross_validate(shapes, folds=3, out=out, **FAST)
    torch.set_num_threads(before)
    return out


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{run.parent.parent.parent.name} {name}": tensor
        for run in sorted(folder.glob("fold-*/checkpoints/best/*.safetensors"))
        for name, tensor in read_tensors(run)[0].items()
    }


def assert_same(folder: Path, plain: Path) -> None:
    ours, theirs = weights_of(folder), weights_of(plain)
    assert set(ours) == set(theirs) != set()
    assert [k for k in theirs if not torch.equal(ours[k], theirs[k])] == []
    assert (folder / "out-of-fold.csv").read_bytes() == (plain / "out-of-fold.csv").read_bytes()
    assert (folder / "folds.json").read_bytes() == (plain / "folds.json").read_bytes()


def processes_of_units(parent: int) -> list[int]:
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            ours = int((place / "stat").read_text().rpartition(")")[2].split()[1]) == parent
            if ours and b"eyewright.lifecycle.units" in (place / "cmdline").read_bytes():
                found.append(int(place.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the process by /proc")
def test_folds_of_two_processes_are_those_of_one_though_one_is_killed(plain, shapes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    out, said = tmp_path / "two", []

    def kill() -> None:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            if list(out.glob("fold-*/recipe.toml")) and (pids := processes_of_units(os.getpid())):
                os.kill(pids[0], signal.SIGKILL)
                return
            time.sleep(0.005)

    killer = threading.Thread(target=kill)
    killer.start()
    found = ew.cross_validate(shapes, folds=3, out=out, on="local", processes=2, say=said.append, **FAST)
    killer.join()
    assert found.restarts == 1
    assert_same(out, plain)
    assert any("restarts 1" in line for line in said)
    assert processes_of_units(os.getpid()) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_folds_on_ray_go_on_when_the_command_was_killed(plain, shapes, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "clusters").mkdir()
    monkeypatch.setenv("FAKE_RAY", str(tmp_path / "clusters"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAKE), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    out = tmp_path / "ray"
    # A relative path holds where the command runs.
    data = os.path.relpath(shapes, tmp_path)
    words = [sys.executable, "-m", "eyewright", "train", data, "--folds", "3", "--out", "ray", *WORDS, "--on", "ray"]
    words += ["--processes", "2"]
    with subprocess.Popen(words, cwd=tmp_path) as driver:
        while not list(out.glob("fold-*/checkpoints/last/state.safetensors")):
            assert driver.poll() is None
            time.sleep(0.01)
        driver.kill()
    subprocess.run([*words, "--resume"], cwd=tmp_path, check=True)
    assert_same(out, plain)


def test_trials_depend_on_the_number_of_processes_and_not_on_their_speed(shapes, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Units are done in this process, in any order: what is drawn is the same."""

    class Done:
        size, restarts = 2, 0

        def __init__(self, last_first: bool) -> None:
            self.todo: dict[str, Any] = {}
            self.last_first = last_first

        def give(self, name: str, request: dict[str, Any]) -> None:
            assert len(self.todo) < 2
            self.todo[name] = json.loads(json.dumps({**request, "again": False}))

        def wait(self) -> dict[str, Any]:
            name = list(self.todo)[-1 if self.last_first else 0]
            return {name: json.loads(json.dumps(trials.do_trial(self.todo.pop(name))))}

    found = []
    for last_first in (False, True):
        monkeypatch.setattr(tuning, "open_units", lambda on, x=last_first, **_: nullcontext(Done(x)))
        done = ew.tune(shapes, trials=8, out=tmp_path / str(last_first), on="local", processes=2, **FAST)
        found.append([{k: v for k, v in t.items() if k != "run"} for t in done.trials])
    assert found[0] == found[1]
    assert len({json.dumps(t["changed"]) for t in found[0]}) == 8
    assert done.run.folder.name in os.listdir(done.folder)


@pytest.mark.parametrize(("option", "module"), [("--folds", folds), ("--tune", tuning)])
def test_json_has_the_restarts_of_trainings_that_are_spread(
    option, module, shapes, tmp_path, monkeypatch, capsys
) -> None:  # type: ignore[no-untyped-def]
    class Done:
        size, restarts = 1, 3

        def __init__(self) -> None:
            self.todo: dict[str, Any] = {}

        def give(self, name: str, request: dict[str, Any]) -> None:
            self.todo[name] = json.loads(json.dumps({**request, "again": False}))

        def wait(self) -> dict[str, Any]:
            do = do_fold if module is folds else trials.do_trial
            name, request = self.todo.popitem()
            return {name: json.loads(json.dumps(do(request)))}

    monkeypatch.setattr(module, "open_units", lambda on, **_: nullcontext(Done()))
    words = ["train", str(shapes), option, "2", "--out", str(tmp_path / "out"), *WORDS, "--json", "--on", "local"]
    words += ["--epochs", "1"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["restarts"] == 3


def test_a_search_that_was_stopped_draws_and_finds_what_it_would_have(shapes, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    whole = ew.tune(shapes, trials=4, out=tmp_path / "whole", **FAST)

    class Stop(BaseException):
        pass

    should_prune, asked = optuna.Trial.should_prune, []

    def stopped(self: optuna.Trial) -> bool:
        asked.append(0)
        # In the second epoch of the third trial.
        if len(asked) == 8:
            raise Stop
        return should_prune(self)

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Trial, "should_prune", stopped)
        with pytest.raises(Stop):
            ew.tune(shapes, trials=4, out=tmp_path / "cut", **FAST)
    again = ew.tune(shapes, trials=4, out=tmp_path / "cut", resume=True, **FAST)
    kept = ("changed", "val_accuracy", "epochs", "state")
    trials = [{k: t[k] for k in kept} for t in again.trials if t["state"] != "fail"]
    assert trials == [{k: t[k] for k in kept} for t in whole.trials]
    # It went on in the folder of the trial that was stopped.
    assert again.trials[3]["run"] == "trial-3"
    assert not (tmp_path / "cut" / "trial-4").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_trials_of_two_processes_here_are_those_on_ray(shapes, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "clusters").mkdir()
    monkeypatch.setenv("FAKE_RAY", str(tmp_path / "clusters"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAKE), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    here, there = (
        ew.tune(shapes, trials=7, out=tmp_path / on, on=on, processes=2, **FAST).trials for on in ("local", "ray")
    )
    assert here == there


def test_what_cannot_be_spread_is_refused_in_one_line(shapes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    data = ew.load_dataset(shapes)
    with pytest.raises(UsageError, match="expected the path of the data with --folds and --on, found a dataset"):
        ew.cross_validate(data, folds=3, out=tmp_path / "a", on="local", **FAST)
    with pytest.raises(UsageError, match="expected the path of the data with --tune and --on, found a dataset"):
        ew.tune(data, trials=3, out=tmp_path / "b", on="local", **FAST)
    with pytest.raises(UsageError, match="expected local, ray"):
        ew.cross_validate(shapes, folds=3, out=tmp_path / "c", on="spark", **FAST)


def test_other_data_on_a_node_is_refused(shapes: Path, tmp_path: Path) -> None:
    asked = {
        "unit": "fold", "data": str(shapes), "recipe": Recipe(model="mlp").to_json(), "folds": 3, "repeats": 1,
        "ensemble": False, "group_by": None, "label_depth": None, "ignore": [], "target": [], "label_errors": "refuse",
        "workers": None, "fold": 0, "place": str(tmp_path / "fold-1"), "share_s": None, "digest": "0" * 64,
        "resume": False, "again": False,
    }  # fmt: skip
    with pytest.raises(RefusedError, match="has other images than where the command runs"):
        do_fold(asked)
    assert not (tmp_path / "fold-1").exists()


def test_a_fold_with_a_budget_is_continued_with_the_one_that_it_was_started_with(shapes, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Its share of what is left differs each time, and a checkpoint of another budget is refused."""
    data, place = ew.load_dataset(shapes), tmp_path / "fold-1"
    (place / "checkpoints" / "last").mkdir(parents=True)
    write_recipe(place / "recipe.toml", Recipe(model="mlp", budget_s=50.0))
    given = []
    monkeypatch.setattr(folds, "train_on", lambda part, recipe, place, plan, leaks: given.append((recipe, plan)))
    folds._train_fold(data, Recipe(model="mlp", budget_s=100.0), place, 0, RunPlan(resume=True), 20.0)
    ((recipe, plan),) = given
    assert (recipe.budget_s, plan.resume) == (50.0, True)
    assert 19 < plan.deadline - time.monotonic() <= 20


def test_a_folder_that_a_dying_process_still_holds_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spreading, "_AGAIN_S", 0.01)
    tries = []

    def train() -> str:
        tries.append(0)
        if len(tries) < 3:
            raise UsageError("another run is writing", code="run_in_use")
        return "run"

    assert spreading.when_free(train) == "run"
    monkeypatch.setattr(spreading, "_RELEASED_S", 0.0)
    tries.clear()
    with pytest.raises(UsageError, match="another run is writing"):
        spreading.when_free(train)
