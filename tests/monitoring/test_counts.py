"""Counts of live sources in the log: by hour, exactly once, and an alert where an hour is not like those before."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from eyewright.cli import main
from eyewright.core.files import write_bytes
from eyewright.monitoring import Recorder, open_store
from eyewright.monitoring.counts import count_row, seen_row, summarise_counts, unusual_counts

HOUR = 480_000


def past(days: int, n: int, *, spread: int = 0, unseen: int = 0) -> list[tuple[int, str, str, str, str, int]]:
    """Hours of earlier days with about n crossings each; in the first `unseen` the server did not run."""
    rng = np.random.default_rng(0)
    rows = []
    for day in range(1, days + 1):
        hour = HOUR - 24 * day
        if day > unseen:
            rows.append((hour, "door", "", "", "", 6))
            rows.append((hour, "door", "gate", "in", "person", n + int(rng.integers(-spread, spread + 1))))
    return [*rows, (HOUR, "door", "", "", "", 6)]


def test_an_hour_is_compared_with_the_same_hour_of_earlier_days() -> None:
    rows = past(14, 100, spread=8)
    for n, expected in ((100, False), (130, False), (160, True), (50, True), (0, True)):
        (found,) = unusual_counts([*rows, (HOUR, "door", "gate", "in", "person", n)], HOUR)
        assert found.unusual is expected, n
    # Nobody came, so nothing is in the log of that hour.
    (found,) = unusual_counts(rows, HOUR)
    assert (found.n, found.unusual) == (0, True)
    assert "100" not in found.line_of_text().partition(";")[0]
    assert "door: 0 gate in" in found.line_of_text()


def test_small_counts_are_not_called_unusual_for_one_person_more() -> None:
    rows = past(10, 0)
    for n, expected in ((0, False), (3, False), (9, True)):
        (found,) = unusual_counts([*rows, (HOUR, "door", "gate", "in", "person", n)], HOUR)
        assert found.unusual is expected, n


def test_hours_in_which_the_server_did_not_run_say_nothing() -> None:
    assert unusual_counts([*past(12, 50, unseen=6), (HOUR, "door", "gate", "in", "person", 0)], HOUR) == []
    partly = [r if r[0] != HOUR else (*r[:5], 3) for r in past(12, 50)]
    assert unusual_counts(partly, HOUR) == []


def test_the_last_day_is_shown_by_hour_and_label() -> None:
    now = (HOUR + 0.5) * 3600
    rows = [
        (HOUR - 30, "door", "gate", "in", "person", 7),
        (HOUR - 1, "door", "gate", "in", "person", 2),
        (HOUR - 1, "door", "gate", "in", "dog", 1),
        (HOUR, "door", "gate", "out", "person", 4),
        (HOUR, "yard", "", "", "", 1),
    ]
    found = summarise_counts(rows, now=now)
    gate = found["door"]["gate"]
    assert gate["hours"]["in"] == [0] * 22 + [3, 0]
    assert gate["hours"]["out"] == [0] * 23 + [4]
    assert gate["labels"]["in"] == {"person": 2, "dog": 1}
    assert gate["first_hour"] == (HOUR - 23) * 3600
    assert found["yard"] == {}


def test_a_crossing_is_in_the_log_once_whatever_happens_to_the_server(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    event = {"time": time.time(), "line": "gate", "direction": "in", "label": "person"}
    for _ in range(5):
        recorder.note_crossing("door", event)
        recorder.note_crossing("door", None)
    # The journal of a server that was killed after it had written to the database, and is read again.
    kept = {p: p.read_bytes() for p in (tmp_path / "journal").iterdir() if p.is_file()}
    assert any(b"gate" in data for data in kept.values())
    recorder.close()
    for path, data in kept.items():
        write_bytes(path, data)
    again = Recorder(tmp_path)
    shown = again.watch()["sources"]["door"]["gate"]
    again.close()
    assert sum(shown["hours"]["in"]) == 5
    rows = open_store(tmp_path / "monitor.db").crossings(since_hour=0)
    assert sorted((line, n) for _, _, line, _, _, n in rows) == [("", 1), ("gate", 5)]


def test_an_unusual_hour_is_an_alert_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eyewright.monitoring import recorder as module

    sent: list[tuple[str, str]] = []
    now = [HOUR * 3600 + 1800.0]
    monkeypatch.setattr(module.time, "time", lambda: now[0])
    recorder = Recorder(tmp_path)
    # Its own thread must not come between.
    recorder._ended.set()
    recorder._thread.join()
    monkeypatch.setattr(type(recorder.alerts), "send", lambda self, kind, text, content: sent.append((kind, text)))
    store = open_store(tmp_path / "monitor.db")
    rows = []
    for day in range(1, 10):
        start = (HOUR - 24 * day) * 3600.0
        rows += [seen_row("door", start + 600 * k) for k in range(6)]
        rows += [
            count_row("door", {"time": start + k, "line": "gate", "direction": "in", "label": "person"})
            for k in range(40)
        ]
    rows += [seen_row("door", HOUR * 3600.0 + 600 * k) for k in range(6)]
    store.add_values([], [], rows)
    recorder._test_counts()
    assert sent == []
    now[0] += 3600
    recorder._test_counts()
    recorder._test_counts()
    assert [kind for kind, _ in sent] == ["counts"]
    assert sent[0][1].startswith("door: 0 gate in in the hour from 2024-")
    assert ("eyewright_count_unusual", {"source": "door", "line": "gate", "direction": "in"}, 1.0) in [
        (n, labels, v) for n, _, labels, v in recorder.gauges()
    ]
    recorder.close()
    store.close()


def test_old_crossings_are_removed(tmp_path: Path) -> None:
    store = open_store(tmp_path / "monitor.db")
    event = {"line": "gate", "direction": "in", "label": "person"}
    store.add_values([], [], [count_row("door", {**event, "time": 1000.0 * k}) for k in range(20)])
    store.prune(before=4500.0, most=100)
    assert sum(n for *_, n in store.crossings(since_hour=0)) == 15
    store.prune(before=0.0, most=3)
    assert sum(n for *_, n in store.crossings(since_hour=0)) == 3
    store.close()


def test_the_command_shows_what_was_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder(tmp_path)
    for way in ("in", "in", "out"):
        event = {"time": time.time(), "line": "gate", "direction": way, "label": "person"}
        recorder.note_crossing("door", event)
    recorder.close()
    assert main(["monitor", "status", "--home", str(tmp_path), "--json"]) == 0
    sources = json.loads(capsys.readouterr().out)["monitor"]["sources"]
    assert {way: sum(n) for way, n in sources["door"]["gate"]["hours"].items()} == {"in": 2, "out": 1}
    assert main(["monitor", "status", "--home", str(tmp_path)]) == 0
    assert "gate      2 in, 1 out" in capsys.readouterr().out
