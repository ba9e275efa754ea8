"""A clip as one picture: frames that are evenly spaced in time, one below the other, as on a strip of film.

Everything that works on pictures (caches, parity, golden pairs, drift, reports) then works on clips. The frames are
chosen by their times and never by their numbers: files lie about their rate, and streams drop frames.
"""

__all__ = [
    "StripMaker",
    "Window",
    "check_windows",
    "contact_sheet",
    "cut_strip",
    "even_windows",
    "iter_clip_frames",
    "iter_clips",
    "iter_examples",
    "join_strip",
    "paced_frames",
    "read_clip",
    "read_clip_bytes",
    "sliding_windows",
]

import math
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import InputError, UnreadableImageError, UsageError
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.imaging.clip_files import list_clips, numbered_frames
from eyewright.imaging.decode import ImageInfo, elsewhere, name_unreadable, read_frames, read_picture
from eyewright.imaging.headers import Limits
from eyewright.imaging.media import media_of, said_to_hold
from eyewright.imaging.sampling import ClipSampling
from eyewright.imaging.sources.files import file_stamp, iter_images, reread_file
from eyewright.imaging.sources.frames import Frame, reduced_size, resized
from eyewright.imaging.video_facts import VideoFacts

_MOST_KEPT = 8
_SAME_S = 1e-4
_LONGEST_S = 600.0
_HEAD = 4096
# Frames of videos are at most so many times as long as they are wide, or as wide as they are long.
_LONGEST_SHAPE = 4


