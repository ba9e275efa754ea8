"""Images that are not files: objects in stores, members of tar files, rows of Parquet tables.

In a plan each is an address. A worker copies a few at a time to files of its own, which its work reads, and reads the
next ones meanwhile.
"""

__all__ = [
    "count_left_out",
    "fetched_rows",
    "holds_references",
    "is_reference",
    "list_references",
    "named_path",
    "no_images",
]

import contextlib
import io
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from eyewright.core.errors import InputError, UnreadableImageError
from eyewright.core.machine.limits import started
from eyewright.core.quoting import quoted
from eyewright.core.regular import open_regular, require_path
from eyewright.core.walking import walk_files
from eyewright.data.archives import (
    ARCHIVES,
    images_of_tar,
    is_archive,
    open_shard,
    read_parquet,
    refuse_compressed,
    rows_of_parquet,
)
from eyewright.imaging.headers import FORMATS, Limits
from eyewright.scaling.addresses import is_address
from eyewright.scaling.listing import Item, has_changed
from eyewright.scaling.rows import Row, changed_row, error_row
from eyewright.scaling.stores import Store, open_store

if TYPE_CHECKING:
    from eyewright.scaling.work import Work

_ENDINGS = tuple(ending for endings in FORMATS.values() for ending in endings)
_AT_ONCE, _MOST_HELD, _THREADS = 64, 64 * 2**20, 8
_PREFIX = "eyewright-fetch-"
# Bytes of an archive that are read at once where its members are listed.
_READ_AHEAD = 2**20
# Names of a source without images that are looked at, to say what is there.
_MOST_LOOKED_AT = 100_000


def is_reference(path: str) -> bool:
    """Return whether a planned image is not a file by itself. Planned paths never hold "://" otherwise."""
    return "://" in path


def plain_name(path: str) -> str:
    """Return the path below which a job writes what it makes of a planned image.

    >>> plain_name("s3://bucket/a/1.jpg"), plain_name("tar:///data/a%23.tar#512:cat/1.jpg"), plain_name("/data/1.jpg")
    ('bucket/a/1.jpg', 'data/a#.tar/cat/1.jpg', 'data/1.jpg')
    """
    if path.startswith(("tar://", "parquet://")):
        place, at, name = _parts(path)
        inner = name if path.startswith("tar://") else f"{at:08d}"
        rest = f"{place.partition('://')[2] or place}/{inner}"
    else:
        rest = path.partition("://")[2] or path
    # No part leads out of the folder, whatever an archive calls its members.
    return "/".join(part for part in rest.split("/") if part not in ("", ".", ".."))


def named_path(item: Item, root: Path) -> Path:
    """Return the path below which a job writes what it makes of an image: that below the planned folder, or for what is
    not a file the one of its address."""
    path = item.name or item.path
    return Path(plain_name(path)) if is_reference(path) else Path(path).relative_to(root)


def holds_references(source: str) -> bool:
    """Return whether a source is an address, a tar file, a Parquet table, or a glob of those."""
    return is_address(source) or (not source.startswith("@") and is_archive(source) and not os.path.isdir(source))


def list_references(source: str, left_out: Counter[str] | None = None) -> Iterator[Item]:
    """Yield the images of an address, or of tar files and Parquet tables: one, or those that a glob matches. `left_out`
    counts what else archives hold, by kind.

    Raises:
        InputError: nothing is there, or an archive is damaged or compressed as a whole.
        UsageError: an address that cannot be used.
    """
    if is_address(source):
        store = open_store(source)
        refuse_compressed(source)
        endings = ARCHIVES if is_archive(source) else _ENDINGS
        for one in store.entries(source, endings):
            refuse_compressed(one.address)
            if is_archive(one.address):
                yield from _inside(one.address, left_out)
            else:
                yield Item(one.address, one.size, one.mtime_ns)
        return
    import glob

    paths = (
        [source] if os.path.isfile(source) else sorted(p for p in glob.iglob(source, recursive=True) if is_archive(p))
    )
    if not paths:
        raise InputError(f"expected files at {quoted(source)}, found none", fix="check the path", code="not_found")
    for path in paths:
        yield from _inside(os.path.abspath(path), left_out)


