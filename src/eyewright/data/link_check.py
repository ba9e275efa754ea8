"""The check on pixels that two pictures are one, against what is usual between unrelated ones of this set."""

__all__ = ["Limits", "Link", "measure_strangers", "verify_candidates"]

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyewright.core.rng import generator
from eyewright.data.link_search import Candidates
from eyewright.data.link_space import THREADS, Pictures, Space
from eyewright.imaging.alignment import align_pictures, align_roughly, align_uncovered, compare_drawings, same_colours
from eyewright.imaging.fingerprint import CROPS, are_drawn, cut_alike, equalise, turned
from eyewright.imaging.margins import soften_as_inside

_Float = NDArray[np.float32]
_Int = NDArray[np.int64]

_PAIRS = 64
_ROUGH_PAIRS = 384
_ROUGHLY, _NEAR, _CLEARLY = 0.3, 0.7, 0.35
_SAMPLE = 400
_SIGMAS = 4.6
_LEAST = 0.8
_CERTAIN = 0.985
_EQUAL = 0.995
_COPY = 0.93
_COVERED = 0.96
_MAYBE = 0.85
_NO_CROP = 0.95
_COLOURS = 26.0
_DRAWN, _DRAWN_GREY, _DRAWN_COLOURS = 0.955, 0.99, 20.0


@dataclass(frozen=True)
class Link:
    """Two pictures, indices i < j, that are one: `likeness` is the correlation of their structure once aligned.

    `exact` says that only light, size and compression differs; else they may show one object twice. `how` names
    the transformation that was found, such as "mirrored" or "cropped to about 91%".
    """

    i: int
    j: int
    likeness: float
    exact: bool
    how: str


class Limits(NamedTuple):
    """How similar unrelated pictures are once aligned, as Fisher's z: `base` + `slope` * density, spread `sigma`."""

    base: float
    slope: float
    sigma: float
    density: _Float


def measure_strangers(thumbnails: Pictures, rows: _Int, space: Space, seed: int) -> Limits:
    """Measure unrelated pictures: sampled pictures against one of a crowd around each, compared as candidates are."""
    density, stranger = space.density, space.stranger
    some = generator(seed, "background").permutation(len(rows))[:_SAMPLE]
    some = some[stranger[some] != some]
    if len(some) < 30:
        return Limits(0.5, 0.3, 0.2, density)

    def likeness(start: int) -> _Float:
        a = some[start : start + _PAIRS]
        b = stranger[a]
        first, second = (turned(thumbnails[rows[k]], space.turns[k]) for k in (a, b))
        return align_pictures(first, second, np.tile(np.array([1, 0, 1, 0], np.float32), (len(a), 1))).whole

    with ThreadPoolExecutor(THREADS) as pool:
        whole = list(pool.map(likeness, range(0, len(some), _PAIRS)))
    z = np.arctanh(np.clip(np.concatenate(whole), -0.999, 0.999))
    near = density[some]
    # The line through the medians of the lower and the upper half: a few true copies among the sample move nothing.
    low = near <= np.median(near)
    ends = [(float(np.median(near[part])), float(np.median(z[part]))) for part in (low, ~low) if part.any()]
    slope = 0.0
    if len(ends) == 2 and ends[1][0] - ends[0][0] > 0.02:
        slope = max(0.0, (ends[1][1] - ends[0][1]) / (ends[1][0] - ends[0][0]))
    rest = z - slope * near
    base = float(np.median(rest))
    sigma = max(0.1, float(np.quantile(rest, 0.95) - base) / 1.645)
    return Limits(base, slope, min(sigma, 0.35), density)


