"""Write a dataset in another format: images as they are, marks as it can hold them, and what is lost, said."""

__all__ = ["WRITERS", "Written", "write_dataset"]

import json
import posixpath
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import OutputError, UsageError, spelling_hint
from eyewright.core.files import checked_output, staged_folder, write_bytes, write_text
from eyewright.core.jsonable import dumps_json
from eyewright.data.dataset import Dataset, Sample
from eyewright.data.marks import usable_objects
from eyewright.data.objects import Objects
from eyewright.imaging.decode import probe_image, read_image
from eyewright.imaging.encode import encode_image
from eyewright.imaging.rasters import encode_counts, pack_counts, trace_outlines

_IGNORE = 255


@dataclass
class Written:
    """What was written to `folder`, and in `lost` what the format could not hold, a sentence each."""

    folder: Path
    task: str
    images: int
    objects: int
    lost: tuple[str, ...]


@dataclass
class _Work:
    """A conversion on its way: where to write, what to write, what was lost so far by reason."""

    dataset: Dataset
    root: Path
    lost: Counter[str] = field(default_factory=Counter)
    objects: int = 0
    names: dict[str, str] = field(default_factory=dict)

    def each(self) -> Iterator[tuple[int, Sample, tuple[int, int]]]:
        for i, sample in enumerate(self.dataset.samples):
            yield i, sample, probe_image(self.dataset.content(i)).size_hw

    def marks(self, index: int, size_hw: tuple[int, int]) -> Objects:
        """Give the objects of one image that can be written, in pixels."""
        given = self.dataset.objects(index, size_hw)
        found = usable_objects(given, size_hw)
        if len(found) < len(given):
            self.lost["boxes without area, or there twice"] += len(given) - len(found)
        self.objects += len(found)
        return found

    def image(self, index: int, folder: str) -> str:
        """Write one image to `folder`, under a name that no other has; give the name."""
        sample = self.dataset.samples[index]
        data = self.dataset.content(index)
        info = probe_image(data)
        stem, extension = posixpath.splitext(posixpath.basename(sample.id))
        if info.orientation != 1 or not extension:
            # Tools differ in whether they turn an image by its tag, and its marks are on the upright one.
            data, extension = encode_image(read_image(data)), ".png"
            self.lost["the EXIF tag of images that it turned: they are written upright, as PNG"] += 1
        name = stem + extension
        if self.names.get(f"{folder}/{stem}", sample.id) != sample.id:
            # Two folders may hold images of one name.
            parts = posixpath.dirname(sample.id).split("/")
            stem = "_".join([*parts, stem])
            name = stem + extension
        self.names[f"{folder}/{stem}"] = sample.id
        write_bytes(self.root / folder / name, data)
        return name


