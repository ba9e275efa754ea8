"""Units are given as soon as they can, again when they are lost, and not for ever; their processes are of this machine
or of a Ray cluster."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from eyewright.core.errors import InputError, LostError, RefusedError
from eyewright.core.machine import children
from eyewright.imaging.workers import told
from eyewright.scaling import ray_units, units
from eyewright.scaling.ray_units import RayUnit
from eyewright.scaling.ray_worker import own_version
from eyewright.scaling.units import LocalUnits, Units, open_units

# What a process of units does, without torch: it answers, or it dies.
_PROGRAM = """
import json, os, sys
from eyewright.core.machine.lifeline import hold_lifeline
hold_lifeline()
for line in sys.stdin:
    asked = json.loads(line)
    if asked["unit"] == "die" and not asked["again"]:
        os.kill(os.getpid(), 9)
    print(json.dumps({"done": {"pid": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"], "in": os.getcwd()}}))
    sys.stdout.flush()
"""


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(threads: int, *, folder: str | None = None) -> children.Child:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        return children.start_child((sys.executable, "-c", _PROGRAM), environment=environment, folder=folder)

    for module in (units, ray_units):
        monkeypatch.setattr(module, "start_units", start)


class Crew:
    """One unit at a time, whose answers a function says by its name and how often it was given."""

    size = 1

    def __init__(self, answer: Any) -> None:
        self.answer, self.given, self.flying, self.closed = answer, [], [], False

    @property
    def idle(self) -> int:
        return 1 - len(self.flying)

    def give(self, name: str, request: Mapping[str, Any]) -> None:
        assert self.idle
        self.given.append((name, request["again"]))
        self.flying.append(name)

    def wait(self, timeout_s: float) -> list[tuple[str, Any]]:
        if not self.flying:
            return []
        name = self.flying.pop()
        return [(name, self.answer(name, sum(n == name for n, _ in self.given)))]

    def close(self) -> None:
        self.closed = True


def all_of(units: Units, n: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while len(found) < n:
        found.update(units.wait())
    return found


def asked(tmp_path: Path, name: str = "a", **more: Any) -> dict[str, Any]:
    return {"unit": "fold", "place": str(tmp_path / name), **more}


def test_a_lost_unit_is_given_again_after_the_others(tmp_path: Path) -> None:
    crew = Crew(lambda name, n: {"lost": "signal 9"} if (name, n) == ("a", 1) else {"done": {"n": n}})
    units = Units(crew)
    for name in "abc":
        units.give(name, asked(tmp_path, name))
    assert all_of(units, 3) == {"a": {"n": 2}, "b": {"n": 1}, "c": {"n": 1}}
    assert crew.given == [("a", False), ("b", False), ("c", False), ("a", True)]
    assert units.restarts == 1


def test_three_losses_without_a_checkpoint_end_it_and_with_checkpoints_do_not(tmp_path: Path) -> None:
    units = Units(Crew(lambda name, n: {"lost": "signal 9"}))
    units.give("fold 1", asked(tmp_path))
    with pytest.raises(LostError, match=r"fold 1 was lost 3 times in a row without a new .*: signal 9"):
        all_of(units, 1)

    def answer(name: str, n: int) -> dict[str, Any]:
        place = tmp_path / "b" / "checkpoints" / "last" / "state.safetensors"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
        os.utime(place, ns=(n, n))
        return {"lost": "signal 9"} if n < 6 else {"done": {}}

    units = Units(Crew(answer))
    units.give("b", asked(tmp_path, "b"))
    all_of(units, 1)
    assert units.restarts == 5


def test_what_a_unit_refuses_is_the_error_of_all(tmp_path: Path) -> None:
    error = InputError("expected images, found none", fix="check the path")
    units = Units(Crew(lambda name, n: {"refused": told(error)}))
    units.give("a", asked(tmp_path))
    with pytest.raises(InputError, match="expected images, found none"):
        units.wait()


@pytest.mark.usefixtures("program")
def test_processes_are_kept_for_the_next_unit_and_replaced_when_they_die(tmp_path: Path) -> None:
    with open_units("local", units=5, processes=1) as given:
        assert given.size == 1
        for name in "abc":
            given.give(name, asked(tmp_path, name, unit="die" if name == "b" else "fold"))
        found = all_of(given, 3)
    # The second process did b again, and c.
    assert found["a"]["pid"] != found["c"]["pid"] == found["b"]["pid"]
    assert given.restarts == 1


@pytest.mark.usefixtures("program")
def test_processes_share_the_cores_and_end_with_their_crew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "usable_cores", lambda: 5)
    crew = LocalUnits(2)
    crew.give("a", {"unit": "fold"})
    ((name, answer),) = crew.wait(60) or crew.wait(60)
    assert (name, answer["done"]["threads"]) == ("a", "2")
    crew.close()
    with pytest.raises(ProcessLookupError):
        os.kill(answer["done"]["pid"], 0)


@pytest.mark.usefixtures("program")
def test_a_worker_of_ray_does_units_in_the_folder_of_the_command(tmp_path: Path) -> None:
    worker = RayUnit()
    opening = {"version": own_version(), "folder": str(tmp_path), "threads": 3, "model": ""}
    assert "ready" in json.loads(worker.open(json.dumps(opening)))
    # A line of the broker, with its end: the process must not take it for two.
    done = json.loads(worker.do(json.dumps({"unit": "fold", "again": False}) + "\n"))["done"]
    assert json.loads(worker.do(json.dumps({"unit": "fold", "again": False}) + "\n"))["done"] == done
    assert (done["threads"], Path(done["in"]).resolve()) == ("3", tmp_path.resolve())
    lost = json.loads(worker.do(json.dumps({"unit": "die", "again": False})))["lost"]
    assert "ended:" in lost
    again = json.loads(worker.do(json.dumps({"unit": "die", "again": True})))["done"]
    assert again["pid"] != done["pid"]
    children.end_child(worker._child)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("more", "said"),
    [({"version": "9.9.9"}, r"has Eyewright .+, this is 9\.9\.9"), ({"folder": "/nowhere"}, "has no folder /nowhere")],
)
def test_a_node_that_cannot_do_units_refuses(more: dict[str, str], said: str, tmp_path: Path) -> None:
    opening = {"version": own_version(), "folder": str(tmp_path), "threads": 1, "model": "", **more}
    refused = json.loads(RayUnit().open(json.dumps(opening)))["refused"]
    with pytest.raises(RefusedError, match=said):
        raise RefusedError(refused["message"])
