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
