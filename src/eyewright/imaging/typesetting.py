"""Draw lines of text as scanners and printers give them: with the fonts that are there, worn, askew and noisy."""

__all__ = ["FONT_FOLDERS", "LineStyle", "Typesetter", "find_fonts"]

import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from eyewright.core.errors import InputError, UsageError, plain_reason
from eyewright.core.quoting import quoted
from eyewright.imaging.decode import read_picture

FONT_FOLDERS = (
    "/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts", "/System/Library/Fonts",
    "/Library/Fonts", "~/Library/Fonts", "C:/Windows/Fonts",
)  # fmt: skip
"""Where fonts lie on the systems that are common."""

_ENDINGS = (".ttf", ".otf", ".ttc")
# Fonts of symbols, which hold other signs in the places of letters.
_SYMBOLS = re.compile(
    r"cm(ex|sy|mi)|stixnonuni|stixsiz|lastresort|codicon|glyphicon|awesome|symbol|dingbat|wingding|webding|emoji|icon"
    r"|math|music|braille|barcode|decker",
    re.I,
)
_ITALIC = re.compile(r"italic|oblique|(bd)?it?$|cmti", re.I)
_RARE = 0.2
_SIZE = 40
_LEAST_CONTRAST = 70
_LEAST_COVERED = 0.9


def find_fonts(folders: Sequence[str | Path] = ()) -> tuple[Path, ...]:
    """Return the font files of folders, or without any those of the system and of matplotlib, sorted by name.

    Raises:
        InputError: a folder is not there, or no font is found.
    """
    for folder in folders:
        if not Path(folder).exists():
            raise InputError(f"expected a folder of fonts, found nothing at {quoted(folder)}", fix="check --fonts")
    places = [Path(f).expanduser() for f in folders or FONT_FOLDERS]
    if not folders:
        plotting = find_spec("matplotlib")
        if plotting is not None and plotting.origin is not None:
            places.append(Path(plotting.origin).parent / "mpl-data" / "fonts" / "ttf")
    found: dict[str, Path] = {}
    for place in places:
        files = [place] if place.is_file() else _files_below(place)
        for file in files:
            if file.suffix.lower() in _ENDINGS and not _SYMBOLS.search(file.stem):
                found.setdefault(file.name, file)
    if not found:
        where = " or ".join(map(str, folders)) or "the system's font folders"
        raise InputError(
            f"expected fonts (.ttf, .otf) in {where}, found none", fix="pass a folder that has some: --fonts"
        )
    return tuple(found[name] for name in sorted(found))


def _files_below(place: Path) -> list[Path]:
    return [Path(folder) / name for folder, _, names in os.walk(place) for name in names]


@dataclass(frozen=True)
class LineStyle:
    """How a line is drawn and worn; every number is a most, of what is drawn at random.

    `wear` from 0 (as printed) to 1 scales all of it; `dots` is the fraction of lines in the dots of a matrix printer.
    """

    wear: float = 1.0
    dots: float = 0.15

    def __post_init__(self) -> None:
        if not 0 <= self.wear <= 1 or not 0 <= self.dots <= 1:
            raise UsageError(f"expected wear and dots from 0 to 1, found {self.wear} and {self.dots}")


