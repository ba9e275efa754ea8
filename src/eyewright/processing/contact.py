"""A sheet of pictures before and after, to be looked at."""

__all__ = ["contact_sheet"]

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_CELL, _GAP, _LINE = 360, 14, 22


def contact_sheet(rows: Sequence[tuple[str, NDArray[Any], NDArray[Any]]], title: str) -> NDArray[np.uint8]:
    """Draw named pairs (before, after), uint8 or uint16, grey or RGB, of any sizes; return uint8 (H, W, 3).

    >>> contact_sheet([("a", np.zeros((4, 6), np.uint8), np.zeros((4, 6), np.uint8))], "invert").shape[2]
    3
    """
    cells = [(name, _fitted(before), _fitted(after), before.shape[:2], after.shape[:2]) for name, before, after in rows]
    columns = 2 if len(cells) > 2 else 1
    tall = [max(b.height, a.height) + _LINE + _GAP for _, b, a, _, _ in cells]
    lines = [max(tall[k : k + columns]) for k in range(0, len(tall), columns)]
    pair = 2 * _CELL + _GAP
    width = columns * pair + (columns + 1) * _GAP * 2
    sheet = Image.new("RGB", (width, sum(lines) + _LINE * 2 + _GAP), (248, 248, 246))
    draw = ImageDraw.Draw(sheet)
    font, small = ImageFont.load_default(15), ImageFont.load_default(12)
    draw.text((2 * _GAP, _GAP), _cut(title, font, width - 4 * _GAP), (20, 20, 20), font)
    y = _LINE * 2
    for row, height in enumerate(lines):
        for column, (name, before, after, before_hw, after_hw) in enumerate(cells[row * columns : (row + 1) * columns]):
            x = 2 * _GAP + column * (pair + 2 * _GAP)
            size = "" if before_hw == after_hw else f"  {before_hw[1]}x{before_hw[0]} to {after_hw[1]}x{after_hw[0]}"
            draw.text((x, y), _cut(name, small, pair - small.getlength(size)) + size, (90, 90, 90), small)
            sheet.paste(before, (x, y + _LINE - 4))
            sheet.paste(after, (x + _CELL + _GAP, y + _LINE - 4))
        y += height
    return np.asarray(sheet)


def _fitted(image: NDArray[Any]) -> Image.Image:
    eight = (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image
    picture = Image.fromarray(np.ascontiguousarray(eight)).convert("RGB")
    scale = min(_CELL / picture.width, _CELL / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    # Enlarged pixels are shown as they are; a blur would be taken for the steps' work.
    return picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)


def _cut(text: str, font: Any, width: float) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
