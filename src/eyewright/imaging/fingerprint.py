"""Fingerprints of pictures, and the check on pixels that two pictures are one.

A picture is described by the low frequencies of its contrast-limited equalised thumbnail, brought into a canonical
orientation: copies that were re-encoded, resized, brightened, mirrored or turned get nearly the same description, and
copies that were cropped get it from one of a few crops. Whatever the descriptions propose is then aligned (Lucas and
Kanade 1981, with gain and offset) and compared on pixels: a description alone is never a match.
"""

__all__ = [
    "COLOUR_SIDE",
    "CROPS",
    "THUMBNAIL_SIDE",
    "Likeness",
    "align_pictures",
    "align_uncovered",
    "are_drawn",
    "array_thumbnails",
    "canonical_turns",
    "cut_alike",
    "describe_pictures",
    "equalise",
    "flat_frequencies",
    "frequencies",
    "same_colours",
    "thumbnails_of",
    "turned",
]

from functools import cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

THUMBNAIL_SIDE = 64
COLOUR_SIDE = 16

_LEVELS = 256
_CLIP = 4.0
_SMALL = 16
_KEPT = 8
_HIGHEST = 9
_UNSURE = 0.06
_CUT_OFF = 245.0
_ROUGHLY = 0.12
_CUT_SHARE, _MOST_CUT = 0.03, 0.7
_FLAT, _FLAT_SHOWN = 0.6, 0.3
_DRAWN_AT_ONCE = 2048

CROPS: tuple[tuple[float, float, float, float], ...] = (
    (0.0, 1.0, 0.0, 1.0),
    (0.035, 0.965, 0.035, 0.965),
    (0.0, 0.93, 0.0, 0.93),
    (0.0, 0.93, 0.07, 1.0),
    (0.07, 1.0, 0.0, 0.93),
    (0.07, 1.0, 0.07, 1.0),
    (0.06, 0.94, 0.06, 0.94),
    (0.0, 0.87, 0.0, 1.0),
    (0.13, 1.0, 0.0, 1.0),
)
"""The whole picture, then the crops by which a cropped copy, or one with a caption below or above, is met: top, bottom,
left, right in shares of a side."""

_Float = NDArray[np.float32]
_Scalar = TypeVar("_Scalar", bound=np.generic)


