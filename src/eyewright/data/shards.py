"""Datasets in shards: tar files of WebDataset and Parquet tables of Hugging Face, read in place.

A shard set is shown to the readers as a folder would be: its images by name, and what the shards say of them as the
tables or annotations that such a folder has. So every task, account and finding is that of the readers.
"""

__all__ = ["ABOUT", "CLASSES", "ShardTree"]

import contextlib
import csv
import io
import os
import posixpath
import re
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import DatasetError, EyewrightError, UnreadableImageError
from eyewright.core.extras import import_extra
from eyewright.core.jsonable import dumps_json
from eyewright.core.labels import LabelSpace
from eyewright.core.machine import disk
from eyewright.core.quoting import quoted
from eyewright.data.archives import (
    cell_bytes,
    check_group,
    image_column,
    is_mask_part,
    iter_tar,
    open_parquet,
    open_shard,
    read_group,
)
from eyewright.data.dataset import Dataset
from eyewright.data.readers.naming import EXTENSIONS, SPLITS, split_of
from eyewright.data.targets.objects import OBJECTS
from eyewright.data.targets.target import TargetKind
from eyewright.data.texts import decode_text
from eyewright.data.tree import Encoded, FolderTree, Tree, member_name
from eyewright.imaging.decode import read_picture
from eyewright.imaging.headers import FORMATS, Limits, read_header

CLASSES = "classes.txt"
"""The file next to tar files that names the classes, one per line, in the order of their ids."""

ABOUT = b"eyewright"
"""The key of a Parquet table's metadata that names the classes of masks and tags, as JSON."""

_IMAGES = tuple(EXTENSIONS)
_IMAGE_PARTS = tuple(ending[1:] for ending in _IMAGES)
_LABEL_COLUMNS = ("label", "labels", "class", "category", "fine_label", "target", "cls")
_TEXT_ENDINGS = (".json", ".cls", ".txt")
_MOST_TEXT = 2**24
# Groups of rows of Parquet tables that are kept: those of what is read ahead.
_KEPT_GROUPS = 4


class Place(Protocol):
    """Where the bytes of one file of a shard are."""

    @property
    def size(self) -> int: ...

    def read(self) -> bytes:
        """Return them."""
        ...


@dataclass(frozen=True)
class _Made:
    """A file that no shard holds: what the shards say, as a table or as annotations."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self) -> bytes:
        return self.data


class _Headers:
    """A tar file that is listed, as `archives.Bytes`: opened once for its tens of thousands of headers."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self.size = file, size

    def read(self, begin: int, end: int) -> bytes:
        self._file.seek(begin)
        return self._file.read(max(0, min(end, self.size) - begin))


