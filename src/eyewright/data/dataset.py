"""A dataset as a value: samples with names, class names, and which part each sample belongs to."""

__all__ = ["Dataset", "Sample", "SplitName"]

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import DatasetError
from eyewright.core.labels import LabelSpace
from eyewright.data.tree import Tree

SplitName = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Sample:
    """One labelled image: `id` is its name in the dataset, `target` its class id, `group` what must stay together."""

    id: str
    target: int
    split: SplitName | None = None
    group: str | None = None
    meta: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Dataset:
    """Samples of one task, where their files lie, and what was noticed while reading the list of them.

    `format` names how it was read; `notes` are sentences for the user; `skipped` are files that are no samples.
    """

    tree: Tree
    samples: tuple[Sample, ...]
    labels: LabelSpace
    format: str
    task: str = "classify"
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    empty_classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def root(self) -> Path:
        return self.tree.root

    @property
    def name(self) -> str:
        """What the data is called: its folder's or archive's name."""
        return self.root.stem if self.root.suffix.lower() == ".zip" else self.root.resolve().name

    @property
    def train(self) -> "Dataset":
        return self.part("train")

    @property
    def val(self) -> "Dataset":
        return self.part("val")

    @property
    def test(self) -> "Dataset":
        return self.part("test")

    def part(self, split: SplitName) -> "Dataset":
        """Give the samples of one split.

        Raises:
            DatasetError: there are none.
        """
        chosen = self.select(lambda s: s.split == split)
        if not chosen.samples:
            raise DatasetError(f"the dataset has no {split!r} part", fix="load it with eyewright.load_dataset")
        return chosen

    def select(self, keep: Callable[[Sample], bool]) -> "Dataset":
        """Give the samples for which `keep` holds; classes and their ids stay as they are."""
        return replace(self, samples=tuple(s for s in self.samples if keep(s)))

    def with_samples(self, samples: Iterable[Sample], *notes: str) -> "Dataset":
        """Give the dataset with other samples and further notes."""
        return replace(self, samples=tuple(samples), notes=(*self.notes, *notes))

    @property
    def targets(self) -> NDArray[np.int64]:
        """Class ids, int64 (N,)."""
        return np.array([s.target for s in self.samples], dtype=np.int64)

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits that have samples, in the order train, val, test."""
        present = {s.split for s in self.samples}
        return tuple(s for s in ("train", "val", "test") if s in present)

    def counts(self) -> dict[str, int]:
        """Samples a class, by class name."""
        counted = np.bincount(self.targets, minlength=len(self.labels)) if self.samples else np.zeros(len(self.labels))
        return {name: int(n) for name, n in zip(self.labels.names, counted, strict=True)}

    def image(self, index: int) -> NDArray[np.uint8]:
        """Give the pixels of one sample, uint8 (H, W, 3) RGB."""
        return np.asarray(self.picture(index))

    def picture(self, index: int) -> Image.Image:
        """Give the pixels of one sample as a Pillow picture in mode RGB, for `Preparation.apply`."""
        return self.tree.picture(self.samples[index].id)

    def content(self, index: int) -> bytes:
        """Give the bytes that make one sample what it is: the file, or the array behind it."""
        return self.tree.content(self.samples[index].id)

    def describe(self) -> str:
        """Say what was found, in one line.

        For example: `imagefolder: 2062 images, 10 classes, train 1644 + test 418`.
        """
        parts = [f"{s} {sum(x.split == s for x in self.samples)}" for s in self.splits]
        tail = f", {' + '.join(parts)}" if parts else ", no split"
        return f"{self.format}: {len(self)} images, {len(self.labels)} classes{tail}"
