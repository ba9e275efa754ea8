"""Vectors as files that other programs read and write: NumPy's `.npy` with a file of names, or one Parquet table."""

__all__ = ["NamedVectors", "check_vectors_file", "names_file", "read_named_vectors", "write_named_vectors"]

import contextlib
import csv
import io
import json
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError, plain_reason
from eyewright.core.extras import import_extra
from eyewright.core.files import checked_output, write_bytes, write_parts
from eyewright.core.jsonable import plain_unicode
from eyewright.core.quoting import quoted
from eyewright.core.regular import open_regular, read_regular
from eyewright.core.spreadsheets import from_cell
from eyewright.data.tables import column_of, path_column
from eyewright.data.texts import decode_text
from eyewright.retrieval.coding import unit_vectors
from eyewright.retrieval.segments import Row

ENDINGS = (".npy", ".parquet")
"""The endings of files of vectors."""

NAMES = (".json", ".csv", ".txt")
"""The endings of a file of names next to vectors, in the order in which they are looked for."""

_KIND = "eyewright-vectors"
_VECTOR_COLUMNS = ("embedding", "embeddings", "vector", "vectors", "feature", "features", "emb")
# What results of jobs call the path.
_SOURCE_COLUMNS = ("source",)
_DIGEST_COLUMNS = ("sha256", "digest")
_MOST_NAMES = 2**30
_MOST_DIM = 2**16
_AT_ONCE = 16_384
_FAILED = (ValueError, OSError, EOFError, OverflowError, TypeError, KeyError, AttributeError, MemoryError,
           RecursionError, SyntaxError, tokenize.TokenError)  # fmt: skip


@dataclass(frozen=True, eq=False)
class NamedVectors:
    """Vectors, (N, D) of real numbers, with the path of the image that each is of, its SHA-256 ("" where it is not
    known), and the model that made them: `name` and `digest`, or nothing where the file does not say."""

    vectors: NDArray[Any]
    paths: tuple[str, ...]
    digests: tuple[str, ...]
    model: Mapping[str, str] = field(default_factory=dict)


def names_file(path: Path) -> Path:
    """Return where the names of a `.npy` file are written.

    >>> names_file(Path("photos.npy")).name
    'photos.json'
    """
    return path.with_suffix(NAMES[0])


def write_named_vectors(
    path: Path, vectors: NDArray[Any], rows: Sequence[tuple[int, Row]], *, model: Mapping[str, str], root: str = ""
) -> list[Path]:
    """Write vectors, (N, D), at length 1 as float32 with what they are of; return the files.

    `.npy` has an array (N, D), and the file next to it (`names_file`) the model and a list of images in the same order.
    `.parquet` has the columns `id`, `path`, `sha256`, `bytes`, `height`, `width` and `embedding`, and the model in its
    metadata (key `eyewright`).

    Raises:
        OutputError: they cannot be written.
        MissingExtraError: Parquet without pyarrow.
    """
    about = {"format": _KIND, "version": 1, "model": dict(model), "root": root, "dim": int(vectors.shape[1])}
    records = [
        {"id": id, "path": row.path, "sha256": row.digest, "bytes": row.bytes, "height": row.height, "width": row.width}
        for id, row in rows
    ]
    if path.suffix.lower() == ".parquet":
        write_parts(path, _parquet_parts(vectors, records, about))
        return [path]
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "<f4", "fortran_order": False, "shape": tuple(map(int, vectors.shape))}
    )
    # In half precision, as an index holds them, they are of length 1 to a thousandth.
    parts = (unit_vectors(part).astype("<f4").tobytes() for part in _parts(vectors))
    write_parts(path, (content for several in ((head.getvalue(),), parts) for content in several))
    # Names of files that are not UTF-8 hold surrogates, which JSON escapes.
    write_bytes(names_file(path), json.dumps({**about, "images": records}).encode("ascii") + b"\n")
    return [path, names_file(path)]


