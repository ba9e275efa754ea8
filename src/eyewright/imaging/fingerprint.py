"""Perceptual fingerprints: nearly the same picture gives nearly the same 64 bits.

The difference hash compares each cell of an 9x8 reduction with its right neighbour (N. Krawetz, "Kind of like that",
2013). Flat and simple pictures collide under it, so a match is confirmed on the 32x32 thumbnails.
"""

__all__ = ["SAME_TOLERANCE", "THUMBNAIL_SIDE", "array_thumbnails", "difference_hashes", "same_pictures"]

import numpy as np
from numpy.typing import NDArray

THUMBNAIL_SIDE = 32
SAME_TOLERANCE = 0.01
"""Largest 1 - correlation of two thumbnails of one picture; re-compressed and rescaled copies stay below it."""


def difference_hashes(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Give the 64-bit difference hashes of grey thumbnails, uint8 (N, H, W), as uint64 (N,).

    >>> ramp = np.tile(np.arange(32, dtype=np.uint8) * 8, (32, 1))
    >>> difference_hashes(np.stack([ramp, ramp[:, ::-1]])) == np.array([2**64 - 1, 0], np.uint64)
    array([ True,  True])
    """
    n, height, width = thumbnails.shape
    rows, columns = _box(height, 8), _box(width, 9)
    # Rounded to grey values, so that what is flat gives equal neighbours and not noise.
    small = np.rint(rows @ thumbnails.astype(np.float32) @ columns.T)
    bits = np.packbits((small[:, :, 1:] > small[:, :, :-1]).reshape(n, 64), axis=1)
    return bits.view(">u8")[:, 0].astype(np.uint64)


def array_thumbnails(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give grey thumbnails, uint8 (N, 32, 32), of images of one size, uint8 (N, H, W) or (N, H, W, 3) RGB."""
    grey = images.astype(np.float32)
    if grey.ndim == 4:
        grey = grey @ np.array([0.299, 0.587, 0.114], np.float32)
    rows, columns = (_box(side, THUMBNAIL_SIDE) for side in grey.shape[1:])
    return np.rint(rows @ grey @ columns.T).astype(np.uint8)


def _box(source: int, target: int) -> NDArray[np.float32]:
    """Give the weights, (target, source), of Pillow's box filter: the mean of the pixels whose centres lie in a part.

    Decoded files get their thumbnails from Pillow; arrays must get the same, or their fingerprints would not compare.
    """
    scale = source / target
    centre = (np.arange(target) + 0.5) * scale
    distance = (np.arange(source) + 0.5 - centre[:, None]) / max(scale, 1.0)
    inside = (distance > -0.5) & (distance <= 0.5)
    weights: NDArray[np.float32] = (inside / inside.sum(1, keepdims=True)).astype(np.float32)
    return weights


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
