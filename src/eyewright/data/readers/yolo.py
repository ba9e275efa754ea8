"""Read YOLO: `data.yaml` as Ultralytics and Roboflow write it, a text file an image, boxes and polygons in shares."""

__all__ = ["is_yolo", "read_yolo"]

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eyewright.core.errors import DatasetError
from eyewright.data.dataset import SplitName
from eyewright.data.objects import Outline, no_objects
from eyewright.data.readers.listing import Found, Images, Marked, Notes, Row, TextLines, objects_of, split_of
from eyewright.data.tree import Tree

_LISTS = ("classes.txt", "obj.names", "labels.txt", "_darknet.labels", "predefined_classes.txt")
_MOST_YAML = 4 * 2**20


def is_yolo(names: Sequence[str], images: Images) -> bool:
    """Tell whether there are label files beside the images, or in `labels` where those are in `images`."""
    labels = [n for n in names if n.lower().endswith(".txt") and posixpath.basename(n) not in _LISTS]
    if any("labels" in n.lower().split("/")[:-1] for n in labels):
        return any("images" in n.lower().split("/")[:-1] for n in images.names) or bool(_yaml_of(names))
    stems = {posixpath.splitext(n)[0] for n in images.names}
    beside = sum(posixpath.splitext(n)[0] in stems for n in labels)
    return beside > 0 and (bool(_yaml_of(names)) or any(posixpath.basename(n) in _LISTS for n in names))


def read_yolo(tree: Tree, names: Sequence[str], images: Images) -> Found:
    """Read a YOLO dataset; an image without a label file is background, and so is one whose file is empty.

    Raises:
        DatasetError: `data.yaml` that is not YAML, or names no classes that can be used.
    """
    notes = Notes()
    config = _yaml_of(names)
    content = _read_yaml(tree, config) if config else {}
    classes, source = _class_names(tree, names, config, content)
    texts = [n for n in names if n.lower().endswith(".txt") and posixpath.basename(n) not in _LISTS]
    known = set(texts)
    marked: list[Marked] = []
    used: set[str] = set()
    largest, outlined = -1, False
    lists = {n for n in _path_lists(content) if n in known}
    for name, split in _images_of(content, config, tree, images):
        label = _label_name(name, known)
        if label is None:
            text = "no label file; it is taken for background"
            notes.add(
                "unlabelled", text, f"add {_expected(name)!r}, empty if it shows nothing", name, severity="warning"
            )
            marked.append(Marked(name, split, no_objects()))
            continue
        used.add(label)
        rows = _read_labels(tree, label, len(classes) if classes else None, notes)
        outlined = outlined or any(r[3] is not None for r in rows)
        largest = max([largest, *(r[1] for r in rows)])
        objects = objects_of(rows, TextLines(label), relative=True) if rows else no_objects()
        marked.append(Marked(name, split, objects))
    for orphan in sorted(known - used - lists):
        if _is_labels(tree, orphan):
            notes.add("orphan_annotation", "a label file without an image", "add the image, or remove it", orphan)
    found = Found("yolo", marked, (), outlined=outlined, files={*texts, *([config] if config else [])})
    if not classes:
        classes = tuple(f"class_{i}" for i in range(largest + 1))
        found.notes.append("no file names the classes; they are called class_0, class_1 and so on")
    if source:
        found.files.add(source)
    found.names = classes
    if outlined:
        _complete_outlines(found)
    found.problems = notes.all()
    return found


def _yaml_of(names: Sequence[str]) -> str:
    found = [n for n in names if n.lower().endswith((".yaml", ".yml"))]
    first = [n for n in found if posixpath.basename(n).lower() in ("data.yaml", "data.yml", "dataset.yaml")]
    return min(first or found, key=lambda n: (n.count("/"), n), default="")


def _read_yaml(tree: Tree, path: str) -> Mapping[str, Any]:
    import yaml

    data = tree.content(path)
    if len(data) > _MOST_YAML:
        raise DatasetError(f"{path!r} is larger than {_MOST_YAML} bytes", fix="check the file")
    try:
        content = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark is not None else ""
        raise DatasetError(f"{path!r}{place} is not YAML: {getattr(error, 'problem', error)}", fix="mend it") from None
    if not isinstance(content, Mapping):
        raise DatasetError(f"expected names and paths in {path!r}, found {type(content).__name__}", fix="mend it")
    return content


def _class_names(
    tree: Tree, names: Sequence[str], config: str, content: Mapping[str, Any]
) -> tuple[tuple[str, ...], str]:
    listed = content.get("names")
    if listed is not None:
        if isinstance(listed, Mapping):
            try:
                by_id = {int(k): str(v) for k, v in listed.items()}
            except (TypeError, ValueError):
                raise DatasetError(f"expected class ids as keys of names in {config!r}", fix="mend it") from None
            listed = [by_id.get(i, f"class_{i}") for i in range(max(by_id, default=-1) + 1)]
        if not isinstance(listed, Sequence) or isinstance(listed, str):
            raise DatasetError(f"expected a list of names in {config!r}, found {listed!r}", fix="mend it")
        classes = tuple(str(n) for n in listed)
        n = content.get("nc")
        if isinstance(n, int) and n != len(classes):
            raise DatasetError(f"{config!r} says nc: {n} and names {len(classes)} classes", fix="make them agree")
        if len(set(classes)) < len(classes):
            twice = next(c for c in classes if classes.count(c) > 1)
            raise DatasetError(f"two classes in {config!r} are called {twice!r}", fix="name them apart")
        return classes, ""
    path = next((n for n in names if posixpath.basename(n) in _LISTS), "")
    if not path:
        return (), ""
    lines = [line.strip() for line in tree.content(path).decode("utf-8-sig", "replace").splitlines()]
    return tuple(line for line in lines if line), path


