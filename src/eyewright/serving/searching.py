"""What the server asks of indexes of embeddings: which there are, what is near, and the file behind a hit."""

__all__ = ["Searcher", "Sought"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Sought:
    """What to look for in an index: vectors (D,) and ids of indexed images, near to these and away from those.

    `folder` keeps to images below it, `max_p` to hits with at most this p-value. `digest` is that of the bundle that
    made the vectors: an index that was replaced by another bundle's meanwhile is not searched with them.
    """

    vectors: Sequence[Vector] = ()
    away: Sequence[Vector] = ()
    like: Sequence[int] = ()
    unlike: Sequence[int] = ()
    n: int = 20
    folder: str | None = None
    max_p: float | None = None
    digest: str = ""


class Searcher(Protocol):
    """Indexes by the names that clients call them by; every call may read files."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def digest(self, name: str) -> str:
        """Return the digest of the bundle whose embeddings the index holds."""

    def shown(self, name: str) -> Mapping[str, Any]: ...

    def find(self, name: str, sought: Sought) -> Mapping[str, Any]: ...

    def file(self, name: str, id: int) -> bytes:
        """Return the encoded image of an id, as it was when it was indexed."""
