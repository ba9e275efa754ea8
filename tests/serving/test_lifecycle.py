"""Servers that are killed, drained, flooded, starved and lied to."""

import asyncio
import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serving.conftest import Served, rest_of, serving

from eyewright.monitoring import open_store
from eyewright.serving.models import load_table
from eyewright.serving.server import Server
from eyewright.serving.settings import Settings
from eyewright.testing.hostile import hostile_files

PREDICT = "/v1/models/shapes/predict"


class _Own:
    """A process's stand-in: a server in a thread of the test."""

    pid = 0

    def poll(self) -> None:
        return None


@contextlib.contextmanager
def in_thread(bundle: Path, **changes) -> Iterator[tuple[Served, Server]]:  # type: ignore[no-untyped-def]
    """Serve a bundle inside the test, with settings that no option of the command line reaches."""
    settings = Settings(port=0, **{"workers": 1, **changes})
    started, held = threading.Event(), {}

    def main() -> None:
        async def run() -> None:
            server = Server(lambda: (load_table([f"shapes={bundle}"]), {}), settings)
            held["server"], held["loop"] = server, asyncio.get_running_loop()
            await server.serve(ready=lambda s: started.set())

        asyncio.run(run())

    thread = threading.Thread(target=main)
    thread.start()
    assert started.wait(30)
    try:
        yield Served(_Own(), held["server"].address), held["server"]  # type: ignore[arg-type]
    finally:
        held["loop"].call_soon_threadsafe(held["server"].stop)
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def bundle(finished) -> Path:
    return Path(finished.paths["bundle"])


def test_a_worker_that_is_killed_costs_nobody_an_answer(bundle: Path, picture: bytes, tmp_path: Path) -> None:
    with serving(f"shapes={bundle}", "--no-log", "--workers", "2", cwd=tmp_path) as served:
        expected = served.post(PREDICT, picture).json["scores"]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(served.post, PREDICT, picture) for _ in range(300)]
            for k in range(3):
                # A request whose worker died is tried again alone, and one that dies so twice is blamed: what the last
                # kill hit has its answer before the next, however busy the machine is.
                concurrent.futures.wait(asked[: 80 * k + 20])
                for pid in served.workers()[:1]:
                    os.kill(pid, signal.SIGKILL)
            answers = [a.result() for a in asked]
        assert [a.status for a in answers] == [200] * 300
        assert all(a.json["scores"] == expected for a in answers)
        until = time.monotonic() + 10
        while len(served.workers()) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        assert len(served.workers()) == 2
        text = served.get("/metrics").body.decode()
        restarts = next(line for line in text.splitlines() if line.startswith("eyewright_worker_restarts "))
        assert float(restarts.split()[1]) >= 1


def test_a_nursery_that_is_killed_is_replaced(bundle: Path, picture: bytes, tmp_path: Path) -> None:
    with serving(f"shapes={bundle}", "--no-log", "--workers", "1", cwd=tmp_path) as served:
        workers = served.workers()
        os.kill(served.nursery(), signal.SIGKILL)
        assert served.post(PREDICT, picture).status == 200
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        assert served.post(PREDICT, picture).status == 200


def test_sigterm_answers_what_came_and_ends_with_0(bundle: Path, picture: bytes, tmp_path: Path) -> None:
    with serving(f"shapes={bundle}", "--no-log", "--workers", "1", cwd=tmp_path) as served:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(served.post, f"{PREDICT}?explain=true", picture) for _ in range(4)]
            time.sleep(0.2)
            code = served.stop()
            statuses = [a.result().status for a in asked]
        assert code == 0
        assert statuses == [200] * 4


def test_nothing_that_was_acknowledged_is_lost_at_kill_9(bundle: Path, picture: bytes, tmp_path: Path) -> None:
    acknowledged = []
    with serving(f"shapes={bundle}", cwd=tmp_path) as served:
        for _ in range(60):
            acknowledged.append(served.post(PREDICT, picture).json["prediction_id"])
        last = acknowledged[-1]
        assert served.post("/v1/feedback", {"prediction_id": last, "correct": True}).status == 201
        served.stop(signal.SIGKILL)
    # The next server takes up what the journal holds.
    with serving(f"shapes={bundle}", cwd=tmp_path) as served:
        assert served.get("/readyz").status == 200
        served.stop()
    store = open_store(tmp_path / "eyewright-monitor" / "monitor.db")
    assert {r.id for r in store.recent(model="shapes", n=1000)} >= set(acknowledged)
    assert [(row.id, content) for row, content, _ in store.feedback()] == [(last, {"correct": True})]
    store.close()


