"""One annotation file that cannot be read costs its own image, in every format of one file per image."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyewright.core.errors import DatasetError
from eyewright.data import open_dataset

pytest.importorskip("msgspec")

_VOC = (
    "<annotation><filename>{0}.jpg</filename><object><name>cell</name><bndbox><xmin>2</xmin><ymin>2</ymin>"
    "<xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
)
_SHAPE = {"label": "cell", "shape_type": "rectangle", "points": [[2, 2], [9, 9]]}


def _yolo(folder: Path, k: int) -> Path:
    (folder / "data.yaml").write_text("train: images\nnames: [cell]\n")
    (folder / "labels").mkdir(exist_ok=True)
    path = folder / "labels" / f"{k}.txt"
    path.write_text("0 0.5 0.5 0.2 0.2\n")
    return path


def _voc(folder: Path, k: int) -> Path:
    (folder / "Annotations").mkdir(exist_ok=True)
    path = folder / "Annotations" / f"{k}.xml"
    path.write_text(_VOC.format(k))
    return path


def _labelme(folder: Path, k: int) -> Path:
    path = folder / "images" / f"{k}.json"
    content = {"version": "5", "imagePath": f"{k}.jpg", "imageHeight": 20, "imageWidth": 20, "shapes": [_SHAPE]}
    path.write_text(json.dumps(content))
    return path


def _to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _to_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _to_bytes(path: Path) -> None:
    path.write_bytes(bytes(range(256)))


def _to_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3 * 2**30)


@pytest.mark.parametrize("spoil", [_to_fifo, _to_loop, _to_bytes, _to_sparse])
@pytest.mark.parametrize("write", [_yolo, _voc, _labelme])
def test_one_file_that_cannot_be_read_costs_its_own_image(
    tmp_path: Path, write: Callable[[Path, int], Path], spoil: Callable[[Path], None]
) -> None:
    (tmp_path / "images").mkdir()
    for k in range(3):
        Image.fromarray(np.full((20, 20, 3), 90 + k, np.uint8)).save(tmp_path / "images" / f"{k}.jpg")
    bad, *_ = [write(tmp_path, k) for k in range(3)]
    spoil(bad)
    dataset = open_dataset(tmp_path, task="detect")
    assert [s.id for s in dataset.samples] == ["images/1.jpg", "images/2.jpg"]
    name = bad.relative_to(tmp_path).as_posix()
    assert any(r.path == name and "cannot be read" in r.text for r in dataset.account.left_out), dataset.account


def test_a_text_in_another_encoding_beside_yolo_labels_is_no_label_file(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for k in range(2):
        Image.fromarray(np.full((20, 20, 3), 90 + k, np.uint8)).save(tmp_path / "images" / f"{k}.jpg")
        _yolo(tmp_path, k)
    (tmp_path / "LIESMICH.txt").write_bytes("Für Größe siehe unten".encode("latin-1"))
    assert len(open_dataset(tmp_path)) == 2


def test_of_label_files_that_all_cannot_be_read_the_reason_is_said(tmp_path: Path) -> None:
    # The first note is another one: that both parts are the same.
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for i in range(3):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "images" / f"{i}.png")
        (tmp_path / "labels" / f"{i}.txt").write_bytes(b"\x00\x01\x02\xff\xfe")
    (tmp_path / "data.yaml").write_text("train: images\nval: images\nnames: [cat, dog]\n")
    with pytest.raises(DatasetError, match=r"labels/0.txt: cannot be read: .*; correct the label files"):
        open_dataset(tmp_path)
