"""A graph over the vectors of a large index, by usearch: quick candidates that are then scored exactly."""

__all__ = ["Graph", "build_graph", "open_graph"]

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import InputError
from eyewright.core.extras import import_extra
from eyewright.core.quoting import quoted

_SEARCHED = 128
_BUILT, _LINKS = 128, 16


@dataclass(frozen=True)
class Graph:
    """An open graph; it knows the vectors with ids below `next_id`."""

    next_id: int
    _index: Any

    def search(self, query: NDArray[np.float32], n: int) -> NDArray[np.int64]:
        """Return the ids of about the `n` nearest vectors of a unit vector, float32 (D,)."""
        found = self._index.search(query.astype(np.float16), n)
        return np.asarray(found.keys).astype(np.int64)


def build_graph(ids: NDArray[np.int64], vectors: NDArray[np.float16]) -> bytes:
    """Return the graph of unit vectors, float16 (N, D), as bytes.

    Raises:
        MissingExtraError: usearch is not installed.
    """
    index = _new(vectors.shape[1])
    index.add(ids.astype(np.uint64), vectors)
    return bytes(index.save())


def open_graph(path: Path, dim: int, next_id: int, size: int) -> Graph | None:
    """Map a graph from its file; None where usearch is not installed, and the search is exact.

    Raises:
        FileNotFoundError: it is not there.
        InputError: it is damaged.
    """
    from importlib.util import find_spec

    if os.stat(path).st_size != size:
        raise InputError(
            f"the index is damaged: {quoted(path.name)} has {os.stat(path).st_size:,} bytes, expected {size:,}",
            fix="index again",
            code="index_damaged",
        )
    if find_spec("usearch") is None:
        return None
    index = _new(dim)
    index.view(str(path))
    return Graph(next_id, index)


def _new(dim: int) -> Any:
    usearch = import_extra("usearch.index", extra="search", what="a graph of vectors")
    return usearch.Index(
        ndim=dim, metric="ip", dtype="f16", connectivity=_LINKS, expansion_add=_BUILT, expansion_search=_SEARCHED
    )
