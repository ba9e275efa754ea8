"""Child processes that can be killed, end with their parent, and exchange bytes with it within a deadline.

Linux and macOS wait for pipes with `select`. Windows waits for sockets only, so there a thread reads each pipe.
"""

__all__ = [
    "DEVNULL",
    "PIPE",
    "Child",
    "Inbox",
    "Pipes",
    "SharedBytes",
    "code_of",
    "end_child",
    "kill_group",
    "open_pipes",
    "open_stream",
    "socket_pipes",
    "start_child",
    "write_some",
]

import contextlib
import os
import queue
import select
import threading
import time
from collections.abc import Hashable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, Protocol

from eyewright.core.machine.lifeline import lifeline_options

if TYPE_CHECKING:
    import asyncio
    import socket
    import subprocess

    Child = subprocess.Popen[bytes]
else:
    Child = Any
"""A process that `start_child` has started."""

PIPE, DEVNULL = -1, -3
"""As `subprocess` calls them, which takes long to import."""

_WAITS_FOR_PIPES = hasattr(select, "poll") and hasattr(os, "set_blocking")
_PIECE = 65_536
# Of a child that says more than it is asked, no more is read.
_AHEAD = 2**20


def start_child(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    stdin: int | None = PIPE,
    stdout: int = PIPE,
    # Libraries print what a file tells them to print; nobody reads it.
    stderr: int | IO[bytes] | None = DEVNULL,
    descriptors: Sequence[int] = (),
    buffered: bool = True,
    lead: bool = True,
    tied: bool = True,
    folder: str | None = None,
) -> Child:
    """Start a process; with `tied` it ends with this one, once it has called `hold_lifeline`.

    `descriptors` are passed on where the system can; with `lead` it leads a group that `end_child` ends as a whole.

    Raises:
        OSError: it cannot be started.
    """
    import subprocess

    variables, passed = dict(os.environ if environment is None else environment), list(descriptors)
    if tied:
        given, more = lifeline_options()
        variables |= given
        passed += more
    options: dict[str, Any] = {"pass_fds": passed} if passed else {}
    if lead and hasattr(os, "setsid"):
        options["start_new_session"] = True
    elif lead and hasattr(subprocess, "CREATE_NEW_PROCESS_GROUP"):
        # Ctrl-C in a console reaches the parent alone, which decides.
        options["creationflags"] = subprocess.CREATE_NEW_PROCESS_GROUP
    return subprocess.Popen(
        list(command),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=variables,
        cwd=folder,
        bufsize=-1 if buffered else 0,
        **options,
    )


def end_child(child: Child, *, group: bool = False) -> int:
    """Kill a process, with `group` as `kill_group`, and close its pipes; return its exit code."""
    if group:
        kill_group(child)
    else:
        child.kill()
    for stream in (child.stdin, child.stdout):
        # A thread that reads the pipe holds its lock until the process is gone.
        if stream is not None and (_WAITS_FOR_PIPES or stream is child.stdin):
            with contextlib.suppress(OSError):
                stream.close()
    return child.wait()


def kill_group(child: Child) -> None:
    """Kill a process and what it started; on Windows what it started ends by its own lifeline."""
    if not hasattr(os, "killpg"):
        child.kill()
        return
    import signal

    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def code_of(child: Child, timeout_s: float) -> int | None:
    """Return the exit code of a child that ends by itself, None when it does not in time."""
    import subprocess

    with contextlib.suppress(subprocess.TimeoutExpired):
        return child.wait(timeout_s)
    return None


