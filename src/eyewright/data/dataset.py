"""A dataset as a value: samples with names, class names, and which part each sample belongs to."""

__all__ = ["BACKGROUND", "Dataset", "Sample", "SplitName"]

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import DatasetError, EyewrightError, UnreadableImageError
from eyewright.core.labels import LabelSpace
from eyewright.core.notebook import html_card
from eyewright.core.report import Finding
from eyewright.core.task import task_of
from eyewright.data.account import Account
from eyewright.data.copies import Leaks
from eyewright.data.edits import Applied
from eyewright.data.grouping import Grouping
from eyewright.data.targets.label import Label
from eyewright.data.targets.target import BACKGROUND, Target, TargetKind, kind_of
from eyewright.data.tree import Tree, images_of, prepared_of
from eyewright.imaging.decode import name_unreadable
from eyewright.imaging.encode import data_uri
from eyewright.imaging.overlay import shrink
from eyewright.imaging.preparation import Preparation
from eyewright.imaging.reduction import Prepared

if TYPE_CHECKING:
    from eyewright.data.clip_tree import ClipTree
    from eyewright.data.targets.mask import MaskFile, Painted
    from eyewright.data.targets.objects import Objects

T = TypeVar("T")
_Read = TypeVar("_Read")
SplitName = Literal["train", "val", "test"]

_ENOUGH = 10
_PICTURES, _SIDE, _CLASSES = 8, 96, 12


@dataclass(frozen=True)
class Sample:
    """One labelled image: `id` is its name in the dataset, `group` what must stay together.

    `target` is a value of `data.targets`: a `Label` (a plain number becomes one), `Objects`, a `MaskFile`, … .
    `stated_hw` is the image's size as the annotations state it.
    """

    id: str
    target: Target
    split: SplitName | None = None
    group: str | None = None
    meta: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    stated_hw: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        # A plain number is a label; from here on every target knows what a dataset asks of it.
        given: object = self.target
        if type(given) is int:
            object.__setattr__(self, "target", Label(given))

    def marked(self, kind: type[T]) -> T:
        """Return the target as one of a class, for a task or a format that holds no other.

        Raises:
            DatasetError: it is of another class.
        """
        if not isinstance(self.target, kind):
            found = type(self.target).__name__
            raise DatasetError(f"expected {self.id!r} with {kind.__name__}, found {found}", fix="pass another --task")
        return self.target


