"""Read LabelMe: a JSON file an image, with rectangles, polygons and circles."""

__all__ = ["is_labelme", "read_labelme"]

import math
import posixpath
from collections.abc import Sequence

import msgspec
import numpy as np

from eyewright.core.errors import DatasetError
from eyewright.data.objects import Outline
from eyewright.data.readers.listing import BAD_JSON, Found, Images, Marked, Notes, Row, TextLines, objects_of, split_of
from eyewright.data.tree import Tree

_CIRCLE_POINTS = 64


class _Shape(msgspec.Struct):
    label: str
    points: list[tuple[float, float]]
    shape_type: str | None = "polygon"
    group_id: int | None = None


class _File(msgspec.Struct):
    """`imageData`, the image itself in base64, is not looked at."""

    shapes: list[msgspec.Raw]
    imagePath: str = ""  # noqa: N815
    imageHeight: int | None = None  # noqa: N815
    imageWidth: int | None = None  # noqa: N815


def is_labelme(data: bytes) -> bool:
    """Tell whether a JSON file has shapes and an image's path."""
    try:
        return bool(msgspec.json.decode(data, type=_File).imagePath)
    except BAD_JSON:
        return False


def read_labelme(tree: Tree, files: Sequence[str], images: Images) -> Found:
    """Read LabelMe files. Shapes of one label and group are one object in parts; lines and points are left out.

    A label "ignore" or "__ignore__" makes an ignore region.
    """
    notes = Notes()
    classes: dict[str, int] = {}
    kept: list[tuple[str, str, list[Row], tuple[int, int] | None]] = []
    outlined, seen = False, set()
    for path in files:
        data = tree.content(path)
        try:
            content = msgspec.json.decode(data, type=_File)
        except BAD_JSON as error:
            notes.add("annotation", f"cannot be read: {error}; it is left out", "mend the file", path)
            continue
        stem = posixpath.splitext(posixpath.basename(path))[0]
        folder = posixpath.dirname(path)
        name = images.find(content.imagePath, near=folder) or images.find(stem, near=folder)
        if name is None:
            text = f"image {content.imagePath!r} with {len(content.shapes)} annotations is not there"
            notes.add("missing_image", text, "add the image, or remove the file", path)
            continue
        if name in seen:
            notes.add("annotation", f"{name!r} is annotated by another file too", "keep one file an image", path)
            continue
        seen.add(name)
        rows = _rows(content, data, classes, path, notes)
        outlined = outlined or any(r[3] is not None and len(r[3].polygons[0]) != 4 for r in rows)
        stated = (content.imageHeight, content.imageWidth)
        kept.append((name, path, rows, stated if all(stated) else None))  # type: ignore[arg-type]
    names = sorted(classes)
    ids = np.array([names.index(c) for c in classes], np.int64)
    splits = [split_of(path) or split_of(name) for name, path, _, _ in kept]
    marked = [
        Marked(name, split if all(splits) else None, objects_of(rows, TextLines(path)).renamed(ids), stated)
        for (name, path, rows, stated), split in zip(kept, splits, strict=True)
    ]
    found = Found("labelme", marked, tuple(names), outlined=outlined, files=set(files))
    folders = {posixpath.dirname(n) for n in seen}
    for name in images.names:
        if name not in seen and posixpath.dirname(name) in folders:
            text = "no annotation file; it is left out"
            notes.add("unlabelled", text, "add a JSON file, without shapes if it shows none", name, severity="warning")
    found.problems = notes.all()
    return found


def _rows(content: _File, data: bytes, classes: dict[str, int], path: str, notes: Notes) -> list[Row]:
    rows: list[Row] = []
    parts: dict[tuple[str, int], int] = {}
    start = np.frombuffer(data, np.uint8).ctypes.data
    for raw in content.shapes:
        offset = np.frombuffer(memoryview(raw), np.uint8).ctypes.data - start
        line = data.count(b"\n", 0, offset) + 1
        try:
            shape = msgspec.json.decode(raw, type=_Shape)
            polygon = _polygon(shape)
        except (*BAD_JSON, DatasetError) as error:
            text = f"shape is left out: {error.message if isinstance(error, DatasetError) else error}"
            severity = "warning" if isinstance(error, DatasetError) else "error"
            notes.add("annotation", text, "draw a rectangle or polygon", path, line, severity)
            continue
        crowd = shape.label in ("ignore", "__ignore__")
        label = -1 if crowd else classes.setdefault(shape.label, len(classes))
        box = (*polygon.min(0).tolist(), *polygon.max(0).tolist())
        key = (shape.label, shape.group_id if shape.group_id is not None else -1)
        if shape.group_id is not None and key in parts:
            at = parts[key]
            before = rows[at]
            joined = (*np.minimum(before[0][:2], box[:2]).tolist(), *np.maximum(before[0][2:], box[2:]).tolist())
            assert before[3] is not None
            rows[at] = (joined, label, crowd, Outline((*before[3].polygons, polygon)), before[4])
            continue
        parts[key] = len(rows)
        rows.append((box, label, crowd, Outline((polygon,)), line))
    # An ignore region has no class of its own; any will do, since it is never learnt or asked for.
    return [(r[0], max(r[1], 0), *r[2:]) for r in rows if classes or r[1] >= 0]


def _polygon(shape: _Shape) -> np.ndarray:
    points = np.array(shape.points, np.float64).reshape(-1, 2)
    if shape.shape_type == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    if shape.shape_type == "circle" and len(points) == 2:
        radius = math.dist(points[0], points[1])
        angle = np.linspace(0, 2 * math.pi, _CIRCLE_POINTS, endpoint=False)
        circle: np.ndarray = points[0] + radius * np.stack([np.cos(angle), np.sin(angle)], 1)
        return circle
    if shape.shape_type in ("polygon", "rectangle", None) and len(points) >= 3:
        return points
    raise DatasetError(f"a {shape.shape_type} of {len(points)} points is no region")
