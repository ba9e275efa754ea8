"""Feedback is checked in one place, whatever way it came in."""

import pytest

from eyewright.core.errors import UsageError
from eyewright.tasks.feedback import check_feedback


def test_an_unknown_label_is_refused_with_the_labels_and_a_suggestion_unless_declared() -> None:
    options = {"task": "classify", "labels": ("cross", "disc"), "predicted": "disc"}
    with pytest.raises(UsageError, match="unknown label 'dsic', expected one of: cross, disc; did you mean 'disc'"):
        check_feedback({"label": "dsic"}, **options)
    assert check_feedback({"label": "ring"}, **options, new_classes=["ring"]) == {
        "label": "ring", "new_classes": ["ring"],
    }  # fmt: skip
    with pytest.raises(UsageError, match="contradicts itself"):
        check_feedback({"label": "cross", "correct": True}, **options)


def test_boxes_are_cut_to_their_image_and_masks_must_fit_it() -> None:
    options = {"task": "instance", "labels": ("disc",), "size_hw": (10, 20)}
    (one,) = check_feedback({"objects": [{"label": "disc", "box_xyxy": [-5, 1, 30, 4]}]}, **options)["objects"]
    assert one["box_xyxy"] == [0.0, 1.0, 20.0, 4.0]
    for row in ({"label": "disc", "box_xyxy": [30, 1, 40, 4]}, {"label": "disc", "box_xyxy": [1, 1, 1, 4]},
                {"label": "disc", "segmentation": {"size": [10, 20], "counts": "13"}}):  # fmt: skip
        with pytest.raises(UsageError):
            check_feedback({"objects": [row]}, **options)
