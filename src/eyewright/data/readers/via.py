"""Read VGG Image Annotator 1 and 2: a project's or an annotations' JSON, and the CSV."""

__all__ = ["is_via", "is_via_table", "read_via"]

import csv
import io
import math
import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from eyewright.core.errors import DatasetError, plain_reason
from eyewright.core.quoting import quoted
from eyewright.data.readers.gathering import Gathered, rotated
from eyewright.data.readers.listing import BAD_JSON, Found, Images, Row, TextLines, number
from eyewright.data.targets.objects import Outline
from eyewright.data.texts import decode_text, json_reason
from eyewright.data.tree import Tree

_TURN_POINTS = 64
_NO_CLASS = "object"
# The names that people give the attribute that holds the class, the likeliest first.
_LABELS = ("label", "class", "class_name", "classname", "category", "name", "type", "object", "object_name", "species")
_COLUMNS = ("filename", "region_shape_attributes", "region_attributes")


@dataclass(frozen=True)
class _Region:
    called: str
    line: int
    shape: Any
    attributes: Any


class _File(msgspec.Struct):
    filename: str
    regions: list[Any] | dict[str, Any] = []


def is_via(data: bytes) -> bool:
    """Return whether a JSON file is a project of VIA 2, or annotations of VIA 1 or 2."""
    if b'"filename"' not in data or b'"regions"' not in data:
        return False
    try:
        return any(True for _ in _files(data))
    except BAD_JSON:
        return False


def is_via_table(text: str) -> bool:
    """Return whether a CSV that begins with `text` is VIA's."""
    header = [c.strip().strip('"').lstrip("#").lower() for c in text.partition("\n")[0].split(",")]
    return all(c in header for c in _COLUMNS)


def read_via(tree: Tree, files: Sequence[str], images: Images) -> Found:
    """Read VIA's files. Points and polylines are left out, and said.

    The class is the attribute of regions that is called label, class, name or type, or else the one that most regions
    have. Where no region has any attribute there is one class, "object".

    Raises:
        DatasetError: a file that is not JSON or not CSV.
    """
    gathered = Gathered("via", images)
    read: list[tuple[str, list[tuple[str, int, list[_Region]]]]] = []
    for path in files:
        data = tree.content(path)
        try:
            entries = list(_rows(decode_text(data)) if path.lower().endswith((".csv", ".tsv")) else _entries(data))
        except BAD_JSON as error:
            raise DatasetError(
                f"{quoted(path)} is not JSON: {json_reason(error)}", fix="export the annotations again"
            ) from None
        except (DatasetError, csv.Error) as error:
            raise DatasetError(f"{quoted(path)}: {plain_reason(error)}", fix="export the annotations again") from None
        read.append((path, entries))
    attribute, notes = _class_attribute([r.attributes for _, entries in read for _, _, own in entries for r in own])
    for path, entries in read:
        lines = TextLines(path)
        for called, line, regions in entries:
            rows = [row for region in regions for row in _row(region, attribute, gathered, path)]
            gathered.add(called, rows, lines, line=line)
    return gathered.found(files, notes=notes, unlabelled="add it to the VIA project, or remove it")


def _files(data: bytes) -> Iterator[tuple[msgspec.Raw, _File]]:
    top = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    if "_via_img_metadata" in top:
        top = msgspec.json.decode(top["_via_img_metadata"], type=dict[str, msgspec.Raw])
    for raw in top.values():
        yield raw, msgspec.json.decode(raw, type=_File)


def _entries(data: bytes) -> Iterator[tuple[str, int, list[_Region]]]:
    start = np.frombuffer(data, np.uint8).ctypes.data
    newlines = np.flatnonzero(np.frombuffer(data, np.uint8) == 10)
    for raw, file in _files(data):
        offset = np.frombuffer(memoryview(raw), np.uint8).ctypes.data - start
        line = int(np.searchsorted(newlines, offset)) + 1
        # VIA 1 numbers the regions, VIA 2 lists them.
        regions = list(file.regions.values()) if isinstance(file.regions, dict) else file.regions
        yield file.filename, line, [_region(file.filename, line, r) for r in regions]


def _region(called: str, line: int, region: Any) -> _Region:
    content = region if isinstance(region, Mapping) else {}
    return _Region(called, line, content.get("shape_attributes"), content.get("region_attributes"))


