"""The one process of a job that talks to Ray: between the driver, whose messages are lines of JSON, and workers.

Ray may end a process that loses its cluster. Then only this process ends: the driver says so, and the job can be
resumed.
"""

__all__ = ["RemoteCluster", "RemoteWorker", "main", "serve"]

import contextlib
import json
import os
import queue
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from eyewright.core.errors import EyewrightError
from eyewright.core.machine.lifeline import hold_lifeline
from eyewright.imaging.workers import told
from eyewright.scaling.ray_cluster import GoneError, join_cluster, start_cluster
from eyewright.scaling.ray_replicas import RayReplica
from eyewright.scaling.ray_units import RayUnit
from eyewright.scaling.ray_worker import RayWorker

Say = Callable[[Mapping[str, Any]], None]

_AGAIN_S = 1.0
_KINDS: Mapping[str, type] = {"shards": RayWorker, "units": RayUnit, "replicas": RayReplica}


class RemoteWorker(Protocol):
    """A worker on a node; both calls raise `GoneError` when it has died."""

    def open(self, request: str) -> str:
        """Prepare it, and return its answer."""
        ...

    def do(self, request: str) -> str:
        """Have a range of images done, and return its answer."""
        ...

    def end(self) -> None:
        """End it at once."""
        ...


class RemoteCluster(Protocol):
    """Where workers are started."""

    @property
    def nodes(self) -> tuple[int, ...]:
        """The number of cores of each node."""
        ...

    @property
    def address(self) -> str:
        """Where the cluster is."""
        ...

    def start(self, threads: int, timeout_s: float, kind: type) -> RemoteWorker:
        """Start a worker of a class, with so many threads, which is gone when it makes no progress for `timeout_s`."""
        ...


def main(arguments: list[str]) -> None:
    """Serve a driver until it is gone. The arguments are the address of the cluster ("": one is started here) and its
    number of cores if it is started.

    The first line that it reads is about the job: the `kind` of its workers ("shards", "units" or "replicas"), the
    `folder`, `model` and `version` that each is told, with what else is in `opening`; the most `workers` (0: one per
    core, of replicas one per node), how many `shards` there are, and `timeout_s`. The driver may still plan it while
    the cluster is joined.
    """
    hold_lifeline()
    # Ctrl-C reaches the driver, which decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What Ray and libraries print must not land between messages.
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    lock = threading.Lock()

    def say(message: Mapping[str, Any]) -> None:
        with lock, contextlib.suppress(OSError, ValueError):
            out.write(json.dumps(message) + "\n")
            out.flush()

    address, cores = arguments
    try:
        cluster: AbstractContextManager[RemoteCluster] = join_cluster(address) if address else start_cluster(int(cores))
        with cluster as joined:
            about = sys.stdin.buffer.readline()
            if about:
                serve(joined, json.loads(about), sys.stdin.buffer, say)
    except EyewrightError as error:
        say({"refused": told(error)})
    # Threads wait for workers that are ended with the cluster, or with this process.
    sys.stdout.flush()
    os._exit(0)


def serve(cluster: RemoteCluster, asked: Mapping[str, Any], requests: Iterable[bytes], say: Say) -> None:
    """Have the requests, one per line, done by workers of a cluster until there are no more. It says how many `workers`
    are to come, then of each when it is ready, and what became of each request, by its file `out`."""
    # A head that does no work is a node without cores.
    nodes = [n for n in cluster.nodes if n]
    cores = sum(nodes)
    usual = len(nodes) if asked["kind"] == "replicas" else cores
    n = max(1, min(asked["workers"] or usual, asked["shards"]))
    # No worker may ask for more cores than a node has: it would wait for ever.
    threads = max(1, min(cores // n, *nodes)) if nodes else 1
    common = {k: asked[k] for k in ("folder", "model", "version")}
    head = cluster.address.rpartition("://")[2].rpartition(":")[0].strip("[]")
    opening = json.dumps({**common, **asked.get("opening", {}), "head": head, "threads": threads})
    kind = _KINDS[asked["kind"]]
    say({"workers": n, "nodes": len(nodes)})
    todo: queue.SimpleQueue[str] = queue.SimpleQueue()
    for _ in range(n):
        one = threading.Thread(
            target=_employ, args=(cluster, kind, threads, float(asked["timeout_s"]), opening, todo, say), daemon=True
        )
        one.start()
    for line in requests:
        todo.put(line.decode("ascii").strip())


def _employ(
    cluster: RemoteCluster,
    kind: type,
    threads: int,
    timeout_s: float,
    opening: str,
    todo: "queue.SimpleQueue[str]",
    say: Say,
) -> None:
    """Have one worker at a time, replaced when it dies."""
    while True:
        worker: RemoteWorker | None = None
        try:
            worker = cluster.start(threads, timeout_s, kind)
            answer = json.loads(worker.open(opening))
        except Exception as error:  # noqa: BLE001 - whatever Ray raises is a worker that did not start
            if worker is not None:
                # It would keep its cores.
                worker.end()
            say({"unready": str(error)})
            time.sleep(_AGAIN_S)
            continue
        if "refused" in answer:
            say(answer)
            return
        name = secrets.token_hex(4)
        say({**answer, "worker": name})
        while True:
            text = todo.get()
            out = json.loads(text)["out"]
            try:
                say({**json.loads(worker.do(text)), "out": out, "worker": name})
            except GoneError as error:
                worker.end()
                say({"gone": str(error), "out": out, "worker": name})
                break


if __name__ == "__main__":
    main(sys.argv[1:])
