"""The page and its JSON hold what was found; nothing in them comes from the network."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from tests.robustness.conftest import Toy

from eyewright.core.errors import InputError
from eyewright.robustness import attack_predictor
from eyewright.robustness.pages import render_page, write_pages
from eyewright.robustness.report import RobustnessReport


@pytest.fixture(scope="module")
def report(toy: Toy) -> RobustnessReport:
    pytest.importorskip("cv2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eyewright.robustness.evaluating._CORRUPTED", 4)
        return attack_predictor(toy.predictor(), toy.dataset, suite="full", eps=(0.1, 0.3), steps=8, queries=60, n=24)


def test_the_page_shows_what_was_found(report: RobustnessReport, tmp_path: Path) -> None:
    paths = write_pages(tmp_path, report, title="<toy>")
    page, data = paths["report"].read_text(), json.loads(paths["report_json"].read_text())
    assert "How robust: &lt;toy&gt;" in page
    assert report.sentence() in page.replace("&#39;", "'")
    assert page.count('class="lamp is-') == 8
    assert page.count('class="three"') == len(report.fallen) == 12
    assert len(re.findall(r'class="h"', page)) == 75
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert data["verdict"] == "evidence"
    assert data["threat"] == {"norm": "linf", "eps": 0.3}
    assert [lv["eps"] for lv in data["levels"]] == [0.1, 0.3]
    assert len(data["corruptions"]["accuracy"]) == 15
    assert set(data["extra"]) == {"spatial", "patch"}
    assert data["robust_accuracy"]["n"] == 24


def test_a_failed_check_is_the_headline(report: RobustnessReport) -> None:
    failed = replace(report, checks=(replace(report.checks[0], status="fail"), *report.checks[1:]))
    assert failed.verdict == "not evidence"
    page = render_page(failed, title="toy")
    assert "Not evidence: a check of the measurement failed (eps 0)" in page
    assert 'class="lamp is-fail"' in page
    assert failed.metrics.keys() == {"clean_accuracy"}


def test_interval_bounds_of_the_same_model_are_drawn_below(report: RobustnessReport, tmp_path: Path) -> None:
    own = replace(report, model={"digest": "a"})
    bounds = {"0.01": {"value": 0.5}, "8/255": {"value": 0.25}}
    for digest, norm, drawn in (("a", "linf", True), ("b", "linf", False), ("a", "l2", False)):
        (tmp_path / "certificate.json").write_text(json.dumps({"model": {"digest": digest}, "interval_bounds": bounds}))
        write_pages(tmp_path, replace(own, plan=replace(own.plan, norm=norm)), title="toy")
        assert ("<title>certified</title>" in (tmp_path / "robustness.html").read_text()) == drawn
    (tmp_path / "certificate.json").write_text("[]")
    with pytest.raises(InputError, match="damaged"):
        write_pages(tmp_path, own, title="toy")