class _Archive:
    """A tar file that is opened when it is first read, and stays open: to open it for each member takes as long as to
    read it. Threads, and processes that are forked, share no place in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._lock = threading.Lock()

    def read(self, at: int, size: int) -> bytes:
        with self._lock:
            if self._descriptor is None:
                with open_shard(self.path) as file:
                    self._descriptor = os.dup(file.fileno())
            if not disk.reads_apart():
                return disk.read_at(self._descriptor, size, at)
        return disk.read_at(self._descriptor, size, at)

    def __reduce__(self) -> tuple[type["_Archive"], tuple[Path]]:
        return _Archive, (self.path,)

    def __del__(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)


@dataclass(frozen=True)
class _Member:
    """A member of a tar file."""

    archive: _Archive
    at: int
    size: int

    def read(self) -> bytes:
        return self.archive.read(self.at, self.size)


@dataclass(frozen=True)
class _Cell:
    """An image in a Parquet table."""

    table: "_Table"
    column: str
    row: int
    size: int

    def read(self) -> bytes:
        data = self.table.cell(self.column, self.row)
        if not data:
            raise UnreadableImageError(
                f"row {self.row:,} of {self.table.name!r} has no image", fix="write the bytes of the image"
            )
        return data


@dataclass(frozen=True)
class Row:
    """An image of a shard: its own name, its part, where it and its mask are, and what is said of it.

    `fields` are `label` (a name), `objects` (a list of dicts as COCO annotates), `captions`, `text`, `tags`, `group`,
    or columns of numbers.
    """

    name: str
    split: str | None
    image: Place
    mask: Place | None
    fields: Mapping[str, Any]


@dataclass(eq=False)
class ShardTree:
    """The images and annotations of shards below a folder, as the files of a tree.

    Args:
        root: the folder, or the one shard.
        shards: names of the shards below it.
        kind: the kind of target that is asked for, if any: a table that holds both labels and boxes is read for it.

    Raises:
        DatasetError: a shard is damaged, shards of both formats are there, or none holds an image.
        MissingExtraError: a Parquet table, and pyarrow is not installed.
    """

    root: Path
    shards: Sequence[str]
    kind: TargetKind | None = None
    names_of_classes: tuple[str, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        endings = {posixpath.splitext(n)[1].lower() for n in self.shards}
        if len(endings) > 1:
            raise DatasetError(
                f"expected tar files or Parquet tables in {quoted(self.root)}, found both",
                fix="pass one of the folders",
            )
        self.format = "webdataset" if endings == {".tar"} else "parquet"
        folder = self.root if self.root.is_dir() else self.root.parent
        files = FolderTree(folder)
        try:
            rows = list(self._rows(files, folder))
        except EyewrightError as error:
            if isinstance(error, DatasetError):
                raise
            raise DatasetError(error.message, fix=error.fix) from None
        except OSError as error:
            raise DatasetError(
                f"cannot read a shard of {quoted(self.root)}: {error.strerror}", fix="check it"
            ) from None
        if not rows:
            raise DatasetError(f"no image in the shards of {quoted(self.root)}", fix="write them again")
        self._files = _as_files(_distinct(rows), self.names_of_classes, self.kind)

    def _rows(self, files: Tree, folder: Path) -> Iterator[Row]:
        if self.format == "webdataset":
            if (folder / CLASSES).is_file():
                text = decode_text(files.content(CLASSES), CLASSES)
                self.names_of_classes = tuple(line for line in text.splitlines() if line.strip())
            numbered: dict[str, int] = {}
            for shard in self.shards:
                yield from _rows_of_tar(folder / shard, shard, self.names_of_classes, numbered)
            if not self.names_of_classes:
                self.names_of_classes = tuple(sorted(numbered, key=lambda n: (numbered[n], n)))
            return
        for shard in self.shards:
            table = _Table(folder / shard, shard)
            found = table.class_names
            if found and self.names_of_classes and found != self.names_of_classes:
                raise DatasetError(
                    f"{shard!r} names other classes than {self.shards[0]!r}", fix="write all shards with the same ones"
                )
            self.names_of_classes = self.names_of_classes or found
            yield from table.rows()

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._files))

    def content(self, name: str) -> bytes:
        place = self._files.get(name)
        if place is None:
            raise UnreadableImageError(f"{name!r} is in none of the shards", fix="check the name")
        if place.size > Limits().bytes and not isinstance(place, _Made):
            raise UnreadableImageError(f"{name!r} has {place.size:,} bytes, over the limit", fix="shrink it")
        return place.read()

    def picture(self, name: str) -> Image.Image:
        return read_picture(self.content(name))

    def encoded(self, name: str) -> Encoded | None:
        place = self._files.get(name)
        return Encoded(0 if place is None else place.size, lambda: self.content(name))

    def folders(self) -> tuple[str, ...]:
        return ()

    def in_order(self, dataset: Dataset) -> Dataset:
        """Return what was read of the tree with the ids that the shards give to classes, those without an image too."""
        given, found = self.names_of_classes, dataset.labels.names
        named = replace(dataset, format=self.format)
        if len(set(given)) < len(given) or not set(found) <= set(given) or found == given:
            return named
        ids = np.array([given.index(n) for n in found], np.int64)
        samples = tuple(replace(s, target=s.target.renamed(ids)) for s in dataset.samples)
        return replace(named, samples=samples, labels=LabelSpace(given))


def _rows_of_tar(path: Path, shard: str, classes: Sequence[str], numbered: dict[str, int]) -> Iterator[Row]:
    held: dict[str, dict[str, _Member]] = {}
    archive = _Archive(path)
    with open_shard(path) as file:
        for entry in iter_tar(_Headers(file, path.stat().st_size), shard, (*_IMAGES, *_TEXT_ENDINGS)):
            folder, _, base = entry.name.rpartition("/")
            key, _, ending = base.partition(".")
            whole = f"{folder}/{key}" if folder else key
            held.setdefault(whole, {})[ending.lower()] = _Member(archive, entry.at, entry.size)
    for key, parts in held.items():
        images = {e: m for e, m in parts.items() if e.endswith(_IMAGE_PARTS)}
        masks = [m for e, m in images.items() if is_mask_part(e)]
        plain = [(e, m) for e, m in images.items() if not is_mask_part(e)]
        if not plain:
            continue
        ending, image = plain[0]
        about = _json_of(parts.get("json"), f"{key}.json", shard)
        fields = _fields(about, classes)
        if "cls" in parts:
            text = _text_of(parts["cls"], f"{key}.cls", shard)
            number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
            if "label" not in fields:
                fields["label"] = text if number is None else _class_name(number, classes)
            if number is not None:
                numbered.setdefault(str(fields["label"]), number)
        if "txt" in parts and not {"text", "caption", "captions"} & set(fields):
            fields["captions"] = [_text_of(parts["txt"], f"{key}.txt", shard)]
        own = about.get("id")
        name = own if isinstance(own, str) and own.lower().endswith(_IMAGES) else f"{key}.{ending}"
        yield Row(name, _split(shard, about), image, masks[0] if masks else None, fields)


def _text_of(member: _Member, name: str, shard: str) -> str:
    if member.size > _MOST_TEXT:
        raise DatasetError(f"{shard!r}: {name!r} has {member.size:,} bytes", fix="write a smaller file")
    return decode_text(member.read(), name).strip()


def _json_of(member: _Member | None, name: str, shard: str) -> dict[str, Any]:
    if member is None:
        return {}
    try:
        # As it is nearly always: UTF-8 without a mark.
        if member.size <= _MOST_TEXT:
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                return _dict(msgspec.json.decode(member.read()))
        return _dict(msgspec.json.decode(_text_of(member, name, shard).encode()))
    except (ValueError, RecursionError):
        raise DatasetError(f"{shard!r}: {name!r} is not JSON", fix="write it again") from None


def _dict(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


def _split(shard: str, about: Mapping[str, Any]) -> str | None:
    """Return the part of an image: as it is said, else by the name of its shard."""
    said = about.get("split")
    return SPLITS.get(said.lower()) if isinstance(said, str) else split_of(shard)


def _class_name(value: Any, classes: Sequence[str]) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(classes):
        return classes[value]
    return str(value)


def _fields(about: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """Return what is said of an image in the words of the readers: the label and the classes of objects by name."""
    found = {k: v for k, v in about.items() if k not in ("id", "split") and v is not None}
    label = next((c for c in _LABEL_COLUMNS if isinstance(found.get(c), str | int)), None)
    if label is not None:
        found["label"] = _class_name(found.pop(label), classes)
    if "objects" in found:
        found["objects"] = list(_objects(found["objects"], classes))
        # Next to objects they are the image's; else they may be quantities that are learnt.
        found["size"] = (found.pop("width", None), found.pop("height", None))
    return found


def _objects(given: Any, classes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield objects one by one, from a list of them or from lists of their boxes, classes and so on."""
    if isinstance(given, Mapping):
        n = max((len(v) for v in given.values() if isinstance(v, list)), default=0)
        given = [{k: v[i] for k, v in given.items() if isinstance(v, list) and i < len(v)} for i in range(n)]
    for one in given if isinstance(given, list) else ():
        if isinstance(one, Mapping):
            key = next((k for k in ("category", "categories", "label", "labels", "category_id") if k in one), None)
            yield {**one, "category": _class_name(one[key], classes) if key else "object"}


