"""What is marked in an image: boxes with classes, outlines, ignore regions, and the line that each was read from."""

__all__ = ["OBJECTS", "Lines", "Objects", "Outline", "mask_objects", "no_objects"]

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError
from eyewright.data.agreement import boxes_differ
from eyewright.data.marks import audit_objects
from eyewright.data.targets.target import TargetKind, count_classes
from eyewright.imaging.rasters import decode_counts, encode_counts, fill_polygons, parse_counts, read_counts

_IGNORED = 255


class Lines(Protocol):
    """Where annotations stand: the file's name, and the line of one of its entries."""

    @property
    def path(self) -> str: ...

    def line(self, entry: int) -> int | None:
        """Return the line, from 1; None where a file has no lines."""
        ...


@dataclass(frozen=True, eq=False)
class Outline:
    """The shape of one object: polygons, each float64 (k, 2) in x, y, or COCO run-length encoding.

    Several polygons are one object in parts. Points are in source pixels, or as fractions of the sides if `relative`.
    """

    polygons: tuple[NDArray[np.float64], ...] = ()
    rle: Any = None
    relative: bool = False

    def __bool__(self) -> bool:
        return bool(self.polygons) or self.rle is not None

    def mask(self, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the pixels whose centres lie in it, bool (H, W).

        Raises:
            DatasetError: run-length encoding that is not of this size.
        """
        if self.rle is not None:
            counts = self._counts()
            if tuple(self.rle["size"]) != tuple(size_hw) or int(counts.sum()) != size_hw[0] * size_hw[1]:
                height, width = self.rle["size"]
                raise DatasetError(
                    f"run-length encoding of {width}x{height} pixels for an image of {size_hw[1]}x{size_hw[0]}",
                    fix="export the annotations again",
                )
            return decode_counts(counts, size_hw)
        return fill_polygons(self.in_pixels(size_hw).polygons, size_hw)

    def fits(self, size_hw: tuple[int, int]) -> bool:
        """Return whether `mask` can be painted for an image of this size: run-length encoding is of one size alone."""
        return self.rle is None or tuple(self.rle["size"]) == tuple(size_hw)

    def in_pixels(self, size_hw: tuple[int, int]) -> "Outline":
        """Return the outline in source pixels."""
        if not self.relative:
            return self
        scale = np.array([size_hw[1], size_hw[0]], np.float64)
        return Outline(tuple(p * scale for p in self.polygons))

    def box(self) -> NDArray[np.float64]:
        """Return x0, y0, x1, y1 around it, float64 (4,), in its own units.

        Raises:
            DatasetError: it is empty.
        """
        if self.rle is not None:
            height = int(self.rle["size"][0])
            rows, columns = read_counts(self._counts(), height)
            if not len(rows):
                raise DatasetError("the run-length encoding marks no pixel", fix="remove the annotation")
            return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float64)
        if not self.polygons:
            raise DatasetError("the outline has no points", fix="remove the annotation")
        points = np.concatenate(self.polygons)
        return np.concatenate([points.min(0), points.max(0)])

    def _counts(self) -> NDArray[np.int64]:
        counts = self.rle["counts"]
        return parse_counts(counts) if isinstance(counts, str) else np.asarray(counts, np.int64)


@dataclass(frozen=True, eq=False)
class Objects:
    """The n objects of one image.

    `boxes_xyxy` is float64 (n, 4): x0, y0, x1, y1 in source pixels from the left upper corner, or as fractions of the
    sides if `relative`. `label_ids` is int64 (n,). `crowd` marks ignore regions, bool (n,). `outlines` holds a shape
    for each object, or nothing at all. `entries`, int64 (n,), are their places in `lines`. `areas`, float64 (n,), are
    the pixels that each object covers, where they are stated; NaN for one that is not. `track_ids`, int64 (n,), say
    which object of a sequence each is, where that is known.
    """

    boxes_xyxy: NDArray[np.float64]
    label_ids: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    outlines: Sequence[Outline] = ()
    entries: NDArray[np.int64] | None = None
    lines: Lines | None = None
    relative: bool = False
    areas: NDArray[np.float64] | None = None
    track_ids: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.boxes_xyxy)

    def in_pixels(self, size_hw: tuple[int, int]) -> "Objects":
        """Return the objects in source pixels of an image of this size."""
        if not self.relative:
            return self
        scale = np.array([size_hw[1], size_hw[0], size_hw[1], size_hw[0]], np.float64)
        outlines = [o.in_pixels(size_hw) for o in self.outlines]
        return replace(self, boxes_xyxy=self.boxes_xyxy * scale, outlines=outlines, relative=False)

    def bare(self) -> "Objects":
        """Return the objects without their outlines."""
        return replace(self, outlines=())

    def chosen(self, keep: NDArray[Any]) -> "Objects":
        """Return some of the objects: a mask or indices (n,)."""
        rows = np.flatnonzero(keep) if keep.dtype == bool else keep
        return replace(
            self,
            boxes_xyxy=self.boxes_xyxy[rows],
            label_ids=self.label_ids[rows],
            crowd=self.crowd[rows],
            outlines=[self.outlines[i] for i in rows.tolist()] if len(self.outlines) else (),
            entries=None if self.entries is None else self.entries[rows],
            areas=None if self.areas is None else self.areas[rows],
            track_ids=None if self.track_ids is None else self.track_ids[rows],
        )

    def fits(self, size_hw: tuple[int, int]) -> bool:
        """Return whether every outline can be painted for an image of this size."""
        return all(o.fits(size_hw) for o in self.outlines)

    @property
    def held(self) -> tuple[int, ...]:
        """The ids of the classes that are marked, ignore regions left out."""
        return tuple(np.unique(self.label_ids[~self.crowd]).tolist())

    @property
    def mentioned(self) -> Sequence[int]:
        """The class id of every object, ignore regions included."""
        ids: list[int] = self.label_ids.tolist()
        return ids

    @property
    def annotations(self) -> int:
        """The number of entries: one per object."""
        return len(self)

    @property
    def ignored(self) -> int:
        """The number of ignore regions."""
        return int(self.crowd.sum())

    def usable(self, size_hw: tuple[int, int]) -> bool:
        """Objects that do not lie in the image are left out one by one."""
        return True

    def strata(self, background: frozenset[int]) -> tuple[int, ...]:
        """The classes that a split keeps the fractions of."""
        return tuple(i for i in self.held if i not in background)

    def marks(self) -> Sequence[int]:
        """Return the class id of every object that is marked, ignore regions left out."""
        ids: list[int] = self.label_ids[~self.crowd].tolist()
        return ids

    def empty(self, background: frozenset[int]) -> bool:
        """Return whether nothing is marked."""
        return not len(self)

    def text(self, names: Sequence[str]) -> str:
        """Return what identifies the target in a dataset's fingerprint."""
        rows = zip(self.label_ids, self.boxes_xyxy.round(4), strict=True)
        return ";".join(sorted(f"{names[i]} {' '.join(f'{v:g}' for v in b)}" for i, b in rows))

    def cell(self, names: Sequence[str]) -> str:
        """Return what split.csv says of it: objects do not fit into a cell."""
        return ""

    def renamed(self, ids: NDArray[np.int64]) -> Self:
        """Return the objects with class id `ids[k]` for k."""
        return replace(self, label_ids=ids[self.label_ids])

    def without(self, ids: NDArray[np.int64]) -> Self:
        """Return the objects with class id `ids[k]` for k; those of a negative id become ignore regions."""
        gone = ids[self.label_ids] < 0
        # An ignore region has no class of its own; any will do, since it is never learnt or asked for.
        return replace(self, label_ids=np.where(gone, 0, ids[self.label_ids]), crowd=self.crowd | gone)

    def place(self, index: int) -> tuple[str, int | None]:
        """Return the file and the line that one object was read from; an empty name if it is not known."""
        if self.lines is None or self.entries is None:
            return "", None
        return self.lines.path, self.lines.line(int(self.entries[index]))


def mask_objects(mask: NDArray[np.uint8], foreground: Iterable[int]) -> Objects:
    """Return the classes of a mask, uint8 (H, W), that are in `foreground` as objects, one per class; 255 is a
    crowd."""
    rows: list[tuple[list[float], int, bool, Outline]] = []
    fore = set(foreground)
    for value in np.unique(mask).tolist():
        if value != _IGNORED and value not in fore:
            continue
        inside = mask == value
        rle = Outline(rle={"size": list(mask.shape), "counts": encode_counts(inside)})
        rows.append((rle.box().tolist(), 0 if value == _IGNORED else value, value == _IGNORED, rle))
    return Objects(
        np.array([r[0] for r in rows], np.float64).reshape(-1, 4),
        np.array([r[1] for r in rows], np.int64),
        np.array([r[2] for r in rows], bool),
        [r[3] for r in rows],
    )


def no_objects() -> Objects:
    """Return what a background image holds."""
    return Objects(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, bool))


def _holds(targets: Sequence[Objects]) -> frozenset[str]:
    return frozenset({"outlines"} if any(any(t.outlines) for t in targets) else ())


def _ignoring(classes: int, images: int) -> str:
    return f": {'its' if classes == 1 else 'their'} objects are ignore regions"


def _describe(targets: Sequence[Objects], names: Sequence[str]) -> str:
    marked = sum(len(t) for t in targets)
    return f"{marked} object{'s' * (marked != 1)}, {count_classes(names)}" if marked else count_classes(names)


OBJECTS = TargetKind(
    "objects",
    least=1,
    bare="boxes",
    holds=_holds,
    audit=audit_objects,
    differ=boxes_differ,
    describe=_describe,
    ignoring=_ignoring,
)
"""Boxes with classes, and outlines where they are known."""
