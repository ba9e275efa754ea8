"""Objects in stores (`s3://`, `gs://`, `hf://`, `memory://`) by fsspec, of which this file is the only user.

Listings are streamed and never cached; calls that fail for a moment are repeated. Credentials come from the environment
or the store's own files: an address that holds some is refused, since addresses are written into plans and reports.
"""

__all__ = ["Entry", "Store", "is_address", "open_store"]

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, NamedTuple, TypeVar

from eyewright.core.errors import EyewrightError, InputError, UsageError, spelling_hint
from eyewright.core.extras import import_extra
from eyewright.core.quoting import quoted

T = TypeVar("T")
SCHEMES: Mapping[str, str] = {"s3": "s3", "gs": "stores", "hf": "hf", "memory": "stores"}
"""The schemes that are read, and the extra that brings each."""

_TRIES = 6
_FIRST_WAIT_S = 0.1
_WILD = ("*", "?", "[")


class Entry(NamedTuple):
    """An object: its address, its size in bytes, and when it was changed, in ns (0 where the store does not tell)."""

    address: str
    size: int
    mtime_ns: int


def is_address(text: str) -> bool:
    """Return whether a source is an address in a store, and not a path or stream.

    >>> is_address("s3://bucket/photos/"), is_address("photos/"), is_address("rtsp://camera/1")
    (True, False, False)
    """
    return text.partition("://")[0] in SCHEMES and "://" in text


def open_store(address: str, *, wait_s: float = _FIRST_WAIT_S) -> "Store":
    """Open the store of an address; `wait_s` is the first pause before a call is repeated, which doubles each time.

    Raises:
        UsageError: the address is not complete, or holds credentials.
        MissingExtraError: what reads the store is not installed.
    """
    scheme, _, rest = address.partition("://")
    if scheme not in SCHEMES:
        raise UsageError(f"unknown store {scheme!r}://", fix=spelling_hint(scheme, SCHEMES))
    place = rest.partition("/")[0]
    if "@" in place and scheme != "hf":
        # Not shown: it may be a password.
        raise UsageError(
            f"expected {scheme}://BUCKET/…, found an address with credentials",
            fix="set them in the environment or the store's own files",
        )
    if not place:
        raise UsageError(f"expected {scheme}://BUCKET/…, found {quoted(address)}", fix="add the bucket")
    fsspec = import_extra("fsspec", extra=SCHEMES[scheme], what=f"{scheme}://")
    own = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub"}.get(scheme)
    if own is not None:
        import_extra(own, extra=SCHEMES[scheme], what=f"{scheme}://")
    # A listing that another call has left would be stale; fsspec keeps one for each set of options.
    files = fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=scheme != "memory")
    return Store(scheme, files, wait_s)


