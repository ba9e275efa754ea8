"""Read tables of texts: a CSV of path and text, or Hugging Face's metadata (file_name, text)."""

__all__ = ["is_text_table", "read_text_tables"]

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice

from eyewright.core.errors import DatasetError
from eyewright.core.labels import LabelSpace
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.data.dataset import Dataset, Sample
from eyewright.data.readers.naming import Images
from eyewright.data.tables import (
    TableRow,
    TableRows,
    column_of,
    head_columns,
    json_rows,
    names_an_image,
    path_column,
)
from eyewright.data.targets.text import alphabet_of, line_text, texts_of
from eyewright.data.tree import Tree

_BARE = ("path", "text", "split")
_TEXT_COLUMNS = (
    "text", "transcription", "transcript", "ground_truth", "gt", "words", "word", "sentence", "string", "label",
    "target", "value",
)  # fmt: skip
_LOOKED_AT = 200


def is_text_table(tree: Tree, table: str, images: Images) -> bool:
    """Return whether a table names an image that is there, and has a column of texts."""
    try:
        rows = [row for _, row in islice(json_rows(tree, table, _BARE), _LOOKED_AT)]
    except DatasetError:
        rows = []
    columns: Iterable[str] = rows[0] if rows else head_columns(tree, table)
    named = path_column(columns) is not None and column_of(columns, _TEXT_COLUMNS) is not None
    return named and (not rows or names_an_image(rows, table, images))


def read_text_tables(tree: Tree, names: Sequence[str], tables: Sequence[str], format: str, task: str) -> Dataset:
    """Read tables of texts: what each image of a line says is in the column `text`, `transcription` or so.

    Rows without a text, and those with several lines or control characters, are left out and counted, and each is a
    finding. The alphabet is that of the texts that are left, composed (NFC).

    Raises:
        DatasetError: a table that is not as expected (file and line), or no row with a text.
    """
    listed = TableRows(tree, names)
    found: list[tuple[TableRow, str]] = []
    problems: list[Finding] = []
    for table in tables:
        for line, row in json_rows(tree, table, _BARE):
            cells = {k: "" if v is None else str(v) for k, v in row.items()}
            path, column = path_column(cells), column_of(cells, _TEXT_COLUMNS)
            if path is None or column is None:
                raise DatasetError(
                    f"expected columns for the path and the text in {table!r} line {line}, found {', '.join(row)}",
                    fix="name them 'path' and 'text'",
                )
            one = listed.read(table, line, cells, path, column)
            if one is None:
                continue
            try:
                found.append((one, line_text(row[column] if isinstance(row[column], str) else cells[column])))
            except DatasetError as error:
                listed.drop(error.message, table, line)
                problems.append(Finding(error.code, error.message, error.fix, table, line))
    if problems and not found:
        first = problems[0]
        raise DatasetError(f"{first.message} ({quoted(first.path)} line {first.line}), as in every row", fix=first.fix)
    listed.check([row.name for row, _ in found], tables, "path,text")
    alphabet = alphabet_of([text for _, text in found])
    targets = texts_of([text for _, text in found], alphabet)
    samples = [Sample(r.name, t, r.split, r.group, r.meta) for (r, _), t in zip(found, targets, strict=True)]
    dataset = listed.dataset(samples, LabelSpace(alphabet), format, task, tables)
    return replace(dataset, problems=tuple(problems))