@dataclass(frozen=True)
class Dataset:
    """Samples of one task, where their files lie, and what was noticed while reading the list of them.

    `format` names how it was read; `notes` are sentences for the user; `skipped` are files that are no samples;
    `problems` are what was wrong in the annotations while they were read. `grouping` says what belongs together, once
    that was looked for; `Sample.group` is then the group of every sample that is in one.
    `ignore` is what was asked to be ignored (`--ignore`), `ignored` the classes that were. `leaks` says what was done
    about copies between the parts, once it was (`settle_leaks`). `edits` are those that were applied (`apply_edits`).
    `grouped_by` says in words where the reader has the groups from.
    """

    tree: Tree
    samples: tuple[Sample, ...]
    labels: LabelSpace
    format: str
    task: str
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    empty_classes: tuple[str, ...] = ()
    problems: tuple[Finding, ...] = ()
    grouping: Grouping | None = None
    ignore: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    account: Account = field(default_factory=Account)
    leaks: Leaks | None = None
    edits: Applied | None = None
    grouped_by: str = "stated in the data"

    def __len__(self) -> int:
        return len(self.samples)

    def __repr__(self) -> str:
        return f"<Dataset {self.name!r}: {self.task}, {self.describe()}>"

    def _repr_html_(self) -> str:
        """Return the samples of each class and split as a table, with a few images, for notebooks."""
        pictures = {}
        for index in range(0, len(self), max(1, len(self) // _PICTURES)):
            # One that cannot be read is what `doctor` is for.
            with contextlib.suppress(EyewrightError):
                pictures[self.samples[index].id] = data_uri(shrink(self.shown(index), _SIDE))
            if len(pictures) == _PICTURES:
                break
        counts = [] if self.kind.open else sorted(self.counts().items(), key=lambda item: (-item[1], item[0]))
        rows = [(name, f"{n:,}") for name, n in counts[:_CLASSES]]
        rows += [(f"and {len(counts) - _CLASSES:,} more", "")] if len(counts) > _CLASSES else []
        return html_card(f"{self.name}: {self.describe()}", rows, pictures=pictures)

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
        """Return the samples of one split.

        Raises:
            DatasetError: there are none.
        """
        chosen = self.select(lambda s: s.split == split)
        if not chosen.samples:
            raise DatasetError(f"the dataset has no {split!r} part", fix="load it with eyewright.load_dataset")
        return chosen

    def select(self, keep: Callable[[Sample], bool]) -> "Dataset":
        """Return the samples for which `keep` holds; classes and their ids stay as they are."""
        rows = [i for i, s in enumerate(self.samples) if keep(s)]
        # Groups name samples by their place.
        grouping = None if self.grouping is None else self.grouping.chosen(rows)
        return replace(self, samples=tuple(self.samples[i] for i in rows), grouping=grouping)

    def with_samples(self, samples: Iterable[Sample], *notes: str) -> "Dataset":
        """Return the dataset with other samples and further notes."""
        return replace(self, samples=tuple(samples), notes=(*self.notes, *notes))

    @property
    def targets(self) -> NDArray[np.int64]:
        """Class ids, int64 (N,), of a dataset for classification."""
        return np.array([s.target for s in self.samples], dtype=np.int64)

    @property
    def strata(self) -> list[int]:
        """What a split keeps the fractions of: the class; of what is marked the rarest class that an image holds, of
        those that ten images hold, else the most frequent; -1 where nothing is marked."""
        held = self.kind.strata([s.target for s in self.samples], self.background)
        counts = np.bincount(np.array([i for ids in held for i in ids], np.int64), minlength=len(self.labels))
        rarity = np.where(counts >= _ENOUGH, counts, counts.sum() + 1 - counts)
        return [min(ids, key=lambda i: (rarity[i], i)) if ids else -1 for ids in held]

    def held(self, index: int) -> tuple[int, ...]:
        """Return the ids of the classes that are marked in one image."""
        return self.samples[index].target.held

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits that have samples, in the order train, val, test."""
        present = {s.split for s in self.samples}
        return tuple(s for s in ("train", "val", "test") if s in present)

    def counts(self) -> dict[str, int]:
        """Samples per class, by class name; of detection and instances the objects, of masks the images."""
        counted = task_of(self.task).counted
        ids = [i for s in self.samples for i in counted(s.target.marks())]
        counts = np.bincount(np.array(ids, np.int64), minlength=len(self.labels))
        return {name: int(n) for name, n in zip(self.labels.names, counts, strict=True)}

    def relabelled(self, labels: LabelSpace) -> "Dataset":
        """Return the dataset with its marks in the classes of `labels`, joined by name.

        Raises:
            DatasetError: it holds a class that `labels` does not, and its kind of target is not open.
        """
        if self.kind.open:
            known = {name: i for i, name in enumerate(labels.names)}
            ids = np.array([known.get(name, -1) for name in self.labels.names], np.int64)
        else:
            ids = self.labels.mapping_to(labels)
        if self.labels == labels:
            return self
        samples = tuple(replace(s, target=s.target.renamed(ids)) for s in self.samples)
        return replace(self, samples=samples, labels=labels)

    def objects(self, index: int, size_hw: tuple[int, int]) -> "Objects":
        """Return what is marked in one image of this size, in source pixels."""
        return cast("Objects", self.samples[index].target).in_pixels(size_hw)

    def mask(self, index: int, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the class id of every pixel of one image of this size, uint8 (H, W); 255 is ignored.

        Raises:
            DatasetError: the mask has another size; it names the image.
            UnreadableImageError: it cannot be read.
        """
        sample = self.samples[index]
        try:
            return cast("MaskFile | Painted", sample.target).mask(size_hw)
        except UnreadableImageError:
            raise
        except DatasetError as error:
            if sample.id in error.message:
                raise
            raise DatasetError(f"{sample.id!r}: {error.message}", fix=error.fix, code=error.code) from None

    @property
    def kind(self) -> TargetKind:
        """The kind of target that the samples have."""
        return kind_of(self.task)

    @property
    def reads(self) -> str:
        """What a sample is: "image" or "clip"."""
        return task_of(self.task).reads

    @property
    def needs(self) -> frozenset[str]:
        """What of its targets the task needs, of what they may have or not (`Task.needs`)."""
        return task_of(self.task).needs

    def stratum(self, number: int) -> str:
        """Return what one of `strata` is called."""
        return self.kind.stratum([s.target for s in self.samples], number, self.labels.names)

    @property
    def foreground(self) -> tuple[int, ...]:
        """The ids of the classes that are not the background of masks."""
        return tuple(i for i, n in enumerate(self.labels.names) if n.lower() not in BACKGROUND)

    @property
    def background(self) -> frozenset[int]:
        """The ids of the classes that are the background of masks."""
        return frozenset(range(len(self.labels))) - frozenset(self.foreground)

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return the pixels of one sample, uint8 (H, W, 3) RGB."""
        return np.asarray(self.picture(index))

    def images(self, rows: Sequence[int] | None = None, *, threads: int | None = None) -> Iterator[NDArray[np.uint8]]:
        """Yield the pixels of some samples, or of all, uint8 (H, W, 3) RGB; the next are read while one is used, by as
        many `threads` as there are cores.

        Raises:
            UnreadableImageError: an image cannot be read; its name is given.
        """
        names = self._names(rows)
        yield from _read(names, images_of(self.tree, names, threads=threads))

    def examples(
        self, preparation: object, rows: Sequence[int] | None = None, *, threads: int | None = None
    ) -> Iterator[NDArray[np.uint8] | Prepared]:
        """Yield some samples, or all, as a model takes them: their pixels as `images` does, or where its preparation
        reduces large images (`Preparation.reduces`), `Prepared` where they are decoded.

        Raises:
            UnreadableImageError: an image cannot be read; its name is given.
        """
        if isinstance(preparation, Preparation) and preparation.reduces:
            names = self._names(rows)
            yield from _read(names, prepared_of(self.tree, names, preparation, threads=threads))
        else:
            yield from self.images(rows, threads=threads)

    def example(self, index: int, preparation: object) -> NDArray[np.uint8] | Prepared:
        """Return one sample as `examples` does."""
        return next(iter(self.examples(preparation, [index], threads=1)))

    def _names(self, rows: Sequence[int] | None) -> list[str]:
        return [self.samples[i].id for i in (range(len(self)) if rows is None else rows)]

    def picture(self, index: int) -> Image.Image:
        """Return the pixels of one sample as a Pillow picture in mode RGB, for `Preparation.apply`."""
        name = self.samples[index].id
        with name_unreadable(name):
            return self.tree.picture(name)

    def seen_by(self, *preparations: object) -> "Dataset":
        """Return the dataset whose clips are the frames that a model's preparation takes; images stay as they are."""
        sampling = next((s for p in preparations if (s := getattr(p, "clip", None)) is not None), None)
        own = getattr(self.tree, "sampling", None)
        if sampling is None or own is None or sampling == own:
            return self
        return replace(self, tree=cast("ClipTree", self.tree).with_sampling(sampling))

    def shown(self, index: int) -> NDArray[np.uint8]:
        """Return one sample as people look at it, uint8 (H, W, 3) RGB: the image, or frames of a clip as a grid."""
        name = self.samples[index].id
        with name_unreadable(name):
            sheet = getattr(self.tree, "sheet", None)
            return np.asarray(self.tree.picture(name)) if sheet is None else np.asarray(sheet(name))

    def content(self, index: int) -> bytes:
        """Return the bytes that make one sample what it is: the file, or the array behind it."""
        return self.tree.content(self.samples[index].id)

    def describe(self) -> str:
        """Say what was found, in one line.

        For example: `imagefolder: 2062 images, 10 classes, train 1644 + test 418`.
        """
        parts = [f"{s} {sum(x.split == s for x in self.samples)}" for s in self.splits]
        told = self.kind.describe([s.target for s in self.samples], self.labels.names)
        tail = f", {' + '.join(parts)}" if parts else ", no split"
        return f"{self.format}: {len(self)} {self.reads}{'s' * (len(self) != 1)}, {told}{tail}"


def _read(names: Sequence[str], each: Iterable[_Read | EyewrightError]) -> Iterator[_Read]:
    """Yield what was read, and raise what could not be, by its name."""
    for name, found in zip(names, each, strict=True):
        with name_unreadable(name):
            if isinstance(found, EyewrightError):
                raise found
            yield found
