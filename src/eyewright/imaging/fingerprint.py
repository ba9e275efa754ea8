"""Perceptual fingerprints: nearly the same picture gives nearly the same 64 bits.

The difference hash compares each cell of an 9x8 reduction with its right neighbour (N. Krawetz, "Kind of like that",
2013). Flat and simple pictures collide under it, so a match is confirmed on the 32x32 thumbnails.
"""

__all__ = ["SAME_TOLERANCE", "THUMBNAIL_SIDE", "difference_hash", "same_pictures"]

import numpy as np
from numpy.typing import NDArray
from PIL import Image

THUMBNAIL_SIDE = 32
SAME_TOLERANCE = 0.01
"""Largest 1 - correlation of two thumbnails of one picture; re-compressed and rescaled copies stay below it."""


def difference_hash(thumbnail: NDArray[np.uint8]) -> int:
    """Give the 64-bit difference hash of a grey thumbnail, uint8 (H, W).

    >>> ramp = np.tile(np.arange(32, dtype=np.uint8) * 8, (32, 1))
    >>> difference_hash(ramp) == 2**64 - 1, difference_hash(ramp[:, ::-1]) == 0
    (True, True)
    """
    small = np.asarray(Image.fromarray(thumbnail).resize((9, 8), Image.Resampling.BOX)).astype(np.int16)
    bits = small[:, 1:] > small[:, :-1]
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def same_pictures(
    a: NDArray[np.uint8], b: NDArray[np.uint8], *, tolerance: float = SAME_TOLERANCE
) -> NDArray[np.bool_]:
    """Tell for pairs of grey thumbnails, uint8 (M, h, w) each, whether they show the same picture, bool (M,).

    Brightness and contrast are taken out first; what remains may differ by `tolerance` (1 - correlation). Pictures
    without contrast match only if they are equal in brightness within 2 levels.

    >>> a = np.random.default_rng(0).integers(0, 256, (1, 32, 32)).astype(np.uint8)
    >>> same_pictures(a, a // 2 + 40).tolist(), same_pictures(a, a[:, ::-1]).tolist()
    ([True], [False])
    """
    x = a.reshape(len(a), -1).astype(np.float32)
    y = b.reshape(len(b), -1).astype(np.float32)
    spread = x.std(1) * y.std(1)
    flat = spread < 4.0
    product = ((x - x.mean(1, keepdims=True)) * (y - y.mean(1, keepdims=True))).mean(1)
    correlation = np.divide(product, spread, out=np.zeros_like(spread), where=~flat)
    result: NDArray[np.bool_] = np.where(flat, np.abs(x - y).max(1) <= 2, 1 - correlation <= tolerance)
    return result
