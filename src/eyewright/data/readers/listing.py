"""What the readers of annotations share: keeping account of what they read, repaired and left out."""

__all__ = [
    "BAD_JSON",
    "EXTENSIONS",
    "LARGEST",
    "SPLITS",
    "Found",
    "Images",
    "Marked",
    "Notes",
    "Row",
    "TextLines",
    "is_coordinate",
    "number",
    "objects_of",
    "split_of",
    "used_labels",
]

import math
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Finding
from eyewright.data.account import Account, Reason
from eyewright.data.dataset import SplitName
from eyewright.data.readers.naming import EXTENSIONS, SPLITS, Images, split_of
from eyewright.data.targets.objects import OBJECTS, Lines, Objects, Outline
from eyewright.data.targets.target import Target, TargetKind
from eyewright.data.tree import Tree

_MOST_KEPT = 1000

BAD_JSON = (ValueError, RecursionError)
"""What reading bytes that are no JSON, no text or of other types raises; msgspec's own errors are among them."""


class Marked(NamedTuple):
    """One image of a dataset: its name, its part, what is marked in it, its size if the annotations state one, and the
    group that a split must not cut."""

    name: str
    split: SplitName | None
    target: Target
    stated_hw: tuple[int, int] | None = None
    group: str | None = None


@dataclass
class Found:
    """What a reader found: images with their targets, which are all of one kind, class names by id, what was wrong or
    unusual, and the account of its annotations. `outlined` tells that objects have outlines, read or not.
    `headings` are names that stand above all others in a hierarchy, so that nobody misses them where none is marked."""

    format: str
    images: list[Marked]
    names: tuple[str, ...]
    outlined: bool = False
    kind: TargetKind = OBJECTS
    notes: list[str] = field(default_factory=list)
    problems: list[Finding] = field(default_factory=list)
    files: set[str] = field(default_factory=set)
    account: Account | None = None
    headings: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Reader:
    """A format of annotations that another package reads (entry points of "eyewright.readers").

    `about` says what it looks like, for `eyewright formats`. `reads(tree, names)` tells whether the files `names` of a
    dataset are of this format; it is asked before the built-in formats, so it must be sure. `read(tree, names, images)`
    reads them.
    """

    about: str
    reads: Callable[[Tree, Sequence[str]], bool]
    read: Callable[[Tree, Sequence[str], Images], Found]


LARGEST = 1e9
"""No image has more pixels than this along a side, by far."""

_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")


