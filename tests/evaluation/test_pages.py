"""One template lays out the blocks of every task."""

import html
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.evaluation.answers import answers

from eyewright import evaluation
from eyewright.evaluation import render_html, reporting_of
from eyewright.evaluation.blocks import Cell, Chart, Gallery, Matrix, Page, Scene, Scenes, Shot, Span, Table
from eyewright.evaluation.pages import template

TASKS = ("classify", "detect", "instance", "segment")
TITLES = {
    "classify": ("Mistakes", "Confusion matrix", "Classes", "Scores and thresholds"),
    "detect": ("Kinds of error", "Images", "Classes", "Confusion matrix", "Weak slices", "Scores and thresholds"),
    "instance": ("Kinds of error", "Images", "Classes", "Confusion matrix", "Weak slices", "Scores and thresholds"),
    "segment": ("Images", "Classes", "Confusion matrix", "Weak slices"),
}


def laid(block: object) -> str:
    macros = template("blocks.html.j2").module
    return str(getattr(macros, block.kind)(block))  # type: ignore[attr-defined]


@pytest.mark.parametrize("task", TASKS)
def test_a_page_holds_its_tasks_blocks_in_their_order(task: str) -> None:
    page = render_html(answers(task, 90).report(), title="t")
    own = page.split('<section class="tiles">')[1]
    places = [own.index(f">{title}</h2>") for title in TITLES[task]]
    assert places == sorted(places)


@pytest.mark.parametrize("task", TASKS)
def test_only_a_page_with_a_choice_of_cells_holds_a_script(task: str) -> None:
    page = render_html(answers(task).report(), title="t")
    blocks = reporting_of(task).page(answers(task).report(), {}).blocks
    interactive = any(isinstance(b, Matrix) and b.cells is not None for b in blocks)
    assert interactive == (task == "classify")
    assert ("<script" in page) == interactive
    assert ("script-src" in page) == interactive


@pytest.mark.parametrize("task", TASKS)
def test_a_report_without_pictures_does_not_say_that_nothing_went_wrong(task: str) -> None:
    page = render_html(answers(task, skill=np.full(60, 0.3)).report(), title="t")
    assert "No mistakes on" not in page
    assert "No misses and no false alarms" not in page
    assert "not in this file" in page


def test_a_report_without_a_mistake_says_so() -> None:
    page = render_html(answers("classify", skill=np.ones(60)).report(), title="t")
    assert "No mistakes on 60 images." in page


def test_names_of_files_and_classes_cannot_write_html() -> None:
    bad = "<b>x</b>"
    table = Table(bad, (Cell(bad),), ((Cell(bad, bounds=bad, tag=bad),),), lead=bad, note=bad)
    shots = Gallery(bad, bad, [Shot([("data:,", bad)], [[Span(bad, "soft", bad)]])])
    scenes = Scenes(bad, [Scene([("data:,", bad, bad)], beside=[[Span(bad)]], below=[Span(bad)])])
    matrix = Matrix(bad, "<svg></svg>", bad)
    for block in (table, shots, scenes, matrix):
        assert bad not in laid(block)
        assert "&lt;b&gt;x&lt;/b&gt;" in laid(block)
    report = answers("classify").report()
    named = replace(report, labels=("</script><b>", *report.labels[1:]))
    named = replace(
        named, items=tuple({**i, "true": named.labels[0], "predicted": named.labels[0]} for i in report.items)
    )
    assert "</script><b>" not in render_html(named, title=bad)


def test_a_meter_is_never_wider_than_its_bar() -> None:
    cells = [Cell("", meter=v) for v in (0.0, 0.123, 1.7)]
    text = laid(Table("t", (Cell("a"),) * 3, (cells,)))
    assert [w for w in ("width:0.0%", "width:12.3%", "width:100%") if w in text] == [
        "width:0.0%",
        "width:12.3%",
        "width:100%",
    ]


def test_charts_stand_below_the_folds_and_blocks_above() -> None:
    report = answers("classify").report()
    page = reporting_of("classify").page(report, {})
    assert isinstance(page, Page)
    assert all(isinstance(c, Chart) for c in page.charts)
    folds = {"each": [{"accuracy": 0.5}, {"accuracy": 0.7}], "between": report.metrics, "spread": {}, "note": ""}
    folds = {**folds, "between": {"accuracy": report.metrics["accuracy"]}, "spread": {"accuracy": 0.1}}
    text = render_html(replace(report, sections={"folds": folds}), title="t")
    titles = [text.index(f">{t}</h2>") for t in ("Classes", "Fold by fold", "Scores and thresholds")]
    assert titles == sorted(titles)
    assert "images, each measured by a net that was not trained on it" in text


def test_a_page_explains_its_terms_in_the_words_of_the_glossary() -> None:
    page = render_html(answers("detect").report(), title="t")
    shown = re.findall(
        r"<tr><td class=\"wide\"><b>(.*?)</b></td><td class=\"wide\">(.*?)</td></tr>", page.split("Terms used")[1]
    )
    glossary = (Path(__file__).parents[2] / "docs/glossary.md").read_text()
    assert "operating point" in dict(shown)
    for term, meaning in shown:
        row = re.search(rf"^\| {re.escape(html.unescape(term))} \| (.*)$", glossary, re.MULTILINE)
        assert row, term
        assert row[1].startswith(html.unescape(meaning).rstrip(".")), term


def test_whatever_scrolls_in_a_page_can_be_reached_from_the_keyboard() -> None:
    source = Path(evaluation.__file__).parents[1]
    scrolling = [
        (path.name, tag)
        for path in sorted([*source.rglob("*.j2"), *source.rglob("*.py")])
        for tag in re.findall(r"<div[^>]*(?:overflow-x|\bscroll\b)[^>]*>", path.read_text("utf-8"))
    ]
    assert len(scrolling) > 15
    assert [(name, tag) for name, tag in scrolling if "tabindex" not in tag] == []
