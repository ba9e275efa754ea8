"""Probabilities over the time of a video, with expected numbers by hand."""

import re
from dataclasses import replace

import numpy as np
import pytest

from eyewright.core.labels import LabelSpace
from eyewright.tasks.classify import ClassPrediction
from eyewright.tasks.over_time import OverTimeMaker

SPACE = LabelSpace(("sit", "stand & turn"))


def _window(start_s: float, sits: float) -> ClassPrediction:
    found = ClassPrediction(np.array([sits, 1 - sits], np.float32), SPACE)
    return replace(found, start_s=start_s, end_s=start_s + 2)


def test_each_window_counts_at_its_middle() -> None:
    maker = OverTimeMaker()
    for start_s, sits in ((0.0, 0.75), (0.5, 0.25)):
        maker.add(_window(start_s, sits))
    found = maker.done()
    assert found is not None
    assert found.to_json() == {
        "time_s": [1.0, 1.5],
        "labels": ["sit", "stand & turn"],
        "label_ids": [0, 1],
        "scores": {"sit": [0.75, 0.25], "stand & turn": [0.25, 0.75]},
    }


def test_the_picture_is_as_high_as_the_probabilities() -> None:
    """By hand: 120 pixels high, the first class from the bottom: its top at 120 * (1 - 0.75) = 30, then at 90."""
    maker = OverTimeMaker()
    for start_s, sits in ((0.0, 0.75), (0.5, 0.25)):
        maker.add(_window(start_s, sits))
    found = maker.done()
    assert found is not None
    svg = found.to_svg()
    first = re.findall(r'points="([^"]*)"', svg)[0].split()
    assert first[:4] == ["0.0,30.0", "480.0,30.0", "480.0,90.0", "960.0,90.0"]
    assert "stand &amp; turn" in svg


def test_of_a_long_stream_every_second_window_is_kept_then_every_fourth() -> None:
    maker = OverTimeMaker()
    for k in range(2_500):
        maker.add(_window(k / 2, 0.5))
    found = maker.done()
    assert found is not None
    assert len(found.middle_s) == 625
    assert np.diff(found.middle_s) == pytest.approx(2.0)


def test_of_many_classes_those_with_the_highest_peaks_are_shown() -> None:
    space, maker = LabelSpace(tuple(f"c{k}" for k in range(30))), OverTimeMaker()
    scores = np.full((2, 30), 0.01, np.float32)
    scores[0, 29] = scores[1, 7] = 0.6
    for k in range(2):
        maker.add(replace(ClassPrediction(scores[k], space), start_s=k, end_s=k + 1))
    found = maker.done()
    assert found is not None
    assert len(found.labels) == 12
    assert {"c7", "c29"} <= set(found.labels)


def test_without_a_window_there_is_nothing() -> None:
    assert OverTimeMaker().done() is None
