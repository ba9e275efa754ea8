"""Decode files of unknown origin in worker processes, so that one which crashes its decoder is named and skipped.

A program switches this on once (`isolate_decoding`), and everything that `decode` reads from then on is read there; a
library decodes in the process that it is called in. For many small files there are batches (`LookPool`): when a worker
dies, the files of its batch are read one by one, and the culprit is known.
"""

__all__ = ["Look", "LookPool", "decode_here", "is_isolated", "isolate_decoding", "read_apart", "reduce_files"]

import dataclasses
import itertools
import math
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import EyewrightError, UnreadableImageError
from eyewright.imaging import decode
from eyewright.imaging.ahead import caught, first_images, read_images, read_prepared
from eyewright.imaging.capture import Capture
from eyewright.imaging.decode import ImageInfo, Pixels, read_thumbnail
from eyewright.imaging.headers import Limits
from eyewright.imaging.preparation import Preparation
from eyewright.imaging.reduction import Prepared
from eyewright.imaging.sampling import ClipSampling
from eyewright.imaging.video_facts import VideoFacts
from eyewright.imaging.workers import Bounds, Worker, error_from, told

# The user's own files: bounds for a decoder that never ends, not for a large picture.
_BOUNDS = Bounds(memory=8 * 2**30, cpu_s=600, wall_s=600.0, answers=20_000)
_READ = "eyewright.imaging.isolation:read_apart"

Answer = tuple[dict[str, Any], NDArray[Any] | None]


@dataclass(frozen=True)
class Look:
    """What one file holds and a small picture of it, or why it cannot be read."""

    info: ImageInfo | None
    picture: NDArray[np.uint8] | None
    error: UnreadableImageError | None = None


def isolate_decoding(*, at_once: bool = False) -> None:
    """From now on, decode in worker processes; for programs only. With `at_once` the first process starts now, and is
    ready when a program has loaded its model."""
    if not _readers:
        _readers.append(_Readers(os.cpu_count() or 1))
        if at_once:
            _readers[0].start()
        decode.send_elsewhere(_readers[0])


def decode_here() -> None:
    """Undo `isolate_decoding`."""
    decode.send_elsewhere(None)
    while _readers:
        _readers.pop().close()


def is_isolated() -> bool:
    """Return whether this process decodes in worker processes."""
    return bool(_readers)


class _Readers:
    """Worker processes that do the functions of `decode`, for callers on any number of threads; started when needed.

    They end with this process: each holds its lifeline.
    """

    def __init__(self, most: int) -> None:
        self._free = threading.BoundedSemaphore(most)
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()

    def __call__(self, name: str, data: bytes, given: Mapping[str, Any]) -> Any:
        if name == "read_frames":
            return _frames(data, given)
        if name in _SEVERAL:
            return self._several(name, data, dict(given))
        request = _request(name, given)
        answer, array = self._ask(request, data)
        return _RESULTS[name](answer, array)

    def _ask(self, request: dict[str, Any], data: bytes) -> Answer:
        with self._free:
            try:
                worker = self._idle.get_nowait()
            except queue.Empty:
                worker = Worker(_READ, _BOUNDS)
            try:
                return worker.ask(request, data)
            finally:
                self._idle.put(worker)

    def _several(self, name: str, data: bytes, given: dict[str, Any]) -> list[Any]:
        """Do the first of several files in one message; what one of them breaks, each does again on its own."""
        try:
            return _SEVERAL[name](*self._ask(_request(name, given), data))
        except EyewrightError:
            # A worker that died or was too slow does not say at which file.
            sizes: list[int] = given.pop("sizes")
            if len(sizes) == 1:
                return [caught(self._one, name, data, given)]
            ends = itertools.pairwise(itertools.accumulate(sizes, initial=0))
            return first_images(caught(self._one, name, data[a:b], given) for a, b in ends)

    def _one(self, name: str, data: bytes, given: Mapping[str, Any]) -> Any:
        (found,) = _SEVERAL[name](*self._ask(_request(name, {**given, "sizes": [len(data)]}), data))
        if isinstance(found, EyewrightError):
            raise found
        return found

    def start(self) -> None:
        """Start a process, and do not wait for it."""
        worker = Worker(_READ, _BOUNDS)
        worker.start()
        self._idle.put(worker)

    def close(self) -> None:
        """End the processes that do nothing now."""
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return


_readers: list[_Readers] = []


def _frames(data: bytes, given: Mapping[str, Any]) -> Iterator[tuple[NDArray[np.uint8], float | None]]:
    # A worker of its own: who reads frames may read other images before the next.
    worker = Worker(_READ, _BOUNDS)
    try:
        answer, frame = worker.ask(_request("read_frames", given), data)
        while frame is not None:
            yield frame, answer["shown_at"]
            answer, frame = worker.ask({"call": "next_frame"})
    finally:
        worker.close()


