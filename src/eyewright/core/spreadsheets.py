"""Texts in CSV files, which spreadsheets open: a text that begins like a formula is shown and not run."""

__all__ = ["from_cell", "to_cell"]

from typing import Any

_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


def to_cell(value: Any) -> Any:
    """Return a value as a cell that a spreadsheet shows and does not run: a text that begins like a formula is quoted.

    >>> to_cell("=1+1"), to_cell("-"), to_cell(-1), to_cell("disc")
    ("'=1+1", "'-", -1, 'disc')
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value


def from_cell(value: Any) -> Any:
    """Return what `to_cell` was given."""
    quoted = isinstance(value, str) and value[:1] == "'" and value[1:].startswith(_FORMULAS)
    return value[1:] if quoted else value
