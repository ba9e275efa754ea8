"""Where a dataset's files lie: a folder, a zip or a pair of idx arrays, all read through the same three methods."""

__all__ = [
    "ArrayTree",
    "Encoded",
    "FolderTree",
    "JoinedTree",
    "Tree",
    "ZipTree",
    "encoded_file",
    "images_of",
    "member_name",
    "prepared_of",
]

import contextlib
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import DatasetError, EyewrightError, UnreadableImageError, plain_reason
from eyewright.core.quoting import quoted
from eyewright.core.regular import open_regular, read_regular
from eyewright.core.walking import is_wanted, walk_files
from eyewright.data.texts import encoding_of
from eyewright.imaging.ahead import caught, first_images, read_ahead, read_images, read_prepared
from eyewright.imaging.decode import Pixels, read_picture
from eyewright.imaging.headers import FORMATS, Limits
from eyewright.imaging.preparation import Preparation
from eyewright.imaging.reduction import Prepared

# COCO's largest annotation file has 0.5 GB and that of LVIS 1.1 GB; of an image the decoder's own limit holds.
_MOST_BYTES = 2**31
_IMAGES = tuple(e for endings in FORMATS.values() for e in endings)
_TEXTS = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".xml", ".txt", ".yaml", ".yml")
_SNIFFED = 16 * 2**20
_HEAD = 2**16
_DRIVE = re.compile(r"^[A-Za-z]:/")


class Encoded(NamedTuple):
    """A file as a decoder takes it: its `size` in bytes, and `load`, which returns its path or its bytes.

    `load` raises UnreadableImageError where there is nothing to decode.
    """

    size: int
    load: Callable[[], Path | bytes]


def encoded_file(path: Path) -> Encoded:
    """Return a file on disk as a decoder takes it; one that is not there has no size, and reading it says so."""
    size = 0
    with contextlib.suppress(OSError):
        size = path.stat().st_size
    return Encoded(size, lambda: path)


class Tree(Protocol):
    """Read-only files by relative name, with `/` between the parts on every system."""

    root: Path

    def names(self) -> tuple[str, ...]:
        """Return the names of all files, sorted."""
        ...

    def content(self, name: str) -> bytes:
        """Return a file's bytes."""
        ...

    def picture(self, name: str) -> Image.Image:
        """Return a file's pixels as a Pillow picture in mode RGB."""
        ...

    def encoded(self, name: str) -> Encoded | None:
        """Return the one file whose pixels `picture` returns; None where they are made of something else."""
        ...

    def folders(self) -> tuple[str, ...]:
        """Return the names of folders that hold nothing: an empty class is a finding."""
        ...


def images_of(tree: Tree, names: Sequence[str], *, threads: int | None = None) -> Iterator[Pixels | EyewrightError]:
    """Yield the pixels of files, uint8 (H, W, 3), in order, or why one cannot be read; the next are read ahead."""

    def read(part: Sequence[str]) -> list[Pixels | EyewrightError]:
        files = [file for file in map(tree.encoded, part) if file is not None]
        if len(files) < len(part):
            return first_images(caught(lambda name: np.asarray(tree.picture(name)), name) for name in part)
        return read_images([caught(file.load) for file in files])

    return read_ahead(names, read, size_of=partial(_size_of, tree), threads=threads)


def prepared_of(
    tree: Tree, names: Sequence[str], preparation: Preparation, *, threads: int | None = None
) -> Iterator[Prepared | EyewrightError]:
    """Yield files as a net takes them, in order, or why one cannot be read; each is prepared where it is decoded, and
    the next are read ahead."""

    def one(name: str) -> Prepared:
        picture = tree.picture(name)
        return Prepared(preparation.apply(picture)[0], (picture.height, picture.width))

    def read(part: Sequence[str]) -> list[Prepared | EyewrightError]:
        files = [file for file in map(tree.encoded, part) if file is not None]
        if len(files) < len(part):
            return first_images(caught(one, name) for name in part)
        return read_prepared([caught(file.load) for file in files], preparation)

    return read_ahead(names, read, size_of=partial(_size_of, tree), threads=threads)


def _size_of(tree: Tree, name: str) -> int:
    file = tree.encoded(name)
    return 0 if file is None else file.size


