"""Formats of other tools that are read, and files that look like annotations and cannot be read."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import DatasetError
from eyewright.data import audit_dataset, open_dataset, scan_dataset
from eyewright.imaging import encode_image


def picture(folder: Path, *names: str) -> Path:
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (48, 64, 3)).astype(np.uint8)
        path.write_bytes(encode_image(pixels))
    return folder


def put(folder: Path, name: str, content: object, encoding: str = "utf-8") -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content, indent=1)
    path.write_bytes(text.encode(encoding))


def boxes(folder: Path, task: str | None = None) -> dict[str, list[tuple[str, list[float]]]]:
    data = open_dataset(folder, task=task)
    found = {}
    for i, sample in enumerate(data.samples):
        own = data.objects(i, (48, 64))
        names = [data.labels.names[k] for k in own.label_ids]
        found[sample.id] = list(zip(names, own.boxes_xyxy.round(3).tolist(), strict=True))
    return found


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
<meta><task><labels><label><name>dog</name></label><label><name>cat</name></label></labels></task></meta>
<image id="0" name="a.png" width="64" height="48">
<box label="cat" xtl="10.5" ytl="10" xbr="30" ybr="25"></box>
<polygon label="dog" points="1,1;9,1;9,9"></polygon>
<mask label="dog" rle="1, 2, 3" left="2" top="3" width="3" height="2"></mask>
<ellipse label="cat" cx="20" cy="20" rx="5" ry="3"></ellipse>
<polyline label="cat" points="1,1;2,2"></polyline>
<box label="cat" xtl="a" ytl="10" xbr="30" ybr="25"></box>
</image></annotations>
"""


def test_cvat_xml_by_hand(tmp_path: Path) -> None:
    put(picture(tmp_path, "images/a.png"), "annotations.xml", CVAT)
    data = open_dataset(tmp_path)
    assert (data.format, data.task, data.labels.names) == ("cvat", "instance", ("dog", "cat"))
    found = boxes(tmp_path)["images/a.png"]
    assert found[:3] == [("cat", [10.5, 10, 30, 25]), ("dog", [1, 1, 9, 9]), ("dog", [3, 3, 5, 4])]
    assert found[3][1] == pytest.approx([15, 17, 25, 23], abs=0.05)
    # By hand: one pixel outside, two inside, then three outside, in a rectangle of 3x2 at 2,3.
    mask = data.objects(0, (48, 64)).outlines[2].mask((48, 64))
    assert np.argwhere(mask).tolist() == [[3, 3], [3, 4]]
    left_out = {(f.line, f.severity) for f in data.problems if f.code == "annotation"}
    assert left_out == {(9, "warning"), (10, "error")}


def test_cvat_tracks_are_read_frame_by_frame(tmp_path: Path) -> None:
    picture(tmp_path, *(f"images/frame_{i:06d}.png" for i in range(3)))
    rows = "".join(f'<box frame="{i}" outside="{i // 2}" xtl="1" ytl="2" xbr="9" ybr="8"/>' for i in range(3))
    put(tmp_path, "a.xml", f'<annotations><track id="0" label="car">{rows}</track></annotations>')
    assert boxes(tmp_path) == {f"images/frame_{i:06d}.png": [("car", [1, 2, 9, 8])] for i in range(2)}
    assert "identities" in " ".join(open_dataset(tmp_path).notes)


def via(name: str, *regions: tuple[dict, dict]) -> dict:
    listed = [{"shape_attributes": shape, "region_attributes": attributes} for shape, attributes in regions]
    return {f"{name}123": {"filename": name, "size": 123, "regions": listed, "file_attributes": {}}}


RECT = {"name": "rect", "x": 10, "y": 5, "width": 20, "height": 15}
POLYGON = {"name": "polygon", "all_points_x": [1, 9, 9], "all_points_y": [1, 1, 7]}


