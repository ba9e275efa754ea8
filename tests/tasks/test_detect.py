"""Detection and instances: what raw arrays mean, and what a person is shown of them."""

import numpy as np
import pytest

from eyewright.core import LabelSpace
from eyewright.core.errors import BundleError, DatasetError
from eyewright.core.task import task_of
from eyewright.imaging.preparation import Placement, Preparation
from eyewright.tasks.boxes import choose_boxes, keep_apart
from eyewright.tasks.detect import BoxPrediction

LABELS = LabelSpace(("cross", "disc"))
WHOLE = Placement((100, 200), (1.0, 1.0), (0.0, 0.0))


def arrays(boxes: list[list[float]], scores: list[list[float]]) -> dict[str, np.ndarray]:
    return {"boxes": np.array([boxes], np.float32), "scores": np.array([scores], np.float32)}


def test_boxes_of_a_prepared_image_come_back_in_source_pixels() -> None:
    preparation = Preparation((50, 50), fit="letterbox")
    placement = preparation.place((100, 200))
    (found,) = task_of("detect").decode(arrays([[10, 15, 20, 30]], [[0.1, 0.9]]), [placement], LABELS)
    # 200x100 becomes 50x25, with 12.5 (12 or 13) rows above and below.
    assert found.boxes_xyxy[:, [0, 2]].tolist() == [[40.0, 80.0]] * len(found)
    assert found.boxes_xyxy[0, 1] == pytest.approx((15 - placement.offset_yx[0]) * 4)
    assert found.labels == ("disc", "cross")
    assert found.size_hw == (100, 200)


def test_boxes_are_clipped_to_the_image_before_suppression_and_not_after() -> None:
    """Two boxes that differ only outside the image are one object; one wholly outside is none."""
    both = arrays([[-80, 10, 40, 40], [0, 10, 40, 40], [-50, 10, -5, 40]], [[0.9, 0], [0.8, 0], [0.7, 0]])
    (found,) = task_of("detect").decode(both, [WHOLE], LABELS)
    assert found.boxes_xyxy.tolist() == [[0.0, 10.0, 40.0, 40.0]]
    assert found.scores.tolist() == pytest.approx([0.9])


def test_options_of_decoding_mean_what_they_say() -> None:
    raw = arrays([[0, 0, 10, 10], [0, 0, 10, 8], [50, 50, 60, 60]], [[0.9, 0], [0.8, 0], [0.3, 0]])
    decode = task_of("detect").decode
    # The IoU of the first two is 0.8.
    assert [len(decode(raw, [WHOLE], LABELS, iou=t)[0]) for t in (0.79, 0.81, 1.0)] == [2, 3, 3]
    assert len(decode(raw, [WHOLE], LABELS, least=0.5, iou=1.0)[0]) == 2
    assert len(decode(raw, [WHOLE], LABELS, most=1)[0]) == 1
    # Boxes of two classes never suppress each other.
    assert len(decode(arrays([[0, 0, 10, 10], [0, 0, 10, 10]], [[0.9, 0], [0, 0.8]]), [WHOLE], LABELS)[0]) == 2


@pytest.mark.parametrize("wrong", [
    {}, {"boxes": np.zeros((1, 2, 3), np.float32)}, {"scores": np.zeros((1, 2, 3), np.float32)},
    {"boxes": np.full((1, 2, 4), np.nan, np.float32)}, {"scores": np.full((1, 2, 2), 1.5, np.float32)},
])  # fmt: skip
def test_arrays_that_were_not_promised_are_refused(wrong: dict[str, np.ndarray]) -> None:
    good = arrays([[0, 0, 1, 1], [0, 0, 2, 2]], [[0.5, 0.1], [0.2, 0.3]])
    with pytest.raises(BundleError):
        task_of("detect").decode({**good, **wrong} if wrong else {}, [WHOLE], LABELS)


def test_what_is_shown_reaches_the_operating_point_of_its_class() -> None:
    boxes = np.array([[0, 0, 5, 5], [9, 9, 15, 15], [20, 20, 30, 30]], np.float32)
    one = BoxPrediction(boxes, np.array([0.875, 0.5, 0.25], np.float32), np.array([0, 1, 1]), LABELS, (40, 40))
    settle = task_of("detect").settle
    assert settle(one, np.array([0.95, 0.4])).labels == ("disc",)
    assert settle(one, np.array([0.875, 0.25])).scores.tolist() == [0.875, 0.5, 0.25]
    assert len(settle(one, np.array([0.95, 0.4]), conf=0.5)) == 2
    assert len(settle(one, None)) == 3
    assert len(settle(settle(one, None), None, conf=1.0)) == 0


