"""Where charts put what they draw."""

import math
import re

import numpy as np
import pytest

from eyewright.evaluation.charts import (
    Band,
    Mark,
    Series,
    _compact,
    _label_place,
    _short,
    _ticks,
    bar_chart,
    confusion_svg,
    line_chart,
    scatter_chart,
)


def test_the_longest_bar_fills_the_width_and_others_are_in_proportion() -> None:
    svg = bar_chart([("aa", 4.0), ("bb", -1.0), ("cc", float("nan"))], title="t", width=560)
    bars = re.findall(r'class="bar" x="(\d+)" y="(\d+)" width="([\d.]+)"', svg)
    left = 14 + 8 * 2
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


def drawn(svg: str) -> list[str]:
    return svg.replace("><", ">\n<").splitlines()


def test_a_line_chart_is_drawn_to_scale_and_cut_at_its_frame() -> None:
    """The frame is 100 × 100 pixels from (56, 14): x from 0 to 10 and y from 0 to 1 can be checked by eye."""
    line = Series([(0, 0), (5, 2), (math.nan, 1), (5, math.inf), (10, -1)], "a & b", "s1", dots=True)
    band = Band([(0, 0.25, 0.5), (5, math.nan, 1), (10, -3, 1)], "s1")
    svg = line_chart(
        [line, Series([], style="faint")], bands=[band], title="t <1>", x_label="x & y", y_label="y <",
        x_range=(0, 10), y_range=(0, 1), y_percent=True, width=170, height=154,
    )  # fmt: skip
    levels = [(114 - 20 * k, f"{20 * k}%") for k in range(6)]
    grid = [
        line
        for y, text in levels
        for line in (
            f'<line class="grid" x1="56" x2="156" y1="{y}.0" y2="{y}.0"/>',
            f'<text class="tick" x="50" y="{y + 4}.0" text-anchor="end">{text}</text>',
        )
    ]
    below = [f'<text class="tick" x="{56 + 10 * x}.0" y="130" text-anchor="middle">{x}</text>' for x in range(0, 11, 2)]
    assert drawn(svg) == [
        '<svg class="chart" viewBox="0 0 170 154" role="img" aria-label="t &lt;1&gt;">',
        *grid,
        *below,
        '<line class="axis" x1="56" x2="156" y1="114.0" y2="114.0"/>',
        '<polygon class="band s1" points="56.0,64.0 156.0,14.0 156.0,114.0 56.0,89.0"/>',
        '<polyline class="line s1" points="56.0,114.0 106.0,14.0 156.0,114.0">',
        "<title>a &amp; b</title>",
        "</polyline>",
        '<circle class="dot s1" cx="56.0" cy="114.0" r="3"/>',
        '<circle class="dot s1" cx="106.0" cy="14.0" r="3"/>',
        '<circle class="dot s1" cx="156.0" cy="114.0" r="3"/>',
        '<polyline class="line faint" points="">',
        "</polyline>",
        '<text class="label" x="106.0" y="148" text-anchor="middle">x &amp; y</text>',
        '<text class="label" transform="translate(13 64.0) rotate(-90)" text-anchor="middle">y &lt;</text>',
        "</svg>",
    ]


def test_a_chart_without_a_range_leaves_4_per_cent_above_and_below() -> None:
    svg = line_chart([Series([(3, 2), (3, 4)])], title="t", x_label="x", y_label="y", x_percent=True)
    # One x stands in the middle of 350 pixels; y from 1.92 to 4.08 covers 226.
    at = [f"231.0,{240 - (y - 1.92) / 2.16 * 226:.1f}" for y in (2, 4)]
    assert f'<polyline class="line s0" points="{at[0]} {at[1]}"></polyline>' in svg
    assert re.findall(r">([\d.]+%)<", svg) == ["260%", "280%", "300%", "320%", "340%"]
    assert re.findall(r'text-anchor="end">([\d.]+)<', svg) == ["2", "2.5", "3", "3.5", "4"]
    assert 'viewBox="0 0 420 280"' in svg
    empty = line_chart([], title="t", x_label="x", y_label="y")
    assert re.findall(r'text-anchor="\w+">([\d.]+)<', empty) == ["0", "0.2", "0.4", "0.6", "0.8", "1"] * 2


