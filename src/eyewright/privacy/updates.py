"""What a server checks in an update before it looks at its numbers: size, finite, and not one that was sent before."""

__all__ = ["UpdateCheck", "digest_of"]

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def digest_of(vector: NDArray[np.floating] | bytes) -> str:
    """Return the SHA-256 of the bytes of a vector, in hexadecimal.

    >>> digest_of(b"")[:8]
    'e3b0c442'
    """
    raw = vector if isinstance(vector, bytes) else np.ascontiguousarray(vector).tobytes()
    return hashlib.sha256(raw).hexdigest()


class UpdateCheck:
    """Checks the updates of a federation whose net has `size` numbers; `seen` are digests of earlier updates.

    >>> check = UpdateCheck(2)
    >>> check(np.ones(2)), check(np.ones(2)), check(np.ones(3))
    ('', 'the update was sent before', 'expected 2 numbers, found 3')
    """

    def __init__(self, size: int, seen: Iterable[str] = ()) -> None:
        self.size = size
        self._seen = set(seen)

    def __call__(self, update: NDArray[np.floating]) -> str:
        """Return why an update is refused; empty where it is not. An accepted one is seen from now on."""
        if update.shape != (self.size,):
            return f"expected {self.size:,} numbers, found {update.size:,}"
        if not np.isfinite(update).all():
            return "a number is not finite"
        digest = digest_of(update)
        if digest in self._seen:
            return "the update was sent before"
        self._seen.add(digest)
        return ""
