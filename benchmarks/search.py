"""Exact search in an index on disk beside numpy and faiss: queries a CPU-second, recall, opening, adding, killing.

    python benchmarks/search.py [--faiss PYTHON] [-n 100000] [--dim 256] [--large 1000000] [--kills 50]

`--faiss` is the Python of an environment with faiss-cpu and numpy; it gets the same vectors and queries in the same
run. Vectors are of two kinds: in all directions alike, the hardest there are, and in clusters on few directions, as
nets make them. One thread each; a CPU-second is process time, so that whoever else runs here counts less. `--large`
measures a large index on disk, and up to 250,000 vectors its graph (usearch). Targets at 100,000 x 256: 250 queries a
CPU-second at recall 0.99 or more, opened in 0.15 s and 40 MB, 1,000 added in 1 s, nothing committed lost by kill -9;
1,000,000 answer in 120 ms.
"""

import argparse
import json
import os

os.environ["OMP_NUM_THREADS"] = "1"

import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from eyewright.retrieval import Index, Row, create_index, open_index
from eyewright.retrieval.coding import unit_vectors

_K, _QUERIES = 10, 300
_FAISS = """
import json, sys, time
import faiss, numpy as np
faiss.omp_set_num_threads(1)
x, q, truth = (np.load(f"{sys.argv[1]}/{n}.npy") for n in ("x", "q", "truth"))
d, told = x.shape[1], {}
for name, index in (
    ("faiss Flat", faiss.IndexFlatIP(d)),
    ("faiss SQ8", faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)),
):
    index.train(x); index.add(x)
    for v in q[:20]: index.search(v[None], 10)
    t = time.process_time()
    found = [index.search(v[None], 10)[1][0] for v in q]
    t = time.process_time() - t
    told[name] = [len(q) / t, float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, truth)]))]
print(json.dumps(told))
"""
_WRITER = """
import sys
from pathlib import Path
import numpy as np
from eyewright.retrieval import Row, open_index
index, rng = open_index(Path(sys.argv[1])), np.random.default_rng(int(sys.argv[2]))
print("ready", flush=True)
while True:
    first = index.manifest["next_id"]
    print("adding", *range(first, first + 20), flush=True)
    ids = index.add(rng.standard_normal((20, index.dim)), [Row(f"{k}.jpg") for k in range(first, first + 20)])
    print("added", *ids, flush=True)
    print("deleting", *ids[:5], flush=True)
    index.delete(ids[:5])
    print("deleted", *ids[:5], flush=True)
"""