def test_a_band_is_inside_its_chart() -> None:
    band = Band([(0, 0.0, 3.0), (1, 1.0, math.nan), (2, -1.0, 2.0)])
    svg = line_chart([Series([(0, 1), (2, 1)])], bands=[band], title="t", x_label="x", y_label="y")
    # From -1.16 to 3.16 on 226 pixels.
    low, high = (f"{240 - (y + 1.16) / 4.32 * 226:.1f}" for y in (-1, 3))
    assert (low, high) == ("231.6", "22.4")
    assert f'points="56.0,{high} 406.0,' in svg
    assert f" 406.0,{low} " in svg


def test_a_scatter_chart_is_drawn_to_scale() -> None:
    """The frame is 100 × 100 pixels; x from -0.16 to 4.16 and y from -0.4 to 10.4, with 4 per cent on each side."""
    marks = [
        Mark(0, 0, "a"),
        Mark(4, 8, "b", "s2", (6, 10)),
        Mark(2, math.nan, "c"),
        Mark(1, 2, "", "s1", (math.nan, 3)),
    ]
    svg = scatter_chart(
        marks, title="t", x_label="x", y_label="y", guides=[("x", 2.0), ("y", 4.0)], width=174, height=156
    )

    def px(x: float) -> str:
        return f"{56 + (x + 0.16) / 4.32 * 100:.1f}"

    def py(y: float) -> str:
        return f"{114 - (y + 0.4) / 10.8 * 100:.1f}"

    assert drawn(svg)[-18:-3] == [
        f'<line class="line guide" x1="{px(2)}" x2="{px(2)}" y1="14" y2="114"/>',
        f'<line class="line guide" x1="56" x2="156" y1="{py(4)}" y2="{py(4)}"/>',
        f'<circle class="dot s0" cx="{px(0)}" cy="{py(0)}" r="4.5">',
        "<title>a</title>",
        "</circle>",
        '<text class="tick" x="67.7" y="114.3" text-anchor="start">a</text>',
        f'<circle class="dot s1" cx="{px(1)}" cy="{py(2)}" r="4.5">',
        "<title>",
        "</title>",
        "</circle>",
        f'<line class="line faint" x1="{px(4)}" x2="{px(4)}" y1="{py(6)}" y2="{py(10)}"/>',
        f'<circle class="dot s2" cx="{px(4)}" cy="{py(8)}" r="4.5">',
        "<title>b</title>",
        "</circle>",
        '<text class="tick" x="144.3" y="40.2" text-anchor="end">b</text>',
    ]


def test_both_axes_of_an_identity_have_one_range() -> None:
    svg = scatter_chart([Mark(0, 10, "a")], title="t", x_label="x", y_label="y", identity=True, width=174, height=156)
    assert '<line class="line guide" x1="56.0" x2="156.0" y1="114.0" y2="14.0"/>' in svg
    assert re.findall(r'text-anchor="(?:end|middle)">(\d+)<', svg) == ["0", "2", "4", "6", "8", "10"] * 2
    assert '<circle class="dot s0" cx="59.7" cy="17.7" r="4.5">' in svg


