"""Read files that somebody else may have prepared: regular files only, opened without blocking, up to a stated size."""

__all__ = ["digest_of", "open_regular", "read_regular", "require_path"]

import os
import stat
from pathlib import Path
from typing import BinaryIO

from eyewright.core.errors import EyewrightError, InputError
from eyewright.core.machine import disk
from eyewright.core.quoting import quoted

_BLOCK = 2**20


def require_path(path: Path, what: str) -> None:
    """Raise `InputError` if nothing is at `path`: every command ends with 3 there, whatever it would have read.

    >>> require_path(Path("nowhere"), "a bundle")
    Traceback (most recent call last):
    eyewright.core.errors.InputError: expected a bundle, found nothing at 'nowhere'; check the path
    """
    if not os.path.lexists(path):
        fix = "check the path"
        if str(path).startswith("hf:") and "hf:" not in what:
            fix = f"make a bundle of it first: eyewright export {path} --out BUNDLE"
        raise InputError(f"expected {what}, found nothing at {quoted(path)}", fix=fix, code="not_found")


def open_regular(
    path: Path,
    *,
    most: int,
    error: type[EyewrightError] = InputError,
    fix: str = "check the path",
    follow: bool = False,
) -> BinaryIO:
    """Open a regular file of at most `most` bytes for reading.

    A FIFO is not waited for, a device is not read, and a link is followed only with `follow`, which is for paths that
    the user names.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> fifo = Path(folder.name, "fifo")
    >>> os.mkfifo(fifo)
    >>> open_regular(fifo, most=10)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    eyewright.core.errors.InputError: expected a regular file at '...fifo', found a FIFO; check the path
    >>> folder.cleanup()

    Raises:
        EyewrightError: of the type `error`: no such file, not a regular one, or too large.
    """
    try:
        descriptor = disk.open_reading(path, follow=follow)
    except (OSError, ValueError) as met:
        if not follow and os.path.islink(path):
            raise error(f"expected a regular file at {quoted(path)}, found a link", fix=fix) from None
        reason = met.strerror if isinstance(met, OSError) and met.strerror else str(met)
        raise error(f"cannot read {quoted(path)}: {reason}", fix=fix) from met
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise error(f"expected a regular file at {quoted(path)}, found {_kind(found.st_mode)}", fix=fix)
    if found.st_size > most:
        os.close(descriptor)
        raise error(f"{quoted(path)} has {found.st_size:,} bytes, more than the {most:,} allowed", fix=fix)
    return os.fdopen(descriptor, "rb")


def read_regular(
    path: Path,
    *,
    most: int,
    error: type[EyewrightError] = InputError,
    fix: str = "check the path",
    follow: bool = False,
) -> bytes:
    """Read a file as `open_regular` opens it.

    Raises:
        EyewrightError: as `open_regular`; or it has grown while it was read.
    """
    with open_regular(path, most=most, error=error, fix=fix, follow=follow) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            # Not `most`: as many bytes as are asked for are allocated.
            data = file.read(size + 1)
        except OSError as met:
            raise error(f"cannot read {quoted(path)}: {met.strerror}", fix=fix) from met
    if len(data) > size:
        raise error(f"{quoted(path)} has grown while it was read", fix="try again when it is complete")
    return data


def digest_of(
    path: Path,
    *,
    most: int,
    error: type[EyewrightError] = InputError,
    fix: str = "check the path",
    follow: bool = False,
) -> tuple[str, int]:
    """Return SHA-256 and size of a file as `open_regular` opens it, without holding it in memory.

    Raises:
        EyewrightError: as `open_regular`.
    """
    # It is dear to import, and only this function needs it.
    import hashlib

    digest, size = hashlib.sha256(), 0
    with open_regular(path, most=most, error=error, fix=fix, follow=follow) as file:
        try:
            while block := file.read(_BLOCK):
                digest.update(block)
                size += len(block)
        except OSError as met:
            raise error(f"cannot read {quoted(path)}: {met.strerror}", fix=fix) from met
    return digest.hexdigest(), size


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    return next((name for test, name in kinds if test(mode)), "something else")
