"""Write shards: tar files of WebDataset, and Parquet tables in the layout of Hugging Face's `datasets`."""

__all__ = ["write_parquet", "write_webdataset_shards"]

import contextlib
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from eyewright.core.extras import import_extra
from eyewright.core.files import checked_output, write_staged
from eyewright.core.jsonable import dumps_json
from eyewright.data.archives import TarWriter
from eyewright.data.dataset import Sample
from eyewright.data.shards import ABOUT, CLASSES
from eyewright.data.targets.captions import CAPTIONS, Captions
from eyewright.data.targets.label import LABEL, Label
from eyewright.data.targets.mask import MASK
from eyewright.data.targets.numbers import NUMBERS, Numbers
from eyewright.data.targets.objects import OBJECTS
from eyewright.data.targets.tags import TAGS, cell_parts
from eyewright.data.targets.text import TEXT, Text
from eyewright.data.writers.boxes import coco_row
from eyewright.data.writers.masks import encode_classes
from eyewright.data.writers.tables import column_titles
from eyewright.data.writers.work import Work, part_of, printable_names

# WebDataset's readers want tar files of some hundred megabytes; a group of rows of a table is read as a whole.
_SHARD_BYTES, _SHARD_IMAGES = 2**29, 10_000
_GROUP_BYTES, _GROUP_IMAGES = 2**26, 100
# Hugging Face's names of parts where they differ from ours; "all" has another meaning there.
_HUB_PARTS = {"val": "validation", "all": "unsplit"}
_PLAIN = re.compile(r"[^\w\-/]+")


class Shard(Protocol):
    """A file that samples are added to."""

    def add(self, sample: "_Packed") -> None: ...

    def close(self) -> None: ...

    def abandon(self) -> None: ...


@dataclass(frozen=True)
class _Packed:
    """A sample as it is written: its name, its image and mask as files, and what is said of it."""

    name: str
    image: bytes
    mask: bytes | None
    size_hw: tuple[int, int]
    group: str | None
    said: Mapping[str, Any]

    @property
    def n_bytes(self) -> int:
        return len(self.image) + len(self.mask or b"")


def _packed(work: Work) -> Iterator[tuple[str, _Packed]]:
    """Yield each sample with the name of its part."""
    kind, labels = work.dataset.kind, work.dataset.labels.names
    titles = column_titles(labels) if kind is NUMBERS else ()
    taken: set[str] = set()
    for i, sample, size in work.each():
        data, name = work.upright(i)
        while name in taken:
            name = f"{i:06d}/{name}"
        taken.add(name)
        mask, said = None, {}
        if kind is MASK:
            mask = encode_classes(work.dataset.mask(i, size))
            work.objects += 1
        elif kind is OBJECTS:
            objects = work.marks(i, size)
            if not work.outlined:
                objects = objects.bare()
            said["objects"] = [coco_row(objects, k, size) for k in range(len(objects))]
        else:
            said = _said(sample, labels, titles)
            work.objects += kind is CAPTIONS and len(said["captions"])
        yield part_of(sample), _Packed(name, data, mask, size, sample.group, said)


def _said(sample: Sample, labels: tuple[str, ...], titles: tuple[str, ...]) -> dict[str, Any]:
    target = sample.target
    if isinstance(target, Label):
        return {"label": int(target)}
    if isinstance(target, Numbers):
        return dict(zip(titles, (float(v) for v in target.values), strict=True))
    if isinstance(target, Text):
        return {"text": target.written}
    if isinstance(target, Captions):
        return {"captions": list(target.texts)}
    return {"tags": cell_parts(target.cell(labels))}


@dataclass
class _Parts:
    """The shards of every part of a dataset: a new one is started where the last one is full."""

    begin: Callable[[str, int], Shard]
    open: dict[str, Shard] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    full: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, part: str, sample: _Packed) -> None:
        n, held = self.full.get(part, (0, 0))
        if part in self.open and (n >= _SHARD_IMAGES or held + sample.n_bytes > _SHARD_BYTES):
            self.open.pop(part).close()
            n, held = 0, 0
        if part not in self.open:
            number = self.counts.get(part, 0)
            self.open[part], self.counts[part] = self.begin(part, number), number + 1
        self.open[part].add(sample)
        self.full[part] = (n + 1, held + sample.n_bytes)

    def write(self, work: Work) -> None:
        """Write all samples; where one fails, no file stays open."""
        try:
            for part, sample in _packed(work):
                self.add(part, sample)
            for part in list(self.open):
                self.open.pop(part).close()
        finally:
            for shard in self.open.values():
                shard.abandon()


