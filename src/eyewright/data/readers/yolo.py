"""Read YOLO: `data.yaml` as Ultralytics and Roboflow write it, one text file per image, shapes in fractions."""

__all__ = ["is_yolo", "read_yolo", "yolo_names"]

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from eyewright.core.errors import DatasetError, EyewrightError
from eyewright.core.quoting import quoted
from eyewright.data.dataset import SplitName
from eyewright.data.readers.listing import Found, Images, Marked, Notes, TextLines, objects_of, split_of
from eyewright.data.readers.naming import SPLITS, folded
from eyewright.data.readers.yolo_lines import LabelFile, layout_of, read_lines, rows_of
from eyewright.data.targets.objects import Objects, Outline, no_objects
from eyewright.data.texts import decode_text, word
from eyewright.data.tree import Tree

_LISTS = ("classes.txt", "obj.names", "labels.txt", "_darknet.labels", "predefined_classes.txt")
_MOST_YAML = 4 * 2**20
# What Label Studio's export of YOLO has next to classes.txt.
_CATEGORIES = "notes.json"


def is_yolo(names: Sequence[str], images: Images) -> bool:
    """Return whether there are label files next to the images, or in `labels` where those are in `images`."""
    labels = [n for n in names if n.lower().endswith(".txt") and posixpath.basename(n) not in _LISTS]
    if any("labels" in n.lower().split("/")[:-1] for n in labels):
        return any("images" in n.lower().split("/")[:-1] for n in images.names) or bool(_yaml_of(names))
    stems = {posixpath.splitext(n)[0] for n in images.names}
    beside = sum(posixpath.splitext(n)[0] in stems for n in labels)
    return beside > 0 and (bool(_yaml_of(names)) or any(posixpath.basename(n) in _LISTS for n in names))


def read_yolo(tree: Tree, names: Sequence[str], images: Images) -> Found:
    """Read a YOLO dataset; an image without a label file is background, and so is one whose file is empty.

    With `kpt_shape` in `data.yaml`, or where the lines show it, lines hold a box and key points, which are not read.

    Raises:
        DatasetError: `data.yaml` that is not YAML, or names no classes that can be used.
    """
    notes = Notes()
    config = _yaml_of(names)
    content = _read_yaml(tree, config) if config else _read_darknet(tree, names)
    classes, source = _class_names(tree, names, config, content)
    texts = [n for n in names if n.lower().endswith(".txt") and posixpath.basename(n) not in _LISTS]
    parts = _parts_of(content, config, tree, images, notes)
    labels = _Labels(texts, images)
    chosen = [(name, split, labels.of(name)) for name, split in parts]
    files, unread = _read_files(tree, chosen, classes, notes)
    layout = layout_of(content.get("kpt_shape"), files.values(), len(classes) if classes else None)
    _hint_at_one(files.values(), layout.n_classes, config or source, notes)
    marked: list[Marked] = []
    largest, outlined = -1, False
    for name, split, label in chosen:
        if label is None:
            text = "no label file; it is treated as background"
            fix = f"add {_expected(name)!r}, empty if it shows nothing"
            notes.add("unlabelled", text, fix, name, severity="warning")
            marked.append(Marked(name, split, no_objects()))
            continue
        if label in unread:
            continue
        rows = rows_of(files[label], layout, notes)
        outlined = outlined or any(r[3] is not None for r in rows)
        largest = max([largest, *(r[1] for r in rows)])
        objects = objects_of(rows, TextLines(label), relative=True) if rows else no_objects()
        marked.append(Marked(name, split, objects))
    others = _leave_out_others(tree, images, {name for name, _, _ in chosen}, labels, set(files), notes)
    lists = {n for n in _path_lists(content) if n in texts} | {n for n in texts if "imagesets" in n.lower()}
    for orphan in sorted(set(texts) - set(files) - unread - lists - others):
        rows_there = _count_labels(tree, orphan)
        if rows_there:
            text = (
                f"a label file without an image; its {rows_there} line{'s are' if rows_there > 1 else ' is'} left out"
            )
            notes.drop("a label file without an image", "add the image, or remove it", orphan, message=text,
                       n=rows_there, code="orphan_annotation")  # fmt: skip
    found = Found("yolo", marked, (), outlined=outlined, files={*texts, *([config] if config else [])})
    if not classes:
        classes = tuple(f"class_{i}" for i in range(largest + 1))
        found.notes.append("no file names the classes; they are called class_0, class_1 and so on")
    if source:
        found.files.add(source)
    found.names = classes
    if outlined:
        _complete_outlines(found)
    found.problems, found.account = notes.all(), notes.account()
    return found


