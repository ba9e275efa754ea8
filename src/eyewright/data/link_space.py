"""The space in which fingerprints of pictures are compared, and how near unrelated pictures are in it."""

__all__ = ["AT_ONCE", "CHUNK", "THREADS", "WAVES", "Pictures", "Space"]

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from eyewright.core.rng import generator
from eyewright.imaging.fingerprint import (
    canonical_turns,
    equalise,
    flat_frequencies,
    quarter_sums,
    turned,
    whole_frequencies,
)

_Float = NDArray[np.float32]
_Int = NDArray[np.int64]

# Search and check work in parts of the same sizes.
THREADS = min(4, os.cpu_count() or 1)
CHUNK = 2048
AT_ONCE = 256
WAVES = 8
_SUBSETS = 5
_SUBSET = 1000


class Pictures:
    """Pictures and, numbered after them, further ones: read by their numbers, never copied into one array.

    Of the further ones, which are insides of frames, `sides` (B, 2) are the fractions of height and width of the file.
    """

    def __init__(self, first: NDArray[np.uint8], further: NDArray[np.uint8], sides: _Float) -> None:
        self._first, self._further, self._sides = first, further, sides

    def __getitem__(self, rows: _Int) -> NDArray[np.uint8]:
        n = len(self._first)
        later = rows >= n
        if not later.any():
            return self._first[rows]
        found = self._first[np.where(later, 0, rows)]
        found[later] = self._further[rows[later] - n]
        return found

    def sides(self, rows: _Int) -> _Float:
        """Return the fractions of height and width of the file that pictures show, (M, 2): 1 but inside frames."""
        result = np.ones((len(rows), 2), np.float32)
        later = rows >= len(self._first)
        result[later] = self._sides[rows[later] - len(self._first)]
        return result


class Space:
    """The space in which fingerprints are compared: whitened by the data's own covariance, so that what all pictures
    share (a dark rim, a white ground) counts little. Holds the canonical vectors of all pictures, their turns, and the
    pictures at a quarter of the size."""

    def __init__(self, thumbnails: Pictures, rows: _Int, seed: int) -> None:
        n = len(rows)
        flat = np.empty((n, flat_frequencies(np.zeros((1, 8, 8), np.float32)).shape[1]), np.float32)
        self.turns = np.empty(n, np.int8)
        self._sums = np.empty((n, 16, 16), np.uint16)

        def described(start: int) -> None:
            part = slice(start, start + AT_ONCE)
            self._sums[part] = quarter_sums(thumbnails[rows[part]])
            waves = whole_frequencies(self.equalised(part))
            self.turns[part] = canonical_turns(waves)[0][1]
            flat[part] = flat_frequencies(turned(waves, self.turns[part], waves=True))

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(described, range(0, n, AT_ONCE)))
        rng = generator(seed, "fingerprints")
        some = flat if n <= 5000 else flat[np.sort(rng.permutation(n)[:5000])]
        mean = some.mean(0)
        centred = (some - mean).astype(np.float64)
        power, axes = np.linalg.eigh(centred.T @ centred / len(some))
        power = np.maximum(power, 0)
        # Where there are few pictures their covariance says little: the floor keeps what is not known.
        whitening = (axes / np.sqrt(power + 0.3 * power.mean() + 1e-9)).astype(np.float32)
        unit = np.eye(WAVES * WAVES, dtype=np.float32).reshape(-1, WAVES, WAVES)
        self._offset = mean @ whitening
        # To turn frequencies, to keep the lower ones and to whiten them is one product.
        self._maps = [
            flat_frequencies(turned(unit, np.full(len(unit), turn, np.int8), waves=True)) @ whitening
            for turn in range(8)
        ]
        self.vectors = _directed(flat @ whitening - self._offset)
        self.density, self.stranger = _density(self.vectors)

    def equalised(self, part: slice) -> _Float:
        """Return some pictures, at a quarter of the size and equalised, float32 (M, 16, 16)."""
        return equalise(self._sums[part])

    def reduced(self, places: _Int) -> NDArray[np.uint8]:
        """Return some pictures at a quarter of the size, uint8 (M, 16, 16)."""
        result: NDArray[np.uint8] = np.rint(self._sums[places] * np.float32(1 / 16)).astype(np.uint8)
        return result

    def of(self, waves: _Float, turns: NDArray[np.int8]) -> _Float:
        """Return unit vectors, float32 (M, D), of `frequencies`, (M, 8, 8), each in its turn."""
        found = np.empty((len(waves), len(self._offset)), np.float32)
        flat = waves.reshape(len(waves), -1)
        for turn, weights in enumerate(self._maps):
            own = np.flatnonzero(turns == turn)
            found[own] = flat.take(own, 0) @ weights
        found -= self._offset
        return _directed(found)


def _directed(vectors: _Float) -> _Float:
    """Divide vectors, (M, D), by their lengths, in place."""
    vectors /= np.maximum(np.sqrt(np.einsum("nd,nd->n", vectors, vectors)), 1e-6)[:, None]
    return vectors


def _density(vectors: _Float, seed: int = 0) -> tuple[_Float, _Int]:
    """Return how near unrelated pictures are to every vector, float32 (N,), and one such unrelated picture of each,
    int64 (N,).

    It is the similarity of the nearest of a twentieth of all others, the second lowest of five such draws: a group of
    a few siblings does not count as surroundings, a crowd of look-alikes does.
    """
    n = len(vectors)
    rng = generator(seed, "density")
    size = int(np.clip(n // 20, 1, _SUBSET))
    drawn = [np.sort(rng.permutation(n)[:size]) for _ in range(_SUBSETS)]
    best, who = np.empty((_SUBSETS, n), np.float32), np.empty((_SUBSETS, n), np.int64)
    for d, subset in enumerate(drawn):
        for start in range(0, n, CHUNK):
            likeness = vectors[start : start + CHUNK] @ vectors[subset].T
            at = np.searchsorted(subset, np.arange(start, min(start + CHUNK, n)))
            own = (at < size) & (subset[np.minimum(at, size - 1)] == np.arange(start, min(start + CHUNK, n)))
            likeness[np.flatnonzero(own), at[own]] = -1
            who[d, start : start + CHUNK] = subset[likeness.argmax(1)]
            best[d, start : start + CHUNK] = likeness.max(1)
    order = np.argsort(best, axis=0)[1]
    everything = np.arange(n)
    return best[order, everything], who[order, everything]
