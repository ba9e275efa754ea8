"""Data sets that were written on Windows: backslashes, drive letters, CRLF, cp1252, a byte order mark."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import eyewright as ew
from eyewright.core.errors import DatasetError
from eyewright.imaging import encode_image

NAMES = tuple(f"{c}.png" for c in "abcdefghijkl")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in NAMES:
        place = tmp_path / "data" / "images" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(encode_image(rng.integers(0, 255, (40, 60, 3)).astype(np.uint8)))
    return tmp_path / "data"


def _crlf(*lines: str, encoding: str = "utf-8") -> bytes:
    return "".join(line + "\r\n" for line in lines).encode(encoding)


def _coco(folder: Path) -> None:
    content = {
        "images": [
            {"id": i, "file_name": f"C:\\Users\\me\\data\\images\\{n}", "width": 60, "height": 40}
            for i, n in enumerate(NAMES)
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [5, 6, 20, 10], "area": 200, "iscrowd": 0}
            for i in range(len(NAMES))
        ],
        "categories": [{"id": 1, "name": "schräg"}],
    }
    text = json.dumps(content, indent=1, ensure_ascii=False).replace("\n", "\r\n")
    (folder / "annotations.json").write_bytes(b"\xef\xbb\xbf" + text.encode())


def _yolo(folder: Path) -> None:
    (folder / "labels").mkdir()
    for name in NAMES:
        (folder / "labels" / f"{name[0]}.txt").write_bytes(_crlf("0 0.25 0.275 0.333333 0.25"))
    (folder / "data.yaml").write_bytes(
        _crlf("path: C:\\Users\\me\\data", "train: train.txt", "val: val.txt", "nc: 1", "names: ['schräg']")
    )
    (folder / "train.txt").write_bytes(_crlf(*(f"C:\\Users\\me\\data\\images\\{n}" for n in NAMES[:3])))
    (folder / "val.txt").write_bytes(_crlf(*(f".\\images\\{n}" for n in NAMES[3:])))


def _voc(folder: Path) -> None:
    (folder / "Annotations").mkdir()
    for name in NAMES:
        box = "<bndbox><xmin>6</xmin><ymin>7</ymin><xmax>25</xmax><ymax>16</ymax></bndbox>"
        (folder / "Annotations" / f"{name[0]}.xml").write_bytes(
            _crlf(
                "<annotation>",
                f"<filename>{name}</filename><path>C:\\Users\\me\\data\\images\\{name}</path>",
                "<size><width>60</width><height>40</height><depth>3</depth></size>",
                f"<object><name>schräg</name>{box}</object>",
                "</annotation>",
            )
        )


def _boxes(folder: Path) -> None:
    rows = (f"C:\\Users\\me\\data\\images\\{n},60,40,schräg,5,6,25,16" for n in NAMES)
    (folder / "boxes.csv").write_bytes(_crlf("filename,width,height,class,xmin,ymin,xmax,ymax", *rows))


@pytest.mark.parametrize("write", [_coco, _yolo, _voc, _boxes], ids=lambda f: f.__name__.strip("_"))
def test_boxes_are_read(images: Path, write: Callable[[Path], None]) -> None:
    write(images)
    data = ew.load_dataset(images)
    assert len(data) == len(NAMES)
    assert data.labels.names == ("schräg",)
    for sample in data.samples:
        (box,) = sample.target.boxes_xyxy
        # YOLO's are parts of the side until the image is opened.
        pixels = box * (60, 40, 60, 40) if box.max() <= 1 else box
        assert pixels.tolist() == pytest.approx([5, 6, 25, 16], abs=1.01)


def test_a_table_in_a_code_page_is_refused_with_its_line(images: Path) -> None:
    # Which code page it is cannot be known: a guess would change the names of classes.
    (images / "labels.csv").write_bytes(_crlf("path;label", *(f"images\\{n};schräg" for n in NAMES), encoding="cp1252"))
    with pytest.raises(DatasetError, match=r"line 2 is not UTF-8; save the file as UTF-8"):
        ew.load_dataset(images / "labels.csv")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_table_of_labels_is_read(images: Path, encoding: str) -> None:
    rows = (f"images\\{n};{'schräg' if n < 'g' else 'gerade'}" for n in NAMES)
    (images / "labels.csv").write_bytes(_crlf("path;label", *rows, encoding=encoding))
    data = ew.load_dataset(images / "labels.csv")
    assert data.labels.names == ("gerade", "schräg")
    assert len(data) == len(NAMES)
