"""Sources of frames: files, videos, an MJPEG server, an RTSP server and a virtual scanner, cut and restored."""

import importlib.util
import shutil
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import InputError, MissingExtraError, UsageError
from eyewright.imaging import encode_image, write_image
from eyewright.imaging.sources import is_stream, iter_images, list_sources, open_source, scanner
from eyewright.imaging.sources.opening import _Opened

GST_PYTHON = "/usr/bin/python3"
HAS_RTSP = (
    Path(GST_PYTHON).exists()
    and subprocess.run(
        [
            GST_PYTHON,
            "-c",
            "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer",
        ],
        capture_output=True,
    ).returncode
    == 0
)
HAS_CV2 = importlib.util.find_spec("cv2") is not None


def numbered(k: int) -> np.ndarray:
    """A picture that tells its number by its brightness."""
    return np.full((24, 32, 3), 10 + 10 * (k % 20), np.uint8)


def number_of(image: np.ndarray) -> int:
    return round((float(image.mean()) - 10) / 10)


def test_a_folder_a_glob_and_a_file_give_their_images_in_order(tmp_path: Path) -> None:
    for k in (2, 0, 1):
        write_image(tmp_path / f"{k}.png", numbered(k))
    for source in (tmp_path, str(tmp_path / "*.png"), str(tmp_path / "**" / "*.png")):
        with open_source(source) as frames:
            assert not frames.live
            found = list(frames)
        assert [number_of(f.image) for f in found] == [0, 1, 2]
        assert [f.index for f in found] == [0, 1, 2]
        assert found[0].origin == str((tmp_path / "0.png").resolve())
        assert found[0].time_s is None
    with open_source(tmp_path, stride=2, max_frames=1) as frames:
        assert [f.index for f in frames] == [0]


def test_a_file_address_names_one_file_or_folder_and_is_no_glob(tmp_path: Path) -> None:
    folder = tmp_path / "a [1] ü"
    folder.mkdir()
    image = folder / "p[1].png"
    write_image(image, numbered(3))
    assert list_sources(image.as_uri()) == [image] == list_sources(folder.as_uri())
    with open_source(image.as_uri()) as source:
        assert [np.array_equal(frame.image, numbered(3)) for frame in source] == [True]
    assert is_stream((folder / "clip%20.mp4").as_uri())
    with pytest.raises(InputError, match="found nothing"):
        list_sources((tmp_path / "*.png").as_uri())
    with pytest.raises(UsageError, match="'elsewhere'"):
        list_sources("file://elsewhere/p.png")