class _Table:
    """A Parquet table: its columns of images, and the rest as Python values."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self._file, pictures = open_parquet(path, name)
        self._arrow, self._lock = import_extra("pyarrow", extra="parquet", what="Parquet"), threading.Lock()
        self._groups: OrderedDict[tuple[int, str], _Cells] = OrderedDict()
        self._firsts = [0]
        for k in range(self._file.num_row_groups):
            self._firsts.append(self._firsts[-1] + self._file.metadata.row_group(k).num_rows)
        schema = self._file.schema_arrow
        self.image, self.masks = image_column(pictures, name)
        self._others = [f.name for f in schema if f.name not in pictures]
        self._features = self._metadata(b"huggingface").get("info", {}).get("features", {})
        # Hugging Face calls it "train" where there are no parts.
        self._unsplit = self._metadata(ABOUT).get("parts") == []

    def _metadata(self, key: bytes) -> dict[str, Any]:
        try:
            found = msgspec.json.decode((self._file.schema_arrow.metadata or {}).get(key, b"{}"))
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes by id, where the table states them."""
        said = self._metadata(ABOUT).get("classes")
        if not isinstance(said, list):
            said = next((n for c in (*_LABEL_COLUMNS, "objects") for n in _named(self._features.get(c))), None)
        return tuple(map(str, said)) if isinstance(said, list) else ()

    def rows(self) -> Iterator[Row]:
        """Yield the images of the table, of which nothing is read yet but what is said of them."""
        for group in range(self._file.num_row_groups):
            check_group(self._file, group, self.name)
            each = cell_bytes(self._file, group, self.image)
            # Of the image only its name is read here.
            wanted = [*self._others, *([f"{self.image}.path"] if self._has_paths else [])]
            cells = read_group(self._file, group, wanted, self.name).to_pylist() if wanted else []
            for k in range(self._firsts[group + 1] - self._firsts[group]):
                row = self._firsts[group] + k
                said = cells[k] if cells else {}
                called = said.pop(self.image, None)
                path = called.get("path") if isinstance(called, dict) else None
                mask = _Cell(self, self.masks[0], row, each) if self.masks else None
                name = path if isinstance(path, str) and path.lower().endswith(_IMAGES) else ""
                stem = posixpath.splitext(self.name)[0]
                name = name or f"{stem}/{row:06d}{self._ending}"
                fields = _fields(said, self.class_names)
                split = None if self._unsplit else _split(self.name, said)
                yield Row(name, split, _Cell(self, self.image, row, each), mask, fields)

    @cached_property
    def _has_paths(self) -> bool:
        kind = self._file.schema_arrow.field(self.image).type
        return self._arrow.types.is_struct(kind) and any(kind.field(k).name == "path" for k in range(kind.num_fields))

    @cached_property
    def _ending(self) -> str:
        """The extension that its images are given where they have no name: by the first one's content."""
        try:
            found = read_header(_Cell(self, self.image, 0, 0).read()).format
        except EyewrightError:
            return ".png"
        return FORMATS[found][0]

    def cell(self, column: str, row: int) -> bytes | None:
        """Return the bytes of an image; the groups of rows that were read last are kept."""
        group = bisect_right(self._firsts, row) - 1
        with self._lock:
            held = self._groups.get((group, column))
            if held is None:
                found = read_group(self._file, group, [column], self.name).column(0)
                held = self._groups[group, column] = _Cells(self._arrow, found)
                while len(self._groups) > _KEPT_GROUPS:
                    self._groups.popitem(last=False)
            self._groups.move_to_end((group, column))
        return held.value(row - self._firsts[group])


