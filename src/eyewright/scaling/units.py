"""Units: pieces of work that write their own folders, such as the training of a fold, each done in a process of its own
here or on a Ray cluster. A unit is a name and JSON; one that is lost is given again, and continues from its checkpoint.
"""

__all__ = ["LocalUnits", "RayUnits", "UnitCrew", "Units", "checkpoint_of", "open_units"]

import contextlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from eyewright.core.errors import LostError
from eyewright.core.machine import children
from eyewright.core.machine.limits import reason_of, usable_cores
from eyewright.imaging.workers import error_from
from eyewright.scaling.engines import is_ray, ray_address
from eyewright.scaling.ray_link import RayLink
from eyewright.scaling.ray_worker import own_version
from eyewright.scaling.starting import start_units

Answer: TypeAlias = Mapping[str, Any]

_WAIT_S = 0.5
_SIGN_S = 300.0
# Losses of one unit, one after another without a new checkpoint, until that is no accident.
_MOST_LOST = 3


class UnitCrew(Protocol):
    """Who does units; an error that it raises ends the work, which can be resumed."""

    @property
    def size(self) -> int:
        """How many units are done at a time; 0 where that is not known yet."""
        ...

    @property
    def idle(self) -> int:
        """How many more units can be given now."""
        ...

    def give(self, name: str, request: Mapping[str, Any]) -> None:
        """Have a unit done."""
        ...

    def wait(self, timeout_s: float) -> list[tuple[str, Answer]]:
        """Return the units that have ended with `done`, `refused` or `lost`, at the latest after `timeout_s`."""
        ...

    def close(self) -> None:
        """End all work at once."""
        ...


class _Process:
    """A process that does units, one after another."""

    def __init__(self, child: children.Child, name: str) -> None:
        self.child, self.name, self.text = child, name, b""


