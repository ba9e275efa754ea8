"""Feedback has limits: stored once, pruned, and no formula in a spreadsheet."""

import csv
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import UsageError
from eyewright.monitoring import Recorder, Row, export_feedback, import_feedback, open_store
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
            recorder.feedback("p1", {"comment": "x" * 3_000_000})
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