def join_strip(frames: Iterable[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return frames of one size, uint8 (H, W, 3), as a strip, uint8 (T * H, W, 3)."""
    return np.concatenate(list(frames))


def cut_strip(strip: NDArray[np.uint8], frames: int) -> NDArray[np.uint8]:
    """Return the frames of a strip (T * H, W, ...) as (T, H, W, ...), without a copy.

    >>> cut_strip(np.zeros((12, 5, 3), np.uint8), 4).shape
    (4, 3, 5, 3)

    Raises:
        UsageError: the height is no multiple of the number of frames.
    """
    if strip.shape[0] % frames:
        raise UsageError(f"expected a strip of {frames} frames, found a height of {strip.shape[0]} pixels")
    return strip.reshape(frames, -1, *strip.shape[1:])


class StripMaker:
    """Collects frames one by one and makes a strip, in memory that does not grow with the clip.

    It keeps every k-th frame; when it holds eight times as many as are wanted, it forgets every second one and doubles
    k. The last frame is always kept.
    """

    def __init__(self, sampling: ClipSampling) -> None:
        self._sampling = sampling
        self._kept: list[tuple[float, NDArray[np.uint8]]] = []
        self._every, self._seen = 1, 0
        self._last: Frame | None = None
        self._size_hw = self._size = (0, 0)

    @property
    def begun(self) -> bool:
        """Whether a frame was taken."""
        return self._last is not None

    @property
    def thinned(self) -> bool:
        """Whether frames were forgotten, so that a span in the middle of the clip may lack some."""
        return self._every > 1

    def add(self, frame: Frame) -> None:
        """Take the next frame; one whose time lies before that of the last counts as shown with it."""
        time_s = frame.time_s if frame.time_s is not None else float(self._seen)
        if self._last is not None and self._last.time_s is not None:
            time_s = max(time_s, self._last.time_s)
        if self._last is None:
            self._size_hw = (frame.image.shape[0], frame.image.shape[1])
            self._size = reduced_size(frame.image, self._sampling.side)
        self._last = Frame(frame.image, frame.origin, frame.index, time_s)
        if self._seen % self._every == 0:
            if len(self._kept) >= _MOST_KEPT * self._sampling.frames:
                self._kept = self._kept[::2]
                self._every *= 2
            if self._seen % self._every == 0:
                self._kept.append((time_s, self._reduced(frame.image)))
        self._seen += 1

    def done(self) -> tuple[NDArray[np.uint8], ImageInfo]:
        """Return the strip, and what was seen: frames, seconds from the first to the last, their size.

        Raises:
            UnreadableImageError: there was no frame.
        """
        if self._last is None:
            raise UnreadableImageError("the clip holds no frame", fix="copy it again or remove it")
        kept = list(self._kept)
        last_s = self._last.time_s or 0.0
        if (self._seen - 1) % self._every:
            kept.append((last_s, self._reduced(self._last.image)))
        times = [t for t, _ in kept]
        frames = [kept[i][1] for i in self._sampling.chosen(times)]
        info = ImageInfo("clip", self._size_hw, "RGB", 1, self._seen, seconds=last_s - times[0])
        return join_strip(frames), info

    def _reduced(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return resized(image, self._size)


def read_clip(
    path: str | Path,
    sampling: ClipSampling,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    limits: Limits | None = None,
) -> tuple[NDArray[np.uint8], ImageInfo]:
    """Return the strip of a video file, an animation or a part of one, or of a folder of numbered images, uint8
    (T * H, W, 3), and what it holds.

    `start_s` and `end_s` are seconds from the first frame; both ends belong to the clip. A file that breaks off is
    read as far as it goes, and `short` of what it holds says so. A file that is wrong about how many frames it holds or
    about their times, and a long animation of which a span is seen, are decoded twice.

    Raises:
        UnreadableImageError: there is no frame, or the file is no video.
        UsageError: numbered images, which have no times, where seconds are asked for.
    """
    limits = limits or Limits()
    where = elsewhere()
    if where is not None:
        given = {"path": os.fspath(path), "sampling": sampling.to_json(), "start_s": start_s, "end_s": end_s}
        found: tuple[NDArray[np.uint8], ImageInfo] = where("read_clip", b"", {**given, "limits": limits})
        return found
    if Path(path).is_dir():
        return _read_numbered(Path(path), sampling, limits)
    if media_of(path) != "animation":
        # Not at the top: whoever works on arrays or images needs no OpenCV.
        from eyewright.imaging.choosing import read_chosen

        return read_chosen(Path(path), sampling, start_s=start_s, end_s=end_s, limits=limits)
    maker, broken = _collected(path, sampling, start_s, end_s, limits)
    strip, info = maker.done()
    if broken:
        info = replace(info, video=VideoFacts(breaks_off=f"the animation breaks off after {info.frames:,} pictures"))
    span_s = sampling.span_s
    if span_s is not None and maker.thinned and info.seconds is not None and info.seconds > 2 * span_s:
        middle_s, half_s = (start_s or 0.0) + info.seconds / 2, span_s * (0.5 + 1 / sampling.frames)
        strip, _ = _collected(path, sampling, middle_s - half_s, middle_s + half_s, limits)[0].done()
    return strip, info


def _collected(
    path: str | Path, sampling: ClipSampling, start_s: float | None, end_s: float | None, limits: Limits
) -> tuple[StripMaker, bool]:
    """Return the frames of a clip that is read in order, and whether it breaks off."""
    maker = StripMaker(sampling)
    try:
        for frame in iter_clip_frames(path, start_s=start_s, end_s=end_s, limits=limits):
            maker.add(frame)
    except InputError as error:
        # What was decoded until here is the clip; without a frame, `done` says so.
        if not maker.begun:
            raise UnreadableImageError(error.message, fix=error.fix or "copy it again", code=error.code) from error
        return maker, True
    return maker, False


def _read_numbered(folder: Path, sampling: ClipSampling, limits: Limits) -> tuple[NDArray[np.uint8], ImageInfo]:
    files = numbered_frames(folder)
    if not files:
        raise UnreadableImageError(
            f"expected four or more numbered images in {quoted(folder)}, found fewer", fix="pass a folder of frames"
        )
    if sampling.span_s is not None:
        raise UsageError(
            f"expected a video, found numbered images, which have no times, in {quoted(folder)}: the model sees "
            f"{sampling.span_s:g} s of a clip",
            fix="pass a video",
        )
    maker = StripMaker(sampling)
    # Without a rate, the number of a frame is all that is known of its time.
    for i in sorted(set(sampling.chosen(list(range(len(files)))))):
        with name_unreadable(str(files[i])):
            maker.add(Frame(np.asarray(read_picture(files[i], limits=limits)), str(files[i]), i, float(i)))
    strip, info = maker.done()
    return strip, replace(info, frames=len(files), seconds=None)


def iter_clip_frames(
    path: str | Path, *, start_s: float | None = None, end_s: float | None = None, limits: Limits | None = None
) -> Iterator[Frame]:
    """Yield the frames of a video file, an animation or a part of one, with seconds since its first frame.

    Raises:
        InputError: it cannot be read, or breaks off.
    """
    first_s: float | None = None
    for frame in _frames(Path(path), limits or Limits()):
        first_s = frame.time_s or 0.0 if first_s is None else first_s
        since = (frame.time_s or 0.0) - first_s
        if end_s is not None and since > end_s + _SAME_S:
            break
        if start_s is None or since >= start_s - _SAME_S:
            yield Frame(frame.image, frame.origin, frame.index, since)


def read_clip_bytes(
    data: bytes, sampling: ClipSampling, *, limits: Limits | None = None
) -> tuple[NDArray[np.uint8], VideoFacts | None]:
    """Return the strip of a video that came as bytes, or of a picture that is a strip already, uint8 (T * H, W, 3), and
    what is special about the video.

    Raises:
        UnreadableImageError: it is neither.
    """
    if media_of(data) == "picture":
        return _sent_strip(data, sampling, limits), None
    with _file_of(data) as path:
        strip, info = read_clip(path, sampling, limits=limits)
        return strip, info.video


def _sent_strip(data: bytes, sampling: ClipSampling, limits: Limits | None) -> NDArray[np.uint8]:
    """Return a picture that is a strip; any other still is no clip, and would get an answer that means nothing."""
    strip = np.asarray(read_picture(data, limits=limits))
    (rows, left), width = divmod(strip.shape[0], sampling.frames), strip.shape[1]
    if left or not rows or max(rows, width) > _LONGEST_SHAPE * min(rows, width) or max(rows, width) > sampling.side:
        raise UnreadableImageError(
            f"expected a video, or a strip of {sampling.frames} frames of up to {sampling.side} pixels a side, one "
            f"below the other; found {said_to_hold(data[:_HEAD])} of {width}x{strip.shape[0]} pixels",
            fix="send a video or an animation",
            code="not_a_video",
        )
    return strip


@contextmanager
def _file_of(data: bytes) -> Iterator[Path]:
    """Hold bytes in a file while it is read; errors do not show its name."""
    # FFmpeg reads from files; this one has no name that another process could know.
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            yield Path(file.name)
        except UnreadableImageError as error:
            said = error.message.replace(f" at {file.name!r}", "").replace(repr(file.name), "the file")
            raise UnreadableImageError(said, fix=error.fix or "send a video", code=error.code) from None


def even_windows(
    data: bytes, sampling: ClipSampling, *, most: int = 48, limits: Limits | None = None
) -> "Iterator[Window]":
    """Yield windows over a video that came as bytes, evenly spaced and about `most` of them: each as long as the span
    that the model sees, else a quarter of the video between 1 and 4 seconds; longer where there would be gaps.

    A video that breaks off is read as far as it goes. It is decoded twice.

    Raises:
        UnreadableImageError: it is no video, or longer than 10 minutes.
    """
    if media_of(data) == "picture":
        raise UnreadableImageError("expected a video, found a picture, which has no times", fix="send a video")
    with _file_of(data) as path:
        seconds = read_clip(path, sampling, limits=limits)[1].seconds or 0.0
        if seconds > _LONGEST_S:
            raise UnreadableImageError(
                f"expected a video of at most {_LONGEST_S / 60:g} minutes, found {seconds / 60:.1f}",
                fix="predict it from the command line with --window",
            )
        window_s = sampling.span_s or min(max(1.0, seconds / 4), 4.0)
        hop_s = max((seconds - window_s) / (most - 1), 1e-3)
        yield from sliding_windows(_until_broken(path, limits), sampling, window_s=max(window_s, hop_s), hop_s=hop_s)


def _until_broken(path: Path, limits: Limits | None) -> Iterator[Frame]:
    with suppress(InputError):
        yield from iter_clip_frames(path, limits=limits)


def iter_examples(source: Any, sampling: ClipSampling | None) -> Iterator[Frame]:
    """Yield what a model takes from a source: images, or with `sampling` the strips of clips."""
    yield from iter_images(source) if sampling is None else iter_clips(source, sampling)


def _frames(path: Path, limits: Limits) -> Iterator[Frame]:
    if media_of(path) == "animation":
        for index, (image, time_s) in enumerate(read_frames(path, limits=limits)):
            yield Frame(image, os.fspath(path), index, time_s)
        return
    from eyewright.imaging.sources.video import VideoFile

    video = VideoFile(path, limits=limits)
    try:
        yield from video.frames()
    finally:
        video.close()


def contact_sheet(strip: NDArray[np.uint8], frames: int, *, most: int = 9, columns: int = 3) -> NDArray[np.uint8]:
    """Return some frames of a strip, evenly chosen, as a grid that is read like text, uint8 (H', W', 3).

    >>> contact_sheet(np.zeros((80, 5, 3), np.uint8), 16).shape
    (15, 15, 3)
    """
    cut = cut_strip(strip, frames)
    chosen = cut[np.linspace(0, frames - 1, min(most, frames)).round().astype(int)]
    rows = math.ceil(len(chosen) / columns)
    padded = np.concatenate([chosen, np.zeros((rows * columns - len(chosen), *chosen.shape[1:]), np.uint8)])
    height, width = chosen.shape[1:3]
    grid = padded.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    return np.ascontiguousarray(grid.reshape(rows * height, columns * width, 3))


def iter_clips(
    source: Any, sampling: ClipSampling, *, note: Callable[[Finding], None] | None = None
) -> Iterator[Frame]:
    """Yield the strip of every clip of a source in order, one in memory at a time.

    `source` is a path, folder or glob of clips (`list_clips`), the bytes of one, an array of frames uint8 (T, H, W, 3),
    a strip uint8 (H, W, 3), or a list of these. `note` takes a finding for every file that breaks off, and is read as
    far as it goes, and for images that are left out.

    >>> [f.image.shape for f in iter_clips(np.zeros((5, 4, 6, 3), np.uint8), ClipSampling(3, 16))]
    [(12, 6, 3)]

    Raises:
        InputError: nothing there, or a clip cannot be read; the file is named.
    """
    if isinstance(source, np.ndarray):
        yield Frame(_strip_of(source, sampling), "array")
        return
    if isinstance(source, bytes):
        yield Frame(_strip_of_bytes(source, sampling), "bytes", reread=partial(_strip_of_bytes, source, sampling))
        return
    if isinstance(source, list | tuple):
        for index, item in enumerate(source):
            for frame in iter_clips(item, sampling, note=note):
                yield replace(frame, index=index)
        return
    if not isinstance(source, str | Path):
        raise UsageError(f"expected a video's path or bytes, frames, or a list of them, found {type(source).__name__}")
    for index, path in enumerate(list_clips(source, note=note)):
        read, place = partial(_strip_of_file, sampling=sampling), path.resolve()
        strip = _strip_of_file(path, sampling, note)
        yield Frame(strip, str(place), index, reread=partial(reread_file, place, file_stamp(place), read))


def _strip_of_bytes(data: bytes, sampling: ClipSampling) -> NDArray[np.uint8]:
    return read_clip_bytes(data, sampling)[0]


def _strip_of_file(
    path: Path, sampling: ClipSampling, note: Callable[[Finding], None] | None = None
) -> NDArray[np.uint8]:
    with name_unreadable(str(path)):
        strip, info = read_clip(path, sampling)
    if info.video is not None and note is not None:
        for found in info.video.findings(str(path)):
            note(found)
    return strip


def _strip_of(frames: NDArray[np.uint8], sampling: ClipSampling) -> NDArray[np.uint8]:
    if frames.dtype != np.uint8 or frames.ndim not in (3, 4) or frames.shape[-1] != 3 or 0 in frames.shape:
        raise UsageError(
            f"expected a clip as uint8 (T, H, W, 3), found {frames.dtype} {frames.shape}",
            fix="pass the path of a video, or its frames",
        )
    if frames.ndim == 3:
        cut_strip(frames, sampling.frames)
        return frames
    # Frames of an array have no times: they are the span.
    maker = StripMaker(replace(sampling, span_s=None))
    for index, image in enumerate(frames):
        maker.add(Frame(image, "array", index, float(index)))
    return maker.done()[0]


@dataclass(frozen=True)
class Window:
    """A part of a stream as a strip, uint8 (T * H, W, 3), with its times in seconds since the start."""

    strip: NDArray[np.uint8]
    start_s: float
    end_s: float


def check_windows(window_s: float, hop_s: float) -> None:
    """Refuse windows that cannot slide.

    Raises:
        UsageError: a window or a hop of no length, or a hop that leaves gaps between windows.
    """
    if not (window_s > 0 and 0 < hop_s <= window_s):
        raise UsageError(
            f"expected a window above 0 s and a hop of at most a window, found {window_s:g} and {hop_s:g}",
            fix="change --window and --hop",
        )


def sliding_windows(
    frames: Iterable[Frame], sampling: ClipSampling, *, window_s: float, hop_s: float
) -> Iterator[Window]:
    """Yield windows of `window_s` seconds, each `hop_s` after the last, in memory that does not grow with the stream.

    The first window ends as soon as the stream is as long as one; a stream that is shorter gives one window. The last
    one ends with the stream, less than `hop_s` after the one before. Frames that a gap leaves out are not made up: a
    window without a new frame is not given.

    >>> still = (Frame(np.zeros((4, 4, 3), np.uint8), "a", i, i / 10) for i in range(31))
    >>> windows = sliding_windows(still, ClipSampling(4, 16), window_s=2.0, hop_s=0.5)
    >>> [(round(w.start_s, 1), round(w.end_s, 1)) for w in windows]
    [(0.0, 2.0), (0.5, 2.5), (1.0, 3.0)]

    Raises:
        UsageError: a window or a hop of no length.
    """
    check_windows(window_s, hop_s)
    held: deque[tuple[float, NDArray[np.uint8]]] = deque()
    size: tuple[int, int] | None = None
    first_s, due_s, given_s = 0.0, window_s, -math.inf
    for frame in frames:
        now = frame.time_s if frame.time_s is not None else float(frame.index)
        if size is None:
            first_s, size = now, reduced_size(frame.image, sampling.side)
            due_s = first_s + window_s
        now = max(now, held[-1][0]) if held else now
        held.append((now, resized(frame.image, size)))
        if now + 1e-9 < due_s:
            continue
        while held[0][0] < now - window_s - 1e-9 and len(held) > 1:
            held.popleft()
        yield Window(_from_held(held, sampling), held[0][0] - first_s, now - first_s)
        given_s = now
        due_s += hop_s * max(1, math.ceil((now + 1e-9 - due_s) / hop_s))
    if held and held[-1][0] > given_s:
        while held[0][0] < held[-1][0] - window_s - 1e-9:
            held.popleft()
        yield Window(_from_held(held, sampling), held[0][0] - first_s, held[-1][0] - first_s)


def paced_frames(frames: Iterable[Frame], sampling: ClipSampling, *, step_s: float) -> Iterator[tuple[Frame, int]]:
    """Yield the frames of a stream, reduced as those of clips are, and how many of a clip's frames each of them is.

    A clip's frames are `step_s` apart; each is the first frame of the stream at its time or after it, so a fast stream
    gives frames that count 0 times, and a slow one frames that count several times, at most as often as a clip holds.

    >>> still = (Frame(np.zeros((4, 4, 3), np.uint8), "a", i, i / 10) for i in range(5))
    >>> [n for _, n in paced_frames(still, ClipSampling(4, 16), step_s=0.2)]
    [1, 0, 1, 0, 1]
    """
    size: tuple[int, int] | None = None
    due_s = last_s = 0.0
    for frame in frames:
        now = frame.time_s if frame.time_s is not None else float(frame.index)
        if size is None:
            size, due_s, last_s = reduced_size(frame.image, sampling.side), now, now
        now = last_s = max(now, last_s)
        count = max(0, math.floor((now - due_s) / step_s + 1e-6) + 1)
        due_s += count * step_s
        image = resized(frame.image, size) if count else frame.image
        yield replace(frame, image=image, time_s=now), min(count, sampling.frames)


def _from_held(held: "deque[tuple[float, NDArray[np.uint8]]]", sampling: ClipSampling) -> NDArray[np.uint8]:
    pictures = [p for _, p in held]
    return np.concatenate([pictures[i] for i in sampling.chosen([t for t, _ in held])])
