"""Vectors as 8-bit codes whose error is known: the first pass of an exact search."""

__all__ = ["Codes", "Query", "code_query", "code_vectors", "unit_vectors"]

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import InputError

_LARGEST = 127
# Codes of a query take 7 bits, from 1 to 127: two products of 7 and 8 bits fit into the 16 bits in which processors
# without VNNI add them (127 * 127 * 2 < 2**15), which products of 8 and 8 do not.
_QUERY_LARGEST = 63
QUERY_ZERO = 64


class Codes(NamedTuple):
    """Codes, int8 (D, N), with what turns a dot product of codes into one of vectors.

    `scale` and `offset` are float32 (N,): the dot product is about `(scale * dot - offset) * query.scale`, where `dot`
    is that with the query's unsigned codes. `error` is the largest length of what the codes leave of a vector.
    """

    codes: NDArray[np.int8]
    scale: NDArray[np.float32]
    offset: NDArray[np.float32]
    error: float


class Query(NamedTuple):
    """A query as unsigned codes, uint8 (1, D), its scale, and how far a coded dot product may be from the true one."""

    codes: NDArray[np.uint8]
    scale: float
    error: float
    length: float

    def bound(self, error: float) -> float:
        """Return the largest error of a dot product with vectors whose codes leave at most `error` (Cauchy-Schwarz).

        q x - q' x' = q' (x - x') + (q - q') x, and x is of length 1, or a thousandth more in half precision.
        """
        return self.length * error + self.error * 1.001 + 2e-6


def unit_vectors(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Return vectors (N, D) at length 1, float32.

    >>> unit_vectors(np.array([[0.0, 4.0]])).tolist()
    [[0.0, 1.0]]

    Raises:
        InputError: one has a value that is not finite, or is zero.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.asarray(vectors, np.float32)
        lengths = np.sqrt((found.astype(np.float64) ** 2).sum(-1, keepdims=True))
    if not np.isfinite(lengths).all():
        raise InputError("expected vectors of finite numbers, found NaN or infinity", fix="check the model")
    if not (lengths > 0).all():
        raise InputError("expected vectors with a direction, found zeros only", fix="check the model")
    result: NDArray[np.float32] = (found / lengths).astype(np.float32)
    return result


def code_vectors(vectors: NDArray[np.float32]) -> Codes:
    """Return the codes of unit vectors, float32 (N, D)."""
    scale = np.maximum(np.abs(vectors).max(1), 1e-12) / _LARGEST
    codes = np.rint(vectors / scale[:, None]).astype(np.int8)
    left = np.sqrt(((vectors - codes * scale[:, None]).astype(np.float64) ** 2).sum(1))
    offset = scale * (QUERY_ZERO * codes.sum(1, dtype=np.int64))
    return Codes(
        np.ascontiguousarray(codes.T), scale.astype(np.float32), offset.astype(np.float32),
        float(left.max(initial=0.0)) + 1e-6,
    )  # fmt: skip


def code_query(vector: NDArray[np.float32]) -> Query:
    """Return the codes of a unit vector, float32 (D,)."""
    scale = float(max(np.abs(vector).max(), 1e-12)) / _QUERY_LARGEST
    codes = np.rint(vector / scale)
    near = (codes * scale).astype(np.float64)
    left = float(np.linalg.norm(vector.astype(np.float64) - near))
    return Query((codes + QUERY_ZERO).astype(np.uint8)[None], scale, left, float(np.linalg.norm(near)))
