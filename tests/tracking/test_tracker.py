"""The tracker on drawn scenes, and every trap that other trackers fell into (named with its thread)."""

import hashlib
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import UsageError
from eyewright.testing import check_tracker
from eyewright.tracking import METHODS, Tracker, TrackerSettings, TrackingMethod, TrackPrediction, method_of

BOX = np.array([[100.0, 100, 140, 180]])
ALONG = np.array([1.0, 0, 1, 0])


def _walk(n: int, *, rate: float = 10, speed: float = 20) -> list[tuple[np.ndarray, float]]:
    return [(BOX + speed * k / rate * ALONG, k / rate) for k in range(n)]


def _feed(tracker: TrackingMethod, frames: list[tuple[np.ndarray, float]]) -> list[TrackPrediction]:
    return [tracker.update(boxes, time_s=t) for boxes, t in frames]


def test_one_walking_object_has_one_identity() -> None:
    found = _feed(Tracker(), _walk(30))
    assert {i for p in found for i in p.track_ids} == {1}
    assert all(len(p) == 1 for p in found[2:])


def test_objects_that_cross_keep_their_identities() -> None:
    tracker = Tracker()
    for k in range(40):
        a, b = BOX + 5.0 * k * ALONG, BOX + np.array([200.0, 10, 200, 10]) - 5.0 * k * ALONG
        found = tracker.update(np.concatenate([a, b]), time_s=k / 25)
    assert found.track_ids.tolist() == [1, 2]


def test_identities_start_at_one_for_every_tracker_and_after_a_reset() -> None:
    # supervision #789, trackers #63, boxmot #1438: counters in class variables.
    first, second = Tracker(), Tracker()
    _feed(first, _walk(5))
    assert _feed(second, _walk(5))[-1].track_ids.tolist() == [1]
    first.reset()
    assert _feed(first, _walk(5))[-1].track_ids.tolist() == [1]


def test_two_sources_never_share_identities_or_state() -> None:
    # ultralytics #16864: one tracker shared by two streams mixes them.
    a, b, alone = Tracker(), Tracker(), Tracker()
    shown = []
    for boxes, t in _walk(20):
        shown.append(a.update(boxes, time_s=t).track_ids.tolist())
        b.update(boxes + 300, time_s=t + 1000)
    assert shown == [p.track_ids.tolist() for p in _feed(alone, _walk(20))]


def test_a_track_that_is_not_confirmed_has_no_identity() -> None:
    # supervision #2578: id -1 of unconfirmed tracks was counted as one object.
    tracker = Tracker(TrackerSettings(confirm_first=False))
    rng = np.random.default_rng(0)
    for k in range(50):
        x, y = rng.uniform(0, 5000, 2)
        found = tracker.update(np.array([[x, y, x + 20, y + 20]]), time_s=k / 10)
        assert len(found) == 0
        assert found.unconfirmed.tolist() == [0]


def test_a_confirmed_track_keeps_the_key_it_had_before() -> None:
    tracker = Tracker(TrackerSettings(confirm_first=False, confirm_s=0.2))
    keys = [(*p.unconfirmed_keys, *p.keys) for p in _feed(tracker, _walk(6))]
    assert keys == [(1,)] * 6
    tracker.reset()
    named = [p.track_ids.tolist() for p in _feed(tracker, _walk(6))]
    assert named == [[], [], [1], [1], [1], [1]]


@pytest.mark.parametrize("rate", [2.0, 7.0, 30.0, 120.0])
def test_waits_are_seconds_at_every_frame_rate(rate: float) -> None:
    # supervision #1805, trackers #446: a buffer in frames divided by 30.
    frames = _walk(int(2 * rate) + 1, rate=rate, speed=0)
    for gap, same in ((0.9, True), (1.6, False)):
        tracker = Tracker(TrackerSettings(lost_s=1.0))
        _feed(tracker, frames)
        empty = np.arange(frames[-1][1] + 1 / rate, frames[-1][1] + gap - 1e-6, 1 / rate)
        for t in empty:
            tracker.update(np.zeros((0, 4)), time_s=t)
        found = [tracker.update(BOX, time_s=frames[-1][1] + gap + k / rate) for k in range(int(rate) + 3)]
        assert (found[-1].track_ids.tolist() == [1]) is same


