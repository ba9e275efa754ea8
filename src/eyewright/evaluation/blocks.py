"""What a report's page is made of: values that a task fills and one template lays out."""

__all__ = [
    "Block",
    "Cell",
    "Chart",
    "Gallery",
    "Line",
    "Matrix",
    "Page",
    "Scene",
    "Scenes",
    "Shot",
    "Span",
    "Table",
    "more_classes",
    "name_series",
]

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from eyewright.core.report import Report


@dataclass(frozen=True)
class Span:
    """A piece of text with a style of the sheet ("good", "bad", "soft", "key s0") and a tooltip."""

    text: str
    style: str = ""
    title: str = ""


Line = Sequence[Span]


@dataclass(frozen=True)
class Cell:
    """A cell of a table: `style` "n" is a number, "wide" may break, "soft" is a remark.

    `bounds` is an interval next to the text, `meter` a share from 0 to 1 drawn `meter_px` wide, `tag` a mark. `of` is a
    class whose images on the page open when the cell is clicked.
    """

    text: str
    style: str = ""
    bounds: str = ""
    meter: float | None = None
    meter_px: int = 70
    tag: str = ""
    of: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under titles, with a remark above and one below."""

    kind: ClassVar[str] = "table"
    title: str
    header: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    lead: str = ""
    note: str = ""


@dataclass(frozen=True)
class Shot:
    """One, two or four small pictures, (data address, what it shows), with lines below them; `of` names the classes in
    it."""

    images: Sequence[tuple[str, str]]
    lines: Sequence[Line]
    of: Sequence[str] = ()


@dataclass(frozen=True)
class Gallery:
    """Small pictures; `empty` is said where there are none. `size` is "", "small", "wide", or "large" with pictures
    in their own shape."""

    kind: ClassVar[str] = "gallery"
    title: str
    lead: str
    shots: Sequence[Shot]
    size: str = ""
    empty: str = ""


@dataclass(frozen=True)
class Scene:
    """Larger pictures side by side, (data address, what it shows, caption), with paragraphs next to or below them; `of`
    names the classes in them."""

    figures: Sequence[tuple[str, str, str]]
    beside: Sequence[Line] = ()
    below: Line = ()
    of: Sequence[str] = ()


@dataclass(frozen=True)
class Scenes:
    """Scenes below each other; `empty` is said where there are none."""

    kind: ClassVar[str] = "scenes"
    title: str
    rows: Sequence[Scene]
    empty: str = ""


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix as SVG; with `cells` ("labels" and "gallery") each cell shows its images, next to a table."""

    kind: ClassVar[str] = "matrix"
    title: str
    svg: str
    note: str = ""
    cells: dict[str, Any] | None = None
    beside: Table | None = None


Block = Table | Gallery | Scenes | Matrix


@dataclass(frozen=True)
class Chart:
    """A drawing as SVG with a title and a remark."""

    title: str
    note: Line
    svg: str


@dataclass(frozen=True)
class Page:
    """A task's own part of a report: blocks from the top, and charts (of scores and thresholds) further down."""

    blocks: Sequence[Block]
    charts: Sequence[Chart] = field(default=())
    charts_title: str = "Scores and thresholds"


def name_series(names: Sequence[str]) -> list[Span]:
    """Return names with the colours that a chart gives its first lines, separated by commas."""
    spans: list[Span] = []
    for k, name in enumerate(names):
        spans += [Span(", ")] * (k > 0) + [Span(name, f"key s{k}")]
    return spans


def more_classes(report: Report, shown: int) -> str:
    """Say that a table shows the first classes only; nothing where it shows all."""
    n = len(report.per_class)
    return f"{shown} of {n} classes; all are in report.json." if n > shown else ""
