"""What becomes of annotations as other tools write them: read, repaired, used without a part, or left out and said."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from tests.data.test_more_readers import boxes, picture, put

from eyewright.cli import main
from eyewright.core.errors import DatasetError
from eyewright.data import Dataset, audit_dataset, open_dataset, scan_dataset
from eyewright.data.account import Account, Reason
from eyewright.data.writers.masks import encode_classes


def coco(*annotations: dict[str, object]) -> dict[str, object]:
    return {
        "images": [{"id": 4, "file_name": "one.png", "width": 64, "height": 48}],
        "categories": [{"id": 3, "name": "bolt"}],
        "annotations": [
            {"id": i, "image_id": 4, "category_id": 3, "iscrowd": 0, "area": 40, **a} for i, a in enumerate(annotations)
        ],
    }


def voc(*objects: str, filename: str = "one.png", encoding: str = "utf-8") -> str:
    head = f'<?xml version="1.0" encoding="{encoding}"?>\n<annotation><filename>{filename}</filename>'
    box = "<bndbox><xmin>3</xmin><ymin>4</ymin><xmax>20</xmax><ymax>30</ymax></bndbox>"
    return head + "".join(f"<object><name>{n}</name>{box}</object>\n" for n in objects) + "</annotation>"


def texts(reasons: tuple[Reason, ...]) -> str:
    return "; ".join(map(str, reasons))


def codes(data: Dataset) -> set[str]:
    return {f.code for f in data.problems}


def test_coco_numbers_that_are_text_are_read_as_numbers(tmp_path: Path) -> None:
    content = coco({"bbox": ["5", "6.5", "10", " 8 "]})
    content["annotations"][0] |= {"image_id": "4", "category_id": "3"}  # type: ignore[index]
    put(picture(tmp_path, "one.png"), "marks.json", content)
    assert boxes(tmp_path) == {"one.png": [("bolt", [5, 6.5, 15, 14.5])]}
    account = open_dataset(tmp_path).account
    assert (account.read, account.n_dropped) == (1, 0)


def test_one_bad_part_of_a_polygon_leaves_the_other_masks(tmp_path: Path) -> None:
    triangle, square = [2, 2, 12, 2, 2, 12], [20, 20, 30, 20, 30, 30, 20, 30]
    put(
        picture(tmp_path, "one.png"),
        "marks.json",
        coco(
            {"bbox": [2, 2, 10, 10], "segmentation": [triangle, [7, 7, 8, 8]]},
            {"bbox": [20, 20, 10, 10], "segmentation": [square]},
        ),
    )
    data = open_dataset(tmp_path, task="instance")
    found = data.objects(0, (48, 64))
    assert [len(o.polygons) for o in found.outlines] == [1, 1]
    assert [int(o.mask((48, 64)).sum()) > 40 for o in found.outlines] == [True, True]
    assert (data.account.read, data.account.n_dropped) == (2, 0)
    assert "a polygon of fewer than 3 points (1; marks.json:" in texts(data.account.reduced)
    assert not data.account.complete
    assert "reduced" in codes(data)


def test_yolo_poses_are_told_from_polygons_by_kpt_shape(tmp_path: Path) -> None:
    picture(tmp_path, "images/train/one.png")
    put(tmp_path, "data.yaml", "train: images/train\nval: images/train\nkpt_shape: [3, 2]\nnames: [hand]\n")
    put(tmp_path, "labels/train/one.txt", "0 0.5 0.5 0.25 0.5 0.1 0.1 0.9 0.9 0.4 0.6\n0 0.5 0.5 0.25 0.5 0.1 0.1\n")
    data = open_dataset(tmp_path)
    assert data.task == "detect"
    assert boxes(tmp_path)["images/train/one.png"] == [("hand", [24, 12, 40, 36])]
    assert (data.account.read, data.account.present) == (1, 2)
    assert "key points" in texts(data.account.reduced)
    assert data.account.dropped[0].line == 2
    assert any("5 numbers for a box or 11 with its 3 key points, found 7" in f.message for f in data.problems)


def test_yolo_classes_that_yaml_takes_for_truth_values_keep_a_name(tmp_path: Path) -> None:
    picture(tmp_path, "images/train/one.png")
    put(tmp_path, "data.yaml", "train: images/train\nval: images/train\nnc: 2\nnames: [yes, no]\n")
    put(tmp_path, "labels/train/one.txt", "0 0.5 0.5 0.25 0.5\n1 0.5 0.5 0.5 0.5\n")
    assert [name for name, _ in boxes(tmp_path)["images/train/one.png"]] == ["yes", "no"]


def test_voc_files_are_of_their_own_name_before_a_stale_filename(tmp_path: Path) -> None:
    picture(tmp_path, "JPEGImages/one.png", "JPEGImages/two.png")
    put(tmp_path, "Annotations/one.xml", voc("nut"))
    put(tmp_path, "Annotations/two.xml", voc("bolt", "bolt", filename="one.png"))
    found = boxes(tmp_path)
    assert [n for n, _ in found["JPEGImages/one.png"]] == ["nut"]
    assert [n for n, _ in found["JPEGImages/two.png"]] == ["bolt", "bolt"]
    data = open_dataset(tmp_path)
    assert [f.path for f in data.problems if f.code == "image_name"] == ["Annotations/two.xml"]
    assert data.account == Account(3)


def test_voc_in_the_encoding_that_it_declares(tmp_path: Path) -> None:
    picture(tmp_path, "JPEGImages/one.png")
    path = tmp_path / "Annotations/one.xml"
    path.parent.mkdir()
    path.write_bytes(voc("螺栓", encoding="gb2312").encode("gb2312"))
    data = open_dataset(tmp_path)
    assert data.labels.names == ("螺栓",)
    assert data.account == Account(1)


def test_label_studio_images_are_of_the_field_that_regions_are_for(tmp_path: Path) -> None:
    picture(tmp_path, "left.png", "right.png")
    value = {"x": 25, "y": 25, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": ["bolt"]}
    region = {
        "id": "r", "type": "rectanglelabels", "from_name": "label", "to_name": "second", "original_width": 64,
        "original_height": 48, "value": value,
    }  # fmt: skip
    task = {"id": 1, "data": {"image": "left.png", "second": "right.png"}, "annotations": [{"result": [region]}]}
    put(tmp_path, "export.json", [task])
    assert boxes(tmp_path) == {"right.png": [("bolt", [16, 12, 48, 36])]}


def test_labelme_masks_lie_at_their_first_point(tmp_path: Path) -> None:
    mask = np.zeros((6, 9), np.uint8)
    mask[1:, 2:] = 1
    shape = {
        "label": "leaf", "shape_type": "mask", "points": [[10, 20], [18, 25]], "group_id": None,
        "mask": base64.b64encode(encode_classes(mask)).decode(),
    }  # fmt: skip
    broken = {**shape, "mask": "?"}
    content = {"shapes": [shape, broken], "imagePath": "one.png", "imageHeight": 48, "imageWidth": 64}
    put(picture(tmp_path, "one.png"), "one.json", content)
    data = open_dataset(tmp_path)
    found = data.objects(0, (48, 64))
    expected = np.zeros((48, 64), bool)
    expected[21:26, 12:19] = True
    assert np.array_equal(found.outlines[0].mask((48, 64)), expected)
    assert (data.account.read, data.account.present) == (1, 2)
    assert "not base64" in texts(data.account.dropped)


VIA_REGION = {"shape_attributes": {"name": "rect", "x": 1, "y": 2, "width": 9, "height": 8}, "region_attributes": {}}


def test_via_accounts_for_regions_and_images(tmp_path: Path) -> None:
    picture(tmp_path, "one.png", "two.png")
    point = {"shape_attributes": {"name": "point", "cx": 1, "cy": 2}, "region_attributes": {}}
    rows = [("one.png", [VIA_REGION, point]), ("gone.png", [VIA_REGION, VIA_REGION])]
    put(tmp_path, "via.json", {n: {"filename": n, "size": 1, "regions": r, "file_attributes": {}} for n, r in rows})
    account = open_dataset(tmp_path).account
    assert (account.read, account.present) == (1, 4)
    assert [r.n for r in account.dropped] == [1, 2]
    assert {(r.path, r.n) for r in account.left_out} == {("via.json", 1), ("two.png", 1)}


def test_not_a_number_in_a_box_is_said_with_its_line(tmp_path: Path) -> None:
    content = json.dumps(coco({"bbox": [5, 6, 10, 8]}, {"bbox": [1.25, 6, 10, 8]}), indent=1).replace("1.25", "NaN")
    put(picture(tmp_path, "one.png"), "marks.json", content)
    line = 1 + content[: content.index("NaN")].count("\n")
    data = open_dataset(tmp_path)
    assert (data.account.read, data.account.present) == (1, 2)
    assert any(f.line == line and "NaN" in f.message and f.path == "marks.json" for f in data.problems)


def test_the_audit_has_what_the_account_has(tmp_path: Path) -> None:
    put(picture(tmp_path, "one.png"), "marks.json", coco({"bbox": [5, 6, 10, 8]}, {"bbox": [5, 6]}))
    data = open_dataset(tmp_path)
    assert data.account.n_dropped == 1
    assert any(f.code == "annotation" for f in audit_dataset(data, scan_dataset(data, quiet=True)))


@pytest.mark.parametrize("whole", [True, False])
def test_convert_names_what_was_lost_and_says_so_by_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], whole: bool
) -> None:
    bad = [] if whole else [{"bbox": [5, 6]}]
    put(picture(tmp_path / "in", "one.png"), "marks.json", coco({"bbox": [5, 6, 10, 8]}, *bad))
    code = main(["convert", str(tmp_path / "in"), "--to", "yolo", "--out", str(tmp_path / "out"), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert code == (0 if whole else 1)
    assert told["objects"] == 1
    lost = [text for text in told["lost"] if text.startswith("annotations left out")]
    assert len(lost) == (0 if whole else 1)
    assert whole or "(1; marks.json:" in lost[0]


@pytest.mark.parametrize("given", [{"category_id": "Bolt "}, {"category_name": "bolt"}, {"category": "bolt"}])
def test_a_coco_category_may_be_given_by_its_name(tmp_path: Path, given: dict[str, object]) -> None:
    content = coco(
        {"bbox": [5, 6, 10, 8], **given}, {"bbox": [1, 1, 4, 4]}, {"bbox": [2, 2, 4, 4], "category_id": "nut"}
    )
    if "category_id" not in given:
        del content["annotations"][0]["category_id"]  # type: ignore[attr-defined]
    put(picture(tmp_path, "one.png"), "marks.json", content)
    assert boxes(tmp_path) == {"one.png": [("bolt", [5, 6, 15, 14]), ("bolt", [1, 1, 5, 5])]}
    account = open_dataset(tmp_path).account
    assert (account.read, account.n_dropped) == (2, 1)
    assert "a category that is given by its name (1;" in texts(account.repaired)
    assert "their category is not listed" in texts(account.dropped)


def test_a_coco_category_of_two_names_is_not_guessed(tmp_path: Path) -> None:
    content = coco({"bbox": [5, 6, 10, 8], "category_id": "BOLT"})
    content["categories"] = [{"id": 3, "name": "bolt"}, {"id": 4, "name": "Bolt"}]
    put(picture(tmp_path, "one.png"), "marks.json", content)
    assert open_dataset(tmp_path).account.n_dropped == 1


def test_a_yolo_class_may_be_given_by_its_name(tmp_path: Path) -> None:
    for k in range(2):
        picture(tmp_path, f"images/{k}.png")
    put(tmp_path, "data.yaml", "names: [bolt, traffic light]\ntrain: images\n")
    put(tmp_path, "labels/0.txt", "bolt 0.5 0.5 0.25 0.25\nTraffic light 0.5 0.5 0.5 0.5\n1 0.5 0.5 0.5 0.5\n")
    put(tmp_path, "labels/1.txt", "nut 0.5 0.5 0.25 0.25\nbolt, 0.1,0.1,0.9,0.1,0.9,0.9\n")
    data = open_dataset(tmp_path)
    assert [[data.labels.names[i] for i in s.target.label_ids] for s in data.samples] == [
        ["bolt", "traffic light", "traffic light"],
        ["bolt"],
    ]
    assert (data.account.read, data.account.n_dropped) == (4, 1)
    assert "a class that is given by its name (3;" in texts(data.account.repaired)


@pytest.mark.parametrize(("suffix", "whole"), [("xml", voc("bolt")), ("json", None)])
def test_an_image_whose_annotation_file_is_broken_is_left_out_once(
    tmp_path: Path, suffix: str, whole: str | None
) -> None:
    shape = {"label": "bolt", "points": [[3, 4], [20, 30]], "shape_type": "rectangle"}
    whole = whole or json.dumps({"imagePath": "one.png", "shapes": [shape]})
    put(picture(tmp_path, "one.png"), f"one.{suffix}", whole)
    put(picture(tmp_path, "two.png"), f"two.{suffix}", whole[: len(whole) // 2])
    data = open_dataset(tmp_path)
    assert [(r.text, r.n, r.path) for r in data.account.left_out] == [
        ("a file that cannot be read", 1, f"two.{suffix}")
    ]
    assert [f.path for f in data.problems if f.code != "image_name"] == [f"two.{suffix}"]


def _converted(folder: Path, to: str, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, object]]:
    code = main(["convert", str(folder), "--to", to, "--out", str(folder.parent / f"out-{to}"), "--json", *more])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("stated", [True, False])
def test_run_lengths_of_another_size_leave_their_box_and_the_other_shapes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stated: bool
) -> None:
    lengths = {"size": [40, 64], "counts": [405, 20, 2135]}
    triangle = [[20, 20, 30, 20, 30, 30]]
    content = coco(
        {"bbox": [5, 6, 10, 8], "segmentation": lengths}, {"bbox": [20, 20, 10, 10], "segmentation": triangle}
    )
    if not stated:
        content["images"] = [{"id": 4, "file_name": "one.png"}]
    put(picture(tmp_path / "in", "one.png"), "marks.json", content)
    code, told = _converted(tmp_path / "in", "coco", capsys)
    assert (code, told["objects"]) == (1, 2)
    lost = "run-length encoding of another size than the image's (1; marks.json"
    assert [text for text in told["lost"] if lost in text]  # type: ignore[attr-defined]
    written = json.loads((tmp_path / "out-coco/annotations/instances_all.json").read_text())["annotations"]
    assert [(a["bbox"], bool(a["segmentation"])) for a in written] == [([5, 6, 10, 8], False), ([20, 20, 10, 10], True)]


def test_outlines_of_which_none_can_be_used_are_named_where_boxes_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lengths = {"size": [40, 64], "counts": [405, 20, 2135]}
    put(picture(tmp_path / "in", "one.png"), "marks.json", coco({"bbox": [5, 6, 10, 8], "segmentation": lengths}))
    code, told = _converted(tmp_path / "in", "coco", capsys)
    assert (code, told["task"], told["objects"]) == (1, "detect", 1)
    assert "run-length encoding of another size" in str(told["lost"])
    with pytest.raises(DatasetError, match="found none that can be used: run-length encoding of another size"):
        open_dataset(tmp_path / "in", task="instance")


def test_a_value_of_a_mask_that_no_class_has_is_in_the_account(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "in", "images/a.png")
    (tmp_path / "in/masks").mkdir()
    mask = np.zeros((48, 64), np.uint8)
    mask[5:20, 5:20], mask[30:40, 5:20] = 1, 7
    (tmp_path / "in/masks/a.png").write_bytes(encode_classes(mask))
    put(tmp_path / "in", "classes.txt", "background\nbolt\n")
    code, told = _converted(tmp_path / "in", "masks", capsys)
    assert code == 1
    assert "pixels of a value that no class has (1; masks/a.png)" in str(told["lost"])


def test_convert_leaves_out_images_whose_mask_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    picture(folder, "images/a.png", "images/b.png", "images/c.png")
    mask = np.zeros((48, 64), np.uint8)
    mask[5:20, 5:20] = 1
    (folder / "masks").mkdir()
    for name, data in {"a": encode_classes(mask), "b": encode_classes(mask[:40]), "c": b"no picture"}.items():
        (folder / f"masks/{name}.png").write_bytes(data)
    put(folder, "classes.txt", "background\nbolt\n")
    code, told = _converted(folder, "masks", capsys)
    assert (code, told["images"]) == (1, 1)
    assert any("masks cannot be used (2; images/b.png)" in text for text in told["lost"])  # type: ignore[attr-defined]


def test_boxes_that_no_format_can_hold_are_in_the_account(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, empty = {"bbox": [5, 6, 10, 8]}, {"bbox": [30, 6, 0, 8]}
    put(picture(tmp_path / "in", "one.png"), "marks.json", coco(whole, whole, empty))
    code, told = _converted(tmp_path / "in", "voc", capsys)
    account = Account.from_json(told["account"])  # type: ignore[arg-type]
    assert (code, told["objects"]) == (1, 1)
    assert (account.read, account.n_dropped) == (1, 2)
    assert texts(account.dropped) == "boxes without area or outside their image, or listed twice (2; marks.json)"


@pytest.mark.parametrize("kind", ["cvat", "createml", "via"])
def test_numbers_with_a_decimal_comma_are_read_and_others_named_plainly(tmp_path: Path, kind: str) -> None:
    good, bad = ("1,5", "2", "10", "12"), ("1px", "2", "10", "12")
    names = {"cvat": ("xtl", "ytl", "xbr", "ybr")}.get(kind, ("x", "y", "width", "height"))
    rows = [dict(zip(names, values, strict=True)) for values in (good, bad)]
    if kind == "cvat":
        inner = "".join(f'<box label="bolt" {" ".join(f"{k}={v!r}" for k, v in row.items())}/>' for row in rows)
        text = f'<annotations><image id="0" name="one.png" width="64" height="48">{inner}</image></annotations>'
        put(picture(tmp_path, "one.png"), "a.xml", text.replace("'", '"'))
    elif kind == "createml":
        content = [{"image": "one.png", "annotations": [{"label": "bolt", "coordinates": row} for row in rows]}]
        put(picture(tmp_path, "one.png"), "a.createml.json", content)
    else:
        regions = [{"shape_attributes": {"name": "rect", **row}, "region_attributes": {"name": "bolt"}} for row in rows]
        put(picture(tmp_path, "one.png"), "via.json", {"one.png9": {"filename": "one.png", "regions": regions}})
    corner = {"cvat": (1.5, 2), "createml": (-3.5, -4), "via": (1.5, 2)}[kind]
    assert [box[:2] for _, box in boxes(tmp_path)["one.png"]] == [list(corner)]
    assert [r.text for r in open_dataset(tmp_path).account.dropped] == ["expected a number, found '1px'"]


def test_an_image_of_another_part_is_not_meant_where_one_of_no_part_has_the_name(tmp_path: Path) -> None:
    picture(tmp_path, "images/one.png", "images/val/one.png")
    put(tmp_path, "annotations/instances_train.json", coco({"bbox": [5, 6, 10, 8]}))
    put(tmp_path, "annotations/instances_val.json", coco({"bbox": [7, 6, 10, 8]}))
    assert boxes(tmp_path) == {
        "images/one.png": [("bolt", [5, 6, 15, 14])],
        "images/val/one.png": [("bolt", [7, 6, 17, 14])],
    }


@pytest.mark.parametrize("first", ["img/a.png,,,,,", "img/a.png,1,2,30,40,bolt", "img/a.png,1,x,30,40,bolt"])
def test_a_table_of_boxes_without_a_header_may_have_wrong_lines(tmp_path: Path, first: str) -> None:
    picture(tmp_path, "img/a.png", "img/b.png", "img/c.png")
    rows = [first, "img/b.png,3,4,20,30,bolt", "img/b.png,3,4,x,30,nut", "img/c.png,5,6,20,30,nut"]
    put(tmp_path, "train.csv", "\n".join(rows) + "\n")
    put(tmp_path, "classes.csv", "bolt,0\nnut,1\n")
    data = open_dataset(tmp_path)
    assert data.format == "csv-boxes"
    wrong = sum("x" in row for row in rows)
    given = sum(not row.endswith(",,,,,") for row in rows)
    assert (data.account.read, data.account.n_dropped) == (given - wrong, wrong)
