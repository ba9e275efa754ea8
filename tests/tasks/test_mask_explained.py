"""Which classes of a segmentation are explained, and by what number, by hand."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eyewright.core.labels import LabelSpace
from eyewright.tasks.mask_explained import MaskTarget, explained

NAMES = LabelSpace(("background", "crack", "dent"))


def raw() -> dict[str, np.ndarray]:
    planes = np.full((1, 3, 2, 3), 0.1, np.float32)
    planes[0, 0], planes[0, 1, 0], planes[0, 2, 1, 2] = 0.4, 0.5, 0.75
    return {"probabilities": planes}


def test_classes_that_were_found_are_explained_without_the_background() -> None:
    prediction: Any = SimpleNamespace(label_ids=[0, 1, 2], label_space=NAMES)
    crack, dent = explained(raw(), prediction, None, None)
    assert (crack.label, dent.label) == (1, 2)
    assert crack.inside.tolist() == [[True] * 3, [False] * 3]  # type: ignore[attr-defined]
    assert dent.inside.sum() == 1  # type: ignore[attr-defined]
    assert (crack.box, crack.shown, crack.cells) == (None, "", 12)
    assert [t.label for t in explained(raw(), prediction, None, 2)] == [2]
    assert explained(raw(), prediction, None, 0) == []
    # A class whose pixels are none is left out.
    nowhere = {"probabilities": raw()["probabilities"][:, :, :1]}
    assert [t.label for t in explained(nowhere, prediction, None, None)] == [1]


def test_a_target_is_the_mean_over_the_pixels_of_its_class() -> None:
    target = MaskTarget(1, np.array([[True, False], [True, False]]))
    planes = np.arange(16, dtype=np.float32).reshape(2, 2, 2, 2)
    # Class 1 of the images holds 4 to 7 and 12 to 15; the first column is inside.
    assert target({"probabilities": planes}).tolist() == pytest.approx([5.0, 13.0])