def test_via_as_annotations_project_and_csv(tmp_path: Path) -> None:
    content = via("a.png", (RECT, {"type": "cat"}), (POLYGON, {"type": {"dog": True, "cat": False}}))
    content |= via("b.png", ({"name": "point", "cx": 1, "cy": 1}, {"type": "cat"}))
    want = {"a.png": [("cat", [10, 5, 30, 20]), ("dog", [1, 1, 9, 7])], "b.png": []}
    for folder, written in (("annotations", content), ("project", {"_via_settings": {}, "_via_img_metadata": content})):
        put(picture(tmp_path / folder, "a.png", "b.png"), "via.json", written)
        assert boxes(tmp_path / folder) == want
        assert [f.message for f in open_dataset(tmp_path / folder).problems if "point" in f.message]
    head = "#filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
    row = 'a.png,1,"{}",1,0,"{""name"":""rect"",""x"":10,""y"":5,""width"":20,""height"":15}","{""type"":""cat""}"\n'
    put(picture(tmp_path / "csv", "a.png", "b.png"), "via.csv", head + row + 'b.png,1,"{}",0,0,"{}","{}"\n')
    assert boxes(tmp_path / "csv") == {"a.png": [("cat", [10, 5, 30, 20])], "b.png": []}


def test_via_without_attributes_has_one_class(tmp_path: Path) -> None:
    content = {"a.png1": {"filename": "a.png", "regions": {"0": {"shape_attributes": RECT, "region_attributes": {}}}}}
    put(picture(tmp_path, "a.png"), "via_region_data.json", content)
    data = open_dataset(tmp_path)
    assert data.labels.names == ("object",)
    assert any("one class" in note for note in data.notes)


@pytest.mark.parametrize(("scale", "key"), [((1, 1), "image"), ((64, 48), "imagefilename")])
def test_createml_boxes_are_given_by_their_centres(tmp_path: Path, scale: tuple[int, int], key: str) -> None:
    w, h = scale
    place = {"x": 20 / w, "y": 12 / h, "width": 8 / w, "height": 6 / h}
    rows = [{key: "a.png", "annotations": [{"label": "cat", "coordinates": place}, {"coordinates": place}]}]
    put(picture(tmp_path, "a.png"), "_annotations.createml.json", rows)
    assert boxes(tmp_path) == {"a.png": [("cat", [16, 9, 24, 15])]}
    assert [f.line for f in open_dataset(tmp_path).problems] == [2]


