import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eyewright.core.report import Finding
from eyewright.data import audit_dataset, open_dataset, scan_dataset
from eyewright.imaging import encode_image

W, H = 192, 128
Box = tuple[float, float, float, float]


def boxes(n: int) -> list[list[Box]]:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(n):
        sizes = rng.uniform(10, 60, (4, 2))
        found.append([(float(rng.uniform(0, W - w)), float(rng.uniform(0, H - h)), w, h) for w, h in sizes.tolist()])
    return found


def write_images(folder: Path, n: int) -> None:
    rng = np.random.default_rng(1)
    (folder / "images").mkdir()
    for i in range(n):
        blocks = rng.integers(0, 256, (H // 16, W // 16, 3)).astype(np.uint8)
        image = np.kron(blocks, np.ones((16, 16, 1), np.uint8))
        (folder / "images" / f"{i}.png").write_bytes(encode_image(image))


def found_in(folder: Path) -> list[Finding]:
    data = open_dataset(folder)
    found = audit_dataset(data, scan_dataset(data, quiet=True))
    return [f for f in found if f.code.startswith("box_")]


def coco(folder: Path, written: Callable[..., list[float]]) -> list[Finding]:
    write_images(folder, 12)
    rows = [(i, box) for i, several in enumerate(boxes(12)) for box in several]
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": W, "height": H} for i in range(12)],
        "annotations": [
            {"id": k, "image_id": i, "category_id": 1, "bbox": written(*b)} for k, (i, b) in enumerate(rows)
        ],
        "categories": [{"id": 1, "name": "car"}],
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    return found_in(folder)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (lambda x, y, w, h: [x, y, x + w, y + h], "[x0, y0, x1, y1] in pixels"),
        (lambda x, y, w, h: [x + w / 2, y + h / 2, w, h], "[centre x, centre y, width, height] in pixels"),
        (lambda x, y, w, h: [y, x, h, w], "[y, x, height, width] in pixels"),
        (lambda x, y, w, h: [y, x, y + h, x + w], "[y0, x0, y1, x1] in pixels"),
        (lambda x, y, w, h: [x / W, y / H, w / W, h / H], "[x, y, width, height] in fractions"),
        (lambda x, y, w, h: [x / W, y / H, (x + w) / W, (y + h) / H], "[x0, y0, x1, y1] in fractions"),
        (lambda x, y, w, h: [100 * x / W, 100 * y / H, 100 * w / W, 100 * h / H], "per cent"),
    ],
)
def test_coco_boxes_in_another_format_are_one_finding(tmp_path: Path, written, said: str) -> None:  # type: ignore[no-untyped-def]
    (found,) = coco(tmp_path, written)
    assert (found.code, found.path, found.severity) == ("box_format", "annotations.json", "error")
    assert said in found.message
    assert "[x, y, width, height] in pixels" in found.fix


def test_boxes_as_they_should_be_are_no_finding(tmp_path: Path) -> None:
    assert coco(tmp_path, lambda x, y, w, h: [x, y, w, h]) == []


def test_one_box_that_leaves_its_image_is_named_by_itself(tmp_path: Path) -> None:
    placed = iter([True] + [False] * 100)
    found = coco(tmp_path, lambda x, y, w, h: [x + 150, y, 60, h] if next(placed) else [x, y, w, h])
    assert [f.code for f in found] == ["box_outside"]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (lambda x, y, w, h: [x / W, y / H, w / W, h / H], "[x, y, width, height] in fractions"),
        (lambda x, y, w, h: [x / W, y / H, (x + w) / W, (y + h) / H], "[x0, y0, x1, y1] in fractions"),
    ],
)
def test_yolo_lines_in_another_format_are_one_finding_for_the_folder(tmp_path: Path, written, said: str) -> None:  # type: ignore[no-untyped-def]
    write_images(tmp_path, 12)
    (tmp_path / "labels").mkdir()
    for i, several in enumerate(boxes(12)):
        lines = ["0 " + " ".join(f"{v:.6f}" for v in written(*box)) for box in several]
        (tmp_path / "labels" / f"{i}.txt").write_text("\n".join(lines))
    (tmp_path / "data.yaml").write_text("train: images\nnames: [car]\n")
    (found,) = found_in(tmp_path)
    assert (found.code, found.path) == ("box_format", "labels")
    assert said in found.message


@pytest.mark.parametrize(
    "written", [lambda x, y, w, h: [x + w / 2, y + h / 2, w, h], lambda x, y, w, h: [x, y, x + w, y + h]]
)
def test_yolo_lines_in_pixels_are_left_out_and_named_once_a_folder(tmp_path: Path, written) -> None:  # type: ignore[no-untyped-def]
    write_images(tmp_path, 12)
    (tmp_path / "labels").mkdir()
    lines = 0
    for i, several in enumerate(boxes(12)):
        text = ["0 " + " ".join(f"{v:.6f}" for v in written(*box)) for box in several]
        lines += len(text)
        (tmp_path / "labels" / f"{i}.txt").write_text("\n".join(text))
    (tmp_path / "data.yaml").write_text("train: images\nnames: [car]\n")
    found = [f for f in found_in(tmp_path) if f.code == "box_outside"]
    assert len(found) == 1
    assert "are pixels, not fractions" in found[0].message
    assert f"{lines} " in found[0].message or f"({lines})" in found[0].message
    assert found[0].line


def test_voc_corners_that_are_widths_are_one_finding(tmp_path: Path) -> None:
    write_images(tmp_path, 12)
    (tmp_path / "Annotations").mkdir()
    for i, several in enumerate(boxes(12)):
        objects = "".join(
            f"<object><name>car</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{w}</xmax><ymax>{h}</ymax></bndbox></object>"
            for x, y, w, h in several
        )
        text = f"<annotation><filename>{i}.png</filename>{objects}</annotation>"
        (tmp_path / "Annotations" / f"{i}.xml").write_text(text)
    (found,) = found_in(tmp_path)
    assert (found.code, found.path) == ("box_format", "Annotations")
    assert "none as [x, y, width, height] in pixels" in found.message


