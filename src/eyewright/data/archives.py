"""Images in tar files (WebDataset) and Parquet tables: where each lies, so that workers read it by itself, and writing.

Nothing is extracted and no name becomes a path. Members are regular files of a limited size; nothing is unpickled, and
of a sample only its image is read.
"""

__all__ = [
    "ARCHIVES",
    "TarEntry",
    "TarWriter",
    "cell_bytes",
    "check_group",
    "image_column",
    "images_of_tar",
    "is_archive",
    "is_mask_part",
    "iter_tar",
    "open_parquet",
    "read_parquet",
    "refuse_compressed",
    "rows_of_parquet",
    "open_shard",
    "read_group",
    "shards_in",
    "write_webdataset",
]

import io
import os
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from eyewright.core.errors import InputError, plain_reason
from eyewright.core.extras import import_extra
from eyewright.core.files import checked_output
from eyewright.core.quoting import quoted
from eyewright.core.regular import open_regular
from eyewright.core.walking import is_wanted
from eyewright.imaging.headers import FORMATS, Limits

ARCHIVES = (".tar", ".parquet")
_ENDINGS = tuple(ending for endings in FORMATS.values() for ending in endings)
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst", ".tar.lz4")
# What datasets in shards call the mask of an image: the part of a sample (NAME.seg.png), or the column of a table.
_MASK_WORDS = frozenset({"mask", "seg", "segmentation", "segmentation_mask", "semantic", "annotation"})
_IMAGE_COLUMNS = ("image", "img", "picture", "jpg", "jpeg", "png", "webp")
_BLOCK = 512
# Of the records that hold a long name; those of pax may also hold attributes.
_MOST_NAME, _MOST_RECORDS = 4096, 2**16
# A group of rows of a table is read as a whole.
_MOST_GROUP = 2**31
# Fewer rows than bytes are believed, and so many in any case: rows without an image take next to nothing.
_FEW_ROWS = 65_536
_NO_BLOCK = bytes(_BLOCK)


class Bytes(Protocol):
    """What an archive is read from: `size` bytes in a file or a store."""

    @property
    def size(self) -> int: ...

    def read(self, begin: int, end: int) -> bytes:
        """Return the bytes from `begin` to `end`, excluded; fewer where it ends before."""
        ...


class TarEntry(NamedTuple):
    """A member of a tar file: its name, and the first byte and number of bytes of its content."""

    name: str
    at: int
    size: int


def is_archive(name: str) -> bool:
    """Return whether a name is that of a tar file or a Parquet table."""
    return name.lower().endswith(ARCHIVES)


def refuse_compressed(name: str) -> None:
    """Refuse a tar file that is compressed: its members cannot be read by position.

    Raises:
        InputError: the name is that of one.
    """
    if name.lower().endswith(_COMPRESSED):
        raise InputError(
            f"expected a tar file that is not compressed, found {quoted(name)}",
            fix="decompress it (gunzip, unxz, unzstd …): images hardly shrink",
        )


def is_mask_part(ending: str) -> bool:
    """Return whether a part of a sample, named by all after the first dot of its file's name, is a mask.

    >>> is_mask_part("seg.png"), is_mask_part("png"), is_mask_part("left.png")
    (True, False, False)
    """
    return ending.rpartition(".")[0].lower() in _MASK_WORDS


def image_column(columns: Sequence[str], name: str) -> tuple[str, list[str]]:
    """Return which of a table's columns of images (`open_parquet`) has the images, and which have masks: `image` and
    the like before others, else the first that is no mask.

    >>> image_column(["mask", "thumbnail", "image"], "a.parquet")
    ('image', ['mask'])

    Raises:
        InputError: there are only masks.
    """
    masks = [n for n in columns if n.lower() in _MASK_WORDS]
    images = [n for n in columns if n not in masks]
    if not images:
        raise InputError(f"expected images next to the masks of {quoted(name)}, found none", fix="write them too")
    return next((n for c in _IMAGE_COLUMNS for n in images if n.lower() == c), images[0]), masks


