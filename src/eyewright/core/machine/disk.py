"""Files as the system offers them: locks, fsync, names that replace nothing, reads at a place.

What Windows lacks has a second form here: `msvcrt` locks files, folders need no fsync (NTFS keeps a journal of its
names), a file that is open cannot be removed.
"""

__all__ = [
    "BINARY",
    "CLOEXEC",
    "NOFOLLOW",
    "exchange",
    "give_up",
    "is_only_mine",
    "link_new",
    "lock",
    "lockable",
    "open_reading",
    "path_of_address",
    "read_at",
    "reads_apart",
    "replace_file",
    "reserve",
    "sync_file",
    "sync_folder",
    "unnamed_file",
    "write_at",
]

import contextlib
import ctypes
import errno
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from eyewright.core.machine import find_module

fcntl, msvcrt = find_module("fcntl"), find_module("msvcrt")

BINARY: int = getattr(os, "O_BINARY", 0)
"""The flag of `os.open` without which Windows changes line ends."""
CLOEXEC: int = getattr(os, "O_CLOEXEC", 0)
"""The flag that keeps a descriptor from child processes; Windows never passes one on."""
NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
"""The flag that refuses links."""

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_BUSY_S = 2.0
# A lock of Windows is on bytes; the files that are locked have none.
_LOCKED_BYTES = 1


def lock(descriptor: int) -> None:
    """Lock an open file for this process; the kernel unlocks it when the process ends or closes it.

    Raises:
        BlockingIOError: another one holds it.
        OSError: the system or the file system has no locks.
    """
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    if msvcrt is None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, _LOCKED_BYTES)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EDEADLK, 36):
            raise BlockingIOError(errno.EAGAIN, "it is locked") from error
        raise


def lockable(path: Path) -> bool:
    """Return whether a folder can be opened and locked in place of a file in it."""
    return fcntl is not None and path.is_dir()


def give_up(descriptor: int, path: Path) -> None:
    """Remove a lock file that this process holds, and unlock it."""

    def remove() -> None:
        # Whoever has opened it meanwhile sees that it is gone and opens a new one.
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                os.unlink(path)

    if fcntl is not None:
        remove()
        os.close(descriptor)
        return
    # Windows removes no file that is open. Between the two steps another process may lock it, which keeps the file.
    os.close(descriptor)
    with contextlib.suppress(OSError):
        os.unlink(path)


def sync_file(path: str | Path) -> None:
    """Wait until a file is on disk."""
    # Windows flushes only what may be written.
    _sync(path, os.O_RDONLY if fcntl is not None else os.O_RDWR | BINARY)


def sync_folder(folder: str | Path) -> None:
    """Wait until the names in a folder are on disk; Windows opens no folders and needs none."""
    if fcntl is not None:
        _sync(folder, os.O_RDONLY)


