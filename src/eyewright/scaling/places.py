"""Where a job is kept: in a folder, or below a prefix in a store, which every machine with access to it can work on.

Of a job in a store, each process has a folder of its own with a copy of the plan and with rows that are not committed
yet; commit records, leases and results are in the store alone.
"""

__all__ = ["FolderPlace", "Place", "StorePlace", "fetch_plan", "new_work", "place_of", "publish_plan", "shown_place"]

import atexit
import contextlib
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Protocol

from eyewright.core.errors import InputError, UsageError
from eyewright.core.files import checked_output, write_bytes
from eyewright.core.machine import disk
from eyewright.core.machine.limits import started
from eyewright.core.once import move_new, write_new
from eyewright.core.quoting import quoted
from eyewright.core.regular import digest_of
from eyewright.scaling.addresses import is_address
from eyewright.scaling.stores import WRITTEN, Store, open_store

ADDRESS = "address.txt"
"""In the folder of a process that works on a job in a store, the file that says where."""

_PREFIX = "eyewright-job-"
_MOST_BYTES = 2**40
# plan.json comes last: without it there is no plan.
_PLAN = ("plan/items.jsonl", "plan/shards.jsonl", "plan/plan.json")


class Place(Protocol):
    """Files of a job by their names below it, with `/` between the parts. A file is there as a whole or not at all."""

    @property
    def is_local(self) -> bool:
        """Whether it is a folder."""
        ...

    def shown(self, name: str = "") -> str:
        """Return a file's path or address."""
        ...

    def below(self, name: str) -> "Place":
        """Return a folder of it."""
        ...

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            FileNotFoundError: there is none.
        """
        ...

    def exists(self, name: str) -> bool:
        """Return whether there is a file."""
        ...

    def names(self, folder: str) -> Iterator[str]:
        """Yield the names of the files right in a folder; none if there is no such folder."""
        ...

    def write_new(self, name: str, data: bytes, *, sync: bool = True) -> bool:
        """Write a file unless there is one; return whether this call wrote it.

        Raises:
            OutputError: it cannot be written.
        """
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Write a file, in place of one that is there.

        Raises:
            OutputError: it cannot be written.
        """
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

    def publish(self, staged: Path, name: str) -> bool:
        """Make a file of this machine, which is on disk, a file of the job unless there is one; return whether this
        call did. The file is then gone; otherwise it is unchanged.

        Raises:
            FileNotFoundError: there is no such file.
            OutputError: it cannot be written.
        """
        ...

    def local(self, name: str) -> contextlib.AbstractContextManager[Path]:
        """Return a path of this machine with the content of a file.

        Raises:
            FileNotFoundError: there is none.
        """
        ...

    def digest(self, name: str) -> str:
        """Return the SHA-256 of a file.

        Raises:
            InputError: there is none, or it cannot be read.
        """
        ...

    def stamp(self, name: str) -> int:
        """Return a number that is another one when a file was written again; 0 where there is none."""
        ...


