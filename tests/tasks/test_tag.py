"""Tagging as a task: what raw arrays mean, what is shown, how two runtimes are compared, what feedback teaches."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eyewright.core.errors import BundleError
from eyewright.core.labels import LabelSpace
from eyewright.core.predictor import Answers
from eyewright.core.task import task_of
from eyewright.data import Dataset, Sample
from eyewright.data.targets.tags import Tags
from eyewright.data.tree import FolderTree
from eyewright.evaluation import render_html, reporting_of
from eyewright.serving.protocols.annotations import feedback_of
from eyewright.serving.protocols.label_studio import _results
from eyewright.tasks.corrections import NotUsableError
from eyewright.tasks.tag_report import TagResults
from eyewright.testing import check_reporting, check_task

TASK = task_of("tag")
NAMES = LabelSpace(("cat", "dog", "grass"))
PLACES: Any = [None, None]
RAW = {"probabilities": np.array([[0.2, 0.9, 0.6], [0.1, 0.3, 0.2]], np.float32)}


def _results_of(n: int = 24, seed: int = 0) -> TagResults:
    rng = np.random.default_rng(seed)
    has = rng.random((n, 3)) < (0.5, 0.4, 0.3)
    unknown = (rng.random((n, 3)) < 0.1) & ~has
    scores = np.where(has, 0.45, 0.05) + 0.5 * rng.random((n, 3))
    samples = [
        Sample(f"{i % 2}/{i}.png", Tags(frozenset(np.flatnonzero(a).tolist()), frozenset(np.flatnonzero(b).tolist())))
        for i, (a, b) in enumerate(zip(has, unknown, strict=True))
    ]
    data = Dataset(FolderTree(__file__), tuple(samples), NAMES, "csv", "tag")  # type: ignore[arg-type]
    looks = tuple((100.0 + i, 90.0 + i % 7) for i in range(n))
    return TagResults(data, scores.astype(np.float32), np.array([0.5, 0.45, 0.5]), looks)


def test_the_task_is_complete() -> None:
    check_task(TASK)
    check_reporting(_results_of())


def test_tags_are_sorted_and_present_from_their_operating_points() -> None:
    first, second = TASK.decode(RAW, PLACES, NAMES)
    assert first.to_json()["labels"] == ["dog", "grass", "cat"]
    assert first.to_json()["present"] == ["dog", "grass"]
    assert first.to_json()["scores"] == pytest.approx([0.9, 0.6, 0.2])
    settled = TASK.settle(first, np.array([0.1, 0.95, 0.5]))
    assert settled.to_json()["present"] == ["grass", "cat"]
    assert settled.headline() == ("grass|cat", pytest.approx(0.9))
    assert TASK.settle(first, None, conf=0.7).present == ("dog",)
    assert second.present == ()
    assert second.headline() == ("", 0.0)
    assert second.line() == "no tag (likeliest: dog 30.0%)"
    assert first.to_hub(top=1) == [{"label": "dog", "score": pytest.approx(0.9)}]


def test_other_arrays_are_refused() -> None:
    wrong = ({}, {"probabilities": RAW["probabilities"][:1]}, {"probabilities": RAW["probabilities"] * 2})
    for one in (*wrong, {"probabilities": np.full((2, 3), np.nan, np.float32)}):
        with pytest.raises(BundleError, match="expected"):
            TASK.decode(one, PLACES, NAMES)


def test_runtimes_agree_by_probabilities_and_by_what_is_shown() -> None:
    def answers(values: Any, points: Any = None) -> Answers:
        return Answers(SimpleNamespace(thresholds=points), {"probabilities": values}, PLACES)  # type: ignore[arg-type]

    ours, off = RAW["probabilities"], RAW["probabilities"].copy()
    off[0, 2] = 0.49
    found = TASK.agree(answers(ours), answers(off), TASK.limits["float32"])
    assert (found.worst, found.changed) == (pytest.approx(0.11), 1)
    assert TASK.agree(answers(ours, np.full(3, 0.3)), answers(off), TASK.limits["float32"]).changed == 0
    near = np.array([[0.5, 0, 0], [0, 0, 0]], np.float32)
    level = TASK.agree(answers(near), answers(near - np.float32(5e-7)), TASK.limits["float32"])
    assert level.changed == 0


def test_what_is_explained_is_what_is_present() -> None:
    first, second = TASK.decode(RAW, PLACES, NAMES)
    assert [t.label for t in TASK.explained(RAW, first, None, None)] == [1, 2]
    assert [t.label for t in TASK.explained(RAW, second, None, None)] == [1]
    assert [t.label for t in TASK.explained(RAW, first, None, 0)] == [0]


def test_feedback_becomes_tags_and_what_is_not_said_is_not_known() -> None:
    first = TASK.decode(RAW, PLACES, NAMES)[0]

    def said(content: dict[str, Any], right: bool = False) -> Any:
        def expect_right() -> None:
            if not right:
                raise NotUsableError("it says that the prediction is wrong, and not what is right")

        again = lambda: (first, np.array([2, 1, 0]))  # noqa: E731
        return SimpleNamespace(
            content=content, names=NAMES.names, right=right, again=again, keep=None, expect_right=expect_right
        )

    corrected = TASK.feedback.corrected
    assert corrected(said({"tags": {"cat": True, "dog": False}})) == Tags(frozenset({0}), frozenset({2}))
    assert corrected(said({}, right=True)) == Tags(frozenset({0, 1}))
    with pytest.raises(NotUsableError):
        corrected(said({}))


def test_label_studio_has_several_choices() -> None:
    found = TASK.decode(RAW, PLACES, NAMES)
    (row,) = _results("Choices:multiple", found[0].to_json(), (4, 4), {}, "p1")
    assert row["value"] == {"choices": ["dog", "grass"]}
    assert list(_results("Choices:multiple", found[1].to_json(), (4, 4), {}, "p2")) == []
    result = [{**row, "value": {"choices": ["cat", "dog"]}}]
    event = {"annotation": {"result": result, "prediction": {"result": [row]}}}
    said = feedback_of(event, lambda name: "tag", lambda name: NAMES.names)
    assert said == [("p1", {"tags": {"cat": True, "dog": True, "grass": False}})]
    nothing = {"annotation": {"result": [], "prediction": {"result": [row]}}}
    (empty,) = feedback_of(nothing, lambda name: "tag", lambda name: NAMES.names)
    assert empty[1] == {"tags": {"cat": False, "dog": False, "grass": False}}


def test_the_report_names_what_was_missed_and_what_occurs_together() -> None:
    results = _results_of()
    report = reporting_of("tag").report(results)
    worst = report.items[0]
    true, found = results.true[worst["index"]], results.found[worst["index"]]
    assert [n for n, _ in worst["missed"]] == [NAMES.names[k] for k in np.flatnonzero((true == 1) & ~found)]
    has = results.true == 1
    for pair in report.tables["pairs"]:
        a, b = (NAMES.names.index(n) for n in pair["tags"])
        assert pair["there"] == (has[:, a] & has[:, b]).sum()
        assert pair["found"] == (results.found[:, [a, b]].all(1) & ~np.isnan(results.true[:, [a, b]]).any(1)).sum()
    assert report.tables["guess"] == pytest.approx(np.nanmean(results.true, 0).mean())
    assert "would have" in reporting_of("tag").summary(report)
    page = render_html(report, title="t")
    for title in ("Worst images", "Tags that occur together", "Weak slices", "Precision and recall of each tag"):
        assert title in page


def test_a_model_with_its_tags_in_another_order_is_the_same() -> None:
    results = _results_of()
    order = np.array([2, 0, 1])
    names = LabelSpace(tuple(NAMES.names[k] for k in order))
    other = TagResults(
        results.dataset.relabelled(names), results.scores[:, order], results.points[order], results.looks
    )
    reporting = reporting_of("tag")
    assert reporting.compare(results, other, 0).differences["map"].value == 0
    assert reporting.changed(results, other) == []
    assert reporting.together([results, other_fold(results)], 1, results.dataset).scores == pytest.approx(
        results.scores
    )


def other_fold(results: TagResults) -> TagResults:
    """Return the same results of a second cut into folds."""
    return TagResults(results.dataset, results.scores, results.points, results.looks)


def test_what_is_explained_of_a_wrong_image_is_its_wrong_tag() -> None:
    from eyewright.tasks.tag_page import explain_worst

    asked: list[tuple[str, str]] = []

    def explain(images: Any, ids: Any, labels: Any = ()) -> list[Any]:
        asked.extend(zip(ids, labels, strict=True))
        return []

    def item(name: str, missed: list[Any], wrong: list[Any]) -> dict[str, Any]:
        return {"id": name, "index": 0, "missed": missed, "wrong": wrong, "right": False}

    items = [item("a", [["cat", 0.1]], [["dog", 0.6], ["cow", 0.9]]), item("b", [["cat", 0.3], ["dog", 0.2]], [])]
    report = SimpleNamespace(items=[*items, item("c", [], [])])
    dataset = SimpleNamespace(image=lambda index: np.zeros((4, 4, 3), np.uint8))
    pictures = {name: {"heat": ""} for name in "abc"}
    assert explain_worst(report, dataset, pictures, explain) == pictures  # type: ignore[arg-type]
    assert asked == [("a", "cow"), ("b", "dog")]
