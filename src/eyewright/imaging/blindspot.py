"""Hide pixels of a noisy image, so that a net that sees only their surroundings can be trained and measured on them."""

__all__ = ["hide_pixels"]

import numpy as np
from numpy.typing import NDArray

_EVERY = 4
_AROUND = [(dy, dx) for dy in (-2, -1, 0, 1, 2) for dx in (-2, -1, 0, 1, 2) if (dy, dx) != (0, 0)]


def hide_pixels(image: NDArray[np.uint8], *, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the image, uint8 (H, W, C), with one pixel of every 4x4 replaced by one of its 24 neighbours, and which
    pixels these are, bool (H, W) (Noise2Void: Krull, Buchholz and Jug 2019).

    >>> shown, hidden = hide_pixels(np.arange(64, dtype=np.uint8).reshape(8, 8, 1), rng=np.random.default_rng(0))
    >>> int(hidden.sum()), bool((shown == np.arange(64).reshape(8, 8, 1))[~hidden].all())
    (4, True)
    """
    height, width = image.shape[:2]
    rows, columns = np.meshgrid(np.arange(0, height, _EVERY), np.arange(0, width, _EVERY), indexing="ij")
    rows = np.minimum(rows + rng.integers(0, _EVERY, rows.shape), height - 1)
    columns = np.minimum(columns + rng.integers(0, _EVERY, columns.shape), width - 1)
    step = np.array(_AROUND)[rng.integers(0, len(_AROUND), rows.shape)]
    beside_y, beside_x = (np.abs(at + step[..., k]) for k, at in enumerate((rows, columns)))
    beside_y = np.where(beside_y >= height, np.maximum(0, 2 * height - 2 - beside_y), beside_y)
    beside_x = np.where(beside_x >= width, np.maximum(0, 2 * width - 2 - beside_x), beside_x)
    shown = image.copy()
    shown[rows, columns] = image[beside_y, beside_x]
    hidden = np.zeros((height, width), bool)
    hidden[rows, columns] = True
    return shown, hidden
