"""Write a file once: of several processes that write the same name, one succeeds and the others see that it did."""

__all__ = ["move_new", "sync_path", "write_new"]

import contextlib
import os
from pathlib import Path

from eyewright.core.files import checked_output
from eyewright.core.machine import disk


def write_new(path: Path, data: bytes, *, sync: bool = True) -> bool:
    """Write `data` to `path` whole and, with `sync`, on disk, unless there is such a file; return whether this call
    wrote it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_new(Path(folder, "a"), b"one"), write_new(Path(folder, "a"), b"two"), Path(folder, "a").read_bytes()
    (True, False, b'one')

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
    """
    with checked_output(path), disk.unnamed_file(path) as (descriptor, written, name):
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        if sync:
            os.fsync(descriptor)
        written()
        return disk.link_new(name, path, sync=sync)


def move_new(source: Path, path: Path) -> bool:
    """Move a file that is on disk to a name of the same file system, unless there is such a file; return whether this
    call moved it. Where it returns False, `source` is unchanged.

    Raises:
        FileNotFoundError: there is no `source`.
        OutputError: the folder cannot be written.
    """
    try:
        os.lstat(source)
        with checked_output(path):
            if not disk.link_new(source, path):
                return False
    except FileExistsError:
        return False
    with contextlib.suppress(FileNotFoundError):
        source.unlink()
    return True


def sync_path(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    if path.is_dir():
        disk.sync_folder(path)
    else:
        disk.sync_file(path)
