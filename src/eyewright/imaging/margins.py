"""Pictures inside a plain frame (a border, letterbox bars, the rim of a scan), seen without it."""

__all__ = ["Unframed", "soften_as_inside", "without_frames"]

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyewright.imaging.fingerprint import COLOUR_SIDE, THUMBNAIL_SIDE

_PLAIN = 8
_PLAIN_SHARE = 0.98
_EDGE, _EDGE_SHARE = 12, 0.7
_LEAST = 2
_LEFT = 0.4
_WHOLE = 0.85
_SHARP = 0.95
_AT_ONCE = 1024

_Float = NDArray[np.float32]
_Int = NDArray[np.int64]


class Unframed(NamedTuple):
    """The pictures that have a frame, `rows` (B,), and what lies inside: grey (B, 64, 64), colours (B, 16, 16, 3), and
    its `sides` (B, 2), as fractions of the height and the width."""

    rows: _Int
    thumbnails: NDArray[np.uint8]
    colours: NDArray[np.uint8]
    sides: _Float


def without_frames(thumbnails: NDArray[np.uint8], colours: NDArray[np.uint8]) -> Unframed:
    """Return the pictures with plain margins at opposite sides, without these.

    `thumbnails` is grey, uint8 (N, 64, 64), `colours` uint8 (N, 16, 16, 3). A margin is plain to within eight grey
    levels, and what is inside differs from it along most of its edge: an object on a plain ground has no frame. Where
    that holds for one of two opposite margins and the other merges with a sky of its colour, it is as wide. At least
    40 % of each side must be left.

    >>> picture = np.full((1, 64, 64), 255, np.uint8)
    >>> picture[:, 6:58, 6:58] = np.arange(0, 208, 4, dtype=np.uint8)
    >>> found = without_frames(picture, np.full((1, 16, 16, 3), 100, np.uint8))
    >>> found.rows.tolist(), int(found.thumbnails.max())
    ([0], 204)
    """
    rows, boxes = [np.zeros(0, np.int64)], [np.zeros((0, 4), np.float32)]
    for start in range(0, len(thumbnails), _AT_ONCE):
        part = thumbnails[start : start + _AT_ONCE]
        # The outermost lines alone rule out most pictures.
        top, bottom, left, right = (
            np.ptp(line, axis=1) <= 4 * _PLAIN for line in (part[:, 0], part[:, -1], part[:, :, 0], part[:, :, -1])
        )
        some = np.flatnonzero((top & bottom) | (left & right))
        if len(some):
            box = _boxes(part[some])
            framed = (box[:, 1] - box[:, 0] < 1) | (box[:, 3] - box[:, 2] < 1)
            rows.append(some[framed] + start)
            boxes.append(box[framed])
    which, box = np.concatenate(rows), np.concatenate(boxes)
    grey = np.empty((len(which), THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8)
    colour = np.empty((len(which), COLOUR_SIDE, COLOUR_SIDE, 3), np.uint8)
    for start in range(0, len(which), _AT_ONCE):
        own = slice(start, start + _AT_ONCE)
        grey[own] = np.rint(_inside(thumbnails[which[own]].astype(np.float32), box[own]))
        for c in range(3):
            colour[own, ..., c] = np.rint(_inside(colours[which[own]][..., c].astype(np.float32), box[own]))
    return Unframed(which, grey, colour, box[:, 1::2] - box[:, ::2])


def soften_as_inside(thumbnails: NDArray[np.uint8], sides: _Float) -> NDArray[np.uint8]:
    """Return grey thumbnails, uint8 (M, 64, 64), as sharp as what lies inside frames of `sides` (M, 2), in shares: a
    copy in a frame has fewer pixels left than the picture itself, and shows less of its detail.
    """
    kept = np.clip(np.rint(sides * THUMBNAIL_SIDE), 1, THUMBNAIL_SIDE).astype(np.int64)
    some = np.flatnonzero((kept < _SHARP * THUMBNAIL_SIDE).any(1))
    result = thumbnails.copy()
    if len(some):
        down, across = (np.stack([_softening(k) for k in kept[some, axis].tolist()]) for axis in (0, 1))
        soft = down @ thumbnails[some].astype(np.float32) @ across.transpose(0, 2, 1)
        result[some] = np.rint(soft)
    return result


@cache
def _softening(kept: int) -> _Float:
    """Return the weights, (64, 64), that reduce a side to `kept` pixels and enlarge it again."""
    n = THUMBNAIL_SIDE
    edges = np.arange(kept + 1) * n / kept
    at = np.arange(n)
    reduced = np.clip(np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at), 0, None) * kept / n
    place = np.clip((at + 0.5) * kept / n - 0.5, 0, kept - 1)
    result: _Float = (np.clip(1 - np.abs(place[:, None] - np.arange(kept)), 0, None) @ reduced).astype(np.float32)
    return result


