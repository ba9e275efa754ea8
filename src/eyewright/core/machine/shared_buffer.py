"""How images reach a worker: through a file in memory, which never makes the server wait until the worker reads.

A socket takes some 200 KB. What is more waits there until the worker has read it, and the worker meanwhile for the
server's next turn: three turns for four photographs. The file is read and written with `pread` and `pwrite` and never
mapped, since a worker that cut it short would end the server by SIGBUS.
"""

__all__ = ["SharedBuffer", "open_shared_buffer", "receive_shared_buffer"]

import os
import socket

_KEPT_BYTES = 8 * 2**20
_NAME = "eyewright-images"


class SharedBuffer:
    """A file in memory that the server and one worker hold: the images of one batch, one after another.

    >>> buffer = SharedBuffer(os.memfd_create("example"))
    >>> buffer.write(0, b"one"), buffer.write(3, b"three")
    (3, 8)
    >>> buffer.read(3, 5)
    b'three'
    >>> buffer.close()
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._held = 0

    def write(self, start: int, data: "bytes | memoryview") -> int:
        """Write bytes from `start` on; return where they end.

        Raises:
            OSError: there is no memory for them.
        """
        view = memoryview(data)
        while view:
            done = os.pwrite(self._descriptor, view, start)
            start += done
            view = view[done:]
        self._held = max(self._held, start)
        return start

    def read(self, start: int, n: int) -> bytes:
        """Return n bytes from `start` on.

        Raises:
            EOFError: there are fewer.
        """
        data = os.pread(self._descriptor, n, start)
        while len(data) < n:
            more = os.pread(self._descriptor, n - len(data), start + len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def clear(self) -> None:
        """Release the memory of a batch that was large; that of an ordinary one is kept for the next."""
        if self._held > _KEPT_BYTES:
            os.ftruncate(self._descriptor, 0)
            self._held = 0

    def close(self) -> None:
        """Close this side; the other keeps its own."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def open_shared_buffer(channel: socket.socket) -> SharedBuffer | None:
    """Return a new buffer and hand it to the process at the other end of a socket, which takes it with
    `receive_shared_buffer`; None where the system has no such files."""
    if not hasattr(os, "memfd_create") or channel.family != getattr(socket, "AF_UNIX", None):
        channel.sendall(b"-")
        return None
    descriptor = os.memfd_create(_NAME)
    socket.send_fds(channel, [b"+"], [descriptor])
    return SharedBuffer(descriptor)


def receive_shared_buffer(channel: socket.socket) -> SharedBuffer | None:
    """Return the buffer that `open_shared_buffer` sent, None where there is none."""
    if channel.family != getattr(socket, "AF_UNIX", None):
        channel.recv(1)
        return None
    _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
    return SharedBuffer(descriptors[0]) if descriptors else None
