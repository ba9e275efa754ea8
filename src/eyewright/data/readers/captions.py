"""Read images with captions: tables as Hugging Face and Flickr have them, COCO's captions, or images without any."""

__all__ = [
    "CAPTION_FORMATS",
    "caption_table",
    "has_captions",
    "read_caption_tables",
    "read_captions",
    "read_coco_captions",
]

import contextlib
import csv
import io
import json
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from eyewright.core.errors import DatasetError, UnreadableImageError, UsageError
from eyewright.core.labels import LabelSpace
from eyewright.core.ngrams import LONGEST, TextPreparation, plain_text
from eyewright.core.report import Finding
from eyewright.data.account import Account, Reason
from eyewright.data.dataset import Dataset, Sample, SplitName
from eyewright.data.readers.naming import EXTENSIONS, SPLITS, Images, split_of
from eyewright.data.readers.plain import head_text
from eyewright.data.tables import LABEL_COLUMNS, TableRow, TableRows, column_of, head_columns, json_rows, path_column
from eyewright.data.targets.captions import NUMBER_NAMES, Captions
from eyewright.data.texts import decode_text, plain_json
from eyewright.data.tree import Tree

CAPTION_FORMATS = MappingProxyType(
    {
        "coco-captions": "COCO's captions: JSON with images and annotations of image_id and caption",
        "flickr": "Flickr's captions: image,caption or image|comment_number|comment, one caption per line",
        "images": "images without annotations, for self-supervised models",
    }
)
"""Formats of captions by name, with what each looks like; tables of Hugging Face and CSV have others' names."""

_TEXT_COLUMNS = ("caption", "captions", "text", "texts", "comment", "comments", "sentence", "sentences", "description")
_BARE = ("path", "caption")
_TABLES = (".csv", ".tsv", ".jsonl", ".txt")
# Flickr8k.token.txt: the image, the number of the caption, a tab, the caption.
_TOKEN = re.compile(r"^(\S.*?)#\d+\t(.*)$")
_FIRST_TOKEN = re.compile(r"^\S+\.[A-Za-z]{3,4}#\d+\t")
_LOOKED_AT = 20
_PLAIN = TextPreparation(length=1)

Row = tuple[int, Mapping[str, str], list[str] | None]
"""The number of a line, its cells, and its captions: None where there is none. A line that cannot be read has no cells,
and its text in place of captions."""