class FolderTree:
    """A folder on disk. Hidden files are left out; links are followed, each folder once, not into `/proc` or `/sys`.

    A folder below that cannot be listed is an error (OSError), since its images would be lost without a message.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._empty: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        found, self._empty = walk_files(self.root)
        return found

    def content(self, name: str) -> bytes:
        most = Limits().bytes if name.lower().endswith(_IMAGES) else _MOST_BYTES
        if name.lower().endswith(_TEXTS):
            _check_text(self.root / name, name)
        return read_regular(self.root / name, most=most, error=UnreadableImageError, fix="check the file", follow=True)

    def picture(self, name: str) -> Image.Image:
        return read_picture(self.root / name)

    def encoded(self, name: str) -> Encoded | None:
        return encoded_file(self.root / name)

    def folders(self) -> tuple[str, ...]:
        return self._empty


# What a damaged or unsupported member raises: each compression of the zip format has errors of its own.
_BAD_MEMBER = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, RuntimeError, struct.error,
)  # fmt: skip


class ZipTree:
    """A zip archive, read in place: nothing is unpacked, so no member can be written anywhere.

    Raises:
        DatasetError: not a zip, damaged, or encrypted; or two members have one name and differ in content.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            self._zip = zipfile.ZipFile(root)
        except (OSError, zipfile.BadZipFile) as error:
            raise DatasetError(
                f"cannot read {quoted(root)} as a zip: {plain_reason(error)}", fix="make the archive again"
            ) from error
        members = self._zip.infolist()
        if any(m.flag_bits & 1 for m in members):
            raise DatasetError(f"the zip {quoted(root.name)} is encrypted", fix="unpack it and pass the folder")
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in members:
            name = member_name(member.filename)
            if not name or name.endswith("/") or not is_wanted(name):
                continue
            same = self._members.setdefault(name, member)
            # Other tools take the first or the last of them. Of two copies either will do.
            if (same.CRC, same.file_size) != (member.CRC, member.file_size):
                raise DatasetError(
                    f"the zip {quoted(root.name)} holds {name!r} twice, with different content",
                    fix="unpack it, keep one of the two, and make the archive again",
                )

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._members))

    def content(self, name: str) -> bytes:
        member = self._members[name]
        if member.file_size > Limits().bytes:
            raise UnreadableImageError(f"{name!r} unpacks to {member.file_size} bytes, over the limit", fix="remove it")
        try:
            return self._zip.read(member)
        except _BAD_MEMBER as error:
            raise UnreadableImageError(f"cannot unpack {name!r}: {error}", fix="make the archive again") from error

    def picture(self, name: str) -> Image.Image:
        return read_picture(self.content(name))

    def encoded(self, name: str) -> Encoded | None:
        return Encoded(self._members[name].file_size, lambda: self.content(name))

    def folders(self) -> tuple[str, ...]:
        return ()


class ArrayTree:
    """Images held in arrays, uint8 (N, H, W) grey or (N, H, W, 3) RGB, one array a split; names are `split/000017`."""

    def __init__(self, root: Path, arrays: dict[str, NDArray[np.uint8]]) -> None:
        self.root = root
        self._arrays = arrays

    def names(self) -> tuple[str, ...]:
        return tuple(f"{key}/{i:06d}" for key, array in self._arrays.items() for i in range(len(array)))

    def content(self, name: str) -> bytes:
        return self._pixels(name).tobytes()

    def picture(self, name: str) -> Image.Image:
        return Image.fromarray(self._pixels(name)).convert("RGB")

    def encoded(self, name: str) -> Encoded | None:
        return None

    def folders(self) -> tuple[str, ...]:
        return ()

    def is_grey(self) -> bool:
        """Return whether the arrays have no colour axis."""
        return all(a.ndim == 3 for a in self._arrays.values())

    def pixels(self, names: Sequence[str]) -> NDArray[np.uint8]:
        """Return several images of one part as one array, uint8 (n, H, W) or (n, H, W, 3)."""
        return np.stack([self._pixels(name) for name in names])

    def _pixels(self, name: str) -> NDArray[np.uint8]:
        key, _, index = name.rpartition("/")
        pixels: NDArray[np.uint8] = self._arrays[key][int(index)]
        return pixels


class JoinedTree:
    """A tree with others below it, each under a prefix such as `unlabelled/`."""

    def __init__(self, first: Tree, others: Mapping[str, Tree]) -> None:
        self.root = first.root
        self._first, self._others = first, dict(others)

    def names(self) -> tuple[str, ...]:
        below = [prefix + name for prefix, tree in self._others.items() for name in tree.names()]
        return tuple(sorted([*self._first.names(), *below]))

    def content(self, name: str) -> bytes:
        tree, own = self._of(name)
        return tree.content(own)

    def picture(self, name: str) -> Image.Image:
        tree, own = self._of(name)
        return tree.picture(own)

    def encoded(self, name: str) -> Encoded | None:
        tree, own = self._of(name)
        return tree.encoded(own)

    def folders(self) -> tuple[str, ...]:
        return self._first.folders()

    def _of(self, name: str) -> tuple[Tree, str]:
        for prefix, tree in self._others.items():
            if name.startswith(prefix):
                return tree, name[len(prefix) :]
        return self._first, name


def member_name(name: str) -> str:
    """Return a zip member's name as a relative path inside the archive, as `unzip` does.

    Some Windows tools write backslashes, where the format has slashes only (APPNOTE 4.4.17); a drive, a leading slash
    and the parts `.` and `..` are dropped.

    >>> member_name("cat\\\\1.png"), member_name("/../a/../1.png"), member_name("C:/cat/1.png")
    ('cat/1.png', 'a/1.png', 'cat/1.png')
    """
    plain = _DRIVE.sub("", name.replace("\\", "/"))
    parts = [p for p in plain.split("/") if p not in ("", ".", "..")]
    return "/".join(parts) + ("/" if parts and plain.endswith("/") else "")


def _check_text(path: Path, name: str) -> None:
    """Refuse a large file of bytes under the name of a text by its beginning, before it is read whole.

    Raises:
        UnreadableImageError: there is a zero byte in the beginning, and it is not UTF-16 or UTF-32.
    """
    try:
        if path.stat().st_size <= _SNIFFED:
            return
    except OSError:
        return
    with open_regular(path, most=_MOST_BYTES, error=UnreadableImageError, fix="check the file", follow=True) as file:
        head = file.read(_HEAD)
    zero = head.find(b"\0") if encoding_of(head) is None else -1
    if zero >= 0:
        line = head.count(b"\n", 0, zero) + 1
        raise UnreadableImageError(f"expected text in {name!r} line {line}, found a zero byte", fix="save it as UTF-8")
