"""Exact search: codes propose with a bound on their error, vectors decide."""

__all__ = ["Found", "search_exact"]

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyewright.retrieval.coding import code_query
from eyewright.retrieval.scan import dot_codes
from eyewright.retrieval.segments import Segment

_BLOCK = 64
_SAMPLE = 2048


class Found(NamedTuple):
    """The nearest vectors of a query: `ids` int64 (n,), `scores` float64 (n,) sorted down, equal ones by id.

    `places` are their places over all segments. `background` are the coded scores of up to 2,048 of the vectors
    that were asked, spread over them, and `n` is how many were asked.
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    places: NDArray[np.int64]
    background: NDArray[np.float32]
    n: int


def search_exact(
    segments: Sequence[Segment],
    query: NDArray[np.float32],
    n: int,
    *,
    without: NDArray[np.int64] | None = None,
    only: NDArray[np.bool_] | None = None,
) -> Found:
    """Return the `n` vectors of the largest dot product with a unit vector, float32 (D,): none is missed.

    A vector is looked at in half precision if its coded score, with the bound on its error, may reach the n-th best.
    `without` are places that are deleted, `only` (places,) those that may be found.
    """
    total = sum(map(len, segments))
    coded = code_query(query)
    # Blocks of the last, partly filled one too.
    scores = np.full(-(-max(total, 1) // _BLOCK) * _BLOCK, -np.inf, np.float32)
    starts = np.cumsum([0, *map(len, segments)])
    for start, segment in zip(starts, segments, strict=False):
        part = scores[start : start + len(segment)]
        np.multiply(dot_codes(coded.codes, segment.codes), segment.scale, out=part, casting="unsafe")
        part -= segment.offset
        part *= np.float32(coded.scale)
    live = total
    if without is not None and len(without):
        scores[without] = -np.inf
        live -= len(without)
    if only is not None:
        scores[:total][~only] = -np.inf
        live = int(np.isfinite(scores).sum())
    asked = scores[:total] if live == total else scores[np.isfinite(scores)]
    background = asked[:: max(1, live // _SAMPLE)][:_SAMPLE].copy()
    n = min(n, live)
    if n <= 0:
        return Found(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64), background, live)
    bound = coded.bound(max(s.error for s in segments))
    highest = scores.reshape(-1, _BLOCK).max(1)
    if 2 * n <= len(highest):
        reached = np.partition(highest, len(highest) - n)[len(highest) - n]
        # Blocks first: few of them hold a candidate.
        blocks = np.flatnonzero(highest >= reached - 2 * bound)
        inside = scores.reshape(-1, _BLOCK)[blocks] >= reached - 2 * bound
        rows, columns = np.nonzero(inside)
        places = blocks[rows] * _BLOCK + columns
    else:
        reached = np.partition(scores, len(scores) - n)[len(scores) - n]
        places = np.flatnonzero((scores >= reached - 2 * bound) & np.isfinite(scores))
    places = places[np.isfinite(scores[places])]
    exact = np.empty(len(places))
    ids = np.empty(len(places), np.int64)
    wide = query.astype(np.float64)
    cuts = np.searchsorted(places, starts)
    for k, segment in enumerate(segments):
        own = slice(cuts[k], cuts[k + 1])
        inner = places[own] - starts[k]
        exact[own] = segment.vectors[inner].astype(np.float64) @ wide
        ids[own] = segment.ids[inner]
    order = np.lexsort((ids, -exact))[:n]
    return Found(ids[order], exact[order], places[order], background, live)
