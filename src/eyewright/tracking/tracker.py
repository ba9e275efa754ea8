"""Several objects over time: detections frame by frame in, tracks with identities out."""

__all__ = ["Tracker", "TrackPrediction", "TrackingMethod", "TrackerSettings"]

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.tracking.association import FEW_PAIRS, associate, associate_few, overlaps
from eyewright.tracking.checking import checked
from eyewright.tracking.confidence import ScoreScale
from eyewright.tracking.filters import BoxFilter, FilterNoise

_MOMENT_S = 1e-9
_MOST_MARGIN = 0.6
_STEPS, _LEAST_EASE = 16, 0.5
# Of the tracks with a second sighting, the share that stays until its evidence is 8: from 0.8 on, tracks are trusted;
# up to 0.7, many begin at false detections. Counted as if these had come before.
_SETTLED, _FEW, _MOST = 8.0, 0.7, 0.8
_PRIOR_STAYED, _PRIOR_WENT = 3.0, 1.0
# More tracks than this are forgotten by halves: what a source shows changes in the course of a day.
_REMEMBERED = 400.0
# Relative to the score that counts as certain, where tracks are trusted and where they are not.
_HIGH, _DOUBTED_HIGH = 0.1, 0.55
# Likewise where scores are no probabilities, and a weight is 0.5 for the lowest of them and 1 for the highest.
_RANKED_HIGH, _DOUBTED_RANKED_HIGH = 0.5, 0.65
# Where tracks are not trusted, a detection must overlap more to continue one.
_DOUBTED_OVERLAP = 0.25
# Where all scores are the same, false detections continue tracks as well as true ones do; overlap alone must tell.
_FLAT_OVERLAP, _FLAT_SEEN = 0.25, 0.4
_HALF = 0.5
_MOST_COMPARED = 4_000_000


@dataclass(frozen=True, eq=False)
class TrackPrediction:
    """The objects of one frame whose track is confirmed.

    An object whose track is not confirmed yet has no identity, so that nobody counts it; it is in `unconfirmed` alone.

    Args:
        track_ids: int64 (n,), from 1; an identity is never used twice.
        boxes_xyxy: float64 (n, 4), the detection of each track.
        scores: float64 (n,), of the detection.
        label_ids: int64 (n,), the class for which the track's detections have voted.
        detections: int64 (n,), which detection of the frame each one is.
        time_s: the frame's time.
        keys: int64 (n,), names of the tracks that they have from their first detection on.
        unconfirmed: int64 (k,), detections of tracks that are not confirmed yet.
        unconfirmed_keys: int64 (k,), their names.
    """

    track_ids: NDArray[np.int64]
    boxes_xyxy: NDArray[np.float64]
    scores: NDArray[np.float64]
    label_ids: NDArray[np.int64]
    detections: NDArray[np.int64]
    time_s: float
    keys: NDArray[np.int64]
    unconfirmed: NDArray[np.int64]
    unconfirmed_keys: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.track_ids)


class TrackingMethod(Protocol):
    """What follows objects: `update` once a frame, `reset` before another source."""

    def update(
        self,
        boxes_xyxy: NDArray[np.float64],
        scores: NDArray[np.float64] | None = None,
        label_ids: NDArray[np.int64] | None = None,
        *,
        time_s: float,
    ) -> TrackPrediction:
        """Return the tracks of the next frame, from its detections (n, 4) and its time in seconds."""
        ...

    def reset(self) -> None:
        """Forget all tracks; identities start at 1 again."""
        ...


