"""Read tables of numbers: a CSV of path and one or several values, or Hugging Face's metadata."""

__all__ = ["is_number_table", "read_number_tables"]

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from types import MappingProxyType

import numpy as np

from eyewright.core.errors import DatasetError
from eyewright.core.labels import LabelSpace
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.data.dataset import Dataset, Sample
from eyewright.data.readers.naming import Images
from eyewright.data.tables import (
    GROUP_COLUMNS,
    SPLIT_COLUMNS,
    TableRow,
    TableRows,
    column_of,
    has_decimal_commas,
    head_columns,
    json_rows,
    names_an_image,
    path_column,
)
from eyewright.data.targets.numbers import Numbers, Quantity, quantity_named, quantity_of
from eyewright.data.tree import Tree

_BARE = ("path", "value", *(f"value{k}" for k in range(2, 33)))
_NAMED = re.compile(r"^(values?|targets?|labels?|y|numbers?|counts?|readings?|measurements?|scores?)[ _.-]?\d*$")
# Numbers that say which row it is, and not what is seen.
_OF_ROWS = re.compile(r"^(|id|index|idx|row|nr|no|unnamed: ?\d+|.*_id)$")
_NOTHING = frozenset({"", "nan", "na", "n/a", "null", "none", "-"})
_LOOKED_AT = 200
_REASONS = MappingProxyType({"number_missing": "a number is missing", "number_unreadable": "a cell is not a number"})

_LEAST_TO_JUDGE = 8
_IMPLAUSIBLE = 1e6
_WITH_COMMA = re.compile(r"^[-+]?(?:\d+|\d{1,3}(?:\.\d{3})+),\d+(?:[eE][-+]?\d+)?$")
_WITH_POINT = re.compile(r"^[-+]?\d*\.\d+(?:[eE][-+]?\d+)?$")
# A number with a decimal comma, a unit or a percent sign.
_WITH_UNIT = re.compile(r"^(?P<number>[-+]?\d+(?:[.,]\d+)?)\s*(?P<unit>[^\d\s.,+\-][^\d,]{0,15})?$")
# Above it, squares of what is learnt in 32 bits are not finite.
_LARGEST = 1e18

Row = Mapping[str, object]


def is_number_table(tree: Tree, table: str, images: Images) -> bool:
    """Return whether a table names an image that is there, and has a column of numbers, or one that is called so.

    The first line decides also where the others cannot be read: such a table is refused with its line, and not passed
    over for the folders that the images lie in.
    """
    try:
        rows = [row for _, row in islice(_rows(tree, table), _LOOKED_AT)]
    except DatasetError:
        rows = []
    if rows:
        return names_an_image(rows, table, images) and bool(_value_columns(rows) or _meant_columns(rows[0]))
    columns = head_columns(tree, table)
    return path_column(columns) is not None and bool(_meant_columns(columns))


def read_number_tables(
    tree: Tree, names: Sequence[str], tables: Sequence[str], format: str, task: str, *, target: Sequence[str] = ()
) -> Dataset:
    """Read tables of numbers. What is learnt are the columns of `target`, named with or without their unit; without it
    those with a unit (`weight [g]`, `weight (g)`, `weight_g`) and those called `value`, `target`, `label`, `count` or
    so; where there are none, all columns that hold numbers. A note names those that are taken, and those that are not.

    Rows in which a number is missing or implausible, or something else stands for it, are left out, counted, and each
    is a finding. Where columns are not separated by commas, numbers may have decimal commas.

    Raises:
        DatasetError: a table that is not as expected (file and line), tables of different columns, no such column.
    """
    listed = TableRows(tree, names)
    found: list[tuple[TableRow, tuple[float, ...]]] = []
    columns: list[str] = []
    problems: list[Finding] = []
    places: list[tuple[str, int]] = []
    others: dict[str, None] = {}
    for table in tables:
        rows = list(_rows(tree, table))
        if not rows:
            continue
        first = [row for _, row in rows[:_LOOKED_AT]]
        own = _chosen_columns(first, target, table) or _value_columns(first) or _meant_columns(rows[0][1])
        others.update(dict.fromkeys(c for c in _numeric_columns(first) if c not in own))
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
            places.append((table, line))
    if problems and not found:
        worst = problems[0]
        raise DatasetError(f"{worst.message} ({quoted(worst.path)} line {worst.line}), as in every row", fix=worst.fix)
    strange = dict(_implausible([values for _, values in found], columns))
    for i, (column, usual) in strange.items():
        table, line = places[i]
        shown = f"{found[i][1][columns.index(column)]:g}"
        text = f"the number {shown} in the column {column!r} is implausible: the usual range is {usual}"
        problems.append(Finding("number_implausible", text, "correct it, or remove the line", table, line))
        listed.drop("a number is implausible", table, line)
    found = [row for i, row in enumerate(found) if i not in strange]
    listed.check([row.name for row, _ in found], tables, "path,value")
    quantities = tuple(quantity_of(c) for c in columns)
    samples = [Sample(r.name, Numbers(values, quantities), r.split, r.group, r.meta) for r, values in found]
    notes = [f"learns {_list(quantities)}, of the columns {', '.join(map(repr, columns))}"]
    if others:
        notes.append(f"numbers that are not learnt: {', '.join(map(repr, others))}; --target COLUMN,COLUMN chooses")
    dataset = listed.dataset(samples, LabelSpace(tuple(map(str, quantities))), format, task, tables, notes)
    return replace(dataset, problems=tuple(problems))


