"""Write COCO, YOLO and Pascal VOC."""

__all__ = ["coco_row", "write_coco", "write_voc", "write_yolo", "yolo_head", "yolo_line"]

import json
import posixpath
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.files import write_staged
from eyewright.core.jsonable import dumps_json
from eyewright.data.targets.objects import Objects
from eyewright.data.writers.work import ObjectsOf, Work, part_of, printable_names, short
from eyewright.imaging.rasters import encode_counts, pack_counts, trace_outlines


def write_coco(work: Work, objects_of: ObjectsOf = Work.marks) -> None:
    """Write COCO as its own download lies: `annotations/instances_PART.json` next to `images/PART/`.

    Images are named from the folder of their part, which is what pycocotools, Datumaro, FiftyOne and supervision join
    names with.
    """
    names = work.dataset.labels.names
    parts: dict[str, dict[str, list[Any]]] = {}
    for i, sample, size in work.each():
        name = work.image(i, f"images/{part_of(sample)}")
        part = parts.setdefault(part_of(sample), {"images": [], "annotations": []})
        number = len(part["images"]) + 1
        part["images"].append({"id": number, "file_name": name, "width": size[1], "height": size[0]})
        objects = objects_of(work, i, size)
        for k in range(len(objects)):
            about = {"id": len(part["annotations"]) + 1, "image_id": number}
            part["annotations"].append({**about, **coco_row(objects, k, size)})
    categories = [{"id": i + 1, "name": n, "supercategory": ""} for i, n in enumerate(names)]
    for split, part in parts.items():
        head = {"info": {"description": "Written by eyewright convert."}, "licenses": []}
        text = dumps_json({**head, "categories": categories, **part})
        write_staged(work.root / "annotations" / f"instances_{split}.json", text + "\n")


def coco_row(objects: Objects, k: int, size_hw: tuple[int, int]) -> dict[str, Any]:
    """Return object `k` as COCO annotates it, without `id` and `image_id`; categories are numbered from 1."""
    x0, y0, x1, y1 = (float(v) for v in objects.boxes_xyxy[k])
    row: dict[str, Any] = {
        "category_id": int(objects.label_ids[k]) + 1,
        "bbox": [short(v) for v in (x0, y0, x1 - x0, y1 - y0)],
        "area": short((x1 - x0) * (y1 - y0)),
        "iscrowd": int(objects.crowd[k]),
        # pycocotools looks it up whether or not there is an outline.
        "segmentation": [],
    }
    outline = objects.outlines[k] if len(objects.outlines) else None
    if outline:
        mask = outline.mask(size_hw)
        row["area"] = int(mask.sum())
        if outline.polygons and not objects.crowd[k]:
            row["segmentation"] = [[short(float(v)) for v in p.ravel()] for p in outline.polygons]
        else:
            row["segmentation"] = {"size": list(size_hw), "counts": pack_counts(encode_counts(mask))}
    return row


def write_yolo(work: Work) -> None:
    """Write YOLO as Ultralytics documents it: `data.yaml`, `images/PART/` and `labels/PART/`.

    `data.yaml` has no `path`, so that its folders are found from where it lies, and always a `val`, without which
    Ultralytics refuses it: the images of train where the dataset has none.
    """
    names = work.dataset.labels.names
    splits: list[str] = []
    for i, sample, size in work.each():
        split = part_of(sample)
        splits += [split] if split not in splits else []
        name = work.image(i, f"images/{split}")
        objects = work.marks(i, size)
        lines = []
        for k in range(len(objects)):
            if objects.crowd[k]:
                work.lost["ignore regions: YOLO has none, so nothing is written for them"] += 1
                continue
            lines.append(yolo_line(objects, k, size, outlined=work.outlined, lost=_losing(work)))
        text = "".join(line + "\n" for line in lines)
        write_staged(work.root / "labels" / split / f"{posixpath.splitext(name)[0]}.txt", text)
    rows = ["# Written by eyewright convert.", *(f"{s}: images/{s}" for s in splits if s != "all")]
    train = "train" if "train" in splits else "all" if "all" in splits else ""
    if train == "all":
        rows.append("train: images/all")
    if train and "val" not in splits:
        rows.append(f"val: images/{train}  # there is no other: YOLO's tools want one")
    write_staged(work.root / "data.yaml", "\n".join([*rows, *yolo_head(names)]) + "\n")


def _losing(work: Work) -> Callable[[str], None]:
    def lose(reason: str) -> None:
        work.lost[reason] += 1

    return lose


