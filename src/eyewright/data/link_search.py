"""Pairs of pictures that may be copies of each other: what an index of their fingerprints proposes."""

__all__ = ["Candidates", "search_candidates"]

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyewright.core.rng import generator
from eyewright.data.link_space import AT_ONCE, CHUNK, THREADS, WAVES, Space
from eyewright.imaging.fingerprint import CROPS, canonical_turns, crop_frequencies

_Float = NDArray[np.float32]
_Int = NDArray[np.int64]

_BRUTE = 3000
_PROBES = 4
_NEAREST, _FURTHER = 6, (11, 23, 47)
_CROWD = 64
_FEW, _HIGHEST_OF_FEW, _HIGHEST = 1000, 0.85, 0.97
_FLOOR = 0.6


class Candidates(NamedTuple):
    """Pairs to verify: `query`, cropped by `crop` and turned by `turn`, looks like `match` in its canonical turn."""

    query: _Int
    match: _Int
    likeness: _Float
    crop: NDArray[np.int8]
    turn: NDArray[np.int8]


def search_candidates(space: Space) -> Candidates:
    """Return the likely pairs, as places in the space: few a picture, each pair once with its best crop and turn."""
    n, density = len(space.vectors), space.density
    few = n <= _FEW
    index = _Index(space.vectors)

    def asked(first: int) -> tuple[_Int, NDArray[np.int8], NDArray[np.int8], _Float]:
        """Return place, crop, turn and vector of every query of some pictures."""
        starts = range(first, min(first + CHUNK, n), AT_ONCE)
        waves = np.concatenate([crop_frequencies(space.equalised(slice(s, s + AT_ONCE))) for s in starts])
        waves = waves.reshape(-1, WAVES, WAVES)
        places, turns = (np.concatenate(part) for part in zip(*canonical_turns(waves), strict=True))
        vectors = space.of(waves.take(places, 0), turns)
        return places // len(CROPS) + first, (places % len(CROPS)).astype(np.int8), turns, vectors

    def near(first: int) -> list[Candidates]:
        """Return the pairs in which one picture is met by one of the crops of some pictures."""
        found: list[Candidates] = []
        # The queries of many pictures all at once: few large products of matrices instead of many small ones.
        queries, crops, turns, vectors = asked(first)
        for q, i, likeness in index.near(vectors, _bar(density[queries], few)):
            own = queries[q]
            good = (own != i) & (likeness >= _bar(np.maximum(density[own], density[i]), few))
            found.append(Candidates(own[good], i[good], likeness[good], crops[q[good]], turns[q[good]]))
        return found

    with ThreadPoolExecutor(THREADS) as pool:
        kept = [part for parts in pool.map(near, range(0, n, CHUNK)) for part in parts]
    if not any(len(part.query) for part in kept):
        return Candidates._make(np.zeros(0, t) for t in (np.int64, np.int64, np.float32, np.int8, np.int8))
    return _thinned(Candidates._make(np.concatenate(part) for part in zip(*kept, strict=True)), n)


def _bar(density: _Float, few: bool) -> _Float:
    """Return the similarity above which a pair is worth verifying, where unrelated pictures are as near as `density`.

    Where most pictures are copies of each other, what is taken for unrelated pictures are copies too, and rounding
    would decide which pairs are compared. Among `few` pictures the pixels of such pairs can all decide instead.
    """
    highest = _HIGHEST_OF_FEW if few else _HIGHEST
    bar: _Float = np.clip(1 - 0.75 * (1 - density), _FLOOR, highest).astype(np.float32)
    return bar


