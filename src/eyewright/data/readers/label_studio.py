"""Read Label Studio's JSON export: regions of images with their labels, or choices, which are classes of images."""

__all__ = ["decode_brush", "is_label_studio", "read_choices", "read_label_studio"]

import posixpath
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec
import numpy as np

from eyewright.core.errors import DatasetError, EyewrightError
from eyewright.core.quoting import quoted
from eyewright.data.dataset import SplitName
from eyewright.data.readers.label_studio_regions import REGIONS, decode_brush, shape_of
from eyewright.data.readers.listing import (
    BAD_JSON,
    EXTENSIONS,
    Found,
    Images,
    Marked,
    Notes,
    Row,
    number,
    objects_of,
    split_of,
)
from eyewright.data.targets.label import LABEL, Label
from eyewright.data.targets.objects import Objects, Outline
from eyewright.data.targets.tags import TAGS, tag_sets
from eyewright.data.targets.target import TargetKind
from eyewright.data.texts import json_problem, plain_json, word
from eyewright.data.tree import Tree
from eyewright.imaging.decode import probe_image

_HASH = re.compile(r"^[0-9a-f]{8}-")
_IMAGE_KEYS = ("image", "img", "photo", "picture", "image_url", "url", "file", "path")
_SIDE_BY_SIDE = frozenset({"labels", "choices"})


class _Task(msgspec.Struct):
    id: Any = None
    data: dict[str, Any] = {}
    annotations: Any = None
    completions: Any = None
    predictions: Any = None
    file_upload: Any = None


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
    """Return whether a JSON file is a list of tasks with data and annotations."""
    data = plain_json(data).data
    if not data[:200].lstrip().startswith(b"["):
        return False
    try:
        first = msgspec.json.decode(data, type=list[msgspec.Raw])[:1]
        task = msgspec.json.decode(first[0], type=_Task) if first else None
    except BAD_JSON:
        return False
    return task is not None and bool(task.data) and (b'"annotations"' in bytes(first[0]) or bool(task.completions))


class _Done(NamedTuple):
    """One task that somebody has annotated: its image, its results and where it stands."""

    name: str
    split: SplitName | None
    results: list[Any]
    entry: int
    lines: _TaskLines


@dataclass
class _Reading:
    tree: Tree
    images: Images
    notes: Notes = field(default_factory=Notes)
    done: list[_Done] = field(default_factory=list)
    several: int = 0


def read_label_studio(tree: Tree, files: Sequence[str], images: Images) -> Found:
    """Read exports; of a task's annotations the first that was not cancelled counts, a ground truth before others.

    Regions with labels make objects. Where there are none, choices make classes of whole images.

    Raises:
        DatasetError: not a list of tasks.
    """
    reading = _read_tasks(tree, files, images)
    kinds = Counter(str(r.get("type")).lower() for t in reading.done for r in t.results if isinstance(r, dict))
    if kinds["choices"] and not any(kinds[k] for k in REGIONS):
        return _classified(reading, files)
    return _marked(reading, files)


def read_choices(tree: Tree, files: Sequence[str], images: Images, kind: TargetKind) -> Found | None:
    """Read the choices of exports as tags if those are wanted, else as classes of whole images, whatever regions there
    are; None where there are none."""
    reading = _read_tasks(tree, files, images)
    if not any(isinstance(r, dict) and r.get("type") == "choices" for t in reading.done for r in t.results):
        return None
    read = {TAGS: _tagged}.get(kind, _classified)
    return read(reading, files)


def _read_tasks(tree: Tree, files: Sequence[str], images: Images) -> _Reading:
    reading = _Reading(tree, images)
    notes = reading.notes
    seen: set[str] = set()
    for path in files:
        data, odd = plain_json(tree.content(path))
        for token, at in odd[:1]:
            text = f"{token} is not JSON; it is read as null"
            notes.add("repaired", text, "write a number or null", path, at, "warning")
        try:
            parts = msgspec.json.decode(data, type=list[msgspec.Raw])
        except BAD_JSON as error:
            text, line = json_problem(error, data)
            where = f" line {line}" if line is not None else ""
            raise DatasetError(
                f"expected a list of tasks in {quoted(path)}{where}: {text}", fix="export JSON again"
            ) from None
        lines = _TaskLines(path, data, parts)
        for entry, raw in enumerate(parts):
            try:
                task = msgspec.json.decode(raw, type=_Task)
            except BAD_JSON as error:
                text = f"task {entry} is left out: {error}"
                notes.leave_out("a task that cannot be read", "export JSON again", path, lines.line(entry),
                                message=text, code="annotation", severity="error")  # fmt: skip
                continue
            _take(reading, task, entry, path, lines, seen)
    if reading.several:
        text = f"{reading.several} tasks were annotated more than once; one annotation of each is read"
        notes.add("several_annotators", text, "keep the annotation that counts", files[0], severity="note")
    return reading


