"""JSON as other programs can read it: no NaN, no infinity, plain types only."""

__all__ = ["dumps_json", "plain_unicode", "to_jsonable", "vector_of", "vector_text"]

import base64
import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_jsonable(value: Any) -> Any:
    """Turn values that flow here into plain JSON types; a number that is not finite becomes `None`.

    >>> to_jsonable({"a": np.float32(0.5), "b": float("nan"), "c": (1, np.arange(2))})
    {'a': 0.5, 'b': None, 'c': [1, [0, 1]]}

    Raises:
        TypeError: for a type that has no agreed JSON form.
    """
    if value is None or isinstance(value, bool | int | str):
        return plain_unicode(value) if isinstance(value, str) else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, np.generic):
        return to_jsonable(value.item())
    if isinstance(value, np.ndarray):
        return to_jsonable(value.tolist())
    if isinstance(value, Mapping):
        return {plain_unicode(str(key)): to_jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_jsonable(item) for item in value]
    if isinstance(value, PurePath):
        return to_jsonable(str(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_jsonable(getattr(value, f.name)) for f in dataclasses.fields(value)}
    raise TypeError(f"no JSON form for {type(value).__name__}")


def plain_unicode(text: str) -> str:
    """Return text without the surrogates that stand for the bytes of a file name that is not UTF-8: JSON has none."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:
        # A surrogate that stands for no byte, as in "\\ud800" of somebody's JSON.
        return text.encode("utf-8", "replace").decode("utf-8")


def dumps_json(value: Any, *, indent: int | None = None) -> str:
    """Serialise with `to_jsonable`; the result is valid JSON for every reader.

    >>> dumps_json({"x": float("inf")})
    '{"x": null}'
    """
    return json.dumps(to_jsonable(value), indent=indent, allow_nan=False, ensure_ascii=False)


def vector_text(vector: NDArray[Any]) -> str:
    """Return a vector, (D,), as JSON holds it: base64 of float32 in little-endian order."""
    return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode("ascii")


def vector_of(text: str) -> NDArray[np.float32]:
    """Return the vector, float32 (D,), that `vector_text` wrote.

    >>> vector_of(vector_text(np.array([0.5, -2]))).tolist()
    [0.5, -2.0]

    Raises:
        ValueError: it is not that.
    """
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
