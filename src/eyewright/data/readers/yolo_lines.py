"""The lines of YOLO's label files: boxes, polygons and poses, in fractions of the image's sides."""

__all__ = ["LabelFile", "Layout", "layout_of", "named_ids", "read_lines", "rows_of"]

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from eyewright.data.readers.listing import Notes, Row, is_coordinate
from eyewright.data.targets.objects import Outline
from eyewright.data.texts import decode_text, word
from eyewright.data.tree import Tree

# Beyond this no number is a fraction of a side, however far its box reaches outside.
_MOST = 2.0
_PERCENT = 100.5
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")


class LabelFile(NamedTuple):
    """The lines of one label file that hold anything: number, text, its numbers (None where it holds others), and in
    which other way than the format has it they are written, if they are."""

    path: str
    lines: tuple[tuple[int, str, tuple[float, ...] | None, str], ...]


class Layout(NamedTuple):
    """What the lines of a dataset mean: `key_points` (how many, numbers each), and the number of classes if it is
    known."""

    key_points: tuple[int, int] | None
    n_classes: int | None


def read_lines(tree: Tree, path: str, classes: Sequence[str] = ()) -> LabelFile:
    """Return the lines of a label file. A line that begins with the name of one of `classes` is of that class.

    Raises:
        DatasetError: it is not text.
    """
    lines = []
    ids = named_ids(classes)
    for number, line in enumerate(decode_text(tree.content(path), path).splitlines(), 1):
        if line.strip():
            words, odd = _words(line)
            try:
                words, odd = _numbered(words, odd, ids)
                values: tuple[float, ...] | None = tuple(float(w) for w in words)
            except ValueError:
                values = None
            if values is not None and not (values and all(map(is_coordinate, values))):
                values = None
            lines.append((number, line.strip(), values, odd))
    return LabelFile(path, tuple(lines))


def named_ids(names: Sequence[str]) -> Mapping[str, int]:
    """Return the place of each class by its name, in the form in which names are compared; of none that is not unique.

    >>> dict(named_ids(["Cat", "dog", "DOG"]))
    {'cat': 0}
    """
    keys = [(word(name) or "").casefold() for name in names]
    return {key: place for place, key in enumerate(keys) if key and keys.count(key) == 1}


def _numbered(words: list[str], odd: str, ids: Mapping[str, int]) -> tuple[list[str], str]:
    """Return the words with the id of a class in place of its name, which may be several words."""
    if not ids or not words or _is_number(words[0]):
        return words, odd
    n = next((k for k, w in enumerate(words) if _is_number(w)), len(words))
    place = ids.get((word(" ".join(words[:n])) or "").casefold())
    return (words, odd) if place is None else ([str(place), *words[n:]], "a class that is given by its name")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _words(line: str) -> tuple[list[str], str]:
    """Return the words of a line, and what else than blanks is between them. `0 0,5 0,5` has commas for points."""
    odd = "numbers with commas or semicolons"
    words = line.split()
    if "," not in line and ";" not in line:
        return words, ""
    if "." not in line and len(words) >= 5 and all(_DECIMAL_COMMA.fullmatch(w) for w in words[1:] if "," in w):
        return [w.replace(",", ".") for w in words], odd
    return line.replace(",", " ").replace(";", " ").split(), odd