def test_what_a_source_is_called_tells_what_it_is() -> None:
    streams = ["0", 3, "rtsp://a/b", "RTSPS://a", "http://a/b.mjpg", "sane:test:0", "clip.mp4", Path("x.mkv")]
    assert all(is_stream(s) for s in streams)
    assert not any(is_stream(s) for s in ["a.jpg", "folder", "-", np.zeros(3), b"bytes", ["a.jpg"]])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nothing-here.mp4", "cannot read"),
        ("97", "expected camera 97"),
        ("rtsp://127.0.0.1:9/none", "cannot reach"),
        ("http://127.0.0.1:9/none", "cannot reach"),
        ("no-such-folder", "found nothing"),
    ],
)
def test_what_is_not_there_is_one_line_and_exit_code_three(source: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as found:
        open_source(source)
    assert found.value.exit_code == 3
    assert "\n" not in str(found.value)


def test_strides_and_limits_below_one_are_refused() -> None:
    for wrong in ({"stride": 0}, {"max_frames": 0}, {"timeout_s": 0}):
        with pytest.raises(UsageError):
            open_source(".", **wrong)


@pytest.mark.skipif(not HAS_CV2, reason="OpenCV is not installed")
class TestVideo:
    @pytest.fixture
    def clip(self, tmp_path_factory) -> Path:
        import cv2

        path = tmp_path_factory.mktemp("video") / "clip.avi"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (32, 24))
        for k in range(12):
            writer.write(numbered(k))
        writer.release()
        return path

    def test_frames_come_with_index_and_time(self, clip: Path) -> None:
        with open_source(clip) as frames:
            found = list(frames)
        assert [f.index for f in found] == list(range(12))
        assert [number_of(f.image) for f in found] == list(range(12))
        assert np.allclose([f.time_s for f in found], np.arange(12) / 10, atol=0.02)

    def test_stride_and_limit(self, clip: Path) -> None:
        with open_source(clip, stride=5, max_frames=2) as frames:
            assert [(f.index, number_of(f.image)) for f in frames] == [(0, 0), (5, 5)]

    def test_a_playlist_or_text_named_as_a_video_is_refused(self, tmp_path: Path) -> None:
        for k, text in enumerate(("#EXTM3U\n/etc/passwd\n", "ffconcat version 1.0\nfile /etc/passwd\n", "")):
            path = tmp_path / f"{k}.mp4"
            path.write_text(text)
            with pytest.raises(InputError, match="expected a video.*found text" if text else "is empty"):
                open_source(path)

    def test_a_video_cut_off_at_its_head_is_refused(self, clip: Path, tmp_path: Path) -> None:
        path = tmp_path / "cut.avi"
        path.write_bytes(clip.read_bytes()[:40])
        with pytest.raises(InputError, match="video"), open_source(path) as frames:
            list(frames)

    def test_a_glob_of_videos_says_that_they_go_one_by_one(self, clip: Path) -> None:
        assert not is_stream(str(clip.parent / "*.avi"))
        with pytest.raises(UsageError, match="one by one"):
            open_source(str(clip.parent / "*.avi"))

    def test_an_image_list_says_where_videos_go(self, clip: Path) -> None:
        with pytest.raises(UsageError, match="open_source"):
            list(iter_images(clip))


class _Camera:
    """An HTTP camera on loopback that can be cut and restored."""

    def __init__(self, *, length: bool = True, torn: bool = False, status: int = 200) -> None:
        camera = self
        self.sent = 0
        self.running = threading.Event()
        self.running.set()
        self.asked: list[str | None] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera.asked.append(self.headers.get("Authorization"))
                if self.path == "/silent":
                    time.sleep(3)
                    return
                self.send_response(status)
                kind = "text/html" if self.path == "/page" else "multipart/x-mixed-replace; boundary=frame"
                self.send_header("Content-Type", kind)
                self.end_headers()
                try:
                    while camera.running.is_set():
                        data = encode_image(numbered(camera.sent), format="JPEG", quality=95)
                        data = data[:60] if torn and camera.sent % 3 == 1 else data
                        head = b"--frame\r\nContent-Type: image/jpeg\r\n"
                        head += b"Content-Length: %d\r\n" % len(data) if length else b""
                        self.wfile.write(head + b"\r\n" + data + b"\r\n")
                        camera.sent += 1
                        time.sleep(0.005)
                except OSError:
                    pass

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/video.mjpg"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def cut(self) -> None:
        self.running.clear()

    def restore(self) -> None:
        self.running.set()

    def close(self) -> None:
        self.running.clear()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def camera():
    made: list[_Camera] = []

    def make(**options: object) -> _Camera:
        made.append(_Camera(**options))
        return made[-1]

    yield make
    for each in made:
        if each.thread.is_alive():
            each.close()


