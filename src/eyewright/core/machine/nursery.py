"""Worker processes that talk over a socket of their own: forked on Linux, started one by one elsewhere.

On Linux a process holds what every worker needs, imported once, and forks a worker when it is asked to. It never runs a
model and has one thread, so a fork of it is whole; a worker that died stands again in milliseconds and shares its
memory. It is asked over a Unix socket that carries the worker's own socket with the request. Elsewhere each worker
imports for itself and connects to its parent over loopback with a secret.
"""

__all__ = ["MOST_ORDERS", "Nursery", "Worker", "call_in_forks", "forks", "receive_file", "send_file", "serve_orders"]

import contextlib
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from eyewright.core.machine import children
from eyewright.core.machine.lifeline import hold_lifeline
from eyewright.core.machine.loopback import LoopbackListener, connect_back

_VARIABLE = "EYEWRIGHT_LOOPBACK"
_LENGTH = struct.Struct("<I")
_ENDED = struct.Struct("<?i")
_LOOK_S = 0.002
MOST_ORDERS = 64 * 1024
"""Bytes of the orders of one worker."""
_FORKS = sys.platform == "linux" and hasattr(os, "fork") and hasattr(socket, "AF_UNIX")


def forks() -> bool:
    """Return whether workers are forked here."""
    return _FORKS


def call_in_forks(call: Callable[[], None]) -> None:
    """Have every fork of this process call a function first."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=call)


def send_file(channel: socket.socket, descriptor: int) -> None:
    """Hand an open file, none below 0, to the worker at the other end, which takes it with `receive_file`."""
    socket.send_fds(channel, [b"+" if descriptor >= 0 else b"-"], [descriptor] if descriptor >= 0 else [])


def receive_file(channel: socket.socket) -> int:
    """Return the descriptor that `send_file` sent, -1 for none."""
    _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
    return descriptors[0] if descriptors else -1


@dataclass(eq=False)
class Worker:
    """A worker process: its id, the socket to it, and how to kill it."""

    pid: int
    channel: socket.socket
    _child: "children.Child | None" = None

    def kill(self) -> None:
        """End it, if it still runs."""
        if self._child is not None:
            self._child.kill()
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def reap(self) -> None:
        """Wait for one that has gone, so that nothing is left of it. Forks are the nursery's children."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()


