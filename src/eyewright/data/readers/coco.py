"""Read COCO JSON: any category ids, any order, boxes, polygons and run-length encoding; classes are joined by name."""

__all__ = ["CocoLines", "is_coco", "read_coco"]

import bisect
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError
from eyewright.core.quoting import quoted
from eyewright.data.readers.coco_outlines import box_of, key_point_box, outline_of, shown_outlines
from eyewright.data.readers.listing import BAD_JSON, LARGEST, Found, Images, Marked, Notes, number, split_of
from eyewright.data.readers.yolo_lines import named_ids
from eyewright.data.targets.objects import Objects, Outline, no_objects
from eyewright.data.texts import json_problem, json_reason, plain_json, truth, word
from eyewright.data.tree import Tree

Key = int | str


class _Top(msgspec.Struct):
    images: msgspec.Raw = msgspec.Raw()
    annotations: msgspec.Raw = msgspec.Raw()
    categories: msgspec.Raw = msgspec.Raw()


class _Box(msgspec.Struct, gc=False):
    """An annotation as COCO has it, without its outline: of a million, the outlines would be most."""

    image_id: Key
    category_id: Key
    bbox: tuple[float, float, float, float]
    iscrowd: int = 0
    area: float | None = None


class _Loose(msgspec.Struct):
    """An annotation of which any field may be of another type than COCO's."""

    image_id: Any = None
    category_id: Any = None
    category_name: Any = None
    category: Any = None
    bbox: Any = None
    iscrowd: Any = 0
    area: Any = None
    keypoints: Any = None
    segmentation: msgspec.Raw = msgspec.Raw()
    segments_info: msgspec.Raw = msgspec.Raw()


_KEY_POINTS = re.compile(rb'"keypoints"\s*:\s*\[\s*[\d"\-]')


class CocoLines:
    """The line of each annotation of a file; the file is read again when the first is asked for."""

    def __init__(self, tree: Tree, path: str) -> None:
        self.path = path
        self._tree = tree
        self._starts: NDArray[np.int64] | None = None
        self._newlines: list[int] = []

    def line(self, entry: int) -> int | None:
        if self._starts is None:
            data = plain_json(self._tree.content(self.path)).data
            top = msgspec.json.decode(data, type=_Top)
            self._starts = _offsets(data, msgspec.json.decode(top.annotations, type=list[msgspec.Raw]))
            self._newlines = np.flatnonzero(np.frombuffer(data, np.uint8) == 10).tolist()
        return bisect.bisect_left(self._newlines, int(self._starts[entry])) + 1


def _offsets(data: bytes, parts: Sequence[msgspec.Raw]) -> NDArray[np.int64]:
    """Return where in `data` each part begins: they are views into it."""
    base = np.frombuffer(data, np.uint8).ctypes.data
    return np.array([np.frombuffer(memoryview(p), np.uint8).ctypes.data - base for p in parts], np.int64)


def is_coco(data: bytes) -> bool:
    """Return whether a JSON file is COCO with objects: images, categories, and annotations that are no captions."""
    try:
        top = msgspec.json.decode(plain_json(data).data, type=_Top)
    except BAD_JSON:
        return False
    if not all(len(memoryview(part)) for part in (top.images, top.categories, top.annotations)):
        return False
    # Captions of the same images are in a file of the same make.
    return b'"caption"' not in bytes(memoryview(top.annotations)[:2000])


@dataclass
class _Reading:
    """What several files of one dataset have in common: class ids by name, which file has listed an image, notes."""

    images: Images
    notes: Notes = field(default_factory=Notes)
    order: dict[str, int] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    listed: dict[str, tuple[str, Objects]] = field(default_factory=dict)
    again: dict[tuple[str, str], int] = field(default_factory=dict)
    headings: set[str] = field(default_factory=set)
    outlined: bool = False


