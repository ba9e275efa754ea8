"""A worker on a node of a Ray cluster that does units, such as the training of a fold, in a process of its own.

Ray imports this class by its name on each node; arguments and answers are JSON text. It imports neither Ray nor torch.
"""

__all__ = ["RayUnit"]

import contextlib
import json
import os
import socket
import time

from eyewright.core.machine import children
from eyewright.core.machine.limits import reason_of
from eyewright.scaling.ray_worker import refusal_of
from eyewright.scaling.starting import start_units


class RayUnit:
    """An actor that prepares itself once (`open`), then does the units that it is given (`do`)."""

    def __init__(self) -> None:
        self._child: children.Child | None = None
        self._threads = 1
        self._folder = ""

    def open(self, request: str) -> str:
        """Check that this node can do the units; the request names the `version` of Eyewright that sends it, the
        `folder` of its command, and the number of `threads`. Returns `ready`, or why it `refused`."""
        asked = json.loads(request)
        if refused := refusal_of(asked):
            return json.dumps({"refused": refused})
        self._threads, self._folder = int(asked["threads"]), str(asked["folder"])
        return json.dumps({"ready": {"node": socket.gethostname(), "pid": os.getpid()}})

    def do(self, request: str) -> str:
        """Do a unit, and return the answer of its process; `lost` where that has died."""
        if self._child is None:
            self._child = start_units(self._threads, folder=self._folder)
        child = self._child
        assert child.stdin is not None
        assert child.stdout is not None
        with contextlib.suppress(OSError):
            child.stdin.write(request.strip().encode() + b"\n")
            child.stdin.flush()
        line = child.stdout.readline()
        if line.endswith(b"\n"):
            return line.decode()
        _, why = reason_of(children.code_of(child, 1.0))
        children.end_child(child, group=True)
        self._child = None
        return json.dumps({"lost": f"its process on {socket.gethostname()} ended: {why}"})

    def count(self) -> int:
        """Return another number each second: whether a training makes progress, it knows itself."""
        return int(time.monotonic())
