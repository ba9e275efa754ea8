"""What the page of the data browser may ask, with the limits of every value."""

__all__ = ["MOST_MARKED", "Filter", "ListBody", "Marked", "PictureQuery", "RowsQuery"]

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

_Text = Annotated[str, Meta(max_length=4000)]
_Unit = Annotated[float, Meta(ge=0, le=1)]
_Row = Annotated[int, Meta(ge=0, le=10**9)]

MOST_MARKED = 1_000_000
"""How many images one request may edit or list."""


class Filter(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which images are shown, and in which order; what is left out does not matter.

    `group` is an image whose group is shown, by its place in the data. `x0` to `y1` are a rectangle of the scatter
    plot, as fractions of its sides.
    """

    split: _Text | None = None
    label: _Text | None = None
    group: _Row | None = None
    finding: _Text | None = None
    predicted: _Text | None = None
    answer: _Text | None = None
    edit: _Text | None = None
    words: _Text | None = None
    low: _Unit | None = None
    high: _Unit | None = None
    x0: _Unit | None = None
    x1: _Unit | None = None
    y0: _Unit | None = None
    y1: _Unit | None = None
    sort: _Text | None = None


class RowsQuery(Filter, kw_only=True, forbid_unknown_fields=True):
    """A page of the images that are shown."""

    offset: _Row | None = None
    n: Annotated[int, Meta(ge=1, le=1000)] | None = None


class PictureQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An image, with its longer side at most `side` pixels; `marks` draws what is marked in it."""

    side: Annotated[int, Meta(ge=16, le=2048)] | None = None
    marks: bool | None = None


class Marked(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Images by their places in the data, and what is decided about all of them: "none" takes an edit back."""

    rows: Annotated[list[_Row], Meta(min_length=1, max_length=MOST_MARKED)]
    action: Literal["relabel", "leave_out", "none"]
    label: _Text = ""


class ListBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Images by their places in the data, to be exported as a list."""

    rows: Annotated[list[_Row], Meta(min_length=1, max_length=MOST_MARKED)]