def _take(reading: _Reading, task: _Task, entry: int, path: str, lines: _TaskLines, seen: set[str]) -> None:
    notes, line = reading.notes, lines.line(entry)
    given = task.annotations or task.completions
    given = given if isinstance(given, list) else [given]
    valid = [a for a in given if isinstance(a, dict) and not a.get("was_cancelled")]
    done = sorted(valid, key=lambda a: not a.get("ground_truth"))[:1]
    results = done[0].get("result") if done else None
    results = results if isinstance(results, list) else []
    called, name = _image(task, results, reading.images, posixpath.dirname(path))
    if name is None:
        notes.miss(called, len(results), "export the images too", path, line)
        return
    if not done:
        why = "only a model has annotated this task" if task.predictions else "nobody has annotated this task"
        notes.leave_out(why, "annotate it, or remove it", name)
        return
    if name in seen:
        text = f"{name!r} is in another task too"
        notes.drop("their image is in another task too", "keep one task per image", path, line, message=text,
                   n=len(results))  # fmt: skip
        return
    seen.add(name)
    reading.several += len(valid) > 1
    others = [a.get("result") for a in valid if a is not done[0]]
    unread = sum(len(r) for r in others if isinstance(r, list))
    if unread:
        text = f"{unread} results of {name!r}, by further annotators or attempts, are left out"
        notes.drop("a further annotation of their task, of which one counts", "keep the annotation that counts", path,
                   line, message=text, n=unread, severity="note")  # fmt: skip
    reading.done.append(_Done(name, split_of(path) or split_of(name), results, entry, lines))


def _image(task: _Task, results: Sequence[Any], images: Images, folder: str) -> tuple[str, str | None]:
    """Return what a task calls its image, and the image: of the field that its results are for, or else of the first
    that is an image."""
    fields: dict[str, str] = {}
    for key, value in task.data.items():
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, Mapping):
            value = next((value[k] for k in ("url", "image", "path") if isinstance(value.get(k), str)), None)
        if isinstance(value, str) and value.strip():
            fields[key] = value
    aimed = [str(r.get("to_name")) for r in results if isinstance(r, dict)]
    keys = [k for k in dict.fromkeys((*aimed, *_IMAGE_KEYS, *fields)) if k in fields]
    for key in keys:
        name = _named(fields[key], images, folder)
        if name is not None:
            return fields[key], name
    upload = task.file_upload if isinstance(task.file_upload, str) else ""
    if upload and (name := _named(upload, images, folder)) is not None:
        return upload, name
    looks = [k for k in keys if posixpath.splitext(fields[k].partition("?")[0])[1].lower() in EXTENSIONS]
    called = fields[(looks or keys)[0]] if keys else upload
    return called[:200], None


def _named(called: str, images: Images, folder: str) -> str | None:
    """Find an image by an address of Label Studio's, which puts a hash before the name of what was uploaded."""
    if called.startswith("data:"):
        return None
    plain = unquote(called.partition("?d=")[2] or called)
    base = posixpath.basename(plain.replace("\\", "/"))
    found = images.find(plain, near=folder) or images.find(called, near=folder)
    return found or (images.find(_HASH.sub("", base), near=folder) if _HASH.match(base) else None)