def _sync(path: str | Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(source: Path, path: Path) -> None:
    """Move a file over another one; on Windows, wait up to two seconds for a reader that has that one open.

    Raises:
        OSError: it cannot be moved.
    """
    if fcntl is not None:
        os.replace(source, path)
        return
    ends = time.monotonic() + _BUSY_S
    while True:
        try:
            os.replace(source, path)
            return
        except PermissionError:
            if time.monotonic() > ends or not path.is_file():
                raise
        time.sleep(0.01)


def exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step (renameat2, Linux 3.15); return False where that cannot be done."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    done: int = renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    if done == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM):
        return False
    raise OSError(number, os.strerror(number), str(other))


@contextlib.contextmanager
def unnamed_file(path: Path) -> Iterator[tuple[int, Callable[[], None], Path]]:
    """Open a file next to `path` that has no name, so that nothing is left of it when the process is killed; where the
    file system has none such, one with a temporary name. Yield its descriptor, what must be called when it is written,
    and a name that `link_new` takes."""
    descriptor, name, temporary = -1, path, None
    if hasattr(os, "O_TMPFILE"):
        try:
            descriptor = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY | CLOEXEC, 0o666)
            name = Path(f"/proc/self/fd/{descriptor}")
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise
    if descriptor < 0:
        name = temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | CLOEXEC | BINARY, 0o666)
    opened = True

    def written() -> None:
        nonlocal opened
        # A file that is open cannot be moved on Windows; one without a name is gone when it is closed.
        if temporary is not None and opened:
            os.close(descriptor)
            opened = False

    try:
        yield descriptor, written, name
    finally:
        if opened:
            os.close(descriptor)
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def link_new(source: Path, path: Path, *, sync: bool = True) -> bool:
    """Return a file a second name unless there is such a file; return whether this call did. With `sync` it is on disk.

    A hard link is the one operation of POSIX, and of NFS, that never replaces a name. On Windows moving replaces none
    either, also on a file system without links.
    """
    if not os.supports_dir_fd:
        try:
            os.link(source, path)
        except FileExistsError:
            return False
        except OSError:
            if fcntl is not None:
                raise
            try:
                # FAT and some shares have no links.
                os.rename(source, path)
            except FileExistsError:
                return False
        if sync:
            sync_folder(path.parent)
        return True
    # With a folder's descriptor Python calls linkat, which follows the link that /proc has in place of a name.
    folder = os.open(path.parent, os.O_RDONLY | CLOEXEC)
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


def open_reading(path: Path, *, follow: bool) -> int:
    """Open what may be no regular file for reading, without waiting for a FIFO; return the descriptor.

    Raises:
        OSError: it cannot be opened, or it is a link and `follow` is False.
    """
    flags = os.O_RDONLY | CLOEXEC | BINARY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    if not follow and not NOFOLLOW and os.path.islink(path):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if not BINARY or not os.path.isdir(path):
        return os.open(path, flags if follow else flags | NOFOLLOW)
    # Windows says "permission denied" of a folder.
    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


def path_of_address(path: str, *, windows: bool = os.name == "nt") -> Path:
    """Return the path in a `file://` address, which has a slash before a drive.

    >>> str(path_of_address("/C:/data/a.png", windows=True)), str(path_of_address("/data/a.png", windows=False))
    ('C:/data/a.png', '/data/a.png')
    """
    return Path(path[1:] if windows and path[:1] == "/" and path[2:3] == ":" else path)


def is_only_mine(found: os.stat_result) -> bool:
    """Return whether this user owns a file or folder and nobody else may write it.

    Windows has no such numbers: what is in the user's profile is the user's own by its access list.
    """
    if not hasattr(os, "geteuid"):
        return True
    return found.st_uid == os.geteuid() and (stat.S_ISREG(found.st_mode) or not found.st_mode & 0o022)


def reserve(descriptor: int, size: int) -> None:
    """Have `size` bytes of an open file on disk now.

    Raises:
        OSError: there is no room.
    """
    if not hasattr(os, "posix_fallocate"):
        # Windows and macOS: on most of their file systems this takes the room, on others it makes a hole.
        os.ftruncate(descriptor, max(1, size))
        return
    try:
        os.posix_fallocate(descriptor, 0, max(1, size))
    except OSError as error:
        # Some network file systems cannot reserve; they can still be written.
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise


def reads_apart() -> bool:
    """Return whether several threads may call `read_at` on one file at once."""
    return hasattr(os, "pread")


def read_at(descriptor: int, size: int, at: int) -> bytes:
    """Return up to `size` bytes of an open file from a place on; one caller at a time."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, at)
    os.lseek(descriptor, at, os.SEEK_SET)
    return os.read(descriptor, size)


def write_at(descriptor: int, data: bytes | memoryview, at: int) -> int:
    """Write at a place of an open file and return how many bytes were written; the place for the next `write` stays."""
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, data, at)
    before = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, at, os.SEEK_SET)
    try:
        return os.write(descriptor, data)
    finally:
        os.lseek(descriptor, before, os.SEEK_SET)
