"""Read tables of tags: lists in a column (`a|b`), one column per tag (one-hot), or Hugging Face's metadata."""

__all__ = ["is_tag_table", "read_tag_tables"]

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from eyewright.core.errors import DatasetError
from eyewright.core.labels import LabelSpace
from eyewright.core.report import Finding
from eyewright.data.dataset import Dataset, Sample
from eyewright.data.readers.naming import Images
from eyewright.data.tables import (
    GROUP_COLUMNS,
    LABEL_COLUMNS,
    SPLIT_COLUMNS,
    TableRow,
    TableRows,
    column_of,
    head_columns,
    json_rows,
    names_an_image,
    path_column,
)
from eyewright.data.targets.tags import cell_parts, split_tags, tag_sets
from eyewright.data.tree import Tree

_BARE = ("path", "tags", "split")
_TAG_COLUMNS = ("tags", "labels", "classes", "categories", "attributes", "keywords", "tag", *LABEL_COLUMNS)
_YES = frozenset({"1", "1.0", "true", "yes", "t", "y", "x"})
_NO = frozenset({"0", "0.0", "false", "no", "f", "n"})
_UNKNOWN = frozenset({"", "-1", "-1.0", "nan", "na", "n/a", "null", "none", "?", "u", "unknown"})
_SEPARATORS = "|;,"
_LOOKED_AT = 200

Row = Mapping[str, object]


def is_tag_table(tree: Tree, table: str, images: Images) -> bool:
    """Return whether a table names an image that is there, and has a column of tags or columns that are tags.

    The first line decides also where the others cannot be read: such a table is refused with its line.
    """
    try:
        rows = [row for _, row in islice(json_rows(tree, table, _BARE), _LOOKED_AT)]
    except DatasetError:
        rows = []
    if not rows:
        columns = head_columns(tree, table)
        return path_column(columns) is not None and column_of(columns, _TAG_COLUMNS) is not None
    column, one_hot = _tag_columns(rows)
    return names_an_image(rows, table, images) and (column is not None or bool(one_hot))


def read_tag_tables(tree: Tree, names: Sequence[str], tables: Sequence[str], format: str, task: str) -> Dataset:
    """Read tables of tags.

    A column called `tags`, `labels` or so holds those that an image has, parted by `|`, `;` or `,`, or a list in JSON:
    it has none of the others, and none at all where the cell is empty; `?dog` says that nobody has judged `dog`, and
    `?` alone that none is annotated. Rows of one image are joined. Of columns that hold 1 and 0 each is a tag; an
    empty cell or -1 says that it is not annotated. An image of which all is unknown is left out.

    Raises:
        DatasetError: a table that is not as expected (file and line).
    """
    listed = TableRows(tree, names)
    rows: dict[str, TableRow] = {}
    has: dict[str, set[str]] = {}
    unknown: dict[str, set[str]] = {}
    order: dict[str, None] = {}
    others: dict[str, None] = {}
    problems: list[Finding] = []
    for table in tables:
        content = list(json_rows(tree, table, _BARE))
        column, one_hot = _tag_columns([row for _, row in content])
        if column is None and not one_hot:
            raise DatasetError(
                f"expected a column of tags in {table!r}, or columns of 0 and 1, found none",
                fix="name it 'tags', with a|b in its cells",
            )
        separator = _separator([row.get(column) for _, row in content]) if column is not None else ""
        order |= dict.fromkeys(one_hot)
        if one_hot:
            others |= dict.fromkeys(c for c in _asked(content[0][1]) if c not in one_hot)
        for line, row in content:
            cells = {k: "" if v is None else str(v) for k, v in row.items()}
            path = path_column(cells)
            if path is None:
                raise DatasetError(
                    f"expected a column for the path in {table!r} line {line}, found {', '.join(row)}",
                    fix="name it 'path'",
                )
            one = listed.read(table, line, cells, path, *(one_hot if column is None else (column,)))
            if one is None:
                continue
            if column is not None:
                said = _tags_of(row.get(column), separator, column, table, line)
                if said is None:
                    listed.drop("its tags are not annotated", table, line)
                    continue
                own, open_ = said
            else:
                own, open_, wrong = _one_hot(row, one_hot)
                for name in wrong:
                    text = f"expected 1 or 0 in the column {name!r}, found {str(row.get(name))[:40]!r}"
                    problems.append(Finding("tag_unreadable", text, "write 1, 0, or nothing", table, line))
                    listed.reduce("a cell of a tag that is neither 1 nor 0", table, line)
                if not own and len(open_) == len(one_hot):
                    listed.drop("its tags are not annotated", table, line)
                    continue
            rows.setdefault(one.name, one)
            has.setdefault(one.name, set()).update(own)
            unknown.setdefault(one.name, set()).update(open_)
    listed.check(list(rows), tables, "path,tags")
    targets, found = tag_sets([sorted(has[n]) for n in rows], [sorted(unknown[n]) for n in rows])
    if not any(t.present for t in targets):
        raise DatasetError(
            f"no image in {tables[0]!r} has a tag", fix="write 1, or the name of a tag, where it has one"
        )
    samples = [
        Sample(r.name, target, r.split, r.group, r.meta) for r, target in zip(rows.values(), targets, strict=True)
    ]
    kept = ", ".join(map(repr, others))
    notes = (
        [f"columns that are not read as tags, because they hold values other than 1 and 0: {kept}"] if others else []
    )
    dataset = listed.dataset(samples, LabelSpace(found), format, task, tables, notes)
    return replace(dataset, problems=tuple(problems))


