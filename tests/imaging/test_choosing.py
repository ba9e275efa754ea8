"""The frames that stand for a clip, compared with decoding every frame and choosing by their times."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from eyewright.imaging.clips import read_clip
from eyewright.imaging.sampling import ClipSampling
from eyewright.imaging.sources.video import VideoFile
from eyewright.imaging.webm import WebmWriter


def noise(n: int, height: int = 48, width: int = 64) -> np.ndarray:
    small = np.random.default_rng(0).integers(0, 255, (n, 6, 8, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(f).resize((width, height))) for f in small])


def written(path: Path, frames: np.ndarray, *, fps: float = 12, code: str = "MJPG") -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), fps, (frames.shape[2], frames.shape[1]))
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def every_frame(path: Path) -> tuple[list[np.ndarray], list[float]]:
    """Decode all frames by OpenCV alone, with the times that it gives."""
    video, frames, times = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), [], [0.0]
    while True:
        there, frame = video.read()
        if not there:
            return frames, times[:-1]
        if frames:
            times[-1] = max(times[-1], video.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        times.append(video.get(cv2.CAP_PROP_POS_MSEC) / 1000)


def expected(path: Path, sampling: ClipSampling, start_s: float = 0.0, end_s: float = 1e9) -> np.ndarray:
    frames, times = every_frame(path)
    inside = [k for k, t in enumerate(times) if start_s - 1e-4 <= t <= end_s + 1e-4]
    height, width = frames[0].shape[:2]
    scale = min(1.0, sampling.side / max(height, width))
    size = round(width * scale), round(height * scale)
    chosen = [frames[inside[k]] for k in sampling.chosen([times[k] for k in inside])]
    return np.concatenate([np.asarray(Image.fromarray(f).resize(size, Image.Resampling.BILINEAR)) for f in chosen])


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are opened, each time."""
    found: list[Path] = []
    begin = VideoFile.__init__

    def noted(self: VideoFile, path: Path, **options: object) -> None:
        found.append(path)
        begin(self, path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(VideoFile, "__init__", noted)
    return found


@pytest.mark.parametrize("n", [1, 3, 31, 32, 33, 100, 300])
@pytest.mark.parametrize("name", ["a.avi", "a.mp4"])
def test_a_file_that_states_the_truth_is_decoded_once(tmp_path: Path, n: int, name: str, opened: list[Path]) -> None:
    path = written(tmp_path / name, noise(n), code="MJPG" if name == "a.avi" else "mp4v")
    strip, info = read_clip(path, ClipSampling())
    assert np.array_equal(strip, expected(path, ClipSampling()))
    assert (info.frames, info.size_hw, info.video and info.video.breaks_off) == (n, (48, 64), "")
    assert len(opened) == 1


@pytest.mark.parametrize(("start_s", "end_s"), [(0.0, 1.0), (2.0, 2.05), (1.1, 6.3), (7.9, 1000.0)])
@pytest.mark.parametrize("span_s", [None, 0.5, 3.0])
def test_a_part_and_a_span_are_chosen_by_time(
    tmp_path: Path, start_s: float, end_s: float, span_s: float | None, opened: list[Path]
) -> None:
    path, sampling = written(tmp_path / "a.mp4", noise(100), code="mp4v"), ClipSampling(8, 160, span_s)
    strip, _ = read_clip(path, sampling, start_s=start_s, end_s=end_s)
    assert np.array_equal(strip, expected(path, sampling, start_s, end_s))
    assert len(opened) == 1


def test_frames_are_reduced(tmp_path: Path) -> None:
    path, sampling = written(tmp_path / "a.avi", noise(20, 120, 200)), ClipSampling(5, 90)
    strip, info = read_clip(path, sampling)
    assert strip.shape == (5 * 54, 90, 3)
    assert np.array_equal(strip, expected(path, sampling))
    assert info.size_hw == (120, 200)


def test_uneven_times_are_found_by_a_second_reading(tmp_path: Path, opened: list[Path]) -> None:
    path, frames = tmp_path / "a.webm", noise(40)
    with WebmWriter(path) as writer:
        for k, frame in enumerate(frames):
            writer.add(frame, k / 30 if k < 30 else 1 + (k - 30) / 2)
    strip, info = read_clip(path, ClipSampling(12))
    assert np.array_equal(strip, expected(path, ClipSampling(12)))
    assert info.seconds == pytest.approx(5.5)
    assert len(opened) == 2


def test_a_clip_that_breaks_off_says_so(tmp_path: Path) -> None:
    path = written(tmp_path / "a.avi", noise(60))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    strip, info = read_clip(path, ClipSampling(8))
    assert np.array_equal(strip, expected(path, ClipSampling(8)))
    assert info.video.breaks_off == f"the video breaks off: {info.frames} of about 60 frames can be read"


@pytest.mark.parametrize("name", ["asl_gestures/book.mkv", "asl_gestures/milk.mkv"])
def test_real_clips_are_chosen_as_by_hand(shared_data: Path, name: str) -> None:
    path, sampling = shared_data / "sample_videos" / name, ClipSampling(6, 64)
    assert np.array_equal(read_clip(path, sampling)[0], expected(path, sampling))
