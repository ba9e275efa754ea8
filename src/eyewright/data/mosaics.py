"""Tiles of one large picture: names with positions propose neighbours, and their borders must fit in pixels.

Tiles that overlap show the same pixels; tiles that only touch continue where their neighbour ends. Both are compared
with tiles that are no neighbours, so a set in which every border looks like every other proves nothing.
"""

__all__ = ["Mosaic", "find_mosaics"]

import itertools
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyewright.core.rng import generator

_POSITIONS = (
    re.compile(r"(?<![A-Za-z])x[_=-]?(?P<x>\d+)[_-]*y[_=-]?(?P<y>\d+)(?!\d)", re.IGNORECASE),
    re.compile(r"(?<![A-Za-z])y[_=-]?(?P<y>\d+)[_-]*x[_=-]?(?P<x>\d+)(?!\d)", re.IGNORECASE),
    re.compile(r"(?<![A-Za-z])r(?:ow)?[_=-]?(?P<y>\d+)[_-]*c(?:ol)?[_=-]?(?P<x>\d+)(?!\d)", re.IGNORECASE),
    re.compile(r"(?<![A-Za-z])c(?:ol)?[_=-]?(?P<x>\d+)[_-]*r(?:ow)?[_=-]?(?P<y>\d+)(?!\d)", re.IGNORECASE),
    re.compile(r"[_-](?P<y>\d+)[_-]+(?P<x>\d+)(?=\.[^./]*$)"),
)
_OVERLAPS = (0, 4, 8, 16, 32)
_MOST_PAIRS = 4000
_STRANGERS = 2000
_PERMUTATIONS = 199
_P_VALUE = 0.01
_FEWEST = 4
_CLEAR = 0.5
_BORDERS = 0.6
_AGREED = 0.5


@dataclass(frozen=True)
class Mosaic:
    """Tiles of one picture, as ascending indices; `score` is the mean correlation of their borders, -1 to 1.

    `pattern` is the regular expression for `--group-by`, the same for all pictures of a set, and `p_value` that of the
    test of all their borders against those of tiles that are no neighbours.
    """

    members: tuple[int, ...]
    score: float
    pattern: str
    p_value: float


