"""Pictures inside a plain frame (a border, letterbox bars, the rim of a scan), seen without it."""

__all__ = ["Unframed", "without_frames"]

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
_AT_ONCE = 1024

_Float = NDArray[np.float32]
_Int = NDArray[np.int64]


class Unframed(NamedTuple):
    """The pictures that have a frame, `rows` (B,), and what lies inside: grey (B, 64, 64), colours (B, 16, 16, 3)."""

    rows: _Int
    thumbnails: NDArray[np.uint8]
    colours: NDArray[np.uint8]


def without_frames(thumbnails: NDArray[np.uint8], colours: NDArray[np.uint8]) -> Unframed:
    """Return the pictures with plain margins at opposite sides, without these.

    `thumbnails` is grey, uint8 (N, 64, 64), `colours` uint8 (N, 16, 16, 3). A margin is plain to within eight grey
    levels, and what is inside differs from it along most of its edge: an object on a plain ground has no frame. At
    least 40 % of each side must be left.

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
    return Unframed(which, grey, colour)


def _boxes(pictures: NDArray[np.uint8]) -> _Float:
    """Return top, bottom, left and right of what the frames of pictures, (M, 64, 64), hold, in shares of the sides."""
    upright = pictures.astype(np.int16)
    down = _ends(upright, np.ones(upright.shape, bool))
    # Beside letterbox bars there may be others, at the sides of what is between them.
    rows = (np.arange(THUMBNAIL_SIDE) + 0.5) / THUMBNAIL_SIDE
    between = (rows > down[:, :1]) & (rows < down[:, 1:])
    inside = np.broadcast_to(between[:, None, :], upright.shape)
    across = _ends(upright.swapaxes(1, 2), inside)
    return np.concatenate([down, across], 1)


def _ends(pictures: NDArray[np.int16], counted: NDArray[np.bool_]) -> _Float:
    """Return where the margins at the first and the last rows end, (M, 2) in shares of the side: 0 and 1 for none.

    Only the pixels that are `counted`, of the shape of the pictures, say whether the edge of a margin is one.
    """
    m, side, _ = pictures.shape
    result = np.tile(np.array([0, 1], np.float32), (m, 1))
    found = np.zeros((m, 2), bool)
    every = np.arange(m)
    for end in (0, 1):
        seen, count = (p[:, ::-1] if end else p for p in (pictures, counted))
        level = np.median(seen[:, 0], axis=1)[:, None, None]
        apart = np.abs(seen - level)
        plain = (apart <= _PLAIN).mean(2) >= _PLAIN_SHARE
        depth = np.where(plain.all(1), side, np.argmin(plain, axis=1))
        # The first row that is not plain may hold a part of the margin, the second holds none.
        first, second = (np.minimum(depth + k, side - 1) for k in (0, 1))
        n = np.maximum(count[every, second].sum(1), 1)
        edge = ((apart[every, second] > _EDGE) & count[every, second]).sum(1) >= _EDGE_SHARE * n
        one, other = ((apart[every, k] * count[every, k]).sum(1) for k in (first, second))
        share = one / np.maximum(other, 1)
        # A row that is nearly as far from the margin as the next is a whole one.
        share = np.where(share > _WHOLE, 1, share)
        place = (first + 1 - share) / side
        found[:, end] = (depth >= _LEAST) & edge
        result[:, end] = 1 - place if end else place
    good = found.all(1) & (result[:, 1] - result[:, 0] >= _LEFT)
    result[~good] = (0, 1)
    return result


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
