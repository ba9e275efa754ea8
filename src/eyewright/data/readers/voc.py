"""Read Pascal VOC: one XML file per image, lists of names in `ImageSets/Main` if they are there."""

__all__ = ["is_voc", "read_voc"]

import posixpath
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

import numpy as np

from eyewright.core.errors import DatasetError, EyewrightError, UnreadableImageError
from eyewright.data.dataset import SplitName
from eyewright.data.readers.listing import (
    EXTENSIONS,
    SPLITS,
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
from eyewright.data.readers.naming import folded
from eyewright.data.targets.objects import Outline
from eyewright.data.texts import decode_text, decode_xml, truth, word
from eyewright.data.tree import Tree

_MOST_BYTES = 64 * 2**20
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass
class _Node:
    """An XML element: its name in small letters, the line it begins in, its text, what is below it."""

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
    """Return whether there are XML files, and the first that holds anything is an annotation."""
    for name in names:
        if name.lower().endswith(".xml"):
            head = tree.content(name)[:4000].replace(b"\0", b"").lower()
            if head.strip():
                return b"<annotation" in head
    return False


def read_voc(tree: Tree, names: Sequence[str], images: Images) -> Found:
    """Read a Pascal VOC dataset; objects marked `difficult` are ignore regions, as in VOC's own evaluation.

    The image is the one of the file's own name, or else the one that `<filename>` names. Coordinates are taken as
    written, from 0; only in files of the VOC challenge itself, whose pixels count from 1, the near corner is moved
    by one.
    """
    notes = Notes()
    classes: dict[str, int] = {}
    files = [n for n in names if n.lower().endswith(".xml")]
    sets = _read_sets(tree, names, notes)
    rows: list[tuple[str, SplitName | None, list[Row], str, tuple[int, int] | None]] = []
    seen: dict[str, str] = {}
    listed: set[str] = set()
    broken: set[str | None] = set()
    outlined = False
    for path in files:
        data = b""
        try:
            data = tree.content(path)
            root = _parse(data, path)
        except (expat.ExpatError, DatasetError, UnreadableImageError) as error:
            line = getattr(error, "lineno", None)
            empty = not data.strip() and not isinstance(error, UnreadableImageError)
            text = "it is empty" if empty else _plain(error)
            fix = error.fix if isinstance(error, EyewrightError) and error.fix else "correct the file"
            notes.leave_out("a file that cannot be read", fix, path, line, message=f"cannot be read: {text}",
                            code="annotation", severity="error")  # fmt: skip
            broken.add(images.of_file(path)[0])
            continue
        if root.name != "annotation":
            text = f"<{root.name}> is not a VOC annotation"
            notes.leave_out("an XML file of another kind", "remove it", path, message=text, code="annotation")
            continue
        stem = folded(posixpath.splitext(posixpath.basename(path))[0])
        listed.add(stem)
        called = word(root.word("filename")) or ""
        split = sets.get(stem) or sets.get(folded(posixpath.splitext(called)[0])) or split_of(path)
        name, stale = images.of_file(path, called, split=split)
        objects = [node for node in root.below if node.name == "object"]
        if name is None:
            notes.miss(called or posixpath.basename(path), len(objects), "add the image, or remove the file", path)
            continue
        if name in seen:
            text = f"{name!r} is annotated in {seen[name]!r} too"
            notes.drop("their image is annotated in another file too", "keep one file per image", path,
                       message=text, n=len(objects))  # fmt: skip
            continue
        if stale:
            notes.rename(name, called, path)
        seen[name] = path
        own = [row for node in objects for row in _object(node, classes, path, notes, root)]
        outlined = outlined or any(r[3] is not None for r in own)
        rows.append((name, split, own, path, _stated(root)))
    for stem in sorted(set(sets) - listed)[:1]:
        n = len(set(sets) - listed)
        which = f"{n} names of the lists in ImageSets have" if n != 1 else "1 name of the lists in ImageSets has"
        text = f"{which} no XML file, such as {stem!r}"
        notes.add("missing_image", text, "add the files, or remove the names", "", severity="warning")
    order = {c: i for i, c in enumerate(sorted(classes))}
    by_id = {i: order[c] for c, i in classes.items()}
    marked = [
        Marked(
            name,
            split if sets or all(r[1] for r in rows) else None,
            _objects(own, by_id, path, outlined=outlined),
            stated,
        )
        for name, split, own, path, stated in rows
    ]
    folders = {posixpath.dirname(n) for n in seen}
    for name in images.names:
        if name not in seen and name not in broken and posixpath.dirname(name) in folders:
            notes.leave_out("no annotation file", "add an XML file, without objects if it shows none", name)
    problems, account = notes.all(), notes.account()
    return Found(
        "voc", marked, tuple(sorted(classes)), outlined=outlined, problems=problems, files=set(files), account=account
    )


def _objects(rows: Sequence[Row], by_id: dict[int, int], path: str, *, outlined: bool) -> Any:
    own: list[Row] = []
    for box, label, crowd, outline, line in rows:
        if outlined and outline is None:
            x0, y0, x1, y1 = box
            outline = Outline((np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64),))
        own.append((box, by_id[label], crowd, outline, line))
    return objects_of(own, TextLines(path))


