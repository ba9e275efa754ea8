"""Every format of boxes and masks, as its own tools write it; and every fault of them, planted one by one."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.errors import DatasetError, EyewrightError
from eyewright.data import audit_dataset, open_dataset, scan_dataset
from eyewright.data.readers.label_studio import decode_brush
from eyewright.imaging import encode_image
from eyewright.imaging.rasters import encode_counts, pack_counts

GREY = encode_image(np.full((60, 80, 3), 90, np.uint8))


def put(folder: Path, name: str, content: bytes | str | dict | list = GREY) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict | list):
        content = json.dumps(content, indent=1)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def png(height: int = 60, width: int = 80, seed: int = 0) -> bytes:
    return encode_image(np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8))


def coco(images: list, annotations: list, names: dict[int, str] | None = None) -> dict:
    names = names or {3: "cat", 90: "dog", 7: "owl"}
    return {
        "images": [{"id": i, "file_name": n, "width": 80, "height": 60} for i, n in images],
        "annotations": [{"id": k + 1, "iscrowd": 0, **a} for k, a in enumerate(annotations)],
        "categories": [{"id": k, "name": v} for k, v in names.items()],
    }


def box(image: int, category: int, *bbox: float, **more: object) -> dict:
    return {"image_id": image, "category_id": category, "bbox": list(bbox), **more}


def objects(folder: Path, index: int = 0, task: str | None = None) -> list[tuple[str, list[float]]]:
    data = open_dataset(folder, task=task)
    found = data.objects(index, (60, 80))
    return [
        (data.labels.names[k], [round(float(v), 3) for v in b])
        for k, b in zip(found.label_ids, found.boxes_xyxy, strict=True)
    ]


def test_coco_ids_may_be_any_and_classes_are_joined_by_name(tmp_path: Path) -> None:
    put(tmp_path, "train/a.png")
    put(tmp_path, "val/b.png", png(seed=1))
    put(tmp_path, "instances_train.json", coco([(77, "a.png")], [box(77, 90, 1, 2, 30, 40), box(77, 3, 5, 5, 10, 10)]))
    put(tmp_path, "instances_val.json", coco([(1, "b.png")], [box(1, 0, 0, 0, 8, 8)], {0: "dog", 1: "cat", 2: "owl"}))
    data = open_dataset(tmp_path)
    assert (data.format, data.task, data.labels.names) == ("coco", "detect", ("cat", "dog"))
    assert [s.split for s in data.samples] == ["train", "val"]
    assert objects(tmp_path) == [("dog", [1, 2, 31, 42]), ("cat", [5, 5, 15, 15])]
    assert objects(tmp_path, 1) == [("dog", [0, 0, 8, 8])]


def test_the_task_that_is_asked_for_decides_what_is_read(tmp_path: Path) -> None:
    sound_coco(tmp_path)
    put(tmp_path, "labels.csv", "path,label\ntrain/train0.png,day\ntrain/train1.png,night\n")
    assert open_dataset(tmp_path, task="detect").format == "coco"
    assert open_dataset(tmp_path, task="classify").labels.names == ("day", "night")
    with pytest.raises(DatasetError, match="boxes only"):
        open_dataset(tmp_path, task="instance")
    put(tmp_path / "plain", "a/1.png")
    with pytest.raises(DatasetError, match="expected annotations for 'detect'"):
        open_dataset(tmp_path / "plain", task="detect")


@pytest.mark.parametrize("how", ["polygon", "counts", "packed"])
def test_coco_outlines_in_every_form_are_the_same_mask(tmp_path: Path, how: str) -> None:
    mask = np.zeros((60, 80), bool)
    mask[10:30, 20:50] = True
    forms = {
        "polygon": [[20, 10, 50, 10, 50, 30, 20, 30]],
        "counts": {"size": [60, 80], "counts": encode_counts(mask)},
        "packed": {"size": [60, 80], "counts": pack_counts(encode_counts(mask))},
    }
    put(tmp_path, "images/a.png")
    put(tmp_path, "x.json", coco([(1, "a.png")], [box(1, 3, 20, 10, 30, 20, segmentation=forms[how], area=600)]))
    data = open_dataset(tmp_path, task="instance")
    found = data.objects(0, (60, 80))
    assert np.array_equal(found.outlines[0].mask((60, 80)), mask)
    assert found.outlines[0].box().tolist() == [20, 10, 50, 30]
    painted = open_dataset(tmp_path, task="segment")
    assert painted.labels.names == ("background", "cat")
    assert np.array_equal(painted.mask(0, (60, 80)), mask.astype(np.uint8))


def test_a_line_of_json_is_named_where_it_stands(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    path = put(tmp_path, "x.json", coco([(1, "a.png")], [box(1, 3, 0, 0, 5, 5), box(1, 41, 0, 0, 5, 5)]))
    (problem,) = [p for p in open_dataset(tmp_path).problems if p.code == "class_id"]
    line = path.read_text().splitlines()[problem.line - 1 :]
    assert '"id": 2' in "".join(line[:3])


@pytest.mark.parametrize("layout", ["ultralytics", "roboflow", "flat"])
def test_yolo_as_its_tools_lay_it_out(tmp_path: Path, layout: str) -> None:
    places = {
        "ultralytics": ("images/train/a.png", "labels/train/a.txt", "path: .\ntrain: images/train\nval: images/val\n"),
        "roboflow": ("train/images/a.png", "train/labels/a.txt", "train: ../train/images\nval: ../valid/images\n"),
        "flat": ("images/a.png", "labels/a.txt", ""),
    }
    image, label, config = places[layout]
    put(tmp_path, image)
    put(tmp_path, image.replace("a.png", "empty.png"), png(seed=2))
    put(tmp_path, label.replace("a.txt", "empty.txt"), "")
    put(tmp_path, label, "1 0.5 0.5 0.25 0.5\n0 0.125 0.1 0.25 0.2\n")
    if config:
        put(tmp_path, "data.yaml", config + "nc: 2\nnames: [cat, dog]\n")
    else:
        put(tmp_path, "classes.txt", "cat\ndog\n")
    data = open_dataset(tmp_path)
    assert (data.format, data.task) == ("yolo", "detect")
    at = next(i for i, s in enumerate(data.samples) if s.id == image)
    assert objects(tmp_path, at) == [("dog", [30, 15, 50, 45]), ("cat", [0, 0, 20, 12])]
    assert len(data.samples[1 - at].target) == 0
    assert data.samples[at].split == (None if layout == "flat" else "train")


def test_yolo_polygons_are_outlines_and_names_may_be_a_mapping(tmp_path: Path) -> None:
    put(tmp_path, "images/a.png")
    put(tmp_path, "labels/a.txt", "7 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75\n")
    put(tmp_path, "data.yaml", "train: images\nnames:\n  0: cat\n  7: dog\n")
    data = open_dataset(tmp_path)
    assert (data.task, data.labels.names) == ("instance", ("dog",))
    assert data.objects(0, (60, 80)).outlines[0].mask((60, 80)).sum() == 30 * 40


VOC = """<annotation>
  <filename>a.png</filename>
  <size><width>80</width><height>60</height><depth>3</depth></size>
  <object><name>cat</name><difficult>0</difficult>
    <bndbox><xmin>1</xmin><ymin>2</ymin><xmax>31</xmax><ymax>42</ymax></bndbox></object>
  <object><name>dog</name><difficult>1</difficult>
    <bndbox><xmin>5</xmin><ymin>5</ymin><xmax>15</xmax><ymax>15</ymax></bndbox></object>
