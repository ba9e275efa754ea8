"""Labels that were not read as intended are not trained on, unless it is asked for."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import draw_scene

import eyewright as ew
from eyewright.cli import main
from eyewright.core.errors import DatasetError, UsageError
from eyewright.imaging import encode_image


def boxes(folder: Path, order: str, n: int = 12) -> Path:
    """Write a COCO set whose boxes are in the order "xywh", as COCO has them, or "xyxy"."""
    rng = np.random.default_rng(0)
    images, marks = [], []
    folder.mkdir(parents=True)
    for k in range(n):
        image, shapes = draw_scene(rng)
        (folder / f"{k}.png").write_bytes(encode_image(image))
        images.append({"id": k, "file_name": f"{k}.png", "height": 96, "width": 96})
        for _, mask in shapes:
            rows, columns = np.nonzero(mask)
            x0, y0, x1, y1 = int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
            box = [x0, y0, x1, y1] if order == "xyxy" else [x0, y0, x1 - x0, y1 - y0]
            one = {"id": len(marks), "image_id": k, "category_id": 1, "iscrowd": 0}
            marks.append({**one, "bbox": box, "area": (x1 - x0) * (y1 - y0)})
    content = {"images": images, "annotations": marks, "categories": [{"id": 1, "name": "shape"}]}
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def masks(folder: Path, value: int, n: int = 8) -> Path:
    """Write a set for segmentation in which every pixel of every mask has one value."""
    rng = np.random.default_rng(1)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for k in range(n):
        (folder / "images" / f"{k}.png").write_bytes(encode_image(draw_scene(rng)[0]))
        mask = np.full((96, 96), value, np.uint8)
        (folder / "masks" / f"{k}.png").write_bytes(encode_image(mask))
    (folder / "classes.txt").write_text("background\nshape\n")
    return folder


@pytest.mark.parametrize("verb", ["run", "train"])
def test_boxes_of_another_format_are_refused_with_what_to_do(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    boxes(Path("data"), "xyxy")
    assert main([verb, "data", "--epochs", "1", "--out", "out", "--json"]) == 3
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "box_format"
    assert "not read as intended" in error["message"]
    assert "--label-errors allow" in error["fix"]
    assert not Path("out").exists() or not list(Path("out").glob("checkpoints/*"))


def test_boxes_in_the_order_of_their_format_are_trained_on(tmp_path: Path) -> None:
    run = ew.train(boxes(tmp_path / "data", "xywh"), epochs=1, batch=4, imgsz=64, out=tmp_path / "run")
    assert not [f for f in run.about["audit"] if f.code == "box_format"]


def test_boxes_of_another_format_are_trained_on_where_it_is_asked_for(tmp_path: Path) -> None:
    data = boxes(tmp_path / "data", "xyxy")
    run = ew.train(data, epochs=1, batch=4, imgsz=64, out=tmp_path / "run", label_errors="allow")
    assert next(f.code for f in run.about["audit"]) == "box_format"


@pytest.mark.parametrize(("value", "code"), [(0, "mask_empty"), (1, "mask_full")])
def test_masks_without_anything_to_learn_are_refused(value: int, code: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not read as intended") as caught:
        ew.train(masks(tmp_path / "data", value), epochs=1, out=tmp_path / "run")
    assert caught.value.code == code


def test_an_unknown_rule_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected refuse or allow for --label-errors, found 'drop'"):
        ew.train(tmp_path / "nothing", label_errors="drop")
