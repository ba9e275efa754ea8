"""Fill the holes of an image of any size by a net for tiles: memory is bounded, and tiles together equal the whole."""

__all__ = ["RunMasked", "fill_by_net"]

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.imaging.preparation import Preparation
from eyewright.imaging.regions import cut_region
from eyewright.imaging.restoring import answer_for, in_groups, is_grey, planes_fed, tile_places, tiles_at_once

RunMasked = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float32]]
"""Prepared tiles, uint8 (N, T, T, C), and their holes, uint8 (N, T, T, 1), to what is added, float32 (N, T, T, C)."""


def fill_by_net(
    run: RunMasked,
    image: NDArray[Any],
    hole: NDArray[np.bool_],
    preparation: Preparation,
    *,
    tile: int | None = None,
) -> NDArray[Any]:
    """Return an image, uint8 or uint16 (H, W, 1 or 3), whose hole, bool (H, W), holds a first filling, with that
    improved by a net; all other pixels as they were. Only tiles with a hole are run.

    A net for grey images fills each colour by itself. 16 bits are kept: what is added was found in the 8 highest of
    them. An image without colour stays so.

    Args:
        tile: the side of a tile, by default all that the net takes; with smaller ones the result is the same.

    Raises:
        UsageError: the model does something else, or a tile that is larger than its input.
    """
    cut = preparation.tile
    if cut is None or not cut.degradation.holes:
        raise UsageError(
            "expected a model that fills holes, found one that does not",
            fix="train one with --task restore --degrade holes:10-30",
        )
    side = preparation.size_hw[0]
    kept = side if tile is None else tile
    if kept > side:
        raise UsageError(f"expected tiles of at most {side} pixels, found {kept}", fix="change --tile")
    height, width, colours = image.shape
    grey = colours == 3 and is_grey(image)
    out = image.copy()
    top_value = np.float32(np.iinfo(image.dtype).max)
    with_hole = (p for p in tile_places(height, width, kept, cut) if hole[p[2] : p[3], p[4] : p[5]].any())
    at_once = tiles_at_once(side)
    for places in in_groups(with_hole, at_once):
        parts = [cut_region(image, top, left, (side, side)) for top, left, *_ in places]
        holes = [cut_region(hole, top, left, (side, side)) for top, left, *_ in places]
        fed, colour_of = planes_fed(parts, preparation.channels, grey=grey)
        masks = np.stack(holes * colour_of)[..., None] * np.uint8(255)
        tiles = np.stack(fed)
        found = np.concatenate(
            [run(tiles[i : i + at_once], masks[i : i + at_once]) for i in range(0, len(tiles), at_once)]
        )
        for k, (top, left, y0, y1, x0, x1) in enumerate(places):
            own = answer_for(found, k, len(places), colour_of, mean=grey or colours == 1)
            change = own[y0 - top : y1 - top, x0 - left : x1 - left]
            within = hole[y0:y1, x0:x1]
            values = image[y0:y1, x0:x1][within].astype(np.float32) / top_value + change[within]
            out[y0:y1, x0:x1][within] = np.rint(np.clip(values, 0, 1) * top_value)
    return out
