"""Two nodes of Ray itself on this machine: kill -9 of driver, worker, node or head loses and doubles nothing.

The rows are those of worker processes without Ray, byte for byte.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from eyewright.core.errors import LostError
from eyewright.imaging import encode_image
from eyewright.scaling import plan_predict, run_job, verify_folder
from eyewright.scaling.ray_cluster import agent_ports, head_command
from eyewright.training.checkpoints import read_tensors

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="pip install 'eyewright[ray]'"),
    pytest.mark.timeout(600),
]
N, SHARDS = 1200, 60
# With grpc, Ray's client server would take a fixed port.
_NODE = "import sys; sys.modules['grpc'] = None; from ray.scripts.scripts import main; main()"


class Nodes:
    """Two nodes, each a group of processes that can be killed."""

    def __init__(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = taken.getsockname()[1]
        self.place = Path(tempfile.mkdtemp(prefix="ey-nodes-"))
        self.address = f"127.0.0.1:{self.port}"
        head = head_command("127.0.0.1", str(self.port), "1", str(self.place))
        self.head = self._start("head", head)
        other = [
            "start",
            "--block",
            f"--address={self.address}",
            *(a for a in head if a.startswith(("--num", "--obj"))),
            *agent_ports(),
        ]
        self.other = self._start("other", [*other, "--node-ip-address=127.0.0.1", "--include-log-monitor=false"])

    def _start(self, name: str, arguments: list[str]) -> subprocess.Popen[bytes]:
        log = self.place / f"{name}.log"
        with open(log, "wb") as said:
            command = [sys.executable, "-c", _NODE, *arguments]
            started = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)
        while b"Ray runtime started" not in log.read_bytes():
            assert started.poll() is None, log.read_text()
            time.sleep(0.1)
        return started

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        with suppress(ProcessLookupError):
            os.killpg(node.pid, signal.SIGKILL)
        node.wait()


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    for name, value in {
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_raylet_start_wait_time_s": "150",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    started = Nodes()
    yield started
    started.kill(started.other)
    started.kill(started.head)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "many").mkdir()
    for i in range(N):
        place = tmp_path / "many" / f"{i:04d}.png"
        place.write_bytes(encode_image(rng.integers(0, 255, (9 + i % 40, 20, 3)).astype(np.uint8)))
    return tmp_path / "many"


class Driver:
    """`predict --on` as a program."""

    def __init__(self, bundle: Path, images: Path, out: Path, address: str, *more: str) -> None:
        self.out = out
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "eyewright", "predict", str(bundle), "--source", str(images), "--out", str(out),
                "--on", address, "--shard-size", str(N // SHARDS), "--quiet", *more,
            ],
            stderr=subprocess.PIPE,
        )  # fmt: skip

    def until(self, shards: int) -> int:
        """Wait until so many more shards are done."""
        before = self.done()
        while self.done() < before + shards:
            assert self.process.poll() is None, self.process.communicate()[1]
            time.sleep(0.02)
        return self.done()

    def done(self) -> int:
        place = self.out / "commits"
        return len(os.listdir(place)) if place.exists() else 0

    def end(self) -> tuple[int, str]:
        error = self.process.communicate()[1].decode()
        return self.process.returncode, error


def rows_of(job: Path) -> bytes:
    assert verify_folder(job)[1] == []
    assert not os.listdir(job / "tmp")
    return b"".join(part.read_bytes() for part in sorted((job / "results").iterdir()))


def workers_of(session: str) -> list[int]:
    """Return the workers of clusters whose folder begins so: those of other users of the machine are not touched."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (place / "cmdline").read_bytes().startswith(b"ray::RayWorker"):
                parent = (place / "stat").read_text().rpartition(")")[2].split()[1]
                if session.encode() in Path("/proc", parent, "cmdline").read_bytes():
                    found.append(int(place.name))
    return found


def test_driver_worker_node_and_head_are_killed(bundle: Path, many: Path, tmp_path: Path, nodes: Nodes) -> None:
    run_job(plan_predict(bundle, str(many), tmp_path / "whole", shard_size=N // SHARDS))
    out = tmp_path / "job"
    first = Driver(bundle, many, out, nodes.address)
    first.until(3)
    first.process.kill()
    first.end()
    second = Driver(bundle, many, out, nodes.address, "--resume")
    second.until(3)
    os.kill(workers_of(str(nodes.place))[0], signal.SIGKILL)
    second.until(4)
    nodes.kill(nodes.other)
    second.until(1)
    # Stopped first: what is left must not be done before the driver notices.
    left = workers_of(str(nodes.place))
    for pid in left:
        os.kill(pid, signal.SIGSTOP)
    nodes.kill(nodes.head)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    code, error = second.end()
    assert code == LostError.exit_code
    assert "the connection to Ray on" in error
    assert error.count("\n") == 1
    run_job(plan_predict(bundle, str(many), out, shard_size=N // SHARDS, resume=True), on="ray", workers=1)
    assert rows_of(out) == rows_of(tmp_path / "whole")


def test_a_cluster_is_started_and_leaves_nothing(
    bundle: Path, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not below tmp_path: Ray's sockets need a short path.
    place = tempfile.mkdtemp(prefix="ey-own-")
    monkeypatch.setenv("TMPDIR", place)
    out = tmp_path / "job"
    driver = Driver(bundle, many, out, "ray")
    driver.until(2)
    driver.process.kill()
    driver.end()
    await_none(lambda: workers_of(place))
    again = Driver(bundle, many, out, "ray", "--resume", "--json")
    assert again.end()[0] == 0
    assert json.loads((out / "manifest.json").read_text())["rows"] == N
    rows_of(out)
    await_none(lambda: workers_of(place))


def test_folds_go_on_when_a_node_and_the_command_are_killed(shapes: Path, tmp_path: Path, nodes: Nodes) -> None:
    options = ["--epochs", "30", "--batch", "16", "--model", "mlp", "--imgsz", "16", "--seed", "1", "--quiet"]
    words = [sys.executable, "-m", "eyewright", "train", str(shapes), "--folds", "3", *options, "--out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*words, str(tmp_path / "plain")], check=True, env=environment)
    out = tmp_path / "ray"
    spread = [*words, str(out), "--on", nodes.address, "--processes", "2"]
    with subprocess.Popen(spread, env=environment) as driver:
        await_checkpoint(out, driver)
        driver.kill()
    with subprocess.Popen([*spread, "--resume"], env=environment) as driver:
        await_checkpoint(out, driver, more=1)
        nodes.kill(nodes.other)
        assert driver.wait() == 0
    for name in ("out-of-fold.csv", "folds.json"):
        assert (out / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    for k in (1, 2, 3):
        best = f"fold-{k}/checkpoints/best/model.safetensors"
        ours, theirs = (read_tensors(folder / best)[0] for folder in (out, tmp_path / "plain"))
        assert set(ours) == set(theirs)
        assert [n for n in theirs if not torch.equal(ours[n], theirs[n])] == []


def await_checkpoint(out: Path, driver: subprocess.Popen[bytes], more: int = 0) -> None:
    """Wait until folds have so many more checkpoints than one."""

    def found() -> set[int]:
        return {p.stat().st_mtime_ns for p in out.glob("fold-*/checkpoints/last/state.safetensors")}

    seen = set[int]()
    while len(seen) < 1 + more:
        assert driver.poll() is None
        with suppress(OSError):
            seen |= found()
        time.sleep(0.02)


def await_none(find: Callable[[], list[int]]) -> None:
    until = time.monotonic() + 60
    while find():
        assert time.monotonic() < until
        time.sleep(0.1)