def no_images(source: str, left_out: Counter[str] | None = None) -> InputError:
    """Return the error of a source without images, which says what to pass where archives are there."""
    names = sorted(islice(_names_in(source), _MOST_LOOKED_AT))
    found = [n for n in names if is_archive(n)]
    if not found:
        for name in names:
            refuse_compressed(name)
        others = count_left_out(left_out or {})
        return InputError(
            f"expected images in {quoted(source)}, found none" + (f" (left out: {others})" if others else ""),
            fix="check the source",
            code="no_images",
        )
    ending = os.path.splitext(found[0])[1].lower()
    alike = [n for n in found if n.lower().endswith(ending)]
    what = "tar file" if ending == ".tar" else "Parquet table"
    folders = sorted({os.path.dirname(n) for n in alike})
    # A pattern of a store holds in the last part only.
    folder = "**" if len(folders) > 1 and not is_address(source) else folders[0]
    pattern = "/".join(part for part in (source.rstrip("/"), folder, f"*{ending}") if part)
    return InputError(
        f"expected images in {quoted(source)}, found {len(alike):,} {what}{'s' * (len(alike) != 1)}",
        fix=f"pass {quoted(pattern)}, in quotes, for the images in them",
        code="no_images",
    )


def count_left_out(left_out: Mapping[str, int]) -> str:
    """Return how many members of archives were left out, in words.

    >>> count_left_out({"mask": 8, "link": 1, "image of another column": 2})
    '8 masks, 1 link, 2 images of another column'
    """
    said = []
    for kind, n in left_out.items():
        noun, of, rest = kind.partition(" of ")
        said += [f"{n:,} {noun}{'s' * (n != 1)}{of}{rest}"] if n else []
    return ", ".join(said)


def _names_in(source: str) -> Iterator[str]:
    """Yield the names below a folder or prefix."""
    if is_address(source):
        if not any(c in source for c in "*?["):
            prefix = source.rstrip("/") + "/"
            yield from (one.address.removeprefix(prefix) for one in open_store(source).below(prefix))
    elif os.path.isdir(source):
        yield from walk_files(Path(source))[0]


def _inside(place: str, left_out: Counter[str] | None) -> Iterator[Item]:
    file = _open(place)
    head = quote(place, safe="/:")
    if place.lower().endswith(".tar"):
        for member in images_of_tar(file, place, left_out):
            yield Item(f"tar://{head}#{member.at}:{member.name}", member.size, file.mtime_ns)
        return
    for row, column, size in rows_of_parquet(file.as_file(), place, left_out):
        yield Item(f"parquet://{head}#{row}:{column}", size, file.mtime_ns)


def _parts(path: str) -> tuple[str, int, str]:
    """Return the file, the offset or row, and the name of a planned image in an archive."""
    place, _, rest = path.partition("://")[2].partition("#")
    at, _, name = rest.partition(":")
    return unquote(place), int(at), name


@dataclass(frozen=True)
class _Opened:
    """An archive in a file or store; `read` and `size` as `archives.Bytes`."""

    place: str
    size: int
    mtime_ns: int
    store: Store | None

    def read(self, begin: int, end: int) -> bytes:
        end = min(end, self.size)
        if begin >= end:
            return b""
        if self.store is not None:
            return self._ahead(begin, end)
        with open(self.place, "rb") as file:
            file.seek(begin)
            return file.read(end - begin)

    def _ahead(self, begin: int, end: int) -> bytes:
        first = begin // _READ_AHEAD
        last = (end - 1) // _READ_AHEAD
        if last > first + 1:
            assert self.store is not None
            return self.store.read(self.place, begin, end)
        whole = b"".join(_block(self, k) for k in range(first, last + 1))
        return whole[begin - first * _READ_AHEAD : end - first * _READ_AHEAD]

    def as_file(self) -> Any:
        """Return it as pyarrow reads it."""
        if self.store is None:
            return self.place
        # A table is read from memory: its index is at its end.
        if self.size > 2**31:
            raise InputError(
                f"{quoted(self.place)} has {self.size:,} bytes, at most 2 GiB are read", fix="write smaller files"
            )
        return io.BytesIO(self.store.read(self.place))


