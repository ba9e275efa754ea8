"""Where the words of a line stand: from the positions of its characters, and the gaps in its ink."""

__all__ = ["TextWord", "find_words"]

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"\S+")
# A column has ink where its pixels differ by this fraction of what they do in the column of most contrast.
_INK = 0.3


@dataclass(frozen=True)
class TextWord:
    """A word of a line: its corners in source pixels, x0 y0 to x3 y3 as those of the line, its text and the score of
    each character."""

    quad: tuple[float, ...]
    text: str
    scores: tuple[float, ...]

    @property
    def confidence(self) -> float:
        """The lowest score of its characters, from 0 to 1."""
        return min(self.scores, default=0.0)


def find_words(
    text: str,
    scores: Sequence[float],
    spans_x: NDArray[np.floating],
    line: NDArray[np.uint8],
    corners: NDArray[np.float64],
) -> tuple[TextWord, ...]:
    """Return the words of a line that was read, from the left.

    `spans_x`, (L, 2), is where each character lies in the image of the line, uint8 (H, W, 3), as CTC aligned it: some
    pixels within the character, not its outline. Two words are therefore separated at the widest gap in the ink between
    the middles of the characters next to the space. `corners`, (4, 2), are those of the image in the page, clockwise
    from the top left.

    >>> line = np.full((10, 100, 3), 255, np.uint8)
    >>> line[2:8, 10:40] = line[2:8, 60:90] = 0
    >>> spans = np.array([[12, 16], [30, 34], [48, 52], [64, 68], [80, 84]])
    >>> page = np.array([(0, 0), (100, 0), (100, 10), (0, 10)], float)
    >>> [(w.text, w.quad[0], w.quad[2]) for w in find_words("ab cd", [1] * 5, spans, line, page)]
    [('ab', 10.0, 40.0), ('cd', 60.0, 90.0)]
    """
    found = [(m.start(), m.end()) for m in _WORD.finditer(text)]
    if not found or len(spans_x) != len(text):
        return ()
    ink, width = _ink(line), line.shape[1]
    middles = spans_x.astype(np.float64).mean(1)
    edges = [_first(ink)]
    for (_, end), (start, _) in itertools.pairwise(found):
        edges += _gap(ink, float(middles[end - 1]), float(middles[start]))
    edges.append(_last(ink))
    words = []
    for k, (start, end) in enumerate(found):
        left = min(edges[2 * k], float(spans_x[start, 0]))
        right = max(edges[2 * k + 1], float(spans_x[end - 1, 1]))
        quad = _in_page(max(0.0, left) / width, min(float(width), right) / width, corners)
        words.append(TextWord(quad, text[start:end], tuple(float(s) for s in scores[start:end])))
    return tuple(words)


def _ink(line: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which columns of a line have ink: those whose pixels differ, whether the text is dark or bright."""
    grey = line.astype(np.float32).mean(2)
    contrast = grey.max(0) - grey.min(0)
    return np.asarray(contrast > _INK * max(float(np.quantile(contrast, 0.99)), 8.0))


def _first(ink: NDArray[np.bool_]) -> float:
    return float(ink.argmax())


def _last(ink: NDArray[np.bool_]) -> float:
    return float(len(ink) - ink[::-1].argmax())


def _gap(ink: NDArray[np.bool_], left: float, right: float) -> list[float]:
    """Return the widest run of columns without ink between two places; where there is none, their middle twice."""
    start, stop = int(np.clip(left, 0, len(ink))), int(np.clip(np.ceil(right), 0, len(ink)))
    clear = np.concatenate([[False], ~ink[start:stop], [False]])
    steps = np.flatnonzero(np.diff(clear.astype(np.int8)))
    runs = steps.reshape(-1, 2)
    if not len(runs):
        return [(left + right) / 2] * 2
    best = runs[int((runs[:, 1] - runs[:, 0]).argmax())]
    return [float(start + best[0]), float(start + best[1])]


def _in_page(left: float, right: float, corners: NDArray[np.float64]) -> tuple[float, ...]:
    """Return the part of a line between two fractions of its width as corners in the page."""
    top, bottom = corners[1] - corners[0], corners[2] - corners[3]
    quad = [corners[0] + left * top, corners[0] + right * top, corners[3] + right * bottom, corners[3] + left * bottom]
    return tuple(round(float(v), 2) for v in np.concatenate(quad))
