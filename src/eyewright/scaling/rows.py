"""The rows of results: one per planned image, a prediction or the reason why there is none; JSON Lines and Parquet."""

__all__ = [
    "FORMATS",
    "Part",
    "Row",
    "changed_row",
    "check_format",
    "error_row",
    "read_errors",
    "read_ids",
    "read_part",
    "read_results",
    "read_rows",
    "write_part",
    "write_rows",
]

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from eyewright.core.errors import EyewrightError, UsageError, spelling_hint
from eyewright.core.extras import import_extra
from eyewright.core.files import checked_output
from eyewright.core.jsonable import dumps_json, vector_of
from eyewright.core.quoting import quoted

Row: TypeAlias = dict[str, Any]
"""`id` (the image's number in the plan), `source`, `ok`, `error` and `message` (code and reason, None without an
error), `label` and `score` (the prediction's headline), and `result` (all of it, as JSON types). In Parquet also
`embedding`: the vector of an image, where the model makes one."""

FORMATS = ("jsonl", "parquet")
_TEXTS = ("source", "error", "message", "label")


@dataclass(frozen=True)
class Part:
    """A file of rows that was written: how many there are, how many have an error, its size and SHA-256."""

    rows: int
    failed: int
    bytes: int
    sha256: str


def error_row(number: int, source: str, code: str, message: str) -> Row:
    """Return the row of an image without a result."""
    empty = {"label": None, "score": None, "result": None}
    return {"id": number, "source": source, "ok": False, "error": code, "message": message, **empty}


def changed_row(number: int, source: str) -> Row:
    """Return the row of an image whose file is not the planned one."""
    return error_row(number, source, "changed", f"{quoted(source)} has changed since it was planned")


def check_format(name: str) -> None:
    """Raise `UsageError` if results are not written in this format, or if what writes it is not installed."""
    if name not in FORMATS:
        raise UsageError(f"unknown --format {name!r}", fix=spelling_hint(name, FORMATS))
    if name == "parquet":
        _pyarrow()


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> Part:
    """Write rows as JSON Lines to a new file, which is on disk when this returns.

    Raises:
        OutputError: it cannot be written, or the disk is full.
    """
    digest, n, failed, size = hashlib.sha256(), 0, 0, 0
    with checked_output(path), open(path, "xb") as file:
        for row in rows:
            line = dumps_json(row).encode() + b"\n"
            digest.update(line)
            file.write(line)
            n, failed, size = n + 1, failed + (not row["ok"]), size + len(line)
        file.flush()
        os.fsync(file.fileno())
    return Part(n, failed, size, digest.hexdigest())


def write_part(pieces: Sequence[Path], path: Path, format: str) -> Part:
    """Join pieces of JSON Lines into one new file in a format of `FORMATS`, which is on disk when this returns.

    Raises:
        OutputError: it cannot be written, or the disk is full.
        MissingExtraError: Parquet without pyarrow.
    """
    if format == "jsonl":
        return write_rows(path, _rows(pieces))
    pyarrow, parquet = _pyarrow()
    rows = list(_rows(pieces))
    fields = [("id", pyarrow.int64()), ("ok", pyarrow.bool_()), ("score", pyarrow.float64())]
    fields += [(name, pyarrow.string()) for name in (*_TEXTS, "result")]
    fields.sort(key=lambda f: list(error_row(0, "", "", "")).index(f[0]))
    # The same columns whatever the task: a table whose parts differ in their types cannot be read as one.
    schema = pyarrow.schema([*fields, ("embedding", pyarrow.list_(pyarrow.float32()))])
    flat = [{**row, "result": None if row["result"] is None else dumps_json(row["result"])} for row in rows]
    for row, shown in zip(rows, flat, strict=True):
        encoded = (row["result"] or {}).get("embedding")
        shown["embedding"] = None if encoded is None else vector_of(encoded)
    with checked_output(path), open(path, "xb") as file:
        parquet.write_table(pyarrow.Table.from_pylist(flat, schema=schema), file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    data = path.read_bytes()
    return Part(len(rows), sum(not r["ok"] for r in rows), len(data), hashlib.sha256(data).hexdigest())


def read_results(path: Path, format: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the source and the result of each row of a part that has one.

    Raises:
        ValueError: it is not a file of rows.
    """
    if format == "jsonl":
        for row in _rows([path]):
            if row["ok"]:
                yield str(row["source"]), row["result"]
        return
    _, parquet = _pyarrow()
    table = parquet.read_table(path, columns=["source", "result"])
    for source, result in zip(table["source"].to_pylist(), table["result"].to_pylist(), strict=True):
        if result is not None:
            yield source, json.loads(result)


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a part in JSON Lines."""
    return _rows([path])


def read_ids(path: Path, format: str) -> Iterator[tuple[int, str]]:
    """Yield the number and source of each row of a part.

    Raises:
        ValueError: it is not a file of rows.
    """
    if format == "jsonl":
        for row in _rows([path]):
            yield int(row["id"]), str(row["source"])
        return
    _, parquet = _pyarrow()
    table = parquet.read_table(path, columns=["id", "source"])
    yield from zip(table["id"].to_pylist(), table["source"].to_pylist(), strict=True)


def read_part(path: Path, format: str) -> tuple[Part, int]:
    """Return what a part holds, and how many of its images have crashed their worker.

    Raises:
        ValueError: it is not a file of rows.
    """
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    errors = [row["error"] for row in read_errors(path, format)]
    rows = sum(1 for _ in read_ids(path, format))
    return Part(rows, len(errors), path.stat().st_size, digest), errors.count("crashed")


def read_errors(path: Path, format: str) -> Iterator[Row]:
    """Yield the rows of a part that have an error."""
    if format == "jsonl":
        yield from (row for row in _rows([path]) if not row["ok"])
        return
    _, parquet = _pyarrow()
    yield from parquet.read_table(path, filters=[("ok", "=", False)]).to_pylist()


def _rows(pieces: Iterable[Path]) -> Iterator[Row]:
    for piece in pieces:
        with open(piece, "rb") as file:
            for line in file:
                yield json.loads(line)


def _pyarrow() -> tuple[Any, Any]:
    what = {"extra": "parquet", "what": "--format parquet"}
    try:
        return import_extra("pyarrow", **what), import_extra("pyarrow.parquet", **what)
    except EyewrightError as error:
        raise type(error)(error.message, fix=f"{error.fix}, or pass --format jsonl") from None
