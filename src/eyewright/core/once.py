"""Write a file once: of several processes that write the same name, one succeeds and the others see that it did."""

__all__ = ["move_new", "sync_path", "write_new"]

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from eyewright.core.files import checked_output


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
    with checked_output(path), _unnamed(path) as (descriptor, name):
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        if sync:
            os.fsync(descriptor)
        return _link(name, path, sync=sync)


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
            if not _link(source, path):
                return False
    except FileExistsError:
        return False
    with contextlib.suppress(FileNotFoundError):
        source.unlink()
    return True


def sync_path(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _unnamed(path: Path) -> Iterator[tuple[int, Path]]:
    """Open a file next to `path` that has no name, so that nothing is left of it when the process is killed; where the
    file system has none such, one with a temporary name. Yield its descriptor, and a name that can be linked."""
    try:
        descriptor = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666)
        name, temporary = Path(f"/proc/self/fd/{descriptor}"), None
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
        name = temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        yield descriptor, name
    finally:
        os.close(descriptor)
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _link(source: Path, path: Path, *, sync: bool = True) -> bool:
    # A hard link is the one operation of POSIX, and of NFS, that never replaces a name. With a folder's descriptor
    # Python calls linkat, which follows the link that /proc has in place of a name.
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Absolute, or the descriptor would be what a relative source begins at.
        os.link(os.path.abspath(source), path, src_dir_fd=folder, follow_symlinks=True)
        if sync:
            os.fsync(folder)
    except FileExistsError:
        return False
    finally:
        os.close(folder)
    return True