def read_coco(tree: Tree, files: Sequence[str], images: Images, *, outlines: bool, alone: bool = False) -> Found:
    """Read COCO files, one a part of the dataset or all in one; with `outlines` the shapes too. A file that is read
    `alone` need not list all images next to it.

    Raises:
        DatasetError: not JSON, or images or categories that are not COCO's.
    """
    reading = _Reading(images)
    notes, lists = reading.notes, reading.lists
    marked: list[Marked] = []
    # A file of one part says more than one of all parts, which may lie next to it.
    for path in sorted(files, key=lambda f: split_of(f) is None):
        marked += _read_file(tree, path, reading, outlines=outlines)
    if len({frozenset(v) for v in lists.values()}) > 1:
        most = max(lists, key=lambda p: len(lists[p]))
        for path, names in lists.items():
            lacking = sorted(set(lists[most]) - set(names)) or sorted(set(names) - set(lists[most]))
            if path != most and lacking:
                text = f"its class list differs from that of {most!r}, by {lacking[0]!r}"
                notes.add("class_list_differs", text, "export both with one list; classes are joined by name", path)
    for (path, first), n in reading.again.items():
        text = f"{n:,} of its images are listed in {first!r} too; they are used once, as that file says"
        notes.add("same_part", text, "list each image in one part", path, severity="warning")
    if not alone:
        _leave_out_unlisted(marked, images, notes)
    return Found(
        "coco",
        marked,
        # Classes in the order of their ids in the file that names them first.
        tuple(reading.order),
        outlined=reading.outlined and not outlines,
        problems=notes.all(),
        files=set(files),
        account=notes.account(),
        headings=frozenset(reading.headings),
    )


def _read_file(tree: Tree, path: str, reading: _Reading, *, outlines: bool) -> list[Marked]:
    notes = reading.notes
    data, odd = plain_json(tree.content(path))
    for token, line in odd[:1]:
        more = f", and {len(odd) - 1} more" if len(odd) > 1 else ""
        text = f"{token} is not JSON{more}; it is read as null"
        notes.add("repaired", text, "write a number or null", path, line, "warning")
    top = _decode(data, data, _Top, path, "a COCO file")
    names = _categories(top.categories, data, path, reading)
    listed = _listed(top.images, data, path, notes)
    where = CocoLines(tree, path)
    rows = None
    if not outlines:
        rows = _strict_rows(top.annotations)
        reading.outlined = reading.outlined or shown_outlines(top.annotations)
    if rows is None:
        # One that is wrong must not hide the others, nor what is wrong with them.
        rows = _loose_rows(top.annotations, path, where, notes, keep=outlines)
    key_points = len(_KEY_POINTS.findall(memoryview(top.annotations)))
    if key_points:
        notes.reduce("key points, which are not read", "nothing, if boxes are what you need", path, n=key_points)
    del data
    return _group(listed, rows, names, path, where, reading)


def _decode(part: Any, data: bytes, kind: Any, path: str, expected: str) -> Any:
    try:
        return msgspec.json.decode(part if len(memoryview(part)) else b"[]", type=kind)
    except msgspec.ValidationError as error:
        raise DatasetError(f"{quoted(path)} does not hold {expected}: {json_reason(error)}", fix="correct it") from None
    except BAD_JSON as error:
        text, line = json_problem(error, data)
        where = f" line {line}" if line is not None else ""
        fix = "save it as UTF-8" if "UTF-8" in text else "export the annotations again"
        raise DatasetError(f"{quoted(path)}{where} is not JSON: {text}", fix=fix) from None


