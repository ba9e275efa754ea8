"""What comes of following one source: its tracks, crossings and visits."""

__all__ = ["Recorder", "Watch"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.tracks import Tracks
from eyewright.tracking.lines import Anchor, Crossing, Line, LineCounter, Zone, ZoneCounter
from eyewright.tracking.tracker import TrackPrediction

_MOST_EVENTS = 1000
_FORGET_EVERY = 100


@dataclass(frozen=True)
class Watch:
    """What is counted: lines and zones, by which point of a box, and how long a side must be held."""

    lines: tuple[Line, ...] = ()
    zones: tuple[Zone, ...] = ()
    anchor: Anchor = "bottom"
    confirm_s: float = 0.1
    gone_s: float = 2.0


@dataclass
class _Span:
    label_id: int
    first_s: float
    last_s: float
    frames: int


class Recorder:
    """Take a tracker's frames one after another and hold what was received of them.

    With `keep_rows` every box is held, for files; a stream without an end is followed without. With `forget_s` its
    memory is bounded: a track that is not seen for so long is only counted, and of crossings and visits the last 1,000
    are held.
    """

    def __init__(
        self,
        labels: Sequence[str],
        watch: Watch | None = None,
        *,
        keep_rows: bool = True,
        forget_s: float | None = None,
    ) -> None:
        self.labels = tuple(labels)
        self._watch = watch or Watch()
        w = self._watch
        most = None if forget_s is None else _MOST_EVENTS
        self.lines = [LineCounter(line, confirm_s=w.confirm_s, anchor=w.anchor, most=most) for line in w.lines]
        self.zones = [
            ZoneCounter(z, confirm_s=w.confirm_s, anchor=w.anchor, gone_s=w.gone_s, most=most) for z in w.zones
        ]
        self._keep, self._forget_s = keep_rows, forget_s
        self._forgotten = 0
        self._spans: dict[int, _Span] = {}
        self._ids: dict[int, int] = {}
        self._rows: list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], int, float]] = []
        self.n_frames = 0

    def take(
        self,
        found: TrackPrediction,
        boxes_xyxy: NDArray[np.float64],
        scores: NDArray[np.float64],
        *,
        frame: int,
    ) -> list[Crossing]:
        """Take a frame: what was found of its detections `boxes_xyxy` (n, 4); return the crossings it confirms."""
        if self._keep:
            rows = np.concatenate([found.detections, found.unconfirmed])
            keys = np.concatenate([found.keys, found.unconfirmed_keys])
            self._ids |= zip(found.keys.tolist(), found.track_ids.tolist(), strict=True)
            self._rows.append((keys, boxes_xyxy[rows], scores[rows], frame, found.time_s))
        return self.watch(found.track_ids, found.boxes_xyxy, found.label_ids, time_s=found.time_s, frame=frame)

    def watch(
        self,
        track_ids: NDArray[np.int64],
        boxes_xyxy: NDArray[np.float64],
        label_ids: NDArray[np.int64],
        *,
        time_s: float,
        frame: int,
    ) -> list[Crossing]:
        """Count the tracks of a frame, and nothing else of it."""
        self.n_frames += 1
        for track, label in zip(track_ids.tolist(), label_ids.tolist(), strict=True):
            span = self._spans.setdefault(track, _Span(label, time_s, time_s, 0))
            span.label_id, span.last_s = label, time_s
            span.frames += 1
        crossings: list[Crossing] = []
        for line in self.lines:
            crossings += line.update(track_ids, boxes_xyxy, label_ids, time_s=time_s, frame=frame)
        for zone in self.zones:
            zone.update(track_ids, boxes_xyxy, label_ids, time_s=time_s, frame=frame)
        if self._forget_s is not None and self.n_frames % _FORGET_EVERY == 0:
            self._forget(time_s - self._forget_s)
        return crossings

    def _forget(self, before_s: float) -> None:
        kept = {i: s for i, s in self._spans.items() if s.last_s >= before_s}
        self._forgotten += len(self._spans) - len(kept)
        self._spans = kept
        for line in self.lines:
            line.forget(before_s=before_s)
        for zone in self.zones:
            zone.forget(before_s=before_s)

    @property
    def n_tracks(self) -> int:
        """How many tracks there have been."""
        return self._forgotten + len(self._spans)

    def first_seen_s(self, track_id: int) -> float:
        """Return when a track was first seen."""
        return self._spans[track_id].first_s

    def is_new(self, track_id: int) -> bool:
        """Return whether a track has been seen in one frame only."""
        return self._spans[track_id].frames == 1

    def tracks(self, *, early: bool = False) -> Tracks:
        """Return the boxes of all confirmed tracks; with `early` those too that came before their confirmation."""
        parts: list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], int, float]] = []
        # A track is online from the frame in which its name is known.
        first = {i: s.first_s for i, s in self._spans.items()}
        for keys, boxes, scores, frame, time_s in self._rows:
            ids = np.array([self._ids.get(k, 0) for k in keys.tolist()], np.int64).reshape(len(keys))
            kept = ids > 0
            if not early:
                kept &= np.array([time_s >= first.get(i, 0.0) for i in ids.tolist()], bool).reshape(len(ids))
            parts.append((ids[kept], boxes[kept], scores[kept], frame, time_s))
        n = [len(p[0]) for p in parts]
        ids = np.concatenate([*(p[0] for p in parts), np.zeros(0, np.int64)])
        labels = self.label_ids()
        return Tracks(
            np.repeat(np.array([p[3] for p in parts], np.int64), n),
            ids,
            np.concatenate([*(p[1] for p in parts), np.zeros((0, 4))]),
            np.concatenate([*(p[2] for p in parts), np.zeros(0)]),
            np.array([labels.get(i, 0) for i in ids.tolist()], np.int64).reshape(len(ids)),
            self.labels,
            np.repeat(np.array([p[4] for p in parts], np.float64), n),
        )

    @staticmethod
    def of(tracks: Tracks, watch: Watch | None, *, end_s: float) -> "Recorder":
        """Return what comes of tracks that are known already, with `times_s`, in a sequence that ends at `end_s`."""
        recorder = Recorder(tracks.labels, watch, keep_rows=False)
        t = tracks.ordered()
        times = np.zeros(len(t)) if t.times_s is None else t.times_s
        # Frames without boxes, of which a file may state millions, change nothing but the time.
        numbers, starts = np.unique(t.frames, return_index=True)
        ends = np.append(starts, len(t))[1:]
        for number, a, b in zip(numbers.tolist(), starts.tolist(), ends.tolist(), strict=True):
            at = slice(a, b)
            recorder.watch(t.ids[at], t.boxes_xyxy[at], t.label_ids[at], time_s=float(times[a]), frame=number)
        none = np.zeros(0, np.int64)
        last_s = float(times[-1]) if len(t) else 0.0
        recorder.watch(none, np.zeros((0, 4)), none, time_s=max(end_s, last_s), frame=t.n_frames + 1)
        return recorder

    def label_ids(self) -> dict[int, int]:
        """Return the class of each track: the last one, which is that of most of its detections."""
        return {i: s.label_id for i, s in self._spans.items()}

    def settle(self) -> None:
        """Set every crossing and visit to the class that its track has at the end, so that all that is written agrees.

        Nothing changes where tracks are forgotten: their classes are not known any longer.
        """
        if self._forget_s is None:
            labels = self.label_ids()
            for line in self.lines:
                line.settle(labels)
            for zone in self.zones:
                zone.settle(labels)

    @property
    def crossings(self) -> list[Crossing]:
        """All crossings, by time."""
        return sorted((c for line in self.lines for c in line.crossings), key=lambda c: (c.time_s, c.track_id))

    def to_json(self) -> dict[str, Any]:
        """Return tracks, events, counts and zones as plain JSON types."""

        def name(label_id: int) -> str:
            return self.labels[label_id] if label_id < len(self.labels) else f"class {label_id}"

        found: dict[str, Any] = {
            "tracks": [
                {
                    "id": i, "label": name(s.label_id), "first_s": round(s.first_s, 4), "last_s": round(s.last_s, 4),
                    "frames": s.frames,
                }
                for i, s in sorted(self._spans.items())
            ],
        }  # fmt: skip
        if self.lines:
            found["events"] = [
                {
                    "line": c.line, "direction": c.direction, "id": c.track_id, "label": name(c.label_id),
                    "time_s": round(c.time_s, 4), "frame": c.frame,
                }
                for c in self.crossings
            ]  # fmt: skip
            found["counts"] = {line.line.name: line.counts(self.labels) for line in self.lines}
        if self.zones:
            found["zones"] = {zone.zone.name: zone.counts(self.labels) for zone in self.zones}
        return found
