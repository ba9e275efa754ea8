"""What was found, drawn over the image: boxes with labels, masks, classes with a legend."""

__all__ = ["DRAWING_SCRIPT", "colour_of", "draw_classes", "draw_objects", "legend_rows"]

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from eyewright.imaging.overlay import plain_font

DRAWING_SCRIPT = Path(__file__).with_name("drawing.js")
"""The same colours and labels for pages that draw in the browser."""

_BACKGROUND = frozenset({"background", "_background_", "__background__"})


def colour_of(index: int) -> tuple[int, int, int]:
    """Return the colour of a class or track: hues by the golden angle, so that any few numbers in a row lie far apart.

    >>> colour_of(0) != colour_of(1)
    True
    """
    red, green, blue = colorsys.hsv_to_rgb((0.58 + index * 0.381966) % 1.0, 0.72, 0.96)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_objects(
    image: NDArray[np.uint8],
    boxes: NDArray[np.floating],
    texts: Sequence[str],
    colours: NDArray[np.integer],
    *,
    masks: NDArray[np.bool_] | None = None,
    dashed: bool = False,
    line: int | None = None,
) -> NDArray[np.uint8]:
    """Return a copy of the image, uint8 (H, W, 3), with boxes (n, 4), their texts and any masks (n, H, W).

    Lines and letters grow with the image; `line` sets the width of lines in pixels, for a picture that is shown
    smaller. A text lies above its box, below it or inside it, on no other text where there is room; it is left out
    where boxes are smaller than letters. `dashed` distinguishes ground truth from predictions.
    """
    canvas = image.copy()
    if masks is not None:
        for mask, k in zip(masks, colours, strict=True):
            canvas[mask] = np.rint(canvas[mask] * 0.55 + np.array(colour_of(int(k))) * 0.45).astype(np.uint8)
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    longer = max(image.shape[:2])
    line, size = line or max(1, round(longer / 400)), int(np.clip(longer / 45, 9, 40))
    font = plain_font(size)
    # The most confident come first and are drawn last, on top.
    for k in reversed(range(len(boxes))):
        x0, y0, x1, y1 = (float(v) for v in boxes[k])
        if dashed:
            _dashed_box(draw, (x0, y0, x1, y1), colour_of(int(colours[k])), line)
        else:
            draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=colour_of(int(colours[k])), width=line)
    # They also choose the place of their text first.
    places: dict[int, tuple[float, float, float, float]] = {}
    for k in range(len(boxes)):
        x0, y0, x1, y1 = (float(v) for v in boxes[k])
        text = texts[k] if k < len(texts) else ""
        if not text or max(x1 - x0, y1 - y0) < size * 0.8:
            continue
        wide, high = font.getlength(text) + 4, size + 3
        left, top = _place((x0, y0, x1, y1), wide, high, image.shape[:2], tuple(places.values()))
        places[k] = (left, top, left + wide, top + high)
    for k, plate in reversed(places.items()):
        colour = colour_of(int(colours[k]))
        draw.rectangle(plate, fill=colour)
        dark = 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2] > 140
        draw.text((plate[0] + 2, plate[1]), texts[k], fill=(15, 15, 15) if dark else (255, 255, 255), font=font)
    return np.asarray(picture)


def _place(
    box: tuple[float, float, float, float],
    wide: float,
    high: float,
    size_hw: tuple[int, int],
    taken: Sequence[tuple[float, float, float, float]],
) -> tuple[float, float]:
    """Return the left and top of a box's text: above, below or inside it, where it covers least of `taken`."""
    x0, y0, x1, y1 = box
    lefts = [min(max(0.0, x), max(0.0, size_hw[1] - wide)) for x in (x0, x1 - wide)]
    tops = [y for y in (y0 - high, y1, y0, y1 - high) if y >= 0 and y + high <= size_hw[0]]
    places = [(x, y) for y in tops for x in lefts] or [(lefts[0], max(0.0, y0))]

    def covered(place: tuple[float, float]) -> float:
        x, y = place
        return sum(
            max(0.0, min(x + wide, t[2]) - max(x, t[0])) * max(0.0, min(y + high, t[3]) - max(y, t[1])) for t in taken
        )

    # The first of those that cover the least.
    return min(places, key=covered)


