"""The target of segmentation: a class for every pixel, in a file or painted from the outlines of objects."""

__all__ = ["MASK", "MaskFile", "Painted", "is_lossy"]

import hashlib
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError, EyewrightError
from eyewright.core.report import Finding
from eyewright.data.agreement import masks_differ
from eyewright.data.audit_masks import audit_masks
from eyewright.data.marks import audit_marked
from eyewright.data.targets.objects import OBJECTS, Objects
from eyewright.data.targets.target import BACKGROUND, IGNORE, TargetKind, count_classes
from eyewright.data.tree import Tree
from eyewright.imaging.decode import name_unreadable, read_labels

if TYPE_CHECKING:
    from eyewright.data.dataset import Dataset
    from eyewright.data.scan import Scan

_LOOKED_AT = 16
_MOSTLY = 0.5


_MOST_NUMBERS = 2**16


@dataclass(frozen=True)
class MaskFile:
    """The mask of one image: a file of the tree, and the class id of each value that it may hold.

    Values that are not in the table are errors, but those that mean "ignore" (255, unless it is a class).
    """

    tree: Tree
    name: str
    table: Mapping[int, int]

    def read(self) -> NDArray[np.uint8]:
        """Return class ids, uint8 (H, W), 255 where a pixel is ignored or has a value that no class has.

        Raises:
            UnreadableImageError: it cannot be decoded, or is in colour.
        """
        values = self.values()
        # No picture of 8 or 16 bits holds a larger number, and a table as long as one would not fit.
        table = {v: label for v, label in self.table.items() if 0 <= v < _MOST_NUMBERS}
        lookup = np.full(max(256, *table, 0) + 2, IGNORE, np.uint8)
        for value, label in table.items():
            lookup[value] = label
        # The last place is no class's: what is negative or larger than every class has it.
        last = len(lookup) - 1
        ids: NDArray[np.uint8] = lookup[np.where((values >= 0) & (values < last), values, last).astype(np.int64)]
        return ids

    def mask(self, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
        """Return class ids for an image of this size.

        Raises:
            DatasetError: the mask has another size.
            UnreadableImageError: it cannot be read.
        """
        with name_unreadable(self.name):
            found = self.read()
        if found.shape != tuple(size_hw):
            raise DatasetError(
                f"the mask {self.name!r} is {found.shape[1]}x{found.shape[0]}, its image {size_hw[1]}x{size_hw[0]}",
                fix="export the mask again",
            )
        return found

    def usable(self, size_hw: tuple[int, int]) -> bool:
        """Return whether it can be learnt from: numbers, of its image's size, not smeared by JPEG."""
        try:
            return self._shape == size_hw and not is_lossy(self.name)
        except EyewrightError:
            return False

    @cached_property
    def _shape(self) -> tuple[int, int]:
        values = self.values()
        return values.shape[0], values.shape[1]

    @cached_property
    def held(self) -> tuple[int, ...]:
        """The ids of the classes that it holds; none if it cannot be read."""
        try:
            found = np.unique(self.read())
        except EyewrightError:
            return ()
        return tuple(found[found != IGNORE].tolist())

    @property
    def mentioned(self) -> Sequence[int]:
        """The ids of all classes that it may hold."""
        return tuple(self.table.values())

    @property
    def annotations(self) -> int:
        """A mask is one entry."""
        return 1

    @property
    def ignored(self) -> int:
        """Ignored pixels are no regions."""
        return 0

    def strata(self, background: frozenset[int]) -> tuple[int, ...]:
        """The classes that a split keeps the fractions of."""
        return tuple(i for i in self.held if i not in background)

    def marks(self) -> Sequence[int]:
        """Return the ids of the classes that it holds."""
        return self.held

    def empty(self, background: frozenset[int]) -> bool:
        """Return whether all of it is background."""
        return bool(self.held) and set(self.held) <= background

    def renamed(self, ids: NDArray[np.int64]) -> Self:
        """Return the mask with class id `ids[k]` for k."""
        return replace(self, table=MappingProxyType({v: int(ids[k]) for v, k in self.table.items()}))

    def without(self, ids: NDArray[np.int64]) -> Self:
        """Return the mask with class id `ids[k]` for k; pixels of a negative id are ignored."""
        kept = {value: int(ids[k]) for value, k in self.table.items() if ids[k] >= 0}
        return replace(self, table=MappingProxyType(kept))

    def text(self, names: Sequence[str]) -> str:
        """Return what identifies the target in a dataset's fingerprint."""
        return hashlib.sha256(self.tree.content(self.name)).hexdigest()

    def cell(self, names: Sequence[str]) -> str:
        """Return what split.csv says of it: a mask does not fit into a cell."""
        return ""

    def values(self) -> NDArray[np.integer]:
        """Return what the file holds, (H, W).

        Raises:
            UnreadableImageError: it cannot be decoded, or is in colour.
        """
        return read_labels(self.tree.content(self.name))


@dataclass(frozen=True, eq=False)
class Painted:
    """The mask of one image, painted from the outlines of its objects, on a background that is class 0 unless one is
    called so."""

    objects: Objects

    def __len__(self) -> int:
        return len(self.objects)

    def mask(self, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
        """Return class ids for an image of this size: the largest object first, so that what lies on another is seen.

        Raises:
            DatasetError: run-length encoding that is not of this size.
        """
        objects = self.objects.in_pixels(size_hw)
        painted = np.zeros(size_hw, np.uint8)
        shapes = [o.mask(size_hw) for o in objects.outlines]
        for k in sorted(range(len(shapes)), key=lambda k: -int(shapes[k].sum())):
            painted[shapes[k]] = IGNORE if objects.crowd[k] else objects.label_ids[k]
        return painted

    def usable(self, size_hw: tuple[int, int]) -> bool:
        """Return whether every outline can be painted for an image of this size."""
        return self.objects.fits(size_hw)

    @property
    def held(self) -> tuple[int, ...]:
        """The ids of the classes that are marked."""
        return self.objects.held

    @property
    def mentioned(self) -> Sequence[int]:
        """The class id of every object."""
        return self.objects.mentioned

    @property
    def annotations(self) -> int:
        """The number of entries: one per object."""
        return self.objects.annotations

    @property
    def ignored(self) -> int:
        """The number of ignore regions."""
        return self.objects.ignored

    def strata(self, background: frozenset[int]) -> tuple[int, ...]:
        """The classes that a split keeps the fractions of."""
        return self.objects.strata(background)

    def marks(self) -> Sequence[int]:
        """Return the class id of every object."""
        return self.objects.marks()

    def empty(self, background: frozenset[int]) -> bool:
        """Return whether nothing is marked."""
        return self.objects.empty(background)

    def renamed(self, ids: NDArray[np.int64]) -> Self:
        """Return the mask with class id `ids[k]` for k."""
        return replace(self, objects=self.objects.renamed(ids))

    def without(self, ids: NDArray[np.int64]) -> Self:
        """Return the mask with class id `ids[k]` for k; objects of a negative id are ignored."""
        return replace(self, objects=self.objects.without(ids))

    def text(self, names: Sequence[str]) -> str:
        """Return what identifies the target in a dataset's fingerprint."""
        return self.objects.text(names)

    def cell(self, names: Sequence[str]) -> str:
        """Return what split.csv says of it: a mask does not fit into a cell."""
        return ""


def is_lossy(name: str) -> bool:
    """Return whether a mask's name is one of a JPEG, which smears class numbers."""
    return posixpath.splitext(name)[1].lower() in (".jpg", ".jpeg", ".jpe", ".jfif")


def _painted(targets: Sequence[Objects], names: Sequence[str]) -> tuple[list[Painted], tuple[str, ...]]:
    """Painted on nothing, objects leave a background: class 0, unless one is called so."""
    if any(n.lower() in BACKGROUND for n in names):
        return [Painted(t) for t in targets], tuple(names)
    shift = np.arange(len(names), dtype=np.int64) + 1
    return [Painted(t.renamed(shift)) for t in targets], ("background", *names)


def _audit(dataset: "Dataset", scan: "Scan") -> list[Finding]:
    found = [*dataset.problems]
    files: list[tuple[int, MaskFile]] = []
    for i, (sample, record) in enumerate(zip(dataset.samples, scan.records, strict=True)):
        if record.info is None:
            continue
        if isinstance(sample.target, MaskFile):
            files.append((i, sample.target))
        else:
            found += audit_marked(dataset, sample, sample.marked(Painted).objects, record.info)
    return [*found, *audit_masks(dataset, scan, files)]


def _describe(targets: Sequence[MaskFile | Painted], names: Sequence[str]) -> str:
    marked = sum(len(t) for t in targets if isinstance(t, Painted))
    return f"{marked} object{'s' * (marked != 1)}, {count_classes(names)}" if marked else count_classes(names)


def _holds(targets: Sequence[MaskFile | Painted]) -> frozenset[str]:
    return frozenset({"outlines"})


def _ignoring(classes: int, images: int) -> str:
    return f": {'its' if classes == 1 else 'their'} pixels are left out of training and metrics"


def _backgrounds(dataset: "Dataset", candidates: Sequence[int], weak: Sequence[int]) -> set[int]:
    """Return those of `candidates` that masks use as their background: all but one class, or most pixels if the
    name only says that nobody has labelled them."""
    if not candidates or any(n.lower() in BACKGROUND for n in dataset.labels.names):
        return set()
    if len(dataset.labels) - len(set(candidates)) < 2:
        return set(candidates[:1])
    if not weak:
        return set()
    counts = np.zeros(256, np.int64)
    step = max(1, len(dataset) // _LOOKED_AT)
    for sample in dataset.samples[::step][:_LOOKED_AT]:
        if isinstance(sample.target, MaskFile):
            try:
                counts += np.bincount(sample.target.read().ravel(), minlength=256)
            except EyewrightError:
                continue
    total = counts[: len(dataset.labels)].sum()
    return {i for i in weak if total and counts[i] > _MOSTLY * total}


def _border(dataset: "Dataset") -> int | None:
    first = next((s.target for s in dataset.samples if isinstance(s.target, MaskFile)), None)
    return None if first is None else first.table.get(IGNORE)


MASK = TargetKind(
    "masks",
    least=2,
    bare="masks",
    holds=_holds,
    made_from=MappingProxyType({OBJECTS: _painted}),
    audit=_audit,
    differ=masks_differ,
    describe=_describe,
    ignoring=_ignoring,
    backgrounds=_backgrounds,
    border=_border,
)
"""A class for every pixel."""
