"""Read LabelMe: one JSON file per image, with rectangles, polygons, circles and masks."""

__all__ = ["is_labelme", "read_labelme"]

import base64
import binascii
import math
import posixpath
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError, EyewrightError, UnreadableImageError
from eyewright.data.readers.listing import (
    BAD_JSON,
    Found,
    Images,
    Marked,
    Notes,
    Row,
    TextLines,
    number,
    objects_of,
    split_of,
)
from eyewright.data.targets.objects import Outline
from eyewright.data.texts import json_problem, plain_json, word
from eyewright.data.tree import Tree
from eyewright.imaging.decode import probe_image, read_labels
from eyewright.imaging.headers import Limits
from eyewright.imaging.rasters import encode_counts

_CIRCLE_POINTS = 64
_LINES = frozenset({"line", "linestrip", "point", "points", "polyline"})
_AREAS = frozenset({"polygon", "rectangle", "rotation", "oriented_rectangle", "quadrilateral"})


class _Shape(msgspec.Struct):
    label: Any = None
    points: Any = None
    shape_type: Any = "polygon"
    group_id: Any = None
    mask: Any = None


class _File(msgspec.Struct):
    """`imageData`, the image itself in base64, is not looked at."""

    shapes: list[msgspec.Raw]
    imagePath: Any = None  # noqa: N815
    imageHeight: Any = None  # noqa: N815
    imageWidth: Any = None  # noqa: N815
    imageData: msgspec.Raw = msgspec.Raw()  # noqa: N815
    flags: Any = None


def is_labelme(data: bytes) -> bool:
    """Return whether a JSON file has shapes and an image's path."""
    try:
        found = msgspec.json.decode(plain_json(data).data, type=_File)
    except BAD_JSON:
        return False
    return bool(found.imagePath) or bool(len(memoryview(found.imageData))) or found.imageHeight is not None


def read_labelme(tree: Tree, files: Sequence[str], images: Images) -> Found:
    """Read LabelMe files. Shapes of one label and group are one object in parts; lines and points are left out.

    A label "ignore" or "__ignore__" makes an ignore region. The image is the one of the file's own name, or else
    the one that `imagePath` names.
    """
    notes = Notes()
    classes: dict[str, int] = {}
    kept: list[tuple[str, str, list[Row], tuple[int, int] | None]] = []
    outlined, seen = False, set()
    broken: set[str | None] = set()
    for path in files:
        try:
            data, odd = plain_json(tree.content(path))
        except UnreadableImageError as error:
            message = f"cannot be read: {error.message}; it is left out"
            notes.leave_out("a file that cannot be read", "check the file", path, message=message,
                            code="annotation", severity="error")  # fmt: skip
            continue
        try:
            content = msgspec.json.decode(data, type=_File)
        except BAD_JSON as error:
            text, line = json_problem(error, data)
            message = f"cannot be read: {text}; it is left out"
            notes.leave_out("a file that cannot be read", "correct the file", path, line, message=message,
                            code="annotation", severity="error")  # fmt: skip
            broken.add(images.of_file(path)[0])
            continue
        for token, line in odd[:1]:
            text = f"{token} is not JSON; it is read as null"
            notes.add("repaired", text, "write a number or null", path, line, "warning")
        called = word(content.imagePath) or ""
        split = split_of(path)
        name, stale = images.of_file(path, called, split=split)
        if name is None:
            inside = len(memoryview(content.imageData)) > 16
            why = "is missing as a file, and only in imageData inside this one" if inside else "is missing"
            fix = "save it next to this file, as labelme_export_json does" if inside else "add it, or remove the file"
            notes.miss(called or posixpath.basename(path), len(content.shapes), fix, path, why=why)
            continue
        if name in seen:
            text = f"{name!r} is annotated by another file too"
            notes.drop("their image is annotated by another file too", "keep one file per image", path,
                       message=text, n=len(content.shapes))  # fmt: skip
            continue
        if stale:
            notes.rename(name, called, path)
        seen.add(name)
        stated = _stated(content)
        rows = _rows(_Reading(tree, name, path, data, stated, classes, notes), content)
        outlined = outlined or any(r[3] is not None and _is_shaped(r[3]) for r in rows)
        if isinstance(content.flags, dict) and any(v is True for v in content.flags.values()):
            notes.reduce("flags of whole images, which are not read", "draw regions, or sort images into folders", path)
        kept.append((name, path, rows, stated))
    if not classes and (n := sum(len(k[2]) for k in kept)):
        notes.drop("ignore regions, where no class is marked", "mark a class", kept[0][1], n=n)
        notes.read -= n
        kept = [(name, path, [], stated) for name, path, _, stated in kept]
    names = sorted(classes)
    ids = np.array([names.index(c) for c in classes], np.int64)
    splits = [split_of(path) or split_of(name) for name, path, _, _ in kept]
    marked = [
        Marked(name, split if all(splits) else None, objects_of(rows, TextLines(path)).renamed(ids), stated)
        for (name, path, rows, stated), split in zip(kept, splits, strict=True)
    ]
    folders = {posixpath.dirname(n) for n in seen}
    for name in images.names:
        if name not in seen and name not in broken and posixpath.dirname(name) in folders:
            fix = "add a JSON file, without shapes if it shows none"
            notes.leave_out("no annotation file", fix, name)
    problems, account = notes.all(), notes.account()
    return Found(
        "labelme", marked, tuple(names), outlined=outlined, problems=problems, files=set(files), account=account
    )


