"""Live sources: what is seen, counted and dropped, who may watch, and what happens when a source or process dies."""

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.lifecycle.test_following import draw
from tests.serving.conftest import serving
from tests.serving.test_against_document import faults

from eyewright.cli import main
from eyewright.core.errors import UsageError
from eyewright.imaging.overlay import caption_rows
from eyewright.imaging.sources import open_source
from eyewright.imaging.webm import WebmWriter
from eyewright.serving import live as live_module
from eyewright.serving import motion as motion_module
from eyewright.serving.exchange import HttpError
from eyewright.serving.live import LiveSource, LiveSources
from eyewright.serving.models import load_table
from eyewright.serving.motion import LiveStream

pytest.importorskip("cv2")

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "tests.serving.live_process")
LINE = {"middle": (0.0, 60.0, 160.0, 60.0)}
ROOM = {"room": ((0.0, 0.0), (159.0, 0.0), (159.0, 95.0), (0.0, 95.0))}


class Camera:
    """A network camera that shows two things crossing, again and again; it can be unplugged and plugged in."""

    def __init__(self) -> None:
        self.server: ThreadingHTTPServer | None = None
        self.port = 0
        self.size = 160
        self.plug()

    @property
    def url(self) -> str:
        return f"http://me:secret@127.0.0.1:{self.port}/video.mjpg"

    def plug(self) -> None:
        camera = self
        self.on = True

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None: ...

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=cut")
                self.end_headers()
                k = 0
                try:
                    while camera.on:
                        buffer = io.BytesIO()
                        Image.fromarray(draw(min(k % 40, 29), wide=camera.size)).save(buffer, "JPEG", quality=95)
                        data = buffer.getvalue()
                        head = b"--cut\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
                        self.wfile.write(head + data + b"\r\n")
                        k += 1
                        time.sleep(0.04)
                except OSError:
                    return

        class Server(ThreadingHTTPServer):
            daemon_threads = True

        self.server = Server(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def unplug(self) -> None:
        self.on = False
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None


@pytest.fixture
def camera() -> Iterator[Camera]:
    one = Camera()
    yield one
    one.unplug()


@pytest.fixture
def models(finished) -> dict[str, Any]:  # type: ignore[no-untyped-def]
    return load_table([finished.paths["bundle"]])


async def until(condition: Callable[[], Any], seconds: float = 20) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not happen in time"
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def running(sources: list[LiveSource], models: dict[str, Any], **more: Any) -> AsyncIterator[LiveSources]:
    found = LiveSources(sources, COMMAND, **more)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        found.use(models)
        yield found
    finally:
        await found.close()


def test_two_sources_are_counted_each_for_itself(camera: Camera, models, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    logged: list[tuple[str, Any]] = []

    async def run() -> None:
        sources = [
            LiveSource("a", camera.url, lines=LINE, rate=50),
            LiveSource("b", camera.url, zones=ROOM, rate=50),
        ]
        async with running(sources, models, counted=lambda name, event: logged.append((name, event))) as live:
            await until(lambda: live.get("a").shown()["lines"]["middle"]["in"])
            await until(lambda: live.get("b").shown()["zones"]["room"]["entered"] >= 2)
            a, b = live.shown()
            assert {t["id"] for s in (a, b) for t in s["tracks"]} >= {1, 2}
            assert (a["state"], a["width"], a["height"]) == ("live", 160, 96)
            assert a["zones"] == b["lines"] == {}
            assert a["events"][0]["line"] == "middle"
            assert {(name, e["line"]) for name, e in logged if e} == {("a", "middle"), ("b", "room")}
            assert {name for name, e in logged if e is None} == {"a", "b"}
            assert sum(e is not None and e["direction"] == "entered" for _, e in logged) >= 2
            assert "secret" not in json.dumps(live.shown())
            assert "secret" not in Path(f"/proc/{live.get('a')._process.pid}/cmdline").read_text()  # type: ignore[union-attr]
            names = {n for n, *_ in live.gauges()}
            assert {"eyewright_line_crossings_total", "eyewright_zone_objects", "eyewright_source_up"} <= names

    asyncio.run(run())


def test_a_source_that_vanishes_is_said_and_opened_again(camera: Camera, models, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))

    async def run() -> None:
        async with running([LiveSource("a", camera.url, lines=LINE, rate=50)], models) as live:
            one = live.get("a")
            await until(lambda: one.shown()["lines"]["middle"]["in"])
            before = one.shown()
            camera.unplug()
            await until(lambda: one.shown()["state"] == "lost")
            await until(lambda: "127.0.0.1" not in one.shown()["message"] and one.shown()["reconnects"])
            assert {n: v for n, _, _, v in one.gauges()}["eyewright_source_up"] == 0
            camera.plug()
            await until(lambda: one.shown()["state"] == "live")
            await until(lambda: one.shown()["lines"]["middle"]["in"] > before["lines"]["middle"]["in"])
            # Whoever is seen after the break is somebody else.
            assert min(t["id"] for t in one.shown()["tracks"]) > 2

    asyncio.run(run())


def test_a_process_that_dies_is_replaced_and_counts_continue(camera: Camera, models, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    monkeypatch.setattr(live_module, "_FIRST_PAUSE_S", 0.05)

    async def run() -> None:
        async with running([LiveSource("a", camera.url, lines=LINE, zones=ROOM, rate=50)], models) as live:
            one = live.get("a")
            await until(lambda: one.shown()["lines"]["middle"]["in"])
            before = one.shown()
            assert one._process is not None
            os.kill(one._process.pid, signal.SIGKILL)
            await until(lambda: one.restarts == 1 and one.shown()["state"] == "live")
            after = one.shown()
            assert after["lines"]["middle"]["in"] >= before["lines"]["middle"]["in"]
            assert after["frames"] > before["frames"]
            zone = after["zones"]["room"]
            assert zone["entered"] - zone["left"] == zone["now"]
            await until(lambda: one.shown()["tracks"])
            assert min(t["id"] for t in one.shown()["tracks"]) > before["n_tracks"]

    asyncio.run(run())


def test_no_identity_is_used_again_when_frames_change_their_size(camera: Camera, models, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))

    async def run() -> None:
        async with running([LiveSource("a", camera.url, rate=50)], models) as live:
            one = live.get("a")
            await until(lambda: one.shown()["tracks"])
            camera.size = 200
            await until(lambda: one.shown()["width"] == 200 and one.shown()["tracks"])
            assert min(t["id"] for t in one.shown()["tracks"]) > 2
            assert "all tracks end" in one.shown()["note"]

    asyncio.run(run())


def test_a_viewer_who_does_not_read_is_cut_and_slows_nobody(camera: Camera, models, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    monkeypatch.setattr(motion_module, "_SEND_S", 0.5)

    async def run() -> None:
        async with running([LiveSource("a", camera.url, rate=50)], models) as live:
            one = live.get("a")
            got: list[bytes] = []
            aborted = asyncio.Event()

            async def slow(message: Any) -> None:
                if message["type"] == "http.response.body":
                    await asyncio.sleep(3600)

            async def quick(message: Any) -> None:
                if message["type"] == "http.response.body":
                    got.append(message["body"])

            async def stays() -> dict[str, Any]:
                await aborted.wait()
                return {"type": "http.disconnect"}

            loop = asyncio.get_running_loop()
            first = loop.create_task(LiveStream(one).stream(slow, stays, method="GET", abort=aborted.set))
            never = asyncio.Event()

            async def waits() -> dict[str, Any]:
                await never.wait()
                return {"type": "http.disconnect"}

            second = loop.create_task(LiveStream(one).stream(quick, waits, method="GET", abort=lambda: None))
            await until(lambda: len(got) >= 10)
            await asyncio.wait_for(first, 10)
            assert aborted.is_set()
            assert one.viewers == 1
            picture = np.asarray(Image.open(io.BytesIO(got[-1].partition(b"\r\n\r\n")[2])))
            assert picture.shape == (96, 160, 3)
            never.set()
            await asyncio.wait_for(second, 10)
            assert one.viewers == 0
            assert one.newest is None

    asyncio.run(run())


def test_a_source_has_so_many_viewers_at_most() -> None:
    one = LiveSources([LiveSource("a", "0")], ()).get("a")
    for _ in range(4):
        one.look()
    with pytest.raises(HttpError, match="4 viewers") as refused:
        one.look()
    assert refused.value.status == 503
    with pytest.raises(UsageError, match="twice"):
        LiveSources([LiveSource("a", "0"), LiveSource("a", "1")], ())


def test_a_viewer_too_many_and_one_of_a_source_without_frames_are_refused_over_http(  # type: ignore[no-untyped-def]
    finished, tmp_path: Path
) -> None:
    with WebmWriter(tmp_path / "clip.webm", quality=90) as video:
        for k in range(60):
            video.add(draw(k % 30, wide=96), k / 20)
    (tmp_path / "no.mp4").write_text("text")
    sources = ("--source", f"yard={tmp_path / 'clip.webm'}", "--source", f"dark={tmp_path / 'no.mp4'}")
    with serving(str(finished.paths["bundle"]), *sources, "--workers", "1", "--no-log", cwd=tmp_path) as s:

        def state(name: str, wanted: str) -> None:
            ends = time.monotonic() + 20
            while (shown := s.get(f"/v1/sources/{name}").json)["state"] != wanted:
                assert time.monotonic() < ends, shown
                time.sleep(0.05)

        state("yard", "live")
        host, port = s.address.removeprefix("http://").split(":")
        viewers = [socket.create_connection((host, int(port))) for _ in range(4)]
        for viewer in viewers:
            viewer.sendall(b"GET /v1/sources/yard/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert viewer.recv(12) == b"HTTP/1.1 200"
        fifth = s.get("/v1/sources/yard/live")
        assert (fifth.status, fifth.json["code"]) == (503, "viewers")
        state("dark", "lost")
        dark = s.get("/v1/sources/dark/live")
        assert (dark.status, dark.json["code"]) == (503, "source")
        assert "the source dark is lost" in dark.json["error"]
        # A file that has ended ends what shows it, with its last frame.
        state("yard", "ended")
        viewers[0].settimeout(20)
        while viewers[0].recv(2**16):
            pass
        for viewer in viewers:
            viewer.close()
        ends = time.monotonic() + 20
        while s.get("/v1/sources/yard").json["viewers"]:
            assert time.monotonic() < ends
            time.sleep(0.05)
        assert "ended" in s.get("/v1/sources/yard/live").json["error"]


def test_a_viewer_who_leaves_while_no_frame_comes_is_not_counted_any_longer(  # type: ignore[no-untyped-def]
    finished, tmp_path: Path
) -> None:
    # An address that takes the connection and never answers: nothing is ever sent to a viewer.
    silent = socket.create_server(("127.0.0.1", 0))
    source = f"mute=http://127.0.0.1:{silent.getsockname()[1]}/x.mjpg"
    with serving(str(finished.paths["bundle"]), "--source", source, "--workers", "1", "--no-log", cwd=tmp_path) as s:
        host, port = s.address.removeprefix("http://").split(":")
        viewer = socket.create_connection((host, int(port)))
        viewer.sendall(b"GET /v1/sources/mute/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert viewer.recv(12) == b"HTTP/1.1 200"
        assert s.get("/v1/sources/mute").json["viewers"] == 1
        viewer.close()
        ends = time.monotonic() + 8
        while s.get("/v1/sources/mute").json["viewers"]:
            assert time.monotonic() < ends
            time.sleep(0.05)
    silent.close()


def test_frames_for_which_there_is_no_room_are_dropped_and_counted() -> None:
    from eyewright.imaging.sources import Frame
    from eyewright.lifecycle.live import _Arriving

    queue = _Arriving()
    for k in range(10):
        queue.put(Frame(np.zeros((2, 2, 3), np.uint8), "a", k, k / 10))
    assert queue.dropped == 6
    assert [queue.take(0.01).index for _ in range(4)] == [6, 7, 8, 9]  # type: ignore[union-attr]
    assert queue.take(0.01) is None


def test_a_server_shows_its_sources_to_whoever_has_the_token(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with WebmWriter(tmp_path / "clip.webm", quality=90) as video:
        for k in range(600):
            video.add(draw(k % 30, wide=96), k / 20)
    arguments = (str(finished.paths["bundle"]), "--source", f"yard={tmp_path / 'clip.webm'}", "--rate", "20")
    with serving(
        *arguments, "--workers", "1", "--no-log", cwd=tmp_path, environment={"EYEWRIGHT_TOKEN": "a-token-here"}
    ) as s:
        for path in ("/v1/sources", "/v1/sources/yard", "/v1/sources/yard/live"):
            assert s.get(path).status == 401
        token = {"authorization": "Bearer a-token-here"}
        ends = time.monotonic() + 20
        while (shown := s.get("/v1/sources/yard", **token).json)["state"] != "live":
            assert time.monotonic() < ends, shown
            time.sleep(0.05)
        assert s.get("/v1/sources/yard/live?url=rtsp://x", **token).status == 400
        assert s.get("/v1/sources/rtsp%3A%2F%2Fx", **token).status == 404
        assert (
            s.ask("HEAD", "/v1/sources/yard/live", None, token).headers["content-type"].startswith("multipart/x-mixed")
        )
        # Our own reader of network cameras reads it, with a caption below the frame.
        with open_source(
            s.address.replace("//", "//x:a-token-here@") + "/v1/sources/yard/live", max_frames=5
        ) as opened:
            frames = [f.image for f in opened]
        assert {f.shape for f in frames} == {(96 + caption_rows((96, 120)), 120, 3)}
        shown = s.get("/v1/sources", **token).json["sources"][0]
        assert (shown["tracks"], shown["name"]) == (None, "yard")
        assert "%" in shown["headline"]
        document = s.get("/openapi.json", **token).json
        for path in ("/v1/sources", "/v1/sources/yard"):
            declared = document["paths"][path.replace("yard", "{name}")]["get"]["responses"]["200"]["content"]
            assert not list(faults(s.get(path, **token).json, declared["application/json"]["schema"], document))
        assert 'eyewright_source_up{source="yard"} 1.0' in s.get("/metrics", **token).body.decode()
        assert str(tmp_path) not in s.get("/v1/sources", **token).body.decode()
    assert s.process.returncode == 0


def test_what_is_special_about_a_video_file_is_said(models, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    path = tmp_path / "secret-place.webm"
    with WebmWriter(path, quality=90) as video:
        for k in range(24):
            video.add(draw(k, wide=96), k / 40 + (k // 3) / 20)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])

    async def run() -> None:
        async with running([LiveSource("a", str(path), rate=50)], models) as live:
            one = live.get("a")
            await until(lambda: one.shown()["state"] == "ended")
            shown = one.shown()
            assert shown["message"].startswith("the video breaks off: 1")
            assert shown["video"]["breaks_off"] == shown["message"]
            assert shown["video"]["variable_rate"] is True
            assert (shown["video"]["rotation"], shown["video"]["sound"]) == (0, False)
            assert shown["note"] == "variable frame rate"
            assert "secret-place" not in str(shown)

    asyncio.run(run())


def test_the_processes_of_sources_end_with_a_server_that_is_killed(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "address").write_text("http://me:secret@127.0.0.1:9/x.mjpg\n")
    arguments = (
        str(finished.paths["bundle"]),
        "--source",
        f"gone=@{tmp_path / 'address'}",
        "--workers",
        "1",
        "--no-log",
    )
    with serving(*arguments, cwd=tmp_path) as s:
        ends = time.monotonic() + 20
        while s.get("/v1/sources/gone").json["state"] != "lost":
            assert time.monotonic() < ends
            time.sleep(0.05)
        assert "secret" not in Path(f"/proc/{s.process.pid}/cmdline").read_text()
        children = [
            int(p)
            for task in Path(f"/proc/{s.process.pid}/task").iterdir()
            for p in (task / "children").read_text().split()
        ]
        assert any("lifecycle.live" in Path(f"/proc/{p}/cmdline").read_text() for p in children)
        s.stop(signal.SIGKILL)
        while any(Path(f"/proc/{p}/cmdline").exists() and Path(f"/proc/{p}/cmdline").read_text() for p in children):
            assert time.monotonic() < ends
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--source", "rtsp://me:secret@x"], "NAME=ADDRESS"),
        (["--source", "a/b=0"], "letters, digits"),
        (["--source", "a=photos/"], "expected a camera, stream or video"),
        (["--source", "a=0", "--source", "a=1"], "twice"),
        (["--source", "a=@nowhere"], "cannot read"),
        (["--line", "gate=0,0,5,5"], "(none)"),
        (["--source", "a=0", "--source", "b=1", "--line", "gate=0,0,5,5"], "one of the sources a, b"),
        (["--source", "a=0", "--line", "gate=0,0,5"], "four numbers"),
        (["--source", "a=0", "--zone", "z=0,0", "5,0"], "three points"),
        (["--source", "a=0", "--line", "g=0,0,5,5", "--zone", "a/g=0,0", "5,0", "5,5"], "twice"),
        (["--source", "a=0", "--follow", "nobody", "--port", "0"], "there is no model 'nobody'"),
    ],
)
def test_what_is_wrong_with_a_source_is_one_line(finished, tmp_path, arguments, words, capsys, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    assert main(["serve", str(finished.paths["bundle"]), "--no-log", *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert "secret" not in said
