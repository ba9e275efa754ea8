"""Reading `spiece.model`, the file of SentencePiece: its pieces and how it writes texts, as plain JSON types."""

__all__ = ["read_pieces"]

import base64
import struct
from collections.abc import Iterator
from typing import Any

_MOST_PIECES = 1_000_000
_UNIGRAM = 1
_DEFINED = 4
# sentencepiece_model.proto: the numbers of the fields that a text's pieces depend on.
_PIECE, _TRAINER, _NORMALISER = 1, 2, 3
_TEXT, _SCORE, _KIND = 1, 2, 3
_MODEL_TYPE, _SUFFIX, _BY_BYTES = 3, 24, 35
_CHARSMAP, _PREFIX, _TRIM, _MARK = 2, 3, 4, 5

_Value = int | bytes


def read_pieces(data: bytes) -> dict[str, Any]:
    """Return what a SentencePiece model of the unigram kind says, as JSON types.

    The file is a message of Protocol Buffers (`ModelProto`); only the fields that the pieces of a text depend on are
    read, and nothing is allocated by a length that the file merely states. `pieces` are (text, score, kind), where the
    kinds are SentencePiece's: 1 normal, 2 unknown, 3 control, 5 unused, 6 a byte.

    Raises:
        ValueError: it is not one, is cut off, or is of another kind.
    """
    pieces: list[list[Any]] = []
    trainer: dict[int, _Value] = {}
    writes: dict[int, _Value] = {}
    for number, value in _fields(data):
        if number == _PIECE:
            if len(pieces) == _MOST_PIECES:
                raise ValueError(f"it has more than {_MOST_PIECES:,} pieces")
            pieces.append(_piece(_bytes(value)))
        elif number == _TRAINER:
            trainer.update(_fields(_bytes(value)))
        elif number == _NORMALISER:
            writes.update(_fields(_bytes(value)))
    if not pieces:
        raise ValueError("it has no pieces")
    if trainer.get(_MODEL_TYPE, _UNIGRAM) != _UNIGRAM:
        raise ValueError("its pieces are not those of a unigram model")
    if any(kind == _DEFINED for _, _, kind in pieces):
        raise ValueError("it has pieces that its user defined, which are not supported")
    if trainer.get(_SUFFIX, 0):
        raise ValueError("it marks the ends of words, and not their beginnings")
    return {
        "pieces": pieces,
        "by_bytes": bool(trainer.get(_BY_BYTES, 0)),
        "charsmap": base64.b64encode(_bytes(writes.get(_CHARSMAP, b""))).decode(),
        "prefix": bool(writes.get(_PREFIX, 1)),
        "trim": bool(writes.get(_TRIM, 1)),
        "mark": bool(writes.get(_MARK, 1)),
    }


def _piece(data: bytes) -> list[Any]:
    found = dict(_fields(data))
    score = found.get(_SCORE, b"\0\0\0\0")
    kind = found.get(_KIND, 1)
    if not isinstance(kind, int):
        raise ValueError("a piece has no kind")
    return [_bytes(found.get(_TEXT, b"")).decode("utf-8"), struct.unpack("<f", _bytes(score))[0], kind]


def _bytes(value: _Value) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where text is expected")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, _Value]]:
    """Yield the fields of a message: a number, or the bytes of a text, a message or a float."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            whole, at = _varint(data, at)
            yield number, whole
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"it is not a SentencePiece model: a field of the unknown type {wire}")
        if size > len(data) - at:
            raise ValueError("it is cut off")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    found = 0
    for k in range(10):
        if at + k >= len(data):
            raise ValueError("it is cut off")
        found |= (data[at + k] & 0x7F) << 7 * k
        if data[at + k] < 0x80:
            return found, at + k + 1
    raise ValueError("it is not a SentencePiece model: a number of more than 10 bytes")
