"""What `convert` leaves out is in its account: outlines that fit no image, boxes without area, images only listed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eyewright.core.errors import DatasetError, OutputError
from eyewright.data import open_dataset
from eyewright.lifecycle import convert

pytest.importorskip("msgspec")


def _coco(folder: Path, change: Callable[[list[dict[str, Any]]], None]) -> Path:
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for i in range(3):
        Image.fromarray(np.full((40, 50, 3), 60 + i, np.uint8)).save(folder / "images" / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": 50, "height": 40})
        for k in range(2):
            x = 5 + 20 * k
            polygon = [[x, 5, x + 10, 5, x + 10, 15, x, 15]]
            row = {"id": 2 * i + k, "image_id": i, "category_id": 1, "bbox": [x, 5, 10, 10], "segmentation": polygon}
            annotations.append(row)
    change(annotations)
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("size", [[10**4, 10**4], [50, 40]])
def test_run_lengths_of_another_size_cost_one_outline_and_not_the_dataset(tmp_path: Path, size: list[int]) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[2]["segmentation"] = {"size": size, "counts": [size[0] * size[1]]}

    written = convert(_coco(tmp_path / "data", change), to="coco", out=tmp_path / "out")
    assert (written.objects, written.complete) == (6, False)
    (reason,) = written.account.reduced
    assert (reason.n, reason.path) == (1, "annotations.json")
    assert "run-length encoding of another size" in reason.text


@pytest.mark.parametrize(
    "bad", ["0,0,9", {"size": [40, 50], "counts": [10, -5, 1995]}, {"size": [40, 50], "counts": "b'"}]
)
def test_where_no_outline_can_be_used_that_is_in_the_account(tmp_path: Path, bad: Any) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["segmentation"] = bad

    folder = _coco(tmp_path / "data", change)
    written = convert(folder, to="yolo", out=tmp_path / "out")
    assert (written.objects, written.complete) == (6, False)
    (reason,) = written.account.reduced
    assert (reason.n, reason.path) == (6, "annotations.json")
    assert any(reason.text in line for line in written.lost)
    with pytest.raises(DatasetError, match=r"found none that can be used: .*6"):
        open_dataset(folder, task="instance")


def test_boxes_that_nothing_can_use_are_dropped_and_not_read(tmp_path: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            del row["segmentation"]
        rows[0]["bbox"] = [5, 5, 0, 10]
        rows[1]["bbox"] = [500, 500, 10, 10]
        rows.append({**rows[2], "id": 99})

    written = convert(_coco(tmp_path / "data", change), to="yolo", out=tmp_path / "out")
    assert (written.account.read, written.account.n_dropped, written.objects) == (4, 3, 4)
    assert written.account.dropped[0].path == "annotations.json"
    assert not written.complete


def test_values_that_are_wrong_in_one_way_are_one_reason(tmp_path: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        for i, row in enumerate(rows):
            row["bbox"] = [f"{i}px", "1", "2", "3"]

    dataset = open_dataset(_coco(tmp_path / "data", change))
    (reason,) = dataset.account.dropped
    assert (reason.n, reason.text) == (6, "expected a number, found '0px'")


def test_nothing_is_written_into_the_dataset_that_is_read(tmp_path: Path) -> None:
    folder = _coco(tmp_path / "data", lambda rows: None)
    with pytest.raises(OutputError, match="lies inside the dataset"):
        convert(folder, to="yolo", out=folder / "images" / ".." / "yolo")
    assert convert(folder / "annotations.json", to="yolo", out=tmp_path / "yolo").images == 3


def test_images_that_a_yolo_list_names_and_that_are_not_there_are_said(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "labels").mkdir(exist_ok=True)
        Image.fromarray(np.full((20, 20, 3), 60 + i, np.uint8)).save(tmp_path / "images" / f"{i}.png")
        (tmp_path / "labels" / f"{i}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "data.yaml").write_text("train: train.txt\nval: val.txt\nnames: [cell]\n")
    (tmp_path / "train.txt").write_text("./images/0.png\n./images/1.png\n")
    (tmp_path / "val.txt").write_text("./images/2.png\n\n./images/gone.png\n")
    dataset = open_dataset(tmp_path)
    assert [(r.text, r.n, r.path, r.line) for r in dataset.account.left_out] == [
        ("it is listed but missing", 1, "val.txt", 3)
    ]
    (tmp_path / "data.yaml").write_text("train: images\nnames: {0: cell, 99999999999: far}\n")
    with pytest.raises(DatasetError, match="found 99999999999"):
        open_dataset(tmp_path)


def test_an_image_whose_name_fits_several_is_not_called_missing(tmp_path: Path) -> None:
    folder = _coco(tmp_path / "data", lambda rows: None)
    for copy in ("a", "b"):
        (folder / "more" / copy).mkdir(parents=True)
        (folder / "more" / copy / "0.png").write_bytes((folder / "images" / "0.png").read_bytes())
    (folder / "images" / "0.png").unlink()
    dataset = open_dataset(folder)
    assert [(r.text, r.n) for r in dataset.account.dropped] == [("the name of their image fits several images", 2)]
    (problem,) = [p for p in dataset.problems if p.code == "missing_image"]
    assert "could be 'more/a/0.png' or 'more/b/0.png'" in problem.message
