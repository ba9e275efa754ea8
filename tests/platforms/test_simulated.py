"""The usual verbs where everything is missing or refused that Windows lacks; simulated on Linux, not run on Windows."""

import contextlib
import http.client
import json
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.conftest import write_shapes
from tests.platforms.conftest import Windows

BUNDLE = Path(__file__).parents[1] / "bundle" / "format1"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_shapes(tmp_path / "images", a_class=8)


def test_the_simulation_hides_what_it_should(windows: Windows) -> None:
    code = """
import os, select, signal, socket, subprocess, sys
assert not any(hasattr(os, n) for n in ("fork", "sched_getaffinity", "killpg", "O_DIRECTORY", "geteuid", "pread"))
assert not hasattr(signal, "SIGKILL") and not hasattr(socket, "AF_UNIX") and not os.supports_dir_fd
for name in ("fcntl", "resource", "termios"):
    try:
        __import__(name)
    except ImportError:
        continue
    raise AssertionError(name)
for call in (
    lambda: os.open(".", os.O_RDONLY),
    lambda: open("/proc/self/status", encoding="ascii"),
    lambda: select.select([os.pipe()[0]], [], [], 0),
    lambda: os.fsync(os.open(__file__ if "__file__" in globals() else sys.executable, os.O_RDONLY | os.O_BINARY)),
):
    try:
        call()
    except OSError:
        continue
    raise AssertionError(call)
with open("kept", "w", encoding="utf-8") as file:
    try:
        os.unlink("kept")
    except PermissionError:
        print("as on Windows")
"""
    assert windows.run("-c", code).strip() == "as on Windows"


def test_doctor_looks_at_a_folder(windows: Windows, images: Path) -> None:
    (images / "disc" / "000.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    said = windows.eyewright("doctor", images, code=1)
    assert "24 images" in said
    assert "disc/000.png" in said
    # An arrow of our text, which cp1252 lacks.
    assert "->" in said
    assert "?" not in said


def test_a_model_is_trained_and_exported(windows: Windows, images: Path) -> None:
    words = ("train", images, "--out", "run", "--epochs", "2", "--imgsz", "32", "--batch", "8")
    windows.eyewright(*words)
    windows.eyewright(*words, "--resume")
    windows.eyewright("export", "run", "--out", "bundle")
    # Over a bundle that is there.
    windows.eyewright("export", "run", "--out", "bundle")
    windows.eyewright("verify", "bundle")
    assert "disc" in windows.eyewright("predict", "bundle", "--source", images / "disc" / "001.png")
    left = [p.name for end in ("tmp", "old", "lock") for p in windows.folder.glob(f"**/*.{end}")]
    # A run keeps its lock file; nothing else is left.
    assert left == [".lock"]


def test_a_folder_is_predicted_here_and_as_a_job(windows: Windows, images: Path) -> None:
    windows.eyewright("predict", BUNDLE, "--source", images, "--save", "csv,json", "--out", "out")
    rows = (windows.folder / "out" / "predictions.csv").read_bytes()
    assert rows.count(b"\n") == 25
    assert b"\r" not in rows
    job = (
        "predict",
        BUNDLE,
        "--source",
        images,
        "--out",
        "job",
        "--on",
        "local",
        "--workers",
        "2",
        "--shard-size",
        "9",
    )
    assert "24 rows, 0 without a result" in windows.eyewright(*job)
    assert any("eyewright.scaling.worker" in p for p in windows.processes())


def test_a_server_answers_logs_and_ends_on_ctrl_c(windows: Windows, images: Path) -> None:
    words = ("-m", "eyewright", "serve", f"shapes={BUNDLE}", "--port", "0", "--workers", "2", "--log", "log.db")
    with windows.start(*words) as server:
        try:
            port = _port_of(server)
            data = (images / "disc" / "001.png").read_bytes()
            assert _asked(port, data)[0] == 200
            assert _asked(port, b"no image")[0] == 422
            workers = [p for p in windows.processes() if "eyewright.serving.nursery" in p]
            assert len(workers) >= 1, "workers are started one by one"
            server.send_signal(signal.SIGINT)
            assert server.wait(60) == 0
        finally:
            server.kill()
    assert "1 predictions" in windows.eyewright("monitor", "status", "--log", "log.db")
    windows.eyewright("monitor", "promote", BUNDLE, "--home", "home")
    assert "promote" in windows.eyewright("monitor", "history", "--home", "home")


def test_a_worker_that_dies_is_replaced(windows: Windows, images: Path) -> None:
    words = ("-m", "eyewright", "serve", f"shapes={BUNDLE}", "--port", "0", "--workers", "1")
    with windows.start(*words) as server:
        try:
            port = _port_of(server)
            data = (images / "disc" / "001.png").read_bytes()
            assert _asked(port, data)[0] == 200
            (worker,) = [int(p.split()[0]) for p in windows.processes() if "eyewright.serving.nursery" in p]
            # By its pid: the test itself runs on Linux.
            subprocess.run(("kill", "-9", str(worker)), check=True)
            deadline = time.monotonic() + 60
            status = 0
            while status != 200 and time.monotonic() < deadline:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    status = _asked(port, data)[0]
                time.sleep(0.05)
            assert status == 200
            assert len([p for p in windows.processes() if "eyewright.serving.nursery" in p]) == 2
            # A server that is killed leaves no worker.
            server.kill()
            server.wait(10)
            for line in windows.processes():
                assert _is_gone(int(line.split()[0])), line
        finally:
            server.kill()


def _port_of(server: "subprocess.Popen[bytes]") -> int:
    assert server.stdout is not None
    seen = b""
    for line in server.stdout:
        seen += line
        if found := re.search(rb"http://127\.0\.0\.1:(\d+)", line):
            return int(found[1])
    raise AssertionError((seen, server.stderr.read() if server.stderr else b""))


def _asked(port: int, data: bytes) -> tuple[int, object]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/v1/models/shapes/predict", data, {"content-type": "image/png"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def _is_gone(pid: int) -> bool:
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        try:
            state = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.05)
    return False


JOBS = str(Path(__file__).with_name("windows_jobs.py"))


@pytest.mark.parametrize("bare", [False, True], ids=["psutil", "without"])
def test_a_decoder_that_breaks_its_bounds_is_replaced(windows: Windows, bare: bool) -> None:
    # What is not measured is ended by its time.
    full = "decode_timeout" if bare else "decode_memory"
    said = windows.run(JOBS, "bounds", **({"EYEWRIGHT_SIMULATED_BARE": "1"} if bare else {}))
    assert [line.split()[:2] for line in said.splitlines()] == [
        ["echo", "3000"],
        ["spin", "decode_timeout"],
        ["fill", full],
        ["crash", "decoder_crashed"],
        ["echo", "3000"],
        ["sleep", "decode_timeout"],
        ["echo", "3000"],
    ]


def test_locks_and_replacements_hold(windows: Windows) -> None:
    said = windows.run(JOBS, "locks").splitlines()
    assert said == [
        "held True",
        "out_in_use",
        "claimed True",
        "two ['folder', 'processes.txt', 'result']",
        r"b'one\ntwo\n' True False",
        r"False True b'a\n'",
    ]
