"""The parity gate on boxes: what is the same, what is level, what is not."""

import numpy as np
import pytest

from eyewright.core.errors import ParityError
from eyewright.core.labels import LabelSpace
from eyewright.evaluation.parity import check_parity
from eyewright.imaging.preparation import Preparation


class _Told:
    """A detector of one class that answers these boxes for every image."""

    task_name = "detect"
    labels = LabelSpace(("cell", "other"))
    preparation = Preparation((64, 64))

    def __init__(self, boxes: list[list[float]], scores: list[float]) -> None:
        self.decoding = {"iou": 0.6}
        self._boxes, self._scores = np.array(boxes, np.float32), np.array(scores, np.float32)

    def raw(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        scores = np.stack([self._scores, np.zeros_like(self._scores)], 1)
        return {"boxes": np.stack([self._boxes] * len(pixels)), "scores": np.stack([scores] * len(pixels))}


class _Images:
    def __len__(self) -> int:
        return 2

    def image(self, index: int) -> np.ndarray:
        return np.zeros((64, 64, 3), np.uint8)


# Two boxes of one object: they overlap by 0.82, so the surer one stays alone.
ONE, OTHER = [10.0, 10.0, 50.0, 50.0], [12.0, 12.0, 52.0, 52.0]


def test_of_two_level_boxes_either_may_stay() -> None:
    trained = _Told([ONE, OTHER], [0.7000001, 0.7])
    exported = _Told([ONE, OTHER], [0.7, 0.7000001])
    found = check_parity(trained, exported, _Images())
    assert (found.decisions_changed, found.objects) == (0, 2)
    assert found.worst < 1e-5


def test_a_box_that_stays_where_it_was_clearly_less_sure_is_another_answer() -> None:
    trained = _Told([ONE, OTHER], [0.7002, 0.7])
    exported = _Told([ONE, OTHER], [0.7, 0.7002])
    with pytest.raises(ParityError, match="in 4 answers"):
        check_parity(trained, exported, _Images())


def test_a_level_box_elsewhere_or_of_another_class_does_not_stand_for_it() -> None:
    trained = _Told([ONE], [0.7])
    with pytest.raises(ParityError):
        check_parity(trained, _Told([[10.0, 10.0, 50.0, 25.0]], [0.7]), _Images())
    other = _Told([ONE], [0.7])
    raw = other.raw
    other.raw = lambda pixels: {**raw(pixels), "scores": raw(pixels)["scores"][..., ::-1]}  # type: ignore[method-assign]
    with pytest.raises(ParityError):
        check_parity(trained, other, _Images())
