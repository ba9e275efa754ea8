"""An index of vectors as a folder: append-only segments, tombstones, and one manifest whose replacement commits."""

__all__ = ["GRAPH_FROM", "Hit", "Hits", "Index", "create_index", "is_index", "open_index"]

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import InputError, RefusedError, UsageError
from eyewright.core.files import claimed_output, write_bytes, write_json
from eyewright.core.quoting import quoted
from eyewright.core.regular import read_regular
from eyewright.retrieval.coding import unit_vectors
from eyewright.retrieval.exact import Found, search_exact
from eyewright.retrieval.graph import Graph, build_graph, open_graph
from eyewright.retrieval.manifest import MANIFEST, damaged, read_manifest
from eyewright.retrieval.relevance import p_values, share_far_above
from eyewright.retrieval.segments import MOST_ROWS, Row, Segment, open_segment, row_line, write_segment

GRAPH_FROM = 200_000
"""From how many vectors on a graph is worth its memory."""

_KIND = "eyewright-index"
_VERSION = 1
# Above this share of deleted vectors the segments are written again.
_DELETED = 0.2
# So many segments below this size are joined to one.
_SMALL, _MOST_SMALL = 8_192, 16
# Of a graph: candidates for each hit that is asked for, which are then scored exactly.
_CANDIDATES, _LEAST = 8, 128
_TRIES = 5


@dataclass(frozen=True)
class Hit:
    """A vector that was found: `score` is the cosine, `p` the chance that the best of an index of unrelated vectors
    scores as high, or None where the index is too small to tell."""

    id: int
    score: float
    p: float | None
    row: Row


@dataclass(frozen=True)
class Hits(Sequence[Hit]):
    """What was found, sorted by score. `fits` is False where the best p-value is above `alpha`: nothing fits.

    It is None where that cannot be said: there are too few vectors, or the fraction `above` of them, not 0, scores far
    above all others, so that none of them stands out, or the query is not `familiar`: the model was not trained on
    queries like it, and a score above chance does not mean that the hit fits.

    `reference` is how many vectors p-values are measured against, all of them among the `searched`; `notes` say what of
    the words was not read or is not known to the model, and which image is unfamiliar to it."""

    hits: tuple[Hit, ...]
    searched: int
    alpha: float = 0.05
    above: float = 0.0
    reference: int = 0
    notes: tuple[str, ...] = ()
    familiar: bool = True

    @property
    def fits(self) -> bool | None:
        if self.hits and self.hits[0].p is not None and self.hits[0].p <= self.alpha:
            return True if self.familiar else None
        if self.above or (self.hits and self.hits[0].p is None):
            return None
        return False

    def __getitem__(self, place: Any) -> Any:
        return self.hits[place]

    def __len__(self) -> int:
        return len(self.hits)


