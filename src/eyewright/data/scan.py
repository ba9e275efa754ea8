"""One pass over every image: digest, what it holds, a thumbnail. `doctor`, the grouping and the split read it."""

__all__ = ["Record", "Scan", "dataset_fingerprint", "scan_dataset", "shares", "target_text"]

import contextlib
import hashlib
import itertools
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UnreadableImageError
from eyewright.core.files import checked_output, reserve_space
from eyewright.core.progress import track_progress
from eyewright.data.clip_tree import ClipTree, same_movement
from eyewright.data.dataset import Dataset, Sample
from eyewright.data.link_cache import cached_links
from eyewright.data.links import Link
from eyewright.data.tree import ArrayTree
from eyewright.imaging.decode import ImageInfo, read_thumbnail
from eyewright.imaging.fingerprint import (
    COLOUR_SIDE,
    THUMBNAIL_SIDE,
    array_thumbnails,
    describe_pictures,
    thumbnails_of,
)
from eyewright.imaging.isolation import LookPool, is_isolated
from eyewright.imaging.marking import is_marked

_IN_MEMORY = 10_000
_CHUNK = 512
_AT_ONCE = 16
_SMALL = 32
_DESCRIBED = 128
_NOTHING = np.zeros((THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3), np.uint8)


@dataclass(frozen=True)
class Record:
    """What one file holds: SHA-256 of its bytes, and what was read from it or why it could not be read.

    `generated` is True where the file says that a trained model made the image.
    """

    digest: str
    info: ImageInfo | None
    error: UnreadableImageError | None = None
    generated: bool = False


@dataclass(frozen=True)
class Scan:
    """The records of a dataset in its order, with grey `thumbnails` uint8 (N, 64, 64), `colours` uint8 (N, 16, 16, 3).

    Above 10,000 samples the pictures lie in temporary files, so that memory stays flat. Of `clips`, pictures show what
    moves.
    """

    records: tuple[Record, ...]
    thumbnails: NDArray[np.uint8]
    colours: NDArray[np.uint8]
    clips: bool = False
    feature_space: ClassVar[str] = "frequencies-colours-scales"

    @cached_property
    def features(self) -> NDArray[np.float32]:
        """A fixed description of every picture, float32 (N, D): no net, no training, the same for every dataset.

        It holds the low frequencies of the equalised picture, its colours and how much fine structure it has.
        Euclidean distances between rows say how similar two pictures are; brightness and contrast count little.
        """

        def described(start: int) -> NDArray[np.float32]:
            part = slice(start, start + _DESCRIBED)
            return describe_pictures(self.thumbnails[part], self.colours[part])

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            return np.concatenate(list(pool.map(described, range(0, max(1, len(self.records)), _DESCRIBED))))

    @cached_property
    def links(self) -> tuple[Link, ...]:
        """Verified copies and views of one object, as pairs: found once, read by the grouping and `doctor`."""
        small = np.array([r.info is not None and min(r.info.size_hw) < _SMALL for r in self.records], bool)
        digests = [r.digest for r in self.records]
        found = cached_links(digests, self.thumbnails, self.colours, self.readable, small)
        if self.clips:
            # Before a plain ground, two things that move are small beside what both clips have in common.
            found = [x for x in found if same_movement(self.thumbnails[x.i], self.thumbnails[x.j])]
        return tuple(found)

    @property
    def near_pairs(self) -> tuple[tuple[int, int], ...]:
        """Pairs (i, j), i < j, of nearly the same picture."""
        return tuple((link.i, link.j) for link in self.links if link.exact)

    def chosen(self, rows: NDArray[np.int64]) -> "Scan":
        """Return the scan of some of the samples, in the order of `rows`."""
        records = tuple(self.records[i] for i in rows.tolist())
        return Scan(records, self.thumbnails[rows], self.colours[rows], self.clips)

    @property
    def readable(self) -> NDArray[np.bool_]:
        """Which samples could be read, bool (N,)."""
        return np.array([r.error is None for r in self.records], dtype=bool)

    @property
    def sizes_hw(self) -> NDArray[np.int64]:
        """(height, width) of every sample that could be read, int64 (M, 2)."""
        return np.array([r.info.size_hw for r in self.records if r.info is not None], dtype=np.int64).reshape(-1, 2)

    def is_grey(self) -> bool:
        """Return whether every image is stored without colour."""
        return all(r.info.mode in ("1", "L", "LA") or r.info.mode.startswith("I;16") for r in self.records if r.info)


