"""Read many images in order, the next ones while one is used: several small files a message, on every core."""

__all__ = ["read_ahead", "read_images"]

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from eyewright.core.errors import EyewrightError
from eyewright.imaging.decode import Pixels, elsewhere, file_bytes, read_image
from eyewright.imaging.headers import Limits

T = TypeVar("T")
R = TypeVar("R")

_MOST_FILES = 32
# Encoded bytes that are asked for together: a hundred small files, and every large photograph on its own.
_MOST_BYTES = 512 * 1024
_THREADS = 8


def read_images(
    sources: Sequence[str | Path | bytes], *, limits: Limits | None = None
) -> list[Pixels | EyewrightError]:
    """Read several images as `read_image` does, uint8 (H, W, 3), and return for each its pixels or why it has none.

    Where a program decodes in another process, they travel together: for small files the way takes longer than the
    decoding. One that ends its decoder costs the others only a second try.

    >>> from eyewright.imaging import encode_image
    >>> found = read_images([encode_image(np.zeros((2, 3, 3), np.uint8)), b""])
    >>> found[0].shape, found[1].message
    ((2, 3, 3), 'expected an image, found an empty file')
    """

    def pixels(source: str | Path | bytes) -> Pixels:
        return np.asarray(read_image(source, limits=limits), np.uint8)

    other = elsewhere()
    if other is None or len(sources) == 1:
        return [_caught(pixels, source) for source in sources]
    files = [_caught(lambda s: file_bytes(s, limits or Limits()), source) for source in sources]
    given = [f for f in files if isinstance(f, bytes)]
    options = {} if limits is None else {"limits": limits}
    found = iter(other("read_images", b"".join(given), {"sizes": [len(f) for f in given], **options}))
    return [next(found) if isinstance(f, bytes) else f for f in files]


def _caught(read: Callable[[str | Path | bytes], R], source: str | Path | bytes) -> R | EyewrightError:
    try:
        return read(source)
    except EyewrightError as error:
        return error


def read_ahead(
    items: Sequence[T],
    read: Callable[[Sequence[T]], list[Pixels | EyewrightError]],
    *,
    size_of: Callable[[T], int],
    threads: int | None = None,
) -> Iterator[Pixels | EyewrightError]:
    """Yield what `read` returns for each item, in order: an image, or why it cannot be read.

    `read` gets several consecutive items at once, as many as have `size_of` bytes together that are quickly read. At
    most one part more than there are `threads` is read ahead, so memory does not grow with the number of items.

    >>> import numpy as np
    >>> found = read_ahead([3, 4], lambda part: [np.zeros((n, n, 3), np.uint8) for n in part], size_of=int)
    >>> [image.shape for image in found]
    [(3, 3, 3), (4, 4, 3)]
    """
    threads = threads or min(_THREADS, os.cpu_count() or 1)
    parts = _parts(items, size_of)
    waiting: deque[Future[list[Pixels | EyewrightError]]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for part in parts:
            waiting.append(pool.submit(read, part))
            if len(waiting) > threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


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
