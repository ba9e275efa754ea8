"""What `search` found as a file: CSV for spreadsheets, or JSON Lines."""

__all__ = ["FOUND_ENDINGS", "check_found_file", "write_found"]

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from eyewright.core.errors import UsageError
from eyewright.core.quoting import quoted
from eyewright.core.spreadsheets import to_cell

FOUND_ENDINGS = (".csv", ".jsonl")
"""The endings of the files that are written."""


def check_found_file(out: Path, index: Path, read: Iterable[Path]) -> None:
    """Refuse a file that cannot be written, before anything is searched: another ending, one within the index, or one
    of the files that are `read`.

    Raises:
        UsageError, OutputError: it is one of these.
    """
    from eyewright.core.files import refuse_overwriting

    if out.suffix.lower() not in FOUND_ENDINGS:
        raise UsageError(
            f"expected a file that ends with {' or '.join(FOUND_ENDINGS)}, found {quoted(out)}", fix="change --out"
        )
    if index.resolve() in out.resolve().parents:
        raise UsageError(f"expected a file outside of the index, found {quoted(out)}", fix="change --out")
    if out.is_dir():
        raise UsageError(f"expected a file, found a folder at {quoted(out)}", fix="change --out")
    refuse_overwriting([out], read)


def write_found(out: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows: in CSV their `columns`, texts that a spreadsheet would run as a formula quoted, and None as an empty
    cell; in JSON Lines one object per line.

    Raises:
        OutputError: it cannot be written.
    """
    from eyewright.core.files import checked_output, write_text

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