def read_named_vectors(path: Path, names: Path | None = None) -> NamedVectors:
    """Read what `write_named_vectors` wrote, or what another program did.

    Of a `.npy` file, an array (N, D) of real numbers, the paths are in `names`, or in the file next to it of the same
    name with the ending `.json`, `.csv` or `.txt`: a JSON list of paths, a table with a column of paths, or a path in
    each line. A Parquet table has a column of paths (`path`, `file_name`, `source`, …) and one of lists of numbers
    (`embedding`, `vector`, or the only one). Nothing is unpickled; only what is there is allocated.

    Raises:
        InputError: a file that is not there, or no regular one.
        UsageError: a file of another form, or values that are not finite or all 0.
        MissingExtraError: Parquet without pyarrow.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"expected vectors in a file that ends with .npy or .parquet, found {quoted(path)}",
                         fix="change --vectors")  # fmt: skip
    with open_regular(path, most=2**63, fix="check --vectors", follow=True):
        pass
    if path.suffix.lower() == ".parquet":
        if names is not None:
            raise UsageError("--names is not supported for a Parquet table, which has a column of paths",
                             fix="leave it out")  # fmt: skip
        found = _read_parquet(path)
    else:
        vectors = _read_npy(path)
        found = _named(vectors, *_read_names(_names_of(path) if names is None else names, len(vectors)), path=path)
    _check(found, path)
    return found


def _parts(vectors: NDArray[Any]) -> Iterator[NDArray[Any]]:
    return (vectors[start : start + _AT_ONCE] for start in range(0, len(vectors), _AT_ONCE))


class _Drain(io.RawIOBase):
    """A file whose content is taken away piece by piece."""

    def __init__(self) -> None:
        super().__init__()
        self._held, self._at = bytearray(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._held += data
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def take(self) -> bytes:
        content = bytes(self._held)
        self._held.clear()
        return content


def _parquet_parts(
    vectors: NDArray[Any], records: Sequence[Mapping[str, Any]], about: Mapping[str, Any]
) -> Iterator[bytes]:
    arrow, parquet = _pyarrow()
    whole = arrow.int64()
    columns = [("id", whole), ("path", arrow.string()), ("sha256", arrow.string()), ("bytes", whole)]
    columns += [("height", whole), ("width", whole), ("embedding", arrow.list_(arrow.float32()))]
    schema = arrow.schema(columns, metadata={b"eyewright": json.dumps(about).encode("ascii")})
    sink, start = _Drain(), 0
    with parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        for part in _parts(vectors):
            own = [
                {**r, "path": plain_unicode(r["path"]), "embedding": vector}
                for r, vector in zip(records[start : start + len(part)], unit_vectors(part), strict=True)
            ]
            writer.write_table(arrow.Table.from_pylist(own, schema=schema))
            start += len(part)
            yield sink.take()
    yield sink.take()


def _pyarrow() -> tuple[Any, Any]:
    what = {"extra": "parquet", "what": "Parquet"}
    return import_extra("pyarrow", **what), import_extra("pyarrow.parquet", **what)


def _read_npy(path: Path) -> NDArray[Any]:
    """Map an array from a file: a header that promises more than there is allocates nothing."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except _FAILED as error:
        said = plain_reason(error).splitlines()[0][:200].rstrip(".") if str(error) else type(error).__name__
        raise UsageError(f"{quoted(path)} is not an array of numbers of NumPy: {said}",
                         fix="write it with numpy.save, as float32 of N rows and D columns") from None  # fmt: skip
    if not isinstance(found, np.ndarray):
        with contextlib.suppress(*_FAILED):
            found.close()
        raise UsageError(f"expected one array in {quoted(path)}, found an archive of several", fix="use numpy.save")
    return found


def _names_of(path: Path) -> Path:
    there = [path.with_suffix(ending) for ending in NAMES if path.with_suffix(ending).is_file()]
    if not there:
        wanted = ", ".join(path.with_suffix(ending).name for ending in NAMES)
        raise UsageError(f"expected the paths of the images next to {quoted(path)} ({wanted}), found none of these",
                         fix="pass --names FILE, a text file with one path per line")  # fmt: skip
    return there[0]