def write_dataset(dataset: Dataset, to: str, out: Path) -> Written:
    """Write `dataset` in the format `to` to the folder `out`, which is not there yet, or empty.

    Raises:
        UsageError: an unknown format, or one that cannot hold such a dataset at all.
        OutputError: `out` holds something, or cannot be written.
        DatasetError: an image that cannot be read.
    """
    if to not in WRITERS:
        raise UsageError(f"unknown format {to!r}", fix=spelling_hint(to, WRITERS))
    tasks, writer = WRITERS[to]
    if dataset.task not in tasks:
        raise UsageError(
            f"expected a dataset for {' or '.join(tasks)} to write {to!r}, found one for {dataset.task!r}",
            fix=f"read it with --task {tasks[0]}" if dataset.task != "classify" else "choose another format",
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{str(out)!r} is not empty", fix="choose another --out")
    with staged_folder(out) as stage, checked_output(out):
        work = _Work(dataset, stage)
        writer(work)
    lost = tuple(f"{reason} ({n})" for reason, n in work.lost.items())
    return Written(out, dataset.task, len(dataset), work.objects, lost)


def _part(sample: Sample) -> str:
    return sample.split or "all"


def _write_coco(work: _Work) -> None:
    names = work.dataset.labels.names
    parts: dict[str, dict[str, list[Any]]] = {}
    for i, sample, size in work.each():
        name = work.image(i, f"images/{_part(sample)}")
        part = parts.setdefault(_part(sample), {"images": [], "annotations": []})
        number = len(part["images"]) + 1
        path = f"images/{_part(sample)}/{name}"
        part["images"].append({"id": number, "file_name": path, "width": size[1], "height": size[0]})
        objects = _from_mask(work, i, size) if work.dataset.task == "segment" else work.marks(i, size)
        for k in range(len(objects)):
            x0, y0, x1, y1 = (float(v) for v in objects.boxes_xyxy[k])
            row: dict[str, Any] = {
                "id": len(part["annotations"]) + 1,
                "image_id": number,
                "category_id": int(objects.label_ids[k]) + 1,
                "bbox": [_short(v) for v in (x0, y0, x1 - x0, y1 - y0)],
                "area": _short((x1 - x0) * (y1 - y0)),
                "iscrowd": int(objects.crowd[k]),
            }
            outline = objects.outlines[k] if len(objects.outlines) else None
            if outline:
                mask = outline.mask(size)
                row["area"] = int(mask.sum())
                if outline.polygons and not objects.crowd[k]:
                    row["segmentation"] = [[_short(float(v)) for v in p.ravel()] for p in outline.polygons]
                else:
                    row["segmentation"] = {"size": list(size), "counts": pack_counts(encode_counts(mask))}
            part["annotations"].append(row)
    categories = [{"id": i + 1, "name": n} for i, n in enumerate(names)]
    for split, part in parts.items():
        text = dumps_json({**part, "categories": categories})
        write_text(work.root / f"instances_{split}.json", text + "\n")


def _from_mask(work: _Work, index: int, size_hw: tuple[int, int]) -> Objects:
    """Give the classes of a mask as objects, one a class and image, with run lengths."""
    from eyewright.data.objects import Outline

    mask = work.dataset.mask(index, size_hw)
    rows: list[tuple[list[float], int, bool, Outline]] = []
    fore = set(work.dataset.foreground)
    for value in np.unique(mask).tolist():
        if value != _IGNORE and value not in fore:
            continue
        inside = mask == value
        rle = Outline(rle={"size": list(size_hw), "counts": encode_counts(inside)})
        rows.append((rle.box().tolist(), 0 if value == _IGNORE else value, value == _IGNORE, rle))
    work.objects += len(rows)
    return Objects(
        np.array([r[0] for r in rows], np.float64).reshape(-1, 4),
        np.array([r[1] for r in rows], np.int64),
        np.array([r[2] for r in rows], bool),
        [r[3] for r in rows],
    )


def _write_yolo(work: _Work) -> None:
    names = work.dataset.labels.names
    splits: list[str] = []
    for i, sample, size in work.each():
        split = _part(sample)
        splits += [split] if split not in splits else []
        name = work.image(i, f"images/{split}")
        objects = work.marks(i, size)
        lines = []
        for k in range(len(objects)):
            if objects.crowd[k]:
                work.lost["ignore regions: YOLO has none, so nothing is written for them"] += 1
                continue
            outlines = len(objects.outlines) and work.dataset.task == "instance"
            lines.append(_yolo_line(work, objects, k, size) if outlines else _yolo_box(objects, k, size))
        text = "".join(line + "\n" for line in lines)
        write_text(work.root / "labels" / split / f"{posixpath.splitext(name)[0]}.txt", text)
    rows = ["# Written by eyewright convert.", "path: .", *(f"{s}: images/{s}" for s in splits if s != "all")]
    if "all" in splits:
        rows.append("train: images/all")
    rows += [
        f"nc: {len(names)}",
        "names:",
        *(f"  {i}: {json.dumps(n, ensure_ascii=False)}" for i, n in enumerate(names)),
    ]
    write_text(work.root / "data.yaml", "\n".join(rows) + "\n")


def _yolo_box(objects: Objects, k: int, size_hw: tuple[int, int]) -> str:
    x0, y0, x1, y1 = objects.boxes_xyxy[k]
    height, width = size_hw
    values = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
    return f"{int(objects.label_ids[k])} " + " ".join(f"{v:.8g}" for v in values)


def _yolo_line(work: _Work, objects: Objects, k: int, size_hw: tuple[int, int]) -> str:
    outline = objects.outlines[k]
    if not outline:
        return _yolo_box(objects, k, size_hw)
    polygons = list(outline.polygons) or trace_outlines(outline.mask(size_hw))
    if outline.rle is not None:
        work.lost["holes of run lengths: polygons have none"] += 1
    if len(polygons) > 1:
        work.lost["all but the largest part of objects in parts"] += 1
    if not polygons:
        return _yolo_box(objects, k, size_hw)
    largest = max(polygons, key=_polygon_area)
    points = np.clip(largest / np.array([size_hw[1], size_hw[0]]), 0, 1)
    return f"{int(objects.label_ids[k])} " + " ".join(f"{v:.8g}" for v in points.ravel())


def _polygon_area(points: NDArray[np.float64]) -> float:
    x, y = points.T
    return abs(float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2))


