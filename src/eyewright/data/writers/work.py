"""A conversion on its way: what every writer does in the same way, and what was lost so far."""

__all__ = [
    "IGNORED",
    "PNG_LEVEL",
    "ObjectsOf",
    "Work",
    "Written",
    "objects_of_mask",
    "part_of",
    "printable_names",
    "short",
    "whole_image",
]

import posixpath
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from eyewright.core.files import write_staged
from eyewright.core.progress import Progress
from eyewright.data.account import Account, Reason
from eyewright.data.dataset import Dataset, Sample
from eyewright.data.marks import UNUSABLE_BOXES, UNUSABLE_OUTLINES, usable_objects
from eyewright.data.targets.objects import Objects, mask_objects
from eyewright.imaging.decode import ImageInfo, probe_image, read_image, read_thumbnail
from eyewright.imaging.encode import encode_image

IGNORED = 255
"""The class id of pixels that are ignored."""

PNG_LEVEL = 3
"""How hard images are compressed that cannot be copied: ten times as fast as level 9, and 15 % larger."""

_SEEN = 64


@dataclass
class Written:
    """What was written to `folder`, in `lost` what the format could not hold, a sentence each, and in `account` what
    became of the dataset's annotations."""

    folder: Path
    task: str
    images: int
    objects: int
    lost: tuple[str, ...]
    account: Account = field(default_factory=Account)

    @property
    def complete(self) -> bool:
        """Whether every annotation and image was used."""
        return self.account.complete


@dataclass
class Work:
    """A conversion on its way: where to write, what to write, what was lost so far by reason."""

    dataset: Dataset
    root: Path
    lost: Counter[str] = field(default_factory=Counter)
    objects: int = 0
    dropped: dict[str, Reason] = field(default_factory=dict)
    reduced: dict[str, Reason] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    advance: Progress = lambda steps, text: None

    @property
    def outlined(self) -> bool:
        """Whether outlines are written: those of a dataset that is read for boxes alone are not."""
        return "outlines" in self.dataset.needs

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
        """Return the objects of one image that can be written, in pixels."""
        given = self.dataset.objects(index, size_hw)
        found = usable_objects(given, size_hw)
        if len(found) < len(given):
            self._count(
                self.dropped,
                UNUSABLE_BOXES,
                len(given) - len(found),
                given,
            )
        unfit = sum(not o.fits(size_hw) for o in given.outlines)
        if unfit:
            self._count(self.reduced, UNUSABLE_OUTLINES, unfit, given)
        self.objects += len(found)
        return found

    def account(self) -> Account:
        """Return what became of the dataset's annotations, with those that no format can hold left out."""
        found = self.dataset.account
        for reason in self.dropped.values():
            found = found.with_dropped(reason)
        return replace(found, reduced=(*found.reduced, *self.reduced.values()))

    def _count(self, kept: dict[str, Reason], text: str, n: int, of: Objects) -> None:
        known = kept.get(text)
        path, line = (known.path, known.line) if known is not None else (of.place(0)[0], None)
        kept[text] = Reason(text, n + (known.n if known is not None else 0), path, line)

    def upright(self, index: int) -> tuple[bytes, str]:
        """Return one image as a file, upright, and the sample's name with the extension of its format."""
        sample = self.dataset.samples[index]
        data = self.dataset.content(index)
        info = whole_image(data)
        stem, extension = posixpath.splitext(sample.id)
        if info.orientation != 1 or not extension:
            # Tools differ in whether they turn an image by its tag, and its marks are on the upright one.
            data, extension = encode_image(read_image(data), png_level=PNG_LEVEL), ".png"
            self.lost["the EXIF tag of images that it turned: they are written upright, as PNG"] += 1
        return data, stem + extension

    def image(self, index: int, folder: str) -> str:
        """Write one image to `folder`, under a name that no other has; return the name."""
        sample = self.dataset.samples[index]
        data, whole = self.upright(index)
        stem, extension = posixpath.splitext(posixpath.basename(whole))
        name = stem + extension
        if self.names.get(f"{folder}/{stem}", sample.id) != sample.id:
            # Two folders may hold images of one name.
            parts = posixpath.dirname(sample.id).split("/")
            stem = "_".join([*parts, stem])
            name = stem + extension
        self.names[f"{folder}/{stem}"] = sample.id
        write_staged(self.root / folder / name, data)
        return name


def whole_image(data: bytes) -> ImageInfo:
    """Return what `probe_image` does, of an image that was decoded whole, as `doctor` does it: a file that is damaged
    behind its header is not handed on.

    Raises:
        UnreadableImageError: it cannot be decoded.
    """
    return read_thumbnail(data, _SEEN)[0]


def printable_names(work: Work) -> tuple[str, ...]:
    """Return the names of the classes as a line of text or XML can hold them; what is replaced counts as lost.

    No XML 1.0 holds a control character, and a line break would make two classes of one.
    """
    given = work.dataset.labels.names
    found: list[str] = []
    for name in given:
        plain = free = "".join("_" if unicodedata.category(c) in ("Cc", "Cs") else c for c in name)
        number = 2
        while free != name and (free in given or free in found):
            free, number = f"{plain}_{number}", number + 1
        found.append(free)
    if changed := sum(a != b for a, b in zip(given, found, strict=True)):
        work.lost["control characters in the names of classes: they are replaced"] += changed
    return tuple(found)


ObjectsOf = Callable[[Work, int, tuple[int, int]], Objects]
"""The objects of an image, by its number and size."""


def part_of(sample: Sample) -> str:
    """Return the folder of a sample's part of the dataset."""
    return sample.split or "all"


def objects_of_mask(work: Work, index: int, size_hw: tuple[int, int]) -> Objects:
    """Return the classes of a mask as objects, one per class and image, with run-length encoding; 255 is a crowd."""
    found = mask_objects(work.dataset.mask(index, size_hw), work.dataset.foreground)
    work.objects += len(found)
    return found


def short(value: float) -> float | int:
    """Write a number as short as it is to a thousandth of a pixel."""
    rounded = round(value, 3)
    return int(rounded) if rounded == int(rounded) else rounded
