"""A crew of workers on the nodes of a Ray cluster."""

__all__ = ["RayCrew"]

import contextlib
import json
import os
import time
from collections.abc import Mapping
from typing import Any

from eyewright.core.errors import LostError
from eyewright.core.machine import children
from eyewright.core.machine.limits import reason_of
from eyewright.imaging.workers import error_from
from eyewright.scaling.engine import Outcome, Task, asked_of, settled
from eyewright.scaling.plan import Plan
from eyewright.scaling.ray_worker import own_version
from eyewright.scaling.starting import start_broker

_MOST_FAILED_STARTS = 5
_START_S = 300.0
_CLOSE_S = 5.0


class RayCrew:
    """Workers of a job on a Ray cluster: at `address`, or one of this machine alone that is started for the job and
    ends with it. By default a worker per core; one that does no image for `timeout_s` is ended. A `broker` that was
    started ahead is used.

    The leases are this process's, and it alone commits: workers write rows to files that it names. What dies, a worker,
    a node, the cluster or this process, costs the shards that were being worked on.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        address: str = "",
        workers: int | None = None,
        timeout_s: float = 300.0,
        broker: children.Child | None = None,
    ) -> None:
        self._process = start_broker(address, workers) if broker is None else broker
        self._write(
            {
                "folder": os.path.abspath(plan.folder), "model": plan.model, "version": own_version(),
                "workers": workers or 0, "shards": plan.n_shards, "timeout_s": timeout_s,
            }
        )  # fmt: skip
        self._where = address or "this machine"
        self._inbox = children.Inbox()
        assert self._process.stdout is not None
        self._inbox.add(self, self._process.stdout)
        self._text = b""
        self._flying: dict[str, Task] = {}
        self._ready = self._failed_starts = 0
        self._alive_s = time.monotonic()

    @property
    def idle(self) -> int:
        """How many more tasks can be given now: workers that are ready and have none."""
        return max(0, self._ready - len(self._flying))

    def give(self, task: Task) -> None:
        """Have a task done."""
        request = asked_of(task)
        self._flying[str(request["out"])] = task
        self._write(request)

    def wait(self, timeout_s: float) -> list[Outcome]:
        """Return what has ended, at the latest after `timeout_s`.

        Raises:
            EyewrightError: the cluster or the workers refuse, or cannot write.
            LostError: the cluster is gone, or no worker can be started.
        """
        found: list[Outcome] = []
        for _, part in self._inbox.wait(timeout_s):
            if not part:
                self._lost()
            *lines, self._text = (self._text + part).split(b"\n")
            for line in lines:
                found += self._heard(json.loads(line))
        if self._ready:
            self._alive_s = time.monotonic()
        elif time.monotonic() - self._alive_s > _START_S:
            raise LostError(
                f"no worker was ready on {self._where} in {_START_S:g} s",
                fix="check that nodes of the cluster have free cores, then continue with --resume",
            )
        return found

    def close(self) -> None:
        """End all work at once, and the cluster if it was started here."""
        # A cluster that goes on has to notice soon that nobody waits for its workers.
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        children.code_of(self._process, _CLOSE_S)
        self._inbox.discard(self)
        children.end_child(self._process, group=True)
        self._inbox.close()

    def _write(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        # A broker that is dead is noticed where its messages are read.
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def _heard(self, message: Mapping[str, Any]) -> list[Outcome]:
        if "refused" in message:
            raise error_from(message["refused"])
        if "ready" in message:
            self._ready, self._failed_starts = self._ready + 1, 0
        if "unready" in message:
            self._failed_starts += 1
            if self._failed_starts >= _MOST_FAILED_STARTS and not self._ready:
                raise LostError(
                    f"{self._failed_starts} workers in a row were not ready on {self._where}, the last: "
                    f"{message['unready']}",
                    fix="check that its nodes have Eyewright and the job's files, then continue with --resume",
                )
        task = self._flying.pop(str(message.get("out")), None)
        if task is None:
            return []
        if "gone" in message:
            self._ready -= 1
            return [Outcome(task, failure=f"the image ended its worker: {message['gone']}")]
        return [settled(task, message)]

    def _lost(self) -> None:
        _, why = reason_of(children.code_of(self._process, 1.0))
        raise LostError(
            f"the connection to Ray on {self._where} was lost ({why})",
            fix="start the cluster again if it is down, then continue with --resume",
        )