_blocks: dict[tuple[str, int, int], bytes] = {}


def _block(file: _Opened, number: int) -> bytes:
    """Return a block of an archive in a store; the last few are kept, since headers lie close together."""
    key = (file.place, file.mtime_ns, number)
    if key not in _blocks:
        while len(_blocks) >= 4:
            _blocks.pop(next(iter(_blocks)))
        assert file.store is not None
        begin = number * _READ_AHEAD
        _blocks[key] = file.store.read(file.place, begin, min(file.size, begin + _READ_AHEAD))
    return _blocks[key]


def _open(place: str) -> _Opened:
    if is_address(place):
        store = _store_of(place.partition("://")[0] + "://" + place.partition("://")[2].partition("/")[0])
        one = store.entry(place)
        return _Opened(place, one.size, one.mtime_ns, store)
    try:
        found = os.stat(place)
    except OSError as error:
        raise InputError(
            f"{quoted(place)} cannot be read: {error.strerror}", fix="check the path", code="not_found"
        ) from None
    # A FIFO would be waited for, without end.
    open_shard(Path(place)).close()
    return _Opened(place, found.st_size, found.st_mtime_ns, None)


@cache
def _store_of(bucket: str) -> Store:
    return open_store(bucket)


def fetched_rows(work: "Work", items: Sequence[Item], first: int, shard: int) -> Iterator[Row]:
    """Yield the rows of planned images of which some are not files: `work` gets files with their content."""
    folder = _own_folder()
    chunks = list(_chunks(items))
    try:
        with ThreadPoolExecutor(1) as ahead:
            waiting: Future[list[Item | Row]] | None = None
            for k, (begin, end) in enumerate(chunks):
                waiting = waiting or ahead.submit(_fetched, items[begin:end], first + begin, folder / str(k))
                found, waiting = waiting.result(), None
                if k + 1 < len(chunks):
                    b, e = chunks[k + 1]
                    waiting = ahead.submit(_fetched, items[b:e], first + b, folder / str(k + 1))
                yield from _rows(work, items[begin:end], found, first + begin, shard)
                shutil.rmtree(folder / str(k))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _rows(work: "Work", items: Sequence[Item], found: Sequence["Item | Row"], first: int, shard: int) -> Iterator[Row]:
    local = [one for one in found if isinstance(one, Item)]
    rows = work.rows(local, first, shard)
    for k, (item, one) in enumerate(zip(items, found, strict=True)):
        row = next(rows) if isinstance(one, Item) else one
        # Messages name the copy too.
        message = row["message"] and str(row["message"]).replace(one.path, item.path) if isinstance(one, Item) else None
        yield {**row, "id": first + k, "source": item.path, "message": message or row["message"]}


def _chunks(items: Sequence[Item]) -> Iterator[tuple[int, int]]:
    begin = held = 0
    for k, item in enumerate(items):
        if k > begin and (k - begin == _AT_ONCE or held + item.size > _MOST_HELD):
            yield begin, k
            begin, held = k, 0
        held += max(0, item.size)
    if begin < len(items):
        yield begin, len(items)


