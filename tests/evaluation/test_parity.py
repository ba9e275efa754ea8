"""The parity gate on boxes: what is the same, what is level, what is not."""

import numpy as np
import pytest

from eyewright.core.errors import ParityError
from eyewright.core.labels import LabelSpace
from eyewright.core.task import Agreement
from eyewright.evaluation import parity
from eyewright.evaluation.parity import Parity, check_parity
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
    with pytest.raises(ParityError, match="in 4 predictions"):
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


class _Scores:
    """A classifier of two classes that answers the scores it is given, in the images' order."""

    task_name = "classify"
    labels = LabelSpace(("a", "b"))
    preparation = Preparation((64, 64))

    def __init__(self, first: float | list[float], *, classes: int = 2) -> None:
        self._first, self._classes = first, classes
        self.seen: list[np.ndarray] = []

    def raw(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        self.seen.append(pixels)
        first = np.broadcast_to(np.asarray(self._first, np.float32), (len(pixels),))
        rows = np.stack([first, 1 - first, *[np.zeros_like(first)] * (self._classes - 2)], 1)
        return {"probabilities": rows}


class _Many(_Images):
    def __init__(self, n: int) -> None:
        self._n = n

    def __len__(self) -> int:
        return self._n

    def image(self, index: int) -> np.ndarray:
        return np.full((64, 64, 3), index % 256, np.uint8)


def test_probabilities_may_differ_by_a_ten_thousandth() -> None:
    found = check_parity(_Scores(0.75), _Scores(0.75009), _Many(5))
    assert (found.n, found.decisions_changed, found.objects, found.tolerance) == (5, 0, 0, 1e-4)
    assert found.worst == pytest.approx(9e-5, rel=0.01)
    assert (found.beside, dict(found.amounts)) == ("the trained net", {})
    with pytest.raises(
        ParityError, match=r"the exported model differs from the trained one: by up to 0\.00011 in a prob"
    ):
        check_parity(_Scores(0.75), _Scores(0.75011), _Many(5))
    with pytest.raises(ParityError):
        check_parity(_Scores(0.75), _Scores(float("nan")), _Many(5))


def test_another_answer_fails_however_near_it_is() -> None:
    with pytest.raises(ParityError, match=r"\(allowed 0.0001\), in 3 predictions on 3 images"):
        check_parity(_Scores(0.50001), _Scores(0.49999), _Many(3))


def test_answers_of_another_shape_are_refused() -> None:
    with pytest.raises(ParityError, match=r"expected probabilities \(2, 2\), found \(2, 3\)"):
        check_parity(_Scores(0.7), _Scores(0.7, classes=3), _Many(2))


def test_every_image_is_compared_once_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "_CHUNK", 4)
    trained, exported = _Scores(0.7), _Scores(0.7)
    found = check_parity(trained, exported, _Many(10), names=("B", "A"))
    assert (found.n, found.beside) == (10, "A")
    for model in (trained, exported):
        assert [len(p) for p in model.seen] == [4, 4, 2]
        assert np.concatenate(model.seen)[:, 0, 0, 0].tolist() == list(range(10))


def test_the_trained_side_may_be_given_its_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "_CHUNK", 4)
    trained, exported = _Scores(0.7), _Scores(0.7)
    asked: list[list[int]] = []

    def pixels(indices: np.ndarray) -> np.ndarray:
        asked.append(indices.tolist())
        return np.full((len(indices), 64, 64, 3), 200, np.uint8)

    check_parity(trained, exported, _Many(6), trained_pixels=pixels)
    assert asked == [[0, 1, 2, 3], [4, 5]]
    assert {int(p[0, 0, 0, 0]) for p in trained.seen} == {200}
    assert int(exported.seen[1][1, 0, 0, 0]) == 5


def test_parity_says_what_was_compared() -> None:
    scores = Parity(1.26e-5, 0, 9, 1e-4)
    assert str(scores) == (
        "9 validation images have the same predictions, probabilities within 1.3e-05 of the trained net"
    )
    assert scores.to_json() == {"worst": 1.26e-5, "decisions_changed": 0, "n": 9, "tolerance": 1e-4}
    boxes = Parity(1.26e-5, 0, 9, 1e-3, objects=31, beside="A")
    assert str(boxes) == "9 validation images gave the same 31 boxes, scores within 1.3e-05 of A"
    assert boxes.to_json() == {"worst": 1.26e-5, "decisions_changed": 0, "n": 9, "tolerance": 1e-3, "objects": 31}
    amounts = Parity(0.5, 0, 9, 1.0, amounts={"weight": 2e-6, "age": 0.5})
    assert str(amounts) == (
        "9 validation images have the same predictions, weight within 2.0e-06, age within 5.0e-01 of the trained net"
    )
    assert amounts.to_json()["amounts"] == {"weight": 2e-6, "age": 0.5}


def test_what_is_not_a_number_in_one_batch_is_not_forgotten_in_the_next() -> None:
    nan = float("nan")
    for first, second in ((0.25, nan), (nan, 0.25)):
        found = Agreement(first, 1, 2, {"age": first}).joined(Agreement(second, 3, 4, {"age": second, "mass": 0.5}))
        assert np.isnan([found.worst, found.amounts["age"]]).all()
        assert (found.changed, found.objects, found.amounts["mass"]) == (4, 6, 0.5)
    both = Agreement(0.25, 0, amounts={"age": 2.0}).joined(Agreement(0.5, 0, amounts={"age": 1.0}))
    assert (both.worst, dict(both.amounts)) == (0.5, {"age": 2.0})


def test_parity_without_any_difference_says_equal() -> None:
    assert str(Parity(worst=0.0, decisions_changed=0, n=3, tolerance=1e-4, beside="the bundle")) == (
        "3 validation images have the same predictions, probabilities equal to those of the bundle"
    )
