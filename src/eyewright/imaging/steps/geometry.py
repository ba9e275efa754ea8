"""Geometry: size, place, turn, view, lens."""

__all__ = [
    "FILTERS",
    "crop",
    "deskew",
    "flip",
    "letterbox",
    "pad",
    "parse_size",
    "perspective",
    "resize",
    "rotate",
    "skew_angle",
    "undistort",
]

import math
import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import UsageError
from eyewright.imaging.steps.arrays import Pixels, luma, opencv, top_of

FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos", "area")
_LINES = 6.0


def parse_size(size: str | float) -> tuple[int, int] | int:
    """Read "640" (a longer side) or "640x480" (width and height).

    >>> parse_size("640x480")
    (480, 640)

    Raises:
        UsageError: neither.
    """
    found = re.fullmatch(
        r"\s*(\d{1,5})\s*(?:[x×]\s*(\d{1,5}))?\s*", f"{size:g}" if isinstance(size, float) else str(size)
    )
    sides = [int(v) for v in found.groups() if v] if found else []
    if not sides or not all(1 <= v <= 32_768 for v in sides):
        raise UsageError(f"expected a size such as 640 or 640x480, found {size!r}", code="step_parameter")
    return sides[0] if len(sides) == 1 else (sides[1], sides[0])


def target_hw(size: str | float, side: str, source_hw: tuple[int, int]) -> tuple[int, int]:
    """Return the (height, width) that `resize` makes of an image of `source_hw`."""
    wanted = parse_size(size)
    if isinstance(wanted, tuple):
        return wanted
    basis = max(source_hw) if side == "long" else min(source_hw)
    height, width = (max(1, round(n * wanted / basis)) for n in source_hw)
    return height, width


def resize(image: Pixels, *, size: str | float = "640", filter: str = "bicubic", side: str = "long") -> Pixels:
    """Resize to `size`: one number for the longer (or shorter) side, the shape kept, or WIDTHxHEIGHT.

    Filters are antialiased: their support grows with the reduction, so that no detail folds into false patterns.
    "nearest" is not, and "area" is the exact mean of what a pixel covers. 8 bits by Pillow, the same bits on every
    machine; 16 bits by Pillow in float.
    """
    height, width = target_hw(size, side, image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image.copy()
    if filter == "area":
        cv2 = opencv()
        small: Pixels = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return small
    resampling = Image.Resampling[filter.upper()]
    if image.dtype == np.uint8:
        return np.asarray(Image.fromarray(image).resize((width, height), resampling))
    planes = [image] if image.ndim == 2 else [image[..., k] for k in range(3)]
    done = [np.asarray(Image.fromarray(p.astype(np.float32)).resize((width, height), resampling)) for p in planes]
    result: Pixels = np.rint(np.clip(done[0] if image.ndim == 2 else np.stack(done, 2), 0, 65535)).astype(np.uint16)
    return result


def letterbox(image: Pixels, *, size: str | float = "640", fill: float = 114.0, filter: str = "bilinear") -> Pixels:
    """Fit the whole image into WIDTHxHEIGHT (or a square), its shape kept, the rest `fill` (0-255)."""
    wanted = parse_size(size)
    box = wanted if isinstance(wanted, tuple) else (wanted, wanted)
    scale = min(box[0] / image.shape[0], box[1] / image.shape[1])
    inner = [max(1, min(b, round(n * scale))) for b, n in zip(box, image.shape[:2], strict=True)]
    small = resize(image, size=f"{inner[1]}x{inner[0]}", filter=filter)
    top, left = (box[0] - inner[0]) // 2, (box[1] - inner[1]) // 2
    canvas = np.full((*box, *image.shape[2:]), round(fill * top_of(image) / 255), image.dtype)
    canvas[top : top + inner[0], left : left + inner[1]] = small
    return canvas


def crop(image: Pixels, *, box: tuple[tuple[float, ...], ...] | str = "centre", size: str = "") -> Pixels:
    """Cut out `box`, x y width height in pixels, or the centre of `size` WIDTHxHEIGHT.

    Raises:
        UsageError: outside the image.
    """
    height, width = image.shape[:2]
    if isinstance(box, str):
        wanted = parse_size(size) if size else min(height, width)
        h, w = wanted if isinstance(wanted, tuple) else (wanted, wanted)
        x, y = (width - w) // 2, (height - h) // 2
    else:
        if len(box) != 1 or len(box[0]) != 4:
            raise UsageError(
                "crop: expected box=X Y WIDTH HEIGHT", fix="as in 'crop:10 20 200 100'", code="step_parameter"
            )
        x, y, w, h = (int(v) for v in box[0])
    if x < 0 or y < 0 or w < 1 or h < 1 or x + w > width or y + h > height:
        raise UsageError(
            f"crop: {w}x{h} at {x}, {y} is not inside the image of {width}x{height}",
            fix="choose a smaller box",
            code="step_image",
        )
    return image[y : y + h, x : x + w].copy()


def pad(
    image: Pixels, *, by: tuple[tuple[float, ...], ...] = ((16.0,),), edge: str = "fill", fill: float = 0.0
) -> Pixels:
    """Add a border of so many pixels: one number for all sides, or top right bottom left."""
    cv2 = opencv()
    sides = [int(v) for v in by[0]]
    if len(sides) not in (1, 4) or min(sides) < 0 or max(sides) > 8192:
        raise UsageError(
            f"pad: expected one number of 0 to 8192, or four (top right bottom left), found {sides}",
            code="step_parameter",
        )
    top, right, bottom, left = sides * 4 if len(sides) == 1 else sides
    if edge == "fill":
        value = [fill * top_of(image) / 255] * 3
        framed: Pixels = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=value)
        return framed
    width = [(top, bottom), (left, right)] + [(0, 0)] * (image.ndim - 2)
    return np.pad(image, width, mode="reflect" if edge == "mirror" else "edge")