def _read_names(path: Path, n: int) -> tuple[Path, list[str], list[str], Mapping[str, str]]:
    text = decode_text(read_regular(path, most=_MOST_NAMES, fix="check --names", follow=True), str(path))
    digests: list[str] = []
    model: Mapping[str, str] = {}
    try:
        if path.suffix.lower() == ".json":
            paths, digests, model = _json_names(json.loads(text))
        elif path.suffix.lower() in (".csv", ".tsv"):
            paths, digests = _table_names(text, "\t" if path.suffix.lower() == ".tsv" else ",")
        else:
            # Not splitlines: names of files may hold the other signs that end a line in Unicode.
            paths = [line.rstrip("\r") for line in text.split("\n") if line.strip()]
    except (ValueError, TypeError, KeyError, RecursionError, csv.Error) as error:
        raise UsageError(
            f"expected the paths of {n:,} images in {quoted(path)}, found another form ({plain_reason(error)[:120]})",
            fix="write a text file with one path per line, in the order of the vectors",
        ) from None
    return path, paths, digests, model


def _json_names(content: Any) -> tuple[list[str], list[str], Mapping[str, str]]:
    if isinstance(content, list):
        content = {"images": content}
    images = content["images"]
    model = content.get("model") or {}
    if not isinstance(images, list) or not isinstance(model, dict):
        raise ValueError("no list of images")
    rows = [{"path": i} if isinstance(i, str) else i for i in images]
    return [r["path"] for r in rows], [r.get("sha256") or "" for r in rows], {k: str(v) for k, v in model.items()}


