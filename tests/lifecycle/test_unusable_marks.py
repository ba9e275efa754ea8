"""Boxes that are not learnt, and outlines that do not fit their image, are in the account of train and evaluate."""

import json
from pathlib import Path

import numpy as np
import pytest

from eyewright.imaging import encode_image
from eyewright.lifecycle.datasets import load_dataset


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    images, rows = [], []
    for i in range(12):
        pixels = rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)
        (tmp_path / f"{i}.png").write_bytes(encode_image(pixels))
        images.append({"id": i, "file_name": f"{i}.png", "width": 32, "height": 24})
        polygon = [[2, 2, 12, 2, 12, 12]]
        rows.append({"image_id": i, "category_id": 1, "bbox": [2, 2, 10, 10], "segmentation": polygon})
    rows.append({"image_id": 3, "category_id": 1, "bbox": [5, 5, 0, 9]})
    rows.append({"image_id": 4, "category_id": 1, "bbox": [40, 5, 9, 9]})
    # Of an image that was made smaller after it was annotated.
    rle = {"size": [48, 64], "counts": [100, 20, 48 * 64 - 120]}
    rows.append({"image_id": 5, "category_id": 1, "bbox": [14, 2, 8, 8], "segmentation": rle})
    images[5] |= {"width": 64, "height": 48}
    rows = [{"id": k, "iscrowd": 0, **row} for k, row in enumerate(rows)]
    content = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "cell"}]}
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    return tmp_path


@pytest.mark.parametrize("task", ["detect", "instance"])
def test_the_account_has_what_is_not_learnt_with_an_image(cells: Path, task: str) -> None:
    data = load_dataset(cells, task=task)
    account = data.account
    assert account.present == 15
    assert (account.read, account.n_dropped) == (13, 2)
    assert "2 of 15 annotations are left out" in account.summary()
    assert "boxes without area or outside their image, or listed twice" in account.summary()
    assert "3.png" in account.summary()
    outlines = [(r.text, r.n, r.path) for r in account.reduced if "size" in r.text]
    wanted = [("run-length encoding of another size than the image's", 1, "5.png")] if task == "instance" else []
    assert outlines == wanted
