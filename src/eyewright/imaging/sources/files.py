"""Images at rest: a file, a folder, a glob, bytes, an array, standard input."""

__all__ = [
    "VIDEO_EXTENSIONS",
    "file_stamp",
    "in_order",
    "is_other_video",
    "is_video",
    "iter_images",
    "list_sources",
    "read_files",
    "read_named",
    "read_prepared_files",
    "reread_file",
]

import contextlib
import glob
import os
import re
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import EyewrightError, InputError, UnreadableImageError, UsageError
from eyewright.core.quoting import quoted
from eyewright.core.regular import open_regular
from eyewright.core.walking import walk_files
from eyewright.imaging.ahead import read_ahead, read_images, read_prepared
from eyewright.imaging.decode import Pixels, name_unreadable, read_image
from eyewright.imaging.given import given_source
from eyewright.imaging.headers import FORMATS, Limits
from eyewright.imaging.media import VIDEOS, media_of
from eyewright.imaging.preparation import Preparation
from eyewright.imaging.reduction import Prepared
from eyewright.imaging.sources.frames import Frame

_T = TypeVar("_T")
_PathT = TypeVar("_PathT", bound=Path | str)

_DIGITS = re.compile(r"([0-9]+)")

_EXTENSIONS = frozenset(e for exts in FORMATS.values() for e in exts)
VIDEO_EXTENSIONS = frozenset(
    {".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".ogv", ".wmv", ".3gp", ".mts"}
)
"""What a video file is called; what it is, its content says (`imaging.media`)."""

_NOT_FILES = re.compile(r"^((rtsps?|https?|sane):|\d{1,3}$)", re.IGNORECASE)


def is_video(path: Path) -> bool:
    """Return whether a file is a video: by its content, and by its name where it holds nothing that is known or is
    not there, so that reading says what is wrong with it.

    >>> is_video(Path("not-there.mp4")), is_video(Path("not-there.png"))
    (True, False)
    """
    held = media_of(path)
    return held in VIDEOS or (held == "other" and path.suffix.lower() in VIDEO_EXTENSIONS)


def is_other_video(path: Path) -> bool:
    """Return whether one of many files is a video and is not called an image.

    Files that are called images are not opened for it: of a million that takes long, and reading one says what it is.
    """
    return path.suffix.lower() not in _EXTENSIONS and is_video(path)


def files_below(folder: Path, extensions: Container[str]) -> list[Path]:
    """Return the files below a folder whose names end so, whatever they are: reading says what cannot be read.

    Raises:
        InputError: a folder cannot be listed.
    """
    try:
        names, _ = walk_files(folder)
    except OSError as error:
        shown = error.filename if isinstance(error.filename, str) else str(folder)
        raise InputError(f"cannot list {shown[:300]!r}: {error.strerror}", fix="check its permissions") from error
    return [folder / name for name in names if os.path.splitext(name)[1].lower() in extensions]


def in_order(paths: Iterable[_PathT]) -> list[_PathT]:
    """Return paths sorted as people count: "2.png" before "10.png", which is the order of frames.

    >>> in_order(["10.png", "2.png", "1.png", "b/02.png", "b/1.png"])
    ['1.png', '2.png', '10.png', 'b/1.png', 'b/02.png']
    """

    def key(path: Path | str) -> tuple[list[tuple[int, str]], str]:
        # Texts and numbers take turns, so that like is compared with like; a text counts as 0.
        text = os.fspath(path)
        return [(int(p), "") if k % 2 else (0, p) for k, p in enumerate(_DIGITS.split(text))], text

    return sorted(paths, key=key)


def list_sources(source: str | Path) -> list[Path | str]:
    """Return the files that a source names, sorted: a file, a folder's images, a glob's matches (`**` too), or "-".

    `source` may be a `file://` address, whose letters such as %20 are decoded and which is no glob.

    Raises:
        InputError: nothing is there.
        UsageError: a camera, stream, scanner or video, whose frames `open_source` gives.
    """
    addressed = isinstance(source, str) and source[:7].lower() == "file://"
    text = os.fspath(given_source(source))
    if not text:
        # As a path it would be the current folder.
        raise UsageError("expected a source, found an empty text", fix="pass a file, folder or glob")
    if text == "-":
        return ["-"]
    path = Path(text)
    if path.is_file():
        if is_video(path):
            raise UsageError(f"{quoted(path.name)} is a video, not an image", fix="open it with eyewright.open_source")
        return [path]
    if path.is_dir():
        found = sorted(files_below(path, _EXTENSIONS))
        if not found:
            videos = sorted(files_below(path, VIDEO_EXTENSIONS))
            what, fix = "none", "check the folder"
            if videos:
                what = f"{len(videos):,} {'video' if len(videos) == 1 else 'videos'}"
                fix = f"pass one video, such as {quoted(videos[0])}"
            raise InputError(f"expected images in {text!r}, found {what}", fix=fix, code="no_images")
        return list(found)
    if _NOT_FILES.match(text):
        fix = "save its images as files first; eyewright predict, and eyewright.open_source in Python, read it as it is"
        raise UsageError(f"{text!r} is a camera, stream or scanner, not a file", fix=fix)
    found_at = [] if addressed else glob.glob(text, recursive=True)
    matches = sorted(Path(p) for p in found_at if Path(p).is_file())
    videos = [p for p in matches if is_other_video(p)]
    if videos:
        raise UsageError(f"{quoted(videos[0])} is a video, not an image", fix="open videos one by one")
    if not matches and os.path.lexists(text):
        # A FIFO, a device, a link to nothing: what it is, is said in the words of all commands.
        open_regular(path, most=0, follow=True).close()
    if not matches:
        what = "a video" if path.suffix.lower() in VIDEO_EXTENSIONS else "an image"
        raise InputError(f"expected {what}, found nothing at {text!r}", fix="check the path", code="not_found")
    return list(matches)


def iter_images(source: Any) -> Iterator[Frame]:
    """Yield the images of a source in order, one in memory at a time.

    `source` is a path, folder, glob, `file://` address or "-", encoded bytes, an array uint8 (H, W, 3), a Pillow image,
    or a list of these.

    >>> [f.image.shape for f in iter_images([np.zeros((2, 3, 3), np.uint8)])]
    [(2, 3, 3)]

    Raises:
        InputError: nothing there, or an image cannot be read; the file is named.
    """
    source = given_source(source)
    if isinstance(source, np.ndarray):
        yield Frame(source, "array")
        return
    if isinstance(source, bytes):
        yield Frame(_rgb(source), "bytes", reread=partial(_rgb, source))
        return
    if isinstance(source, list | tuple):
        for index, item in enumerate(source):
            for frame in iter_images(item):
                yield replace(frame, index=index)
        return
    if not isinstance(source, str | Path):
        raise UsageError(
            f"expected a path, bytes, an array, a Pillow image or a list of them, found {type(source).__name__}"
        )
    for index, (item, found) in enumerate(read_files(list_sources(source))):
        if isinstance(found, UnreadableImageError):
            raise found
        if item == "-":
            yield Frame(found, "-", index)
            continue
        path = Path(item).resolve()
        yield Frame(found, str(path), index, reread=partial(reread_file, path, file_stamp(path), read_named))


def file_stamp(path: Path) -> tuple[int, int] | None:
    """Return the size of a file and when it was last written, which differ once it is another; None if it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def reread_file(path: Path, stamp: tuple[int, int] | None, read: Callable[[Path], Pixels]) -> Pixels:
    """Return the pixels of a file that was read before, when `file_stamp` was `stamp`.

    Raises:
        InputError: the file is gone or has changed.
    """
    now = file_stamp(path)
    if now is None or now != stamp:
        raise InputError(
            f"expected {quoted(path)} as it was predicted, found {'nothing' if now is None else 'a newer file'}",
            fix="predict it again",
            code="not_found" if now is None else "changed",
        )
    return read(path)


def read_files(
    items: Sequence[Path | str], *, limits: Limits | None = None
) -> Iterator[tuple[Path | str, Pixels | UnreadableImageError]]:
    """Yield the entries of `list_sources` with their pixels, or with an error that names the file; the next ones are
    read while one is used. `limits` are those of decoding."""

    def read(part: Sequence[Path | str | bytes]) -> list[Pixels | EyewrightError]:
        return read_images(part, limits=limits)

    return _each(items, read)


def read_prepared_files(
    items: Sequence[Path | str], preparation: Preparation
) -> Iterator[tuple[Path | str, Prepared | UnreadableImageError]]:
    """Yield the entries of `list_sources` as a net takes them, or with an error that names the file; the next ones are
    read while one is used, and each is prepared where it is decoded."""

    def read(part: Sequence[Path | str | bytes]) -> list[Prepared | EyewrightError]:
        return read_prepared(part, preparation)

    # Prepared images are small: no thread waits until a model has answered.
    return _each(items, read, extra=4)


def _each(
    items: Sequence[Path | str],
    read: Callable[[Sequence[Path | str | bytes]], list[_T | EyewrightError]],
    extra: int = 1,
) -> Iterator[tuple[Path | str, _T | UnreadableImageError]]:
    def named(part: Sequence[Path | str]) -> list[_T | EyewrightError]:
        return read([Path(item) for item in part])

    if list(items) == ["-"]:
        found: Iterable[_T | EyewrightError] = read([sys.stdin.buffer.read(Limits().bytes + 1)])
    else:
        found = read_ahead(items, named, size_of=_bytes_of, extra=extra)
    for item, one in zip(items, found, strict=True):
        if not isinstance(one, EyewrightError):
            yield item, one
            continue
        try:
            with name_unreadable("standard input" if item == "-" else str(item)):
                raise one
        except UnreadableImageError as error:
            unread = error
        yield item, unread


def _bytes_of(item: Path | str) -> int:
    with contextlib.suppress(OSError):
        return os.stat(item).st_size
    return 0


def read_named(item: Path | str, *, limits: Limits | None = None) -> NDArray[np.uint8]:
    """Read one entry of `list_sources`; an error names the file. `limits` are those of decoding."""
    if item == "-":
        with name_unreadable("standard input"):
            return _rgb(sys.stdin.buffer.read(Limits().bytes + 1))
    with name_unreadable(str(item)):
        return _rgb(Path(item), limits)


def _rgb(source: bytes | Path, limits: Limits | None = None) -> NDArray[np.uint8]:
    image: NDArray[np.uint8] = read_image(source, limits=limits)  # type: ignore[assignment]
    return image
