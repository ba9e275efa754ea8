"""Read COCO JSON: any category ids, any order, boxes, polygons and run lengths; classes are joined by name."""

__all__ = ["CocoLines", "is_coco", "read_coco"]

import bisect
import posixpath
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError
from eyewright.data.objects import Objects, Outline, no_objects
from eyewright.data.readers.listing import BAD_JSON, Found, Images, Marked, Notes, split_of
from eyewright.data.tree import Tree

Key = int | str


class _Top(msgspec.Struct):
    images: msgspec.Raw = msgspec.Raw()
    annotations: msgspec.Raw = msgspec.Raw()
    categories: msgspec.Raw = msgspec.Raw()


class _Image(msgspec.Struct, gc=False):
    id: Key
    file_name: str
    width: int | float | None = None
    height: int | float | None = None


class _Category(msgspec.Struct, gc=False):
    id: Key
    name: str


class _Box(msgspec.Struct, gc=False):
    """An annotation without its outline: of a million, the outlines would be most."""

    image_id: Key
    category_id: Key
    bbox: tuple[float, float, float, float]
    iscrowd: int = 0
    area: float | None = None


class _Outlined(msgspec.Struct, gc=False):
    image_id: Key
    category_id: Key
    bbox: list[float] | None = None
    iscrowd: int = 0
    area: float | None = None
    segmentation: msgspec.Raw = msgspec.Raw()


class _RunLengths(msgspec.Struct):
    size: tuple[int, int]
    counts: list[int] | str


class CocoLines:
    """The line of each annotation of a file; the file is read again when the first is asked for."""

    def __init__(self, tree: Tree, path: str) -> None:
        self.path = path
        self._tree = tree
        self._starts: NDArray[np.int64] | None = None
        self._newlines: list[int] = []

    def line(self, entry: int) -> int | None:
        if self._starts is None:
            data = self._tree.content(self.path)
            top = msgspec.json.decode(data, type=_Top)
            self._starts = _offsets(data, msgspec.json.decode(top.annotations, type=list[msgspec.Raw]))
            self._newlines = np.flatnonzero(np.frombuffer(data, np.uint8) == 10).tolist()
        return bisect.bisect_left(self._newlines, int(self._starts[entry])) + 1


def _offsets(data: bytes, parts: Sequence[msgspec.Raw]) -> NDArray[np.int64]:
    """Give where in `data` each part begins: they are views into it."""
    base = np.frombuffer(data, np.uint8).ctypes.data
    return np.array([np.frombuffer(memoryview(p), np.uint8).ctypes.data - base for p in parts], np.int64)


def is_coco(data: bytes) -> bool:
    """Tell whether a JSON file is COCO with objects: images, categories, and annotations that are no captions."""
    try:
        top = msgspec.json.decode(data, type=_Top)
    except BAD_JSON:
        return False
    if not all(len(memoryview(part)) for part in (top.images, top.categories, top.annotations)):
        return False
    # Captions of the same images are in a file of the same make.
    return b'"caption"' not in bytes(memoryview(top.annotations)[:2000])


def read_coco(tree: Tree, files: Sequence[str], images: Images, *, outlines: bool, alone: bool = False) -> Found:
    """Read COCO files, one a part of the dataset or all in one; with `outlines` the shapes too. A file that is read
    `alone` need not list all images beside it.

    Raises:
        DatasetError: not JSON, or images or categories that are not COCO's.
    """
    notes = Notes()
    lists: dict[str, list[str]] = {}
    marked: list[Marked] = []
    order: dict[str, int] = {}
    found = Found("coco", marked, (), outlined=False, files=set(files))
    for path in files:
        marked += _read_file(tree, path, images, notes, order, lists, found, outlines=outlines)
    # Classes in the order of their ids in the file that names them first.
    found.names = tuple(order)
    if len({frozenset(v) for v in lists.values()}) > 1:
        most = max(lists, key=lambda p: len(lists[p]))
        for path, names in lists.items():
            lacking = sorted(set(lists[most]) - set(names)) or sorted(set(names) - set(lists[most]))
            if path != most and lacking:
                text = f"its class list differs from that of {most!r}, by {lacking[0]!r}"
                notes.add("class_list_differs", text, "export both with one list; classes are joined by name", path)
    if not alone:
        _join_unlisted(found, images, notes)
    found.problems = notes.all()
    return found


