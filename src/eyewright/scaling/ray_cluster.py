"""A Ray cluster: joined at its address, or started on this machine; and workers on its nodes.

Ray runs what it is sent, so a cluster that does not ask for a token is refused. Sent are the name of our worker class
and JSON text; nothing is installed on nodes, and images never go through Ray.
"""

__all__ = ["GoneError", "JoinedCluster", "JoinedWorker", "agent_ports", "head_command", "join_cluster", "start_cluster"]

import contextlib
import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from eyewright.core.errors import LostError, RefusedError, UsageError
from eyewright.core.extras import import_extra
from eyewright.core.machine import children
from eyewright.scaling.ray_worker import RayWorker

_LOOPBACK = "127.0.0.1"
_START_S = 180.0
_CALL_S = 30.0
# What a cluster is asked without a token, and its server for remote clients.
_CALLS = {"": "/ray.rpc.NodeInfoGcsService/CheckAlive", "ray://": "/ray.rpc.RayletDriver/ClusterInfo"}
# Objects are texts of a few hundred bytes; Ray asks for at least 75 MB.
_STORE_BYTES = 80_000_000
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    # `uv run` would have every node install the environment of this process.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_enable_metrics_collection": "0",
    # A loaded machine needs more than the 30 s that Ray waits.
    "RAY_raylet_start_wait_time_s": "150",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
# What `ray start` prints when all of its processes run.
_STARTED = b"Ray runtime started."
_FIX = "set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the token of the cluster"
_SIGN_S = 5.0


class GoneError(Exception):
    """A worker died, its node was lost, or it made no progress."""


class JoinedWorker:
    """A worker on some node, for one caller."""

    def __init__(self, ray: Any, actor: Any, timeout_s: float) -> None:
        self._ray, self._actor, self._timeout_s = ray, actor, timeout_s

    def open(self, request: str) -> str:
        """Wait until a node has room for the worker and it has answered.

        Raises:
            GoneError: it could not be started.
        """
        return str(self._read(self._actor.open.remote(request)))

    def do(self, request: str) -> str:
        """Return the answer to a range of images.

        Raises:
            GoneError: it died, or no image was done for the time limit.
        """
        answer = self._actor.do.remote(request)
        done, alive_s = -1, time.monotonic()
        while not self._ray.wait([answer], num_returns=1, timeout=min(_SIGN_S, self._timeout_s))[0]:
            sign = self._actor.count.options(concurrency_group="signs").remote()
            # Native code that holds the interpreter lock gives no sign, however long it works.
            if sign in self._ray.wait([answer, sign], num_returns=1, timeout=self._timeout_s)[0]:
                count = int(self._read(sign))
                if count != done:
                    done, alive_s = count, time.monotonic()
            if time.monotonic() - alive_s > self._timeout_s and not self._ray.wait([answer], timeout=0)[0]:
                raise GoneError(f"no progress in {self._timeout_s:g} s")
        return str(self._read(answer))

    def end(self) -> None:
        """End it at once."""
        with contextlib.suppress(Exception):
            self._ray.kill(self._actor, no_restart=True)

    def _read(self, answer: Any) -> Any:
        try:
            return self._ray.get(answer)
        except self._ray.exceptions.RayError as error:
            raise GoneError(_words(error)) from error


class JoinedCluster:
    """A cluster that this process is connected to."""

    def __init__(self, ray: Any, address: str) -> None:
        self._ray, self.address = ray, address
        self.nodes = tuple(int(n["Resources"].get("CPU", 0)) for n in ray.nodes() if n["Alive"])

    @property
    def cpus(self) -> int:
        """The cores of all nodes, as they were told to Ray."""
        return sum(self.nodes)

    def start(self, threads: int, timeout_s: float, kind: type = RayWorker) -> JoinedWorker:
        """Start a worker with so many cores, of a class of this room; it waits in Ray until a node has them free."""
        actor = self._ray.remote(
            num_cpus=threads, max_restarts=0, max_task_retries=0, concurrency_groups={"signs": 1},
            scheduling_strategy="SPREAD",
        )(kind).remote()  # fmt: skip
        return JoinedWorker(self._ray, actor, timeout_s)


@contextlib.contextmanager
def join_cluster(address: str) -> Iterator[JoinedCluster]:
    """Connect to the cluster at `HOST:PORT`, or through Ray's client server at `ray://HOST:PORT`, until the end.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: there is no token.
        RefusedError: the cluster does not ask for a token, or refuses the one that was sent.
        LostError: there is no cluster.
    """
    os.environ.update(_SETTINGS)
    if find_spec("ray") is None:
        _ray()
    _require_token()
    _refuse_open(address)
    cluster = _joined(address)
    try:
        yield cluster
    finally:
        _leave()


