"""What is special in learning to fill holes: the loss, and masks of the user's own."""

__all__ = ["fill_loss", "read_masks", "reduced"]

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from eyewright.core.errors import UsageError
from eyewright.core.quoting import quoted
from eyewright.imaging.decode import name_unreadable
from eyewright.imaging.layers import read_hole
from eyewright.imaging.sources import list_sources

_VARIATION = 0.1
_MOST_MASKS, _MOST_SIDE = 500, 2048


def fill_loss(outputs: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    """Return the mean absolute error inside the holes plus a tenth of the total variation of that error.

    The losses of Liu et al. (2018) that need no pretrained net: what lies outside the holes is copied, so its L1 is 0.
    The variation is that of the error and not of the image, which would punish texture; outside the holes the error is
    0, so seams count.

    Args:
        outputs, targets: float32 (N, H, W, C); targets are NaN outside the holes.
        known: bool of the same shape, where targets are numbers.
    """
    apart = (outputs - targets.nan_to_num()) * known
    n = known.sum().clamp(min=1)
    variation = apart.diff(dim=1).abs().sum() + apart.diff(dim=2).abs().sum()
    total: Tensor = (apart.abs().sum() + _VARIATION * variation) / n
    return total


@lru_cache(maxsize=4)
def read_masks(place: str) -> tuple[NDArray[np.bool_], ...]:
    """Return the masks in a folder or glob, bool (h, w), white where an image is to be filled; none of "".

    Raises:
        UsageError: there are none, too many, or one is empty, full or too large.
        UnreadableImageError: a file is no image.
    """
    if not place:
        return ()
    paths = [Path(p) for p in list_sources(place)]
    if not 1 <= len(paths) <= _MOST_MASKS:
        raise UsageError(
            f"expected 1 to {_MOST_MASKS} masks in {quoted(place)}, found {len(paths)}", fix="change --masks"
        )
    masks = []
    for path in paths:
        with name_unreadable(str(path)):
            mask = read_hole(path)
        if not mask.any() or mask.all():
            what = "everything" if mask.all() else "nothing"
            raise UsageError(f"expected a mask with a hole in {quoted(path)}, found {what} to fill", fix="remove it")
        if max(mask.shape) > _MOST_SIDE:
            raise UsageError(
                f"expected masks of at most {_MOST_SIDE} pixels a side, found {mask.shape[1]}x{mask.shape[0]} in "
                f"{quoted(path)}",
                fix="cut it into parts",
            )
        masks.append(mask)
    return tuple(masks)


def reduced(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Return an image (factor * H, factor * W, C) as the means of blocks, (H, W, C)."""
    if factor == 1:
        return image
    height, width, channels = image.shape
    blocks = image.reshape(height // factor, factor, width // factor, factor, channels)
    means: NDArray[np.uint8] = np.rint(blocks.mean((1, 3), dtype=np.float32)).astype(np.uint8)
    return means
