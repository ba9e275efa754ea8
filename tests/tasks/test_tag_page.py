"""What the page of a tagger says and shows, on a report made by hand."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.tasks.test_class_results import Told

from eyewright.core.labels import LabelSpace
from eyewright.core.report import Metric, Report
from eyewright.data import Dataset, Sample
from eyewright.data.targets.tags import Tags
from eyewright.data.tree import ArrayTree
from eyewright.tasks.tag_page import AUDIT, explain_worst, lay_out, summarise, take_pictures

NAMES = ("cat", "dog", "fog")


def rate(value: float | None, half: float | None = None) -> dict[str, Any]:
    low, high = (None, None) if half is None or value is None else (value - half, value + half)
    return {"value": value, "low": low, "high": high}


def row(label: str, ap: float | None) -> dict[str, Any]:
    return {
        "label": label, "n": 1200, "judged": 2000, "prevalence": 0.6, "average_precision": rate(ap, 0.1),
        "precision": rate(0.5), "recall": rate(None), "f1": rate(0.25, 0.05), "threshold": 0.375,
    }  # fmt: skip


def item(k: int, missed: list[Any], wrong: list[Any], true: str = "cat") -> dict[str, Any]:
    right = not missed and not wrong
    return {"id": f"d/{k}.png", "name": f"{k}.png", "index": k, "true": true, "missed": missed, "wrong": wrong,
            "right": right}  # fmt: skip


def report(*items: dict[str, Any], **tables: Any) -> Report:
    metrics = {"map": Metric(0.75, 0.5, 0.875), "exact_match": Metric(0.625), "f1_micro": Metric(0.5, 0.25, 0.75)}
    rows = (row("cat", 0.75), row("dog", 0.5), row("fog", None))
    reliability = {"count": [2, 0], "confidence": [0.25, np.nan], "accuracy": [0.5, np.nan]}
    kept = {"pairs": (), "slices": (), "curves": {0: [[0, 1], [1, 0.5]]}, "reliability": reliability, **tables}
    return Report("tag", NAMES, 2000, metrics, rows, kept, items)


def test_the_summary_says_what_is_ranked_found_hardest_and_lacking() -> None:
    assert summarise(report(guess=0.4, assumed=3)) == (
        "mAP 75.0% (95% interval 50.0% to 87.5%); scores that know only the frequency of each tag would have 40.0%. "
        "At the operating points F1 is 50.0% (95% interval 25.0% to 75.0%); every tag is right on 62.5% of 2,000 "
        "images. Hardest tag: “dog”, AP 50.0%. Not measured here, since no image or every image has it: “fog”. "
        "No label says that an image lacks a tag: absence is assumed, so precision and AP are lower bounds."
    )


def test_the_summary_leaves_out_what_is_not_known() -> None:
    plain = report()
    for metrics in ({}, {**plain.metrics, "map": Metric(None)}):
        said = summarise(replace(plain, metrics=metrics))
        assert said == "No tag can be distinguished on these 2,000 images: mAP is not defined."
    few = replace(plain, metrics={"map": Metric(0.5)}, per_class=(row("cat", 0.5),))
    assert summarise(few) == "mAP 50.0%."
    for metrics in ({"f1_micro": Metric(None)}, {"exact_match": Metric(None)}):
        assert "operating points" not in summarise(replace(plain, metrics={**plain.metrics, **metrics}))
    many = tuple(row(f"t{k}", None) for k in range(9))
    assert summarise(replace(few, per_class=many)).endswith("“t6”, “t7” and others.")
    assert summarise(replace(few, per_class=many[:8])).endswith("“t6”, “t7”.")


def texts(rows: Any) -> list[list[str]]:
    return [[c.text for c in one] for one in rows]


def picture(heat: str = "", *, faithful: bool = True) -> dict[str, Any]:
    return {"image": "data:i", "heat": heat, "tag": "dog", "method": "occlusion", "verdict": "so", "faithful": faithful}


def test_tags_are_a_table_with_intervals_where_there_are_some() -> None:
    table = lay_out(report(), {}).blocks[1]
    assert texts(table.rows) == [
        ["cat", "1,200", "2,000", "60.0%", "75.0%", "50.0%", "–", "25.0%", "0.38"],
        ["dog", "1,200", "2,000", "60.0%", "50.0%", "50.0%", "–", "25.0%", "0.38"],
        ["fog", "1,200", "2,000", "60.0%", "–", "50.0%", "–", "25.0%", "0.38"],
    ]
    assert [c.bounds for c in table.rows[0]] == ["", "", "", "", "[65.0, 85.0]", "", "", "[20.0, 30.0]", ""]
    assert table.note == ""
    many = replace(report(), per_class=tuple(row(f"t{k}", 0.5) for k in range(201)))
    table = lay_out(many, {}).blocks[1]
    assert (len(table.rows), table.note) == (200, "200 of 201 classes; all are in report.json.")


def test_the_worst_images_show_heatmaps_apart() -> None:
    wrong = [["dog", 0.75], ["fog", 0.5]]
    made = report(item(0, [["cat", 0.25]], wrong), item(1, [], wrong, ""), item(2, [], []), item(3, [["cat", 0.1]], []))
    assert lay_out(report(item(0, [], [])), {}).blocks[0].empty == "Every tag is right on all 2000 images."
    (none,) = (b for b in lay_out(made, {}).blocks if b.kind == "gallery")
    assert none.empty == "A tag is wrong on 3 of 2,000 images. Their images are not in this file."
    (plain,) = (b for b in lay_out(made, {"d/0.png": picture(), "d/2.png": picture()}).blocks if b.kind == "gallery")
    assert len(plain.shots) == 1
    assert plain.lead == ("A tag is wrong on 3 of 2,000 images. The worst first: these are hard images or wrong tags.")
    lines = [[(s.text, s.style) for s in line] for line in plain.shots[0].lines]
    assert lines == [
        [("missed: ", ""), ("cat (25%)", "bad")],
        [("not there: ", ""), ("dog (75%)", "bad"), (", ", ""), ("fog (50%)", "bad")],
        [("has ", ""), ("cat", "good")],
        [("d/0.png", "soft")],
    ]
    assert list(plain.shots[0].images) == [("data:i", "0.png")]
    pictures = {"d/0.png": picture("data:h"), "d/1.png": picture("data:h", faithful=False), "d/3.png": picture()}
    wide, small = (b for b in lay_out(made, pictures).blocks if b.kind == "gallery")
    assert (len(wide.shots), wide.size, len(small.shots), small.title) == (2, "wide", 1, "")
    assert wide.lead.endswith("On the right, the regions that support the named tag.")
    first, second = wide.shots
    assert list(first.images) == [("data:i", "0.png"), ("data:h", "heatmap of dog")]
    assert [(s.text, s.style, s.title) for s in first.lines[-1]] == [("dog by occlusion: faithful", "soft", "so")]
    assert [(s.text, s.style) for s in second.lines[-1]] == [
        ("dog by occlusion: not faithful, do not rely on it", "bad")
    ]
    assert [s.text for s in second.lines[1]] == ["has ", "no tag"]
    del pictures["d/3.png"]
    assert len([b for b in lay_out(made, pictures).blocks if b.kind == "gallery"]) == 1


@pytest.mark.parametrize(("n", "more"), [(8, False), (9, True)])
def test_of_very_many_wrong_tags_eight_are_named(n: int, more: bool) -> None:
    made = report(item(0, [[f"t{k}", 0.1] for k in range(n)], []))
    line = lay_out(made, {"d/0.png": picture()}).blocks[0].shots[0].lines[0]
    assert sum(s.style == "bad" for s in line) == 8
    assert (line[-1].text == " …") is more


def test_pairs_and_slices_are_tables_of_15_rows() -> None:
    pairs = [{"tags": ["cat", "dog"], "there": 1200, "found": 1500, "chance": 1234.56}] * 16
    slices = [{"slice": "folder", "value": "a", "n": 1200, "f1": 0.25, "rest": 0.5}] * 16
    blocks = lay_out(report(pairs=pairs, slices=slices), {}).blocks
    assert [b.title for b in blocks[2:]] == ["Tags that occur together", "Weak slices"]
    assert texts(blocks[2].rows) == [["cat + dog", "1,200", "1,500", "1,234.6"]] * 15
    assert texts(blocks[3].rows) == [["folder", "a", "1,200", "25.0%", "50.0%"]] * 15
    assert len(lay_out(report(), {}).blocks) == 2


def _line_points(svg: str, style: str) -> list[tuple[float, float]]:
    found = re.search(rf'<polyline class="line {style}" points="([^"]*)"', svg)
    assert found is not None
    points = [tuple(map(float, point.split(","))) for point in found[1].split()]
    return [(x, y) for x, y in points]


def _point(svg: str, name: str) -> tuple[float, float]:
    found = re.search(rf'<{name}[^>]* cx="([^"]*)" cy="([^"]*)"', svg)
    assert found is not None
    return float(found[1]), float(found[2])


def test_charts_name_the_hardest_tags_and_leave_out_empty_bins() -> None:
    curves = {k: [[0, 1], [1, 0.5]] for k in range(3)}
    first, second = lay_out(report(curves=curves), {}).charts
    assert [(s.text, s.style) for s in first.note] == [
        ("hardest tags: ", ""), ("fog", "key s0"), (", ", ""), ("dog", "key s1"), (", ", ""), ("cat", "key s2"),
    ]  # fmt: skip
    assert second.title == "Reliability"
    assert second.svg.count("<circle") == 1
    # The dashed line goes from corner to corner; the dot is of 25 % confidence and 50 % accuracy.
    ((x0, y0), (x1, y1)) = _line_points(second.svg, "guide")
    assert x0 < x1
    assert y0 > y1
    assert _point(second.svg, "circle") == pytest.approx((x0 + 0.25 * (x1 - x0), y0 + 0.5 * (y1 - y0)), abs=0.2)
    rows = tuple(row(n, 1.0) for n in NAMES)
    perfect, _ = lay_out(replace(report(curves=curves), per_class=rows), {}).charts
    assert list(perfect.note) == []
    assert len(lay_out(report(curves={}), {}).charts) == 1


def test_pictures_are_of_24_wrong_images_and_12_are_explained() -> None:
    items = [item(k, [["cat", 0.1]] if k % 2 else [], [["dog", 0.75]] if k % 2 == 0 else []) for k in range(30)]
    made = report(item(99, [], []), *items)
    data: Any = SimpleNamespace(image=lambda index: np.full((300, 200, 3), index, np.uint8))
    pictures = take_pictures(made, data, lambda name: SimpleNamespace())  # type: ignore[arg-type, return-value]
    assert list(pictures) == [f"d/{k}.png" for k in range(24)]
    asked: list[Any] = []

    def explain(images: Any, ids: Any, labels: Any = ()) -> list[Told]:
        asked.extend(zip([int(i[0, 0, 0]) for i in images], ids, labels, strict=True))
        return [Told("d/2.png", "dog", faithful=True)]

    shown = explain_worst(made, data, pictures, explain)
    assert asked == [(k, f"d/{k}.png", "cat" if k % 2 else "dog") for k in range(12)]
    assert [name for name, p in shown.items() if p["heat"]] == ["d/2.png"]
    assert {k: shown["d/2.png"][k] for k in ("tag", "method", "verdict", "faithful")} == {
        "tag": "dog", "method": "gradcam", "verdict": "it is not", "faithful": True,
    }  # fmt: skip
    assert not pictures["d/2.png"]["heat"]


def test_the_doctor_counts_tags() -> None:
    samples = (
        Sample("x/000000", Tags(frozenset({0, 1}), frozenset({2}))), Sample("x/000001", Tags(frozenset({0}))),
        Sample("x/000002", Tags(frozenset({0, 1, 2}))),
    )  # fmt: skip
    tree = ArrayTree(Path("."), {"x": np.zeros((3, 4, 4, 3), np.uint8)})
    data = Dataset(tree, samples, LabelSpace(NAMES), "drawn", "tag")
    assert list(AUDIT.tiles(data)) == [
        ("tags given", "6", "2.0 per image"), ("not annotated", "1", "used neither in training nor in metrics"),
    ]  # fmt: skip
    assert list(AUDIT.tiles(data.with_samples(samples[1:]))) == [("tags given", "4", "2.0 per image")]
    (chart,) = AUDIT.charts(data, None)  # type: ignore[arg-type]
    assert chart[:2] == ("Tags of an image", "median 2")
    assert list(AUDIT.charts(data.with_samples(()), None)) == []  # type: ignore[arg-type]
    assert list(AUDIT.tiles(data.with_samples(()))) == [("tags given", "0", "0.0 per image")]
    assert AUDIT.caption(data, 1) == samples[1].target.cell(NAMES)
    small = np.zeros((2, 2, 3), np.uint8)
    assert AUDIT.drawn(data, 0, (4, 4), small) is small
