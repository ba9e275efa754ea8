"""Near copies in an index: exact, in blocks, grouped so that all members of a group are similar."""

__all__ = ["CopyGroup", "best_copy", "find_copies", "group_pairs"]

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.retrieval.segments import Row

_BLOCK = 2048
_MOST_PAIRS = 20_000_000


@dataclass(frozen=True)
class CopyGroup:
    """Images of which any two are similar; `least` is the lowest similarity of two: a cosine, or the correlation
    of their pixels.

    `best` is the member with most pixels, then most bytes; `members` are in the order of their ids.
    """

    members: tuple[tuple[int, Row], ...]
    best: int
    least: float


def find_copies(
    ids: NDArray[np.int64], vectors: NDArray[np.float16], least: float = 0.97
) -> list[tuple[tuple[int, ...], float]]:
    """Return groups of ids whose unit vectors, float16 (N, D), have a cosine of at least `least`, each two of a group.

    Groups are joined by complete linkage, most similar first: a chain of images, each like the next, does not join its
    ends. Memory grows with the pairs that are similar, not with N x N.

    Raises:
        UsageError: so many are similar that `least` says nothing.
    """
    pairs, scores = _pairs(vectors, least)
    found = group_pairs(pairs, scores)
    return [(tuple(int(ids[m]) for m in members), lowest) for members, lowest in found]


def group_pairs(pairs: NDArray[np.int64], scores: NDArray[np.float64]) -> list[tuple[tuple[int, ...], float]]:
    """Return groups of which each two are among `pairs`, (M, 2), joined by complete linkage in the order of `scores`.

    >>> group_pairs(np.array([[0, 1], [1, 2], [0, 2], [2, 3]]), np.array([0.9, 0.8, 0.7, 0.95]))
    [((0, 1), 0.9), ((2, 3), 0.95)]
    """
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -scores))
    similar: dict[int, dict[int, float]] = defaultdict(dict)
    for (a, b), score in zip(pairs.tolist(), scores.tolist(), strict=True):
        similar[a][b] = similar[b][a] = score
    group_of: dict[int, int] = {}
    groups: dict[int, list[int]] = {}
    for a, b in pairs[order].tolist():
        one, other = group_of.get(a, ~a), group_of.get(b, ~b)
        if one == other:
            continue
        first = groups.get(one, [a])
        second = groups.get(other, [b])
        if all(y in similar[x] for x in first for y in second):
            groups.pop(other, None)
            groups[one] = first + second
            for member in groups[one]:
                group_of[member] = one
    result = []
    for members in groups.values():
        lowest = min(similar[x][y] for k, x in enumerate(members) for y in members[k + 1 :])
        result.append((tuple(sorted(members)), float(lowest)))
    return sorted(result, key=lambda g: (-len(g[0]), g[0]))


def _pairs(vectors: NDArray[np.float16], least: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    pairs, scores, total = [np.empty((0, 2), np.int64)], [np.empty(0)], 0
    for start in range(0, len(vectors), _BLOCK):
        one = vectors[start : start + _BLOCK].astype(np.float32)
        for other in range(start, len(vectors), _BLOCK):
            # A little below, since products are in single precision here and in double below.
            near = one @ vectors[other : other + _BLOCK].astype(np.float32).T
            a, b = np.nonzero(near >= least - 1e-4)
            a, b = a + start, b + other
            a, b = a[a < b], b[a < b]
            exact = np.einsum("nd,nd->n", vectors[a].astype(np.float64), vectors[b].astype(np.float64))
            # Half precision moves the product of a copy with itself below 1.
            kept = exact >= least - 5e-4
            total += int(kept.sum())
            if total > _MOST_PAIRS:
                raise UsageError(
                    f"more than {_MOST_PAIRS:,} pairs have a similarity of {least:g} or more", fix="use a higher --min"
                )
            pairs.append(np.stack([a[kept], b[kept]], 1))
            scores.append(np.minimum(exact[kept], 1.0))
    return np.concatenate(pairs), np.concatenate(scores)


def best_copy(members: Sequence[tuple[int, Row]]) -> int:
    """Return the id of the copy to keep: most pixels, then most bytes, then the first.

    >>> best_copy([(1, Row("a.jpg", bytes=9, height=2, width=2)), (2, Row("b.jpg", bytes=5, height=3, width=2))])
    2
    """
    return max(members, key=lambda m: (m[1].height * m[1].width, m[1].bytes, -m[0]))[0]
