"""Write files so that nothing is lost: temp → fsync → rename → fsync of the folder.

Files one by one, folders as a whole, lines at the end of a file; one command at a time in each place.
"""

__all__ = [
    "append_line",
    "cache_folder",
    "checked_output",
    "claimed_output",
    "held_lock",
    "recover_folder",
    "refuse_overwriting",
    "reserve_space",
    "staged_folder",
    "write_bytes",
    "write_json",
    "write_page",
    "write_parts",
    "write_staged",
    "write_text",
]

import contextlib
import errno
import functools
import hashlib
import os
import re
import secrets
import shutil
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from eyewright.core.errors import EyewrightError, OutputError, UsageError
from eyewright.core.jsonable import dumps_json
from eyewright.core.machine import disk
from eyewright.core.quoting import quoted

_claims: dict[Path, tuple[int, bool]] = {}
_claims_lock = threading.Lock()


def cache_folder() -> Path:
    """Return the folder for what can be made again: `EYEWRIGHT_CACHE`, else `~/.cache/eyewright`."""
    named = os.environ.get("EYEWRIGHT_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "eyewright"


@contextlib.contextmanager
def checked_output(path: Path, *, option: str = "--out") -> Iterator[None]:
    """Turn the system's refusal to write below `path` into one clear line; `option` is what sets the place.

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
            errno.EEXIST: "there is a file where a folder is needed",
            errno.ENOTDIR: "there is a file where a folder is needed",
        }
        reason = reasons.get(error.errno or 0, error.strerror or str(error))
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raised = OutputError(
            f"cannot write {quoted(path)}: {reason}",
            fix="free some space and run again" if full else f"choose another {option}",
            code="disk_full" if full else None,
        )
        raised.path = str(path)
        raise raised from error


def refuse_overwriting(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Refuse to write files over those that are read, also where a link leads to them.

    Raises:
        OutputError: one of the outputs is one of the inputs.
    """
    read = [path for path in inputs if path.is_file()]
    for path in outputs:
        for own in read:
            with contextlib.suppress(OSError):
                if path.samefile(own):
                    raise OutputError(
                        f"{quoted(path)} is read and would be overwritten", fix="choose another --out",
                        code="output_is_input",
                    )  # fmt: skip


def write_bytes(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Write `data` to `path` so that a reader sees the old content or the new, never a part.

    `mode` is that of the file from its creation on, such as 0o600 for what only its owner may read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_bytes(Path(folder, "a.bin"), b"abc")
    ...     Path(folder, "a.bin").read_bytes(), len(os.listdir(folder))
    (b'abc', 1)

    Raises:
        OutputError: the folder cannot be written or the disk is full; the old content is untouched.
    """
    write_parts(path, (data,), mode=mode)


def write_parts(path: Path, parts: Iterable[bytes], *, mode: int | None = None) -> None:
    """Write parts one after another with `write_bytes`' promise: for files that are too large to be held in memory.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_parts(Path(folder, "a.bin"), (b"ab", b"c"))
    ...     Path(folder, "a.bin").read_bytes()
    b'abc'

    Raises:
        OutputError: as `write_bytes`.
    """
    temporary = _beside(path, f".{secrets.token_hex(4)}.tmp")
    with checked_output(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            opener = None if mode is None else functools.partial(os.open, mode=mode)
            with open(temporary, "xb", opener=opener) as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            disk.replace_file(temporary, path)
            disk.sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_staged(path: Path, data: bytes | str) -> None:
    """Write a new file below a folder that `staged_folder` is building, which syncs and moves it with all others.

    Two calls of fsync a file make thousands of small files slow.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
    """
    with checked_output(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "xb") as file:
            file.write(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with the guarantee of `write_bytes`."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def write_page(path: Path, text: str) -> None:
    """Write a page for people: valid UTF-8 with the guarantee of `write_bytes`.

    Bytes of file names that are not UTF-8, which `write_text` writes as they are, become the replacement character.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_page(Path(folder, "a.html"), "caf\\udce9")
    ...     Path(folder, "a.html").read_text("utf-8")
    'caf\ufffd'
    """
    write_bytes(path, text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON without NaN, with the guarantee of `write_bytes`."""
    write_text(path, dumps_json(value, indent=1) + "\n")


def append_line(path: Path, line: bytes) -> None:
    """Append a line to `path`; it is on disk when this returns, and on an error the file is unchanged.

    A last line without its end, which a process that was killed has left, is removed first: it never was acknowledged.
    Callers hold a lock.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     append_line(Path(folder, "a"), b"one")
    ...     append_line(Path(folder, "a"), b"two")
    ...     Path(folder, "a").read_bytes()
    b'one\\ntwo\\n'

    Raises:
        OutputError: it cannot be written, or the disk is full.
    """
    with checked_output(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | disk.CLOEXEC | disk.BINARY, 0o666)
        try:
            if new:
                disk.sync_folder(path.parent)
            end = _end_of_lines(descriptor)
            try:
                os.ftruncate(descriptor, end)
                left = memoryview(line + b"\n")
                while left:
                    left = left[os.write(descriptor, left) :]
                os.fsync(descriptor)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, end)
                    os.fsync(descriptor)
                raise
        finally:
            os.close(descriptor)


def _end_of_lines(descriptor: int) -> int:
    """Return where the last whole line of an open file ends."""
    at = os.fstat(descriptor).st_size
    while at:
        begin = max(0, at - 65_536)
        found = disk.read_at(descriptor, at - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        at = begin
    return 0


@contextlib.contextmanager
def staged_folder(final: Path) -> Iterator[Path]:
    """Build a folder next to `final` and move it there whole; on an error `final` is unchanged.

    An existing `final` is exchanged for the new one in one step, after that is complete and on disk. Where the file
    system cannot exchange, it is moved aside first, and a process that is killed between the two steps leaves it there
    for `recover_folder`. Callers check first that what is there may be replaced.

    Raises:
        UsageError: another command is writing to `final`.
        OutputError: it cannot be written.
    """
    with claimed_output(final) as claimed:
        token = secrets.token_hex(4)
        stage = _beside(final, f".{token}.tmp")
        with checked_output(final):
            final.parent.mkdir(parents=True, exist_ok=True)
            if claimed:
                _clear_leftovers(final)
            stage.mkdir()
        try:
            yield stage
            with checked_output(final):
                _sync_tree(stage)
                _replace_folder(stage, final, _beside(final, f".{token}.old"))
        finally:
            _remove(stage)


def recover_folder(final: Path) -> None:
    """Put a folder back that `staged_folder` had moved aside when its process was killed; readers call it.

    Nothing happens where `final` is there, a command is writing to it, or nothing was moved aside.
    """
    if os.path.lexists(final) or not final.parent.is_dir() or not any(_leftovers(final, "old")):
        return
    with contextlib.suppress(EyewrightError, OSError), claimed_output(final) as claimed:
        if claimed:
            _clear_leftovers(final)


def _replace_folder(stage: Path, final: Path, old: Path) -> None:
    if not os.path.lexists(final):
        os.rename(stage, final)
        disk.sync_folder(final.parent)
        return
    if disk.exchange(stage, final):
        # The stage is the old folder now; it is removed when the exchange is on disk.
        disk.sync_folder(final.parent)
        return
    os.rename(final, old)
    try:
        os.rename(stage, final)
    except BaseException:
        os.rename(old, final)
        raise
    disk.sync_folder(final.parent)
    _remove(old)


def _leftovers(final: Path, kind: str) -> Iterator[Path]:
    """Yield what an earlier `staged_folder` of `final` has left next to it: folders "tmp" or "old"."""
    start = _beside(final, ".").name
    pattern = re.compile(re.escape(start) + r"[0-9a-f]{8}\." + kind)
    with os.scandir(final.parent) as entries:
        found = [
            final.parent / e.name
            for e in entries
            if pattern.fullmatch(e.name) and (e.is_dir(follow_symlinks=False) or e.is_symlink())
        ]
    yield from sorted(found, key=lambda p: os.lstat(p).st_mtime, reverse=True)


def _clear_leftovers(final: Path) -> None:
    """Put back what was moved aside and never replaced; remove the rest. The caller holds the claim."""
    for old in _leftovers(final, "old"):
        if os.path.lexists(final):
            _remove(old)
        else:
            os.rename(old, final)
            disk.sync_folder(final.parent)
    for stage in _leftovers(final, "tmp"):
        _remove(stage)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def _beside(path: Path, ending: str) -> Path:
    """Name a hidden file next to `path`, within the 255 bytes that a name may have."""
    plain = os.fsencode(path.name)
    if len(plain) > 160:
        plain = plain[:140] + b"~" + hashlib.sha256(plain).hexdigest()[:16].encode()
    return path.with_name(os.fsdecode(b"." + plain) + ending)


@contextlib.contextmanager
def claimed_output(out: Path) -> Iterator[bool]:
    """Hold the place `out` for one command: a second one is refused, in this process or in another.

    The kernel gives it back when the process ends, however it ends, and nothing is left next to `out`. The thread that
    holds a place may claim it again. Yields False where the file system knows no locks.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with claimed_output(Path(folder, "out")):
    ...         os.listdir(folder)
    ...     os.listdir(folder)
    ['.out.lock']
    []

    Raises:
        UsageError: another command holds it.
        OutputError: it cannot be written.
    """
    place, me = Path(os.path.realpath(out)), threading.get_ident()
    with _claims_lock:
        held = _claims.get(place)
        if held is not None and held[0] != me:
            raise _taken(out)
        if held is None:
            _claims[place] = (me, True)
    if held is not None:
        yield held[1]
        return
    made: list[Path] = []
    descriptor = -1
    lock = _beside(place, ".lock")
    try:
        with checked_output(out):
            made = _make_parents(place)
            try:
                descriptor = _locked(lock, place)
            except BlockingIOError:
                raise _taken(out) from None
        _claims[place] = (me, descriptor >= 0)
        yield descriptor >= 0
    finally:
        if descriptor >= 0:
            disk.give_up(descriptor, lock)
        for folder in reversed(made):
            # What was made for the lock alone goes with it.
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        with _claims_lock:
            _claims.pop(place, None)


def _taken(out: Path) -> UsageError:
    return UsageError(
        f"another command is writing to {quoted(out)}", fix="wait for it, or choose another --out", code="out_in_use"
    )


def _make_parents(place: Path) -> list[Path]:
    missing = [p for p in place.parents if not p.exists()]
    made: list[Path] = []
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder)
            made.append(folder)
    return made


def _locked(lock: Path, place: Path) -> int:
    """Return a descriptor that holds the lock, or -1 where there are none.

    Raises:
        BlockingIOError: another process holds it.
    """
    while True:
        own = True
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | disk.CLOEXEC | disk.NOFOLLOW, 0o666)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS) or not disk.lockable(place):
                raise
            # A folder that may be written in one that may not, such as a volume of a container.
            descriptor, own = os.open(place, os.O_RDONLY | disk.CLOEXEC), False
        try:
            disk.lock(descriptor)
            if not own or os.path.samestat(os.fstat(descriptor), os.lstat(lock)):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise
        except FileNotFoundError:
            pass
        except OSError:
            os.close(descriptor)
            return -1
        os.close(descriptor)


@contextlib.contextmanager
def held_lock(path: Path, *, busy: str, code: str, fix: str = "wait for it, or choose another --out") -> Iterator[None]:
    """Hold the lock file `path`, made with its folder, for one process; `busy` and `fix` are said to a second one.

    Raises:
        UsageError: another process holds it.
        OutputError: it cannot be written.
    """
    with checked_output(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path, "ab")
    with lock:
        try:
            disk.lock(lock.fileno())
        except BlockingIOError:
            taken = UsageError(busy, fix=fix, code=code)
            taken.path = str(path)
            raise taken from None
        yield


def reserve_space(descriptor: int, size: int) -> None:
    """Return an open file `size` bytes on disk now.

    A memory-mapped file without them is killed by SIGBUS when the disk is full; this raises OSError instead.
    """
    disk.reserve(descriptor, size)


def _sync_tree(root: Path) -> None:
    for folder, _, names in os.walk(root):
        for name in names:
            disk.sync_file(os.path.join(folder, name))
        disk.sync_folder(folder)