def _fetched(items: Sequence[Item], first: int, folder: Path) -> list["Item | Row"]:
    """Return for each planned image a file with its content, or the row that says why there is none."""
    folder.mkdir()
    found: list[Item | Row] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        numbered = list(enumerate(items))
        for of_file, group in groupby(numbered, key=lambda pair: _file_of(pair[1])):
            own = list(group)
            if not of_file:
                contents: Iterator[bytes | InputError | None] = pool.map(_content, [item for _, item in own])
            else:
                contents = _archived([item for _, item in own])
            for (k, item), data in zip(own, contents, strict=True):
                found.append(_copied(item, data, first + k, folder / f"{k:04d}"))
    return found


def _file_of(item: Item) -> str:
    """Return the archive that holds a planned image, with its kind; "" for one that is an object or file by itself."""
    scheme = item.path.partition("://")[0]
    return f"{scheme} {_parts(item.path)[0]}" if scheme in ("tar", "parquet") else ""


def _content(item: Item) -> bytes | InputError | None:
    """Return the content of an object; None where it is not the planned one."""
    try:
        if not is_address(item.path):
            if has_changed(item):
                return None
            require_path(Path(item.path), "an image")
            with open_regular(Path(item.path), most=Limits().bytes, follow=True) as file:
                return file.read()
        store = _store_of(item.path.partition("://")[0] + "://" + item.path.partition("://")[2].partition("/")[0])
        most = Limits().bytes
        now, data = store.get(item.path, most)
        # Of a list nothing is known but the addresses.
        if item.size >= 0 and (now.size, now.mtime_ns) != (item.size, item.mtime_ns):
            return None
        if data is None:
            return InputError(f"{quoted(item.path)} has {now.size:,} bytes, at most {most:,} are read")
        return data
    except InputError as error:
        return error
    except OSError as error:
        return InputError(f"{quoted(item.path)} cannot be read: {error.strerror}")


def _archived(items: Sequence[Item]) -> Iterator[bytes | InputError | None]:
    """Yield the contents of images of one archive; None where it is not the planned one."""
    try:
        file = _open(_parts(items[0].path)[0])
        if file.mtime_ns != items[0].mtime_ns:
            yield from [None] * len(items)
            return
        if items[0].path.startswith("parquet://"):
            column = _parts(items[0].path)[2]
            rows = list(read_parquet(file.as_file(), file.place, column, [_parts(i.path)[1] for i in items]))
            lacking = f"a row of {quoted(file.place)} has no image, or one that is too large"
            yield from (InputError(lacking) if data is None else data for data in rows)
            return
    except InputError as error:
        yield from [error] * len(items)
        return
    with open(file.place, "rb") if file.store is None else contextlib.nullcontext() as local:
        for item in items:
            at = _parts(item.path)[1]
            try:
                if local is None:
                    yield file.read(at, at + item.size)
                    continue
                local.seek(at)
                yield local.read(item.size)
            except (InputError, OSError) as error:
                yield error if isinstance(error, InputError) else InputError(f"{quoted(item.path)}: {error.strerror}")


def _copied(item: Item, data: bytes | InputError | None, number: int, stem: Path) -> "Item | Row":
    if data is None:
        return changed_row(number, item.path)
    if isinstance(data, InputError):
        code = data.code if data.code == "not_found" else UnreadableImageError.code
        return error_row(number, item.path, code, data.message)
    ending = os.path.splitext(plain_name(item.path))[1].lower()
    place = stem.with_suffix(ending if ending in _ENDINGS else ".image")
    place.write_bytes(data)
    found = place.stat()
    return Item(str(place), found.st_size, found.st_mtime_ns, item.path)


def _own_folder() -> Path:
    """Return a new folder for copies, and remove those of workers that were killed."""
    root = Path(tempfile.gettempdir())
    for old in root.glob(f"{_PREFIX}*"):
        pid, _, rest = old.name.removeprefix(_PREFIX).partition("-")
        if pid.isdecimal() and started(int(pid)) != rest.partition("-")[0]:
            shutil.rmtree(old, ignore_errors=True)
    with contextlib.suppress(OSError):
        return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-{started(os.getpid())}-"))
    return Path(tempfile.mkdtemp(prefix=_PREFIX))
