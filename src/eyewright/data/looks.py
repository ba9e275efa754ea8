"""Groups by appearance, which neither names nor hashes show: a light, a stain, a device, one object from several sides.

Unrelated pictures fill their space of looks evenly at small scale: how far the second nearest is, against the tenth,
follows from the number of dimensions, which the tenth and the fortieth tell. Pictures that come in sessions lie in
clumps, and the second nearest is far nearer than that. Nothing here needs a threshold in units of distance.
"""

__all__ = ["STRUCTURE", "Sessions", "find_sessions", "look_spaces", "mostly_drawn"]

import math
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.rng import generator
from eyewright.imaging.fingerprint import are_drawn

STRUCTURE = "structure"
"""The space of what pictures show at large (`Scan.features`), next to which looks are other spaces."""

_Float = NDArray[np.float64]
_Vectors = NDArray[np.float32]
_Int = NDArray[np.int64]

# The places of near neighbours, of one at middle distance, and of one far off, by which clumps of up to `middle` show,
# and how near the pictures of a clump are against the middle one.
_SCALES = ((2, 10, 40, 0.75), (8, 40, 120, 0.5))
_LOOSE = 0.5
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_AT_ONCE = 256
_THREADS = min(4, os.cpu_count() or 1)
_QUERIES = 1000
_BLOCK = 2_000_000
_Z, _TIMES, _NEARER = 2.5, 1.1, 1.12
_LEAST_GROUPS = 6
_A_CLASS = 3
_LARGEST = 0.2
_FLOOR = 0.02
_DRAWN = 0.5
_CLEAR, _CLEAR_CHANCE = 0.5, 0.1


@dataclass(frozen=True)
class Sessions:
    """Pictures that lie in clumps of one space of looks.

    `members` are the clumps, as ascending indices, the largest first. `nearer` is how many times nearer the next
    pictures are than among unrelated ones, and `p_value` how likely that is by chance. `close` is the fraction of
    pictures whose second nearest is less than half as far as the tenth, `expected` that share among unrelated pictures.
    """

    space: str
    members: tuple[tuple[int, ...], ...]
    nearer: float
    p_value: float
    close: float
    expected: float

    @property
    def images(self) -> int:
        """How many pictures are in clumps."""
        return sum(map(len, self.members))

    @property
    def clear(self) -> bool:
        """Return whether most pictures have near siblings where unrelated ones hardly ever would."""
        return self.space == STRUCTURE and self.close >= _CLEAR and self.expected <= _CLEAR_CHANCE


def look_spaces(thumbnails: NDArray[np.uint8], colours: NDArray[np.uint8], *, seed: int = 0) -> Mapping[str, _Float]:
    """Return descriptions of pictures by their look and not by what they show, (N, D) each, by name.

    `thumbnails` is grey, uint8 (N, 64, 64), `colours` uint8 (N, 16, 16, 3). "background" is the colour of the lighter
    middle of a picture: paper, a stain, a wall. "colours" are five quantiles of each channel and the noise. Both are
    whitened. Empty where most pictures are drawings, whose few colours say nothing.
    """
    if mostly_drawn(thumbnails):
        return {}
    rng = generator(seed, "looks")
    n = len(colours)
    count = colours.shape[1] * colours.shape[2]
    background, quantiles = np.empty((n, 3)), np.empty((n, len(_QUANTILES) * 3))
    noise = np.empty((n, 2))
    # Half a grey level of noise: equal values of few levels would look like clumps.
    lighter = slice(int(0.6 * count), int(0.9 * count))
    shaken = rng.random((n, count), np.float32) - np.float32(0.5)

    def described(start: int) -> None:
        own = slice(start, start + _AT_ONCE)
        planes = colours[own].reshape(-1, count, 3).transpose(0, 2, 1) + shaken[own, None]
        middle = np.argsort(planes[:, 0] + planes[:, 1] + planes[:, 2], axis=1)[:, None, lighter]
        background[own] = np.take_along_axis(planes, middle, 2).mean(2)
        planes.sort(axis=2)
        quantiles[own] = _sorted_quantiles(planes, _QUANTILES).transpose(0, 2, 1).reshape(len(planes), -1)
        noise[own] = _noise(thumbnails[own])

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(described, range(0, n, _AT_ONCE)))
    return {"background": _whitened(background), "colours": _whitened(np.c_[quantiles, noise])}


