"""A socket between a process and its child on systems that pass no descriptors: over 127.0.0.1, with a secret.

Every program of the machine can connect to an address of it, so each side first shows its half of a secret that the
child has from its environment, which only the user can read.
"""

__all__ = ["LoopbackListener", "connect_back"]

import contextlib
import hmac
import secrets
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

_HALF = 32
_SHOWN_S = 2.0


class LoopbackListener:
    """A port that one's own children can reach; `text` is what they need to know.

    >>> import concurrent.futures
    >>> listener = LoopbackListener()
    >>> with concurrent.futures.ThreadPoolExecutor() as pool:
    ...     child = pool.submit(connect_back, listener.text)
    ...     with listener.accept(10.0) as ours, child.result() as theirs:
    ...         theirs.sendall(b"hi")
    ...         ours.recv(2)
    b'hi'
    >>> listener.close()
    """

    def __init__(self) -> None:
        # Here and below: it takes long to import, and Linux never needs it.
        import socket

        self._theirs, self._ours = secrets.token_hex(_HALF // 2), secrets.token_hex(_HALF // 2)
        self._door = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._door.bind(("127.0.0.1", 0))
            self._door.listen(64)
        except OSError:
            self._door.close()
            raise
        self.text = f"{self._door.getsockname()[1]}:{self._theirs}{self._ours}"

    def accept(self, timeout_s: float | None) -> "socket.socket":
        """Return a connection that has shown the secret; others are closed.

        Raises:
            TimeoutError: none came.
            OSError: the port was closed.
        """
        ends = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            self._door.settimeout(None if ends is None else max(0.001, ends - time.monotonic()))
            channel, _ = self._door.accept()
            try:
                channel.settimeout(_SHOWN_S)
                if hmac.compare_digest(_read(channel), self._theirs.encode()):
                    channel.sendall(self._ours.encode())
                    _settle(channel)
                    return channel
            except OSError:
                pass
            channel.close()

    def close(self) -> None:
        """Take no more."""
        self._door.close()


def connect_back(text: str) -> "socket.socket":
    """Connect to the `LoopbackListener` that has this text.

    Raises:
        OSError: nobody is there, or somebody else is.
    """
    import socket

    port, _, both = text.partition(":")
    channel = socket.create_connection(("127.0.0.1", int(port)), timeout=20.0)
    try:
        channel.sendall(both[:_HALF].encode())
        if not hmac.compare_digest(_read(channel), both[_HALF:].encode()):
            raise ConnectionError("another program listens at the port of the parent")
        _settle(channel)
    except BaseException:
        channel.close()
        raise
    return channel


def _settle(channel: "socket.socket") -> None:
    import socket

    channel.settimeout(None)
    # Messages are short and wait for each other.
    with contextlib.suppress(OSError):
        channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _read(channel: "socket.socket") -> bytes:
    found = b""
    while len(found) < _HALF and (part := channel.recv(_HALF - len(found))):
        found += part
    return found
