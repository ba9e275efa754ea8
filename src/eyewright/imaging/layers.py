"""An image in its own depth, with its opacity apart: what is changed is the colour, and the rest is kept."""

__all__ = ["read_hole", "read_layers"]

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.imaging.decode import probe_image, read_clear, read_image
from eyewright.imaging.headers import Limits
from eyewright.imaging.holes import hole_of

_GREY = frozenset({"1", "L", "I", "I;16", "I;16B", "I;16L", "I;16N"})


def read_layers(source: str | Path | bytes, limits: Limits | None = None) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return an image in its own depth, uint8 or uint16, grey as (H, W) and colour as (H, W, 3), and its opacity
    (H, W) where it has one, else None. Floats are read in 8 bits.

    Raises:
        UnreadableImageError, LimitError, MissingExtraError: as `read_image`.
    """
    clear = read_clear(source, limits=limits)
    if clear is not None:
        colour = np.ascontiguousarray(clear[..., :3])
        return colour, np.ascontiguousarray(clear[..., 3])
    info = probe_image(source, limits=limits)
    image: NDArray[Any] = read_image(source, depth="native", limits=limits)
    if image.dtype not in (np.uint8, np.uint16):
        image = read_image(source, limits=limits)
    return (np.ascontiguousarray(image[..., 0]) if info.mode in _GREY else image), None


def read_hole(source: str | Path | bytes, limits: Limits | None = None) -> NDArray[np.bool_]:
    """Return the mask of an image file, bool (H, W): what is bright (`hole_of`) and not transparent.

    Image editors write strokes on a layer that is transparent elsewhere.

    Raises:
        UnreadableImageError, LimitError, MissingExtraError: as `read_image`.
    """
    clear = read_clear(source, limits=limits)
    if clear is None:
        return hole_of(read_image(source, depth="native", limits=limits))
    # Of what nobody sees the colour means nothing, also where it decides whether all values are 0 and 1.
    seen = clear[..., 3:] > 0
    return hole_of(np.where(seen, clear[..., :3], 0))
