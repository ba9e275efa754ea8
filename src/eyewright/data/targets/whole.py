"""What targets of a whole image have in common: they are one entry each, without places in the image."""

__all__ = ["WholeImage"]

from abc import ABC, abstractmethod
from collections.abc import Sequence


class WholeImage(ABC):
    """The part of `Target` that is the same for a label, tags and numbers, which say `held`."""

    __slots__ = ()

    @property
    @abstractmethod
    def held(self) -> tuple[int, ...]:
        """The ids of the classes or quantities that the image has."""

    @property
    def mentioned(self) -> Sequence[int]:
        """The same ids: nothing is named that the image does not have."""
        return self.held

    @property
    def annotations(self) -> int:
        """What is said of one image is one entry."""
        return 1

    @property
    def ignored(self) -> int:
        """There are no regions."""
        return 0

    def usable(self, size_hw: tuple[int, int]) -> bool:
        """It holds for an image of any size."""
        return True

    def strata(self, background: frozenset[int]) -> tuple[int, ...]:
        """The ids that a split keeps the fractions of."""
        return self.held

    def marks(self) -> Sequence[int]:
        """Return one mark for each id."""
        return self.held

    def text(self, names: Sequence[str]) -> str:
        """Return what identifies the target in a dataset's fingerprint: what split.csv says of it."""
        return self.cell(names)

    @abstractmethod
    def cell(self, names: Sequence[str]) -> str:
        """Return what split.csv says of it."""
