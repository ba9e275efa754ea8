"""Charts as inline SVG: no script, no font, no network; colours come from the page's style sheet."""

__all__ = ["Band", "Mark", "Series", "bar_chart", "bin_values", "confusion_svg", "line_chart", "scatter_chart"]

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Series:
    """One line of a chart: points (x, y), a name for the legend, a style class `s0` to `s5`, `faint` or `guide`."""

    points: Sequence[tuple[float, float]]
    name: str = ""
    style: str = "s0"
    dots: bool = False


@dataclass(frozen=True)
class Band:
    """A shaded band of a line chart: points (x, low, high), and the style class of the line it belongs to."""

    points: Sequence[tuple[float, float, float]]
    style: str = "s0"


def line_chart(
    series: Sequence[Series],
    *,
    bands: Sequence[Band] = (),
    title: str,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    x_percent: bool = False,
    y_percent: bool = False,
    x_whole: bool = False,
    width: int = 420,
    height: int = 280,
) -> str:
    """Draw lines over shared axes; points that are not finite are left out.

    `x_percent` and `y_percent` write the ticks of an axis in per cent. With `x_whole` the ticks of x are whole numbers.

    >>> "<svg" in line_chart([Series([(0, 0), (1, 1)])], title="t", x_label="x", y_label="y")
    True
    """
    finite = [[(x, y) for x, y in s.points if math.isfinite(x) and math.isfinite(y)] for s in series]
    xs = [x for points in finite for x, _ in points] or [0.0, 1.0]
    ys = [y for points in finite for _, y in points] or [0.0, 1.0]
    known = [[p for p in band.points if all(map(math.isfinite, p))] for band in bands]
    ys += [y for points in known for _, low, high in points for y in (low, high)]
    x0, x1 = x_range or (min(xs), max(xs))
    y0, y1 = y_range or _padded(min(ys), max(ys))
    if y_percent and y_range is None and min(ys) >= 0 and max(ys) <= 1:
        y0, y1 = max(y0, 0.0), min(y1, 1.0)
    if x1 <= x0:
        x0, x1 = x0 - 0.5, x1 + 0.5
    percents = (x_percent, y_percent)
    frame = _Frame(x0, x1, y0, y1, width, height, left=56, right=14, bottom=40, percents=percents, x_whole=x_whole)
    px, py, left, right = frame.px, frame.py, frame.left, frame.right
    parts = [*frame.begin(title)]
    parts.append(f'<line class="axis" x1="{left}" x2="{width - right}" y1="{py(y0):.1f}" y2="{py(y0):.1f}"/>')
    for band, whole in zip(bands, known, strict=True):
        edge = [(x, high) for x, _, high in whole] + [(x, low) for x, low, _ in reversed(whole)]
        path = " ".join(f"{px(x):.1f},{py(min(max(y, y0), y1)):.1f}" for x, y in edge)
        parts.append(f'<polygon class="band {band.style}" points="{path}"/>')
    for s, points in zip(series, finite, strict=True):
        places = [(f"{px(x):.1f}", f"{py(min(max(y, y0), y1)):.1f}") for x, y in points]
        path = " ".join(f"{x},{y}" for x, y in places)
        tip = f"<title>{escape(s.name)}</title>" if s.name else ""
        parts.append(f'<polyline class="line {s.style}" points="{path}">{tip}</polyline>')
        # A line through one point shows nothing.
        if s.dots or len(places) == 1:
            parts += [f'<circle class="dot {s.style}" cx="{x}" cy="{y}" r="3"/>' for x, y in places]
    parts += frame.end(x_label, y_label)
    return "".join(parts)