</annotation>"""


def test_voc_with_its_lists_and_difficult_objects(tmp_path: Path) -> None:
    put(tmp_path, "JPEGImages/a.png")
    put(tmp_path, "Annotations/a.xml", VOC)
    put(tmp_path, "ImageSets/Main/trainval.txt", "a\n")
    put(tmp_path, "ImageSets/Main/val.txt", "a\n")
    data = open_dataset(tmp_path)
    assert (data.format, data.samples[0].split, data.samples[0].stated_hw) == ("voc", "val", (60, 80))
    assert objects(tmp_path) == [("cat", [1, 2, 31, 42]), ("dog", [5, 5, 15, 15])]
    assert data.samples[0].target.crowd.tolist() == [False, True]
    assert data.samples[0].target.place(1)[1] == 6


def test_voc_entities_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    put(tmp_path, "b.png", png(seed=3))
    bomb = '<!DOCTYPE annotation [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>' + VOC.replace("cat", "&b;")
    put(tmp_path, "a.xml", bomb)
    put(tmp_path, "b.xml", VOC.replace("a.png", "b.png"))
    data = open_dataset(tmp_path)
    assert len(data) == 1
    assert any("entities" in p.message for p in data.problems)


def test_labelme_shapes(tmp_path: Path) -> None:
    shapes = [
        {"label": "cat", "points": [[1, 2], [31, 42]], "shape_type": "rectangle"},
        {"label": "dog", "points": [[10, 10], [20, 10], [20, 20]], "shape_type": "polygon", "group_id": 1},
        {"label": "dog", "points": [[40, 10], [50, 10], [50, 20]], "shape_type": "polygon", "group_id": 1},
        {"label": "owl", "points": [[60, 30], [65, 30]], "shape_type": "circle"},
        {"label": "way", "points": [[1, 1], [2, 2]], "shape_type": "line"},
    ]
    content = {"version": "5", "shapes": shapes, "imagePath": "a.png", "imageData": None}
    put(tmp_path, "a.png")
    put(tmp_path, "a.json", {**content, "imageHeight": 60, "imageWidth": 80})
    data = open_dataset(tmp_path)
    assert (data.format, data.task) == ("labelme", "instance")
    found = dict(objects(tmp_path))
    assert found == {"cat": [1, 2, 31, 42], "dog": [10, 10, 50, 20], "owl": [55, 25, 65, 35]}
    (problem,) = data.problems
    assert problem.code == "annotation"
    assert problem.line is not None


def brush(mask: np.ndarray) -> list[int]:
    """Label Studio's own packing, without a repeated run: the plainest form that its decoder reads."""
    rgba = np.repeat((mask * 255).astype(np.uint8).ravel(), 4)
    bits = [f"{len(rgba):032b}", f"{7:05b}", *[f"{15:04b}"] * 4]
    for start in range(0, len(rgba), 65536):
        part = rgba[start : start + 65536]
        bits += ["0", "00", f"{len(part) - 1:016b}", *(f"{v:08b}" for v in part)]
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]


