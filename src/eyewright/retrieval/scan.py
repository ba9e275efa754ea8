"""Dot products of 8-bit codes on ONNX Runtime, which has the processor's instructions for them and numpy has not."""

__all__ = ["dot_codes"]

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.bundle.session import open_session

_UINT8, _INT8, _INT32 = 2, 3, 6


def dot_codes(query: NDArray[np.uint8], codes: NDArray[np.int8]) -> NDArray[np.int32]:
    """Return the dot products of a query's codes, uint8 (1, D), with those of vectors, int8 (D, N): int32 (N,).

    >>> dot_codes(np.array([[1, 2]], np.uint8), np.array([[1, -1], [3, 4]], np.int8)).tolist()
    [7, 7]
    """
    (found,) = _session().run(None, {"q": query, "x": codes})
    result: NDArray[np.int32] = found[0]
    return result


@cache
def _session() -> Any:
    return open_session(_model(), threads=1)


def _model() -> bytes:
    """Return an ONNX model of one node, MatMulInteger(q, x), in the wire format of protocol buffers."""
    node = _part(1, b"q") + _part(1, b"x") + _part(2, b"y") + _part(4, b"MatMulInteger")
    graph = _part(1, node) + _part(2, b"dot")
    graph += _part(11, _value("q", _UINT8, "m", "d")) + _part(11, _value("x", _INT8, "d", "n"))
    graph += _part(12, _value("y", _INT32, "m", "n"))
    # The version of the format (ONNX 1.13) and of the operators.
    return _number(1, 8) + _part(7, graph) + _part(8, _number(2, 13))


def _value(name: str, element: int, *sides: str) -> bytes:
    shape = b"".join(_part(1, _part(2, side.encode())) for side in sides)
    return _part(1, name.encode()) + _part(2, _part(1, _number(1, element) + _part(2, shape)))


def _part(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])