def _key(value: Any) -> Key | None:
    """Return an id as it is compared: 1 and 1.0 are one; None for what is no id."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int | str) and value != "" else None


class _Ids:
    """The place of each id of a list. An id as text is the number that it spells where no other id is meant."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._exact: dict[Key, int] = {}
        self._spelt: dict[str, int | None] = {}
        self.twice: set[Key] = set()
        for k, key in enumerate(keys):
            if key in self._exact:
                self.twice.add(key)
            self._exact.setdefault(key, k)
            spelt = _spelling(key)
            self._spelt[spelt] = k if self._spelt.get(spelt, k) == k else None

    def places(self, keys: Sequence[Key]) -> tuple[NDArray[np.int64], int]:
        """Return the place of each id, -1 where there is none, and how many are written in another type."""
        found = np.array([self._exact.get(key, -1) for key in keys], np.int64)
        n = 0
        for i in np.flatnonzero(found < 0).tolist():
            place = self._spelt.get(_spelling(keys[i]))
            if place is not None:
                found[i] = place
                n += 1
        return found, n


def _spelling(key: Key) -> str:
    text = str(key).strip()
    try:
        return str(int(text)) if text.isascii() else text
    except ValueError:
        try:
            return str(int(float(text))) if float(text).is_integer() else text
        except (ValueError, OverflowError):
            return text


def _categories(part: Any, data: bytes, path: str, reading: _Reading) -> tuple[_Ids, list[int]]:
    """Return the ids of the categories, and the class id of each."""
    expected = "categories with id and name"
    given = _decode(part, data, list[Any], path, expected)
    found: list[tuple[Key, str]] = []
    for entry, one in enumerate(given):
        key = _key(one.get("id")) if isinstance(one, dict) else None
        if key is None:
            text = f"category {entry} has no id; it is left out"
            reading.notes.add("class_id", text, "give it an id and a name", path)
            continue
        name = word(one.get("name"))
        if name is None:
            name = f"class_{key}"
            reading.notes.repair("a category without a name, called by its id", "give it a name", path)
        elif name != one.get("name"):
            reading.notes.repair(
                "a category name with surrounding spaces, or that is not text", "write it as plain text", path
            )
        found.append((key, name))
    if given and not found:
        raise DatasetError(f"expected {expected} in {quoted(path)}, found none with an id", fix="export it again")
    found.sort(key=lambda c: (isinstance(c[0], str), c[0]))
    ids = _Ids([key for key, _ in found])
    if ids.twice:
        twice = next(iter(ids.twice))
        raise DatasetError(f"two categories of {quoted(path)} have the id {twice!r}", fix="give each its own id")
    names = [name for _, name in found]
    reading.lists[path] = names
    reading.headings |= _headings(given)
    if len(set(names)) < len(names):
        same = next(n for n in names if names.count(n) > 1)
        text = f"two categories are called {same!r}; they are joined"
        reading.notes.add("class_twice", text, "give them different names", path)
    return ids, [reading.order.setdefault(name, len(reading.order)) for name in names]


def _headings(categories: Sequence[Any]) -> set[str]:
    """Return the categories that only group all others, which are no classes: Roboflow's exports begin with one."""
    pairs = [(word(c.get("name")), word(c.get("supercategory"))) for c in categories if isinstance(c, dict)]
    tops = {name for name, above in pairs if name is not None and (above or "none").lower() in ("none", name.lower())}
    return {top for top in tops if len(pairs) > 1 and all(above == top for name, above in pairs if name != top)}


class _Listed(NamedTuple):
    """One entry of the list of images."""

    key: Key
    called: str
    stated_hw: tuple[int, int] | None


def _listed(part: Any, data: bytes, path: str, notes: Notes) -> list[_Listed]:
    found = []
    for entry, one in enumerate(_decode(part, data, list[Any], path, "images with id and file_name")):
        fields = one if isinstance(one, dict) else {}
        key = _key(fields.get("id"))
        named = (word(fields.get(k)) for k in ("file_name", "filename", "fileName", "path", "coco_url"))
        called = next((n for n in named if n is not None), None)
        if key is None or called is None:
            reason = "an entry of the list of images without an id" if key is None else "an image without a file_name"
            notes.leave_out(reason, "export it again", path, message=f"{reason}, entry {entry}; it is left out",
                            code="missing_image", severity="error")  # fmt: skip
            continue
        found.append(_Listed(key, called, _stated(fields.get("height"), fields.get("width"))))
    return found


