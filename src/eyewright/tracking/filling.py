"""What a whole file allows and a stream does not: gaps filled, short tracks dropped, early boxes named."""

__all__ = ["FillSettings", "fill_tracks"]

from dataclasses import dataclass, replace

import numpy as np

from eyewright.core.tracks import Tracks


@dataclass(frozen=True)
class FillSettings:
    """How tracks of a file are completed.

    Args:
        gap_s: gaps of a track up to this long are filled by straight lines.
        shortest: tracks of fewer boxes than this are dropped.
        least_seen: tracks that fewer than this part of their frames show are dropped: those with a box of the track or
            within a gap that is filled, as far as any track has a box in them.
    """

    gap_s: float = 1.0
    shortest: int = 5
    least_seen: float = 0.5


def fill_tracks(
    tracks: Tracks, *, seconds_per_frame: float, n_frames: int | None = None, settings: FillSettings | None = None
) -> Tracks:
    """Return tracks without short and rarely seen ones and with their gaps filled, ordered by frame, then by identity.

    A gap is filled where its two ends are at most `gap_s` apart, by the rows' own times or, where they have none, by
    `seconds_per_frame`. Rows that are filled in have the score of the weaker end. A sequence that is shorter than
    `shortest` frames keeps what it has.

    >>> tracks = Tracks.of([(f, 1, f, 0, f + 10, 10) for f in (1, 2, 4, 5, 6)])
    >>> filled = fill_tracks(tracks, seconds_per_frame=0.1)
    >>> filled.frames.tolist(), filled.boxes_xyxy[2].tolist()
    ([1, 2, 3, 4, 5, 6], [3.0, 0.0, 13.0, 10.0])
    """
    o = settings or FillSettings()
    if not len(tracks):
        return tracks
    order = np.lexsort((tracks.frames, tracks.ids))
    t = tracks.keep(order)
    counts = np.unique(t.ids, return_inverse=True, return_counts=True)
    whole = tracks.n_frames if n_frames is None else n_frames
    t = t.keep(counts[2][counts[1]] >= min(o.shortest, max(1, whole)))
    if len(t) < 2:
        return t
    times = t.times_s if t.times_s is not None else t.frames * seconds_per_frame
    steps = np.diff(t.frames)
    gap = (np.diff(t.ids) == 0) & (steps > 1) & (np.diff(times) <= o.gap_s + 1e-9)
    ends = np.flatnonzero(gap)
    inner = steps[ends] - 1
    left = np.repeat(ends, inner)
    # 1, 2, … within each gap.
    place = np.arange(len(left)) - np.repeat(np.cumsum(inner) - inner, inner) + 1
    share = (place / steps[left])[:, None]
    boxes = t.boxes_xyxy[left] * (1 - share) + t.boxes_xyxy[left + 1] * share
    both = np.concatenate([np.arange(len(t)), left])
    filled = replace(
        t.keep(both),
        frames=np.concatenate([t.frames, t.frames[left] + place]),
        boxes_xyxy=np.concatenate([t.boxes_xyxy, boxes]),
        scores=np.concatenate([t.scores, np.fmin(t.scores[left], t.scores[left + 1])]),
    )
    if t.times_s is not None:
        between = t.times_s[left] * (1 - share[:, 0]) + t.times_s[left + 1] * share[:, 0]
        filled = replace(filled, times_s=np.concatenate([t.times_s, between]))
    if o.least_seen > 0:
        own = np.unique(filled.ids, return_inverse=True)[1]
        # Frames that were skipped say nothing.
        shown = np.isin(filled.frames, tracks.frames)
        part = np.bincount(own[: len(t)]) / np.bincount(own, weights=shown)
        filled = filled.keep(part[own] >= o.least_seen)
    return filled.keep(np.lexsort((filled.ids, filled.frames)))
