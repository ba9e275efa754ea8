"""The parity limits of each task, pinned by differences just below and just above them."""

from collections.abc import Mapping

import numpy as np
import pytest
from tests.tasks.predictors import Told

from eyewright.core.errors import ParityError
from eyewright.evaluation.parity import check_parity

LIMITS = {
    "classify": {"float32": 1e-4, "float16": 0.02, "int8": 0.05},
    "segment": {"float32": 1e-3, "float16": 0.02, "int8": 0.05},
    "detect": {"float32": 1e-3, "float16": 0.02, "int8": 0.05},
}


class _Images:
    def __len__(self) -> int:
        return 2

    def image(self, index: int) -> np.ndarray:
        return np.zeros((32, 32, 3), np.uint8)


def answers(task: str, moved: float):  # type: ignore[no-untyped-def]
    def classes(pixels: np.ndarray) -> Mapping[str, np.ndarray]:
        row = np.array([0.7 + moved, 0.3 - moved], np.float32)
        if task == "segment":
            row = np.broadcast_to(row[:, None, None], (2, 32, 32))
        return {"probabilities": np.stack([row] * len(pixels))}

    def boxes(pixels: np.ndarray) -> Mapping[str, np.ndarray]:
        n = len(pixels)
        return {
            "boxes": np.tile(np.array([[4, 4, 20, 20]], np.float32), (n, 1, 1)),
            "scores": np.tile(np.array([[0.6 + moved, 0.0]], np.float32), (n, 1, 1)),
        }

    return Told(task, boxes if task == "detect" else classes, iou=0.6 if task == "detect" else None)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize("task", list(LIMITS))
def test_the_limit_stands_where_it_is_written(task: str, precision: str) -> None:
    limit = LIMITS[task][precision]
    found = check_parity(answers(task, 0.0), answers(task, limit * 0.97), _Images(), precision=precision)
    assert found.tolerance == limit
    with pytest.raises(ParityError, match=f"allowed {limit:g}"):
        check_parity(answers(task, 0.0), answers(task, limit * 1.05), _Images(), precision=precision)


@pytest.mark.parametrize("task", ["classify", "segment"])
def test_another_top_class_is_another_answer_though_the_difference_is_small(task: str) -> None:
    def level(apart: float):  # type: ignore[no-untyped-def]
        def answer(pixels: np.ndarray) -> Mapping[str, np.ndarray]:
            row = np.array([0.5 + apart, 0.5 - apart], np.float32)
            row = np.broadcast_to(row[:, None, None], (2, 32, 32)) if task == "segment" else row
            return {"probabilities": np.stack([row] * len(pixels))}

        return Told(task, answer)

    apart = 0.4 * LIMITS[task]["float32"]
    if task == "classify":
        with pytest.raises(ParityError, match="in 2 predictions"):
            check_parity(level(apart), level(-apart), _Images())
    else:
        # Of pixels a gap within the tolerance is level.
        assert check_parity(level(apart), level(-apart), _Images()).decisions_changed == 0
    assert check_parity(level(1e-8), level(-1e-8), _Images()).decisions_changed == 0


def test_a_box_that_moved_is_another_object() -> None:
    def box(x: float):  # type: ignore[no-untyped-def]
        def answer(pixels: np.ndarray) -> Mapping[str, np.ndarray]:
            boxes = np.tile(np.array([[x, 0, x + 20, 20]], np.float32), (len(pixels), 1, 1))
            return {"boxes": boxes, "scores": np.tile(np.array([[0.6, 0.0]], np.float32), (len(pixels), 1, 1))}

        return Told("detect", answer, iou=0.6)

    # An IoU of 0.992 and of 0.980.
    assert check_parity(box(4), box(4.08), _Images()).objects == 2
    with pytest.raises(ParityError):
        check_parity(box(4), box(4.2), _Images())
