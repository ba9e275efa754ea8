"""A copy of the objects below an address, for commands that read a folder: only what is new is copied again."""

__all__ = ["mirror_address"]

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from eyewright.core.errors import InputError, OutputError, UsageError
from eyewright.core.files import cache_folder, checked_output, held_lock, write_parts
from eyewright.core.quoting import quoted
from eyewright.scaling.stores import Entry, Store, open_store

_THREADS, _WAITING = 16, 64
_BUSY = "busy_mirror"
_SMALL = 64 * 2**20
_WILD = ("*", "?", "[")


def mirror_address(address: str, *, within: Path | None = None) -> Path:
    """Return a folder with the objects below an address, or a file where it names one object; objects that are in the
    copy of an earlier call and were not changed since are not read again, and what is gone is removed.

    Raises:
        InputError: nothing is there, an object cannot be read or changed meanwhile, or its key cannot be a path.
        OutputError: the cache cannot be written, or the objects do not fit on the disk.
        UsageError: an address that cannot be used.
    """
    address = address.rstrip("/") if not any(c in address for c in _WILD) else address
    root = (within or cache_folder() / "stores") / hashlib.sha256(
        address.encode("utf-8", "surrogateescape")
    ).hexdigest()[:16]
    folder = root / "data"
    store = open_store(address)
    with checked_output(root):
        root.mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True)
    with _locked(root):
        known = _known(root)
        seen: dict[str, tuple[int, int]] = {}
        try:
            _copy(address, store, folder, known, seen)
        finally:
            # Also of what was copied before an error: it is not copied twice.
            write_parts(root / "files.jsonl", _lines({**known, **seen}))
        if not seen:
            raise InputError(f"nothing is at {quoted(address)}", fix="check the address", code="not_found")
        for name in known.keys() - seen.keys():
            (folder / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                # Folders that became empty.
                os.removedirs((folder / name).parent)
        write_parts(root / "files.jsonl", _lines(seen))
    name = address.rpartition("/")[2]
    return folder / name if list(seen) == [name] else folder


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Wait until no other process copies to the same place: of several that start together, one does it."""
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(held_lock(root / "lock", busy="busy", code=_BUSY))
                break
            except UsageError as error:
                if error.code != _BUSY:
                    raise
                time.sleep(0.5)
        yield


def _copy(
    address: str,
    store: Store,
    folder: Path,
    known: dict[str, tuple[int, int]],
    seen: dict[str, tuple[int, int]],
) -> None:
    waiting: list[tuple[str, Entry, Future[None]]] = []

    def settle(most: int) -> None:
        while len(waiting) > most:
            name, one, copied = waiting.pop(0)
            copied.result()
            seen[name] = (one.size, one.mtime_ns)

    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for name, one in _listed(address, store):
                place = folder / name
                if known.get(name) == (one.size, one.mtime_ns) and place.is_file():
                    seen[name] = known[name]
                    continue
                free = shutil.disk_usage(folder).free
                if one.size > free:
                    raise OutputError(
                        f"{quoted(one.address)} has {one.size:,} bytes, {free:,} are free below {quoted(folder)}",
                        fix="free some space, or set EYEWRIGHT_CACHE",
                        code="disk_full",
                    )
                waiting.append((name, one, pool.submit(_fetch, store, one, place)))
                settle(_WAITING)
            settle(0)
        except BaseException:
            for _, _, copied in waiting:
                copied.cancel()
            raise


def _listed(address: str, store: Store) -> Iterator[tuple[str, Entry]]:
    """Yield the objects below an address, with the paths that they get; files that begin with a dot are left out."""
    if any(c in address for c in _WILD):
        base = address.rpartition("/")[0]
        found = store.entries(address, ("",))
    else:
        base = address
        try:
            if "/" not in address.partition("://")[2]:
                raise InputError("a bucket", code="not_found")
            yield address.rpartition("/")[2], store.entry(address)
            return
        except InputError as error:
            if error.code != "not_found":
                raise
        found = store.below(address)
    for one in found:
        name = one.address[len(base) + 1 :]
        parts = name.split("/")
        if not parts[-1]:
            # The marker of an empty folder.
            continue
        if any(part in ("", ".", "..") or "\0" in part or len(os.fsencode(part)) > 255 for part in parts):
            raise InputError(
                f"the key of {quoted(one.address)} cannot be a path of this machine", fix="rename it", code="key"
            )
        yield name, one


def _fetch(store: Store, one: Entry, place: Path) -> None:
    temporary = place.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with checked_output(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            # Of a small one the same call says that it is the listed one.
            now, data = store.get(one.address, _SMALL)
            with open(temporary, "xb") as file:
                file.writelines(store.pieces(one.address) if data is None else (data,))
            if now != one or (data is None and store.entry(one.address) != one):
                raise InputError(f"{quoted(one.address)} changed while it was copied", fix="run again")
            os.replace(temporary, place)
    finally:
        temporary.unlink(missing_ok=True)


def _known(root: Path) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    # A damaged list costs time only.
    with contextlib.suppress(OSError, ValueError), open(root / "files.jsonl", "rb") as file:
        for line in file:
            name, size, stamp = json.loads(line)
            found[str(name)] = (int(size), int(stamp))
    return found


def _lines(files: dict[str, tuple[int, int]]) -> Iterator[bytes]:
    return (json.dumps([name, *stamp]).encode() + b"\n" for name, stamp in files.items())