def _list(quantities: Sequence[Quantity]) -> str:
    return " and ".join(map(str, quantities))


def _rows(tree: Tree, table: str) -> Iterator[tuple[int, Row]]:
    """Yield the lines of a table, with points for decimal commas where those can be told from separators.

    In a column with decimal commas points separate thousands; a point alone is no number there, as it may be either.
    """
    commas = has_decimal_commas(tree, table)
    if not commas:
        yield from json_rows(tree, table, _BARE)
        return
    rows = list(json_rows(tree, table, _BARE))
    held = {c for _, row in rows for c, v in row.items() if isinstance(v, str) and _WITH_COMMA.match(v)}
    for line, row in rows:
        yield line, {c: _pointed(v) if c in held and isinstance(v, str) else v for c, v in row.items()}


def _pointed(cell: str) -> str:
    if _WITH_COMMA.match(cell):
        return cell.replace(".", "").replace(",", ".")
    return f"{cell} (point, not comma)" if _WITH_POINT.match(cell) else cell


def _chosen_columns(rows: Sequence[Row], target: Sequence[str], table: str) -> list[str]:
    """Return the columns that `target` names, with or without their units.

    Raises:
        DatasetError: there is no such column.
    """
    headers = list(dict.fromkeys(k for row in rows for k in row))
    found = []
    for name in target:
        full = {str(quantity_of(c)): c for c in headers}
        named = name if name in headers else full.get(quantity_named(name, tuple(full)))
        if named is None or named == path_column(headers):
            raise DatasetError(
                f"expected the column {name!r} in {table!r}, found {', '.join(map(repr, headers))}",
                fix="name the column so; to train on others, choose them with --target",
            )
        found.append(named)
    return found


def _numeric_columns(rows: Sequence[Row]) -> list[str]:
    """Return the columns that hold numbers, without those that say which row it is."""
    headers = list(dict.fromkeys(k for row in rows for k in row))
    known = {path_column(headers), column_of(headers, SPLIT_COLUMNS), column_of(headers, GROUP_COLUMNS)}
    numeric = [c for c in headers if c not in known and _holds_numbers([row.get(c) for row in rows])]
    return [c for c in numeric if not _OF_ROWS.match(c.strip().lower())]


def _value_columns(rows: Sequence[Row]) -> list[str]:
    """Return the columns that hold what is learnt."""
    numeric = _numeric_columns(rows)
    return [c for c in numeric if quantity_of(c).unit or _NAMED.match(c.strip().lower())] or numeric


def _implausible(rows: Sequence[tuple[float, ...]], columns: Sequence[str]) -> Iterator[tuple[int, tuple[str, str]]]:
    """Yield the rows with a number that no error of measurement makes, with its column and what is usual.

    It is a million robust standard deviations from the median, or where most are the same, of its size.
    """
    if len(rows) < _LEAST_TO_JUDGE:
        return
    table = np.array(rows, np.float64)
    for k, column in enumerate(columns):
        low, middle, high = np.quantile(table[:, k], (0.25, 0.5, 0.75))
        scale = (high - low) / 1.349 if high > low else max(abs(float(middle)), 1.0)
        for i in np.flatnonzero(np.abs(table[:, k] - middle) > _IMPLAUSIBLE * scale).tolist():
            yield i, (column, f"{low:g} to {high:g}")


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
    return number if abs(number) <= _LARGEST and (not isinstance(value, str) or "_" not in value) else None


def _is_too_large(value: str) -> bool:
    try:
        return abs(float(value)) > _LARGEST
    except ValueError:
        return False


def _finding(value: object, column: str, table: str, line: int) -> Finding:
    """Return what is wrong with a cell that holds no number."""
    if _is_missing(value) or (isinstance(value, float) and math.isnan(value)):
        text = f"the number in the column {column!r} is missing"
        return Finding("number_missing", text, "fill it in, or remove the line", table, line)
    shown = str(value)[:40]
    fix = "correct it, or leave the cell empty"
    written = _WITH_UNIT.match(value.strip()) if isinstance(value, str) else None
    if written is not None:
        number, unit = written["number"].replace(",", "."), written["unit"]
        fix = f"write {number}"
        if "," in written["number"]:
            fix = f"write it with a point: {number}"
        if unit:
            fix += f", and the unit into the name of the column, as in 'weight [{unit}]'"
    elif isinstance(value, str | int | float) and _is_too_large(str(value)):
        fix = f"correct it: numbers go up to {_LARGEST:g}"
    text = f"expected a number in the column {column!r}, found {shown!r}"
    return Finding("number_unreadable", text, fix, table, line)