def test_a_matrix_is_drawn_to_scale_with_the_share_of_each_row() -> None:
    assert drawn(confusion_svg(np.array([[3, 1], [0, 0]]), ["a", "b"])) == [
        # 16 + 7 for a name and 18 for the title to the left; 620 - 41 - 4 pixels for two columns, rows at most 56.
        '<svg class="matrix" style="min-width:121px" viewBox="0 0 620 162" role="group" aria-label="confusion matrix">',
        '<text class="label" x="328.5" y="13" text-anchor="middle">predicted class</text>',
        '<text class="label" transform="translate(13 102.0) rotate(-90)" text-anchor="middle">true class</text>',
        '<rect class="frame" x="41" y="46" width="575.0" height="112.0"/>',
        '<text class="tick" x="35" y="78.0" text-anchor="end">a</text>',
        '<text class="tick" x="184.8" y="38" text-anchor="middle">a</text>',
        '<text class="tick" x="35" y="134.0" text-anchor="end">b</text>',
        '<text class="tick" x="472.2" y="38" text-anchor="middle">b</text>',
        '<g class="cell right" tabindex="0" role="button" data-true="0" data-answer="0">',
        "<title>3 of 4 images of a predicted as a (75.0%)</title>",
        '<rect x="42.0" y="47.0" width="285.5" height="54.0" rx="2" style="fill-opacity:0.79"/>',
        '<text class="count strong" x="184.8" y="78.5">3</text>',
        "</g>",
        '<g class="cell wrong" tabindex="0" role="button" data-true="0" data-answer="1">',
        "<title>1 of 4 images of a predicted as b (25.0%)</title>",
        '<rect x="329.5" y="47.0" width="285.5" height="54.0" rx="2" style="fill-opacity:0.39"/>',
        '<text class="count" x="472.2" y="78.5">1</text>',
        "</g>",
        "</svg>",
    ]


def test_long_names_of_a_matrix_are_turned_and_cut() -> None:
    svg = confusion_svg(np.array([[10_000, 0, 0], [5, 5, 0], [0, 0, 1]]), ["a<", "bbbbbbb", "x" * 30], unit="boxes")
    # 190 + 18 to the left; 8 + 3.8 × 24 lean out to the right; 150 + 34 above.
    wide = (620 - 208 - (8 + 3.8 * 24)) / 3
    assert f'<rect class="frame" x="208" y="184" width="{3 * wide:.1f}" height="168.0"/>' in svg
    for k, name in enumerate(("a&lt;", "bbbbbbb", "x" * 23 + "…")):
        at = f"translate({208 + (k + 0.5) * wide + 4:.1f} 178) rotate(-55)"
        assert f'<text class="tick" transform="{at}" text-anchor="start">{name}</text>' in svg
        assert f'<text class="tick" x="202" y="{184 + 56 * k + 32}.0" text-anchor="end">{name}</text>' in svg
    assert "<title>10,000 of 10,000 boxes of a&lt; predicted as a&lt; (100.0%)</title>" in svg
    assert re.findall(r'class="count( strong)?"[^>]*>([^<]+)<', svg) == [(" strong", t) for t in ("10k", "5", "5", "1")]


def test_a_large_matrix_has_small_cells_without_names_and_counts() -> None:
    svg = confusion_svg(np.eye(41, dtype=np.int64), [f"n{k}" for k in range(41)])
    side = (620 - 34 - 4) / 41
    assert f'<rect class="frame" x="34" y="46" width="{41 * side:.1f}" height="{41 * side:.1f}"/>' in svg
    assert 'class="count' not in svg
    assert 'class="tick"' not in svg
    assert f'<rect x="35.0" y="47.0" width="{side - 2:.1f}" height="{side - 2:.1f}" rx="2"' in svg
    assert 'class="tick"' in confusion_svg(np.eye(40, dtype=np.int64), [f"n{k}" for k in range(40)])
    many = confusion_svg(np.eye(250, dtype=np.int64), ["n"] * 250)
    # Cells are 3 pixels at least, without a gap.
    assert '<rect x="34.0" y="46.0" width="3.0" height="3.0" rx="0"' in many
    assert 'viewBox="0 0 788 800"' in many


@pytest.mark.parametrize(
    ("low", "high", "steps"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (-0.1, 0.3, [-0.1, 0, 0.1, 0.2, 0.3]),
        (2, 2.5, [2, 2.1, 2.2, 2.3, 2.4, 2.5]),
        (0, 97, [0, 20, 40, 60, 80]),
        (0.3, 5.9, [1, 2, 3, 4, 5]),
        (1.4, 2.5, [1.4, 1.6, 1.8, 2.0, 2.2, 2.4]),
        (0, 26, [0, 5, 10, 15, 20, 25]),
        (0, 31, [0, 10, 20, 30]),
    ],
)
def test_ticks_are_round_numbers_inside_the_range(low: float, high: float, steps: list[float]) -> None:
    assert _ticks(low, high) == pytest.approx(steps)


