"""Restore an image of any size by a net for tiles: memory is bounded, and tiles together equal the whole."""

__all__ = [
    "Place",
    "Restored",
    "answer_for",
    "enlarged",
    "in_groups",
    "is_grey",
    "planes_fed",
    "restore_pixels",
    "tile_places",
    "tiles_at_once",
]

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.core.extras import import_extra
from eyewright.imaging.preparation import Preparation
from eyewright.imaging.regions import cut_region
from eyewright.imaging.tiles import TileCut, grain_level, tile_starts, with_level

# Enlarging looks this far.
_CUBIC_REACH = 2
# What a net holds of a tile is many times the tile; more at once are no quicker.
_BATCH_PIXELS = 300_000

RunTiles = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Prepared tiles, uint8 (N, T, T, C + 1), to what is to be added to them, float32 (N, sT, sT, C)."""


class Restored(NamedTuple):
    """A restored image of the depth and colours of the one that was given; `sigma` is the noise that was measured in it
    or told, in levels of 0-255, and `changed` the mean absolute change as a fraction of the range."""

    image: NDArray[Any]
    sigma: float
    changed: float


def enlarged(image: NDArray[Any], scale: int) -> NDArray[np.float32]:
    """Return an image, uint8 or uint16 (H, W, C), as float32 in [0, 1], enlarged by OpenCV's bicubic filter.

    >>> enlarged(np.full((2, 2, 1), 255, np.uint8), 2).tolist()[0][0]
    [1.0]
    """
    values = image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
    if scale == 1:
        return values
    cv2 = import_extra("cv2", extra="pixels", what="enlarging images")
    size = (image.shape[1] * scale, image.shape[0] * scale)
    larger: NDArray[np.float32] = cv2.resize(values, size, interpolation=cv2.INTER_CUBIC)
    return larger.reshape(size[1], size[0], image.shape[2])


def restore_pixels(
    run: RunTiles,
    image: NDArray[Any],
    preparation: Preparation,
    *,
    sigma: float | None = None,
    strength: float = 1.0,
    tile: int | None = None,
) -> Restored:
    """Return an image, uint8 or uint16, (H, W) or (H, W, 3), restored: of the same depth and colours, and larger by the
    net's scale.

    A net for grey images restores each colour by itself. 16 bits are kept: what is added was found in the 8 highest of
    them. An image without colour stays so.

    Args:
        sigma: the level of the noise; None measures it.
        strength: the fraction of the change that is made, in [0, 1].
        tile: the side of a tile, by default all that the net takes; with smaller ones the result is the same.

    Raises:
        UsageError: the model is not for tiles, or a value out of its range.
    """
    cut = preparation.tile
    if cut is None:
        raise UsageError(
            "expected a model that restores images, found one that does not", fix="train one with --task restore"
        )
    if cut.degradation.holes:
        raise UsageError("the model fills holes, and needs a mask of them", fix="use eyewright inpaint --with")
    if not 0 <= strength <= 1:
        raise UsageError(f"expected a strength in [0, 1], found {strength}", fix="change --strength")
    if image.dtype not in (np.uint8, np.uint16) or image.ndim not in (2, 3) or 0 in image.shape:
        raise UsageError(f"expected an image as uint8 or uint16 (H, W[, 3]), found {image.dtype} {image.shape}")
    planes = image if image.ndim == 3 else image[..., None]
    height, width, colours = planes.shape
    if sigma is None:
        sigma = grain_level(planes) if cut.degradation.noisy else 0.0
    grey = colours == 3 and is_grey(planes)
    scale, side = cut.scale, preparation.size_hw[0]
    kept = side if tile is None else tile
    if kept > side:
        raise UsageError(f"expected tiles of at most {side} pixels, found {kept}", fix="change --tile")
    out = np.empty((height * scale, width * scale, colours), image.dtype)
    top_value = np.float32(np.iinfo(image.dtype).max)
    changed = 0.0
    at_once = tiles_at_once(side)
    for places in in_groups(tile_places(height, width, kept, cut), at_once):
        parts = [cut_region(planes, top, left, (side, side)) for top, left, *_ in places]
        fed, colour_of = planes_fed(parts, preparation.channels, grey=grey)
        tiles = np.stack([with_level(p, sigma) for p in fed])
        found = np.concatenate([run(tiles[i : i + at_once]) for i in range(0, len(tiles), at_once)])
        for k, (top, left, y0, y1, x0, x1) in enumerate(places):
            own = answer_for(found, k, len(places), colour_of, mean=grey or colours == 1)
            rows = slice((y0 - top) * scale, (y1 - top) * scale)
            columns = slice((x0 - left) * scale, (x1 - left) * scale)
            base = _base(parts[k], scale, (y0 - top, y1 - top), (x0 - left, x1 - left))
            change = own[rows, columns]
            if strength != 1:
                change = change * np.float32(strength)
            total = np.clip(base + change, 0, 1)
            changed += float(np.abs(total - base).sum(dtype=np.float64))
            out[y0 * scale : y1 * scale, x0 * scale : x1 * scale] = np.rint(total * top_value)
    return Restored(out if image.ndim == 3 else out[..., 0], float(sigma), changed / out.size)


Place = tuple[int, int, int, int, int, int]
"""Where a tile begins, top and left, and which rows and columns of the image are taken from it."""


def tile_places(height: int, width: int, tile: int, cut: TileCut) -> Iterator[Place]:
    """Yield the place of each tile of an image."""
    for top, y0, y1 in tile_starts(height, tile, cut.reach, cut.align):
        for left, x0, x1 in tile_starts(width, tile, cut.reach, cut.align):
            yield top, left, y0, y1, x0, x1


def in_groups(places: Iterable[Place], size: int) -> Iterator[list[Place]]:
    """Yield places so many at a time."""
    group: list[Place] = []
    for place in places:
        group.append(place)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def is_grey(image: NDArray[Any]) -> bool:
    """Return whether an image (H, W, 3) has no colour."""
    return bool(np.array_equal(image[..., 0], image[..., 1]) and np.array_equal(image[..., 0], image[..., 2]))


def planes_fed(parts: list[NDArray[Any]], channels: int, *, grey: bool) -> tuple[list[NDArray[np.uint8]], int]:
    """Return what the net takes, in 8 bits, and how many of these make one tile."""
    eight = [_in_8_bits(p) for p in parts]
    colours = eight[0].shape[2]
    if colours == channels:
        return eight, 1
    if channels == 3:
        return [np.repeat(p, 3, 2) for p in eight], 1
    if grey:
        return [p[..., :1] for p in eight], 1
    return [p[..., c : c + 1] for c in range(colours) for p in eight], colours


def tiles_at_once(side: int) -> int:
    """Return how many tiles of this side a net is given together."""
    return max(1, _BATCH_PIXELS // (side * side))


def _in_8_bits(part: NDArray[Any]) -> NDArray[np.uint8]:
    return part if part.dtype == np.uint8 else ((part.astype(np.uint32) + 128) // 257).astype(np.uint8)


def answer_for(found: NDArray[np.float32], k: int, n: int, colour_of: int, *, mean: bool) -> NDArray[np.float32]:
    """Return what is added to tile k of n; the mean over the channels where the image has no colour."""
    if colour_of > 1:
        return np.concatenate([found[c * n + k] for c in range(colour_of)], 2)
    own: NDArray[np.float32] = found[k]
    return own.mean(2, keepdims=True) if mean else own


def _base(part: NDArray[Any], scale: int, rows: tuple[int, int], columns: tuple[int, int]) -> NDArray[np.float32]:
    """Return the kept part of a tile before anything is added, enlarged."""
    if scale == 1:
        return enlarged(part[rows[0] : rows[1], columns[0] : columns[1]], 1)
    (y0, y1), (x0, x1), more = rows, columns, _CUBIC_REACH
    whole = enlarged(part[y0 - more : y1 + more, x0 - more : x1 + more], scale)
    edge = more * scale
    return whole[edge:-edge, edge:-edge]
