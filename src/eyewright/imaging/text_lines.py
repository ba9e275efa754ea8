"""Find the lines of text on a page by classical means: local threshold, deskewing, components joined to lines.

Meant for printed text on a page that fills the image, such as a scan or a receipt: dark on bright, or the reverse, at
most 6 degrees askew. Text in scenes, curved or handwritten text is not found reliably.
"""

__all__ = ["TextLine", "cut_corners", "cut_quad", "find_lines", "page_angle"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.imaging.runs import Component, components_of

_MOST_SIDE = 2200
_MOST_ANGLE = 6.0
_STRAIGHT = 0.25
_AXIS_ALIGNED = 0.02
_LEAST_INK = 4
_FAINT = 0.12
# In heights of usual characters: what parts two words of a line, at most; two columns are further apart.
_WORD_GAP = 1.1
_COLUMN_GAP = 2.0
_COLUMN_LINES = 4
_MOST_LETTERS, _MOST_MARKS, _MOST_LINES = 12_000, 50_000, 1_500


@dataclass(frozen=True)
class TextLine:
    """A line of text on a page: its corners in source pixels, clockwise from the top left, x0 y0 to x3 y3."""

    quad: tuple[float, ...]

    @property
    def box_xyxy(self) -> tuple[float, float, float, float]:
        """The box around it."""
        xs, ys = self.quad[0::2], self.quad[1::2]
        return min(xs), min(ys), max(xs), max(ys)


def cut_quad(page: Image.Image, quad: Sequence[float]) -> Image.Image:
    """Return the part of a page inside four corners, clockwise from the top left, laid straight.

    >>> page = Image.new("RGB", (100, 50))
    >>> cut_quad(page, (10, 10, 60, 10, 60, 30, 10, 30)).size
    (50, 20)
    """
    straight = _straight_box(page.size, quad)
    if straight is not None:
        return page.crop(straight)
    corners = np.reshape(quad, (4, 2)).astype(float)
    length = [float(np.linalg.norm(corners[a] - corners[b])) for a, b in ((0, 1), (3, 2), (0, 3), (1, 2))]
    size = (max(1, round(max(length[:2]))), max(1, round(max(length[2:]))))
    order = corners[[0, 3, 2, 1]].ravel().tolist()
    return page.transform(size, Image.Transform.QUAD, order, Image.Resampling.BILINEAR)


def cut_corners(size: tuple[int, int], quad: Sequence[float]) -> NDArray[np.float64]:
    """Return the corners, (4, 2) of x and y, that `cut_quad` lays straight of a page of `size` (width, height).

    >>> cut_corners((100, 50), (10, 10, 60, 10.4, 60, 30, 10, 30)).tolist()
    [[10.0, 10.0], [60.0, 10.0], [60.0, 30.0], [10.0, 30.0]]
    """
    straight = _straight_box(size, quad)
    if straight is None:
        return np.reshape(quad, (4, 2)).astype(np.float64)
    left, top, right, bottom = straight
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)


def _straight_box(size: tuple[int, int], quad: Sequence[float]) -> tuple[int, int, int, int] | None:
    """Return the whole pixels around corners that lie nearly along the axes; None for others."""
    xs, ys = np.array(quad[0::2], float), np.array(quad[1::2], float)
    wide, high = np.ptp(xs), np.ptp(ys)
    tops, sides = np.abs([ys[0] - ys[1], ys[2] - ys[3]]), np.abs([xs[0] - xs[3], xs[1] - xs[2]])
    if max(tops.max(), sides.max()) > max(2.0, _AXIS_ALIGNED * wide, 0.1 * high):
        return None
    left, top = max(0, round(float(xs.min()))), max(0, round(float(ys.min())))
    right, bottom = min(size[0], round(float(xs.max()))), min(size[1], round(float(ys.max())))
    return left, top, max(right, left + 1), max(bottom, top + 1)