def _object(node: _Node, classes: dict[str, int], path: str, notes: Notes, root: _Node) -> list[Row]:
    name, box = word(node.word("name")), node.first("bndbox")
    try:
        if name is None:
            raise ValueError("it has no name")
        outline = _polygon(node, path, notes)
        if box is not None:
            corners = [_coordinate(box, k) for k in _CORNERS]
        elif outline is not None:
            corners = [float(v) for v in outline.box()]
            notes.repair("an object without a bndbox, whose polygon gives its box", "add a bndbox", path, node.line)
        elif node.first("robndbox") is not None or node.first("rotated_box") is not None:
            raise ValueError("it has a rotated box (robndbox) and no bndbox")
        else:
            raise ValueError("it has no bndbox")
    except ValueError as error:
        text = f"object is left out: {error}"
        notes.drop(str(error), "fix or remove it", path, node.line, message=text)
        return []
    source = root.first("source")
    if source is not None and source.word("database").startswith("The VOC"):
        corners[:2] = [corners[0] - 1, corners[1] - 1]
    if any(n.name == "part" and n.first("bndbox") is not None for n in node.below):
        notes.reduce("parts of objects, such as a person's head", "nothing, if whole objects are what you need",
                     path, node.line)  # fmt: skip
    difficult = truth(node.word("difficult"))
    if difficult is None:
        shown = node.word("difficult")
        if shown.lower() != "unspecified":
            notes.repair(f"difficult of {shown[:20]!r}, read as 0", "write 0 or 1", path, node.line)
    notes.read += 1
    return [(corners, classes.setdefault(name, len(classes)), bool(difficult), outline, node.line)]


def _coordinate(box: _Node, name: str) -> float:
    try:
        return number(box.word(name))
    except ValueError as error:
        shown = box.word(name)
        if shown.lower().lstrip("+-") in ("nan", "inf", "infinity"):
            raise ValueError("its box is not finite") from None
        raise ValueError(f"its {name} is missing" if not shown else f"its {name}: {error}") from None


def _polygon(node: _Node, path: str, notes: Notes) -> Outline | None:
    """Return the outline of `<polygon>`, as points below it (`pt` with `x` and `y`) or as `x1`, `y1`, `x2`, …."""
    found = node.first("polygon")
    if found is None:
        return None
    pairs = [(p.word("x"), p.word("y")) for p in found.below if p.name in ("pt", "point")]
    if not pairs:
        k = 1
        while found.first(f"x{k}") is not None:
            pairs.append((found.word(f"x{k}"), found.word(f"y{k}")))
            k += 1
    if not pairs:
        return None
    try:
        points = np.array([[number(x), number(y)] for x, y in pairs], np.float64)
        if len(points) < 3:
            raise ValueError
    except ValueError:
        notes.reduce("a polygon that cannot be read", "draw it again with 3 points or more", path, found.line)
        return None
    return Outline((points,))


def _stated(root: _Node) -> tuple[int, int] | None:
    size = root.first("size")
    try:
        height, width = (int(number(size.word(k))) for k in ("height", "width")) if size is not None else (0, 0)
    except ValueError:
        return None
    return (height, width) if height > 0 and width > 0 else None


def _read_sets(tree: Tree, names: Sequence[str], notes: Notes) -> dict[str, SplitName]:
    """Return the part of each stem that a list of `ImageSets` names; the lists of `Main` count before others."""
    found: dict[str, SplitName] = {}
    lists = [n for n in names if n.lower().endswith(".txt") and "imagesets" in n.lower().split("/")[:-1]]
    main = [n for n in lists if posixpath.basename(posixpath.dirname(n)).lower() == "main"]
    again: dict[tuple[str, SplitName, SplitName], int] = {}
    for name in main or lists:
        stem = posixpath.splitext(posixpath.basename(name))[0].lower()
        if stem not in SPLITS:
            continue
        for line in decode_text(tree.content(name), name).splitlines():
            # The lists of one class say next to each name whether it is in the image.
            called = re.sub(r"\s+[+-]?[01]$", "", line.strip())
            if not called:
                continue
            base = posixpath.basename(called.replace("\\", "/"))
            bare, extension = posixpath.splitext(base)
            key = folded(bare if extension.lower() in (*EXTENSIONS, ".xml") else base)
            if found.setdefault(key, SPLITS[stem]) != SPLITS[stem]:
                place = (name, SPLITS[stem], found[key])
                again[place] = again.get(place, 0) + 1
    for (name, split, first), n in again.items():
        text = f"{n} of its images are in the list of {first} too; they are used in {first}, not in {split}"
        notes.add("same_part", text, "list each image in one part", name, severity="warning")
    return found


def _plain(error: Exception) -> str:
    return error.message if isinstance(error, EyewrightError) else str(error)


def _parse(data: bytes, path: str) -> _Node:
    """Read XML with the lines of its elements; entities are refused, since they can be made to expand without end."""
    if len(data) > _MOST_BYTES:
        raise DatasetError(f"it is larger than {_MOST_BYTES} bytes")
    parser: Any = expat.ParserCreate()
    top = _Node("", 0)
    open_nodes = [top]

    def start(name: str, _: Any) -> None:
        if len(open_nodes) > 64:
            raise DatasetError("elements are nested deeper than 64 levels")
        node = _Node(name.rpartition(":")[2].lower(), parser.CurrentLineNumber)
        open_nodes[-1].below.append(node)
        open_nodes.append(node)

    def refuse(*_: Any) -> None:
        raise DatasetError("it declares entities")

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda name: open_nodes.pop()
    parser.CharacterDataHandler = _collector(open_nodes)
    parser.EntityDeclHandler = refuse
    parser.Parse(decode_xml(data, path), True)
    return top.below[0]


def _collector(open_nodes: list[_Node]) -> Callable[[str], None]:
    def collect(text: str) -> None:
        open_nodes[-1].text += text

    return collect
