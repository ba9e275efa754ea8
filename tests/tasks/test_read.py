"""What raw arrays of a reader mean, how its answers are shown, and how they are reported."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eyewright.core.errors import BundleError, UsageError
from eyewright.core.labels import LabelSpace
from eyewright.core.predictor import Answers
from eyewright.core.task import task_of
from eyewright.data import open_dataset
from eyewright.evaluation import render_html, reporting_of
from eyewright.imaging.preparation import Placement
from eyewright.tasks.corrections import NotUsableError
from eyewright.tasks.feedback import check_feedback
from eyewright.tasks.read import decode
from eyewright.tasks.read_report import TextResults
from eyewright.testing import check_reporting, check_task

LABELS = LabelSpace(("A", "B"))
PLACED = Placement((16, 24), (2.0, 2.0), (0.0, 0.0))


def _raw(*ids: int) -> dict[str, np.ndarray]:
    found = np.full((1, 12, 3), 0.05, np.float32)
    for t, k in enumerate(ids):
        found[0, t, k] = 0.9
    found[0, len(ids) :] = 0
    return {"probabilities": found}


def test_the_task_passes_the_public_check() -> None:
    check_task(task_of("read"))


def test_an_answer_has_a_text_its_probability_and_the_place_of_each_character() -> None:
    (found,) = decode(_raw(0, 1, 1, 0, 1, 2, 2, 0, 0, 0, 0, 0), [PLACED], LABELS)
    assert found.text == "AAB"
    assert found.scores.tolist() == pytest.approx([0.9, 0.9, 0.9])
    # Steps are 4 prepared pixels, which are 2 of the source here.
    assert found.spans_x.tolist() == [[2, 6], [8, 10], [10, 14]]
    assert found.numbers().tolist() == pytest.approx([1.8, 0.9])
    told = found.to_json()
    assert (told["text"], told["characters"][2]) == ("AAB", {"character": "B", "score": 0.9, "x0": 10.0, "x1": 14.0})
    assert found.to_hub() == [{"generated_text": "AAB"}]


def test_all_blank_is_no_text() -> None:
    (found,) = decode(_raw(*[0] * 12), [PLACED], LABELS)
    assert (found.text, found.line(), found.headline()) == ("", "no text", ("", 0.0))


def test_conf_hides_texts_that_are_less_probable() -> None:
    (found,) = decode(_raw(0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0), [PLACED], LABELS)
    settle = task_of("read").settle
    assert settle(found, None, 0.999).to_json()["text"] == ""
    assert settle(found, None, 0.0) == found == settle(found, None)


@pytest.mark.parametrize("shape", [(1, 12, 4), (2, 12, 3), (1, 3, 3), (1, 12)])
def test_arrays_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BundleError):
        decode({"probabilities": np.zeros(shape, np.float32)}, [PLACED], LABELS)


def _results(texts: Path, read: dict[int, str]) -> TextResults:
    data = open_dataset(texts, task="read")
    said = tuple(read.get(i, s.target.written) for i, s in enumerate(data.samples))
    numbers = np.array([[t.count(c) for c in data.labels.names] for t in said], np.float32)
    return TextResults(data, said, np.linspace(0.2, 1.0, len(said)), numbers)


def test_reading_passes_the_public_check_of_reports(texts: Path) -> None:
    results = _results(texts, dict.fromkeys(range(0, 240, 2), "L"))
    check_reporting(results)


def test_the_report_names_pages_pairs_and_the_worst_lines(texts: Path) -> None:
    data = open_dataset(texts, task="read")
    wrong = {i: s.target.written.replace("I", "L") for i, s in enumerate(data.samples) if i < 60}
    wrong[100] = ""
    results = _results(texts, wrong)
    report = reporting_of("read").report(results)
    pair = report.tables["pairs"][0]
    there = sum(s.target.written.count("I") for s in data.samples)
    assert (pair["true"], pair["read"], pair["of"]) == ("I", "L", there)
    assert report.tables["groups"][0]["group"] in {f"page{k}" for k in (*range(6), 10)}
    assert report.metrics["cer"].groups == 24
    assert report.tables["totals"]["empty"] == 1
    assert "'I' is read as 'L' most often" in reporting_of("read").summary(report)
    worst = report.items[0]
    page = render_html(report, title="t", pictures={worst["id"]: {"image": "data:,", "heat": ""}})
    assert "Lines with most errors" in page
    assert "Confused characters" in page


def test_a_text_in_feedback_is_checked() -> None:
    said = check_feedback({"text": " AB "}, task="read", labels=("A", "B"), predicted="BB")
    assert said == {"text": "AB"}
    with pytest.raises(UsageError, match="unknown label 'Q'"):
        check_feedback({"text": "AQ"}, task="read", labels=("A", "B"))
    with pytest.raises(UsageError, match="contradicts itself"):
        check_feedback({"text": "AB", "correct": True}, task="read", labels=("A", "B"), predicted="BB")
    with pytest.raises(UsageError, match="empty"):
        check_feedback({"text": "  "}, task="read", labels=("A", "B"))


TASK = task_of("read")


def answered(values: np.ndarray) -> Answers:
    return Answers(SimpleNamespace(labels=LABELS), {"probabilities": values}, [None] * len(values))  # type: ignore[arg-type]


def test_runtimes_agree_by_probabilities_and_by_the_texts() -> None:
    ours = np.concatenate([_raw(1, 0, 2)["probabilities"], _raw(2, 0, 0)["probabilities"]])
    theirs = ours.copy()
    theirs[1, 0] = [0.1, 0.95, 0.1]
    found = TASK.agree(answered(ours), answered(theirs), TASK.limits["float32"])
    assert (found.worst, found.changed) == (pytest.approx(0.9), 1)
    assert TASK.agree(answered(ours), answered(ours), TASK.limits["float32"]).changed == 0
    near = np.full((1, 2, 3), 0.3, np.float32)
    near[0, :, 1] += np.float32(0.01)
    other = near.copy()
    other[0, :, 2] += np.float32(0.02)
    assert TASK.agree(answered(near), answered(other), TASK.limits["float32"]).changed == 1
    # A difference below the tolerance of the precision is rounding.
    assert TASK.agree(answered(near), answered(other), TASK.limits["float16"]).changed == 0
    assert {p: (v.tolerance, v.same_iou) for p, v in TASK.limits.items()} == {
        "float32": (1e-4, 0.99), "float16": (0.03, 0.95), "int8": (0.1, 0.9),
    }  # fmt: skip


def test_what_is_explained_is_the_text_or_one_character() -> None:
    raw = _raw(1, 0, 2, 2, 0, 1)
    (prediction,) = decode(raw, [PLACED], LABELS)
    (whole,) = TASK.explained(raw, prediction, None, None)
    assert (whole.shown, whole.label, whole.cells, whole.box) == ("ABA", 0, 16, None)
    (own,) = TASK.explained(raw, prediction, None, 1)
    assert (own.shown, own.label) == ("B", 1)
    changed = raw["probabilities"].copy()
    changed[0, 2:4, 2] = [0.25, 0.5]
    # Of a character the highest of its steps counts, of a text the mean.
    assert own({"probabilities": changed}).tolist() == pytest.approx([0.5])
    assert whole({"probabilities": changed}).tolist() == pytest.approx([(0.9 + 0.5 + 0.9) / 3])
    nothing = _raw(0, 0)
    (empty,) = decode(nothing, [PLACED], LABELS)
    (target,) = TASK.explained(nothing, empty, None, None)
    assert (target.label, target.shown) == (0, "")
    assert target(nothing).tolist() == pytest.approx([1.8 / 12])
    assert TASK.explained(nothing, empty, None, 1) == []


def test_a_mirror_is_no_text_and_amounts_are_characters() -> None:
    with pytest.raises(UsageError, match="--flip is not supported for reading"):
        TASK.views(None, np.zeros((4, 4, 3), np.uint8), flip=True, tile=None, overlap=0.0, iou=None)  # type: ignore[arg-type]
    what, each = TASK.summary(np.array([[1.0, 2.5], [0.0, 1.0]]))
    assert (what, each.tolist()) == ("characters", [3.5, 1.0])
    assert TASK.labelled(np.array([[0.5, 2.0]])).tolist() == [[0.5, 2.0]]
    assert list(TASK.counted([1, 1])) == [1, 1]


def test_feedback_becomes_a_text_of_known_characters() -> None:
    def said(content: dict[str, str], *, right: bool = False) -> Any:
        return SimpleNamespace(content=content, right=right, predicted="BA", names=LABELS.names)

    corrected = TASK.feedback.corrected
    assert corrected(said({"text": "AB"})).written == "AB"
    assert corrected(said({}, right=True)).written == "BA"
    with pytest.raises(NotUsableError, match="not what is right"):
        corrected(said({}))
    with pytest.raises(NotUsableError, match="characters that the model does not know"):
        corrected(said({"text": "AQ"}))
    (prediction,) = decode(_raw(1, 0, 2), [PLACED], LABELS)
    taught = TASK.feedback.taught(prediction, np.array([5, 7]), lambda: None)
    assert (taught.written, tuple(taught.ids)) == ("AB", (5, 7))


def test_of_several_nets_the_most_probable_text_counts(texts: Path) -> None:
    data = open_dataset(texts, task="read")
    data = data.with_samples(data.samples[:3])

    def part(rows: list[int], said: list[str], p: list[float]) -> TextResults:
        own = data.with_samples(data.samples[i] for i in rows)
        return TextResults(own, tuple(said), np.array(p), np.array([[len(t)] for t in said], np.float32))

    reporting = reporting_of("read")
    joined = reporting.together([part([1, 0], ["b", "aa"], [0.5, 0.25]), part([0, 2], ["a", "c"], [0.25, 0.1]),
                                 part([1], ["bbb"], [0.75])], 1, data)  # fmt: skip
    assert joined.texts == ("aa", "bbb", "c")
    assert joined.probabilities.tolist() == [0.25, 0.75, 0.1]
    assert joined.characters.tolist() == [[2], [3], [1]]
    with pytest.raises(UsageError, match="expected a text for every line, found none for"):
        reporting.together([part([1], ["b"], [0.5])], 1, data)


def test_a_report_holds_lengths_fifths_of_probability_and_unknown_characters(texts: Path) -> None:
    results = _results(texts, {0: "", 7: "QQQQ"})
    report = reporting_of("read").report(results)
    lengths = np.array([len(t) for t in results.true])
    bounds = [(1, 3), (4, 8), (9, 16), (17, 32), (33, None)]
    counts = [int(((lengths >= a) & (lengths <= (b or 10**6))).sum()) for a, b in bounds]
    assert [(r["from"], r["to"], r["n"]) for r in report.tables["lengths"]] == [
        (a, b, n) for (a, b), n in zip(bounds, counts, strict=True) if n
    ]
    fifths = report.tables["confidence"]
    n = len(results.texts)
    assert [r["n"] for r in fifths] == [len(p) for p in np.array_split(np.arange(n), 5)]
    first = results.probabilities[: fifths[0]["n"]]
    assert (fifths[0]["from"], fifths[0]["to"]) == (first.min(), first.max())
    assert fifths[0]["probability"] == pytest.approx(first.mean())
    assert fifths[0]["exact"] == pytest.approx(1 - 2 / fifths[0]["n"])
    assert (fifths[-1]["to"], fifths[-1]["exact"]) == (1.0, 1.0)
    by_name = {r["label"]: r for r in report.per_class}
    for name, row in by_name.items():
        assert row["n"] == sum(t.count(name) for t in results.true)
        assert row["found"] == sum(t.count(name) for t in results.texts)
    assert report.tables["totals"]["characters"] == lengths.sum()
    assert report.tables["totals"]["unknown"] == {}
    assert results.rows().__next__() == ("id", "true", "read", "edits", "probability")
