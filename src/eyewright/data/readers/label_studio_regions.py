"""The regions of Label Studio's results: percent units, rectangles, polygons, ellipses and brush strokes."""

__all__ = ["REGIONS", "decode_brush", "shape_of"]

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError
from eyewright.data.readers.listing import number
from eyewright.data.targets.objects import Outline
from eyewright.imaging.headers import Limits
from eyewright.imaging.rasters import encode_counts

REGIONS = MappingProxyType(
    {
        "rectanglelabels": "rectangle",
        "rectangle": "rectangle",
        "polygonlabels": "polygon",
        "polygon": "polygon",
        "brushlabels": "brush",
        "brush": "brush",
        "bitmasklabels": "bitmask",
        "ellipselabels": "ellipse",
        "ellipse": "ellipse",
    }
)
"""Types of results that are regions of an image, with the kind of region that each is."""

_ELLIPSE_POINTS = 64


def shape_of(kind: str, value: Mapping[str, Any], size_hw: Callable[[], tuple[int, int]]) -> tuple[Outline, bool]:
    """Return a region's outline, and whether it is an upright rectangle. `size_hw` is asked where the size counts.

    Raises:
        KeyError, TypeError, ValueError, DatasetError: it cannot be read.
    """
    if kind == "polygon":
        points = np.array([[number(v) for v in p] for p in value["points"]], np.float64).reshape(-1, 2) / 100
        if len(points) < 3:
            raise DatasetError(f"expected a polygon of 3 points or more, found {len(points)}")
        return Outline((points,), relative=True), False
    if kind == "brush":
        size = size_hw()
        mask = decode_brush(value["rle"], size)
        if not mask.any():
            raise DatasetError("a brush stroke in which no pixel is marked")
        return Outline(rle={"size": list(size), "counts": encode_counts(mask)}), False
    if kind not in ("ellipse", "rectangle"):
        raise DatasetError(f"a region of the kind {kind!r}, which is not read")
    x, y = number(value["x"]) / 100, number(value["y"]) / 100
    degrees = number(value.get("rotation") or 0.0)
    if kind == "ellipse":
        angle = np.linspace(0, 2 * math.pi, _ELLIPSE_POINTS, endpoint=False)
        radii = number(value["radiusX"]) / 100, number(value["radiusY"]) / 100
        points = np.stack([x + radii[0] * np.cos(angle), y + radii[1] * np.sin(angle)], 1)
        return Outline((_turned(points, np.array([x, y]), degrees, size_hw),), relative=True), False
    w, h = number(value["width"]) / 100, number(value["height"]) / 100
    points = np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]])
    # Label Studio turns a rectangle about its left upper corner.
    return Outline((_turned(points, points[0], degrees, size_hw),), relative=True), not degrees


def _turned(
    points: NDArray[np.float64], about: NDArray[np.float64], degrees: float, size_hw: Callable[[], tuple[int, int]]
) -> NDArray[np.float64]:
    if not degrees:
        return points
    height, width = size_hw()
    side = np.array([width, height], np.float64)
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    turned: NDArray[np.float64] = ((points - about) * side @ turn) / side + about
    return turned


def decode_brush(rle: Sequence[int], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask of a brush stroke: Label Studio packs RGBA bytes by bits (thi.ng's rle-pack).

    Raises:
        DatasetError: damaged, or of another size.
    """
    try:
        bits = np.unpackbits(np.array(rle, np.uint8))
    except (ValueError, TypeError, OverflowError):
        raise DatasetError("the brush's run-length encoding is not bytes") from None
    at = 0

    def take(n: int) -> int:
        nonlocal at
        if at + n > len(bits):
            raise DatasetError("the brush's run-length encoding ends too early")
        value = int(bits[at : at + n] @ (1 << np.arange(n - 1, -1, -1)))
        at += n
        return value

    total, word = take(32), take(5) + 1
    widths = [take(4) + 1 for _ in range(4)]
    if total != size_hw[0] * size_hw[1] * 4:
        raise DatasetError(f"the brush covers {total // 4} pixels, the image has {size_hw[0] * size_hw[1]}")
    if total > 4 * Limits().pixels:
        raise DatasetError(f"the brush covers {total // 4} pixels, more than an image may have")
    out = np.zeros(total, np.uint8)
    i = 0
    while i < total:
        repeated = take(1)
        n = take(widths[take(2)]) + 1
        if repeated:
            out[i : i + n] = take(word)
        else:
            stop = min(i + n, total)
            if at + word * (stop - i) > len(bits):
                raise DatasetError("the brush's run-length encoding ends too early")
            part = bits[at : at + word * (stop - i)].reshape(-1, word)
            out[i:stop] = part @ (1 << np.arange(word - 1, -1, -1))
            at += word * (stop - i)
        i += n
    return out.reshape(*size_hw, 4)[..., 3] > 0
