"""Predictions as COCO, YOLO and crops, by hand."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from eyewright.data.targets.objects import Objects, Outline
from eyewright.tasks.annotated import coco_image, coco_parts, coco_results, crops, yolo_lines


@dataclass
class Found:
    """A prediction that a test makes up."""

    boxes: list[list[float]]
    labels: list[int]
    scores: list[float]
    outlines: tuple[Outline, ...] = ()
    size_hw: tuple[int, int] = (40, 80)

    def annotated(self) -> tuple[Objects, np.ndarray]:
        boxes = np.array(self.boxes, float).reshape(-1, 4)
        crowd = np.zeros(len(boxes), bool)
        return Objects(boxes, np.array(self.labels, int), crowd, outlines=self.outlines), np.array(self.scores, "f4")


TWO = Found([[10, 5, 30, 15], [0, 0, 80, 40]], [1, 0], [0.123456789, 0.5])
NONE = Found([], [], [])


def images(*names: str) -> Any:
    return lambda: iter([coco_image(TWO if k == 0 else NONE, name) for k, name in enumerate(names)])


def test_an_image_is_written_with_boxes_sizes_and_scores() -> None:
    found = coco_image(TWO, "a.png")
    assert (found["file_name"], found["width"], found["height"]) == ("a.png", 80, 40)
    first, second = found["annotations"]
    assert (first["bbox"], first["category_id"], first["score"]) == ([10.0, 5.0, 20.0, 10.0], 2, 0.123457)
    assert (second["bbox"], second["area"], second["score"]) == ([0.0, 0.0, 80.0, 40.0], 3200.0, 0.5)
    assert coco_image(NONE, "b.png")["annotations"] == []


@pytest.mark.parametrize(
    ("names", "numbers"),
    [(("a.png", "7.png"), [1, 2]), (("000139.jpg", "d/285.jpg"), [139, 285]), (("5.png", "d/5.png"), [1, 2]),
     (("²3.png", "4.png"), [1, 2])],
)  # fmt: skip
def test_a_file_of_coco_numbers_images_annotations_and_categories(names: tuple[str, ...], numbers: list[int]) -> None:
    found = json.loads("".join(coco_parts(images(*names), ("bolt", "nut"))))
    assert [(c["id"], c["name"]) for c in found["categories"]] == [(1, "bolt"), (2, "nut")]
    assert [(i["id"], i["file_name"]) for i in found["images"]] == list(zip(numbers, names, strict=True))
    assert all("annotations" not in i for i in found["images"])
    assert [(a["id"], a["image_id"]) for a in found["annotations"]] == [(1, numbers[0]), (2, numbers[0])]
    empty = json.loads("".join(coco_parts(lambda: iter([]), ("bolt",))))
    assert (empty["images"], empty["annotations"]) == ([], [])


def test_results_of_boxes_have_boxes_and_of_masks_polygons() -> None:
    found = json.loads("".join(coco_results(images("a.png", "b.png"))))
    assert [set(r) for r in found] == [{"image_id", "category_id", "bbox", "score"}] * 2
    assert [r["score"] for r in found] == [0.123457, 0.5]
    assert json.loads("".join(coco_results(lambda: iter([])))) == []
    outlined = coco_image(TWO, "a.png")
    for row in outlined["annotations"]:
        row["segmentation"] = [[0, 0, 4, 0, 4, 4]]
    (first, _) = json.loads("".join(coco_results(lambda: iter([outlined]))))
    assert set(first) == {"image_id", "category_id", "segmentation", "score"}


def test_yolo_has_a_line_an_object_of_its_centre_and_size() -> None:
    lost: list[str] = []
    lines = [line.split() for line in yolo_lines(TWO, lost=lost.append).splitlines()]
    assert [[float(v) for v in line] for line in lines] == [[1, 0.25, 0.25, 0.25, 0.25], [0, 0.5, 0.5, 1, 1]]
    assert lost == []
    assert yolo_lines(NONE, lost=lost.append) == ""


@pytest.mark.parametrize(
    ("box", "cut"),
    [
        ([10.4, 5.6, 20.2, 8.1], (5, 9, 10, 21)),
        ([-3, -2, 4, 3], (0, 3, 0, 4)), ([75, 35, 99, 99], (35, 40, 75, 80)),
        ([79.5, 39.5, 79.6, 39.6], (39, 40, 79, 80)), ([90, 50, 99, 60], (39, 40, 79, 80)),
        ([5, 5, 5, 5], (5, 6, 5, 6)),
    ],
)  # fmt: skip
def test_a_crop_is_the_box_in_whole_pixels_at_least_one(box: list[float], cut: tuple[int, int, int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 80, 3)).astype(np.uint8)
    ((label, found),) = crops(Found([box], [1], [0.5]), image)
    y0, y1, x0, x1 = cut
    assert label == 1
    assert np.array_equal(found, image[y0:y1, x0:x1])
    assert found.flags["C_CONTIGUOUS"]