def test_label_studio_export(tmp_path: Path) -> None:
    mask = np.zeros((60, 80), bool)
    mask[10:20, 30:50] = True
    assert np.array_equal(decode_brush(brush(mask), (60, 80)), mask)

    def region(kind: str, **value: object) -> dict:
        return {"type": kind, "original_width": 80, "original_height": 60, "value": value}

    result = [
        region("rectanglelabels", x=25, y=50, width=50, height=25, rotation=0, rectanglelabels=["cat"]),
        region("polygonlabels", points=[[0, 0], [50, 0], [50, 50]], polygonlabels=["dog"]),
        region("brushlabels", rle=brush(mask), format="rle", brushlabels=["owl"]),
    ]
    tasks = [
        {"id": 1, "data": {"image": "/data/upload/1/ab12cd34-a.png"}, "annotations": [{"result": result}]},
        {"id": 2, "data": {"image": "/data/upload/1/gone.png"}, "annotations": [{"result": []}]},
    ]
    put(tmp_path, "images/a.png")
    put(tmp_path, "export.json", tasks)
    data = open_dataset(tmp_path, task="instance")
    found = dict(objects(tmp_path, task="instance"))
    assert found == {"cat": [20, 30, 60, 45], "dog": [0, 0, 40, 30], "owl": [30, 10, 50, 20]}
    outlines = data.objects(0, (60, 80)).outlines
    assert np.array_equal(outlines[2].mask((60, 80)), mask)
    assert [p.code for p in data.problems] == ["missing_image"]


def grey_png(values: np.ndarray) -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(values.astype(np.uint8), "L").save(buffer, "PNG")
    return buffer.getvalue()


def test_masks_with_gaps_in_their_numbers_and_an_ignored_rim(tmp_path: Path) -> None:
    values = np.zeros((60, 80))
    values[:10], values[20:30], values[-1] = 3, 7, 255
    put(tmp_path, "train/images/a.png")
    put(tmp_path, "train/masks/a_mask.png", grey_png(values))
    put(tmp_path, "classes.txt", "0 background\n3 crack\n7 dent\n")
    data = open_dataset(tmp_path)
    assert (data.format, data.task, data.labels.names) == ("masks", "segment", ("background", "crack", "dent"))
    mask = data.mask(0, (60, 80))
    assert sorted(np.unique(mask).tolist()) == [0, 1, 2, 255]
    assert (mask[:10] == 1).all()
    assert data.foreground == (1, 2)


