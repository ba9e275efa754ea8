"""What the page of a tracked source shows, gathered frame by frame in bounded memory."""

__all__ = ["Clip", "Gathered", "Gathering"]

import io
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.imaging.drawing import draw_objects
from eyewright.imaging.webm import WebmWriter
from eyewright.tracking.lines import Crossing

_MOST_BOXES = 150_000
_MOST_FRAMES = 50_000
_VIDEO_SIDE, _VIDEO_QUALITY, _VIDEO_STEP_S = 480, 45, 0.1
_VIDEO_BYTES, _CLIP_BYTES = 4 * 2**20, 2 * 2**20
_MOST_CLIPS, _CLIPS_AT_ONCE = 12, 3
_HALF_CLIP_S = 1.5
_MOST_STRIPS, _STRIPS_SHOWN = 300, 150
_CROPS, _CROP_SIDE, _CROP_QUALITY, _CROP_STEP_S = 6, 64, 60, 0.4
_MOMENT_S = 1e-6

Row = tuple[int, int, float, float, float, float]


@dataclass(frozen=True)
class Clip:
    """A few seconds around a crossing, WebM."""

    crossing: Crossing
    data: bytes


@dataclass(frozen=True)
class Gathered:
    """Everything about one source.

    Args:
        frames: time and tracks (id, class, box) of the frames that are kept.
        every: of so many frames one is kept.
        size_hw: of the frames.
        end_s: time of the last frame.
        video: the first seconds, small, WebM; empty where there are no pictures.
        video_whole: whether that is all of it.
        strips: by track, small JPEG crops, by time.
        clips: around crossings, the first ones.
    """

    frames: Sequence[tuple[float, Sequence[Row]]]
    every: int
    size_hw: tuple[int, int]
    end_s: float
    video: bytes = b""
    video_whole: bool = True
    strips: dict[int, list[tuple[float, bytes]]] = field(default_factory=dict)
    clips: Sequence[Clip] = ()


@dataclass
class _Strip:
    crops: list[tuple[float, bytes]] = field(default_factory=list)
    step_s: float = _CROP_STEP_S
    first_s: float = 0.0
    last_s: float = 0.0

    def add(self, time_s: float, image: NDArray[np.uint8], box: NDArray[np.float64]) -> None:
        if not self.crops:
            self.first_s = time_s
        self.last_s = time_s
        if self.crops and time_s - self.crops[-1][0] < self.step_s - _MOMENT_S:
            return
        crop = _crop(image, box)
        if crop:
            self.crops.append((time_s, crop))
        if len(self.crops) > 2 * _CROPS:
            self.crops = self.crops[::2]
            self.step_s *= 2


@dataclass
class _OpenClip:
    crossing: Crossing
    path: Path
    writer: WebmWriter
    start_s: float
    end_s: float


