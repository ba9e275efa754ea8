"""Take the vectors of an index out, and make an index of vectors that were made elsewhere."""

__all__ = ["export_vectors", "import_vectors"]

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import EyewrightError, InputError, RefusedError, UnreadableImageError, UsageError
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.imaging import probe_image
from eyewright.imaging.sources.files import read_named
from eyewright.lifecycle.datasets import PathLike, Say, silent
from eyewright.lifecycle.searching import (
    UNFINISHED,
    Embedder,
    Indexed,
    content_digest,
    graph_if_large,
    index_of,
    indexed_name,
    need_inside,
    open_embedder,
)

if TYPE_CHECKING:
    from eyewright.retrieval import Index, Row
    from eyewright.retrieval.vector_files import NamedVectors

# So many images are embedded again, to see whether the vectors are theirs and the model's.
_PROBES = 8
# Another decoder or resampling moves a vector less than that, another image or model more.
_SAME = 0.95
_AT_ONCE = 8192


def export_vectors(index: "Index | PathLike", out: PathLike) -> tuple[Path, ...]:
    """Write the vectors of an index for other programs, and return the files.

    `out` ends with `.npy` (an array of float32, one row per image, and next to it a `.json` with the model and the path
    and SHA-256 of each image), or with `.parquet` (a table with `path`, `sha256` and `embedding`). `import_vectors`
    reads both.

    Raises:
        InputError: there is no index, or it is damaged.
        UsageError, OutputError: `out` cannot be written.
        MissingExtraError: Parquet without pyarrow.
    """
    from eyewright.retrieval.vector_files import check_vectors_file, write_named_vectors

    opened, place = index_of(index), Path(out)
    check_vectors_file(place, opened.folder)
    ids, vectors = opened.live()
    if not len(ids):
        raise InputError("the index has no images", fix="add some")
    rows = dict(opened.rows())
    return tuple(
        write_named_vectors(
            place, vectors, [(id, rows[id]) for id in ids.tolist()], model=opened.model,
            root=str(opened.about.get("root", "")),
        )
    )  # fmt: skip