def test_a_table_of_groups_keeps_pictures_of_one_part_together(tmp_path: Path) -> None:
    from eyewright.data import split_dataset

    rows = ["stem,tile_group"]
    for i in range(24):
        values = np.zeros((60, 80))
        values[i : i + 9] = 1
        put(tmp_path, f"images/{i}.png", png(seed=i))
        put(tmp_path, f"masks/{i}.png", grey_png(values))
        rows.append(f"{i},tile-{i // 4}")
    put(tmp_path, "labels.csv", "\n".join(rows))
    data = open_dataset(tmp_path)
    assert data.samples[0].group is not None
    split = split_dataset(data)
    sides = {(s.group, s.split) for s in split.samples}
    assert len({g for g, _ in sides}) == len(sides) == 6


def test_masks_of_black_and_white_have_one_class(tmp_path: Path) -> None:
    values = np.zeros((60, 80))
    values[5:9] = 255
    put(tmp_path, "images/a.jpg", encode_image(np.full((60, 80, 3), 9, np.uint8), format="JPEG"))
    put(tmp_path, "masks/a.png", grey_png(values))
    data = open_dataset(tmp_path)
    assert data.labels.names == ("background", "foreground")
    assert data.mask(0, (60, 80)).sum() == 4 * 80


def test_cityscapes_by_its_names(tmp_path: Path) -> None:
    values = np.full((60, 80), 7)
    values[:5], values[5:8] = 26, 3
    put(tmp_path, "leftImg8bit/train/ulm/ulm_000000_000019_leftImg8bit.png")
    put(tmp_path, "gtFine/train/ulm/ulm_000000_000019_gtFine_labelIds.png", grey_png(values))
    data = open_dataset(tmp_path)
    assert (data.format, len(data.labels), data.samples[0].split) == ("cityscapes", 19, "train")
    mask = data.mask(0, (60, 80))
    assert data.labels.names[mask[0, 0]] == "car"
    assert data.labels.names[mask[30, 0]] == "road"
    assert mask[6, 0] == 255


# Faults, each planted in a dataset that is otherwise sound: what the doctor must call it, and where it must point.

Plant = Callable[[Path], object]


def sound_coco(folder: Path, *annotations: dict, names: dict[int, str] | None = None, **extra: object) -> Path:
    for part in ("train", "val"):
        for i in range(6):
            put(folder, f"{part}/{part}{i}.png", png(seed=hash((part, i)) % 1000))
        rows = [box(i, (3, 90, 7)[i % 3], 5 + i, 6, 30, 20) for i in range(6)]
        own = [*rows, *annotations] if part == "train" else rows
        listed = [(i, f"{part}{i}.png") for i in range(6)]
        put(folder, f"instances_{part}.json", {**coco(listed, own, names), **(extra if part == "train" else {})})
    return folder


def sound_yolo(folder: Path, line: str = "", *, config: str = "names: [cat, dog]\n") -> Path:
    for i in range(6):
        put(folder, f"images/train/{i}.png", png(seed=i))
        put(folder, f"labels/train/{i}.txt", f"{i % 2} 0.5 0.5 0.2 0.{i + 1}\n" + (line if i == 3 else ""))
    put(folder, "data.yaml", "train: images/train\n" + config)
    return folder


def sound_masks(folder: Path, odd: bytes | None = None, *, name: str = "3.png") -> Path:
    for i in range(6):
        put(folder, f"images/{i}.png", png(seed=i))
        values = np.zeros((60, 80))
        values[i : i + 9] = 1 + i % 2
        put(folder, f"masks/{i}.png", grey_png(values))
    if odd is not None:
        (folder / "masks/3.png").unlink()
        put(folder, f"masks/{name}", odd)
    put(folder, "classes.txt", "background\ncrack\ndent\n")
    return folder


def no_val(folder: Path) -> None:
    sound_coco(folder)
    put(folder, "instances_val.json", coco([(i, f"val{i}.png") for i in range(6)], []))


def crowd_of(folder: Path) -> None:
    rng = np.random.default_rng(0)
    many = [box(2, 3, *(float(v) for v in row), 2.0, 2.0) for row in rng.random((10_000, 2)) * [70, 50]]
    sound_coco(folder, *many)


def jpeg_mask() -> bytes:
    values = np.zeros((60, 80), np.uint8)
    values[10:30, 10:40] = 2
    return encode_image(np.repeat(values[..., None], 3, 2), format="JPEG")