class Store:
    """A store: `entries` lists it, `read` gets an object or a range of one."""

    def __init__(self, scheme: str, files: Any, wait_s: float) -> None:
        self.scheme, self._files, self._wait_s = scheme, files, wait_s

    def entries(self, address: str, endings: tuple[str, ...]) -> Iterator[Entry]:
        """Yield the objects below a prefix, the one object that an address names, or those that a pattern of its last
        part matches, whose names end with one of `endings`.

        Raises:
            InputError: nothing is there, or it cannot be read.
            UsageError: a pattern in another part than the last.
        """
        head, _, last = address.rpartition("/")
        if any(c in head for c in _WILD):
            raise UsageError(
                f"expected a pattern in the last part of an address only, found {quoted(address)}",
                fix="list a prefix, or pass @LIST",
            )
        if any(c in last for c in _WILD):
            for one in self._below(head + "/", deep=False):
                if fnmatchcase(one.address.rpartition("/")[2], last):
                    yield one
            return
        if last.lower().endswith(endings):
            yield self.entry(address)
            return
        for one in self._below(address.rstrip("/") + "/", deep=True):
            # As in folders, hidden files are left out.
            hidden = any(part.startswith(".") for part in one.address[len(address) :].split("/"))
            if one.address.lower().endswith(endings) and not hidden:
                yield one

    def entry(self, address: str) -> Entry:
        """Return one object as it is now.

        Raises:
            InputError: it is not there, or cannot be read.
        """
        return self._entry(self._tried(lambda: self._files.info(_key(address)), address))

    def read(self, address: str, begin: int | None = None, end: int | None = None) -> bytes:
        """Return the bytes of an object, or those from `begin` to `end`, excluded.

        Raises:
            InputError: it is not there, or cannot be read.
        """
        found: bytes = self._tried(lambda: self._files.cat_file(_key(address), start=begin, end=end), address)
        if begin is not None and end is not None and len(found) != end - begin:
            raise InputError(f"{quoted(address)} ends before byte {end:,}", fix="check the object")
        return found

    def _below(self, address: str, *, deep: bool) -> Iterator[Entry]:
        if self.scheme == "s3":
            yield from self._pages(address, deep=deep)
            return
        folders = [_key(address).rstrip("/")]
        while folders:
            folder = folders.pop()
            found = self._tried(partial(self._files.ls, folder, detail=True), address)
            for one in sorted(found, key=lambda entry: str(entry["name"])):
                if one["type"] == "file":
                    yield self._entry(one)
                elif deep and str(one["name"]).rstrip("/") != folder:
                    folders.append(str(one["name"]))

    def _pages(self, address: str, *, deep: bool) -> Iterator[Entry]:
        """Yield what S3 lists, a page of 1,000 at a time: fsspec's own listings hold all of them."""
        bucket, _, prefix = _key(address).partition("/")
        asked: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, **({} if deep else {"Delimiter": "/"})}
        while True:
            page = self._tried(lambda: self._files.call_s3("list_objects_v2", **asked), address)
            for one in page.get("Contents", ()):
                changed: datetime = one["LastModified"]
                yield Entry(f"s3://{bucket}/{one['Key']}", int(one["Size"]), _whole_s(changed))
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def _entry(self, found: Mapping[str, Any]) -> Entry:
        changed = found.get("LastModified") or found.get("updated") or found.get("mtime") or found.get("created")
        time_ns = _whole_s(changed) if self.scheme == "s3" else _ns(changed)
        return Entry(f"{self.scheme}://{str(found['name']).lstrip('/')}", int(found["size"] or 0), time_ns)

    def _tried(self, call: Callable[[], T], address: str) -> T:
        """Call a store until it does not fail for a moment; what is final is said at once."""
        wait = self._wait_s
        for left in range(_TRIES - 1, -1, -1):
            try:
                return call()
            except EyewrightError:
                raise
            except FileNotFoundError:
                raise InputError(
                    f"nothing is at {quoted(address)}", fix="check the address", code="not_found"
                ) from None
            except PermissionError as error:
                raise InputError(
                    f"{quoted(address)} cannot be read: {_said(error)}", fix="check the credentials in the environment"
                ) from None
            except Exception as error:  # noqa: BLE001 - each store has errors of its own
                if not left:
                    raise InputError(
                        f"{quoted(address)} cannot be read after {_TRIES} tries: {_said(error)}",
                        fix="check the store, then continue with --resume",
                    ) from None
                # Not all workers at once.
                time.sleep(wait * random.uniform(0.5, 1.5))  # noqa: S311
                wait *= 2
        raise AssertionError


def _key(address: str) -> str:
    return address.partition("://")[2]


def _said(error: Exception) -> str:
    """Return the kind of an error: its text may hold the headers of a request."""
    return type(error).__name__


def _whole_s(found: Any) -> int:
    """Return a time in whole seconds, in ns: HTTP's header of an object has no fractions, which listings may have."""
    return _ns(found) // 10**9 * 10**9


def _ns(found: Any) -> int:
    if isinstance(found, str):
        with contextlib.suppress(ValueError):
            found = datetime.fromisoformat(found.replace("Z", "+00:00"))
    if isinstance(found, datetime):
        return int(found.timestamp()) * 10**9 + found.microsecond * 1000
    # To the microsecond, as the same time is given elsewhere.
    return round(found * 10**6) * 1000 if isinstance(found, int | float) else 0