def find_lines(image: NDArray[np.uint8]) -> list[TextLine]:
    """Return the lines of text of a page, uint8 (H, W, 3), in reading order: rows from the top, in a row from the left.

    Words of a row that are further apart than words usually are become lines of their own, as the columns of a receipt.
    Columns of running text are read one after the other.
    """
    scale = min(1.0, _MOST_SIDE / max(image.shape[:2]))
    grey = Image.fromarray(image).convert("L")
    if scale < 1:
        grey = grey.resize((round(grey.width * scale), round(grey.height * scale)), Image.Resampling.BOX)
    angle = page_angle(np.asarray(grey))
    centre = (grey.width / 2, grey.height / 2)
    straight = grey
    if angle:
        mean = int(np.median(np.asarray(grey)))
        straight = grey.rotate(angle, Image.Resampling.BILINEAR, fillcolor=mean)
    boxes = _line_boxes(ink_of(np.asarray(straight)))
    return [TextLine(_turned_back(box, angle, centre, scale)) for box in boxes]


def page_angle(grey: NDArray[np.uint8]) -> float:
    """Return by how many degrees a page, uint8 (H, W), has to be turned (counter-clockwise) so that its lines lie.

    Of all angles up to 6 degrees it is that of the sharpest profile of rows; 0 where lines lie well enough.
    """
    small = Image.fromarray(grey)
    factor = min(1.0, 900 / max(grey.shape))
    if factor < 1:
        small = small.resize((round(small.width * factor), round(small.height * factor)), Image.Resampling.BOX)
    ink = ink_of(np.asarray(small))
    y, x = np.nonzero(ink)
    if len(y) < 50:
        return 0.0
    x = x - ink.shape[1] / 2

    def sharpness(angle: float) -> float:
        rows = np.rint(y + x * np.tan(np.radians(angle))).astype(np.int64)
        profile = np.bincount(rows - rows.min()).astype(np.float64)
        return float((np.diff(profile) ** 2).sum())

    coarse = max(np.arange(-_MOST_ANGLE, _MOST_ANGLE + 0.1, 0.5), key=lambda a: (sharpness(a), -abs(a)))
    fine = max(np.arange(coarse - 0.4, coarse + 0.41, 0.1), key=lambda a: (sharpness(a), -abs(a)))
    if abs(fine) < _STRAIGHT or sharpness(float(fine)) < 1.15 * sharpness(0.0):
        return 0.0
    return -float(fine)


