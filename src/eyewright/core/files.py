"""Write files so that nothing is lost: temp → fsync → rename → fsync of the folder."""

__all__ = [
    "cache_folder",
    "checked_output",
    "held_lock",
    "reserve_space",
    "staged_folder",
    "write_bytes",
    "write_json",
    "write_text",
]

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eyewright.core.errors import OutputError, UsageError
from eyewright.core.jsonable import dumps_json


def cache_folder() -> Path:
    """Return the folder for what can be made again: `EYEWRIGHT_CACHE`, else `~/.cache/eyewright`."""
    named = os.environ.get("EYEWRIGHT_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "eyewright"


@contextlib.contextmanager
def checked_output(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write below `path` into one clear line.

    >>> with checked_output(Path("/proc/nowhere")):
    ...     Path("/proc/nowhere/a").mkdir(parents=True)
    Traceback (most recent call last):
    eyewright.core.errors.OutputError: cannot write '/proc/nowhere': No such file or directory; choose another --out
    """
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "no space left on the disk",
            errno.EDQUOT: "the disk quota is used up",
            errno.EROFS: "the file system is read-only",
            errno.EACCES: "permission denied",
            errno.EPERM: "permission denied",
        }
        reason = reasons.get(error.errno or 0, error.strerror or str(error))
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise OutputError(
            f"cannot write {str(path)!r}: {reason}",
            fix="free some space and run again" if full else "choose another --out",
            code="disk_full" if full else None,
        ) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader sees the old content or the new, never a part.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_bytes(Path(folder, "a.bin"), b"abc")
    ...     Path(folder, "a.bin").read_bytes(), len(os.listdir(folder))
    (b'abc', 1)

    Raises:
        OutputError: the folder cannot be written or the disk is full; the old content is untouched.
    """
    temporary = path.with_name(f".{path.name[:80]}.{secrets.token_hex(4)}.tmp")
    with checked_output(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with `write_bytes`' promise."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON without NaN, with `write_bytes`' promise."""
    write_text(path, dumps_json(value, indent=1) + "\n")


@contextlib.contextmanager
def staged_folder(final: Path) -> Iterator[Path]:
    """Build a folder beside `final` and move it there whole; on an error `final` is as it was.

    An existing `final` is replaced only after the new one is complete and on disk. Callers check first that what
    stands there may be replaced.
    """
    token = secrets.token_hex(4)
    stage = final.with_name(f".{final.name[:80]}.{token}.tmp")
    with checked_output(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        stage.mkdir()
    try:
        yield stage
        with checked_output(final):
            _sync_tree(stage)
            old = final.with_name(f".{final.name[:80]}.{token}.old")
            if final.exists():
                os.rename(final, old)
            os.rename(stage, final)
            _sync_folder(final.parent)
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


@contextlib.contextmanager
def held_lock(path: Path, *, busy: str, code: str) -> Iterator[None]:
    """Hold the lock file `path`, made with its folder, for one process; `busy` is said to a second one.

    Raises:
        UsageError: another process holds it.
        OutputError: it cannot be written.
    """
    with checked_output(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path, "w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(busy, fix="wait for it, or choose another --out", code=code) from None
        yield


def reserve_space(descriptor: int, size: int) -> None:
    """Give an open file `size` bytes on disk now.

    A memory-mapped file without them is killed by SIGBUS when the disk is full; this raises OSError instead.
    """
    try:
        os.posix_fallocate(descriptor, 0, max(1, size))
    except OSError as error:
        # Some network file systems cannot reserve; they can still be written.
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(root: Path) -> None:
    for folder, _, names in os.walk(root):
        for name in names:
            descriptor = os.open(os.path.join(folder, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        _sync_folder(Path(folder))
