"""A segment of an index: vectors, their codes and what they are of, in files that are written once."""

__all__ = ["MOST_ROWS", "Row", "Segment", "open_segment", "row_line", "write_segment"]

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import InputError
from eyewright.core.files import staged_folder, write_staged
from eyewright.core.quoting import quoted
from eyewright.core.regular import digest_of
from eyewright.retrieval.coding import code_vectors
from eyewright.retrieval.manifest import damaged

MOST_ROWS = 65_536
"""How many vectors one segment holds."""

# Files up to this size are compared with their SHA-256 when they are opened; of larger ones the size.
_ALWAYS = 4 << 20
_FILES = ("vectors.f16", "codes.i8", "columns.f32", "ids.i64", "rows.jsonl", "offsets.i64")


@dataclass(frozen=True)
class Row:
    """What a vector is of: a file by its path and SHA-256, its size and time when it was read, its pixels."""

    path: str
    digest: str = ""
    bytes: int = 0
    mtime_ns: int = 0
    height: int = 0
    width: int = 0


@dataclass(frozen=True, eq=False)
class Segment:
    """An open segment: arrays that are mapped from its files, `error` as in `Codes`."""

    name: str
    vectors: NDArray[np.float16]
    codes: NDArray[np.int8]
    scale: NDArray[np.float32]
    offset: NDArray[np.float32]
    error: float
    ids: NDArray[np.int64]
    _lines: NDArray[np.uint8]
    _offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, place: int) -> Row:
        """Return what the vector at a place is of."""
        return _row(self._lines[self._offsets[place] : self._offsets[place + 1]].tobytes())

    def rows(self) -> list[Row]:
        return [_row(line) for line in self.lines()]

    def lines(self) -> list[bytes]:
        """Return all rows as they were written."""
        lines = self._lines.tobytes().splitlines(keepends=True)
        if len(lines) != len(self):
            raise damaged(f"segment {self.name!r} has {len(lines):,} rows, expected {len(self):,}")
        return lines


def row_line(row: Row) -> bytes:
    """Return a row as a line of JSON; names of files that are not UTF-8 hold surrogates, which JSON escapes."""
    return json.dumps(vars(row), separators=(",", ":")).encode("ascii") + b"\n"


def _digest(path: Path, size: int) -> str:
    try:
        return digest_of(path, most=size, fix="index again")[0]
    except InputError:
        # Another process may have written segments again since the size was asked for: the caller opens anew.
        os.stat(path)
        raise


def _row(line: bytes) -> Row:
    try:
        row = Row(**json.loads(line.decode("utf-8", "surrogateescape")))
    except (ValueError, TypeError, RecursionError):
        raise damaged("a row is not what was written") from None
    numbers = (row.bytes, row.mtime_ns, row.height, row.width)
    if not (isinstance(row.path, str) and isinstance(row.digest, str) and all(isinstance(n, int) for n in numbers)):
        raise damaged("a row is not what was written")
    return row


def write_segment(
    folder: Path, vectors: NDArray[np.float32], ids: NDArray[np.int64], lines: Sequence[bytes]
) -> dict[str, Any]:
    """Write unit vectors, float32 (N, D), as the segment `folder`, whole or not at all; return its entry in a manifest.

    `lines` are what `row_line` makes of what each is of.

    Raises:
        OutputError: it cannot be written.
    """
    kept = vectors.astype(np.float16)
    codes = code_vectors(kept.astype(np.float32))
    offsets = np.cumsum([0, *map(len, lines)], dtype=np.int64)
    contents = (
        kept.tobytes(), codes.codes.tobytes(), np.stack([codes.scale, codes.offset]).tobytes(), ids.tobytes(),
        b"".join(lines), offsets.tobytes(),
    )  # fmt: skip
    with staged_folder(folder) as stage:
        for name, content in zip(_FILES, contents, strict=True):
            write_staged(stage / name, content)
    return {
        "name": folder.name,
        "rows": len(ids),
        "error": codes.error,
        "files": {
            name: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()}
            for name, c in zip(_FILES, contents, strict=True)
        },
    }


def open_segment(folder: Path, entry: Mapping[str, Any], dim: int, *, verify: bool = False) -> Segment:
    """Map a segment's files; their sizes are checked, and with `verify`, or where they are small, their SHA-256.

    Raises:
        FileNotFoundError: it is not there.
        InputError: a file is not what was written.
    """
    if not set(_FILES) <= set(entry["files"]):
        raise damaged("its manifest names too few files")
    n = int(entry["rows"])
    kinds: dict[str, tuple[Any, tuple[int, ...]]] = {
        "vectors.f16": (np.float16, (n, dim)),
        "codes.i8": (np.int8, (dim, n)),
        "columns.f32": (np.float32, (2, n)),
        "ids.i64": (np.int64, (n,)),
        "rows.jsonl": (np.uint8, (int(entry["files"]["rows.jsonl"]["bytes"]),)),
        "offsets.i64": (np.int64, (n + 1,)),
    }
    found = {}
    for name, (kind, shape) in kinds.items():
        path, known = folder / name, entry["files"][name]
        size = os.stat(path).st_size
        needed = math.prod(shape) * np.dtype(kind).itemsize
        if size != known["bytes"]:
            raise damaged(f"{quoted(path)} has {size:,} bytes, expected {known['bytes']:,}")
        if size != needed:
            raise damaged(
                f"{quoted(path)} has {size:,} bytes, and the manifest's {n:,} rows of {dim:,} numbers take {needed:,}"
            )
        if (verify or size <= _ALWAYS) and _digest(path, size) != known["sha256"]:
            raise damaged(f"{quoted(path)} is not what was written")
        found[name] = np.memmap(path, kind, "r", shape=shape).view(np.ndarray) if size else np.empty(shape, kind)
    columns, ids, offsets = np.asarray(found["columns.f32"]), found["ids.i64"], found["offsets.i64"]
    ascending = n == 0 or (ids[0] >= 0 and bool((np.diff(ids) > 0).all()))
    within = offsets[0] == 0 and offsets[-1] == len(found["rows.jsonl"]) and bool((np.diff(offsets) > 0).all())
    if not ascending or not within:
        raise damaged(f"the ids or rows of {quoted(folder)} are not in order")
    return Segment(
        entry["name"], found["vectors.f16"], found["codes.i8"], columns[0], columns[1], float(entry["error"]),
        np.asarray(found["ids.i64"]), found["rows.jsonl"], found["offsets.i64"],
    )  # fmt: skip
