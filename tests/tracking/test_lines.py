"""Lines and zones on drawn paths whose answers are known."""

import numpy as np
import pytest

from eyewright.core.errors import UsageError
from eyewright.tracking import Recorder, Watch
from eyewright.tracking.lines import Line, LineCounter, Zone, ZoneCounter

ACROSS = Line("door", (0, 100), (200, 100))


def _boxes(points: np.ndarray) -> np.ndarray:
    """Return boxes of 30 x 60 whose lower side's middle is at each point."""
    return np.concatenate([points - np.array([15, 60]), points + np.array([15, 0])], 1)


def _count(
    path: list[tuple[float, float]], *, line: Line = ACROSS, rate: float = 25, confirm_s: float = 0.1
) -> list[str]:
    counter = LineCounter(line, confirm_s=confirm_s)
    for k, point in enumerate(path):
        counter.update(np.array([1]), _boxes(np.array([point], float)), np.array([0]), time_s=k / rate, frame=k)
    return [c.direction for c in counter.crossings]


def test_who_walks_down_comes_in_and_who_walks_up_goes_out() -> None:
    down = [(100.0, 50.0 + 5 * k) for k in range(20)]
    assert _count(down) == ["in"]
    assert _count(down[::-1]) == ["out"]
    assert _count(down + down[::-1]) == ["in", "out"]


def test_the_direction_turns_with_the_line() -> None:
    down = [(100.0, 50.0 + 5 * k) for k in range(20)]
    assert _count(down, line=Line("door", (200, 100), (0, 100))) == ["out"]


def test_the_time_of_a_crossing_is_the_first_frame_on_the_far_side() -> None:
    counter = LineCounter(ACROSS)
    for k in range(20):
        point = np.array([[100.0, 50.0 + 5 * k]])
        counter.update(np.array([3]), _boxes(point), np.array([1]), time_s=k / 25, frame=k)
    (crossing,) = counter.crossings
    assert (crossing.frame, crossing.time_s) == (11, 11 / 25)
    assert (crossing.track_id, crossing.label_id) == (3, 1)
    assert counter.counts(("a", "b")) == {"in": 1, "out": 0, "classes": {"b": {"in": 1, "out": 0}}}


def test_who_passes_beyond_the_ends_is_not_counted() -> None:
    assert _count([(260.0, 50.0 + 5 * k) for k in range(20)]) == []
    assert _count([(199.0, 50.0 + 5 * k) for k in range(20)]) == ["in"]


def test_who_turns_at_the_line_is_not_counted() -> None:
    path = [(100.0, 50.0 + 5 * k) for k in range(10)]
    assert _count(path + path[::-1]) == []


def test_a_flicker_counts_nothing() -> None:
    # supervision #2598: one frame on the other side counts, and in the wrong direction.
    path = [(100.0, 60.0)] * 40
    path[20] = (100.0, 160.0)
    assert _count(path) == []
    path[21] = (100.0, 160.0)
    assert _count(path) == []


def test_a_box_at_the_edge_of_the_frame_counts_by_its_point() -> None:
    # supervision #1838, #126: a box whose four corners must pass never counts near the edge.
    counter = LineCounter(Line("exit", (0, 235), (320, 235)))
    for k in range(30):
        bottom = min(240.0, 180.0 + 3 * k)
        counter.update(
            np.array([1]), np.array([[100.0, bottom - 60, 130, bottom]]), np.array([0]), time_s=k / 25, frame=k
        )
    assert [c.direction for c in counter.crossings] == ["in"]


def test_a_crossing_while_it_is_not_seen_counts() -> None:
    path = [(100.0, 40.0 + 4 * k) for k in range(30)]
    counter = LineCounter(ACROSS)
    for k, point in enumerate(path):
        if not 12 <= k <= 18:
            counter.update(np.array([1]), _boxes(np.array([point])), np.array([0]), time_s=k / 25, frame=k)
    assert [c.direction for c in counter.crossings] == ["in"]


@pytest.mark.parametrize("seed", range(60))
def test_jitter_of_six_pixels_counts_nothing_twice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    speed, rate = rng.uniform(0.4, 6), rng.choice([10.0, 25.0, 30.0])
    way = np.arange(40, 160, speed)
    if seed % 3 == 0:
        # Walks there, stands on the line, and goes on.
        way = np.concatenate([way[way < 100], np.full(80, 100.0), way[way >= 100]])
    if seed % 3 == 1:
        # Stands on the line and turns back.
        way = np.concatenate([way[way < 100], np.full(80, 100.0), way[way < 100][::-1]])
    noise = rng.uniform(-6, 6, (len(way), 2)) if seed % 2 else rng.normal(0, 4, (len(way), 2))
    path = np.stack([np.full(len(way), 100.0), way], 1) + noise
    assert _count([tuple(p) for p in path], rate=rate) == ([] if seed % 3 == 1 else ["in"])


def test_a_longer_confirmation_waits_longer() -> None:
    path = [(100.0, 60.0)] * 40 + [(100.0, 160.0)] * 20 + [(100.0, 60.0)] * 40
    assert _count(path, confirm_s=0.1) == ["in", "out"]
    assert _count(path, confirm_s=1.0) == []