@dataclass(eq=False)
class Index:
    """An open index. Every change is committed when its method returns, and a process that is killed loses nothing
    that was. One process writes at a time; others read what was committed when they opened it."""

    folder: Path
    manifest: Mapping[str, Any] = field(repr=False)
    segments: list[Segment] = field(repr=False)
    _deleted: NDArray[np.int64] = field(repr=False)
    _graph: Graph | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return self._total - len(self._deleted)

    @property
    def _total(self) -> int:
        return sum(map(len, self.segments))

    @property
    def dim(self) -> int:
        return int(self.manifest["dim"])

    @property
    def model(self) -> Mapping[str, Any]:
        """The model whose vectors these are: `name`, `digest`."""
        found: Mapping[str, Any] = self.manifest["model"]
        return found

    @property
    def about(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.manifest.get("about", {})
        return found

    @property
    def has_graph(self) -> bool:
        return self._graph is not None

    def need_model(self, name: str, digest: str, also: str | None = None) -> None:
        """Refuse vectors of another model than the index was made with; `also` is the digest of one that gives the
        same, such as the published model that a bundle was exported from as it is.

        Raises:
            RefusedError: it is another.
        """
        if self.model["digest"] not in (digest, also):
            raise RefusedError(
                f"the index was made with {self.model['name']!r} ({self.model['digest'][:12]}), found {name!r} "
                f"({digest[:12]})",
                fix="use that model, or index again",
                code="index_model",
            )

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Yield the id and what it is of for every vector that is not deleted."""
        deleted = set(self._deleted.tolist())
        for segment in self.segments:
            for id, row in zip(segment.ids.tolist(), segment.rows(), strict=True):
                if id not in deleted:
                    yield id, row

    def row(self, id: int) -> Row:
        """Return what a vector is of.

        Raises:
            UsageError: the id is not there, or was deleted.
        """
        segment, place = self._place(id)
        if id in self._deleted:
            raise UsageError(f"the index has no vector {id}", fix="use an id of a hit")
        return segment.row(place)

    def vectors(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the vectors of some ids, float32 (n, D).

        Raises:
            UsageError: an id is not there.
        """
        result = np.empty((len(ids), self.dim), np.float32)
        for k, id in enumerate(ids):
            segment, place = self._place(id)
            result[k] = segment.vectors[place]
        return result

    def live(self) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        """Return the ids, int64 (N,), and vectors, float16 (N, D), of all that is not deleted, by id."""
        if not self.segments:
            return np.empty(0, np.int64), np.empty((0, self.dim), np.float16)
        ids = np.concatenate([s.ids for s in self.segments])
        keep = ~np.isin(ids, self._deleted)
        vectors = np.concatenate([s.vectors for s in self.segments])[keep]
        order = np.argsort(ids[keep], kind="stable")
        return ids[keep][order], vectors[order]

    def _place(self, id: int) -> tuple[Segment, int]:
        for segment in self.segments:
            place = int(np.searchsorted(segment.ids, id))
            if place < len(segment) and segment.ids[place] == id:
                return segment, place
        raise UsageError(f"the index has no vector {id}", fix="use an id of a hit")

    def search(
        self,
        query: NDArray[Any],
        n: int = 20,
        *,
        only: Iterable[int] | None = None,
        without: Iterable[int] = (),
        exact: bool = False,
        alpha: float = 0.05,
    ) -> Hits:
        """Return the `n` vectors nearest to a query, (D,), by cosine; the first m of them are what `n=m` returns.

        Of fewer than 200,000 vectors, or with `exact`, none is missed. `only` are the ids that may be found, `without`
        those that may not: they are left out before the search, and p-values are measured among the others.

        Raises:
            InputError: the query is not of D finite numbers.
            UsageError: `n` is below 1.
        """
        if np.asarray(query).dtype.kind not in "fiu":
            raise InputError(f"expected a query of real numbers, found {np.asarray(query).dtype}", fix="pass numbers")
        if n < 1:
            raise UsageError(f"expected to look for 1 or more vectors, found {n}", fix="pass a larger n")
        with np.errstate(over="ignore"):
            vector = np.asarray(query, np.float32).reshape(-1)
        if len(vector) != self.dim:
            raise InputError(f"expected a query of {self.dim} numbers, found {len(vector)}", fix="use the same model")
        (vector,) = unit_vectors(vector[None])
        left_out = np.fromiter(without, np.int64)
        gone = np.union1d(self._deleted, left_out) if len(left_out) else self._deleted
        graph = None if exact or only is not None else self._graph
        if graph is not None:
            found = self._search_graph(graph, vector, n, gone)
        else:
            mask = None if only is None else np.isin(self._ids(), np.fromiter(only, np.int64))
            found = search_exact(self.segments, vector, n, without=self._places(gone), only=mask)
        ps = p_values(found.scores, found.background, found.n)
        hits = (
            # Vectors in half precision may be a little longer than 1.
            Hit(int(id), min(1.0, float(score)), p, self._row(place))
            for id, score, p, place in zip(found.ids, found.scores, ps, found.places.tolist(), strict=True)
        )
        above, reference = share_far_above(found.background, alpha), len(found.background)
        return Hits(tuple(hits), found.n, alpha, above, reference)

    def _search_graph(self, graph: Graph, query: NDArray[np.float32], n: int, gone: NDArray[np.int64]) -> Found:
        """Return the nearest: candidates of the graph and all vectors that were added after it, scored exactly."""
        ids = self._ids()
        near = graph.search(query, max(_CANDIDATES * n, _LEAST) + min(len(gone), 4 * n))
        near = near[~np.isin(near, gone)]
        places = self._places(near)
        late = np.flatnonzero((ids >= graph.next_id) & ~np.isin(ids, gone))
        spread = np.arange(0, len(ids), max(1, len(ids) // 1024))
        spread = spread[~np.isin(ids[spread], gone)]
        asked = np.concatenate([places, late, spread])
        scores = self._gathered(asked).astype(np.float64) @ query.astype(np.float64)
        own = slice(0, len(places) + len(late))
        order = np.lexsort((ids[asked[own]], -scores[own]))[:n]
        return Found(
            ids[asked[own]][order], scores[own][order], asked[own][order],
            scores[len(places) + len(late) :].astype(np.float32), len(ids) - len(gone),
        )  # fmt: skip

    def _gathered(self, places: NDArray[np.int64]) -> NDArray[np.float16]:
        result = np.empty((len(places), self.dim), np.float16)
        starts = np.cumsum([0, *map(len, self.segments)])
        which = np.searchsorted(starts, places, "right") - 1
        for k, segment in enumerate(self.segments):
            mine = which == k
            if mine.any():
                result[mine] = segment.vectors[places[mine] - starts[k]]
        return result

    def _ids(self) -> NDArray[np.int64]:
        return np.concatenate([s.ids for s in self.segments]) if self.segments else np.empty(0, np.int64)

    def _places(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where ids are over all segments; those that are nowhere are left out."""
        found, start = [], 0
        for segment in self.segments:
            at = np.searchsorted(segment.ids, ids)
            here = (at < len(segment)) & (segment.ids[np.minimum(at, len(segment) - 1)] == ids)
            found.append(start + at[here])
            start += len(segment)
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def _row(self, place: int) -> Row:
        for segment in self.segments:
            if place < len(segment):
                return segment.row(place)
            place -= len(segment)
        raise AssertionError(place)

    # What changes it.

    def add(self, vectors: NDArray[Any], rows: Sequence[Row], *, delete: Iterable[int] = ()) -> list[int]:
        """Append vectors, (N, D), with what they are of; return their ids. `delete` goes in the same commit.

        Raises:
            InputError: they are not of D finite numbers each.
            UsageError: another process is writing.
        """
        found = np.asarray(vectors)
        if found.dtype.kind not in "fiu":
            raise InputError(f"expected vectors of real numbers, found {found.dtype}", fix="pass numbers")
        if found.ndim != 2 or found.shape[1] != self.dim or len(found) != len(rows):
            raise InputError(
                f"expected {len(rows)} vectors of {self.dim} numbers, found {found.shape}", fix="use the same model"
            )
        units = unit_vectors(found) if len(found) else found.astype(np.float32)
        with self._writing() as manifest:
            first = int(manifest["next_id"])
            ids = np.arange(first, first + len(units), dtype=np.int64)
            manifest["segments"] += self._written(manifest, units, ids, [row_line(row) for row in rows])
            manifest["next_id"] = first + len(units)
            self._mark(manifest, delete)
            self._tidy(manifest)
        return ids.tolist()

    def delete(self, ids: Iterable[int]) -> int:
        """Delete vectors by id; return how many there were. Above 20 % deleted ones the segments are written again."""
        before = len(self)
        with self._writing() as manifest:
            self._mark(manifest, ids)
            self._tidy(manifest)
        return before - len(self)

    def compact(self) -> None:
        """Write all segments again without what was deleted."""
        with self._writing() as manifest:
            self._merge(manifest, [e["name"] for e in manifest["segments"]])

    def note(self, **about: Any) -> None:
        """Commit facts about the index, such as the folder that was indexed: plain JSON types."""
        with self._writing() as manifest:
            manifest["about"] = {**manifest.get("about", {}), **about}

    def build_graph(self) -> None:
        """Make a graph over all vectors, for quick answers in large indexes.

        Raises:
            MissingExtraError: usearch is not installed.
        """
        with self._writing() as manifest:
            ids, vectors = self.live()
            content = build_graph(ids, vectors)
            name = self._fresh(manifest, "graph", "usearch")
            write_bytes(self.folder / name, content)
            manifest["graph"] = {**_file(name, content), "next_id": int(manifest["next_id"]), "rows": len(ids)}

    def verify(self) -> None:
        """Read every file again and compare its SHA-256.

        Raises:
            InputError: one is not what was written.
        """
        _opened(self.folder, verify=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[dict[str, Any]]:
        """Yield a manifest to change, of what is committed now; it is committed at the end, and this index reads it."""
        with claimed_output(self.folder):
            self._take(_opened(self.folder))
            manifest: dict[str, Any] = json.loads(json.dumps(self.manifest))
            manifest["generation"] += 1
            self._sweep(manifest)
            try:
                yield manifest
                write_json(self.folder / MANIFEST, manifest)
            finally:
                self._take(_opened(self.folder))
            self._sweep(manifest)

    def _take(self, other: "Index") -> None:
        self.manifest, self.segments = other.manifest, other.segments
        self._deleted, self._graph = other._deleted, other._graph

    def _fresh(self, manifest: Mapping[str, Any], kind: str, ending: str) -> str:
        return f"{kind}-{manifest['generation']:08d}.{ending}"

    def _written(
        self, manifest: dict[str, Any], vectors: NDArray[np.float32], ids: NDArray[np.int64], lines: Sequence[bytes]
    ) -> list[dict[str, Any]]:
        entries = []
        for start in range(0, len(ids), MOST_ROWS):
            part = slice(start, start + MOST_ROWS)
            manifest["next_segment"] = number = manifest["next_segment"] + 1
            entries.append(
                write_segment(self.folder / "segments" / f"{number:08d}", vectors[part], ids[part], lines[part])
            )
        return entries

    def _mark(self, manifest: dict[str, Any], ids: Iterable[int]) -> None:
        wanted = np.unique(np.fromiter(ids, np.int64))
        here = wanted[np.isin(wanted, self._ids())]
        marked = np.union1d(self._deleted, here)
        if len(marked) > len(self._deleted):
            self._set_deleted(manifest, marked)

    def _set_deleted(self, manifest: dict[str, Any], marked: NDArray[np.int64]) -> None:
        if not len(marked):
            manifest["deleted"] = None
            return
        name, content = self._fresh(manifest, "deleted", "i64"), marked.astype(np.int64).tobytes()
        write_bytes(self.folder / name, content)
        manifest["deleted"] = _file(name, content)
        self._deleted = marked

    def _tidy(self, manifest: dict[str, Any]) -> None:
        """Join small segments, and write those again of which much is deleted."""
        entries = manifest["segments"]
        small = [e["name"] for e in entries if e["rows"] < _SMALL]
        if len(small) > _MOST_SMALL:
            self._merge(manifest, small)
            entries = manifest["segments"]
        total = sum(e["rows"] for e in entries)
        if total and len(self._deleted) > _DELETED * total:
            self._merge(manifest, [e["name"] for e in entries])

    def _merge(self, manifest: dict[str, Any], names: Sequence[str]) -> None:
        chosen = [e for e in manifest["segments"] if e["name"] in set(names)]
        opened = [open_segment(self.folder / "segments" / e["name"], e, self.dim) for e in chosen]
        if not opened:
            return
        ids = np.concatenate([s.ids for s in opened])
        keep = ~np.isin(ids, self._deleted)
        order = np.argsort(ids[keep], kind="stable")
        vectors = np.concatenate([s.vectors for s in opened])[keep][order].astype(np.float32)
        lines = [line for s in opened for line in s.lines()]
        places = np.flatnonzero(keep)[order].tolist()
        left = [e for e in manifest["segments"] if e["name"] not in set(names)]
        manifest["segments"] = [*left, *self._written(manifest, vectors, ids[places], [lines[i] for i in places])]
        self._set_deleted(manifest, np.setdiff1d(self._deleted, ids[~keep]))
        self._deleted = np.setdiff1d(self._deleted, ids[~keep])

    def _sweep(self, manifest: Mapping[str, Any]) -> None:
        """Remove files of commits that never were, or are no longer; who has them open keeps them."""
        known = {e["name"] for e in manifest["segments"]} | {e["name"] for e in self.manifest["segments"]}
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.folder / "segments"):
                if name not in known:
                    shutil.rmtree(self.folder / "segments" / name, ignore_errors=True)
        kept = {m[k]["name"] for m in (manifest, self.manifest) for k in ("deleted", "graph") if m.get(k)}
        for name in os.listdir(self.folder):
            if name.startswith(("deleted-", "graph-")) and name not in kept:
                # Windows refuses what Linux lets a reader keep.
                with contextlib.suppress(PermissionError):
                    (self.folder / name).unlink(missing_ok=True)


def create_index(
    folder: str | Path, *, model: str, digest: str, dim: int, about: Mapping[str, Any] | None = None
) -> Index:
    """Make an empty index for vectors of `dim` numbers by a model, named by its digest.

    Raises:
        UsageError: something is there already.
        OutputError: it cannot be written.
    """
    folder = Path(folder)
    if is_index(folder):
        raise UsageError(f"there is an index at {quoted(folder)}", fix="add --update, or choose another --out")
    if folder.exists() and (not folder.is_dir() or any(n != MANIFEST for n in _visible(folder))):
        raise UsageError(f"expected a new or empty folder, found {quoted(folder)}", fix="choose another --out")
    manifest = {
        "format": _KIND, "version": _VERSION, "generation": 0, "dim": dim, "model": {"name": model, "digest": digest},
        "about": dict(about or {}), "next_id": 0, "next_segment": 0, "segments": [], "deleted": None, "graph": None,
    }  # fmt: skip
    with claimed_output(folder):
        write_json(folder / MANIFEST, manifest)
    return open_index(folder)


def _visible(folder: Path) -> list[str]:
    return [n for n in os.listdir(folder) if not n.startswith(".")]


def is_index(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def open_index(folder: str | Path) -> Index:
    """Open an index to search in; nothing is read but its manifest and the ids.

    Raises:
        InputError: there is none, or it is damaged.
        RefusedError: it was written by a newer Eyewright.
    """
    for left in range(_TRIES - 1, -1, -1):
        try:
            return _opened(Path(folder))
        except FileNotFoundError as error:
            # Another process may have written segments again between two of our reads.
            if not left:
                raise InputError(
                    f"the index is damaged: {error.filename!r} is missing",
                    fix="restore it, or index again",
                    code="index_damaged",
                ) from None
    raise AssertionError


def _opened(folder: Path, *, verify: bool = False) -> Index:
    if not is_index(folder):
        raise InputError(f"expected an index at {quoted(folder)}, found none", fix="make one with eyewright index")
    manifest = read_manifest(folder)
    dim = int(manifest["dim"])
    segments = [open_segment(folder / "segments" / e["name"], e, dim, verify=verify) for e in manifest["segments"]]
    deleted = np.empty(0, np.int64)
    if manifest["deleted"]:
        content = _checked(folder, manifest["deleted"])
        if len(content) % 8:
            raise damaged(f"{manifest['deleted']['name']!r} is not what was written")
        deleted = np.frombuffer(content, np.int64)
    graph = None
    if manifest["graph"]:
        entry = manifest["graph"]
        if verify:
            _checked(folder, entry)
        graph = open_graph(folder / entry["name"], dim, int(entry["next_id"]), int(entry["bytes"]))
    return Index(folder, manifest, segments, deleted, graph)


def _file(name: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _checked(folder: Path, entry: Mapping[str, Any]) -> bytes:
    path = folder / entry["name"]
    # Of which another process may have removed it meanwhile, the caller knows.
    os.stat(path)
    content = read_regular(path, most=entry["bytes"], fix="restore it, or index again")
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise damaged(f"{entry['name']!r} is not what was written")
    return content
