"""What is hidden in one frame of a video, from what was found in all: nobody appears for the frames that a detector
misses."""

__all__ = ["Memory", "remembered"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eyewright.core.tracks import Tracks
from eyewright.tasks.boxes import keep_apart
from eyewright.tracking import FillSettings, Tracker, TrackerSettings, fill_tracks

_ONE_OBJECT = 0.5


@dataclass(frozen=True)
class Memory:
    """How far a box reaches in time: `hold` frames before and after, and through gaps of a track of up to `gap_s`."""

    hold: int = 5
    gap_s: float = 2.0


def remembered(
    found: Sequence[NDArray[np.float64]], times_s: Sequence[float], memory: Memory | None = None
) -> list[NDArray[np.float64]]:
    """Return the boxes to hide in each frame, (m, 4), from those that were found, x0 y0 x1 y1 score (n, 5) a frame.

    Boxes are followed forwards and backwards in time; where a track has a gap, the boxes in between are filled in from
    both of its ends. Then every box is held before and after. Nothing that was found in a frame is ever dropped.

    >>> seen = [np.array([[0.0, 0, 9, 9, 0.9]]), np.zeros((0, 5)), np.zeros((0, 5))]
    >>> [len(b) for b in remembered(seen, [0.0, 0.1, 0.2], Memory(hold=1))]
    [1, 1, 0]
    """
    memory = memory or Memory()
    n = len(found)
    each: list[list[NDArray[np.float64]]] = [[f[:, :4]] for f in found]
    if n > 1 and memory.gap_s > 0:
        for backwards in (False, True):
            for frame, boxes in _filled(found, times_s, memory.gap_s, backwards=backwards):
                each[frame].append(boxes)
    own = [np.concatenate(parts) for parts in each]
    held = []
    for i in range(n):
        near = np.concatenate(own[max(0, i - memory.hold) : i + memory.hold + 1])
        held.append(np.unique(near, axis=0))
    return held


def _filled(
    found: Sequence[NDArray[np.float64]], times_s: Sequence[float], gap_s: float, *, backwards: bool
) -> list[tuple[int, NDArray[np.float64]]]:
    """Return frames with the boxes that tracks have there, gaps filled."""
    order = range(len(found) - 1, -1, -1) if backwards else range(len(found))
    end = times_s[-1]
    # Every box may begin a track: a false one hides a few pixels.
    tracker = Tracker(
        TrackerSettings(lost_s=gap_s, patience_s=gap_s, confirm_s=0.0, high=0.0, low=0.0, duplicate=1.0, evidence=False)
    )
    frames, ids, boxes, times = [], [], [], []
    for frame in order:
        rows = found[frame]
        one = rows[keep_apart(rows[:, :4], rows[:, 4], iou=_ONE_OBJECT)] if len(rows) else rows
        time_s = end - times_s[frame] if backwards else times_s[frame]
        seen = tracker.update(one[:, :4], one[:, 4], time_s=time_s)
        kept = np.concatenate([seen.detections, seen.unconfirmed])
        keys = np.concatenate([seen.keys, seen.unconfirmed_keys])
        frames.append(np.full(len(keys), frame + 1))
        ids.append(keys)
        boxes.append(one[kept, :4])
        times.append(np.full(len(keys), times_s[frame]))
    m = sum(map(len, ids))
    tracks = Tracks(
        np.concatenate(frames).astype(np.int64), np.concatenate(ids).astype(np.int64), np.concatenate(boxes),
        np.ones(m), np.zeros(m, np.int64), times_s=np.concatenate(times),
    )  # fmt: skip
    whole = fill_tracks(
        tracks, seconds_per_frame=1.0, n_frames=len(found), settings=FillSettings(gap_s=gap_s, shortest=1)
    )
    return [(i, whole.boxes_xyxy[whole.frames == i + 1]) for i in np.unique(whole.frames - 1).tolist()]