def ink_of(grey: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the pixels that are ink, bool (H, W), by a threshold that follows mean and deviation of the surroundings
    (Niblack 1986) and what the ink of the page usually is; on a dark page the ink is bright."""
    values = grey.astype(np.float64)
    if np.median(values) < 100:
        values = 255 - values
    # Dots of a printer run together, and single specks fade.
    values = _box_mean(values, 3)
    side = max(15, min(grey.shape) // 20) | 1
    mean, square = _box_mean(values, side), _box_mean(values**2, side)
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    contrast = float(np.median(values) - np.quantile(values, 0.01))
    ink: NDArray[np.bool_] = values < mean - np.maximum(0.45 * deviation, _FAINT * contrast)
    return ink


def _box_mean(values: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Return the mean in a square window around each pixel; at the border the image is mirrored."""
    half = side // 2
    pad = [(min(half, n - 1), min(half, n - 1)) for n in values.shape]
    total = np.cumsum(np.cumsum(np.pad(np.pad(values, pad, "reflect"), ((1, 0), (1, 0))), 0), 1)
    height, width = (min(side, 2 * p[0] + 1) for p in pad)
    found: NDArray[np.float64] = (
        total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    ) / (height * width)
    return found


Box = tuple[float, float, float, float]


def _line_boxes(ink: NDArray[np.bool_]) -> list[Box]:
    """Return the boxes of lines in reading order."""
    parts = [c for c in components_of(ink) if c.pixels >= _LEAST_INK]
    usual = _usual_height(parts, ink.shape[0])
    if usual is None:
        return []
    letters = [c for c in parts if _is_letter(c, usual)]
    marks = [c for c in parts if not _is_letter(c, usual) and max(c.height, c.width) < 0.9 * usual]
    # A picture that is no page of text may have any number of both.
    letters = sorted(letters, key=lambda c: -c.pixels)[:_MOST_LETTERS]
    small = np.array(sorted(marks, key=lambda c: -c.pixels)[:_MOST_MARKS], np.float64).reshape(-1, 5)
    lines = _joined([(c.x0, c.y0, c.x1, c.y1) for c in letters], usual)
    lines = [b for b in lines if b[3] - b[1] >= 0.45 * usual]
    lines = sorted(lines, key=lambda b: -(b[2] - b[0]))[:_MOST_LINES]
    lines = [_with_marks(line, small, usual) for line in lines]
    lines = [b for b in lines if b[3] - b[1] >= 0.5 * usual and b[2] - b[0] >= 0.3 * usual]
    lines = _merged(_without_inner(lines), usual)
    margin = 0.12 * usual
    height, width = ink.shape
    grown = [
        (max(0.0, x0 - margin), max(0.0, y0 - margin), min(width, x1 + margin), min(height, y1 + margin))
        for x0, y0, x1, y1 in lines
    ]
    return _ordered(grown, usual)


def _usual_height(parts: Sequence[Component], page_height: int) -> float | None:
    """Return the height that characters usually have, each weighted by its area, so that dust does not count."""
    some = [
        c for c in parts if 6 <= c.height <= page_height / 8 and c.width <= 8 * c.height and c.height <= 8 * c.width
    ]
    if len(some) < 2:
        return None
    heights = np.array([c.height for c in some], np.float64)
    weights = np.array([min(c.width, c.height) * c.height for c in some], np.float64)
    order = np.argsort(heights)
    total = np.cumsum(weights[order])
    return float(heights[order][int(np.searchsorted(total, total[-1] / 2))])


def _is_letter(c: Component, usual: float) -> bool:
    if not 0.45 * usual <= c.height <= 3.2 * usual:
        return False
    # Rules and frames are long and thin, or large and all but empty.
    filled = c.pixels / (c.height * c.width)
    return c.width <= 12 * usual and (filled >= 0.12 or c.width <= 2 * usual)


def _joined(boxes: Sequence[Box], usual: float) -> list[Box]:
    """Return boxes of lines: characters that stand side by side at one height."""
    lines: list[list[Box]] = []
    # Of each line that may be continued: its right edge, and the middle top and bottom of its last characters.
    ends: dict[int, tuple[float, float, float]] = {}
    for one in sorted(boxes):
        x0, y0, _, y1 = one
        best, nearest = -1, np.inf
        for k, (right, top, bottom) in list(ends.items()):
            gap = x0 - right
            if gap > 4 * usual:
                del ends[k]
                continue
            high = max(min(y1 - y0, bottom - top), 1.0)
            near = min(y1, bottom) - max(y0, top) >= 0.45 * high and gap <= _WORD_GAP * max(high, 0.8 * usual)
            if near and gap < nearest and max(y1 - y0, bottom - top) <= 2.6 * high:
                best, nearest = k, gap
        if best < 0:
            best = len(lines)
            lines.append([])
        lines[best].append(one)
        last = lines[best][-3:]
        ends[best] = max(b[2] for b in last), _middle([b[1] for b in last]), _middle([b[3] for b in last])
    return [
        (min(b[0] for b in own), min(b[1] for b in own), max(b[2] for b in own), max(b[3] for b in own))
        for own in lines
    ]


def _middle(values: list[float]) -> float:
    """Return the median of up to three numbers."""
    ordered = sorted(values)
    return ordered[1] if len(ordered) == 3 else sum(ordered) / len(ordered)


def _with_marks(line: Box, marks: NDArray[np.float64], usual: float) -> Box:
    """Return a line with the points, dashes and accents that belong to it; `marks` are x0, y0, x1, y1 and pixels."""
    x0, y0, x1, y1 = line
    high = y1 - y0
    middle = (marks[:, 1] + marks[:, 3]) / 2
    # Dashes of a rule above or below are no part of the line; points, commas and accents stand close to it.
    reach = np.where(marks[:, 2] - marks[:, 0] > 2 * (marks[:, 3] - marks[:, 1]), 0.0, 0.18 * high)
    level = marks[(middle >= y0 - reach) & (middle <= y1 + reach)]
    for _ in range(3):
        own = level[(level[:, 2] >= x0 - 0.6 * usual) & (level[:, 0] <= x1 + 0.6 * usual)]
        if not len(own) or (own[:, 0].min() >= x0 and own[:, 2].max() <= x1):
            break
        x0, x1 = min(x0, float(own[:, 0].min())), max(x1, float(own[:, 2].max()))
    own = level[(level[:, 2] >= x0 - 0.6 * usual) & (level[:, 0] <= x1 + 0.6 * usual)]
    if not len(own):
        return line
    top, bottom = float(own[:, 1].min()), float(own[:, 3].max())
    return x0, min(y0, max(top, y0 - 0.25 * high)), x1, max(y1, min(bottom, y1 + 0.2 * high))


def _without_inner(lines: Sequence[Box]) -> list[Box]:
    """Return the lines without those that lie in another, such as the holes of large letters."""

    def inside(a: Box, b: Box) -> float:
        w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        return max(0.0, w) * max(0.0, h) / max((a[2] - a[0]) * (a[3] - a[1]), 1e-9)

    order = sorted(lines, key=lambda b: -(b[2] - b[0]) * (b[3] - b[1]))
    kept: list[Box] = []
    for one in order:
        if all(inside(one, other) < 0.7 for other in kept):
            kept.append(one)
    return kept


def _merged(lines: Sequence[Box], usual: float) -> list[Box]:
    """Return lines of which parts of one row that are no further apart than words are one."""
    left = sorted(lines)
    changed = True
    while changed:
        changed = False
        kept: list[Box] = []
        for one in left:
            for k, other in enumerate(kept):
                high = min(one[3] - one[1], other[3] - other[1])
                tall = max(one[3] - one[1], other[3] - other[1])
                shared = min(one[3], other[3]) - max(one[1], other[1])
                gap = max(one[0], other[0]) - min(one[2], other[2])
                if shared >= 0.6 * high and gap <= _WORD_GAP * max(high, 0.8 * usual) and tall <= 2 * high:
                    joined = (
                        min(one[0], other[0]),
                        min(one[1], other[1]),
                        max(one[2], other[2]),
                        max(one[3], other[3]),
                    )
                    kept[k], changed = joined, True
                    break
            else:
                kept.append(one)
        left = sorted(kept)
    return left


def _ordered(lines: Sequence[Box], usual: float) -> list[Box]:
    """Return lines in reading order: columns of running text one after the other, else rows from the top."""
    cut = _column_cut(lines, usual)
    if cut is not None:
        left = [b for b in lines if (b[0] + b[2]) / 2 < cut]
        right = [b for b in lines if (b[0] + b[2]) / 2 >= cut]
        return [*_ordered(left, usual), *_ordered(right, usual)]
    rows: list[list[Box]] = []
    for one in sorted(lines, key=lambda b: (b[1] + b[3]) / 2):
        middle = (one[1] + one[3]) / 2
        for row in rows[-3:]:
            top, bottom = np.mean([b[1] for b in row]), np.mean([b[3] for b in row])
            if top + 0.2 * (bottom - top) <= middle <= bottom - 0.2 * (bottom - top):
                row.append(one)
                break
        else:
            rows.append([one])
    return [b for row in rows for b in sorted(row)]


def _column_cut(lines: Sequence[Box], usual: float) -> float | None:
    """Return where a gap from top to bottom parts two columns of running text; None where there is none.

    On both sides most lines are wide for their column: the columns of a table, whose cells are short, are read row by
    row.
    """
    if len(lines) < 2 * _COLUMN_LINES:
        return None
    edges = sorted(lines)
    reach = edges[0][2]
    for one in edges[1:]:
        if one[0] - reach >= _COLUMN_GAP * usual:
            cut = (one[0] + reach) / 2
            sides = [[b for b in lines if ((b[0] + b[2]) / 2 < cut) == first] for first in (True, False)]
            if all(_is_running(side, usual) for side in sides):
                return cut
        reach = max(reach, one[2])
    return None


def _is_running(lines: Sequence[Box], usual: float) -> bool:
    if len(lines) < _COLUMN_LINES:
        return False
    widths = np.array([b[2] - b[0] for b in lines])
    column = max(b[2] for b in lines) - min(b[0] for b in lines)
    return bool(np.median(widths) >= max(0.6 * column, 10 * usual))


def _turned_back(box: Box, angle: float, centre: tuple[float, float], scale: float) -> tuple[float, ...]:
    """Return the corners of a box of the straightened page in source pixels."""
    x0, y0, x1, y1 = box
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    found: list[float] = []
    for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1)):
        dx, dy = x - centre[0], y - centre[1]
        found += [(centre[0] + cos * dx - sin * dy) / scale, (centre[1] + sin * dx + cos * dy) / scale]
    return tuple(round(float(v), 2) for v in found)
