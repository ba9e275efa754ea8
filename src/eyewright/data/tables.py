"""Read tables of labels: a CSV of path and label, or Hugging Face's metadata, also with a split and a group."""

__all__ = [
    "GROUP_COLUMNS",
    "LABEL_COLUMNS",
    "PATH_COLUMNS",
    "SPLIT_COLUMNS",
    "TableRow",
    "TableRows",
    "column_of",
    "head_columns",
    "is_label_table",
    "json_rows",
    "left_out_images",
    "names_an_image",
    "names_images",
    "path_column",
    "read_label_tables",
    "table_rows",
]

import csv
import io
import itertools
import json
import posixpath
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from eyewright.core.errors import DatasetError, UnreadableImageError
from eyewright.core.labels import LabelSpace
from eyewright.core.report import Finding
from eyewright.data.account import Account, Reason
from eyewright.data.dataset import Dataset, Sample, SplitName
from eyewright.data.readers.listing import EXTENSIONS, SPLITS, Images
from eyewright.data.readers.plain import head_text
from eyewright.data.targets.label import Label
from eyewright.data.texts import decode_text
from eyewright.data.tree import FolderTree, Tree

PATH_COLUMNS = ("path", "file_name", "filename", "file", "image", "image_path", "filepath", "img")
LABEL_COLUMNS = ("label", "class", "target", "category", "label_name", "class_name", "y")
# Columns that are as often of something else: they count where they name images that are there.
_OTHER_PATHS = (
    "image_id", "imageid", "image_name", "imagename", "img_name", "img_id", "filenames", "file_path", "fname",
    "images", "photo", "picture", "name", "id",
)  # fmt: skip
_OTHER_LABELS = (
    "labels", "classes", "classname", "labelname", "class_id", "classid", "label_id", "labelid", "category_id",
    "category_name", "species", "breed", "diagnosis", "tag", "targets",
)  # fmt: skip
_TRIED = 50
_UNLABELLED = "its label is empty"
SPLIT_COLUMNS = ("split", "subset", "set", "partition")
GROUP_COLUMNS = ("group", "group_id", "patient", "video", "session", "source")


def read_label_tables(tree: Tree, names: Sequence[str], tables: Sequence[str], format: str, task: str) -> Dataset:
    """Read tables of labels. An image is named by its path from the table, by its name or by its stem.

    Raises:
        DatasetError: a table that is not as expected (file and line), or that names no image that is there.
    """
    listed = TableRows(tree, names)
    rows: list[tuple[str, str, SplitName | None, str | None, dict[str, str]]] = []
    problems: list[Finding] = []
    for table in tables:
        for line, row in table_rows(tree, table):
            path_key, label_key = _columns(row)
            if path_key is None or label_key is None:
                raise DatasetError(
                    f"expected columns for the path and the label in the header of {table!r}, found {', '.join(row)}",
                    fix=f"name them {PATH_COLUMNS[0]!r} and {LABEL_COLUMNS[0]!r}"
                    + (", separated by a comma, a semicolon or a tab" if len(row) == 1 else ""),
                )
            label = unicodedata.normalize("NFC", row[label_key])
            if label.startswith(("[{", "[]", '{"')):
                raise DatasetError(
                    f"expected a class in {table!r} line {line}, found JSON, as in Label Studio's CSV",
                    fix="export it as JSON",
                )
            found = listed.read(table, line, row, path_key, label_key)
            if found is None:
                continue
            if not label:
                listed.drop(_UNLABELLED, table, line)
                text = f"the row of {found.name!r} is left out: {_UNLABELLED}"
                problems.append(Finding("label_empty", text, "fill it in, or remove the line", table, line, "error"))
                continue
            rows.append((found.name, label, found.split, found.group, found.meta))
    listed.check([r[0] for r in rows], tables, "path,label")
    labels = LabelSpace(tuple(sorted({r[1] for r in rows})))
    ids = {n: i for i, n in enumerate(labels.names)}
    samples = tuple(Sample(name, Label(ids[label]), split, group, meta) for name, label, split, group, meta in rows)
    return replace(listed.dataset(samples, labels, format, task, tables), problems=tuple(problems))