def describe_pictures(thumbnails: NDArray[np.uint8], colours: NDArray[np.uint8]) -> _Float:
    """Return a fixed description of pictures, float32 (N, 80): what they show at large, in which colours, how finely.

    `thumbnails` is grey, uint8 (N, 64, 64), `colours` uint8 (N, 16, 16, 3). The 52 low frequencies form a unit vector;
    the colours of 3x3 parts, as chroma without brightness, and the strength of structure at five scales are weighted so
    that each group counts about a third as much among photographs.
    """
    n = len(thumbnails)
    waves = flat_frequencies(frequencies(thumbnails))
    whole = colours.astype(np.float32)
    chroma = np.stack([whole[..., 0] - whole[..., 1], whole[..., 2] - whole[..., 1]], -1) / 255
    thirds = _area_weights(COLOUR_SIDE, 3, 0.0, 1.0)
    parts = np.stack([thirds @ chroma[..., c] @ thirds.T for c in range(2)], -1).reshape(n, 18)
    grey = thumbnails.astype(np.float32)
    spread = np.maximum(grey.std((1, 2)), 1.0)
    scales, coarse = [], grey
    for _ in range(5):
        fine = coarse
        coarse = fine.reshape(n, fine.shape[1] // 2, 2, fine.shape[2] // 2, 2).mean((2, 4))
        rest = fine - np.repeat(np.repeat(coarse, 2, 1), 2, 2)
        scales += [rest.std((1, 2)) / spread, np.abs(rest).mean((1, 2)) / spread]
    result: _Float = np.concatenate([waves, 1.2 * parts, 0.5 * np.stack(scales, 1)], 1).astype(np.float32)
    return result


def equalise(pixels: NDArray[Any]) -> _Float:
    """Return pictures, (N, h, w), by the rank of their grey values, float32 in [-1, 1].

    Every monotone change of brightness (exposure, contrast, gamma) leaves the result nearly as it was. The histogram is
    limited to four times its mean, so that the noise of a flat background is not blown up.

    >>> ramp = np.arange(64, dtype=np.float32).reshape(1, 8, 8)
    >>> bool(np.allclose(equalise(ramp), equalise(ramp**2 / 63), atol=0.2))
    True
    """
    n = len(pixels)
    values = pixels.reshape(n, -1).astype(np.float32)
    low = values.min(1, keepdims=True)
    span = np.maximum(values.max(1, keepdims=True) - low, 1e-3)
    cells = ((values - low) * ((_LEVELS - 1) / span)).astype(np.int32)
    cells += np.arange(n, dtype=np.int32)[:, None] * _LEVELS
    counts = np.bincount(cells.ravel(), minlength=n * _LEVELS).reshape(n, _LEVELS).astype(np.float32)
    counts = np.minimum(counts, _CLIP * values.shape[1] / _LEVELS)
    total = np.cumsum(counts, 1)
    # Equal values share the middle of their ranks: a flat area must not become a ramp.
    level = ((total - counts / 2) * (2 / np.maximum(total[:, -1:], 1)) - 1).astype(np.float32)
    result: _Float = level.ravel()[cells].reshape(pixels.shape)
    return result


def cut_alike(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return pairs of grey thumbnails, (M, h, w), in which as much is cut off at the ends of the range in both.

    A picture that was brightened lost what is above white. The other one of the pair loses as many pixels of its
    lightest (or darkest), so that the two can be compared; up to 70 % of the picture.

    >>> light = np.array([[[100, 200, 255, 255]]], np.uint8)
    >>> cut_alike(light, np.array([[[70, 140, 180, 220]]], np.uint8))[1].tolist()
    [[[70, 140, 180, 180]]]
    """
    result = [first.copy(), second.copy()]
    size = first[0].size if len(first) else 1
    for low in (False, True):
        shares = [((p <= 4) if low else (p >= 251)).reshape(len(p), -1).mean(1) for p in (first, second)]
        for own, other in ((0, 1), (1, 0)):
            rows = np.flatnonzero((shares[other] > shares[own] + _CUT_SHARE) & (shares[other] <= _MOST_CUT))
            if not len(rows):
                continue
            ordered = np.sort(result[own][rows].reshape(len(rows), -1), axis=1)
            count = np.rint(shares[other][rows] * size).astype(np.int64)
            place = np.clip(count - 1 if low else size - count, 0, size - 1)
            level = np.take_along_axis(ordered, place[:, None], 1)[:, :, None]
            result[own][rows] = (np.maximum if low else np.minimum)(result[own][rows], level)
    return result[0], result[1]


def frequencies(thumbnails: NDArray[np.uint8], crop: tuple[float, float, float, float] = CROPS[0]) -> _Float:
    """Return the low frequencies of a crop of grey thumbnails, (N, h, w): unit vectors as float32 (N, 8, 8).

    They are the discrete cosine transform of the equalised 16x16 reduction, without its mean.
    """
    rows = _area_weights(thumbnails.shape[1], _SMALL, crop[0], crop[1])
    columns = _area_weights(thumbnails.shape[2], _SMALL, crop[2], crop[3])
    small = equalise(rows @ thumbnails.astype(np.float32) @ columns.T)
    basis = _cosines(_SMALL, _KEPT)
    found = basis @ small @ basis.T
    found[:, 0, 0] = 0
    length = np.sqrt((found**2).sum((1, 2), keepdims=True))
    result: _Float = found / np.maximum(length, 1e-6)
    return result


def flat_frequencies(found: _Float) -> _Float:
    """Return the frequencies that are kept, float32 (N, 52), of `frequencies`' (N, 8, 8)."""
    return found[:, _MASK]


def canonical_turns(found: _Float) -> list[tuple[NDArray[np.int64], NDArray[np.int8]]]:
    """Return the orientations in which pictures, float32 (N, 8, 8) of `frequencies`, are to be looked for.

    Each pair holds indices (M,) and turns (M,); the first pair is one turn for every picture, its canonical one. In it
    the lowest frequencies across and down are positive, and the one across is the larger. Where one of them is near
    zero, a small change would flip the choice, so the other choice is given too. A turn is a number of three bits:
    1 upside down, 2 left for right, 4 rows for columns (done first).
    """
    down, across = found[:, 1, 0], found[:, 0, 1]
    swap = np.abs(down) > np.abs(across)
    first, second = np.where(swap, across, down), np.where(swap, down, across)
    base = (first < 0).astype(np.int8) + 2 * (second < 0).astype(np.int8) + 4 * swap.astype(np.int8)
    everything = np.arange(len(found))
    result = [(everything, base)]
    unsure = (
        np.abs(first) < _UNSURE,
        np.abs(second) < _UNSURE,
        np.abs(np.abs(down) - np.abs(across)) < _UNSURE,
    )
    for change in range(1, 8):
        chosen = np.ones(len(found), bool)
        for bit in range(3):
            if change >> bit & 1:
                chosen &= unsure[bit]
        rows = np.flatnonzero(chosen)
        if not len(rows):
            continue
        turns = base[rows] ^ np.int8(change)
        if change & 4:
            # With rows and columns exchanged, each flip is on the other axis.
            turns = (turns & 4) + (turns & 1) * 2 + (turns >> 1 & 1)
        result.append((rows, turns.astype(np.int8)))
    return result


def turned(pictures: NDArray[_Scalar], turns: NDArray[np.int8], *, waves: bool = False) -> NDArray[_Scalar]:
    """Return pictures, (N, s, s), each in its turn (see `canonical_turns`); with `waves` they are `frequencies`."""
    result = pictures.copy()
    swap = (turns & 4) > 0
    result[swap] = result[swap].swapaxes(1, 2)
    if waves:
        sign = ((-1.0) ** np.arange(pictures.shape[1])).astype(np.float32)
        down = np.where((turns & 1)[:, None, None] > 0, sign[:, None], 1)
        across = np.where((turns & 2)[:, None, None] > 0, sign[None, :], 1)
        return np.multiply(result, down * across, dtype=pictures.dtype)  # type: ignore[no-any-return]
    upside, mirrored = (turns & 1) > 0, (turns & 2) > 0
    result[upside] = result[upside][:, ::-1]
    result[mirrored] = result[mirrored][:, :, ::-1]
    return result


class Likeness(NamedTuple):
    """How similar pairs of pictures are once they are aligned.

    `whole` is the correlation of their structure, `blocks` that of the weaker quarter of it, both float32 (M,) in
    [-1, 1]. `warp` holds scale and shift down, scale and shift across, float32 (M, 4), in shares of the sides.
    """

    whole: _Float
    blocks: _Float
    warp: _Float


def align_pictures(first: _Float, second: _Float, warp: _Float, least: _Float | float = -1.0) -> Likeness:
    """Align equalised pictures, float32 (M, 64, 64) each, beginning at `warp` (M, 4), and return how similar they are.

    A point (y, x) of the second is looked up in the first at (warp[0] * y + warp[1], warp[2] * x + warp[3]). Pairs that
    are clearly less similar than `least`, (M,), at half the size are not looked at more closely.
    """
    small, other = _halved(first), _halved(second)
    begin = warp.astype(np.float32)
    found = _refine(small, other, begin, rounds=5)
    # Steps may lead away from where a smooth picture lay already.
    rough = _better(_likeness(small, other, found, (0, 2)), _likeness(small, other, begin, (0, 2)))
    close = np.flatnonzero(rough.whole >= least - _ROUGHLY)
    if not len(close):
        return rough
    a, b = first[close], second[close]
    found = _refine(a, b, rough.warp[close], rounds=3)
    near = _better(_likeness(a, b, found, (1, 5)), _likeness(a, b, rough.warp[close], (1, 5)))
    near = _better(near, _likeness(a, b, begin[close], (1, 5)))
    for whole, part in zip(rough, near, strict=True):
        whole[close] = part
    return rough


def _halved(pictures: _Float) -> _Float:
    """Return pictures at half the size: the mean of every four pixels."""
    rows = pictures[:, ::2] + pictures[:, 1::2]
    return np.asarray((rows[:, :, ::2] + rows[:, :, 1::2]) * np.float32(0.25), np.float32)


def _likeness(first: _Float, second: _Float, warp: _Float, radii: tuple[int, int]) -> Likeness:
    """Compare the structure between two sizes of the first, seen through its warp, and of the second."""
    moved, weight = _moved(first, warp)
    a, b = (_blur(p, radii[0]) - _blur(p, radii[1]) for p in (moved, second))
    return Likeness(_correlation(a, b, weight), _weak_quarter(a, b, weight), warp.copy())


def _better(one: Likeness, other: Likeness) -> Likeness:
    """Return of each pair the likeness whose `whole` is the higher."""
    first = one.whole >= other.whole
    chosen = (np.where(first.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(one, other, strict=True))
    return Likeness(*chosen)


def align_uncovered(
    first: NDArray[np.uint8], second: NDArray[np.uint8], colours: tuple[NDArray[np.uint8], NDArray[np.uint8]]
) -> Likeness:
    """Return how similar pairs of grey thumbnails, uint8 (M, 64, 64), are where no caption covers one of them.

    The best of what lies above the lowest fifth, below the highest, and the whole is told; nothing is moved. Where the
    `colours` of that part differ, `whole` is 0.
    """
    still = np.tile(np.array([1, 0, 1, 0], np.float32), (len(first), 1))
    best = Likeness(np.full(len(first), -1, np.float32), np.full(len(first), -1, np.float32), still)
    for low, high in ((0.0, 0.8), (0.2, 1.0)):
        rows = slice(round(low * THUMBNAIL_SIDE), round(high * THUMBNAIL_SIDE))
        a, b = (equalise(p[:, rows]) for p in (first, second))
        weight = np.ones_like(a)
        a, b = (_blur(p, 1) - _blur(p, 5) for p in (a, b))
        whole = _correlation(a, b, weight)
        blocks = _weak_quarter(
            a[:, : a.shape[1] // 4 * 4], b[:, : a.shape[1] // 4 * 4], weight[:, : a.shape[1] // 4 * 4]
        )
        shown = slice(round(low * COLOUR_SIDE), round(high * COLOUR_SIDE))
        parts = []
        for p in colours:
            part = np.empty_like(p)
            part[:] = np.rint(p[:, shown].mean((1, 2), keepdims=True))
            part[:, shown] = p[:, shown]
            parts.append(part)
        whole = np.where(same_colours(parts[0], parts[1], still), whole, 0.0).astype(np.float32)
        better = whole > best.whole
        best = Likeness(np.where(better, whole, best.whole), np.where(better, blocks, best.blocks), still)
    return best


def same_colours(
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    warp: _Float,
    *,
    tolerance: float = 26.0,
    light: bool = True,
) -> NDArray[np.bool_]:
    """Tell for pairs of small colour pictures, uint8 (M, 16, 16, 3), whether one can be the other under other light.

    The first is seen through `warp` (see `align_pictures`). Each channel may be brighter or darker by a gain and an
    offset, the gains of the three channels within a factor of 1.7 of each other (white balance); the rest may differ by
    `tolerance` grey levels in root mean square, over the quarter of the picture that differs most. A picture without
    colour agrees with every picture: it may be the other in grey. Without `light` the colours themselves must agree.
    """
    side, cell = COLOUR_SIDE, 2
    seen = np.stack([_moved(first[..., c].astype(np.float32), warp)[0] for c in range(3)], -1)
    weight = _moved(first[..., 0].astype(np.float32), warp)[1]

    def cells(p: _Float) -> _Float:
        found: _Float = p.reshape(len(p), side // cell, cell, side // cell, cell, 3).mean((2, 4))
        return found.reshape(len(p), -1, 3)

    inside = weight.reshape(len(weight), side // cell, cell, side // cell, cell).min((2, 4)).reshape(len(weight), -1, 1)
    a, b = cells(seen), cells(second.astype(np.float32))
    if not light:
        apart = np.sort((np.abs(a - b) * inside).max(2), axis=1)[:, ::-1]
        most = apart[:, : max(1, apart.shape[1] // 4)]
        return np.asarray(np.sqrt((most**2).mean(1)) <= tolerance)
    grey = np.zeros(len(a), bool)
    for p in (first, second):
        own = p.reshape(len(p), -1, 3).astype(np.int16)
        grey |= (own.max(2) - own.min(2)).max(1) <= 8
    # Where a channel is at the end of its range, light cannot be told from what was cut off.
    cut_a, cut_b = a >= _CUT_OFF, b >= _CUT_OFF
    free = inside * ~cut_a * ~cut_b
    few = free.sum(1, keepdims=True) < 6
    free = np.where(few, inside * (free.sum(2, keepdims=True) > 0), free)
    n = np.maximum(free.sum(1, keepdims=True), 1)
    middle_a, middle_b = ((p * free).sum(1, keepdims=True) / n for p in (a, b))
    spread = ((a - middle_a) ** 2 * free).sum(1)
    gain = ((a - middle_a) * (b - middle_b) * free).sum(1) / np.maximum(spread, 1.0)
    # What has no contrast tells no gain, and what is nearly all cut off neither.
    known = (spread > 25 * n[:, 0]) & ~few[:, 0]
    # The median of what is known.
    ordered = np.sort(np.where(known, gain, np.inf), axis=1)
    place = np.maximum(known.sum(1) - 1, 0) // 2
    common = np.where(known.any(1), np.take_along_axis(ordered, place[:, None], 1)[:, 0], 1.0)
    common = np.clip(common[:, None], 0.2, 5.0)
    gain = np.clip(np.where(known, gain, common), common / 1.3, common * 1.3)
    # The offset may differ a little between channels: a wall that was red is not white in another light.
    offset = (middle_b - middle_a * gain[:, None, :])[:, 0]
    sure = np.where(few[:, 0], 0.0, 1.0)
    shared = (offset * sure).sum(1, keepdims=True) / np.maximum(sure.sum(1, keepdims=True), 1)
    offset = shared + np.clip(np.where(sure > 0, offset - shared, 0.0), -28, 28)
    expected = a * gain[:, None, :] + offset[:, None, :]
    rest = np.abs(expected - b)
    # What was cut off was at least so bright: only the other way is it a difference.
    rest = np.where(cut_b, np.maximum(_CUT_OFF - expected, 0), rest)
    rest = np.where(cut_a & ~cut_b, np.maximum(expected - b, 0), rest)
    rest = np.where(cut_a & cut_b, 0, rest)
    rest = (rest * inside).max(2)
    # The quarter of what is compared that differs most, in every pair as many cells as it has.
    order = -np.sort(-rest, axis=1)
    taken = np.arange(rest.shape[1]) < np.maximum(inside.sum(1) / 4, 1)
    mean_square = (order**2 * taken).sum(1) / taken.sum(1)
    result: NDArray[np.bool_] = grey | (np.sqrt(mean_square) <= tolerance)
    return result


def are_drawn(thumbnails: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell which grey thumbnails, uint8 (N, 64, 64), are of drawings: icons, symbols, characters, masks, diagrams.

    They are flat nearly everywhere, and where they are not background too. Two of them may have one shape and mean
    different things, so that likeness says less than among photographs.
    """
    result = np.zeros(len(thumbnails), bool)
    for start in range(0, len(thumbnails), _DRAWN_AT_ONCE):
        part = thumbnails[start : start + _DRAWN_AT_ONCE].astype(np.int16)
        here = part[:, :-1, :-1]
        level = (np.abs(part[:, 1:, :-1] - here) <= 1) & (np.abs(part[:, :-1, 1:] - here) <= 1)
        usual = np.median(here.reshape(len(here), -1), axis=1).astype(np.int16)
        # Of the background there are two guesses: the middle grey value and that of the corner.
        flat = level.mean((1, 2)) >= _FLAT
        for ground in (usual, here[:, 0, 0]):
            shown = np.abs(here - ground[:, None, None]) > 2
            count = shown.sum((1, 2))
            flat &= (count < 40) | ((level & shown).sum((1, 2)) >= _FLAT_SHOWN * count)
        result[start : start + len(part)] = flat
    return result


def array_thumbnails(images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return grey thumbnails, uint8 (N, 64, 64), and colours, uint8 (N, 16, 16, 3), of images of one size.

    `images` is uint8 (N, H, W) or (N, H, W, 3) RGB.
    """
    colour = images if images.ndim == 4 else np.repeat(images[..., None], 3, axis=3)
    rows, columns = (_box(side, THUMBNAIL_SIDE) for side in images.shape[1:3])
    small = np.stack([rows @ colour[..., c].astype(np.float32) @ columns.T for c in range(3)], -1)
    return thumbnails_of(np.rint(small).astype(np.uint8))


def thumbnails_of(small: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return grey, uint8 (N, 64, 64), and colours, uint8 (N, 16, 16, 3), of RGB pictures, uint8 (N, 64, 64, 3)."""
    n, cell = len(small), THUMBNAIL_SIDE // COLOUR_SIDE
    grey = small.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    means = small.reshape(n, COLOUR_SIDE, cell, COLOUR_SIDE, cell, 3).mean((2, 4), dtype=np.float32)
    return np.rint(grey).astype(np.uint8), np.rint(means).astype(np.uint8)


def _refine(first: _Float, second: _Float, warp: _Float, *, rounds: int) -> _Float:
    """Improve the warps that bring each first picture onto its second, by Gauss-Newton steps on their difference."""
    m, side, _ = first.shape
    at = ((np.arange(side) + 0.5) / side).astype(np.float32)
    found = warp.astype(np.float32).copy()
    ones = np.ones_like(first)
    for _ in range(rounds):
        down, across = found[:, 0:1] * at + found[:, 1:2], found[:, 2:3] * at + found[:, 3:4]
        moved = _hats(down * side - 0.5, side) @ first @ _hats(across * side - 0.5, side).transpose(0, 2, 1)
        inside = ((down > 0) & (down < 1))[:, :, None] & ((across > 0) & (across < 1))[:, None, :]
        slope_y = np.gradient(moved, axis=1) * (side / found[:, 0, None, None])
        slope_x = np.gradient(moved, axis=2) * (side / found[:, 2, None, None])
        # Beside the four numbers of the warp a gain and an offset are fitted: light is no difference.
        terms = np.stack([slope_y * at[:, None], slope_y, slope_x * at, slope_x, moved, ones], -1)
        terms = terms.reshape(m, side * side, 6)
        weighted = terms * inside.reshape(m, side * side, 1).astype(np.float32)
        normal = weighted.transpose(0, 2, 1) @ terms
        size = np.trace(normal, axis1=1, axis2=2)[:, None, None]
        normal += np.eye(6, dtype=np.float32) * (1e-3 / 6 * size + 1e-6)
        rest = (second - moved).reshape(m, side * side, 1)
        step = np.linalg.solve(normal, weighted.transpose(0, 2, 1) @ rest)[:, :4, 0]
        found += np.clip(step, -0.05, 0.05)
        found[:, [0, 2]] = np.clip(found[:, [0, 2]], 0.8, 1.25)
        found[:, [1, 3]] = np.clip(found[:, [1, 3]], -0.25, 0.25)
    return found


def _moved(pictures: _Float, warp: _Float) -> tuple[_Float, _Float]:
    """Return pictures as seen through their warps, and where they are seen at all, float32 (M, s, s)."""
    side = pictures.shape[1]
    at = ((np.arange(side) + 0.5) / side).astype(np.float32)
    down, across = warp[:, 0:1] * at + warp[:, 1:2], warp[:, 2:3] * at + warp[:, 3:4]
    moved = _hats(down * side - 0.5, side) @ pictures @ _hats(across * side - 0.5, side).transpose(0, 2, 1)
    edge = 0.5 / side
    seen = [(axis > edge) & (axis < 1 - edge) for axis in (down, across)]
    weight = (seen[0][:, :, None] & seen[1][:, None, :]).astype(np.float32)
    return moved.astype(np.float32), weight


def _hats(at: _Float, side: int) -> _Float:
    """Return the weights, (M, k, side), of linear interpolation at positions (M, k) in pixels."""
    weights: _Float = np.clip(1 - np.abs(at[:, :, None] - np.arange(side, dtype=np.float32)), 0, None)
    return weights


def _blur(pictures: _Float, radius: int) -> _Float:
    """Return the mean of the square of 2 * radius + 1 pixels around every pixel; edge pixels are repeated outwards."""
    down, across = _window(pictures.shape[1], radius), _window(pictures.shape[2], radius)
    return np.asarray(down @ pictures.astype(np.float32) @ across.T, np.float32)


@cache
def _window(side: int, radius: int) -> _Float:
    weights = np.zeros((side, side), np.float32)
    for k in range(-radius, radius + 1):
        np.add.at(weights, (np.arange(side), np.clip(np.arange(side) + k, 0, side - 1)), 1 / (2 * radius + 1))
    return weights


def _correlation(a: _Float, b: _Float, weight: _Float) -> _Float:
    n = np.maximum(weight.sum((1, 2), keepdims=True), 1)
    x = (a - (a * weight).sum((1, 2), keepdims=True) / n) * weight
    y = (b - (b * weight).sum((1, 2), keepdims=True) / n) * weight
    both = np.sqrt((x * x).sum((1, 2)) * (y * y).sum((1, 2)))
    # Equalised values span [-1, 1]; pictures without structure agree with nothing.
    result: _Float = np.where(both > 1.0, (x * y).sum((1, 2)) / np.maximum(both, 1e-9), 0.0)
    return result


def _weak_quarter(a: _Float, b: _Float, weight: _Float, parts: int = 4) -> _Float:
    """Return the correlation below which a quarter of the structure lies, by blocks: one place alone may differ."""
    m, height, width = a.shape
    rows, columns = height // parts, width // parts

    def blocks(p: _Float) -> _Float:
        cut = p.reshape(m, parts, rows, parts, columns).transpose(0, 1, 3, 2, 4)
        return cut.reshape(m, parts * parts, rows * columns)

    x, y, w = blocks(a), blocks(b), blocks(weight)
    n = np.maximum(w.sum(2, keepdims=True), 1)
    x = (x - (x * w).sum(2, keepdims=True) / n) * w
    y = (y - (y * w).sum(2, keepdims=True) / n) * w
    energy = np.sqrt((x * x).sum(2) * (y * y).sum(2))
    each = (x * y).sum(2) / np.maximum(energy, 1e-6)
    energy = np.where(w.mean(2) > 0.5, energy, 0)
    order = np.argsort(each, axis=1)
    share = np.cumsum(np.take_along_axis(energy, order, 1), 1) / np.maximum(energy.sum(1, keepdims=True), 1e-6)
    at = np.minimum((share < 0.25).sum(1), parts * parts - 1)
    result: _Float = np.take_along_axis(each, order, 1)[np.arange(m), at]
    return result


def _area_weights(source: int, target: int, low: float, high: float) -> _Float:
    """Return the weights, (target, source), by which a stretch of a side is reduced: each cell the mean of its area."""
    edges = np.linspace(low * source, high * source, target + 1)
    at = np.arange(source)
    weights = np.clip(np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at), 0, None)
    result: _Float = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return result


def _cosines(n: int, kept: int) -> _Float:
    basis = np.cos(np.pi * (np.arange(n) + 0.5) * np.arange(kept)[:, None] / n) * np.sqrt(2 / n)
    basis[0] /= np.sqrt(2)
    result: _Float = basis.astype(np.float32)
    return result


def _box(source: int, target: int) -> _Float:
    """Return the weights, (target, source), of Pillow's box filter: the mean of the pixels whose centres lie in a part.

    Decoded files get their thumbnails from Pillow; arrays must get the same, or their fingerprints would not compare.
    """
    scale = source / target
    centre = (np.arange(target) + 0.5) * scale
    distance = (np.arange(source) + 0.5 - centre[:, None]) / max(scale, 1.0)
    inside = (distance > -0.5) & (distance <= 0.5)
    weights: _Float = (inside / inside.sum(1, keepdims=True)).astype(np.float32)
    return weights


_MASK = np.add.outer(np.arange(_KEPT), np.arange(_KEPT))
_MASK = (_MASK > 0) & (_MASK <= _HIGHEST)