def _marked(reading: _Reading, files: Sequence[str]) -> Found:
    """Return objects of the regions."""
    classes: dict[str, int] = {}
    kept = []
    outlined = False
    for task in reading.done:
        rows, stated = _rows(reading, task, classes)
        outlined = outlined or any(r[3] is not None for r in rows)
        kept.append((task, rows, stated))
    names = sorted(classes)
    ids = np.array([names.index(c) for c in classes], np.int64)
    has_splits = all(task.split for task, _, _ in kept)
    marked = []
    for task, rows, stated in kept:
        objects = _completed(objects_of(rows, task.lines, relative=True), outlined).renamed(ids)
        marked.append(Marked(task.name, task.split if has_splits else None, objects, stated))
    problems, account = reading.notes.all(), reading.notes.account()
    return Found(
        "label-studio",
        marked,
        tuple(names),
        outlined=outlined,
        problems=problems,
        files=set(files),
        account=account,
    )


def _completed(objects: Objects, outlined: bool) -> Objects:
    if not outlined or not len(objects):
        return objects
    shapes = list(objects.outlines) or [Outline()] * len(objects)
    for i, shape in enumerate(shapes):
        if not shape:
            x0, y0, x1, y1 = objects.boxes_xyxy[i]
            shapes[i] = Outline((np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]),), relative=True)
    return replace(objects, outlines=shapes)


def _rows(reading: _Reading, task: _Done, classes: dict[str, int]) -> tuple[list[Row], tuple[int, int] | None]:
    notes, path, line = reading.notes, task.lines.path, task.lines.line(task.entry)
    rows: list[Row] = []
    stated: tuple[int, int] | None = None
    beside = _labels_beside(task.results)
    regions = {_id(r) for r in task.results if _kind(r) in REGIONS}
    for result in task.results:
        kind = _kind(result)
        if kind in _SIDE_BY_SIDE and _id(result) is not None and _id(result) in regions:
            # It names the region of the same id, and is read with it.
            notes.read += 1
            continue
        try:
            if kind is None or kind not in REGIONS:
                raise DatasetError(_not_read(kind))
            value = result["value"]
            if not isinstance(value, dict):
                raise DatasetError("its value is not an object")
            if result.get("image_rotation"):
                raise DatasetError("a region of an image that was turned in Label Studio")
            labels = _labels(kind, value) or beside.get(_id(result), [])
            if not labels:
                raise DatasetError("a region without a label")
            size = _stated(result)
            stated = stated or size
            shape, upright = shape_of(REGIONS[kind], value, partial(_size, reading, task, size))
            box = shape.box() / (np.array([*_size(reading, task, size)[::-1]] * 2) if shape.rle is not None else 1.0)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, EyewrightError) as error:
            reason = error.message if isinstance(error, EyewrightError) else _plain(error)
            text = f"a result of task {task.entry} is left out: {reason}"
            severity = "warning" if reason == _not_read(kind) else "error"
            notes.drop(reason, _FIXES.get(kind or "", "draw it again"), path, line, message=text, severity=severity)
            continue
        if len(labels) > 1:
            notes.reduce("further labels of a region, of which the first counts", "give each one label", path, line)
        notes.read += 1
        rows.append((box.tolist(), classes.setdefault(labels[0], len(classes)), False, None if upright else shape,
                     task.entry))  # fmt: skip
    return rows, stated


_FIXES = {
    "choices": "use --task classify, which reads them as classes of whole images",
    "keypointlabels": "draw a rectangle or polygon; key points are not read",
    "keypoint": "draw a rectangle or polygon; key points are not read",
    "rectangle": "give it a label",
    "polygon": "give it a label",
    "brush": "give it a label",
    "ellipse": "give it a label",
    "relation": "nothing, if objects are what you need",
}


def _not_read(kind: str | None) -> str:
    return f"a result of the type {kind or 'none'!r}, which is not read"


def _plain(error: Exception) -> str:
    return (
        f"it has no {error.args[0]!r}"
        if isinstance(error, KeyError)
        else "its value does not have the form that Label Studio writes"
    )


def _kind(result: Any) -> str | None:
    kind = result.get("type") if isinstance(result, dict) else None
    return kind.lower() if isinstance(kind, str) else None


def _id(result: Any) -> str | None:
    return word(result.get("id")) if isinstance(result, dict) else None


def _labels(kind: str, value: Mapping[str, Any]) -> list[str]:
    """Return the labels that a result itself holds."""
    for key in (kind, "labels", "rectanglelabels", "polygonlabels", "brushlabels", "ellipselabels"):
        given = value.get(key)
        found = [w for w in map(word, given if isinstance(given, list) else [given]) if w is not None]
        if found:
            return found
    return []


