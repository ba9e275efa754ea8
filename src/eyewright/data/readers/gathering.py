"""What a reader gathers: images found by name, their objects, classes by name, and what was left out."""

__all__ = ["Gathered", "rotated"]

import math
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from eyewright.data.dataset import SplitName
from eyewright.data.readers.listing import Found, Images, Marked, Notes, Row, objects_of, split_of
from eyewright.data.targets.objects import Lines, Objects, Outline

Size = tuple[int, int]


@dataclass
class _Entry:
    rows: list[Row]
    lines: Lines
    split: SplitName | None
    stated: Size | None
    relative: bool


@dataclass
class Gathered:
    """The objects of a dataset while its files are read, one entry per image.

    Classes are named as they are met; `listed` names classes that a file lists, in its order.
    """

    format: str
    images: Images
    notes: Notes = field(default_factory=Notes)
    listed: list[str] = field(default_factory=list)
    _classes: dict[str, int] = field(default_factory=dict)
    _entries: dict[str, _Entry] = field(default_factory=dict)

    def label(self, name: str) -> int:
        """Return the number that stands for a class until all files are read."""
        return self._classes.setdefault(name, len(self._classes))

    def add(
        self,
        called: str,
        rows: Sequence[Row],
        lines: Lines,
        *,
        line: int | None,
        split: SplitName | None = None,
        stated: Size | None = None,
        relative: bool = False,
    ) -> None:
        """Add the objects of the image that is `called` so by the file `lines.path`, in pixels or, if `relative`, in
        fractions of the sides; say where the image is missing, or is annotated twice."""
        path = lines.path
        name = self.find(called, path, split)
        if name is None:
            fix = "add the image, or remove its annotations"
            several = self.images.candidates(called)
            self.notes.miss(called, len(rows), fix, path, line, why="was not found", several=several)
            return
        if name in self._entries:
            other = self._entries[name].lines.path
            where = "twice in this file" if other == path else f"in {other!r} too"
            text = f"{name!r} is annotated {where}; the {len(rows)} annotations here are left out"
            reason = "their image is annotated twice"
            self.notes.drop(reason, "keep one entry per image", path, line, message=text, n=len(rows))
            return
        self.notes.read += len(rows)
        self._entries[name] = _Entry(list(rows), lines, split or split_of(path) or split_of(name), stated, relative)

    def find(self, called: str, path: str, split: SplitName | None = None) -> str | None:
        """Return the name of the image that the file `path` calls so; None where there is none."""
        return self.images.find(called, near=posixpath.dirname(path), split=split or split_of(path))

    def leave_out(self, what: str, why: str, fix: str, path: str, line: int | None, *, warn: bool = False) -> None:
        """Say that an annotation is left out."""
        severity = "warning" if warn else "error"
        self.notes.drop(why, fix, path, line, message=f"{what} is left out: {why}", severity=severity)

    def found(self, files: Iterable[str], *, notes: Sequence[str] = (), unlabelled: str = "") -> Found:
        """Return what was gathered. Classes are in the order of the list that the files have, others by name.

        `unlabelled` is what to do about an image that no file mentions.
        """
        others = sorted(set(self._classes) - set(self.listed))
        names = tuple(dict.fromkeys((*self.listed, *others)))
        place = {n: i for i, n in enumerate(names)}
        ids = np.array([place[c] for c in self._classes], np.int64)
        outlined = any(r[3] is not None for e in self._entries.values() for r in e.rows)
        has_splits = all(e.split for e in self._entries.values())
        marked = []
        for name, entry in sorted(self._entries.items()):
            objects = objects_of(entry.rows, entry.lines, relative=entry.relative)
            objects = with_outlines(objects) if outlined else objects
            objects = objects.renamed(ids) if len(ids) else objects
            marked.append(Marked(name, entry.split if has_splits else None, objects, entry.stated))
        folders = {posixpath.dirname(n) for n in self._entries}
        for name in self.images.names:
            if name not in self._entries and posixpath.dirname(name) in folders:
                reason = "no annotation file mentions this image"
                self.notes.leave_out(reason, unlabelled or "annotate it, or remove it", name)
        found = Found(self.format, marked, names, outlined=outlined, files=set(files))
        found.notes += notes
        found.problems, found.account = self.notes.all(), self.notes.account()
        return found


def with_outlines(objects: Objects) -> Objects:
    """Return boxes among polygons the outline that a box has."""
    shapes = list(objects.outlines) or [Outline()] * len(objects)
    for i, shape in enumerate(shapes):
        if not shape:
            x0, y0, x1, y1 = objects.boxes_xyxy[i]
            shapes[i] = Outline((np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]),), relative=objects.relative)
    return replace(objects, outlines=shapes)


def rotated(points: NDArray[np.float64], centre: Sequence[float], degrees: float) -> NDArray[np.float64]:
    """Return points (k, 2) turned about `centre`, clockwise as an image is looked at."""
    if not degrees:
        return points
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    about = np.asarray(centre, np.float64)
    turned: NDArray[np.float64] = (points - about) @ turn + about
    return turned