@dataclass(frozen=True)
class _Frame:
    """Where a chart's values lie in its picture, with grid, ticks and names of the axes."""

    x0: float
    x1: float
    y0: float
    y1: float
    width: int
    height: int
    left: int
    right: int
    bottom: int
    top: int = 14
    percents: tuple[bool, bool] = (False, False)
    x_whole: bool = False

    def px(self, x: float) -> float:
        return self.left + (x - self.x0) / (self.x1 - self.x0) * (self.width - self.left - self.right)

    def py(self, y: float) -> float:
        inner = self.height - self.top - self.bottom
        return self.height - self.bottom - (y - self.y0) / (self.y1 - self.y0) * inner

    def begin(self, title: str) -> Iterator[str]:
        """Return the opening of the picture, the grid and the ticks."""
        yield f'<svg class="chart" viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(title)}">'
        for tick in _ticks(self.y0, self.y1):
            y, end = self.py(tick), self.width - self.right
            yield f'<line class="grid" x1="{self.left}" x2="{end}" y1="{y:.1f}" y2="{y:.1f}"/>'
            text = _short(tick, self.percents[1])
            yield f'<text class="tick" x="{self.left - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
        for tick in _ticks(self.x0, self.x1, least=1 if self.x_whole else 0):
            at = f'x="{self.px(tick):.1f}" y="{self.height - self.bottom + 16}"'
            yield f'<text class="tick" {at} text-anchor="middle">{_short(tick, self.percents[0])}</text>'

    def end(self, x_label: str, y_label: str) -> Iterator[str]:
        """Return the names of the axes and the end of the picture."""
        middle = self.left + (self.width - self.left - self.right) / 2
        up = self.top + (self.height - self.top - self.bottom) / 2
        at = f'x="{middle}" y="{self.height - 6}" text-anchor="middle"'
        yield f'<text class="label" {at}>{escape(x_label)}</text>'
        turned = f'transform="translate(13 {up}) rotate(-90)"'
        yield f'<text class="label" {turned} text-anchor="middle">{escape(y_label)}</text></svg>'


@dataclass(frozen=True)
class Mark:
    """One point of a scatter chart: where, what it is called, a style class, an interval of y."""

    x: float
    y: float
    name: str
    style: str = "s0"
    y_range: tuple[float, float] | None = None


