"""What a dataset asks of the target of a sample, and of a kind of target; which kind a task learns from."""

__all__ = ["BACKGROUND", "IGNORE", "Make", "Side", "Target", "TargetKind", "count_classes", "kind_of", "tasks_of"]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Finding
from eyewright.core.task import task_names, task_of

if TYPE_CHECKING:
    from eyewright.data.agreement import Overlay
    from eyewright.data.dataset import Dataset
    from eyewright.data.scan import Scan

BACKGROUND = frozenset({"background", "_background_", "__background__"})
"""Names by which masks call what belongs to no class."""

IGNORE = 255
"""The class id of pixels that are ignored."""

Side = tuple[float, str]
"""What a target says of its image, in order and in words; copies of one image on two sides contradict each other."""

Make = Callable[[Sequence[Any], Sequence[str]], tuple[Sequence["Target"], tuple[str, ...]]]
"""How targets of one kind, with the names of classes, become those of another."""


class Target(Protocol):
    """What is to be learnt from one image."""

    @property
    def held(self) -> tuple[int, ...]:
        """The ids of the classes that the image holds, in order."""
        ...

    @property
    def mentioned(self) -> Sequence[int]:
        """The id of every class that is named in any way, ignore regions included; without reading pixels."""
        ...

    @property
    def annotations(self) -> int:
        """The number of entries that it was read from."""
        ...

    @property
    def ignored(self) -> int:
        """The number of regions in which nothing is learnt or counted."""
        ...

    def usable(self, size_hw: tuple[int, int]) -> bool:
        """Return whether something can be learnt from it for an image of this size; it may be read for that."""
        ...

    def strata(self, background: frozenset[int]) -> tuple[int, ...]:
        """Return the classes that a split keeps the fractions of."""
        ...

    def marks(self) -> Sequence[int]:
        """Return the class id of everything that is marked."""
        ...

    def empty(self, background: frozenset[int]) -> bool:
        """Return whether nothing is marked but background."""
        ...

    def renamed(self, ids: NDArray[np.int64]) -> Self:
        """Return the target with class id `ids[k]` for k."""
        ...

    def without(self, ids: NDArray[np.int64]) -> Self | None:
        """Return the target with class id `ids[k]` for k, where classes of a negative id are ignored; None where that
        leaves nothing to learn from the image."""
        ...

    def text(self, names: Sequence[str]) -> str:
        """Return what identifies the target in a dataset's fingerprint."""
        ...

    def cell(self, names: Sequence[str]) -> str:
        """Return what split.csv says of it; empty where it does not fit into a cell."""
        ...


def _as_read(dataset: "Dataset", scan: "Scan") -> list[Finding]:
    return [*dataset.problems]


def _one_side(targets: Sequence[Any], names: Sequence[str]) -> list[Side]:
    return [(0.0, "")] * len(targets)


def _of_each(targets: Sequence[Any], background: frozenset[int]) -> list[tuple[int, ...]]:
    return [t.strata(background) for t in targets]


def _class_name(targets: Sequence[Any], stratum: int, names: Sequence[str]) -> str:
    return f"class {names[stratum]!r}"


def _in_classes(targets: Sequence[Any], names: Sequence[str]) -> str:
    return count_classes(names)


def count_classes(names: Sequence[str]) -> str:
    """Return how many classes there are, in words.

    >>> count_classes(["cat"])
    '1 class'
    """
    return f"{len(names)} class{'es' * (len(names) != 1)}"


def _nothing_more(targets: Sequence[Any]) -> frozenset[str]:
    return frozenset()


def _no_background(dataset: "Dataset", candidates: Sequence[int], weak: Sequence[int]) -> set[int]:
    return set()


def _no_class(dataset: "Dataset") -> int | None:
    return None


def _no_cell(cell: str, names: Sequence[str]) -> None:
    return None


def _never_apart(targets: Sequence[Any]) -> Callable[[Any, Any], bool]:
    return lambda a, b: False


