"""Class identity by name: ids are positions in a list of names, and two lists are joined by name only."""

__all__ = ["LabelSpace"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError, spelling_hint


@dataclass(frozen=True)
class LabelSpace:
    """An ordered set of class names; a class id is a position in it.

    >>> labels = LabelSpace(("cat", "dog"))
    >>> labels.id("dog"), len(labels)
    (1, 2)
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            twice = sorted({n for n in self.names if self.names.count(n) > 1})
            raise DatasetError(f"expected distinct class names, found twice: {', '.join(twice)}")
        if any(not isinstance(n, str) or not n for n in self.names):
            raise DatasetError("expected class names that are not empty")

    def __len__(self) -> int:
        return len(self.names)

    def id(self, name: str) -> int:
        """Return the id of `name`.

        Raises:
            DatasetError: `name` is not in the label space; a near spelling is suggested.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise DatasetError(f"unknown class {name!r}", fix=spelling_hint(name, self.names)) from None

    def mapping_to(self, other: "LabelSpace") -> NDArray[np.int64]:
        """Return, for each id, the id of the same name in `other`, int64 (len(self),).

        This is how a dataset meets a model: by name, so that a shifted id is noticed.

        >>> LabelSpace(("dog", "cat")).mapping_to(LabelSpace(("cat", "dog", "owl"))).tolist()
        [1, 0]

        Raises:
            DatasetError: a name is missing in `other`.
        """
        missing = [n for n in self.names if n not in other.names]
        if missing:
            raise DatasetError(
                f"expected the model's classes ({_shown(other.names)}), found also {_shown(missing)}",
                fix="rename, remove or --ignore these classes, or train a model that knows them",
            )
        return np.array([other.names.index(n) for n in self.names], dtype=np.int64)


def _shown(names: Sequence[str], most: int = 8) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(n) for n in names[:most]) + rest
