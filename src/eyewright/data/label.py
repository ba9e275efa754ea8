"""The target of classification: the class of an image, as a number that knows what a dataset asks of a target."""

__all__ = ["Label"]

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Label(int):
    """A class id.

    >>> Label(1).held, Label(1).text(("cat", "dog")), Label(1).renamed(np.array([5, 7]))
    ((1,), 'dog', 7)
    """

    __slots__ = ()

    @property
    def held(self) -> tuple[int, ...]:
        """The ids of the classes that the image is of."""
        return (int(self),)

    def strata(self, background: frozenset[int]) -> tuple[int, ...]:
        """The classes that a split keeps the shares of: a label counts whatever it is called."""
        return self.held

    def marks(self) -> Sequence[int]:
        """Return the class id of everything that is marked: here the one."""
        return self.held

    def renamed(self, ids: NDArray[np.int64]) -> "Label":
        """Return the label with class id `ids[k]` for k."""
        return Label(ids[int(self)])

    def text(self, names: Sequence[str]) -> str:
        """Return what identifies the target in a dataset's fingerprint."""
        return names[int(self)]

    def cell(self, names: Sequence[str]) -> str:
        """Return what split.csv says of it."""
        return names[int(self)]