def scatter_chart(
    marks: Sequence[Mark],
    *,
    title: str,
    x_label: str,
    y_label: str,
    guides: Sequence[tuple[str, float]] = (),
    identity: bool = False,
    width: int = 560,
    height: int = 340,
) -> str:
    """Draw named points with their intervals; `guides` are lines, ("x", 2.0) upright or ("y", 0.01) level. With
    `identity` both axes have one range, and the line on which x and y are equal is drawn.

    >>> "<circle" in scatter_chart([Mark(1, 2, "a")], title="t", x_label="x", y_label="y")
    True
    """
    marks = [m for m in marks if math.isfinite(m.x) and math.isfinite(m.y)]
    xs = [m.x for m in marks] + [v for axis, v in guides if axis == "x"] or [0.0, 1.0]
    ys = [m.y for m in marks] + [v for axis, v in guides if axis == "y"] or [0.0, 1.0]
    ys += [v for m in marks if m.y_range for v in m.y_range if math.isfinite(v)]
    if identity:
        xs = ys = [*xs, *ys]
    (x0, x1), (y0, y1) = _padded(min(xs), max(xs)), _padded(min(ys), max(ys))
    frame = _Frame(x0, x1, y0, y1, width, height, left=56, right=18, bottom=42)
    px, py, left, right = frame.px, frame.py, frame.left, frame.right
    top, bottom = frame.top, frame.bottom
    parts = [*frame.begin(title)]
    if identity:
        ends = f'x1="{px(x0):.1f}" x2="{px(x1):.1f}" y1="{py(x0):.1f}" y2="{py(x1):.1f}"'
        parts.append(f'<line class="line guide" {ends}/>')
    for axis, value in guides:
        ends = (
            f'x1="{px(value):.1f}" x2="{px(value):.1f}" y1="{top}" y2="{height - bottom}"'
            if axis == "x"
            else f'x1="{left}" x2="{width - right}" y1="{py(value):.1f}" y2="{py(value):.1f}"'
        )
        parts.append(f'<line class="line guide" {ends}/>')
    # Names stand on no point and on no other name.
    taken = [(px(m.x) - 7, py(m.y) + 4, 14.0) for m in marks]
    for m in sorted(marks, key=lambda m: (m.style, m.x)):
        x, y = px(m.x), py(m.y)
        if m.y_range is not None and all(math.isfinite(v) for v in m.y_range):
            low, high = (py(v) for v in m.y_range)
            parts.append(f'<line class="line faint" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
        parts.append(
            f'<circle class="dot {m.style}" cx="{x:.1f}" cy="{y:.1f}" r="4.5"><title>{escape(m.name)}</title></circle>'
        )
        place = _label_place(x, y, len(m.name) * 6.2, taken, width - right) if m.name else None
        if place is not None:
            anchor, at_x, at_y = place
            parts.append(
                f'<text class="tick" x="{at_x:.1f}" y="{at_y:.1f}" text-anchor="{anchor}">{escape(m.name)}</text>'
            )
    parts += frame.end(x_label, y_label)
    return "".join(parts)


def _label_place(
    x: float, y: float, wide: float, taken: list[tuple[float, float, float]], right: float
) -> tuple[str, float, float] | None:
    """Find room for a name next to its point, where no other name stands yet; the table below has them all."""
    for dy in (4, -10, 18, -23, 31, -36, 44):
        for anchor, start in (("start", x + 8), ("end", x - 8 - wide)):
            clear = all(abs(y + dy - ty) > 11 or start + wide < tx or start > tx + tw for tx, ty, tw in taken)
            if clear and start > 52 and start + wide < right:
                taken.append((start, y + dy, wide))
                return anchor, x + 8 if anchor == "start" else x - 8, y + dy
    return None


def bar_chart(rows: Sequence[tuple[str, float]], *, title: str, unit: str = "", width: int = 560) -> str:
    """Draw a bar a row, its name before it and its value behind it; the longest bar fills the width.

    >>> "<rect" in bar_chart([("a", 1.0)], title="t")
    True
    """
    named = max((len(n) for n, _ in rows), default=1)
    left, tall = min(260, 14 + 8 * named), 20
    most = max((abs(v) for _, v in rows if math.isfinite(v)), default=0.0) or 1.0
    height = tall * len(rows) + 8
    parts = [f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">']
    for k, (name, value) in enumerate(rows):
        y = 4 + k * tall
        long = max(1.0, abs(value) / most * (width - left - 90)) if math.isfinite(value) else 1.0
        shown = name if len(name) <= 33 else name[:15] + "…" + name[-16:]
        parts.append(f'<text class="tick" x="{left - 6}" y="{y + 14}" text-anchor="end">{escape(shown)}</text>')
        parts.append(f'<rect class="bar" x="{left}" y="{y + 3}" width="{long:.1f}" height="{tall - 6}" rx="2"/>')
        number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
        text = f"{number}{unit}"
        parts.append(f'<text class="tick" x="{left + long + 6:.1f}" y="{y + 14}">{escape(text)}</text>')
    return "".join(parts) + "</svg>"


_BINS = 16


def bin_values(
    values: NDArray[np.float64],
    *,
    low: float | None = None,
    high: float | None = None,
    logarithmic: bool = False,
    whole: bool = False,
) -> list[tuple[str, float]]:
    """Return a row a bin for `bar_chart`, named by its bounds, with how many values it holds.

    >>> bin_values(np.array([1.0, 1.0, 2.0]), whole=True)
    [('1', 2.0), ('2', 1.0)]
    >>> [name for name, _ in bin_values(np.array([100.0, 5_000.0]), logarithmic=True)][-1]
    '3,381 – 5,000'
    """
    start = float(values.min()) if low is None else low
    end = float(values.max()) if high is None else high
    if end <= start:
        return [(f"{start:,.0f}" if abs(start) >= 1000 else f"{start:.4g}", float(len(values)))]
    if logarithmic and start > 0 and end / start > 4:
        edges = np.geomspace(start, end, 11)
    elif whole:
        step = max(1, int(np.ceil((end - start + 1) / _BINS)))
        edges = np.arange(start, end + step + 1, step)
    else:
        edges = np.linspace(start, end, 9 if low is not None else 13)
    counts, edges = np.histogram(values, bins=edges)
    if whole and edges[1] - edges[0] == 1:
        return [(f"{a:,.0f}", float(n)) for a, n in zip(edges[:-1], counts, strict=True)]
    last = 1 if whole else 0
    # A dash between negative numbers reads as another sign.
    joint = " to " if edges[0] < 0 else " – "
    bins = zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
    return [
        (_bound(a, 10 if whole else b - a) + joint + _bound(b - last, 10 if whole else b - a), float(n))
        for a, b, n in bins
    ]


def _bound(value: float, width: float) -> str:
    """Write the bound of a bin with the digits that its width needs, without an exponent where people count.

    >>> [_bound(v, w) for v, w in ((1234.5, 200), (0.125, 0.05), (-0.0, 3), (2.5e-7, 1e-7))]
    ['1,234', '0.125', '0.0', '2.5e-07']
    """
    if width <= 0 or max(abs(value), width) < 1e-4:
        return f"{value:.3g}"
    decimals = max(0, 1 - math.floor(math.log10(width)))
    return f"{value + 0.0:,.{min(decimals, 6)}f}"


_MATRIX_WIDTH = 620
_MOST_TALL = 56


def confusion_svg(confusion: NDArray[np.int64], names: Sequence[str], *, unit: str = "images") -> str:
    """Draw a confusion matrix whose cells carry `data-true` and `data-answer`; only cells that are not empty are drawn.

    Rows are the true classes and are coloured by their share of the row, so that rare classes show too. It is drawn as
    wide as a card, however many classes there are. `unit` is what is counted.
    """
    c = len(names)
    labelled = c <= 40
    longest = max(map(len, names)) if labelled else 0
    left = min(190, 16 + 7 * longest) + 18
    turned_names = c > 6 or longest > 6
    # Names above the last columns lean out to the right.
    lean = 8 + 3.8 * min(longest, 24) if labelled and turned_names else 4.0
    wide = max(3.0, (_MATRIX_WIDTH - left - lean) / c)
    tall = min(wide, _MOST_TALL)
    top = min(150, 12 + (6 if turned_names else 0) * longest) + 34
    width, height = left + c * wide + lean, top + c * tall + 4
    # On a phone it scrolls rather than shrink its cells and names beyond reading.
    least = min(440, round(0.7 * left + c * 44 + lean))
    parts = [
        f'<svg class="matrix" style="min-width:{least}px" viewBox="0 0 {width:.0f} {height:.0f}" role="group" '
        'aria-label="confusion matrix">',
        f'<text class="label" x="{left + c * wide / 2:.1f}" y="13" text-anchor="middle">predicted class</text>',
        f'<text class="label" transform="translate(13 {top + c * tall / 2:.1f}) rotate(-90)" text-anchor="middle">'
        "true class</text>",
        f'<rect class="frame" x="{left}" y="{top}" width="{c * wide:.1f}" height="{c * tall:.1f}"/>',
    ]
    if labelled:
        for k, name in enumerate(names):
            shown = escape(name if len(name) <= 24 else name[:23] + "…")
            y = top + k * tall + tall / 2 + 4
            parts.append(f'<text class="tick" x="{left - 6}" y="{y:.1f}" text-anchor="end">{shown}</text>')
            x = left + k * wide + wide / 2
            turned = f'transform="translate({x + 4:.1f} {top - 6}) rotate(-55)" text-anchor="start"'
            plain = f'x="{x:.1f}" y="{top - 8}" text-anchor="middle"'
            parts.append(f'<text class="tick" {turned if turned_names else plain}>{shown}</text>')
    row_total = confusion.sum(1)
    for t, a in zip(*np.nonzero(confusion), strict=True):
        n = int(confusion[t, a])
        share = n / max(1, int(row_total[t]))
        kind = "right" if t == a else "wrong"
        x, y = left + a * wide, top + t * tall
        gap = 1 if tall > 8 else 0
        tip = (
            f"{n:,} of {int(row_total[t]):,} {unit} of {escape(names[t])} predicted as {escape(names[a])} ({share:.1%})"
        )
        parts.append(
            f'<g class="cell {kind}" tabindex="0" role="button" data-true="{t}" data-answer="{a}"><title>{tip}</title>'
            f'<rect x="{x + gap:.1f}" y="{y + gap:.1f}" width="{wide - 2 * gap:.1f}" height="{tall - 2 * gap:.1f}" '
            f'rx="{2 * gap}" style="fill-opacity:{0.18 + 0.82 * share:.2f}"/>'
        )
        count = _compact(n)
        if tall >= 17 and wide >= 6 + 7.5 * len(count):
            strong = " strong" if share > 0.45 else ""
            parts.append(
                f'<text class="count{strong}" x="{x + wide / 2:.1f}" y="{y + tall / 2 + 4.5:.1f}">{count}</text>'
            )
        parts.append("</g>")
    parts.append("</svg>")
    return "".join(parts)


def _compact(n: int) -> str:
    """Write a count in four characters or so: 950, 12k, 3.4M.

    >>> [_compact(n) for n in (950, 9_950, 12_345, 3_400_000)]
    ['950', '9950', '12k', '3.4M']
    """
    if n < 10_000:
        return str(n)
    return f"{n / 1000:.0f}k" if n < 1_000_000 else f"{n / 1_000_000:.3g}M"


def _padded(low: float, high: float) -> tuple[float, float]:
    if high <= low:
        return low - 0.5, high + 0.5
    return low - 0.04 * (high - low), high + 0.04 * (high - low)


def _ticks(low: float, high: float, *, about: int = 5, least: float = 0) -> list[float]:
    step = 10 ** math.floor(math.log10((high - low) / about))
    for factor in (1, 2, 5, 10):
        if (high - low) / (step * factor) <= about + 1:
            step *= factor
            break
    step = max(step, least)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _short(value: float, percent: bool = False) -> str:
    if percent:
        return f"{100 * value:.4g}%"
    if abs(value) >= 1e6:
        return f"{value / 1e6:.6g}M"
    return f"{value:.6g}" if abs(value) >= 1e-9 else "0"
