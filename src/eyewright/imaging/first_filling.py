"""The first filling of a hole, which other methods and nets refine: the Navier-Stokes equations."""

__all__ = ["fill_smoothly"]

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.imaging.opencv import opencv

_RADIUS = 5


def fill_smoothly(planes: NDArray[Any], hole: NDArray[np.bool_]) -> NDArray[Any]:
    """Return an image, uint8 or uint16 (H, W, 1 or 3), with a hole, bool (H, W), filled by the Navier-Stokes equations
    (Bertalmio, Bertozzi and Sapiro 2001), by OpenCV; with one more pixel at every edge, because it goes wrong at the
    left and the top (opencv #25389).

    >>> fill_smoothly(np.full((4, 4, 1), 9, np.uint8), np.eye(4, dtype=bool))[0, 0].tolist()
    [9]
    """
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
