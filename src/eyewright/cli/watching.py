"""The options of lines and zones that objects are counted at, as `track` and `serve --source` have them."""

__all__ = ["add_watch", "named_numbers"]

import argparse

from eyewright.core.errors import UsageError


def add_watch(p: argparse.ArgumentParser, *, source: str = "", line: str = "") -> None:
    """Add --line, --zone and --anchor; `source` is what may stand before a name, `line` ends the help of a line."""
    p.add_argument(
        "--line",
        action="append",
        default=[],
        metavar=f"{source}NAME=X1,Y1,X2,Y2",
        help=f"count objects that cross this line{line} (repeatable)",
    )
    p.add_argument(
        "--zone",
        action="append",
        nargs="+",
        default=[],
        metavar=(f"{source}NAME=X,Y", "X,Y"),
        help="NAME=X,Y X,Y X,Y …: count objects inside this zone (repeatable)",
    )
    p.add_argument(
        "--anchor",
        choices=("bottom", "centre"),
        default="bottom",
        help="point of a box that is tested against lines and zones (default bottom)",
    )


def named_numbers(text: str, option: str, form: str) -> tuple[str, list[float]]:
    """Return the name and the numbers of an option as NAME=1,2,3.

    >>> named_numbers("door=1,2,3,4", "--line", "NAME=X1,Y1,X2,Y2")
    ('door', [1.0, 2.0, 3.0, 4.0])

    Raises:
        UsageError: a name or a number is missing.
    """
    name, mark, rest = text.partition("=")
    try:
        numbers = [float(v) for v in rest.replace(",", " ").split()]
    except ValueError:
        numbers = []
    if not mark or not name.strip() or not numbers:
        raise UsageError(f"expected {option} as {form}, found {text!r}", fix=f"pass {option} {form}")
    return name.strip(), numbers
