"""Numbers on the command line: every option says from where to where it goes, and refuses the rest in one line."""

__all__ = ["SEED", "Checked", "Fraction", "Number", "Numbers"]

import argparse
import math
import re
from collections.abc import Callable
from typing import Any

from eyewright.core.errors import EyewrightError

_LONGEST = 40
# The values below are no dataclasses, whose module costs help more than all of this one.


class Number:
    """A number between `low` and `high`, both included except those that `open_low` and `open_high` leave out.

    >>> Number(1, 8)("3"), Number(0, 1, whole=False)("1e-1")
    (3, 0.1)
    >>> Number(1, 8)("-1")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: expected a whole number from 1 to 8, found '-1'
    """

    def __init__(
        self,
        low: float,
        high: float,
        whole: bool = True,
        open_low: bool = False,
        open_high: bool = False,
        word: str = "",
    ) -> None:
        self.low, self.high, self.whole = low, high, whole
        self.open_low, self.open_high, self.word = open_low, open_high, word

    def __call__(self, text: str) -> int | float | str:
        if self.word and text == self.word:
            return text
        value = self._value(text)
        inside = value is not None and (
            (self.low < value if self.open_low else self.low <= value)
            and (value < self.high if self.open_high else value <= self.high)
        )
        if value is None or not inside:
            shown = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
            raise argparse.ArgumentTypeError(f"expected {self}, found {shown!r}")
        return value

    def _value(self, text: str) -> int | float | None:
        # Python reads more than people mean: 1_000, other scripts' digits, numbers of any length.
        if len(text) > _LONGEST or not text.isascii() or "_" in text:
            return None
        if self.whole:
            return int(text) if re.fullmatch(r"[+-]?\d+", text) else None
        try:
            value = float(text)
        except ValueError:
            return None
        return value if math.isfinite(value) else None

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        low = f"above {_shown(self.low)}" if self.open_low else f"from {_shown(self.low)}"
        high = f"below {_shown(self.high)}" if self.open_high else f"up to {_shown(self.high)}"
        plain = not (self.open_low or self.open_high)
        joined = f"{low} to {_shown(self.high)}" if plain else f"{low} and {high}"
        return f"{kind} {joined}" + (f", or {self.word!r}" if self.word else "")


class Fraction(Number):
    """A number that may be written as a fraction.

    >>> Fraction(0, 255, whole=False)("51/255")
    0.2
    """

    def _value(self, text: str) -> int | float | None:
        above, slash, below = text.partition("/")
        if not slash:
            return super()._value(text)
        over, under = super()._value(above), super()._value(below)
        return None if over is None or not under else over / under


class Numbers:
    """Several numbers with commas between, as a tuple."""

    def __init__(self, each: Number, most: int = 16) -> None:
        self.each, self.most = each, most

    def __call__(self, text: str) -> tuple[Any, ...]:
        parts = text.split(",")
        if len(parts) > self.most:
            raise argparse.ArgumentTypeError(f"expected at most {self.most} numbers, found {len(parts)}")
        return tuple(self.each(part.strip()) for part in parts)


class Checked:
    """A text that `parse` takes; the verb parses it again."""

    def __init__(self, parse: Callable[[str], object]) -> None:
        self.parse = parse

    def __call__(self, text: str) -> str:
        try:
            self.parse(text)
        except EyewrightError as error:
            raise argparse.ArgumentTypeError(error.message) from None
        return text


SEED = Number(0, 2**32 - 1)
"""What every generator of random numbers takes as a seed."""


def _shown(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
