"""How a program is told to stop or to read its models again, and what of that each system has."""

__all__ = ["on_reload", "on_stop", "raise_again", "wakeup_pipe"]

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

# How often a loop looks for a signal where nothing wakes it.
_LOOK_S = 0.2


def on_stop(loop: "asyncio.AbstractEventLoop", stop: Callable[[], None]) -> None:
    """Have `stop` called in the loop by SIGTERM and SIGINT; on Windows by Ctrl-C and Ctrl-Break."""
    numbers = [signal.SIGTERM, signal.SIGINT]
    if hasattr(signal, "SIGBREAK"):
        numbers.append(signal.SIGBREAK)
    for number in numbers:
        _on(loop, number, stop)


def on_reload(loop: "asyncio.AbstractEventLoop", reload: Callable[[], None]) -> bool:
    """Have `reload` called in the loop by SIGHUP; return False where there is no such signal."""
    if not hasattr(signal, "SIGHUP"):
        return False
    _on(loop, signal.SIGHUP, reload)
    return True


def _on(loop: "asyncio.AbstractEventLoop", number: int, call: Callable[[], None]) -> None:
    try:
        loop.add_signal_handler(number, call)
    except NotImplementedError:
        # Windows: Python's handler runs between two steps of the loop, which must not sleep for long.
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(call))
        if loop not in _looking:
            _looking.append(loop)
            _look(loop)


_looking: "list[asyncio.AbstractEventLoop]" = []


def _look(loop: "asyncio.AbstractEventLoop") -> None:
    if not loop.is_closed():
        loop.call_later(_LOOK_S, _look, loop)


def wakeup_pipe() -> tuple[Any, Any]:
    """Return what to read from and what `signal.set_wakeup_fd` writes to: descriptors, or sockets on Windows."""
    if hasattr(os, "set_blocking") and hasattr(os, "fork"):
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        return reader, writer
    import socket

    one, other = socket.socketpair()
    other.setblocking(False)
    return one, other


def raise_again(number: int, ident: int) -> None:
    """Have the main thread, whose identifier is `ident`, run the handler of a signal once more."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(ident, number)
    else:
        # Handlers run in the main thread wherever a signal is raised.
        signal.raise_signal(number)