class _Gathered:
    """Captions by image, and what becomes of each."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self.rows: dict[str, TableRow] = {}
        self.problems: list[Finding] = []
        self._seen: dict[str, set[str]] = {}

    def add(self, row: TableRow, texts: Sequence[str] | None, listed: TableRows, table: str, line: int) -> None:
        """Keep the captions that a line has of an image.

        Raises:
            DatasetError: another line puts the image into another part.
        """
        first = self.rows.setdefault(row.name, row)
        if row.split != first.split:
            raise DatasetError(
                f"{row.name!r} is in {first.split or 'no part'} and, in {table!r} line {line}, in "
                f"{row.split or 'no part'}",
                fix="put all captions of an image into one part",
            )
        own = self.texts.setdefault(row.name, [])
        if not texts:
            self._missing(listed, row.name, table, line)
        for text in texts or ():
            text = unicodedata.normalize("NFC", text).strip()
            if not _has_word(text):
                self._missing(listed, row.name, table, line)
                continue
            if len(text) > LONGEST:
                said = f"the caption has {len(text):,} characters, of which the first {LONGEST:,} are used"
                listed.reduce(f"captions longer than {LONGEST:,} characters", table, line)
                self.problems.append(Finding("caption_long", said, "shorten it", row.name, None))
                text = text[:LONGEST]
            plain = plain_text(text)
            if plain in self._seen.setdefault(row.name, set()):
                listed.drop("the same caption twice for one image", table, line)
                continue
            self._seen[row.name].add(plain)
            own.append(text)

    def bad_line(self, listed: TableRows, table: str, line: int, found: str) -> None:
        """Note a line that is not as those around it."""
        listed.drop("expected image#number, a tab and a caption", table, line)
        text = f"expected image#number, a tab and a caption in {table!r} line {line}, found {found[:40]!r}"
        self.problems.append(Finding("caption_line", text, "correct it, or remove the line", table, line))

    def _missing(self, listed: TableRows, name: str, table: str, line: int) -> None:
        listed.drop("a caption without a word", table, line)
        text = f"expected a caption in {table!r} line {line}, found an empty one"
        self.problems.append(Finding("caption_missing", text, "write one, or remove the line", name))


def has_captions(tree: Tree, names: Sequence[str]) -> bool:
    """Return whether tables that are there hold captions and no label, so that nothing else can be meant."""
    tables = [n for n in names if n.lower().endswith((".csv", "metadata.jsonl"))]
    texts = [n for n in names if n.lower().endswith(".txt")]
    return any(_is_table(tree, n, strict=True) for n in tables[:8]) or any(
        _is_flickr(tree, n) for n in [*tables[:8], *texts[:8]]
    )


def caption_table(tree: Tree, names: Sequence[str]) -> str | None:
    """Return the first table whose columns may be of images and captions; it may hold other texts too."""
    tables = [n for n in names if n.lower().endswith(_TABLES)]
    return next((n for n in tables[:8] if _is_table(tree, n)), None)


def read_captions(tree: Tree, names: Sequence[str], task: str) -> Dataset | None:
    """Read captions from tables or COCO's JSON, or images without any; None where folders may be classes.

    Raises:
        DatasetError: a file that is not as expected, by file and line.
    """
    tables = [n for n in names if n.lower().endswith(_TABLES) and _is_table(tree, n)]
    metadata = [n for n in tables if posixpath.basename(n) in ("metadata.csv", "metadata.jsonl")]
    if metadata:
        return read_caption_tables(tree, names, metadata, "hf-imagefolder", task)
    if tables:
        return read_caption_tables(tree, names, tables, "", task)
    files = [n for n in names if n.lower().endswith(".json") and _is_coco_captions(tree, n)]
    if files:
        return read_coco_captions(tree, names, files, task)
    _refuse_unread(tree, names)
    return _read_bare(tree, names, task)


def read_caption_tables(tree: Tree, names: Sequence[str], tables: Sequence[str], format: str, task: str) -> Dataset:
    """Read tables of captions: a row per image with one caption or a list, or a row a caption.

    Columns: the path, and `caption`, `text`, `comment` or their plural; a list is JSON's, in a cell or in a line of
    JSON. `split` and `group` are read as in every table.

    Raises:
        DatasetError: a table that is not as expected (file and line).
    """
    listed, kept = TableRows(tree, names), _Gathered()
    kinds = set()
    for table in tables:
        for line, cells, texts in _rows(tree, table):
            if not cells:
                kept.bad_line(listed, table, line, "".join(texts or ()))
                continue
            path = path_column(cells)
            column = column_of([c for c in cells if c != path], _TEXT_COLUMNS)
            if path is None or column is None:
                raise DatasetError(
                    f"expected columns for the path and the caption in {table!r} line {line}, found {', '.join(cells)}",
                    fix="name them 'file_name' and 'text'",
                )
            kinds.add(column)
            one = listed.read(table, line, cells, path, column, "comment_number", "shortcodes")
            if one is not None:
                kept.add(one, texts, listed, table, line)
    flickr = any(c in ("comment",) for c in kinds) or any(t.endswith(".txt") for t in tables)
    used = [n for n, texts in kept.texts.items() if texts]
    listed.check(used, tables, "file_name,text")
    samples = [
        Sample(r.name, Captions(tuple(kept.texts[n])), r.split, r.group, r.meta)
        for n, r in kept.rows.items()
        if kept.texts[n]
    ]
    dataset = listed.dataset(samples, LabelSpace(NUMBER_NAMES), format or ("flickr" if flickr else "csv"), task, tables)
    return _accounted(dataset, kept, [n for n, texts in kept.texts.items() if not texts])


def _refuse_unread(tree: Tree, names: Sequence[str]) -> None:
    """Read the files that look like captions and were not taken for them, for what is wrong.

    Raises:
        DatasetError: one cannot be read (file and line): images alone would be learnt from, without a message.
    """
    for name in names:
        if name.lower().endswith(_TABLES):
            columns = head_columns(tree, name)
            path = path_column(columns)
            if path is not None and column_of([c for c in columns if c != path], _TEXT_COLUMNS) is not None:
                for _ in _rows(tree, name):
                    pass
        elif name.lower().endswith(".json"):
            with contextlib.suppress(UnreadableImageError):
                _coco(tree, name)


def _accounted(dataset: Dataset, kept: _Gathered, empty: Sequence[str]) -> Dataset:
    """Return the dataset whose account counts captions, and names the images that have none."""
    account = replace(dataset.account, read=sum(len(t) for t in kept.texts.values()))
    if empty:
        account = replace(account, left_out=(*account.left_out, Reason("it has no caption", len(empty), empty[0])))
    return replace(dataset, problems=(*dataset.problems, *kept.problems), account=account)


def _rows(tree: Tree, table: str) -> Iterator[Row]:
    """Yield the lines of a table: number, cells as text, and the captions; None where there is none."""
    odd = _odd_rows(tree, table)
    if odd is not None:
        yield from odd
        return
    for line, row in json_rows(tree, table, _BARE):
        cells = {k: "" if v is None else v if isinstance(v, str) else json.dumps(v) for k, v in row.items()}
        path = path_column(cells)
        column = column_of([c for c in cells if c != path], _TEXT_COLUMNS)
        yield line, cells, None if column is None else _texts_of(row[column], table, line)


def _texts_of(value: object, table: str, line: int) -> list[str] | None:
    if isinstance(value, str) and value.lstrip().startswith('["'):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return [str(value)]
    if value is None:
        return None
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(v, str) for v in value):
        return list(value)
    raise DatasetError(
        f"expected a caption or a list of them in {table!r} line {line}, found {json.dumps(value)[:40]}",
        fix="write text in quotes",
    )


def _odd_rows(tree: Tree, table: str) -> list[Row] | None:
    """Return the lines of a table that is parted by bars, or of Flickr8k's tokens; None for any other."""
    if table.lower().endswith(".jsonl"):
        return None
    text = decode_text(tree.content(table), table)
    lines = text.splitlines()
    first = lines[0] if lines else ""
    if any(_FIRST_TOKEN.match(each) for each in lines[:_LOOKED_AT]):
        rows: list[Row] = []
        for n, each in enumerate(lines, 1):
            found = _TOKEN.match(each)
            if found:
                rows.append((n, {"image": found[1], "caption": found[2]}, [found[2]]))
            elif each.strip():
                rows.append((n, {}, [each]))
        return rows
    if table.lower().endswith(".txt") and _is_pair(first):
        return _pairs(text, first)
    if "|" not in first or any(s in first for s in ",;\t"):
        return None
    heads = [h.strip() for h in first.split("|")]
    rows = []
    for n, each in enumerate(lines[1:], 2):
        if each.strip():
            # A caption, which comes last, may hold a bar; a line that is cut short has none.
            cells = [c.strip() for c in each.split("|", len(heads) - 1)]
            row = dict(zip(heads, [*cells, *[""] * (len(heads) - len(cells))], strict=True))
            rows.append((n, row, [cells[-1]] if len(cells) == len(heads) else None))
    return rows


