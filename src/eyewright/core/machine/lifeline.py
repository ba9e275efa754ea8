"""End child processes with their parent, however it ends, even while they are in native code that never returns.

The parent holds the write end of a pipe that nobody writes to, and the kernel closes it when the parent dies. Each
child has asked the kernel to send SIGKILL to it and to what it forked when that happens. Unlike PR_SET_PDEATHSIG this
does not depend on the thread that started the child, and unlike a watching thread it needs no interpreter lock.

Other kernels have no such signal: there a thread of the child waits for the end of the pipe. Windows passes no pipe on,
and the thread waits for the end of a socket.
"""

__all__ = ["die_with_parent", "hold_lifeline", "lifeline", "lifeline_options"]

import contextlib
import ctypes
import os
import select
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from eyewright.core.machine import find_module
from eyewright.core.machine.loopback import LoopbackListener, connect_back

if TYPE_CHECKING:
    import socket

fcntl = find_module("fcntl")

_VARIABLE = "EYEWRIGHT_LIFELINE"
# fcntl has no name for it before Python 3.13; include/uapi/asm-generic/fcntl.h.
_F_SETSIG = 10
_PR_SET_PDEATHSIG = 1
_KILL = int(getattr(signal, "SIGKILL", signal.SIGTERM))
_lock = threading.Lock()
_ends: list[int] = []
_listeners: list[LoopbackListener] = []


def lifeline() -> int:
    """Return the descriptor to pass to a child process (`pass_fds`); the child calls `hold_lifeline` first.

    >>> lifeline() == lifeline()
    True
    """
    with _lock:
        if not _ends:
            _ends.extend(os.pipe())
        return _ends[0]


def lifeline_options() -> tuple[dict[str, str], list[int]]:
    """Return what a child's environment needs, and the descriptors to pass to it (none on Windows).

    >>> lifeline_options() == ({"EYEWRIGHT_LIFELINE": str(lifeline())}, [lifeline()])
    True
    """
    if fcntl is not None:
        return {_VARIABLE: str(lifeline())}, [lifeline()]
    with _lock:
        if not _listeners:
            listener, held = LoopbackListener(), list[Any]()
            _listeners.append(listener)
            threading.Thread(target=_hold_ends, args=(listener, held), name="eyewright-lifeline", daemon=True).start()
        return {_VARIABLE: _listeners[0].text}, []


def _hold_ends(listener: LoopbackListener, held: "list[socket.socket]") -> None:
    """Take up the lifelines of children and hold them until this process ends."""
    while True:
        with contextlib.suppress(TimeoutError):
            try:
                held.append(listener.accept(None))
            except OSError:
                return
        for channel in list(held):
            # A child that has gone needs none.
            if select.select([channel], [], [], 0)[0]:
                held.remove(channel)
                channel.close()


def hold_lifeline() -> None:
    """From now on, end this process and its forks when the parent that passed a lifeline ends.

    Forks are included where this process leads its process group, as one started with `start_new_session` does.
    Without a lifeline nothing changes. Forks made after this call need not call it.
    """
    text = os.environ.pop(_VARIABLE, "")
    if ":" in text:
        _hold_socket(text)
        return
    if not text.isdecimal():
        return
    given = int(text)
    # Owner and signal belong to the open pipe, which all children of a parent share: each opens it anew.
    try:
        mine = os.open(f"/proc/self/fd/{given}", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        mine = given
    else:
        os.close(given)
    os.set_inheritable(mine, False)
    try:
        if sys.platform != "linux":
            # Its number of F_SETSIG means something else to other kernels.
            raise OSError("no such signal")
        leads = os.getpgrp() == os.getpid()
        fcntl.fcntl(mine, fcntl.F_SETOWN, -os.getpid() if leads else os.getpid())
        fcntl.fcntl(mine, _F_SETSIG, _KILL)
        fcntl.fcntl(mine, fcntl.F_SETFL, fcntl.fcntl(mine, fcntl.F_GETFL) | os.O_ASYNC)
    except OSError:
        # Another kernel: a thread, which works as long as native code releases the interpreter lock.
        threading.Thread(target=_watch, args=(mine,), daemon=True).start()
        return
    if _is_closed(mine, 0):
        # It ended before the kernel was asked.
        os._exit(1)


def _hold_socket(text: str) -> None:
    try:
        channel = connect_back(text)
    except (OSError, ValueError):
        # The parent has gone already.
        os._exit(1)

    def watch() -> None:
        with contextlib.suppress(OSError):
            while channel.recv(1):
                pass
        os._exit(1)

    threading.Thread(target=watch, name="eyewright-lifeline", daemon=True).start()


def die_with_parent() -> None:
    """Have the kernel end this process when the process that started it ends, where that one passed no lifeline.

    For programs whose parent starts them from its main thread, such as torchrun's: the kernel goes by the thread.
    """
    parent = os.getppid()
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _KILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _is_closed(descriptor: int, timeout_ms: int | None) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLHUP)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(timeout_ms))


def _watch(descriptor: int) -> None:
    while not _is_closed(descriptor, None):
        pass
    os.kill(os.getpid(), _KILL)


def _forget() -> None:
    # A fork must not keep its parent's children alive.
    for descriptor in _ends:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _ends.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