def _is_shaped(outline: Outline) -> bool:
    return outline.rle is not None or len(outline.polygons) > 1 or len(outline.polygons[0]) != 4


def _stated(content: _File) -> tuple[int, int] | None:
    try:
        height, width = int(number(content.imageHeight)), int(number(content.imageWidth))
    except ValueError:
        return None
    return (height, width) if height > 0 and width > 0 else None


class _Reading(msgspec.Struct):
    """What is known while the shapes of one file are read."""

    tree: Any
    name: str
    path: str
    data: bytes
    stated_hw: tuple[int, int] | None
    classes: dict[str, int]
    notes: Any

    def size_hw(self) -> tuple[int, int]:
        """Return the size of the image, as the file states it or else as it is.

        Raises:
            DatasetError: neither can be known.
        """
        if self.stated_hw is None:
            try:
                self.stated_hw = probe_image(self.tree.content(self.name)).size_hw
            except EyewrightError as error:
                raise DatasetError(f"a mask of an image whose size is not known: {error.message}") from None
        height, width = self.stated_hw
        if height * width > Limits().pixels:
            raise DatasetError(f"a mask of {width}x{height} pixels is too large to be read")
        return self.stated_hw


def _rows(reading: _Reading, content: _File) -> list[Row]:
    rows: list[Row] = []
    notes: Notes = reading.notes
    classes, path = reading.classes, reading.path
    parts: dict[tuple[str, str], int] = {}
    start = np.frombuffer(reading.data, np.uint8).ctypes.data
    line, before = 1, 0
    for raw in content.shapes:
        offset = np.frombuffer(memoryview(raw), np.uint8).ctypes.data - start
        line, before = line + reading.data.count(b"\n", before, offset), offset
        fix = "draw a rectangle, or a polygon of 3 points or more"
        try:
            shape = msgspec.json.decode(raw, type=_Shape)
            name = word(shape.label)
            if name is None:
                fix = "give it a label"
                raise ValueError("it has no label")
            outline = _outline(shape, reading)
            box = tuple(float(v) for v in outline.box())
        except (*BAD_JSON, EyewrightError) as error:
            reason = error.message if isinstance(error, EyewrightError) else str(error)
            severity = "warning" if isinstance(error, DatasetError) else "error"
            notes.drop(reason, fix, path, line, message=f"shape is left out: {reason}", severity=severity)
            continue
        if not isinstance(shape.label, str):
            notes.repair("a label that is a number", "write it as text", path, line)
        crowd = name in ("ignore", "__ignore__")
        label = -1 if crowd else classes.setdefault(name, len(classes))
        notes.read += 1
        # A group is a number in LabelMe; other tools write 1.0 or text.
        group = word(shape.group_id)
        at = parts.get((name, group)) if group is not None else None
        if at is not None:
            rows[at] = _joined(rows[at], box, outline, reading)
            continue
        if group is not None:
            parts[name, group] = len(rows)
        rows.append((box, label, crowd, outline, line))
    # An ignore region has no class of its own; any will do, since it is never learnt or asked for.
    return [(r[0], max(r[1], 0), *r[2:]) for r in rows]


