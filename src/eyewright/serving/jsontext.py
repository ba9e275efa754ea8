"""JSON from a client: its depth and the number of its values are checked before it is parsed, in linear time.

A large text, such as an image in base64, is not copied: fields of type `msgspec.Raw` are views of the body.
"""

__all__ = ["check_json", "parse_json"]

import re
from typing import Any, TypeVar, overload

import msgspec
import numpy as np

from eyewright.core.errors import spelling_hint
from eyewright.serving.refusals import HttpError
from eyewright.serving.settings import Settings

T = TypeVar("T")

# Counting depth takes some 20 bytes a byte for one slice.
_SLICE = 2**16
_DIGITS_CHECKED = 2**18
# Possessive, and a text without an end is one token: each byte is looked at once.
_NUMBERS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|\d{2,}+', re.DOTALL)


def check_json(data: bytes, settings: Settings, *, values: int | None = None) -> None:
    """Check the depth and the number of values of a JSON text, in time linear in its size, without parsing it.

    Commas count as values wherever they stand; `values` replaces the limit of the settings. The digits of numbers are
    checked in texts up to 256 KB only: beyond, the parser refuses integers above 64 bits.

    Raises:
        HttpError: it is over a limit.
    """
    most = settings.json_values if values is None else values
    commas = opened = 0
    for at in range(0, len(data), _SLICE):
        commas += data.count(b",", at, at + _SLICE)
        opened += data.count(b"[", at, at + _SLICE) + data.count(b"{", at, at + _SLICE)
        if commas >= most:
            raise HttpError(
                413, "json_values", f"expected JSON of at most {most:,} values, found more", fix="send less at once"
            )
    if opened > settings.json_depth:
        _check_depth(data, settings.json_depth)
    if len(data) <= _DIGITS_CHECKED:
        for token in _NUMBERS.finditer(data):
            if data[token.start()] != 34 and token.end() - token.start() > settings.json_digits:
                raise HttpError(
                    400, "json_digits", f"expected numbers of at most {settings.json_digits} digits, found more"
                )


def _check_depth(data: bytes, most: int) -> None:
    # Pairs first, from the left: what is left before a quote escapes it.
    escapes, kept = b"\\" in data, b""
    depth, inside = 0, np.uint8(0)
    for at in range(0, len(data), _SLICE):
        text: bytes | memoryview = memoryview(data)[at : at + _SLICE]
        if escapes:
            text = kept + data[at : at + _SLICE]
            # A backslash and what it escapes stay together.
            kept = b"\\" if (len(text) - len(text.rstrip(b"\\"))) % 2 else b""
            text = text[: len(text) - len(kept)].replace(b"\\\\", b"").replace(b'\\"', b"")
            if not text:
                continue
        part = np.frombuffer(text, np.uint8)
        # Counted modulo 256: whether a byte is within a text is the parity of the quotes before it.
        quotes = np.cumsum(part == 34, dtype=np.uint8) + inside
        outside = (quotes & 1) == 0
        inside = quotes[-1] & np.uint8(1)
        # [ and ] differ from { and } in one bit.
        folded = part | 32
        steps = (folded == 123).astype(np.int8) - (folded == 125).astype(np.int8)
        levels = np.cumsum(steps * outside, dtype=np.int64) + depth
        if levels.max() > most:
            raise HttpError(400, "json_too_deep", f"expected JSON at most {most} deep, found deeper")
        depth = int(levels[-1])


def _known_fields(kind: Any, words: str) -> str:
    """Return the fields of the object that msgspec's message is about, for a fix; empty where it is not known.

    `words` end with the place, such as "Object contains unknown field 'tpo' - at '$.parameters'".
    """
    named, at = re.search(r"unknown field '([^']*)'", words), re.search(r" at '\$([^']*)'", words)
    found = [msgspec.inspect.type_info(kind)]
    for step in re.findall(r"\.(\w+)|\[", at[1] if at else ""):
        found = [inner for one in found for inner in _inside(one, step)]
    structs = [s for one in found for s in _plain(one) if isinstance(s, msgspec.inspect.StructType)]
    names = list(dict.fromkeys(f.encode_name for s in structs for f in s.fields))
    if not names:
        return ""
    return f"{spelling_hint(named[1] if named else '', names)}; "


def _plain(kind: msgspec.inspect.Type) -> list[msgspec.inspect.Type]:
    return list(kind.types) if isinstance(kind, msgspec.inspect.UnionType) else [kind]


def _inside(kind: msgspec.inspect.Type, field: str) -> list[msgspec.inspect.Type]:
    """Return what a field of an object, or with "" an item of an array, may be."""
    found: list[msgspec.inspect.Type] = []
    for one in _plain(kind):
        if field and isinstance(one, msgspec.inspect.StructType):
            found += [f.type for f in one.fields if f.encode_name == field]
        elif not field and isinstance(one, msgspec.inspect.ListType | msgspec.inspect.VarTupleType):
            found.append(one.item_type)
        elif not field and isinstance(one, msgspec.inspect.DictType):
            found.append(one.value_type)
    return found


@overload
def parse_json(data: bytes, settings: Settings, *, values: int | None = None) -> Any: ...
@overload
def parse_json(data: bytes, settings: Settings, *, type: type[T], values: int | None = None) -> T: ...
def parse_json(data: bytes, settings: Settings, *, type: Any = Any, values: int | None = None) -> Any:
    """Parse JSON into `type`, no deeper and with no more values than the settings allow.

    >>> parse_json(b'{"a": [1, 2.5]}', Settings())
    {'a': [1, 2.5]}

    Raises:
        HttpError: it is not JSON, over a limit, or not of that type.
    """
    check_json(data, settings, values=values)
    try:
        return msgspec.json.decode(data, type=type)
    except msgspec.ValidationError as error:
        words = str(error).replace("`", "'")[:200]
        code, fix = "json", "see /openapi.json"
        if "unknown field" in words:
            code, fix = "unknown_option", f"{_known_fields(type, words)}see /openapi.json"
        raise HttpError(400, code, f"the JSON is not what is expected: {words}", fix=fix) from None
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise HttpError(400, "json", f"the body is not JSON: {str(error)[:200]}", fix="check it") from None
