"""The first filling of a hole, which other methods and nets refine: the Navier-Stokes equations."""

__all__ = ["fill_smoothly", "in_windows"]

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.imaging.opencv import opencv

_RADIUS = 5
# Larger images are filled in windows, whose margin is more than twice as wide as what is filled from both sides.
_MOST_AT_ONCE, _CELL, _WINDOW_MARGIN = 4_000_000, 1024, 128
_DEEPEST = 48.0


def in_windows(
    planes: NDArray[Any], hole: NDArray[np.bool_], fill: Callable[[NDArray[Any], NDArray[np.bool_]], NDArray[Any]]
) -> NDArray[Any]:
    """Return what `fill` makes of an image (H, W, C) and its hole, bool (H, W): of a large image window by window, so
    that memory beyond the two images is bounded. A hole of over 96 pixels across is filled in one go.
    """
    height, width = hole.shape
    if height * width <= _MOST_AT_ONCE:
        return fill(planes, hole)
    cv2, out = opencv(), planes.copy()
    for top in range(0, height, _CELL):
        for left in range(0, width, _CELL):
            cell = slice(top, top + _CELL), slice(left, left + _CELL)
            inside = hole[cell]
            if not inside.any():
                continue
            y, x = max(0, top - _WINDOW_MARGIN), max(0, left - _WINDOW_MARGIN)
            window = slice(y, top + _CELL + _WINDOW_MARGIN), slice(x, left + _CELL + _WINDOW_MARGIN)
            own = np.ascontiguousarray(hole[window])
            if own.all() or cv2.distanceTransform(own.astype(np.uint8), cv2.DIST_L2, 5).max() > _DEEPEST:
                return fill(planes, hole)
            found = fill(np.ascontiguousarray(planes[window]), own)
            out[cell][inside] = found[top - y :, left - x :][: len(inside), : inside.shape[1]][inside]
    return out


def fill_smoothly(planes: NDArray[Any], hole: NDArray[np.bool_]) -> NDArray[Any]:
    """Return an image, uint8 or uint16 (H, W, 1 or 3), with a hole, bool (H, W), filled by the Navier-Stokes equations
    (Bertalmio, Bertozzi and Sapiro 2001), by OpenCV; with one more pixel at every edge, because it goes wrong at the
    left and the top (opencv #25389).

    >>> fill_smoothly(np.full((4, 4, 1), 9, np.uint8), np.eye(4, dtype=bool))[0, 0].tolist()
    [9]
    """
    return in_windows(planes, hole, _fill_smoothly)


def _fill_smoothly(planes: NDArray[Any], hole: NDArray[np.bool_]) -> NDArray[Any]:
    cv2 = opencv()
    mask = np.pad(hole.astype(np.uint8), 1, mode="edge")
    if planes.dtype == np.uint8:
        padded = np.pad(planes, ((1, 1), (1, 1), (0, 0)), mode="edge")
        padded = padded if padded.shape[2] == 3 else padded[..., 0]
        found: NDArray[np.uint8] = cv2.inpaint(np.ascontiguousarray(padded), mask, _RADIUS, cv2.INPAINT_NS)
        return found[1:-1, 1:-1].reshape(planes.shape)
    # 16 bits are taken one channel at a time.
    done = [
        cv2.inpaint(np.pad(planes[..., c], 1, mode="edge"), mask, _RADIUS, cv2.INPAINT_NS)[1:-1, 1:-1]
        for c in range(planes.shape[2])
    ]
    return np.stack(done, 2)
