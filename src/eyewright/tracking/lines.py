"""What tracks do to a place: crossings of lines, visits to zones, how long they stay.

A point on a border jitters from one side to the other, so a side is *held* only after `confirm_s` (and at least three
frames) on it without a break, at a mean distance from the border of more than 2.5 times the track's own jitter.
"""

__all__ = ["Anchor", "Crossing", "Line", "LineCounter", "Visit", "Zone", "ZoneCounter", "anchors_of"]

import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError

Anchor = Literal["bottom", "centre"]

_FEWEST = 3
_BAND = 2.5
# What is assumed of a track's jitter before it is known: 2 % of its height, worth three observations.
_PRIOR_SHARE, _PRIOR_N = 0.02, 3
_MOMENT_S = 1e-9
Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A segment from `start` to `end`, in pixels, that tracks cross "in" or "out".

    Whoever looks from `start` to `end` sees a crossing from left to right as "in": a line that is drawn from the left
    to the right of the image counts who walks down as "in" and who walks up as "out".
    """

    name: str
    start: Point
    end: Point

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (*self.start, *self.end))) or self.start == self.end:
            raise UsageError(
                f"expected two different points for line {self.name!r}, found {self.start} and {self.end}",
                fix="pass NAME=x1,y1,x2,y2",
            )


@dataclass(frozen=True)
class Zone:
    """A polygon of three points or more, in pixels, that does not cross itself."""

    name: str
    points: tuple[Point, ...]

    def __post_init__(self) -> None:
        table = np.array(self.points, np.float64).reshape(-1, 2)
        x, y = table.T
        if len(table) < 3 or not np.isfinite(table).all() or abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) < 1e-6:
            raise UsageError(
                f"expected three points or more around an area for zone {self.name!r}, found {self.points}",
                fix="pass NAME=x,y x,y x,y",
            )


@dataclass(frozen=True)
class Crossing:
    """A track has crossed a line; `time_s` and `frame` are those of the first frame on the far side."""

    line: str
    direction: Literal["in", "out"]
    track_id: int
    label_id: int
    time_s: float
    frame: int


@dataclass
class Visit:
    """A track's stay in a zone; `left_s` is None while it lasts."""

    zone: str
    track_id: int
    label_id: int
    entered_s: float
    left_s: float | None = None


def anchors_of(boxes_xyxy: NDArray[np.float64], anchor: Anchor) -> NDArray[np.float64]:
    """Return the point of each box that is counted, (n, 2): the middle of its lower side, or its centre.

    >>> anchors_of(np.array([[0.0, 0, 4, 8]]), "bottom").tolist()
    [[2.0, 8.0]]
    """
    x = (boxes_xyxy[:, 0] + boxes_xyxy[:, 2]) / 2
    y = boxes_xyxy[:, 3] if anchor == "bottom" else (boxes_xyxy[:, 1] + boxes_xyxy[:, 3]) / 2
    return np.stack([x, y], 1)


@dataclass(frozen=True)
class _Sample:
    time_s: float
    frame: int
    distance: float
    x: float
    y: float


class _Side:
    """Which side of a border one track holds, from its signed distances."""

    __slots__ = ("_confirm_s", "_n", "_recent", "_squares", "crossed_at", "held", "last_s", "run")

    def __init__(self, confirm_s: float) -> None:
        self._confirm_s = confirm_s
        self._recent: deque[_Sample] = deque(maxlen=2)
        self._squares, self._n = 0.0, 0
        self.held = 0
        self.last_s = -math.inf
        # What lies without a break on one side, and where the path came over the border to it.
        self.run: list[_Sample] = []
        self.crossed_at: Point | None = None

    def add(self, sample: _Sample, height: float) -> bool:
        """Take the next position; return whether another side than before is held from now on."""
        last = self._recent[-1] if self._recent else None
        if len(self._recent) == 2:
            bend = sample.distance - 2 * self._recent[1].distance + self._recent[0].distance
            # Of independent errors the second difference has six times their variance. A leap is no jitter.
            self._squares += min(bend * bend / 6, (0.25 * height) ** 2)
            self._n += 1
        self._recent.append(sample)
        self.last_s = sample.time_s
        if not sample.distance:
            return False
        if self.run and (self.run[-1].distance > 0) != (sample.distance > 0):
            self.run = []
            if last is not None:
                self.crossed_at = _between(last, sample)
        self.run.append(sample)
        side = 1 if sample.distance > 0 else -1
        if side == self.held:
            del self.run[:-_FEWEST]
            return False
        if len(self.run) < _FEWEST or sample.time_s - self.run[0].time_s < self._confirm_s - _MOMENT_S:
            return False
        prior = (_PRIOR_SHARE * height) ** 2 * _PRIOR_N
        jitter = math.sqrt((self._squares + prior) / (self._n + _PRIOR_N))
        tail = self.run[-_FEWEST:]
        if abs(sum(s.distance for s in tail)) / len(tail) <= _BAND * jitter:
            return False
        self.held = side
        return True


