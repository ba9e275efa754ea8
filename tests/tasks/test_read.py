"""What raw arrays of a reader mean, how its answers are shown, and how they are reported."""

from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import BundleError, UsageError
from eyewright.core.labels import LabelSpace
from eyewright.core.task import task_of
from eyewright.data import open_dataset
from eyewright.evaluation import render_html, reporting_of
from eyewright.imaging.preparation import Placement
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
