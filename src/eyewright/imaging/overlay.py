"""Pictures for people: heatmaps laid over images, small versions for reports."""

__all__ = ["NARROWEST", "caption", "caption_rows", "colour_map", "overlay_heatmap", "plain_font", "shrink"]

import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

# Nine stops of matplotlib's "inferno", CC0: dark to light in even steps, readable in grey and by the colour-blind.
_STOPS = np.array(
    [
        [0, 0, 4],
        [31, 12, 72],
        [85, 15, 109],
        [136, 34, 106],
        [186, 54, 85],
        [227, 89, 51],
        [249, 140, 10],
        [249, 201, 50],
        [252, 255, 164],
    ],
    dtype=np.float64,
)

NARROWEST = 120
"""Pixels that `caption` widens a narrower image to."""
_SMALLEST = 10


def colour_map(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return colours, uint8 (H, W, 3), for values in [0, 1], (H, W); values outside are clipped."""
    at = np.clip(values, 0.0, 1.0) * (len(_STOPS) - 1)
    low = np.minimum(at.astype(np.int64), len(_STOPS) - 2)
    part = (at - low)[..., None]
    colours: NDArray[np.uint8] = np.rint(_STOPS[low] * (1 - part) + _STOPS[low + 1] * part).astype(np.uint8)
    return colours


def overlay_heatmap(
    image: NDArray[np.uint8], heat: NDArray[np.floating], *, strength: float = 0.6
) -> NDArray[np.uint8]:
    """Lay a heatmap with values in [0, 1], any (h, w), over an image, uint8 (H, W, 3).

    Where the heat is low the image stays visible.

    >>> overlay_heatmap(np.zeros((4, 6, 3), np.uint8), np.ones((2, 2))).shape
    (4, 6, 3)
    """
    height, width = image.shape[:2]
    heat8 = np.rint(np.clip(heat, 0, 1) * 255).astype(np.uint8)
    large = np.asarray(Image.fromarray(heat8).resize((width, height), Image.Resampling.BICUBIC)) / 255.0
    weight = strength * (0.25 + 0.75 * large[..., None])
    return np.rint(image * (1 - weight) + colour_map(large) * weight).astype(np.uint8)


def shrink(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return the image, uint8 (H, W, 3), with its longer side at `side` pixels; small ones are enlarged in whole steps.

    Enlarging keeps hard pixel edges: a person should see that the model saw 8x8 pixels.
    """
    height, width = image.shape[:2]
    longer = max(height, width)
    if longer * 2 <= side:
        factor = side // longer
        return np.repeat(np.repeat(image, factor, axis=0), factor, axis=1)
    if longer <= side:
        return image
    size = (max(1, round(width * side / longer)), max(1, round(height * side / longer)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


@functools.lru_cache(maxsize=64)
def plain_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font in a size; Pillow itself decodes and parses it whenever it is asked for."""
    return ImageFont.load_default(size)


def caption_rows(size_hw: tuple[int, int]) -> int:
    """Return how many rows hold what `caption` adds to an image of this size: one line, or two where it is wrapped.

    >>> caption(np.zeros((90, 320, 3), np.uint8), "disc  98.1%").shape[0] - 90 <= caption_rows((90, 320))
    True
    """
    return max(_strip_rows(1, _caption_size(max(size_hw[1], NARROWEST))), _strip_rows(2, _SMALLEST))


def _strip_rows(lines: int, size: int) -> int:
    return lines * (size + 4) + 6


def _caption_size(width: int) -> int:
    return int(np.clip(width / 16, 12, 48))


def caption(image: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """Return the image, uint8 (H, W, 3), on a white strip with `text` below it; narrow images are widened.

    Text that does not fit in one readable line is wrapped; the strip is at least as wide as its longest word.
    """
    width = max(image.shape[1], NARROWEST)
    size = _caption_size(width)
    font = plain_font(size)
    while size > _SMALLEST and font.getlength(text) > width - 8:
        size -= 1
        font = plain_font(size)
    width = max(width, *(int(font.getlength(word)) + 9 for word in text.split() or [""]))
    lines = _wrapped(text, font, width - 8)
    canvas = Image.new("RGB", (width, image.shape[0] + _strip_rows(len(lines), size)), (255, 255, 255))
    canvas.paste(Image.fromarray(image), ((width - image.shape[1]) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    for k, line in enumerate(lines):
        at = (width / 2, image.shape[0] + 4 + k * (size + 4))
        draw.text(at, line, fill=(20, 20, 20), font=font, anchor="ma")
    return np.asarray(canvas)


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: float) -> list[str]:
    """Return the text in lines of at most `room` pixels, cut between words."""
    if font.getlength(text) <= room:
        return [text]
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