def test_skipped_frames_do_not_end_a_track() -> None:
    # norfair #304: skipped frames age tracks.
    kept = [f for k, f in enumerate(_walk(60)) if k % 3 == 0]
    found = _feed(Tracker(), kept)
    assert {i for p in found for i in p.track_ids} == {1}


def test_a_new_track_outlives_a_missed_frame() -> None:
    # norfair #337, #327: new tracks die at once whatever the wait says.
    tracker = Tracker(TrackerSettings(confirm_first=False, patience_s=0.3))
    frames = _walk(6)
    frames[1] = (np.zeros((0, 4)), frames[1][1])
    assert _feed(tracker, frames)[-1].track_ids.tolist() == [1]


def test_a_long_pause_ends_every_track() -> None:
    tracker = Tracker()
    _feed(tracker, _walk(10, speed=0))
    tracker.update(np.zeros((0, 4)), time_s=3.0)
    found = [tracker.update(BOX, time_s=3600 + k / 10) for k in range(5)]
    assert found[-1].track_ids.tolist() == [2]


def test_a_class_that_flips_for_one_frame_does_not_end_a_track() -> None:
    # boxmot #1338, supervision #1582.
    tracker = Tracker()
    shown = [
        tracker.update(b, np.ones(1), np.array([1 if k == 7 else 3]), time_s=t) for k, (b, t) in enumerate(_walk(15))
    ]
    assert {i for p in shown for i in p.track_ids} == {1}
    assert {c for p in shown for c in p.label_ids} == {3}


def test_per_class_a_track_takes_its_own_class_alone() -> None:
    tracker = Tracker(TrackerSettings(per_class=True))
    for k, (boxes, t) in enumerate(_walk(20)):
        found = tracker.update(boxes, np.ones(1), np.array([0 if k < 10 else 1]), time_s=t)
    assert found.track_ids.tolist() == [2]
    assert found.label_ids.tolist() == [1]


def test_low_scores_go_on_with_a_track_and_begin_none() -> None:
    tracker = Tracker(TrackerSettings(high=0.65))
    for k, (boxes, t) in enumerate(_walk(20)):
        both = np.concatenate([boxes, BOX + 500])
        found = tracker.update(both, np.array([0.9 if k < 5 else 0.3, 0.3]), time_s=t)
        assert 1 not in found.detections
    assert found.track_ids.tolist() == [1]


@pytest.mark.parametrize(
    "bad",
    [
        [np.nan, 0, 10, 10], [0, 0, np.inf, 10], [10, 10, 5, 20], [5, 5, 5, 20], [-1e30, 0, 1e30, 5],
    ],
)  # fmt: skip
def test_a_box_that_is_none_is_left_out_and_the_others_keep_their_places(bad: list[float]) -> None:
    tracker = Tracker()
    for k in range(4):
        found = tracker.update(np.concatenate([[bad], BOX]), np.array([0.9, np.nan]), time_s=k / 10)
        assert found.detections.tolist() == [1]
        assert found.boxes_xyxy == pytest.approx(BOX)
        assert found.scores.tolist() == [1.0]


def test_frames_without_boxes_are_frames() -> None:
    tracker = Tracker()
    for k in range(5):
        assert len(tracker.update(np.zeros((0, 4)), time_s=float(k))) == 0
        assert len(tracker.update(np.zeros(0), np.zeros(0), time_s=float(k))) == 0


