"""A training by several processes on the nodes of a Ray cluster: the world that `torchrun` starts on one machine.

When one process is lost all are ended, since the others would wait for it, and a new world continues from the last
checkpoint, which lies in storage that all nodes share.
"""

__all__ = ["RankCluster", "failure_of", "main", "train_on_ray", "train_world"]

import contextlib
import json
import os
import queue
import secrets
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from eyewright.core import errors
from eyewright.core.errors import EyewrightError, LostError, RefusedError
from eyewright.core.machine import children
from eyewright.core.machine.lifeline import hold_lifeline
from eyewright.core.machine.limits import usable_cores
from eyewright.imaging.workers import error_from, told
from eyewright.scaling.engines import ray_address
from eyewright.scaling.ray_broker import RemoteWorker
from eyewright.scaling.ray_cluster import GoneError, join_cluster, start_cluster
from eyewright.scaling.ray_ranks import RayRank
from eyewright.scaling.ray_worker import own_version
from eyewright.scaling.units import checkpoint_of

# Worlds that are lost one after another without a new checkpoint, until that is no accident.
_MOST_LOST = 3
_SIGN_S = 300.0
# What another try does not change, and what a verb returns when it is done.
_FINAL = frozenset({0, 1, 2, 3, 4, 5})


class RankCluster(Protocol):
    """Where the processes are started."""

    @property
    def nodes(self) -> tuple[int, ...]:
        """The number of cores of each node."""
        ...

    @property
    def address(self) -> str:
        """Where the cluster is."""
        ...

    def start(self, threads: int, timeout_s: float, kind: type) -> RemoteWorker:
        """Start an actor of a class with so many cores."""
        ...


def train_on_ray(words: Sequence[str], out: Path, *, on: str, processes: int | None = None) -> dict[str, Any]:
    """Run `eyewright` with these words, those of train into the run folder `out`, by so many processes on a Ray cluster
    (by default one per core); return the exit `code` of the first process, what it wrote (`out`, `error`), and how
    often the world was started again (`restarts`).

    Raises:
        EyewrightError: the cluster refuses, or processes are lost again and again.
    """
    asked = {
        "words": list(words), "out": os.path.abspath(out), "processes": processes or 0, "version": own_version(),
        "folder": os.getcwd(),
    }  # fmt: skip
    cores = str(max(usable_cores(), processes or 0))
    child = children.start_child((sys.executable, "-m", "eyewright.scaling.ray_training", ray_address(on), cores))
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        with contextlib.suppress(OSError):
            child.stdin.write(json.dumps(asked).encode() + b"\n")
            child.stdin.flush()
        line = child.stdout.readline()
    finally:
        # Closed, its input tells it to leave the cluster.
        with contextlib.suppress(OSError):
            child.stdin.close()
        children.code_of(child, 5.0)
        children.end_child(child, group=True)
    if not line:
        raise LostError("the connection to the Ray cluster was lost", fix="continue with --resume")
    answer: dict[str, Any] = json.loads(line)
    if "refused" in answer:
        raise error_from(answer["refused"])
    return answer


def main(arguments: list[str]) -> None:
    """Train for a driver, and answer in one line; the arguments are the address of the cluster ("": one is started
    here) and its number of cores if it is started."""
    hold_lifeline()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    address, cores = arguments
    try:
        asked = json.loads(sys.stdin.buffer.readline())
        cluster: AbstractContextManager[RankCluster] = join_cluster(address) if address else start_cluster(int(cores))
        with cluster as joined:
            out.write(json.dumps(train_world(joined, asked)) + "\n")
            out.flush()
    except EyewrightError as error:
        out.write(json.dumps({"refused": told(error)}) + "\n")
        out.flush()
    os._exit(0)


