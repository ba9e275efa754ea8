"""One process of a training on a node of a Ray cluster: what `torchrun` starts, with the same variables.

Ray imports this class by its name on each node; arguments and answers are JSON text. It imports neither Ray nor torch.
"""

__all__ = ["RayRank"]

import json
import os
import socket
import sys
import tempfile
import time

from eyewright.core.machine import children
from eyewright.scaling.ray_worker import refusal_of

# The program, which ends with the actor.
_PROGRAM = (
    "from eyewright.core.machine.lifeline import hold_lifeline; hold_lifeline(); from eyewright.cli import main; main()"
)
_MOST_SAID = 200_000


class RayRank:
    """An actor that says where it is (`open`), then runs `eyewright train` as one of several processes (`do`)."""

    def open(self, request: str) -> str:
        """Return the address of this node as others see it, with a port that is free, or why it `refused`."""
        asked = json.loads(request)
        if refused := refusal_of(asked):
            return json.dumps({"refused": refused})
        # No packet is sent: the system says by which address it would be.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as towards, socket.socket() as free:
            towards.connect((asked["host"], 9))
            host = towards.getsockname()[0]
            free.bind((host, 0))
            return json.dumps({"ready": {"host": host, "port": free.getsockname()[1]}})

    def do(self, request: str) -> str:
        """Run the program with the words and variables of the request in its folder; return exit code and output."""
        asked = json.loads(request)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
            child = children.start_child(
                (sys.executable, "-c", _PROGRAM, *asked["words"]),
                environment={**os.environ, **asked["variables"]},
                stdin=children.DEVNULL,
                stdout=out.fileno(),
                stderr=error,
                folder=asked["folder"],
            )
            code = child.wait()
            said = []
            for file in (out, error):
                file.seek(max(0, file.seek(0, os.SEEK_END) - _MOST_SAID))
                said.append(file.read().decode("utf-8", "replace"))
        return json.dumps({"code": code, "out": said[0], "error": said[1]})

    def count(self) -> int:
        """Return another number each second: whether the training makes progress, it knows itself."""
        return int(time.monotonic())