def _stated(height: Any, width: Any) -> tuple[int, int] | None:
    try:
        sides = int(number(height)), int(number(width))
    except ValueError:
        return None
    return sides if min(sides) > 0 and max(sides) < 1e9 else None


class _Rows(NamedTuple):
    """Annotations as columns: `boxes` x0 y0 x1 y1, `areas` NaN where none is stated, `entries` their places."""

    images: list[Key]
    categories: list[Key]
    boxes: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    areas: NDArray[np.float64]
    shapes: list[Outline]
    entries: NDArray[np.int64]


def _strict_rows(part: Any) -> _Rows | None:
    """Return annotations that are all as COCO has them, at once; None where one is not."""
    try:
        found = msgspec.json.decode(part if len(memoryview(part)) else b"[]", type=list[_Box])
    except BAD_JSON:
        return None
    boxes = np.array([a.bbox for a in found], np.float64).reshape(-1, 4)
    if not (np.abs(boxes) <= LARGEST).all():
        return None
    crowd = np.array([bool(a.iscrowd) for a in found], bool)
    boxes[:, 2:] += boxes[:, :2]
    areas = np.array([np.nan if a.area is None else a.area for a in found], np.float64)
    entries = np.arange(len(found))
    return _Rows([a.image_id for a in found], [a.category_id for a in found], boxes, crowd, areas, [], entries)


class _Row(NamedTuple):
    image: Key
    category: Key
    box: list[float]
    crowd: bool
    area: float
    shape: Outline


def _loose_rows(part: Any, path: str, where: CocoLines, notes: Notes, *, keep: bool) -> _Rows:
    """Return the annotations that can be read, whatever their types, with their shapes if `keep`."""
    try:
        each = msgspec.json.decode(part if len(memoryview(part)) else b"[]", type=list[msgspec.Raw])
    except BAD_JSON as error:
        raise DatasetError(
            f"{quoted(path)} does not hold a list of annotations: {json_reason(error)}",
            fix="write [] if there are none",
        ) from None
    rows: list[_Row] = []
    entries: list[int] = []
    for entry, raw in enumerate(each):
        try:
            rows.append(_loose_row(raw, path, partial(where.line, entry), notes, keep=keep))
        except BAD_JSON as error:
            reason = json_reason(error)
            message = f"annotation {entry} is left out: {reason}"
            notes.drop(reason, "fix or remove it", path, where.line(entry), message=message)
            continue
        entries.append(entry)
    return _Rows(
        [r.image for r in rows],
        [r.category for r in rows],
        np.array([r.box for r in rows], np.float64).reshape(-1, 4),
        np.array([r.crowd for r in rows], bool),
        np.array([r.area for r in rows], np.float64),
        [r.shape for r in rows] if keep else [],
        np.array(entries, np.int64),
    )


_ROW = msgspec.json.Decoder(_Loose)


def _loose_row(raw: msgspec.Raw, path: str, line: Any, notes: Notes, *, keep: bool) -> _Row:
    """Read one annotation.

    Raises:
        ValueError: what of it cannot be meant.
    """
    one = _ROW.decode(raw)
    lost: list[tuple[str, str]] = []
    odd: list[tuple[str, str]] = []
    image, category = _key(one.image_id), _key(one.category_id)
    if category is None and one.category_id is None:
        category = word(one.category_name) or word(one.category)
    if category is None and len(memoryview(one.segments_info)):
        raise ValueError("it is panoptic (segments_info), which is not read")
    if image is None or category is None:
        raise ValueError(f"it has no {'image_id' if image is None else 'category_id'}")
    box = box_of(one.bbox)
    shape = Outline()
    if keep or box is None:
        shape = outline_of(one.segmentation, lambda *a: lost.append(a), lambda *a: odd.append(a))
    if box is None and shape:
        try:
            box = [float(v) for v in shape.box()]
        except DatasetError as error:
            raise ValueError(error.message) from None
    if box is None:
        box = key_point_box(one.keypoints)
        if box is None:
            raise ValueError("it has no bbox" + (" and an outline that cannot be used" if lost else ""))
        odd.append(("a box that is taken from its key points", "give it a bbox"))
    crowd = truth(one.iscrowd)
    if crowd is None:
        raise ValueError(f"expected iscrowd of 0 or 1, found {one.iscrowd!r}")
    try:
        area = np.nan if one.area is None else number(one.area)
    except ValueError:
        area = np.nan
    if any(isinstance(v, str) for v in (one.iscrowd, one.area)) or (
        isinstance(one.bbox, list) and any(isinstance(v, str) for v in one.bbox)
    ):
        odd.append(("numbers that are written as text", "write them without quotes"))
    for text, fix in lost:
        notes.reduce(text, fix, path, line())
    for text, fix in odd:
        notes.repair(text, fix, path, line())
    return _Row(image, category, box, crowd, area, shape)