def train_world(cluster: RankCluster, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Train with the `words`, by so many `processes` (0: one per core), again from the last checkpoint in `out` when
    one is lost; return the answer of the first process and the number of `restarts`.

    Raises:
        RefusedError: a node has another version.
        LostError: processes are lost again and again without a new checkpoint.
    """
    n = asked["processes"] or max(1, sum(cluster.nodes))
    last, lost, restarts = checkpoint_of(asked["out"]), 0, 0
    while True:
        words = list(asked["words"])
        if restarts and last and "--resume" not in words:
            words.append("--resume")
        answer = _one_world(cluster, n, words, str(asked["version"]), str(asked["folder"]))
        if "lost" not in answer:
            return {**answer, "restarts": restarts}
        restarts += 1
        found = checkpoint_of(asked["out"])
        lost, last = (lost + 1 if found == last else 1), found
        if lost >= _MOST_LOST:
            raise LostError(
                f"{lost} times in a row a process of {n} was lost before a new checkpoint, the last: {answer['lost']}",
                fix="check memory and the nodes, then continue with --resume",
            )


def _one_world(cluster: RankCluster, n: int, words: Sequence[str], version: str, folder: str) -> dict[str, Any]:
    """Return the answer of the first process when all are done or one says why it cannot; `lost` when one was lost."""
    host = cluster.address.rpartition("://")[2].rpartition(":")[0].strip("[]")
    opening = json.dumps({"version": version, "host": host, "folder": folder})
    ranks = [cluster.start(1, _SIGN_S, RayRank) for _ in range(n)]
    ended: queue.SimpleQueue[tuple[int, dict[str, Any]]] = queue.SimpleQueue()

    def call(rank: int, method: str, request: str) -> None:
        try:
            ended.put((rank, json.loads(getattr(ranks[rank], method)(request))))
        except GoneError as error:
            ended.put((rank, {"lost": str(error)}))

    def call_all(method: str, requests: Sequence[str]) -> dict[int, dict[str, Any]]:
        """Return all answers, or only the one that makes the others useless."""
        for rank, request in enumerate(requests):
            threading.Thread(target=call, args=(rank, method, request), daemon=True).start()
        found: dict[int, dict[str, Any]] = {}
        for _ in requests:
            rank, answer = ended.get()
            code = answer.get("code", 0)
            if code not in _FINAL:
                # Also of one whose peer died: the others only wait.
                return {0: {"lost": _said(answer) or f"exit {code}"}}
            if "lost" in answer or "refused" in answer or code > 1:
                return {0: answer}
            found[rank] = answer
        return found

    try:
        opened = call_all("open", [opening] * n)
        if "refused" in opened[0]:
            raise RefusedError(opened[0]["refused"]["message"], fix=opened[0]["refused"]["fix"], code="ray")
        if "lost" in opened[0]:
            return opened[0]
        first, name = opened[0]["ready"], secrets.token_hex(8)
        variables = {
            "MASTER_ADDR": first["host"], "MASTER_PORT": str(first["port"]), "WORLD_SIZE": str(n),
            "LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0", "TORCHELASTIC_RUN_ID": name, "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        given = {"words": words, "folder": folder}
        requests = [json.dumps({**given, "variables": {**variables, "RANK": str(k)}}) for k in range(n)]
        return call_all("do", requests)[0]
    finally:
        for rank in ranks:
            rank.end()


def failure_of(answer: Mapping[str, Any]) -> EyewrightError:
    """Return what the first process refused, as the error that has its exit code."""
    message, _, fix = _said(answer).removeprefix("eyewright: ").partition("; ")
    kinds = (errors.UsageError, errors.InputError, RefusedError, errors.BudgetError)
    kind: type[EyewrightError] = next((k for k in kinds if k.exit_code == answer["code"]), EyewrightError)
    return kind(message or f"train ended with {answer['code']}", fix=fix)


def _said(answer: Mapping[str, Any]) -> str:
    lines = [line for line in str(answer.get("error", "")).splitlines() if line.strip()]
    return lines[-1].strip()[:500] if lines else ""


if __name__ == "__main__":
    main(sys.argv[1:])
