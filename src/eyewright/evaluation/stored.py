"""Results of a task as JSON and back, so that processes that share no memory measure parts of one dataset.

What is written names no class: it is read as the class that the task declares (`Reporting.stored`), a frozen dataclass
of arrays, numbers, texts, sequences, mappings and such dataclasses. Its dataset is not written.
"""

__all__ = ["pack_results", "unpack_results"]

import base64
import math
import types
import zlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np

from eyewright.data.dataset import Dataset

T = TypeVar("T")
_KINDS = "biuf"
_MOST_BYTES = 2**31


def pack_results(results: object) -> Any:
    """Return results as JSON types, without their dataset.

    Raises:
        TypeError: they hold something that cannot be stored.
    """
    if is_dataclass(results) and not isinstance(results, type):
        values = {f.name: getattr(results, f.name) for f in fields(results)}
        return {name: pack_results(v) for name, v in values.items() if not isinstance(v, Dataset)}
    if isinstance(results, np.ndarray):
        if results.dtype.kind not in _KINDS:
            raise TypeError(f"arrays of {results.dtype} cannot be stored")
        data = base64.b64encode(zlib.compress(np.ascontiguousarray(results).tobytes(), 1)).decode("ascii")
        return [results.dtype.str, list(results.shape), data]
    if isinstance(results, float):
        # JSON has no NaN.
        return float(results) if math.isfinite(results) else str(float(results))
    if results is None or isinstance(results, str | int):
        return results
    if isinstance(results, Mapping):
        return {str(k): pack_results(v) for k, v in results.items()}
    if isinstance(results, Sequence):
        return [pack_results(v) for v in results]
    raise TypeError(f"{type(results).__name__} cannot be stored")


def unpack_results(kind: type[T], found: Any, dataset: Dataset) -> T:
    """Return what `pack_results` made of an object of class `kind`, with this dataset.

    Raises:
        ValueError, KeyError, TypeError: it is not what was written.
    """
    values = {
        name: dataset if hint is Dataset else _read(hint, found[name], dataset)
        for name, hint in _hints(cast("Hashable", kind)).items()
    }
    return kind(**values)


@cache
def _hints(kind: Hashable) -> dict[str, Any]:
    known: Any = kind
    hints = get_type_hints(known)
    return {f.name: hints[f.name] for f in fields(known)}


def _read(hint: Any, found: Any, dataset: Dataset) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if found is None and type(None) in inner:
            return None
        (kind,) = (k for k in inner if k is not type(None))
        return _read(kind, found, dataset)
    if origin is np.ndarray:
        return _array(found)
    if origin is tuple:
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(_read(inner[0], v, dataset) for v in found)
        return tuple(_read(k, v, dataset) for k, v in zip(inner, found, strict=True))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {str(k): _read(inner[1], v, dataset) for k, v in found.items()}
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return tuple(_read(inner[0], v, dataset) for v in found)
    if hint in (float, int, str, bool):
        return hint(found)
    if is_dataclass(hint) and isinstance(hint, type):
        return unpack_results(hint, found, dataset)
    raise TypeError(f"{hint} cannot be stored")


def _array(found: Any) -> Any:
    name, shape, data = found
    kind = np.dtype(str(name))
    size = math.prod(int(n) for n in shape) * kind.itemsize
    if kind.kind not in _KINDS or not 0 <= size <= _MOST_BYTES:
        raise ValueError(f"expected an array of numbers, found {kind}")
    unpacked = zlib.decompressobj().decompress(base64.b64decode(data, validate=True), size + 1)
    if len(unpacked) != size:
        raise ValueError(f"expected {size:,} bytes, found {len(unpacked):,}")
    return np.frombuffer(bytearray(unpacked), kind).reshape([int(n) for n in shape])
