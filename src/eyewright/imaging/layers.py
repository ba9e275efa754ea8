"""An image in its own depth, with its opacity apart: what is changed is the colour, and the rest is kept."""

__all__ = ["checked_hole", "read_hole", "read_layers", "read_mask"]

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.core.quoting import quoted
from eyewright.imaging.decode import probe_image, read_clear, read_image
from eyewright.imaging.headers import Limits
from eyewright.imaging.holes import grey_share, hole_of

# A soft brush and JPEG leave greys at the edges of a mask, a photograph has them everywhere.
_MOST_GREY = 0.5
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

    Raises:
        UsageError: it is a photograph.
        UnreadableImageError, LimitError, MissingExtraError: as `read_image`.
    """
    return checked_hole(read_mask(source, limits), "" if isinstance(source, bytes) else str(source))[0]


def checked_hole(values: NDArray[Any], place: str = "") -> tuple[NDArray[np.bool_], float]:
    """Return the mask of `read_mask`'s values, bool (H, W), and the fraction of them that is grey.

    Raises:
        UsageError: most of them are: it is a photograph, at `place`.
    """
    grey = grey_share(values)
    if grey > _MOST_GREY:
        raise UsageError(
            f"expected a mask in black and white, found an image of which {grey:.0%} is grey"
            f"{': ' + quoted(place) if place else ''}",
            fix="make white what is to be filled and all else black",
            code="mask_grey",
        )
    return hole_of(values), grey


def read_mask(source: str | Path | bytes, limits: Limits | None = None) -> NDArray[Any]:
    """Return the values of an image file that is a mask, (H, W, 1 or 3) in its own depth, 0 where it is transparent.

    Image editors write strokes on a layer that is transparent elsewhere.

    Raises:
        UnreadableImageError, LimitError, MissingExtraError: as `read_image`.
    """
    clear = read_clear(source, limits=limits)
    if clear is None:
        return read_image(source, depth="native", limits=limits)
    # Of what nobody sees the colour means nothing, also where it decides whether all values are 0 and 1.
    seen = clear[..., 3:] > 0
    return np.where(seen, clear[..., :3], 0)
