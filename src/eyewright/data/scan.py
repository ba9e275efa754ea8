"""One pass over every image: digest, what it holds, a thumbnail. The audit and the split both read its result."""

__all__ = ["Record", "Scan", "dataset_fingerprint", "near_duplicates", "scan_dataset", "shares", "target_text"]

import hashlib
import itertools
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UnreadableImageError
from eyewright.core.files import checked_output, reserve_space
from eyewright.core.progress import track_progress
from eyewright.data.dataset import Dataset, Sample
from eyewright.data.objects import Objects
from eyewright.data.tree import ArrayTree
from eyewright.imaging.decode import ImageInfo, read_thumbnail
from eyewright.imaging.fingerprint import (
    SAME_TOLERANCE,
    THUMBNAIL_SIDE,
    array_thumbnails,
    difference_hashes,
    same_pictures,
)

_IN_MEMORY = 20_000
_CHUNK = 512
_AT_ONCE = 16


@dataclass(frozen=True)
class Record:
    """What one file holds: SHA-256 of its bytes, and what was read from it or why it could not be read."""

    digest: str
    info: ImageInfo | None
    error: UnreadableImageError | None = None


@dataclass(frozen=True)
class Scan:
    """The records of a dataset in its order, with `hashes` uint64 (N,) and `thumbnails` uint8 (N, 32, 32).

    Above 20,000 samples the thumbnails lie in a temporary file, so that memory stays flat.
    """

    records: tuple[Record, ...]
    hashes: NDArray[np.uint64]
    thumbnails: NDArray[np.uint8]

    @cached_property
    def features(self) -> NDArray[np.float32]:
        """A fixed description of every picture, float32 (N, D): no net, no training, the same for every dataset.

        Euclidean distances between rows say how alike two pictures are; brightness and contrast are taken out.
        """
        return _coarse(self.thumbnails)

    @property
    def readable(self) -> NDArray[np.bool_]:
        """Which samples could be read, bool (N,)."""
        return np.array([r.error is None for r in self.records], dtype=bool)

    @property
    def sizes_hw(self) -> NDArray[np.int64]:
        """(height, width) of every sample that could be read, int64 (M, 2)."""
        return np.array([r.info.size_hw for r in self.records if r.info is not None], dtype=np.int64).reshape(-1, 2)

    @cached_property
    def near_pairs(self) -> tuple[tuple[int, int], ...]:
        """Pairs (i, j), i < j, of nearly the same picture: found once, read by the split and by the audit."""
        return tuple(near_duplicates(self))

    def is_grey(self) -> bool:
        """Tell whether every image is stored without colour."""
        return all(r.info.mode in ("1", "L", "LA") or r.info.mode.startswith("I;16") for r in self.records if r.info)


def scan_dataset(dataset: Dataset, *, workers: int | None = None, quiet: bool = False) -> Scan:
    """Read every image once. Damaged files become records with an error; nothing is raised for them."""
    n = len(dataset)
    hashes = np.zeros(n, np.uint64)
    thumbnails = _thumbnail_store(n)
    records: list[Record] = []
    threads = workers or os.cpu_count() or 1
    with (
        ThreadPoolExecutor(threads) as pool,
        track_progress("reading", n, quiet=quiet) as advance,
    ):
        for start in range(0, n, _CHUNK):
            chunk = range(start, min(start + _CHUNK, n))
            if isinstance(dataset.tree, ArrayTree):
                seen = _look_at_arrays(dataset.tree, [dataset.samples[i].id for i in chunk])
                records += seen[0]
                thumbnails[chunk.start : chunk.stop] = seen[1]
                hashes[chunk.start : chunk.stop] = difference_hashes(seen[1])
                advance(len(chunk), "")
                continue
            # A thread takes several images at once: for small ones, handing them out would cost more than reading.
            parts = shares(chunk, threads)
            looks = (look for part in pool.map(lambda p: [_look(dataset, i) for i in p], parts) for look in part)
            for i, (record, thumbnail) in zip(chunk, looks, strict=True):
                records.append(record)
                if thumbnail is not None:
                    thumbnails[i] = thumbnail
            read = np.array([records[i].error is None for i in chunk])
            found = difference_hashes(thumbnails[chunk.start : chunk.stop])
            hashes[chunk.start : chunk.stop] = np.where(read, found, 0)
            advance(len(chunk), "")
    return Scan(tuple(records), hashes, thumbnails)