def _write_voc(work: _Work) -> None:
    names = work.dataset.labels.names
    sets: dict[str, list[str]] = {}
    for i, sample, size in work.each():
        name = work.image(i, "JPEGImages")
        stem = posixpath.splitext(name)[0]
        sets.setdefault(_part(sample), []).append(stem)
        objects = work.marks(i, size)
        if len(objects.outlines) and work.dataset.task == "instance":
            work.lost["outlines: VOC's files hold boxes"] += len(objects)
        rows = [
            "<annotation>",
            f"  <filename>{escape(name)}</filename>",
            f"  <size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>",
        ]
        for k in range(len(objects)):
            corners = zip(("xmin", "ymin", "xmax", "ymax"), objects.boxes_xyxy[k], strict=True)
            box = "".join(f"<{tag}>{_short(float(v))}</{tag}>" for tag, v in corners)
            label, difficult = escape(names[objects.label_ids[k]]), int(objects.crowd[k])
            rows.append(
                f"  <object><name>{label}</name><difficult>{difficult}</difficult><bndbox>{box}</bndbox></object>"
            )
        write_text(work.root / "Annotations" / f"{stem}.xml", "\n".join([*rows, "</annotation>"]) + "\n")
    for split, stems in sets.items():
        if split != "all":
            write_text(work.root / "ImageSets" / "Main" / f"{split}.txt", "\n".join(stems) + "\n")


def _write_masks(work: _Work) -> None:
    dataset = work.dataset
    for i, sample, size in work.each():
        part = "" if sample.split is None else f"{sample.split}/"
        name = work.image(i, f"{part}images")
        mask = dataset.mask(i, size)
        if isinstance(sample.target, Objects):
            work.objects += len(sample.target)
            several = len(sample.target) - len(np.unique(mask[(mask > 0) & (mask != _IGNORE)]))
            if several > 0:
                work.lost["which object of a class a pixel belongs to"] += 1
        data = encode_image_of_classes(mask)
        write_bytes(work.root / f"{part}masks" / f"{posixpath.splitext(name)[0]}.png", data)
    lines = [f"{i} {n}" for i, n in enumerate(dataset.labels.names)]
    write_text(work.root / "classes.txt", "\n".join(lines) + "\n")


def encode_image_of_classes(mask: NDArray[np.uint8]) -> bytes:
    """Give class ids (H, W) as an 8-bit grey PNG, in which a number is a number."""
    import io

    buffer = io.BytesIO()
    Image.fromarray(mask, "L").save(buffer, "PNG", optimize=False)
    return buffer.getvalue()


def _write_imagefolder(work: _Work) -> None:
    """Sort images by class; of boxes every object becomes an image of its own."""
    dataset = work.dataset
    names = dataset.labels.names
    for i, sample in enumerate(dataset.samples):
        part = "" if sample.split is None else f"{sample.split}/"
        if dataset.task == "classify":
            work.image(i, f"{part}{names[sample.target]}")
            continue
        image = dataset.image(i)
        objects = work.marks(i, image.shape[:2])
        stem = posixpath.splitext(sample.id)[0].replace("/", "_")
        for k in range(len(objects)):
            if objects.crowd[k]:
                work.lost["ignore regions"] += 1
                continue
            x0, y0 = np.floor(objects.boxes_xyxy[k, :2]).astype(int)
            x1, y1 = np.ceil(objects.boxes_xyxy[k, 2:]).astype(int)
            data = encode_image(np.ascontiguousarray(image[y0:y1, x0:x1]))
            write_bytes(work.root / f"{part}{names[objects.label_ids[k]]}" / f"{stem}_{k:03d}.png", data)
    if dataset.task != "classify":
        work.lost["where objects are: each is cut out as an image of its own"] += work.objects


def _short(value: float) -> float | int:
    """Write a number as short as it is to a thousandth of a pixel."""
    rounded = round(value, 3)
    return int(rounded) if rounded == int(rounded) else rounded


WRITERS: MappingProxyType[str, tuple[tuple[str, ...], Callable[[_Work], None]]] = MappingProxyType(
    {
        "coco": (("instance", "detect", "segment"), _write_coco),
        "yolo": (("instance", "detect"), _write_yolo),
        "voc": (("detect", "instance"), _write_voc),
        "masks": (("segment",), _write_masks),
        "imagefolder": (("classify", "detect", "instance"), _write_imagefolder),
    }
)
"""Formats that are written, with the tasks whose datasets each can hold."""