class TableRow(NamedTuple):
    """What a row of a table says of an image next to what is learnt from it."""

    name: str
    split: SplitName | None
    group: str | None
    meta: dict[str, str]


class TableRows:
    """The rows of tables that name images, and what was left out of them."""

    def __init__(self, tree: Tree, names: Sequence[str]) -> None:
        self._tree, self._names = tree, names
        self._known, self._images = set(names), Images(names)
        self._folders = {posixpath.dirname(n) for n in names}
        self._missing: list[tuple[str, str, int]] = []
        self._found: set[str] = set()
        self._dropped: dict[str, Reason] = {}
        self._reduced: dict[str, Reason] = {}

    def read(self, table: str, line: int, row: Mapping[str, str], path: str, *learnt: str) -> TableRow | None:
        """Return the image that the column `path` of a row names; None if it does not exist. Columns that are neither
        `learnt` nor known are `meta`.

        Raises:
            DatasetError: an unknown split.
        """
        folder = posixpath.dirname(table)
        top = folder.split("/")[-1].lower() if folder else posixpath.splitext(posixpath.basename(table))[0].lower()
        split = SPLITS.get(top)
        name = _image(self._tree, self._known, self._folders, self._images, row[path], folder, split)
        if name is None:
            self._missing.append((row[path], table, line))
            return None
        self._found.add(name)
        split_key, group_key = column_of(row, SPLIT_COLUMNS), column_of(row, GROUP_COLUMNS)
        if split_key is not None and row[split_key]:
            split = SPLITS.get(row[split_key].lower())
            if split is None:
                raise DatasetError(
                    f"unknown split {row[split_key]!r} in {table!r} line {line}", fix="use train, val or test"
                )
        meta = {k: v for k, v in row.items() if k not in (path, *learnt, split_key, group_key)}
        return TableRow(name, split, row[group_key] if group_key else None, meta)

    def drop(self, reason: str, table: str, line: int) -> None:
        """Note a row that is left out."""
        _count(self._dropped, reason, table, line)

    def reduce(self, reason: str, table: str, line: int) -> None:
        """Note a part of a row that is not used."""
        _count(self._reduced, reason, table, line)

    def check(self, found: Sequence[str], tables: Sequence[str], columns: str) -> None:
        """Check that rows are left, each of another image; `columns` are those that are expected.

        Raises:
            DatasetError: none are left, or an image is listed twice.
        """
        if self._missing and not found:
            first = "{} ({} line {})".format(*self._missing[0])
            raise DatasetError(
                f"none of the {len(self._missing)} listed files exists, such as {first}", fix="check paths"
            )
        if not found:
            why = f"; {next(iter(self._dropped.values()))}" if self._dropped else ""
            raise DatasetError(f"expected rows in {tables[0]!r}, found none{why}", fix=f"add lines of {columns}")
        twice = _first_repeat(found)
        if twice is not None:
            raise DatasetError(f"{twice!r} is listed more than once", fix="keep one line per image")

    def dataset(
        self,
        samples: Sequence[Sample],
        labels: LabelSpace,
        format: str,
        task: str,
        tables: Sequence[str],
        notes: Sequence[str] = (),
    ) -> Dataset:
        """Return the dataset of these samples, with the account of the tables."""
        missing = self._missing
        said = [*notes]
        if missing:
            said.append("{} listed files are missing, such as {} ({} line {})".format(len(missing), *missing[0]))
        # An image whose row is left out is counted by that row.
        listed = {s.id for s in samples} | self._found | set(tables)
        skipped = tuple(n for n in self._names if n not in listed)
        gone = [Reason("their image is missing", len(missing), *missing[0][1:])] if missing else []
        account = Account(
            len(samples),
            dropped=(*gone, *self._dropped.values()),
            reduced=tuple(self._reduced.values()),
            left_out=left_out_images(skipped, "no table lists it"),
        )
        return Dataset(
            self._tree, tuple(samples), labels, format, task, notes=tuple(said), skipped=skipped, account=account
        )


def _count(reasons: dict[str, Reason], reason: str, table: str, line: int) -> None:
    first = reasons.get(reason, Reason(reason, 0, table, line))
    reasons[reason] = replace(first, n=first.n + 1)


