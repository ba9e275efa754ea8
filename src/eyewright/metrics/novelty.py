"""How new a picture is: how far it is from the nearest of the pictures that were learnt from."""

__all__ = ["SIBLING_RATIO", "Nearness", "nearness"]

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIBLING_RATIO = 0.5
"""A picture has a near copy or sibling among the known ones where the nearest is less than half as far as the tenth."""

_NEIGHBOURS = 10
_LEAST_KNOWN = 20
_MOST_PAIRS = 500_000_000
_LEAST_QUERIES = 2_000
_BLOCK = 4_000_000


@dataclass(frozen=True, eq=False)
class Nearness:
    """For each picture, float64 (N,): the `distance` to the nearest known picture, and its `ratio` to that of the tenth
    nearest. NaN where it is not known."""

    distance: NDArray[np.float64]
    ratio: NDArray[np.float64]

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which distances are known, bool (N,)."""
        return np.isfinite(self.distance)

    @property
    def siblings(self) -> NDArray[np.bool_]:
        """Which pictures have a near copy or sibling among the known ones, bool (N,).

        In a cloud of unrelated pictures the tenth nearest is hardly farther than the nearest, in many dimensions; a
        copy, a neighbouring frame, or the same object stands out. It needs no threshold in units of distance.
        """
        with np.errstate(invalid="ignore"):
            found: NDArray[np.bool_] = self.ratio < SIBLING_RATIO
        return found

    def joined(self, other: "Nearness | None") -> "Nearness":
        """Return the nearness of these pictures and then of others."""
        if other is None:
            return self
        return Nearness(np.append(self.distance, other.distance), np.append(self.ratio, other.ratio))

    def chosen(self, index: Any) -> "Nearness":
        """Return the nearness of some of the pictures."""
        return Nearness(self.distance[index], self.ratio[index])


def nearness(queries: NDArray[np.floating[Any]], known: NDArray[np.floating[Any]]) -> Nearness:
    """Find how near each of `queries`, (N, D), is to the nearest of `known`, (M, D), by Euclidean distance.

    The search is exact, in blocks. Above 500,000,000 pairs the queries are sampled evenly, and the rest is NaN; so are
    the ratios with fewer than 20 known pictures.

    >>> nearness(np.array([[0.0, 1.0]]), np.array([[0.0, 0.0], [0.0, 3.0]])).distance.tolist()
    [1.0]
    """
    n, m = len(queries), len(known)
    distance, ratio = np.full(n, np.nan), np.full(n, np.nan)
    if not n or not m:
        return Nearness(distance, ratio)
    most = max(_LEAST_QUERIES, _MOST_PAIRS // m)
    rows = np.arange(n) if n <= most else np.unique(np.linspace(0, n - 1, most).round().astype(np.int64))
    base = np.ascontiguousarray(known, np.float32)
    lengths = np.einsum("md,md->m", base, base)
    k = min(_NEIGHBOURS, m)
    block = max(1, _BLOCK // m)
    for start in range(0, len(rows), block):
        part = rows[start : start + block]
        own = np.ascontiguousarray(queries[part], np.float32)
        rough = lengths[None] - 2 * (own @ base.T)
        near = np.argpartition(rough, k - 1, axis=1)[:, :k] if k < m else np.tile(np.arange(m), (len(part), 1))
        # The rough squares lose small distances in rounding; those of the few nearest are taken exactly.
        apart = base[near].astype(np.float64) - own[:, None].astype(np.float64)
        exact = np.sort(np.sqrt(np.einsum("nkd,nkd->nk", apart, apart)), axis=1)
        distance[part] = exact[:, 0]
        if m >= _LEAST_KNOWN:
            last = exact[:, -1]
            ratio[part] = np.divide(exact[:, 0], last, out=np.zeros(len(part)), where=last > 0)
    return Nearness(distance, ratio)
