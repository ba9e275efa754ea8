"""Read many images in order, the next ones while one is used: several small files a message, on every core."""

__all__ = ["MOST_HELD", "caught", "first_images", "read_ahead", "read_images", "read_prepared"]

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

import numpy as np

from eyewright.core.errors import EyewrightError
from eyewright.imaging.decode import Pixels, elsewhere, file_bytes, read_image, read_picture
from eyewright.imaging.headers import Limits
from eyewright.imaging.preparation import Preparation
from eyewright.imaging.reduction import Prepared, read_reduced

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")

_MOST_FILES = 32
# Encoded bytes that are asked for together: many small files, and every large photograph on its own.
_MOST_BYTES = 512 * 1024
MOST_HELD = 16 * 2**20
"""Bytes of pixels after which the rest of several images is left for later: files that are small may hold much."""
_THREADS = 8


def caught(read: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | EyewrightError:
    """Return what `read` returns, or the error that it raises, for callers that continue with the next file.

    >>> caught(read_image, b"")
    UnreadableImageError('expected an image, found an empty file; copy the file again')
    """
    try:
        return read(*args, **kwargs)
    except EyewrightError as error:
        return error


def read_images(
    sources: Sequence[str | Path | bytes | EyewrightError], *, limits: Limits | None = None
) -> list[Pixels | EyewrightError]:
    """Read the first of several images as `read_image` does, uint8 (H, W, 3): at least one, and as many more as fit
    into `MOST_HELD` bytes. Return for each its pixels, or why it has none; an error among the sources is returned.

    Where a program decodes in another process, they travel together: for small files the way takes longer than the
    decoding. One that ends its decoder costs the others only a second try.

    >>> from eyewright.imaging import encode_image
    >>> found = read_images([encode_image(np.zeros((2, 3, 3), np.uint8)), b""])
    >>> found[0].shape, found[1].message
    ((2, 3, 3), 'expected an image, found an empty file')
    """

    def pixels(source: str | Path | bytes) -> Pixels:
        return np.asarray(read_image(source, limits=limits), np.uint8)

    if elsewhere() is None or len(sources) == 1:
        return first_images(s if isinstance(s, EyewrightError) else caught(pixels, s) for s in sources)
    return _read_elsewhere("read_images", sources, limits, {})


def read_prepared(
    sources: Sequence[str | Path | bytes | EyewrightError],
    preparation: Preparation,
    *,
    limits: Limits | None = None,
) -> list[Prepared | EyewrightError]:
    """Read several images as `read_images` does, each prepared where it is decoded, with the same bits.

    A photograph of 12 megapixels is 36 MB, and what a net takes of it a few thousand bytes: only these leave the
    process that decodes, and every core resizes its own.

    >>> from eyewright.imaging import encode_image
    >>> file = encode_image(np.zeros((6, 9, 3), np.uint8))
    >>> found = read_prepared([file, b""], Preparation((2, 3)))
    >>> found[0].pixels.shape, found[0].source_hw, found[1].code
    ((2, 3, 3), (6, 9), 'empty')
    """

    def prepared(source: str | Path | bytes) -> Prepared:
        if preparation.reduces:
            found = read_reduced(source, preparation.reduction, limits=limits)
            return Prepared(preparation.apply_reduced(found), found.source_hw)
        picture = read_picture(source, limits=limits)
        return Prepared(preparation.apply(picture)[0], (picture.height, picture.width))

    if elsewhere() is None:
        return first_images(s if isinstance(s, EyewrightError) else caught(prepared, s) for s in sources)
    return _read_elsewhere("read_prepared", sources, limits, {"preparation": preparation.to_json()})


def _read_elsewhere(
    name: str, sources: Sequence[str | Path | bytes | EyewrightError], limits: Limits | None, more: Mapping[str, Any]
) -> list[Any]:
    other = elsewhere()
    assert other is not None
    files = [s if isinstance(s, EyewrightError) else caught(file_bytes, s, limits or Limits()) for s in sources]
    given = [f for f in files if isinstance(f, bytes)]
    options = {**more} if limits is None else {**more, "limits": limits}
    read = iter(other(name, b"".join(given), {"sizes": [len(f) for f in given], **options}) if given else [])
    found: list[Any] = []
    for file in files:
        one = next(read, None) if isinstance(file, bytes) else file
        if one is None:
            break
        found.append(one)
    return found


class _Held(Protocol):
    """What holds bytes."""

    @property
    def nbytes(self) -> int: ...


H = TypeVar("H", bound=_Held)


def first_images(images: Iterable[H | EyewrightError]) -> list[H | EyewrightError]:
    """Return the first of some images: at least one, and no more once they hold `MOST_HELD` bytes together."""
    found: list[H | EyewrightError] = []
    held = 0
    for image in images:
        found.append(image)
        held += 0 if isinstance(image, EyewrightError) else image.nbytes
        if held > MOST_HELD:
            break
    return found


def read_ahead(
    items: Sequence[T],
    read: Callable[[Sequence[T]], list[R]],
    *,
    size_of: Callable[[T], int],
    threads: int | None = None,
    extra: int = 1,
) -> Iterator[R]:
    """Yield what `read` returns for each item, in order: an image, say, or why it cannot be read.

    `read` gets several consecutive items, as many as have few `size_of` bytes together, and returns the images of the
    first of them, at least one; it is asked for the others when they are needed. At most `extra` parts more than there
    are `threads` are read ahead, so memory does not grow with the number of items.

    >>> import numpy as np
    >>> found = read_ahead([3, 4], lambda part: [np.zeros((n, n, 3), np.uint8) for n in part], size_of=int)
    >>> [image.shape for image in found]
    [(3, 3, 3), (4, 4, 3)]
    """
    if len(items) == 1:
        yield from read(items)
        return
    # Imported here: one image needs no threads.
    from concurrent.futures import ThreadPoolExecutor

    threads = threads or min(_THREADS, os.cpu_count() or 1)
    waiting: deque[tuple[Sequence[T], Future[list[R]]]] = deque()
    pool = ThreadPoolExecutor(threads)

    def oldest() -> Iterator[R]:
        part, reading = waiting.popleft()
        found = reading.result()
        yield from found
        while part := part[len(found) :]:
            found = read(part)
            yield from found

    try:
        for part in _parts(items, size_of):
            waiting.append((part, pool.submit(read, part)))
            if len(waiting) >= threads + extra:
                yield from oldest()
        while waiting:
            yield from oldest()
    except GeneratorExit:
        # A generator that was dropped ends in the garbage collector, at any line of any thread: to wait for a thread
        # there can be to wait for oneself.
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


def _parts(items: Sequence[T], size_of: Callable[[T], int]) -> Iterator[Sequence[T]]:
    start = total = 0
    for at, item in enumerate(items):
        size = size_of(item)
        if at > start and (total + size > _MOST_BYTES or at - start == _MOST_FILES):
            yield items[start:at]
            start, total = at, 0
        total += size
    if start < len(items):
        yield items[start:]