def _tag_columns(rows: Sequence[Row]) -> tuple[str | None, tuple[str, ...]]:
    """Return the column that lists tags, or else the columns that are tags."""
    if not rows:
        return None, ()
    rest = _asked(list(dict.fromkeys(k for row in rows for k in row)))
    one_hot = tuple(c for c in rest if _is_one_hot([row.get(c) for row in rows]))
    column = column_of([c for c in rest if c not in one_hot], _TAG_COLUMNS)
    return (column, ()) if column is not None else (None, one_hot)


def _asked(headers: Iterable[str]) -> list[str]:
    """Return the columns that are neither path, split nor group."""
    known = (path_column(headers), column_of(headers, SPLIT_COLUMNS), column_of(headers, GROUP_COLUMNS))
    return [c for c in headers if c not in known]


def _is_one_hot(values: Sequence[object]) -> bool:
    words = [_word(v) for v in values]
    judged = [w for w in words if w not in _UNKNOWN]
    # A slip in a cell is a finding with its line later, and does not make the column another one.
    return bool(judged) and 3 * sum(w in _YES or w in _NO for w in judged) > 2 * len(judged)


def _word(value: object) -> str:
    return "" if value is None else str(value).strip().lower()


def _one_hot(row: Row, columns: Sequence[str]) -> tuple[set[str], set[str], list[str]]:
    """Return the tags that a row has, those that it says nothing of, and those of them whose cells are unreadable."""
    words = {c: _word(row.get(c)) for c in columns}
    wrong = [c for c, w in words.items() if w not in _YES | _NO | _UNKNOWN]
    own = {c for c, w in words.items() if w in _YES}
    return own, {c for c, w in words.items() if w in _UNKNOWN} | set(wrong), wrong


def _separator(values: Sequence[object]) -> str:
    """Return what parts the tags of a cell: the first of | ; and , that any cell holds outside of JSON."""
    cells = [v for v in values if isinstance(v, str) and not v.startswith("[")]
    return next((s for s in _SEPARATORS if any(s in c for c in cells)), "|")


def _tags_of(value: object, separator: str, column: str, table: str, line: int) -> tuple[set[str], set[str]] | None:
    """Return the tags of one cell and those that are not annotated; None where it says that of all."""
    if value is None or (isinstance(value, str) and value.strip() == "?"):
        return None
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value.replace("'", '"') if '"' not in value else value)
        except (ValueError, RecursionError):
            raise DatasetError(
                f"expected a list in the column {column!r} of {table!r} line {line}, found {str(value)[:40]!r}",
                fix="write a|b",
            ) from None
    parts = value if isinstance(value, list) else _parted(str(value), separator)
    if not all(isinstance(p, str | int) for p in parts):
        raise DatasetError(
            f"expected names of tags in the column {column!r} of {table!r} line {line}, found {str(value)[:40]!r}",
            fix="write a|b, or a list of names",
        )
    words = [unicodedata.normalize("NFC", str(p).strip()) for p in parts]
    has, open_ = split_tags([w for w in words if w not in ("", "?")])
    return set(has), set(open_) - set(has)


def _parted(cell: str, separator: str) -> list[str]:
    return cell_parts(cell) if separator == "|" else cell.split(separator)
