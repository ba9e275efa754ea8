"""What a report on reading holds, by hand on six short lines of two pages."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eyewright.core.labels import LabelSpace
from eyewright.core.task import task_of
from eyewright.data import Dataset, Sample
from eyewright.data.targets.text import texts_of
from eyewright.evaluation import reporting_of
from eyewright.tasks.read import TextPrediction
from eyewright.tasks.read_report import TextResults

REPORTING, TASK = reporting_of("read"), task_of("read")
NAMES = ("a", "b", "c", "d")
TRUE = ("ab", "cd", "abcd", "a", "dd", "bc")
READ = ("ab", "cc", "bcd", "abc", "", "cb")
P = (0.75, 0.5, 0.25, 0.125, 0.0, 1.0)
PAGES = ("p1", "p2", "p1", "p2", "p2", "p1")


def results(true: tuple[str, ...] = TRUE, read: tuple[str, ...] = READ, *, pages: Any = PAGES) -> TextResults:
    targets = texts_of(list(true), NAMES)
    samples = tuple(
        Sample(f"d/{k}.png", t, group=None if pages is None else pages[k]) for k, t in enumerate(targets)
    )  # fmt: skip
    data = Dataset(None, samples, LabelSpace(NAMES), "csv", "read")  # type: ignore[arg-type]
    counts = np.array([[t.count(c) for c in NAMES] for t in read], np.float32)
    return TextResults(data, read, np.array(P[: len(read)]), counts)


def test_a_line_is_worth_1_less_its_edits_for_each_character() -> None:
    # Edits: none, one of 2, one of 4, two of 1, two of 2, two of 2 (a swap is two).
    assert results().errors.edits.tolist() == [0, 1, 1, 2, 2, 2]
    assert results().each.tolist() == [1.0, 0.5, 0.75, 0.0, 0.0, 0.0]


def test_numbers_under_weights_are_edits_for_each_character() -> None:
    weights = np.array([[1.0] * 6, [1, 2, 0, 0, 0, 0]])
    found = results().numbers()(weights)
    # 8 edits for 13 characters; 2 x 1 for 2 + 2 x 2.
    assert found["cer"].tolist() == pytest.approx([8 / 13, 2 / 6])
    assert found["char_accuracy"].tolist() == pytest.approx([5 / 13, 4 / 6])
    assert found["exact"].tolist() == pytest.approx([1 / 6, 1 / 3])
    assert results().followed().number(weights).tolist() == pytest.approx([8 / 13, 2 / 6])
    assert results().asked("cer").tolist() == [True] * 6
    assert results().answers()[3].tolist() == [1, 1, 1, 0]


def test_rows_and_items_hold_both_texts_the_one_with_most_edits_first() -> None:
    titles, first, second, *_ = results().rows()
    assert titles == ("id", "true", "read", "edits", "probability")
    assert (first, second) == (("d/0.png", "ab", "ab", "0", "0.75"), ("d/1.png", "cd", "cc", "1", "0.5"))
    items = REPORTING.items(results())
    # Of equal edits the lower score first, then the name.
    assert [i["index"] for i in items] == [3, 4, 5, 1, 2, 0]
    assert items[0] == {
        "id": "d/3.png", "name": "3.png", "index": 3, "true": "a", "predicted": "abc", "edits": 2,
        "probability": 0.125, "score": 0.0,
    }  # fmt: skip


def test_confused_characters_are_counted_the_most_frequent_first() -> None:
    tables = REPORTING.report(results()).tables
    pairs = [(p["true"], p["read"], p["n"], p["of"], p["example"]) for p in tables["pairs"]]
    # "dd" is read as nothing, the d of "cd" as c, "bc" as "cb"; an added b and c stand for nothing. Names sort ties.
    assert pairs == [
        ("d", "", 2, 4, "d/4.png"), ("", "b", 1, None, "d/3.png"), ("", "c", 1, None, "d/3.png"),
        ("a", "", 1, 3, "d/2.png"), ("b", "c", 1, 3, "d/5.png"), ("c", "b", 1, 3, "d/5.png"),
        ("d", "c", 1, 4, "d/1.png"),
    ]  # fmt: skip


def test_each_character_has_how_often_it_was_there_and_read() -> None:
    rows = {r["label"]: r for r in REPORTING.report(results()).per_class}
    assert list(rows) == ["a", "b", "c", "d"]
    assert {k: (r["n"], r["found"]) for k, r in rows.items()} == {"a": (3, 2), "b": (3, 4), "c": (3, 5), "d": (4, 1)}
    # Of 3 a two are read, and both that are read are there; of 4 d one.
    assert (rows["a"]["recall"]["value"], rows["a"]["precision"]["value"]) == (pytest.approx(2 / 3), 1.0)
    assert (rows["d"]["recall"]["value"], rows["d"]["precision"]["value"]) == (0.25, 1.0)


def test_pages_are_listed_the_worst_first() -> None:
    groups = REPORTING.report(results()).tables["groups"]
    # p1: 3 edits for 8 characters, one of three exact. p2: 5 for 5, none exact.
    assert groups == [
        {"group": "p2", "n": 3, "cer": 1.0, "exact": 0.0},
        {"group": "p1", "n": 3, "cer": pytest.approx(3 / 8), "exact": pytest.approx(1 / 3)},
    ]
    assert REPORTING.report(results(pages=None)).tables["groups"] == []


def test_totals_count_characters_edits_and_empty_lines() -> None:
    totals = REPORTING.report(results()).tables["totals"]
    assert totals == {"characters": 13, "edits": 8, "empty": 1, "unknown": {}}


def test_lines_are_split_into_fifths_by_their_probability() -> None:
    rows = REPORTING.report(results()).tables["confidence"]
    # Six lines in five parts: the first has two, of probability 0 and 1/8.
    assert rows[0] == {"from": 0.0, "to": 0.125, "n": 2, "probability": 0.0625, "exact": 0.0}
    assert [(r["n"], r["from"], r["exact"]) for r in rows[1:]] == [
        (1, 0.25, 0.0), (1, 0.5, 0.0), (1, 0.75, 1.0), (1, 1.0, 0.0),
    ]  # fmt: skip
    two = REPORTING.report(results(TRUE[:2], READ[:2])).tables["confidence"]
    assert [r["from"] for r in two] == [0.5, 0.75]


def test_lengths_are_those_of_the_true_text() -> None:
    long = ("a" * 3, "a" * 4, "a" * 8, "a" * 9, "a" * 32, "a" * 33)
    rows = REPORTING.report(results(long, ("a" * 3, "a" * 3, "a" * 8, "a" * 9, "a" * 32, "a" * 32))).tables["lengths"]
    assert [(r["from"], r["to"], r["n"]) for r in rows] == [
        (1, 3, 1),
        (4, 8, 2),
        (9, 16, 1),
        (17, 32, 1),
        (33, None, 1),
    ]
    assert [r["cer"]["value"] for r in rows] == pytest.approx([0, 1 / 12, 0, 0, 1 / 33])


def test_lines_that_are_read_otherwise_have_changed_in_both_directions() -> None:
    after = results(TRUE, ("ab", "cd", "bcd", "aaa", "", "zz"))
    assert REPORTING.changed(results(), after) == [
        {"id": "d/1.png", "before": "cc", "after": "cd", "true": "cd"},
        {"id": "d/3.png", "before": "abc", "after": "aaa", "true": "a"},
        {"id": "d/5.png", "before": "cb", "after": "zz", "true": "bc"},
    ]
    found = REPORTING.compare(results(), after, 0)
    # One line more is exact, and no other is nearer.
    assert (found.only_a, found.only_b) == (0, 1)


def test_joined_results_are_those_of_all_lines() -> None:
    both = results(TRUE[:2], READ[:2]).joined(results(TRUE[2:5], READ[2:5]))
    assert (both.texts, len(both.dataset)) == (READ[:5], 5)
    assert both.probabilities.tolist() == [0.75, 0.5, 0.75, 0.5, 0.25]
    assert both.characters.shape == (5, 4)


def test_a_prediction_below_conf_is_no_text_and_has_no_probability() -> None:
    one = TextPrediction("ab", LabelSpace(NAMES), 0.5, np.array([0.5, 1.0], np.float32), np.ones((2, 2), np.float32))
    assert TASK.settle(one, None, 0.5) is one
    hidden = TASK.settle(one, None, 0.5001)
    assert (hidden.text, hidden.probability, len(hidden.scores), hidden.spans_x.shape) == ("", 0.0, 0, (0, 2))
    assert (one.confidence, hidden.confidence) == (0.5, None)


def test_the_doctor_counts_characters_and_says_the_text() -> None:
    data = results().dataset
    assert [(a, b) for a, b, _ in REPORTING.audit.tiles(data)] == [("characters", "4"), ("longest text", "4")]
    assert REPORTING.audit.caption(data, 2) == "abcd"
    assert REPORTING.audit.tiles(SimpleNamespace(labels=(), samples=()))[1][1] == "0"  # type: ignore[arg-type,index]
