"""Large images made smaller before they are resized: while a JPEG is decoded, or by the mean of whole blocks."""

__all__ = ["FACTORS", "MARGIN", "Prepared", "Reduced", "read_reduced", "reduction", "to_srgb"]

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.imaging.conversion import is_srgb, orientation_of, to_rgb, turn_upright
from eyewright.imaging.decode import checked_header, file_bytes, named_errors, open_picture, read_picture
from eyewright.imaging.headers import Limits

FACTORS = (8, 4, 2)
"""By how much libjpeg reduces an image while it decodes it (1/8, 1/4, 1/2)."""
MARGIN = 2
"""Pixels that are left along each side for every pixel that a net takes: the resize still decides what it sees."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image as a net takes it: `pixels` of a `Preparation`'s shape, and the height and width of its source."""

    pixels: NDArray[np.uint8]
    source_hw: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        return self.pixels.nbytes

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of the source as an array (H, W, 3)."""
        return (*self.source_hw, 3)


@dataclass(frozen=True, eq=False)
class Reduced:
    """A picture in mode RGB or L, upright; `factor` pixels of its source, of `source_hw` pixels, are one of it.

    The source begins at `origin_yx` in the picture: blocks that reach past its edge may lie above or left of it once
    the picture is turned upright. `profile` is the ICC profile that has not been applied.
    """

    picture: Image.Image
    source_hw: tuple[int, int]
    factor: int = 1
    origin_yx: tuple[float, float] = (0.0, 0.0)
    profile: bytes | None = None

    def reduced_by(self, factor: int) -> "Reduced":
        """Return the picture reduced by `factor`; one that has been reduced already is returned as it is.

        Each pixel is the mean of a block, and the last of a row of what there is of its block.
        """
        if self.factor > 1 or factor == 1:
            return self
        return Reduced(self.picture.reduce(factor), self.source_hw, factor, profile=self.profile)

    def box(self, box: Box | None) -> Box | None:
        """Return where a part of the source, or all of it, lies in the picture: x0, y0, x1, y1."""
        if self.factor == 1:
            return box
        x0, y0, x1, y1 = box or (0.0, 0.0, float(self.source_hw[1]), float(self.source_hw[0]))
        y, x = self.origin_yx
        f = self.factor
        # Past the edge by a last bit, Pillow refuses it.
        return x0 / f + x, y0 / f + y, min(x1 / f + x, self.picture.width), min(y1 / f + y, self.picture.height)


def reduction(scale_yx: tuple[float, float]) -> int:
    """Return the largest of 8, 4, 2 and 1 that leaves `MARGIN` pixels for every pixel of the result along both sides;
    `scale_yx` is pixels of the result for one of the source.

    >>> reduction((0.1, 0.05)), reduction((0.25, 0.25)), reduction((0.3, 0.1))
    (4, 2, 1)
    """
    return next((f for f in FACTORS if f * MARGIN * max(scale_yx) <= 1), 1)


def read_reduced(
    source: str | Path | bytes, factor_of: Callable[[tuple[int, int]], int], *, limits: Limits | None = None
) -> Reduced:
    """Read one image in this process as `decode.read_picture` does, its colour profile not applied; a JPEG is decoded
    at 1/f of its size, where `factor_of` returns f, 1, 2, 4 or 8, for its height and width as it is looked at.

    Raises:
        UnreadableImageError, LimitError, MissingExtraError: as `decode.read_image`.
    """
    limits = limits or Limits()
    with named_errors():
        data = file_bytes(source, limits)
        header = checked_header(data, limits)
        if header.bits > 8:
            return _whole(read_picture(data, limits=limits))
        image = open_picture(data, header, limits)
        stored_hw = (image.height, image.width)
        orientation, factor = 1, 1
        if header.format == "JPEG":
            orientation = orientation_of(image)
            factor = _decode_at(image, factor_of(stored_hw[::-1] if orientation >= 5 else stored_hw))
        picture = turn_upright(image)
        profile = picture.info.get("icc_profile")
        if picture.mode not in ("RGB", "L") or "transparency" in picture.info:
            picture, profile = to_rgb(picture), None
        elif not profile or is_srgb(profile):
            profile = None
        if factor == 1:
            return Reduced(picture, (picture.height, picture.width), profile=profile)
        below, right = (-n % factor / factor for n in stored_hw)
        if orientation >= 5:
            below, right, stored_hw = right, below, stored_hw[::-1]
        # As `conversion.turn_array` mirrors: what reached past the right edge now lies left of the image.
        origin = (below if orientation in (3, 4, 7, 8) else 0.0, right if orientation in (2, 3, 6, 7) else 0.0)
        return Reduced(picture, stored_hw, factor, origin, profile)


def _whole(picture: Image.Image) -> Reduced:
    return Reduced(picture, (picture.height, picture.width))


def _decode_at(image: Image.Image, factor: int) -> int:
    """Have a JPEG that is not decoded yet decoded at 1/`factor`; return by how much it will be reduced."""
    if factor == 1:
        return 1
    width, height = image.size
    image.draft(None, (width // factor, height // factor))
    return factor if image.size == (-(-width // factor), -(-height // factor)) else 1


def to_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """Apply an ICC profile to a picture in mode RGB or L."""
    picture.info["icc_profile"] = profile
    return to_rgb(picture)
