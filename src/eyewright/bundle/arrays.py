"""Read arrays from an `.npz` that somebody else wrote: sizes and types are checked before a value is read."""

__all__ = ["MOST_BYTES", "ArrayFile"]

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from eyewright.core.errors import BundleError

MOST_BYTES = 512 * 2**20
"""What the arrays of one file may take in memory; also the largest file."""

_MOST_ARRAYS = 4096
_MOST_AXES = 8
_MOST_HEADER = 4096
_KINDS = "biuf"


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class ArrayFile:
    """The arrays of an `.npz` by name; opening reads the headers only.

    >>> buffer = io.BytesIO()
    >>> np.savez_compressed(buffer, a=np.arange(3))
    >>> with ArrayFile(buffer.getvalue(), "some.npz") as arrays:
    ...     arrays.shape("a"), arrays["a"].tolist()
    ((3,), [0, 1, 2])

    Raises:
        BundleError: not such a file; more arrays or bytes than allowed; objects, text or structures among them.
    """

    def __init__(self, data: bytes, name: str, *, most: int = MOST_BYTES) -> None:
        self._name = name
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
            self._headers = dict(self._read_headers(most))
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, OverflowError) as error:
            raise self._unreadable(error) from error
        except (EOFError, zlib.error, struct.error, SyntaxError, MemoryError, RecursionError, TypeError) as error:
            raise self._unreadable(error) from error

    def _read_headers(self, most: int) -> Iterator[tuple[str, _Header]]:
        entries = self._archive.infolist()
        if len(entries) > _MOST_ARRAYS:
            raise ValueError(f"{len(entries)} arrays, more than the {_MOST_ARRAYS} allowed")
        if len({e.filename for e in entries}) != len(entries):
            raise ValueError("two arrays of one name")
        total = sum(e.file_size for e in entries)
        if total > most:
            raise ValueError(f"its arrays take {total:,} bytes, more than the {most:,} allowed")
        for entry in entries:
            if not entry.filename.endswith(".npy") or entry.flag_bits & 1:
                raise ValueError(f"{entry.filename[:80]!r} is not an array")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{entry.filename[:80]!r} is compressed in an unknown way")
            with self._archive.open(entry) as file:
                header = _read_header(file)
                if header.nbytes != entry.file_size - file.tell():
                    raise ValueError(f"{entry.filename[:80]!r} is not as large as its header says")
            yield entry.filename.removesuffix(".npy"), header

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the arrays, in the order of the file."""
        return tuple(self._headers)

    def __contains__(self, name: str) -> bool:
        return name in self._headers

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array from its header.

        Raises:
            BundleError: there is none of this name.
        """
        return self._header(name).shape

    def dtype(self, name: str) -> np.dtype[Any]:
        """Return the type of an array from its header.

        Raises:
            BundleError: there is none of this name.
        """
        return self._header(name).dtype

    def __getitem__(self, name: str) -> NDArray[Any]:
        header = self._header(name)
        try:
            with self._archive.open(f"{name}.npy") as file:
                _read_header(file)
                content = bytearray(file.read(header.nbytes))
                # Reading to the end compares the checksum.
                if len(content) != header.nbytes or file.read(1):
                    raise ValueError(f"{name!r} is cut off")
        except (zipfile.BadZipFile, OSError, ValueError, EOFError, zlib.error, MemoryError) as error:
            raise self._unreadable(error) from error
        flat = np.frombuffer(content, header.dtype)
        return flat.reshape(header.shape, order="F" if header.fortran else "C")

    def read_all(self) -> dict[str, NDArray[Any]]:
        """Read every array."""
        return {name: self[name] for name in self._headers}

    def _header(self, name: str) -> _Header:
        if name not in self._headers:
            raise BundleError(f"{self._name} holds no {name!r}", fix="export the model again")
        return self._headers[name]

    def _unreadable(self, error: Exception) -> BundleError:
        reason = str(error) or type(error).__name__
        return BundleError(f"{self._name} cannot be read: {reason[:300]}", fix="export the model again")

    def __enter__(self) -> "ArrayFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._archive.close()


def _read_header(file: IO[bytes]) -> _Header:
    version = npy.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = npy.read_array_header_1_0(file, max_header_size=_MOST_HEADER)
    elif version == (2, 0):
        shape, fortran, dtype = npy.read_array_header_2_0(file, max_header_size=_MOST_HEADER)
    else:
        raise ValueError(f"an array of the unknown version {version}")
    if dtype.kind not in _KINDS or dtype.hasobject:
        raise ValueError(f"expected numbers, found {str(dtype)[:80]}")
    if len(shape) > _MOST_AXES or any(isinstance(s, bool) or s < 0 for s in shape):
        raise ValueError(f"an impossible shape {str(shape)[:80]}")
    return _Header(tuple(int(s) for s in shape), dtype, bool(fortran))