def _path_lists(content: Mapping[str, Any]) -> list[str]:
    return [posixpath.normpath(v) for v in content.values() if isinstance(v, str) and v.endswith(".txt")]


def _images_of(
    content: Mapping[str, Any], config: str, tree: Tree, images: Images
) -> list[tuple[str, SplitName | None]]:
    """Give the images with their part, as `data.yaml` says, or else as their folders do."""
    found: dict[str, SplitName | None] = {}
    below = posixpath.dirname(config)
    for split in ("train", "val", "test"):
        given = content.get(split, content.get("valid") if split == "val" else None)
        for place in [given] if isinstance(given, str) else list(given or ()):
            for name in _resolve(str(place), below, str(content.get("path") or ""), tree, images):
                found.setdefault(name, split)
    if not found:
        # Without a file that says which, all images; their folders may tell the part.
        found = {n: split_of(n) for n in images.names}
        if None in found.values():
            found = dict.fromkeys(found)
    return list(found.items())


def _resolve(place: str, below: str, root: str, tree: Tree, images: Images) -> list[str]:
    """Find a folder or list of images: from `path`, from where the file lies, or, as Roboflow's, from one above."""
    place = place.replace("\\", "/")
    plain = place
    while plain.startswith(("../", "./")):
        plain = plain.partition("/")[2]
    for start in dict.fromkeys((posixpath.join(below, root), below, "")):
        for way in dict.fromkeys((place, plain)):
            where = posixpath.normpath(posixpath.join(start, way)).strip("/")
            if way.endswith(".txt") and where in tree.names():
                lines = tree.content(where).decode("utf-8-sig", "replace").splitlines()
                named = (images.find(line.strip(), near=posixpath.dirname(where)) for line in lines if line.strip())
                return [n for n in named if n is not None]
            if not where.startswith("..") and (several := images.below(where)):
                return several
    # An absolute path of the machine that wrote it: its last folders are here too.
    parts = [p for p in plain.split("/") if p]
    for k in range(len(parts)):
        if several := images.below("/".join(parts[k:])):
            return several
    return []


def _expected(name: str) -> str:
    parts = name.split("/")
    stem = posixpath.splitext(name)[0] + ".txt"
    for i in reversed(range(len(parts) - 1)):
        if parts[i].lower() == "images":
            return "/".join([*parts[:i], "labels", *parts[i + 1 : -1], posixpath.basename(stem)])
    return stem


def _label_name(name: str, known: set[str]) -> str | None:
    beside = posixpath.splitext(name)[0] + ".txt"
    return next((n for n in (_expected(name), beside) if n in known), None)


def _is_labels(tree: Tree, name: str) -> bool:
    first = tree.content(name)[:200].decode("latin-1").split("\n")[0].split()
    try:
        return len(first) >= 5 and all(np.isfinite(float(v)) for v in first)
    except ValueError:
        return False


def _read_labels(tree: Tree, path: str, n_classes: int | None, notes: Notes) -> list[Row]:
    rows: list[Row] = []
    for number, line in enumerate(tree.content(path).decode("utf-8-sig", "replace").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            values = [float(w) for w in words]
            label = int(values[0])
            if label != values[0] or not np.isfinite(values).all():
                raise ValueError
        except (ValueError, OverflowError):
            text = f"expected a class id and numbers, found {line.strip()[:60]!r}; it is left out"
            notes.add("annotation", text, "mend or remove the line", path, number)
            continue
        if label < 0 or (n_classes is not None and label >= n_classes):
            text = f"class id {label} is out of range; it is left out"
            last = "0 or more" if n_classes is None else f"0 to {n_classes - 1}"
            notes.add("class_id", text, f"use {last}, or name the class in data.yaml", path, number)
            continue
        if len(values) in (5, 6):
            x, y, w, h = values[1:5]
            rows.append(((x - w / 2, y - h / 2, x + w / 2, y + h / 2), label, False, None, number))
        elif len(values) >= 7 and len(values) % 2:
            points = np.array(values[1:]).reshape(-1, 2)
            box = (*points.min(0).tolist(), *points.max(0).tolist())
            rows.append((box, label, False, Outline((points,), relative=True), number))
        else:
            text = f"expected 5 numbers for a box or 7 and more for a polygon, found {len(values)}; it is left out"
            notes.add("annotation", text, "mend or remove the line", path, number)
    return rows


def _complete_outlines(found: Found) -> None:
    """Give boxes among polygons the outline that a box has."""
    from dataclasses import replace

    for k, image in enumerate(found.images):
        objects = image.target
        if not len(objects):
            continue
        shapes = list(objects.outlines) or [Outline()] * len(objects)
        for i, shape in enumerate(shapes):
            if not shape:
                x0, y0, x1, y1 = objects.boxes_xyxy[i]
                shapes[i] = Outline((np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]),), relative=True)
        found.images[k] = image._replace(target=replace(objects, outlines=shapes))