def _joined(first: Row, box: Sequence[float], outline: Outline, reading: _Reading) -> Row:
    """Return two parts of one object as one."""
    around = (*np.minimum(first[0][:2], box[:2]).tolist(), *np.maximum(first[0][2:], box[2:]).tolist())
    shape = first[3]
    assert shape is not None
    if shape.rle is None and outline.rle is None:
        joined = Outline((*shape.polygons, *outline.polygons))
    else:
        size = reading.size_hw()
        joined = Outline(rle={"size": list(size), "counts": encode_counts(shape.mask(size) | outline.mask(size))})
    return around, first[1], first[2], joined, first[4]


def _outline(shape: _Shape, reading: _Reading) -> Outline:
    """Return the outline of one shape.

    Raises:
        ValueError: points that are not points.
        DatasetError: it is no region.
    """
    kind = (word(shape.shape_type) or "polygon").lower()
    points = _points(shape.points)
    if kind == "mask":
        return _mask(shape, points, reading)
    return Outline((_polygon(kind, points),))


def _points(value: Any) -> NDArray[np.float64]:
    rows = []
    for point in value if isinstance(value, list) else ():
        if isinstance(point, dict):
            point = [point.get("x"), point.get("y")]
        if not isinstance(point, list) or len(point) != 2:
            raise ValueError("expected points of x and y, found something else")
        rows.append([number(v) for v in point])
    return np.array(rows, np.float64).reshape(-1, 2)


def _polygon(kind: str, points: NDArray[np.float64]) -> NDArray[np.float64]:
    if kind in _LINES:
        raise DatasetError(f"a {kind} is not a region")
    if kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    if kind == "circle" and len(points) == 2:
        radius = math.dist(points[0], points[1])
        angle = np.linspace(0, 2 * math.pi, _CIRCLE_POINTS, endpoint=False)
        circle: NDArray[np.float64] = points[0] + radius * np.stack([np.cos(angle), np.sin(angle)], 1)
        return circle
    if kind in _AREAS and len(points) >= 3:
        return points
    raise DatasetError(f"a {kind} of {len(points)} point{'s' * (len(points) != 1)} is not a region")


def _mask(shape: _Shape, points: NDArray[np.float64], reading: _Reading) -> Outline:
    """Return a mask shape, a picture of 0 and others at its first point, as run-length encoding of the image."""
    if not isinstance(shape.mask, str) or len(points) < 1:
        raise DatasetError("a mask without its picture is not a region")
    values = read_labels(_base64(shape.mask))
    height, width = reading.size_hw()
    x, y = (round(float(v)) for v in points.min(0))
    whole = np.zeros((height, width), bool)
    inside = values[max(0, -y) : max(0, height - y), max(0, -x) : max(0, width - x)] > 0
    whole[max(0, y) : max(0, y) + inside.shape[0], max(0, x) : max(0, x) + inside.shape[1]] = inside
    if not whole.any():
        raise DatasetError("a mask in which no pixel of the image is marked is not a region")
    return Outline(rle={"size": [height, width], "counts": encode_counts(whole)})


def _base64(text: str) -> bytes:
    """Return bytes of base64 as tools write it: with line breaks, without `=`, in the alphabet for addresses.

    Raises:
        DatasetError: it is none.
    """
    plain = re.sub(r"^data:[^,]{0,100},", "", text)
    plain = re.sub(r"\s+", "", plain).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise DatasetError("a mask that is not base64 is not a region") from None
