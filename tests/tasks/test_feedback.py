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


def test_composed_letters_are_one_label_and_other_case_is_not() -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    options = {"task": "classify", "labels": (composed, "tea")}
    assert check_feedback({"label": apart}, **options) == {"label": composed}
    with pytest.raises(UsageError, match="did you mean 'tea'"):
        check_feedback({"label": "Tea"}, **options)
    for name in ("TEA", f" {apart}", "Cafe\u0301"):
        with pytest.raises(UsageError, match=r"differs from .* only in case or spaces"):
            check_feedback({"label": name}, **options, new_classes=[name])


@pytest.mark.parametrize(
    "said",
    [
        {"correct": True, "objects": [{"label": "a", "box_xyxy": [0, 0, 4, 4], "verdict": "missing"}]},
        {"objects": [{"label": "a", "box_xyxy": [0, 0, 4, 4], "verdict": "right", "predicted": "b"}]},
        {"objects": [{"label": "a", "box_xyxy": [0, 0, 4, 4], "verdict": "wrong_label", "predicted": "a"}]},
    ],
)
def test_feedback_that_contradicts_itself_is_refused(said: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="contradicts itself"):
        check_feedback(said, task="detect", labels=("a", "b"), size_hw=(8, 8))


def test_an_object_said_twice_counts_once_and_a_box_of_another_image_is_refused() -> None:
    options = {"task": "detect", "labels": ("a",), "size_hw": (100, 100)}
    box = {"label": "a", "box_xyxy": [10, 10, 30, 30]}
    assert len(check_feedback({"objects": [box, dict(box)]}, **options)["objects"]) == 1
    with pytest.raises(UsageError, match="in the image of 100x100 pixels"):
        check_feedback({"objects": [{"label": "a", "box_xyxy": [80, 80, 160, 160]}]}, **options)
