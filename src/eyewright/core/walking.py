"""List the files of a folder as every command does: links followed, each folder once, nothing passed over silently."""

__all__ = ["is_wanted", "walk_files"]

import os
from pathlib import Path

from eyewright.core.machine.limits import kernel_devices

_IGNORED = frozenset(
    {"__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir", "lost+found", "System Volume Information", "$RECYCLE.BIN"}
)


def walk_files(root: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of all files below a folder, sorted, with `/` between the parts, and of folders without any.

    Hidden files and what file managers leave behind are left out. Links are followed, each folder once, not into
    `/proc` or `/sys`. Whatever is no folder counts as a file: who reads it says what is wrong with a FIFO or a link to
    nothing.

    Raises:
        OSError: a folder cannot be listed; its files would be lost without a message.
    """
    found: list[str] = []
    empty: list[str] = []
    seen: set[tuple[int, int]] = set()
    kernels = kernel_devices()
    for folder, below, files in os.walk(root, followlinks=True, onerror=_raise):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen or status.st_dev in kernels:
            below.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        below[:] = sorted(b for b in below if not b.startswith(".") and b not in _IGNORED)
        relative = os.path.relpath(folder, root).replace(os.sep, "/")
        prefix = "" if relative == "." else relative + "/"
        kept = [prefix + f for f in files if not f.startswith(".") and f not in _IGNORED]
        if not kept and not below and prefix:
            empty.append(relative)
        found += kept
    return tuple(sorted(found)), tuple(sorted(empty))


def is_wanted(name: str) -> bool:
    """Return whether `walk_files` would list a file of this name.

    >>> is_wanted("cat/1.png"), is_wanted("__MACOSX/cat/._1.png"), is_wanted(".cache/1.png")
    (True, False, False)
    """
    return not any(p.startswith(".") or p in _IGNORED for p in name.split("/"))


def _raise(error: OSError) -> None:
    raise error
