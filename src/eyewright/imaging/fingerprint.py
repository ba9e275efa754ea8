"""Fingerprints of pictures: what is nearly the same in an altered copy.

A picture is described by the low frequencies of its contrast-limited equalised thumbnail, brought into a canonical
orientation: copies that were re-encoded, resized, brightened, mirrored or turned get nearly the same description, and
copies that were cropped get it from one of a few crops. Whatever the descriptions propose is then aligned and compared
on pixels (`alignment`): a description alone is never a match.
"""

__all__ = [
    "COLOUR_SIDE",
    "CROPS",
    "THUMBNAIL_SIDE",
    "are_drawn",
    "array_thumbnails",
    "canonical_turns",
    "crop_frequencies",
    "cut_alike",
    "describe_pictures",
    "equalise",
    "flat_frequencies",
    "frequencies",
    "quarter_sums",
    "thumbnails_of",
    "turned",
    "whole_frequencies",
]

from functools import cache
from typing import Any, TypeVar

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
    waves = flat_frequencies(whole_frequencies(equalise(quarter_sums(thumbnails))))
    whole = colours.astype(np.float32)
    chroma = np.stack([whole[..., 0] - whole[..., 1], whole[..., 2] - whole[..., 1]], -1) / 255
    thirds = _area_weights(COLOUR_SIDE, 3, 0.0, 1.0)
    parts_of_colour = np.stack([thirds @ chroma[..., c] @ thirds.T for c in range(2)], -1).reshape(n, 18)
    scales, powers, coarse = [], [], thumbnails.astype(np.float32)
    for _ in range(5):
        fine = coarse
        # The four pixels of every cell in four arrays: steps of two would be slow in each of what follows.
        parts = np.stack([fine[:, k >> 1 :: 2, k & 1 :: 2] for k in range(4)])
        coarse = (parts[0] + parts[1] + parts[2] + parts[3]) * np.float32(0.25)
        parts -= coarse
        flat = parts.reshape(4, n, -1)
        square = np.einsum("knp,knp->n", flat, flat) / (4 * flat.shape[2])
        powers.append(square)
        scales += [np.sqrt(square), np.abs(flat, out=flat).mean((0, 2))]
    # What the scales hold and what is left of the coarsest is the variance of the whole.
    variance = np.sum(powers, axis=0) + coarse.var((1, 2))
    structure = np.stack(scales, 1) / np.maximum(np.sqrt(variance), 1.0)[:, None]
    result: _Float = np.concatenate([waves, 1.2 * parts_of_colour, 0.5 * structure], 1).astype(np.float32)
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
    values = (values - low) * ((_LEVELS - 1) / span)
    cells = values.astype(np.intp)
    cells += np.arange(n)[:, None] * _LEVELS
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
    return whole_frequencies(equalise(rows @ thumbnails.astype(np.float32) @ columns.T))


def whole_frequencies(equal: _Float) -> _Float:
    """Return the `frequencies` of whole pictures, float32 (N, 8, 8), which are equalised, (N, 16, 16)."""
    return _unit(equal.reshape(len(equal), _SMALL * _SMALL) @ _plane_cosines().T)


def crop_frequencies(equal: _Float) -> _Float:
    """Return the `frequencies` of every crop of `CROPS`, float32 (N, crops, 8, 8), of equalised pictures, (N, 16, 16).

    A picture is equalised once, as a whole, and its crops are read from its cosines: ranks within a crop are nearly the
    same, except for a gain and an offset.
    """
    n, kept = len(equal), _KEPT * _KEPT
    found = np.empty((n, len(CROPS), kept), np.float32)
    # To the bit what `whole_frequencies` returns: of equal pictures, rounding decides which is taken to be near.
    found[:, 0] = whole_frequencies(equal).reshape(n, kept)
    cropped = equal.reshape(n, _SMALL * _SMALL) @ _crop_cosines().T
    found[:, 1:] = _unit(cropped.reshape(-1, kept)).reshape(n, -1, kept)
    return found.reshape(n, len(CROPS), _KEPT, _KEPT)


def quarter_sums(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Return the sums of every 4x4 pixels of grey thumbnails, uint8 (N, 64, 64), as uint16 (N, 16, 16)."""
    rows = thumbnails[:, ::4].astype(np.uint16)
    for k in range(1, 4):
        rows += thumbnails[:, k::4]
    pairs = rows[:, :, ::2] + rows[:, :, 1::2]
    result: NDArray[np.uint16] = pairs[:, :, ::2] + pairs[:, :, 1::2]
    return result


def _unit(found: _Float) -> _Float:
    """Make frequencies, (N, 64), unit vectors without a mean, in place, and return them as float32 (N, 8, 8)."""
    found[:, 0] = 0
    length = np.sqrt(np.einsum("nk,nk->n", found, found))
    found /= np.maximum(length, 1e-6)[:, None]
    result: _Float = found.reshape(len(found), _KEPT, _KEPT)
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


def are_drawn(thumbnails: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell which grey thumbnails, uint8 (N, 64, 64), are of drawings: icons, symbols, characters, masks, diagrams.

    They are flat nearly everywhere, and where they are not background too. Two of them may have one shape and mean
    different things, so that likeness says less than among photographs. What is flat depends on the range of grey
    values: a dark photograph has small steps too.
    """
    result = np.zeros(len(thumbnails), bool)
    for start in range(0, len(thumbnails), _DRAWN_AT_ONCE):
        part = thumbnails[start : start + _DRAWN_AT_ONCE].astype(np.int16)
        here = part[:, :-1, :-1]
        # With less than half of the range, two values that differ by one would be further apart at the full range.
        step = (np.ptp(part.reshape(len(part), -1), axis=1) >= _LEVELS // 2).astype(np.int16)[:, None, None]
        level = (np.abs(part[:, 1:, :-1] - here) <= step) & (np.abs(part[:, :-1, 1:] - here) <= step)
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


def _area_weights(source: int, target: int, low: float, high: float) -> _Float:
    """Return the weights, (target, source), by which a stretch of a side is reduced: each cell the mean of its area."""
    edges = np.linspace(low * source, high * source, target + 1)
    at = np.arange(source)
    weights = np.clip(np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at), 0, None)
    result: _Float = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return result


@cache
def _plane_cosines() -> _Float:
    basis = _cosines(_SMALL, _KEPT)
    result: _Float = np.kron(basis, basis).astype(np.float32)
    return result


@cache
def _crop_cosines() -> _Float:
    """Return the weights, (64 * crops, 256), that take a picture of 16x16 to the low frequencies of each crop but the
    whole picture.

    The picture is taken for the sum of its cosines, which has a value between pixels too.
    """
    waves, basis = _cosines(_SMALL, _SMALL), _cosines(_SMALL, _KEPT)

    def cropped(low: float, high: float) -> _Float:
        at = low + (np.arange(_SMALL) + 0.5) / _SMALL * (high - low)
        values = np.cos(np.pi * at * np.arange(_SMALL)[:, None]) * np.sqrt(2 / _SMALL)
        values[0] /= np.sqrt(2)
        result: _Float = (basis @ values.T @ waves).astype(np.float32)
        return result

    return np.concatenate([np.kron(cropped(*crop[:2]), cropped(*crop[2:])) for crop in CROPS[1:]])


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
