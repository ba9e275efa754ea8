"""Decode many files of unknown origin so that one which crashes its decoder is named and the others are read.

A program switches this on once (`isolate_decoding`); a library decodes in the process that it is called in. Batches go
to worker processes. When one of them dies, the files of its batch are read one by one, and the culprit is known.
"""

__all__ = ["Look", "LookPool", "decode_isolated", "is_isolated", "isolate_decoding", "reduce_files"]

import atexit
import dataclasses
import queue
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import EyewrightError, UnreadableImageError
from eyewright.imaging.decode import ImageInfo, read_thumbnail
from eyewright.imaging.headers import Limits
from eyewright.imaging.workers import Bounds, DecodePool, Worker, error_from, told

# The user's own files: bounds for a decoder that never ends, not for a large picture.
_BOUNDS = Bounds(memory=8 * 2**30, cpu_s=600, wall_s=600.0, answers=20_000)
_DECODE = "eyewright.imaging.worker_main:decode"
_switch = threading.Event()
_lock = threading.Lock()
_pools: dict[str, Any] = {}


@dataclass(frozen=True)
class Look:
    """What one file holds and a small picture of it, or why it cannot be read."""

    info: ImageInfo | None
    picture: NDArray[np.uint8] | None
    error: UnreadableImageError | None = None


def isolate_decoding() -> None:
    """From now on, decode what comes from files in worker processes; for programs only."""
    _switch.set()


def is_isolated() -> bool:
    """Tell whether this process decodes in worker processes."""
    return _switch.is_set()


def decode_isolated(data: bytes, limits: Limits | None = None) -> NDArray[Any]:
    """Decode one image as `read_image` does, in a worker process.

    Raises:
        UnreadableImageError, LimitError, MissingExtraError: as `read_image`; UnreadableImageError also for a crash.
    """
    limits = limits or Limits()
    with _lock:
        name = f"decode {limits}"
        if name not in _pools:
            _pools[name] = DecodePool(1, limits=limits, bounds=_BOUNDS, job=_DECODE)
            atexit.register(_pools[name].close)
    pixels: NDArray[Any] = _pools[name].read(data, wait_s=3600.0)
    return pixels


class LookPool:
    """Worker processes that reduce images to small pictures, for callers on any number of threads."""

    def __init__(self, workers: int, side: int, *, job: str = "eyewright.imaging.isolation:reduce_files") -> None:
        self._side = side
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._workers = [Worker(job, _BOUNDS) for _ in range(workers)]
        for worker in self._workers:
            self._idle.put(worker)

    def look(self, files: Sequence[bytes]) -> list[Look]:
        """Return what each file holds, in order; nothing is raised for a file."""
        worker = self._idle.get()
        try:
            return self._look(worker, files)
        finally:
            self._idle.put(worker)

    def _look(self, worker: Worker, files: Sequence[bytes]) -> list[Look]:
        try:
            answer, pictures = worker.ask({"side": self._side, "sizes": [len(f) for f in files]}, b"".join(files))
        except UnreadableImageError as error:
            if len(files) == 1:
                return [Look(None, None, error)]
            return [one for file in files for one in self._look(worker, [file])]
        if pictures is None:
            raise RuntimeError("the worker gave no pictures")
        return [_look_of(row, picture) for row, picture in zip(answer["rows"], pictures, strict=True)]

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.close()


def _look_of(row: Mapping[str, Any], picture: NDArray[np.uint8]) -> Look:
    if "error" in row:
        error = error_from(row["error"])
        if not isinstance(error, UnreadableImageError):
            raise error
        return Look(None, None, error)
    info = ImageInfo(**{**row["info"], "size_hw": (row["info"]["size_hw"][0], row["info"]["size_hw"][1])})
    return Look(info, picture)


def reduce_files(request: Mapping[str, Any], data: bytes) -> tuple[dict[str, Any], NDArray[Any]]:
    """Do `read_thumbnail` for several files, as the job of a worker process."""
    side, at = int(request["side"]), 0
    rows: list[dict[str, Any]] = []
    pictures = np.zeros((len(request["sizes"]), side, side, 3), np.uint8)
    for i, size in enumerate(request["sizes"]):
        try:
            info, pictures[i] = read_thumbnail(data[at : at + size], side)
            rows.append({"info": dataclasses.asdict(info)})
        except EyewrightError as error:
            rows.append({"error": told(error)})
        at += size
    return {"rows": rows}, pictures