@pytest.mark.parametrize(
    "other", [lambda x, y, w, h: [x, y, x + w, y + h], lambda x, y, w, h: [x + w / 2, y + h / 2, w, h]]
)
def test_what_was_written_in_two_ways_is_not_said_to_be_in_thousandths(tmp_path: Path, other) -> None:  # type: ignore[no-untyped-def]
    turn = iter(range(10_000))
    found = coco(tmp_path, lambda *box: other(*box) if next(turn) % 3 == 0 else list(box))
    assert found
    assert not [f for f in found if "thousandths" in f.message or "per cent" in f.message]


def _label_studio(x: float, y: float, w: float, h: float) -> dict[str, object]:
    value = {"x": 100 * x, "y": 100 * y, "width": 100 * w, "height": 100 * h, "rotation": 0, "rectanglelabels": ["car"]}
    return {"type": "rectanglelabels", "original_width": W, "original_height": H, "value": value}


def _write_relative(folder: Path, kind: str) -> None:
    """Write boxes in fractions of the sides (per cent for Label Studio) as another tool does, all inside the images."""
    rows = [(i, (x / W, y / H, w / W, h / H)) for i, several in enumerate(boxes(12)) for x, y, w, h in several]
    if kind == "label-studio":
        tasks = [
            {
                "id": i,
                "data": {"image": f"{i}.png"},
                "annotations": [{"result": [_label_studio(*box) for k, box in rows if k == i]}],
            }
            for i in range(12)
        ]
        (folder / "export.json").write_text(json.dumps(tasks))
        return
    lines = [f"{i}.png,car,{x:.6f},{x + w:.6f},{y:.6f},{y + h:.6f}" for i, (x, y, w, h) in rows]
    (folder / "boxes.csv").write_text("ImageID,LabelName,XMin,XMax,YMin,YMax\n" + "\n".join(lines) + "\n")


@pytest.mark.parametrize("kind", ["label-studio", "csv-boxes"])
def test_boxes_in_fractions_of_the_sides_are_not_taken_for_pixels(tmp_path: Path, kind: str) -> None:
    write_images(tmp_path, 12)
    _write_relative(tmp_path, kind)
    assert open_dataset(tmp_path).format == kind
    assert found_in(tmp_path) == []


def test_label_studio_boxes_in_pixels_are_one_finding(tmp_path: Path) -> None:
    write_images(tmp_path, 12)
    tasks = [
        {
            "id": i,
            "data": {"image": f"{i}.png"},
            "annotations": [{"result": [_label_studio(*(v / 100 for v in box)) for box in several]}],
        }
        for i, several in enumerate(boxes(12))
    ]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    (found,) = [f for f in found_in(tmp_path) if f.code == "box_format"]
    assert found.path == "export.json"
    assert "as [x, y, width, height] in pixels" in found.message
    assert found.fix.startswith("write value as [x, y, width, height] in per cent of the image's sides")


def mixed_coco(folder: Path, other, share: float) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(3)
    found: dict[str, list] = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "car"}]}
    for i in range(40):
        name = f"{i:02d}.png"
        (folder / name).write_bytes(encode_image(np.full((240, 320, 3), 40 + i, np.uint8)))
        found["images"].append({"id": i, "file_name": name, "width": 320, "height": 240})
        for _ in range(3):
            w, h = rng.integers(20, 120, 2).tolist()
            x, y = int(rng.integers(0, 320 - w)), int(rng.integers(0, 240 - h))
            box = other(x, y, w, h) if i < share * 40 else [x, y, w, h]
            number = len(found["annotations"]) + 1
            found["annotations"].append({"id": number, "image_id": i, "category_id": 1, "bbox": box, "area": w * h})
    (folder / "annotations.json").write_text(json.dumps(found, indent=1))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda x, y, w, h: [x, y, x + w, y + h], "[x0, y0, x1, y1] in pixels"),
        (lambda x, y, w, h: [x / 3.2, y / 2.4, w / 3.2, h / 2.4], "in per cent"),
        (lambda x, y, w, h: [x / 320, y / 240, w / 320, h / 240], "in fractions"),
    ],
)
def test_two_formats_in_one_set_are_named_with_file_and_line(tmp_path: Path, other, said: str) -> None:  # type: ignore[no-untyped-def]
    mixed_coco(tmp_path, other, 0.5)
    (found,) = (f for f in found_in(tmp_path) if f.code == "box_format")
    assert "two formats are mixed" in found.message
    assert said in found.message
    assert (found.path, found.line is not None) == ("annotations.json", True)
    assert set(found.paths) <= {f"{i:02d}.png" for i in range(20)}


def test_boxes_drawn_over_the_edge_are_no_second_format(tmp_path: Path) -> None:
    mixed_coco(tmp_path, lambda x, y, w, h: [320 - w / 2, y, w, h], 0.5)
    assert not [f for f in found_in(tmp_path) if f.code == "box_format"]


def test_yolo_lines_that_may_be_per_cent_are_said_to_be(tmp_path: Path) -> None:
    write_images(tmp_path, 6)
    (tmp_path / "labels").mkdir()
    for i in range(6):
        (tmp_path / "labels" / f"{i}.txt").write_text("0 50 40 20 10\n")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [car]\n")
    (found,) = (f for f in found_in(tmp_path) if f.code == "box_outside")
    assert "per cent or pixels" in found.message
    assert "divide per cent by 100" in found.fix
    assert found.line == 1
