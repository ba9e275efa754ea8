"""Hide boxes of an image so that what was there cannot be computed back."""

__all__ = ["CELLS", "HOW", "How", "grown_boxes", "hidden_mask", "hide_boxes"]

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError, spelling_hint

How = Literal["fill", "blur", "pixelate"]
HOW: tuple[How, ...] = get_args(How)

CELLS = 6
"""The numbers that are left of a region: pixelation with many cells, and Gaussian blur, have been reversed."""


def grown_boxes(boxes: NDArray[np.float64], size_hw: tuple[int, int], *, margin: float = 0.1) -> NDArray[np.int64]:
    """Return boxes (n, 4), x0 y0 x1 y1 in pixels, larger by `margin` of their sides on each side, whole and inside.

    Boxes without an area inside the image are left out.

    >>> grown_boxes(np.array([[10.0, 10, 20, 30]]), (40, 40)).tolist()
    [[9, 8, 21, 32]]
    """
    b = np.asarray(boxes, np.float64).reshape(-1, 4)
    b = b[np.isfinite(b).all(1) & (b[:, 2] > b[:, 0]) & (b[:, 3] > b[:, 1])]
    more = margin * np.stack([b[:, 2] - b[:, 0], b[:, 3] - b[:, 1]], 1)
    low, high = np.floor(b[:, :2] - more), np.ceil(b[:, 2:] + more)
    limits = np.array([size_hw[1], size_hw[0]])
    whole = np.concatenate([low.clip(0, limits), high.clip(0, limits)], 1).astype(np.int64)
    return whole[(whole[:, 2] > whole[:, 0]) & (whole[:, 3] > whole[:, 1])]


def hidden_mask(boxes: NDArray[np.int64], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which pixels lie in a box, bool (H, W)."""
    mask = np.zeros(size_hw, bool)
    for x0, y0, x1, y1 in boxes.tolist():
        mask[y0:y1, x0:x1] = True
    return mask


def hide_boxes(image: NDArray[Any], boxes: NDArray[np.int64], how: How = "fill") -> NDArray[Any]:
    """Return the image, uint8 or uint16 (H, W) or (H, W, 3), with boxes (n, 4) hidden.

    `fill` makes them black. `pixelate` leaves at most `CELLS` mean colours of a box, and `blur` the smooth surface
    through these.

    >>> hide_boxes(np.full((4, 4), 9, np.uint8), np.array([[1, 1, 3, 3]])).tolist()[1]
    [9, 0, 0, 9]

    Raises:
        UsageError: an unknown way.
    """
    if how not in HOW:
        raise UsageError(f"unknown way to hide {how!r}", fix=spelling_hint(how, HOW))
    done = image.copy()
    if how == "fill":
        done[hidden_mask(boxes, image.shape[:2])] = 0
        return done
    for x0, y0, x1, y1 in boxes.tolist():
        region = done[y0:y1, x0:x1]
        cells = _cells(region)
        done[y0:y1, x0:x1] = _spread(cells, region.shape[:2], smooth=how == "blur").astype(image.dtype)
    return done


def _cells(region: NDArray[Any]) -> NDArray[np.float64]:
    """Return the mean colours of a region's cells, (rows, columns, ...): as square as `CELLS` of them can be."""
    height, width = region.shape[:2]
    choices = [(r, c) for r in range(1, CELLS + 1) for c in range(1, CELLS // r + 1) if r <= height and c <= width]
    rows, columns = max(choices, key=lambda k: (k[0] * k[1], -abs(np.log((height / k[0]) / (width / k[1])))))
    down = np.add.reduceat(region.astype(np.float64), np.arange(rows) * height // rows, 0)
    sums = np.add.reduceat(down, np.arange(columns) * width // columns, 1)
    high = np.diff(np.append(np.arange(rows) * height // rows, height))
    wide = np.diff(np.append(np.arange(columns) * width // columns, width))
    count = (high[:, None] * wide[None]).reshape(rows, columns, *(1,) * (region.ndim - 2))
    return np.asarray(sums / count, np.float64)


def _spread(cells: NDArray[np.float64], size_hw: tuple[int, int], *, smooth: bool) -> NDArray[np.float64]:
    """Return cells enlarged to a size, in steps or bilinearly between their centres."""
    found = cells
    for axis, n in enumerate(size_hw):
        k = cells.shape[axis]
        at = (np.arange(n) + 0.5) * k / n
        if not smooth:
            found = np.take(found, np.minimum(at.astype(np.int64), k - 1), axis)
            continue
        at = np.clip(at - 0.5, 0, k - 1)
        low = np.minimum(at.astype(np.int64), max(k - 2, 0))
        part = (at - low).reshape(*(-1 if i == axis else 1 for i in range(cells.ndim)))
        after = np.take(found, np.minimum(low + 1, k - 1), axis)
        found = np.take(found, low, axis) * (1 - part) + after * part
    return np.rint(found)
