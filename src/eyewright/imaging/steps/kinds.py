"""What a step is, before any is applied: its parameters with their ranges, what it takes, an example."""

__all__ = ["Kind", "Parameter", "number", "numbers", "place", "size", "switch", "whole", "word"]

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from eyewright.core.errors import UsageError, spelling_hint
from eyewright.imaging.steps.arrays import Pixels

Value = float | int | str | bool | tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a step: what it means, its range or choices, its default (None: it must be given).

    A whole number may have to be `odd`.

    `only` names the methods (values of the step's first parameter) that it belongs to; empty means all.
    """

    name: str
    kind: Literal["number", "whole", "word", "switch", "numbers", "size", "place"]
    default: Value | None
    about: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    odd: bool = False

    def read(self, given: object, step: str) -> Value:
        """Return the value for what a person wrote or JSON held, checked.

        >>> number("clip", 2.0, 0.1, 40.0, "how far").read("3", "clahe")
        3.0

        Raises:
            UsageError: of another type or outside the range.
        """
        where = f"{step}: expected {self.name} as {self.range_text}"
        if isinstance(given, str) and given.strip() in self.choices:
            return given.strip()
        if self.kind == "word":
            raise UsageError(
                f"{where}, found {given!r}", fix=spelling_hint(str(given), self.choices), code="step_parameter"
            )
        wrong = UsageError(f"{where}, found {given!r}", fix="see eyewright steps", code="step_parameter")
        if self.kind == "switch":
            found = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(
                str(given).lower()
            )
            if found is None:
                raise wrong
            return found
        if self.kind == "numbers":
            return self._rows(given, wrong)
        if self.kind == "place":
            if not isinstance(given, str) or "\0" in given:
                raise wrong
            return given.strip()
        if self.kind == "size":
            text = f"{given:g}" if isinstance(given, float) else str(given)
            if re.fullmatch(r"\s*[1-9]\d{0,4}\s*([x×]\s*[1-9]\d{0,4}\s*)?", text) is None:
                raise wrong
            return text.replace(" ", "").replace("×", "x")
        if isinstance(given, bool) or not isinstance(given, int | float | str):
            raise wrong
        try:
            value: float = float(given)
        except ValueError:
            raise wrong from None
        if not math.isfinite(value) or not self.low <= value <= self.high:
            raise wrong
        if self.kind == "whole":
            if value != int(value) or (self.odd and value % 2 == 0):
                raise wrong
            return int(value)
        return value

    @property
    def range_text(self) -> str:
        """Say the range or the choices in words."""
        if self.kind == "word":
            return "one of " + ", ".join(self.choices)
        if self.kind == "switch":
            return ", ".join([*self.choices, "true or false"])
        if self.kind == "numbers":
            return "rows of numbers such as 0 -1 0/-1 5 -1/0 -1 0"
        if self.kind == "place":
            return "the path of a bundle"
        if self.kind == "size":
            return "a size such as 640 or 640x480"
        sort = "odd " if self.odd else "whole " if self.kind == "whole" else ""
        span = f"a{'n' * self.odd} {sort}number of {self.low:g} to {self.high:g}"
        return f"{span} or {', '.join(self.choices)}" if self.choices else span

    def _rows(self, given: object, wrong: UsageError) -> Value:
        try:
            if isinstance(given, str):
                rows = tuple(
                    tuple(float(v) for v in re.split(r"\s*[\s;,]\s*", row.strip())) for row in given.split("/")
                )
            elif isinstance(given, list | tuple):
                rows = tuple(tuple(float(v) for v in row) for row in given)
            else:
                raise wrong
        except (TypeError, ValueError):
            raise wrong from None
        if len({len(row) for row in rows}) != 1 or not all(math.isfinite(v) for row in rows for v in row):
            raise wrong
        if len(rows) > 255 or len(rows[0]) > 255:
            raise wrong
        return rows


def number(name: str, default: float | str | None, low: float, high: float, about: str, **more: Any) -> Parameter:
    """Declare a real number."""
    return Parameter(name, "number", default, about, low, high, **more)


def whole(name: str, default: int | str | None, low: int, high: int, about: str, **more: Any) -> Parameter:
    """Declare a whole number."""
    return Parameter(name, "whole", default, about, low, high, **more)


def word(name: str, default: str | None, choices: tuple[str, ...], about: str, **more: Any) -> Parameter:
    """Declare a choice between words."""
    return Parameter(name, "word", default, about, choices=choices, **more)


def switch(name: str, default: bool | str, about: str, **more: Any) -> Parameter:
    """Declare a yes or no; names for what is decided later, such as "auto", may be given as `choices`."""
    return Parameter(name, "switch", default, about, **more)


def numbers(name: str, default: str | None, about: str, **more: Any) -> Parameter:
    """Declare rows of numbers; names for common ones may be given as `choices`."""
    return Parameter(name, "numbers", default, about, **more)


def size(name: str, default: str | None, about: str, **more: Any) -> Parameter:
    """Declare a size: one side, or WIDTHxHEIGHT."""
    return Parameter(name, "size", default, about, **more)


def place(name: str, about: str, **more: Any) -> Parameter:
    """Declare the path of a bundle; without one the step does without."""
    return Parameter(name, "place", "", about, **more)


@dataclass(frozen=True)
class Kind:
    """One kind of step: the function, what it is for, its parameters in the order in which they may be given bare.

    `depths` and `colours` say what it takes; anything else is refused before it runs. `keeps_size` is False where the
    result has another height or width. A `random` step takes a generator as `rng`.
    """

    call: Callable[..., Pixels]
    group: str
    about: str
    example: str
    parameters: tuple[Parameter, ...] = ()
    depths: tuple[str, ...] = ("uint8", "uint16")
    colours: tuple[str, ...] = ("grey", "rgb")
    keeps_size: bool = True
    random: bool = False
    by: str = ""

    def parameter(self, name: str) -> Parameter | None:
        """Return a parameter by its name."""
        return next((p for p in self.parameters if p.name == name), None)