def test_a_prediction_says_what_clients_drift_and_logs_need() -> None:
    boxes = np.array([[0, 0, 5, 5], [9, 9, 15, 15]], np.float32)
    one = BoxPrediction(boxes, np.array([0.9, 0.5], np.float32), np.array([1, 1]), LABELS, (40, 40))
    assert one.numbers().tolist() == [0.0, 2.0]
    assert one.headline() == ("disc", pytest.approx(0.9))
    assert one.line() == "2 disc"
    assert one.to_hub()[0]["box"] == {"xmin": 0, "ymin": 0, "xmax": 5, "ymax": 5}
    nothing = one.chosen(np.zeros(2, bool))
    assert (nothing.headline(), nothing.line(), nothing.to_hub()) == (("", 0.0), "nothing", [])


def test_instances_have_masks_inside_their_boxes() -> None:
    """A mask is the weighted sum of the prototypes, above 0, in source pixels."""
    prototypes = np.full((1, 2, 8, 8), -4.0, np.float32)
    prototypes[0, 0, :, :4] = 4.0
    raw = {
        **arrays([[0, 0, 32, 32], [0, 0, 32, 16]], [[0.9, 0], [0.8, 0]]),
        "coefficients": np.array([[[1.0, 0.0], [-1.0, 0.0]]], np.float32), "prototypes": prototypes,
    }  # fmt: skip
    placement = Placement((64, 64), (0.5, 0.5), (0.0, 0.0))
    (found,) = task_of("instance").decode(raw, [placement], LABELS, iou=1.0)
    masks = found.masks
    assert masks is not None
    assert masks.shape == (2, 64, 64)
    # The left half of the image; the other, negated, the right half of the upper half.
    assert masks[0][:, :28].all()
    assert not masks[0][:, 36:].any()
    assert masks[1][:28, 36:].all()
    assert not masks[1][34:].any()
    with pytest.raises(BundleError, match="coefficients"):
        task_of("instance").decode(arrays([[0, 0, 9, 9]], [[0.9, 0]]), [placement], LABELS)


def test_suppression_keeps_the_highest_score_first() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [4, 0, 14, 10], [40, 0, 50, 10]], np.float64)
    scores = np.array([0.5, 0.9, 0.7, 0.1])
    assert keep_apart(boxes, scores, iou=0.5).tolist() == [1, 3]
    assert keep_apart(boxes, scores, iou=0.6).tolist() == [1, 2, 3]
    assert keep_apart(boxes, scores, iou=0.5, labels=np.array([0, 1, 0, 0])).tolist() == [1, 2, 0, 3]
    assert keep_apart(boxes, scores, iou=0.5, most=1).tolist() == [1]
    inner = np.array([[0, 0, 100, 100], [10, 10, 20, 20]], np.float64)
    assert keep_apart(inner, np.array([0.9, 0.8]), iou=0.5).tolist() == [0, 1]
    assert keep_apart(inner, np.array([0.9, 0.8]), iou=0.5, contained=0.7).tolist() == [0]


def test_suppression_agrees_with_the_plain_loop_over_blocks() -> None:
    rng = np.random.default_rng(0)
    corner = rng.random((400, 2)) * 60
    boxes = np.concatenate([corner, corner + 4 + rng.random((400, 2)) * 20], 1)
    scores, labels = rng.random(400), rng.integers(0, 3, 400)

    def iou(a: np.ndarray, b: np.ndarray) -> float:
        wide, high = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
        both = max(0.0, wide) * max(0.0, high)
        return float(both / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both))

    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable").tolist():
        if all(labels[i] != labels[j] or iou(boxes[i], boxes[j]) <= 0.4 for j in kept):
            kept.append(i)
    assert keep_apart(boxes, scores, iou=0.4, labels=labels).tolist() == kept


def test_of_very_many_candidates_those_of_highest_score_go_on() -> None:
    n = 2500
    places = np.arange(n) * 20.0
    boxes = np.stack([places, np.zeros(n), places + 10, np.full(n, 10.0)], 1)
    scores = np.linspace(0.2, 0.9, n)[:, None]
    points, ids = choose_boxes(boxes, scores, least=0.1, iou=0.6, most=5000)
    assert len(points) == 2000
    assert points[0] == n - 1
    assert set(points.tolist()) == set(range(500, n))
    assert not ids.any()


def test_unknown_classes_are_named() -> None:
    with pytest.raises(DatasetError, match="did you mean"):
        LABELS.id("discs")