def _dashed_box(
    draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], colour: tuple[int, int, int], line: int
) -> None:
    x0, y0, x1, y1 = box
    step = max(4, 4 * line)
    for (ax, ay), (bx, by) in (
        ((x0, y0), (x1, y0)),
        ((x1, y0), (x1, y1)),
        ((x1, y1), (x0, y1)),
        ((x0, y1), (x0, y0)),
    ):
        length = max(abs(bx - ax), abs(by - ay))
        for start in range(0, int(length), 2 * step):
            a, b = start / max(length, 1e-6), min(1.0, (start + step) / max(length, 1e-6))
            ends = (ax + (bx - ax) * a, ay + (by - ay) * a, ax + (bx - ax) * b, ay + (by - ay) * b)
            draw.line(ends, fill=colour, width=line)


def draw_classes(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], names: Sequence[str], *, strength: float = 0.5
) -> NDArray[np.uint8]:
    """Return the image, uint8 (H, W, 3), with classes (H, W) coloured, outlined, and named on a strip below it.

    The background and what is ignored (255) stay as they are.
    """
    canvas = image.copy()
    shown = [int(i) for i in np.unique(mask) if i < len(names) and names[int(i)].lower() not in _BACKGROUND]
    for i in shown:
        inside = mask == i
        canvas[inside] = np.rint(canvas[inside] * (1 - strength) + np.array(colour_of(i)) * strength).astype(np.uint8)
        canvas[_rim(inside)] = colour_of(i)
    if not shown:
        return canvas
    size, font, rows = _legend(image.shape[:2], shown, names)
    strip = Image.new("RGB", (image.shape[1], len(rows) * (size + 8)), (255, 255, 255))
    draw = ImageDraw.Draw(strip)
    for y, row in enumerate(rows):
        x = 6.0
        for i in row:
            top = y * (size + 8) + 4
            draw.rectangle((x, top, x + size - 2, top + size - 2), fill=colour_of(i))
            draw.text((x + size + 2, top - 2), names[i], fill=(20, 20, 20), font=font)
            x += font.getlength(names[i]) + 2 * size
    return np.concatenate([canvas, np.asarray(strip)])


def legend_rows(size_hw: tuple[int, int], names: Sequence[str], *, most: int = 3) -> int:
    """Return how many rows of pixels `draw_classes` adds where all classes are shown, of `most` lines of text at most.

    >>> names = ("background", "disc", "square")
    >>> mask = np.ones((90, 320), np.uint8)
    >>> mask[:, :160] = 2
    >>> drawn = draw_classes(np.zeros((90, 320, 3), np.uint8), mask, names)
    >>> drawn.shape[0] - 90 == legend_rows((90, 320), names)
    True
    """
    shown = [i for i, name in enumerate(names) if name.lower() not in _BACKGROUND]
    if not shown:
        return 0
    size, _, rows = _legend(size_hw, shown, names)
    return min(len(rows), most) * (size + 8)


def _legend(
    size_hw: tuple[int, int], shown: Sequence[int], names: Sequence[str]
) -> tuple[int, "ImageFont.FreeTypeFont | ImageFont.ImageFont", list[list[int]]]:
    """Return the size of the letters, their font, and the classes of each line."""
    size = int(np.clip(max(size_hw) / 40, 10, 32))
    font = plain_font(size)
    rows: list[list[int]] = [[]]
    room = 6.0
    for i in shown:
        wide = font.getlength(names[i]) + 2 * size
        if room + wide > size_hw[1] and rows[-1]:
            rows.append([])
            room = 6.0
        rows[-1].append(i)
        room += wide
    return size, font, rows


def _rim(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of a region that have a neighbour by an edge outside it."""
    inner = inside.copy()
    inner[1:] &= inside[:-1]
    inner[:-1] &= inside[1:]
    inner[:, 1:] &= inside[:, :-1]
    inner[:, :-1] &= inside[:, 1:]
    rim: NDArray[np.bool_] = inside & ~inner
    return rim