def left_out_images(names: Iterable[str], why: str) -> tuple[Reason, ...]:
    """Return the reason for which images among the files `names` are left out; none where there is no image."""
    images = [n for n in names if posixpath.splitext(n)[1].lower() in EXTENSIONS]
    return (Reason(why, len(images), images[0]),) if images else ()


def table_rows(
    tree: Tree, table: str, bare: Sequence[str] = ("path", "label", "split")
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the lines of a table with their numbers, each as a mapping of columns to text; null is an empty cell, lists
    and fractions of JSON are left out. `bare` names the columns of a table without a header.

    Raises:
        DatasetError: not UTF-8, not a table, or a line of another number of columns.
    """
    for line, row in json_rows(tree, table, bare):
        yield line, {k: "" if v is None else str(v) for k, v in row.items() if v is None or isinstance(v, str | int)}


def json_rows(
    tree: Tree, table: str, bare: Sequence[str] = ("path", "label", "split")
) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield the lines of a table as `table_rows` does, but with the values of JSON as they are.

    Raises:
        DatasetError: as there.
    """
    try:
        text = decode_text(tree.content(table))
    except (DatasetError, UnreadableImageError) as error:
        raise DatasetError(f"cannot read {table!r}: {error.message}", fix=error.fix) from None
    if table.lower().endswith(".jsonl"):
        for line, each in enumerate(text.splitlines(), 1):
            if not each.strip():
                continue
            try:
                row = {str(k): v for k, v in json.loads(each).items()}
            except (ValueError, AttributeError, RecursionError):
                raise DatasetError(
                    f"expected a JSON object in {table!r} line {line}, found {each[:40]!r}", fix="correct the line"
                ) from None
            _check_characters(each, row, table, line)
            yield line, row
        return
    # Excel's own line names the separator.
    skipped = int(text[:4].lower() == "sep=")
    text = text.partition("\n")[2] if skipped else text
    first = text.partition("\n")[0]
    separator = _separator(first)
    # A table without a header begins with the name of an image.
    headless = posixpath.splitext(first.split(separator)[0].strip().strip('"'))[1].lower() in EXTENSIONS
    names = bare[: first.count(separator) + 1] if headless else None
    reader = csv.DictReader(io.StringIO(text, newline=""), fieldnames=names, delimiter=separator)
    try:
        columns = [c.strip() for c in reader.fieldnames or ()]
        twice = next((c for c in columns if c and columns.count(c) > 1), None)
        unclosed = text.count('"') % 2 == 1 and _ends_in_a_quote(text, separator)
        for row in reader:
            line = reader.line_num + skipped
            if None in row or None in row.values():
                raise DatasetError(f"{table!r} line {line} has another number of columns", fix="correct the line")
            if unclosed and any("\n" in v for v in row.values()):
                raise DatasetError(
                    f"a quote is opened and never closed before {table!r} line {line}", fix="close it, or remove it"
                )
            yield line, {k.strip(): v.strip() for k, v in row.items()}
            if twice is not None:
                # After the first line: by that line a table is recognised, and then refused instead of passed over.
                raise DatasetError(
                    f"{table!r} has two columns called {twice!r}", fix="give them different names, or remove one"
                )
    except csv.Error as error:
        line = reader.line_num + skipped
        raise DatasetError(f"cannot read {table!r} line {line}: {error}", fix="correct the line") from None


def _ends_in_a_quote(text: str, separator: str) -> bool:
    """Return whether a table's last cell is quoted and not closed: it holds what would be the rest of the rows."""
    try:
        for _ in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True):
            pass
    except csv.Error as error:
        return "unexpected end" in str(error)
    return False


def _check_characters(text: str, row: Mapping[str, object], table: str, line: int) -> None:
    """Refuse half of a surrogate pair, such as `\\ud800`, which is no character and cannot be written to a file.

    Raises:
        DatasetError: there is one.
    """
    if "\\ud" not in text.lower():
        return
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        found = f"\\u{ord(error.object[error.start]):04x}"
        raise DatasetError(
            f"expected characters in {table!r} line {line}, found half of a surrogate pair, {found}",
            fix="write the character itself, in UTF-8",
        ) from None


