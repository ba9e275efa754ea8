"""What the readers of annotations share: finding an image by what a file calls it, noting what is wrong."""

__all__ = ["BAD_JSON", "Found", "Images", "Marked", "Notes", "TextLines", "objects_of", "split_of", "used_labels"]

import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Finding
from eyewright.data.dataset import SplitName
from eyewright.data.objects import Lines, Objects, Outline
from eyewright.imaging.headers import FORMATS

EXTENSIONS = frozenset(e for exts in FORMATS.values() for e in exts)

SPLITS: Mapping[str, SplitName] = MappingProxyType(
    {
        **dict.fromkeys(("train", "training", "trn", "train2017", "train2014"), "train"),
        **dict.fromkeys(("val", "valid", "validation", "dev", "val2017", "val2014"), "val"),
        **dict.fromkeys(("test", "testing", "tst", "test2017"), "test"),
    }
)
_MOST_KEPT = 1000

BAD_JSON = (ValueError, RecursionError)
"""What reading bytes that are no JSON, no text or of other types raises; msgspec's own errors are among them."""


class Marked(NamedTuple):
    """One image of a dataset: its name, its part, what is marked in it, its size if the annotations state one, and the
    group that a split must not cut."""

    name: str
    split: SplitName | None
    target: Any
    stated_hw: tuple[int, int] | None = None
    group: str | None = None


@dataclass
class Found:
    """What a reader found: images with their objects, class names by id, and what was wrong or worth a word."""

    format: str
    images: list[Marked]
    names: tuple[str, ...]
    outlined: bool = False
    task: str = "detect"
    notes: list[str] = field(default_factory=list)
    problems: list[Finding] = field(default_factory=list)
    files: set[str] = field(default_factory=set)


class Notes:
    """Findings while reading, at most 1,000 a code, with the number of all."""

    def __init__(self) -> None:
        self._kept: dict[str, list[Finding]] = defaultdict(list)
        self._total: Counter[str] = Counter()

    def add(
        self, code: str, message: str, fix: str, path: str, line: int | None = None, severity: Any = "error"
    ) -> None:
        self._total[code] += 1
        if len(self._kept[code]) < _MOST_KEPT:
            self._kept[code].append(Finding(code, message, fix, path, line, severity))

    def all(self) -> list[Finding]:
        found = []
        for code, kept in self._kept.items():
            found += kept
            if self._total[code] > len(kept):
                last = kept[-1]
                more = f"and {self._total[code] - len(kept)} more of this kind"
                found.append(Finding(code, more, last.fix, severity=last.severity))
        return found


@dataclass(frozen=True)
class TextLines:
    """Lines of a text file whose entries are its line numbers."""

    path: str

    def line(self, entry: int) -> int | None:
        return entry if entry > 0 else None


class Images:
    """The images of a tree, found by any way in which an annotation may name them."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = [n for n in names if posixpath.splitext(n)[1].lower() in EXTENSIONS]
        self._by_base: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for name in self.names:
            base = posixpath.basename(name)
            self._by_base[base].append(name)
            self._by_stem[posixpath.splitext(base)[0]].append(name)

    def find(self, called: str, *, near: str = "", split: SplitName | None = None) -> str | None:
        """Give the image that is `called` so by an annotation file in the folder `near`.

        The image of that very path from there comes first, then the one whose path has most parts in common with
        what it is called, with the part of the dataset, and with the folder of the annotations.
        """
        called = called.replace("\\", "/")
        base = posixpath.basename(called)
        several = self._by_base.get(base)
        if several is None:
            several = self._by_stem.get(posixpath.splitext(base)[0]) if "." not in base else None
        if not several:
            return None
        exact = posixpath.normpath(posixpath.join(near, called))
        if len(several) == 1 or exact in several:
            return exact if exact in several else several[0]
        wanted = called.split("/")[::-1]

        def alike(name: str) -> tuple[int, int, int]:
            parts = name.split("/")[::-1]
            tail = next((i for i, (a, b) in enumerate(zip(parts, wanted, strict=False)) if a != b), len(wanted))
            same_split = int(split is not None and split_of(name) == split)
            common = len(posixpath.commonprefix([name.split("/"), near.split("/")])) if near else 0
            return tail, same_split, common

        return max(several, key=alike)

    def below(self, folder: str) -> list[str]:
        """Give the images in a folder and below it."""
        prefix = folder.rstrip("/") + "/" if folder not in ("", ".") else ""
        return [n for n in self.names if n.startswith(prefix)]


def split_of(path: str) -> SplitName | None:
    """Give the part of the dataset that a path speaks of, by a folder's name or a word of the file's.

    >>> split_of("valid/labels/a.txt"), split_of("annotations/instances_train2017.json"), split_of("photos/a.json")
    ('val', 'train', None)
    """
    parts = path.lower().split("/")
    for part in reversed(parts[:-1]):
        if part in SPLITS:
            return SPLITS[part]
    words = re.split(r"[^a-z0-9]+", posixpath.splitext(parts[-1])[0])
    return next((SPLITS[w] for w in words if w in SPLITS), None)


Row = tuple[Sequence[float], int, bool, Outline | None, int]


def objects_of(rows: Sequence[Row], lines: Lines | None, *, relative: bool = False) -> Objects:
    """Give objects from rows of box, class id, crowd, outline and entry."""
    outlines = [r[3] or Outline() for r in rows] if any(r[3] is not None for r in rows) else ()
    return Objects(
        np.array([r[0] for r in rows], np.float64).reshape(-1, 4),
        np.array([r[1] for r in rows], np.int64),
        np.array([r[2] for r in rows], bool),
        outlines,
        np.array([r[4] for r in rows], np.int64),
        lines,
        relative,
    )


def used_labels(found: Found, notes: Notes, path: str) -> None:
    """Leave out classes of which there is no object at all, saying so; ids follow."""
    counts = np.zeros(len(found.names), np.int64)
    for image in found.images:
        if len(image.target):
            counts += np.bincount(image.target.label_ids, minlength=len(counts))
    unused = [n for n, k in zip(found.names, counts, strict=True) if not k]
    for name in unused:
        text = f"class {name!r} is listed and never seen"
        notes.add("class_never_seen", text, "mark some, or leave it out of the list", path, severity="warning")
    if not unused or len(unused) == len(found.names):
        return
    kept = np.flatnonzero(counts)
    ids: NDArray[np.int64] = np.full(len(counts), -1, np.int64)
    ids[kept] = np.arange(len(kept))
    found.names = tuple(found.names[i] for i in kept)
    found.images = [i._replace(target=i.target.renamed(ids)) for i in found.images]
