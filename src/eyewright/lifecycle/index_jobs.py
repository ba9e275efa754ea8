"""Index a folder as a job of shards: worker processes make the vectors, one process adds them in the planned order."""

__all__ = ["JOB", "has_job", "index_as_job", "open_index_work", "plan_index"]

import base64
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import EyewrightError, InputError, RefusedError, UnreadableImageError, UsageError
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.imaging.sources.files import read_named
from eyewright.lifecycle.datasets import PathLike, Say, silent
from eyewright.lifecycle.searching import (
    Embedder,
    Indexed,
    content_digest,
    graph_if_large,
    indexed_name,
    need_inside,
    open_embedder,
)
from eyewright.scaling.listing import Item, has_changed
from eyewright.scaling.plan import Plan, has_plan
from eyewright.scaling.rows import Row as JobRow
from eyewright.scaling.rows import changed_row, error_row

if TYPE_CHECKING:
    from eyewright.retrieval import Index
    from eyewright.scaling.ledger import Ledger

JOB = ".job"
"""The folder of the job in that of the index, until the index is whole."""

# As many images as `index_folder` embeds at once: the same batches give the same vectors.
_AT_ONCE = 256
_ADDED = 8192
_VECTOR = "<f4"


def index_as_job(
    folder: PathLike,
    *,
    model: str,
    out: PathLike,
    workers: int | None = None,
    shard_size: int | None = None,
    resume: bool = False,
    graph: bool | None = None,
    quiet: bool = True,
    say: Say = silent,
    on: str = "local",
) -> Indexed:
    """Index all images below `folder` as `index_folder` does, with the vectors made by worker processes (`on`: as
    `scaling.run_job`); `resume` continues after a kill. The job is in `.job` of the index, and
    is removed when every vector is in the index.

    Raises:
        UsageError: there is an index, or a job and no `resume`.
        RefusedError: the job is of another folder or model.
        CheckpointError, BundleError: the model cannot be used.
        InputError: no images.
    """
    from eyewright.scaling.jobs import run_job
    from eyewright.scaling.ledger import open_job

    place, root = Path(out), Path(folder)
    plan, words = _planned(root, model, place, shard_size, resume=resume)
    run_job(plan, workers=workers, quiet=quiet, on=on)
    say("adding vectors")
    index, findings = _added(place, root.resolve(), open_job(place / JOB))
    graph_if_large(index, graph, say)
    # Without its plan it is no job: what is left if this is killed here is removed by the next.
    (place / JOB / "plan" / "plan.json").unlink()
    shutil.rmtree(place / JOB)
    return Indexed(place, len(index), len(index), 0, 0, 0, tuple(findings), index.has_graph, words)


def plan_index(
    folder: PathLike, *, model: str, out: PathLike, shard_size: int | None = None, resume: bool = False
) -> Plan:
    """Write the plan of such a job, which `index_as_job` then does, and return it; or the one that is there.

    Raises:
        UsageError, RefusedError, CheckpointError, BundleError, InputError: as `index_as_job`.
    """
    return _planned(Path(folder), model, Path(out), shard_size, resume=resume)[0]


def _planned(root: Path, model: str, place: Path, shard_size: int | None, *, resume: bool) -> tuple[Plan, bool]:
    """Return the plan, and whether the model reads words too."""
    from eyewright.retrieval import is_index
    from eyewright.scaling.jobs import make_plan

    if not root.is_dir():
        raise InputError(f"expected a folder of images, found none at {quoted(root)}", fix="check the path")
    if not has_job(place):
        if is_index(place):
            raise UsageError(f"there is an index at {quoted(place)}", fix="use --update without --on, or another --out")
        # What a process has left that was killed while it removed a job that was done.
        shutil.rmtree(place / JOB, ignore_errors=True)
    embedder = open_embedder(model)
    plan = make_plan(
        place / JOB, str(root), "index", {}, embedder.name, embedder.digest, shard_size, resume=resume
    )  # fmt: skip
    return plan, embedder.texts is not None


def has_job(place: Path) -> bool:
    """Return whether an index has a job that is not finished."""
    return has_plan(place / JOB)


