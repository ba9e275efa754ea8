"""The driver's end of a Ray cluster: requests to workers on its nodes, and what became of each, by way of a broker."""

__all__ = ["RayLink"]

import contextlib
import json
import time
from collections.abc import Mapping
from typing import Any

from eyewright.core.errors import LostError
from eyewright.core.machine import children
from eyewright.core.machine.limits import reason_of
from eyewright.imaging.workers import error_from
from eyewright.scaling.starting import start_broker

_MOST_FAILED_STARTS = 5
_START_S = 300.0
_CLOSE_S = 5.0


class RayLink:
    """Workers of a Ray cluster at `address`, or of one on this machine that is started here and ends with the link.

    The broker is told what the work is `about`: `kind`, how many `shards`, and what a worker of that kind is opened
    with. Each request has a name of its own, `out`. A `broker` that was started ahead is used.
    """

    def __init__(
        self, about: Mapping[str, Any], *, address: str, workers: int | None, broker: children.Child | None = None
    ) -> None:
        self._process = start_broker(address, workers) if broker is None else broker
        self._write({**about, "workers": workers or 0})
        self._where = address or "this machine"
        self._inbox = children.Inbox()
        assert self._process.stdout is not None
        self._inbox.add(self, self._process.stdout)
        self._text = b""
        self._flying: set[str] = set()
        self._ready = self._failed_starts = 0
        self._opened: list[Mapping[str, Any]] = []
        self._alive_s = time.monotonic()
        self.size = 0
        """How many workers are to come; 0 until the cluster has answered."""

    @property
    def idle(self) -> int:
        """How many more requests can be given now: workers that are ready and have none."""
        return max(0, self._ready - len(self._flying))

    def give(self, request: Mapping[str, Any]) -> None:
        """Have a request done."""
        self._flying.add(str(request["out"]))
        self._write(request)

    def wait(self, timeout_s: float) -> list[tuple[str, Mapping[str, Any]]]:
        """Return the names of requests that have ended and the answer to each, `gone` where its worker has died; at the
        latest after `timeout_s`.

        Raises:
            EyewrightError: the cluster or the workers refuse.
            LostError: the cluster is gone, or no worker can be started.
        """
        found = []
        for _, part in self._inbox.wait(timeout_s):
            if not part:
                self._lost()
            *lines, self._text = (self._text + part).split(b"\n")
            for line in lines:
                message = json.loads(line)
                self._hear(message)
                out = str(message.get("out"))
                if out in self._flying:
                    self._flying.discard(out)
                    found.append((out, message))
        if self._ready:
            self._alive_s = time.monotonic()
        elif time.monotonic() - self._alive_s > _START_S:
            raise LostError(
                f"no worker was ready on {self._where} in {_START_S:g} s",
                fix="check that nodes of the cluster have free cores, then continue with --resume",
            )
        return found

    def take_ready(self) -> list[Mapping[str, Any]]:
        """Return what workers have said when they were ready (`ready`), with the name of each (`worker`), since the
        last call."""
        taken, self._opened = self._opened, []
        return taken

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

    def _hear(self, message: Mapping[str, Any]) -> None:
        if "refused" in message and "out" not in message:
            raise error_from(message["refused"])
        if "workers" in message:
            self.size = int(message["workers"])
        if "ready" in message:
            self._ready, self._failed_starts = self._ready + 1, 0
            self._opened.append(message)
        if "gone" in message and "out" in message:
            self._ready -= 1
        if "unready" in message:
            self._failed_starts += 1
            if self._failed_starts >= _MOST_FAILED_STARTS and not self._ready:
                raise LostError(
                    f"{self._failed_starts} workers in a row were not ready on {self._where}, the last: "
                    f"{message['unready']}",
                    fix="check that its nodes have Eyewright and the job's files, then continue with --resume",
                )

    def _lost(self) -> None:
        _, why = reason_of(children.code_of(self._process, 1.0))
        raise LostError(
            f"the connection to Ray on {self._where} was lost ({why})",
            fix="start the cluster again if it is down, then continue with --resume",
        )
