"""FiftyOne's exports, as its own exporters write them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eyewright.data import open_dataset
from eyewright.imaging.encode import encode_image


def _export(root: Path, name: str, content: dict[str, Any], n: int = 4) -> Path:
    (root / "data").mkdir(parents=True)
    for k in range(n):
        pixels = np.random.default_rng(k).integers(0, 255, (20, 40, 3)).astype(np.uint8)
        (root / "data" / f"{k:06d}.png").write_bytes(encode_image(pixels))
    (root / name).write_text(json.dumps(content))
    return root


def test_classes_of_images_keep_the_order_of_the_list(tmp_path: Path) -> None:
    labels = {"000000": 1, "000001": 0, "000002": 1, "000003": 0}
    found = open_dataset(_export(tmp_path, "labels.json", {"classes": ["zebra", "ant"], "labels": labels}))
    assert (found.task, found.format, found.labels.names) == ("classify", "fiftyone", ("zebra", "ant"))
    assert [(s.id, int(s.marked(int))) for s in found.samples] == [(f"data/{k}.png", v) for k, v in labels.items()]
    assert found.account.to_json()["read"] == 4


def test_what_cannot_be_used_is_said(tmp_path: Path) -> None:
    labels = {"000000": "cat", "000001": {"label": "dog", "confidence": 0.7}, "000002": None, "gone": "cat"}
    found = open_dataset(_export(tmp_path, "labels.json", {"classes": None, "labels": labels}))
    assert found.labels.names == ("cat", "dog")
    assert len(found) == 2
    said = " ".join(p.message for p in found.problems)
    assert "an image without a class" in said
    assert "no file mentions this image" in said
    assert "gone" in said
    assert not found.account.complete


def test_boxes_are_fractions_of_the_sides(tmp_path: Path) -> None:
    labels = {
        "000000": [{"label": 1, "bounding_box": [0.25, 0.5, 0.5, 0.25]}, {"label": 7, "bounding_box": [0, 0, 1, 1]}],
        "000001": [{"label": "ant", "bounding_box": [0, 0, 1]}],
        "000002": [],
        "000003": [{"label": 0, "bounding_box": [0.1, 0.2, 0.3, 0.4], "confidence": 0.5}],
    }
    found = open_dataset(_export(tmp_path, "labels.json", {"classes": ["ant", "zebra"], "labels": labels}))
    assert (found.task, found.labels.names, len(found)) == ("detect", ("ant", "zebra"), 4)
    assert found.objects(0, (20, 40)).boxes_xyxy.tolist() == [[10.0, 10.0, 30.0, 15.0]]
    assert found.objects(0, (20, 40)).label_ids.tolist() == [1]
    assert (found.account.to_json()["read"], found.account.n_dropped) == (2, 2)


@pytest.mark.parametrize("boxed", [False, True])
def test_samples_of_a_whole_dataset_have_parts_by_their_tags(tmp_path: Path, boxed: bool) -> None:
    box = {"_cls": "Detection", "label": "cat", "bounding_box": [0.0, 0.0, 0.5, 1.0], "tags": []}
    truth = {"_cls": "Detections", "detections": [box]} if boxed else {"_cls": "Classification", "label": "cat"}
    parts = ["train", "validation", "test", "train"]
    samples = [
        {"filepath": f"data/{k:06d}.png", "tags": [part], "metadata": {"width": 40}, "ground_truth": truth,
         "predictions": {"_cls": "Classification", "label": "never"}}
        for k, part in enumerate(parts)
    ]  # fmt: skip
    samples[1]["ground_truth"] = json.loads(json.dumps(truth).replace("cat", "dog"))
    found = open_dataset(_export(tmp_path, "samples.json", {"samples": samples}))
    assert (found.task, found.labels.names) == ("detect" if boxed else "classify", ("cat", "dog"))
    assert [s.split for s in found.samples] == ["train", "val", "test", "train"]
    if boxed:
        assert found.objects(1, (20, 40)).boxes_xyxy.tolist() == [[0.0, 0.0, 20.0, 20.0]]