def open_index_work(plan: Plan, threads: int) -> "_Embed":
    """Load the planned model.

    Raises:
        CheckpointError, BundleError: it cannot be used.
        RefusedError: it is not the planned one.
    """
    embedder = open_embedder(plan.model)
    if embedder.digest != plan.model_digest:
        raise RefusedError(
            f"the job was planned with the model {plan.model_digest[:16]}, {plan.model!r} is {embedder.digest[:16]}",
            fix="restore the model, or index again",
            code="job",
        )
    return _Embed(embedder, Path(plan.root))


class _Embed:
    def __init__(self, embedder: Embedder, root: Path) -> None:
        self._embedder, self._root = embedder, root

    def rows(self, items: Sequence[Item], first: int, shard: int) -> Iterator[JobRow]:
        for start in range(0, len(items), _AT_ONCE):
            yield from self._rows(items[start : start + _AT_ONCE], first + start)

    def _rows(self, items: Sequence[Item], first: int) -> Iterator[JobRow]:
        found: dict[int, JobRow] = {}
        images: list[NDArray[np.uint8]] = []
        about: list[tuple[int, dict[str, Any]]] = []
        for k, item in enumerate(items):
            path = Path(item.path)
            if has_changed(item):
                found[k] = changed_row(first + k, item.path)
                continue
            try:
                need_inside(path, self._root)
                digest = content_digest(path)
                image = read_named(path)
            except (UnreadableImageError, InputError, OSError) as error:
                message = error.message if isinstance(error, EyewrightError) else str(error.strerror)
                found[k] = error_row(first + k, item.path, "unreadable", message)
                continue
            images.append(image)
            named = {"path": indexed_name(path, self._root), "digest": digest, "bytes": item.size}
            size = {"height": image.shape[0], "width": image.shape[1]}
            about.append((k, {**named, "mtime_ns": item.mtime_ns, **size}))
        if images:
            vectors = self._embedder.images(iter(images))
            sound = np.asarray(np.isfinite(vectors).all(1) & (np.abs(vectors) > 0).any(1))
            for (k, one), vector, fine in zip(about, vectors, sound.tolist(), strict=True):
                if not fine:
                    found[k] = error_row(first + k, items[k].path, "no_embedding", "its embedding is not finite")
                    continue
                data = base64.b64encode(vector.astype(_VECTOR).tobytes()).decode("ascii")
                usual = {"ok": True, "error": None, "message": None, "label": None, "score": None}
                row = {"id": first + k, "source": items[k].path, **usual, "result": {**one, "vector": data}}
                found[k] = row
        for k in range(len(items)):
            yield found[k]


def _added(place: Path, root: Path, ledger: "Ledger") -> "tuple[Index, list[Finding]]":
    """Add the vectors of a finished job to its index, those that are not in it yet: they are added in the planned
    order, so that their number says which those are."""
    from eyewright.retrieval import Row, create_index, is_index, open_index

    plan, findings = ledger.plan, list[Finding]()
    index = open_index(place) if is_index(place) else None
    if index is not None and index.about.get("job") != plan.digest:
        raise UsageError(f"the index at {quoted(place)} does not belong to the job in it", fix="choose another --out")
    there, seen = 0 if index is None else int(index.manifest["next_id"]), 0
    vectors: list[NDArray[np.float32]] = []
    rows: list[Row] = []

    def commit() -> None:
        nonlocal index
        if not rows:
            return
        if index is None:
            index = create_index(
                place, model=plan.model, digest=plan.model_digest, dim=len(vectors[0]),
                about={"root": str(root), "job": plan.digest},
            )  # fmt: skip
        index.add(np.stack(vectors), rows)
        vectors.clear()
        rows.clear()

    for shard in plan.shards():
        record = ledger.read(shard.shard)
        assert record is not None
        for row in ledger.rows(record):
            if not row["ok"]:
                name = indexed_name(Path(row["source"]), root)
                fix = "restore the file, or remove it; it is not indexed"
                findings.append(Finding(str(row["error"]), str(row["message"]), fix, name))
                continue
            seen += 1
            if seen <= there:
                continue
            found = dict(row["result"])
            vectors.append(np.frombuffer(base64.b64decode(found.pop("vector")), _VECTOR))
            rows.append(Row(**found))
            if len(rows) == _ADDED:
                commit()
    commit()
    if index is None:
        raise InputError("expected images that can be read, found none", fix="check the folder", code="no_images")
    return index, findings