class LocalUnits:
    """So many processes on this machine, which share its cores. They start when there is something to do, and are
    replaced when they die."""

    def __init__(self, processes: int) -> None:
        self.size = processes
        self._threads = max(1, usable_cores() // processes)
        self._processes: list[_Process] = []
        self._inbox = children.Inbox()

    @property
    def idle(self) -> int:
        """How many more units can be given now."""
        return self.size - sum(bool(p.name) for p in self._processes)

    def give(self, name: str, request: Mapping[str, Any]) -> None:
        """Have a unit done by a process that has none."""
        one = next((p for p in self._processes if not p.name), None)
        if one is None:
            one = _Process(start_units(self._threads), name)
            self._processes.append(one)
            assert one.child.stdout is not None
            self._inbox.add(one, one.child.stdout)
        one.name = name
        assert one.child.stdin is not None
        # One that is dead is noticed where its answer is read.
        with contextlib.suppress(OSError):
            one.child.stdin.write(json.dumps(request).encode() + b"\n")
            one.child.stdin.flush()

    def wait(self, timeout_s: float) -> list[tuple[str, Answer]]:
        """Return what has ended, at the latest after `timeout_s`."""
        found: list[tuple[str, Answer]] = []
        one: _Process
        for one, part in self._inbox.wait(timeout_s):
            name = one.name
            if not part:
                _, why = reason_of(self._drop(one))
                if name:
                    found.append((name, {"lost": f"its process ended: {why}"}))
                continue
            *lines, one.text = (one.text + part).split(b"\n")
            for line in lines:
                one.name = ""
                found.append((name, json.loads(line)))
        return found

    def close(self) -> None:
        """End every process at once."""
        for one in list(self._processes):
            self._drop(one)
        self._inbox.close()

    def _drop(self, one: _Process) -> int:
        self._processes.remove(one)
        self._inbox.discard(one)
        return children.end_child(one.child, group=True)


class RayUnits:
    """So many processes on a Ray cluster, by default one per core; at most `units` are needed."""

    def __init__(self, units: int, *, address: str = "", processes: int | None = None) -> None:
        about = {
            "kind": "units", "folder": os.getcwd(), "model": "", "version": own_version(), "shards": units,
            "timeout_s": _SIGN_S,
        }  # fmt: skip
        self._link = RayLink(about, address=address, workers=processes)

    @property
    def size(self) -> int:
        """How many units are done at a time; 0 until the cluster has answered."""
        return self._link.size

    @property
    def idle(self) -> int:
        """How many more units can be given now."""
        return self._link.idle

    def give(self, name: str, request: Mapping[str, Any]) -> None:
        """Have a unit done."""
        self._link.give({**request, "out": name})

    def wait(self, timeout_s: float) -> list[tuple[str, Answer]]:
        """Return what has ended, at the latest after `timeout_s`.

        Raises:
            EyewrightError: the cluster or the workers refuse.
            LostError: the cluster is gone, or no worker can be started.
        """
        return [
            (name, {"lost": f"its worker died: {answer['gone']}"} if "gone" in answer else answer)
            for name, answer in self._link.wait(timeout_s)
        ]

    def close(self) -> None:
        """End all work at once, and the cluster if it was started here."""
        self._link.close()


class Units:
    """Units that are being done by a crew: each is given as soon as it can, and again when it is lost."""

    def __init__(self, crew: UnitCrew, say: Callable[[str], None] = lambda text: None) -> None:
        self._crew, self._say = crew, say
        self._todo: deque[str] = deque()
        self._requests: dict[str, Mapping[str, Any]] = {}
        self._losses: dict[str, tuple[int, int]] = {}
        self.restarts = 0
        """How often a unit was given again."""

    @property
    def size(self) -> int:
        """How many units are done at a time, once the crew knows.

        Raises:
            EyewrightError: as `wait`.
        """
        while not self._crew.size:
            self._crew.wait(_WAIT_S)
        return self._crew.size

    def give(self, name: str, request: Mapping[str, Any]) -> None:
        """Have a unit done: `request` says which (`unit`), and the `place` that it writes, where its checkpoints are
        below `checkpoints/`. `again` is added, whether it was given before."""
        self._requests[name] = request
        self._losses[name] = (0, checkpoint_of(str(request["place"])))
        self._todo.append(name)

    def wait(self) -> dict[str, Answer]:
        """Return what was done meanwhile, by name, which may be nothing; before, what can be given is given.

        Raises:
            EyewrightError: a unit refuses, which ends the others too.
            LostError: a unit is lost again and again without a new checkpoint.
        """
        while self._todo and self._crew.idle:
            name = self._todo.popleft()
            self._crew.give(name, {**self._requests[name], "again": self._losses[name][0] > 0})
        found: dict[str, Answer] = {}
        for name, answer in self._crew.wait(_WAIT_S):
            if "refused" in answer:
                raise error_from(answer["refused"])
            if "done" in answer:
                found[name] = answer["done"]
                continue
            self._lose(name, str(answer.get("lost")))
        return found

    def _lose(self, name: str, why: str) -> None:
        lost, before = self._losses[name]
        now = checkpoint_of(str(self._requests[name]["place"]))
        lost = lost + 1 if now == before else 1
        if lost >= _MOST_LOST:
            raise LostError(
                f"{name} was lost {lost} times in a row without a new checkpoint, the last: {why}",
                fix="check memory and the nodes, then continue with --resume",
            )
        self._losses[name] = (lost, now)
        self.restarts += 1
        self._say(f"{name} was lost, and is continued: {why}")
        self._todo.append(name)


@contextlib.contextmanager
def open_units(
    on: str, *, units: int, processes: int | None = None, say: Callable[[str], None] = lambda text: None
) -> Iterator[Units]:
    """Have at most so many units done `on` this machine ("local") or a Ray cluster; all work ends at the end. What is
    lost is said.

    Raises:
        UsageError: there is no such engine.
    """
    crew: UnitCrew
    if is_ray(on):
        crew = RayUnits(units, address=ray_address(on), processes=processes)
    else:
        crew = LocalUnits(max(1, min(processes or usable_cores(), units)))
    try:
        yield Units(crew, say)
    finally:
        crew.close()


def checkpoint_of(folder: str) -> int:
    """Return when the last checkpoint of a run folder was written, 0 where there is none.

    >>> checkpoint_of("/nowhere")
    0
    """
    try:
        return (Path(folder) / "checkpoints" / "last" / "state.safetensors").stat().st_mtime_ns
    except OSError:
        return 0