def _rows(text: str) -> Iterator[tuple[str, int, list[_Region]]]:
    """Read the CSV: a line a region; an image without any has one line, whose region is empty."""
    separator = "\t" if text.partition("\n")[0].count("\t") >= len(_COLUMNS) - 1 else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    header = [c.strip().lstrip("#").lower() for c in next(reader, [])]
    if not all(c in header for c in _COLUMNS):
        raise DatasetError(f"expected the columns {', '.join(_COLUMNS)}, found {', '.join(header)}")
    at = [header.index(c) for c in _COLUMNS]
    found: dict[str, tuple[int, list[_Region]]] = {}
    for row in reader:
        if not any(row):
            continue
        called, shape, attributes = (row[i] if i < len(row) else "" for i in at)
        own = found.setdefault(called, (reader.line_num, []))[1]
        if shape.strip() not in ("", "{}"):
            own.append(_Region(called, reader.line_num, _content(shape), _content(attributes or "{}")))
    for called, (line, regions) in found.items():
        yield called, line, regions


def _content(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except BAD_JSON:
        return None


def _class_attribute(given: Sequence[Any]) -> tuple[str | None, list[str]]:
    """Choose the attribute that holds the class, and say which where there was a choice."""
    counts = Counter(k for a in given if isinstance(a, Mapping) for k, v in a.items() if _word(v))
    if not counts:
        text = f"no region has an attribute, so all are of one class, {_NO_CLASS!r}"
        return None, [text] if given else []
    named = sorted((_LABELS.index(k.lower()), k) for k in counts if k.lower() in _LABELS)
    chosen = named[0][1] if named else counts.most_common(1)[0][0]
    if len(counts) == 1:
        return chosen, []
    others = ", ".join(repr(k) for k in sorted(counts) if k != chosen)
    return chosen, [f"the class is the attribute {chosen!r}; not read: {others}"]


def _word(value: Any) -> str:
    """Return the class that an attribute's value says: a text or a number, or the option that is ticked."""
    if isinstance(value, Mapping):
        ticked = [k for k, on in value.items() if on is True or str(on).lower() in ("true", "1")]
        return ticked[0] if len(ticked) == 1 else ""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value).strip()
    return ""


def _row(region: _Region, attribute: str | None, gathered: Gathered, path: str) -> list[Row]:
    shape = region.shape
    kind = str(shape.get("name", "")) if isinstance(shape, Mapping) else ""
    what = f"{kind or 'region'} of {posixpath.basename(region.called)!r}"
    try:
        if not isinstance(shape, Mapping) or not kind:
            raise DatasetError("its shape_attributes cannot be read")
        if kind in ("point", "polyline"):
            fix = "draw a rectangle or polygon"
            gathered.leave_out(what, "it has no area that can be marked", fix, path, region.line, warn=True)
            return []
        label = _NO_CLASS
        if attribute is not None:
            attributes = region.attributes if isinstance(region.attributes, Mapping) else {}
            label = _word(attributes.get(attribute))
            if not label:
                raise DatasetError(f"its attribute {attribute!r} does not say one class")
        box, outline = _shape(kind, shape)
    except KeyError as error:
        gathered.leave_out(what, f"it has no {error}", "draw it again", path, region.line)
        return []
    except (DatasetError, ValueError, TypeError, OverflowError) as error:
        why = error.message if isinstance(error, DatasetError) else str(error)
        gathered.leave_out(what, why, "fix or remove it", path, region.line)
        return []
    return [(box, gathered.label(label), False, outline, region.line)]


def _shape(kind: str, given: Mapping[str, Any]) -> tuple[list[float], Outline | None]:
    if kind == "rect":
        x, y, w, h = (number(given[k]) for k in ("x", "y", "width", "height"))
        return [x, y, x + w, y + h], None
    if kind in ("polygon", "polyline"):
        xs, ys = ([number(v) for v in given[k]] for k in ("all_points_x", "all_points_y"))
        if len(xs) != len(ys) or len(xs) < 3:
            raise DatasetError(f"expected 3 points or more, found {len(xs)} x and {len(ys)} y")
        points = np.stack([xs, ys], 1)
    elif kind in ("circle", "ellipse"):
        cx, cy = number(given["cx"]), number(given["cy"])
        rx = number(given["r"] if kind == "circle" else given["rx"])
        ry = rx if kind == "circle" else number(given["ry"])
        angle = np.linspace(0, 2 * math.pi, _TURN_POINTS, endpoint=False)
        points = np.stack([cx + rx * np.cos(angle), cy + ry * np.sin(angle)], 1)
        points = rotated(points, (cx, cy), math.degrees(number(given.get("theta", 0))))
    else:
        raise DatasetError(f"expected rect, polygon, circle or ellipse, found {kind[:40]!r}")
    return [*points.min(0).tolist(), *points.max(0).tolist()], Outline((points,))