class SharedBytes:
    """Bytes that a child writes to memory which it has by its descriptor; -1 and none where no system call makes it.

    >>> with contextlib.closing(SharedBytes()) as shared:
    ...     len(shared.passed) == (shared.descriptor >= 0)
    True
    """

    def __init__(self) -> None:
        self.descriptor: int = os.memfd_create("eyewright") if hasattr(os, "memfd_create") else -1

    @property
    def passed(self) -> tuple[int, ...]:
        """The descriptors to pass to the child."""
        return (self.descriptor,) if self.descriptor >= 0 else ()

    def read_into(self, view: memoryview) -> None:
        """Fill `view` and make the memory empty.

        Raises:
            EOFError: the child has written less.
        """
        position = 0
        while position < len(view):
            n = os.preadv(self.descriptor, [view[position:]], position)
            if n == 0:
                raise EOFError
            position += n
        self.clear()

    def clear(self) -> None:
        """Make it empty."""
        if self.descriptor >= 0:
            os.ftruncate(self.descriptor, 0)

    def close(self) -> None:
        """End it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class Pipes(Protocol):
    """Bytes to a child's standard input and from its standard output, each with a deadline on the monotonic clock."""

    def send(self, data: bytes, deadline: float) -> None:
        """Write all bytes.

        Raises:
            TimeoutError: it does not take them in time.
            BrokenPipeError: it is gone.
        """
        ...

    def take(self, n: int, deadline: float) -> bytes:
        """Read so many bytes.

        Raises:
            TimeoutError: they do not come in time.
            EOFError: it is gone.
        """
        ...


def open_pipes(child: Child) -> Pipes:
    """Return the pipes of a child.

    >>> import sys
    >>> child = start_child((sys.executable, "-c", "print(input() * 2)"), tied=False)
    >>> pipes = open_pipes(child)
    >>> pipes.send(b"ab\\n", time.monotonic() + 20)
    >>> pipes.take(4, time.monotonic() + 20), end_child(child) in (0, -9, 1)
    (b'abab', True)

    Raises:
        ValueError: it has none.
    """
    if child.stdin is None or child.stdout is None:
        raise ValueError("the child has no pipes")
    return (_Polled if _WAITS_FOR_PIPES else _Threaded)(child.stdin, child.stdout)


def socket_pipes(channel: "socket.socket") -> Pipes:
    """Return the way to a process at the other end of a socket, and back."""
    return _Polled(channel, channel)


class _Described(Protocol):
    def fileno(self) -> int: ...


class _Polled:
    """For systems that wait for pipes."""

    def __init__(self, into: _Described, out: _Described) -> None:
        self._in, self._out = into, out
        os.set_blocking(self._in.fileno(), False)

    def send(self, data: bytes, deadline: float) -> None:
        view, descriptor = memoryview(data), self._in.fileno()
        while view:
            _, writable, _ = select.select((), (descriptor,), (), max(0.0, deadline - time.monotonic()))
            if not writable:
                raise TimeoutError
            view = view[os.write(descriptor, view) :]

    def take(self, n: int, deadline: float) -> bytes:
        descriptor, parts = self._out.fileno(), bytearray()
        while len(parts) < n:
            readable, _, _ = select.select((descriptor,), (), (), max(0.0, deadline - time.monotonic()))
            if not readable:
                raise TimeoutError
            part = os.read(descriptor, min(2**20, n - len(parts)))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)


class _Threaded:
    """For systems that do not: a thread reads ahead, and one writes what is to be written."""

    def __init__(self, into: IO[bytes], out: IO[bytes]) -> None:
        self._in, self._out = into, out
        self._read, self._more = bytearray(), threading.Condition()
        self._wanted, self._ended = 0, False
        threading.Thread(target=self._reading, daemon=True).start()

    def send(self, data: bytes, deadline: float) -> None:
        done: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
        threading.Thread(target=self._writing, args=(data, done), daemon=True).start()
        try:
            error = done.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise TimeoutError from None
        if error is not None:
            # Windows says EINVAL of a pipe whose reader has gone.
            raise BrokenPipeError(str(error)) from error

    def take(self, n: int, deadline: float) -> bytes:
        with self._more:
            self._wanted = n
            self._more.notify_all()
            while len(self._read) < n:
                left = deadline - time.monotonic()
                if self._ended:
                    raise EOFError
                if left <= 0:
                    raise TimeoutError
                self._more.wait(left)
            found = bytes(self._read[:n])
            del self._read[:n]
            self._wanted = 0
            self._more.notify_all()
            return found

    def _reading(self) -> None:
        for part in _parts(self._out):
            with self._more:
                self._read += part
                self._more.notify_all()
                while len(self._read) >= max(self._wanted, _AHEAD):
                    self._more.wait()
        with self._more:
            self._ended = True
            self._more.notify_all()

    def _writing(self, data: bytes, done: "queue.SimpleQueue[Exception | None]") -> None:
        try:
            view = memoryview(data)
            while view:
                view = view[self._in.write(view) or 0 :]
            self._in.flush()
        except (OSError, ValueError) as error:
            done.put(error)
        else:
            done.put(None)


