"""Servers on the nodes of a Ray cluster, each a process of its own that is replaced when it ends.

Ray imports `RayReplica` by its name on each node; arguments and answers are JSON text. It imports no Ray.
"""

__all__ = ["RayReplica", "RayReplicas", "Replica"]

import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eyewright.core.errors import LostError
from eyewright.core.machine import children
from eyewright.scaling.ray_link import RayLink
from eyewright.scaling.ray_worker import own_version, refusal_of

_PROGRAM = (
    "from eyewright.core.machine.lifeline import hold_lifeline; hold_lifeline(); from eyewright.cli import main; main()"
)
_MOST_SAID = 2000
_SIGN_S = 300.0
_MOST = 1024


@dataclass(frozen=True)
class Replica:
    """A server that was started, at an address, or one that has ended (`port` 0)."""

    name: str
    host: str = ""
    port: int = 0


class RayReplica:
    """An actor that starts a server (`open`), and ends with it (`do`)."""

    def __init__(self) -> None:
        self._child: children.Child | None = None

    def open(self, request: str) -> str:
        """Start `eyewright serve` with the `words` of the request and the token `secret`; return where it answers, or
        why the node `refused`.

        Raises:
            LostError: it did not start.
        """
        asked = json.loads(request)
        if refused := refusal_of(asked):
            return json.dumps({"refused": refused})
        node = socket.gethostname()
        # No packet is sent: the system says by which address it would be.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as towards:
            towards.connect((asked["head"], 9))
            host = towards.getsockname()[0]
        words = [*asked["words"], "--host", host, "--port", "0", "--json"]
        if "--workers" not in words:
            words += ["--workers", str(asked["threads"])]
        with tempfile.TemporaryFile() as error:
            self._child = children.start_child(
                (sys.executable, "-c", _PROGRAM, "serve", *words),
                environment={**os.environ, "EYEWRIGHT_TOKEN": asked["secret"], "EYEWRIGHT_ADMIN_TOKEN": ""},
                stdin=children.DEVNULL,
                stderr=error,
                folder=asked["folder"],
            )
            assert self._child.stdout is not None
            line = self._child.stdout.readline()
            if not line:
                children.end_child(self._child, group=True)
                error.seek(0)
                said = error.read(_MOST_SAID).decode("utf-8", "replace").strip().splitlines()
                raise LostError(f"the server on {node} did not start: {said[-1] if said else 'it says nothing'}")
        port = int(json.loads(line)["address"].rpartition(":")[2])
        return json.dumps({"ready": {"node": node, "host": host, "port": port}})

    def do(self, request: str) -> str:
        """Wait until the server has ended, and end."""
        assert self._child is not None
        self._child.wait()
        # Ray says that the actor is gone, and another one is started.
        os._exit(1)

    def count(self) -> int:
        """Return another number each second: whether the server answers, it is asked itself."""
        return int(time.monotonic())


class RayReplicas:
    """So many servers on a Ray cluster at `address`, or on one of this machine that is started here; by default one per
    node. `words` are those of `eyewright serve`, and `secret` is the token that they ask for."""

    def __init__(self, words: Sequence[str], secret: str, *, address: str, replicas: int | None) -> None:
        about = {
            "kind": "replicas", "folder": os.getcwd(), "model": "", "version": own_version(), "shards": _MOST,
            "timeout_s": _SIGN_S, "opening": {"words": list(words), "secret": secret},
        }  # fmt: skip
        self._link = RayLink(about, address=address, workers=replicas)
        self._watched = 0

    @property
    def size(self) -> int:
        """How many servers are to come; 0 until the cluster has answered."""
        return self._link.size

    def wait(self, timeout_s: float) -> list[Replica]:
        """Return the servers that were started or have ended, at the latest after `timeout_s`.

        Raises:
            EyewrightError: the cluster or a node refuses.
            LostError: the cluster is gone, or no server starts.
        """
        found = [Replica(message["worker"]) for _, message in self._link.wait(timeout_s)]
        for message in self._link.take_ready():
            ready: Mapping[str, Any] = message["ready"]
            found.append(Replica(message["worker"], str(ready["host"]), int(ready["port"])))
            # Whichever worker takes it: each one waits for its own server.
            self._watched += 1
            self._link.give({"out": f"watch {self._watched}"})
        return found

    def close(self) -> None:
        """End all servers at once, and the cluster if it was started here."""
        self._link.close()