def test_arrays_that_do_not_belong_together_and_times_that_go_back_are_refused() -> None:
    tracker = Tracker()
    with pytest.raises(UsageError, match="shape"):
        tracker.update(np.zeros((2, 5)), time_s=0.0)
    with pytest.raises(UsageError, match="each of 2 boxes"):
        tracker.update(np.concatenate([BOX, BOX]), np.ones(1), time_s=0.0)
    tracker.update(BOX, time_s=1.0)
    with pytest.raises(UsageError, match=r"at least 1 s.*found 0.5 s"):
        tracker.update(BOX, time_s=0.5)
    with pytest.raises(UsageError, match="lost_s"):
        TrackerSettings(lost_s=-1)


def test_lost_tracks_are_shown_where_they_are_expected() -> None:
    tracker = Tracker()
    frames = _walk(20)
    _feed(tracker, frames)
    tracker.update(np.zeros((0, 4)), time_s=frames[-1][1] + 0.5)
    ids, boxes = tracker.lost()
    assert ids.tolist() == [1]
    assert boxes[0] == pytest.approx(frames[-1][0][0] + [10, 0, 10, 0], abs=3)


def test_a_camera_that_moves_by_more_than_an_object_is_followed() -> None:
    tracker, plain = Tracker(), Tracker()
    shift = np.array([[1.0, 0, 90], [0, 1, 0]])
    for k in range(10):
        boxes = BOX + (90.0 if k >= 5 else 0) * ALONG
        if k == 5:
            tracker.move(shift)
        found = tracker.update(boxes, time_s=k / 10)
        missed = plain.update(boxes, time_s=k / 10)
    assert found.track_ids.tolist() == [1]
    assert missed.track_ids.tolist() == [2]


@pytest.mark.parametrize("side", [4000, 1200])
def test_ten_thousand_boxes_are_answered_within_a_second(side: int) -> None:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, side, (10_000, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(10, 40, (10_000, 2))], 1)
    tracker = Tracker()
    tracker.update(boxes, time_s=0.0)
    started = time.process_time()
    found = tracker.update(boxes + rng.normal(0, 1, boxes.shape), time_s=0.1)
    assert time.process_time() - started < 1.0
    same = found.track_ids == found.detections + 1
    assert same.mean() > 0.9


def test_the_sparse_association_is_the_dense_one() -> None:
    from eyewright.tracking import association

    rng = np.random.default_rng(1)
    corner = rng.uniform(0, 900, (300, 2))
    a = np.concatenate([corner, corner + 25], 1)
    b = a + rng.normal(0, 2, a.shape)
    scores = rng.uniform(0.5, 1, 300)
    dense = association.associate(a, b, 0.2, weights=scores)
    sparse = association._sparse(a, b, 0.2, scores, None)
    assert set(zip(*(x.tolist() for x in dense), strict=True)) == set(zip(*(x.tolist() for x in sparse), strict=True))


def test_settings_are_not_shared() -> None:
    one = TrackerSettings()
    assert replace(one, lost_s=3.0) != one
    assert Tracker(replace(one, lost_s=3.0)).settings.lost_s == 3.0


def test_boxes_that_all_lie_on_each_other_are_answered_too() -> None:
    boxes = BOX + np.random.default_rng(0).normal(0, 2, (1500, 4))
    tracker = Tracker(TrackerSettings(duplicate=1.0))
    tracker.update(boxes, time_s=0.0)
    started = time.process_time()
    assert len(tracker.update(boxes, time_s=0.1)) > 1000
    assert time.process_time() - started < 2


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_passes_the_public_check(name: str) -> None:
    check_tracker(lambda: method_of(name))


def test_the_public_check_finds_a_counter_that_is_shared() -> None:
    class Shared(Tracker):
        ids = 0

        def update(self, *args, **options):  # type: ignore[no-untyped-def]
            found = super().update(*args, **options)
            Shared.ids += 1
            return replace(found, track_ids=found.track_ids + Shared.ids)

    with pytest.raises(AssertionError, match="identities 1 and 2"):
        check_tracker(Shared)


