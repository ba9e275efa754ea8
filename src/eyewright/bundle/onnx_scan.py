"""Look through an ONNX file for data that lies outside of it, before any runtime sees the file.

A tensor of an ONNX file may name another file that holds its values. A runtime that opens such a model reads that file:
from the current folder, from anywhere, or from an address in memory, by its version. A bundle's model is one file, so
such a model is refused. This walks the protobuf's own structure with the standard library alone; it reads no values.
"""

__all__ = ["refuse_outside_data"]

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from eyewright.core.errors import BundleError

_FIX = "save the model as one file: onnx.save(onnx.load(path), path, save_as_external_data=False)"
_DEEPEST = 100
# Without one of these byte strings no tensor can name a file and no node can name a compiled context. Protobuf stores
# strings as they are, so the walk can be spared for nearly every model.
_SIGNS = (b"location", b"EPContext")

# What lies in what, by field number, with the names of onnx.proto.
_CHILDREN: Mapping[str, Mapping[int, str]] = MappingProxyType(
    {
        "model": {7: "graph", 20: "training", 25: "function"},
        "training": {1: "graph", 2: "graph"},
        "function": {7: "node", 11: "attribute"},
        "graph": {1: "node", 5: "tensor", 15: "sparse"},
        "sparse": {1: "tensor", 2: "tensor"},
        "node": {5: "attribute"},
        "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
        "tensor": {},
    }
)
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14
_NODE_OPERATOR = 4
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def refuse_outside_data(model: bytes) -> None:
    """Refuse an ONNX model whose values lie in another file, in whatever tensor: initialisers, sparse tensors,
    attributes, subgraphs, functions, training information.

    >>> refuse_outside_data(bytes([0x08, 0x08]))

    Raises:
        BundleError: it names data outside the file, is in ONNX Runtime's own format, or is damaged where that matters.
    """
    if model[4:8] == b"ORTM":
        raise BundleError("expected an ONNX model, found one in ONNX Runtime's own format", fix="save it as ONNX")
    if not any(sign in model for sign in _SIGNS):
        return
    waiting: list[tuple[str, int, int, int]] = [("model", 0, len(model), 0)]
    while waiting:
        kind, start, end, depth = waiting.pop()
        if depth > _DEEPEST:
            raise BundleError("the model's graphs are nested too deep", fix="use another model")
        children = _CHILDREN[kind]
        for number, wire, first, last in _fields(model, start, end):
            if number in children:
                if wire != _BYTES:
                    raise _damaged()
                waiting.append((children[number], first, last, depth + 1))
            elif kind == "tensor" and number in (_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION):
                # For a number, `first` is its value; 0 is data inside the file.
                if wire == _BYTES or first:
                    raise BundleError("the model keeps values in another file", fix=_FIX, code="external_data")
            elif kind == "node" and number == _NODE_OPERATOR and model[first:last] == b"EPContext":
                raise BundleError(
                    "the model holds a context compiled for one device", fix="use the ONNX model that it was made from"
                )


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (field number, wire type, first, last): where a field's bytes lie, or a varint's value as `first`."""
    while at < end:
        tag, at = _varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if number == 0 or tag >= 2**32:
            raise _damaged()
        if wire == _VARINT:
            value, at = _varint(data, at, end)
            yield number, wire, value, 0
            continue
        if wire == _BYTES:
            size, at = _varint(data, at, end)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            # Groups: no version of ONNX has had any.
            raise _damaged()
        if size > end - at:
            raise _damaged()
        yield number, wire, at, at + size
        at += size


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
    raise _damaged()


def _damaged() -> BundleError:
    return BundleError("the model is not a well-formed ONNX file", fix="save it again")