def _read_file(
    tree: Tree,
    path: str,
    images: Images,
    notes: Notes,
    order: dict[str, int],
    lists: dict[str, list[str]],
    found: Found,
    *,
    outlines: bool,
) -> list[Marked]:
    data = tree.content(path)
    top = _decode(data, data, _Top, path, "a COCO file")
    categories = _decode(top.categories, data, list[_Category], path, "categories with id and name")
    listed = _decode(top.images, data, list[_Image], path, "images with id and file_name")
    names: dict[Key, int] = {}
    for category in sorted(categories, key=lambda c: (isinstance(c.id, str), c.id)):
        if category.id in names:
            raise DatasetError(f"two categories of {path!r} have the id {category.id!r}", fix="give each its own id")
        names[category.id] = order.setdefault(category.name, len(order))
    lists[path] = [c.name for c in categories]
    if len(set(lists[path])) < len(categories):
        twice = next(n for n in lists[path] if lists[path].count(n) > 1)
        notes.add("class_twice", f"two categories are called {twice!r}; they are joined", "name them apart", path)
    where = CocoLines(tree, path)
    if outlines:
        rows = _outlined_rows(top.annotations, data, path, where, notes)
    else:
        rows = _box_rows(top.annotations, data, path, where, notes)
        found.outlined = found.outlined or _has_outlines(top.annotations)
    del data
    return _group(listed, rows, names, path, where, images, notes)


def _decode(part: Any, data: bytes, kind: Any, path: str, expected: str) -> Any:
    try:
        return msgspec.json.decode(part if len(memoryview(part)) else b"[]", type=kind)
    except msgspec.ValidationError as error:
        raise DatasetError(f"expected {expected} in {path!r}, found otherwise: {error}", fix="mend it") from None
    except BAD_JSON as error:
        raise DatasetError(f"{path!r} is not JSON: {error}", fix="export the annotations again") from None


class _Rows(NamedTuple):
    """Annotations as columns: `boxes` x0 y0 x1 y1, `areas` NaN where none is stated, `entries` their places."""

    images: list[Key]
    categories: list[Key]
    boxes: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    areas: NDArray[np.float64]
    shapes: list[Outline]
    entries: NDArray[np.int64]


def _box_rows(part: Any, data: bytes, path: str, where: CocoLines, notes: Notes) -> _Rows:
    try:
        found = msgspec.json.decode(part if len(memoryview(part)) else b"[]", type=list[_Box])
        entries = np.arange(len(found))
    except msgspec.ValidationError:
        # One that is wrong must not hide the others, nor what is wrong with them.
        return _outlined_rows(part, data, path, where, notes, keep=False)
    except BAD_JSON as error:
        raise DatasetError(f"{path!r} is not JSON: {error}", fix="export the annotations again") from None
    boxes = np.array([a.bbox for a in found], np.float64).reshape(-1, 4)
    crowd = np.array([bool(a.iscrowd) for a in found], bool)
    boxes[:, 2:] += boxes[:, :2]
    areas = np.array([np.nan if a.area is None else a.area for a in found], np.float64)
    return _Rows([a.image_id for a in found], [a.category_id for a in found], boxes, crowd, areas, [], entries)


def _outlined_rows(part: Any, data: bytes, path: str, where: CocoLines, notes: Notes, *, keep: bool = True) -> _Rows:
    keys: list[Key] = []
    categories: list[Key] = []
    boxes: list[list[float]] = []
    crowd: list[bool] = []
    areas: list[float] = []
    shapes: list[Outline] = []
    entries: list[int] = []
    decoder = msgspec.json.Decoder(_Outlined)
    try:
        each = msgspec.json.decode(part if len(memoryview(part)) else b"[]", type=list[msgspec.Raw])
    except BAD_JSON as error:
        raise DatasetError(f"expected a list of annotations in {path!r}: {error}", fix="mend it") from None
    for entry, raw in enumerate(each):
        try:
            one = decoder.decode(raw)
            shape = _outline(one.segmentation)
            box = one.bbox
            if box is None:
                x0, y0, x1, y1 = (float(v) for v in shape.box())
                box = [x0, y0, x1 - x0, y1 - y0]
            elif len(box) != 4:
                raise DatasetError(f"expected a bbox of 4 numbers, found {len(box)}")
        except (*BAD_JSON, DatasetError) as error:
            text = f"annotation {entry} is left out: {_plain(error)}"
            notes.add("annotation", text, "mend or remove it", path, where.line(entry))
            continue
        keys.append(one.image_id)
        categories.append(one.category_id)
        boxes.append([box[0], box[1], box[0] + box[2], box[1] + box[3]])
        crowd.append(bool(one.iscrowd))
        areas.append(np.nan if one.area is None else one.area)
        shapes.append(shape)
        entries.append(entry)
    return _Rows(
        keys,
        categories,
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(crowd, bool),
        np.array(areas, np.float64),
        shapes if keep else [],
        np.array(entries, np.int64),
    )


