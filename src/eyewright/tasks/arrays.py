"""Take a named array out of what a model answered, by the shape that its task promises."""

__all__ = ["array_of"]

from typing import Any

from numpy.typing import NDArray

from eyewright.core.errors import BundleError
from eyewright.core.task import Raw


def array_of(raw: Raw, name: str, *shape: int | str) -> NDArray[Any]:
    """Return the array `name`; a word in `shape` is an axis of any size.

    >>> import numpy as np
    >>> array_of({"values": np.zeros((2, 3), np.float32)}, "values", 2, "C").shape
    (2, 3)

    Raises:
        BundleError: it is missing or of another shape.
    """
    found = raw.get(name)
    sizes = () if found is None else found.shape
    fits = len(sizes) == len(shape) and all(isinstance(n, str) or n == m for n, m in zip(shape, sizes, strict=True))
    if found is None or not fits:
        told = None if found is None else sizes
        raise BundleError(f"expected {name} ({', '.join(map(str, shape))}), found {told}", fix="export the model again")
    return found