MASK_LARGE = grey_png(np.zeros((61, 80)))
MASK_ODD = grey_png(np.full((60, 80), 9))
MASK_RGB = encode_image(np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8))
TRAIN, LABELS, MASK = "instances_train.json", "labels/train/3.txt", "masks/3.png"
FAULTS: dict[str, tuple[Plant, str, str]] = {
    "a box outside": (lambda f: sound_coco(f, box(1, 3, 70, 50, 40, 40)), "box_outside", TRAIN),
    "a box wholly outside": (lambda f: sound_coco(f, box(1, 3, 90, 70, 5, 5)), "box_outside", TRAIN),
    "a box without area": (lambda f: sound_coco(f, box(1, 3, 10, 10, 0, 5)), "box_empty", TRAIN),
    "a box with a negative side": (lambda f: sound_coco(f, box(1, 3, 30, 30, -9, 5)), "box_flipped", TRAIN),
    "an object marked twice": (lambda f: sound_coco(f, box(1, 90, 6, 6, 30, 20)), "box_duplicate", TRAIN),
    "an unknown category": (lambda f: sound_coco(f, box(1, 41, 1, 1, 5, 5)), "class_id", TRAIN),
    "an annotation of no image": (lambda f: sound_coco(f, box(99, 3, 1, 1, 5, 5)), "orphan_annotation", TRAIN),
    "a box of text": (lambda f: sound_coco(f, {**box(1, 3), "bbox": ["a", 1, 1, 1]}), "annotation", TRAIN),
    "a box of three numbers": (lambda f: sound_coco(f, box(1, 3, 1, 1, 5)), "annotation", TRAIN),
    "a class that is never seen": (
        lambda f: sound_coco(f, names={3: "cat", 90: "dog", 7: "owl", 8: "emu"}), "class_never_seen", "instances",
    ),
    "a class list that differs": (
        lambda f: put(
            sound_coco(f), "instances_val.json", coco([(0, "val0.png")], [box(0, 3, 1, 1, 9, 9)], {3: "cat"})
        ),
        "class_list_differs", "instances",
    ),
    "a file that is not there": (
        lambda f: (sound_coco(f), (f / "train/train2.png").unlink()), "missing_image", TRAIN,
    ),
    "an image that no file lists": (
        lambda f: (sound_coco(f), put(f, "train/new.png", png(seed=7))), "unlabelled", "train/new.png",
    ),
    "an empty val": (no_val, "empty_part", ""),
    "one image, two truths": (
        lambda f: (sound_coco(f), (f / "train/train1.png").write_bytes((f / "train/train0.png").read_bytes())),
        "conflicting_labels", "train/train1.png",
    ),
    "10,000 boxes in an image": (crowd_of, "crowded", "train/train2.png"),
    "an ignore region": (
        lambda f: sound_coco(f, box(1, 3, 40, 40, 9, 9, iscrowd=1)), "ignore_region", "train/train1.png",
    ),
    "a stated size that is wrong": (
        lambda f: (sound_coco(f), put(f, "train/train1.png", png(80, 60, 9))), "size_mismatch", TRAIN,
    ),
    "an image that is cut off": (
        lambda f: (sound_coco(f), put(f, "train/train1.png", png()[:900])), "unreadable", "train/train1.png",
    ),
    "a class id out of range": (lambda f: sound_yolo(f, "5 0.5 0.5 0.1 0.1\n"), "class_id", LABELS),
    "a negative class id": (lambda f: sound_yolo(f, "-1 0.5 0.5 0.1 0.1\n"), "class_id", LABELS),
    "a line of words": (lambda f: sound_yolo(f, "word 0.5 0.5 0.1 0.1\n"), "annotation", LABELS),
    "a line of four numbers": (lambda f: sound_yolo(f, "1 0.5 0.5 0.1\n"), "annotation", LABELS),
    "pixels where shares should be": (lambda f: sound_yolo(f, "1 40 30 10 10\n"), "box_outside", LABELS),
    "not a number": (lambda f: sound_yolo(f, "1 nan 0.5 0.1 0.1\n"), "annotation", LABELS),
    "an image without a label file": (
        lambda f: (sound_yolo(f), put(f, "images/train/x.png", png(seed=9))), "unlabelled", "x.png",
    ),
    "a label file without an image": (
        lambda f: (sound_yolo(f), put(f, "labels/train/x.txt", "0 0.5 0.5 0.1 0.1\n")), "orphan_annotation", "x.txt",
    ),
    "a mask of another size": (lambda f: sound_masks(f, MASK_LARGE), "mask_size", MASK),
    "a mask with an unknown value": (lambda f: sound_masks(f, MASK_ODD), "mask_value", MASK),
    "a mask in colour": (lambda f: sound_masks(f, MASK_RGB), "mask_rgb", MASK),
    "a mask as JPEG": (lambda f: sound_masks(f, jpeg_mask(), name="3.jpg"), "mask_lossy", "masks/3.jpg"),
    "an image without a mask": (
        lambda f: (sound_masks(f), put(f, "images/x.png", png(seed=9))), "unlabelled", "images/x.png",
    ),
    "a mask without an image": (
        lambda f: put(sound_masks(f), "masks/x.png", grey_png(np.zeros((60, 80)))), "orphan_annotation", "masks/x.png",
    ),
    "a mask that is cut off": (lambda f: sound_masks(f, grey_png(np.zeros((60, 80)))[:60]), "unreadable", MASK),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_the_doctor_finds_each_planted_fault(fault: str, tmp_path: Path) -> None:
    plant, code, where = FAULTS[fault]
    plant(tmp_path)
    data = open_dataset(tmp_path)
    found = [f for f in audit_dataset(data, scan_dataset(data, quiet=True)) if f.code == code]
    assert found, f"{fault} was not found"
    assert any(where in f.path for f in found), [str(f) for f in found]
    assert all(f.fix and f.message for f in found)
    if where.endswith((".txt", "train.json")) and code not in ("missing_image", "orphan_annotation", "size_mismatch"):
        assert any(f.line is not None for f in found), "a finding in a text file names the line"


@pytest.mark.parametrize("sound", [sound_coco, sound_yolo, sound_masks])
def test_what_is_sound_is_called_sound(sound: Callable[[Path], Path], tmp_path: Path) -> None:
    data = open_dataset(sound(tmp_path))
    found = audit_dataset(data, scan_dataset(data, quiet=True))
    assert {f.code for f in found} <= {"tiny_class", "near_duplicate", "note"}, [str(f) for f in found]


def test_one_far_larger_or_smaller_than_its_class_is_doubted(tmp_path: Path) -> None:
    rows = [box(i % 6, 3, 5 + i, 6, 12, 10) for i in range(30)]
    sound_coco(tmp_path, *rows, box(1, 3, 0, 0, 80, 60), box(2, 3, 50, 40, 0.3, 0.4))
    data = open_dataset(tmp_path)
    codes = {f.code for f in audit_dataset(data, scan_dataset(data, quiet=True))}
    assert {"box_huge", "box_tiny"} <= codes


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"images": [}', "is not JSON|is no|can be used|without one|known"),
        ('{"images": [{"id": 1}], "annotations": [1], "categories": [1]}', "expected"),
    ],
)
def test_a_broken_coco_file_is_one_clear_line(tmp_path: Path, content: str, said: str) -> None:
    put(tmp_path, "images/a.png")
    path = put(tmp_path, "instances.json", content)
    with pytest.raises(DatasetError, match=said):
        open_dataset(path)