def layout_of(given: object, files: Iterable[LabelFile], n_classes: int | None) -> Layout:
    """Return what the lines mean: key points as `kpt_shape` says; or where it says nothing, as the lines show.

    Without `kpt_shape` lines are poses where all have the same number of numbers, one box and then threes of x, y and a
    visibility of 0, 1 or 2, with a 2 among them: no polygon has such a coordinate.
    """
    try:
        n, each = (int(str(v)) for v in given) if isinstance(given, Sequence) and not isinstance(given, str) else (0, 0)
    except ValueError:
        n, each = 0, 0
    if n > 0 and each in (2, 3):
        return Layout((n, each), n_classes)
    lengths: set[int] = set()
    seen: set[float] = set()
    for file in files:
        for _, _, values, _ in file.lines:
            if values is None:
                continue
            lengths.add(len(values))
            seen.update(values[7::3])
            if len(lengths) > 1 or not seen <= {0.0, 1.0, 2.0}:
                return Layout(None, n_classes)
    length = next(iter(lengths), 0)
    if length >= 8 and (length - 5) % 3 == 0 and 2.0 in seen:
        return Layout(((length - 5) // 3, 3), n_classes)
    return Layout(None, n_classes)


def _may_be_percent(file: LabelFile) -> bool:
    """Return whether no box of a file reaches beyond 100: its numbers may be per cent of the image's sides."""
    boxes = [values[1:5] for _, _, values, _ in file.lines if values is not None and len(values) >= 5]
    return all(0 <= v <= _PERCENT for x, y, w, h in boxes for v in (x + w / 2, y + h / 2))


def rows_of(file: LabelFile, layout: Layout, notes: Notes) -> list[Row]:
    """Return the objects of one label file; what cannot be used is said by line."""
    rows: list[Row] = []
    for line, text, values, odd in file.lines:
        reason, code, fix = "", "annotation", "fix or remove the line"
        row = None
        if values is None or not values or values[0] != int(values[0]):
            reason = "expected a class id and numbers"
            message = f"{reason}, found {text[:60]!r}; it is left out"
        elif values[0] < 0 or (layout.n_classes is not None and values[0] >= layout.n_classes):
            last = "0 or more" if layout.n_classes is None else f"0 to {layout.n_classes - 1}"
            reason, code = "a class id that is out of range", "class_id"
            message = f"class id {int(values[0])} is out of range; it is left out"
            fix = f"use {last}, or name the class in data.yaml"
        else:
            row = _row(values, layout, line)
            if row is None:
                reason = "lines with neither the values of a box nor those of a polygon"
                wanted = "5 numbers for a box or 7 and more for a polygon"
                if layout.key_points is not None:
                    n, each = layout.key_points
                    wanted = f"5 numbers for a box or {5 + n * each} with its {n} key points"
                message = f"expected {wanted}, found {len(values)}; it is left out"
            elif max(abs(v) for v in (*row[0], *values[1:5])) > _MOST:
                reason, code = (
                    "numbers that are pixels or per cent, where fractions of the image's sides are expected",
                    "box_outside",
                )
                shown = " ".join(f"{v:g}" for v in values[1:5])
                message = f"the numbers {shown} are pixels, not fractions of the image's sides; it is left out"
                fix = "divide x and width by the image's width, y and height by its height"
                if _may_be_percent(file):
                    message = message.replace("are pixels", "are per cent or pixels")
                    fix = f"divide per cent by 100; of pixels, {fix}"
        if values is None or row is None or reason:
            notes.drop(reason, fix, file.path, line, message=message, code=code,
                       together=code == "box_outside")  # fmt: skip
            continue
        if odd:
            notes.repair(odd, "write a class id and numbers with blanks between them", file.path, line)
        if layout.key_points is not None and len(values) > 6:
            notes.reduce("key points, which are not read", "nothing, if boxes are what you need", file.path, line)
        elif len(values) == 6:
            notes.repair("a sixth number, such as a score, which is not used", "nothing", file.path, line)
        notes.read += 1
        rows.append(row)
    return rows


def _row(values: Sequence[float], layout: Layout, line: int) -> Row | None:
    """Return the object of one line; None where the line has a number of numbers that no object has."""
    label = int(values[0])
    posed = layout.key_points
    if len(values) in (5, 6) or (posed is not None and len(values) == 5 + posed[0] * posed[1]):
        x, y, w, h = values[1:5]
        return (x - w / 2, y - h / 2, x + w / 2, y + h / 2), label, False, None, line
    if posed is None and len(values) >= 7 and len(values) % 2:
        points = np.array(values[1:]).reshape(-1, 2)
        box = (*points.min(0).tolist(), *points.max(0).tolist())
        return box, label, False, Outline((points,), relative=True), line
    return None
