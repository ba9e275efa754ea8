"""Copies among many pictures: candidates from an index of fingerprints, each verified on pixels."""

__all__ = ["Link", "find_links"]

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyewright.core.rng import generator
from eyewright.imaging.alignment import align_pictures, align_roughly, align_uncovered, compare_drawings, same_colours
from eyewright.imaging.fingerprint import (
    CROPS,
    are_drawn,
    canonical_turns,
    crop_frequencies,
    cut_alike,
    equalise,
    flat_frequencies,
    quarters,
    turned,
)
from eyewright.imaging.margins import without_frames

_Float = NDArray[np.float32]
_Int = NDArray[np.int64]

_THREADS = min(4, os.cpu_count() or 1)
_CHUNK = 2048
_AT_ONCE = 256
_PAIRS = 64
_WAVES = 8
_ROUGH_PAIRS = 768
_ROUGHLY, _NEAR, _CLEARLY = 0.3, 0.7, 0.35
_BRUTE = 3000
_PROBES = 4
_NEAREST, _FURTHER = 6, (11, 23, 47)
_CROWD = 64
_FEW, _HIGHEST_OF_FEW, _HIGHEST = 1000, 0.85, 0.97
_FLOOR = 0.6
_LEAST_SPREAD = 2.0
_SUBSETS = 5
_SUBSET = 1000
_SAMPLE = 400
_SIGMAS = 4.5
_LEAST = 0.8
_CERTAIN = 0.985
_EQUAL = 0.995
_COPY = 0.93
_COVERED = 0.96
_MAYBE = 0.85
_NO_CROP = 0.95
_DIFFERENT = 256
_COLOURS = 26.0
_DRAWN, _DRAWN_GREY, _DRAWN_COLOURS = 0.955, 0.99, 20.0


@dataclass(frozen=True)
class Link:
    """Two pictures, indices i < j, that are one: `likeness` is the correlation of their structure once aligned.

    `exact` says that nothing but light, size and compression differs; else they may show one object twice. `how` names
    the transformation that was found, such as "mirrored" or "cropped to about 91%".
    """

    i: int
    j: int
    likeness: float
    exact: bool
    how: str