def _labels_beside(results: Sequence[Any]) -> dict[str | None, list[str]]:
    """Return labels given as results of their own, by the id of their region: `labels` before `choices`."""
    found: dict[str | None, list[str]] = {}
    for wanted in ("labels", "choices"):
        for result in results:
            if _kind(result) == wanted and _id(result) is not None and isinstance(result.get("value"), dict):
                given = result["value"].get(wanted)
                words = [w for w in map(word, given if isinstance(given, list) else [given]) if w is not None]
                if words:
                    found.setdefault(_id(result), words)
    return found


def _stated(result: Mapping[str, Any]) -> tuple[int, int] | None:
    try:
        height, width = (int(number(result.get(k))) for k in ("original_height", "original_width"))
    except ValueError:
        return None
    return (height, width) if height > 0 and width > 0 else None


def _size(reading: _Reading, task: _Done, stated: tuple[int, int] | None) -> tuple[int, int]:
    return stated or probe_image(reading.tree.content(task.name)).size_hw


def _tagged(reading: _Reading, files: Sequence[str]) -> Found:
    """Return tags of whole images: everything that is chosen; an image for which nothing is chosen has none."""
    notes = reading.notes
    sets: list[list[str]] = []
    for task in reading.done:
        path, line = task.lines.path, task.lines.line(task.entry)
        own: set[str] = set()
        for result in task.results:
            kind = _kind(result)
            value = result.get("value") if isinstance(result, dict) else None
            given = value.get("choices") if isinstance(value, dict) else None
            words = [w for w in map(word, given if isinstance(given, list) else [given]) if w is not None]
            if kind == "choices" and words:
                own.update(words)
                continue
            reason = _not_read(kind) if kind != "choices" else "an empty choice"
            text = f"a result of task {task.entry} is left out: {reason}"
            notes.drop(reason, "nothing, if tags are what you need", path, line, message=text, severity="warning")
        notes.read += 1
        sets.append(sorted(own))
    targets, names = tag_sets(sets)
    has_splits = all(task.split for task in reading.done)
    marked = [
        Marked(task.name, task.split if has_splits else None, target)
        for task, target in zip(reading.done, targets, strict=True)
    ]
    problems, account = notes.all(), notes.account()
    return Found("label-studio", marked, names, kind=TAGS, problems=problems, files=set(files), account=account)


def _classified(reading: _Reading, files: Sequence[str]) -> Found:
    """Return classes of whole images, as their choices say."""
    notes = reading.notes
    rows: list[tuple[_Done, str]] = []
    fields = Counter(str(r.get("from_name")) for t in reading.done for r in t.results if _kind(r) == "choices")
    field_name = fields.most_common(1)[0][0] if fields else ""
    for task in reading.done:
        path, line = task.lines.path, task.lines.line(task.entry)
        label = None
        for result in task.results:
            kind = _kind(result)
            value = result.get("value") if isinstance(result, dict) else None
            given = value.get("choices") if isinstance(value, dict) else None
            words = [w for w in map(word, given if isinstance(given, list) else [given]) if w is not None]
            if kind != "choices":
                reason, fix = (
                    _not_read(kind),
                    "use --task detect, which reads regions" if kind in REGIONS else "nothing",
                )
            elif str(result.get("from_name")) != field_name:
                reason, fix = f"choices next to those of {field_name!r}", "export one set of choices"
            elif len(words) != 1:
                reason, fix = f"{len(words)} choices for one image, where one is expected", "choose one per image"
            elif label is not None:
                reason, fix = "a second choice for one image", "choose one per image"
            else:
                label = words[0]
                notes.read += 1
                continue
            text = f"a result of task {task.entry} is left out: {reason}"
            notes.drop(reason, fix, path, line, message=text)
        if label is None:
            notes.leave_out("an image for which nothing is chosen", "choose a class, or remove it", task.name)
        else:
            rows.append((task, label))
    names = tuple(sorted({label for _, label in rows}))
    has_splits = all(task.split for task, _ in rows)
    marked = [Marked(task.name, task.split if has_splits else None, Label(names.index(label))) for task, label in rows]
    problems, account = notes.all(), notes.account()
    return Found("label-studio", marked, names, kind=LABEL, problems=problems, files=set(files), account=account)
