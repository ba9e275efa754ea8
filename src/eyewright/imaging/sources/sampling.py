"""Frames of a video or stream sampled by time: one implementation for tracking, training, serving and export."""

__all__ = ["frame_times", "sample_by_time"]

from collections.abc import Iterable, Iterator
from dataclasses import replace

from eyewright.core.errors import UsageError
from eyewright.imaging.sources.frames import Frame

_MOMENT_S = 1e-6


def frame_times(frames: Iterable[Frame], *, fps: float | None = None, assumed_fps: float = 30.0) -> Iterator[Frame]:
    """Yield frames that all have a time, and times that never go back.

    With `fps` a frame's time is its index divided by it, whatever the file says. Frames without a time, such as those
    of a folder, are `assumed_fps` apart. A time before that of the last frame, as damaged files have, becomes that one.

    >>> import numpy as np
    >>> still = np.zeros((2, 2, 3), np.uint8)
    >>> [f.time_s for f in frame_times(Frame(still, "a", k, t) for k, t in enumerate((0.0, 0.5, 0.4)))]
    [0.0, 0.5, 0.5]
    """
    if fps is not None and not 0 < fps < 1e5:
        raise UsageError(f"expected a frame rate above 0 frames/s, found {fps!r}", fix="change --fps")
    last = 0.0
    for frame in frames:
        time_s = frame.index / fps if fps is not None else frame.time_s
        if time_s is None:
            time_s = frame.index / assumed_fps
        last = max(last, time_s)
        yield frame if frame.time_s == last else replace(frame, time_s=last)


def sample_by_time(frames: Iterable[Frame], per_second: float) -> Iterator[Frame]:
    """Yield the first frame at or after each moment 0, 1 / `per_second`, 2 / `per_second`, …, each frame once.

    Where the source has fewer frames all of them are given. Every frame needs its time: see `frame_times`.

    >>> import numpy as np
    >>> still = np.zeros((2, 2, 3), np.uint8)
    >>> [f.index for f in sample_by_time([Frame(still, "a", k, k / 30) for k in range(12)], 10)]
    [0, 3, 6, 9]
    """
    if not 0 < per_second < 1e5:
        raise UsageError(f"expected a frame rate above 0 frames/s, found {per_second!r}", fix="change --rate")
    tick = 0
    for frame in frames:
        if frame.time_s is None:
            raise UsageError("expected frames with times, found one without", fix="pass --fps")
        if frame.time_s >= tick / per_second - _MOMENT_S:
            yield frame
            tick = int(frame.time_s * per_second + _MOMENT_S) + 1
