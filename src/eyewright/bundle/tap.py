"""One more output of an ONNX model: a tensor inside it, named when the bundle was exported."""

__all__ = ["with_output"]

_GRAPH, _OUTPUT, _NAME = 7, 12, 1


def with_output(model: bytes, tensor: str) -> bytes:
    """Return an ONNX model that also answers with one of its inner tensors.

    Nothing is parsed: a message that occurs twice is merged (Protocol Buffers, "Last One Wins": embedded messages), so
    a graph with just this output is appended. It takes no second copy of a large model's weights in memory, and not
    the onnx package.

    >>> with_output(b"", "x").hex()
    '3a0562030a0178'
    """
    return model + _field(_GRAPH, _field(_OUTPUT, _field(_NAME, tensor.encode("utf-8"))))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
