"""How worker processes start: forked from one that has imported what they need, or one by one where nothing forks.

To import numpy, Pillow and the decoders takes twenty times as long as a fork, and every process that does it holds its
own copy.
"""

__all__ = ["Orders", "Running", "make_ready", "start_process"]

import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

from eyewright.core.machine import children
from eyewright.core.machine.nursery import MOST_ORDERS, Nursery, call_in_forks, forks, send_file
from eyewright.core.machine.nursery import Worker as Fork

_MAIN = "eyewright.imaging.worker_main"
_THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_LOAD_S = 60.0


@dataclass(frozen=True)
class Orders:
    """What a worker does, `module:function`, and what it may take: bytes of memory, seconds of processor time."""

    job: str
    memory: int
    cpu_s: int


class Running(Protocol):
    """A worker process that runs."""

    @property
    def pid(self) -> int: ...

    @property
    def pipes(self) -> children.Pipes:
        """The way to it and back."""
        ...

    def alive(self) -> bool:
        """Return whether it has not ended."""
        ...

    def code(self, timeout_s: float) -> int | None:
        """Return its exit code once it has ended by itself, None when it does not in time."""
        ...

    def end(self) -> None:
        """Kill it and wait until it is gone."""
        ...


def make_ready() -> None:
    """Start what workers are forked from, and do not wait for it; nothing where they start one by one."""
    if forks():
        _nursery(_environment()).open()


def start_process(orders: Orders, shared: children.SharedBytes) -> Running:
    """Start a worker, which writes arrays to `shared` where there are such files.

    Raises:
        OSError: it cannot be started.
    """
    environment = _environment()
    if forks():
        # A fork does as a process of its own would that started now.
        with contextlib.suppress(OSError):
            added = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
            path = list(dict.fromkeys((*added, *sys.path)))
            whole = {**asdict(orders), "folder": os.getcwd(), "path": path, "environment": environment}
            message = json.dumps(whole).encode()
            nursery = _nursery(environment)
            fork = None if len(message) > MOST_ORDERS else nursery.start_worker(message)
            if fork is not None:
                return _Forked(fork, nursery, shared)
    return _Started(orders, shared, environment)


class _Forked:
    def __init__(self, fork: Fork, nursery: Nursery, shared: children.SharedBytes) -> None:
        self._fork, self._nursery = fork, nursery
        send_file(fork.channel, shared.descriptor)
        self.pid, self.pipes = fork.pid, children.socket_pipes(fork.channel)
        self._code: int | None = None

    def alive(self) -> bool:
        # It says nothing unasked, so that what can be read is its end.
        try:
            return bool(self._fork.channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def code(self, timeout_s: float) -> int | None:
        if self._code is None:
            self._code = self._nursery.code_of(self._fork, timeout_s)
        return self._code

    def end(self) -> None:
        if self._code is None:
            self._nursery.end(self._fork)
        else:
            # It is gone, and its number may be another's.
            self._fork.channel.close()


class _Started:
    def __init__(self, orders: Orders, shared: children.SharedBytes, environment: Mapping[str, str]) -> None:
        arguments = (orders.job, str(shared.descriptor), str(orders.memory), str(orders.cpu_s))
        command = (sys.executable, "-m", _MAIN, *arguments)
        self._child = children.start_child(command, environment=environment, descriptors=shared.passed)
        self.pid, self.pipes = self._child.pid, children.open_pipes(self._child)

    def alive(self) -> bool:
        return self._child.poll() is None

    def code(self, timeout_s: float) -> int | None:
        return children.code_of(self._child, timeout_s)

    def end(self) -> None:
        # It holds nothing that is worth an orderly end, for which a loaded machine may take seconds.
        children.end_child(self._child)


_FOR_START = ("PYTHON", "LD_")
_lock = threading.Lock()
_nurseries: dict[tuple[tuple[str, str], ...], Nursery] = {}


def _nursery(environment: Mapping[str, str]) -> Nursery:
    """Return what forks in an environment: another interpreter where the variables differ that one starts by."""
    key = tuple(sorted((k, v) for k, v in environment.items() if k.startswith(_FOR_START)))
    with _lock:
        if key not in _nurseries:
            # The one before ends with its last worker.
            _nurseries.clear()
            _nurseries[key] = Nursery((sys.executable, "-m", _MAIN), environment, timeout_s=_LOAD_S)
        return _nurseries[key]


def _environment() -> dict[str, str]:
    return {**os.environ, **_THREADS}


def _forget() -> None:
    global _lock
    _lock = threading.Lock()
    for nursery in _nurseries.values():
        nursery.forget()
    _nurseries.clear()


# A fork of this process is not the parent of these processes.
call_in_forks(_forget)
