"""A server as a process of its own, as users start it; a small client that shows what came back."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CLIENTS = Path(__file__).parents[2] / ".clients" / "bin" / "python"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def words(self) -> str:
        """What an error says and advises; neither may repeat the other."""
        said, fix = self.json["error"], self.json["fix"]
        assert not fix or fix not in said
        return f"{said}; {fix}"


class Served:
    """A server that runs: its address, its process, and requests to it."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process, self.address = process, address
        self.host, _, port = address.removeprefix("http://").partition(":")
        self.port = int(port)

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, None, {k.replace("_", "-"): v for k, v in headers.items()})

    def post(self, path: str, body: bytes | dict[str, Any] = b"", **headers: str) -> Answer:
        sent = {k.replace("_", "-"): v for k, v in headers.items()}
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            sent.setdefault("content-type", "application/json")
        return self.ask("POST", path, body, sent)

    def nursery(self) -> int:
        """The process that the workers are forked from."""
        (pid,) = _children(self.process.pid)
        return pid

    def workers(self) -> list[int]:
        """The worker processes: children of the nursery."""
        nursery = _children(self.process.pid)
        return [pid for parent in nursery for pid in _children(parent)]

    def stop(self, sign: int = signal.SIGTERM) -> int:
        self.process.send_signal(sign)
        return self.process.wait(30)


def rest_of(line: socket.socket) -> bytes:
    """All that a server says before it ends the connection: TCP may deliver an answer in any number of pieces."""
    return b"".join(iter(lambda: line.recv(65536), b""))


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(p) for p in (task / "children").read_text().split()]
    return found


@contextlib.contextmanager
def serving(
    *arguments: str, cwd: Path, environment: dict[str, str] | None = None, port: int = 0, verb: str = "serve"
) -> Iterator[Served]:
    """Start `eyewright serve`, or another verb, on a port, a free one by default, and wait until it answers."""
    command = (sys.executable, "-m", "eyewright", verb, *arguments, "--port", str(port), "--json")
    with open(cwd / "serve.err", "ab") as err:
        process = subprocess.Popen(
            command, cwd=cwd, stdout=subprocess.PIPE, stderr=err, text=True, env={**os.environ, **(environment or {})}
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            assert line
            assert json.loads(line)["ok"], line + (cwd / "serve.err").read_text()
            yield Served(process, json.loads(line)["address"])
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            process.stdout.close()


@pytest.fixture(scope="module")
def served(finished, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server over the finished bundle that logs, keeps every image, and takes an admin token."""
    cwd = tmp_path_factory.mktemp("served")
    arguments = (f"shapes={finished.paths['bundle']}", "--keep", "images=100%", "--workers", "2")
    with serving(*arguments, cwd=cwd, environment={"EYEWRIGHT_ADMIN_TOKEN": "admin-secret"}) as found:
        found.cwd = cwd  # type: ignore[attr-defined]
        yield found


@pytest.fixture(scope="module")
def picture(shapes: Path) -> bytes:
    """One image of the data."""
    return (shapes / "disc" / "003.png").read_bytes()
