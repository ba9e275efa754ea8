"""A class name from an annotation file or from feedback never becomes a path outside the folder that is written."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from eyewright.data import open_dataset
from eyewright.data.writers import write_dataset
from eyewright.data.writers.class_folders import folder_names


@given(st.lists(st.text(st.sampled_from("./\\a\0\n\u00e9"), max_size=8), unique=True, max_size=8))
def test_every_class_has_a_folder_of_its_own_inside(classes: list[str]) -> None:
    folders = folder_names(classes)
    assert len(set(folders)) == len(classes)
    for name in folders:
        parts = name.split("/")
        assert all(p and not p.startswith(".") and "\\" not in p and p.isprintable() for p in parts), name


def test_a_long_name_is_shortened_and_stays_distinct() -> None:
    first, second = folder_names(["\u00e9" * 300 + "a", "\u00e9" * 300 + "b"])
    assert first != second
    assert max(len(first.encode()), len(second.encode())) < 255
    assert len(folder_names(["a/" * 3000])[0].encode()) < 255


@pytest.mark.parametrize("evil", ["../../../evil", "/tmp/evil", "..", "a\0b", "x" * 3000, ".hidden", "a/../../../b"])
def test_imagefolder_is_written_inside_its_folder_whatever_a_class_is_called(tmp_path: Path, evil: str) -> None:
    source, out = tmp_path / "data", tmp_path / "deep" / "er" / "out"
    (source / "images").mkdir(parents=True)
    Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(source / "images" / "0.png")
    content = {
        "images": [{"id": 1, "file_name": "0.png", "width": 40, "height": 40}],
        "annotations": [{"id": k, "image_id": 1, "category_id": k, "bbox": [k, 2, 20, 20]} for k in (1, 2)],
        "categories": [{"id": 1, "name": evil}, {"id": 2, "name": "cat"}],
    }
    (source / "annotations.json").write_text(json.dumps(content))
    before = {p for p in tmp_path.rglob("*") if p.is_file()}
    written = write_dataset(open_dataset(source), "imagefolder", out)
    new = {p for p in tmp_path.rglob("*") if p.is_file()} - before
    assert {p for p in new if not p.name.endswith(".lock")} == set(out.rglob("*.png"))
    assert len(list(out.rglob("*.png"))) == 2
    assert any("no folder can have" in line for line in written.lost)