class Inbox:
    """What several children write, in the order in which it comes."""

    def __init__(self) -> None:
        self._streams: dict[Hashable, IO[bytes]] = {}
        self._arrived: queue.SimpleQueue[tuple[Hashable, IO[bytes], bytes]] = queue.SimpleQueue()
        self._selector: Any = None
        if _WAITS_FOR_PIPES:
            from selectors import DefaultSelector

            self._selector = DefaultSelector()

    def add(self, key: Hashable, stream: IO[bytes]) -> None:
        """Take up the output of a child."""
        self._streams[key] = stream
        if self._selector is not None:
            from selectors import EVENT_READ

            self._selector.register(stream, EVENT_READ, key)
        else:
            threading.Thread(target=self._reading, args=(key, stream), daemon=True).start()

    def discard(self, key: Hashable) -> None:
        """Forget a child's output; call it before its pipe is closed."""
        stream = self._streams.pop(key, None)
        if stream is not None and self._selector is not None:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(stream)

    def wait(self, timeout_s: float) -> list[tuple[Any, bytes]]:
        """Return children's keys with what they wrote, b"" for one that is gone; at the latest after `timeout_s`."""
        if self._selector is not None:
            return [(key.data, os.read(key.fd, _PIECE)) for key, _ in self._selector.select(timeout_s)]
        found = []
        with contextlib.suppress(queue.Empty):
            found.append(self._arrived.get(timeout=max(0.0, timeout_s)))
            while True:
                found.append(self._arrived.get_nowait())
        # What one said that is forgotten is forgotten, too.
        return [(key, part) for key, stream, part in found if self._streams.get(key) is stream]

    def close(self) -> None:
        """Forget all."""
        for key in list(self._streams):
            self.discard(key)
        if self._selector is not None:
            self._selector.close()

    def _reading(self, key: Hashable, stream: IO[bytes]) -> None:
        for part in _parts(stream):
            self._arrived.put((key, stream, part))
        self._arrived.put((key, stream, b""))


async def open_stream(stream: IO[bytes], most: int) -> "tuple[asyncio.StreamReader, asyncio.BaseTransport | None]":
    """Return a child's output for the running event loop, with a transport to close where there is one."""
    import asyncio

    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=most)
    if _WAITS_FOR_PIPES:
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), stream)
        return reader, transport

    def feed() -> None:
        # The loop may have ended before the child.
        with contextlib.suppress(RuntimeError):
            for part in _parts(stream):
                loop.call_soon_threadsafe(reader.feed_data, part)
            loop.call_soon_threadsafe(reader.feed_eof)

    threading.Thread(target=feed, daemon=True).start()
    return reader, None


def write_some(stream: IO[bytes], data: bytes) -> None:
    """Write to an unbuffered pipe what it takes at once; without such pipes, in a thread of its own.

    Raises:
        OSError: the child is gone.
    """
    if _WAITS_FOR_PIPES:
        os.set_blocking(stream.fileno(), False)
        stream.write(data)
        return

    def write() -> None:
        with contextlib.suppress(OSError, ValueError):
            stream.write(data)

    threading.Thread(target=write, daemon=True).start()


def _parts(stream: IO[bytes]) -> Any:
    """Yield what comes until the other side is gone, then close the stream."""
    with contextlib.suppress(OSError, ValueError):
        descriptor = stream.fileno()
        while part := os.read(descriptor, _PIECE):
            yield part
    with contextlib.suppress(OSError):
        stream.close()