def test_overlaps_may_be_smaller_after_a_step_that_is_longer_than_usual() -> None:
    tracker = Tracker()
    eased = [tracker._eased(step) for step in (0.1, 0.1, 0.1, 0.2, 0.4, 0.1, 0.1501)]
    assert eased[:4] == [1.0, 1.0, 1.0, 0.5]
    assert eased[4:6] == [0.5, 1.0]
    assert eased[6] == pytest.approx(0.1 / 0.1501)
    # A source that is slower from now on becomes the usual one; a burst of frames does not.
    assert [tracker._eased(0.3) for _ in range(16)][-1] == 1.0
    assert [tracker._eased(step) for step in (0.001, 0.3, 0.3)][1:] == [1.0, 1.0]


def test_an_object_that_leaps_stays_the_same_only_where_frames_were_dropped() -> None:
    box = np.array([[100.0, 100, 140, 200]])
    for late, expected in ((12, []), (14, [1])):
        tracker = Tracker(TrackerSettings(stages=2))
        for k in range(12):
            tracker.update(box, np.array([1 - k % 2 / 1000]), time_s=k / 10)
        # 35 pixels from where it is expected, the overlap is 0.067: below the threshold, and above half of it.
        found = tracker.update(box + np.array([35.0, 0, 35.0, 0]), np.ones(1), time_s=late / 10)
        assert found.track_ids.tolist() == expected


@pytest.mark.parametrize(("stages", "pixels"), [(2, 29.0), (3, 40.0)])
def test_without_scores_a_detection_must_overlap_more_to_continue_a_track(stages: int, pixels: float) -> None:
    """By hand: 29 pixels from where it is expected, IoU is 11/69 = 0.16, below 0.25. 40 pixels away, boxes do not
    overlap; grown to at least 64 pixels, that it was last seen in shares at least 24 of 104 = 0.23, below 0.4."""
    box, leap = np.array([[100.0, 100, 140, 200]]), np.array([pixels, 0, pixels, 0])
    for differ, same in ((0.001, True), (0.0, False)):
        tracker = Tracker(TrackerSettings(stages=stages))
        for k in range(12):
            tracker.update(box, np.array([1 - differ * (k % 2)]), time_s=k / 10)
        found = tracker.update(box + leap, np.ones(1), time_s=1.2)
        assert (found.track_ids.tolist() == [1]) is same


@pytest.mark.parametrize("factor", [0.02, 0.3])
def test_the_unit_of_scores_changes_nothing(factor: float) -> None:
    rng = np.random.default_rng(1)
    scores = rng.uniform(0.02, 1, (60, 3))
    seen = []
    for unit in (1.0, factor):
        tracker, ids = Tracker(), []
        for k in range(60):
            boxes = np.concatenate([BOX + 2 * k * ALONG, BOX + 300, BOX + 700 - k])
            ids.append(tracker.update(boxes, scores[k] * unit, time_s=k / 20).track_ids.tolist())
        seen.append(ids)
    assert seen[0] == seen[1]
    assert max(map(len, seen[0])) == 3


def _ids_for(scores: np.ndarray, settings: TrackerSettings | None = None) -> list[list[int]]:
    tracker, ids = Tracker(settings), []
    for k, row in enumerate(scores):
        boxes = np.concatenate([BOX + 2 * k * ALONG, BOX + 300, BOX + 700 - k])
        ids.append(tracker.update(boxes, row, time_s=k / 20).track_ids.tolist())
    return ids


def test_scores_of_any_scale_are_followed_by_their_order() -> None:
    logits = np.random.default_rng(1).normal(0, 3, (60, 3))
    first = _ids_for(logits)
    assert max(map(len, first)) == 3
    for other in (100 / (1 + np.exp(-logits)) - 200, np.exp(logits) + 5, 7 * logits - 40):
        assert _ids_for(other) == first