def _plain(error: Exception) -> str:
    return error.message if isinstance(error, DatasetError) else str(error).replace(" - at `$", " at `")


def _outline(raw: msgspec.Raw) -> Outline:
    first = bytes(memoryview(raw)[:1])
    if first in (b"", b"n"):
        return Outline()
    if first == b"{":
        rle = msgspec.json.decode(raw, type=_RunLengths)
        return Outline(rle={"size": list(rle.size), "counts": rle.counts})
    parts = msgspec.json.decode(raw, type=list[list[float]])
    polygons = []
    for part in parts:
        if len(part) < 6 or len(part) % 2:
            raise DatasetError(f"expected polygons of 3 points or more, found one of {len(part)} numbers")
        polygons.append(np.array(part, np.float64).reshape(-1, 2))
    return Outline(tuple(polygons))


def _has_outlines(part: Any) -> bool:
    """Tell whether annotations have shapes, by the first that is there."""
    text = bytes(memoryview(part)[:20_000]).replace(b" ", b"")
    return b'"segmentation":[[' in text or b'"segmentation":{' in text


def _group(
    listed: Sequence[_Image],
    columns: _Rows,
    names: dict[Key, int],
    path: str,
    where: CocoLines,
    images: Images,
    notes: Notes,
) -> list[Marked]:
    number: dict[Key, int] = {}
    for image in listed:
        if image.id in number:
            notes.add("annotation", f"two images have the id {image.id!r}", "give each its own id", path)
        number.setdefault(image.id, len(number))
    of_image = np.array([number.get(k, -1) for k in columns.images], np.int64)
    labels = np.array([names.get(c, -1) for c in columns.categories], np.int64)
    entries = columns.entries
    for code, wrong, values, what in (
        ("orphan_annotation", of_image < 0, columns.images, "image"),
        ("class_id", labels < 0, columns.categories, "category"),
    ):
        for i in np.flatnonzero(wrong)[:1000]:
            text = f"annotation {entries[i]} is of {what} {values[i]!r}, which is not listed"
            notes.add(code, text, f"add the {what}, or remove the annotation", path, where.line(int(entries[i])))
    good = (of_image >= 0) & (labels >= 0)
    rows = np.flatnonzero(good)
    rows = rows[np.argsort(of_image[rows], kind="stable")]
    starts = np.searchsorted(of_image[rows], np.arange(len(number) + 1))
    split, folder = split_of(path), posixpath.dirname(path)
    marked: list[Marked] = []
    seen: set[str] = set()
    for image in listed:
        k = number.pop(image.id, None)
        if k is None:
            continue
        name = images.find(image.file_name, near=folder, split=split)
        if name is None:
            n = int(starts[k + 1] - starts[k])
            text = f"image {image.file_name!r} with {n} annotations is not there"
            notes.add("missing_image", text, "add the file, or remove its entry", path)
            continue
        if name in seen:
            notes.add("annotation", f"{image.file_name!r} is listed twice", "keep one entry an image", path)
            continue
        seen.add(name)
        own = rows[starts[k] : starts[k + 1]]
        chosen = [columns.shapes[i] for i in own] if columns.shapes else ()
        objects = no_objects()
        if len(own):
            objects = Objects(
                columns.boxes[own],
                labels[own],
                columns.crowd[own],
                chosen,
                entries[own],
                where,
                areas=columns.areas[own],
            )
        stated = _stated(image)
        marked.append(Marked(name, split, objects, stated))
    return marked


def _stated(image: _Image) -> tuple[int, int] | None:
    sides = [v for v in (image.height, image.width) if v is not None and 0 < v < 1e9]
    return (int(sides[0]), int(sides[1])) if len(sides) == 2 else None


def _join_unlisted(found: Found, images: Images, notes: Notes) -> None:
    """Say which images beside the listed ones no file speaks of."""
    listed = {i.name for i in found.images}
    folders = {posixpath.dirname(n) for n in listed}
    for name in images.names:
        if name not in listed and posixpath.dirname(name) in folders:
            text = "no annotation file lists this image; it is left out"
            notes.add("unlabelled", text, "list it, also if it shows nothing, or remove it", name, severity="warning")