def shares(chunk: range, threads: int) -> list[range]:
    """Cut a range into parts for a pool: at most 16 images each, and some for every thread."""
    size = max(1, min(_AT_ONCE, len(chunk) // (4 * threads)))
    return [chunk[i : i + size] for i in range(0, len(chunk), size)]


def dataset_fingerprint(dataset: Dataset, scan: Scan) -> str:
    """Give one SHA-256 over names, labels and contents; it changes if any of them does, and not with their order."""
    lines = sorted(
        f"{s.id}\0{target_text(dataset, s)}\0{r.digest}" for s, r in zip(dataset.samples, scan.records, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def target_text(dataset: Dataset, sample: Sample) -> str:
    """Say what a sample is labelled as: its class, its objects' names and boxes, or its mask's digest."""
    if dataset.task == "classify":
        return dataset.labels.names[int(sample.target)]
    if isinstance(sample.target, Objects):
        rows = zip(sample.target.label_ids, sample.target.boxes_xyxy.round(4), strict=True)
        return ";".join(sorted(f"{dataset.labels.names[i]} {' '.join(f'{v:g}' for v in b)}" for i, b in rows))
    return hashlib.sha256(sample.target.tree.content(sample.target.name)).hexdigest()


def _look(dataset: Dataset, index: int) -> tuple[Record, NDArray[np.uint8] | None]:
    digest = ""
    try:
        data = dataset.content(index)
        digest = hashlib.sha256(data).hexdigest()
        info, thumbnail = read_thumbnail(data, THUMBNAIL_SIDE)
        return Record(digest, info), thumbnail
    except UnreadableImageError as error:
        return Record(digest, None, error), None


def _look_at_arrays(tree: ArrayTree, names: list[str]) -> tuple[list[Record], NDArray[np.uint8]]:
    """Look at images that are arrays already: there is nothing to decode, so they are reduced all at once."""
    records, thumbnails = [], []
    # The arrays of two parts may be of different sizes.
    for _, group in itertools.groupby(names, key=lambda name: name.rpartition("/")[0]):
        images = tree.pixels(list(group))
        info = ImageInfo("idx", (images.shape[1], images.shape[2]), "L" if tree.is_grey() else "RGB", 1, 1)
        records += [Record(hashlib.sha256(image.tobytes()).hexdigest(), info) for image in images]
        thumbnails.append(array_thumbnails(images))
    return records, np.concatenate(thumbnails)


def _thumbnail_store(n: int) -> NDArray[np.uint8]:
    shape = (n, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    if n <= _IN_MEMORY:
        return np.zeros(shape, np.uint8)
    # The file has no name once it is open: it is gone with the array, however the process ends.
    with checked_output(Path(tempfile.gettempdir())), tempfile.TemporaryFile() as file:
        reserve_space(file.fileno(), n * THUMBNAIL_SIDE**2)
        return np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)


def near_duplicates(
    scan: Scan, *, window: int = 8, bits: int = 6, tolerance: float = SAME_TOLERANCE
) -> Iterator[tuple[int, int]]:
    """Yield pairs (i, j), i < j, of nearly the same picture, in O(N log N).

    Hashes are sorted under four rotations and each is compared with its next `window` neighbours, so two hashes that
    differ in a few bits meet in the rotation that has these bits last. Candidates are confirmed on the thumbnails.
    """
    order_of = np.flatnonzero(scan.readable)
    hashes = scan.hashes[order_of]
    coarse = _coarse(scan.thumbnails)
    seen: set[tuple[int, int]] = set()
    for turn in (0, 16, 32, 48):
        rolled = (hashes << np.uint64(turn)) | (hashes >> np.uint64(64 - turn)) if turn else hashes
        order = np.argsort(rolled, kind="stable")
        ranked = hashes[order]
        for step in range(1, min(window, len(order) - 1) + 1):
            near = np.flatnonzero(np.bitwise_count(ranked[step:] ^ ranked[:-step]) <= bits)
            a, b = order_of[order[near]], order_of[order[near + step]]
            # What differs by much at 8x8 differs at 32x32 too, and is 16 times cheaper to compare.
            likely = np.einsum("nd,nd->n", coarse[a], coarse[b]) >= 1 - 3 * tolerance
            a, b = a[likely], b[likely]
            for start in range(0, len(a), 4096):
                i, j = a[start : start + 4096], b[start : start + 4096]
                same = same_pictures(scan.thumbnails[i], scan.thumbnails[j], tolerance=tolerance)
                seen.update((int(min(p)), int(max(p))) for p in zip(i[same], j[same], strict=True))
    yield from sorted(seen)


def _coarse(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give 8x8 means as unit vectors, float32 (N, 64); a flat picture gives the same vector as every flat picture."""
    result = np.empty((len(thumbnails), 64), np.float32)
    cell = THUMBNAIL_SIDE // 8
    for start in range(0, len(thumbnails), 4096):
        block = thumbnails[start : start + 4096]
        means = block.reshape(-1, 8, cell, 8, cell).mean((2, 4), dtype=np.float32).reshape(-1, 64)
        means -= means.mean(1, keepdims=True)
        length = np.linalg.norm(means, axis=1, keepdims=True)
        flat = length < 16.0
        result[start : start + 4096] = np.where(flat, 1 / 8, means / np.maximum(length, 1e-6))
    return result
