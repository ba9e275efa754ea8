"""What `search` found as a file: CSV for spreadsheets, JSON Lines, or Parquet."""

__all__ = ["FOUND_ENDINGS", "check_found_file", "write_found"]

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from eyewright.core.errors import UsageError
from eyewright.core.jsonable import plain_unicode
from eyewright.core.quoting import quoted
from eyewright.core.spreadsheets import to_cell

FOUND_ENDINGS = (".csv", ".jsonl", ".parquet")
"""The endings of the files that are written."""


def check_found_file(out: Path, index: Path, read: Iterable[Path]) -> None:
    """Refuse a file that cannot be written, before anything is searched: another ending, one within the index, or one
    of the files that are `read`.

    Raises:
        UsageError, OutputError: it is one of these.
        MissingExtraError: Parquet without pyarrow.
    """
    from eyewright.core.files import refuse_overwriting

    if out.suffix.lower() not in FOUND_ENDINGS:
        raise UsageError(
            f"expected a file that ends with .csv, .jsonl or .parquet, found {quoted(out)}",
            fix="change --out",
        )
    if out.suffix.lower() == ".parquet":
        _arrow()
    if index.resolve() in out.resolve().parents:
        raise UsageError(f"expected a file outside of the index, found {quoted(out)}", fix="change --out")
    if out.is_dir():
        raise UsageError(f"expected a file, found a folder at {quoted(out)}", fix="change --out")
    refuse_overwriting([out], read)


def write_found(out: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows: in CSV their `columns`, texts that a spreadsheet would run as a formula quoted, and None as an empty
    cell; in JSON Lines one object per line; in Parquet their `columns`.

    Raises:
        OutputError: it cannot be written.
    """
    from eyewright.core.files import checked_output, write_bytes, write_text

    if out.suffix.lower() == ".parquet":
        write_bytes(out, _table(rows, columns))
        return
    if out.suffix.lower() == ".csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: "" if v is None else to_cell(v) for k, v in row.items()} for row in rows)
        content = text.getvalue()
    else:
        content = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    with checked_output(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, content)


def _arrow() -> tuple[Any, Any]:
    from eyewright.core.extras import import_extra

    what = {"extra": "parquet", "what": "Parquet"}
    return import_extra("pyarrow", **what), import_extra("pyarrow.parquet", **what)


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    """Return rows as a Parquet table whose types do not depend on what was found."""
    pyarrow, parquet = _arrow()
    kinds = {"rank": "int64", "id": "int64", "group": "int64", "path": "string", "label": "string", "keep": "bool"}
    schema = pyarrow.schema([(c, pyarrow.type_for_alias(kinds.get(c, "float64"))) for c in columns])
    # Names of files that are not UTF-8 hold surrogates, which Parquet has no form for.
    flat = [
        {k: plain_unicode(v) if isinstance(v, str) else v for k, v in row.items() if k in set(columns)} for row in rows
    ]
    sink = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(flat, schema=schema), sink, compression="zstd")
    return sink.getvalue()
