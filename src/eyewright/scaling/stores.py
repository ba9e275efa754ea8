"""Objects in stores (`s3://`, `gs://`, `hf://`, `memory://`) by fsspec, of which this file is the only user.

Listings are streamed and never cached; calls that fail for a moment are repeated, and each has a deadline. Credentials
come from the environment or the store's own files: an address that holds some is refused, since addresses are written
into plans and reports.
"""

__all__ = ["Entry", "Store", "open_store"]

import base64
import contextlib
import hashlib
import random
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from eyewright.core.errors import EyewrightError, InputError, OutputError, UsageError, spelling_hint
from eyewright.core.extras import import_extra
from eyewright.core.quoting import quoted
from eyewright.scaling.addresses import SCHEMES

T = TypeVar("T")
WRITTEN = ("s3", "gs", "memory")
"""The schemes that results are written to."""

_TRIES = 6
_FIRST_WAIT_S = 0.1
# Without an answer for so long, a call is repeated.
_CONNECT_S, _ANSWER_S = 5.0, 15.0
_LEAST_PER_S = 20_000
_MOST = 2**62
_WILD = ("*", "?", "[")
# Larger files are sent in parts, of which S3 takes at most 10,000.
_PART, _MOST_PARTS = 64 * 2**20, 9000
_DIGEST = "sha256"


class Entry(NamedTuple):
    """An object: its address, its size in bytes, and when it was changed, in ns (0 where the store does not tell). S3
    tells whole seconds: the digits after them are made of the object's ETag."""

    address: str
    size: int
    mtime_ns: int


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
    about: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": scheme != "memory"}
    if scheme == "s3":
        # Repeated here, not also in each library below: their tries would multiply to an hour.
        tried = {"mode": "standard", "total_max_attempts": 1}
        about["config_kwargs"] = {"connect_timeout": _CONNECT_S, "read_timeout": _ANSWER_S, "retries": tried}
    files = fsspec.filesystem(scheme, **about)
    if scheme == "s3":
        files.retries = 1
    return Store(scheme, files, wait_s)


