"""Read tables of numbers: a CSV of path and one or several values, or Hugging Face's metadata."""

__all__ = ["is_number_table", "read_number_tables"]

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from eyewright.core.errors import DatasetError
from eyewright.core.labels import LabelSpace
from eyewright.core.report import Finding
from eyewright.data.dataset import Dataset, Sample
from eyewright.data.readers.naming import Images
from eyewright.data.tables import (
    GROUP_COLUMNS,
    SPLIT_COLUMNS,
    TableRow,
    TableRows,
    column_of,
    head_columns,
    json_rows,
    names_an_image,
    path_column,
)
from eyewright.data.targets.numbers import Numbers, Quantity, quantity_of
from eyewright.data.tree import Tree

_BARE = ("path", "value", *(f"value{k}" for k in range(2, 33)))
_NAMED = re.compile(r"^(values?|targets?|labels?|y|numbers?|counts?|readings?|measurements?|scores?)[ _.-]?\d*$")
# Numbers that say which row it is, and not what is seen.
_OF_ROWS = re.compile(r"^(|id|index|idx|row|nr|no|unnamed: ?\d+|.*_id)$")
_NOTHING = frozenset({"", "nan", "na", "n/a", "null", "none", "-"})
_LOOKED_AT = 200
_REASONS = MappingProxyType(
    {"number_missing": "a number is missing", "number_unreadable": "something else stands for a number"}
)

Row = Mapping[str, object]


def is_number_table(tree: Tree, table: str, images: Images) -> bool:
    """Return whether a table names an image that is there, and has a column of numbers, or one that is called so.

    The first line decides also where the others cannot be read: such a table is refused with its line, and not passed
    over for the folders that the images lie in.
    """
    try:
        rows = [row for _, row in _some(tree, table)]
    except DatasetError:
        rows = []
    if rows:
        return names_an_image(rows, table, images) and bool(_value_columns(rows) or _meant_columns(rows[0]))
    columns = head_columns(tree, table)
    return path_column(columns) is not None and bool(_meant_columns(columns))


def read_number_tables(tree: Tree, names: Sequence[str], tables: Sequence[str], format: str, task: str) -> Dataset:
    """Read tables of numbers. What is learnt are the columns with a unit (`weight [g]`, `weight (g)`, `weight_g`) and
    those called `value`, `target`, `label`, `count` or so; where there are none, all columns that hold numbers.

    Rows in which a number is missing, or something else stands for it, are left out, counted, and each is a finding.

    Raises:
        DatasetError: a table that is not as expected (file and line), tables of different columns.
    """
    listed = TableRows(tree, names)
    found: list[tuple[TableRow, tuple[float, ...]]] = []
    columns: list[str] = []
    problems: list[Finding] = []
    for table in tables:
        rows = list(json_rows(tree, table, _BARE))
        if not rows:
            continue
        own = _value_columns([row for _, row in rows[:_LOOKED_AT]]) or _meant_columns(rows[0][1])
        columns = columns or own
        if own != columns or not columns:
            shown = ", ".join(map(repr, own)) or "none"
            wanted = f"the columns {', '.join(map(repr, columns))}" if columns else "a column of numbers"
            raise DatasetError(f"expected {wanted} in {table!r}, found {shown}", fix="name it 'value', or 'weight [g]'")
        for line, row in rows:
            cells = {k: "" if v is None else str(v) for k, v in row.items()}
            path = path_column(cells)
            if path is None:
                raise DatasetError(
                    f"expected a column for the path in {table!r} line {line}, found {', '.join(row)}",
                    fix="name it 'path'",
                )
            one = listed.read(table, line, cells, path, *columns)
            if one is None:
                continue
            values = [_read(row.get(c)) for c in columns]
            wrong = next((c for c, v in zip(columns, values, strict=True) if v is None), None)
            if wrong is not None:
                finding = _finding(row.get(wrong), wrong, table, line)
                listed.drop(_REASONS[finding.code], table, line)
                problems.append(finding)
                continue
            found.append((one, tuple(v for v in values if v is not None)))
    if problems and not found:
        first = problems[0]
        raise DatasetError(f"{first.message} ({first.path!r} line {first.line}), as in every row", fix=first.fix)
    listed.check([row.name for row, _ in found], tables, "path,value")
    quantities = tuple(quantity_of(c) for c in columns)
    samples = [Sample(r.name, Numbers(values, quantities), r.split, r.group, r.meta) for r, values in found]
    notes = [f"learns {_list(quantities)}, of the columns {', '.join(map(repr, columns))}"]
    dataset = listed.dataset(samples, LabelSpace(tuple(map(str, quantities))), format, task, tables, notes)
    return replace(dataset, problems=tuple(problems))


def _list(quantities: Sequence[Quantity]) -> str:
    return " and ".join(map(str, quantities))


def _some(tree: Tree, table: str) -> Iterator[tuple[int, Row]]:
    for k, item in enumerate(json_rows(tree, table, _BARE)):
        if k == _LOOKED_AT:
            return
        yield item


def _value_columns(rows: Sequence[Row]) -> list[str]:
    """Return the columns that hold what is learnt."""
    if not rows:
        return []
    headers = list(dict.fromkeys(k for row in rows for k in row))
    known = {path_column(headers), column_of(headers, SPLIT_COLUMNS), column_of(headers, GROUP_COLUMNS)}
    numeric = [c for c in headers if c not in known and _holds_numbers([row.get(c) for row in rows])]
    meant = [c for c in numeric if quantity_of(c).unit or _NAMED.match(c.strip().lower())]
    return meant or [c for c in numeric if not _OF_ROWS.match(c.strip().lower())]


def _meant_columns(columns: Iterable[str]) -> list[str]:
    """Return the columns that are called as numbers are, whatever they hold."""
    rest = [c for c in columns if c != path_column(columns)]
    return [c for c in rest if quantity_of(c).unit or _NAMED.match(c.strip().lower())]


def _holds_numbers(values: Sequence[object]) -> bool:
    said = [v for v in values if not _is_missing(v)]
    # A slip in a cell is an error with its line later, and does not make the column another one.
    return bool(said) and sum(_read(v) is not None for v in said) * 2 > len(said)


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING)


def _read(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and (not isinstance(value, str) or "_" not in value) else None


def _finding(value: object, column: str, table: str, line: int) -> Finding:
    """Return what is wrong with a cell that holds no number."""
    if _is_missing(value) or (isinstance(value, float) and math.isnan(value)):
        text = f"the number in the column {column!r} is missing"
        return Finding("number_missing", text, "fill it in, or remove the line", table, line)
    shown = str(value)[:40]
    comma = isinstance(value, str) and re.fullmatch(r"[-+]?\d+,\d+", value.strip())
    fix = "write it with a point" if comma else "correct it, or leave the cell empty"
    text = f"expected a number in the column {column!r}, found {shown!r}"
    return Finding("number_unreadable", text, fix, table, line)