def _table_names(text: str, separator: str) -> tuple[list[str], list[str]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    row = list(reader.fieldnames or ())
    name, digest = path_column(row) or column_of(row, _SOURCE_COLUMNS), column_of(row, _DIGEST_COLUMNS)
    if name is None:
        raise ValueError(f"its columns are {', '.join(row)[:80]}")
    rows = list(reader)
    return [from_cell(r[name]) for r in rows], [] if digest is None else [r[digest] or "" for r in rows]


def _named(
    vectors: NDArray[Any], names: Path, paths: Sequence[Any], digests: Sequence[Any], model: Mapping[str, str], *,
    path: Path,
) -> NamedVectors:  # fmt: skip
    if vectors.ndim == 2 and len(paths) != len(vectors):
        raise UsageError(
            f"expected a path for each of the {len(vectors):,} vectors in {quoted(path)}, found {len(paths):,} in "
            f"{quoted(names)}",
            fix="write one path per line, in the order of the vectors",
        )
    return NamedVectors(vectors, tuple(paths), tuple(digests) or ("",) * len(paths), model)


def _read_parquet(path: Path) -> NamedVectors:
    arrow, parquet = _pyarrow()
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            lists = [f.name for f in schema if _is_vector(arrow, f.type)]
            texts = [f.name for f in schema if _is_string(arrow, f.type)]
            name = path_column(texts) or column_of(texts, _SOURCE_COLUMNS)
            chosen = column_of(lists, _VECTOR_COLUMNS) or (lists[0] if len(lists) == 1 else None)
            if name is None or chosen is None:
                raise UsageError(
                    f"expected a column of paths and one of lists of numbers in {quoted(path)}, found "
                    f"{', '.join(schema.names)[:120]}",
                    fix="name them 'path' and 'embedding'",
                )
            digest = column_of(schema.names, _DIGEST_COLUMNS)
            _check_size(file.metadata, chosen, path)
            table = file.read(columns=[name, chosen, *([digest] if digest else [])])
            vectors = _stacked(table[chosen].combine_chunks(), path)
            own = json.loads((schema.metadata or {}).get(b"eyewright", b"{}"))
            model = own.get("model", {}) if isinstance(own, dict) and own.get("format") == _KIND else {}
            digests = [str(d or "") for d in table[digest].to_pylist()] if digest else [""] * len(table)
            return NamedVectors(vectors, tuple(table[name].to_pylist()), tuple(digests), model)
    except (*_FAILED, arrow.ArrowException) as error:
        said = plain_reason(error).splitlines()[0][:200].rstrip(".") if str(error) else type(error).__name__
        raise UsageError(f"{quoted(path)} is not a Parquet table of vectors: {said}", fix="write it again") from None


def _check_size(about: Any, column: str, path: Path) -> None:
    """Refuse lists that are longer than any vector before they are read: repetitions take no place in the file.

    Raises:
        UsageError: they are.
    """
    groups = (about.row_group(k) for k in range(about.num_row_groups))
    columns = (group.column(k) for group in groups for k in range(group.num_columns))
    n = sum(int(c.num_values) for c in columns if str(c.path_in_schema).split(".")[0] == column)
    if n > _MOST_DIM * max(1, int(about.num_rows)):
        raise UsageError(f"expected lists of at most {_MOST_DIM:,} numbers in {quoted(path)}, found {n:,} in "
                         f"{about.num_rows:,} rows", fix="write a vector per row")  # fmt: skip


def _is_string(arrow: Any, kind: Any) -> bool:
    return bool(arrow.types.is_string(kind) or arrow.types.is_large_string(kind))


def _is_vector(arrow: Any, kind: Any) -> bool:
    types = arrow.types
    listed = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(listed and (types.is_floating(kind.value_type) or types.is_integer(kind.value_type)))


def _stacked(column: Any, path: Path) -> NDArray[Any]:
    """Return a column of lists as an array (N, D).

    Raises:
        UsageError: there are gaps, or lists of different lengths.
    """
    column = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    values = column.flatten()
    n = len(column)
    if column.null_count or values.null_count or (n and len(values) % n):
        raise UsageError(f"expected a list of D numbers in each row of {quoted(path)}, found gaps or lists of "
                         "different lengths", fix="leave these rows out")  # fmt: skip
    # Lists of different lengths may add up to a multiple of N too.
    lengths = np.unique(np.asarray(column.value_lengths()))
    if len(lengths) > 1:
        raise UsageError(f"expected a list of D numbers in each row of {quoted(path)}, found {lengths[0]} and "
                         f"{lengths[-1]}", fix="leave these rows out")  # fmt: skip
    return np.asarray(values).reshape(n, -1)


def _check(found: NamedVectors, path: Path) -> None:
    """Refuse what cannot be vectors of images.

    Raises:
        UsageError: another shape or type, a value that is not finite, a vector of zeros, an image twice.
    """
    vectors = found.vectors
    if vectors.dtype.kind not in "fiu":
        raise UsageError(f"expected real numbers in {quoted(path)}, found {str(vectors.dtype)[:80]}",
                         fix="write float32")  # fmt: skip
    if vectors.ndim != 2 or not 1 <= vectors.shape[-1] <= _MOST_DIM or not len(vectors):
        raise UsageError(f"expected an array of N rows and D columns in {quoted(path)}, found {vectors.shape}",
                         fix="write a row per image, of at most 65,536 numbers")  # fmt: skip
    start = 0
    for part in _parts(vectors):
        with np.errstate(over="ignore", invalid="ignore"):
            lengths = np.sqrt((np.asarray(part, np.float32).astype(np.float64) ** 2).sum(1))
        bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
        if len(bad):
            said = "all 0" if lengths[bad[0]] == 0 else "not finite"
            raise UsageError(f"expected finite vectors in {quoted(path)}, found row {start + int(bad[0]):,} "
                             f"(counted from 0), which is {said}", fix="leave it out, with its name")  # fmt: skip
        start += len(part)
    _check_paths(found.paths)


def _check_paths(paths: Iterable[Any]) -> None:
    seen: set[str] = set()
    for row, name in enumerate(paths):
        if not isinstance(name, str) or not name.strip() or "\0" in name:
            raise UsageError(f"expected the path of an image for row {row:,}, found {str(name)[:60]!r}",
                             fix="write a path")  # fmt: skip
        if name in seen:
            raise UsageError(f"expected each image once, found {name[:200]!r} again in row {row:,}",
                             fix="leave one of them out, with its vector")  # fmt: skip
        seen.add(name)


def check_vectors_file(out: Path, index: Path) -> None:
    """Refuse a file that vectors cannot be written to, before anything is read.

    Raises:
        UsageError, OutputError: another ending, a folder, or a place within the index.
        MissingExtraError: Parquet without pyarrow.
    """
    if out.suffix.lower() not in ENDINGS:
        raise UsageError(f"expected a file that ends with .npy or .parquet, found {quoted(out)}", fix="change --export")
    if index.resolve() in out.resolve().parents:
        raise UsageError(f"expected a file outside of the index, found {quoted(out)}", fix="change --export")
    if out.is_dir():
        raise UsageError(f"expected a file, found a folder at {quoted(out)}", fix="change --export")
    if out.suffix.lower() == ".parquet":
        _pyarrow()
    with checked_output(out, option="--export"):
        out.parent.mkdir(parents=True, exist_ok=True)
