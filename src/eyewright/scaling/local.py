"""A crew of worker processes on this machine."""

__all__ = ["LocalCrew"]

import contextlib
import json
import time
from collections.abc import Mapping
from typing import Any

from eyewright.core.errors import LostError
from eyewright.core.machine import children
from eyewright.core.machine.limits import reason_of
from eyewright.imaging.workers import error_from
from eyewright.scaling.engine import Outcome, Task, asked_of, settled
from eyewright.scaling.plan import Plan
from eyewright.scaling.starting import Ahead, start_worker

# Processes that end before they are ready, one after another, until that is no accident.
_MOST_FAILED_STARTS = 5
_START_S = 300.0


class _Member:
    """One worker process, and the task that it has."""

    def __init__(self, process: children.Child) -> None:
        self.process = process
        self.task: Task | None = None
        self.ready = False
        self.alive_s = time.monotonic()
        self._text = b""

    def give(self, task: Task) -> None:
        self.task, self.alive_s = task, time.monotonic()
        assert self.process.stdin is not None
        # One that is dead is noticed where its messages are read.
        with contextlib.suppress(OSError):
            self.process.stdin.write(json.dumps(asked_of(task)).encode() + b"\n")
            self.process.stdin.flush()

    def messages(self, part: bytes) -> list[dict[str, Any]]:
        """Return what it said with the next bytes of its output."""
        *lines, self._text = (self._text + part).split(b"\n")
        self.alive_s = time.monotonic()
        return [json.loads(line) for line in lines]

    def end(self) -> int:
        """End it and everything that it started; return its exit code."""
        return children.end_child(self.process, group=True)


class LocalCrew:
    """So many worker processes of a job, each with `threads` threads; one that gives no sign of life for `timeout_s`
    while it has a task is ended. Processes start when there is something to do, unless they were started `ahead`, and
    are replaced when they die."""

    def __init__(
        self, plan: Plan, *, workers: int, threads: int, timeout_s: float = 300.0, ahead: Ahead | None = None
    ) -> None:
        self._plan, self._most, self._threads, self._timeout_s = plan, workers, threads, timeout_s
        self._members: list[_Member] = []
        self._inbox = children.Inbox()
        self._failed_starts = 0
        for process in () if ahead is None else ahead.take(workers, threads):
            self._add(process)

    def _add(self, process: children.Child) -> _Member:
        member = _Member(process)
        self._members.append(member)
        assert process.stdout is not None
        self._inbox.add(member, process.stdout)
        return member

    @property
    def processes(self) -> tuple[int, ...]:
        """The process ids of the workers."""
        return tuple(m.process.pid for m in self._members)

    @property
    def idle(self) -> int:
        """How many more tasks can be given now."""
        return self._most - sum(m.task is not None for m in self._members)

    def give(self, task: Task) -> None:
        """Have a task done by a process that has none."""
        member = next((m for m in self._members if m.task is None), None)
        if member is None:
            member = self._add(start_worker(self._plan.folder, self._plan.model, self._threads))
        member.give(task)

    def wait(self, timeout_s: float) -> list[Outcome]:
        """Return what has ended, at the latest after `timeout_s`.

        Raises:
            EyewrightError: the workers refuse the model, or cannot write.
            LostError: no worker can be started.
        """
        found: list[Outcome] = []
        member: _Member
        for member, part in self._inbox.wait(timeout_s):
            if not part:
                found += self._died(member)
                continue
            for message in member.messages(part):
                found += self._heard(member, message)
        now = time.monotonic()
        for member in list(self._members):
            limit = self._timeout_s if member.ready else max(_START_S, self._timeout_s)
            if member.task is not None and now - member.alive_s > limit:
                found += self._died(member, f"no progress in {limit:g} s")
        return found

    def close(self) -> None:
        """End every worker at once."""
        for member in list(self._members):
            self._drop(member)
        self._inbox.close()

    def _heard(self, member: _Member, message: Mapping[str, Any]) -> list[Outcome]:
        if "refused" in message:
            raise error_from(message["refused"])
        if "ready" in message:
            member.ready, self._failed_starts = True, 0
        task = member.task
        if task is None or not ({"done", "failed"} & set(message)):
            return []
        member.task = None
        return [settled(task, message)]

    def _died(self, member: _Member, why: str = "") -> list[Outcome]:
        code = self._drop(member)
        if not why:
            # A worker is ended by the kernel with the signal 9 where memory runs out.
            _, why = reason_of(code)
        if not member.ready:
            self._failed_starts += 1
            if self._failed_starts >= _MOST_FAILED_STARTS:
                raise LostError(
                    f"{self._failed_starts} worker processes in a row ended before they were ready, the last: {why}",
                    fix="check memory and the bundle (eyewright verify), then continue with --resume",
                )
        if member.task is None:
            return []
        failure = f"the image ended its worker process: {why}"
        return [Outcome(member.task, failure=failure, lost=not member.ready)]

    def _drop(self, member: _Member) -> int:
        self._members.remove(member)
        self._inbox.discard(member)
        return member.end()