def _between(a: _Sample, b: _Sample) -> Point:
    share = a.distance / (a.distance - b.distance)
    return a.x + (b.x - a.x) * share, a.y + (b.y - a.y) * share


class LineCounter:
    """Count who crosses one line.

    One point a track is counted, against the segment with its ends. A crossing counts when the near side was held
    before and the far side is held after. Where the path passes beyond the ends of the segment nothing is counted.
    """

    def __init__(
        self, line: Line, *, confirm_s: float = 0.1, anchor: Anchor = "bottom", most: int | None = None
    ) -> None:
        """Count crossings of `line`; all are counted, and the last `most` of them are held (None: all)."""
        self.line, self._confirm_s, self._anchor = line, confirm_s, anchor
        self._sides: dict[int, _Side] = {}
        self.crossings: deque[Crossing] = deque(maxlen=most)
        self._totals: Counter[tuple[str, int]] = Counter()

    def update(
        self,
        track_ids: NDArray[np.int64],
        boxes_xyxy: NDArray[np.float64],
        label_ids: NDArray[np.int64],
        *,
        time_s: float,
        frame: int,
    ) -> list[Crossing]:
        """Return the crossings that this frame confirms."""
        (ax, ay), (bx, by) = self.line.start, self.line.end
        dx, dy = bx - ax, by - ay
        length = math.hypot(dx, dy)
        found = []
        points = anchors_of(boxes_xyxy, self._anchor).tolist()
        heights = (boxes_xyxy[:, 3] - boxes_xyxy[:, 1]).tolist()
        for track, label, (x, y), height in zip(track_ids.tolist(), label_ids.tolist(), points, heights, strict=True):
            side = self._sides.setdefault(track, _Side(self._confirm_s))
            before = side.held
            distance = (dx * (y - ay) - dy * (x - ax)) / length
            if not side.add(_Sample(time_s, frame, distance, x, y), height) or before == 0 or side.crossed_at is None:
                continue
            along = ((side.crossed_at[0] - ax) * dx + (side.crossed_at[1] - ay) * dy) / length**2
            if -1e-9 <= along <= 1 + 1e-9:
                first = side.run[0]
                way: Literal["in", "out"] = "in" if side.held > 0 else "out"
                found.append(Crossing(self.line.name, way, track, label, first.time_s, first.frame))
        self.crossings += found
        self._totals.update((c.direction, c.label_id) for c in found)
        return found

    def settle(self, label_ids: Mapping[int, int]) -> None:
        """Set crossings to the class of their track in `label_ids`: those that are held, which must be all."""
        found = [replace(c, label_id=label_ids.get(c.track_id, c.label_id)) for c in self.crossings]
        self.crossings = deque(found, maxlen=self.crossings.maxlen)
        self._totals = Counter((c.direction, c.label_id) for c in found)

    def forget(self, *, before_s: float) -> None:
        """Forget the sides of tracks that were last seen before a time; what was counted stays."""
        self._sides = {track: side for track, side in self._sides.items() if side.last_s >= before_s}

    def counts(self, labels: tuple[str, ...]) -> dict[str, Any]:
        """Return how many crossed in and out, in all and by class."""
        ways = {"in": 0, "out": 0}
        by_class: dict[str, dict[str, int]] = {}
        for (direction, label_id), n in self._totals.items():
            ways[direction] += n
            by_class.setdefault(_name(labels, label_id), {"in": 0, "out": 0})[direction] += n
        return {**ways, "classes": dict(sorted(by_class.items()))}