def _is_pair(first: str, wanted: Sequence[str] = _TEXT_COLUMNS) -> bool:
    """Return whether the first line of a text names two columns, the path and the caption, as Kaggle's Flickr8k."""
    heads = [h.strip() for h in first.split(",")]
    return len(heads) == 2 and path_column(heads[:1]) is not None and column_of(heads[1:], wanted) is not None


def _pairs(text: str, first: str) -> list[Row]:
    """Return the lines of a table of two columns; a caption, which comes last, may hold commas without quotes."""
    heads = [h.strip() for h in first.split(",")]
    rows: list[Row] = []
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        next(reader)
        for cells in reader:
            if any(c.strip() for c in cells):
                caption = ",".join(cells[1:]).strip()
                row = {heads[0]: cells[0].strip(), heads[1]: caption}
                rows.append((reader.line_num, row, [caption] if len(cells) > 1 else None))
    except csv.Error as error:
        raise DatasetError(f"cannot read line {reader.line_num} of captions: {error}", fix="correct the line") from None
    return rows


def _is_flickr(tree: Tree, table: str) -> bool:
    """Return whether a table is laid out as Flickr8k's or Flickr30k's captions, which nothing else is."""
    try:
        lines = head_text(tree.content(table)).splitlines()[:_LOOKED_AT]
    except (DatasetError, UnreadableImageError):
        return False
    first = lines[0] if lines else ""
    numbered = "|" in first and "comment_number" in first.replace(" ", "")
    return any(_FIRST_TOKEN.match(each) for each in lines) or _is_pair(first, ("caption", "captions")) or numbered