def _boxes(pictures: NDArray[np.uint8]) -> _Float:
    """Return top, bottom, left and right of what the frames of pictures, (M, 64, 64), hold, as fractions of the
    sides."""
    upright = pictures.astype(np.int16)
    lying = upright.swapaxes(1, 2)
    # Along the edge of a margin, only what lies between the margins of the other two sides says whether it is one.
    down = _ends(upright, _between(_margins(lying)))
    across = _ends(lying, _between(_margins(upright)))
    return np.concatenate([down, across], 1)


def _margins(pictures: NDArray[np.int16]) -> _Int:
    """Return how many rows at the top and at the bottom of pictures, (M, s, s), are plain in one colour, (M, 2)."""
    found = []
    for seen in (pictures, pictures[:, ::-1]):
        level = np.median(seen[:, 0], axis=1)[:, None, None]
        plain = (np.abs(seen - level) <= _PLAIN).mean(2) >= _PLAIN_SHARE
        found.append(np.where(plain.all(1), pictures.shape[1], np.argmin(plain, axis=1)))
    return np.stack(found, 1)


def _between(depths: _Int) -> NDArray[np.bool_]:
    """Return which lines lie between two margins, (M, s); all, where only one side has a margin or nothing is left."""
    at = np.arange(THUMBNAIL_SIDE)
    both = (depths.min(1) >= _LEAST) & (depths.sum(1) <= (1 - _LEFT) * THUMBNAIL_SIDE + 1)
    inside = (at >= depths[:, :1]) & (at < THUMBNAIL_SIDE - depths[:, 1:])
    return np.asarray(inside | ~both[:, None], bool)


def _ends(pictures: NDArray[np.int16], counted: NDArray[np.bool_]) -> _Float:
    """Return where the margins at the first and the last rows end, (M, 2) as fractions of the side: 0 and 1 for none.

    Only the columns that are `counted`, (M, s), say whether the edge of a margin is one.
    """
    m, side, _ = pictures.shape
    depths = _margins(pictures)
    edge, width, level = np.zeros((m, 2), bool), np.zeros((m, 2), np.float32), np.zeros((m, 2), np.float32)
    every, n = np.arange(m), np.maximum(counted.sum(1), 1)
    for end in (0, 1):
        seen = pictures[:, ::-1] if end else pictures
        level[:, end] = np.median(seen[:, 0], axis=1)
        apart = np.abs(seen - level[:, end, None, None])
        # The first row that is not plain may hold a part of the margin, the second holds none.
        first, second = (np.minimum(depths[:, end] + k, side - 1) for k in (0, 1))
        edge[:, end] = ((apart[every, second] > _EDGE) & counted).sum(1) >= _EDGE_SHARE * n
        one, other = ((apart[every, k] * counted).sum(1) for k in (first, second))
        share = one / np.maximum(other, 1)
        # A row that is nearly as far from the margin as the next is a whole one.
        share = np.where(share > _WHOLE, 1, share)
        width[:, end] = (first + 1 - share) / side
    wide = depths >= _LEAST
    alike = np.abs(level[:, 0] - level[:, 1]) <= _PLAIN
    for end in (0, 1):
        # What goes over into a sky of its colour is as wide as the margin at the other side.
        other = 1 - end
        unseen = ~edge[:, end] & edge[:, other] & alike & (depths[:, end] >= depths[:, other] - 1)
        width[unseen, end] = width[unseen, other]
        edge[unseen, end] = True
    result = np.stack([width[:, 0], 1 - width[:, 1]], 1)
    good = edge.all(1) & wide.all(1) & (result[:, 1] - result[:, 0] >= _LEFT)
    result[~good] = (0, 1)
    return np.asarray(result, np.float32)


def _inside(pictures: _Float, box: _Float) -> _Float:
    """Return pictures, (M, s, s), as their boxes, (M, 4), show them at the full size, by linear interpolation."""
    side = pictures.shape[1]
    at = ((np.arange(side) + 0.5) / side).astype(np.float32)
    weights = []
    for low, high in ((box[:, :1], box[:, 1:2]), (box[:, 2:3], box[:, 3:])):
        place = (low + at * (high - low)) * side - 0.5
        # A cell that holds a part of the frame shows its neighbour's value: whole cells only are read.
        place = np.clip(place, np.ceil(low * side - 1e-3), np.floor(high * side + 1e-3) - 1)
        weights.append(np.clip(1 - np.abs(place[:, :, None] - np.arange(side, dtype=np.float32)), 0, None))
    result: _Float = (weights[0] @ pictures @ weights[1].transpose(0, 2, 1)).astype(np.float32)
    return result
