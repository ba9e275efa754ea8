"""Whatever a file holds, what a reader read and what it left out make up all of it."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.test_more_readers import picture, put

from eyewright.core.errors import DatasetError
from eyewright.data import open_dataset

ODD = ("", "x", "nan", "-3", "1e400", "7", "0.5")
Box = tuple[str, str, str, str]
boxes = st.lists(st.tuples(*[st.sampled_from(ODD)] * 4), min_size=1, max_size=5)


def as_yolo(root: Path, rows: list[Box]) -> int:
    put(picture(root, "images/train/a.png"), "data.yaml", "train: images/train\nval: images/train\nnames: [cat]\n")
    put(root, "labels/train/a.txt", "0 0.5 0.5 0.2 0.2\n" + "".join(f"0 {' '.join(r)}\n" for r in rows))
    return 1 + len(rows)


def as_coco(root: Path, rows: list[Box]) -> int:
    all_rows = [("1", "1", "5", "5"), *rows]
    put(
        picture(root, "a.png"),
        "marks.json",
        {
            "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
            "categories": [{"id": 1, "name": "cat"}],
            "annotations": [
                {"id": i, "image_id": 1, "category_id": 1, "bbox": list(r)} for i, r in enumerate(all_rows)
            ],
        },
    )
    return len(all_rows)


def as_voc(root: Path, rows: list[Box]) -> int:
    picture(root, "JPEGImages/a.png")
    names = ("xmin", "ymin", "xmax", "ymax")
    objects = [
        "<object><name>cat</name><bndbox>"
        + "".join(f"<{n}>{v}</{n}>" for n, v in zip(names, r, strict=True))
        + "</bndbox></object>"
        for r in [("1", "1", "5", "5"), *rows]
    ]
    put(root, "Annotations/a.xml", f"<annotation><filename>a.png</filename>{''.join(objects)}</annotation>")
    return len(objects)


def as_table(root: Path, rows: list[Box]) -> int:
    lines = [f"a.png,{','.join(r)},cat" for r in [("1", "1", "5", "5"), *rows]]
    put(picture(root, "a.png"), "boxes.csv", "filename,xmin,ymin,xmax,ymax,class\n" + "\n".join(lines) + "\n")
    return len(lines)


def as_labelme(root: Path, rows: list[Box]) -> int:
    shapes = [
        {"label": "cat", "points": [[r[0], r[1]], [r[2], r[3]]], "shape_type": "rectangle"}
        for r in [("1", "1", "5", "5"), *rows]
    ]
    content = {"shapes": shapes, "imagePath": "a.png", "imageHeight": 48, "imageWidth": 64}
    put(picture(root, "a.png"), "a.json", content)
    return len(shapes)


def as_createml(root: Path, rows: list[Box]) -> int:
    marks = [
        {"label": "cat", "coordinates": dict(zip(("x", "y", "width", "height"), r, strict=True))}
        for r in [("9", "9", "5", "5"), *rows]
    ]
    put(picture(root, "a.png"), "marks.json", [{"image": "a.png", "annotations": marks}])
    return len(marks)


def as_via(root: Path, rows: list[Box]) -> int:
    regions = [
        {
            "shape_attributes": {"name": "rect", **dict(zip(("x", "y", "width", "height"), r, strict=True))},
            "region_attributes": {"class": "cat"},
        }
        for r in [("1", "1", "5", "5"), *rows]
    ]
    put(picture(root, "a.png"), "via.json", {"a.png9": {"filename": "a.png", "size": 9, "regions": regions}})
    return len(regions)


def as_cvat(root: Path, rows: list[Box]) -> int:
    names = ("xtl", "ytl", "xbr", "ybr")
    marks = [
        '<box label="cat" ' + " ".join(f'{n}="{v}"' for n, v in zip(names, r, strict=True)) + "/>"
        for r in [("1", "1", "5", "5"), *rows]
    ]
    image = f'<image id="0" name="a.png" width="64" height="48">{"".join(marks)}</image>'
    put(picture(root, "a.png"), "annotations.xml", f"<annotations><version>1.1</version>{image}</annotations>")
    return len(marks)


def as_label_studio(root: Path, rows: list[Box]) -> int:
    results = [
        {
            "type": "rectanglelabels",
            "original_width": 64,
            "original_height": 48,
            "from_name": "label",
            "to_name": "image",
            "value": {**dict(zip(("x", "y", "width", "height"), r, strict=True)), "rectanglelabels": ["cat"]},
        }
        for r in [("1", "1", "5", "5"), *rows]
    ]
    put(
        picture(root, "a.png"),
        "export.json",
        [{"id": 1, "data": {"image": "a.png"}, "annotations": [{"result": results}]}],
    )
    return len(results)


READERS = (as_yolo, as_coco, as_voc, as_table, as_labelme, as_createml, as_via, as_cvat, as_label_studio)


@pytest.mark.parametrize("make", READERS)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(rows=boxes)
def test_read_and_dropped_make_up_all_objects(make: Callable[[Path, list[Box]], int], rows: list[Box]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        present = make(Path(folder), rows)
        data = open_dataset(folder)
        assert data.account.present == present
        assert sum(len(s.target) for s in data.samples) == data.account.read
        assert all(r.path and r.n > 0 for r in data.account.dropped)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(names=st.lists(st.sampled_from(("a.png", "b.png", "gone.png", "lost.png")), unique=True, min_size=1))
def test_every_image_and_row_of_a_table_is_read_or_left_out(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        picture(Path(folder), "a.png", "b.png", "c.png")
        put(Path(folder), "labels.csv", "path,label\n" + "".join(f"{n},{i % 2}\n" for i, n in enumerate(names)))
        try:
            account = open_dataset(folder).account
        except DatasetError:
            assert not {"a.png", "b.png"} & set(names)
            return
        assert account.present == len(names)
        assert account.read + sum(r.n for r in account.left_out) == 3


def test_images_outside_class_folders_are_in_the_account(tmp_path: Path) -> None:
    picture(tmp_path, "a/1.png", "b/1.png", "loose.png", "other.png")
    account = open_dataset(tmp_path).account
    assert (account.read, [(r.n, r.path) for r in account.left_out]) == (2, [(2, "loose.png")])


def test_tables_in_utf_16_without_a_mark_are_read(tmp_path: Path) -> None:
    picture(tmp_path, "a.png", "b.png")
    (tmp_path / "labels.csv").write_bytes("path,label\na.png,été\nb.png,x\n".encode("utf-16-le"))
    assert open_dataset(tmp_path).labels.names == ("x", "été")


def test_lines_in_pixels_are_one_finding_a_folder(tmp_path: Path) -> None:
    put(tmp_path, "data.yaml", "train: images/train\nval: images/val\nnames: [cat]\n")
    for name in ("train/a", "train/b", "val/c"):
        picture(tmp_path, f"images/{name}.png")
        put(tmp_path, f"labels/{name}.txt", "0 20 20 9 9\n0 30 30 9 9\n")
    data = open_dataset(tmp_path)
    assert [f.path for f in data.problems if f.code == "box_outside"] == ["labels/train/a.txt", "labels/val/c.txt"]
    assert data.account.n_dropped == 6
    json.dumps(data.account.to_json())


@pytest.mark.parametrize(("content", "why"), [('{"info": {}, "licenses": [], "images": []}', "missing"), ("", "empty")])
def test_annotations_without_content_never_make_a_class_of_the_image_folder(
    tmp_path: Path, content: str, why: str
) -> None:
    put(picture(tmp_path, "images/a.png", "images/b.png"), "export.json", content)
    with pytest.raises(DatasetError, match=f"'export.json'.*{why}"):
        open_dataset(tmp_path)


def test_labels_that_are_json_are_no_classes(tmp_path: Path) -> None:
    line = '"[{""x"": 1, ""rectanglelabels"": [""cat""]}]"'
    put(picture(tmp_path, "images/a.png"), "export.csv", f"image,id,label\nimages/a.png,1,{line}\n")
    with pytest.raises(DatasetError, match="line 2, found JSON"):
        open_dataset(tmp_path)


def test_columns_may_have_blanks_in_their_names(tmp_path: Path) -> None:
    picture(tmp_path, "images/a.png", "images/b.png")
    put(tmp_path, "labels.csv", "Image Path,Class Name\nC:\\d\\images\\a.png,x\nimages/b.png,y\n")
    assert open_dataset(tmp_path).labels.names == ("x", "y")