def test_sighup_takes_up_another_champion(bundle: Path, bundle_copy: Path, picture: bytes, tmp_path: Path) -> None:
    import eyewright.lifecycle as lifecycle

    home = tmp_path / "eyewright-monitor"
    lifecycle.promote(bundle, home=home)
    with serving(cwd=tmp_path) as served:
        assert served.post("/v1/models/champion/predict", picture).status == 200
        assert served.get("/v1/models/champion").json["digest"] == lifecycle.history(home=home)[-1].digest
        lifecycle.challenge(bundle_copy, home=home)
        served.process.send_signal(signal.SIGHUP)
        until = time.monotonic() + 15
        shadows = 0
        while not shadows and time.monotonic() < until:
            served.post("/v1/models/champion/predict", picture)
            time.sleep(0.3)
            shadows = served.get("/v1/watch").json["models"].get("challenger", {}).get("shadow_predictions", 0)
        assert shadows
        # The challenger answers beside the champion, and to nobody else.
        assert served.post("/v1/models/challenger/predict", picture).status == 404
        assert [m["name"] for m in served.get("/v1/models").json["models"]] == ["champion"]


def _refused(*arguments: str, cwd: Path, environment: dict[str, str] | None = None) -> tuple[int, dict]:  # type: ignore[type-arg]
    done = subprocess.run(
        (sys.executable, "-m", "eyewright", "serve", *arguments, "--json"),
        cwd=cwd, capture_output=True, text=True, timeout=60, env={**os.environ, **(environment or {})},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)["error"]


def test_what_cannot_be_served_is_said_in_one_line(bundle: Path, bundle_copy: Path, tmp_path: Path) -> None:
    code, error = _refused(str(bundle), "--host", "0.0.0.0", cwd=tmp_path)
    assert (code, error["code"]) == (2, "token_missing")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, error = _refused(str(bundle), "--port", str(taken.getsockname()[1]), cwd=tmp_path)
    assert (code, error["code"]) == (2, "port")
    code, error = _refused(str(bundle), "--policy", "min_accuracy=1.01", "--port", "0", cwd=tmp_path)
    assert (code, error["code"]) == (4, "policy")
    code, error = _refused(str(bundle), "--policy", "min_recall.nobody=0.1", "--port", "0", cwd=tmp_path)
    assert (code, "no evidence" in error["message"]) == (4, True)
    model = bundle_copy / "onnx" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    code, error = _refused(str(bundle_copy), "--port", "0", cwd=tmp_path)
    assert (code, error["code"]) == (4, "bundle")
    code, error = _refused("--port", "0", cwd=tmp_path)
    assert (code, "champion" in error["message"]) == (2, True)


def test_a_bundle_whose_golden_pairs_disagree_is_never_ready(bundle_copy: Path, tmp_path: Path) -> None:
    import hashlib
    from dataclasses import replace

    import numpy as np

    from eyewright.bundle.manifest import read_manifest, write_manifest

    path = bundle_copy / "golden.npz"
    with np.load(path, allow_pickle=False) as data:
        arrays = {k: data[k] for k in data.files}
    arrays["probabilities"] = arrays["probabilities"][:, ::-1]
    np.savez(path, allow_pickle=False, **arrays)
    manifest = read_manifest(bundle_copy)
    data_now = path.read_bytes()
    files = {**manifest.files, "golden.npz": {"sha256": hashlib.sha256(data_now).hexdigest(), "bytes": len(data_now)}}
    write_manifest(bundle_copy, replace(manifest, files=files))
    code, error = _refused(str(bundle_copy), "--port", "0", cwd=tmp_path)
    assert code == 4
    assert "golden pairs differ" in error["message"]
    assert "export" not in error["message"]
    assert error["fix"] == "export the model again"


def test_without_the_token_nothing_is_answered_but_health(bundle: Path, picture: bytes, tmp_path: Path) -> None:
    import base64

    secret = tmp_path / "token"
    secret.write_text("a-long-secret\n")
    with serving(f"shapes={bundle}", "--no-log", "--token-file", str(secret), cwd=tmp_path) as served:
        assert served.get("/healthz").status == 200
        assert served.get("/").status == 200
        for path in ("/v1/models", "/metrics", "/openapi.json"):
            assert served.get(path).status == 401
        answer = served.post(PREDICT, picture)
        assert (answer.status, answer.json["code"]) == (401, "token")
        assert "Bearer" in answer.headers["www-authenticate"]
        assert served.post(PREDICT, picture, authorization="Bearer a-long-secret").status == 200
        basic = base64.b64encode(b"anybody:a-long-secret").decode()
        assert served.post(PREDICT, picture, authorization=f"Basic {basic}").status == 200
        assert served.post(PREDICT, picture, authorization="Basic ****").status == 401
        command = Path(f"/proc/{served.process.pid}/cmdline").read_text()
        assert "a-long-secret" not in command


