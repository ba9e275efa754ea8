"""Layouts that other tools open: files where they look for them, and names as they join them."""

import json
from pathlib import Path

import pytest
import yaml
from tests.data.test_more_readers import picture, put

from eyewright.data import open_dataset
from eyewright.data.writers import write_dataset


def made(root: Path, parts: tuple[str, ...]) -> Path:
    """Make a COCO dataset with one image of the same name in each part."""
    for part in parts:
        picture(root, f"{part}/one.png")
        square = [[10, 10, 20, 10, 20, 20, 10, 20]]
        rows = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 10, 10], "segmentation": square}]
        content = {
            "images": [{"id": 1, "file_name": "one.png", "width": 64, "height": 48}],
            "categories": [{"id": 1, "name": "big bolt"}],
            "annotations": [{**r, "iscrowd": 0, "area": 100} for r in rows],
        }
        put(root, f"instances_{part}.json", content)
    return root


def test_coco_lies_as_its_own_download(tmp_path: Path) -> None:
    data = open_dataset(made(tmp_path / "a", ("train", "val")), task="instance")
    write_dataset(data, "coco", tmp_path / "b")
    for part in ("train", "val"):
        content = json.loads((tmp_path / "b" / "annotations" / f"instances_{part}.json").read_text())
        (image,) = content["images"]
        assert image["file_name"] == Path(image["file_name"]).name
        assert (tmp_path / "b" / "images" / part / image["file_name"]).is_file()
        assert {"info", "licenses", "categories", "annotations"} <= set(content)
        assert "segmentation" in content["annotations"][0]
    again = open_dataset(tmp_path / "b", task="instance")
    assert {(s.id, s.split) for s in again.samples} == {
        ("images/train/one.png", "train"),
        ("images/val/one.png", "val"),
    }


@pytest.mark.parametrize(
    ("parts", "val"), [(("train", "val"), "images/val"), (("train", "test"), "images/train"), (("all",), "images/all")]
)
def test_yolo_always_names_val_and_no_path(tmp_path: Path, parts: tuple[str, ...], val: str) -> None:
    data = open_dataset(made(tmp_path / "a", parts), task="detect")
    write_dataset(data, "yolo", tmp_path / "b")
    content = yaml.safe_load((tmp_path / "b" / "data.yaml").read_text())
    assert content["val"] == val
    assert "path" not in content
    assert content["names"] == {0: "big bolt"}
    for place in {content["train"], content["val"]}:
        labels = tmp_path / "b" / place.replace("images", "labels") / "one.txt"
        assert all(len(line.split()) == 5 and "e" not in line for line in labels.read_text().splitlines())


@pytest.mark.parametrize(("parts", "lists"), [(("train", "val"), {"train", "val"}), (("all",), {"default"})])
def test_voc_has_its_lists_and_a_label_map(tmp_path: Path, parts: tuple[str, ...], lists: set[str]) -> None:
    data = open_dataset(made(tmp_path / "a", parts), task="detect")
    write_dataset(data, "voc", tmp_path / "b")
    assert {p.stem for p in (tmp_path / "b/ImageSets/Main").iterdir()} == lists
    assert (tmp_path / "b/labelmap.txt").read_text().splitlines()[1:] == ["background:0,0,0::", "big bolt:128,0,0::"]
    assert open_dataset(tmp_path / "b").account.read == len(parts)
