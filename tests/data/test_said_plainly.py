"""Odd datasets that were read wrongly or with the wrong words: each kind with an input of its own."""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import eyewright as ew
from eyewright.core.errors import DatasetError, UnreadableImageError
from eyewright.core.report import Finding
from eyewright.data import audit_dataset, open_dataset, scan_dataset
from eyewright.imaging.decode import read_image

pytest.importorskip("msgspec")

_SIDE = 40


def _images(folder: Path, names: Sequence[str]) -> Path:
    for seed, name in enumerate(names):
        pixels = np.random.default_rng(seed).integers(0, 255, (_SIDE, _SIDE, 3), np.uint8)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    return folder


def _coco(folder: Path, boxes: Sequence[Sequence[float]], **other: Any) -> dict[str, Any]:
    _images(folder, [f"images/{i}.png" for i in range(len(boxes))])
    content = {
        "images": [{"id": i, "file_name": f"{i}.png"} for i in range(len(boxes))],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1 + i % 2, "bbox": list(b)} for i, b in enumerate(boxes)
        ],
        **other,
    }
    (folder / "all.json").write_text(json.dumps(content))
    return content


_FOUR = [[2.0 + i, 3, 10, 12] for i in range(4)]


def _findings(folder: Path, task: str = "detect") -> tuple[Finding, ...]:
    data = open_dataset(folder, task=task)
    return audit_dataset(data, scan_dataset(data))


def test_boxes_of_coco_in_fractions_of_the_sides_are_named(tmp_path: Path) -> None:
    """Each is a speck in the left upper corner; none reaches far enough to prove that fractions were meant."""
    _coco(tmp_path, [[0.1, 0.1, 0.2 + i / 100, 0.3] for i in range(6)])
    [found] = [f for f in _findings(tmp_path) if f.code == "box_format"]
    assert "fractions of the image's sides" in found.message


def test_one_number_beyond_the_image_leaves_a_table_of_fractions_in_fractions(tmp_path: Path) -> None:
    _images(tmp_path, [f"{i}.png" for i in range(12)])
    rows = [f"{i}.png,cat,0.25,0.25,{1.2 if i == 3 else 0.75},0.5" for i in range(12)]
    (tmp_path / "boxes.csv").write_text("\n".join(["filename,class,xmin,ymin,xmax,ymax", *rows]))
    data = open_dataset(tmp_path, task="detect")
    boxes = [data.objects(i, (_SIDE, _SIDE)).boxes_xyxy[0].tolist() for i in range(4)]
    assert boxes[0] == [10, 10, 30, 20]
    assert boxes[3][:2] == [10, 10]


def test_two_files_that_mark_one_image_with_other_classes_are_no_repetition(tmp_path: Path) -> None:
    content = _coco(tmp_path, _FOUR)
    for one in content["annotations"]:
        one["category_id"] = 3 - one["category_id"]
    (tmp_path / "again.json").write_text(json.dumps(content))
    account = open_dataset(tmp_path, task="detect").account
    assert account.read == 4
    assert [(r.text, r.n) for r in account.dropped] == [("their image is listed in another file too", 4)]
    content["annotations"] = json.loads((tmp_path / "all.json").read_text())["annotations"]
    (tmp_path / "again.json").write_text(json.dumps(content))
    assert open_dataset(tmp_path, task="detect").account.complete


def test_panoptic_annotations_are_named(tmp_path: Path) -> None:
    one = {"image_id": 0, "file_name": "0.png", "segments_info": [{"id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}]}
    _coco(tmp_path, _FOUR, annotations=[one])
    [reason] = open_dataset(tmp_path, task="detect").account.dropped
    assert reason.text == "it is panoptic (segments_info), which is not read"


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"annotations": None}, "does not hold a list of annotations: expected a list, found nothing"),
        ({"images": {"0": {"id": 0}}}, "does not hold images with id and file_name: expected a list, found an object"),
        ({"categories": "cat"}, "does not hold categories with id and name: expected a list, found text"),
    ],
)
def test_parts_of_another_type_are_said_in_plain_words(tmp_path: Path, other: dict[str, Any], words: str) -> None:
    _coco(tmp_path, _FOUR, **other)
    with pytest.raises(DatasetError, match=words):
        open_dataset(tmp_path, task="detect")


def test_annotations_of_another_type_are_said_in_plain_words(tmp_path: Path) -> None:
    content = _coco(tmp_path, _FOUR)
    text = json.dumps(content).replace('"bbox": [2.0', '"bbox": [1e999').replace("]}", ', "text", null]}', 1)
    text = text.replace('"annotations": [', '"annotations": ["text", null, ')
    (tmp_path / "all.json").write_text(text.replace(', "text", null]}', "]}", 1))
    reasons = [r.text for r in open_dataset(tmp_path, task="detect").account.dropped]
    assert reasons == [
        "expected an object, found text",
        "expected an object, found nothing",
        "a number is too large, at bbox[0]",
    ]


def test_json_that_is_nested_too_deeply_is_said_in_plain_words(tmp_path: Path) -> None:
    content = json.dumps(_coco(tmp_path, _FOUR)).replace('"bbox": [2.0', f'"x": {"[" * 5000}{"]" * 5000}, "bbox": [2.0')
    (tmp_path / "all.json").write_text(content)
    with pytest.raises(DatasetError, match="lists and objects are nested too deeply"):
        open_dataset(tmp_path, task="detect")


def test_class_names_with_control_characters_are_written_as_xml_that_can_be_read(tmp_path: Path) -> None:
    names = [{"id": 1, "name": "bad\x00cat"}, {"id": 2, "name": "bad\x07cat"}]
    _coco(tmp_path / "in", _FOUR, categories=names)
    written = ew.convert(tmp_path / "in", to="voc", out=tmp_path / "out", task="detect")
    assert "control characters in the names of classes: they are replaced (2)" in written.lost
    again = open_dataset(tmp_path / "out", task="detect")
    assert again.account.complete
    assert set(again.labels.names) == {"bad_cat", "bad_cat_2"}


