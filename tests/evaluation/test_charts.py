"""Where charts put what they draw."""

import re

import numpy as np
import pytest

from eyewright.evaluation.charts import bar_chart, confusion_svg


def test_the_longest_bar_fills_the_width_and_others_are_in_proportion() -> None:
    svg = bar_chart([("aa", 4.0), ("bb", -1.0), ("cc", float("nan"))], title="t", width=560)
    bars = re.findall(r'class="bar" x="(\d+)" y="(\d+)" width="([\d.]+)"', svg)
    left = 12 + 7 * 2
    longest = 560 - left - 90
    assert [(int(x), float(w)) for x, _, w in bars] == [
        (left, longest), (left, pytest.approx(longest / 4, abs=0.05)), (left, 1.0),
    ]  # fmt: skip
    assert [int(y) for _, y, _ in bars] == [7, 27, 47]
    values = re.findall(r'class="tick" x="([\d.]+)" y="\d+">([^<]*)<', svg)
    assert [text for _, text in values] == ["4", "-1", "nan"]
    assert float(values[0][0]) == left + longest + 6


def test_a_column_is_named_above_its_middle() -> None:
    svg = confusion_svg(np.eye(3, dtype=np.int64), ["one", "two", "three"])
    frame = re.search(r'class="frame" x="(\d+)" y="(\d+)" width="([\d.]+)"', svg)
    assert frame is not None
    left, wide = float(frame[1]), float(frame[3]) / 3
    for k, name in enumerate(("one", "two", "three")):
        at = [float(x) for x in re.findall(rf'x="([\d.]+)"[^>]*>{name}<', svg)]
        assert any(abs(x - (left + (k + 0.5) * wide)) < 0.06 for x in at), (name, at)