class _Cells:
    """The bytes of a column of a group of rows; to make a value of pyarrow's of each would take longer."""

    def __init__(self, arrow: Any, column: Any) -> None:
        parts = []
        for part in column.chunks:
            if arrow.types.is_struct(part.type):
                # With the rows that have no struct at all.
                part = part.flatten()[part.type.get_field_index("bytes")]
            parts.append(part)
        self._parts = [_bytes_of(arrow, part) for part in parts]
        self._firsts = [0]
        for part in parts:
            self._firsts.append(self._firsts[-1] + len(part))

    def value(self, row: int) -> bytes | None:
        k = bisect_right(self._firsts, row) - 1
        offsets, data, valid = self._parts[k]
        row -= self._firsts[k]
        if valid is not None and not valid[row]:
            return None
        return bytes(data[offsets[row] : offsets[row + 1]])


def _bytes_of(arrow: Any, part: Any) -> tuple[NDArray[np.integer], memoryview, NDArray[np.bool_] | None]:
    """Return where each value of an array of bytes begins, and ends; all bytes; and which values there are."""
    wide = arrow.types.is_large_binary(part.type)
    _, offsets, data = part.buffers()
    found: NDArray[np.integer] = np.frombuffer(offsets, np.dtype(np.int64 if wide else np.int32))[
        part.offset : part.offset + len(part) + 1
    ]
    valid = part.is_valid().to_numpy(zero_copy_only=False) if part.null_count else None
    return found, memoryview(b"" if data is None else data), valid


def _named(feature: Any) -> Iterator[list[Any]]:
    """Yield the names of the classes of a feature as Hugging Face's `datasets` describes it, at any depth."""
    if isinstance(feature, Mapping):
        if isinstance(feature.get("names"), list):
            yield feature["names"]
        for value in feature.values():
            yield from _named(value)
    elif isinstance(feature, list):
        for value in feature:
            yield from _named(value)