def mostly_drawn(thumbnails: NDArray[np.uint8]) -> bool:
    """Return whether most pictures, grey uint8 (N, 64, 64), are drawings; of many, 1,000 evenly spaced ones say so."""
    some = thumbnails[:: max(1, len(thumbnails) // _QUERIES)]
    return len(some) > 0 and float(are_drawn(np.asarray(some)).mean()) > _DRAWN


def _sorted_quantiles(values: NDArray[np.floating[Any]], wanted: Sequence[float]) -> _Float:
    """Return quantiles, (..., Q), of values, (..., N), that are sorted; between two values they are interpolated."""
    place = np.asarray(wanted) * (values.shape[-1] - 1)
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, values.shape[-1] - 1)
    result: _Float = values[..., low] + (place - low) * (values[..., high] - values[..., low])
    return result


def _noise(thumbnails: NDArray[np.uint8]) -> _Float:
    """Return how rough pictures are where they are smoothest: the noise of their sensor, (N, 2).

    Every second row is looked at.
    """
    grey = thumbnails.astype(np.int16)
    around = grey[:, :-2:2, 1:-1] + grey[:, 2::2, 1:-1] + grey[:, 1:-1:2, :-2] + grey[:, 1:-1:2, 2:]
    rough = np.abs(4 * grey[:, 1:-1:2, 1:-1] - around).reshape(len(grey), -1)
    return _sorted_quantiles(np.sort(rough, axis=1), (0.25, 0.5))


def _whitened(vectors: _Float) -> _Float:
    centred = vectors - vectors.mean(0)
    power, axes = np.linalg.eigh(centred.T @ centred / max(1, len(centred)))
    power = np.maximum(power, 0)
    result: _Float = centred @ axes / np.sqrt(power + _FLOOR * power.max() + 1e-9)
    return result


def find_sessions(
    vectors: NDArray[np.floating[Any]], known: Sequence[int], strata: Sequence[int], space: str, *, seed: int = 0
) -> Sessions | None:
    """Return the clumps of `vectors`, (N, D), beyond the groups that are `known`, (N,); None where there are none.

    Of every known group one picture is looked at, and the rest of the group goes with it. `strata` (N,) are classes, -1
    for none: clumps that are no more than the classes themselves say nothing, so a class must hold several. Above 1,000
    pictures a sample of them says whether there are clumps, and only then all are searched.
    """
    groups = np.asarray(known)
    rows = np.unique(groups, return_index=True)[1]
    chosen = np.ascontiguousarray(vectors[rows], np.float32)
    some = generator(seed, "sessions").permutation(len(rows))[:_QUERIES]
    best: Sessions | None = None
    scales = [scale for scale in _SCALES if len(rows) >= 2 * scale[2]]
    if not scales:
        return None
    # The neighbours of the largest scale hold those of the others.
    sampled = _nearest(chosen, some, max(scale[2] for scale in scales))[1]
    for near, middle, far, link in scales:
        tested = _clumped(sampled[:, :far], near, middle, far)
        if tested is None:
            continue
        clumps = _linked(*_nearest(chosen, np.arange(len(rows)), middle), link if space == STRUCTURE else _LOOSE)
        members = _several_a_class([rows[c] for c in clumps], groups, np.asarray(strata))
        if len(members) >= _LEAST_GROUPS and (best is None or tested[0] > best.nearer):
            best = Sessions(space, members, *tested)
    return best


def _nearest(vectors: _Vectors, queries: _Int, k: int) -> tuple[_Int, _Float]:
    """Return the places of the k nearest others of some vectors and their distances, (M, k), the nearest first."""
    n = len(vectors)
    order, distance = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
    lengths = np.einsum("nd,nd->n", vectors, vectors)
    step = max(1, _BLOCK // n)

    def searched(start: int) -> None:
        own = queries[start : start + step]
        rough = vectors[own] @ vectors.T
        rough *= -2
        rough += lengths
        rough[np.arange(len(own)), own] = np.inf
        near = _lowest(rough, k)
        # The rough squares lose small distances in rounding; those of the nearest are taken exactly.
        value = np.sqrt(np.maximum(((vectors[near] - vectors[own, None]).astype(np.float64) ** 2).sum(2), 1e-18))
        by = np.argsort(value, axis=1, kind="stable")
        order[start : start + step] = np.take_along_axis(near, by, 1)
        distance[start : start + step] = np.take_along_axis(value, by, 1)

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(searched, range(0, len(queries), step)))
    return order, distance


def _lowest(values: _Vectors, k: int) -> _Int:
    """Return the places of the k lowest values of every row, (M, k), the lowest first.

    k of the blocks of columns hold a value up to some limit, so that the k lowest values are up to it too: only these
    are looked through.
    """
    m, n = values.shape
    width = n // (4 * k)
    if width < 8:
        near = np.argpartition(values, k - 1, axis=1)[:, :k]
        return np.asarray(
            np.take_along_axis(near, np.argsort(np.take_along_axis(values, near, 1), axis=1), 1), np.int64
        )
    count = n // width
    lowest = values[:, : count * width].reshape(m, width, count).min(1)
    rows, places = np.nonzero(values <= np.partition(lowest, k - 1, axis=1)[:, k - 1 : k])
    places = places[np.lexsort((values[rows, places], rows))]
    return np.asarray(places[np.searchsorted(rows, np.arange(m))[:, None] + np.arange(k)], np.int64)


def _clumped(distance: _Float, near: int, middle: int, far: int) -> tuple[float, float, float, float] | None:
    """Return what tells clumps from an even cloud (see `Sessions`); None where nothing does.

    In an even cloud of D dimensions the logarithm of the ratio of the distances of two neighbours has the mean
    (digamma(k) - digamma(j)) / D, so far neighbours tell D and near ones whether it holds at small scale too.
    """
    logs = np.log(distance)
    dimensions = (_digamma(far) - _digamma(middle)) / max(float(np.mean(logs[:, far - 1] - logs[:, middle - 1])), 1e-6)
    step = logs[:, middle - 1] - (logs[:, near - 1] + logs[:, near]) / 2
    expected = (_digamma(middle) - (_digamma(near) + _digamma(near + 1)) / 2) / dimensions
    # Neighbours see each other, so pictures count for half.
    error = float(step.std()) / math.sqrt(len(step) / 2)
    z = (float(step.mean()) - expected) / max(error, 1e-9)
    nearer = float(np.exp(step.mean() - expected))
    # A bent or uneven cloud is a little denser at small scale too, so what is beyond chance must be beyond that.
    if z < _Z or float(step.mean()) < _TIMES * expected or nearer < _NEARER:
        return None
    close = float((distance[:, near - 1] < 0.5 * distance[:, middle - 1]).mean())
    chance, n = 0.5**dimensions, middle - 1
    even = math.fsum(math.comb(n, k) * chance**k * (1 - chance) ** (n - k) for k in range(near, n + 1))
    return nearer, math.erfc(z / math.sqrt(2)) / 2, close, even


def _digamma(n: int) -> float:
    """Return digamma at a whole number except for a constant, which differences do not hold.

    scipy.special has it, and takes a quarter of a second to import.
    """
    return math.fsum(1 / k for k in range(1, n))


def _linked(order: _Int, distance: _Float, link: float) -> list[list[int]]:
    """Join pictures that are near each other into clumps in which at least half of all pairs are linked."""
    middle = distance[:, -1]
    first, place = np.nonzero(distance < link * middle[:, None])
    second = order[first, place]
    value = distance[first, place] / np.minimum(middle[first], middle[second])
    keep = value < link
    pairs: dict[tuple[int, int], float] = {}
    for i, j, v in zip(first[keep].tolist(), second[keep].tolist(), value[keep].tolist(), strict=True):
        pairs.setdefault((min(i, j), max(i, j)), v)
    links = sorted(pairs, key=lambda p: (pairs[p], p))
    owner = list(range(len(order)))
    size = [1] * len(order)

    def find(i: int) -> int:
        while owner[i] != i:
            owner[i] = owner[owner[i]]
            i = owner[i]
        return i

    changed = True
    while changed and links:
        changed = False
        between: Counter[tuple[int, int]] = Counter()
        left = []
        for i, j in links:
            a, b = sorted((find(i), find(j)))
            if a == b:
                continue
            left.append((i, j))
            between[a, b] += 1
            if between[a, b] >= size[a] * size[b] / 2:
                owner[b] = a
                size[a] += size[b]
                changed = True
        links = left
    members: dict[int, list[int]] = defaultdict(list)
    for i in range(len(order)):
        members[find(i)].append(i)
    return [own for own in members.values() if len(own) > 1]


def _several_a_class(clumps: Sequence[_Int], groups: _Int, strata: _Int) -> tuple[tuple[int, ...], ...]:
    """Return the clumps with all members of their known groups; none, where they are but the classes themselves."""
    of_group: dict[int, list[int]] = defaultdict(list)
    for i, g in enumerate(groups.tolist()):
        of_group[g].append(i)
    sizes = Counter(strata.tolist())
    held: dict[int, int] = Counter()
    result = []
    for clump in clumps:
        members = sorted(i for row in clump.tolist() for i in of_group[int(groups[row])])
        classes = Counter(strata[members].tolist())
        if any(n > _LARGEST * sizes[k] for k, n in classes.items() if sizes[k] > 10):
            continue
        for k in classes:
            held[k] += 1
        result.append(tuple(members))
    if not result or float(np.median(list(held.values()))) < _A_CLASS:
        return ()
    return tuple(sorted(result, key=lambda m: (-len(m), m)))
