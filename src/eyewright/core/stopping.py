"""End a process that is told to stop while it waits for native code, which never sees Python's signal handlers."""

__all__ = ["end_process", "exit_when_stuck", "native_call"]

import atexit
import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NoReturn

from eyewright.core.errors import EyewrightError
from eyewright.core.machine.signals import raise_again, wakeup_pipe

_GRACE_S = 2.0
_AGAIN_S = 5.0
_in_flight: dict[object, Callable[[], None]] = {}
_watching = False
_kept: list[Any] = []


@contextlib.contextmanager
def native_call(end: Callable[[], None]) -> Iterator[None]:
    """Register a call of native code for as long as it lasts; `end`, called from another thread, asks it to return.

    >>> with native_call(lambda: None):
    ...     pass
    """
    token = object()
    _in_flight[token] = end
    try:
        yield
    finally:
        del _in_flight[token]


def exit_when_stuck(
    codes: Mapping[int, int], *, grace_s: float = _GRACE_S, again: Collection[Any] = (), again_s: float = _AGAIN_S
) -> None:
    """From now on, end this process when a signal of `codes` comes during a native call that does not return.

    The call is asked to end first, so that Python's own handler runs as usual. If it does not return within `grace_s`,
    the process ends with the exit code in `codes`. For programs only: call it from the main thread.

    A handler of `again` raises an exception, which C code and finalisers lose now and then. Where the process still
    runs after `again_s`, it is told again.
    """
    global _watching
    if _watching or threading.current_thread() is not threading.main_thread():
        return
    _watching = True
    reader, writer = wakeup_pipe()
    _kept.append(writer)
    signal.set_wakeup_fd(writer if isinstance(writer, int) else writer.fileno(), warn_on_full_buffer=False)
    given = (reader, dict(codes), grace_s, tuple(again), again_s)
    threading.Thread(target=_watch, args=given, daemon=True).start()


def end_process(code: int) -> NoReturn:
    """End this process now with an exit code: threads are joined, exit handlers run, output is flushed.

    What is left out is the orderly removal of every module, which takes torch seconds on a loaded machine, during which
    no signal is handled. For programs only, as the last thing that they do.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        # From here on a signal has nothing to raise an exception in.
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    # As the interpreter does it: pools that nobody closed are told to end first, or their threads would wait for ever.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        # Nobody is left to tell.
        with contextlib.suppress(OSError, ValueError, AttributeError, EyewrightError):
            stream.flush()
    os._exit(code)


def _watch(reader: Any, codes: Mapping[int, int], grace_s: float, again: Collection[Any], again_s: float) -> None:
    last: int | None = None
    while True:
        if not select.select([reader], [], [], None if last is None else again_s)[0]:
            ident = threading.main_thread().ident
            if last is not None and ident is not None and signal.getsignal(last) in again:
                raise_again(last, ident)
            last = None
            continue
        number = os.read(reader, 1) if isinstance(reader, int) else reader.recv(1)
        if not number:
            return
        code = codes.get(number[0])
        last = number[0] if code is not None else last
        if code is None:
            continue
        stuck = dict(_in_flight)
        for end in stuck.values():
            end()
        ends = time.monotonic() + grace_s
        while stuck.keys() & _in_flight.keys() and time.monotonic() < ends:
            time.sleep(0.01)
        if stuck.keys() & _in_flight.keys():
            name = signal.Signals(number[0]).name
            print(f"eyewright: ended by {name} while a model was running", file=sys.stderr, flush=True)
            os._exit(code)