class _Candidates(NamedTuple):
    """Pairs to verify: `query`, cropped by `crop` and turned by `turn`, looks like `match` in its canonical turn."""

    query: _Int
    match: _Int
    likeness: _Float
    crop: NDArray[np.int8]
    turn: NDArray[np.int8]


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
    are linked. Drawings (icons, characters, masks) are linked only where they are all but equal as they stand, in the
    same colours: mirrored, an arrow means something else.

    A pair is proposed where its fingerprints are nearer than those of strangers in the same surroundings, and accepted
    where the aligned pixels agree better than strangers do (the data's own background decides, not a constant), with
    the same colours. Memory is linear in N; time is N log N up to the size of the cells of the index.
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
    grey = _Pictures(thumbnails, inside.thumbnails[good])
    whose = np.concatenate([np.arange(n), inside.rows[good]])
    rows = np.concatenate([rows, np.arange(n, len(whose))])
    space = _Space(grey, rows, seed)
    found = _search(grey, rows, space)
    if not len(found.query):
        return equal
    limits = _background(grey, rows, space, seed)
    tints = _Pictures(colours, inside.colours[good])
    few = few[whose]
    return _of_files(equal + _verified(grey, tints, rows, space, found, limits, few), whose, n)


class _Pictures:
    """Pictures and, numbered after them, further ones: read by their numbers, never copied into one array."""

    def __init__(self, first: NDArray[np.uint8], further: NDArray[np.uint8]) -> None:
        self._first, self._further = first, further

    def __getitem__(self, rows: _Int) -> NDArray[np.uint8]:
        n = len(self._first)
        later = rows >= n
        if not later.any():
            return self._first[rows]
        found = self._first[np.where(later, 0, rows)]
        found[later] = self._further[rows[later] - n]
        return found


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
            how = "the same view but for a border" if how == "the same view" else f"{how}, but for a border"
        held = best.get((i, j))
        if held is None or (link.exact, link.likeness) > (held.exact, held.likeness):
            best[i, j] = replace(link, i=i, j=j, how=how)
    return [best[pair] for pair in sorted(best)]


def _equal_faint(thumbnails: NDArray[np.uint8], colours: NDArray[np.uint8], rows: _Int) -> list[Link]:
    """Return links between pictures of too little contrast to be aligned whose thumbnails are equal to the bit.

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
    result[rest] = _spreads(thumbnails[rest]) >= _LEAST_SPREAD
    return result


def _spreads(thumbnails: NDArray[np.uint8]) -> _Float:
    # In parts: of all at once, the squares would need sixteen times the memory of the pictures.
    parts = [thumbnails[s : s + _CHUNK] for s in range(0, len(thumbnails), _CHUNK)]
    spreads = [p.reshape(len(p), -1).std(1, dtype=np.float32) for p in parts]
    return np.concatenate([np.zeros(0, np.float32), *spreads])


class _Space:
    """The space in which fingerprints are compared: whitened by the data's own covariance, so that what all pictures
    share (a dark rim, a white ground) counts little. Holds the canonical vectors of all pictures, their turns, and the
    pictures reduced to 16x16."""

    def __init__(self, thumbnails: _Pictures, rows: _Int, seed: int) -> None:
        n = len(rows)
        flat = np.empty((n, flat_frequencies(np.zeros((1, 8, 8), np.float32)).shape[1]), np.float32)
        self.turns = np.empty(n, np.int8)
        self.rough = np.empty((n, 16, 16), np.uint8)

        def described(start: int) -> None:
            part = slice(start, start + _AT_ONCE)
            quarter = quarters(thumbnails[rows[part]])[1]
            self.rough[part] = np.rint(quarter)
            # Computed as the queries are: where all pictures are nearly equal, rounding decides what is near.
            waves = crop_frequencies(quarter)[:, 0]
            self.turns[part] = canonical_turns(waves)[0][1]
            flat[part] = flat_frequencies(turned(waves, self.turns[part], waves=True))

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(described, range(0, n, _AT_ONCE)))
        rng = generator(seed, "fingerprints")
        some = flat if n <= 5000 else flat[np.sort(rng.permutation(n)[:5000])]
        mean = some.mean(0)
        centred = (some - mean).astype(np.float64)
        power, axes = np.linalg.eigh(centred.T @ centred / len(some))
        power = np.maximum(power, 0)
        # Where there are few pictures their covariance says little: the floor keeps what is not known.
        whitening = (axes / np.sqrt(power + 0.3 * power.mean() + 1e-9)).astype(np.float32)
        unit = np.eye(_WAVES * _WAVES, dtype=np.float32).reshape(-1, _WAVES, _WAVES)
        self._offset = mean @ whitening
        # To turn frequencies, to keep the lower ones and to whiten them is one product.
        self._maps = [
            flat_frequencies(turned(unit, np.full(len(unit), turn, np.int8), waves=True)) @ whitening
            for turn in range(8)
        ]
        self.vectors = _directed(flat @ whitening - self._offset)
        self.density, self.stranger = _density(self.vectors)

    def of(self, waves: _Float, turns: NDArray[np.int8]) -> _Float:
        """Return unit vectors, float32 (M, D), of `frequencies`, (M, 8, 8), each in its turn."""
        found = np.empty((len(waves), len(self._offset)), np.float32)
        flat = waves.reshape(len(waves), -1)
        for turn, weights in enumerate(self._maps):
            own = np.flatnonzero(turns == turn)
            found[own] = flat[own] @ weights
        found -= self._offset
        return _directed(found)


def _directed(vectors: _Float) -> _Float:
    """Divide vectors, (M, D), by their lengths, in place."""
    vectors /= np.maximum(np.sqrt(np.einsum("nd,nd->n", vectors, vectors)), 1e-6)[:, None]
    return vectors


def _search(thumbnails: _Pictures, rows: _Int, space: _Space) -> _Candidates:
    """Return the likely pairs, as places in `rows`: few a picture, each pair once with its best crop and turn."""
    density, few = space.density, len(rows) <= _FEW
    index = _Index(space.vectors)

    def asked(first: int) -> tuple[_Int, NDArray[np.int8], NDArray[np.int8], _Float]:
        """Return place, crop, turn and vector of every query of some pictures."""
        own = rows[first : first + _CHUNK]
        parts = (own[start : start + _AT_ONCE] for start in range(0, len(own), _AT_ONCE))
        waves = np.concatenate([crop_frequencies(quarters(thumbnails[part])[1]) for part in parts])
        waves = waves.reshape(-1, _WAVES, _WAVES)
        places, turns = (np.concatenate(part) for part in zip(*canonical_turns(waves), strict=True))
        vectors = space.of(waves[places], turns)
        return places // len(CROPS) + first, (places % len(CROPS)).astype(np.int8), turns, vectors

    def near(first: int) -> list[_Candidates]:
        """Return the pairs in which one picture is met by one of the crops of some pictures."""
        found: list[_Candidates] = []
        # The queries of many pictures all at once: few large products of matrices instead of many small ones.
        queries, crops, turns, vectors = asked(first)
        for q, i, likeness in index.near(vectors, _bar(density[queries], few)):
            own = queries[q]
            good = (own != i) & (likeness >= _bar(np.maximum(density[own], density[i]), few))
            found.append(_Candidates(own[good], i[good], likeness[good], crops[q[good]], turns[q[good]]))
        return found

    with ThreadPoolExecutor(_THREADS) as pool:
        kept = [part for parts in pool.map(near, range(0, len(rows), _CHUNK)) for part in parts]
    if not any(len(part.query) for part in kept):
        return _Candidates._make(np.zeros(0, t) for t in (np.int64, np.int64, np.float32, np.int8, np.int8))
    return _thinned(_Candidates._make(np.concatenate(part) for part in zip(*kept, strict=True)), len(rows))


def _bar(density: _Float, few: bool) -> _Float:
    """Return the similarity above which a pair is worth verifying, where strangers are as near as `density`.

    Where most pictures are copies of each other, what is taken for strangers are copies too, and rounding would decide
    which pairs are compared. Among `few` pictures the pixels of such pairs can all decide instead.
    """
    highest = _HIGHEST_OF_FEW if few else _HIGHEST
    bar: _Float = np.clip(1 - 0.75 * (1 - density), _FLOOR, highest).astype(np.float32)
    return bar


def _thinned(found: _Candidates, n: int) -> _Candidates:
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
    return _Candidates._make(part[order] for part in found)


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
        owner = np.concatenate([(vectors[s : s + _CHUNK] @ centres.T).argmax(1) for s in range(0, n, _CHUNK)])
        order = np.argsort(owner, kind="stable")
        self._members = np.split(order, np.searchsorted(owner[order], np.arange(1, count)))

    def near(self, queries: _Float, bar: _Float) -> Iterator[tuple[_Int, _Int, _Float]]:
        """Yield (query, member, similarity) of the pairs whose similarity reaches the query's `bar`."""
        if len(self._members) == 1:
            step = max(1, 4_000_000 // len(self._vectors))
            for start in range(0, len(queries), step):
                likeness = queries[start : start + step] @ self._vectors.T
                q, i = _nearest(likeness, bar[start : start + step])
                yield q + start, i, likeness[q, i]
            return
        nearest = np.empty((len(queries), _PROBES), np.int64)
        for start in range(0, len(queries), _CHUNK):
            at = queries[start : start + _CHUNK] @ self._centres.T
            # A few maxima cost less than a partition.
            for k in range(_PROBES):
                best = at.argmax(1)
                nearest[start : start + len(at), k] = best
                at[np.arange(len(at)), best] = -np.inf
        asked = np.repeat(np.arange(len(queries)), _PROBES)
        order = np.argsort(nearest.ravel(), kind="stable")
        cells = nearest.ravel()[order]
        starts = np.searchsorted(cells, np.arange(len(self._members) + 1))
        for c, members in enumerate(self._members):
            own = asked[order[starts[c] : starts[c + 1]]]
            if len(own) and len(members):
                likeness = queries[own] @ self._vectors[members].T
                q, i = _nearest(likeness, bar[own])
                yield own[q], members[i], likeness[q, i]


def _nearest(likeness: _Float, bar: _Float) -> tuple[_Int, _Int]:
    """Return row and column where a row's similarity, (M, K), reaches its `bar`: in a crowd, only the highest 64."""
    # Most queries are near nothing: only the rows that are near something are looked through.
    some = np.flatnonzero(likeness.max(1) >= bar)
    near, least = likeness[some], bar[some]
    many = np.flatnonzero((near >= least[:, None]).sum(1) > _CROWD)
    if len(many):
        least[many] = np.partition(near[many], -_CROWD, axis=1)[:, -_CROWD]
    rows, columns = np.nonzero(near >= least[:, None])
    return some[rows], columns


def _density(vectors: _Float, seed: int = 0) -> tuple[_Float, _Int]:
    """Return how near strangers are to every vector, float32 (N,), and one such stranger of each, int64 (N,).

    It is the similarity of the nearest of a twentieth of all others, the second lowest of five such draws: a group of
    a few siblings does not count as surroundings, a crowd of look-alikes does.
    """
    n = len(vectors)
    rng = generator(seed, "density")
    size = int(np.clip(n // 20, 1, _SUBSET))
    drawn = [np.sort(rng.permutation(n)[:size]) for _ in range(_SUBSETS)]
    best, who = np.empty((_SUBSETS, n), np.float32), np.empty((_SUBSETS, n), np.int64)
    for d, subset in enumerate(drawn):
        for start in range(0, n, _CHUNK):
            likeness = vectors[start : start + _CHUNK] @ vectors[subset].T
            at = np.searchsorted(subset, np.arange(start, min(start + _CHUNK, n)))
            own = (at < size) & (subset[np.minimum(at, size - 1)] == np.arange(start, min(start + _CHUNK, n)))
            likeness[np.flatnonzero(own), at[own]] = -1
            who[d, start : start + _CHUNK] = subset[likeness.argmax(1)]
            best[d, start : start + _CHUNK] = likeness.max(1)
    order = np.argsort(best, axis=0)[1]
    everything = np.arange(n)
    return best[order, everything], who[order, everything]


class _Limits(NamedTuple):
    """How alike strangers are once aligned, as Fisher's z: `base` + `slope` * density, with spread `sigma`."""

    base: float
    slope: float
    sigma: float
    density: _Float


def _background(thumbnails: _Pictures, rows: _Int, space: _Space, seed: int) -> _Limits:
    """Measure strangers: sampled pictures against one of a crowd around each, compared as candidates are."""
    density, stranger = space.density, space.stranger
    some = generator(seed, "background").permutation(len(rows))[:_SAMPLE]
    some = some[stranger[some] != some]
    if len(some) < 30:
        return _Limits(0.5, 0.3, 0.2, density)

    def likeness(start: int) -> _Float:
        a = some[start : start + _PAIRS]
        b = stranger[a]
        first, second = (turned(equalise(thumbnails[rows[k]]), space.turns[k]) for k in (a, b))
        return align_pictures(first, second, np.tile(np.array([1, 0, 1, 0], np.float32), (len(a), 1))).whole

    with ThreadPoolExecutor(_THREADS) as pool:
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
    return _Limits(base, slope, min(sigma, 0.35), density)


def _verified(
    thumbnails: _Pictures,
    colours: _Pictures,
    rows: _Int,
    space: _Space,
    found: _Candidates,
    limits: _Limits,
    small: NDArray[np.bool_],
) -> list[Link]:
    boxes = np.array(CROPS, np.float32)

    def judged(start: int) -> list[Link]:
        part = _Candidates._make(p[start : start + _ROUGH_PAIRS] for p in found)
        density = np.maximum(limits.density[part.query], limits.density[part.match])
        bar = np.tanh(limits.base + limits.slope * density + _SIGMAS * limits.sigma)
        few = small[rows[part.query]] | small[rows[part.match]]
        bar = np.where(few, _EQUAL, np.clip(bar, _LEAST, _CERTAIN)).astype(np.float32)
        turns = part.turn, space.turns[part.match]
        greys = cut_alike(space.rough[part.query], space.rough[part.match])
        first, second = (turned(equalise(g), t) for g, t in zip(greys, turns, strict=True))
        alike, warps = align_roughly(first, second, _warps(boxes[part.crop], part.turn))
        likely = (part.likeness >= _NEAR) | (alike >= bar - _ROUGHLY)
        clear = part.likeness >= np.maximum(_NEAR, 1 - _CLEARLY * (1 - density))
        covered = ~few & (turns[0] == turns[1])
        covered[covered] = _maybe_covered(*(g[covered] for g in greys))
        links = []
        chosen = np.flatnonzero(likely | covered)
        for at in range(0, len(chosen), _PAIRS):
            own = chosen[at : at + _PAIRS]
            pairs = _Candidates._make(p[own] for p in part)
            near = clear[own], bar[own], few[own], covered[own]
            links += _compared(thumbnails, colours, rows, space, pairs, warps[own], *near)
        return links

    with ThreadPoolExecutor(_THREADS) as pool:
        return [link for part in pool.map(judged, range(0, len(found.query), _ROUGH_PAIRS)) for link in part]


def _compared(
    thumbnails: _Pictures,
    colours: _Pictures,
    rows: _Int,
    space: _Space,
    pairs: _Candidates,
    rough_warp: _Float,
    clear: NDArray[np.bool_],
    bar: _Float,
    few: NDArray[np.bool_],
    maybe_covered: NDArray[np.bool_],
) -> list[Link]:
    """Return the links among pairs, each as alike as its `bar` asks for; `few` are of pictures of few pixels, and the
    fingerprints of `clear` are so near that no rough alignment rules them out."""
    ends = rows[pairs.query], rows[pairs.match]
    turns = pairs.turn, space.turns[pairs.match]
    greys = cut_alike(thumbnails[ends[0]], thumbnails[ends[1]])
    first, second = (turned(equalise(g), t) for g, t in zip(greys, turns, strict=True))
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
    # Of a symmetric drawing several turns are as near, so drawings are compared as they stand, whatever turn was found.
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
            how = "the same view" if stand[k] else "the same view but for its top or bottom"
        likeness = float(alike.whole[k])
        exact = likeness >= max(_COPY, 1 - 1.5 * (1 - float(bar[k])))
        links.append(Link(i, j, likeness, exact, how))
    return links


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
    """Name what was done to one picture to get the other, as far as light is not concerned."""
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