@dataclass(frozen=True)
class TrackerSettings:
    """How objects are followed. Waits are in seconds; a track always waits for one frame more than the last it was in.

    Args:
        lost_s: how long a confirmed track that is not seen is kept.
        confirm_s: a track is confirmed when it has been seen at least twice over at least this time.
        patience_s: how long an unconfirmed track that is not seen is kept.
        high: detections from this score on begin tracks, and are associated first. None derives it from the scores
            that came so far: 0.1 times the score that one in ten exceeds, so that a detector whose scores are low,
            is followed too; up to 0.55 times where most tracks begin at false detections. Of scores that are no
            probabilities (one is below 0 or above 1) only the order is used: every detection may begin a track, or
            the upper 70 % of them where most tracks begin at false detections.
        low: detections below this score are left out; where `high` is None, it is multiplied likewise.
        overlap: IoU, times the score, at which a detection belongs where a track is expected; after a step that is
            longer than usual, as where frames are dropped, down to half of it; up to 0.25 where most tracks begin at
            false detections, and at least 0.25 where `high` is None and all scores so far are the same.
        low_overlap: IoU at which a detection with a low score belongs to a track of the last frame; likewise.
        seen_overlap: IoU at which a detection belongs where a track was last seen, both boxes grown by `seen_margin`;
            at least 0.4 where `high` is None and all scores so far are the same.
        seen_margin: part of its size by which a box is grown on every side.
        seen_growth: how much larger this part is a second after a track was seen, up to 0.6 in all.
        duplicate: a detection that overlaps the detection of a track by more than this (IoU) is another box of the
            same object: it continues no track, and begins none.
        duplicate_other: likewise where the two detections have different classes, such as a rider and a bicycle.
        confirm_first: whether the tracks of the first frame are confirmed at once.
        stages: 3, all of `Tracker`; 2, without the place where a track was last seen; 1, high scores alone.
        per_class: whether a track takes detections of its own class only; else the class is the track's by vote.
        evidence: whether a track is dropped that more frames miss than show: an unconfirmed one always, a confirmed one
            where most tracks begin at false detections, in which case a confirmation takes a frame more too. Else only
            `lost_s` and `patience_s` end a track.
        noise: of the filter.
    """

    lost_s: float = 2.0
    confirm_s: float = 0.1
    patience_s: float = 0.15
    high: float | None = None
    low: float = 0.1
    overlap: float = 0.1
    low_overlap: float = 0.4
    seen_overlap: float = 0.15
    seen_margin: float = 0.3
    seen_growth: float = 0.6
    duplicate: float = 0.4
    duplicate_other: float = 0.6
    confirm_first: bool = True
    stages: int = 3
    per_class: bool = False
    evidence: bool = True
    noise: FilterNoise = field(default_factory=FilterNoise)

    def __post_init__(self) -> None:
        if self.stages not in (1, 2, 3):
            raise UsageError(f"expected 1, 2 or 3 stages of association, found {self.stages!r}")
        for name in ("lost_s", "confirm_s", "patience_s"):
            if not 0 <= getattr(self, name) <= 1e6:
                raise UsageError(f"expected {name} from 0 to 1,000,000 seconds, found {getattr(self, name)!r}")