def made(kind: str, n: int, dim: int, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    if kind == "alike":
        return unit_vectors(rng.standard_normal((n, dim), dtype=np.float32))
    world = np.random.default_rng(99)
    spectrum = (1 + np.arange(dim)) ** -0.6
    centres = world.standard_normal((200, dim)) * spectrum
    own = centres[rng.integers(0, 200, n)] + 0.7 * rng.standard_normal((n, dim), dtype=np.float32) * spectrum
    turn = np.linalg.qr(world.standard_normal((dim, dim)))[0]
    return unit_vectors(own @ turn)


def filled(folder: Path, vectors: NDArray[np.float32]) -> Index:
    index = create_index(folder, model="benchmark", digest="0" * 64, dim=vectors.shape[1])
    index.add(vectors, [Row(f"photos/{k // 1000}/{k}.jpg", f"{k:064x}", k, k, 480, 640) for k in range(len(vectors))])
    return index


def rate(answer, queries: NDArray[np.float32]) -> tuple[float, list[list[int]]]:  # type: ignore[no-untyped-def]
    for q in queries[:20]:
        answer(q)
    started = time.process_time()
    found = [answer(q) for q in queries]
    return len(queries) / (time.process_time() - started), found


def recall(found: list[list[int]], truth: list[list[int]]) -> float:
    return float(np.mean([len(set(a) & set(b)) / _K for a, b in zip(found, truth, strict=True)]))


def compare(kind: str, n: int, dim: int, faiss: str | None, folder: Path) -> Index:
    vectors, queries = made(kind, n, dim, 0), made(kind, _QUERIES, dim, 1)
    index = filled(folder / f"{kind}.index", vectors)
    kept = index.vectors(range(n)) if n <= 1000 else np.concatenate([s.vectors for s in index.segments])
    stored = kept.astype(np.float32)

    def by_numpy(q: NDArray[np.float32]) -> list[int]:
        scores = stored @ q
        best = np.argpartition(-scores, _K)[:_K]
        return best[np.argsort(-scores[best], kind="stable")].tolist()

    wide = stored.astype(np.float64)
    truth = [np.argsort(-(wide @ q.astype(np.float64)), kind="stable")[:_K].tolist() for q in queries]
    del wide
    rows = {}
    rows["numpy float32"] = (r := rate(by_numpy, queries))[0], recall(r[1], truth)
    ours = rate(lambda q: [h.id for h in index.search(q, _K)], queries)
    rows["eyewright exact"] = ours[0], recall(ours[1], truth)
    same = sum(a == b for a, b in zip(ours[1], truth, strict=True))
    if faiss:
        for name, array in (("x", stored), ("q", queries), ("truth", np.array(truth))):
            np.save(folder / f"{name}.npy", array)
        done = subprocess.run([faiss, "-c", _FAISS, str(folder)], check=True, capture_output=True, text=True)
        rows |= {name: tuple(value) for name, value in json.loads(done.stdout).items()}
    print(f"{n:,} x {dim}, {kind}, {_QUERIES} single queries, best {_K}; ids equal to argsort in {same}/{_QUERIES}")
    for name, (speed, right) in rows.items():
        ratio = rows["eyewright exact"][0] / speed
        print(f"  {name:16} {speed:7.0f} a CPU-second   recall {right:.4f}   ours is {ratio:.2f} times as fast")
    return index


def opening(folder: Path, dim: int) -> None:
    code = f"""
import time, psutil, numpy as np
from pathlib import Path
import eyewright.retrieval, onnxruntime
from eyewright.retrieval import open_index
me = psutil.Process(); before = me.memory_info().rss
t = time.perf_counter(); index = open_index(Path({str(folder)!r})); t = time.perf_counter() - t
opened = me.memory_info().rss
index.search(np.ones({dim}), 10)
full = me.memory_full_info()
print(f"{{t:.4f}} {{(opened - before) / 1e6:.1f}} {{(full.rss - before) / 1e6:.1f}} {{full.uss / 1e6:.1f}}")
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    codes = sum(p.stat().st_size for p in folder.rglob("codes.i8")) / 1e6
    print(
        f"opened in {done[0]} s; memory {done[1]} MB after opening, {done[2]} MB after a search, {codes:.0f} MB of it"
    )
    print("codes that are mapped from disk")


def adding(index: Index, dim: int) -> None:
    taken = []
    for k in range(5):
        started = time.perf_counter()
        first = index.manifest["next_id"]
        index.add(made("alike", 1000, dim, 7 + k), [Row(f"new/{i}.jpg") for i in range(first, first + 1000)])
        taken.append(time.perf_counter() - started)
    started = time.perf_counter()
    index.delete(range(1000))
    deleted = time.perf_counter() - started
    started = time.perf_counter()
    index.compact()
    print(f"1,000 added in {np.median(taken):.2f} s (5 runs, {min(taken):.2f} to {max(taken):.2f}), 1,000 deleted in "
          f"{deleted:.2f} s, compacted in {time.perf_counter() - started:.1f} s")  # fmt: skip


def killing(folder: Path, kills: int) -> None:
    index = filled(folder / "killed.index", made("alike", 500, 32, 0))
    alive, rng, lost = {id for id, _ in index.rows()}, random.Random(0), 0
    for attempt in range(kills):
        command = [sys.executable, "-c", _WRITER, str(folder / "killed.index"), str(attempt)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(rng.uniform(0, 0.2))
        os.kill(child.pid, signal.SIGKILL)
        possible = [alive]
        for line in child.communicate()[0].splitlines():
            word, *ids = line.split()
            changed = alive | set(map(int, ids)) if word.startswith("add") else alive - set(map(int, ids))
            # What was begun may be in as a whole or not at all; what was said to be done must be.
            possible = [alive, changed] if word.endswith("ing") else [changed]
            alive = alive if word.endswith("ing") else changed
        index = open_index(folder / "killed.index")
        index.verify()
        found = {id for id, _ in index.rows()}
        lost += found not in possible
        alive = found
    print(f"kill -9 at {kills} instants: {lost} times something committed was lost; every index verified")


def large(folder: Path, n: int, dim: int) -> None:
    index = create_index(folder / "large.index", model="benchmark", digest="0" * 64, dim=dim)
    for start in range(0, n, 100_000):
        part = made("clusters", min(100_000, n - start), dim, 50 + start)
        index.add(part, [Row(f"{k}.jpg") for k in range(start, start + len(part))])
    queries = made("clusters", 50, dim, 1)
    index.search(queries[0], _K)
    walls, exact = [], []
    for q in queries:
        started = time.perf_counter()
        exact.append([h.id for h in index.search(q, _K, exact=True)])
        walls.append(time.perf_counter() - started)
    median, late = 1e3 * np.quantile(walls, (0.5, 0.95))
    print(f"{n:,} x {dim} on disk, exact: median {median:.0f} ms, 95 % {late:.0f} ms")
    if n > 250_000:
        return
    started = time.process_time()
    index.build_graph()
    built = time.process_time() - started
    speed, found = rate(lambda q: [h.id for h in index.search(q, _K)], queries)
    right = recall(found, exact)
    print(f"graph: built in {built:.0f} CPU-seconds, {speed:.0f} queries a CPU-second, recall {right:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--faiss", metavar="PYTHON")
    parser.add_argument("-n", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--large", type=int, default=0)
    parser.add_argument("--kills", type=int, default=50)
    o = parser.parse_args()
    print(f"{psutil.cpu_count()} cores, numpy {np.__version__}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for kind in ("alike", "clusters") if o.n else ():
            index = compare(kind, o.n, o.dim, o.faiss, folder)
        if o.n:
            opening(index.folder, o.dim)
            adding(index, o.dim)
        if o.kills:
            killing(folder, o.kills)
        if o.large:
            large(folder, o.large, o.dim)


if __name__ == "__main__":
    main()
