"""Draw a page with the lines that were found on it, next to what was read."""

__all__ = ["draw_page"]

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_MOST_SIDE = 1600
_SURE = 0.5
_COLOURS = ((30, 130, 60), (200, 60, 30))
_DEJAVU = "DejaVuSans.ttf"


def draw_page(image: NDArray[np.uint8], lines: Sequence[tuple[Sequence[float], str, float]]) -> NDArray[np.uint8]:
    """Return the page, uint8 (H, W, 3), and at its right a white one on which each text stands where its line does.

    `lines` are corners, text and probability; frames are green, and red where the probability is below 50 %.
    """
    scale = min(1.0, _MOST_SIDE / max(image.shape[:2]))
    page = Image.fromarray(image)
    if scale < 1:
        page = page.resize((round(page.width * scale), round(page.height * scale)), Image.Resampling.BOX)
    sheet = Image.new("RGB", (2 * page.width, page.height), "white")
    sheet.paste(page, (0, 0))
    pen = ImageDraw.Draw(sheet)
    pen.line((page.width, 0, page.width, page.height), fill=(190, 190, 190))
    for quad, text, probability in lines:
        corners = [(x * scale, y * scale) for x, y in zip(quad[0::2], quad[1::2], strict=True)]
        colour = _COLOURS[probability < _SURE]
        pen.polygon(corners, outline=colour)
        height = abs(corners[3][1] - corners[0][1])
        width = abs(corners[1][0] - corners[0][0])
        font = _fitting(text, width, height)
        pen.text(
            (page.width + corners[0][0], corners[0][1]),
            text,
            fill=colour if probability < _SURE else (20, 20, 20),
            font=font,
        )
    return np.asarray(sheet)


def _fitting(text: str, width: float, height: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return a font in which a text is about as high as its line, and no wider."""
    size = int(np.clip(0.8 * height, 9, 48))
    font = _font(size)
    long = font.getlength(text) if text else 0.0
    return _font(int(np.clip(size * width / long, 9, 48))) if long > width else font


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:
        return ImageFont.truetype(_DEJAVU, size)
    except OSError:
        # Pillow has one of its own, with Latin letters.
        return ImageFont.load_default(size)
