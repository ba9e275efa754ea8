"""From predictions of overlapping windows to segments: what happened from when to when."""

__all__ = ["Segment", "SegmentJoiner"]

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.core.labels import LabelSpace


class Windowed(Protocol):
    """A prediction of a window: probabilities (C,) of the classes, and its times in seconds."""

    @property
    def probabilities(self) -> NDArray[np.float32]: ...

    @property
    def label_space(self) -> LabelSpace: ...

    @property
    def start_s(self) -> float | None: ...

    @property
    def end_s(self) -> float | None: ...


@dataclass(frozen=True)
class Segment:
    """A time in which one class was seen: seconds since the first frame, and its mean confidence."""

    start_s: float
    end_s: float
    label: str
    score: float

    def line(self) -> str:
        """Say it in one line.

        >>> Segment(1.0, 3.5, "walk", 0.91).line()
        '    1.00 s to     3.50 s: walk 0.91'
        """
        return f"{self.start_s:8.2f} s to {self.end_s:8.2f} s: {self.label} {self.score:.2f}"

    def to_json(self) -> dict[str, Any]:
        """Return the segment as plain JSON types."""
        return {
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "label": self.label,
            "score": round(self.score, 4),
        }


class SegmentJoiner:
    """Joins windows to segments, with hysteresis: one begins at confidence `on` and ends below `off`.

    A window speaks for the time around its middle, as long as the hop: windows overlap, and what a window shows may
    have started long before its end.
    """

    def __init__(self, *, on: float = 0.6, off: float = 0.4) -> None:
        if not 0 <= off <= on <= 1:
            raise UsageError(f"expected --off of at most --on, both in [0, 1], found {off:g} and {on:g}")
        self._on, self._off = on, off
        self._label: int | None = None
        self._scores: list[float] = []
        self._started_s = self._middle_s = 0.0
        self._names: tuple[str, ...] = ()
        self._first = True
        self._ended_s = 0.0

    def add(self, prediction: Windowed) -> Iterator[Segment]:
        """Take the next window; yield the segment that it ended, if it did."""
        start, end = prediction.start_s or 0.0, prediction.end_s or 0.0
        middle = (start + end) / 2
        # Half way between two windows, one gives way to the other; the first speaks from the start.
        border = start if self._first else (self._middle_s + middle) / 2
        scores, self._names = prediction.probabilities, prediction.label_space.names
        top = int(np.argmax(scores))
        if self._label is not None:
            given_way = top != self._label and scores[top] >= self._on
            if given_way or scores[self._label] < self._off:
                yield self._close(border)
        if self._label is None and scores[top] >= self._on:
            self._label, self._started_s, self._scores = top, border, []
        if self._label is not None:
            self._scores.append(float(scores[self._label]))
        self._middle_s, self._ended_s, self._first = middle, end, False

    def end(self) -> Iterator[Segment]:
        """Yield the segment that the stream's end cut off, if there is one."""
        if self._label is not None:
            yield self._close(self._ended_s)

    def _close(self, end_s: float) -> Segment:
        assert self._label is not None
        found = Segment(self._started_s, end_s, self._names[self._label], float(np.mean(self._scores)))
        self._label, self._scores = None, []
        return found