def import_vectors(
    folder: PathLike,
    *,
    vectors: PathLike,
    names: PathLike | None = None,
    model: str,
    out: PathLike,
    graph: bool | None = None,
    say: Say = silent,
) -> Indexed:
    """Make an index of the images in a folder from vectors in a file, without embedding them again.

    `vectors` is what `export_vectors` wrote, or an array of another program with the paths of its rows in `names` (see
    `retrieval.vector_files`); paths are below `folder`. `model` is what made them, and embeds the queries. Up to eight
    images are embedded again to see that. Images that are not there, or not the ones that were embedded (SHA-256), are
    findings and not indexed. `index_folder` with `update` brings the index up to date later.

    Raises:
        UsageError: there is an index; a file of another form, or other numbers of vectors and names.
        RefusedError: the vectors are not this model's, or those of other images.
        InputError: no such file or folder, or none of the images is there.
        CheckpointError, BundleError: the model cannot be used.
    """
    from eyewright.retrieval import create_index, is_index
    from eyewright.retrieval.coding import unit_vectors
    from eyewright.retrieval.vector_files import read_named_vectors

    root, place = Path(folder), Path(out)
    if not root.is_dir():
        raise InputError(f"expected a folder of images, found none at {quoted(root)}", fix="check the path")
    if is_index(place):
        raise UsageError(f"there is an index at {quoted(place)}", fix="choose another --out")
    given = read_named_vectors(Path(vectors), None if names is None else Path(names))
    embedder = open_embedder(model)
    _need_model(given, embedder, Path(vectors))
    say(f"looking at {len(given.paths):,} images")
    kept, rows, findings = _looked_at(given, root.resolve())
    if not rows:
        raise InputError(
            f"expected the {len(given.paths):,} images of {quoted(vectors)} in {quoted(root)}, found none; the first "
            f"is {given.paths[0][:200]!r}",
            fix="pass the folder that the paths begin in",
            code="no_images",
        )
    notes = _compared(given.vectors, kept, rows, root, embedder, Path(vectors))
    index = create_index(
        place, model=embedder.name, digest=embedder.digest, dim=given.vectors.shape[1],
        about={"root": str(root.resolve()), UNFINISHED: len(rows)},
    )  # fmt: skip
    for start in range(0, len(rows), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        index.add(unit_vectors(given.vectors[kept[part]]), rows[part])
    index.note(**{UNFINISHED: 0})
    graph_if_large(index, graph, say)
    return Indexed(
        place, len(index), len(index), 0, 0, 0, tuple(findings), index.has_graph, embedder.texts is not None,
        (*notes, *embedder.notes),
    )  # fmt: skip


def _need_model(given: "NamedVectors", embedder: Embedder, path: Path) -> None:
    """Refuse vectors whose file names another model.

    Raises:
        RefusedError: it does.
    """
    made = given.model.get("digest")
    if made and made not in (embedder.digest, embedder.published):
        raise RefusedError(
            f"the vectors in {quoted(path)} were made with {given.model.get('name', 'a model')!r} ({made[:12]}), found "
            f"{embedder.name!r} ({embedder.digest[:12]})",
            fix="pass that model",
            code="index_model",
        )


def _looked_at(given: "NamedVectors", root: Path) -> "tuple[NDArray[np.int64], list[Row], list[Finding]]":
    """Return the rows whose images are there as they were embedded, what they are of, and what is wrong with others."""
    from eyewright.retrieval import Row

    kept: list[int] = []
    rows: list[Row] = []
    findings: list[Finding] = []
    seen: set[str] = set()
    for k, (path, digest) in enumerate(zip(given.paths, given.digests, strict=True)):
        file = root / path
        try:
            need_inside(file, root)
            status = file.stat()
            found = content_digest(file)
            if digest and found != digest.lower():
                changed = "it has changed since its vector was made"
                findings.append(Finding("changed", changed, "add it with eyewright index --update", path))
                continue
            height, width = probe_image(file).size_hw
        except (UnreadableImageError, InputError, OSError, ValueError) as error:
            message = (
                error.message if isinstance(error, EyewrightError) else getattr(error, "strerror", "") or str(error)
            )
            findings.append(Finding("unreadable", message, "restore the file; it is not indexed", path))
            continue
        name = indexed_name(file, root)
        if name in seen:
            findings.append(Finding("twice", f"it is {name!r} again", "leave one of them out", path))
            continue
        seen.add(name)
        kept.append(k)
        rows.append(Row(name, found, status.st_size, status.st_mtime_ns, height, width))
    return np.array(kept, np.int64), rows, findings


def _compared(
    vectors: NDArray[np.floating], kept: NDArray[np.int64], rows: "Sequence[Row]", root: Path, embedder: Embedder,
    path: Path,
) -> tuple[str, ...]:  # fmt: skip
    """Embed some of the images again, and warn where one of them has another vector.

    Raises:
        RefusedError: vectors of another length, or those of most images are not what the model says of them.
    """
    from eyewright.retrieval.coding import unit_vectors

    chosen = np.unique(np.linspace(0, len(rows) - 1, min(_PROBES, len(rows))).round().astype(np.int64))
    images, tried = [], []
    for k in chosen.tolist():
        try:
            images.append(read_named(root / rows[k].path))
        except UnreadableImageError:
            # Its header is sound and its pixels are not: it has a vector, and nothing to compare it with.
            continue
        tried.append(k)
    if not images:
        return (f"none of {len(chosen)} images could be decoded, so that the vectors are not checked",)
    ours = unit_vectors(embedder.images(iter(images)))
    if ours.shape[1] != vectors.shape[1]:
        raise RefusedError(
            f"expected vectors of {ours.shape[1]:,} numbers from {embedder.name!r}, found {vectors.shape[1]:,} in "
            f"{quoted(path)}",
            fix="pass the model that made them",
            code="index_model",
        )
    theirs = unit_vectors(vectors[kept[tried]])
    cosines = (ours.astype(np.float64) * theirs).sum(1)
    other = np.flatnonzero(cosines < _SAME)
    if 2 * len(other) > len(tried):
        raise RefusedError(
            f"of {len(tried)} images that {embedder.name!r} embedded again, {len(other)} have another vector in "
            f"{quoted(path)}: the cosine is {cosines.min():.2f} for {rows[tried[int(cosines.argmin())]].path[:200]!r}",
            fix="pass the model that made them, and paths in the order of the vectors",
            code="index_model",
        )
    if len(other):
        first = rows[tried[int(other[0])]].path
        return (
            f"of {len(tried)} images that were embedded again, {len(other)} have another vector, such as {first!r}",
        )
    return ()