def shards_in(names: Iterable[str]) -> list[str]:
    """Return the shards among the files of a folder; none where images lie there as files of their own.

    >>> shards_in(["data/train-0.tar", "README.md"]), shards_in(["a.tar", "cat/1.png"])
    (['data/train-0.tar'], [])
    """
    found = [n for n in names if n.lower().endswith(ARCHIVES) and not n.lower().endswith(_ENDINGS)]
    return [] if any(n.lower().endswith(_ENDINGS) for n in names) else found


def images_of_tar(file: Bytes, name: str, left_out: Counter[str] | None = None) -> Iterator[TarEntry]:
    """Yield the images of a tar file that are no masks of others (`is_mask_part`); of the rest, `left_out` counts how
    many there are of each kind.

    Raises:
        InputError: as `iter_tar`.
    """
    for entry in iter_tar(file, name, left_out=left_out):
        if not is_mask_part(entry.name.rpartition("/")[2].partition(".")[2]):
            yield entry
        elif left_out is not None:
            left_out["mask"] += 1


def iter_tar(
    file: Bytes, name: str, endings: tuple[str, ...] = _ENDINGS, left_out: Counter[str] | None = None
) -> Iterator[TarEntry]:
    """Yield the images of a tar file (ustar, GNU and pax names): regular members with the extension of an image, or
    with one of `endings`, that are not hidden. `left_out` counts the others by kind.

    Raises:
        InputError: it is not a tar file, is cut off, or has a member larger than images may be.
    """
    at, long_name, long_size = 0, None, None
    while True:
        head = file.read(at, at + _BLOCK)
        if not head and at:
            # Many writers leave the two empty blocks at the end out.
            return
        if head == _NO_BLOCK:
            return
        if len(head) < _BLOCK or not _is_sound(head):
            raise InputError(
                f"{name!r} is damaged at byte {at:,}: expected the header of a member", fix="write it again"
            )
        size = _number(head[124:136], name)
        kind, at = head[156:157], at + _BLOCK
        if kind in b"LKxg" and kind:
            if size > _MOST_RECORDS:
                raise InputError(f"{name!r} has a name of {size:,} bytes", fix="write it again")
            data = file.read(at, at + size)
            if kind == b"L":
                long_name = data.rstrip(b"\0")
            elif kind == b"x":
                long_name, long_size = _records(data, name, long_name)
            at += _padded(size)
            continue
        size, own = size if long_size is None else long_size, long_name
        found = (own if own is not None else _plain_name(head)).decode("utf-8", "surrogateescape")
        long_name = long_size = None
        if at + size > file.size:
            raise InputError(f"{name!r} is cut off in the member {found[:200]!r}", fix="write or copy it again")
        other = _other_kind(kind, found, endings)
        if other and left_out is not None:
            left_out[other] += 1
        if not other and kind in (b"0", b"\0"):
            if len(found) > _MOST_NAME or size > Limits().bytes:
                raise InputError(
                    f"{name!r}: the member {found[:200]!r} has {size:,} bytes, at most {Limits().bytes:,} are read",
                    fix="shrink the image",
                )
            yield TarEntry(found, at, size)
        # Links, devices and sparse files have no content of their own, or none that is read.
        at += _padded(size) if kind in (b"0", b"\0", b"7", b"S") else 0


def _other_kind(kind: bytes, name: str, endings: tuple[str, ...]) -> str:
    """Return what a member is that is not read; "" for an image, and for a folder."""
    if kind not in (b"0", b"\0"):
        return {b"5": "", b"1": "link", b"2": "link", b"S": "sparse file"}.get(kind, "device")
    # `./a.jpg` is how tar writes `a.jpg`.
    if not is_wanted("/".join(p for p in name.split("/") if p not in ("", ".", ".."))):
        return "hidden file"
    return "" if name.lower().endswith(endings) else "other file"


def _is_sound(head: bytes) -> bool:
    try:
        written = int(head[148:156].strip(b"\0 ") or b"0", 8)
    except ValueError:
        return False
    return written == sum(head) - sum(head[148:156]) + 8 * 32


def _number(field: bytes, name: str) -> int:
    """Return a number in octal digits, or with the first bit set in base 256."""
    if field[0] & 0x80:
        found = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    else:
        try:
            found = int(field.strip(b"\0 ") or b"0", 8)
        except ValueError:
            found = -1
    if not 0 <= found < 2**62:
        raise InputError(f"{name!r} has a member whose size is no number", fix="write it again")
    return found


