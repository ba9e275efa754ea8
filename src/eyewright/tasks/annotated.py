"""Predictions as other tools read them: COCO's annotations and results, YOLO's labels, crops of objects."""

__all__ = ["coco_image", "coco_parts", "coco_results", "crops", "yolo_lines"]

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eyewright.core.jsonable import dumps_json
from eyewright.data.targets.objects import Objects
from eyewright.data.writers.boxes import coco_row, yolo_line


class Annotated(Protocol):
    """A prediction that can be written as the annotations of its image."""

    @property
    def size_hw(self) -> tuple[int, int]: ...

    def annotated(self) -> tuple[Objects, NDArray[np.float32]]:
        """Return what was found as a dataset has it, and the scores, float32 (n,)."""
        ...


def coco_image(prediction: Annotated, name: str) -> dict[str, Any]:
    """Return one image as COCO has it, without `id`, and in `annotations` what was found in it, with scores."""
    objects, scores = prediction.annotated()
    height, width = prediction.size_hw
    rows = [{**coco_row(objects, k, (height, width)), "score": round(float(scores[k]), 6)} for k in range(len(objects))]
    return {"file_name": name, "width": width, "height": height, "annotations": rows}


def coco_parts(images: Callable[[], Iterable[Mapping[str, Any]]], names: Sequence[str]) -> Iterator[str]:
    """Yield the text of a COCO file of `images`, each from `coco_image`, which is called once a list.

    Images are numbered as `_numbers` says, categories and annotations from 1.
    """
    categories = [{"id": i + 1, "name": n, "supercategory": ""} for i, n in enumerate(names)]
    numbers = _numbers([i["file_name"] for i in images()])
    yield '{"info": {"description": "Predicted by Eyewright."}, "licenses": [],\n"categories": '
    yield dumps_json(categories) + ',\n"images": '
    yield from _listed({"id": n, **_without(i, "annotations")} for n, i in zip(numbers, images(), strict=True))
    yield ',\n"annotations": '
    yield from _listed({"id": k, **row} for k, row in enumerate(_rows(numbers, images()), 1))
    yield "}\n"


def coco_results(images: Callable[[], Iterable[Mapping[str, Any]]]) -> Iterator[str]:
    """Yield the text of COCO's results of `images`, as `pycocotools.COCO.loadRes` reads them.

    Objects with masks have `segmentation` and no `bbox`, as COCO's format of results has it: pycocotools then takes
    areas and boxes from the masks.
    """
    numbers = _numbers([i["file_name"] for i in images()])

    def results() -> Iterator[dict[str, Any]]:
        for row in _rows(numbers, images()):
            place = "segmentation" if row["segmentation"] else "bbox"
            yield {k: row[k] for k in ("image_id", "category_id", place, "score")}

    yield from _listed(results())
    yield "\n"


def _rows(numbers: Iterable[int], images: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for number, image in zip(numbers, images, strict=True):
        for row in image["annotations"]:
            yield {"image_id": number, **row}


def _numbers(names: Sequence[str]) -> list[int]:
    """Return the id of each image: the number that it is named with, as COCO names its own, where all are and no two
    are the same; else from 1.

    >>> _numbers(["000000000139.jpg", "000000000285.jpg"]), _numbers(["a.jpg", "7.jpg"])
    ([139, 285], [1, 2])
    """
    stems = [Path(name).stem for name in names]
    own = [int(s) for s in stems if s.isascii() and s.isdigit()]
    return own if len(set(own)) == len(names) else list(range(1, len(names) + 1))


def _without(row: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k != key}


def _listed(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    start = "[\n"
    for row in rows:
        yield start + dumps_json(row)
        start = ",\n"
    yield "]" if start != "[\n" else "[]"


def yolo_lines(prediction: Annotated, *, lost: Callable[[str], None]) -> str:
    """Return what was found as a label file of YOLO: a line each, without scores, for which it has no place.

    Objects with masks are polygons. `lost` is called with the reason for each thing that a line cannot hold.
    """
    objects, _ = prediction.annotated()
    outlined = bool(len(objects.outlines))
    rows = (yolo_line(objects, k, prediction.size_hw, outlined=outlined, lost=lost) for k in range(len(objects)))
    return "".join(f"{row}\n" for row in rows)


def crops(prediction: Annotated, image: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield the class id of each object and its box cut out of the image, uint8 (h, w, 3), at least a pixel."""
    objects, _ = prediction.annotated()
    height, width = image.shape[:2]
    for box, label in zip(objects.boxes_xyxy, objects.label_ids.tolist(), strict=True):
        x0, y0 = np.floor(box[:2]).astype(int).clip(0, [width - 1, height - 1]).tolist()
        x1, y1 = np.ceil(box[2:]).astype(int).clip([x0 + 1, y0 + 1], [width, height]).tolist()
        yield label, np.ascontiguousarray(image[y0:y1, x0:x1])