class ZoneCounter:
    """Count who is in one zone and how long each stays.

    A track that is first seen inside has entered then; one that ends inside, or is not seen for `gone_s`, has left when
    it was last seen. So `entered - left` is always the number inside.
    """

    def __init__(
        self,
        zone: Zone,
        *,
        confirm_s: float = 0.1,
        anchor: Anchor = "bottom",
        gone_s: float = 2.0,
        most: int | None = None,
    ) -> None:
        """Count visits of `zone`; all are counted, and the last `most` of them are held (None: all)."""
        self.zone, self._confirm_s, self._anchor, self._gone_s = zone, confirm_s, anchor, gone_s
        self._points = np.array(zone.points, np.float64)
        self._sides: dict[int, _Side] = {}
        self._open: dict[int, Visit] = {}
        self.visits: deque[Visit] = deque(maxlen=most)
        self._entered = 0
        self._time_s = 0.0

    def update(
        self,
        track_ids: NDArray[np.int64],
        boxes_xyxy: NDArray[np.float64],
        label_ids: NDArray[np.int64],
        *,
        time_s: float,
        frame: int,
    ) -> None:
        """Take the tracks of the next frame."""
        self._time_s = time_s
        for track in [t for t in self._open if time_s - self._sides[t].last_s > self._gone_s + _MOMENT_S]:
            self._open.pop(track).left_s = self._sides.pop(track).last_s
        anchors = anchors_of(boxes_xyxy, self._anchor)
        heights = (boxes_xyxy[:, 3] - boxes_xyxy[:, 1]).tolist()
        distances = _depths(anchors, self._points).tolist()
        for track, label, (x, y), height, depth in zip(
            track_ids.tolist(), label_ids.tolist(), anchors.tolist(), heights, distances, strict=True
        ):
            side = self._sides.setdefault(track, _Side(self._confirm_s))
            if not side.add(_Sample(time_s, frame, depth, x, y), height):
                continue
            if side.held > 0:
                visit = self._open[track] = Visit(self.zone.name, track, label, side.run[0].time_s)
                self.visits.append(visit)
                self._entered += 1
            elif track in self._open:
                self._open.pop(track).left_s = side.run[0].time_s

    def settle(self, label_ids: Mapping[int, int]) -> None:
        """Set visits to the class of their track in `label_ids`."""
        for visit in self.visits:
            visit.label_id = label_ids.get(visit.track_id, visit.label_id)

    def forget(self, *, before_s: float) -> None:
        """Forget the sides of tracks that were last seen before a time and are not inside; visits stay counted."""
        self._sides = {t: side for t, side in self._sides.items() if side.last_s >= before_s or t in self._open}

    def counts(self, labels: tuple[str, ...]) -> dict[str, Any]:
        """Return who is inside, how many entered and left, and how long they stayed (those inside: until now)."""
        stays = [(v.left_s if v.left_s is not None else self._time_s) - v.entered_s for v in self.visits]
        names = Counter(_name(labels, v.label_id) for v in self._open.values())
        return {
            "now": len(self._open),
            "entered": self._entered,
            "left": self._entered - len(self._open),
            "classes_now": dict(sorted(names.items())),
            "dwell": {
                "n": len(stays),
                "median": float(np.median(stays)) if stays else None,
                "p95": float(np.quantile(stays, 0.95)) if stays else None,
            },
        }


def _name(labels: tuple[str, ...], label_id: int) -> str:
    return labels[label_id] if label_id < len(labels) else f"class {label_id}"


def _depths(points: NDArray[np.float64], polygon: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance of each point (n, 2) from the polygon's border, above 0 inside (even-odd rule)."""
    start, end = polygon, np.roll(polygon, -1, 0)
    way = end - start
    from_start = points[:, None] - start
    share = np.clip((from_start * way).sum(2) / np.maximum((way**2).sum(1), 1e-12), 0, 1)
    distance = np.sqrt(((from_start - share[..., None] * way) ** 2).sum(2)).min(1)
    x, y = points[:, :1], points[:, 1:]
    spans = (start[:, 1] > y) != (end[:, 1] > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = start[:, 0] + (y - start[:, 1]) * way[:, 0] / way[:, 1]
    inside = (spans & (x < at)).sum(1) % 2 == 1
    found: NDArray[np.float64] = np.where(inside, distance, -distance)
    return found