def _records(data: bytes, name: str, before: bytes | None) -> tuple[bytes | None, int | None]:
    """Return the name and size that the records of pax give, each `LENGTH KEY=VALUE` and a new line."""
    path, size, at = before, None, 0
    while at < len(data):
        digits, space, _ = data[at : at + 20].partition(b" ")
        if not space or not digits.isdigit() or not 0 < int(digits) <= len(data) - at:
            raise InputError(f"{name!r} has a damaged pax header", fix="write it again")
        key, _, value = data[at + len(digits) + 1 : at + int(digits) - 1].partition(b"=")
        at += int(digits)
        if key == b"path":
            path = value
        elif key == b"size" and value.isdigit():
            size = int(value[:19])
    return path, size


def _plain_name(head: bytes) -> bytes:
    name, prefix = head[:100].partition(b"\0")[0], head[345:500].partition(b"\0")[0]
    return prefix + b"/" + name if prefix and head[257:263] == b"ustar\0" else name


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def rows_of_parquet(file: Any, name: str, left_out: Counter[str] | None = None) -> Iterator[tuple[int, str, int]]:
    """Yield the number, the column and about the size of the images of a Parquet table, as Hugging Face writes them: a
    column of bytes, or of structs with `bytes` and `path` (`image_column`). `file` is a path or a file object;
    `left_out` counts the images and masks of other columns.

    Raises:
        InputError: it is not such a table.
        MissingExtraError: pyarrow is not installed.
    """
    table, columns = open_parquet(file, name)
    column, masks = image_column(columns, name)
    if left_out is not None:
        n = int(table.metadata.num_rows)
        left_out.update({"mask": n * len(masks), "image of another column": n * (len(columns) - len(masks) - 1)})
    number = 0
    for group in range(table.num_row_groups):
        size = cell_bytes(table, group, column)
        for _ in range(table.metadata.row_group(group).num_rows):
            yield number, column, size
            number += 1


def read_parquet(file: Any, name: str, column: str, rows: Sequence[int]) -> Iterator[bytes | None]:
    """Yield the images in some rows of a column of a Parquet table, which ascend; None where a row has none. A group of
    rows is read once.

    Raises:
        InputError: it is not such a table, or a group of rows is larger than 2 GiB.
        MissingExtraError: pyarrow is not installed.
    """
    table, columns = open_parquet(file, name)
    if column not in columns:
        raise InputError(f"{quoted(name)} has no column {quoted(column)} of images", fix="plan the job again")
    first, held, group = 0, None, -1
    for row in rows:
        while group < 0 or row >= first + table.metadata.row_group(group).num_rows:
            first += 0 if group < 0 else table.metadata.row_group(group).num_rows
            group, held = group + 1, None
            if group >= table.num_row_groups:
                raise InputError(f"{name!r} has no row {row:,}", fix="plan the job again")
        if held is None:
            check_group(table, group, name)
            held = read_group(table, group, [column], name).column(0)
        value = held[row - first].as_py()
        data = value.get("bytes") if isinstance(value, dict) else value
        yield data if data and len(data) <= Limits().bytes else None


def open_shard(path: Path) -> BinaryIO:
    """Open a tar file or Parquet table for reading.

    Raises:
        InputError: it is not a regular file, or not there.
    """
    return open_regular(path, most=2**63, fix="remove it, or write the shard again", follow=True)


