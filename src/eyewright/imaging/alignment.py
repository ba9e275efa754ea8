"""The check on pixels that two pictures are one: they are aligned (Lucas and Kanade 1981, with gain and offset)."""

__all__ = ["Likeness", "align_pictures", "align_roughly", "align_uncovered", "compare_drawings", "same_colours"]

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyewright.imaging.fingerprint import COLOUR_SIDE, THUMBNAIL_SIDE, equalise

_CUT_OFF = 245.0
_ROUGHLY = 0.12
_MIXED = 0.1

_Float = NDArray[np.float32]


class Likeness(NamedTuple):
    """How similar pairs of pictures are once they are aligned.

    `whole` is the correlation of their structure, `blocks` that of the weaker quarter of it, both float32 (M,) in
    [-1, 1]. `warp` holds scale and shift down, scale and shift across, float32 (M, 4), as fractions of the sides.
    """

    whole: _Float
    blocks: _Float
    warp: _Float


def align_roughly(first: _Float, second: _Float, warp: _Float) -> tuple[_Float, _Float]:
    """Return how similar equalised pictures, float32 (M, 16, 16) each, can be, float32 (M,), from `warp` (M, 4), and
    the warps, (M, 4), that were found.

    It costs a tenth of `align_pictures` and tells what is far from similar. Pictures with too little structure at this
    size to say so count as similar.
    """
    begin = warp.astype(np.float32)
    found = _refine(first, second, begin, rounds=4)
    sharp = _band(second, (0, 1))
    best = np.full(len(first), -1, np.float32)
    inner = slice(1, -1)
    for tried in (found, begin):
        moved, weight = _moved(first, tried)
        coarse = _band(moved, (0, 1))
        best = np.maximum(best, _correlation(coarse, sharp, weight, unknown=1.0))
        # A border, which the outer cells hold, is not to decide.
        parts = (p[:, inner, inner] for p in (coarse, sharp, weight))
        best = np.maximum(best, _correlation(*parts, unknown=1.0))
    return best, found


def align_pictures(
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    warp: _Float,
    least: _Float | float = -1.0,
    *,
    rough_warp: _Float | None = None,
    again: NDArray[np.bool_] | None = None,
) -> Likeness:
    """Align pairs of grey thumbnails, uint8 (M, 64, 64) each, beginning at `warp` (M, 4), and return how similar
    they are.

    A point (y, x) of the second is looked up in the first at (warp[0] * y + warp[1], warp[2] * x + warp[3]). Pairs that
    are clearly less similar than `least`, (M,), at half the size are not looked at more closely, and their `blocks` are
    -1. `rough_warp` is what `align_roughly` found, from which fewer steps are left.
    """
    small, other = (equalise(_half_sums(p)) for p in (first, second))
    begin = warp.astype(np.float32)
    found = _refine(small, other, begin if rough_warp is None else rough_warp, rounds=5 if rough_warp is None else 2)
    # Steps may lead away from where a smooth picture lay already.
    sharp = _band(other, (0, 2))
    rough = _better(_roughly(small, sharp, found), _roughly(small, sharp, begin))
    least = np.broadcast_to(np.asarray(least, np.float32), len(begin))
    if again is not None:
        _try_again(small, other, sharp, begin, np.flatnonzero(again & (rough.whole < least)), rough)
    likely = rough.whole >= least - _ROUGHLY
    close = np.flatnonzero(likely if again is None else likely | again)
    if not len(close):
        return rough
    a, b = equalise(first[close]), equalise(second[close])
    found = _refine(a, b, rough.warp[close], rounds=3)
    sharp = _band(b, (1, 5))
    near = _better(_likeness(a, sharp, found, (1, 5)), _likeness(a, sharp, rough.warp[close], (1, 5)))
    moved = np.flatnonzero((rough.warp[close] != begin[close]).any(1))
    if len(moved):
        where_begun = _likeness(a[moved], sharp[moved], begin[close[moved]], (1, 5))
        better = _better(Likeness(*(part[moved] for part in near)), where_begun)
        for whole, part in zip(near, better, strict=True):
            whole[moved] = part
    for whole, part in zip(rough, near, strict=True):
        whole[close] = part
    return rough


