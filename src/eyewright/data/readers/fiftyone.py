"""Read FiftyOne's exports: `labels.json` of classes or boxes by image, and `samples.json` of a whole dataset."""

__all__ = ["is_fiftyone", "read_fiftyone"]

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from eyewright.core.errors import DatasetError
from eyewright.core.quoting import quoted
from eyewright.data.dataset import SplitName
from eyewright.data.readers.gathering import Gathered
from eyewright.data.readers.listing import BAD_JSON, Found, Images, Marked, Row, TextLines, number
from eyewright.data.readers.naming import SPLITS
from eyewright.data.targets.label import LABEL, Label
from eyewright.data.targets.target import TargetKind
from eyewright.data.texts import json_reason
from eyewright.data.tree import Tree

_UNREADABLE = "export it again"


class _Top(msgspec.Struct):
    """`labels.json` has classes and labels, `samples.json` samples."""

    classes: Any = None
    labels: Any = None
    samples: Any = None


class _Said(NamedTuple):
    """What a file says of one image: its class, or its boxes, each a dict; neither where nobody has labelled it."""

    called: str
    label: Any
    boxes: Sequence[Any] | None
    split: SplitName | None


def is_fiftyone(data: bytes) -> bool:
    """Return whether a JSON file is FiftyOne's: labels by image, or samples with a path."""
    if b'"labels"' not in data and b'"filepath"' not in data:
        return False
    try:
        top = msgspec.json.decode(data, type=_Top)
    except BAD_JSON:
        return False
    if isinstance(top.samples, list):
        return any(isinstance(s, Mapping) and isinstance(s.get("filepath"), str) for s in top.samples[:8])
    return isinstance(top.labels, Mapping) and isinstance(top.classes, list | None)


def read_fiftyone(tree: Tree, files: Sequence[str], images: Images, kind: TargetKind | None) -> Found | None:
    """Read exports as boxes where they hold any, else as classes of whole images; None where `kind` asks for classes
    and there are boxes.

    Raises:
        DatasetError: a file that is not JSON.
    """
    gathered = Gathered("fiftyone", images)
    each = [(path, classes, list(said)) for path in files for classes, said in [_opened(tree, path)]]
    boxed = any(s.boxes is not None for _, _, said in each for s in said)
    if boxed and kind is LABEL:
        return None
    for path, classes, said in each:
        gathered.listed += [c for c in classes if c not in gathered.listed]
        if boxed:
            for one in said:
                rows = list(_rows(one, classes, gathered, path))
                gathered.add(one.called, rows, TextLines(path), line=None, split=one.split, relative=True)
    if boxed:
        return gathered.found(files, unlabelled="label it in FiftyOne, with an empty list if it shows nothing")
    return _classified(each, gathered)


def _opened(tree: Tree, path: str) -> tuple[list[str], Iterator[_Said]]:
    """Return the classes that a file lists, and what it says of each image."""
    try:
        top = msgspec.json.decode(tree.content(path), type=_Top)
    except BAD_JSON as error:
        raise DatasetError(f"{quoted(path)} is not FiftyOne's: {json_reason(error)}", fix=_UNREADABLE) from None
    classes = [str(c) for c in top.classes] if isinstance(top.classes, list) else []
    return classes, _of_samples(top.samples) if isinstance(top.samples, list) else _of_labels(top.labels)


def _of_labels(labels: Mapping[str, Any]) -> Iterator[_Said]:
    for name, value in labels.items():
        if isinstance(value, list) and (not value or isinstance(value[0], Mapping)):
            yield _Said(f"data/{name}", None, value, None)
        else:
            yield _Said(f"data/{name}", value.get("label") if isinstance(value, Mapping) else value, None, None)


def _of_samples(samples: Sequence[Any]) -> Iterator[_Said]:
    for sample in samples:
        if not isinstance(sample, Mapping) or not isinstance(sample.get("filepath"), str):
            continue
        tags = sample.get("tags")
        split = next((SPLITS[t] for t in tags if t in SPLITS), None) if isinstance(tags, list) else None
        fields = [v for k, v in sample.items() if isinstance(v, Mapping) and "predict" not in k]
        boxes = next((f["detections"] for f in fields if isinstance(f.get("detections"), list)), None)
        label = next((f["label"] for f in fields if "label" in f and "bounding_box" not in f), None)
        yield _Said(sample["filepath"], label, boxes, split)


def _named(value: Any, classes: Sequence[str]) -> str | None:
    """Return a class by name: as it is written, or by its number in the list of classes."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return classes[value] if 0 <= value < len(classes) else None if classes else str(value)
    return value.strip() or None if isinstance(value, str) else None


def _rows(one: _Said, classes: Sequence[str], gathered: Gathered, path: str) -> Iterator[Row]:
    for entry, box in enumerate(one.boxes or ()):
        given = box if isinstance(box, Mapping) else {}
        what = f"object {entry} of {one.called!r}"
        label = _named(given.get("label"), classes)
        if label is None:
            why = f"its label {str(given.get('label'))[:40]!r} is not in the list of classes"
            gathered.leave_out(what, why, "correct it in FiftyOne", path, None)
            continue
        try:
            x, y, w, h = (number(v) for v in given["bounding_box"])
        except (KeyError, TypeError, ValueError, OverflowError):
            gathered.leave_out(what, "its bounding_box is not four numbers", "correct it in FiftyOne", path, None)
            continue
        yield (x, y, x + w, y + h), gathered.label(label), False, None, 0


def _classified(each: Sequence[tuple[str, list[str], list[_Said]]], gathered: Gathered) -> Found:
    notes, images = gathered.notes, gathered.images
    rows: dict[str, tuple[SplitName | None, str]] = {}
    for path, classes, said in each:
        for one in said:
            name = gathered.find(one.called, path, one.split)
            label = _named(one.label, classes)
            if name is None:
                notes.miss(one.called, 1, "add the image, or remove its label", path, None)
            elif label is None:
                notes.leave_out("an image without a class", "label it in FiftyOne, or remove it", name)
            elif name in rows:
                notes.drop("their image is labelled twice", "keep one entry per image", path)
            else:
                notes.read += 1
                rows[name] = one.split, label
    folders = {posixpath.dirname(n) for n in rows}
    for name in images.names:
        if name not in rows and posixpath.dirname(name) in folders:
            notes.leave_out("no file mentions this image", "label it in FiftyOne, or remove it", name)
    names = tuple(dict.fromkeys((*gathered.listed, *sorted({label for _, label in rows.values()}))))
    has_splits = all(split for split, _ in rows.values())
    marked = [
        Marked(name, split if has_splits else None, Label(names.index(label))) for name, (split, label) in rows.items()
    ]
    problems, account = notes.all(), notes.account()
    files = {path for path, _, _ in each}
    return Found("fiftyone", marked, names, kind=LABEL, problems=problems, files=files, account=account)