@contextlib.contextmanager
def start_cluster(cpus: int) -> Iterator[JoinedCluster]:
    """Start a cluster of one node on this machine, which takes nobody without its new token, and end it at the end; it
    ends too when this process dies.

    Raises:
        MissingExtraError: Ray is not installed.
        LostError: it does not start.
    """
    if find_spec("ray") is None:
        _ray()
    place = Path(tempfile.mkdtemp(prefix="ey-ray-"))
    os.environ.update(_SETTINGS, RAY_AUTH_TOKEN=secrets.token_hex(32))
    os.environ.pop("RAY_AUTH_TOKEN_PATH", None)
    port = _free_port()
    log = place / "start.log"
    with open(log, "wb") as said:
        head = children.start_child(
            (sys.executable, "-m", "eyewright.scaling.ray_head", _LOOPBACK, str(port), str(cpus), str(place)),
            stdin=children.DEVNULL,
            stdout=said.fileno(),
            stderr=said,
        )
    try:
        address = f"{_LOOPBACK}:{port}"
        # Takes a second, while the head starts.
        _ray()
        _await_start(head, log)
        yield _joined(address)
    finally:
        _leave()
        children.end_child(head, group=True)
        shutil.rmtree(place, ignore_errors=True)


def head_command(host: str, port: str, cpus: str, place: str) -> list[str]:
    """Return the arguments of Ray's own program that start the head of such a cluster in the foreground: no dashboard,
    no autoscaler, and nothing that reads logs."""
    return [
        "start", "--head", "--block", f"--node-ip-address={host}", f"--port={port}", f"--num-cpus={cpus}",
        "--num-gpus=0", f"--object-store-memory={_STORE_BYTES}", f"--temp-dir={place}", "--include-dashboard=false",
        "--include-log-monitor=false", "--no-monitor", "--disable-usage-stats", *agent_ports(),
    ]  # fmt: skip


def agent_ports() -> list[str]:
    """Return the arguments of `ray start` that say where the helpers of a node listen, on ports that are free.

    Otherwise they choose ports themselves, and a node whose helpers need more than 15 s for that does not start: Ray
    does not say so in that minute, and no setting of it is longer.
    """
    names = (
        "dashboard-agent-grpc",
        "dashboard-agent-listen",
        "runtime-env-agent",
        "metrics-export",
    )
    with contextlib.ExitStack() as held:
        taken = [held.enter_context(socket.socket()) for _ in names]
        for one in taken:
            one.bind((_LOOPBACK, 0))
        return [f"--{name}-port={one.getsockname()[1]}" for name, one in zip(names, taken, strict=True)]


def _joined(address: str) -> JoinedCluster:
    ray = _ray()
    import logging

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, configure_logging=False)
    except ray.exceptions.AuthenticationError as error:
        raise RefusedError(
            f"the Ray cluster at {address} refuses the token: {_words(error)}", fix=_FIX, code="ray"
        ) from error
    except Exception as error:
        # Ray raises ConnectionError, RuntimeError, ValueError and its own errors, by version.
        raise LostError(
            f"cannot join the Ray cluster at {address}: {_words(error)}", fix="check that it runs, and its address"
        ) from error
    return JoinedCluster(ray, address)


def _leave() -> None:
    with contextlib.suppress(Exception):
        _ray().shutdown()


def _require_token() -> None:
    if os.environ.get("RAY_AUTH_TOKEN"):
        return
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or str(Path.home() / ".ray" / "auth_token")
    try:
        found = Path(path).read_text("utf-8").strip()
    except (OSError, ValueError):
        found = ""
    if not found:
        raise UsageError("a Ray cluster is joined with its token, found none", fix=_FIX, code="ray")


def _refuse_open(address: str) -> None:
    """Call the cluster without a token, and refuse the one that answers: it runs anybody's code on our images."""
    grpc = import_extra("grpc", extra="ray", what="--on with the address of a cluster")
    _, client, where = address.rpartition("ray://")
    with grpc.insecure_channel(where) as channel:
        try:
            channel.unary_unary(_CALLS[client])(b"", timeout=_CALL_S)
            code = "OK"
        except grpc.RpcError as error:
            code = error.code().name
    if code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
        raise LostError(f"nobody answers at {address}", fix="check that the cluster runs, and its address")
    if code != "UNAUTHENTICATED":
        raise RefusedError(
            f"the Ray cluster at {address} does not ask for a token ({code})",
            fix="start it with RAY_AUTH_MODE=token (Ray 2.52 or later)",
            code="ray",
        )


def _await_start(head: children.Child, log: Path) -> None:
    """Wait until Ray's program says that the head runs."""
    until = time.monotonic() + _START_S
    while time.monotonic() < until and head.poll() is None:
        if _STARTED in log.read_bytes():
            return
        time.sleep(0.05)
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    raise LostError(
        f"Ray does not start on this machine: {lines[-1][:300] if lines else 'it says nothing'}",
        fix="try again when the machine has less load, or use --on local",
    )


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind((_LOOPBACK, 0))
        return int(taken.getsockname()[1])


def _ray() -> Any:
    import_extra("ray.exceptions", extra="ray", what="--on ray")
    return import_extra("ray", extra="ray", what="--on ray")


def _words(error: BaseException) -> str:
    """Return the first line of what Ray says, which may be pages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