def _distinct(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield the rows under names that no other has, none of which leads out of a folder."""
    taken: set[str] = set()
    for k, row in enumerate(rows):
        name = member_name(row.name).strip("/") or f"{k:06d}.png"
        if name in taken:
            name = f"{k:06d}/{name}"
        taken.add(name)
        yield replace(row, name=name)


def _as_files(rows: Iterable[Row], classes: Sequence[str], kind: TargetKind | None) -> dict[str, Place]:
    """Return the files of a folder that holds the same: masks by folders, boxes as COCO, all else in one table."""
    rows = list(rows)
    masked = [r for r in rows if r.mask is not None]
    if masked and (kind is None or OBJECTS not in kind.made_from or len(masked) == len(rows)):
        return _mask_files(rows, classes)
    boxed = any("objects" in r.fields for r in rows)
    if boxed and (kind is None or kind is OBJECTS or OBJECTS in kind.made_from):
        return _coco_files(rows, classes)
    files: dict[str, Place] = {r.name: r.image for r in rows}
    said = [
        {"file_name": r.name, **{k: v for k, v in r.fields.items() if k not in ("objects", "size")}}
        | ({"split": r.split} if r.split else {})
        for r in rows
    ]
    columns = dict.fromkeys(k for s in said for k in s if k not in ("file_name", "split", "group"))
    if columns:
        # A row of which less is said has empty cells: that, and no missing column, is what the readers then report.
        said = [{"file_name": s["file_name"], **dict.fromkeys(columns), **s} for s in said]
        files["metadata.jsonl"] = _Made("".join(dumps_json(s) + "\n" for s in said).encode())
    return files


def _mask_files(rows: Sequence[Row], classes: Sequence[str]) -> dict[str, Place]:
    files: dict[str, Place] = {}
    named: list[tuple[str, Row]] = []
    for row in rows:
        part = f"{row.split}/" if row.split else ""
        inner = re.sub(r"^(?:train|val|test)?/?images/", "", row.name)
        files[f"{part}images/{inner}"] = row.image
        named.append((f"{part}images/{inner}", row))
        if row.mask is not None:
            files[f"{part}masks/{posixpath.splitext(inner)[0]}.png"] = row.mask
    if classes:
        files[CLASSES] = _Made("".join(f"{k} {n}\n" for k, n in enumerate(classes)).encode())
    return files | _group_file(named)


def _group_file(named: Iterable[tuple[str, Row]]) -> dict[str, Place]:
    """Return a table of which images belong together, where that is said of any."""
    groups = [(name, str(row.fields["group"])) for name, row in named if row.fields.get("group")]
    if not groups:
        return {}
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([("path", "group"), *groups])
    return {"groups.csv": _Made(out.getvalue().encode())}


def _coco_files(rows: Sequence[Row], classes: Sequence[str]) -> dict[str, Place]:
    names = list(classes)
    found = {o["category"] for r in rows for o in r.fields.get("objects", ())} - set(names)
    names += sorted(found, key=lambda n: (int(n), n) if n.isdecimal() else (0, n))
    number = {n: k + 1 for k, n in enumerate(names)}
    files: dict[str, Place] = {}
    parts: dict[str, dict[str, list[Any]]] = {}
    for k, row in enumerate(rows):
        files[row.name] = row.image
        part = parts.setdefault(row.split or "all", {"images": [], "annotations": []})
        about: dict[str, Any] = {"id": k + 1, "file_name": row.name}
        if None not in (size := row.fields.get("size", (None, None))):
            about["width"], about["height"] = size
        part["images"].append(about)
        for one in row.fields.get("objects", ()):
            shape = one.get("segmentation")
            entry = {**one, "category_id": number[one["category"]], "image_id": k + 1}
            if isinstance(shape, str):
                entry["segmentation"] = msgspec.Raw(shape.encode()) if shape.startswith(("[", "{")) else []
            entry.pop("category")
            entry["id"] = len(part["annotations"]) + 1
            part["annotations"].append(entry)
    categories = [{"id": k, "name": n} for n, k in number.items()]
    for name, part in parts.items():
        data = msgspec.json.encode({"categories": categories, **part})
        files[f"annotations/instances_{name}.json"] = _Made(data)
    return files | _group_file((row.name, row) for row in rows)
