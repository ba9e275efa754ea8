"""What a person is to look at of a long video or stream: the times in which no class was certain, as videos."""

__all__ = ["UncertainTimes"]

from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from eyewright.cli.reviewing import ReviewFolder
from eyewright.imaging.sources.frames import Frame, reduced_size, resized

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from eyewright.core.prediction import Prediction
    from eyewright.tasks.segments import Windowed

_SIDE = 320
_MOST_FRAMES = 240
_LEAST_STEP_S = 1 / 15
_WINDOWS = 2.0
_MOMENT_S = 1e-6


class UncertainTimes:
    """Join windows below a confidence to times, and have each written when it has ended, as a video.

    A time is at most two windows long, so that what is held does not grow with the stream: up to 240 frames of at most
    320 pixels.
    """

    def __init__(self, folder: ReviewFolder, *, window_s: float, hop_s: float, stem: str) -> None:
        self._folder, self._stem = folder, stem
        self._most_s = _WINDOWS * window_s
        self._kept_s = self._most_s + 2 * hop_s
        self._step_s = max(_LEAST_STEP_S, self._kept_s / _MOST_FRAMES)
        self._frames: deque[tuple[float, NDArray[np.uint8]]] = deque()
        self._first_s: float | None = None
        self._lowest: Prediction | None = None
        self._start_s = self._end_s = 0.0
        self._n = 0

    def watched(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield the frames, and hold the last ones."""
        for frame in frames:
            now = float(frame.index) if frame.time_s is None else frame.time_s
            self._first_s = now if self._first_s is None else self._first_s
            since = now - self._first_s
            if not self._frames or since >= self._frames[-1][0] + self._step_s - _MOMENT_S:
                self._frames.append((since, resized(frame.image, reduced_size(frame.image, _SIDE))))
                while self._frames[0][0] < since - self._kept_s:
                    self._frames.popleft()
            yield frame

    def add(self, prediction: "Prediction", window: "Windowed") -> None:
        """Take the prediction of the next window."""
        confidence = prediction.confidence
        if confidence is None or confidence >= self._folder.below:
            self.end()
            return
        start_s, end_s = window.start_s or 0.0, window.end_s or 0.0
        if self._lowest is not None and end_s - self._start_s > self._most_s + _MOMENT_S:
            self.end()
        if self._lowest is None:
            self._start_s = start_s
        lowest = None if self._lowest is None else self._lowest.confidence
        if lowest is None or confidence < lowest:
            self._lowest = prediction
        self._end_s = end_s

    def end(self) -> None:
        """Write the time that has ended, if there is one."""
        lowest, self._lowest = self._lowest, None
        if lowest is None:
            return
        start_s, end_s = self._start_s, self._end_s
        inside = [f for f in self._frames if start_s - _MOMENT_S <= f[0] <= end_s + _MOMENT_S]
        times = {"start_s": round(start_s, 3), "end_s": round(end_s, 3)}
        self._folder.take(
            lowest, f"{self._stem}{self._n:05d}", ".webm", partial(_write, inside or [self._frames[-1]]), times
        )
        self._n += 1


def _write(frames: "list[tuple[float, NDArray[np.uint8]]]", to: Path) -> None:
    from eyewright.imaging.webm import WebmWriter

    with WebmWriter(to) as video:
        for time_s, picture in frames:
            video.add(picture, time_s - frames[0][0])