class TestMotionJpeg:
    @pytest.mark.parametrize("length", [True, False])
    def test_every_picture_comes_in_order(self, camera, length: bool) -> None:
        with open_source(camera(length=length).url, max_frames=15) as frames:
            assert frames.live
            found = list(frames)
        assert [number_of(f.image) for f in found] == list(range(15))
        times = [f.time_s for f in found]
        assert times == sorted(times)

    def test_a_stream_that_is_cut_goes_on_when_it_is_back(self, camera) -> None:
        made = camera()
        with open_source(made.url, max_frames=24) as frames:
            indices = []
            for frame in frames:
                indices.append(frame.index)
                if len(indices) == 8:
                    made.cut()
                    threading.Timer(0.8, made.restore).start()
        assert indices == list(range(24))
        assert len(made.asked) >= 2, "it must have connected again"

    def test_a_stream_that_stays_away_ends(self, camera) -> None:
        made = camera()
        got = 0
        with open_source(made.url, reconnect=1, timeout_s=2.0) as frames:
            given = iter(frames)
            for _ in range(4):
                next(given)
                got += 1
            made.close()
            with pytest.raises(InputError):
                list(given)
        assert got == 4

    def test_the_newest_frame_is_given_to_a_slow_reader(self, camera) -> None:
        made = camera()
        with open_source(made.url, latest=True, max_frames=4) as frames:
            behind = []
            for frame in frames:
                behind.append(made.sent - frame.index)
                time.sleep(0.2)
            last = frame.index
        assert last > 8, "frames in between must have been dropped"
        # What lies in the sockets' buffers and in the reader's hands, and not what came in six tenths of a second.
        assert max(behind) < made.sent

    def test_torn_pictures_are_left_out(self, camera) -> None:
        with open_source(camera(torn=True).url, max_frames=8) as frames:
            assert [number_of(f.image) % 3 for f in frames].count(1) == 0

    def test_a_page_that_is_no_camera_and_a_refusal_are_named(self, camera) -> None:
        with pytest.raises(InputError, match="expected motion JPEG"):
            open_source(camera().url.replace("video.mjpg", "page"))
        with pytest.raises(InputError, match="answered with status 401"):
            open_source(camera(status=401).url)

    def test_one_that_never_answers_costs_the_timeout_and_no_more(self, camera) -> None:
        with pytest.raises(InputError, match="no answer"):
            open_source(camera().url.replace("video.mjpg", "silent"), timeout_s=0.3)

    def test_a_password_is_sent_and_never_shown(self, camera) -> None:
        made = camera()
        address = made.url.replace("http://", "http://me:s%20ecret@")
        with open_source(address, max_frames=1) as frames:
            frame = next(iter(frames))
        assert "ecret" not in frame.origin
        assert made.asked[-1] == "Basic bWU6cyBlY3JldA=="
        with pytest.raises(InputError) as found:
            open_source("rtsp://me:secret@127.0.0.1:9/x")
        assert "secret" not in str(found.value)


_RTSP = """
import sys, gi
gi.require_version("Gst", "1.0"); gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GLib, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer(); server.set_address("127.0.0.1"); server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory(); factory.set_shared(True)
factory.set_launch("( videotestsrc is-live=true pattern=smpte ! "
                   "video/x-raw,format=I420,width=160,height=120,framerate=15/1 ! "
                   "jpegenc ! rtpjpegpay name=pay0 pt=26 )")
server.get_mount_points().add_factory("/test", factory); server.attach(None)
print("ready", flush=True)
GLib.MainLoop().run()
"""