class Nursery:
    """Where workers come from: `command` starts a Python program that calls `serve_orders`."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], *, timeout_s: float) -> None:
        self._command, self._environment, self._timeout_s = tuple(command), dict(environment), timeout_s
        self._process: children.Child | None = None
        self._door: socket.socket | None = None
        self._started: list[Worker] = []
        self._asking = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The process that forks, where one does."""
        return None if self._process is None else self._process.pid

    def start_worker(self, orders: bytes) -> Worker | None:
        """Return a worker that has these orders; None where no process can be started."""
        if not _FORKS:
            return self._start(orders)
        ours, theirs = socket.socketpair()
        with theirs:
            pid = self._fork(orders, theirs)
        if pid is None:
            ours.close()
            return None
        return Worker(pid, ours)

    def open(self) -> None:
        """Start the process that forks, before the first worker is wanted. Elsewhere nothing is to be done."""
        with self._asking:
            self._open()

    def _open(self) -> None:
        if not _FORKS or self._door is not None:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(self._timeout_s)
        with theirs:
            self._process = children.start_child(
                (*self._command, str(theirs.fileno())),
                environment=self._environment,
                stdin=children.DEVNULL,
                stdout=children.DEVNULL,
                stderr=_said(),
                descriptors=(theirs.fileno(),),
            )
        self._door = ours

    def code_of(self, worker: Worker, timeout_s: float) -> int | None:
        """Return the exit code of a worker that ends, negative for a signal; None where it does not end in time, or
        nobody knows. Of forks only `serve_orders(..., keeps_codes=True)` knows, and tells each once."""
        if worker._child is not None:
            return children.code_of(worker._child, timeout_s)
        ends = time.monotonic() + timeout_s
        while True:
            try:
                with self._asking:
                    if self._door is None:
                        return None
                    self._door.sendall(worker.pid.to_bytes(8, "little"))
                    ended, code = _ENDED.unpack(self._door.recv(_ENDED.size))
            except (OSError, struct.error):
                return None
            if ended:
                return int(code)
            if time.monotonic() > ends:
                return None
            time.sleep(_LOOK_S)

    def end(self, worker: Worker) -> None:
        """Kill a worker and wait until nothing is left of it."""
        worker.kill()
        worker.channel.close()
        if worker._child is None:
            self.code_of(worker, 1.0)
        else:
            worker.reap()
            if worker in self._started:
                self._started.remove(worker)

    def forget(self) -> None:
        """Forget the process that forks, in a fork of the process that it belongs to."""
        door, self._door, self._process = self._door, None, None
        self._asking = threading.Lock()
        if door is not None:
            door.close()

    def close(self) -> None:
        """End the process that forks, and whatever was started one by one. Forks end with their sockets."""
        door, self._door = self._door, None
        process, self._process = self._process, None
        if door is not None:
            door.close()
        if process is not None:
            children.code_of(process, 1.0)
            children.end_child(process)
        for worker in self._started:
            worker.reap()
        self._started.clear()

    def __del__(self) -> None:
        # At the end of the interpreter there is less than this needs.
        with contextlib.suppress(Exception):
            self.close()

    def _fork(self, orders: bytes, theirs: socket.socket) -> int | None:
        for _ in range(2):
            with self._asking:
                self._open()
                assert self._door is not None
                with contextlib.suppress(OSError):
                    socket.send_fds(self._door, [orders], [theirs.fileno()])
                    answer = self._door.recv(8)
                    if len(answer) == 8:
                        return int.from_bytes(answer, "little")
                self.close()
        return None

    def _start(self, orders: bytes) -> Worker | None:
        # Those that have ended by themselves.
        for worker in [w for w in self._started if w._child is not None and w._child.poll() is not None]:
            self._started.remove(worker)
        try:
            listener = LoopbackListener()
        except OSError:
            return None
        child = None
        try:
            child = children.start_child(
                self._command,
                environment={**self._environment, _VARIABLE: listener.text},
                stdin=children.DEVNULL,
                stdout=children.DEVNULL,
                stderr=_said(),
            )
            channel = _accepted(listener, child, self._timeout_s)
            channel.sendall(_LENGTH.pack(len(orders)) + orders)
        except OSError:
            if child is not None:
                children.end_child(child)
            return None
        finally:
            listener.close()
        worker = Worker(child.pid, channel, child)
        self._started.append(worker)
        return worker


def serve_orders(
    arguments: Sequence[str], run: Callable[[socket.socket, bytes], None], *, keeps_codes: bool = False
) -> None:
    """Be what `Nursery` starts: fork a worker for every socket that comes, until the parent is gone, or be one.

    `run` is a worker's life: its socket and its orders. With an argument, the descriptor to be asked over, this forks.
    With `keeps_codes` a worker that has ended is kept until `Nursery.code_of` asks how.
    """
    hold_lifeline()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not arguments:
        channel = connect_back(os.environ.pop(_VARIABLE, ""))
        (length,) = _LENGTH.unpack(_exactly(channel, _LENGTH.size))
        run(channel, _exactly(channel, length))
        return
    door = socket.socket(fileno=int(arguments[0]))
    if not keeps_codes:
        # Nobody waits for a worker here: the server sees its socket close.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, sockets, _, _ = socket.recv_fds(door, MOST_ORDERS, 1)
        if keeps_codes and len(message) == 8 and not sockets:
            door.sendall(_ENDED.pack(*_ended(int.from_bytes(message, "little"))))
            continue
        if not message or not sockets:
            return
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                door.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                run(socket.socket(fileno=sockets[0]), message)
                code = 0
            finally:
                os._exit(code)
        os.close(sockets[0])
        door.sendall(pid.to_bytes(8, "little"))


def _ended(pid: int) -> tuple[bool, int]:
    """Return whether a fork has ended, and its exit code."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return True, 0
    return found == pid, os.waitstatus_to_exitcode(status) if found == pid else 0


def _accepted(listener: LoopbackListener, child: "children.Child", timeout_s: float) -> socket.socket:
    """Return the connection of a child; a child that ends is not waited for."""
    ends = time.monotonic() + timeout_s
    while True:
        try:
            return listener.accept(0.2)
        except TimeoutError:
            if child.poll() is not None or time.monotonic() > ends:
                raise


def _exactly(channel: socket.socket, n: int) -> bytes:
    found = b""
    while len(found) < n:
        part = channel.recv(n - len(found))
        if not part:
            raise EOFError
        found += part
    return found


def _said() -> int | None:
    return None if os.environ.get("EYEWRIGHT_DEBUG") else children.DEVNULL
