"""Feedback has limits: stored once, pruned, and no formula in a spreadsheet."""

import csv
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import BusyError, UsageError
from eyewright.monitoring import Recorder, Row, export_feedback, feedback_summary, import_feedback, open_store
from eyewright.monitoring.store import feedback_id


def _row(k: int) -> Row:
    return Row(f"p{k}", float(k), "m", "d", "=cat", 0.5, None, (2, 2), 1.0, np.zeros(3, "f4"), np.zeros(2, "f4"))


def _said(k: int, label: str, at: float) -> tuple[str, str, float, dict[str, str]]:
    content = {"label": label}
    return feedback_id(f"p{k}", content), f"p{k}", at, content


def test_the_same_feedback_is_stored_once_and_is_the_last_word_again(tmp_path: Path) -> None:
    store = open_store(tmp_path / "a.db")
    store.add([_row(1)], [_said(1, "a", 1.0), _said(1, "b", 2.0), _said(1, "a", 3.0), _said(1, "a", 0.5)])
    ((_, content, at),) = store.feedback(model="m")
    assert (content, at) == ({"label": "a"}, 3.0)
    assert store.prune_feedback(now=4.0, most=2) == 0
    assert store.prune_feedback(now=4.0, most=1) == 1
    store.close()


def test_feedback_beyond_the_limits_is_pruned(tmp_path: Path) -> None:
    store = open_store(tmp_path / "a.db")
    store.add([_row(1)], [_said(1, str(k), float(k)) for k in range(40)] + [_said(9, "orphan", 1.0)])
    assert store.prune_feedback(now=100.0, most=1000) == 24
    assert store.prune_feedback(now=1e6, most=1000) == 1
    assert store.feedback(model="m")[0][1] == {"label": "39"}
    store.close()


def test_too_much_feedback_is_refused(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "home")
    try:
        with pytest.raises(UsageError, match="at most"):
            recorder.feedback("p1", {"comment": "x" * 5_000_000})
    finally:
        recorder.close()


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "'=1", "plain"])
def test_no_cell_is_a_formula_and_what_is_read_back_is_what_was_written(tmp_path: Path, text: str) -> None:
    store = open_store(tmp_path / "a.db")
    store.add([_row(1)], [_said(1, text, 1.0)])
    out = tmp_path / "said.csv"
    assert export_feedback(store, out) == 1
    with open(out, newline="") as file:
        (cells,) = csv.DictReader(file)
    assert not any(value.startswith(("=", "+", "-", "@", "\t", "\r")) for value in cells.values())
    assert import_feedback(store, out) == (1, [])
    assert store.feedback(model="m")[0][1]["label"] == text
    store.close()


def test_feedback_is_read_and_kept_up_to_a_number_of_bytes(tmp_path: Path) -> None:
    store = open_store(tmp_path / "a.db")
    store.add([_row(k) for k in range(5)], [_said(k, "x" * 1000, float(k)) for k in range(5)])
    assert [row.id for row, _, _ in store.feedback(model="m", most_bytes=2500)] == ["p3", "p4"]
    assert store.prune_feedback(now=6.0, most=100, most_bytes=3500) == 2
    assert [row.id for row, _, _ in store.feedback(model="m")] == ["p2", "p3", "p4"]
    store.close()


def test_large_feedback_is_refused_while_much_of_it_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import eyewright.monitoring.recorder as rooms

    monkeypatch.setattr(rooms, "_MOST_WAITING_FEEDBACK", 1500)
    monkeypatch.setattr(rooms, "_FLUSH_S", 60.0)
    recorder = Recorder(tmp_path / "home")
    try:
        recorder._store.add([_row(1), _row(2)])
        assert recorder.feedback("p1", {"label": "x" * 1000}) is True
        with pytest.raises(BusyError, match="waits"):
            recorder.feedback("p2", {"label": "x" * 1000})
        recorder.flush()
        assert recorder.feedback("p2", {"label": "x" * 1000}) is True
    finally:
        recorder.close()


def test_feedback_that_cannot_be_written_is_not_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(entry: bytes) -> None:
        raise OSError("the disk is full")

    recorder = Recorder(tmp_path / "home")
    try:
        recorder._store.add([_row(1)])
        monkeypatch.setattr(recorder._journal, "append", full)
        with pytest.raises(BusyError, match="not stored"):
            recorder.feedback("p1", {"correct": True})
    finally:
        recorder.close()


def test_a_summary_lists_new_classes_and_what_is_replaced_or_orphaned(tmp_path: Path) -> None:
    store = open_store(tmp_path / "a.db")
    declared = {"label": "ring", "new_classes": ["ring"]}
    store.add(
        [_row(1), _row(2)],
        [
            _said(1, "a", 1.0),
            _said(1, "b", 2.0),
            _said(9, "b", 1.0),
            (feedback_id("p2", declared), "p2", 3.0, declared),
        ],
    )
    found = feedback_summary(store)
    assert (found["n"], found["replaced"], found["orphaned"], found["images_kept"]) == (2, 1, 1, 0)
    assert found["labels"] == {"b": 1, "ring": 1}
    assert found["new_classes"] == {"ring": {"n": 1, "examples": ["p2"]}}
    store.close()


def test_lines_that_repeat_or_contradict_each_other_are_named(tmp_path: Path) -> None:
    store = open_store(tmp_path / "a.db")
    store.add([_row(1), _row(2)])
    said = tmp_path / "said.csv"
    said.write_text("prediction_id,label\np1,a\np2,a\np1,a\np2,b\n")
    n, findings = import_feedback(store, said)
    assert n == 2
    assert [(f.line, f.severity) for f in findings] == [(4, "note"), (5, "warning")]
    assert "contradicts line 3" in findings[1].message
    assert {row.id: c["label"] for row, c, _ in store.feedback()} == {"p1": "a", "p2": "b"}
    store.close()
