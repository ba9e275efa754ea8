"""Decode once: every image through the Preparation into one uint8 array, in memory or mapped from disk."""

__all__ = ["build_array", "build_cache", "cache_folder"]

import contextlib
import functools
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import EyewrightError, UnreadableImageError
from eyewright.core.files import cache_folder, checked_output, reserve_space
from eyewright.core.jsonable import dumps_json
from eyewright.core.machine import disk
from eyewright.core.progress import track_progress
from eyewright.data.dataset import Dataset
from eyewright.data.scan import shares
from eyewright.imaging.isolation import is_isolated
from eyewright.imaging.preparation import Preparation

_MAPPED_FROM = 128 * 2**20
_MOST_ON_DISK = 20 * 2**30
_CHUNK = 256
_FillRows = Callable[[NDArray[Any], Sequence[int]], None]


def build_cache(
    dataset: Dataset,
    preparation: Preparation,
    *,
    digests: tuple[str, ...] | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> NDArray[np.uint8]:
    """Return every image of the dataset, prepared, as uint8 (N, H, W, C) in the dataset's order.

    Up to 128 MB it is held in memory. Above that it lies in a memory-mapped file, so memory stays flat with size; the
    file's name is the hash of `digests` (the SHA-256 of every image's bytes, in order) and of the Preparation, so
    that a later run finds it and a changed image never does. The oldest files go when 20 GB are passed.

    Raises:
        UnreadableImageError: an image cannot be decoded; its name is given.
        OutputError: the cache folder cannot be written.
    """
    dataset = dataset.seen_by(preparation)
    shape = (len(dataset), *preparation.shape)
    key = "" if digests is None else "\n".join([*digests, dumps_json(preparation.to_json())])

    def several(out: NDArray[Any], rows: Sequence[int]) -> None:
        if preparation.reduces:
            out[list(rows)] = preparation.batch(list(dataset.examples(preparation, rows, threads=1)))[0]
            return
        pictures: Iterator[Image.Image] = map(dataset.picture, rows)
        if is_isolated():
            # What another process decodes comes together; in this one a picture needs no copy as an array.
            pictures = map(Image.fromarray, dataset.images(rows, threads=1))
        for i, picture in zip(rows, pictures, strict=True):
            try:
                out[i] = preparation.apply(picture)[0]
            except EyewrightError as error:
                raise UnreadableImageError(f"{dataset.samples[i].id!r}: {error.message}", fix=error.fix) from error

    return _stored(shape, np.uint8, several, key=key, workers=workers, quiet=quiet)


def build_array(
    shape: tuple[int, ...],
    dtype: Any,
    fill: Callable[[NDArray[Any], int], None],
    *,
    key: str,
    workers: int | None = None,
    quiet: bool = True,
) -> NDArray[Any]:
    """Return an array of which `fill(array, i)` makes row i: in memory, or above 128 MB mapped from a file named
    by the hash of `key` (no file without one) and found again by it.

    Raises:
        OutputError: the cache folder cannot be written.
    """

    def several(out: NDArray[Any], rows: Sequence[int]) -> None:
        for i in rows:
            fill(out, i)

    return _stored(shape, dtype, several, key=key, workers=workers, quiet=quiet)


def _stored(
    shape: tuple[int, ...], dtype: Any, fill: _FillRows, *, key: str, workers: int | None, quiet: bool
) -> NDArray[Any]:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size < _MAPPED_FROM or not key:
        pixels = np.empty(shape, dtype)
        _fill(pixels, fill, workers, quiet)
        return pixels
    key = hashlib.sha256(key.encode()).hexdigest()
    path = cache_folder() / f"{key[:32]}.npy"
    if not path.exists():
        with checked_output(path, option="EYEWRIGHT_CACHE"):
            path.parent.mkdir(parents=True, exist_ok=True)
            _make_room(path.parent, size)
            temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
            mapped: NDArray[Any] | None = None
            try:
                mapped = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
                with open(temporary, "rb+") as file:
                    reserve_space(file.fileno(), os.path.getsize(temporary))
                _fill(mapped, fill, workers, quiet)
                mapped.flush()
                # Windows moves and removes no file that is mapped.
                mapped = None
                disk.replace_file(temporary, path)
            finally:
                mapped = None
                temporary.unlink(missing_ok=True)
    os.utime(path)
    stored: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return stored


def _fill(out: NDArray[Any], fill: _FillRows, workers: int | None, quiet: bool) -> None:
    n = len(out)
    # Pillow decodes and resizes outside the interpreter lock, so threads are enough and nothing is copied.
    threads = workers or os.cpu_count() or 1
    with (
        ThreadPoolExecutor(threads) as pool,
        track_progress("preparing", n, quiet=quiet) as advance,
    ):
        for start in range(0, n, _CHUNK):
            chunk = range(start, min(start + _CHUNK, n))
            for _ in pool.map(functools.partial(fill, out), shares(chunk, threads)):
                pass
            advance(len(chunk), "")


def _make_room(folder: Path, wanted: int) -> None:
    files = sorted((p for p in folder.glob("*.npy")), key=lambda p: p.stat().st_mtime)
    total = sum(p.stat().st_size for p in files) + wanted
    for path in files:
        if total <= _MOST_ON_DISK:
            return
        total -= path.stat().st_size
        # Windows removes no file that another process has open.
        with contextlib.suppress(PermissionError):
            path.unlink(missing_ok=True)