def test_scores_that_are_constant_or_missing_are_as_certain_as_any() -> None:
    certain = _ids_for(np.ones((30, 3)))
    assert certain[-1] == [1, 2, 3]
    for value in (np.nan, 0.3, 100.0, -4.0):
        assert _ids_for(np.full((30, 3), value)) == certain


def test_a_score_that_is_missing_is_the_highest_of_its_frame() -> None:
    scores = np.array([[55.0, np.nan, 80.0]])
    assert Tracker().update(np.concatenate([BOX, BOX + 300, BOX + 600]), scores[0], time_s=0.0).scores.tolist() == [
        55.0, 80.0, 80.0,
    ]  # fmt: skip


def test_a_threshold_of_logits_may_be_negative() -> None:
    settings = TrackerSettings(high=-1.0, low=-3.0)
    logits = np.tile([[4.0, -0.5, -5.0]], (20, 1))
    assert _ids_for(logits, settings)[-1] == [1, 2]


def test_a_second_box_of_an_object_begins_no_track_and_takes_none() -> None:
    tracker = Tracker()
    width = BOX[0, 2] - BOX[0, 0]
    for k in range(12):
        own = BOX + 3 * k * ALONG
        boxes = np.concatenate([own + 0.15 * width * ALONG, own])
        found = tracker.update(boxes, np.array([0.6, 0.9]), time_s=k / 10)
        assert found.track_ids.tolist() == [1]
        assert found.detections.tolist() == [1]
        assert not len(found.unconfirmed)


def test_a_rider_is_no_second_box_of_a_bicycle() -> None:
    # IoU 0.5: two boxes of one object where they have one class, two objects where they have two.
    wide = BOX * 1.0
    wide[0, 2] = BOX[0, 0] + 2 * (BOX[0, 2] - BOX[0, 0])
    for labels, expected in (([0, 1], 2), ([0, 0], 1)):
        tracker = Tracker()
        for k in range(6):
            found = tracker.update(
                np.concatenate([BOX, wide]) + 2 * k * ALONG, np.array([0.9, 0.8]), np.array(labels), time_s=k / 10
            )
        assert len(found) == expected


def _confirmed_after(tracker: Tracker, start_s: float) -> int:
    """Return how many sightings an object needs until it has an identity."""
    for k in range(10):
        if len(tracker.update(BOX + 5_000, np.ones(1), time_s=start_s + k / 10)):
            return k + 1
    raise AssertionError("never confirmed")


def test_where_tracks_do_not_stay_a_confirmation_takes_a_frame_more() -> None:
    clean, cluttered = Tracker(), Tracker()
    for k in range(90):
        clean.update(BOX, np.ones(1), time_s=k / 10)
        # A false detection is seen twice in the same place, and never again.
        false = BOX + 100 * (1 + k // 3) * (k % 3 < 2)
        cluttered.update(np.concatenate([BOX, false])[: 2 if k % 3 < 2 else 1], time_s=k / 10)
    assert _confirmed_after(clean, 9.0) == 2
    assert _confirmed_after(cluttered, 9.0) == 3


def test_a_track_is_kept_without_evidence_where_that_is_asked_for() -> None:
    ids = {}
    for evidence in (True, False):
        tracker = Tracker(TrackerSettings(patience_s=1.0, evidence=evidence))
        tracker.update(BOX + 900, np.ones(1), time_s=0.0)
        first = tracker.update(BOX, np.ones(1), time_s=0.1)
        for k in range(2, 6):
            tracker.update(BOX + 900, np.ones(1), time_s=k / 10)
        again = tracker.update(BOX, np.ones(1), time_s=0.6)
        ids[evidence] = [first.unconfirmed_keys.tolist(), again.keys.tolist() + again.unconfirmed_keys.tolist()]
    assert ids[False][0] == ids[False][1]
    assert ids[True][0] != ids[True][1]


def _scene(seed: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, float]]:
    """Return frames of objects that walk, are missed, have second boxes and false detections, at uneven times."""
    rng = np.random.default_rng(seed)
    place, speed = rng.uniform(0, 500, (9, 2)), rng.normal(0, 40, (9, 2))
    frames, now = [], 0.0
    for _ in range(150):
        step = float(rng.choice([0.04, 0.04, 0.04, 0.12]))
        now, place = now + step, place + step * speed
        seen = place[rng.random(9) > 0.2]
        corner = np.concatenate([seen, seen[:2] + 6, rng.uniform(0, 500, (rng.poisson(0.6), 2))])
        boxes = np.concatenate([corner, corner + np.array([30, 70])], 1) + rng.normal(0, 2, (len(corner), 4))
        frames.append((boxes, rng.uniform(0, 1, len(boxes)), rng.integers(0, 2, len(boxes)), now))
    return frames