def verify_candidates(
    thumbnails: Pictures,
    colours: Pictures,
    rows: _Int,
    space: Space,
    found: Candidates,
    limits: Limits,
    small: NDArray[np.bool_],
) -> list[Link]:
    boxes = np.array(CROPS, np.float32)

    def judged(start: int) -> list[Link]:
        part = Candidates._make(p[start : start + _ROUGH_PAIRS] for p in found)
        density = np.maximum(limits.density[part.query], limits.density[part.match])
        bar = np.tanh(limits.base + limits.slope * density + _SIGMAS * limits.sigma)
        few = small[rows[part.query]] | small[rows[part.match]]
        bar = np.where(few, _EQUAL, np.clip(bar, _LEAST, _CERTAIN)).astype(np.float32)
        turns = part.turn, space.turns[part.match]
        greys = cut_alike(space.reduced(part.query), space.reduced(part.match))
        first, second = (equalise(turned(g, t)) for g, t in zip(greys, turns, strict=True))
        alike, warps = align_roughly(first, second, _warps(boxes[part.crop], part.turn))
        likely = (part.likeness >= _NEAR) | (alike >= bar - _ROUGHLY)
        clear = part.likeness >= np.maximum(_NEAR, 1 - _CLEARLY * (1 - density))
        covered = ~few & (turns[0] == turns[1])
        covered[covered] = _maybe_covered(*(g[covered] for g in greys))
        links = []
        chosen = np.flatnonzero(likely | covered)
        for at in range(0, len(chosen), _PAIRS):
            own = chosen[at : at + _PAIRS]
            pairs = Candidates._make(p[own] for p in part)
            near = clear[own], bar[own], few[own], covered[own]
            links += _compared(thumbnails, colours, rows, space, pairs, warps[own], *near)
        return links

    with ThreadPoolExecutor(THREADS) as pool:
        return [link for part in pool.map(judged, range(0, len(found.query), _ROUGH_PAIRS)) for link in part]


def _compared(
    thumbnails: Pictures,
    colours: Pictures,
    rows: _Int,
    space: Space,
    pairs: Candidates,
    rough_warp: _Float,
    clear: NDArray[np.bool_],
    bar: _Float,
    few: NDArray[np.bool_],
    maybe_covered: NDArray[np.bool_],
) -> list[Link]:
    """Return the links among pairs, each as similar as its `bar` asks for; `few` are of pictures of few pixels, and the
    fingerprints of `clear` are so near that no rough alignment rules them out."""
    ends = rows[pairs.query], rows[pairs.match]
    turns = pairs.turn, space.turns[pairs.match]
    greys = cut_alike(*_as_sharp(thumbnails, ends, (turns[0] ^ turns[1]) & 4 > 0))
    first, second = (turned(g, t) for g, t in zip(greys, turns, strict=True))
    begin = _warps(np.array(CROPS, np.float32)[pairs.crop], pairs.turn)
    alike = align_pictures(first, second, begin, bar, rough_warp=rough_warp, again=clear)
    close = np.flatnonzero((alike.whole >= bar) | maybe_covered)
    plain = np.zeros(len(bar), bool)
    # Of a drawing that was coded with losses the copy is not flat: one of the two says enough.
    plain[close] = are_drawn(thumbnails[ends[0][close]]) | are_drawn(thumbnails[ends[1][close]])
    bar = np.where(plain, np.maximum(bar, _DRAWN), bar)
    weakest = np.where(bar >= _EQUAL, _CERTAIN, np.minimum(bar - 0.15, 0.8))
    weakest = np.where(plain, np.maximum(weakest, _DRAWN - 0.02), weakest)
    good = (alike.whole >= bar) & (alike.blocks >= weakest) & (~plain | (turns[0] == turns[1]))
    for drawn in (False, True):
        some = np.flatnonzero(good & (plain == drawn))
        if len(some):
            tinted = [turned(colours[e[some]], t[some]) for e, t in zip(ends, turns, strict=True)]
            tolerance = _DRAWN_COLOURS if drawn else _COLOURS
            good[some] = same_colours(tinted[0], tinted[1], alike.warp[some], tolerance=tolerance, light=not drawn)
    # Of a symmetric drawing several turns are as near, so drawings are compared unchanged, whatever turn was found.
    upright = np.flatnonzero(plain & ~good)
    stand = np.zeros(len(good), bool)
    if len(upright):
        one, other = (e[upright] for e in ends)
        whole, blocks = compare_drawings(thumbnails[one], thumbnails[other])
        own = np.where(few[upright], _EQUAL, _DRAWN_GREY)
        still = np.tile(np.array([1, 0, 1, 0], np.float32), (len(upright), 1))
        equal = same_colours(colours[one], colours[other], still, tolerance=_DRAWN_COLOURS, light=False)
        stand[upright] = equal & (whole >= own) & (blocks >= own - 0.02)
        alike.whole[upright] = np.where(stand[upright], np.maximum(alike.whole[upright], whole), alike.whole[upright])
    good |= stand
    covered = np.zeros(len(good), bool)
    again = np.flatnonzero(~good & ~plain & maybe_covered)
    if len(again):
        one, other = (e[again] for e in ends)
        shown = align_uncovered(greys[0][again], greys[1][again], (colours[one], colours[other]))
        covered[again] = (shown.whole >= np.maximum(bar[again], _COVERED)) & (shown.blocks >= _COVERED - 0.1)
        alike.whole[again[covered[again]]] = shown.whole[covered[again]]
    links = []
    for k in np.flatnonzero(good | covered).tolist():
        i, j = sorted((int(ends[0][k]), int(ends[1][k])))
        how = _describe(int(turns[0][k]), int(turns[1][k]), alike.warp[k])
        if stand[k] or covered[k]:
            how = "the same view" if stand[k] else "the same view except for its top or bottom"
        likeness = float(alike.whole[k])
        exact = likeness >= max(_COPY, 1 - 1.5 * (1 - float(bar[k])))
        links.append(Link(i, j, likeness, exact, how))
    return links