def open_parquet(file: Any, name: str) -> tuple[Any, list[str]]:
    """Return a Parquet table as pyarrow has it, of a path or file object, and its columns of images: bytes, or structs
    with `bytes`.

    Raises:
        InputError: it is not a Parquet table, or has no such column.
        MissingExtraError: pyarrow is not installed.
    """
    arrow = import_extra("pyarrow", extra="parquet", what="Parquet")
    parquet = import_extra("pyarrow.parquet", extra="parquet", what="Parquet")
    if isinstance(file, Path):
        # pyarrow would wait at a FIFO forever.
        open_shard(file).close()
    size = os.stat(file).st_size if isinstance(file, str | os.PathLike) else len(file.getbuffer())
    try:
        table = parquet.ParquetFile(file)
    except (arrow.ArrowInvalid, OSError):
        raise InputError(f"{quoted(name)} is not a Parquet table", fix="check the file") from None
    n = table.metadata.num_rows
    if n > max(_FEW_ROWS, size) or n != sum(table.metadata.row_group(k).num_rows for k in range(table.num_row_groups)):
        raise InputError(
            f"{quoted(name)} says that it has {n:,} rows in {size:,} bytes", fix="write it again: images take more"
        )
    found = []
    for field in table.schema_arrow:
        kind = field.type
        if arrow.types.is_struct(kind):
            names = {kind.field(k).name: kind.field(k).type for k in range(kind.num_fields)}
            kind = names.get("bytes", arrow.null())
        if arrow.types.is_binary(kind) or arrow.types.is_large_binary(kind):
            found.append(str(field.name))
    if not found:
        fix = "write bytes, or structs with bytes"
        raise InputError(f"expected a column of images in {quoted(name)}, found none", fix=fix)
    return table, found


def check_group(table: Any, group: int, name: str) -> None:
    """Refuse a group of rows that is too large to be read at once.

    Raises:
        InputError: it has more than 2 GiB.
    """
    about = table.metadata.row_group(group)
    size = sum(about.column(k).total_uncompressed_size for k in range(about.num_columns))
    if size > _MOST_GROUP:
        fix = "write it with smaller row groups"
        raise InputError(f"{quoted(name)} has a group of rows of {size / 2**30:.1f} GiB", fix=fix)


def read_group(table: Any, group: int, columns: Sequence[str], name: str) -> Any:
    """Return columns of a group of rows as pyarrow has them.

    Raises:
        InputError: the data of the group are damaged.
    """
    try:
        return table.read_row_group(group, columns=list(columns))
    except (ValueError, OSError, NotImplementedError) as error:
        # pyarrow's errors of damaged pages are a ValueError or an OSError.
        said = plain_reason(error).splitlines()[0][:200]
        fix = "write or copy it again"
        raise InputError(f"{quoted(name)} is damaged in its row group {group}: {said}", fix=fix) from None


def cell_bytes(table: Any, group: int, column: str) -> int:
    """Return about how many bytes a cell of a column has in a group of rows."""
    about = table.metadata.row_group(group)
    each = [about.column(k) for k in range(about.num_columns)]
    size = sum(int(c.total_uncompressed_size) for c in each if str(c.path_in_schema).split(".")[0] == column)
    return size // max(1, int(about.num_rows))


class TarWriter:
    """A tar file in WebDataset's order: all files of a sample after one another. After `close`, or the end of a `with`
    block, it is on disk.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with checked_output(path):
            self._file = open(path, "xb")
            self._archive = tarfile.open(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)

    def add(self, key: str, parts: Mapping[str, bytes]) -> None:
        """Add a sample, the content of each extension. Keys hold no dot in their last part, since the first one begins
        the extension.

        Raises:
            InputError: a key that cannot be written.
        """
        if not key or "." in key.rpartition("/")[2] or key.startswith("/") or ".." in key.split("/"):
            raise InputError(f"the key {key!r} cannot be written to a tar file", fix="rename the image")
        with checked_output(self._path):
            for ending, data in parts.items():
                about = tarfile.TarInfo(f"{key}.{ending}")
                about.size, about.mode = len(data), 0o644
                self._archive.addfile(about, io.BytesIO(data))

    def __enter__(self) -> "TarWriter":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def abandon(self) -> None:
        """Close the file as it is: what was to be written failed."""
        self._file.close()

    def close(self) -> None:
        """Write the end of the file, and the file to disk."""
        with checked_output(self._path), self._file:
            self._archive.close()
            self._file.flush()
            os.fsync(self._file.fileno())


def write_webdataset(path: Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> int:
    """Write samples, a key and the content of each extension, as `TarWriter` does; return how many.

    Raises:
        InputError: a key that cannot be written.
        OutputError: the file cannot be written.
    """
    n = 0
    with TarWriter(path) as archive:
        for key, parts in samples:
            archive.add(key, parts)
            n += 1
    return n