def test_no_bytes_of_an_annotation_file_are_a_fault_of_ours(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sound_coco(tmp_path)
    path = tmp_path / "instances_train.json"
    good = path.read_bytes()
    for _ in range(120):
        data = bytearray(good)
        for at in rng.integers(0, len(data), rng.integers(1, 6)):
            data[at] = rng.integers(0, 256)
        path.write_bytes(bytes(data[: rng.integers(1, len(data) + 1)] if rng.random() < 0.3 else data))
        try:
            data_set = open_dataset(tmp_path, task="detect")
            audit_dataset(data_set, scan_dataset(data_set, quiet=True))
        except EyewrightError:
            pass


def test_a_category_that_only_groups_the_others_is_no_class_that_is_never_seen(tmp_path: Path) -> None:
    sound_coco(tmp_path)
    for part in ("train", "val"):
        place = tmp_path / f"instances_{part}.json"
        content = json.loads(place.read_text())
        # As Roboflow writes it: the project's name first, and above all others.
        kinds = [{"id": 0, "name": "animals", "supercategory": "none"}]
        content["categories"] = kinds + [{**c, "supercategory": "animals"} for c in content["categories"]]
        place.write_text(json.dumps(content))
    found = open_dataset(tmp_path)
    assert found.labels.names == ("cat", "owl", "dog")
    assert not [p for p in found.problems if p.code == "class_never_seen"]
