"""Images in tiles of one size, whose results put together equal that of the whole image."""

__all__ = ["LEVEL_STEPS", "TileCut", "grain_level", "tile_starts", "with_level"]

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.imaging.degrade import Degradation, parse_degradation

LEVEL_STEPS = 4.0
"""Steps of the level plane a level of 0-255: noise up to 63.75 is told, to a quarter of a level."""

_WINDOW = 256
_MOST_PIXELS = 16 * _WINDOW * _WINDOW


@dataclass(frozen=True)
class TileCut:
    """How a net that answers with images is fed: in tiles as they are, never resized.

    A pixel of the result depends on source pixels up to `reach` away. `degrade` is what the net has learnt to undo.
    Tiles begin at places that `align` divides.
    """

    reach: int
    degrade: str
    align: int = 2

    def __post_init__(self) -> None:
        parse_degradation(self.degrade)
        if not 0 <= self.reach <= 256:
            raise UsageError(f"expected a reach of 0 to 256 pixels, found {self.reach}")
        if self.align not in (2, 4, 8, 16, 32):
            raise UsageError(f"expected tiles aligned to 2, 4, 8, 16 or 32 pixels, found {self.align}")

    @cached_property
    def degradation(self) -> Degradation:
        """What the net has learnt to undo."""
        return parse_degradation(self.degrade)

    @property
    def scale(self) -> int:
        """How many times larger a side of the result is."""
        return self.degradation.scale

    def to_json(self) -> dict[str, Any]:
        """Return the value as plain JSON types."""
        more = {} if self.align == 2 else {"align": self.align}
        return {"reach": self.reach, "degrade": self.degrade, **more}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "TileCut":
        """Read `to_json`'s form.

        Raises:
            TypeError, UsageError: it is none.
        """
        value = cls(**data)
        if type(value.reach) is not int or type(value.align) is not int:
            raise TypeError("reach and align are whole numbers")
        return value


def tile_starts(side: int, tile: int, reach: int, align: int = 2) -> list[tuple[int, int, int]]:
    """Return for each tile along a side where it begins, and from where to where its result is kept.

    Tiles begin at places that `align` divides, so that nets that look at every second pixel, or at fewer, see the same
    ones in all of them.

    >>> tile_starts(100, 64, 8)
    [(-8, 0, 48), (40, 48, 96), (88, 96, 100)]
    """
    edge = -(-reach // align) * align
    inner = (tile - edge - reach) // align * align
    if inner < align:
        least = edge + reach + align - 1
        raise UsageError(f"expected tiles of more than {least} pixels, found {tile}", fix="change --tile")
    return [(at - edge, at, min(at + inner, side)) for at in range(0, side, inner)]


def grain_level(image: NDArray[Any]) -> float:
    """Return the standard deviation of the noise in an image in levels of 0-255, uint8 or uint16, as
    `imaging.steps.denoise.noise_level` measures it; of a large image in windows all over it, so that memory is bounded.
    """
    from eyewright.imaging.steps.denoise import noise_level

    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    height, width = image.shape[:2]
    if height * width > 2 * _MOST_PIXELS and min(height, width) >= _WINDOW:
        tops, lefts = (np.linspace(0, side - _WINDOW, 4).astype(int) for side in (height, width))
        rows = [np.concatenate([image[t : t + _WINDOW, c : c + _WINDOW] for c in lefts], 1) for t in tops]
        image = np.concatenate(rows)
    return noise_level(image)


def with_level(tile: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    """Return a tile, uint8 (H, W, C), with the level of its noise as a last channel, uint8 (H, W, C + 1)."""
    plane = np.full((*tile.shape[:2], 1), np.clip(round(LEVEL_STEPS * sigma), 0, 255), np.uint8)
    return np.concatenate([tile, plane], 2)
