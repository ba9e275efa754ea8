"""WebM that is written here, read by FFmpeg through OpenCV."""

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import OutputError, UsageError
from eyewright.imaging.sources import open_source
from eyewright.imaging.webm import WebmWriter

pytest.importorskip("cv2")


def _frame(k: int, size_hw: tuple[int, int] = (90, 122)) -> np.ndarray:
    image = np.full((*size_hw, 3), 40, np.uint8)
    image[20:60, 4 * k : 4 * k + 30] = [220, 60, 90]
    return image


def test_frames_and_their_own_times_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a.webm"
    times = [0.0, 0.04, 0.5, 4.0, 11.25]
    with WebmWriter(path, quality=90) as video:
        for k, t in enumerate(times):
            video.add(_frame(k), t)
    with open_source(path) as source:
        frames = list(source)
    assert len(frames) == 5
    assert [f.time_s for f in frames] == pytest.approx(times, abs=0.002)
    for k, f in enumerate(frames):
        assert np.abs(f.image.astype(int) - _frame(k)).mean() < 4


def test_a_player_can_seek_and_knows_the_duration(tmp_path: Path) -> None:
    import cv2

    path = tmp_path / "a.webm"
    with WebmWriter(path) as video:
        for k in range(200):
            video.add(_frame(k % 20), k / 10)
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == pytest.approx(200, abs=2)
    capture.set(cv2.CAP_PROP_POS_MSEC, 15_000)
    assert capture.read()[0]
    assert capture.get(cv2.CAP_PROP_POS_MSEC) == pytest.approx(15_000, abs=150)


def test_the_last_frame_is_shown_as_long_as_the_one_before(tmp_path: Path) -> None:
    # The duration of 50 frames, 40 ms each, is 2 s; a killed process leaves the right one too.
    with WebmWriter(tmp_path / "a.webm") as video:
        for k in range(50):
            video.add(_frame(k % 20), k / 25)
            data = (tmp_path / "a.webm").read_bytes()
            at = data.index(b"\x44\x89") + 3
            (duration_ms,) = struct.unpack(">d", data[at : at + 8])
            assert duration_ms == (40 * (k + 1) if k else 1)


def test_a_writer_that_is_killed_loses_no_finished_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.webm"
    code = (
        "import sys, numpy as np; from pathlib import Path; from eyewright.imaging.webm import WebmWriter\n"
        "v = WebmWriter(Path(sys.argv[1])); k = 0\n"
        "while True:\n"
        "    v.add(np.full((48, 64, 3), k % 250, np.uint8), k / 25); k += 1\n"
        "    print(k, flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    finished = 0
    for line in child.stdout:
        finished = int(line)
        if finished >= 150:
            break
    os.kill(child.pid, signal.SIGKILL)
    finished = max([finished, *(int(x) for x in child.stdout.read().split("\n")[:-1] if x)])
    child.wait()
    child.stdout.close()
    with open_source(path) as source:
        assert sum(1 for _ in source) >= finished


def test_frames_of_another_size_are_resized_and_wrong_ones_refused(tmp_path: Path) -> None:
    with WebmWriter(tmp_path / "a.webm") as video:
        video.add(_frame(0), 0.0)
        video.add(_frame(0, (180, 244)), 0.04)
        with pytest.raises(UsageError, match="uint8"):
            video.add(np.zeros((5, 5)), 0.1)  # type: ignore[arg-type]
    with open_source(tmp_path / "a.webm") as source:
        assert [f.image.shape for f in source] == [(90, 122, 3)] * 2


def test_times_that_stand_still_give_frames_one_after_another(tmp_path: Path) -> None:
    with WebmWriter(tmp_path / "a.webm") as video:
        for _ in range(3):
            video.add(_frame(0), 1.0)
    with open_source(tmp_path / "a.webm") as source:
        assert sum(1 for _ in source) == 3


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        WebmWriter(tmp_path / "file" / "a.webm")


def test_a_file_without_frames_is_closed(tmp_path: Path) -> None:
    started = time.monotonic()
    WebmWriter(tmp_path / "a.webm").close()
    assert time.monotonic() - started < 5
