"""The index on disk: exact against numpy's argsort, and nothing committed is lost when a process is killed."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import InputError, RefusedError, UsageError
from eyewright.retrieval import Index, Row, create_index, open_index, segments
from eyewright.retrieval import index as index_module

DIM = 32


def vectors(n: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def rows(n: int, first: int = 0) -> list[Row]:
    return [Row(f"folder{k % 3}/{k:05d}.jpg", f"{k:064x}", k) for k in range(first, first + n)]


def made(folder: Path, n: int = 500, dim: int = DIM) -> Index:
    index = create_index(folder, model="m", digest="d" * 64, dim=dim)
    if n:
        index.add(vectors(n, dim=dim), rows(n))
    return index


def by_argsort(index: Index, query: np.ndarray, n: int) -> list[int]:
    """The oracle: all products in double precision, numpy's stable argsort."""
    ids, found = index.live()
    unit = (query / np.linalg.norm(query)).astype(np.float32).astype(np.float64)
    return ids[np.argsort(-(found.astype(np.float64) @ unit), kind="stable")[:n]].tolist()


@pytest.mark.parametrize("dim", [3, 32, 384])
@pytest.mark.parametrize("n", [1, 63, 64, 700, 9000])
def test_exact_search_is_argsort_to_the_id(tmp_path: Path, n: int, dim: int) -> None:
    index = made(tmp_path / "x", n, dim)
    for query in vectors(5, 1, dim):
        for asked in (1, 10, 100):
            found = index.search(query, asked)
            assert [h.id for h in found] == by_argsort(index, query, asked)
    hit = index.search(index.vectors([n // 2])[0], 1)[0]
    assert hit.id == n // 2
    assert hit.row == rows(1, n // 2)[0]
    assert hit.score == pytest.approx(1, abs=1e-3)


def test_codes_of_unequal_vectors_miss_nothing(tmp_path: Path) -> None:
    """A few large values in each vector make the codes coarse, and the bound wide."""
    rng = np.random.default_rng(0)
    uneven = rng.standard_t(1.2, (3000, DIM)).astype(np.float32)
    index = create_index(tmp_path / "x", model="m", digest="d", dim=DIM)
    index.add(uneven, rows(3000))
    for query in (*uneven[:20], *rng.standard_t(1.2, (20, DIM)).astype(np.float32)):
        assert [h.id for h in index.search(query, 10)] == by_argsort(index, query, 10)


def test_equal_vectors_come_in_the_order_of_their_ids_and_a_top_n_begins_a_top_m(tmp_path: Path) -> None:
    index = create_index(tmp_path / "x", model="m", digest="d", dim=DIM)
    index.add(np.repeat(vectors(20), 10, 0), rows(200))
    query = vectors(1, 5)[0]
    longest = [h.id for h in index.search(query, 200)]
    assert longest[:10] == sorted(longest[:10])
    for n in (1, 3, 15, 64, 130):
        assert [h.id for h in index.search(query, n)] == longest[:n]


def test_filters_come_before_ranking(tmp_path: Path) -> None:
    index = made(tmp_path / "x", 2000)
    query = vectors(1, 3)[0]
    order = by_argsort(index, query, 2000)
    only = [k for k in range(2000) if k % 50 == 7]
    assert [h.id for h in index.search(query, 10, only=only)] == [k for k in order if k % 50 == 7][:10]
    assert [h.id for h in index.search(query, 10, without=order[:4])] == order[4:14]
    assert len(index.search(query, 10, only=[])) == 0


def test_what_is_added_deleted_and_written_anew_is_found_as_numpy_finds_it(tmp_path: Path) -> None:
    rng = random.Random(0)
    index = made(tmp_path / "x", 300)
    alive = set(range(300))
    for step in range(24):
        if rng.random() < 0.6:
            n = rng.choice([1, 5, 60])
            first = index.manifest["next_id"]
            added = index.add(vectors(n, step + 10), rows(n, first))
            assert added == list(range(first, first + n)), "an id is used once"
            alive |= set(added)
        else:
            gone = rng.sample(sorted(alive), min(len(alive) // 4, 40))
            assert index.delete([*gone, 10**9]) == len(gone)
            alive -= set(gone)
        if step % 8 == 7:
            index.compact()
        assert len(index) == len(alive)
        assert {id for id, _ in index.rows()} == alive
        assert all(row == rows(1, id)[0] for id, row in index.rows())
        query = vectors(1, step + 100)[0]
        assert [h.id for h in index.search(query, 20)] == by_argsort(index, query, 20)
    again = open_index(tmp_path / "x")
    again.verify()
    assert {id for id, _ in again.rows()} == alive


def test_many_small_additions_stay_few_segments_and_deletions_give_space_back(tmp_path: Path) -> None:
    index = made(tmp_path / "x", 0)
    for k in range(40):
        index.add(vectors(2, k), rows(2, 2 * k))
    assert len(index.segments) <= 17
    index.add(vectors(1000, 99), rows(1000, 80))
    before = sum(p.stat().st_size for p in (tmp_path / "x").rglob("*") if p.is_file())
    index.delete(range(80, 1080, 2))
    after = sum(p.stat().st_size for p in (tmp_path / "x").rglob("*") if p.is_file())
    assert after < 0.65 * before
    assert index.manifest["deleted"] is None, "above 20 % deleted it is written anew"


def test_readers_keep_what_they_opened(tmp_path: Path) -> None:
    writer = made(tmp_path / "x")
    reader = open_index(tmp_path / "x")
    query = vectors(1, 3)[0]
    before = reader.search(query, 10)
    writer.delete([h.id for h in before])
    writer.compact()
    assert reader.search(query, 10) == before
    assert not {h.id for h in writer.search(query, 10)} & {h.id for h in before}


_WRITER = """
import sys
from pathlib import Path
import numpy as np
from eyewright.retrieval import Row, open_index

index, out = open_index(Path(sys.argv[1])), sys.stdout
rng = np.random.default_rng(int(sys.argv[2]))
print("ready", flush=True)
while True:
    first = index.manifest["next_id"]
    n = int(rng.integers(1, 40))
    print("adding", first, n, flush=True)
    ids = index.add(rng.standard_normal((n, 32)), [Row(f"{k}.jpg") for k in range(first, first + n)])
    print("added", *ids, flush=True)
    live = [id for id, _ in index.rows()]
    gone = rng.choice(live, len(live) // 8, replace=False).tolist()
    print("deleting", *gone, flush=True)
    index.delete(gone)
    print("deleted", *gone, flush=True)
    if rng.random() < 0.3:
        index.compact()
"""


def test_a_process_that_is_killed_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    made(tmp_path / "x", 200)
    alive, rng = set(range(200)), random.Random(1)
    program = tmp_path / "writer.py"
    program.write_text(textwrap.dedent(_WRITER))
    for attempt in range(8):
        child = subprocess.Popen(
            [sys.executable, program, str(tmp_path / "x"), str(attempt)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0.0, 0.15))
        os.kill(child.pid, signal.SIGKILL)
        said = child.communicate()[0].splitlines()
        unsure: list[str] = []
        for line in said:
            word, *numbers = line.split()
            values = set(map(int, numbers))
            if word == "added":
                alive |= values
            elif word == "deleted":
                alive -= values
            unsure = [line] if word in ("adding", "deleting") else []
        index = open_index(tmp_path / "x")
        index.verify()
        found = {id for id, _ in index.rows()}
        possible = [alive]
        for line in unsure:
            # It was under way: it may be in as a whole or not at all.
            word, *numbers = line.split()
            values = list(map(int, numbers))
            possible.append(alive | set(range(values[0], sum(values))) if word == "adding" else alive - set(values))
        assert found in possible, said[-3:]
        alive = found
        query = vectors(1, attempt)[0]
        assert [h.id for h in index.search(query, 5)] == by_argsort(index, query, 5)
        # The next writer removes what the killed one left half done.
        index.add(vectors(1, attempt), rows(1))
        alive.add(index.manifest["next_id"] - 1)
        known = {e["name"] for e in index.manifest["segments"]}
        assert {p.name for p in (tmp_path / "x" / "segments").iterdir()} == known


def test_every_step_of_a_commit_may_be_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault at each write in turn: the index is as it was before, and goes on."""
    index = made(tmp_path / "x", 100)
    index.delete([5])
    query = vectors(1, 3)[0]

    class StopError(Exception):
        pass

    for name in ("write_segment", "write_bytes", "write_json"):
        before = [h.id for h in index.search(query, 10)]

        def stop(*_: object, **__: object) -> None:
            raise StopError

        with monkeypatch.context() as patch:
            patch.setattr(index_module, name, stop)
            with pytest.raises(StopError):
                index.add(vectors(10, 9), rows(10, 900), delete=[before[0]])
        assert [h.id for h in index.search(query, 10)] == before
        assert [h.id for h in open_index(tmp_path / "x").search(query, 10)] == before
    index.add(vectors(10, 9), rows(10, 900))
    assert len(index) == 109


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: _cut(f / "segments/00000001/vectors.f16"), "has 16,000 bytes, expected 32,000"),
        (lambda f: _cut(f / "segments/00000001/codes.i8"), "bytes, expected"),
        (lambda f: (f / "segments/00000001/ids.i64").unlink(), "is missing"),
        (lambda f: _cut(f / "index.json"), r"index\.json cannot be read"),
        (lambda f: (f / "index.json").write_text("[]"), r"index\.json cannot be read"),
        (lambda f: (f / "index.json").write_text("{}"), r"index\.json cannot be read"),
        (lambda f: _edit(f, lambda m: m["segments"][0].update(name="../../etc")), r"segments\[0\]\.name"),
        (lambda f: _edit(f, lambda m: m["segments"].append(m["segments"][0])), "twice"),
        (lambda f: _edit(f, lambda m: m["segments"][0]["files"].pop("ids.i64")), "too few files"),
        (lambda f: _edit(f, lambda m: m["segments"][0].update(rows=-1)), r"rows"),
        (lambda f: _edit(f, lambda m: m["segments"][0].update(rows=10**12)), "rows of 32 numbers take"),
        (lambda f: _edit(f, lambda m: m.update(model=None)), r"\$\.model"),
        (lambda f: _edit(f, lambda m: m.update(model={"name": ["a"], "digest": "d"})), r"\$\.model\.name"),
        (lambda f: _edit(f, lambda m: m.update(about="x")), r"\$\.about"),
        (lambda f: _edit(f, lambda m: m.update(about={"root": 5})), "names no folder"),
        (lambda f: _edit(f, lambda m: m.update(segments={})), r"\$\.segments"),
        (lambda f: _edit(f, lambda m: m.update(dim=0)), r"\$\.dim"),
        (lambda f: _edit(f, lambda m: m.update(next_id=10**30)), r"\$\.next_id"),
        (lambda f: _edit(f, lambda m: m.update(deleted={"name": "index.json"})), r"\$\.deleted"),
        (lambda f: _edit(f, lambda m: m.update(format="other")), "not that of an Eyewright index"),
        (lambda f: (f / "index.json").write_text("[" * 100_000), r"index\.json cannot be read"),
        (lambda f: (f / "index.json").write_bytes(b'{"format": "\xff"}'), r"index\.json cannot be read"),
        (lambda f: _zero(f / "segments/00000001/rows.jsonl"), "is not what was written"),
        (lambda f: _zero(f / "segments/00000001/offsets.i64"), "is not what was written"),
        (lambda f: _zero(f / "segments/00000001/codes.i8"), "is not what was written"),
        (lambda f: _zero(f / "segments/00000001/ids.i64", seal=True), "not in order"),
        (lambda f: _zero(f / "segments/00000001/offsets.i64", seal=True), "not in order"),
        (lambda f: _edit(f, lambda m: m["segments"][0].update(rows="x")), r"index\.json cannot be read"),
        (lambda f: (f / "index.json").unlink(), "found none"),
    ],
)
def test_a_damaged_index_is_refused_in_one_line(tmp_path: Path, damage, said: str) -> None:  # type: ignore[no-untyped-def]
    made(tmp_path / "x", 500)
    damage(tmp_path / "x")
    with pytest.raises(InputError, match=said) as refused:
        open_index(tmp_path / "x")
    assert refused.value.exit_code == 3
    assert "\n" not in str(refused.value)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _zero(path: Path, *, seal: bool = False) -> None:
    """Fill a file with zeros; with `seal` its manifest says so too."""
    content = bytes(path.stat().st_size)
    path.write_bytes(content)
    if seal:
        digest = hashlib.sha256(content).hexdigest()
        _edit(path.parents[2], lambda m: m["segments"][0]["files"][path.name].update(sha256=digest))


@pytest.mark.parametrize("line", [b"null\n", b"[]\n", b"{}\n", b'{"path": 5}\n', b'{"path": "a", "x": 1}\n', b"[[[[\n"])
def test_a_row_that_is_none_is_a_damaged_index(tmp_path: Path, line: bytes) -> None:
    index = made(tmp_path / "x", 1)
    place = tmp_path / "x/segments/00000001/rows.jsonl"
    padded = line[:-1].ljust(place.stat().st_size - 1) + b"\n"
    place.write_bytes(padded)
    digest = hashlib.sha256(padded).hexdigest()
    _edit(tmp_path / "x", lambda m: m["segments"][0]["files"]["rows.jsonl"].update(sha256=digest))
    index = open_index(tmp_path / "x")
    for look in (lambda: list(index.rows()), lambda: index.search(vectors(1)[0], 1)):
        with pytest.raises(InputError, match="a row is not what was written"):
            look()


def _edit(folder: Path, change) -> None:  # type: ignore[no-untyped-def]
    manifest = json.loads((folder / "index.json").read_text())
    change(manifest)
    (folder / "index.json").write_text(json.dumps(manifest))


def test_a_changed_byte_is_met_in_small_files_at_once_and_in_large_ones_when_it_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path / "x")
    place = tmp_path / "x/segments/00000001/vectors.f16"
    content = bytearray(place.read_bytes())
    content[77] ^= 1
    place.write_bytes(content)
    with pytest.raises(InputError, match="is not what was written"):
        open_index(tmp_path / "x")
    monkeypatch.setattr(segments, "_ALWAYS", 1000)
    index = open_index(tmp_path / "x")
    with pytest.raises(InputError, match="is not what was written"):
        index.verify()


def test_wrong_vectors_and_models_are_refused(tmp_path: Path) -> None:
    index = made(tmp_path / "x")
    nan = vectors(1)[0]
    nan[3] = np.nan
    for query, said in ((nan, "finite"), (np.zeros(DIM), "zeros only"), (vectors(1, dim=3)[0], "32 numbers, found 3")):
        with pytest.raises(InputError, match=said):
            index.search(query)
    with pytest.raises(InputError, match="expected 2 vectors of 32 numbers"):
        index.add(vectors(2, dim=3), rows(2))
    with pytest.raises(InputError, match="finite"):
        index.add(nan[None], rows(1))
    with pytest.raises(RefusedError, match=r"made with 'm' \(dddddddddddd\), found 'other' \(eeee\)"):
        index.need_model("other", "eeee")
    with pytest.raises(UsageError, match="there is an index"):
        create_index(tmp_path / "x", model="m", digest="d", dim=3)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/a.txt").touch()
    with pytest.raises(UsageError, match="new or empty folder"):
        create_index(tmp_path / "full", model="m", digest="d", dim=3)
    assert len(index) == 500


def test_vectors_and_queries_that_are_no_real_numbers_are_refused(tmp_path: Path) -> None:
    index = create_index(str(tmp_path / "x.index"), model="mine", digest="1", dim=2)
    for wrong in (np.array([["a", "b"]]), np.array([[1j, 0]]), np.array([[1e300, 0]])):
        with pytest.raises(InputError):
            index.add(wrong, [Row("a.png")])
        with pytest.raises(InputError):
            index.search(wrong[0])
    index.add(np.eye(2), [Row("a.png"), Row("b.png")])
    for n in (0, -1):
        with pytest.raises(UsageError, match="1 or more"):
            open_index(str(tmp_path / "x.index")).search(np.ones(2), n)


def test_an_empty_index_answers_with_nothing(tmp_path: Path) -> None:
    index = made(tmp_path / "x", 0)
    found = index.search(vectors(1)[0])
    assert len(found) == 0
    assert found.fits is False
    index.compact()
    assert index.add(np.empty((0, DIM)), []) == []


def test_a_graph_is_rescored_exactly_and_knows_what_came_later(tmp_path: Path) -> None:
    pytest.importorskip("usearch")
    index = made(tmp_path / "x", 3000)
    index.build_graph()
    late = index.add(vectors(50, 77), rows(50, 3000))
    hits = [(q, index.search(q, 10)) for q in vectors(30, 5)]
    right = sum(len({h.id for h in found} & set(by_argsort(index, q, 10))) for q, found in hits)
    assert right >= 0.97 * 300
    exact = [[h.score for h in index.search(q, 1, exact=True)] for q, _ in hits]
    same = [abs(found[0].score - best) < 1e-9 for (_, found), (best,) in zip(hits, exact, strict=True)]
    assert sum(same) >= 29
    own = index.vectors([late[7], 20])
    assert index.search(own[0], 1)[0].id == late[7]
    index.delete([late[7], 20])
    assert not {late[7], 20} & {h.id for v in own for h in index.search(v, 5)}
    index.compact()
    assert open_index(tmp_path / "x").has_graph
    assert index.search(own[1], 3)[0].id not in (late[7], 20)


def test_an_index_is_opened_and_searched_without_what_made_it(tmp_path: Path) -> None:
    made(tmp_path / "x")
    code = """
import sys
from pathlib import Path
import numpy as np
from eyewright.retrieval import open_index
assert len(open_index(Path(sys.argv[1])).search(np.ones(32), 5)) == 5
heavy = {"torch", "transformers", "onnx", "scipy", "usearch"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], check=True)
