"""Write what annotation tools read: LabelMe, and tasks for Label Studio."""

__all__ = ["encode_brush", "write_label_studio", "write_labelme"]

import posixpath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.files import write_staged
from eyewright.core.jsonable import dumps_json
from eyewright.data.targets.objects import Objects, Outline
from eyewright.data.writers.work import ObjectsOf, Work, part_of, short
from eyewright.imaging.rasters import trace_outlines

_LONGEST = 65536
_BRUSH_WORD, _BRUSH_WIDTHS = 8, (3, 4, 8, 16)


def write_labelme(work: Work, objects_of: ObjectsOf = Work.marks) -> None:
    """Write a JSON file next to every image; ignore regions are called `__ignore__`."""
    names = work.dataset.labels.names
    for i, sample, size in work.each():
        name = work.image(i, part_of(sample))
        objects = objects_of(work, i, size)
        shapes: list[dict[str, Any]] = []
        for k in range(len(objects)):
            label = "__ignore__" if objects.crowd[k] else names[objects.label_ids[k]]
            polygons = _polygons(work, objects, k, size)
            if not polygons:
                x0, y0, x1, y1 = (short(float(v)) for v in objects.boxes_xyxy[k])
                shapes.append(_shape(label, [[x0, y0], [x1, y1]], "rectangle", None))
            # LabelMe knows an object in parts by a number that its parts have in common.
            group = k + 1 if len(polygons) > 1 else None
            for points in polygons:
                rows = [[short(float(x)), short(float(y))] for x, y in points]
                shapes.append(_shape(label, rows, "polygon", group))
        content: dict[str, Any] = {
            "version": "5.4.1",
            "flags": {},
            "shapes": shapes,
            "imagePath": name,
            "imageData": None,
            "imageHeight": size[0],
            "imageWidth": size[1],
        }
        place = work.root / part_of(sample) / f"{posixpath.splitext(name)[0]}.json"
        write_staged(place, dumps_json(content, indent=1) + "\n")


def _shape(label: str, points: list[Any], kind: str, group: int | None) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": group, "description": "", "shape_type": kind, "flags": {}}


def _polygons(work: Work, objects: Objects, k: int, size_hw: tuple[int, int]) -> list[NDArray[np.float64]]:
    """Return an object's outline as polygons; none where it is a box."""
    outline = objects.outlines[k] if len(objects.outlines) and work.outlined else Outline()
    if not outline:
        return []
    if outline.rle is None:
        return list(outline.in_pixels(size_hw).polygons)
    polygons = trace_outlines(outline.mask(size_hw))
    if _has_holes(outline.mask(size_hw), polygons):
        work.lost["holes of masks: polygons have none"] += 1
    return polygons


def _has_holes(mask: NDArray[np.bool_], polygons: list[NDArray[np.float64]]) -> bool:
    return not np.array_equal(Outline(tuple(polygons)).mask(mask.shape), mask)


def write_label_studio(work: Work, objects_of: ObjectsOf = Work.marks) -> None:
    """Write a list of tasks a part, as Label Studio's JSON export has them; it reads them again by its import.

    Images are named by their path in the folder: serve that as Label Studio's local storage. Boxes are rectangles;
    shapes of one polygon are polygons, all others brush strokes, which keep every pixel.
    """
    names = work.dataset.labels.names
    parts: dict[str, list[dict[str, Any]]] = {}
    for i, sample, size in work.each():
        part = part_of(sample)
        name = work.image(i, f"images/{part}")
        objects = objects_of(work, i, size)
        results = []
        for k in range(len(objects)):
            if objects.crowd[k]:
                work.lost["ignore regions: Label Studio has none"] += 1
                continue
            results.append(_region(objects, k, names[objects.label_ids[k]], size, work.outlined))
        tasks = parts.setdefault(part, [])
        annotation = {"id": len(tasks) + 1, "result": results, "was_cancelled": False, "ground_truth": True}
        tasks.append({"id": len(tasks) + 1, "data": {"image": f"images/{part}/{name}"}, "annotations": [annotation]})
    for part, tasks in parts.items():
        write_staged(work.root / f"tasks_{part}.json", dumps_json(tasks, indent=1) + "\n")


def _region(objects: Objects, k: int, label: str, size_hw: tuple[int, int], outlined: bool) -> dict[str, Any]:
    height, width = size_hw
    outline = objects.outlines[k] if outlined and len(objects.outlines) else Outline()
    value: dict[str, Any]
    if not outline:
        kind = "rectanglelabels"
        x0, y0, x1, y1 = (float(v) for v in objects.boxes_xyxy[k] / np.array([width, height] * 2) * 100)
        value = {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0, "rotation": 0}
    elif outline.rle is None and len(outline.polygons) == 1:
        kind = "polygonlabels"
        points = outline.in_pixels(size_hw).polygons[0] / np.array([width, height]) * 100
        value = {"points": points.tolist(), "closed": True}
    else:
        kind = "brushlabels"
        value = {"format": "rle", "rle": encode_brush(outline.mask(size_hw))}
    return {
        "id": f"r{k + 1}",
        "type": kind,
        "from_name": "label",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {**value, kind: [label]},
    }


def encode_brush(mask: NDArray[np.bool_]) -> list[int]:
    """Return a mask, bool (H, W), as a brush stroke of Label Studio: its RGBA bytes packed by bits (thi.ng's rle-pack).

    >>> from eyewright.data.readers.label_studio import decode_brush
    >>> mask = np.eye(3, dtype=bool)
    >>> bool((decode_brush(encode_brush(mask), (3, 3)) == mask).all())
    True
    """
    flat = np.repeat(mask.ravel(), 4)
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, len(flat))
    bits = [f"{len(flat):032b}{_BRUSH_WORD - 1:05b}", *(f"{w - 1:04b}" for w in _BRUSH_WIDTHS)]
    start = 0
    for end in ends.tolist():
        word = f"{255 if flat[start] else 0:0{_BRUSH_WORD}b}"
        while start < end:
            n = min(end - start, _LONGEST)
            k, width = next((k, w) for k, w in enumerate(_BRUSH_WIDTHS) if n <= 1 << w)
            bits.append(f"1{k:02b}{n - 1:0{width}b}{word}")
            start += n
    text = "".join(bits)
    packed = np.frombuffer(text.encode(), np.uint8) - ord("0")
    found: list[int] = np.packbits(packed).tolist()
    return found
