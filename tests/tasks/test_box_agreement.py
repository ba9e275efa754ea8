"""Parity of detectors: which boxes of two models are the same, how far their scores are apart, what changed."""

import numpy as np
import pytest
from tests.tasks.predictors import Told

from eyewright.core.predictor import Answers
from eyewright.core.task import Agreement, Limits
from eyewright.imaging.preparation import Placement
from eyewright.tasks.box_agreement import LEAST_COMPARED, agree_on_boxes

WHOLE = Placement((32, 64), (1.0, 1.0), (0.0, 0.0))
LIMITS = Limits(1e-3, 0.99)
Row = tuple[float, float, float, float, float, int]


def answers(*images: list[Row], iou: float | None = 0.6) -> Answers:
    """Boxes of each image as x0, y0, x1, y1, score, label."""
    most = max(len(rows) for rows in images)
    boxes, scores = np.zeros((len(images), most, 4), np.float32), np.zeros((len(images), most, 2), np.float32)
    for i, rows in enumerate(images):
        for k, (*box, score, label) in enumerate(rows):
            boxes[i, k], scores[i, k, label] = box, score
    predictor = Told("detect", lambda pixels: {}, iou=iou)
    return Answers(predictor, {"boxes": boxes, "scores": scores}, [WHOLE] * len(images))  # type: ignore[arg-type]


def agreed(ours: list[Row], theirs: list[Row], limits: Limits = LIMITS, **options: float) -> Agreement:
    return agree_on_boxes(answers(ours, **options), answers(theirs, **options), limits)


A: Row = (0, 0, 10, 10, 0.9, 0)
B: Row = (20, 0, 40, 20, 0.5, 1)


def test_the_same_boxes_agree_whatever_their_order() -> None:
    assert agreed([A, B], [B, A]) == Agreement(0.0, 0, 2)
    assert agreed([], []) == Agreement(0.0, 0, 0)
    two = agree_on_boxes(answers([A, B], [B]), answers([A, B], [B]), LIMITS)
    assert two == Agreement(0.0, 0, 3)


def test_the_worst_difference_of_scores_is_that_of_all_objects_and_images() -> None:
    moved = [(*A[:4], 0.85, 0), (*B[:4], 0.53, 1)]
    found = agreed([A, B], moved)
    assert found.worst == pytest.approx(0.05, abs=1e-6)
    assert (found.changed, found.objects) == (0, 2)
    images = agree_on_boxes(answers([A], [B]), answers([A], [(*B[:4], 0.4, 1)]), LIMITS)
    assert images.worst == pytest.approx(0.1, abs=1e-6)


def test_an_object_that_one_of_them_lacks_has_changed() -> None:
    assert agreed([A, B], [A]) == Agreement(0.0, 1, 2)
    assert agreed([A], [A, B]) == Agreement(0.0, 1, 1)
    assert agreed([A], [B]) == Agreement(0.0, 2, 1)
    # Another class is another object, even in its place.
    assert agreed([A], [(*A[:5], 1)]) == Agreement(0.0, 2, 1)


def test_boxes_are_the_same_from_the_least_overlap_on() -> None:
    whole: Row = (0, 0, 20, 20, 0.9, 0)
    for height, same in ((19, True), (18.5, False)):
        # An IoU of 0.95 and 0.925.
        found = agreed([whole], [(0, 0, 20, height, 0.9, 0)], Limits(1e-3, 0.95))
        assert found.changed == (0 if same else 2)


def test_objects_of_a_score_that_nobody_sees_are_not_compared() -> None:
    limit = LEAST_COMPARED + 0.01
    for score, compared in ((limit + 1e-4, 1), (limit - 1e-4, 0)):
        found = agreed([A, (*B[:4], score, 1)], [A], Limits(0.01, 0.99))
        assert (found.changed, found.objects) == (compared, 1 + compared)


def test_the_nearest_of_several_boxes_in_one_place_is_compared() -> None:
    near: Row = (0, 0, 10, 9.95, 0.7, 0)
    # Both stay where nothing is suppressed (a threshold of 1).
    found = agreed([A, near], [A, near], iou=1.0)
    assert found == Agreement(0.0, 0, 2)


def test_a_box_at_the_threshold_of_suppression_may_go_either_way() -> None:
    """The second box overlaps the first by just above or just below 0.6."""

    def beside(shift: float) -> list[Row]:
        return [(0, 0, 20, 20, 0.9, 0), (shift, 0, 20 + shift, 20, 0.7, 0)]

    # IoU = (20 - s) / (20 + s): 0.6 at s = 5.
    kept, gone = beside(5.0005), beside(4.9995)
    assert len(answers(kept).read()[0]) == 2
    assert len(answers(gone).read()[0]) == 1
    assert agreed(kept, gone, Limits(1e-3, 0.99)) == Agreement(0.0, 0, 2)
    assert agreed(gone, kept, Limits(1e-3, 0.99)) == Agreement(0.0, 0, 1)
    # Clearly above the threshold it is another answer.
    assert agreed(beside(5.2), beside(4.9), Limits(1e-3, 0.97)).changed == 1
    # The score is compared all the same.
    moved = [gone[0], (*gone[1][:4], 0.68, 0)]
    assert agreed(kept, moved, Limits(1e-3, 0.99)).worst == pytest.approx(0.02, abs=1e-6)


def test_of_two_level_boxes_of_one_object_either_may_stay() -> None:
    def two(first: float, second: float) -> list[Row]:
        return [(0, 0, 20, 20, first, 0), (2, 0, 22, 20, second, 0)]

    # The IoU is 0.82: one of them stays, and which of them by a few millionths.
    assert agreed(two(0.7, 0.7 - 2e-6), two(0.7 - 2e-6, 0.7)).changed == 0
    assert agreed(two(0.7, 0.7 - 2e-6), two(0.7 - 2e-6, 0.7)).worst < 3e-6
    # By more than that it is another answer at the precision of float32 and of the parity of 1e-3 ...
    assert agreed(two(0.7, 0.6995), two(0.6995, 0.7)).changed == 2
    # ... and within the tolerance of 8 bits it is not.
    assert agreed(two(0.7, 0.69), two(0.69, 0.7), Limits(0.05, 0.9)).changed == 0
    assert agreed(two(0.7, 0.6), two(0.6, 0.7), Limits(0.05, 0.9)).changed == 2


def test_the_threshold_of_the_model_is_used_and_else_the_usual_one() -> None:
    pair = [(0, 0, 20, 20, 0.9, 0), (4, 0, 24, 20, 0.7, 0)]
    # The IoU is 2/3: two objects above a threshold of 0.7, one below the usual 0.6.
    assert agreed(pair, pair, iou=0.7).objects == 2
    assert agreed(pair, pair, iou=None).objects == 1
    assert agreed(pair, pair[:1], iou=0.7) == Agreement(0.0, 1, 2)
    assert agreed(pair[:1], pair, iou=0.7) == Agreement(0.0, 1, 1)


def test_all_objects_of_a_crowded_image_are_compared() -> None:
    """More than the 300 that an answer holds, all of one score: which are among the first is chance."""
    rows: list[Row] = [(x, y, x + 1, y + 1, 0.5, 0) for y in range(0, 32, 2) for x in range(0, 60, 2)]
    assert len(rows) == 480
    assert agreed(rows, rows[::-1]) == Agreement(0.0, 0, 480)
