"""Connected parts and what can be measured of each."""

__all__ = ["COLUMNS", "Region", "connected", "measure_regions"]

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eyewright.imaging.steps.arrays import Pixels, extra, luma, opencv

Labels = NDArray[np.int32]


@dataclass(frozen=True)
class Region:
    """One region, measured in pixels: half-open box, centroid of pixel centres, moments' ellipse.

    `eccentricity` is that of the ellipse with the same second moments, 0 round to 1 a line; `orientation_deg` is the
    angle of its long axis to the x axis, counter-clockwise, in (-90, 90]; `solidity` the fraction of the convex hull
    that is filled. Intensities are of the grey image in its own depth.
    """

    label: int
    area: int
    x0: int
    y0: int
    x1: int
    y1: int
    centroid_x: float
    centroid_y: float
    major_axis: float
    minor_axis: float
    eccentricity: float
    orientation_deg: float
    perimeter: float
    solidity: float
    mean_intensity: float
    min_intensity: float
    max_intensity: float


COLUMNS = tuple(f.name for f in dataclasses.fields(Region))
"""The columns of a table of regions."""


def connected(mask: NDArray[np.bool_], *, smallest: int = 1) -> Labels:
    """Number the 8-connected parts of a mask (H, W) from 1, from top to bottom; smaller ones become 0.

    >>> connected(np.array([[1, 0, 1], [0, 0, 1]], bool)).tolist()
    [[1, 0, 2], [0, 0, 2]]
    """
    cv2 = opencv()
    n, labels, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(mask).astype(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= smallest
    keep[0] = False
    table = np.zeros(n, np.int32)
    table[keep] = np.arange(1, int(keep.sum()) + 1)
    numbered: Labels = table[labels]
    return numbered


def measure_regions(labels: Labels, image: Pixels) -> tuple[Region, ...]:
    """Measure every region of a label map; 0 is left out. Perimeter as scikit-image has it (8-connected, Benkrid)."""
    measure = extra("skimage.measure")
    grey = luma(image)
    found = []
    for r in measure.regionprops(np.asarray(labels), intensity_image=grey):
        y0, x0, y1, x1 = (int(v) for v in r.bbox)
        cy, cx = (float(v) for v in r.centroid)
        # scikit-image measures the angle from the row axis.
        angle = float(np.rad2deg(r.orientation)) + 90.0
        angle = angle - 180.0 if angle > 90.0 else angle
        hull = float(r.solidity) if r.area > 2 and min(y1 - y0, x1 - x0) > 1 else 1.0
        found.append(
            Region(
                int(r.label),
                int(r.area),
                x0,
                y0,
                x1,
                y1,
                cx,
                cy,
                float(r.axis_major_length),
                float(r.axis_minor_length),
                float(r.eccentricity),
                angle,
                float(r.perimeter),
                hull,
                float(r.intensity_mean),
                float(r.intensity_min),
                float(r.intensity_max),
            )
        )
    return tuple(found)