def _thinned(found: Candidates, n: int) -> Candidates:
    """Keep the best crop and turn of every pair, and of every picture its nearest pairs and a few less near ones."""
    low, high = np.minimum(found.query, found.match), np.maximum(found.query, found.match)
    order = np.lexsort((-found.likeness, low * n + high))
    key = (low * n + high)[order]
    order = order[np.r_[True, key[1:] != key[:-1]]]
    keep = np.zeros(len(order), bool)
    for ends in (low[order], high[order]):
        rank = np.lexsort((-found.likeness[order], ends))
        first = np.r_[0, np.flatnonzero(np.diff(ends[rank])) + 1]
        place = np.arange(len(rank)) - np.repeat(first, np.diff(np.r_[first, len(rank)]))
        # Of many copies of one picture, the nearest alone would be several groups without a link between them.
        keep[rank] |= (place < _NEAREST) | np.isin(place, _FURTHER)
    order = order[keep]
    return Candidates._make(part[order] for part in found)


class _Index:
    """Vectors by cell, so that a query is compared with those of the nearest cells only."""

    def __init__(self, vectors: _Float) -> None:
        self._vectors = vectors
        n = len(vectors)
        if n <= _BRUTE:
            self._centres, self._members = np.zeros((1, vectors.shape[1]), np.float32), [np.arange(n)]
            return
        count = int(np.sqrt(n))
        rng = generator(0, "cells")
        some = vectors[np.sort(rng.permutation(n)[: 20 * count])]
        centres = some[rng.permutation(len(some))[:count]].copy()
        for _ in range(3):
            owner = (some @ centres.T).argmax(1)
            for c in range(count):
                own = some[owner == c]
                if len(own):
                    centres[c] = own.mean(0) / max(float(np.linalg.norm(own.mean(0))), 1e-6)
        self._centres = centres
        owner = np.concatenate([(vectors[s : s + CHUNK] @ centres.T).argmax(1) for s in range(0, n, CHUNK)])
        order = np.argsort(owner, kind="stable")
        self._members = np.split(order, np.searchsorted(owner[order], np.arange(1, count)))

    def near(self, queries: _Float, bar: _Float) -> Iterator[tuple[_Int, _Int, _Float]]:
        """Yield (query, member, similarity) of the pairs whose similarity reaches the query's `bar`."""
        if len(self._members) == 1:
            step = max(1, 4_000_000 // len(self._vectors))
            for start in range(0, len(queries), step):
                q, i, likeness = _nearest(self._vectors, queries[start : start + step], bar[start : start + step])
                yield q + start, i, likeness
            return
        nearest = np.empty((len(queries), _PROBES), np.uint16)
        for start in range(0, len(queries), CHUNK):
            at = queries[start : start + CHUNK] @ self._centres.T
            # A few maxima cost less than a partition.
            for k in range(_PROBES):
                best = at.argmax(1)
                nearest[start : start + len(at), k] = best
                at[np.arange(len(at)), best] = -np.inf
        asked = np.repeat(np.arange(len(queries)), _PROBES)
        # Of numbers of 16 bits, the stable sort is linear.
        order = np.argsort(nearest.ravel(), kind="stable")
        cells = nearest.ravel()[order]
        starts = np.searchsorted(cells, np.arange(len(self._members) + 1))
        for c, members in enumerate(self._members):
            own = asked[order[starts[c] : starts[c + 1]]]
            if len(own) and len(members):
                q, i, likeness = _nearest(self._vectors.take(members, 0), queries.take(own, 0), bar.take(own))
                yield own[q], members[i], likeness


def _nearest(vectors: _Float, queries: _Float, bar: _Float) -> tuple[_Int, _Int, _Float]:
    """Return places of queries, (M, D), and of vectors, (K, D), whose similarity reaches the query's `bar`, (M,), and
    the similarity: in a crowd, only the highest 64."""
    # A column a query: the highest of each are then found in steps over whole rows.
    likeness = vectors @ queries.T
    # Most queries are near nothing: only the columns of those that are near something are looked through.
    some = np.flatnonzero(likeness.max(0) >= bar)
    near, least = likeness.take(some, 1).T, bar[some]
    many = np.flatnonzero((near >= least[:, None]).sum(1) > _CROWD)
    if len(many):
        least[many] = np.partition(near[many], -_CROWD, axis=1)[:, -_CROWD]
    rows, columns = np.nonzero(near >= least[:, None])
    return some[rows], columns, near[rows, columns]
