"""A public check of what follows objects: `check_tracker` for a method of your own."""

__all__ = ["check_tracker"]

from collections.abc import Callable

import numpy as np

from eyewright.tracking.tracker import TrackingMethod, TrackPrediction

_BOX = np.array([[100.0, 100, 140, 180], [400, 100, 440, 180]])
_NONE = np.zeros((0, 4))


def check_tracker(build: Callable[[], TrackingMethod]) -> None:
    """Check a tracking method on drawn objects; `build` returns a new one.

    Identities start at 1 for every tracker and after `reset`, occur once a frame and stay with their object; trackers
    share no state; frames without boxes, frames that are left out and invalid boxes are no errors; what comes out
    are detections of the frame, confirmed or not, each once.

    >>> from eyewright.tracking import Tracker
    >>> check_tracker(Tracker)
    """
    first, second = build(), build()
    shown = _follow(first, 20)
    assert shown[-1].track_ids.tolist() == [1, 2], "two walking objects must have the identities 1 and 2"
    assert {i for p in shown for i in p.track_ids.tolist()} == {1, 2}, "an identity must stay with its object"
    again = _follow(second, 20)
    assert [p.track_ids.tolist() for p in again] == [p.track_ids.tolist() for p in shown], (
        "trackers must share no state"
    )
    first.reset()
    after = _follow(first, 20)
    assert [p.track_ids.tolist() for p in after] == [p.track_ids.tolist() for p in shown], (
        "reset must forget everything"
    )

    skipping = build()
    kept = [_step(skipping, k) for k in range(0, 60, 3)]
    assert {i for p in kept for i in p.track_ids.tolist()} == {1, 2}, "frames that are left out must not end a track"

    empty = build()
    for k in range(3):
        assert len(empty.update(_NONE, time_s=float(k))) == 0, "a frame without boxes has no tracks"
    for k in range(5):
        found = empty.update(_BOX, np.array([0.9, 0.9]), np.array([0, 1]), time_s=10 + k / 10)
    assert found.label_ids.tolist() == [0, 1], "a track must have the class of its detections"

    odd = build()
    for k in range(6):
        boxes = np.concatenate([[[np.nan] * 4, [50, 50, 40, 40]], _BOX])
        found = odd.update(boxes, np.full(4, 0.9), time_s=k / 10)
        _check_frame(found, boxes)
        given = {*found.detections.tolist(), *found.unconfirmed.tolist()}
        assert not given & {0, 1}, "an invalid box must not be followed"


def _follow(tracker: TrackingMethod, n: int) -> list[TrackPrediction]:
    return [_step(tracker, k) for k in range(n)]


def _step(tracker: TrackingMethod, k: int) -> TrackPrediction:
    boxes = _BOX + 2.0 * k * np.array([[1, 0, 1, 0], [-1, 0, -1, 0]])
    found = tracker.update(boxes, np.array([0.9, 0.8]), time_s=k / 10)
    _check_frame(found, boxes)
    return found


def _check_frame(found: TrackPrediction, boxes: np.ndarray) -> None:
    n = len(found.track_ids)
    for name in ("boxes_xyxy", "scores", "label_ids", "detections", "keys"):
        assert len(getattr(found, name)) == n, f"expected {n} {name}, one per track"
    assert len(found.unconfirmed) == len(found.unconfirmed_keys), "each unconfirmed detection must have a key"
    assert (found.track_ids >= 1).all(), "identities must start at 1; what is not confirmed must have none"
    assert len(set(found.track_ids.tolist())) == n, "an identity must occur once a frame"
    rows = [*found.detections.tolist(), *found.unconfirmed.tolist()]
    assert len(set(rows)) == len(rows), "a detection must belong to one track at most"
    assert all(0 <= r < len(boxes) for r in rows), "detections must be those of the frame"