class Notes:
    """Findings while reading, at most 1,000 per code with the number of all, and the account that they make up.

    `read` is counted up by the reader, one for each annotation that it uses.
    """

    def __init__(self) -> None:
        self.read = 0
        self._kept: dict[str, list[Finding]] = defaultdict(list)
        self._total: Counter[str] = Counter()
        self._reasons: dict[str, dict[str, Reason]] = {"dropped": {}, "repaired": {}, "reduced": {}, "left_out": {}}
        self._once: dict[tuple[str, str, str], tuple[Finding, int]] = {}

    def add(
        self, code: str, message: str, fix: str, path: str, line: int | None = None, severity: Any = "error"
    ) -> None:
        """Note a finding about which nothing was left out."""
        self._total[code] += 1
        if len(self._kept[code]) < _MOST_KEPT:
            self._kept[code].append(Finding(code, message, fix, path, line, severity))

    def drop(
        self,
        reason: str,
        fix: str,
        path: str,
        line: int | None = None,
        *,
        message: str = "",
        n: int = 1,
        code: str = "annotation",
        severity: Any = "error",
        together: bool = False,
    ) -> None:
        """Note `n` annotations that are left out for a reason, which is the same text for all of its kind.

        `message` is what the finding says; without it the reason. What a whole folder has wrong in the same way is
        noted `together`: one finding a folder, with the number of times.
        """
        text = message or f"{reason}; it is left out"
        if together:
            self._note_once(code, reason, fix, path, line, n, severity, text=text, folder=posixpath.dirname(path))
        else:
            self.add(code, text, fix, path, line, severity)
        self._count("dropped", reason, n, path, line)

    def leave_out(
        self,
        reason: str,
        fix: str,
        path: str,
        line: int | None = None,
        *,
        message: str = "",
        code: str = "unlabelled",
        severity: Any = "warning",
        n: int = 0,
    ) -> None:
        """Note an image, or a file of one image, that is left out for a reason, with its `n` annotations."""
        self.add(code, message or f"{reason}; it is left out", fix, path, line, severity)
        self._count("left_out", reason, 1, path, line)
        self._count("dropped", f"their image is left out: {reason}", n, path, line)

    def miss(
        self,
        called: str,
        n: int,
        fix: str,
        path: str,
        line: int | None = None,
        *,
        why: str = "is missing",
        several: Sequence[str] = (),
    ) -> None:
        """Note an image that is not there, or that could be any of `several`, with its `n` annotations."""
        if len(several) > 1:
            text = f"image {called!r} with {n} annotation{'s' * (n != 1)} could be {several[0]!r} or {several[1]!r}"
            self.add("missing_image", text, "write its path from the folder of this file", path, line)
            self._count("left_out", "its name fits several images", 1, path, line)
            self._count("dropped", "the name of their image fits several images", n, path, line)
            return
        text = f"image {called!r} with {n} annotation{'s' * (n != 1)} {why}"
        self.add("missing_image", text, fix, path, line)
        self._count("left_out", "it is listed but missing", 1, path, line)
        self._count("dropped", "their image is missing", n, path, line)

    def rename(self, name: str, called: str, path: str) -> None:
        """Note a file that calls its image by the name of another one."""
        text = f"it names the image {called!r}; it is read as that of {name!r}, which has the file's own name"
        self.add("image_name", text, "correct the name, if the other image is meant", path, severity="warning")

    def reduce(self, reason: str, fix: str, path: str, line: int | None = None, *, n: int = 1) -> None:
        """Note `n` annotations that are read without a part; one finding a reason, at the first."""
        self._count("reduced", reason, n, path, line)
        self._note_once("reduced", reason, fix, path, line, n, "warning")

    def shorten(self, reason: str, fix: str, path: str, *, message: str, code: str) -> None:
        """Note an annotation that is read without a part, with a finding of its own."""
        self.add(code, message, fix, path)
        self._count("reduced", reason, 1, path, None)

    def repair(self, reason: str, fix: str, path: str, line: int | None = None, *, n: int = 1) -> None:
        """Note `n` annotations that are read although written otherwise; one finding a reason, at the first."""
        self._count("repaired", reason, n, path, line)
        self._note_once("repaired", reason, fix, path, line, n, "note")

    def all(self) -> list[Finding]:
        found = []
        for code, kept in self._kept.items():
            found += kept
            if self._total[code] > len(kept):
                last = kept[-1]
                more = f"and {self._total[code] - len(kept)} more of this kind"
                found.append(Finding(code, more, last.fix, severity=last.severity))
        for one, n in self._once.values():
            text = one.message if n == 1 else f"{one.message} ({n:,} times)"
            found.append(Finding(one.code, text, one.fix, one.path, one.line, one.severity))
        return found

    def account(self) -> Account:
        """Return what was read and what was not, so far."""
        parts = {kind: tuple(reasons.values()) for kind, reasons in self._reasons.items()}
        return Account(self.read, parts["dropped"], parts["repaired"], parts["reduced"], parts["left_out"])

    def _count(self, kind: str, reason: str, n: int, path: str, line: int | None) -> None:
        if n:
            # What was found stands in the text of the first, and makes no reason of its own of each value.
            key = _QUOTED.sub("''", reason)
            before = self._reasons[kind].get(key, Reason(reason, 0, path, line))
            self._reasons[kind][key] = Reason(before.text, before.n + n, before.path, before.line)

    def _note_once(
        self,
        code: str,
        reason: str,
        fix: str,
        path: str,
        line: int | None,
        n: int,
        severity: Any,
        *,
        text: str = "",
        folder: str = "",
    ) -> None:
        key = (code, reason, folder)
        first, before = self._once.get(key, (Finding(code, text or reason, fix, path, line, severity), 0))
        self._once[key] = first, before + n


@dataclass(frozen=True)
class TextLines:
    """Lines of a text file whose entries are its line numbers."""

    path: str

    def line(self, entry: int) -> int | None:
        return entry if entry > 0 else None


Row = tuple[Sequence[float], int, bool, Outline | None, int]

# A comma before three digits may as well part the thousands.
_DECIMAL_COMMA = re.compile(r"^([-+]?\d+),(\d{1,2}|\d{4,})$")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def number(value: object) -> float:
    """Return a number that a coordinate can be, also one that is written as text.

    Raises:
        ValueError: anything else.

    >>> number("12.5"), number(3)
    (12.5, 3.0)
    >>> number("12,5")
    12.5
    """
    if isinstance(value, str):
        plain = _DECIMAL_COMMA.sub(r"\1.\2", value.strip())
        value = float(plain) if _NUMBER.fullmatch(plain) else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        shown = "nothing" if value is None or value == "" else repr(value)[:40]
        raise ValueError(f"expected a number, found {shown}")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not is_coordinate(result):
        shown = "one beyond 1,000,000,000" if abs(result) > LARGEST else str(result)
        raise ValueError(f"expected a number, found {shown}")
    return result


def is_coordinate(value: float) -> bool:
    """Return whether a number can be one of an image: finite, and so small that areas and sums of it are finite too."""
    return abs(value) <= LARGEST


def objects_of(rows: Sequence[Row], lines: Lines | None, *, relative: bool = False) -> Objects:
    """Return objects from rows of box, class id, crowd, outline and entry."""
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
    """Leave out classes that no target mentions, saying so; ids follow."""
    counts = np.zeros(len(found.names), np.int64)
    for image in found.images:
        counts += np.bincount(np.array(image.target.mentioned, np.int64), minlength=len(counts))
    unused = [n for n, k in zip(found.names, counts, strict=True) if not k]
    for name in (n for n in unused if n not in found.headings):
        text = f"class {name!r} is listed but never used"
        notes.add("class_never_seen", text, "mark some, or leave it out of the list", path, severity="warning")
    if not unused or len(unused) == len(found.names):
        return
    kept = np.flatnonzero(counts)
    ids: NDArray[np.int64] = np.full(len(counts), -1, np.int64)
    ids[kept] = np.arange(len(kept))
    found.names = tuple(found.names[i] for i in kept)
    found.images = [i._replace(target=i.target.renamed(ids)) for i in found.images]
