"""Read Pascal VOC: an XML file an image, lists of names in `ImageSets/Main` if they are there."""

__all__ = ["is_voc", "read_voc"]

import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

import numpy as np

from eyewright.core.errors import DatasetError
from eyewright.data.dataset import SplitName
from eyewright.data.readers.listing import SPLITS, Found, Images, Marked, Notes, Row, TextLines, objects_of, split_of
from eyewright.data.tree import Tree

_MOST_BYTES = 64 * 2**20


@dataclass
class _Node:
    """An XML element: its name, the line it begins in, its text, what is below it."""

    name: str
    line: int
    text: str = ""
    below: "list[_Node]" = field(default_factory=list)

    def first(self, name: str) -> "_Node | None":
        return next((n for n in self.below if n.name == name), None)

    def word(self, name: str) -> str:
        found = self.first(name)
        return "" if found is None else found.text.strip()


def is_voc(tree: Tree, names: Sequence[str]) -> bool:
    """Tell whether there are XML files, and the first is an annotation."""
    first = next((n for n in names if n.lower().endswith(".xml")), None)
    return first is not None and b"<annotation" in tree.content(first)[:2000]


def read_voc(tree: Tree, names: Sequence[str], images: Images) -> Found:
    """Read a Pascal VOC dataset; objects marked `difficult` are ignore regions, as in VOC's own evaluation.

    Coordinates are taken as written, from 0; only in files of the VOC challenge itself, whose pixels count from 1, the
    near corner is moved by one.
    """
    notes = Notes()
    classes: dict[str, int] = {}
    files = [n for n in names if n.lower().endswith(".xml")]
    sets = _read_sets(tree, names)
    rows: list[tuple[str, SplitName | None, list[Row], str, tuple[int, int] | None]] = []
    seen: dict[str, str] = {}
    for path in files:
        try:
            root = _parse(tree.content(path))
        except (expat.ExpatError, DatasetError) as error:
            line = getattr(error, "lineno", None)
            notes.add("annotation", f"cannot be read: {error}; it is left out", "mend the file", path, line)
            continue
        if root.name != "annotation":
            continue
        stem = posixpath.splitext(posixpath.basename(path))[0]
        called = root.word("filename") or stem
        split = sets.get(stem) or split_of(path)
        name = images.find(called, near=posixpath.dirname(path), split=split) or images.find(
            stem, near=posixpath.dirname(path), split=split
        )
        own = [row for node in root.below if node.name == "object" for row in _object(node, classes, path, notes, root)]
        if name is None:
            text = f"image {called!r} with {len(own)} annotations is not there"
            notes.add("missing_image", text, "add the image, or remove the file", path)
            continue
        if name in seen:
            notes.add("annotation", f"{name!r} is annotated in {seen[name]!r} too", "keep one file an image", path)
            continue
        seen[name] = path
        rows.append((name, split, own, path, _stated(root)))
    order = {c: i for i, c in enumerate(sorted(classes))}
    marked = [
        Marked(
            name,
            split if sets or all(r[1] for r in rows) else None,
            objects_of([(r[0], order[_name(classes, r[1])], *r[2:]) for r in own], TextLines(path)),
            stated,
        )
        for name, split, own, path, stated in rows
    ]
    folders = {posixpath.dirname(n) for n in seen}
    for name in images.names:
        if name not in seen and posixpath.dirname(name) in folders:
            text = "no annotation file; it is left out"
            notes.add("unlabelled", text, "add an XML file, without objects if it shows none", name, severity="warning")
    return Found("voc", marked, tuple(sorted(classes)), problems=notes.all(), files=set(files))


def _name(classes: dict[str, int], index: int) -> str:
    return list(classes)[index]


def _object(node: _Node, classes: dict[str, int], path: str, notes: Notes, root: _Node) -> list[Row]:
    name, box = node.word("name"), node.first("bndbox")
    try:
        if not name:
            raise ValueError("it has no name")
        if box is None:
            raise ValueError("it has no bndbox")
        corners = [float(box.word(k)) for k in ("xmin", "ymin", "xmax", "ymax")]
        if not np.isfinite(corners).all():
            raise ValueError("its box is not finite")
    except ValueError as error:
        text = f"object is left out: {error}"
        notes.add("annotation", text, "mend or remove it", path, node.line)
        return []
    source = root.first("source")
    if source is not None and source.word("database").startswith("The VOC"):
        corners[:2] = [corners[0] - 1, corners[1] - 1]
    return [(corners, classes.setdefault(name, len(classes)), node.word("difficult") == "1", None, node.line)]


def _stated(root: _Node) -> tuple[int, int] | None:
    size = root.first("size")
    try:
        height, width = (int(float(size.word(k))) for k in ("height", "width")) if size is not None else (0, 0)
    except (ValueError, OverflowError):
        return None
    return (height, width) if height > 0 and width > 0 else None


def _read_sets(tree: Tree, names: Sequence[str]) -> dict[str, SplitName]:
    found: dict[str, SplitName] = {}
    for name in names:
        stem, extension = posixpath.splitext(posixpath.basename(name))
        if extension.lower() == ".txt" and "imagesets" in name.lower() and stem.lower() in SPLITS:
            for line in tree.content(name).decode("utf-8-sig", "replace").splitlines():
                if words := line.split():
                    found[words[0]] = SPLITS[stem.lower()]
    return found


def _parse(data: bytes) -> _Node:
    """Read XML with the lines of its elements; entities are refused, since they can be made to expand without end."""
    if len(data) > _MOST_BYTES:
        raise DatasetError(f"it is larger than {_MOST_BYTES} bytes")
    parser: Any = expat.ParserCreate()
    top = _Node("", 0)
    open_nodes = [top]

    def start(name: str, _: Any) -> None:
        if len(open_nodes) > 64:
            raise DatasetError("elements lie deeper than 64 in each other")
        node = _Node(name, parser.CurrentLineNumber)
        open_nodes[-1].below.append(node)
        open_nodes.append(node)

    def refuse(*_: Any) -> None:
        raise DatasetError("it declares entities")

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda name: open_nodes.pop()
    parser.CharacterDataHandler = _collector(open_nodes)
    parser.EntityDeclHandler = refuse
    parser.Parse(data, True)
    return top.below[0]


def _collector(open_nodes: list[_Node]) -> Callable[[str], None]:
    def collect(text: str) -> None:
        open_nodes[-1].text += text

    return collect
