"""Image files damaged as disks, networks and attackers damage them, and every door of the decoder tried on each."""

__all__ = ["decode_everyway", "mutated_files", "try_mutated"]

import itertools
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import MissingExtraError, UnreadableImageError
from eyewright.core.quoting import quoted
from eyewright.core.rng import generator
from eyewright.imaging.decode import (
    probe_image,
    read_frames,
    read_image,
    read_labels,
    read_picture,
    read_profile,
    read_thumbnail,
)
from eyewright.imaging.headers import Limits
from eyewright.testing.hostile import odd_files

_LIMITS = Limits(pixels=2_000_000, side=16_384, bytes=2**20, frames=20)
_FIELDS = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutated_files(n: int, *, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield the names and bytes of `n` damaged files, over every format and pixel type that is read, always the same.

    >>> list(mutated_files(3)) == list(mutated_files(3))
    True
    """
    good = [(f.name, f.data) for f in odd_files(seed=seed) if f.data]
    rng = generator(seed, "mutated")
    for k in itertools.islice(itertools.count(), n):
        name, data = good[k % len(good)]
        how = int(rng.integers(len(_WAYS)))
        changed = _WAYS[how](bytearray(data), good[int(rng.integers(len(good)))][1], rng)
        yield f"{name}-{_WAYS[how].__name__.strip('_')}-{k}", bytes(changed)


def decode_everyway(data: bytes) -> dict[str, str]:
    """Decode `data` through each door; return what each said: "decoded", or the code of the refusal.

    Raises:
        AssertionError: a door let an exception of a decoder through, or refused without a reason of one line.
    """
    said = {}
    for name, door in _DOORS.items():
        try:
            door(data)
        except MissingExtraError:
            said[name] = "extra"
        except UnreadableImageError as error:
            if not error.message or "\n" in str(error):
                raise AssertionError(f"{name}: expected a reason of one line, found {quoted(error)}") from error
            said[name] = error.code
        except BaseException as error:
            raise AssertionError(f"{name} let {type(error).__name__} through: {error}") from error
        else:
            said[name] = "decoded"
    if said["thumbnail"] == "decoded" and said["picture"] not in ("decoded", "extra"):
        # The doctor would pass what training then cannot read.
        raise AssertionError(f"thumbnail reads what picture refuses: {said['picture']}")
    return said


def try_mutated(request: Mapping[str, Any], data: bytes) -> tuple[dict[str, Any], NDArray[Any] | None]:
    """Do `decode_everyway` as the job of a worker process, which a crash cannot take this one with."""
    try:
        return {"said": decode_everyway(data)}, None
    except AssertionError as error:
        return {"fault": str(error)}, None


_DOORS: Mapping[str, Callable[[bytes], object]] = {
    "image": lambda d: read_image(d, limits=_LIMITS),
    "native": lambda d: read_image(d, depth="native", limits=_LIMITS),
    "reduced": lambda d: read_image(d, limits=_LIMITS, at_least=(8, 8)),
    "picture": lambda d: read_picture(d, limits=_LIMITS),
    "labels": lambda d: read_labels(d, limits=_LIMITS),
    "frames": lambda d: sum(1 for _ in read_frames(d, limits=_LIMITS)),
    "profile": lambda d: read_profile(d, limits=_LIMITS),
    "probe": lambda d: probe_image(d, limits=_LIMITS),
    "thumbnail": lambda d: read_thumbnail(d, 32, limits=_LIMITS),
}


def _bits(data: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    for at in rng.integers(0, len(data), int(rng.integers(1, 33))).tolist():
        data[at] ^= 1 << int(rng.integers(8))
    return data


def _bytes_anywhere(data: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    for at in rng.integers(0, len(data), int(rng.integers(1, 9))).tolist():
        data[at] = int(rng.integers(256))
    return data


def _header_field(data: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    # Sizes, counts and offsets stand near the beginning, and in a TIFF near the end.
    for _ in range(int(rng.integers(1, 4))):
        width = int(rng.choice([1, 2, 4]))
        reach = min(len(data), 256)
        at = int(rng.integers(0, max(1, reach - width)))
        if rng.integers(3) == 0:
            at = max(0, len(data) - reach) + at
        value = int(rng.choice(_FIELDS)) & ((1 << 8 * width) - 1)
        data[at : at + width] = struct.pack(("<" if rng.integers(2) else ">") + {1: "B", 2: "H", 4: "I"}[width], value)
    return data


def _cut(data: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    return data[: int(rng.integers(1, len(data) + 1))]


def _hole(data: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    at, n = int(rng.integers(len(data))), int(rng.integers(1, 65))
    return data[:at] + data[at + n :]


def _zeros(data: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    # A block that a disk never wrote.
    at, n = int(rng.integers(len(data))), int(rng.integers(1, 513))
    data[at : at + n] = bytes(len(data[at : at + n]))
    return data


def _twice(data: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    at, n = int(rng.integers(len(data))), int(rng.integers(1, 129))
    return data[: at + n] + data[at:]


def _spliced(data: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    return data[: int(rng.integers(1, len(data) + 1))] + other[int(rng.integers(len(other))) :]


_WAYS: tuple[Callable[[bytearray, bytes, np.random.Generator], bytearray], ...] = (
    _bits,
    _bytes_anywhere,
    _header_field,
    _header_field,
    _cut,
    _hole,
    _zeros,
    _twice,
    _spliced,
)