def test_slow_headers_and_slow_bodies_are_ended(bundle: Path) -> None:
    with in_thread(bundle, header_s=1.0, body_s=1.0) as (served, _):
        with socket.create_connection((served.host, served.port), 10) as line:
            line.sendall(b"GET / HTTP/1.1\r\nHost: local")
            for _ in range(3):
                time.sleep(0.1)
                line.sendall(b"h")
            assert rest_of(line).startswith(b"HTTP/1.1 408")
        with socket.create_connection((served.host, served.port), 10) as line:
            line.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n".encode())
            for _ in range(3):
                line.sendall(b"x")
                time.sleep(0.05)
            answer = rest_of(line)
            assert answer.startswith(b"HTTP/1.1 408")
            assert b"body_too_slow" in answer
        with socket.create_connection((served.host, served.port), 10) as line:
            assert rest_of(line) == b""


def test_headers_over_their_size_are_refused(bundle: Path) -> None:
    with in_thread(bundle) as (served, _), socket.create_connection((served.host, served.port), 10) as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"x-filler: " + b"a" * 40_000)
        assert rest_of(line).startswith(b"HTTP/1.1 431")


def test_one_byte_chunks_are_an_image_too(bundle: Path, picture: bytes) -> None:
    with in_thread(bundle) as (served, _), socket.create_connection((served.host, served.port), 10) as line:
        line.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".encode())
        line.sendall(b"Transfer-Encoding: chunked\r\n\r\n")
        line.sendall(b"".join(b"1\r\n" + picture[i : i + 1] + b"\r\n" for i in range(len(picture))) + b"0\r\n\r\n")
        assert rest_of(line).startswith(b"HTTP/1.1 200")


def test_a_full_queue_says_when_to_come_again(bundle: Path, picture: bytes) -> None:
    with in_thread(bundle, queue=1) as (served, _), concurrent.futures.ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(served.post, f"{PREDICT}?explain=true", picture) for _ in range(12)]
        answers = [a.result() for a in asked]
    statuses = {a.status for a in answers}
    assert statuses == {200, 503}
    refused = next(a for a in answers if a.status == 503)
    assert refused.headers["retry-after"] == "1"
    assert refused.json["code"] == "busy"


def test_more_bytes_than_are_held_at_once_are_refused(bundle: Path) -> None:
    with in_thread(bundle, pending_bytes=1000) as (served, _):
        assert served.post(PREDICT, bytes(2000)).status == 503
        assert served.post(PREDICT, bytes(500)).status == 422


def test_inference_ends_at_its_deadline(bundle: Path, picture: bytes) -> None:
    with in_thread(bundle, deadline_s=0.02) as (served, _):
        started = time.monotonic()
        answer = served.post(f"{PREDICT}?explain=true", picture)
        assert (answer.status, answer.json["code"]) == (504, "deadline")
        assert time.monotonic() - started < 5
        # The worker stands, or another in its place.
        until = time.monotonic() + 5
        while served.get("/readyz").status != 200 and time.monotonic() < until:
            time.sleep(0.05)
        assert served.get("/readyz").status == 200


def test_hostile_files_among_good_ones_get_only_200_and_4xx(bundle: Path, picture: bytes) -> None:
    files = [f.data for f in hostile_files(250, seed=5)]
    with in_thread(bundle, workers=2) as (served, server):
        expected = served.post(PREDICT, picture).json["scores"]
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            bad = [pool.submit(served.post, PREDICT, data) for data in files]
            good = [pool.submit(served.post, PREDICT, picture) for _ in range(100)]
            statuses = {b.result().status for b in bad}
            assert statuses <= {200, 400, 413, 415, 422}, statuses
            assert all(g.result().json.get("scores") == expected for g in good)
        assert server.service is not None
        assert server.service.crew.ready


def test_each_of_two_models_answers_for_itself(bundle: Path, bundle_copy: Path, tmp_path: Path, picture: bytes) -> None:
    with serving(f"a={bundle}", f"b={bundle_copy}", "--no-log", cwd=tmp_path) as served:
        for name in ("a", "b"):
            assert served.post(f"/v1/models/{name}/predict", picture).json["model"] == name
        assert served.post("/predict", {"tasks": []}).json == {"results": []}
    code, error = _refused(f"a={bundle}", f"a={bundle_copy}", "--port", "0", cwd=tmp_path)
    assert (code, "two bundles" in error["message"]) == (2, True)
