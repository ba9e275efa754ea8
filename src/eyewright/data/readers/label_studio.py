"""Read Label Studio's JSON export: percent units, rectangles, polygons, brush strokes and ellipses."""

__all__ = ["decode_brush", "is_label_studio", "read_label_studio"]

import math
import posixpath
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError
from eyewright.data.objects import Objects, Outline
from eyewright.data.readers.listing import BAD_JSON, Found, Images, Marked, Notes, Row, objects_of, split_of
from eyewright.data.tree import Tree
from eyewright.imaging.rasters import encode_counts

_HASH = re.compile(r"^[0-9a-f]{8}-")
_ELLIPSE_POINTS = 64


class _Task(msgspec.Struct):
    id: int | str | None = None
    data: dict[str, Any] = {}
    annotations: list[dict[str, Any]] = []
    completions: list[dict[str, Any]] = []


class _TaskLines:
    """The line of each task; the file is looked at when the first is asked for."""

    def __init__(self, path: str, data: bytes, parts: Sequence[msgspec.Raw]) -> None:
        base = np.frombuffer(data, np.uint8).ctypes.data
        starts = [np.frombuffer(memoryview(p), np.uint8).ctypes.data - base for p in parts]
        self.path = path
        self._lines = (np.searchsorted(np.flatnonzero(np.frombuffer(data, np.uint8) == 10), starts) + 1).tolist()

    def line(self, entry: int) -> int | None:
        return int(self._lines[entry])


def is_label_studio(data: bytes) -> bool:
    """Tell whether a JSON file is a list of tasks with data and annotations."""
    if not data[:200].lstrip().startswith(b"["):
        return False
    try:
        first = msgspec.json.decode(data, type=list[msgspec.Raw])[:1]
        task = msgspec.json.decode(first[0], type=_Task) if first else None
    except BAD_JSON:
        return False
    return task is not None and bool(task.data) and (b'"annotations"' in bytes(first[0]) or bool(task.completions))


def read_label_studio(tree: Tree, files: Sequence[str], images: Images) -> Found:
    """Read exports; of a task's annotations the first that was not cancelled counts.

    Raises:
        DatasetError: not a list of tasks.
    """
    notes = Notes()
    classes: dict[str, int] = {}
    kept: list[tuple[str, Any, list[Row], Any, tuple[int, int] | None]] = []
    outlined, seen = False, set()
    for path in files:
        data = tree.content(path)
        try:
            parts = msgspec.json.decode(data, type=list[msgspec.Raw])
        except BAD_JSON as error:
            raise DatasetError(f"expected a list of tasks in {path!r}: {error}", fix="export JSON again") from None
        lines = _TaskLines(path, data, parts)
        for entry, raw in enumerate(parts):
            try:
                task = msgspec.json.decode(raw, type=_Task)
            except BAD_JSON as error:
                text = f"task {entry} is left out: {error}"
                notes.add("annotation", text, "export JSON again", path, lines.line(entry))
                continue
            called = next((v for v in task.data.values() if isinstance(v, str)), "")
            name = _image(called, images, posixpath.dirname(path))
            done = [a for a in task.annotations or task.completions if not a.get("was_cancelled")]
            if name is None:
                text = f"image {called!r} is not there"
                notes.add("missing_image", text, "export the images too", path, lines.line(entry))
                continue
            if not done:
                text = "nobody has annotated this task; it is left out"
                notes.add("unlabelled", text, "annotate it, or remove it", name, severity="warning")
                continue
            if name in seen:
                text = f"{name!r} is in another task too"
                notes.add("annotation", text, "keep one task an image", path, lines.line(entry))
                continue
            seen.add(name)
            rows, stated = _rows(done[0].get("result") or [], classes, entry, path, lines, notes)
            outlined = outlined or any(r[3] is not None for r in rows)
            kept.append((name, split_of(path) or split_of(name), rows, lines, stated))
    names = sorted(classes)
    ids = np.array([names.index(c) for c in classes], np.int64)
    has_splits = all(k[1] for k in kept)
    marked = []
    for name, split, rows, lines, stated in kept:
        objects = _completed(objects_of(rows, lines, relative=True), outlined).renamed(ids)
        marked.append(Marked(name, split if has_splits else None, objects, stated))
    return Found("label-studio", marked, tuple(names), outlined=outlined, problems=notes.all(), files=set(files))


def _completed(objects: Objects, outlined: bool) -> Objects:
    from dataclasses import replace

    if not outlined or not len(objects):
        return objects
    shapes = list(objects.outlines) or [Outline()] * len(objects)
    for i, shape in enumerate(shapes):
        if not shape:
            x0, y0, x1, y1 = objects.boxes_xyxy[i]
            shapes[i] = Outline((np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]),), relative=True)
    return replace(objects, outlines=shapes)


