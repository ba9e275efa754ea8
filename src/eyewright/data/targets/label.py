"""The target of classification: the class of an image, as a number that knows what a dataset asks of a target."""

__all__ = ["LABEL", "Label"]

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from eyewright.data.targets.target import Side, TargetKind
from eyewright.data.targets.whole import WholeImage


class Label(WholeImage, int):
    """A class id.

    >>> Label(1).held, Label(1).text(("cat", "dog")), Label(1).renamed(np.array([5, 7]))
    ((1,), 'dog', 7)
    """

    __slots__ = ()

    @property
    def held(self) -> tuple[int, ...]:
        """The ids of the classes that the image is of."""
        return (int(self),)

    def empty(self, background: frozenset[int]) -> bool:
        """An image of a class called "background" is labelled all the same."""
        return False

    def renamed(self, ids: NDArray[np.int64]) -> Self:
        """Return the label with class id `ids[k]` for k."""
        return type(self)(ids[int(self)])

    def without(self, ids: NDArray[np.int64]) -> Self | None:
        """Return the label with class id `ids[k]` for k; None where that is negative: the image is left out."""
        return self.renamed(ids) if ids[int(self)] >= 0 else None

    def cell(self, names: Sequence[str]) -> str:
        """Return what split.csv says of it."""
        return names[int(self)]


def _sides(targets: Sequence[Label], names: Sequence[str]) -> list[Side]:
    return [(float(t), repr(names[t])) for t in targets]


def _ignoring(classes: int, images: int) -> str:
    return f" and {images:,} image{'s' * (images != 1)} of {'it' if classes == 1 else 'them'} left out"


def _of_cell(cell: str, names: Sequence[str]) -> Label | None:
    return Label(names.index(cell)) if cell in names else None


LABEL = TargetKind("labels", least=2, sides=_sides, ignoring=_ignoring, of_cell=_of_cell)
"""One class per image."""