def _request(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    limits = given.get("limits")
    known = {} if limits is None else {"limits": dataclasses.asdict(limits)}
    return {"call": name, "given": {**{k: v for k, v in given.items() if v is not None}, **known}}


_open_frames: list[Iterator[tuple[NDArray[np.uint8], float | None]]] = []


def read_apart(request: Mapping[str, Any], data: bytes) -> Answer:
    """Do one of the functions of `decode`, as the job of a worker process."""
    name = request["call"]
    if name == "next_frame":
        return _next_frame()
    given = dict(request["given"])
    if "limits" in given:
        given["limits"] = Limits(**given["limits"])
    if name == "read_frames":
        _open_frames[:] = [decode.read_frames(data, **given)]
        return _next_frame()
    return _JOBS[name](data, given)


def _next_frame() -> Answer:
    found = next(_open_frames[0], None)
    return ({}, None) if found is None else ({"shown_at": found[1]}, found[0])


def _read_images(data: bytes, given: dict[str, Any]) -> Answer:
    return _joined([f if isinstance(f, EyewrightError) else ({}, f) for f in read_images(_cut(data, given), **given)])


def _read_prepared(data: bytes, given: dict[str, Any]) -> Answer:
    preparation = Preparation.from_json(given.pop("preparation"))
    found = read_prepared(_cut(data, given), preparation, **given)
    return _joined([f if isinstance(f, EyewrightError) else ({"source_hw": f.source_hw}, f.pixels) for f in found])


def _cut(data: bytes, given: dict[str, Any]) -> list[bytes]:
    return [data[a:b] for a, b in itertools.pairwise(itertools.accumulate(given.pop("sizes"), initial=0))]


def _joined(found: Sequence[tuple[dict[str, Any], Pixels] | EyewrightError]) -> Answer:
    rows = [{"error": told(f)} if isinstance(f, EyewrightError) else {**f[0], "shape": f[1].shape} for f in found]
    pixels = [f[1].reshape(-1) for f in found if not isinstance(f, EyewrightError)]
    return {"rows": rows}, np.concatenate(pixels) if pixels else None


def _parted(answer: Mapping[str, Any], array: NDArray[Any] | None) -> list[Pixels | EyewrightError]:
    found: list[Pixels | EyewrightError] = []
    at = 0
    for row in answer["rows"]:
        if "error" in row:
            found.append(error_from(row["error"]))
            continue
        shape = tuple(int(n) for n in row["shape"])
        found.append(_pixels(row, array)[at : at + math.prod(shape)].reshape(shape))
        at += math.prod(shape)
    return found


def _parted_prepared(answer: Mapping[str, Any], array: NDArray[Any] | None) -> list[Prepared | EyewrightError]:
    return [
        found if isinstance(found, EyewrightError) else Prepared(found, (row["source_hw"][0], row["source_hw"][1]))
        for row, found in zip(answer["rows"], _parted(answer, array), strict=True)
    ]


_SEVERAL: Mapping[str, Callable[[Mapping[str, Any], NDArray[Any] | None], list[Any]]] = {
    "read_images": _parted,
    "read_prepared": _parted_prepared,
}


def _read_profile(data: bytes, given: dict[str, Any]) -> Answer:
    profile = decode.read_profile(data, **given)
    return {}, None if profile is None else np.frombuffer(profile, np.uint8)


def _read_thumbnail(data: bytes, given: dict[str, Any]) -> Answer:
    info, picture = read_thumbnail(data, **given)
    return {"info": dataclasses.asdict(info)}, picture


def _read_clip(data: bytes, given: dict[str, Any]) -> Answer:
    # Imported here: most decoders never see a clip.
    from eyewright.imaging.clips import read_clip

    sampling = ClipSampling.from_json(given.pop("sampling"))
    strip, info = read_clip(given.pop("path"), sampling, **given)
    return {"info": dataclasses.asdict(info)}, strip


_JOBS: Mapping[str, Callable[[bytes, dict[str, Any]], Answer]] = {
    "read_image": lambda data, given: ({}, decode.read_image(data, **given)),
    "read_images": _read_images,
    "read_prepared": _read_prepared,
    "read_clear": lambda data, given: ({}, decode.read_clear(data, **given)),
    "read_picture": lambda data, given: ({}, np.asarray(decode.read_picture(data, **given))),
    "read_labels": lambda data, given: ({}, decode.read_labels(data, **given)),
    "read_profile": _read_profile,
    "probe_image": lambda data, given: ({"info": dataclasses.asdict(decode.probe_image(data, **given))}, None),
    "read_thumbnail": _read_thumbnail,
    "read_clip": _read_clip,
}


def _pixels(answer: Mapping[str, Any], array: NDArray[Any] | None) -> NDArray[Any]:
    if array is None:
        raise RuntimeError("the worker gave no pixels")
    return array


_RESULTS: Mapping[str, Callable[[Mapping[str, Any], NDArray[Any] | None], Any]] = {
    "read_image": _pixels,
    "read_clear": lambda answer, array: array,
    "read_picture": lambda answer, array: Image.fromarray(_pixels(answer, array)),
    "read_labels": _pixels,
    "read_profile": lambda answer, array: None if array is None else array.tobytes(),
    "probe_image": lambda answer, array: _info_of(answer["info"]),
    "read_thumbnail": lambda answer, array: (_info_of(answer["info"]), _pixels(answer, array)),
    "read_clip": lambda answer, array: (_pixels(answer, array), _info_of(answer["info"])),
}


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
    return Look(_info_of(row["info"]), picture)


def _info_of(told: Mapping[str, Any]) -> ImageInfo:
    height, width = told["size_hw"]
    capture = None if told["capture"] is None else Capture(**told["capture"])
    facts = told["video"]
    video = None if facts is None else VideoFacts(**facts)
    return ImageInfo(**dict(told, size_hw=(height, width), capture=capture, video=video))


def reduce_files(request: Mapping[str, Any], data: bytes) -> Answer:
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
