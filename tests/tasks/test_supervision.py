"""Predictions handed to supervision; a stand-in records what it is given where supervision is not installed."""

import sys
import types
from typing import Any

import numpy as np
import pytest

from eyewright.core.labels import LabelSpace
from eyewright.metrics.matching import MaskCrop
from eyewright.tasks.detect import BoxPrediction
from eyewright.tasks.segment import MaskPrediction

LABELS = LabelSpace(("ground", "crack", "hole"))


@pytest.fixture(autouse=True)
def supervision(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        import supervision  # noqa: F401
    except ImportError:
        stand_in: Any = types.ModuleType("supervision")
        stand_in.Detections = types.SimpleNamespace
        monkeypatch.setitem(sys.modules, "supervision", stand_in)


def test_a_mask_prediction_gives_one_row_per_class_in_the_image() -> None:
    mask = np.zeros((6, 8), np.uint8)
    mask[1:3, 2:7] = 2
    found = MaskPrediction(mask, np.array([0.9, 0.0, 0.7], np.float32), LABELS).to_supervision()
    assert found.class_id.tolist() == [0, 2]
    assert found.data["class_name"].tolist() == ["ground", "hole"]
    assert found.xyxy.tolist() == [[0, 0, 8, 6], [2, 1, 7, 3]]
    assert np.array_equal(found.mask, np.stack([mask == 0, mask == 2]))
    assert np.allclose(found.confidence, [0.9, 0.7])


def test_no_objects_give_empty_arrays_of_the_right_shapes() -> None:
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    boxes = BoxPrediction(*none, LABELS, (6, 8)).to_supervision()
    assert boxes.xyxy.shape == (0, 4)
    assert boxes.mask is None
    assert boxes.data["class_name"].dtype.kind == "U"
    masks = BoxPrediction(*none, LABELS, (6, 8), crops=()).to_supervision().mask
    assert masks.shape == (0, 6, 8)
    assert masks.dtype == bool


def test_instances_keep_their_masks_names_and_ids() -> None:
    crop = MaskCrop(2, 1, np.ones((2, 3), np.bool_))
    found = BoxPrediction(
        np.array([[1, 2, 4, 4]], np.float32), np.array([0.5], np.float32), np.array([1]), LABELS, (6, 8), (crop,)
    ).to_supervision()
    assert found.data["class_name"].tolist() == ["crack"]
    assert found.mask.shape == (1, 6, 8)
    assert found.mask.sum() == 6
