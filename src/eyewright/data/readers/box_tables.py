"""Read CSV files of boxes: TensorFlow's object detection, RetinaNet's, Open Images' and tables like them."""

__all__ = ["BoxTable", "box_table", "columns_of", "has_coordinates", "read_box_tables"]

import csv
import io
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from eyewright.core.errors import DatasetError
from eyewright.core.quoting import quoted
from eyewright.data.dataset import SplitName
from eyewright.data.readers.gathering import Gathered, Size
from eyewright.data.readers.listing import EXTENSIONS, SPLITS, Found, Images, Row, TextLines, is_coordinate, split_of
from eyewright.data.texts import decode_text
from eyewright.data.tree import Tree

_NO_CLASS = "object"
_HEAD = 65536
_PATHS = (
    "filename", "imageid", "image", "imagename", "imgname", "imgid", "path", "imagepath", "filepath", "file", "img",
    "imgpath", "imagefilename", "imagefile", "frame", "framename", "fname", "name", "id",
)  # fmt: skip
_LABELS = (
    "class", "label", "labelname", "classname", "category", "categoryname", "target", "object", "objectname",
    "objectclass", "objecttype", "type", "species", "classid", "labelid", "categoryid", "name", "text",
)  # fmt: skip
_CORNERS = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x1", "y1", "x2", "y2"),
    ("x0", "y0", "x1", "y1"),
    ("minx", "miny", "maxx", "maxy"),
    ("left", "top", "right", "bottom"),
    ("xtl", "ytl", "xbr", "ybr"),
    ("bboxxmin", "bboxymin", "bboxxmax", "bboxymax"),
    ("bboxx1", "bboxy1", "bboxx2", "bboxy2"),
    ("boxxmin", "boxymin", "boxxmax", "boxymax"),
    ("xstart", "ystart", "xend", "yend"),
    ("startx", "starty", "endx", "endy"),
)
_SIDES = (
    ("x", "y", "w", "h"),
    ("x", "y", "width", "height"),
    ("left", "top", "width", "height"),
    ("xmin", "ymin", "width", "height"),
    ("xmin", "ymin", "w", "h"),
    ("bboxx", "bboxy", "bboxw", "bboxh"),
    ("bboxx", "bboxy", "bboxwidth", "bboxheight"),
    ("bboxleft", "bboxtop", "bboxwidth", "bboxheight"),
    ("boxx", "boxy", "boxw", "boxh"),
)
_CENTRES = (
    ("xcenter", "ycenter", "width", "height"),
    ("xcenter", "ycenter", "w", "h"),
    ("xcentre", "ycentre", "width", "height"),
    ("centerx", "centery", "width", "height"),
    ("cx", "cy", "width", "height"),
    ("cx", "cy", "w", "h"),
)
_FAR = ("xmax", "ymax", "x2", "y2", "right", "bottom", "maxx", "maxy", "xbr", "ybr")
_SINGLE = ("bbox", "boundingbox", "box", "bndbox")
_SIZES = (("imageheight", "imagewidth"), ("imgheight", "imgwidth"), ("imgh", "imgw"), ("height", "width"))
_SPLITS = ("split", "subset", "set", "partition", "usage", "dataset")
# Google's AutoML: SET,path,label,x0,y0,x1,y0,x1,y1,x0,y1.
_AUTOML = ("train", "training", "validate", "validation", "test", "unassigned", "")
_GROUP_OF = "isgroupof"
_MOSTLY = 0.9
_COORDINATE = re.compile(r"^(x|y)(min|max|1|2|0|tl|br|center|centre)$|^(?:min|max|center|c)(x|y)$")
_BOX = re.compile(r"^(bbox|boundingbox|bndbox|bboxes|boxes)")
_SPECIAL = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class BoxTable:
    """What the columns of a CSV of boxes mean: their places by role, and how the four numbers are to be read.

    `how` is "corners" (x0, y0, x1, y1), "sides" (x0, y0, width, height), "centres" (centre, width, height) or "single"
    (one column with x0, y0, width, height).
    """

    how: str
    path: int
    box: tuple[int, ...]
    label: int | None
    split: int | None = None
    size: tuple[int, int] | None = None
    crowd: int | None = None
    header: bool = True
    separator: str = ","


def box_table(text: str) -> BoxTable | None:
    """Return what the columns mean of the CSV that begins with `text`; None where it holds no boxes.

    >>> box_table("filename,width,height,class,xmin,ymin,xmax,ymax\\n").how
    'corners'
    >>> box_table("a/1.jpg,10,20,30,40,cat\\n").box
    (1, 2, 3, 4)
    >>> box_table("path,label\\n") is None
    True
    """
    text = text[:_HEAD]
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(",;\t", key=first.count)
    cells = next(csv.reader([first], delimiter=separator), [])
    at = {name: i for i, name in reversed(list(enumerate(_SPECIAL.sub("", c.lower()) for c in cells)))}
    path = next((at[n] for n in _PATHS if n in at), None)
    for how, choices in (("corners", _CORNERS), ("centres", _CENTRES), ("sides", _SIDES)):
        if how == "sides" and any(n in at for n in _FAR):
            # One of the far corner's numbers is missing, and width and height are the image's.
            continue
        names = next((c for c in choices if all(n in at for n in c)), None)
        if names is not None and path is not None:
            box = tuple(at[n] for n in names)
            return _described(at, how, path, box, separator)
    single = next((at[n] for n in _SINGLE if n in at), None)
    if single is not None and path is not None:
        return _described(at, "single", path, (single,), separator)
    return _bare(text, cells, separator)