def _visit(path: list[tuple[float, float]], zone: Zone, *, rate: float = 10, after: int = 0) -> ZoneCounter:
    counter = ZoneCounter(zone)
    for k, point in enumerate(path):
        counter.update(np.array([1]), _boxes(np.array([point], float)), np.array([0]), time_s=k / rate, frame=k)
    for k in range(len(path), len(path) + after):
        counter.update(np.zeros(0, int), np.zeros((0, 4)), np.zeros(0, int), time_s=k / rate, frame=k)
    return counter


SQUARE = Zone("room", ((100, 100), (200, 100), (200, 200), (100, 200)))


def test_a_visit_begins_and_ends_with_the_border() -> None:
    counts = _visit([(50.0 + 5 * k, 150.0) for k in range(50)], SQUARE).counts(("person",))
    assert (counts["now"], counts["entered"], counts["left"]) == (0, 1, 1)
    # From x = 105 to x = 205, 5 pixels every 0.1 s.
    assert counts["dwell"] == {"n": 1, "median": pytest.approx(1.9, abs=0.11), "p95": pytest.approx(1.9, abs=0.11)}


def test_who_stays_is_inside_and_who_vanishes_has_left() -> None:
    path = [(150.0, 150.0)] * 30
    counts = _visit(path, SQUARE).counts(("person",))
    assert (counts["now"], counts["entered"], counts["left"], counts["classes_now"]) == (1, 1, 0, {"person": 1})
    gone = _visit(path, SQUARE, after=30).counts(("person",))
    assert (gone["now"], gone["entered"], gone["left"]) == (0, 1, 1)
    assert gone["dwell"]["median"] == pytest.approx(2.9)


def test_a_zone_may_be_concave() -> None:
    horseshoe = Zone("u", ((0, 0), (300, 0), (300, 300), (200, 300), (200, 100), (100, 100), (100, 300), (0, 300)))
    assert _visit([(150.0, 200.0)] * 20, horseshoe).counts(())["now"] == 0
    assert _visit([(50.0, 200.0)] * 20, horseshoe).counts(())["now"] == 1


def test_jitter_at_the_border_of_a_zone_enters_once() -> None:
    rng = np.random.default_rng(3)
    way = np.concatenate([np.arange(50, 100, 2), np.full(100, 100), np.arange(100, 150, 2)])
    path = np.stack([way, np.full(len(way), 150.0)], 1) + rng.uniform(-6, 6, (len(way), 2))
    assert _visit([tuple(p) for p in path], SQUARE).counts(())["entered"] == 1


def test_a_line_or_zone_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="two different points"):
        Line("a", (1, 1), (1, 1))
    with pytest.raises(UsageError, match="three points"):
        Zone("a", ((0, 0), (1, 1)))
    with pytest.raises(UsageError, match="area"):
        Zone("a", ((0, 0), (1, 1), (2, 2)))


def test_a_stream_without_an_end_is_counted_in_bounded_memory() -> None:
    from eyewright.tracking import Recorder, Watch

    watch = Watch((Line("gate", (0, 50), (100, 50)),), (Zone("all", ((0, 0), (100, 0), (100, 200), (0, 200))),))
    whole = Recorder(("a",), watch, keep_rows=False)
    bounded = Recorder(("a",), watch, keep_rows=False, forget_s=5)
    for k in range(12_000):
        # A track of ten frames after another, each across the line.
        track, step = divmod(k, 10)
        box = np.array([[40.0, 10 * step - 20, 60.0, 10 * step + 5]])
        for recorder in (whole, bounded):
            recorder.watch(np.array([track + 1]), box, np.zeros(1, np.int64), time_s=k / 10, frame=k + 1)
    assert bounded.lines[0].counts(("a",)) == whole.lines[0].counts(("a",))
    assert whole.lines[0].counts(("a",))["in"] == 1200
    assert bounded.n_tracks == whole.n_tracks == 1200
    zone, known = bounded.zones[0].counts(("a",)), whole.zones[0].counts(("a",))
    assert {k: zone[k] for k in ("now", "entered", "left")} == {k: known[k] for k in ("now", "entered", "left")}
    assert len(bounded._spans) < 30
    assert len(bounded.lines[0]._sides) < 30
    assert len(bounded.lines[0].crossings) == len(bounded.zones[0].visits) == 1000


def test_crossings_and_visits_get_the_class_that_their_track_has_at_the_end() -> None:
    watch = Watch((Line("gate", (0, 50), (100, 50)),), (Zone("all", ((0, 0), (100, 0), (100, 100), (0, 100))),))
    recorder = Recorder(("bottle", "phone"), watch)
    for k in range(20):
        box = np.array([[40.0, 4 * k - 10, 60, 4 * k + 10]])
        label = np.array([0 if k < 16 else 1])
        recorder.watch(np.array([4]), box, label, time_s=k / 10, frame=k + 1)
    before = recorder.to_json()
    assert before["counts"]["gate"]["classes"] == {"bottle": {"in": 1, "out": 0}}
    recorder.settle()
    after = recorder.to_json()
    assert [t["label"] for t in after["tracks"]] == ["phone"]
    assert [e["label"] for e in after["events"]] == ["phone"]
    assert after["counts"]["gate"] == {"in": 1, "out": 0, "classes": {"phone": {"in": 1, "out": 0}}}
    assert after["zones"]["all"]["classes_now"] == {"phone": 1}
    # A source without an end forgets tracks, and keeps the class of the moment.
    endless = Recorder(("bottle", "phone"), watch, forget_s=1.0)
    endless.settle()