def _try_again(
    small: _Float, other: _Float, sharp: _Float, begin: _Float, which: NDArray[np.int64], rough: Likeness
) -> None:
    """Align some pairs from `begin` and keep what is better than `rough`, in place."""
    if not len(which):
        return
    found = _refine(small[which], other[which], begin[which], rounds=5)
    again = _roughly(small[which], sharp[which], found)
    better = _better(Likeness(*(part[which] for part in rough)), again)
    for whole, part in zip(rough, better, strict=True):
        whole[which] = part


def _roughly(small: _Float, sharp: _Float, warp: _Float) -> Likeness:
    """Compare pictures at half the size; what their weaker quarter says is left open, and costs as much."""
    moved, weight = _moved(small, warp)
    whole = _correlation(_band(moved, (0, 2)), sharp, weight)
    return Likeness(whole, np.full(len(whole), -1, np.float32), warp.copy())


def _half_sums(pictures: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Return the sums of every four pixels: pictures at half the size."""
    rows = pictures[:, ::2].astype(np.uint16)
    rows += pictures[:, 1::2]
    result: NDArray[np.uint16] = rows[:, :, ::2] + rows[:, :, 1::2]
    return result


def _band(pictures: _Float, radii: tuple[int, int]) -> _Float:
    """Return the structure of pictures between two sizes."""
    fine = _blur(pictures, radii[0]) if radii[0] else pictures
    return np.asarray(fine - _blur(pictures, radii[1]), np.float32)


def _likeness(first: _Float, second: _Float, warp: _Float, radii: tuple[int, int]) -> Likeness:
    """Compare the structure between two sizes of the first, seen through its warp, with `second`, a `_band`."""
    moved, weight = _moved(first, warp)
    a = _band(moved, radii)
    return Likeness(_correlation(a, second, weight), _weak_quarter(a, second, weight), warp.copy())


def _better(one: Likeness, other: Likeness) -> Likeness:
    """Return of each pair the likeness whose `whole` is the higher."""
    first = one.whole >= other.whole
    chosen = (np.where(first.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(one, other, strict=True))
    return Likeness(*chosen)


def compare_drawings(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> tuple[_Float, _Float]:
    """Return how similar grey thumbnails, uint8 (M, 64, 64), are unaligned: as a whole, and by the weaker quarter.

    Grey values count as they are. Ranks, as in `align_pictures`, would make as much of the noise that a codec leaves in
    flat areas as of the shapes.
    """
    a, b = (_blur(p.astype(np.float32), 2) for p in (first, second))
    weight = np.ones_like(a)
    return _correlation(a, b, weight), _weak_quarter(a, b, weight)


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
    weight = _moved(first[..., 0].astype(np.float32), warp)[1] * _unmixed(warp, side)

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


def _refine(first: _Float, second: _Float, warp: _Float, *, rounds: int) -> _Float:
    """Improve the warps that bring each first picture onto its second, by Gauss-Newton steps on their difference.

    The slopes are those of the second picture, so that they are the same in every step (Hager and Belhumeur 1998).
    """
    m, side, _ = first.shape
    at = ((np.arange(side) + 0.5) / side).astype(np.float32)
    found = warp.astype(np.float32).copy()
    # Besides the four numbers of the warp a gain and an offset are fitted: light is no difference.
    terms = np.empty((m, 6, side, side), np.float32)
    _slopes(second, terms[:, 1])
    terms[:, 1] *= side
    np.multiply(terms[:, 1], at[:, None], out=terms[:, 0])
    _slopes(second.swapaxes(1, 2), terms[:, 3].swapaxes(1, 2))
    terms[:, 3] *= side
    np.multiply(terms[:, 3], at, out=terms[:, 2])
    terms[:, 4] = second
    terms[:, 5] = 1
    flat = terms.reshape(m, 6, side * side)
    normal = np.empty((0, 6, 6), np.float32)
    for _ in range(rounds):
        down, across = found[:, 0:1] * at + found[:, 1:2], found[:, 2:3] * at + found[:, 3:4]
        rest = _hats(down * side - 0.5, side) @ first @ _hats(across * side - 0.5, side).transpose(0, 2, 1)
        np.subtract(second, rest, out=rest)
        seen = [(axis > 0) & (axis < 1) for axis in (down, across)]
        partly = np.flatnonzero(~(seen[0].all(1) & seen[1].all(1)))
        mask = (seen[0][partly, :, None] & seen[1][partly, None, :]).astype(np.float32)
        rest[partly] *= mask
        if not len(normal):
            # Steps change little of what is seen, and the slopes nothing: what is solved is computed once.
            shown = flat
            if len(partly):
                shown = flat.copy()
                shown[partly] *= mask.reshape(len(partly), 1, side * side)
            normal = shown @ flat.transpose(0, 2, 1)
            size = np.trace(normal, axis1=1, axis2=2)[:, None, None]
            normal += np.eye(6, dtype=np.float32) * (1e-3 / 6 * size + 1e-6)
        step = np.linalg.solve(normal, flat @ rest.reshape(m, side * side, 1))[:, :4, 0]
        step *= np.repeat(found[:, [0, 2]], 2, axis=1)
        found += np.clip(step, -0.05, 0.05)
        found[:, [0, 2]] = np.clip(found[:, [0, 2]], 0.8, 1.25)
        found[:, [1, 3]] = np.clip(found[:, [1, 3]], -0.25, 0.25)
    return found


def _slopes(pictures: _Float, out: _Float) -> None:
    """Write how much pictures, (M, s, s), change from row to row into `out`: central differences, as `np.gradient`."""
    np.subtract(pictures[:, 2:], pictures[:, :-2], out=out[:, 1:-1])
    out[:, 1:-1] *= 0.5
    np.subtract(pictures[:, 1], pictures[:, 0], out=out[:, 0])
    np.subtract(pictures[:, -1], pictures[:, -2], out=out[:, -1])


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


def _unmixed(warp: _Float, side: int) -> _Float:
    """Return 1 where a first picture of `side` cells, seen through its warp, shows hardly anything that lies outside
    the second, and 0 elsewhere, float32 (M, side, side): the cells of its edge may hold a border that the other lacks.
    """
    at = ((np.arange(side) + 0.5) / side).astype(np.float32)
    edges = (np.arange(side + 1) / side).astype(np.float32)
    clear = []
    for scale, shift in (warp[:, 0:2].T, warp[:, 2:4].T):
        low, high = shift[:, None], (scale + shift)[:, None]
        inside = (np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)) * side
        places = (scale[:, None] * at + low) * side - 0.5
        mixed = (_hats(places, side) @ np.clip(1 - inside, 0, 1)[:, :, None])[..., 0]
        clear.append(mixed <= _MIXED)
    return np.asarray(clear[0][:, :, None] & clear[1][:, None, :], np.float32)


def _hats(at: _Float, side: int) -> _Float:
    """Return the weights, (M, k, side), of linear interpolation at positions (M, k) in pixels."""
    weights = np.asarray(at[:, :, None] - np.arange(side, dtype=np.float32), np.float32)
    np.abs(weights, out=weights)
    np.subtract(1, weights, out=weights)
    np.maximum(weights, 0, out=weights)
    return weights


def _blur(pictures: _Float, radius: int) -> _Float:
    """Return the mean of the square of 2 * radius + 1 pixels around every pixel; edge pixels are repeated."""
    down, across = _window(pictures.shape[1], radius), _window(pictures.shape[2], radius)
    return np.asarray(down @ pictures.astype(np.float32) @ across.T, np.float32)


@cache
def _window(side: int, radius: int) -> _Float:
    weights = np.zeros((side, side), np.float32)
    for k in range(-radius, radius + 1):
        np.add.at(weights, (np.arange(side), np.clip(np.arange(side) + k, 0, side - 1)), 1 / (2 * radius + 1))
    return weights


def _correlation(a: _Float, b: _Float, weight: _Float, *, unknown: float = 0.0) -> _Float:
    """Return the correlation of two pictures, (M,); `unknown` for pairs of too little structure."""
    n = np.maximum(weight.sum((1, 2), keepdims=True), 1)
    x = (a - (a * weight).sum((1, 2), keepdims=True) / n) * weight
    y = (b - (b * weight).sum((1, 2), keepdims=True) / n) * weight
    both = np.sqrt((x * x).sum((1, 2)) * (y * y).sum((1, 2)))
    # Equalised values span [-1, 1]; pictures without structure agree with nothing.
    result: _Float = np.where(both > 1.0, (x * y).sum((1, 2)) / np.maximum(both, 1e-9), unknown).astype(np.float32)
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
