"""What the page of a reader says and shows, on a report made by hand."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eyewright.core.report import Metric, Report
from eyewright.tasks.read_page import _marked, _small, explain_errors, lay_out, take_pictures
from eyewright.tasks.read_report import summarise


def rate(value: float | None) -> dict[str, Any]:
    return {"value": value, "low": None if value is None else value / 2, "high": value}


def character(label: str, n: int, recall: float | None, found: int = 2000) -> dict[str, Any]:
    return {"label": label, "n": n, "recall": rate(recall), "precision": rate(0.5), "found": found}


def item(k: int, true: str, read: str, edits: int) -> dict[str, Any]:
    return {"id": f"d/{k}.png", "index": k, "true": true, "predicted": read, "edits": edits, "probability": 0.5}


def report(*items: dict[str, Any], **tables: Any) -> Report:
    lengths = [
        {"from": 1, "to": 3, "n": 1200, "cer": rate(0.25), "wer": rate(0.5), "exact": rate(None)},
        {"from": 33, "to": None, "n": 7, "cer": rate(None), "wer": rate(0.5), "exact": rate(0.5)},
    ]
    pairs = [
        {"true": " ", "read": "", "n": 1200, "of": 4800, "example": "a.png"},
        {"true": "", "read": "B", "n": 2, "of": None, "example": "b.png"},
    ]
    confidence = [{"from": 0.25, "to": 0.5, "n": 1200, "probability": 0.375, "exact": 0.125}]
    kept = {
        "lengths": lengths, "pairs": pairs, "groups": [], "confidence": confidence,
        "totals": {"characters": 4800, "edits": 1200, "empty": 0, "unknown": {}}, **tables,
    }  # fmt: skip
    rows = (character("A", 1200, 0.75), character(" ", 3, 0.25), character("B", 2, 0.0), character("C", 0, None))
    return Report("read", ("A", "B", "C", " "), 2000, {"cer": Metric(0.25), "exact": Metric(0.5)}, rows, kept, items)


def texts(rows: Any) -> list[list[str]]:
    return [[c.text for c in one] for one in rows]


def test_tables_hold_lengths_pairs_probabilities_and_characters() -> None:
    page = lay_out(report(), {})
    tables = {b.title: texts(b.rows) for b in page.blocks if b.kind == "table"}
    assert tables == {
        "Errors by length of the text": [
            ["1 to 3", "1,200", "25.0%", "50.0%", "–"], ["33 or more", "7", "–", "50.0%", "50.0%"],
        ],
        "Confused characters": [["␣", "nothing", "1,200", "25.0%", "a.png"], ["nothing", "B", "2", "–", "b.png"]],
        "Lines by the probability of their text": [["25.0% to 50.0%", "1,200", "37.5%", "12.5%"]],
        "Characters": [
            ["B", "2", "2,000", "0.0%", "50.0%"], ["␣", "3", "2,000", "25.0%", "50.0%"],
            ["A", "1,200", "2,000", "75.0%", "50.0%"], ["C", "0", "2,000", "–", "50.0%"],
        ],
    }  # fmt: skip
    lengths = next(b for b in page.blocks if b.title.startswith("Errors by length"))
    assert [c.bounds for c in lengths.rows[0]] == ["", "", "[12.5, 25.0]", "[25.0, 50.0]", ""]
    grouped = lay_out(report(groups=[{"group": "page 1", "n": 1200, "cer": 0.25, "exact": 0.5}] * 21), {})
    (groups,) = (b for b in grouped.blocks if b.title == "Errors by group")
    assert texts(groups.rows) == [["page 1", "1,200", "25.0%", "50.0%"]] * 20


@pytest.mark.parametrize(
    ("n", "note"), [(30, ""), (31, "1 more is in report.json."), (32, "2 more are in report.json.")]
)
def test_of_many_characters_and_pairs_the_first_are_shown(n: int, note: str) -> None:
    rows = tuple(character(chr(65 + k), 5, 0.5) for k in range(n))
    made = replace(report(pairs=report().tables["pairs"] * 20), per_class=rows)
    tables = {b.title: b for b in lay_out(made, {}).blocks}
    assert (len(tables["Characters"].rows), tables["Characters"].note) == (30, note)
    assert len(tables["Confused characters"].rows) == 24


def test_charts_are_of_lengths_and_of_characters_that_are_there_three_times() -> None:
    lengths, characters = lay_out(report(), {}).charts
    assert (lengths.title, characters.title) == ("CER by length of the text", "Characters that are missed most")
    assert "1 to 3" in lengths.svg
    assert "33 or more" not in lengths.svg
    assert "25" in lengths.svg
    assert "␣" in characters.svg
    assert "75" in characters.svg
    assert ">B<" not in characters.svg
    many = tuple(character(chr(0x4E00 + k), 3, k / 100) for k in range(30))
    svg = lay_out(replace(report(), per_class=many), {}).charts[1].svg
    assert chr(0x4E00 + 19) in svg
    assert chr(0x4E00 + 20) not in svg
    assert lay_out(replace(report(lengths=[]), per_class=()), {}).charts == []


def test_lines_show_where_both_texts_differ() -> None:
    made = report(item(0, "ABA", "AB", 1), item(1, "AB", "", 2), item(2, "A", "A", 0), item(3, "A", "B", 1))
    shown = {f"d/{k}.png": {"image": f"data:{k}", "heat": "data:h" if k == 1 else ""} for k in range(3)}
    scenes = lay_out(made, shown).blocks[0]
    first, second = scenes.rows
    assert list(first.figures) == [("data:0", "d/0.png", "")]
    assert list(second.figures) == [("data:1", "d/1.png", ""), ("data:h", "heat", "")]
    assert [next(s.text for s in line) for line in first.beside] == [
        "true ",
        "read ",
        "d/0.png: 1 edit, probability 50.0%",
    ]
    assert second.beside[2][0].text == "d/1.png: 2 edits, probability 50.0%"
    assert [(s.text, s.style) for s in first.beside[0][1:]] == [("AB", ""), ("A", "good bold")]
    assert [(s.text, s.style) for s in first.beside[1][1:]] == [("AB", ""), ("·", "bad bold")]
    many = report(*(item(k, "A", "B", 1) for k in range(40)))
    pictures = {f"d/{k}.png": {"image": "data:", "heat": ""} for k in range(40)}
    assert len(lay_out(many, pictures).blocks[0].rows) == 30
    assert lay_out(report(item(0, "A", "A", 0)), shown).blocks[0].empty == "Every line was read without an error."


@pytest.mark.parametrize(
    ("true", "read", "above", "below"),
    [
        ("AXXB", "AYYB", [("A", ""), ("XX", "good bold"), ("B", "")], [("A", ""), ("YY", "bad bold"), ("B", "")]),
        ("A B", "AB", [("A", ""), ("␣", "good bold"), ("B", "")], [("A", ""), ("·", "bad bold"), ("B", "")]),
        ("", "", [], [("nothing", "bad")]),
    ],
)
def test_what_differs_is_marked(true: str, read: str, above: Any, below: Any) -> None:
    found = [[(s.text, s.style) for s in spans] for spans in _marked(true, read)]
    assert found == [above, below]


@pytest.mark.parametrize(
    ("size", "shown", "strip"),
    [((80, 200), (40, 100), 40), ((20, 30), (40, 60), 40), ((40, 1240), (20, 620), 20), ((10, 1240), (5, 620), 20),
     ((400, 3), (40, 1), 40)],
)  # fmt: skip
def test_a_line_is_40_pixels_high_or_as_wide_as_the_strip(
    size: tuple[int, int], shown: tuple[int, int], strip: int
) -> None:
    image = np.random.default_rng(0).integers(0, 200, (*size, 3)).astype(np.uint8)
    found = _small(image)
    height, width = shown
    assert found.shape == (strip, 620, 3)
    wanted = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
    assert np.array_equal(found[:height, :width], wanted)
    assert (found[height:] == 255).all()
    assert (found[:, width:] == 255).all()


def test_pictures_are_of_lines_with_errors() -> None:
    data: Any = SimpleNamespace(image=lambda index: np.full((20, 30, 3), index, np.uint8))
    made = report(*(item(k, "A", "B", k % 2) for k in range(40)))
    pictures = take_pictures(made, data, lambda name: SimpleNamespace())  # type: ignore[arg-type, return-value]
    assert list(pictures) == [f"d/{k}.png" for k in range(1, 30, 2)]
    assert pictures["d/1.png"]["heat"] == ""
    assert explain_errors(made, data, pictures, lambda *a: []) is pictures


def test_the_summary_says_errors_empty_lines_pairs_and_unknown_characters() -> None:
    assert summarise(report()) == (
        "The character error rate is 25.0%: 1,200 edits for 4,800 characters. 50.0% of the lines are read without an "
        "error."
    )
    totals = {"characters": 9, "edits": 3, "empty": 1, "unknown": {chr(0x4E00 + k): 1 for k in range(12)}}
    pairs = [
        {"true": "", "read": "B", "n": 9}, {"true": "B", "read": "", "n": 8}, {"true": "I", "read": "L", "n": 2},
        {"true": "A", "read": "B", "n": 2},
    ]  # fmt: skip
    said = summarise(report(totals=totals, pairs=pairs))
    assert " On 1 line nothing was read. 'I' is read as 'L' most often (2 times)." in said
    assert said.endswith("always gets wrong: " + " ".join(chr(0x4E00 + k) for k in range(10)))
    once = summarise(report(totals={**totals, "empty": 2}, pairs=[{"true": "I", "read": "L", "n": 1}]))
    assert "On 2 lines nothing was read." in once
    assert "most often" not in once