def test_numbers_of_ticks_are_short() -> None:
    values = (0, 1e-10, 1e-9, -2.5, 999_999.4, 1e6, -2.5e6, 123_456.7)
    assert [_short(v) for v in values] == ["0", "0", "1e-09", "-2.5", "999999", "1M", "-2.5M", "123457"]
    assert [_short(v, True) for v in (0, 0.5, 0.12345)] == ["0%", "50%", "12.35%"]
    assert [_compact(n) for n in (9_999, 10_000, 999_000, 1_000_000, 12_340_000)] == [
        "9999",
        "10k",
        "999k",
        "1M",
        "12.3M",
    ]


def test_bars_keep_long_names_and_large_numbers_readable() -> None:
    rows = [("n" * 34, 12_345.0), ("m" * 33, 1000.5), ("a&b", 999.0), ("zero", 0.0)]
    svg = bar_chart(rows, title="t", unit=" kg", width=700)
    assert re.findall(r'text-anchor="end">([^<]*)<', svg) == ["n" * 15 + "…" + "n" * 16, "m" * 33, "a&amp;b", "zero"]
    assert re.findall(r'y="\d+">([^<]*)<', svg) == ["12,345 kg", "1,000 kg", "999 kg", "0 kg"]
    # 260 pixels for names, 90 for numbers.
    assert re.findall(r'class="bar" x="(\d+)"[^>]* width="([\d.]+)" height="14" rx="2"', svg) == [
        ("260", "350.0"), ("260", f"{350 * 1000.5 / 12345:.1f}"), ("260", f"{350 * 999 / 12345:.1f}"), ("260", "1.0"),
    ]  # fmt: skip
    assert re.findall(r'class="tick" x="254" y="(\d+)"', svg) == ["18", "38", "58", "78"]
    assert 'viewBox="0 0 700 88"' in svg
    assert bar_chart([], title="t").startswith('<svg class="chart" viewBox="0 0 560 8"')


def test_a_name_takes_the_nearest_free_place_around_its_point() -> None:
    taken: list[tuple[float, float, float]] = []
    places = [_label_place(200.0, 100.0, 30.0, taken, 400.0) for _ in range(15)]
    heights = (4, -10, 18, -23, 31, -36, 44)
    # Names need 11 pixels: each of the seven heights holds one on each side.
    expected = [("start", 208.0, 100.0 + dy) for dy in heights], [("end", 192.0, 100.0 + dy) for dy in heights]
    assert places[:14] == [p for pair in zip(*expected, strict=True) for p in pair]
    assert places[14] is None
    assert taken[:2] == [(208.0, 104.0, 30.0), (162.0, 104.0, 30.0)]
    # The frame: from 52 to `right`, both left out.
    assert _label_place(200.0, 100.0, 30.0, [], 238.0) == ("end", 192.0, 104.0)
    assert _label_place(200.0, 100.0, 30.0, [], 238.1) == ("start", 208.0, 104.0)
    assert _label_place(90.0, 100.0, 30.0, [], 100.0) is None
    assert _label_place(90.1, 100.0, 30.0, [], 100.0) == ("end", pytest.approx(82.1), 104.0)
    # A neighbour that touches neither in height (11 pixels) nor in width is no obstacle.
    assert _label_place(200.0, 100.0, 30.0, [(208.0, 93.0, 30.0)], 400.0) == ("end", 192.0, 104.0)
    assert _label_place(200.0, 100.0, 30.0, [(208.0, 92.9, 30.0)], 400.0) == ("start", 208.0, 104.0)
    assert _label_place(200.0, 100.0, 30.0, [(238.1, 104.0, 9.0)], 400.0) == ("start", 208.0, 104.0)
    assert _label_place(200.0, 100.0, 30.0, [(200.0, 104.0, 7.9)], 400.0) == ("start", 208.0, 104.0)
    assert _label_place(200.0, 100.0, 30.0, [(200.0, 104.0, 8.0)], 400.0) == ("end", 192.0, 104.0)