class FolderPlace:
    """A job in a folder; `Place` describes the functions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def is_local(self) -> bool:
        return True

    def shown(self, name: str = "") -> str:
        return str(self.folder / name)

    def below(self, name: str) -> Place:
        return FolderPlace(self.folder / name)

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def exists(self, name: str) -> bool:
        return (self.folder / name).exists()

    def names(self, folder: str) -> Iterator[str]:
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder / folder) as entries:
            yield from (entry.name for entry in entries)

    def write_new(self, name: str, data: bytes, *, sync: bool = True) -> bool:
        return write_new(self.folder / name, data, sync=sync)

    def replace(self, name: str, data: bytes) -> None:
        place = self.folder / name
        temporary = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
        with checked_output(place):
            temporary.write_bytes(data)
            disk.replace_file(temporary, place)

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    def publish(self, staged: Path, name: str) -> bool:
        return move_new(staged, self.folder / name)

    @contextlib.contextmanager
    def local(self, name: str) -> Iterator[Path]:
        yield self.folder / name

    def digest(self, name: str) -> str:
        return digest_of(self.folder / name, most=_MOST_BYTES)[0]

    def stamp(self, name: str) -> int:
        with contextlib.suppress(OSError):
            return (self.folder / name).stat().st_mtime_ns
        return 0


class StorePlace:
    """A job below an address; `work` is the folder of this process. `Place` describes the functions."""

    def __init__(self, address: str, store: Store, work: Path) -> None:
        self.address, self.store, self.work = address.rstrip("/"), store, work

    @property
    def is_local(self) -> bool:
        return False

    def shown(self, name: str = "") -> str:
        return f"{self.address}/{name}" if name else self.address

    def below(self, name: str) -> Place:
        return StorePlace(self.shown(name), self.store, self.work)

    def read(self, name: str) -> bytes:
        with _missing(name):
            return self.store.read(self.shown(name))

    def exists(self, name: str) -> bool:
        return self.stamp(name) != 0

    def names(self, folder: str) -> Iterator[str]:
        return self.store.names(f"{self.shown(folder)}/")

    def write_new(self, name: str, data: bytes, *, sync: bool = True) -> bool:
        return self.store.put_new(self.shown(name), data)

    def replace(self, name: str, data: bytes) -> None:
        self.store.put(self.shown(name), data)

    def remove(self, name: str) -> None:
        self.store.remove(self.shown(name))

    def publish(self, staged: Path, name: str) -> bool:
        if not self.store.put_file_new(self.shown(name), staged):
            return False
        staged.unlink(missing_ok=True)
        return True

    @contextlib.contextmanager
    def local(self, name: str) -> Iterator[Path]:
        copy = self.work / "tmp" / f"copy-{secrets.token_hex(8)}{os.path.splitext(name)[1]}"
        try:
            with _missing(name), checked_output(copy), open(copy, "xb") as file:
                file.writelines(self.store.pieces(self.shown(name)))
            yield copy
        finally:
            copy.unlink(missing_ok=True)

    def digest(self, name: str) -> str:
        whole = hashlib.sha256()
        for piece in self.store.pieces(self.shown(name)):
            whole.update(piece)
        return whole.hexdigest()

    def stamp(self, name: str) -> int:
        try:
            return self.store.entry(self.shown(name)).mtime_ns or 1
        except InputError as error:
            if error.code != "not_found":
                raise
            return 0


def place_of(folder: Path) -> Place:
    """Return where the job is kept whose plan is in a folder: there, or in the store that it was fetched from."""
    address = _address_of(folder)
    return FolderPlace(folder) if address is None else StorePlace(address, _store(address), folder)


def shown_place(folder: Path) -> str:
    """Return the path or address of the job whose plan is in a folder."""
    return _address_of(folder) or str(folder)


def _address_of(folder: Path) -> str | None:
    # Only where this program has made the folder: one that somebody else made cannot send results elsewhere.
    if folder.name.startswith(_PREFIX):
        with contextlib.suppress(OSError):
            return (folder / ADDRESS).read_text("utf-8")
    return None


def new_work(out: str | Path) -> Path:
    """Return the folder for the plan of a job: `out` itself, or for an address a new one, which is removed when this
    process ends.

    Raises:
        UsageError: an address that cannot be used.
    """
    if not is_address(str(out)):
        return Path(out)
    address = str(out).rstrip("/")
    scheme, _, rest = address.partition("://")
    if "/" not in rest or any(part in ("", ".", "..") for part in rest.split("/")):
        raise UsageError(
            f"expected {scheme}://BUCKET/PREFIX for the results of a job, found {quoted(str(out))}",
            fix="add a prefix, without . and ..",
        )
    if scheme not in WRITTEN:
        raise UsageError(
            f"results are not written to {scheme}://, only to {', '.join(f'{s}://' for s in WRITTEN[:-1])}",
            fix="write to a folder, then upload it",
        )
    _store(address)
    root = Path(tempfile.gettempdir())
    _sweep(root)
    with checked_output(root):
        work = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-{started(os.getpid())}-"))
        (work / "tmp").mkdir()
        (work / ADDRESS).write_text(address, "utf-8")
    atexit.register(partial(_remove, work, os.getpid()))
    return work


def fetch_plan(work: Path) -> bool:
    """Copy the plan of a job in a store to the folder of this process; return whether there is one.

    Raises:
        InputError: the store cannot be read.
    """
    place = place_of(work)
    if place.is_local:
        return (work / "plan" / "plan.json").is_file()
    try:
        about = place.read(_PLAN[-1])
    except FileNotFoundError:
        return False
    (work / "plan").mkdir(exist_ok=True)
    for name in _PLAN[:-1]:
        # A list that is lacking is said where the digests are compared.
        with contextlib.suppress(FileNotFoundError), place.local(_named(name, about)) as copy:
            os.replace(copy, work / name)
    write_bytes(work / _PLAN[-1], about)
    return True


def publish_plan(work: Path) -> bool:
    """Write the plan in the folder of this process to its store; return False where another process has written one.

    Raises:
        OutputError: the store cannot be written, or replaces objects that it is asked to keep.
    """
    place = place_of(work)
    if not isinstance(place, StorePlace):
        return True
    place.store.check_written(place.address)
    about = (work / _PLAN[-1]).read_bytes()
    for name in _PLAN[:-1]:
        place.store.put_file_new(place.shown(_named(name, about)), work / name)
    return place.write_new(_PLAN[-1], about)


def _named(name: str, about: bytes) -> str:
    """Return the name of a list in a store: that of its plan, so that two that plan at once write two."""
    stem, dot, ending = name.rpartition(".")
    return f"{stem}-{hashlib.sha256(about).hexdigest()[:16]}{dot}{ending}"


@contextlib.contextmanager
def _missing(name: str) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        if error.code == "not_found":
            raise FileNotFoundError(name) from None
        raise


@cache
def _store_of(bucket: str) -> Store:
    return open_store(bucket)


def _store(address: str) -> Store:
    scheme, _, rest = address.partition("://")
    return _store_of(f"{scheme}://{rest.partition('/')[0]}")


def _sweep(root: Path) -> None:
    """Remove the folders of processes that were killed."""
    for old in root.glob(f"{_PREFIX}*"):
        pid, _, rest = old.name.removeprefix(_PREFIX).partition("-")
        if pid.isdecimal() and started(int(pid)) != rest.partition("-")[0]:
            shutil.rmtree(old, ignore_errors=True)


def _remove(work: Path, owner: int) -> None:
    # Not at the end of a process that was forked from the owner.
    if os.getpid() == owner:
        shutil.rmtree(work, ignore_errors=True)