def columns_of(text: str) -> list[str]:
    """Return the cells of the first line of a CSV that begins with `text`."""
    first = next((line for line in text[:_HEAD].splitlines() if line.strip()), "")
    separator = max(",;\t", key=first.count)
    try:
        return [c.strip() for c in next(csv.reader([first], delimiter=separator), [])]
    except csv.Error:
        return [first[:80]]


def has_coordinates(columns: Sequence[str]) -> bool:
    """Return whether columns describe boxes, even if incomplete: a box, or coordinates along both axes.

    >>> has_coordinates(["filename", "class", "xmin", "ymin"]), has_coordinates(["path", "label", "x1", "x2"])
    (True, False)
    """
    names = [_SPECIAL.sub("", c.lower()) for c in columns]
    found = [m for n in names if (m := _COORDINATE.match(n))]
    return {m[1] or m[3] for m in found} >= {"x", "y"} or any(_BOX.match(n) for n in names)


def _described(at: Mapping[str, int], how: str, path: int, box: tuple[int, ...], separator: str) -> BoxTable:
    taken = {path, *box}
    label = next((at[n] for n in _LABELS if n in at and at[n] not in taken), None)
    size = next(((at[h], at[w]) for h, w in _SIZES if h in at and w in at and not {at[h], at[w]} & taken), None)
    split = next((at[n] for n in _SPLITS if n in at and at[n] not in {*taken, label}), None)
    return BoxTable(how, path, box, label, split, size, at.get(_GROUP_OF), separator=separator)


def _bare(text: str, cells: Sequence[str], separator: str) -> BoxTable | None:
    """Recognise a table without a header, by its first lines: RetinaNet's and AutoML's."""
    lines = [row for row in csv.reader(text.splitlines()[:50], delimiter=separator) if any(row)]
    if len(cells) == 6 and _is_image(cells[0]):
        # Single lines may be wrong; half at least must be of one layout.
        filled = [r for r in lines if any(v.strip() for v in r[1:])]
        numbers = [[_is_number(v) for v in r[1:]] for r in filled if len(r) == 6 and _is_image(r[0])]
        last, first = sum(all(n[:4]) for n in numbers), sum(all(n[1:]) for n in numbers)
        if last and 2 * last >= max(len(filled), 2 * first):
            return BoxTable("corners", 0, (1, 2, 3, 4), 5, header=False, separator=separator)
        if first and 2 * first >= len(filled):
            return BoxTable("corners", 0, (2, 3, 4, 5), 1, header=False, separator=separator)
    if len(cells) == 11 and cells[0].strip().lower() in _AUTOML and _is_image(cells[1]):
        return BoxTable("corners", 1, (3, 4, 7, 8), 2, split=0, header=False, separator=separator)
    return None


def _is_image(text: str) -> bool:
    return posixpath.splitext(text.strip().replace("\\", "/"))[1].lower() in EXTENSIONS


def _is_number(text: str) -> bool:
    try:
        return is_coordinate(float(text))
    except ValueError:
        return False


@dataclass
class _Boxes:
    """The rows of one image in one table."""

    line: int
    rows: list[Row]
    split: SplitName | None = None
    stated: Size | None = None


def read_box_tables(tree: Tree, files: Sequence[str], names: Sequence[str], images: Images) -> Found:
    """Read tables of boxes, an image by its path, its name or its name without an extension.

    Corners are in pixels, or in fractions of the sides where nine of ten boxes of a table have no number above 1. A
    line of an image without numbers is of an image that shows nothing. Open Images' groups are ignore regions, and its
    codes of classes are replaced by their names where a table of them is there. Of tables that list the same image one
    that is of a part of the dataset (train, val, test) comes first.

    Raises:
        DatasetError: a table that is not UTF-8 or not CSV.
    """
    gathered = Gathered("csv-boxes", images)
    notes: list[str] = []
    tables: list[tuple[str, dict[str, _Boxes], bool]] = []
    codes = _codes(tree, names)
    seen: dict[str, str] = {}
    used = [c[0] for c in codes.values()]
    for path in sorted(files, key=lambda n: (split_of(n) is None, n)):
        try:
            text = decode_text(tree.content(path))
            table = box_table(text)
            if table is None:
                raise DatasetError("it has no columns for a box", fix="see eyewright formats")
            found, relative = _read(text, table, gathered, path, codes)
        except DatasetError as error:
            raise DatasetError(f"{quoted(path)}: {error.message}", fix=error.fix) from None
        except csv.Error as error:
            raise DatasetError(f"{quoted(path)} is not CSV: {error}", fix="export it again") from None
        if table.label is None:
            notes.append(f"{quoted(path)} has no column for the class, so all boxes are of one class, {_NO_CLASS!r}")
        if table.how == "single":
            notes.append(f"boxes of {quoted(path)} are read as x, y, width, height")
        tables.append((path, found, relative))
    for path, found, relative in tables:
        again: list[str] = []
        lost = 0
        for called, boxes in found.items():
            name = gathered.find(called, path, boxes.split)
            if name is not None and seen.setdefault(name, path) != path:
                again.append(name)
                lost += len(boxes.rows)
                continue
            gathered.add(
                called,
                boxes.rows,
                TextLines(path),
                line=boxes.line,
                split=boxes.split,
                stated=boxes.stated,
                relative=relative,
            )
        if again:
            text = f"{len(again)} images are in {seen[again[0]]!r} too, such as {again[0]!r}; they are read from there"
            reason, fix = "their image is in another table too", "remove one of the two tables"
            gathered.notes.drop(reason, fix, path, message=text, n=lost, severity="warning")
    return gathered.found({*files, *used}, notes=notes, unlabelled="list it in the table, or remove it")


