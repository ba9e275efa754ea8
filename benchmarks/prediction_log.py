"""The prediction log with a million rows: a poll of the open page, a count, shadow predictions, pruning, and writing.

Run it with two checkouts (`PYTHONPATH=OTHER/src`) on the same `--folder` to compare them: the log is built once,
without what a version adds to the tables when it opens them. The target for each reading is 20 ms.
"""

import argparse
import contextlib
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from eyewright.imaging.appearance import LOOK
from eyewright.monitoring.store import Row, Store, open_store
from eyewright.monitoring.summary import summarise_model

MODELS = ("cells", "tiles")
CLASSES = 10
DAY = 86_400.0


def row(k: int, now: float, rng: np.random.Generator) -> Row:
    """Return the k-th row: one every 0.1 s, one in a thousand by a challenger, one in ten with a kept image."""
    answer = rng.dirichlet(np.ones(CLASSES)).astype(np.float32)
    return Row(
        f"{k:032x}",
        now + 0.1 * k,
        MODELS[k % 2],
        "0" * 64,
        str(int(answer.argmax())),
        float(answer.max()),
        0.5,
        (96, 96),
        3.0,
        rng.random(LOOK, np.float32),
        answer,
        f"{k - 1:032x}" if k % 1000 == 999 else "",
        f"{k:08x}.jpg" if k % 10 == 0 else "",
    )


def build(store: Store, n: int, said: int) -> None:
    """Write n rows and `said` pieces of feedback, spread over all of them."""
    rng = np.random.default_rng(0)
    begin = time.time() - 0.1 * n
    step = max(1, n // said)
    for first in range(0, n, 5000):
        rows = [row(k, begin, rng) for k in range(first, min(n, first + 5000))]
        feedback = [
            (f"f{k:031x}", r.id, r.time, {"label": str(k % CLASSES)})
            for k, r in enumerate(rows, first)
            if k % step == 0
        ]
        store.add(rows, feedback)


def timed(name: str, work: Callable[[], object], repeats: int) -> None:
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - begin))
    print(f"{name:<44} {statistics.median(times):9.2f} ms  (n={repeats}, largest {max(times):.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--feedback", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, help="keep the log here, and use it if it is there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        original = folder / f"{args.rows}.sqlite"
        if not original.exists():
            building = folder / "building.sqlite"
            store = open_store(building)
            build(store, args.rows, args.feedback)
            store.close()
            with sqlite3.connect(building) as plain:
                # What a version adds to the tables, it adds when it opens them.
                names = plain.execute("SELECT type, name FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
                kept = {"predictions", "feedback", "windows", "models", "predictions_time", "feedback_prediction"}
                for kind, name in names:
                    if name not in kept:
                        plain.execute(f"DROP {kind.upper()} {name}")
            plain.close()
            building.rename(original)
        copy = folder / "copy.sqlite"
        shutil.copyfile(original, copy)
        store = open_store(copy)
        begin = time.perf_counter()
        store.models()
        print(
            f"{args.rows} rows, {copy.stat().st_size / 1e6:.0f} MB; first opening {time.perf_counter() - begin:.2f} s"
        )
        cache: dict[str, Any] = {}
        with contextlib.suppress(ImportError):
            from eyewright.monitoring.summary import QualityCache

            cache["cache"] = QualityCache()
        timed(
            "a poll of the page, one model",
            lambda: summarise_model(store, "cells", "0" * 64, {}, "classify", **cache),
            9,
        )
        timed("counts", store.counts, 9)
        timed("the newest 1,000", lambda: store.recent(model="cells", n=1000), 9)
        timed("the newest 1,000 of a challenger", lambda: store.recent(model="cells", n=1000, shadows=True), 9)
        timed("5,000 pieces of feedback", lambda: store.feedback(model="cells", n=5000, most_bytes=2**24), 9)
        timed("prune, nothing to remove", lambda: store.prune(before=0.0, most=args.rows), 9)
        timed("prune feedback, nothing to remove", lambda: store.prune_feedback(now=time.time(), most=100_000), 9)
        rng, now = np.random.default_rng(1), time.time()
        batches = iter([[row(k, now, rng) for k in range(f, f + 64)] for f in range(10**9, 10**9 + 64 * 99, 64)])
        timed("write 64 rows", lambda: store.add(next(batches)), 99)
        for name in ("first", "second"):
            begin = time.perf_counter()
            removed, free = store.prune(before=0.0, most=args.rows)
            spent = 1000 * (time.perf_counter() - begin)
            print(f"{name} prune: {removed} rows removed, {len(free)} images free{spent:21.2f} ms")
        begin = time.perf_counter()
        removed, free = store.prune(before=time.time() - 0.1 * args.rows * 0.9, most=args.rows)
        spent = 1000 * (time.perf_counter() - begin)
        print(f"prune a tenth: {removed} rows, {len(free)} images free, {spent:.0f} ms")
        store.close()
        for end in ("", "-wal", "-shm"):
            Path(f"{copy}{end}").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
