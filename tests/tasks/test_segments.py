"""Windows become segments with hysteresis."""

from types import SimpleNamespace

import numpy as np
import pytest

from eyewright.core.errors import UsageError
from eyewright.core.labels import LabelSpace
from eyewright.tasks.segments import Segment, SegmentJoiner

NAMES = LabelSpace(("sit", "walk"))


def joined(walk: list[float], **options: float) -> list[Segment]:
    """Windows of 2 s, each 0.5 s after the last, with this confidence in "walk"."""
    joiner, found = SegmentJoiner(**options), []
    for k, p in enumerate(walk):
        window = SimpleNamespace(
            probabilities=np.array([1 - p, p], np.float32), label_space=NAMES, start_s=k / 2, end_s=k / 2 + 2
        )
        found += list(joiner.add(window))
    return [*found, *joiner.end()]


def test_one_class_throughout_is_one_segment_of_the_whole_stream() -> None:
    assert joined([0.9, 0.8, 0.7]) == [Segment(0.0, 3.0, "walk", pytest.approx(0.8))]


def test_a_segment_survives_doubt_between_on_and_off() -> None:
    (only,) = joined([0.9, 0.5, 0.45, 0.9])
    assert only.label == "walk"


def test_one_class_gives_way_to_another_half_way_between_two_windows() -> None:
    first, second = joined([0.9, 0.9, 0.1, 0.1])
    assert (first.label, second.label) == ("walk", "sit")
    # The middles of the second and third window are 1.5 s and 2 s.
    assert first.end_s == second.start_s == 1.75


def test_what_is_never_confident_is_no_segment() -> None:
    assert joined([0.5, 0.55, 0.5]) == []


def test_off_above_on_is_refused() -> None:
    with pytest.raises(UsageError, match="--off"):
        SegmentJoiner(on=0.3, off=0.5)


def test_a_segment_begins_at_on_and_continues_down_to_off() -> None:
    # Confidences that float32 holds exactly: 0.75 is `on`, 0.5 is `off`.
    assert joined([0.75, 0.5], on=0.75, off=0.5) == [Segment(0.0, 2.5, "walk", 0.625)]
    (alone,) = joined([0.75, 0.484375], on=0.75, off=0.5)
    # The second window ends it half way between the middles, 1 s and 1.5 s.
    assert alone == Segment(0.0, 1.25, "walk", 0.75)
    assert joined([0.734375, 0.734375], on=0.75, off=0.5) == []


def test_another_class_takes_over_only_when_it_is_confident_itself() -> None:
    """Of three classes the second falls to `off` and not below, and the third is the highest."""
    names = LabelSpace(("sit", "walk", "run"))

    def windows(*rows: tuple[float, float, float]) -> list[Segment]:
        joiner, found = SegmentJoiner(on=0.5, off=0.25), []
        for k, row in enumerate(rows):
            window = SimpleNamespace(
                probabilities=np.array(row, np.float32), label_space=names, start_s=float(k), end_s=k + 1.0
            )
            found += list(joiner.add(window))
        return [*found, *joiner.end()]

    (only,) = windows((0.25, 0.75, 0.0), (0.3125, 0.25, 0.4375))
    assert only == Segment(0.0, 2.0, "walk", 0.5)
    first, second = windows((0.25, 0.75, 0.0), (0.25, 0.25, 0.5))
    assert (first, second) == (Segment(0.0, 1.0, "walk", 0.75), Segment(1.0, 2.0, "run", 0.5))


def test_times_without_a_start_begin_at_0_and_are_said_to_a_thousandth() -> None:
    joiner = SegmentJoiner()
    window = SimpleNamespace(probabilities=np.array([0.25, 0.75]), label_space=NAMES, start_s=None, end_s=None)
    assert list(joiner.add(window)) == []
    (only,) = joiner.end()
    assert only == Segment(0.0, 0.0, "walk", 0.75)
    assert list(joiner.end()) == []
    assert Segment(1.23456, 2.34567, "walk", 0.123456).to_json() == {
        "start_s": 1.235, "end_s": 2.346, "label": "walk", "score": 0.1235,
    }  # fmt: skip


@pytest.mark.parametrize(("on", "off"), [(1.0, 1.0), (0.0, 0.0), (1.0, 0.0)])
def test_limits_may_be_equal_and_at_the_ends(on: float, off: float) -> None:
    assert SegmentJoiner(on=on, off=off) is not None


@pytest.mark.parametrize(("on", "off"), [(1.01, 0.5), (0.5, -0.01), (0.4, 0.41)])
def test_limits_outside_0_to_1_or_in_the_other_order_are_refused(on: float, off: float) -> None:
    with pytest.raises(UsageError, match=f"found {off:g} and {on:g}"):
        SegmentJoiner(on=on, off=off)