OPEN_IMAGES = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf\n"
TABLES = {
    "tensorflow": ("filename,width,height,class,xmin,ymin,xmax,ymax\na.png,64,48,cat,8,12,32,24\n", "utf-8"),
    "quoted, with a mark": ('"filename","class","xmin","ymin","xmax","ymax"\n"a.png",cat,8,12,32,24\n', "utf-8-sig"),
    "excel": ("filename\tclass\txmin\tymin\txmax\tymax\na.png\tcat\t8\t12\t32\t24\n", "utf-16"),
    "decimal commas": ("filename;class;xmin;ymin;xmax;ymax\na.png;cat;8,0;12;32;24\n", "utf-8"),
    "retinanet": ("a.png,8,12,32,24,cat\n", "utf-8"),
    "open images": (OPEN_IMAGES + "a,x,/m/01,1,0.125,0.5,0.25,0.5,0,0,0\n", "utf-8"),
    "sides": ("image,label,x,y,w,h\na.png,cat,8,12,24,12\n", "utf-8"),
    "one column": ('image_id,class,bbox\na,cat,"[8, 12, 24, 12]"\n', "utf-8"),
    "automl": ("UNASSIGNED,gs://bucket/a.png,cat,0.125,0.25,,,0.5,0.5,,\n", "utf-8"),
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_of_boxes(tmp_path: Path, kind: str) -> None:
    text, encoding = TABLES[kind]
    put(picture(tmp_path, "images/a.png"), "boxes.csv", text, encoding)
    put(tmp_path, "class-descriptions-boxable.csv", "/m/01,cat\n")
    assert open_dataset(tmp_path).format == "csv-boxes"
    assert boxes(tmp_path) == {"images/a.png": [("cat", [8, 12, 32, 24])]}
    assert len(open_dataset(tmp_path / "boxes.csv")) == 1


def test_a_table_says_which_lines_it_leaves_out(tmp_path: Path) -> None:
    rows = "a.png,1,2,30,40,cat\na.png,1,x,30,40,cat\na.png,1,2,30,40,\nb.png,,,,,\ngone.png,1,2,3,4,cat\n"
    put(picture(tmp_path, "a.png", "b.png"), "b.csv", "filename,xmin,ymin,xmax,ymax,class\n" + rows)
    assert boxes(tmp_path) == {"a.png": [("cat", [1, 2, 30, 40])], "b.png": []}
    found = open_dataset(tmp_path).problems
    assert [(f.code, f.line) for f in found] == [("annotation", 3), ("annotation", 4), ("missing_image", 6)]


COCO = {
    "images": [{"id": 1, "file_name": "a.png"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
    "categories": [{"id": 1, "name": "cat"}],
}
SHAPE = {"label": "a", "points": [[1, 1], [9, 9]], "shape_type": "rectangle"}
UNREAD: dict[str, tuple[str, object, str]] = {
    "no categories": ("x.json", {k: v for k, v in COCO.items() if k != "categories"}, "COCO.*'categories' is missing"),
    "a key in capitals": ("x.json", {**{k.title(): v for k, v in COCO.items()}, "images": []}, "COCO|keys"),
    "cut off": ("x.json", json.dumps(COCO)[:-30], "line 1 looks like COCO.*ends too early"),
    "printed by Python": ("x.json", str(COCO), "single quotes"),
    "results": ("x.json", [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}], "results"),
    "empty": ("annotations.json", "", "is empty"),
    "a pointer": ("annotations.json", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "a web page": ("annotations.json", "<!DOCTYPE html>", "not JSON"),
    "json-min": ("x.json", [{"image": "a.png", "label": [{"rectanglelabels": ["a"], "x": 1}]}], "JSON-MIN"),
    "via 3": (
        "v.json", {k: {} for k in ("project", "config", "attribute", "file", "view", "metadata")}, "VIA 3",
    ),
    "supervisely": ("a.png.json", {"objects": [{"classTitle": "a", "points": {}}]}, "Supervisely"),
    "boxes of one's own": ("x.json", {"a.png": [{"xmin": 1, "ymin": 2}]}, "JSON with boxes"),
    "cvat, cut off": ("x.xml", CVAT[:400], "x.xml.*line"),
    "an empty xml": ("Annotations/a.xml", "", "is empty"),
    "another root": ("x.xml", "<data><object><name>a</name></object></data>", "found 'data'"),
    "boxes without a file": ("x.csv", "class,xmin,ymin,xmax,ymax\ncat,1,2,3,4\n", "CSV of boxes.*found class"),
    "boxes without ymax": ("x.csv", "filename,class,xmin,ymin,xmax\na.png,cat,1,2,3\n", "CSV of boxes.*found filename"),
    "kitti": ("label_2/a.txt", "Car 0 0 1 3 1 4 2 1 1 3 -1 2 5 1\n", "KITTI"),
    "yolo elsewhere": ("labels_yolo/a.txt", "0 0.5 0.5 0.1 0.1\n", "looks like YOLO"),
    "words in a text": ("labels.txt", "a.png cat\n", "names images"),
    "a spreadsheet": ("labels.xlsx", "PK", "CSV of path,label"),
    "packed": ("annotations.json.gz", "x", "unpack it"),
    "a column a class": ("x.csv", "image,MEL,NV\na.png,0,1\n", "found image, MEL, NV"),
}  # fmt: skip


@pytest.mark.parametrize("fault", UNREAD)
def test_annotations_that_cannot_be_read_are_named_and_no_folder_becomes_a_class(tmp_path: Path, fault: str) -> None:
    name, content, said = UNREAD[fault]
    put(picture(tmp_path, "images/a.png"), name, content)
    with pytest.raises(DatasetError, match=said) as caught:
        open_dataset(tmp_path)
    assert Path(name).name in caught.value.message
    assert caught.value.fix
    assert open_dataset(tmp_path, task="classify").task == "classify"


def test_a_labelme_file_without_image_path_is_of_the_image_of_its_name(tmp_path: Path) -> None:
    put(picture(tmp_path, "images/a.png"), "images/a.json", {"shapes": [SHAPE], "imageHeight": 48})
    assert [name for name, _ in boxes(tmp_path, "detect")["images/a.png"]] == [SHAPE["label"]]


def test_a_file_that_cannot_be_read_beside_others_is_a_finding(tmp_path: Path) -> None:
    picture(tmp_path, "train/a.png", "val/a.png")
    put(tmp_path, "instances_train.json", COCO)
    put(tmp_path, "instances_val.json", json.dumps(COCO)[:-30])
    data = open_dataset(tmp_path)
    assert len(data) == 1
    assert [f.path for f in data.problems if f.code == "annotation"] == ["instances_val.json"]


def test_what_is_no_annotation_leaves_folders_classes(tmp_path: Path) -> None:
    picture(tmp_path, "a/1.png", "a/2.png", "b/1.png")
    put(tmp_path, "class_indices.json", {"0": "a", "1": "b"})
    put(tmp_path, "dataset-metadata.json", {"title": "x", "licenses": []})
    put(tmp_path, "results.csv", "epoch,loss\n1,2\n")
    put(tmp_path, "pom.xml", "<project/>")
    put(tmp_path, "README.txt", "two folders")
    assert open_dataset(tmp_path).labels.names == ("a", "b")


def test_the_first_xml_file_may_be_empty(tmp_path: Path) -> None:
    picture(tmp_path, "JPEGImages/a.png", "JPEGImages/b.png")
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox>"
    put(tmp_path, "Annotations/a.xml", "")
    put(tmp_path, "Annotations/b.xml", f"<annotation><object><name>cat</name>{box}</object></annotation>")
    data = open_dataset(tmp_path)
    assert (data.format, len(data)) == ("voc", 1)
    assert any(f.path == "Annotations/a.xml" for f in data.problems)


@pytest.mark.parametrize(("column", "called"), [("id", "{}"), ("filename", "{}.png"), ("filename", "photos/{}.png")])
def test_a_table_of_labels_finds_images_in_folders_by_name(tmp_path: Path, column: str, called: str) -> None:
    picture(tmp_path, *(f"train/{i}.png" for i in range(4)))
    rows = "".join(f"{called.format(i)},{'ab'[i % 2]}\n" for i in range(4))
    put(tmp_path, "labels.csv", f"{column},label\n{rows}")
    data = open_dataset(tmp_path)
    assert (data.format, [data.labels.names[s.target] for s in data.samples]) == ("csv", ["a", "b", "a", "b"])


def test_a_listed_image_that_is_missing_is_not_replaced_by_one_of_its_name(tmp_path: Path) -> None:
    picture(tmp_path, "x/1.png", "x/2.png", "y/2.png")
    put(tmp_path, "labels.csv", "path,label\nx/1.png,a\ny/1.png,b\ny/2.png,b\n")
    assert [s.id for s in open_dataset(tmp_path).samples] == ["x/1.png", "y/2.png"]


def test_a_table_in_another_encoding_is_named(tmp_path: Path) -> None:
    put(picture(tmp_path, "a.png", "b.png"), "labels.csv", "filename,label\na.png,café\nb.png,thé\n", "latin-1")
    with pytest.raises(DatasetError, match=r"'labels.csv'.*line 2 is not UTF-8"):
        open_dataset(tmp_path)


def test_one_name_in_two_unicode_forms_is_one_class(tmp_path: Path) -> None:
    picture(tmp_path, "train/caf\u00e9/1.png", "val/cafe\u0301/2.png", "train/x/3.png", "val/x/4.png")
    assert open_dataset(tmp_path).labels.names == ("caf\u00e9", "x")


def test_images_outside_every_class_are_called_images(tmp_path: Path) -> None:
    data = open_dataset(picture(tmp_path, "a/1.png", "b/2.png", "3.png"))
    found = [f for f in audit_dataset(data, scan_dataset(data, quiet=True)) if f.code == "skipped"]
    assert [f.path for f in found] == ["3.png"]
    assert "1 images have no label" in found[0].message


def test_a_zip_may_have_backslashes(tmp_path: Path) -> None:
    picture(tmp_path / "in", "a/1.png", "b/2.png")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        for name in ("a/1.png", "b/2.png"):
            info = zipfile.ZipInfo("x")
            info.filename = "set\\" + name.replace("/", "\\")
            file.writestr(info, (tmp_path / "in" / name).read_bytes())
    assert open_dataset(tmp_path / "set.zip").labels.names == ("a", "b")
