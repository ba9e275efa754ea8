"""The two most likely classes at every pixel of a large picture, from a small map of probabilities."""

__all__ = ["TopTwo", "top_two"]

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Cells whose pixels are computed at once: a few arrays of doubles of that many cells stay in a core's cache.
_CELLS = 128
# Values around cells that are gathered at once to find the candidates of each.
_GATHERED = 2**20


@dataclass(frozen=True, eq=False)
class TopTwo:
    """The most likely class of each pixel and the second one, uint8 (H, W).

    `counts` is int64 (C,): at how many pixels each class is the first. `peaks` is float64 (C,): the sum of the largest
    values that each class has at its own pixels, of as many as were asked for, or of all where there are fewer.
    """

    first: NDArray[np.uint8]
    second: NDArray[np.uint8]
    counts: NDArray[np.int64]
    peaks: NDArray[np.float64]


def top_two(
    planes: NDArray[np.float32], size_hw: tuple[int, int], box: tuple[float, float, float, float], *, few: int = 1
) -> TopTwo:
    """Return the two largest of at most 256 planes, (C, h, w), enlarged to `size_hw` from `box` (x0, y0, x1, y1).

    Each plane is enlarged as Pillow's BILINEAR does, bit for bit; of equals the lower class comes first. `few` is the
    number of values of a class that are summed in `peaks`.

    Every pixel is a mean of the map's values at the corners of its cell. A class that is above another at all corners
    is above it in the whole cell, so where the same two classes are first and second at all corners, no pixel is
    computed. In the other cells only the classes that can be among the two largest are.

    >>> top_two(np.array([[[0.2, 0.9]], [[0.8, 0.1]]], np.float32), (1, 4), (0, 0, 2, 1)).first.tolist()
    [[1, 1, 0, 0]]
    """
    planes = np.ascontiguousarray(planes, np.float32)
    n = len(planes)
    rows, columns = (
        _axis(planes.shape[1], box[1], box[3], size_hw[0]),
        _axis(planes.shape[2], box[0], box[2], size_hw[1]),
    )
    code, highest = _ranked(planes)
    cells = _same(_same(code, rows.taps).T, columns.taps).T
    first, second = (_filled((cells >> shift).astype(np.uint8), rows, columns) for shift in (8, 0))
    settled = cells >= 0
    owner = (cells >> 8)[settled].astype(np.uint8)
    area = (rows.sizes[:, None] * columns.sizes)[settled]
    counts = np.bincount(owner, area, n).astype(np.int64)
    low, high = (_over(_over(highest, rows.taps, op).T, columns.taps, op).T[settled] for op in (np.minimum, np.maximum))
    floors = np.full(n, -np.inf, np.float32)
    for c, own in _by_class(owner, low, n):
        enough = np.flatnonzero(np.cumsum(area[own]) >= few)
        if len(enough):
            floors[c] = low[own[enough[0]]]
    mixing = _Mixing(planes, rows, columns, floors)
    cell_y, cell_x = np.nonzero(~settled)
    many = max(1, _GATHERED // (n * len(rows.taps) * len(columns.taps)))
    for begin in range(0, len(cell_y), many):
        part = slice(begin, begin + many)
        mixing.fill(cell_y[part], cell_x[part], first, second)
    counts += mixing.counts
    pools = {
        c: _Largest(min(few, int(counts[c])), float(floors[c]), mixing.rich[c]) for c in np.flatnonzero(counts).tolist()
    }
    cell_y, cell_x = np.nonzero(settled)
    for c, own in _by_class(owner, high, n):
        for begin in range(0, len(own), _CELLS):
            some = own[begin : begin + _CELLS]
            if high[some[0]] <= pools[c].floor:
                break
            pools[c].add(mixing.values(c, cell_y[some], cell_x[some]))
    peaks = np.zeros(n)
    for c, pool in pools.items():
        peaks[c] = pool.total()
    return TopTwo(first, second, counts, peaks)


def _by_class(owner: NDArray[np.uint8], values: NDArray[np.float32], n: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield each class and the indices of its cells, that of the largest value first."""
    order = np.argsort(-values)
    order = order[np.argsort(owner[order], kind="stable")]
    ends = np.cumsum(np.bincount(owner, minlength=n))
    for c in np.flatnonzero(np.diff(ends, prepend=0)).tolist():
        yield c, order[ends[c - 1] if c else 0 : ends[c]]


@dataclass(frozen=True, eq=False)
class _Axis:
    """One axis of the result, cut into runs of pixels that lie between the same values of the map.

    Of G runs, none longer than L pixels: `sizes` (G,), pixels of each; `at` (L, G), where they are in the result;
    `taps` (K, G), the values of the map that they are means of; `weights` (K, L, G), their weights. A run shorter than
    L repeats its last pixel. `cell` is the run of each pixel.
    """

    sizes: NDArray[np.int64]
    at: NDArray[np.int64]
    taps: NDArray[np.int64]
    weights: NDArray[np.float64]
    cell: NDArray[np.int64]


def _axis(n: int, start: float, end: float, size: int) -> _Axis:
    begins, weights = _coefficients(n, start, end, size)
    # The first run is longer than the others, since nothing lies before the map: it is cut.
    longest = max(1, int(np.ceil(size / max(end - start, 1e-9)))) if end > start else size
    fresh = np.r_[True, begins[1:] != begins[:-1]]
    since = np.arange(size) - np.maximum.accumulate(np.where(fresh, np.arange(size), 0))
    starts = np.flatnonzero(since % longest == 0)
    sizes = np.diff(np.r_[starts, size])
    at = starts + np.minimum(np.arange(int(sizes.max()))[:, None], sizes - 1)
    taps = np.minimum(begins[starts] + np.arange(weights.shape[1])[:, None], n - 1)
    weights = np.ascontiguousarray(weights.T[:, at])
    return _Axis(sizes, at, taps, weights, np.repeat(np.arange(len(starts)), sizes))


def _coefficients(n: int, start: float, end: float, size: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return for each of `size` output rows the first input row and the weights of those from there on, (size, taps).

    From `precompute_coeffs` in Pillow's Resample.c, whose box is in single precision.
    """
    low, high = np.float32(start), np.float32(end)
    scale = float(high - low) / size
    support = max(scale, 1.0)
    centre = float(low) + (np.arange(size) + 0.5) * scale
    begins = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    ends = np.minimum((centre + support + 0.5).astype(np.int64), n)
    at = begins[:, None] + np.arange(int((ends - begins).max()))
    weights = np.maximum(1.0 - np.abs((at - centre[:, None] + 0.5) * (1.0 / support)), 0.0)
    weights[at >= ends[:, None]] = 0.0
    total = np.zeros(size)
    for column in weights.T:
        total += column
    return begins, weights / total[:, None]


def _ranked(planes: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return 256 times the first class plus the second at each value of the map, (h, w), and the largest value.

    -1 where two of the first three are so close that they can be rounded to equal values between here and there.
    """
    first, second = np.zeros((2, *planes.shape[1:]), np.int32)
    if len(planes) == 1:
        return first, planes[0]
    best, runner, third = np.full((3, *planes.shape[1:]), -np.inf, np.float32)
    for c, plane in enumerate(planes):
        beats, follows = plane > best, plane > runner
        np.maximum(third, np.minimum(plane, runner), out=third)
        second = np.where(beats, first, np.where(follows, np.int32(c), second))
        np.maximum(runner, np.minimum(plane, best), out=runner)
        first = np.where(beats, np.int32(c), first)
        np.maximum(best, plane, out=best)
    # Values are rounded to single precision twice on their way, each time by half a unit in the last place at most.
    close = np.float32(max(float(np.abs(planes).max()), 1e-30) * 2.0**-21)
    clear = (best - runner > close) & (runner - third > close)
    code: NDArray[np.int32] = np.where(clear, first * 256 + second, np.int32(-1))
    return code, best


def _same(code: NDArray[np.int32], taps: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the code of each run along the first axis where all its taps have the same one, else -1."""
    same: NDArray[np.int32] = code[taps[0]]
    for tap in taps[1:]:
        same = np.where(same == code[tap], same, np.int32(-1))
    return same


def _over(values: NDArray[np.float32], taps: NDArray[np.int64], op: np.ufunc) -> NDArray[np.float32]:
    """Return the smallest or largest value of the taps of each run along the first axis."""
    result: NDArray[np.float32] = values[taps[0]]
    for tap in taps[1:]:
        result = op(result, values[tap])
    return result


def _filled(cells: NDArray[np.uint8], rows: _Axis, columns: _Axis) -> NDArray[np.uint8]:
    """Return the picture of which every pixel is that of its cell."""
    wide = cells[:, columns.cell]
    filled: NDArray[np.uint8] = np.repeat(wide, rows.sizes, axis=0)
    return filled


class _Largest:
    """The k largest of the values that are added, of which all above `floor` are; at least k reach it."""

    def __init__(self, k: int, floor: float, given: list[NDArray[np.float32]]) -> None:
        self.k, self.floor = k, floor
        self._values = np.zeros(0, np.float32)
        self.add(np.concatenate(given) if given else self._values)

    def add(self, values: NDArray[np.float32]) -> None:
        self._values = np.concatenate([self._values, values[values > self.floor]])
        if len(self._values) >= self.k:
            self._values = np.partition(self._values, len(self._values) - self.k)[len(self._values) - self.k :]
            self.floor = max(self.floor, float(self._values.min()))

    def total(self) -> float:
        lacking = self.k - len(self._values)
        return float(np.sort(self._values).sum(dtype=np.float64)) + (lacking * self.floor if lacking else 0.0)


class _Mixing:
    """The cells of which pixels are computed. `counts` is how many of their pixels are of each class; `rich` has, for
    each class, the values at these pixels that are above its floor."""

    def __init__(self, planes: NDArray[np.float32], rows: _Axis, columns: _Axis, floors: NDArray[np.float32]) -> None:
        self.counts = np.zeros(len(planes), np.int64)
        self.rich: list[list[NDArray[np.float32]]] = [[] for _ in planes]
        self._planes, self._rows, self._columns, self._floors = planes, rows, columns, floors
        # Arrays of this size that are allocated again and again cost more than what is computed in them.
        shape = (len(rows.at), len(columns.at), _CELLS)
        self._sum, self._part = np.empty((2, *shape))
        self._best, self._runner, self._large, self._least = np.empty((4, *shape), np.float32)

    def fill(
        self,
        y: NDArray[np.int64],
        x: NDArray[np.int64],
        first: NDArray[np.uint8],
        second: NDArray[np.uint8],
    ) -> None:
        """Fill the pixels of the cells at `y`, `x` in two pictures (H, W)."""
        around = self._taps(self._planes, y, x)
        low, high = around.min((1, 2)), around.max((1, 2))
        best, runner = np.full((2, len(y)), -np.inf, np.float32)
        for values in low:
            np.maximum(runner, np.minimum(best, values), out=runner)
            np.maximum(best, values, out=best)
        possible = high >= runner
        rich = (possible & (high > self._floors[:, None])).any(0)
        # The cells with the most candidates first, so that those of a later round are the first few of every batch.
        number = possible.sum(0)
        order = np.argsort(-number, kind="stable")
        number, rich, around, y, x = number[order], rich[order], around[..., order], y[order], x[order]
        candidates = np.argsort(~possible[:, order], axis=0, kind="stable")[: int(number[0])].astype(np.uint8)
        for begin in range(0, len(order), _CELLS):
            part = slice(begin, begin + _CELLS)
            rounds: list[tuple[NDArray[np.uint8], NDArray[np.float32]]] = []
            for row in candidates[: int(number[begin]), part]:
                classes = row[: int(np.count_nonzero(number[part] > len(rounds)))]
                own = np.arange(begin, begin + len(classes))
                rounds.append((classes, np.moveaxis(around[classes, :, :, own], 0, -1)))
            one, two, value = self._two_of(rounds, y[part], x[part])
            at = (self._rows.at[:, y[part]] * first.shape[1])[:, None] + self._columns.at[:, x[part]]
            first.reshape(-1)[at], second.reshape(-1)[at] = one, two
            inside = self._inside(y[part], x[part])
            self.counts += np.bincount(one[inside], minlength=len(self.counts))
            if rich[part].any():
                self._keep(one[..., rich[part]], value[..., rich[part]], inside[..., rich[part]])

    def values(self, c: int, y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the values of class `c` at all pixels of cells, of at most `_CELLS`."""
        large = self._enlarged(self._taps(self._planes[c], y, x), y, x, self._large)
        return large[self._inside(y, x)]

    def _keep(self, one: NDArray[np.uint8], value: NDArray[np.float32], inside: NDArray[np.bool_]) -> None:
        above = inside & (value > self._floors[one])
        found, values = one[above], value[above]
        for c in np.flatnonzero(np.bincount(found)).tolist():
            self.rich[c].append(values[found == c])

    def _two_of(
        self,
        candidates: list[tuple[NDArray[np.uint8], NDArray[np.float32]]],
        y: NDArray[np.int64],
        x: NDArray[np.int64],
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
        """Return the two largest candidates of every pixel of m cells and the value of the largest, (Ly, Lx, m).

        Of each candidate, two at least, in ascending order: the classes, (k,), of the first k cells, and the values
        around these, (Ky, Kx, k).
        """
        (a, around), (b, about), *others = candidates
        best = self._enlarged(around, y, x, self._best)
        large = self._enlarged(about, y, x, self._large)
        change = _mask(large > best)
        change &= a ^ b
        first, second = a ^ change, b ^ change
        runner = self._runner[..., : len(y)]
        if others:
            np.minimum(best, large, out=runner)
        np.maximum(best, large, out=best)
        for c, around in others:
            k = len(c)
            large = self._enlarged(around, y[:k], x[:k], self._large)
            leads, follows, ahead, behind = best[..., :k], runner[..., :k], first[..., :k], second[..., :k]
            _choose(behind, c, large > follows)
            beats = large > leads
            _choose(behind, ahead, beats)
            _choose(ahead, c, beats)
            np.maximum(follows, np.minimum(leads, large, out=self._least[..., :k]), out=follows)
            np.maximum(leads, large, out=leads)
        return first, second, best

    def _taps(self, planes: NDArray[np.float32], y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the map's values around cells, (..., Ky, Kx, m) of planes (..., h, w)."""
        taps: NDArray[np.float32] = planes[..., self._rows.taps[:, None, y], self._columns.taps[:, x]]
        return taps

    def _enlarged(
        self, taps: NDArray[np.float32], y: NDArray[np.int64], x: NDArray[np.int64], out: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the pixels of m cells, (Ly, Lx, m), from the values around them, (Ky, Kx, m), in the first part of
        `out`, summed as Pillow does: in double precision along rows, rounded, then along columns."""
        across, down = self._columns.weights[..., x], self._rows.weights[..., y]
        lines = across[0] * taps[:, 0, None]
        for k in range(1, taps.shape[1]):
            lines += across[k] * taps[:, k, None]
        lines = lines.astype(np.float32).astype(np.float64)
        total, part = (array[..., : len(y)] for array in (self._sum, self._part))
        result: NDArray[np.float32] = out[..., : len(y)]
        np.multiply(down[0][:, None], lines[0], out=total)
        for weight, line in zip(down[1:], lines[1:], strict=True):
            np.multiply(weight[:, None], line, out=part)
            total += part
        result[:] = total
        return result

    def _inside(self, y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which pixels of cells, (Ly, Lx, m), are not repeated."""
        rows, columns = self._rows, self._columns
        down = np.arange(len(rows.at))[:, None] < rows.sizes[y]
        across = np.arange(len(columns.at))[:, None] < columns.sizes[x]
        return down[:, None] & across[None]


def _choose(into: NDArray[np.uint8], other: NDArray[np.uint8], where: NDArray[np.bool_]) -> None:
    """Put `other` into an array where a condition holds; several times as fast as numpy's choice."""
    change = into ^ other
    change &= _mask(where)
    into ^= change


def _mask(where: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return 255 where a condition holds, else 0."""
    mask: NDArray[np.uint8] = np.negative(where.view(np.uint8))
    return mask
