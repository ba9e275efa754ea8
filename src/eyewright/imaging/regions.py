"""Regions of an image that may reach over its edges."""

__all__ = ["cut_region"]

from typing import Any

import numpy as np
from numpy.typing import NDArray


def cut_region(image: NDArray[Any], top: int, left: int, size_hw: tuple[int, int]) -> NDArray[Any]:
    """Return a region of an image (H, W, ...); what lies outside is mirrored.

    >>> cut_region(np.arange(3)[None], 0, -2, (1, 6)).tolist()
    [[1, 0, 0, 1, 2, 2]]
    """
    height, width = image.shape[:2]
    bottom, right = top + size_hw[0], left + size_hw[1]
    if top >= 0 and left >= 0 and bottom <= height and right <= width:
        return image[top:bottom, left:right]
    rows, columns = (_mirrored(first, n, side) for first, n, side in zip((top, left), size_hw, (height, width)))  # noqa: B905
    return image[np.ix_(rows, columns)]


def _mirrored(first: int, n: int, side: int) -> NDArray[np.int64]:
    """Return which row shows at each place, mirrored at the edges as often as it takes."""
    at = np.arange(first, first + n) % (2 * side)
    return np.where(at < side, at, 2 * side - 1 - at)
