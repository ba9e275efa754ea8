"""Where charts put what they draw."""

import re

import numpy as np
import pytest

from eyewright.evaluation.charts import Mark, bar_chart, confusion_svg, scatter_chart


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


def names_in(svg: str) -> dict[str, tuple[float, float, str]]:
    """Return where each name stands: x, y, anchor."""
    found = re.findall(r'class="tick" x="([\d.]+)" y="([\d.]+)" text-anchor="(start|end)">([^<]+)<', svg)
    return {name: (float(x), float(y), anchor) for x, y, anchor, name in found if not re.fullmatch(r"[\d.−-]+%?", name)}


def test_a_name_stands_inside_the_frame_and_on_no_other() -> None:
    rng = np.random.default_rng(1)
    marks = [Mark(float(x), float(y), f"name {k:02}") for k, (x, y) in enumerate(rng.random((25, 2)))]
    svg = scatter_chart(
        [*marks, Mark(0.0, 0.5, "far left"), Mark(1.0, 0.5, "far right")], title="t", x_label="a", y_label="b"
    )
    placed = names_in(svg)
    assert {"far left", "far right"} <= set(placed)
    assert (placed["far left"][2], placed["far right"][2]) == ("start", "end")
    spans = []
    for name, (x, y, anchor) in placed.items():
        if name not in {m.name for m in marks} | {"far left", "far right"}:
            continue
        wide = len(name) * 6.2
        start = x if anchor == "start" else x - wide
        assert 52 < start < start + wide < 560 - 18, name
        assert not any(abs(y - b) <= 11 and start < e and s < start + wide for s, e, b in spans), name
        spans.append((start, start + wide, y))
    assert len(spans) > 15