def _as_sharp(
    thumbnails: Pictures, ends: tuple[_Int, _Int], swapped: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return pairs of pictures, each as sharp as the other, which may show the inside of a frame; of pairs that are
    `swapped`, (M,), the height of one is the width of the other."""
    sides = [thumbnails.sides(e) for e in ends]
    for own in sides:
        own[swapped] = own[swapped][:, ::-1]
    one, other = (thumbnails[e] for e in ends)
    return soften_as_inside(one, sides[1]), soften_as_inside(other, sides[0])


def _maybe_covered(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return whether pairs of pictures of 16x16 look similar, roughly, above the lowest fifth or below the highest."""
    n = len(first)
    found = np.zeros(n, bool)
    if not n:
        return found
    for rows in (slice(0, 12), slice(4, 16)):
        a, b = (p[:, rows].reshape(n, -1).astype(np.float32) for p in (first, second))
        a, b = (p - p.mean(1, keepdims=True) for p in (a, b))
        both = np.sqrt((a * a).sum(1) * (b * b).sum(1))
        found |= (a * b).sum(1) >= _MAYBE * np.maximum(both, 1e-6)
    return found


def _warps(crops: _Float, turns: NDArray[np.int8]) -> _Float:
    """Return the warps, (M, 4), from which to begin: where a crop of the upright picture lies in the turned one."""
    box = crops.copy()
    swap = (turns & 4) > 0
    box[swap] = box[swap][:, [2, 3, 0, 1]]
    upside, mirrored = (turns & 1) > 0, (turns & 2) > 0
    box[upside, :2] = 1 - box[upside][:, [1, 0]]
    box[mirrored, 2:] = 1 - box[mirrored][:, [3, 2]]
    return np.stack([box[:, 1] - box[:, 0], box[:, 0], box[:, 3] - box[:, 2], box[:, 2]], 1)


def _describe(first: int, second: int, warp: _Float) -> str:
    """Return the geometric change that turns one picture into the other, in words."""
    corners = np.arange(9).reshape(1, 3, 3)
    a = turned(corners, np.array([first], np.int8))[0]
    names = {
        (0, False): "",
        (1, False): "turned by 90°",
        (2, False): "turned by 180°",
        (3, False): "turned by 90°",
        (0, True): "mirrored",
        (1, True): "mirrored and turned by 90°",
        (2, True): "mirrored upside down",
        (3, True): "mirrored and turned by 90°",
    }
    how = ""
    for (quarter, mirror), name in names.items():
        tried = np.rot90(corners[0][:, ::-1] if mirror else corners[0], quarter)
        if (turned(tried[None], np.array([second], np.int8))[0] == a).all():
            how = name
            break
    share = float(warp[0] * warp[2])
    parts = [how] if how else []
    # A shift by a pixel or two is no crop.
    if not _NO_CROP <= share <= 1 / _NO_CROP:
        parts.append(f"cropped to about {min(share, 1 / share):.0%}")
    return ", ".join(parts) or "the same view"
