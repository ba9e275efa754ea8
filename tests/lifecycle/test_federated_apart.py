"""A coordinator and clients that are processes of their own: the same weights as the simulation, whoever is killed."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eyewright.core.errors import EyewrightError
from eyewright.imaging import write_image
from eyewright.lifecycle import join_federation, load_run, serve_federation
from eyewright.lifecycle.federating import federate
from eyewright.privacy.local_training import vector_of

NAMES = ("north", "south", "west")
FAST: dict[str, Any] = {"model": "private_net", "batch": 8, "workers": 1, "augment": "none"}


def write_sides(folder: Path, *, a_class: int, seed: int) -> None:
    """Write noise that is brighter on one of three sides: easy to learn from few images."""
    rng = np.random.default_rng(seed)
    for kind, where in (("left", np.s_[:, :6]), ("right", np.s_[:, 10:]), ("top", np.s_[:6])):
        for i in range(a_class):
            image = rng.integers(0, 90, (16, 16, 3))
            image[where] += 140
            (folder / kind).mkdir(parents=True, exist_ok=True)
            write_image(folder / kind / f"{i}.png", image.astype(np.uint8))


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the coordinator's folder, and one for each client; the first client of the simulation has the
    coordinator's validation and test images."""
    root = tmp_path_factory.mktemp("apart")
    for k, part in enumerate(("train", "val", "test")):
        write_sides(root / "server" / part, a_class=5, seed=10 + k)
    for k, name in enumerate(NAMES):
        write_sides(root / name / "train", a_class=6 + 2 * k, seed=k)
    for part in ("val", "test"):
        shutil.copytree(root / "server" / part, root / "north" / part)
    return root


def simulated(places: Path, out: Path, **options: Any) -> Any:
    return federate([places / n for n in NAMES], **{**FAST, **options}, out=out)


class Together:
    """A coordinator and clients in threads of this process."""

    def __init__(self) -> None:
        self.address = ""
        self.found: dict[str, Any] = {}
        self.threads: list[threading.Thread] = []
        self._ready = threading.Event()

    def serve(self, data: Path, **options: Any) -> None:
        def ready(address: str) -> None:
            self.address = address
            self._ready.set()

        self._start("server", lambda: serve_federation(data, **{**FAST, "port": 0, **options}, ready=ready))
        assert self._ready.wait(60), self.found

    def join(self, data: Path, name: str, **options: Any) -> None:
        given = {"patience_s": 20.0, "workers": 1, **options}
        self._start(name, lambda: join_federation(self.address, data, name=name, **given))

    def _start(self, name: str, call: Callable[[], Any]) -> None:
        def kept() -> None:
            try:
                self.found[name] = call()
            except EyewrightError as error:
                self.found[name] = error
                self._ready.set()

        self.threads.append(threading.Thread(target=kept, daemon=True))
        self.threads[-1].start()

    def ended(self, *names: str) -> list[Any]:
        for t in self.threads:
            t.join(120)
        return [self.found[n] for n in names]


@pytest.mark.parametrize(
    "options",
    [
        {"strategy": "fedavg", "augment": "strong"},
        {"strategy": "fedprox", "mu": 0.5},
        {"strategy": "fedadam"},
        {"strategy": "median"},
        {"strategy": "trimmed", "faulty": 1},
        {"strategy": "krum"},
    ],
    ids=lambda o: o["strategy"],
)
def test_rounds_between_processes_are_those_of_the_simulation(
    places: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    expected = simulated(places, tmp_path / "simulated", rounds=2, **options)
    both = Together()
    both.serve(places / "server", clients=3, rounds=2, out=tmp_path / "served", **options)
    # Numbers follow from names, not from who comes first.
    for name in reversed(NAMES):
        both.join(places / name, name, out=tmp_path / name)
    served, north = both.ended("server", "north")
    assert np.array_equal(vector_of(served.run.net), vector_of(expected.run.net))
    for a, b in zip(served.about["clients"], expected.about["clients"], strict=True):
        assert {k: a[k] for k in ("name", "images", "bytes", "refused")} == {
            k: b[k] for k in ("name", "images", "bytes", "refused")
        }
        assert a["losses"] == pytest.approx(b["losses"], abs=2e-5)
    assert not served.about["simulated"]
    assert "processes of their own" in served.report.read_text()
    again = load_run(tmp_path / "served").net
    from safetensors.numpy import load_file

    assert np.array_equal(load_file(north.weights)["body.0.weight"], again.state_dict()["body.0.weight"].numpy())


PROGRAM = """
import os, signal, sys
from eyewright.lifecycle import join_federation, serve_federation

what, place, name, port, out, end = sys.argv[1:]

def say(text):
    print(text, flush=True)
    if end and text.startswith(end):
        os.kill(os.getpid(), signal.SIGKILL)

if what == "serve":
    serve_federation(place, clients=3, rounds=6, port=int(port), model="private_net", batch=8, workers=1, deadline_s=15,
                     augment="none", out=out, resume=name == "again", least=0.3, say=say)
else:
    join_federation("127.0.0.1:" + port, place, name=name, out=out, workers=1, patience_s=60, say=say)
"""


def test_who_is_killed_comes_back_or_is_left_out_and_nothing_is_lost(places: Path, tmp_path: Path) -> None:
    """The coordinator is killed while it has the updates of round 2; a client after round 3 of 6."""
    expected = simulated(places, tmp_path / "simulated", rounds=6, faults="die:1", least=0.3)
    (victim,) = (c["name"] for c in expected.about["clients"] if c["fault"])
    port = str(_free_port())
    env = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(what: str, place: str, name: str, out: str, end: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, what, str(places / place), name, port, str(tmp_path / out), end]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)

    started = [start("serve", "server", "first", "served", "round 2: ")]
    try:
        clients = {n: start("join", n, n, n, "round 3 of 6" if n == victim else "") for n in NAMES}
        started += clients.values()
        assert started[0].wait(120) == -signal.SIGKILL, started[0].stdout.read()
        again = start("serve", "server", "again", "served", "")
        started.append(again)
        told, _ = again.communicate(timeout=120)
        assert again.returncode == 0, told
        assert "resumed at step 1" in told
        assert clients[victim].wait(60) == -signal.SIGKILL
        assert f"{victim} sent nothing in 15 s and is dropped" in told
        for name in set(NAMES) - {victim}:
            assert clients[name].wait(60) == 0, clients[name].stdout.read()
    finally:
        for one in started:
            one.kill()
            one.communicate()
    served = load_run(tmp_path / "served")
    assert np.array_equal(vector_of(served.net), vector_of(expected.run.net))
    kept = ("epoch", "val_loss", "val_accuracy")
    assert [[r[k] for k in kept] for r in served.history()] == [[r[k] for k in kept] for r in expected.run.history()]
    (gone,) = (c for c in served.about["federated"]["clients"] if c["refused"])
    assert (gone["name"], [r["round"] for r in gone["refused"]]) == (victim, [4, 5, 6])


def _free_port() -> int:
    import socket

    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])
