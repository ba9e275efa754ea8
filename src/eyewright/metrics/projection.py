"""Vectors on a plane, for people to look at."""

__all__ = ["project_plane"]

import numpy as np
from numpy.typing import NDArray

_FITTED = 20_000
_AT_ONCE = 4096


def project_plane(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return vectors, (N, D), on their two principal axes, float32 (N, 2), centred.

    Principal component analysis (Pearson 1901). Above 20,000 vectors the axes are those of 20,000 evenly spaced ones.
    The sign of an axis is chosen so that its largest weight is positive; an axis without spread is 0. Vectors that are
    not finite are placed at the centre.

    >>> project_plane(np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 1.0]])).shape
    (3, 2)
    """
    n, d = vectors.shape
    if not n or not d:
        return np.zeros((n, 2), np.float32)
    rows = np.asarray(vectors[:: max(1, -(-n // _FITTED))], np.float64)
    rows = rows[np.isfinite(rows).all(1)]
    if not len(rows):
        return np.zeros((n, 2), np.float32)
    centre = rows.mean(0)
    rows = rows - centre
    _, axes = np.linalg.eigh(rows.T @ rows)
    plane = axes[:, ::-1][:, :2]
    plane = plane * np.where(plane[np.abs(plane).argmax(0), np.arange(plane.shape[1])] < 0, -1.0, 1.0)
    result = np.zeros((n, 2), np.float32)
    for start in range(0, n, _AT_ONCE):
        part = np.asarray(vectors[start : start + _AT_ONCE], np.float64)
        good = np.isfinite(part).all(1)
        result[start : start + len(part), : plane.shape[1]][good] = (part[good] - centre) @ plane
    return result