class _Neighbours(NamedTuple):
    """Pairs of tiles: `first` lies left of (or, where `down`, above) `second`; `picture` is the number of theirs."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    down: NDArray[np.bool_]
    picture: NDArray[np.int64]


def find_mosaics(names: Sequence[str], thumbnails: NDArray[np.uint8], *, seed: int = 0) -> tuple[Mosaic, ...]:
    """Return the pictures whose tiles are among `names` (N,), with grey thumbnails uint8 (N, 64, 64), largest first.

    Positions are read as `x_0512_y_0256`, `r03_c07`, `row3-col7` or two numbers at the end of a name. Whether the
    numbers count rows first, and by how much tiles overlap, is measured. At most one way of naming is used per set.
    """
    best: tuple[Mosaic, ...] = ()
    for pattern in _POSITIONS:
        pictures = _pictures(names, pattern)
        for exchanged in (False, True):
            found = _checked(_neighbours(pictures, exchanged), pictures, thumbnails, _rule(pattern), seed)
            if sum(len(m.members) for m in found) > sum(len(m.members) for m in best):
                best = found
    return best


def _pictures(names: Sequence[str], pattern: re.Pattern[str]) -> list[dict[tuple[int, int], int]]:
    """Return for each picture that names speak of its tiles by (row, column)."""
    found: dict[str, dict[tuple[int, int], int]] = defaultdict(dict)
    for i, name in enumerate(names):
        # The last one counts: an earlier one belongs to the picture.
        match = next(reversed(list(pattern.finditer(name))), None)
        if match is not None and len(match["y"]) < 10 and len(match["x"]) < 10:
            # The folder is a class more often than a picture: tiles of one picture may lie in several.
            key = name[name.rfind("/") + 1 : match.start()] + "\0" + name[match.end() :]
            found[key].setdefault((int(match["y"]), int(match["x"])), i)
    return [tiles for tiles in found.values() if len(tiles) > 1]


def _rule(pattern: re.Pattern[str]) -> str:
    """Return a regular expression whose first group is what stands before the position."""
    flag = "(?i)" if pattern.flags & re.IGNORECASE else ""
    return flag + r"([^/]*)" + re.sub(r"\?P<[xy]>", "?:", pattern.pattern)


def _neighbours(pictures: list[dict[tuple[int, int], int]], exchanged: bool) -> _Neighbours:
    rows: list[tuple[int, int, bool, int]] = []
    for number, tiles in enumerate(pictures):
        places = {(x, y): i for (y, x), i in tiles.items()} if exchanged else tiles
        for down in (False, True):
            ways = [sorted({p[0] for p in places}), sorted({p[1] for p in places})]
            line = ways[0] if down else ways[1]
            following = dict(itertools.pairwise(line))
            for (y, x), i in places.items():
                after = following.get(y if down else x)
                if after is not None and (j := places.get((after, x) if down else (y, after))) is not None:
                    rows.append((i, j, down, number))
    if len(rows) > _MOST_PAIRS * 5:
        rows = rows[: _MOST_PAIRS * 5]
    first, second, down_, picture = zip(*rows, strict=True) if rows else ((), (), (), ())
    return _Neighbours(
        np.array(first, np.int64), np.array(second, np.int64), np.array(down_, bool), np.array(picture, np.int64)
    )


def _checked(
    pairs: _Neighbours,
    pictures: list[dict[tuple[int, int], int]],
    thumbnails: NDArray[np.uint8],
    rule: str,
    seed: int,
) -> tuple[Mosaic, ...]:
    n = len(pairs.first)
    if n < _FEWEST:
        return ()
    rng = generator(seed, "mosaics")
    scores = _border_scores(thumbnails, pairs.first, pairs.second, pairs.down)
    strangers = rng.permutation(n)[:_STRANGERS]
    partners = pairs.second[rng.permutation(n)][: len(strangers)]
    real = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    true = [(a, b) in real or a == b for a, b in zip(pairs.first[strangers].tolist(), partners.tolist(), strict=True)]
    keep = ~np.array(true, bool)
    strangers, partners = strangers[keep], partners[keep]
    if len(strangers) < 2 * _FEWEST:
        return ()
    null = _border_scores(thumbnails, pairs.first[strangers], partners, pairs.down[strangers])
    overlap = int(np.median(scores, axis=0).argmax())
    own, others = scores[:, overlap], null[:, overlap]
    if float(np.median(own)) < _CLEAR:
        return ()
    # Every draw chooses its own best overlap, as the measurement did.
    drawn = [np.median(null[rng.integers(len(null), size=min(n, 200))], axis=0).max() for _ in range(_PERMUTATIONS)]
    p_value = (1 + sum(float(d) >= float(np.median(own)) for d in drawn)) / (1 + _PERMUTATIONS)
    bar = max(_BORDERS, float(np.quantile(others, 0.95)))
    if p_value > _P_VALUE:
        return ()
    result = []
    for number, tiles in enumerate(pictures):
        mine = own[pairs.picture == number]
        # One border that fits may be chance where unrelated pictures' sometimes do; most of a picture's borders are
        # not.
        if len(mine) and (mine > bar).mean() > _AGREED and (len(mine) > 1 or mine[0] > float(others.max())):
            result.append(Mosaic(tuple(sorted(tiles.values())), float(mine.mean()), rule, p_value))
    return tuple(sorted(result, key=lambda m: (-len(m.members), m.members)))


def _border_scores(
    thumbnails: NDArray[np.uint8], first: NDArray[np.int64], second: NDArray[np.int64], down: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return for pairs the correlation of what both show, if they overlap by each of `_OVERLAPS`, float32 (M, 5)."""
    result = np.zeros((len(first), len(_OVERLAPS)), np.float32)
    side = thumbnails.shape[1]
    for start in range(0, len(first), 512):
        part = slice(start, start + 512)
        a, b = (thumbnails[rows[part]].astype(np.float32) for rows in (first, second))
        turn = down[part]
        a[turn], b[turn] = a[turn].swapaxes(1, 2), b[turn].swapaxes(1, 2)
        for k, overlap in enumerate(_OVERLAPS):
            width = max(overlap, 1)
            result[part, k] = _correlations(a[:, :, side - width :], b[:, :, :width])
    return result


def _correlations(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    x, y = (p - p.mean((1, 2), keepdims=True) for p in (a, b))
    size = np.sqrt((x * x).sum((1, 2)) * (y * y).sum((1, 2)))
    # A border without structure fits every other.
    flat = (x.std((1, 2)) < 2) | (y.std((1, 2)) < 2)
    result: NDArray[np.float32] = np.where(flat, 0, (x * y).sum((1, 2)) / np.maximum(size, 1e-6)).astype(np.float32)
    return result