def _group(
    listed: Sequence[_Listed],
    columns: _Rows,
    categories: tuple[_Ids, list[int]],
    path: str,
    where: CocoLines,
    reading: _Reading,
) -> list[Marked]:
    notes = reading.notes
    split, folder = split_of(path), posixpath.dirname(path)
    of_entry, slots = _slots(listed, folder, split, reading.images, path, notes)
    images = _Ids([i.key for i in listed])
    ids, class_ids = categories
    of_image, odd_images = images.places(columns.images)
    kinds, odd_kinds = ids.places(columns.categories)
    if odd_images or odd_kinds:
        n = max(odd_images, odd_kinds)
        notes.repair(
            "ids that are text in one place and numbers in another", "write all of them the same way", path, n=n
        )
    for key in images.twice:
        if len({slot for slot, entry in zip(of_entry, listed, strict=True) if entry.key == key}) > 1:
            of_image[[k == key for k in columns.images]] = -2
    named = named_ids(reading.lists[path])
    for k in np.flatnonzero(kinds < 0).tolist():
        place = named.get(str(columns.categories[k]).strip().casefold(), -1)
        if place >= 0:
            kinds[k] = place
            reason = "a category that is given by its name"
            notes.repair(reason, "write its id", path, where.line(int(columns.entries[k])))
    label_ids = np.array([*class_ids, -1], np.int64)[kinds]
    good = _check(columns, of_image, label_ids, path, where, notes)
    rows = np.flatnonzero(good)
    slot_of = np.array([*of_entry, -1], np.int64)[of_image[rows]]
    n_of = np.bincount(of_image[rows][slot_of < 0], minlength=len(listed))
    for k, entry in enumerate(listed):
        if of_entry[k] < 0:
            fix = "add the file, or remove its entry"
            several = reading.images.candidates(entry.called)
            notes.miss(entry.called, int(n_of[k]), fix, path, several=several)
    rows, slot_of = rows[slot_of >= 0], slot_of[slot_of >= 0]
    rows = rows[np.argsort(slot_of, kind="stable")]
    starts = np.searchsorted(np.sort(slot_of), np.arange(len(slots) + 1))
    marked: list[Marked] = []
    for k, (name, stated) in enumerate(slots):
        own = rows[starts[k] : starts[k + 1]]
        objects = no_objects()
        if len(own):
            objects = Objects(
                columns.boxes[own],
                label_ids[own],
                columns.crowd[own],
                _of_size(columns, own, stated, path, where, notes) if columns.shapes else (),
                columns.entries[own],
                where,
                areas=columns.areas[own],
            )
        if name not in reading.listed:
            reading.listed[name] = path, objects
            notes.read += len(objects)
            marked.append(Marked(name, split, objects, stated))
            continue
        first, theirs = reading.listed[name]
        reading.again[path, first] = reading.again.get((path, first), 0) + 1
        if _same(objects, theirs):
            notes.read += len(objects)
        elif len(objects):
            text = f"{len(objects)} annotations of {name!r}, which {first!r} lists too, are left out"
            fix = "put all annotations of an image into one file"
            line = where.line(int(columns.entries[own[0]]))
            notes.drop("their image is listed in another file too", fix, path, line, message=text, n=len(objects))
    return marked