def _read(
    text: str, table: BoxTable, gathered: Gathered, path: str, codes: Mapping[str, tuple[str, str]]
) -> tuple[dict[str, _Boxes], bool]:
    found: dict[str, _Boxes] = {}
    within: list[bool] = []
    for line, row in _lines(text, table):
        called = _cell(row, table.path)
        if not called:
            if any(c.strip() for c in row):
                gathered.leave_out("line", "it names no image", "fill it in or remove the line", path, line)
            continue
        own = found.setdefault(called, _Boxes(line, []))
        own.split = own.split or SPLITS.get(_split_word(_cell(row, table.split)))
        own.stated = own.stated or _size(row, table)
        numbers = [_cell(row, i) for i in table.box]
        label = _cell(row, table.label) if table.label is not None else _NO_CLASS
        if not any(numbers):
            # A line without a box is of an image that shows nothing; with a class it is a box that got lost.
            if label and table.label is not None:
                why = "it names a class and no box"
                gathered.leave_out(f"line of {called!r}", why, "fill in the box, or remove the class", path, line)
            continue
        try:
            if not label:
                raise DatasetError("it has no class")
            box, used = _box(numbers, table)
        except DatasetError as error:
            gathered.leave_out(f"box of {called!r}", error.message, "fix or remove the line", path, line)
            continue
        within.append(used <= 1.0001)
        label = codes[label][1] if label in codes else label
        own.rows.append((box, gathered.label(label), _cell(row, table.crowd) == "1", None, line))
    # One that is wrong must not make pixels of the others, which would all be specks in a corner.
    return found, bool(within) and sum(within) >= _MOSTLY * len(within)


def _lines(text: str, table: BoxTable) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=table.separator)
    waiting = table.header
    for row in reader:
        if not any(row):
            continue
        if waiting:
            waiting = False
            continue
        yield reader.line_num, row


def _cell(row: Sequence[str], at: int | None) -> str:
    return row[at].strip() if at is not None and at < len(row) else ""


def _split_word(text: str) -> str:
    return {"validate": "val"}.get(text.lower(), text.lower())


def _size(row: Sequence[str], table: BoxTable) -> Size | None:
    if table.size is None:
        return None
    height, width = (_cell(row, i) for i in table.size)
    if not (_is_number(height) and _is_number(width)):
        return None
    size = (int(float(height)), int(float(width)))
    return size if min(size) > 1 else None


def _box(numbers: Sequence[str], table: BoxTable) -> tuple[tuple[float, float, float, float], float]:
    """Return x0, y0, x1, y1 and the largest number that was given."""
    given = re.findall(r"[^\s,;\[\]()]+", numbers[0]) if table.how == "single" else list(numbers)
    if table.separator != ",":
        given = [v.replace(",", ".") for v in given]
    if len(given) != 4:
        raise DatasetError(f"expected 4 numbers, found {numbers[0][:40]!r}")
    bad = next((v for v in given if not _is_number(v)), None)
    if bad is not None:
        raise DatasetError(f"expected a number, found {bad[:40]!r}")
    a, b, c, d = (float(v) for v in given)
    largest = max(abs(v) for v in (a, b, c, d))
    if table.how == "corners":
        return (a, b, c, d), largest
    if table.how == "centres":
        return (a - c / 2, b - d / 2, a + c / 2, b + d / 2), largest
    return (a, b, a + c, b + d), largest


def _codes(tree: Tree, names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the names of Open Images' codes, such as /m/01g317, each with the table that says so."""
    found: dict[str, tuple[str, str]] = {}
    for name in names:
        if not name.lower().endswith(".csv") or "class" not in posixpath.basename(name).lower():
            continue
        try:
            rows = list(csv.reader(io.StringIO(decode_text(tree.content(name)), newline="")))
        except (DatasetError, csv.Error):
            continue
        for row in rows:
            if len(row) == 2 and row[0].startswith("/"):
                found[row[0].strip()] = (name, row[1].strip())
    return found
