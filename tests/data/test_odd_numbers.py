"""Numbers that no image has, such as a coordinate of 1e308 or a class of 50 digits: one line each, never a fault."""

import base64
import io
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyewright.core.errors import DatasetError, EyewrightError
from eyewright.data import audit_dataset, open_dataset, scan_dataset
from eyewright.data.readers.label_studio_regions import decode_brush
from eyewright.data.readers.listing import LARGEST, number
from eyewright.lifecycle import convert

pytest.importorskip("msgspec")

_XML = "<annotation><filename>0.png</filename><object><name>a</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>{}</xmax>"
_VIA = {"shape_attributes": {"name": "rect", "x": 1, "y": 2, "width": "BIG", "height": 9}, "region_attributes": {}}
_LABELME = {"shape_type": "polygon", "label": "a", "points": [[1, 2], ["BIG", 2], [5, 9]]}
_FILES = {
    "annotations.json": {
        "images": [{"id": 1, "file_name": "0.png"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, "BIG", 9]}],
        "categories": [{"id": 1, "name": "a"}],
    },
    "0.xml": _XML + "<ymax>9</ymax></bndbox></object></annotation>",
    "0.txt": "0 0.5 0.5 {} 0.1\n",
    "via.json": {"0.png1": {"filename": "0.png", "size": 1, "regions": [_VIA]}},
    "create.json": [
        {
            "image": "0.png",
            "annotations": [{"label": "a", "coordinates": {"x": 5, "y": 5, "width": "BIG", "height": 4}}],
        }
    ],
    "boxes.csv": "filename,width,height,class,xmin,ymin,xmax,ymax\n0.png,20,20,a,1,2,{},9\n0.png,20,20,a,3,3,9,9\n",
    "0.json": {"version": "5", "imagePath": "0.png", "imageHeight": 20, "imageWidth": 20, "shapes": [_LABELME]},
    "cvat.xml": '<annotations><image id="0" name="0.png" width="20" height="20">'
    '<box label="a" xtl="1" ytl="2" xbr="{}" ybr="9"/></image></annotations>',
}


@pytest.mark.parametrize("big", ["1e308", "-1e300", "9" * 400, "1e999", "nan"])
@pytest.mark.parametrize("name", _FILES)
def test_a_coordinate_that_no_image_has_is_left_out_and_counted(tmp_path: Path, name: str, big: str) -> None:
    Image.fromarray(np.full((20, 20, 3), 90, np.uint8)).save(tmp_path / "0.png")
    content = _FILES[name]
    text = content.format(big) if isinstance(content, str) else json.dumps(content).replace('"BIG"', big)
    (tmp_path / name).write_text(text.replace("nan", "NaN") if name.endswith("json") else text)
    if name == "0.txt":
        (tmp_path / "classes.txt").write_text("a\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            dataset = open_dataset(tmp_path)
        except EyewrightError:
            return
        audit_dataset(dataset, scan_dataset(dataset))
        written = convert(dataset, to="coco", out=tmp_path.parent / f"{tmp_path.name}-out")
    assert written.account.n_dropped or written.account.reduced, written.account
    assert not written.complete


def test_a_line_of_commas_is_no_annotation(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 20, 3), 90, np.uint8)).save(tmp_path / "0.png")
    (tmp_path / "0.txt").write_text("a 0.5 0.5 0.2 0.2\n,, \n;\n")
    (tmp_path / "classes.txt").write_text("a\n")
    account = open_dataset(tmp_path, task="detect").account
    assert (account.read, account.n_dropped) == (1, 2)


@pytest.mark.parametrize("number", ["9" * 50, "3000000000", "70000"])
def test_a_class_number_that_no_mask_holds_costs_no_memory(tmp_path: Path, number: str) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    Image.fromarray(np.full((20, 20, 3), 90, np.uint8)).save(tmp_path / "images" / "0.png")
    Image.fromarray((np.arange(400).reshape(20, 20) % 2).astype(np.uint8)).save(tmp_path / "masks" / "0.png")
    (tmp_path / "classes.txt").write_text(f"0 background\n1 cell\n{number} ball\n")
    dataset = open_dataset(tmp_path)
    assert dataset.mask(0, (20, 20)).max() == 1


@pytest.mark.parametrize("side", [10**6, 10**30])
def test_a_mask_of_an_image_of_a_stated_size_that_cannot_be_is_left_out(tmp_path: Path, side: int) -> None:
    Image.fromarray(np.full((20, 20, 3), 90, np.uint8)).save(tmp_path / "0.png")
    shown = io.BytesIO()
    Image.fromarray(np.ones((5, 5), np.uint8)).save(shown, "PNG")
    mask = {"shape_type": "mask", "label": "a", "points": [[1, 2], [5, 6]]}
    mask["mask"] = base64.b64encode(shown.getvalue()).decode()
    content = {"version": "5", "imagePath": "0.png", "imageHeight": side, "imageWidth": side, "shapes": [mask]}
    (tmp_path / "0.json").write_text(json.dumps(content))
    if side > LARGEST:
        # No size at all, so the image's own holds.
        assert open_dataset(tmp_path, task="detect").account.read == 1
    else:
        assert open_dataset(tmp_path, task="detect").account.n_dropped == 1


@pytest.mark.parametrize("value", [LARGEST * 2, "1e10", float("nan"), 10**400])
def test_a_number_is_one_that_an_image_can_have(value: object) -> None:
    with pytest.raises(ValueError, match="expected a number"):
        number(value)


def test_a_brush_of_more_pixels_than_an_image_may_have_is_refused_before_it_is_painted() -> None:
    side = 2**14
    bits = [int(b) for b in f"{4 * side * side:032b}"] + [0] * 200
    with pytest.raises(DatasetError, match="more than an image may have"):
        decode_brush(np.packbits(bits).tolist(), (side, side))
