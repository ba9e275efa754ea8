"""A process that holds what every worker needs, imported once, and forks a worker when it is asked to.

It never runs a model and has one thread, so a fork of it is whole; a worker that died stands again in milliseconds and
shares its memory. It is asked over a Unix socket that carries the worker's own socket with the request.
"""

__all__ = ["main"]

import os
import signal
import socket
import sys

from PIL import Image

from eyewright.core.lifeline import hold_lifeline
from eyewright.serving.worker import run_worker


def main(arguments: list[str]) -> None:
    """Fork a worker for every socket that comes, until the server is gone; answers with the worker's process id."""
    hold_lifeline()
    # Pillow looks for its formats at the first image: once here, not once a worker.
    Image.init()
    door = socket.socket(fileno=int(arguments[0]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Nobody waits for a worker here: the server sees its socket close.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, sockets, _, _ = socket.recv_fds(door, 64 * 1024, 1)
        if not message or not sockets:
            return
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                door.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                run_worker(socket.socket(fileno=sockets[0]), message)
                code = 0
            finally:
                os._exit(code)
        os.close(sockets[0])
        door.sendall(pid.to_bytes(8, "little"))


if __name__ == "__main__":
    main(sys.argv[1:])