def _same(one: Objects, other: Objects) -> bool:
    """Return whether two files mark the same objects in an image."""
    pairs = ((one.boxes_xyxy, other.boxes_xyxy), (one.label_ids, other.label_ids), (one.crowd, other.crowd))
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in pairs)


def _of_size(
    columns: _Rows, own: Any, stated: tuple[int, int] | None, path: str, where: CocoLines, notes: Notes
) -> list[Outline]:
    """Return the shapes of one image's annotations without run-length encoding of another size than the image's."""
    shapes = [columns.shapes[i] for i in own]
    for k, (i, shape) in enumerate(zip(own.tolist(), shapes, strict=True)):
        if stated is not None and not shape.fits(stated):
            shapes[k] = Outline()
            reason = "run-length encoding of another size than the image's"
            notes.reduce(reason, "export the annotations again", path, where.line(int(columns.entries[i])))
    return shapes


def _slots(
    listed: Sequence[_Listed], folder: str, split: Any, images: Images, path: str, notes: Notes
) -> tuple[list[int], list[tuple[str, tuple[int, int] | None]]]:
    """Return for each listed entry the number of its image, -1 if it is not there; and the images, each once."""
    of_entry: list[int] = []
    slots: list[tuple[str, tuple[int, int] | None]] = []
    known: dict[str, int] = {}
    keys: dict[Key, str] = {}
    for image in listed:
        name = images.find(image.called, near=folder, split=split)
        if name is None:
            of_entry.append(-1)
            continue
        if name in known:
            notes.repair("an image that is listed twice", "keep one entry per image", path)
        elif posixpath.basename(image.called.replace("\\", "/")) != posixpath.basename(name):
            notes.repair("an image name that differs from the file name", "use the file name", path)
        if image.key in keys and keys[image.key] != name:
            text = f"two images have the id {image.key!r}: {keys[image.key]!r} and {name!r}"
            notes.add("annotation", text, "give each its own id", path)
        keys.setdefault(image.key, name)
        if name not in known:
            known[name] = len(slots)
            slots.append((name, image.stated_hw))
        of_entry.append(known[name])
    return of_entry, slots


def _check(
    columns: _Rows,
    of_image: NDArray[np.int64],
    labels: NDArray[np.int64],
    path: str,
    where: CocoLines,
    notes: Notes,
) -> NDArray[np.bool_]:
    """Say which annotations are of no image or class, and return which are of one."""
    entries = columns.entries
    unclear = of_image == -2
    orphan = of_image == -1
    unknown = (labels < 0) & (of_image >= 0)
    for code, wrong, values, what, reason in (
        ("annotation", unclear, columns.images, "image", "their image's id is given to two images"),
        ("orphan_annotation", orphan, columns.images, "image", "their image is not listed"),
        ("class_id", unknown, columns.categories, "category", "their category is not listed"),
    ):
        said = "which is not listed" if code != "annotation" else "an id that two images have"
        for i in np.flatnonzero(wrong):
            text = f"annotation {entries[i]} is of {what} {values[i]!r}, {said}"
            fix = f"add the {what}, or remove the annotation"
            notes.drop(reason, fix, path, where.line(int(entries[i])), message=text, code=code)
    good: NDArray[np.bool_] = (of_image >= 0) & (labels >= 0)
    return good


def _leave_out_unlisted(marked: Sequence[Marked], images: Images, notes: Notes) -> None:
    """Say which images next to the listed ones no file speaks of."""
    listed = {i.name for i in marked}
    folders = {posixpath.dirname(n) for n in listed}
    for name in images.names:
        if name not in listed and posixpath.dirname(name) in folders:
            fix = "list it, also if it shows nothing, or remove it"
            notes.leave_out("no annotation file lists this image", fix, name)
