"""A classifier's part of the page, by hand: its mistakes, pairs, pictures and curves."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.tasks.test_class_results import made

from eyewright.core.report import Report
from eyewright.evaluation import reporting_of
from eyewright.tasks import class_page
from eyewright.tasks.class_page import _curves, _mistakes, _most_confused, _slices, take_pictures

REPORTING = reporting_of("classify")
LABELS = ("bolt", "nut", "washer")


def item(k: int, *, right: bool = False, true: str = "bolt", predicted: str = "nut") -> dict[str, Any]:
    return {
        "id": f"d/{k}.png", "name": f"{k}.png", "index": k, "true": true, "predicted": true if right else predicted,
        "confidence": 0.75, "true_score": 0.125, "right": right,
    }  # fmt: skip


def report(*items: dict[str, Any], n: int = 1200, labels: tuple[str, ...] = LABELS) -> Report:
    return Report("classify", labels, n, {}, (), {}, items)


def picture(heat: str = "") -> dict[str, Any]:
    return {"image": "data:i", "heat": heat, "method": "gradcam", "verdict": "so", "faithful": True}


def test_pairs_are_listed_by_how_often_they_are_confused() -> None:
    confusion = np.array([[7, 2, 5], [2, 9, 0], [0, 1, 3]])
    table = _most_confused(confusion, LABELS)
    assert table is not None
    assert [[c.text for c in row] for row in table.rows] == [
        ["bolt", "washer", "5 of 14"], ["bolt", "nut", "2 of 14"], ["nut", "bolt", "2 of 11"],
        ["washer", "nut", "1 of 4"],
    ]  # fmt: skip
    assert _most_confused(np.diag([3, 4, 5]), LABELS) is None
    many = _most_confused(np.ones((5, 5), int), tuple("abcde"))
    assert many is not None
    assert len(list(many.rows)) == 10


def test_mistakes_say_how_many_there_are_and_are_shown() -> None:
    def lead(n: int, shown: int, heat: str = "") -> str:
        pictures = {f"d/{k}.png": picture(heat) for k in range(shown)}
        return _mistakes(report(*(item(k) for k in range(n)), item(n, right=True)), pictures)[0].lead

    assert (
        lead(2, 2) == "2 of 1,200 predictions are wrong. Sorted by confidence: these are hard images or wrong labels."
    )
    assert ", 24 shown: these" in lead(30, 30)
    assert ", 1 shown: these" in lead(2, 1)
    assert lead(2, 2, "data:h").endswith(" On the right, the regions that support the prediction.")
    (none,) = _mistakes(report(item(0, right=True)), {})
    assert none.empty == "No mistakes on 1200 images."
    (hidden,) = _mistakes(report(item(0)), {})
    assert hidden.empty == "1 of 1,200 predictions is wrong. Their images are not in this file."


def test_a_mistake_says_both_classes_with_their_probabilities() -> None:
    (gallery,) = _mistakes(report(item(4)), {"d/4.png": picture()})
    (shot,) = gallery.shots
    assert "".join(s.text for s in shot.lines[0]) == "nut at 75.0%, should be bolt (12.5%)"
    assert (list(shot.images), list(shot.of)) == ([("data:i", "4.png")], ["bolt", "nut"])
    (wide,) = _mistakes(report(item(4)), {"d/4.png": picture("data:h")})
    assert wide.size == "wide"
    assert "".join(s.text for s in wide.shots[0].lines[2]) == "gradcam: faithful"


class Shown:
    """A dataset whose images are 400 pixels wide."""

    def shown(self, index: int) -> np.ndarray:
        return np.zeros((10, 400, 3), np.uint8)


def pictures(monkeypatch: pytest.MonkeyPatch, *items: dict[str, Any], labels: tuple[str, ...] = LABELS) -> Any:
    """Return the widths of the pictures by the index of their image."""
    monkeypatch.setattr(class_page, "data_uri", lambda pixels: pixels.shape[1])
    found = take_pictures(report(*items, labels=labels), Shown(), lambda name: None)  # type: ignore[arg-type, return-value]
    return {int(name[2:-4]): p["image"] for name, p in found.items()}


def test_the_first_24_mistakes_are_large_and_others_small(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [("bolt", "nut"), ("nut", "washer"), ("washer", "bolt")]
    wrong = [item(k, true=pairs[k % 3][0], predicted=pairs[k % 3][1]) for k in range(30)]
    found = pictures(monkeypatch, item(99, right=True), *wrong)
    assert [found[k] for k in range(30)] == [320] * 24 + [112] * 6
    assert found[99] == 112


def test_of_a_cell_of_the_matrix_twelve_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    found = pictures(monkeypatch, *(item(k) for k in range(20)), *(item(k, right=True) for k in range(20, 50)))
    assert list(found) == [*range(12), *range(20, 32)]


def test_of_many_classes_fewer_right_images_are_shown_so_that_all_have_some(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = tuple(f"c{k}" for k in range(40))
    right = [item(100 + k, right=True, true=labels[k % 40]) for k in range(400)]
    # 320 less 40 mistakes for 40 classes: seven of each class.
    wrong = [item(k, true=labels[k], predicted=labels[39 - k]) for k in range(40)]
    found = pictures(monkeypatch, *wrong, *right, labels=labels)
    assert len([k for k in found if k >= 100]) == 280
    # Mistakes take at most half of the 320: four of each class are left.
    many = [item(1000 + k, true=labels[k % 40], predicted=labels[(k + 1) % 40]) for k in range(170)]
    found = pictures(monkeypatch, *many, *right, labels=labels)
    assert (len([k for k in found if k >= 1000]), len([k for k in found if 100 <= k < 1000])) == (170, 150)
    assert max(np.bincount([k % 40 for k in found if 100 <= k < 1000])) == 4


def test_slices_say_how_many_were_tested_and_15_are_shown() -> None:
    rows = [
        {"slice": "site", "value": str(k), "n": 20, "accuracy": 0.5, "low": 0.25, "high": 0.75, "rest": 0.875,
         "weaker": k == 0}
        for k in range(17)
    ]  # fmt: skip
    table = _slices(rows, grouped=True)
    assert "for the 17 slices tested and for groups." in table.lead
    assert len(list(table.rows)) == 15
    first = next(iter(table.rows))
    assert [c.text for c in first] == ["site", "0", "20", "50.0%", "87.5%"]
    assert (first[3].bounds, first[3].tag) == ("[25.0, 75.0]", "weaker")


def test_the_hardest_classes_are_named_and_the_others_faint(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []

    def chart(series: Any, **options: Any) -> str:
        drawn.append([(s.name, s.style, list(s.points)) for s in series])
        return ""

    monkeypatch.setattr(class_page, "line_chart", chart)
    curves = {k: {"roc": [[0, 0], [k / 8, 1]], "pr": [[0, 1], [1, k / 8]]} for k in range(7)}
    rows = [{"auc": v} for v in (0.75, 1.0, 0.5, None, 1.0, 0.875, 0.625)]
    reliability = {"count": [3, 0, 2], "confidence": [0.25, np.nan, 0.75], "accuracy": [0.5, np.nan, 1.0]}
    tables = {"curves": curves, "reliability": reliability}
    made_up: Any = SimpleNamespace(tables=tables, per_class=rows, labels=tuple("abcdefg"))
    charts = _curves(made_up)
    assert [s.text for s in charts[0].note[1:]][::2] == ["d", "c", "g", "a", "f"]
    order = [("b", "faint", 1), ("e", "faint", 4), ("d", "s0", 3), ("c", "s1", 2), ("g", "s2", 6), ("a", "s3", 0),
             ("f", "s4", 5)]  # fmt: skip
    assert drawn[0][0] == ("chance", "guide", [(0, 0), (1, 1)])
    assert drawn[0][1:] == [(n, s, [(0.0, 0.0), (k / 8, 1.0)]) for n, s, k in order]
    assert drawn[1] == [(n, s, [(0.0, 1.0), (1.0, k / 8)]) for n, s, k in order]
    # An empty bin has no dot.
    assert drawn[2][0] == ("perfect", "guide", [(0, 0), (1, 1)])
    assert drawn[2][1:] == [("after", "s0", [(0.25, 0.5), (0.75, 1.0)])]
    tables |= {"reliability_before": reliability, "calibration": {"ece_before": 0.25, "ece_after": 0.125}}
    note = "".join(s.text for s in _curves(made_up)[2].note)
    assert note == "before calibration, error 25.0%; after, error 12.5%"
    assert [(n, s) for n, s, _ in drawn[5]] == [("perfect", "guide"), ("before", "s1"), ("after", "s0")]


def test_twelve_mistakes_are_explained() -> None:
    results = made([[0.25, 0.75]] * 12 + [[0.75, 0.25]] * 12, [0] * 12 + [1] * 12)
    found = REPORTING.report(results)
    asked: list[str] = []

    def explain(images: Any, ids: list[str]) -> list[Any]:
        asked.extend(ids)
        return []

    shown = REPORTING.pictures(found, results.dataset, lambda name: None)  # type: ignore[arg-type, return-value]
    assert REPORTING.explained(found, results.dataset, shown, explain) == shown
    assert asked == [i["id"] for i in found.items[:12]]