def yolo_names(tree: Tree, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of classes by number, from `data.yaml` or a list among the files `names`; none without one.

    Raises:
        DatasetError: as `read_yolo`.
    """
    config = _yaml_of(names)
    content = _read_yaml(tree, config) if config else {}
    return _class_names(tree, names, config if "names" in content else "", content)[0]


def _read_files(
    tree: Tree, chosen: Sequence[tuple[str, SplitName | None, str | None]], classes: Sequence[str], notes: Notes
) -> tuple[dict[str, LabelFile], set[str]]:
    """Return the label files by their names, and the names of those that cannot be read; their images are left out."""
    files: dict[str, LabelFile] = {}
    unread: set[str] = set()
    for name, _, label in chosen:
        if label is None:
            continue
        try:
            files[label] = files[label] if label in files else read_lines(tree, label, classes)
        except EyewrightError as error:
            unread.add(label)
            message = f"cannot be read: {error.message}; {name!r} is left out"
            notes.leave_out("a label file that cannot be read", error.fix or "correct the file", label, message=message,
                            code="annotation", severity="error")  # fmt: skip
    if unread and not files:
        first = next(f for f in notes.all() if f.path in unread)
        raise DatasetError(f"{first.path}: {first.message}", fix="correct the label files")
    return files, unread


def _leave_out_others(
    tree: Tree, images: Images, given: set[str], labels: "_Labels", used: set[str], notes: Notes
) -> set[str]:
    """Say which images no part names, with the lines of their label files; return these files."""
    found: set[str] = set()
    for name in images.names:
        if name not in given:
            label = labels.of(name)
            n = _count_labels(tree, label) if label is not None and label not in used | found else 0
            fix = "name its folder in data.yaml, or remove it"
            notes.leave_out("no part of data.yaml names it", fix, name, code="unlisted", n=n)
            found |= {label} if label is not None and label not in used else set()
    return found


def _hint_at_one(files: Any, n_classes: int | None, path: str, notes: Notes) -> None:
    """Say where class ids are those of a list that counts from 1: a class would be taken for the next."""
    if n_classes is None:
        return
    ids = {int(v[0]) for f in files for _, _, v, _ in f.lines if v and v[0] == int(v[0])}
    if ids and min(ids) == 1 and max(ids) == n_classes:
        text = f"class ids go from 1 to {n_classes}, where {n_classes} classes have the ids 0 to {n_classes - 1}"
        fix = "subtract 1 from each id: otherwise every object has the next class"
        notes.add("class_id", text, fix, path)


def _yaml_of(names: Sequence[str]) -> str:
    found = [n for n in names if n.lower().endswith((".yaml", ".yml"))]
    first = [n for n in found if posixpath.basename(n).lower() in ("data.yaml", "data.yml", "dataset.yaml")]
    return min(first or found, key=lambda n: (n.count("/"), n), default="")


def _read_yaml(tree: Tree, path: str) -> Mapping[str, Any]:
    """Return a YAML file's content with every scalar as it is typed: a class may be called `no`, `1e3` or `null`."""
    import yaml

    class Words(yaml.SafeLoader):
        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            words = [key for key, _ in node.value if isinstance(key.value, str)]
            for key in words:
                if key.value in seen:
                    problem = f"the key {key.value[:40]!r} occurs twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
            found: dict[Any, Any] = super().construct_mapping(node, deep)
            return found

    data = tree.content(path)
    if len(data) > _MOST_YAML:
        raise DatasetError(f"{quoted(path)} is larger than {_MOST_YAML} bytes", fix="check the file")
    text = decode_text(data, path)
    try:
        loader = Words(text)
        try:
            content = loader.get_single_data()
        finally:
            loader.dispose()
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or type(error).__name__
        raise DatasetError(f"{quoted(path)}{place} is not YAML: {problem}", fix="correct it") from None
    if not isinstance(content, Mapping):
        raise DatasetError(
            f"expected names and paths in {quoted(path)}, found {type(content).__name__}", fix="correct it"
        )
    return {str(k): v for k, v in content.items()}


def _read_darknet(tree: Tree, names: Sequence[str]) -> Mapping[str, Any]:
    """Return what a `.data` file of Darknet says (`train = data/train.txt`), or else lists of images by name."""
    path = min((n for n in names if n.lower().endswith(".data")), key=lambda n: (n.count("/"), n), default="")
    content: dict[str, Any] = {}
    if path:
        for line in decode_text(tree.content(path), path).splitlines():
            key, equals, value = line.partition("=")
            if equals and not line.lstrip().startswith("#"):
                content[key.strip().lower()] = value.strip()
    if not any(content.get(k) for k in ("train", "val", "valid", "test")):
        for name in names:
            stem, extension = posixpath.splitext(posixpath.basename(name).lower())
            if extension == ".txt" and stem in SPLITS and name.count("/") <= 1:
                content.setdefault(SPLITS[stem], name)
    return content


def _class_names(
    tree: Tree, names: Sequence[str], config: str, content: Mapping[str, Any]
) -> tuple[tuple[str, ...], str]:
    listed = content.get("names") if config else None
    if listed is not None:
        if isinstance(listed, Mapping):
            try:
                by_id = {int(str(k)): word(v) or f"class_{k}" for k, v in listed.items()}
            except (TypeError, ValueError):
                wrong_key = next((str(k) for k in listed if not str(k).isdigit()), "")
                raise DatasetError(
                    f"expected class ids as keys of names in {quoted(config)}, found {wrong_key[:40]!r}",
                    fix="write names as a list, or as 0: cat",
                ) from None
            if by_id and (min(by_id) < 0 or max(by_id) > 10**6):
                wrong = min(by_id) if min(by_id) < 0 else max(by_id)
                raise DatasetError(
                    f"expected class ids from 0 to 1,000,000 in {quoted(config)}, found {str(wrong)[:40]}",
                    fix="correct it",
                )
            listed = [by_id.get(i, f"class_{i}") for i in range(max(by_id, default=-1) + 1)]
        if isinstance(listed, str) and str(content.get("nc")) == "1":
            listed = [listed]
        if not isinstance(listed, Sequence) or isinstance(listed, str):
            raise DatasetError(f"expected a list of names in {quoted(config)}, found {listed!r}", fix="correct it")
        if any(isinstance(n, list | Mapping) for n in listed):
            raise DatasetError(f"expected a list of names in {quoted(config)}, found lists in it", fix="correct it")
        classes = tuple(word(n) or f"class_{i}" for i, n in enumerate(listed))
        n = content.get("nc")
        if isinstance(n, str) and re.fullmatch(r"\d{1,6}", n) and int(n) != len(classes):
            raise DatasetError(f"{quoted(config)} says nc: {n} and names {len(classes)} classes", fix="make them agree")
        if len(set(classes)) < len(classes):
            twice = next(c for c in classes if classes.count(c) > 1)
            raise DatasetError(f"two classes in {quoted(config)} are called {twice!r}", fix="give them different names")
        return classes, ""
    path = next((n for n in names if posixpath.basename(n).lower() in _LISTS), "")
    path = path or next((n for n in sorted(names, key=lambda n: n.count("/")) if n.lower().endswith(".names")), "")
    if not path:
        return _categories(tree, names)
    lines = [word(line) for line in decode_text(tree.content(path), path).splitlines()]
    return tuple(line for line in lines if line), path


def _categories(tree: Tree, names: Sequence[str]) -> tuple[tuple[str, ...], str]:
    path = next((n for n in names if posixpath.basename(n).lower() == _CATEGORIES), "")
    if not path:
        return (), ""
    try:
        rows = json.loads(decode_text(tree.content(path), path))["categories"]
        by_id = {int(r["id"]): word(r["name"]) for r in rows}
    except (ValueError, TypeError, KeyError, RecursionError):
        return (), ""
    if sorted(by_id) != list(range(len(by_id))):
        return (), ""
    return tuple(by_id[i] or f"class_{i}" for i in range(len(by_id))), path


def _path_lists(content: Mapping[str, Any]) -> list[str]:
    return [posixpath.normpath(v) for v in content.values() if isinstance(v, str) and v.endswith(".txt")]


def _places(content: Mapping[str, Any], split: str) -> list[str]:
    given = content.get(split) or (content.get("valid") or content.get("validation") if split == "val" else None)
    several = given if isinstance(given, list) else [given]
    return [v for v in several if isinstance(v, str) and v.strip().lower() not in ("", "null", "none", "~")]


def _parts_of(
    content: Mapping[str, Any], config: str, tree: Tree, images: Images, notes: Notes
) -> list[tuple[str, SplitName | None]]:
    """Return the images with their part, as `data.yaml` says, or else as their folders do."""
    found: dict[str, SplitName | None] = {}
    below = posixpath.dirname(config)
    parts: tuple[SplitName, ...] = ("train", "val", "test")
    for split in parts:
        again: dict[SplitName, int] = {}
        for place in _places(content, split):
            several = _resolve(place, below, str(content.get("path") or ""), tree, images, notes)
            if not several:
                text = f"{split} is {quoted(place)}, where there are no images"
                notes.add("missing_part", text, "add them, or remove the line", config, severity="warning")
            for name in several:
                first = found.setdefault(name, split)
                if first is not None and first != split:
                    again[first] = again.get(first, 0) + 1
        for first, n in again.items():
            whole = n == sum(v == first for v in found.values())
            text = (
                f"{split} names {'the same images as' if whole else f'{n} images of'} {first}; they are used in {first}"
            )
            fix = f"name other images for {split}, or leave it out of the file: it is cut from {first} then"
            notes.add("same_part", text, fix, config, severity="warning")
    if not found:
        # Without a file that says which, all images; their folders may tell the part.
        found = {n: split_of(n) for n in images.names}
        if None in found.values():
            found = dict.fromkeys(found)
    return list(found.items())


def _resolve(place: str, below: str, root: str, tree: Tree, images: Images, notes: Notes) -> list[str]:
    """Find a folder or list of images: from `path`, from where the file lies, or, as Roboflow's, from one above."""
    place = place.replace("\\", "/")
    plain = place
    while plain.startswith(("../", "./")):
        plain = plain.partition("/")[2]
    for start in dict.fromkeys((posixpath.join(below, root), below, "")):
        for way in dict.fromkeys((place, plain)):
            where = posixpath.normpath(posixpath.join(start, way)).strip("/")
            if way.endswith(".txt") and where in tree.names():
                return _listed(where, tree, images, notes)
            if not where.startswith("..") and (several := images.below(where)):
                return several
    # An absolute path of the machine that wrote it: its last folders are here too.
    parts = [p for p in plain.split("/") if p]
    for k in range(len(parts)):
        if several := images.below("/".join(parts[k:])):
            return several
    return []


def _listed(path: str, tree: Tree, images: Images, notes: Notes) -> list[str]:
    """Return the images that a list names, one per line; those that are not there are noted."""
    found = []
    for number, line in enumerate(decode_text(tree.content(path), path).splitlines(), 1):
        if not line.strip():
            continue
        name = images.find(line.strip(), near=posixpath.dirname(path))
        if name is None:
            notes.miss(line.strip()[:200], 0, "add the file, or remove its line", path, number)
        else:
            found.append(name)
    return found


def _expected(name: str) -> str:
    parts = name.split("/")
    stem = posixpath.splitext(name)[0] + ".txt"
    for i in reversed(range(len(parts) - 1)):
        if parts[i].lower() == "images":
            return "/".join([*parts[:i], "labels", *parts[i + 1 : -1], posixpath.basename(stem)])
    return stem


class _Labels:
    """The label files of a dataset, found by the name of their image."""

    def __init__(self, texts: Sequence[str], images: Images) -> None:
        self._exact = set(texts)
        self._by_folded: dict[str, list[str]] = {}
        self._by_stem: dict[str, list[str]] = {}
        for name in texts:
            self._by_folded.setdefault(folded(name), []).append(name)
            self._by_stem.setdefault(_stem(name), []).append(name)
        self._images_of: dict[str, int] = {}
        for name in images.names:
            self._images_of[_stem(name)] = self._images_of.get(_stem(name), 0) + 1

    def of(self, name: str) -> str | None:
        """Return the label file of an image: in `labels` where it is in `images`, next to it, or the only one of its
        name anywhere; without regard to case, to how accents are coded and to percent codes where that is clear."""
        beside = posixpath.splitext(name)[0] + ".txt"
        ways = (_expected(name), beside)
        for way in ways:
            if way in self._exact:
                return way
        for way in ways:
            alike = self._by_folded.get(folded(way), [])
            if len(alike) == 1:
                return alike[0]
        alike = self._by_stem.get(_stem(name), [])
        return alike[0] if len(alike) == 1 and self._images_of.get(_stem(name)) == 1 else None


def _stem(name: str) -> str:
    return folded(posixpath.splitext(posixpath.basename(name))[0])


def _count_labels(tree: Tree, name: str) -> int:
    """Return how many lines of a text file are labels; none where the first is not, or where it is no text."""
    try:
        lines = read_lines(tree, name).lines
    except EyewrightError:
        return 0
    first = lines[0][2] if lines else None
    return len(lines) if first is not None and len(first) >= 5 else 0


def _complete_outlines(found: Found) -> None:
    """Return boxes among polygons the outline that a box has."""
    for k, image in enumerate(found.images):
        objects = image.target
        assert isinstance(objects, Objects)
        if not len(objects):
            continue
        shapes = list(objects.outlines) or [Outline()] * len(objects)
        for i, shape in enumerate(shapes):
            if not shape:
                x0, y0, x1, y1 = objects.boxes_xyxy[i]
                shapes[i] = Outline((np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]),), relative=True)
        found.images[k] = image._replace(target=replace(objects, outlines=shapes))