@pytest.mark.skipif(not (HAS_RTSP and HAS_CV2), reason="GStreamer's RTSP server is not installed")
class TestRtsp:
    def start(self, port: int) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [GST_PYTHON, "-c", _RTSP, str(port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"ready"
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def test_frames_come_and_go_on_after_the_server_was_cut(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = self.start(port)
        try:
            with open_source(f"rtsp://127.0.0.1:{port}/test", timeout_s=5.0, max_frames=16) as frames:
                found = []
                for frame in frames:
                    found.append(frame)
                    if len(found) == 6:
                        self.stop(server)
                        server = self.start(port)
            assert [f.index for f in found] == list(range(16))
            assert all(f.image.shape == (120, 160, 3) for f in found)
            # SMPTE bars: the leftmost is grey, the fifth magenta, the last blue.
            assert np.ptp(found[-1].image[40, 8].astype(int)) < 25
            assert found[-1].image[40, 155].argmax() == 2
        finally:
            self.stop(server)


@pytest.mark.skipif(shutil.which("scanimage") is None, reason="SANE's scanimage is not installed")
class TestScanner:
    def test_a_page_from_the_glass(self) -> None:
        address = "sane:test:0?mode=Color&resolution=50&test-picture=Color%20pattern"
        with open_source(address) as frames:
            found = list(frames)
        assert len(found) == 1
        assert found[0].image.ndim == 3
        assert np.ptp(found[0].image.astype(int)) > 200

    def test_every_page_of_the_feeder(self) -> None:
        with open_source("sane:test:0?source=Automatic%20Document%20Feeder&resolution=50") as frames:
            assert [f.index for f in frames] == list(range(10))

    @pytest.mark.parametrize(
        ("address", "said"),
        [
            ("sane:nowhere:7", "nowhere"),
            ("sane:test:0?read-return-value=SANE_STATUS_JAMMED", "jammed"),
            ("sane:test:0?mode=Sepia", "mode"),
        ],
    )
    def test_a_jam_and_a_wrong_name_are_one_line(self, address: str, said: str, monkeypatch) -> None:
        # Debian's scanimage, told that its test device is jammed, now and then waits for its own child for ever: what
        # we say of a scanner that is silent is right then, and the jam is asked for again.
        monkeypatch.setattr(scanner, "_WALL_S", 10.0)
        for _ in range(4):
            with pytest.raises(InputError) as found, open_source(address) as frames:
                list(frames)
            assert "\n" not in str(found.value)
            if "gave no page in 10 s" not in str(found.value):
                break
        assert said in str(found.value)

    @pytest.mark.parametrize("query", ["batch=/etc/x", "output-file=/tmp/x", "Mode=1", "a b=1", "format=png"])
    def test_options_that_are_no_scanners_are_refused(self, query: str) -> None:
        with pytest.raises(UsageError):
            open_source(f"sane:test:0?{query}")


def test_without_scanimage_the_install_line_is_said(monkeypatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingExtraError, match="sane-utils"):
        open_source("sane:test:0")


def test_a_live_source_that_fails_later_says_so_in_latest_mode() -> None:
    from eyewright.imaging.sources import Frame

    class Failing:
        live = True

        def frames(self):
            yield Frame(numbered(0), "it", 0, 0.0)
            time.sleep(0.05)
            raise InputError("the camera is gone")

        def close(self) -> None:
            pass

    with pytest.raises(InputError, match="gone"):
        list(_Opened(Failing(), None, 1, None, True, 0))


@pytest.mark.skipif(not HAS_CV2, reason="OpenCV is not installed")
def test_a_camera_gives_frames_until_it_is_unplugged(monkeypatch, tmp_path: Path) -> None:
    # There is no camera here: OpenCV's capture is replaced, what is around it is not.
    import cv2

    class Capture:
        def __init__(self, *_: object) -> None:
            self.left = 5

        def isOpened(self) -> bool:
            return True

        def read(self):
            self.left -= 1
            return self.left >= 0, np.dstack([np.full((4, 6), v, np.uint8) for v in (10, 20, 30)])

        def release(self) -> None:
            self.left = -100

    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    monkeypatch.setattr(Path, "exists", lambda self: str(self).startswith("/dev/video") or self.is_file())
    with open_source(0) as source:
        assert source.live
        frames = iter(source)
        first = next(frames)
        assert first.image[0, 0].tolist() == [30, 20, 10], "BGR becomes RGB"
        assert first.origin == "camera 0"
        with pytest.raises(InputError, match="no more frames"):
            list(frames)


def test_a_folder_of_numbered_frames_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for name in ("1", "2", "10", "a2", "a10", "A1", "9b", "010"):
        write_image(tmp_path / f"{name}.png", np.zeros((4, 4, 3), np.uint8))
    expected = ["1.png", "2.png", "9b.png", "010.png", "10.png", "A1.png", "a2.png", "a10.png"]
    for place in (str(tmp_path), f"{tmp_path}/*.png"):
        with open_source(place) as source:
            assert [Path(f.origin).name for f in source] == expected
    # The longest name there can be, in digits only.
    write_image(tmp_path / f"{'9' * 250}.png", np.zeros((4, 4, 3), np.uint8))
    with open_source(str(tmp_path)) as source:
        assert len(list(source)) == 9


@pytest.mark.parametrize(("name", "what"), [("gone.png", "an image"), ("gone.mp4", "a video"), ("GONE.MKV", "a video")])
def test_what_is_not_there_is_called_what_its_name_says(tmp_path: Path, name: str, what: str) -> None:
    with pytest.raises(InputError, match=f"expected {what}, found nothing"):
        list_sources(tmp_path / name)
