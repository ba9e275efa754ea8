"""The files that a source names, in the order of `list_sources`, streamed: a million names are never held together."""

__all__ = ["Item", "has_changed", "list_items", "source_root", "stamp_item"]

import contextlib
import errno
import glob
import heapq
import json
import os
import sys
from collections.abc import Iterable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple, TextIO

from eyewright.core.errors import InputError, UsageError
from eyewright.core.machine.limits import kernel_devices
from eyewright.core.quoting import quoted
from eyewright.core.walking import is_wanted
from eyewright.data.archives import is_archive, refuse_compressed
from eyewright.imaging.headers import FORMATS
from eyewright.imaging.sources import is_stream
from eyewright.imaging.sources.files import file_stamp, is_other_video, is_video

_EXTENSIONS = frozenset(extension for extensions in FORMATS.values() for extension in extensions)
# Names that are sorted in memory; more of them in one folder go through sorted files.
_SORTED = 50_000
_numbers = count()


class Item(NamedTuple):
    """A planned image: its path (below the root of the plan, or absolute) or address, and its size and time of change
    when it was listed; both are -1 for a file that was not there. Of a copy that a worker has made of an image that is
    no file, `name` is the planned address."""

    path: str
    size: int
    mtime_ns: int
    name: str = ""


def has_changed(item: Item) -> bool:
    """Return whether the file of an item is there and is not the planned one, by its size and time of change."""
    # A file that is gone is reported by whoever reads it.
    return file_stamp(Path(item.path)) not in (None, (item.size, item.mtime_ns))


def source_root(source: str) -> Path:
    """Return the folder that the paths of a source are relative to: the folder itself; of a glob or list `/`."""
    path = Path(source)
    return path.resolve() if path.is_dir() else Path("/")


def list_items(source: str, spill: Path, *, at_once: int = _SORTED) -> Iterator[Item]:
    """Yield the images of a folder, a glob, `@LIST` (a text file with a path a line, `@-` for stdin), or of one file.

    Folders and globs are sorted as `list_sources` does it, a list keeps its order, and its files need not exist: each
    line becomes an item. `spill` is a folder for sorted parts of what has more than `at_once` names.

    Raises:
        InputError: nothing is there, or a folder or list cannot be read.
        UsageError: a camera, stream, scanner or video, whose frames cannot be split into shards; a glob that matches
            archives and other files.
    """
    if source.startswith("@"):
        return _listed(source[1:])
    path = Path(source)
    if path.is_dir():
        return _below(path.resolve(), "", spill, at_once, set())
    if path.is_file() and is_video(path):
        raise _not_files(source)
    if path.is_file():
        refuse_compressed(source)
        return iter([stamp_item(str(path.resolve()))])
    if source == "-" or is_stream(source):
        raise _not_files(source)
    return _globbed(source, spill, at_once)


def _not_files(source: str) -> UsageError:
    return UsageError(
        f"expected a folder, a glob or @LIST, found {quoted(source)}", fix="predict videos and streams without --on"
    )


def _listed(name: str) -> Iterator[Item]:
    def each(file: TextIO) -> Iterator[Item]:
        for line in file:
            # Not strip: names may begin or end with spaces.
            if text := line.rstrip("\r\n"):
                yield Item(text, -1, -1) if "://" in text else stamp_item(os.path.abspath(text))

    if name == "-":
        yield from each(sys.stdin)
        return
    try:
        file = open(name, encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise InputError(f"the list {name!r} cannot be read: {error.strerror}", fix="check the path") from None
    with file:
        yield from each(file)


def _globbed(pattern: str, spill: Path, at_once: int) -> Iterator[Item]:
    def found() -> Iterator[str]:
        for match in glob.iglob(pattern, recursive=True):
            if not os.path.isfile(match):
                continue
            if is_other_video(Path(match)):
                raise UsageError(f"{match!r} is a video, not an image", fix="predict videos without --on")
            refuse_compressed(match)
            if is_archive(match):
                ending = os.path.splitext(match)[1]
                raise UsageError(
                    f"expected images, found the archive {quoted(match)}",
                    fix=f"pass a pattern that matches archives only, such as *{ending}",
                )
            yield os.path.abspath(match)

    # "/" sorts before every other character, as components of paths do.
    for name in _sorted((n.replace("/", "\0") for n in found()), spill, at_once):
        yield stamp_item(name.replace("\0", "/"))


def _below(root: Path, folder: str, spill: Path, at_once: int, seen: set[tuple[int, int]]) -> Iterator[Item]:
    """Yield the images below a folder as `core.walking.walk_files` lists them: links are followed, each folder once."""
    place = os.path.join(root, folder)

    def names() -> Iterator[str]:
        with os.scandir(place) as entries:
            for entry in entries:
                if not is_wanted(entry.name):
                    continue
                if entry.is_dir():
                    yield entry.name + "/"
                elif os.path.splitext(entry.name)[1].lower() in _EXTENSIONS:
                    yield entry.name

    try:
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen or status.st_dev in kernel_devices():
            return
        seen.add((status.st_dev, status.st_ino))
        for name in _sorted(names(), spill, at_once):
            path = os.path.join(folder, name.rstrip("/"))
            if name.endswith("/"):
                yield from _below(root, path, spill, at_once, seen)
            else:
                yield stamp_item(path, root)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or error.filename != place:
            raise
        raise InputError(
            f"the folder {quoted(place)} cannot be read: {error.strerror}",
            fix="change its permissions, or list files: @LIST",
        ) from None


def stamp_item(path: str, root: Path | None = None) -> Item:
    """Return a file as it is planned, with its size and time of change now; `path` is absolute or below `root`."""
    with contextlib.suppress(OSError, ValueError):
        found = os.stat(path if root is None else os.path.join(root, path))
        return Item(path, found.st_size, found.st_mtime_ns)
    return Item(path, -1, -1)


def _sorted(names: Iterable[str], spill: Path, at_once: int) -> Iterator[str]:
    """Yield names sorted, with at most `at_once` of them in memory."""
    left = iter(names)
    part = sorted(islice(left, at_once), key=_order)
    runs: list[Path] = []
    while len(part) == at_once:
        runs.append(spill / f"names-{next(_numbers)}.txt")
        with open(runs[-1], "x", encoding="ascii") as file:
            file.writelines(json.dumps(name) + "\n" for name in part)
        del part
        part = sorted(islice(left, at_once), key=_order)
    if not runs:
        yield from part
        return
    with contextlib.ExitStack() as stack:
        read = [map(json.loads, stack.enter_context(open(run, encoding="ascii"))) for run in runs]
        yield from heapq.merge(*read, part, key=_order)
    for run in runs:
        run.unlink()


def _order(name: str) -> str:
    return name.rstrip("/")