class Gathering:
    """Gather frames as they are tracked. Where there is too much, frames are thinned evenly; the rest has an end.

    With `clips` those who cross lines are shown.
    """

    def __init__(self, *, clips: bool = True) -> None:
        self._with_clips = clips
        self._frames: list[tuple[float, list[Row]]] = []
        self._boxes = self._seen = 0
        self._every = 1
        self._size_hw: tuple[int, int] | None = None
        self._extent = [1.0, 1.0]
        self._end_s = 0.0
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._video: WebmWriter | None = None
        self._video_whole = True
        self._next_s = 0.0
        self._strips: dict[int, _Strip] = {}
        self._recent: deque[tuple[float, NDArray[np.uint8]]] = deque()
        self._open: list[_OpenClip] = []
        self._clips: list[Clip] = []
        self._clip_bytes = 0

    def __enter__(self) -> "Gathering":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove what lies in temporary files."""
        if self._video is not None:
            self._video.close()
        for one in self._open:
            one.writer.close()
        if self._folder is not None:
            self._folder.cleanup()
        self._video, self._folder, self._open = None, None, []

    def add(
        self,
        time_s: float,
        track_ids: NDArray[np.int64],
        boxes_xyxy: NDArray[np.float64],
        label_ids: NDArray[np.int64],
        *,
        labels: Sequence[str] = (),
        image: NDArray[np.uint8] | None = None,
        crossings: Sequence[Crossing] = (),
    ) -> None:
        """Take a frame, with its picture where there is one, and the crossings that it confirms."""
        self._end_s = max(self._end_s, time_s)
        if self._seen % self._every == 0:
            corners = np.round(np.asarray(boxes_xyxy, np.float64), 1).tolist()
            rows: list[Row] = [
                (i, label, x0, y0, x1, y1)
                for i, label, (x0, y0, x1, y1) in zip(track_ids.tolist(), label_ids.tolist(), corners, strict=True)
            ]
            self._frames.append((round(time_s, 3), rows))
            self._boxes += len(rows)
            if self._boxes > _MOST_BOXES or len(self._frames) > _MOST_FRAMES:
                self._frames = self._frames[::2]
                self._boxes = sum(len(r) for _, r in self._frames)
                self._every *= 2
        self._seen += 1
        if image is None:
            if len(boxes_xyxy):
                self._extent = np.maximum(self._extent, boxes_xyxy[:, 2:].max(0)).tolist()
            return
        if self._size_hw is None:
            self._size_hw = image.shape[0], image.shape[1]
        for k, track in enumerate(track_ids.tolist()):
            self._strip(track, time_s).add(time_s, image, boxes_xyxy[k])
        if time_s >= self._next_s - _MOMENT_S:
            self._next_s = (int(time_s / _VIDEO_STEP_S + _MOMENT_S) + 1) * _VIDEO_STEP_S
            self._picture(time_s, track_ids, boxes_xyxy, label_ids, labels, image)
        for crossing in crossings:
            self._begin_clip(crossing, time_s)

    def _strip(self, track: int, time_s: float) -> _Strip:
        found = self._strips.get(track)
        if found is None:
            if len(self._strips) >= _MOST_STRIPS:
                # The shortest of those that are over give way.
                over = [t for t, s in self._strips.items() if s.last_s < time_s] or list(self._strips)
                over.sort(key=lambda t: self._strips[t].last_s - self._strips[t].first_s)
                for old in over[: _MOST_STRIPS // 3]:
                    del self._strips[old]
            found = self._strips[track] = _Strip()
        return found

    def _picture(
        self,
        time_s: float,
        track_ids: NDArray[np.int64],
        boxes: NDArray[np.float64],
        label_ids: NDArray[np.int64],
        labels: Sequence[str],
        image: NDArray[np.uint8],
    ) -> None:
        """Write the picture, small, to the video, and with its tracks to the clips."""
        scale = min(1.0, _VIDEO_SIDE / max(image.shape[:2]))
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
        if self._video is None:
            self._folder = tempfile.TemporaryDirectory(prefix="eyewright-")
            self._video = WebmWriter(Path(self._folder.name, "video.webm"), quality=_VIDEO_QUALITY)
        if self._video_whole and self._video.n_frames and self._video.path.stat().st_size >= _VIDEO_BYTES:
            self._video_whole = False
        if self._video_whole:
            self._video.add(small, time_s)
        if not self._with_clips or self._clip_bytes >= _CLIP_BYTES or len(self._clips) >= _MOST_CLIPS:
            self._recent.clear()
            return
        texts = [f"{labels[k] if k < len(labels) else k} {i}" for i, k in zip(track_ids, label_ids, strict=True)]
        drawn = draw_objects(small, boxes * scale, texts, track_ids)
        self._recent.append((time_s, drawn))
        while time_s - self._recent[0][0] > _HALF_CLIP_S:
            self._recent.popleft()
        for one in list(self._open):
            one.writer.add(drawn, time_s - one.start_s)
            if time_s >= one.end_s:
                self._end_clip(one)

    def _begin_clip(self, crossing: Crossing, time_s: float) -> None:
        if (
            self._folder is None
            or not self._recent
            or len(self._clips) + len(self._open) >= _MOST_CLIPS
            or len(self._open) >= _CLIPS_AT_ONCE
        ):
            return
        path = Path(self._folder.name, f"clip-{len(self._clips)}-{len(self._open)}-{self._seen}.webm")
        writer = WebmWriter(path, quality=_VIDEO_QUALITY)
        start = self._recent[0][0]
        for when, drawn in self._recent:
            writer.add(drawn, when - start)
        self._open.append(_OpenClip(crossing, path, writer, start, time_s + _HALF_CLIP_S))

    def _end_clip(self, one: _OpenClip) -> None:
        one.writer.close()
        self._open.remove(one)
        data = one.path.read_bytes()
        one.path.unlink()
        if self._clip_bytes + len(data) <= _CLIP_BYTES:
            self._clips.append(Clip(one.crossing, data))
        self._clip_bytes += len(data)

    def finish(self) -> Gathered:
        """Return everything; nothing is added afterwards."""
        video = b""
        for one in list(self._open):
            self._end_clip(one)
        if self._video is not None:
            self._video.close()
            video = self._video.path.read_bytes()
        size = self._size_hw or (int(np.ceil(self._extent[1])), int(np.ceil(self._extent[0])))
        longest = sorted(self._strips.items(), key=lambda item: item[1].first_s - item[1].last_s)[:_STRIPS_SHOWN]
        strips = {track: _chosen(strip.crops) for track, strip in longest}
        return Gathered(
            self._frames, self._every, size, self._end_s, video, self._video_whole, strips,
            sorted(self._clips, key=lambda c: c.crossing.time_s),
        )  # fmt: skip


def _chosen(crops: list[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    if len(crops) <= _CROPS:
        return crops
    return [crops[round(k * (len(crops) - 1) / (_CROPS - 1))] for k in range(_CROPS)]


def _crop(image: NDArray[np.uint8], box: NDArray[np.float64]) -> bytes:
    height, width = image.shape[:2]
    x0, y0 = max(0, int(box[0])), max(0, int(box[1]))
    x1, y1 = min(width, int(np.ceil(box[2]))), min(height, int(np.ceil(box[3])))
    if x1 - x0 < 2 or y1 - y0 < 2:
        return b""
    picture = Image.fromarray(image[y0:y1, x0:x1])
    picture.thumbnail((2 * _CROP_SIDE, _CROP_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_CROP_QUALITY)
    return buffer.getvalue()