def test_class_names_with_control_characters_are_written_as_a_list_that_can_be_read(tmp_path: Path) -> None:
    names = [{"id": 1, "name": "big\x00cat"}, {"id": 2, "name": "dog"}]
    content = _coco(tmp_path / "in", _FOUR, categories=names)
    for one in content["annotations"]:
        one["segmentation"] = [[2, 2, 20, 2, 20, 20]]
    (tmp_path / "in" / "all.json").write_text(json.dumps(content))
    ew.convert(tmp_path / "in", to="masks", out=tmp_path / "out")
    assert open_dataset(tmp_path / "out", task="segment").labels.names[1:] == ("big_cat", "dog")


def test_a_table_of_classes_without_a_header_is_no_table_of_captions(tmp_path: Path) -> None:
    _images(tmp_path, [f"{i}.png" for i in range(8)])
    (tmp_path / "labels.csv").write_text("".join(f"{i}.png,{'cat' if i % 2 else 'dog'}\n" for i in range(8)))
    data = open_dataset(tmp_path)
    assert data.task == "classify"
    assert data.labels.names == ("cat", "dog")
    assert open_dataset(tmp_path, task="embed").task == "embed"


def test_the_advice_for_a_wrong_line_of_classes_is_no_other_task(tmp_path: Path) -> None:
    _images(tmp_path, [f"{i}.png" for i in range(8)])
    (tmp_path / "labels.csv").write_text("path,label\n" + "".join(f"{i}.png,cat\n" for i in range(8)) + "1.png,[{}]\n")
    with pytest.raises(DatasetError) as refused:
        open_dataset(tmp_path)
    assert "--task" not in str(refused.value)
    assert "labels.csv' line 10" in str(refused.value)


def test_if_no_mask_can_be_used_the_reason_is_said(tmp_path: Path) -> None:
    _images(tmp_path, [f"images/{i}.png" for i in range(3)])
    (tmp_path / "masks").mkdir()
    for i in range(3):
        Image.fromarray(np.eye(20, dtype=np.uint8)).save(tmp_path / "masks" / f"{i}.png")
    (tmp_path / "classes.txt").write_text("background\ncat\n")
    with pytest.raises(DatasetError, match=r"masks cannot be used \(3\), such as 'images/0.png'"):
        ew.convert(tmp_path, to="coco", out=tmp_path.parent / "out")
    with pytest.raises(DatasetError, match=r"first, 'masks/0.png': the mask is 20x20, its image 'images/0.png' 40x40"):
        ew.train(tmp_path, out=tmp_path.parent / "run")


def test_other_numbers_of_labels_and_images_are_said_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(struct.pack(">4I", 2051, 10, 28, 28) + bytes(7840))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, 12) + bytes(12))
    with pytest.raises(DatasetError, match="found 12 labels and images in an array of 10 x 28 x 28"):
        open_dataset(tmp_path)


def test_a_class_id_that_a_yaml_file_names_twice_is_refused(tmp_path: Path) -> None:
    _images(tmp_path, [f"images/{i}.png" for i in range(3)])
    (tmp_path / "labels").mkdir()
    for i in range(3):
        (tmp_path / "labels" / f"{i}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "data.yaml").write_text("train: images\nnames:\n  0: cat\n  0: dog\n")
    with pytest.raises(DatasetError, match="line 4 is not YAML: the key '0' occurs twice"):
        open_dataset(tmp_path, task="detect")


def test_thumbnails_that_a_file_server_keeps_are_no_class(tmp_path: Path) -> None:
    _images(tmp_path, ["cat/0.png", "dog/0.png", "@eaDir/cat/SYNOPHOTO_THUMB_S.png", "cat/@eaDir/0.png"])
    assert open_dataset(tmp_path).labels.names == ("cat", "dog")
    assert len(open_dataset(tmp_path)) == 2


def test_a_pointer_of_git_lfs_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(UnreadableImageError, match="found a Git LFS pointer, whose content git lfs pull fetches"):
        read_image(path)


def test_what_further_annotators_marked_is_in_the_account(tmp_path: Path) -> None:
    _images(tmp_path, [f"{i}.png" for i in range(3)])
    value = {"x": 10, "y": 10, "width": 20, "height": 20, "rectanglelabels": ["cat"]}
    one = {"type": "rectanglelabels", "from_name": "a", "to_name": "image", "value": value}
    tasks = [
        {
            "id": i,
            "data": {"image": f"{i}.png"},
            "annotations": [{"id": k, "result": [one] * (k + 1)} for k in range(i + 1)]
            + [{"id": 9, "was_cancelled": True, "result": [one]}],
        }
        for i in range(3)
    ]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    account = open_dataset(tmp_path, task="detect").account
    assert account.read == 3
    # By hand: the second image has one more annotation of 2 results, the third two more of 2 and 3.
    assert [(r.text, r.n) for r in account.dropped] == [
        ("a further annotation of their task, of which one counts", 2 + 2 + 3)
    ]


@pytest.mark.parametrize(
    ("n", "words"), [(1, "1 file is not an image by its name"), (2, "2 files are not images by their")]
)
def test_counts_have_the_right_form(tmp_path: Path, n: int, words: str) -> None:
    _images(tmp_path, ["cat/0.png", "dog/0.png"])
    for k in range(n):
        (tmp_path / "cat" / f"{k}.bin").write_bytes(b"0")
    assert any(words in f.message for f in _findings(tmp_path, "classify"))