def scan_dataset(dataset: Dataset, *, workers: int | None = None, quiet: bool = False) -> Scan:
    """Read every image once. Damaged files become records with an error; nothing is raised for them."""
    n = len(dataset)
    thumbnails = _store((n, THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    colours = _store((n, COLOUR_SIDE, COLOUR_SIDE, 3))
    records: list[Record] = []
    threads = workers or os.cpu_count() or 1
    apart = is_isolated() and not isinstance(dataset.tree, ArrayTree | ClipTree)
    isolated = LookPool(min(threads, 1 + n // _AT_ONCE), THUMBNAIL_SIDE) if apart else None
    with (
        contextlib.closing(isolated) if isolated is not None else contextlib.nullcontext(),
        ThreadPoolExecutor(threads) as pool,
        track_progress("reading", n, quiet=quiet) as advance,
    ):
        for start in range(0, n, _CHUNK):
            chunk = range(start, min(start + _CHUNK, n))
            if isinstance(dataset.tree, ArrayTree):
                seen, small = _look_at_arrays(dataset.tree, [dataset.samples[i].id for i in chunk])
            else:
                # A thread takes several images at once: for small ones, handing them out would cost more than reading.
                looks = pool.map(lambda p: _look_at(dataset, p, isolated), shares(chunk, threads))
                found = [look for part in looks for look in part]
                seen = [record for record, _ in found]
                small = thumbnails_of(np.stack([_NOTHING if picture is None else picture for _, picture in found]))
            records += seen
            thumbnails[chunk.start : chunk.stop], colours[chunk.start : chunk.stop] = small
            advance(len(chunk), "")
    return Scan(tuple(records), thumbnails, colours, isinstance(dataset.tree, ClipTree))


def shares(chunk: range, threads: int) -> list[range]:
    """Cut a range into parts for a pool: at most 16 images each, and some for every thread."""
    size = max(1, min(_AT_ONCE, len(chunk) // (4 * threads)))
    return [chunk[i : i + size] for i in range(0, len(chunk), size)]


def dataset_fingerprint(dataset: Dataset, scan: Scan) -> str:
    """Return one SHA-256 over names, labels and contents; it changes if any of them does, and not with their order."""
    lines = sorted(
        f"{s.id}\0{target_text(dataset, s)}\0{r.digest}" for s, r in zip(dataset.samples, scan.records, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def target_text(dataset: Dataset, sample: Sample) -> str:
    """Say what a sample is labelled as: its class, its objects' names and boxes, or its mask's digest."""
    text: str = sample.target.text(dataset.labels.names)
    return text


def _look_at(dataset: Dataset, part: range, isolated: LookPool | None) -> list[tuple[Record, NDArray[np.uint8] | None]]:
    if isolated is None:
        return [_look(dataset, i) for i in part]
    found: list[tuple[Record, NDArray[np.uint8] | None]] = []
    files: list[bytes] = []
    for i in part:
        try:
            data = dataset.content(i)
        except UnreadableImageError as error:
            found.append((Record("", None, error), None))
            continue
        files.append(data)
        # Its place; what it holds comes with the others.
        found.append((Record(hashlib.sha256(data).hexdigest(), None, generated=is_marked(data)), None))
    looks = iter(isolated.look(files) if files else [])
    for k, (record, _) in enumerate(found):
        if record.error is None:
            look = next(looks)
            found[k] = replace(record, info=look.info, error=look.error), look.picture
    return found


def _look(dataset: Dataset, index: int) -> tuple[Record, NDArray[np.uint8] | None]:
    digest = ""
    try:
        if isinstance(dataset.tree, ClipTree):
            name = dataset.samples[index].id
            digest = dataset.tree.digest(name)
            seen = dataset.tree.look(name, THUMBNAIL_SIDE)
            return Record(digest, seen.info, seen.error), seen.picture
        data = dataset.content(index)
        digest = hashlib.sha256(data).hexdigest()
        info, thumbnail = read_thumbnail(data, THUMBNAIL_SIDE)
        return Record(digest, info, generated=is_marked(data)), thumbnail
    except UnreadableImageError as error:
        return Record(digest, None, error), None


def _look_at_arrays(
    tree: ArrayTree, names: list[str]
) -> tuple[list[Record], tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Look at images that are arrays already: there is nothing to decode, so they are reduced all at once."""
    records, thumbnails = [], []
    # The arrays of two parts may be of different sizes.
    for _, group in itertools.groupby(names, key=lambda name: name.rpartition("/")[0]):
        images = tree.pixels(list(group))
        info = ImageInfo("idx", (images.shape[1], images.shape[2]), "L" if tree.is_grey() else "RGB", 1, 1)
        records += [Record(hashlib.sha256(image.tobytes()).hexdigest(), info) for image in images]
        thumbnails.append(array_thumbnails(images))
    return records, (np.concatenate([t[0] for t in thumbnails]), np.concatenate([t[1] for t in thumbnails]))


def _store(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    if shape[0] <= _IN_MEMORY:
        return np.zeros(shape, np.uint8)
    # The file has no name once it is open: it is gone with the array, however the process ends.
    with checked_output(Path(tempfile.gettempdir()), option="TMPDIR"), tempfile.TemporaryFile() as file:
        reserve_space(file.fileno(), int(np.prod(shape)))
        return np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)
