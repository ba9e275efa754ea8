"""The target of restoration: the image as it should be."""

__all__ = ["PICTURES", "Picture"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from eyewright.data.targets.target import TargetKind
from eyewright.data.targets.whole import WholeImage


@dataclass(frozen=True)
class Picture(WholeImage):
    """The name of the clean image in the dataset; "" where the image itself is clean, or none is known.

    >>> Picture("target/a.png").cell(("picture",)), Picture().held
    ('target/a.png', (0,))
    """

    clean: str = ""

    @property
    def held(self) -> tuple[int, ...]:
        """Every image is one picture."""
        return (0,)

    def empty(self, background: frozenset[int]) -> bool:
        """Return False: an image always shows something."""
        return False

    def renamed(self, ids: NDArray[np.int64]) -> Self:
        """Return the target itself: there is nothing to name."""
        return self

    def without(self, ids: NDArray[np.int64]) -> Self:
        """Return the target itself: there is nothing to ignore."""
        return self

    def cell(self, names: Sequence[str]) -> str:
        """Return the name of the clean image."""
        return self.clean


def _describe(targets: Sequence[Picture], names: Sequence[str]) -> str:
    pairs = sum(bool(t.clean) for t in targets)
    return f"{pairs:,} pairs" if pairs else "no pairs"


def _of_cell(cell: str, names: Sequence[str]) -> Picture:
    return Picture(cell)


PICTURES = TargetKind("pictures", least=1, bare="pictures", describe=_describe, of_cell=_of_cell)
"""An image as it should be."""
