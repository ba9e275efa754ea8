"""Pictures that open large, class names that open their pictures, and the policy of a page."""

import json
import re
from html import unescape

import numpy as np
import pytest
from tests.evaluation.answers import answers
from tests.evaluation.scripts import scripts_are_named

from eyewright.evaluation import render_html
from eyewright.evaluation.blocks import Cell, Gallery, Scene, Scenes, Shot, Span, Table
from eyewright.evaluation.finishing import finish_page
from eyewright.evaluation.pages import template

HEAD = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'unsafe-inline'\">"


def test_a_policy_allows_the_scripts_of_the_page_and_no_others() -> None:
    page = finish_page(f"{HEAD}<body><main></main><script>let a = 1;</script></body>")
    assert scripts_are_named(page) == 1
    assert "unsafe-inline" not in page


def test_a_page_without_a_script_allows_none() -> None:
    page = finish_page(f"{HEAD}<body><main><p>words</p></main></body>")
    assert scripts_are_named(page) == 0
    assert "script-src" not in page
    assert "<dialog" not in page


def test_a_page_with_a_picture_can_enlarge_it() -> None:
    page = finish_page(f'{HEAD}<body><main><img src="data:image/webp;base64,AA" alt="a"></main></body>')
    assert scripts_are_named(page) == 1
    assert page.count('<dialog id="large"') == 1


@pytest.mark.parametrize("name", ["disc", 'it\'s "5" <b>', "Ü & ß"])
def test_a_class_is_named_where_its_pictures_are(name: str) -> None:
    macros = template("blocks.html.j2").module
    shot = Shot([("data:,", "x")], [[Span("x")]], of=(name, "other"))
    scene = Scene([("data:,", "x", "")], of=(name,))
    table = Table("Classes", [Cell("class")], [[Cell(name, of=name)]])
    gallery = macros.gallery(Gallery("G", "", [shot]))
    scenes = macros.scenes(Scenes("S", [scene]))
    for page, wanted in ((gallery, [name, "other"]), (scenes, [name])):
        found = re.search(r"data-of='([^']*)'", str(page))
        assert found is not None
        assert json.loads(unescape(found[1])) == wanted
    cell = re.search(r'data-class="([^"]*)"', str(macros.table(table)))
    assert cell is not None
    assert unescape(cell[1]) == name


@pytest.mark.parametrize("task", ["classify", "detect", "instance", "segment"])
def test_every_class_of_a_report_can_open_its_pictures(task: str) -> None:
    report = answers(task, skill=np.full(60, 0.3)).report()
    names = re.findall(r'data-class="([^"]*)"', render_html(report, title="t"))
    assert names == [r["label"] for r in report.per_class]