class Typesetter:
    """Draws texts in fonts that hold their characters.

    Raises:
        UsageError: no font holds most of the alphabet; `missing` then says what is lacking.
    """

    def __init__(self, fonts: Sequence[Path], alphabet: Sequence[str], style: LineStyle | None = None) -> None:
        self.style = style or LineStyle()
        wanted = [c for c in alphabet if c != " "]
        self._held: dict[Path, frozenset[str]] = {}
        for path in fonts:
            held = _held_by(path, tuple(wanted))
            if len(held) >= _LEAST_COVERED * len(wanted):
                self._held[path] = held
        covered = frozenset().union(*self._held.values()) if self._held else frozenset()
        self.missing = tuple(c for c in wanted if c not in covered)
        if not self._held:
            raise UsageError(
                f"none of {len(fonts)} fonts holds nine tenths of the {len(wanted)} characters",
                fix="pass a folder of fonts for this script: --fonts DIR",
            )

    @property
    def fonts(self) -> tuple[Path, ...]:
        """The fonts that are used."""
        return tuple(self._held)

    def can_draw(self, text: str) -> bool:
        """Return whether a font holds all characters of a text."""
        return any(set(text) - {" "} <= held for held in self._held.values())

    def draw(self, text: str, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return a line as a picture, uint8 (H, W) grey."""
        able = [path for path, held in self._held.items() if set(text) - {" "} <= held]
        # Italics are rarer in print than their files among the fonts.
        weights = np.cumsum([_RARE if _ITALIC.search(path.stem) else 1.0 for path in able])
        font = able[int(np.searchsorted(weights, rng.random() * weights[-1]))]
        wear = self.style.wear
        ink = self._ink(text, font, rng)
        if rng.random() < self.style.dots:
            ink = _dotted(ink, rng)
        ink = _set_out(ink, rng, wear)
        return _printed(ink, rng, wear)

    def _ink(self, text: str, path: Path, rng: np.random.Generator) -> Image.Image:
        """Return the ink, 255 where it is, with a margin."""
        font = _font(path, _SIZE)
        tracking = rng.uniform(-0.04, 0.1) * _SIZE if rng.random() < 0.5 else 0.0
        stroke = int(rng.random() < 0.12)
        space = font.getlength(" ") * rng.uniform(0.7, 1.5)
        places, x = [], 0.0
        for c in text:
            places.append(x)
            x += space if c == " " else font.getlength(c) + tracking
        margin = _SIZE
        canvas = Image.new("L", (int(x) + 2 * margin, 2 * _SIZE + margin), 0)
        pen = ImageDraw.Draw(canvas)
        for c, at in zip(text, places, strict=True):
            if c != " ":
                pen.text((margin + at, margin), c, font=font, fill=255, stroke_width=stroke)
        box = canvas.getbbox()
        return canvas if box is None else canvas.crop(box)


def _set_out(ink: Image.Image, rng: np.random.Generator, wear: float) -> Image.Image:
    """Return the ink at a size and width of its own, a little askew, with paper around it."""
    height = int(rng.integers(18, 44))
    stretch = float(np.exp(rng.normal(0.0, 0.16)))
    scale = height / max(ink.height, 0.55 * _SIZE)
    size = (max(4, round(ink.width * scale * stretch)), max(4, round(ink.height * scale)))
    ink = ink.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC)
    left, right, top, bottom = (int(v) for v in rng.integers(0, max(2, height // 5), 4))
    paper = Image.new("L", (ink.width + left + right, ink.height + top + bottom), 0)
    paper.paste(ink, (left, top))
    ink = paper
    if rng.random() < 0.6 * wear:
        # On a long line the same angle climbs higher.
        most = min(1.5, np.degrees(np.arctan(0.35 * height / ink.width)))
        ink = ink.rotate(float(rng.uniform(-most, most)), Image.Resampling.BICUBIC, expand=True)
    if rng.random() < 0.3 * wear:
        lean = float(rng.uniform(-0.2, 0.2))
        matrix = (1, lean, -lean * ink.height / 2, 0, 1, 0)
        ink = ink.transform(ink.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return ink


def _dotted(ink: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the ink in the dots of a matrix printer."""
    rows = int(rng.integers(9, 15))
    small = ink.resize((max(3, round(ink.width * rows / ink.height)), rows), Image.Resampling.BOX)
    dots = (np.asarray(small) > 70).astype(np.uint8)
    side = 6
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    dot = (np.hypot(y, x) <= rng.uniform(2.2, 3.6)).astype(np.uint8) * 255
    return Image.fromarray(np.kron(dots, dot))


def _printed(ink: Image.Image, rng: np.random.Generator, wear: float) -> NDArray[np.uint8]:
    """Return ink on paper, uint8 (H, W): spread or thin ink, faded parts, blur, grey paper, noise, compression."""
    if wear and rng.random() < 0.25 * wear:
        ink = ink.filter(ImageFilter.MaxFilter(3) if rng.random() < 0.4 else ImageFilter.MinFilter(3))
    if wear and rng.random() < 0.7 * wear:
        ink = ink.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.2, 1.3)) * wear * ink.height / 36))
    cover = np.asarray(ink, np.float32) / 255
    height, width = cover.shape
    if rng.random() < 0.35 * wear:
        cover = cover * _field(rng, height, width, 1 - rng.uniform(0.2, 0.65) * wear, 1.0)
    if rng.random() < 0.25 * wear:
        # Paper that took no ink in places.
        cover = cover * (rng.random(cover.shape) > rng.uniform(0.05, 0.3) * wear)
    cover = np.clip(cover * rng.uniform(1.0, 1.6), 0, 1)
    bright = 255 - 75 * wear * rng.random() ** 2.5
    paper = bright * _field(rng, height, width, 1 - 0.15 * wear, 1.0) if rng.random() < 0.5 * wear else bright
    dark = rng.uniform(0, 40 + 110 * wear)
    page = paper * (1 - cover) + np.minimum(dark, bright - _LEAST_CONTRAST) * cover
    if rng.random() < 0.12 * wear:
        y = int(rng.integers(0, 2)) * (height - 2)
        page[y : y + int(rng.integers(1, 3))] *= rng.uniform(0.3, 0.8)
    page = page + rng.normal(0, rng.uniform(0, 14) * wear, cover.shape)
    line: NDArray[np.uint8] = np.clip(np.rint(page), 0, 255).astype(np.uint8)
    if rng.random() < 0.5 * wear:
        kept = io.BytesIO()
        Image.fromarray(line).save(kept, "JPEG", quality=int(rng.integers(25, 90)))
        line = np.asarray(read_picture(kept.getvalue()).convert("L"))
    return line


def _field(rng: np.random.Generator, height: int, width: int, low: float, high: float) -> NDArray[np.float32]:
    """Return a smooth field of numbers between two bounds, float32 (H, W)."""
    few = rng.uniform(low, high, (3, max(3, width // (2 * height) + 2))).astype(np.float32)
    found: NDArray[np.float32] = np.asarray(Image.fromarray(few).resize((width, height), Image.Resampling.BICUBIC))
    return np.clip(found, min(low, high), max(low, high))


@lru_cache(maxsize=256)
def _font(path: Path, size: int) -> Any:
    try:
        return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise InputError(
            f"the font {quoted(path)} cannot be read: {plain_reason(error)}", fix="remove it from --fonts"
        ) from None


def _held_by(path: Path, wanted: tuple[str, ...]) -> frozenset[str]:
    """Return the characters that a font holds: those that it does not draw as it draws what no font holds."""
    try:
        font = _font(path, 24)
    except InputError:
        return frozenset()
    none = {bytes(font.getmask(c)) + bytes(str(font.getbbox(c)), "ascii") for c in ("\U000e0fff", "\ufffe")}
    held = set()
    for c in wanted:
        mask = font.getmask(c)
        if mask.getbbox() is not None and bytes(mask) + bytes(str(font.getbbox(c)), "ascii") not in none:
            held.add(c)
    return frozenset(held)
