"""Nothing that an open page or pruning asks of a log reads all of it."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.rng import generator
from eyewright.monitoring.store import Row, Store, open_store
from eyewright.monitoring.summary import QualityCache, quality, summarise_model


def _row(k: int, *, model: str = "m", shadow_of: str = "", image: str = "") -> Row:
    look, answer = np.zeros(3, "f4"), np.zeros(2, "f4")
    return Row(f"p{k}", float(k), model, "d", "cat", 0.5, None, (2, 2), 1.0, look, answer, shadow_of, image)


def _plans(path: Path, store: Store) -> list[str]:
    """Return how SQLite carries out every query that `store` makes from here on, as lines of EXPLAIN QUERY PLAN."""
    queries: list[str] = []
    store._open().set_trace_callback(queries.append)
    summarise_model(store, "m", "d", {}, "classify")
    store.prune(before=5.0, most=20)
    store.prune_feedback(now=1e9, most=100)
    store.close()
    with sqlite3.connect(path) as plain:
        asked = [q for q in queries if q.startswith(("SELECT", "DELETE"))]
        assert len(asked) > 10
        return [line[3] for q in asked for line in plain.execute(f"EXPLAIN QUERY PLAN {q}")]


def test_no_query_of_a_poll_or_of_pruning_scans_the_predictions(tmp_path: Path) -> None:
    store = open_store(tmp_path / "a.db")
    rows = [_row(k, shadow_of="p1" if k % 7 == 0 else "", image="i" if k % 3 == 0 else "") for k in range(40)]
    store.add(rows, [(f"f{k}", f"p{k}", float(k), {"correct": True}) for k in range(0, 40, 4)])
    for line in _plans(tmp_path / "a.db", store):
        # An index in the order that is asked for is read only as far as LIMIT or OFFSET says.
        assert not line.startswith(("SCAN predictions", "SCAN p")) or "USING COVERING INDEX predictions_age" in line, (
            line
        )


@pytest.mark.parametrize("seed", range(5))
def test_kept_counts_are_the_counts(tmp_path: Path, seed: int) -> None:
    rng = generator(seed, "tallies")
    store = open_store(tmp_path / "a.db")
    for _ in range(20):
        rows = [_row(int(k), model="mn"[int(k) % 2]) for k in rng.integers(0, 200, 15)]
        store.add(rows, [(f"f{r.id}", r.id, r.time, {"correct": True}) for r in rows[:2]])
        if rng.random() < 0.5:
            store.prune(before=float(rng.integers(0, 100)), most=int(rng.integers(5, 60)))
        with sqlite3.connect(tmp_path / "a.db") as plain:
            counted = plain.execute("SELECT model, COUNT(*), MIN(time), MAX(time) FROM predictions GROUP BY model")
            assert store.counts() == {m: {"n": n, "first": a, "last": b} for m, n, a, b in counted}
    store.close()


def test_a_log_of_an_earlier_version_is_counted_when_it_is_opened(tmp_path: Path) -> None:
    store = open_store(tmp_path / "a.db")
    store.add([_row(k) for k in range(9)])
    store.close()
    with sqlite3.connect(tmp_path / "a.db") as plain:
        plain.execute("DROP TABLE tallies")
        plain.execute("DROP INDEX predictions_age")
    assert store.counts()["m"]["n"] == 9
    store.add([_row(8), _row(9)])
    assert store.counts()["m"]["n"] == 10
    store.close()


def test_a_kept_quality_follows_the_feedback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, cache = open_store(tmp_path / "a.db"), QualityCache()
    store.add([_row(1), _row(2)], [("a", "p1", 1.0, {"label": "cat"})])
    assert cache.quality(store, "m")["right"] == 1.0
    monkeypatch.setattr(Store, "feedback", lambda *_, **__: pytest.fail("read again without other feedback"))
    assert cache.quality(store, "m")["n"] == 1
    monkeypatch.undo()
    store.add([], [("b", "p2", 2.0, {"label": "dog"})])
    assert cache.quality(store, "m") == quality(store.feedback(model="m"))
    assert cache.quality(store, "m")["right"] == 0.5
    # The first word is said again, now after another one on the same prediction.
    store.add([], [("c", "p1", 3.0, {"label": "dog"})])
    assert cache.quality(store, "m")["right"] == 0.0
    store.add([], [("a", "p1", 4.0, {"label": "cat"})])
    assert cache.quality(store, "m")["right"] == 0.5
    store.close()