def write_webdataset_shards(work: Work) -> None:
    """Write `PART-000000.tar` and so on, and the names of the classes as `classes.txt`.

    A sample is NAME.jpg (or what the image is), NAME.json with all that is said of it, NAME.cls with the number of its
    class, NAME.txt with its text or first caption, NAME.seg.png with its mask.
    """
    if work.dataset.kind in (LABEL, OBJECTS, MASK):
        write_staged(work.root / CLASSES, "".join(f"{n}\n" for n in printable_names(work)))
    names = work.dataset.labels.names
    parts = _Parts(lambda part, k: _TarShard(work.root / f"{part}-{k:06d}.tar", names))
    parts.write(work)


class _TarShard:
    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self._tar, self._names = TarWriter(path), names
        self._keys: set[str] = set()

    def add(self, sample: _Packed) -> None:
        stem, extension = posixpath.splitext(sample.name)
        # WebDataset's extension begins at the first dot of the last part, and its keys are unique.
        key = plain = _PLAIN.sub("_", stem)
        while key in self._keys:
            key = f"{plain}_{len(self._keys)}"
        self._keys.add(key)
        said = {"id": sample.name, **sample.said}
        if "objects" in said:
            said["height"], said["width"] = sample.size_hw
            said["objects"] = [_by_name(one, self._names) for one in said["objects"]]
        files = {extension[1:].lower(): sample.image}
        if sample.mask is not None:
            files["seg.png"] = sample.mask
        if "label" in said:
            files["cls"] = str(said["label"]).encode()
            said["label"] = self._names[said["label"]]
        text = said.get("text") or next(iter(said.get("captions", ())), "")
        if text:
            files["txt"] = text.encode()
        if sample.group:
            said["group"] = sample.group
        files["json"] = dumps_json(said).encode()
        self._tar.add(key, files)

    def close(self) -> None:
        self._tar.close()

    def abandon(self) -> None:
        self._tar.abandon()


