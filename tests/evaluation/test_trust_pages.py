"""What a report says of how far single predictions can be trusted, by hand."""

from typing import Any

import pytest

from eyewright.core.report import Metric, Report
from eyewright.evaluation.trust_pages import say_trust, trust_lines, trust_view


def row(label: str, value: float, *, is_open: bool = False) -> dict[str, Any]:
    return {"label": label, "n": 12, "coverage": {"value": value, "low": value / 2, "high": 1.0}, "size": 1.256,
            "open": is_open}  # fmt: skip


def report(sets: Any = None, unfamiliar: Any = None) -> Report:
    metrics = {
        "set_coverage": Metric(0.875, 0.75, 1.0), "unfamiliar_flagged": Metric(0.5, 0.25, 0.75),
        "familiar_flagged": Metric(0.05), "unfamiliar_auroc": Metric(0.9, 0.8, None),
    }  # fmt: skip
    trust = {k: v for k, v in (("sets", sets), ("unfamiliar", unfamiliar)) if v}
    return Report("classify", ("a", "b"), 20, metrics, (), {"trust": trust} if trust else {})


def sets(**options: Any) -> dict[str, Any]:
    classes = [row("b", 0.75), row("c", 0.5), row("a", 0.75)]
    return {"by": "all", "coverage": 0.9, "mean_size": 1.234, "single": 0.625, "images": 1200, "groups": 1200,
            "classes": classes, **options}  # fmt: skip


SAID = (
    "Prediction sets that should contain the true label in 90.0% of cases (from 1,200 validation images) contain it in "
    "87.5% [75.0, 100.0]. They have 1.23 labels on average; 62.5% of them have a single one."
)
FLAGGED = "Of 1,500 unfamiliar images 50.0% [25.0, 75.0] are flagged, of the test images 5.0%. An image is judged by "
AUROC = ", which has an AUROC of 90.0%; the confidence of the prediction alone has 70.0%."


def test_nothing_is_said_where_nothing_was_measured() -> None:
    assert say_trust(report()) == []
    assert trust_view(report()) is None
    assert trust_lines(report()) == []


def test_sets_are_said_with_what_they_rest_on() -> None:
    assert say_trust(report(sets())) == [SAID]
    (grouped,) = say_trust(report(sets(groups=1100, by="class")))
    assert "cases, separately for each class (from 1,200 validation images in 1,100 groups) contain it" in grouped


@pytest.mark.parametrize(
    ("n", "begins"), [(1, "Class k0 had"), (2, "Classes k0, k1 had"), (8, "Classes k0, k1, k2, k3, k4, k5, k6, k7 had"),
                      (9, "Classes k0, k1, k2, k3, k4, k5, k6, k7 and others had")],
)  # fmt: skip
def test_classes_with_few_images_are_named(n: int, begins: str) -> None:
    classes = [row("sure", 0.5), *(row(f"k{k}", 1.0, is_open=True) for k in range(n))]
    _, said = say_trust(report(sets(classes=classes)))
    assert said == f"{begins} too few validation images of their own: sets always contain them."


@pytest.mark.parametrize(
    ("features", "how"), [(True, "its appearance and the net's features"), (False, "its appearance alone")]
)
def test_unfamiliar_images_are_said(features: bool, how: str) -> None:
    other = {"n": 1500, "features": features, "by_confidence": 0.7}
    assert say_trust(report(unfamiliar=other)) == [FLAGGED + how + AUROC]
    assert say_trust(report(sets(), other)) == [SAID, FLAGGED + how + AUROC]


def test_the_page_shows_the_classes_that_are_held_least_first() -> None:
    other = {
        "n": 1500,
        "features": True,
        "by_confidence": 0.7,
        "passed": ["/data/far/a.png", "C:\\far\\b.png", "c.png"],
    }
    view = trust_view(report(sets(), other))
    assert view is not None
    assert view["title"] == "How far single predictions can be trusted"
    assert view["said"] == say_trust(report(sets(), other))
    assert [r["label"] for r in view["rows"]] == ["c", "a", "b"]
    assert view["rows"][0] == {
        "label": "c", "n": 12, "value": "50.0%", "interval": "[25.0, 100.0]", "size": "1.26",
        "raw": {"value": 0.5, "low": 0.25, "high": 1.0},
    }  # fmt: skip
    assert view["coverage"] == "90.0%"
    assert view["passed"] == ["a.png", "b.png", "c.png"]
    alone = trust_view(report(unfamiliar={"n": 1500, "features": True, "by_confidence": 0.7}))
    assert alone is not None
    assert (alone["rows"], alone["coverage"], alone["passed"]) == ([], "", [])


def test_markdown_has_a_table_of_the_classes() -> None:
    lines = trust_lines(report(sets()))
    assert lines == [
        "", "## How far single predictions can be trusted", "", SAID, "",
        "| class | n | sets with the true label [95% interval] | mean size |", "|---|---|---|---|",
        "| c | 12 | 50.0% [25.0, 100.0] | 1.26 |", "| a | 12 | 75.0% [37.5, 100.0] | 1.26 |",
        "| b | 12 | 75.0% [37.5, 100.0] | 1.26 |",
    ]  # fmt: skip
    assert len(trust_lines(report(sets(classes=[])))) == 5