class Tracker:
    """Follow boxes by place, size and motion: association in three stages, one filter for all tracks.

    High scores are associated with where tracks are expected (Bewley et al. 2016), low scores with what is left of the
    last frame's tracks (ByteTrack, Zhang et al. 2022), and high scores that are left with where tracks were last seen
    (OC-SORT, Cao et al. 2023). All state lies in the object; one tracker follows one source.

    The evidence for a track is how many more frames showed it than did not. How much of it is needed is learnt from the
    source: where few of the tracks that are seen twice stay, most begin at false detections, so a track needs one
    frame more to be confirmed, a higher score to begin, and is dropped earlier when it is not seen.

    >>> tracker = Tracker()
    >>> for k in range(5):
    ...     found = tracker.update(np.array([[10.0 + k, 10, 30 + k, 50]]), time_s=k / 10)
    >>> found.track_ids.tolist()
    [1]
    """

    def __init__(self, settings: TrackerSettings | None = None) -> None:
        self.settings = settings or TrackerSettings()
        self.reset()

    def reset(self) -> None:
        """Forget all tracks; identities start at 1 again."""
        self._filter = BoxFilter(self.settings.noise)
        self._time_s: float | None = None
        self._next_id = self._next_key = 1
        self._steps: deque[float] = deque(maxlen=_STEPS)
        self._usual_s, self._ease = math.inf, 1.0
        self._scale = ScoreScale()
        self._stayed, self._went, self._frame = _PRIOR_STAYED, _PRIOR_WENT, 0
        # Whether the last frame did not show one of the tracks.
        self._waiting = False
        # One row a track: the rows of these and of the filter belong together.
        self._keys = np.zeros(0, np.int64)
        self._ids = np.zeros(0, np.int64)
        self._first_s = np.zeros(0)
        self._last_s = np.zeros(0)
        self._last_frame = np.zeros(0, np.int64)
        self._evidence = np.zeros(0)
        self._seen = np.zeros((0, 4))
        self._votes: NDArray[np.float64] | None = None

    def lost(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the confirmed tracks that the last frame did not show, and the boxes (n, 4) that are expected."""
        rows = np.flatnonzero((self._ids > 0) & (self._last_s != self._time_s))
        return self._ids[rows], self._filter.corners()[rows]

    def move(self, affine: NDArray[np.float64]) -> None:
        """Move all tracks as the camera moved since the last frame, by a map of pixels, float64 (2, 3)."""
        if not len(self._keys):
            return
        self._filter.move(affine)
        corners = self._seen[:, [0, 1, 2, 1, 0, 3, 2, 3]].reshape(-1, 4, 2) @ affine[:, :2].T + affine[:, 2]
        self._seen = np.concatenate([corners.min(1), corners.max(1)], 1)

    def update(
        self,
        boxes_xyxy: NDArray[np.float64],
        scores: NDArray[np.float64] | None = None,
        label_ids: NDArray[np.int64] | None = None,
        *,
        time_s: float,
    ) -> TrackPrediction:
        """Return the tracks of the next frame, from its detections (n, 4), n of any number, and its time in seconds.

        Boxes without an area or with numbers that are not finite are left out. Scores may be of any scale. A score that
        is missing (NaN) is the highest of its frame, at least 1.

        Raises:
            UsageError: arrays that do not belong together, or a time before that of the last frame.
        """
        boxes, scores, labels, given, least = checked(boxes_xyxy, scores, label_ids)
        first = self._time_s is None
        before = self._advance(time_s)
        weights, high, low, unit = self._marks(scores, least)
        owner, spare = self._associate(boxes, weights, labels, before, high, low, unit)
        taken = (owner >= 0).nonzero()[0]
        if len(taken):
            rows, whole = owner[taken], len(taken) == len(boxes)
            own = boxes if whole else boxes[taken]
            self._filter.correct(rows, own)
            self._weigh(rows)
            if len(rows) == len(self._keys):
                self._last_s.fill(time_s)
                self._last_frame.fill(self._frame)
            else:
                self._last_s[rows], self._last_frame[rows] = time_s, self._frame
            self._seen[rows] = own
        if len(taken) < len(boxes):
            new = ((owner < 0) & (weights >= high) & spare).nonzero()[0]
            if len(new) > 1:
                new = self._without_duplicates(new, boxes, weights, labels)
            if len(new):
                owner[new] = np.arange(len(self._keys), len(self._keys) + len(new))
                self._begin(boxes[new], time_s)
                taken = (owner >= 0).nonzero()[0]
        rows = owner[taken]
        if labels is not None:
            self._vote(rows, labels[taken], weights[taken])
        ids, keys = self._ids[rows], self._keys[rows]
        # Counted and not asked by `all`, which numpy does in Python.
        if np.count_nonzero(ids) < len(ids):
            self._confirm(rows[ids == 0], time_s, first=first)
            ids = self._ids[rows]
        named = np.zeros(len(rows), np.int64) if labels is None else self._winners(rows)
        if np.count_nonzero(ids) == len(ids):
            # So it is in almost every frame.
            whole = len(taken) == len(boxes)
            own_boxes, own_scores = (boxes, scores) if whole else (boxes[taken], scores[taken])
            none = taken[:0]
            return TrackPrediction(ids, own_boxes, own_scores, named, _outer(taken, given), time_s, keys, none, none)
        mask = ids > 0
        shown, waiting = taken[mask], taken[~mask]
        return TrackPrediction(
            ids[mask], boxes[shown], scores[shown], named[mask], _outer(shown, given), time_s, keys[mask],
            _outer(waiting, given), keys[~mask],
        )  # fmt: skip

    def _advance(self, time_s: float) -> float:
        """Drop tracks that have waited too long, move the others on, and return the time of the last frame."""
        before = self._time_s
        self._frame += 1
        if before is None:
            if not np.isfinite(time_s):
                raise UsageError(f"expected the time of a frame in seconds, found {time_s!r}")
            self._time_s = float(time_s)
            return self._time_s
        if not time_s >= before or time_s - before > 1e9:
            raise UsageError(
                f"expected a time of at least {before:g} s, that of the last frame, found {time_s:g} s",
                fix="give frames in order, or call reset() before another source",
            )
        self._time_s = float(time_s)
        self._ease = self._eased(time_s - before)
        last = self._last_s
        if not len(last):
            return before
        waiting = (last < before).nonzero()[0]
        self._waiting = len(waiting) > 0
        if self._waiting:
            self._drop(waiting, time_s)
        self._filter.predict(min(time_s - before, max(self.settings.lost_s, 10.0)))
        return before

    def _drop(self, waiting: NDArray[np.int64], time_s: float) -> None:
        """Drop those of the tracks `waiting`, which the last frame did not show, that have waited too long."""
        o, doubt, ended = self.settings, self._doubt, []
        # They are few, so that Python is quicker than numpy.
        for row, ident, last, shown, evidence in zip(
            waiting.tolist(),
            self._ids[waiting].tolist(),
            self._last_s[waiting].tolist(),
            self._last_frame[waiting].tolist(),
            self._evidence[waiting].tolist(),
            strict=True,
        ):
            wait, part = (o.lost_s, doubt) if ident > 0 else (o.patience_s, 1.0)
            missed = part * (self._frame - 1 - shown)
            if time_s - last > wait + _MOMENT_S or (o.evidence and evidence < missed):
                ended.append(row)
                self._went += 1 <= evidence < _SETTLED
        if not ended:
            return
        if self._stayed + self._went > _REMEMBERED:
            self._stayed, self._went = self._stayed / 2, self._went / 2
        kept = np.ones(len(self._keys), bool)
        kept[ended] = False
        self._filter.keep(kept)
        self._keys, self._ids, self._evidence = self._keys[kept], self._ids[kept], self._evidence[kept]
        self._first_s, self._last_s, self._seen = self._first_s[kept], self._last_s[kept], self._seen[kept]
        self._last_frame = self._last_frame[kept]
        if self._votes is not None:
            self._votes = self._votes[kept]

    def _eased(self, step_s: float) -> float:
        """Return by how much overlaps may be smaller after this step, 0.5 to 1: in a longer step things move further.

        What is usual is the shortest quarter of the last steps, so that it is known where frames are dropped.
        """
        self._steps.append(step_s)
        if not 0.99 * self._usual_s <= step_s <= 1.01 * self._usual_s:
            self._usual_s = sorted(self._steps)[len(self._steps) // 4]
        return 1.0 if step_s <= 1.01 * self._usual_s else max(_LEAST_EASE, self._usual_s / step_s)

    @property
    def _doubt(self) -> float:
        """How much evidence a frame takes from a confirmed track that it does not show, 0 to 1: none where nearly all
        tracks that are seen twice settle, 1 where few do."""
        if not self.settings.evidence:
            return 0.0
        share = self._stayed / (self._stayed + self._went)
        return min(max((_MOST - share) / (_MOST - _FEW), 0.0), 1.0)

    def _marks(self, scores: NDArray[np.float64], least: float) -> tuple[NDArray[np.float64], float, float, float]:
        """Return weights of the detections, the weights from which they begin and continue tracks, and the one that
        counts as certain; `least` is the lowest score."""
        o = self.settings
        if o.high is not None:
            if least < 0 or np.maximum.reduce(scores, initial=0.0) > 1:
                # No probabilities: they reach the two scores or not.
                return 0.5 * (scores >= o.low) + 0.5 * (scores >= o.high), 1.0, 0.5, 1.0
            return scores, o.high, o.low, 1.0
        weights, unit = self._scale.update(scores)
        doubt = self._doubt
        if self._scale.ranked:
            return weights, _RANKED_HIGH * (1 - doubt) + _DOUBTED_RANKED_HIGH * doubt, 0.0, unit
        high = (_HIGH * (1 - doubt) + _DOUBTED_HIGH * doubt) * unit
        return weights, high, min(o.low * unit, high), unit

    def _associate(
        self,
        boxes: NDArray[np.float64],
        weights: NDArray[np.float64],
        labels: NDArray[np.int64] | None,
        before: float,
        high: float,
        low: float,
        unit: float,
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_] | bool]:
        """Return the row of the track that each detection belongs to, -1 for none, int64 (n,), and which detections are
        no duplicates of those that belong to a track."""
        o = self.settings
        owner = np.empty(len(boxes), np.int64)
        owner.fill(-1)
        n = len(self._keys)
        if not n or not len(boxes):
            return owner, True
        same = None
        if o.per_class and labels is not None:
            same = self._winners(np.arange(n))[:, None] == labels
        doubt = self._doubt
        overlap = o.overlap if not doubt else o.overlap + doubt * max(_DOUBTED_OVERLAP - o.overlap, 0.0)
        flat = o.high is None and self._scale.flat
        if flat:
            overlap = max(overlap, _FLAT_OVERLAP)
        rows, found = self._first_stage(boxes, weights, high, unit, overlap * self._ease, same)
        owner[found] = rows
        if len(rows) == len(boxes):
            return owner, True
        left = (owner < 0).nonzero()[0]
        spare = np.ones(len(boxes), bool)
        spare[left] = self._distinct(left, found, boxes, labels)
        if len(rows) == n:
            return owner, spare
        free = np.ones(n, bool)
        free[rows] = False
        if o.stages > 1 and np.minimum.reduce(weights) < high:
            weak = ((weights >= low) & (weights < high) & spare).nonzero()[0]
            waiting = (free & (self._last_s >= before)).nonzero()[0]
            allowed = None if same is None else same[waiting[:, None], weak]
            expected = self._filter.corners()[waiting]
            rows, columns = associate(expected, boxes[weak], o.low_overlap * self._ease, allowed=allowed)
            owner[weak[columns]] = waiting[rows]
            free[waiting[rows]] = False
        new = ((weights >= high) & (owner < 0) & spare).nonzero()[0]
        if len(new) and o.stages > 2 and free.any():
            waiting = free.nonzero()[0]
            age = (self._time_s or 0.0) - self._last_s[waiting]
            margin = np.minimum(o.seen_margin + o.seen_growth * age, _MOST_MARGIN)[:, None]
            seen, shown = _grown(self._seen[waiting], margin), _grown(boxes[new], o.seen_margin)
            allowed = None if same is None else same[waiting[:, None], new]
            seen_overlap = max(o.seen_overlap, _FLAT_SEEN) if flat else o.seen_overlap
            rows, columns = associate(seen, shown, seen_overlap, allowed=allowed)
            owner[new[columns]] = waiting[rows]
        return owner, spare

    def _first_stage(
        self,
        boxes: NDArray[np.float64],
        weights: NDArray[np.float64],
        high: float,
        unit: float,
        overlap: float,
        same: NDArray[np.bool_] | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return which tracks and which detections, of those with high scores, belong together where tracks are
        expected; `same`, bool (n, m), allows pairs."""
        if len(self._keys) * len(boxes) <= FEW_PAIRS and same is None and overlap > 0:
            given, values = boxes.tolist(), weights.tolist()
            chosen = [k for k, value in enumerate(values) if value >= high]
            if len(chosen) < len(given):
                given, values = [given[k] for k in chosen], [values[k] for k in chosen]
            certain = [value / unit if value < unit else 1.0 for value in values]
            few = associate_few(self._filter.corners_list(), given, overlap, certain)
            return np.array(few[0], np.int64), np.array([chosen[k] for k in few[1]], np.int64)
        strong = (weights >= high).nonzero()[0]
        whole = len(strong) == len(boxes)
        own: NDArray[np.float64] = weights if whole else weights[strong]
        if unit != 1.0:
            own = np.minimum(own / unit, 1.0)
        rows, columns = associate(
            self._filter.corners(), boxes if whole else boxes[strong], overlap, weights=own,
            allowed=None if same is None else same[:, strong],
        )  # fmt: skip
        return rows, strong[columns]

    def _distinct(
        self,
        left: NDArray[np.int64],
        taken: NDArray[np.int64],
        boxes: NDArray[np.float64],
        labels: NDArray[np.int64] | None,
    ) -> NDArray[np.bool_]:
        """Return which of the detections `left` are no duplicates of those that belong to tracks, `taken`."""
        if not len(taken) or len(left) * len(taken) > _MOST_COMPARED:
            return np.ones(len(left), bool)
        second: NDArray[np.bool_] = np.logical_or.reduce(self._close(left, taken, boxes, labels), axis=1)
        return ~second

    def _close(
        self,
        some: NDArray[np.int64],
        others: NDArray[np.int64],
        boxes: NDArray[np.float64],
        labels: NDArray[np.int64] | None,
    ) -> NDArray[np.bool_]:
        """Return which of some detections and of others overlap as two boxes of one object do, bool (n, m)."""
        shared = overlaps(boxes[some], boxes[others])
        close: NDArray[np.bool_] = shared > self.settings.duplicate
        if labels is not None and self.settings.duplicate_other != self.settings.duplicate:
            same: NDArray[np.bool_] = labels[some][:, None] == labels[others]
            close &= same | (shared > self.settings.duplicate_other)
        return close

    def _without_duplicates(
        self,
        new: NDArray[np.int64],
        boxes: NDArray[np.float64],
        weights: NDArray[np.float64],
        labels: NDArray[np.int64] | None,
    ) -> NDArray[np.int64]:
        """Return those of the detections `new` that no better one of them duplicates, in their order."""
        if len(new) ** 2 > _MOST_COMPARED:
            return new
        close = self._close(new, new, boxes, labels)
        if np.count_nonzero(close) == len(new):
            return new
        kept = np.ones(len(new), bool)
        for k in np.argsort(-weights[new], kind="stable").tolist():
            if kept[k]:
                kept &= ~close[k]
                kept[k] = True
        return new[kept]

    def _begin(self, boxes: NDArray[np.float64], time_s: float) -> None:
        k = len(boxes)
        self._filter.add(boxes)
        self._keys = np.concatenate([self._keys, np.arange(self._next_key, self._next_key + k)])
        self._next_key += k
        self._ids = np.concatenate([self._ids, np.zeros(k, np.int64)])
        self._first_s = np.concatenate([self._first_s, np.full(k, time_s)])
        self._last_s = np.concatenate([self._last_s, np.full(k, time_s)])
        self._last_frame = np.concatenate([self._last_frame, np.full(k, self._frame)])
        self._evidence = np.concatenate([self._evidence, np.zeros(k)])
        self._seen = np.concatenate([self._seen, boxes])
        if self._votes is not None:
            self._votes = np.concatenate([self._votes, np.zeros((k, self._votes.shape[1]))])

    def _weigh(self, rows: NDArray[np.int64]) -> None:
        """Add a frame to the evidence for the tracks `rows`, and count those that stay."""
        before = self._evidence[rows]
        now = before + 1.0
        if self._waiting:
            unseen = self._frame - 1 - self._last_frame[rows]
            if np.count_nonzero(unseen):
                now = np.maximum(before - unseen, 0.0) + 1.0
        self._evidence[rows] = now
        if np.minimum.reduce(before) < _SETTLED:
            self._stayed += int(np.count_nonzero((before < _SETTLED) & (now >= _SETTLED)))

    def _confirm(self, new: NDArray[np.int64], time_s: float, *, first: bool) -> None:
        """Return an identity to those of the unconfirmed tracks `new` that have been seen for long enough."""
        if not (first and self.settings.confirm_first):
            seen_s = time_s - self._first_s[new]
            # A track that began before this frame and is in it has been seen twice.
            needed = 1.0 if self._doubt < _HALF else 2.0
            new = new[(self._evidence[new] >= needed) & (seen_s >= self.settings.confirm_s - _MOMENT_S)]
        self._ids[new] = np.arange(self._next_id, self._next_id + len(new))
        self._next_id += len(new)

    def _vote(self, rows: NDArray[np.int64], labels: NDArray[np.int64], scores: NDArray[np.float64]) -> None:
        if not len(rows):
            return
        wide = int(labels.max()) + 1
        votes = np.zeros((len(self._keys), wide)) if self._votes is None else self._votes
        if votes.shape[1] < wide:
            votes = np.pad(votes, ((0, 0), (0, wide - votes.shape[1])))
        votes[rows, labels] += scores
        self._votes = votes

    def _winners(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        if self._votes is None:
            return np.zeros(len(rows), np.int64)
        winners: NDArray[np.int64] = self._votes[rows].argmax(1)
        return winners


def _outer(rows: NDArray[np.int64], given: NDArray[np.int64] | None) -> NDArray[np.int64]:
    return rows if given is None else given[rows]


def _grown(boxes: NDArray[np.float64], share: float | NDArray[np.float64]) -> NDArray[np.float64]:
    margin = (boxes[:, 2:] - boxes[:, :2]) * share
    return np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], 1)
