"""Copies among many pictures: candidates from an index of fingerprints, each verified on pixels."""

__all__ = ["Link", "find_links"]

import hashlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from eyewright.data.link_check import Link, measure_strangers, verify_candidates
from eyewright.data.link_search import search_candidates
from eyewright.data.link_space import Pictures, Space
from eyewright.imaging.margins import without_frames

_Float = NDArray[np.float32]
_Int = NDArray[np.int64]

_CHUNK = 2048
_LEAST_SPREAD, _FAINT_SPREAD, _FAINT = 2.0, 1.0, 32
_DIFFERENT = 256


def find_links(
    thumbnails: NDArray[np.uint8],
    colours: NDArray[np.uint8],
    usable: NDArray[np.bool_],
    *,
    small: NDArray[np.bool_] | None = None,
    seed: int = 0,
) -> list[Link]:
    """Return the verified links among pictures: grey (N, 64, 64), colour (N, 16, 16, 3), of which `usable` (N,) count.

    Pictures that are `small`, (N,), hold too few pixels to tell one object from a look-alike: only all but equal ones
    are linked. Drawings (icons, characters, masks) are linked only where they are all but equal without a turn, in the
    same colours: mirrored, an arrow means something else.

    A pair is proposed where its fingerprints are nearer than those of unrelated pictures in the same surroundings, and
    accepted where the aligned pixels agree better than unrelated pictures do (the data's own background decides, not a
    constant), with the same colours. Memory is linear in N; time is N log N up to the size of the cells of the index.
    """
    n = len(thumbnails)
    few = np.zeros(n, bool) if small is None else small
    contrast = _has_contrast(thumbnails)
    equal = _equal_faint(thumbnails, colours, np.flatnonzero(usable & ~contrast & ~few))
    rows = np.flatnonzero(usable & contrast)
    if len(rows) < 2:
        return equal
    # A picture in a frame is looked for without its frame too, as another picture behind all of them.
    inside = without_frames(thumbnails, colours)
    good = usable[inside.rows] & ~few[inside.rows] & _has_contrast(inside.thumbnails)
    grey = Pictures(thumbnails, inside.thumbnails[good], inside.sides[good])
    whose = np.concatenate([np.arange(n), inside.rows[good]])
    rows = np.concatenate([rows, np.arange(n, len(whose))])
    space = Space(grey, rows, seed)
    found = search_candidates(space)
    if not len(found.query):
        return equal
    limits = measure_strangers(grey, rows, space, seed)
    tints = Pictures(colours, inside.colours[good], inside.sides[good])
    few = few[whose]
    return _of_files(equal + verify_candidates(grey, tints, rows, space, found, limits, few), whose, n)


def _of_files(links: list[Link], whose: _Int, n: int) -> list[Link]:
    """Return the links among files, the best of each pair, of links in which places from `n` on are insides of frames:
    those of `whose`."""
    best: dict[tuple[int, int], Link] = {}
    for link in links:
        i, j = sorted((int(whose[link.i]), int(whose[link.j])))
        if i == j:
            continue
        how = link.how
        if link.j >= n:
            how = "the same view except for a border" if how == "the same view" else f"{how}, except for a border"
        held = best.get((i, j))
        if held is None or (link.exact, link.likeness) > (held.exact, held.likeness):
            best[i, j] = replace(link, i=i, j=j, how=how)
    return [best[pair] for pair in sorted(best)]


def _equal_faint(thumbnails: NDArray[np.uint8], colours: NDArray[np.uint8], rows: _Int) -> list[Link]:
    """Return links between pictures of too little contrast to be aligned whose thumbnails are bit-identical.

    Such are 12-bit images in files of 16 bits. Their few levels must differ in enough places, so that two pictures
    that show nothing, or one speck, are not said to be one.
    """
    first: dict[bytes, int] = {}
    found = []
    for i in rows.tolist():
        picture = np.asarray(thumbnails[i])
        if picture.size - np.bincount(picture.ravel()).max() < _DIFFERENT:
            continue
        j = first.setdefault(hashlib.sha256(picture.tobytes() + np.asarray(colours[i]).tobytes()).digest(), i)
        if j != i:
            found.append(Link(j, i, 1.0, True, "the same view"))
    return found


def _has_contrast(thumbnails: NDArray[np.uint8]) -> NDArray[np.bool_]:
    # The squares about a mean of a quarter of the rows are a part of all squares, and decide most pictures.
    result = _spreads(thumbnails[:, ::4]) >= 2 * _LEAST_SPREAD
    rest = np.flatnonzero(~result)
    spread = _spreads(thumbnails[rest])
    # The values of 12 bits in files of 16 are few, but they are no noise around one value.
    faint = (spread >= _FAINT_SPREAD) & (thumbnails[rest].max((1, 2), initial=0) < _FAINT)
    result[rest] = (spread >= _LEAST_SPREAD) | faint
    return result


def _spreads(thumbnails: NDArray[np.uint8]) -> _Float:
    # In parts: of all at once, the squares would need sixteen times the memory of the pictures.
    parts = [thumbnails[s : s + _CHUNK] for s in range(0, len(thumbnails), _CHUNK)]
    spreads = [p.reshape(len(p), -1).std(1, dtype=np.float32) for p in parts]
    return np.concatenate([np.zeros(0, np.float32), *spreads])