def _image(called: str, images: Images, folder: str) -> str | None:
    """Find an image by an address of Label Studio's, which puts a hash before the name of what was uploaded."""
    from urllib.parse import unquote

    plain = unquote(called.partition("?d=")[2] or called)
    base = posixpath.basename(plain)
    return images.find(plain, near=folder) or images.find(_HASH.sub("", base), near=folder)


def _rows(
    results: Sequence[Any], classes: dict[str, int], entry: int, path: str, lines: _TaskLines, notes: Notes
) -> tuple[list[Row], tuple[int, int] | None]:
    rows: list[Row] = []
    stated: tuple[int, int] | None = None
    for result in results:
        kind = result.get("type") if isinstance(result, dict) else None
        if kind not in ("rectanglelabels", "polygonlabels", "brushlabels", "ellipselabels"):
            continue
        try:
            value = result["value"]
            label = str(value[kind][0])
            size = (int(result["original_height"]), int(result["original_width"]))
            stated = size
            shape = _shape(kind, value, size)
            box = shape.box() / (np.array([size[1], size[0]] * 2) if shape.rle is not None else 1.0)
        except (KeyError, IndexError, TypeError, ValueError, DatasetError) as error:
            text = f"a region of task {entry} is left out: {error!r}"
            notes.add("annotation", text, "draw it again", path, lines.line(entry))
            continue
        given = None if kind == "rectanglelabels" and not value.get("rotation") else shape
        rows.append((box.tolist(), classes.setdefault(label, len(classes)), False, given, entry))
    return rows, stated


def _shape(kind: str, value: dict[str, Any], size_hw: tuple[int, int]) -> Outline:
    if kind == "polygonlabels":
        points = np.array(value["points"], np.float64).reshape(-1, 2) / 100
        if len(points) < 3:
            raise DatasetError(f"expected a polygon of 3 points or more, found {len(points)}")
        return Outline((points,), relative=True)
    if kind == "brushlabels":
        return Outline(rle={"size": list(size_hw), "counts": encode_counts(decode_brush(value["rle"], size_hw))})
    x, y = float(value["x"]) / 100, float(value["y"]) / 100
    if kind == "ellipselabels":
        angle = np.linspace(0, 2 * math.pi, _ELLIPSE_POINTS, endpoint=False)
        points = np.stack([x + value["radiusX"] / 100 * np.cos(angle), y + value["radiusY"] / 100 * np.sin(angle)], 1)
        return Outline((_turned(points, np.array([x, y]), value.get("rotation") or 0.0, size_hw),), relative=True)
    w, h = float(value["width"]) / 100, float(value["height"]) / 100
    points = np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]])
    # Label Studio turns a rectangle about its left upper corner.
    return Outline((_turned(points, points[0], value.get("rotation") or 0.0, size_hw),), relative=True)


def _turned(
    points: NDArray[np.float64], about: NDArray[np.float64], degrees: float, size_hw: tuple[int, int]
) -> NDArray[np.float64]:
    if not degrees:
        return points
    side = np.array([size_hw[1], size_hw[0]], np.float64)
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    turned: NDArray[np.float64] = ((points - about) * side @ turn) / side + about
    return turned


def decode_brush(rle: Sequence[int], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Give the mask of a brush stroke: Label Studio packs RGBA bytes by bits (thi.ng's rle-pack).

    Raises:
        DatasetError: damaged, or of another size.
    """
    bits = np.unpackbits(np.array(rle, np.uint8))
    at = 0

    def take(n: int) -> int:
        nonlocal at
        if at + n > len(bits):
            raise DatasetError("the brush's run lengths end too early")
        value = int(bits[at : at + n] @ (1 << np.arange(n - 1, -1, -1)))
        at += n
        return value

    total, word = take(32), take(5) + 1
    widths = [take(4) + 1 for _ in range(4)]
    if total != size_hw[0] * size_hw[1] * 4:
        raise DatasetError(f"the brush is of {total // 4} pixels, the image of {size_hw[0] * size_hw[1]}")
    out = np.zeros(total, np.uint8)
    i = 0
    while i < total:
        repeated = take(1)
        n = take(widths[take(2)]) + 1
        if repeated:
            out[i : i + n] = take(word)
        else:
            stop = min(i + n, total)
            if at + word * (stop - i) > len(bits):
                raise DatasetError("the brush's run lengths end too early")
            part = bits[at : at + word * (stop - i)].reshape(-1, word)
            out[i:stop] = part @ (1 << np.arange(word - 1, -1, -1))
            at += word * (stop - i)
        i += n
    return out.reshape(*size_hw, 4)[..., 3] > 0
