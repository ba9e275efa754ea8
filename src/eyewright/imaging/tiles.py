"""Images in tiles of one size, whose results put together equal that of the whole image."""

__all__ = ["LEVEL_STEPS", "TileCut", "cut_region", "grain_level", "tile_starts", "with_level"]

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
    """

    reach: int
    degrade: str

    def __post_init__(self) -> None:
        parse_degradation(self.degrade)
        if not 0 <= self.reach <= 256:
            raise UsageError(f"expected a reach of 0 to 256 pixels, found {self.reach}")

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
        return {"reach": self.reach, "degrade": self.degrade}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "TileCut":
        """Read `to_json`'s form.

        Raises:
            TypeError, UsageError: it is none.
        """
        value = cls(**data)
        if type(value.reach) is not int:
            raise TypeError("reach is a whole number")
        return value


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


def tile_starts(side: int, tile: int, reach: int) -> list[tuple[int, int, int]]:
    """Return for each tile along a side where it begins, and from where to where its result is kept.

    Tiles begin at even places, so that nets that look at every second pixel see the same ones in all of them.

    >>> tile_starts(100, 64, 8)
    [(-8, 0, 48), (40, 48, 96), (88, 96, 100)]
    """
    even = reach + reach % 2
    inner = (tile - even - reach) // 2 * 2
    if inner < 2:
        raise UsageError(f"expected tiles of more than {even + reach + 1} pixels, found {tile}", fix="change --tile")
    return [(at - even, at, min(at + inner, side)) for at in range(0, side, inner)]


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