def _by_name(one: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    row = {k: v for k, v in one.items() if k != "category_id"}
    return {"category": names[one["category_id"] - 1], **row}


def write_parquet(work: Work) -> None:
    """Write `data/PART-00000-of-00001.parquet` and so on, which `datasets.load_dataset` opens with the types of its
    columns: `image`, and `label`, `objects`, `mask`, `tags`, `text`, `captions` or numbers, and `group` where known.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    layout = _Layout(work)
    parts = _Parts(lambda part, k: _TableShard(_unnumbered(work.root, part, k), layout))
    parts.write(work)
    for part, n in parts.counts.items():
        for k in range(n):
            with checked_output(work.root):
                # `datasets` has no name for images of no part: alone they are its training data.
                called = "train" if not layout.parts else _HUB_PARTS.get(part, part)
                name = f"{called}-{k:05d}-of-{n:05d}.parquet"
                _unnumbered(work.root, part, k).rename(work.root / "data" / name)


def _unnumbered(root: Path, part: str, number: int) -> Path:
    """Return where a table is written before it is known how many there are."""
    return root / "data" / f"{part}-{number:05d}.tmp"


class _Layout:
    """The columns of a dataset's tables, as pyarrow and as Hugging Face describe them."""

    def __init__(self, work: Work) -> None:
        arrow = import_extra("pyarrow", extra="parquet", what="Parquet")
        kind, names = work.dataset.kind, list(work.dataset.labels.names)
        picture = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
        columns: list[tuple[str, Any, Any]] = [("image", picture, {"_type": "Image"})]
        text, whole, real = (_value(t) for t in ("string", "int64", "float64"))
        classes = {"names": names, "_type": "ClassLabel"}
        if kind is LABEL:
            columns.append(("label", arrow.int64(), classes))
        elif kind is MASK:
            columns.append(("mask", picture, {"_type": "Image"}))
        elif kind is OBJECTS:
            own: list[tuple[str, Any, Any]] = [
                ("bbox", arrow.list_(arrow.float64()), _many(real)),
                ("category", arrow.int64(), classes),
                ("area", arrow.float64(), real),
                ("iscrowd", arrow.int64(), whole),
                ("segmentation", arrow.string(), text),
            ]
            kinds = arrow.struct([(n, arrow.list_(t)) for n, t, _ in own])
            columns.append(("objects", kinds, {n: _many(f) for n, _, f in own}))
            columns += [("width", arrow.int64(), whole), ("height", arrow.int64(), whole)]
        elif kind is TEXT:
            columns.append(("text", arrow.string(), text))
        elif kind in (TAGS, CAPTIONS):
            columns.append((("tags" if kind is TAGS else "captions"), arrow.list_(arrow.string()), _many(text)))
        else:
            columns += [(title, arrow.float64(), real) for title in column_titles(work.dataset.labels.names)]
        if any(s.group for s in work.dataset.samples):
            columns.append(("group", arrow.string(), text))
        features = {n: f for n, _, f in columns}
        self.parts = sorted({s.split for s in work.dataset.samples if s.split is not None})
        about: dict[str, Any] = {"kind": kind.name, "parts": self.parts}
        if kind in (LABEL, MASK, OBJECTS):
            about["classes"] = names
        metadata = {b"huggingface": dumps_json({"info": {"features": features}}), ABOUT: dumps_json(about)}
        self.schema = arrow.schema([(n, t) for n, t, _ in columns], metadata=metadata)
        self.grouped = "group" in features


def _value(dtype: str) -> dict[str, Any]:
    return {"dtype": dtype, "_type": "Value"}


def _many(feature: Mapping[str, Any]) -> dict[str, Any]:
    # `datasets` 3 and 4 both read this name; 4 writes "List".
    return {"feature": dict(feature), "_type": "Sequence"}


class _TableShard:
    def __init__(self, path: Path, layout: _Layout) -> None:
        self._arrow = import_extra("pyarrow", extra="parquet", what="Parquet")
        parquet = import_extra("pyarrow.parquet", extra="parquet", what="Parquet")
        self._path, self._layout = path, layout
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0
        with checked_output(path):
            path.parent.mkdir(exist_ok=True)
            # Images are compressed already.
            self._file = parquet.ParquetWriter(path, layout.schema, compression="none", use_dictionary=False)

    def add(self, sample: _Packed) -> None:
        if self._rows and (len(self._rows) >= _GROUP_IMAGES or self._bytes + sample.n_bytes > _GROUP_BYTES):
            self._write()
        row: dict[str, Any] = {"image": {"bytes": sample.image, "path": sample.name}, **sample.said}
        if "objects" in row:
            row["objects"] = _columns(row["objects"])
            row["height"], row["width"] = sample.size_hw
        if sample.mask is not None:
            row["mask"] = {"bytes": sample.mask, "path": f"{posixpath.splitext(sample.name)[0]}.png"}
        if self._layout.grouped:
            row["group"] = sample.group
        self._rows.append(row)
        self._bytes += sample.n_bytes

    def _write(self) -> None:
        with checked_output(self._path):
            self._file.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._layout.schema))
        self._rows, self._bytes = [], 0

    def close(self) -> None:
        if self._rows:
            self._write()
        with checked_output(self._path):
            self._file.close()

    def abandon(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


def _columns(objects: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return objects as lists of their boxes, classes and so on; a shape is JSON, since it has one of two types."""
    return {
        "bbox": [[float(v) for v in o["bbox"]] for o in objects],
        "category": [o["category_id"] - 1 for o in objects],
        "area": [float(o["area"]) for o in objects],
        "iscrowd": [o["iscrowd"] for o in objects],
        "segmentation": [dumps_json(o["segmentation"]) if o["segmentation"] else "" for o in objects],
    }
