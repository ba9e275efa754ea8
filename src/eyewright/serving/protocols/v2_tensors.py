"""The input tensors of Open Inference V2: prepared arrays as binary data or as numbers in JSON."""

__all__ = ["DTYPES", "MOST_EXAMPLES", "read_tensors"]

import math
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from eyewright.bundle.inputs import only_image
from eyewright.core.errors import UsageError
from eyewright.core.inputs import Inputs
from eyewright.serving.messages import Array

DTYPES = MappingProxyType(
    {"float32": "FP32", "float64": "FP64", "uint8": "UINT8", "int32": "INT32", "int64": "INT64", "bool": "BOOL"}
)
"""V2's name of a type by numpy's."""

MOST_EXAMPLES = 64
_LONG = re.compile(rb"[0-9]{4}")
_FIX = "send the arrays as they are prepared, or as binary tensors"


def read_tensors(rows: Sequence[Mapping[str, Any]], inputs: Inputs) -> dict[str, Array]:
    """Return the prepared arrays of a request by input name: rows with "name", "shape", "datatype", "data" as JSON, and
    "binary" where the array is behind the JSON.

    Raises:
        UsageError: another type, shape or number of values than the input takes.
    """
    found = {}
    for row in rows:
        name, shape = row["name"], row["shape"]
        one = inputs[name]
        if row.get("datatype") != DTYPES[one.dtype]:
            files = " or BYTES" if only_image(inputs) else ""
            raise UsageError(
                f"expected datatype {DTYPES[one.dtype]}{files} of {name!r}, found {str(row.get('datatype'))[:20]!r}",
                fix="send it as it is prepared" + (", or image files" if files else ""),
            )
        if list(shape[1:]) != list(one.shape) or not 1 <= shape[0] <= MOST_EXAMPLES:
            raise UsageError(
                f"expected shape [1 to {MOST_EXAMPLES}, {list(one.shape)}], found {shape[:8]}", fix="prepare the image"
            )
        data = row["binary"]
        if data is None:
            read = _numbers if one.dtype == "uint8" else _values
            array = read(row["data"], shape, one.dtype)
            found[name] = Array(one.dtype, tuple(shape), array.tobytes())
            continue
        n = math.prod(shape) * np.dtype(one.dtype).itemsize
        if len(data) != n:
            raise UsageError(f"expected {n} bytes for shape {list(shape)}, found {len(data)}", fix="change one of them")
        found[name] = Array(one.dtype, tuple(shape), bytes(data))
    return found


def _values(raw: msgspec.Raw | msgspec.UnsetType, shape: Sequence[int], dtype: str) -> NDArray[Any]:
    """Return the numbers of an array that is flat or nested as its shape says, (n,)."""
    n = math.prod(shape)
    wrong = UsageError(f"expected data as {n} numbers of {dtype}, flat or nested as the shape says", fix=_FIX)
    try:
        array = np.array(None if isinstance(raw, msgspec.UnsetType) else msgspec.json.decode(raw))
    except (msgspec.DecodeError, ValueError, RecursionError, OverflowError):
        raise wrong from None
    wanted = np.dtype(dtype)
    kinds = {"f": "iuf", "b": "b"}.get(wanted.kind, "iu")
    if array.dtype.kind not in kinds or list(array.shape) not in ([n], list(shape)):
        raise wrong
    if wanted.kind in "iu" and not np.iinfo(wanted).min <= array.min() <= array.max() <= np.iinfo(wanted).max:
        raise wrong
    return array.astype(wanted).ravel()


def _numbers(raw: msgspec.Raw | msgspec.UnsetType, shape: Sequence[int], dtype: str) -> NDArray[np.uint8]:
    """Return the numbers of an array that is flat or nested as its shape says, uint8 (n,)."""
    n = math.prod(shape)
    wrong = UsageError(
        f"expected data as {n} whole numbers from 0 to 255, flat or nested as the shape says",
        fix="send pixels as they are prepared, or a binary tensor",
    )
    text = b"" if isinstance(raw, msgspec.UnsetType) else bytes(memoryview(raw))
    if text.count(b",") != n - 1 or _LONG.search(text):
        raise wrong
    nested = b""
    for length in reversed(shape):
        nested = b"[" + b",".join([nested] * length) + b"]"
    if text.translate(None, b"0123456789 \t\r\n") not in (nested, b"[" + b"," * (n - 1) + b"]"):
        raise wrong
    values = np.fromstring(text.translate(bytes.maketrans(b"[]", b"  ")), np.int16, sep=",")
    if len(values) != n or values.max() > 255:
        raise wrong
    return values.astype(np.uint8)