def _lies_elsewhere(tree: Tree, name: str) -> bool:
    """Return whether a table names an image outside its folder, as tables with absolute paths do; never from a zip."""
    if not isinstance(tree, FolderTree) or posixpath.splitext(name)[1].lower() not in EXTENSIONS:
        return False
    return (tree.root / name).is_file()


def column_of(row: Iterable[str], wanted: Sequence[str]) -> str | None:
    """Return the name that a row has for the first of the columns that are wanted."""
    lower = {_plain(k): k for k in row}
    return next((lower[w] for w in wanted if w in lower), None)


def _plain(column: str) -> str:
    return column.lower().replace(" ", "_")


def is_label_table(tree: Tree, table: str) -> bool:
    """Return whether a table has a column for the path and one for the label, by their usual names.

    The first line decides also where the others cannot be decoded or read: such a table is refused with its line, and
    not passed over for the folders that the images lie in.
    """
    try:
        row = next(table_rows(tree, table), None)
    except DatasetError:
        row = None
    columns = head_columns(tree, table) if row is None else row[1]
    path, label = _columns(columns)
    return path is not None and label is not None and _plain(path) in PATH_COLUMNS and _plain(label) in LABEL_COLUMNS


def head_columns(tree: Tree, table: str) -> dict[str, str]:
    """Return the columns of a table's first line, whatever its encoding, each without a value."""
    if table.lower().endswith(".jsonl"):
        return {}
    try:
        text = head_text(tree.content(table))
    except UnreadableImageError:
        return {}
    first = _first_line(text)
    return {c.strip().strip('"'): "" for c in first.split(_separator(first))}


def has_decimal_commas(tree: Tree, table: str) -> bool:
    """Return whether a comma in a cell may be a decimal comma: where columns are separated by something else."""
    if table.lower().endswith(".jsonl"):
        return False
    try:
        return _separator(_first_line(head_text(tree.content(table)))) != ","
    except UnreadableImageError:
        return False


def _first_line(text: str) -> str:
    lines = (line for line in text.splitlines() if line.strip() and line[:4].lower() != "sep=")
    return next(lines, "")


def _separator(first: str) -> str:
    """Return what separates the columns of a table, by its first line."""
    return max(",;\t", key=first.count)


def names_images(tree: Tree, table: str, images: Images) -> bool:
    """Return whether a table has columns that may be of the path and the label, and names an image that is there."""
    try:
        rows = list(itertools.islice(table_rows(tree, table), _TRIED))
    except DatasetError:
        return False
    if not rows:
        return False
    path_key, label_key = _columns(rows[0][1])
    if path_key is None or label_key is None:
        return False
    near = posixpath.dirname(table)
    return any(images.find(row[path_key], near=near) is not None for _, row in rows if row[path_key])


def names_an_image(rows: Sequence[Mapping[str, object]], table: str, images: Images) -> bool:
    """Return whether one of the first rows of a table names an image that is there."""
    path = path_column(rows[0]) if rows else None
    near = posixpath.dirname(table)
    return path is not None and any(
        images.find(str(row[path]), near=near) is not None for row in rows[:_TRIED] if row.get(path)
    )


def path_column(row: Iterable[str]) -> str | None:
    """Return the column of a row that names an image."""
    return column_of(row, (*PATH_COLUMNS, *_OTHER_PATHS))


def _columns(row: dict[str, str]) -> tuple[str | None, str | None]:
    path = path_column(row)
    rest = {k: v for k, v in row.items() if k != path}
    return path, column_of(rest, (*LABEL_COLUMNS, *_OTHER_LABELS))


def _image(
    tree: Tree,
    known: set[str],
    folders: set[str],
    images: Images,
    path: str,
    folder: str,
    split: SplitName | None,
) -> str | None:
    """Return the image that a table in `folder` calls `path`."""
    called = path.replace("\\", "/")
    name = posixpath.normpath(posixpath.join(folder, called))
    if name in known or _lies_elsewhere(tree, name):
        return name
    if "/" in called and posixpath.dirname(name) in folders:
        # It is missing from a folder that is there; one of that name elsewhere is another image.
        return None
    return images.find(called, near=folder, split=split)


def _first_repeat(values: Iterable[Any]) -> Any:
    seen = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None