def rotate(
    image: Pixels,
    *,
    angle: float = 90.0,
    expand: bool = True,
    edge: str = "fill",
    fill: float = 255.0,
    filter: str = "bicubic",
) -> Pixels:
    """Turn counter-clockwise by `angle` degrees; quarter turns are exact. `expand` grows the picture to hold it all."""
    if angle % 90 == 0 and (expand or angle % 180 == 0):
        return np.ascontiguousarray(np.rot90(image, int(angle // 90) % 4))
    cv2 = opencv()
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    if expand:
        c, s = abs(matrix[0, 0]), abs(matrix[0, 1])
        new_w, new_h = math.ceil(width * c + height * s - 1e-6), math.ceil(width * s + height * c - 1e-6)
        matrix[:, 2] += ((new_w - width) / 2, (new_h - height) / 2)
        width, height = new_w, new_h
    turned: Pixels = cv2.warpAffine(image, matrix, (width, height), **_warp(image, edge, fill, filter))
    return turned


def flip(image: Pixels, *, axis: str = "horizontal") -> Pixels:
    """Mirror: "horizontal" swaps left and right, "vertical" top and bottom, "both" turns by 180 degrees."""
    code = {"horizontal": 1, "vertical": 0, "both": -1}[axis]
    mirrored: Pixels = opencv().flip(image, code)
    return mirrored


def perspective(
    image: Pixels, *, corners: tuple[tuple[float, ...], ...], size: str = "", filter: str = "bilinear"
) -> Pixels:
    """See a plane from the front: four `corners` x y in the image, top left first and clockwise, become a rectangle.

    `size` is WIDTHxHEIGHT; without it the mean lengths of opposite sides.
    """
    cv2 = opencv()
    if len(corners) != 4 or len(corners[0]) != 2:
        raise UsageError(
            f"perspective: expected corners=X Y/X Y/X Y/X Y, found {len(corners)} points", code="step_parameter"
        )
    source = np.array(corners, np.float32)
    a, b, c, d = source
    (ax, ay), (bx, by) = c - a, d - b
    if abs(float(ax * by - ay * bx)) < 1.0:
        raise UsageError(
            "perspective: the corners lie on a line", fix="give four corners clockwise", code="step_parameter"
        )
    wanted = parse_size(size) if size else 0
    if isinstance(wanted, tuple):
        height, width = wanted
    else:
        width = max(1, round(float(np.linalg.norm(b - a) + np.linalg.norm(c - d)) / 2))
        height = max(1, round(float(np.linalg.norm(d - a) + np.linalg.norm(c - b)) / 2))
    target = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], np.float32)
    matrix = cv2.getPerspectiveTransform(source, target)
    flat: Pixels = cv2.warpPerspective(image, matrix, (width, height), **_warp(image, "repeat", 0, filter))
    return flat


def undistort(
    image: Pixels,
    *,
    k1: float = 0.0,
    k2: float = 0.0,
    k3: float = 0.0,
    p1: float = 0.0,
    p2: float = 0.0,
    focal: float = 1.0,
    cx: float = 0.5,
    cy: float = 0.5,
) -> Pixels:
    """Straighten what a lens bends: x (1 + k1 r^2 + k2 r^4 + k3 r^6) and the tangential p1, p2 (Brown, 1966).

    `focal` is in widths of the image, (`cx`, `cy`) the lens's axis as a fraction of width and height.
    """
    cv2 = opencv()
    height, width = image.shape[:2]
    camera = np.array([[focal * width, 0, cx * width - 0.5], [0, focal * width, cy * height - 0.5], [0, 0, 1]])
    straight: Pixels = cv2.undistort(image, camera, np.array([k1, k2, p1, p2, k3]))
    return straight


def deskew(image: Pixels, *, limit: float = 15.0, fill: float = 255.0) -> Pixels:
    """Turn a scanned page upright by the angle of its lines (`skew_angle`), up to `limit` degrees either way."""
    angle = skew_angle(image, limit=limit)
    return image.copy() if abs(angle) < 0.05 else rotate(image, angle=angle, expand=False, fill=fill)


def skew_angle(image: Pixels, *, limit: float = 15.0) -> float:
    """Return the angle in degrees, counter-clockwise, that makes the rows of a page level.

    The rows' ink is summed at every angle; where lines of text are level, the sums differ most from row to row
    (projection profiles: Postl, 1986). Found on a picture of at most 800 pixels, first by half degrees, then finer. 0
    where no lines stand out, as in a photograph.

    >>> page = np.full((200, 300), 255, np.uint8)
    >>> page[20:180:20] = 0
    >>> abs(skew_angle(rotate(page, angle=3.0, expand=False)) + 3.0) < 0.3
    True
    """
    cv2 = opencv()
    grey = luma(image)
    grey = (grey >> 8).astype(np.uint8) if grey.dtype == np.uint16 else grey
    if max(grey.shape) > 800:
        grey = resize(grey, size="800", filter="bilinear")
    _, ink = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    if ink.mean() > 127:
        ink = 255 - ink
    height, width = ink.shape
    # A fade towards the border: what turns out of the picture must not count for or against an angle.
    ink = ink.astype(np.float32) * np.hanning(height)[:, None].astype(np.float32)

    def sharpness(angle: float) -> float:
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
        rows = cv2.warpAffine(ink, matrix, (width, height), flags=cv2.INTER_LINEAR).sum(1)
        return float(np.sum(np.diff(rows) ** 2))

    step = 0.5
    angles: NDArray[np.float64] = np.arange(-limit, limit + step / 2, step)
    found = [sharpness(float(a)) for a in angles]
    best = float(angles[int(np.argmax(found))])
    # Lines of text stand out tenfold from the other angles, and a photograph less than fivefold: it is left as it is.
    if max(found) < _LINES * float(np.median(found)):
        return 0.0
    for _ in range(2):
        step /= 4
        best = max((best + step * k for k in range(-4, 5)), key=sharpness)
    return best


def _warp(image: Pixels, edge: str, fill: float, filter: str) -> dict[str, object]:
    cv2 = opencv()
    flags = {"nearest": cv2.INTER_NEAREST, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}
    modes = {"mirror": cv2.BORDER_REFLECT_101, "repeat": cv2.BORDER_REPLICATE, "fill": cv2.BORDER_CONSTANT}
    return {
        "flags": flags.get(filter, cv2.INTER_LANCZOS4),
        "borderMode": modes[edge],
        "borderValue": [fill * top_of(image) / 255] * 3,
    }