class Store:
    """A store: `entries` lists it, `read` gets an object or a range of one, `put` and `put_new` write one."""

    def __init__(self, scheme: str, files: Any, wait_s: float) -> None:
        self.scheme, self._files, self._wait_s = scheme, files, wait_s
        self._checked: set[str] = set()

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
        for one in self.below(address):
            if one.address.lower().endswith(endings):
                yield one

    def below(self, address: str) -> Iterator[Entry]:
        """Yield all objects below a prefix, in the order of the store.

        Raises:
            InputError: nothing is there, or it cannot be read.
        """
        for one in self._below(address.rstrip("/") + "/", deep=True):
            # As in folders, hidden files are left out; ".." is a name like others in a key.
            parts = one.address[len(address) :].split("/")
            if not any(part.startswith(".") and part not in (".", "..") for part in parts):
                yield one

    def entry(self, address: str) -> Entry:
        """Return one object as it is now.

        Raises:
            InputError: it is not there, or cannot be read.
        """
        if self.scheme == "s3":
            bucket, key = _parted(address)
            head = self._tried(lambda: self._files.call_s3("head_object", Bucket=bucket, Key=key), address)
            return Entry(address, int(head["ContentLength"]), _stamp(head))
        found = self._tried(lambda: self._files.info(_key(address)), address)
        if found.get("type") == "directory":
            raise InputError(f"nothing is at {quoted(address)}", fix="check the address", code="not_found")
        return self._entry(found)

    def get(self, address: str, most: int) -> tuple[Entry, bytes | None]:
        """Return an object as it is now, and its content; None where it has more than `most` bytes.

        Raises:
            InputError: it is not there, or cannot be read.
        """
        if self.scheme != "s3":
            one = self.entry(address)
            return one, None if one.size > most else self.read(address)
        return self._got(address, most)

    def read(self, address: str, begin: int | None = None, end: int | None = None) -> bytes:
        """Return the bytes of an object, or with both those from `begin` to `end`, excluded.

        Raises:
            InputError: it is not there, or cannot be read.
        """
        found: bytes | None
        if self.scheme == "s3":
            part = {} if begin is None or end is None else {"Range": f"bytes={begin}-{end - 1}"}
            found = self._got(address, _MOST, **part)[1]
        else:
            found = self._tried(lambda: self._files.cat_file(_key(address), start=begin, end=end), address)
        assert found is not None
        if begin is not None and end is not None and len(found) != end - begin:
            raise InputError(f"{quoted(address)} ends before byte {end:,}", fix="check the object")
        return found

    def pieces(self, address: str) -> Iterator[bytes]:
        """Yield the content of an object, so many bytes at a time that memory does not grow with it.

        Raises:
            InputError: it is not there, cannot be read, or was replaced meanwhile.
        """
        one = self.entry(address)
        if one.size <= _PART:
            yield self.read(address)
            return
        for begin in range(0, one.size, _PART):
            yield self.read(address, begin, min(one.size, begin + _PART))
        if self.entry(address) != one:
            raise InputError(f"{quoted(address)} was replaced while it was read", fix="run again")

    def _got(self, address: str, most: int, **more: Any) -> tuple[Entry, bytes | None]:
        """Return what S3 sends with one call: an answer that is cut off, or slower than a modem, is asked for again."""
        # Imported here: only S3 needs it.
        import asyncio

        bucket, key = _parted(address)

        async def whole() -> tuple[Entry, bytes | None]:
            found = await self._files._call_s3("get_object", Bucket=bucket, Key=key, **more)
            entry, body = Entry(address, int(found["ContentLength"]), _stamp(found)), found["Body"]
            try:
                if entry.size > most:
                    return entry, None
                data: bytes = await asyncio.wait_for(body.read(), _ANSWER_S + entry.size / _LEAST_PER_S)
            finally:
                body.close()
            if len(data) != entry.size:
                raise ConnectionError("the answer was cut off")
            return entry, data

        sync = import_extra("fsspec.asyn", extra="s3", what="s3://").sync
        found: tuple[Entry, bytes | None] = self._tried(lambda: sync(self._files.loop, whole), address)
        return found

    def names(self, address: str) -> Iterator[str]:
        """Yield the names of the objects right below a prefix that ends with a slash; none where nothing is there.

        Raises:
            InputError: it cannot be listed.
        """
        try:
            for one in self._below(address, deep=False):
                yield one.address.rpartition("/")[2]
        except InputError as error:
            if error.code != "not_found":
                raise

    def put(self, address: str, data: bytes) -> None:
        """Write an object whole, in place of one that is there.

        Raises:
            OutputError: it cannot be written.
        """
        if self.scheme == "s3":
            self._put_s3(address, data)
            return
        self._tried(lambda: self._files.pipe_file(_key(address), data), address, writes=True)

    def put_new(self, address: str, data: bytes) -> bool:
        """Write an object whole unless there is one; return whether this call wrote it, or one with the same content
        is there: where the answer to a call that was repeated is lost, that is the same.

        Raises:
            OutputError: it cannot be written.
        """
        try:
            if self.scheme == "s3":
                self._put_s3(address, data, IfNoneMatch="*")
            else:
                self._tried(
                    lambda: self._files.pipe_file(_key(address), data, mode="create"), address, writes=True
                )  # fmt: skip
        except FileExistsError:
            return self._is_same(address, hashlib.sha256(data).hexdigest())
        return True

    def put_file_new(self, address: str, path: Path) -> bool:
        """Write a file as an object as `put_new` does; a large one in parts, which are not seen before all are there,
        and are removed if one cannot be written.

        Raises:
            OutputError: it cannot be written.
        """
        size = path.stat().st_size
        if self.scheme != "s3" or size <= _PART:
            return self.put_new(address, path.read_bytes())
        (bucket, key), each = _parted(address), max(_PART, -(-size // _MOST_PARTS))
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()

        def call(name: str, **options: Any) -> Any:
            return self._tried(
                lambda: self._files.call_s3(name, Bucket=bucket, Key=key, **options), address, writes=True
            )

        upload = call("create_multipart_upload", Metadata={_DIGEST: digest})["UploadId"]
        try:
            parts: list[dict[str, Any]] = []
            with open(path, "rb") as file:
                while data := file.read(each):
                    number = len(parts) + 1
                    sent = call("upload_part", UploadId=upload, PartNumber=number, Body=data, ContentMD5=_md5(data))
                    parts.append({"PartNumber": number, "ETag": sent["ETag"]})
            call("complete_multipart_upload", UploadId=upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
        except BaseException as error:
            # An upload that was completed by a call whose answer was lost is gone too.
            with contextlib.suppress(EyewrightError, OSError):
                call("abort_multipart_upload", UploadId=upload)
            if isinstance(error, FileExistsError) or getattr(error, "code", "") == "not_found":
                return self._is_same(address, digest)
            raise
        return True

    def remove(self, address: str) -> None:
        """Remove an object, if it is there.

        Raises:
            OutputError: it cannot be removed.
        """
        with contextlib.suppress(FileNotFoundError):
            if self.scheme == "s3":
                bucket, key = _parted(address)
                self._tried(
                    lambda: self._files.call_s3("delete_object", Bucket=bucket, Key=key), address, writes=True
                )  # fmt: skip
            else:
                self._tried(lambda: self._files.rm_file(_key(address)), address, writes=True)

    def uploads(self, address: str) -> Iterator[tuple[str, str]]:
        """Yield the address and number of the uploads in parts below a prefix that were neither completed nor aborted.

        Raises:
            InputError: they cannot be listed.
        """
        if self.scheme != "s3":
            return
        bucket, prefix = _parted(address)
        asked: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix}
        while True:
            page = self._tried(partial(self._files.call_s3, "list_multipart_uploads", **asked), address)
            for one in page.get("Uploads", ()):
                yield f"s3://{bucket}/{one['Key']}", str(one["UploadId"])
            if not page.get("IsTruncated"):
                return
            asked |= {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def abort(self, address: str, upload: str) -> None:
        """Remove what was sent of an upload in parts.

        Raises:
            OutputError: it cannot be removed.
        """
        bucket, key = _parted(address)
        asked = {"Bucket": bucket, "Key": key, "UploadId": upload}
        with contextlib.suppress(FileNotFoundError):
            self._tried(lambda: self._files.call_s3("abort_multipart_upload", **asked), address, writes=True)

    def check_written(self, address: str) -> None:
        """Check that objects can be written below a prefix, and that the store refuses to write one that is there.

        Raises:
            OutputError: they cannot be written, or it replaces them.
        """
        if address in self._checked:
            return
        probe = f"{address.rstrip('/')}/.eyewright-{secrets.token_hex(8)}"
        fix = "write to a folder, then upload it, or use a store with conditional writes (If-None-Match)"
        try:
            kept = self.put_new(probe, b"first") and not self.put_new(probe, b"second")
        except OutputError as error:
            if error.code != "not_supported":
                raise
            kept = False
        self.remove(probe)
        if not kept:
            raise OutputError(
                f"the store of {quoted(address)} replaces objects that it is asked to keep, so two processes could "
                "replace each other's results",
                fix=fix,
                code="store",
            )
        self._checked.add(address)

    def _put_s3(self, address: str, data: bytes, **more: Any) -> None:
        bucket, key = _parted(address)
        # The store compares the first digest with what arrives; the second names the content to `_is_same`.
        named = {"ContentMD5": _md5(data), "Metadata": {_DIGEST: hashlib.sha256(data).hexdigest()}}
        self._tried(
            lambda: self._files.call_s3("put_object", Bucket=bucket, Key=key, Body=data, **named, **more),
            address,
            writes=True,
        )

    def _is_same(self, address: str, digest: str) -> bool:
        """Return whether an object has the content with this SHA-256."""
        try:
            if self.scheme == "s3":
                bucket, key = _parted(address)
                head = self._tried(lambda: self._files.call_s3("head_object", Bucket=bucket, Key=key), address)
                return bool(head.get("Metadata", {}).get(_DIGEST) == digest)
            return hashlib.sha256(self.read(address)).hexdigest() == digest
        except InputError as error:
            if error.code != "not_found":
                raise
            # Removed in between.
            return False

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
                yield Entry(f"s3://{bucket}/{one['Key']}", int(one["Size"]), _stamp(one))
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def _entry(self, found: Mapping[str, Any]) -> Entry:
        changed = found.get("LastModified") or found.get("updated") or found.get("mtime") or found.get("created")
        return Entry(f"{self.scheme}://{str(found['name']).lstrip('/')}", int(found["size"] or 0), _ns(changed))

    def _tried(self, call: Callable[[], T], address: str, *, writes: bool = False) -> T:
        """Call a store until it does not fail for a moment; what is final is said at once.

        Raises:
            InputError: what is read is not there, or cannot be read.
            OutputError: it cannot be written.
            FileExistsError: what must not be replaced is there.
        """
        wait = self._wait_s
        for left in range(_TRIES - 1, -1, -1):
            try:
                return call()
            except (EyewrightError, FileExistsError):
                raise
            except FileNotFoundError:
                if writes:
                    # What is written need not be there, but what it is written into.
                    bucket = f"{self.scheme}://{_parted(address)[0]}"
                    raise OutputError(
                        f"there is no bucket {quoted(bucket)}", fix="check --out, or make it", code="not_found"
                    ) from None
                raise InputError(
                    f"nothing is at {quoted(address)}", fix="check the address", code="not_found"
                ) from None
            except PermissionError as error:
                raise _failed(address, _said(error), "check the credentials in the environment", writes) from None
            except Exception as error:  # noqa: BLE001 - each store has errors of its own
                code, status = _answer(error)
                if status == 412 or code == "PreconditionFailed":
                    raise FileExistsError(address) from None
                if "Validation" in type(error).__name__:
                    raise _failed(address, _said(error), "check the address", writes) from None
                if "Credentials" in type(error).__name__:
                    raise _failed(address, _said(error), "set the credentials in the environment", writes) from None
                if status == 501:
                    raise _failed(address, _said(error), "use another store", writes, "not_supported") from None
                if 400 <= status < 500 and status not in (408, 409, 429) and code != "RequestTimeout":
                    raise _failed(address, _said(error), "check the address and the store", writes) from None
                if not left:
                    said = f"{_said(error)} after {_TRIES} tries"
                    raise _failed(address, said, "check the store, then continue with --resume", writes) from None
                # Not all workers at once.
                time.sleep(wait * random.uniform(0.5, 1.5))  # noqa: S311
                wait *= 2
        raise AssertionError


def _key(address: str) -> str:
    return address.partition("://")[2]


def _parted(address: str) -> tuple[str, str]:
    """Return the bucket and key of an address in S3: every character of a key counts."""
    bucket, _, key = _key(address).partition("/")
    return bucket, key


def _failed(address: str, said: str, fix: str, writes: bool, code: str | None = None) -> EyewrightError:
    kind = OutputError if writes else InputError
    return kind(f"{quoted(address)} cannot be {'written' if writes else 'read'}: {said}", fix=fix, code=code)


def _answer(error: BaseException) -> tuple[str, int]:
    """Return the code and status that S3 answered with; "" and 0 where it did not."""
    answer = getattr(error.__cause__ or error, "response", None)
    if not isinstance(answer, Mapping):
        return "", 0
    try:
        return str(answer["Error"]["Code"]), int(answer["ResponseMetadata"]["HTTPStatusCode"])
    except (KeyError, TypeError, ValueError):
        return "", 0


def _said(error: Exception) -> str:
    """Return the kind of an error: its text may hold the headers of a request."""
    code, _ = _answer(error)
    return code if code.isalpha() and len(code) < 60 else type(error).__name__


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _stamp(found: Mapping[str, Any]) -> int:
    """Return when an object of S3 was changed, as `Entry` has it. HTTP's header of an object has no fractions of a
    second, which listings may have; an object that is replaced in the same second has another ETag."""
    tag = str(found.get("ETag", "")).strip('"')
    mark = int.from_bytes(hashlib.blake2b(tag.encode(), digest_size=4).digest(), "big") % 10**9
    return _ns(found["LastModified"]) // 10**9 * 10**9 + mark


def _ns(found: Any) -> int:
    if isinstance(found, str):
        with contextlib.suppress(ValueError):
            found = datetime.fromisoformat(found.replace("Z", "+00:00"))
    if isinstance(found, datetime):
        return int(found.timestamp()) * 10**9 + found.microsecond * 1000
    # To the microsecond, as the same time is given elsewhere.
    return round(found * 10**6) * 1000 if isinstance(found, int | float) else 0