@dataclass(frozen=True, eq=False)
class TargetKind:
    """A kind of target: what can be asked of all targets of a dataset together, as values and functions.

    Readers and writers name the kinds that they hold, a `core.task.Task` the kind that it learns from (`target`).

    Args:
        name: what it is called, in the plural.
        bare: what it is called where it holds nothing that it may hold or not.
        holds: `(targets)` to what they hold of what they may hold or not (`Task.needs`): "outlines".
        least: the number of classes below which there is nothing to learn.
        side: what copies of one image can be under several of, one and many.
        shares: what a split keeps the fractions of.
        made_from: other kinds that it can be made from, and how: `(targets, names)` to targets and class names.
        audit: `(dataset, scan)` to what is wrong with the targets, and what was wrong while they were read.
        sides: `(targets, names)` to the `Side` of each.
        differ: `(dataset, overlay)` to how the marks of two copies differ, in a phrase; None where sides tell all.
        by_degree: whether targets differ by degree, so that near-equal images may well have different ones.
        apart: `(targets)` to whether two of them differ so much that near-equal images of them are no copies.
        strata: `(targets, background)` to what a split keeps the fractions of, some numbers a target.
        stratum: `(targets, number, names)` to what such a number is called.
        describe: `(targets, names)` to what there is, in a few words.
        ignoring: `(n classes, n images that are gone)` to what becomes of ignored classes.
        backgrounds: `(dataset, candidates, weak)` to those classes of no label that are the background in fact; `weak`
            are those whose names only say that nobody has labelled them.
        border: `(dataset)` to the class that stands for `IGNORE`, if there is one.
        open: samples may hold classes that a model does not know, which then count as its errors, and no class is
            looked at by itself: the characters of texts.
        of_cell: `(cell, names)` to the target of which `Target.cell` said so; None where a cell does not tell.
    """

    name: str
    least: int
    bare: str = "labels"
    holds: Callable[[Sequence[Any]], frozenset[str]] = _nothing_more
    side: tuple[str, str] = ("class", "classes")
    shares: str = "class"
    made_from: "Mapping[TargetKind, Make]" = field(default_factory=lambda: MappingProxyType({}))
    audit: "Callable[[Dataset, Scan], list[Finding]]" = _as_read
    sides: Callable[[Sequence[Any], Sequence[str]], Sequence[Side]] = _one_side
    differ: "Callable[[Dataset, Overlay], str | None] | None" = None
    by_degree: bool = False
    apart: Callable[[Sequence[Any]], Callable[[Any, Any], bool]] = _never_apart
    strata: Callable[[Sequence[Any], frozenset[int]], Sequence[tuple[int, ...]]] = _of_each
    stratum: Callable[[Sequence[Any], int, Sequence[str]], str] = _class_name
    describe: Callable[[Sequence[Any], Sequence[str]], str] = _in_classes
    ignoring: Callable[[int, int], str] = lambda classes, images: ""
    backgrounds: "Callable[[Dataset, Sequence[int], Sequence[int]], set[int]]" = _no_background
    border: "Callable[[Dataset], int | None]" = _no_class
    of_cell: Callable[[str, Sequence[str]], Target | None] = _no_cell
    open: bool = False

    def __str__(self) -> str:
        return self.name


@cache
def kind_of(task: str) -> TargetKind:
    """Return the kind of target that a task learns from; its file is imported only now.

    Raises:
        UsageError: there is no such task.
    """
    module, _, name = task_of(task).target.partition(":")
    found: TargetKind = getattr(import_module(module), name)
    return found


def tasks_of(kind: TargetKind, *, needs: frozenset[str] | None = None, reads: str = "image") -> tuple[str, ...]:
    """Return the tasks that learn from this kind of target and read such data (`Task.reads`), built-in ones first; with
    `needs` those that need just that of it."""
    return tuple(
        name
        for name in task_names()
        if kind_of(name) is kind and task_of(name).reads == reads and (needs is None or task_of(name).needs == needs)
    )
