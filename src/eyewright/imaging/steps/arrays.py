"""Depths and channels: what every step needs to know of the array it is given."""

__all__ = ["Pixels", "back_to", "luma", "on_luma", "opencv", "per_channel", "through_table", "to_unit", "top_of"]

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.extras import import_extra
from eyewright.imaging.opencv import opencv

Pixels = NDArray[Any]
"""uint8 or uint16, (H, W) grey or (H, W, 3) RGB."""


def extra(name: str) -> Any:
    """Import what the extra `pixels` brings.

    Raises:
        MissingExtraError: it is not installed.
    """
    return import_extra(name, extra="pixels", what="image processing")


def top_of(image: Pixels) -> int:
    """Return white: 255 or 65535.

    >>> top_of(np.zeros((1, 1), np.uint16))
    65535
    """
    return int(np.iinfo(image.dtype).max)


def to_unit(image: Pixels) -> NDArray[np.float32]:
    """Return float32 in [0, 1]."""
    return image.astype(np.float32) * np.float32(1 / top_of(image))


def back_to(image: Pixels, unit: NDArray[np.floating[Any]]) -> Pixels:
    """Return [0, 1] in the depth of `image`, rounded to the nearest and clipped."""
    cv2 = opencv()
    top = top_of(image)
    if image.dtype == np.uint8 and unit.dtype == np.float32:
        shaped: Pixels = cv2.convertScaleAbs(np.maximum(unit, 0), alpha=255.0).reshape(unit.shape)
        return shaped
    result: Pixels = np.rint(np.clip(unit, 0, 1) * top).astype(image.dtype)
    return result


def luma(image: Pixels) -> Pixels:
    """Return the grey of an image in its own depth: ITU-R BT.601, Y = 0.299 R + 0.587 G + 0.114 B."""
    return image if image.ndim == 2 else opencv().cvtColor(image, opencv().COLOR_RGB2GRAY)


def on_luma(image: Pixels, change: Callable[[Pixels], Pixels]) -> Pixels:
    """Change the brightness of an image and leave its colours: the Y of YCrCb, or the grey itself."""
    if image.ndim == 2:
        return change(image)
    cv2 = opencv()
    parts = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
    parts[..., 0] = change(np.ascontiguousarray(parts[..., 0]))
    changed: Pixels = cv2.cvtColor(parts, cv2.COLOR_YCrCb2RGB)
    return changed


def per_channel(image: Pixels, change: Callable[[Pixels], Pixels]) -> Pixels:
    """Apply `change` to each channel by itself."""
    if image.ndim == 2:
        return change(image)
    return np.stack([change(np.ascontiguousarray(image[..., k])) for k in range(image.shape[2])], 2)


def through_table(image: Pixels, table: NDArray[Any]) -> Pixels:
    """Look every value up in `table`, (256 or 65536,) or one such row a channel (3, ...)."""
    if image.dtype == np.uint8:
        lut = np.ascontiguousarray(table.T[None]) if table.ndim == 2 else table
        looked: Pixels = opencv().LUT(image, lut.astype(np.uint8))
        return looked.reshape(image.shape)
    if table.ndim == 1:
        return table.astype(image.dtype)[image]
    return np.stack([table[k].astype(image.dtype)[image[..., k]] for k in range(image.shape[2])], 2)