def yolo_head(names: Sequence[str]) -> list[str]:
    """Return the lines of `data.yaml` that name the classes."""
    return [
        f"nc: {len(names)}",
        "names:",
        *(f"  {i}: {json.dumps(n, ensure_ascii=False)}" for i, n in enumerate(names)),
    ]


def yolo_line(
    objects: Objects, k: int, size_hw: tuple[int, int], *, outlined: bool, lost: Callable[[str], None]
) -> str:
    """Return object `k` as a line of YOLO's label files: its box, or with `outlined` the largest part of its outline.

    `lost` is called with the reason for each thing that the line cannot hold.
    """
    outline = objects.outlines[k] if outlined and len(objects.outlines) else None
    if not outline:
        return _yolo_box(objects, k, size_hw)
    polygons = list(outline.polygons) or trace_outlines(outline.mask(size_hw))
    if outline.rle is not None:
        lost("holes of masks: polygons have none")
    if len(polygons) > 1:
        lost("all but the largest part of objects in parts")
    if not polygons:
        return _yolo_box(objects, k, size_hw)
    largest = max(polygons, key=_polygon_area)
    points = np.clip(largest / np.array([size_hw[1], size_hw[0]]), 0, 1)
    return f"{int(objects.label_ids[k])} " + " ".join(_fraction(v) for v in points.ravel().tolist())


def _yolo_box(objects: Objects, k: int, size_hw: tuple[int, int]) -> str:
    x0, y0, x1, y1 = objects.boxes_xyxy[k]
    height, width = size_hw
    values = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
    return f"{int(objects.label_ids[k])} " + " ".join(_fraction(v) for v in values)


def _fraction(value: float) -> str:
    """Return a fraction without an exponent, which Datumaro does not take for a number.

    >>> _fraction(0.00001), _fraction(0.5), _fraction(1)
    ('0.00001', '0.5', '1')
    """
    return f"{value:.9f}".rstrip("0").rstrip(".")


def _polygon_area(points: NDArray[np.float64]) -> float:
    x, y = points.T
    return abs(float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2))


def write_voc(work: Work) -> None:
    """Write VOC's standard folders, and Datumaro's `labelmap.txt`; images without a part are in `default.txt`."""
    names = printable_names(work)
    sets: dict[str, list[str]] = {}
    for i, sample, size in work.each():
        name = work.image(i, "JPEGImages")
        stem = posixpath.splitext(name)[0]
        sets.setdefault(part_of(sample), []).append(stem)
        objects = work.marks(i, size)
        if len(objects.outlines) and work.outlined:
            work.lost["outlines: VOC's files hold boxes"] += len(objects)
        rows = [
            "<annotation>",
            "  <folder>JPEGImages</folder>",
            f"  <filename>{escape(name, quote=False)}</filename>",
            "  <source><database>Unknown</database></source>",
            f"  <size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>",
            "  <segmented>0</segmented>",
        ]
        for k in range(len(objects)):
            corners = zip(("xmin", "ymin", "xmax", "ymax"), objects.boxes_xyxy[k], strict=True)
            box = "".join(f"<{tag}>{short(float(v))}</{tag}>" for tag, v in corners)
            label, difficult = escape(names[objects.label_ids[k]], quote=False), int(objects.crowd[k])
            rows.append(
                f"  <object><name>{label}</name><pose>Unspecified</pose><truncated>0</truncated>"
                f"<difficult>{difficult}</difficult><bndbox>{box}</bndbox></object>"
            )
        write_staged(work.root / "Annotations" / f"{stem}.xml", "\n".join([*rows, "</annotation>"]) + "\n")
    for split, stems in sets.items():
        name = "default" if split == "all" else split
        write_staged(work.root / "ImageSets" / "Main" / f"{name}.txt", "\n".join(stems) + "\n")
    rows = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
    rows += [f"{n}:{','.join(map(str, _voc_colour(i + 1)))}::" for i, n in enumerate(names) if n != "background"]
    write_staged(work.root / "labelmap.txt", "\n".join(rows) + "\n")


def _voc_colour(label: int) -> tuple[int, int, int]:
    """Return VOC's colour of a class: the bits of its number, dealt out to red, green and blue from the highest on.

    >>> _voc_colour(1), _voc_colour(2), _voc_colour(7)
    ((128, 0, 0), (0, 128, 0), (128, 128, 128))
    """
    red, green, blue = (sum(((label >> (3 * k + c)) & 1) << (7 - k) for k in range(8)) for c in range(3))
    return red, green, blue