def _is_table(tree: Tree, table: str, *, strict: bool = False) -> bool:
    """Return whether the first line of a table has columns of paths and captions; if `strict`, and of no label."""
    if posixpath.basename(table).lower() in ("readme.txt", "license.txt"):
        return False
    try:
        cells = next(cells for _, cells, _ in _rows(tree, table) if cells)
    except (StopIteration, DatasetError, UnreadableImageError):
        return False
    path = path_column(cells)
    rest = [c for c in cells if c != path]
    if strict and column_of(rest, LABEL_COLUMNS) is not None:
        return False
    if strict and any(posixpath.splitext(c)[1].lower() in EXTENSIONS for c in head_columns(tree, table)):
        # Without a header nobody says that the second column is a caption and no class.
        return False
    wanted = ("caption", "captions", "text") if strict else _TEXT_COLUMNS
    return path is not None and column_of(rest, wanted) is not None


def _has_word(text: str) -> bool:
    try:
        return bool(_PLAIN.numbers(text))
    except UsageError:
        return False


def _is_coco_captions(tree: Tree, name: str) -> bool:
    try:
        return _coco(tree, name) is not None
    except (DatasetError, UnreadableImageError):
        return False


def _coco(tree: Tree, name: str) -> Mapping[str, Any] | None:
    """Return a file of COCO's captions; None for any other JSON."""
    data = plain_json(tree.content(name)).data
    if b'"caption"' not in data:
        return None
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{name!r} is not JSON: {error}", fix="export it again") from None
    right = isinstance(found, dict) and all(isinstance(found.get(k), list) for k in ("images", "annotations"))
    return found if right else None


def read_coco_captions(tree: Tree, names: Sequence[str], files: Sequence[str], task: str) -> Dataset:
    """Read COCO's captions, a file a part of the dataset or all in one.

    Raises:
        DatasetError: none of the images is there, or the file is of another kind.
    """
    listed, kept = TableRows(tree, names), _Gathered()
    for name in files:
        content = _coco(tree, name)
        if content is None:
            raise DatasetError(f"{name!r} holds no captions of COCO", fix="see eyewright formats")
        split = split_of(name)
        called = {i.get("id"): i.get("file_name") for i in content["images"] if isinstance(i, dict)}
        for line, one in enumerate(content["annotations"], 1):
            own = one if isinstance(one, dict) else {}
            file = called.get(own.get("image_id"))
            if not isinstance(file, str):
                listed.drop("a caption of an image that is not listed", name, line)
                continue
            row = listed.read(name, line, {"file_name": file, **({"split": split} if split else {})}, "file_name")
            text = own.get("caption")
            if row is not None:
                kept.add(row, [text] if isinstance(text, str) else None, listed, name, line)
    used = [n for n, texts in kept.texts.items() if texts]
    listed.check(used, files, "images and captions")
    samples = [Sample(n, Captions(tuple(kept.texts[n])), kept.rows[n].split) for n in used]
    dataset = listed.dataset(samples, LabelSpace(NUMBER_NAMES), "coco-captions", task, files)
    return _accounted(dataset, kept, [n for n, texts in kept.texts.items() if not texts])


def _read_bare(tree: Tree, names: Sequence[str], task: str) -> Dataset | None:
    """Read images that lie in one folder, or in train, val and test: there is nothing that they could be called."""
    images = Images(names).names
    parts: dict[str, SplitName | None] = {}
    folders: Counter[str] = Counter()
    for name in images:
        steps = name.split("/")[:-1]
        split = next((SPLITS[s.lower()] for s in steps if s.lower() in SPLITS), None)
        parts[name] = split
        folders["/".join(s for s in steps if s.lower() not in SPLITS)] += 1
    if not images or len(folders) > 1:
        return None
    if set(parts.values()) - {None} and None in parts.values():
        parts = dict.fromkeys(parts)
    samples = tuple(Sample(n, Captions(), split) for n, split in parts.items())
    skipped = tuple(n for n in names if posixpath.splitext(n)[1].lower() not in EXTENSIONS)
    notes = ("there are no captions: embeddings are learnt from the images alone",)
    return Dataset(
        tree, samples, LabelSpace(NUMBER_NAMES), "images", task, notes=notes, skipped=skipped, account=Account(0)
    )
