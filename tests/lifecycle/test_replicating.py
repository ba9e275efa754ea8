"""`serve --on ray` is one address for several servers, which are replaced when they die.

`fake_ray` stands in for Ray here: actors are processes.
"""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from eyewright.cli import main
from eyewright.imaging import encode_image
from eyewright.scaling.ray_replicas import RayReplica
from eyewright.scaling.ray_worker import own_version

FAKE = Path(__file__).parents[1] / "scaling" / "fake_ray"
BUNDLE = Path(__file__).parents[1] / "bundle" / "format1"
IMAGE = encode_image(np.zeros((20, 20, 3), np.uint8))
TOKEN, PATH = "token-of-clients", "/v1/models/shapes/predict"


class Served:
    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port

    def ask(self, method: str, path: str, body: bytes = b"", token: str = TOKEN) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"authorization": f"Bearer {token}", "content-type": "image/png"}
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def ready(self) -> int:
        text = self.ask("GET", "/metrics")[1].decode()
        return int(float(text.partition("\neyewright_replicas_ready ")[2].partition("\n")[0]))

    def await_ready(self, n: int) -> None:
        until = time.monotonic() + 60
        while self.ready() != n:
            assert time.monotonic() < until
            time.sleep(0.05)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    (tmp_path / "clusters").mkdir()
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setenv("FAKE_RAY", str(tmp_path / "clusters"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAKE), os.environ.get("PYTHONPATH", "")]))
    for name in ("RAY_ADDRESS", "EYEWRIGHT_TOKEN", "EYEWRIGHT_ADMIN_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    words = [
        "serve",
        f"shapes={os.path.relpath(BUNDLE, tmp_path)}",
        "--on",
        "ray",
        "--replicas",
        "2",
        "--port",
        "0",
        "--json",
    ]
    words += ["--workers", "1", "--token-file", "token"]
    process = subprocess.Popen([sys.executable, "-m", "eyewright", *words], stdout=subprocess.PIPE, cwd=tmp_path)
    assert process.stdout is not None
    said = json.loads(process.stdout.readline())
    assert said["replicas"] == 2
    yield Served(process, int(said["address"].rpartition(":")[2]))
    process.kill()
    process.wait()
    process.stdout.close()


def scores_of(served: Served) -> list[float]:
    status, body = served.ask("POST", PATH, IMAGE)
    assert status == 200, body
    return list(json.loads(body)["scores"])


def servers_of() -> list[int]:
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (place / "cmdline").read_bytes().split(b"\0")
            if b"serve" in words and b"--no-log" in words and f"shapes={BUNDLE}".encode() in words:
                found.append(int(place.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the servers by /proc")
def test_a_server_that_is_killed_costs_no_request_and_is_replaced(served: Served) -> None:
    served.await_ready(2)
    before = set(servers_of())
    assert len(before) == 2
    first = scores_of(served)
    assert served.ask("POST", PATH, IMAGE, token="another token")[0] == 401
    os.kill(min(before), signal.SIGKILL)
    for _ in range(6):
        assert scores_of(served) == first
    until = time.monotonic() + 60
    while not set(servers_of()) - before:
        assert time.monotonic() < until
        time.sleep(0.05)
    served.await_ready(2)
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(30) == 0
    until = time.monotonic() + 30
    while servers_of():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--replicas", "2"], "--replicas needs --on"),
        (["--on", "local"], "expected a Ray cluster to serve on, found local"),
        (["--on", "ray", "--keep", "images=5%"], "--keep is not supported with --on"),
        (["--on", "ray", "--log", "a.db"], "--log is not supported with --on"),
        (["--on", "ray", "--host", "0.0.0.0"], "expected a token to listen on 0.0.0.0"),
        (["--on", "spark"], "found 'spark'"),
    ],
)
def test_wrong_combinations_are_one_line(
    more: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EYEWRIGHT_TOKEN", raising=False)
    assert main(["serve", str(BUNDLE), *more]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_node_of_another_version_or_without_the_folder_is_refused_by_name(tmp_path: Path) -> None:
    asked = {"version": own_version(), "folder": str(tmp_path), "head": "127.0.0.1", "threads": 1, "words": []}
    for more, said in (({"version": "9.9.9"}, "has Eyewright"), ({"folder": "/nowhere"}, "has no folder /nowhere")):
        assert said in json.loads(RayReplica().open(json.dumps({**asked, **more})))["refused"]["message"]