@pytest.mark.parametrize(
    ("settings", "scale", "expected"),
    [
        (TrackerSettings(), 1.0, "c3c7af6aac9849d6"),
        (TrackerSettings(), 60.0, "a5b2e5472fce6d7e"),
        (TrackerSettings(high=0.5, per_class=True), 1.0, "928716ffdfedb2b6"),
    ],
)
def test_what_is_followed_stays_the_same_where_the_code_is_made_faster(
    settings: TrackerSettings, scale: float, expected: str
) -> None:
    # The digests are of commit f227a9f: a change of them is a change of what users get, and never an optimisation.
    tracker, digest = Tracker(settings), hashlib.sha256()
    for boxes, scores, labels, now in _scene(5):
        p = tracker.update(boxes, scores * scale, labels, time_s=now)
        for part in (p.track_ids, p.detections, p.label_ids, p.keys, p.unconfirmed, p.unconfirmed_keys):
            digest.update(part.astype("<i8").tobytes())
    assert digest.hexdigest()[:16] == expected


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ocsort", "closest is 'three-stage'"),
        ("OC-SORT", "closest is 'three-stage'"),
        ("ByteTrack", "closest is 'byte'"),
        ("botsort", "--camera-motion"),
        ("deepsort", "uses no appearance"),
        ("IOU", "closest is 'sort'"),
        ("norfair", "closest is 'three-stage'"),
        ("BYTE", "did you mean 'byte'?"),
        ("csrt", "--one X,Y,W,H"),
        ("mine", "package.module:function"),
    ],
)
def test_a_method_of_another_package_is_answered_with_the_closest_of_ours(name: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        method_of(name)
    assert said in (caught.value.fix or "")
    assert name in ("BYTE", "csrt") or all(method in (caught.value.fix or "") for method in METHODS)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('boo')", r"its update failed: ValueError: boo"),
        ("return [1, 2]", "expected a TrackPrediction from its update, found list"),
        ("return beyond(time_s)", "found number 9"),
    ],
)
def test_what_an_own_method_does_wrong_is_said_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: str
) -> None:
    module = f"own_tracker_{len(body)}"
    (tmp_path / f"{module}.py").write_text(
        "import numpy as np\nfrom eyewright.tracking import TrackPrediction\n\n"
        "def beyond(time_s):\n"
        "    one, none = np.array([9]), np.zeros(0, np.int64)\n"
        "    return TrackPrediction(one, np.zeros((1, 4)), np.ones(1), one, one, time_s, one, none, none)\n\n"
        "class Own:\n"
        f"    def update(self, boxes, scores=None, label_ids=None, *, time_s):\n        {body}\n"
        "    def reset(self):\n        pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    tracker = method_of(f"{module}:Own")
    tracker.reset()
    with pytest.raises(UsageError, match=said) as caught:
        tracker.update(np.array([[0.0, 0, 9, 9]]), time_s=0.0)
    assert module in str(caught.value)
