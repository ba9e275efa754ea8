"""A conversion on its way: what every writer does alike, and what was lost so far."""

__all__ = ["IGNORED", "Work", "Written", "objects_of_mask", "part_of", "short"]

import posixpath
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from eyewright.core.files import write_staged
from eyewright.core.progress import Progress
from eyewright.data.account import Account, Reason
from eyewright.data.dataset import Dataset, Sample
from eyewright.data.marks import usable_objects
from eyewright.data.objects import Objects, Outline
from eyewright.imaging.decode import probe_image, read_image
from eyewright.imaging.encode import encode_image
from eyewright.imaging.rasters import encode_counts

IGNORED = 255
"""The class id of pixels that count for nothing."""


_UNUSABLE = "boxes without area or outside their image, or there twice"


@dataclass
class Written:
    """What was written to `folder`, and in `lost` what the format could not hold, a sentence each."""

    folder: Path
    task: str
    images: int
    objects: int
    lost: tuple[str, ...]
    complete: bool = True
    account: Account = field(default_factory=Account)
    unusable: Reason | None = None


@dataclass
class Work:
    """A conversion on its way: where to write, what to write, what was lost so far by reason.

    `unusable` counts the objects that the reader read and that no format is given, since nothing can use them.
    """

    dataset: Dataset
    root: Path
    lost: Counter[str] = field(default_factory=Counter)
    objects: int = 0
    names: dict[str, str] = field(default_factory=dict)
    unusable: Reason = field(default_factory=lambda: Reason(_UNUSABLE, 0))
    advance: Progress = lambda steps, text: None

    def each(self) -> Iterator[tuple[int, Sample, tuple[int, int]]]:
        """Yield each sample with its number and the size of its image."""
        for i, sample in self.samples():
            yield i, sample, probe_image(self.dataset.content(i)).size_hw

    def samples(self) -> Iterator[tuple[int, Sample]]:
        """Yield each sample with its number, and show that it is done when the next one is asked for."""
        for i, sample in enumerate(self.dataset.samples):
            yield i, sample
            self.advance(1, "")

    def marks(self, index: int, size_hw: tuple[int, int]) -> Objects:
        """Give the objects of one image that can be written, in pixels."""
        given = self.dataset.objects(index, size_hw)
        found = usable_objects(given, size_hw)
        if len(found) < len(given):
            if not self.unusable.n:
                self.unusable = replace(self.unusable, path=given.place(0)[0] or self.dataset.samples[index].id)
            self.unusable = replace(self.unusable, n=self.unusable.n + len(given) - len(found))
        self.objects += len(found)
        return found

    def image(self, index: int, folder: str) -> str:
        """Write one image to `folder`, under a name that no other has; give the name."""
        sample = self.dataset.samples[index]
        data = self.dataset.content(index)
        info = probe_image(data)
        stem, extension = posixpath.splitext(posixpath.basename(sample.id))
        if info.orientation != 1 or not extension:
            # Tools differ in whether they turn an image by its tag, and its marks are on the upright one.
            data, extension = encode_image(read_image(data)), ".png"
            self.lost["the EXIF tag of images that it turned: they are written upright, as PNG"] += 1
        name = stem + extension
        if self.names.get(f"{folder}/{stem}", sample.id) != sample.id:
            # Two folders may hold images of one name.
            parts = posixpath.dirname(sample.id).split("/")
            stem = "_".join([*parts, stem])
            name = stem + extension
        self.names[f"{folder}/{stem}"] = sample.id
        write_staged(self.root / folder / name, data)
        return name


def part_of(sample: Sample) -> str:
    """Give the folder of a sample's part of the dataset."""
    return sample.split or "all"


def objects_of_mask(work: Work, index: int, size_hw: tuple[int, int]) -> Objects:
    """Give the classes of a mask as objects, one a class and image, with run lengths; 255 is a crowd."""
    mask = work.dataset.mask(index, size_hw)
    rows: list[tuple[list[float], int, bool, Outline]] = []
    fore = set(work.dataset.foreground)
    for value in np.unique(mask).tolist():
        if value != IGNORED and value not in fore:
            continue
        inside = mask == value
        rle = Outline(rle={"size": list(size_hw), "counts": encode_counts(inside)})
        rows.append((rle.box().tolist(), 0 if value == IGNORED else value, value == IGNORED, rle))
    work.objects += len(rows)
    return Objects(
        np.array([r[0] for r in rows], np.float64).reshape(-1, 4),
        np.array([r[1] for r in rows], np.int64),
        np.array([r[2] for r in rows], bool),
        [r[3] for r in rows],
    )


def short(value: float) -> float | int:
    """Write a number as short as it is to a thousandth of a pixel."""
    rounded = round(value, 3)
    return int(rounded) if rounded == int(rounded) else rounded
