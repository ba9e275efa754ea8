"""From what was said of a prediction to a target: exact values on small images that are not square."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eyewright.data.targets.objects import Objects
from eyewright.imaging.rasters import encode_counts, pack_counts
from eyewright.tasks.corrections import (
    VOID,
    Correction,
    NotUsableError,
    corrected_label,
    corrected_mask,
    corrected_objects,
    labels_in,
    taught_objects,
    true_objects,
)

NAMES = ("ground", "crack", "hole")


def said(
    content: Mapping[str, Any],
    *,
    predicted: str = "",
    source_hw: tuple[int, int] = (4, 6),
    size_hw: tuple[int, int] | None = None,
    names: tuple[str, ...] = NAMES,
    found: Any = None,
    ids: tuple[int, ...] = (0, 1, 2),
) -> Any:
    def again() -> tuple[Any, np.ndarray]:
        if found is None:
            pytest.fail("the image was predicted again")
        return found, np.array(ids)

    # The target that reads a mask is stood in for by the mask itself.
    keep: Any = lambda mask: mask  # noqa: E731
    return Correction(content, predicted, source_hw, size_hw or source_hw, names, again, keep)


def outline(mask: np.ndarray) -> dict[str, Any]:
    return {"size": list(mask.shape), "counts": pack_counts(encode_counts(mask))}


def area(top: int, left: int, bottom: int, right: int, size_hw: tuple[int, int] = (4, 6)) -> np.ndarray:
    mask = np.zeros(size_hw, bool)
    mask[top:bottom, left:right] = True
    return mask


def marked(label: str, *corners: int, **more: Any) -> dict[str, Any]:
    return {"label": label, "segmentation": outline(area(*corners)), **more}


def test_labels_and_objects_are_listed_as_they_were_said() -> None:
    content = {"label": "crack", "objects": [{"label": "hole"}, {"box_xyxy": [0, 0, 1, 1]}, {"label": "crack"}]}
    assert labels_in(content) == ["crack", "hole", "crack"]
    assert labels_in({"correct": True, "objects": None}) == []
    rows = [{"label": "hole", "verdict": v} for v in ("right", "false_alarm", "missing", "wrong_box")]
    kept = true_objects({"objects": [*rows, {"label": "crack"}, "nonsense"]})
    assert kept == [rows[0], rows[2], rows[3], {"label": "crack"}]
    assert true_objects({"objects": []}) == []
    assert true_objects({"correct": True}) is None
    assert true_objects({"objects": "hole"}) is None


def test_a_label_is_what_was_said_or_else_the_prediction_that_was_called_right() -> None:
    assert corrected_label(said({"label": "hole"}, predicted="crack")) == 2
    assert corrected_label(said({"correct": True}, predicted="crack")) == 1
    assert corrected_label(said({"correct": False, "label": "ground"}, predicted="crack")) == 0
    for content in ({"correct": False}, {"comment": "?"}, {"correct": "true"}):
        with pytest.raises(NotUsableError, match="wrong, and not what is right"):
            corrected_label(said(content, predicted="crack"))
    with pytest.raises(NotUsableError, match="not one of the model's classes"):
        corrected_label(said({"label": "scratch"}))


def test_boxes_shrink_with_the_image_that_was_kept_each_side_by_its_own_ratio() -> None:
    rows = [{"label": "hole", "box_xyxy": [10, 20, 40, 60]}, {"label": "crack", "box_xyxy": [0, 0, 100, 80]}]
    found = corrected_objects(said({"objects": rows}, source_hw=(80, 100), size_hw=(40, 20)), outlined=False)
    assert found.boxes_xyxy.tolist() == [[2, 10, 8, 30], [0, 0, 20, 40]]
    assert found.label_ids.tolist() == [2, 1]
    assert found.crowd.tolist() == [False, False]
    assert len(found.outlines) == 0


def test_a_box_is_that_of_its_outline_where_there_is_one() -> None:
    rows = [marked("crack", 1, 2, 3, 5, box_xyxy=[0, 0, 6, 4]), {"label": "hole", "box_xyxy": [0, 0, 2, 1]}]
    boxes = corrected_objects(said({"objects": rows}), outlined=False)
    assert boxes.boxes_xyxy.tolist() == [[2, 1, 5, 3], [0, 0, 2, 1]]
    assert len(boxes.outlines) == 0
    found = corrected_objects(said({"objects": rows}), outlined=True)
    assert found.boxes_xyxy.tolist() == [[2, 1, 5, 3], [0, 0, 2, 1]]
    # A box without an outline is neither a mask to learn nor background.
    assert found.crowd.tolist() == [False, True]
    assert np.array_equal(found.outlines[0].mask((4, 6)), area(1, 2, 3, 5))
    assert not found.outlines[1]
    with pytest.raises(NotUsableError, match="no outlines"):
        corrected_objects(said({"objects": rows[1:]}), outlined=True)


def test_an_outline_shrinks_to_the_pixels_at_the_centres_of_the_kept_image() -> None:
    whole = area(2, 3, 6, 9, (8, 12))
    row = {"label": "crack", "segmentation": outline(whole)}
    correction = said({"objects": [row]}, source_hw=(8, 12), size_hw=(4, 4))
    found = corrected_objects(correction, outlined=True)
    # Rows 1, 3, 5, 7 and columns 1, 4, 7, 10 are at the centres.
    assert np.array_equal(found.outlines[0].mask((4, 4)), whole[1::2][:, 1::3])
    assert found.boxes_xyxy.tolist() == [[1, 1, 3, 3]]
    odd = said({"objects": [row]}, source_hw=(8, 12), size_hw=(5, 12))
    # Rows 0.8, 2.4, 4, 5.6, 7.2.
    assert np.array_equal(corrected_objects(odd, outlined=True).outlines[0].mask((5, 12)), whole[[0, 2, 4, 5, 7]])


def test_an_outline_that_holds_no_pixel_of_the_kept_image_is_a_box() -> None:
    row = {"label": "crack", "segmentation": outline(area(0, 0, 1, 1, (8, 12))), "box_xyxy": [0, 0, 6, 8]}
    correction = said({"objects": [row]}, source_hw=(8, 12), size_hw=(2, 3))
    assert corrected_objects(correction, outlined=False).boxes_xyxy.tolist() == [[0, 0, 1.5, 2]]
    with pytest.raises(NotUsableError):
        corrected_objects(correction, outlined=True)


@pytest.mark.parametrize("outlined", [False, True])
def test_no_objects_are_an_answer_and_silence_is_none(outlined: bool) -> None:
    for rows in ([], [{"label": "hole", "box_xyxy": [0, 0, 2, 2], "verdict": "false_alarm"}]):
        none = corrected_objects(said({"objects": rows}), outlined=outlined)
        assert isinstance(none, Objects)
        assert len(none) == 0
    for content in ({"correct": False}, {"comment": "?"}):
        with pytest.raises(NotUsableError, match="not what is right"):
            corrected_objects(said(content), outlined=outlined)


def found_objects(masks: np.ndarray | None) -> Any:
    boxes = np.array([[1, 0, 3, 2], [2, 1, 6, 4]], np.float32)
    return SimpleNamespace(boxes_xyxy=boxes, label_ids=np.array([1, 0]), masks=masks)


def test_a_prediction_that_was_right_is_learnt_in_the_classes_of_the_new_model() -> None:
    masks = np.stack([area(0, 1, 2, 3), area(1, 2, 4, 6)])
    for given in (None, masks):
        found = corrected_objects(said({"correct": True}, found=found_objects(given), ids=(2, 1)), outlined=True)
        assert found.boxes_xyxy.tolist() == [[1, 0, 3, 2], [2, 1, 6, 4]]
        assert found.boxes_xyxy.dtype == np.float64
        assert found.label_ids.tolist() == [1, 2]
        assert found.crowd.tolist() == [False, False]
        assert len(found.outlines) == (0 if given is None else 2)
    assert np.array_equal(found.outlines[1].mask((4, 6)), masks[1])
    assert taught_objects(found_objects(None), np.array([5, 7])).label_ids.tolist() == [7, 5]


def test_a_mask_is_painted_with_background_under_the_objects_whatever_their_order() -> None:
    rows = [marked("hole", 0, 0, 2, 3), marked("crack", 1, 2, 4, 6)]
    mask = corrected_mask(said({"objects": rows}, names=("__Background__", "crack", "hole")))
    expected = np.zeros((4, 6), np.uint8)
    expected[:2, :3], expected[1:, 2:] = 2, 1
    assert np.array_equal(mask, expected)
    assert mask.dtype == np.uint8
    assert corrected_mask(said({"objects": []}, names=("crack", "Background"))).tolist() == [[1] * 6] * 4


def test_background_that_was_marked_lies_lowest_and_the_rest_is_void() -> None:
    names = ("crack", "background")
    rows = [marked("crack", 0, 0, 2, 2), marked("background", 0, 0, 4, 3)]
    mask = corrected_mask(said({"objects": rows}, names=names))
    expected = np.full((4, 6), VOID)
    expected[:, :3], expected[:2, :2] = 1, 0
    assert np.array_equal(mask, expected)


def test_without_a_background_class_what_nothing_covers_is_void() -> None:
    names = ("road", "tree")
    mask = corrected_mask(said({"objects": [marked("tree", 0, 0, 4, 1)]}, names=names))
    assert mask[:, 0].tolist() == [1] * 4
    assert (mask[:, 1:] == VOID).all()
    # Nothing at all, or only boxes: no pixel is known.
    for rows in ([], [{"label": "tree", "box_xyxy": [0, 0, 2, 2]}]):
        with pytest.raises(NotUsableError, match="no pixel of a class"):
            corrected_mask(said({"objects": rows}, names=names))


def test_a_painted_mask_has_the_size_of_the_kept_image() -> None:
    row = {"label": "crack", "segmentation": outline(area(0, 0, 4, 6, (8, 12)))}
    # Of 12 columns those at 2, 6 and 10 are at the centres.
    names = ("background", "crack")
    mask = corrected_mask(said({"objects": [row]}, source_hw=(8, 12), size_hw=(4, 3), names=names))
    assert mask.tolist() == [[1, 0, 0]] * 2 + [[0, 0, 0]] * 2


FOUND = SimpleNamespace(mask=np.array([[0, 0, 1, 1, 2, 2]] * 4, np.uint8))


def test_classes_called_wrong_are_void_and_so_is_what_nobody_judged() -> None:
    def judged(classes: Mapping[str, bool], **more: Any) -> list[int]:
        mask: np.ndarray = corrected_mask(said({"classes": classes, **more}, found=FOUND))
        assert mask.dtype == np.uint8
        assert (mask == mask[0]).all()
        return mask[0].tolist()

    assert judged({"crack": True, "hole": False}) == [VOID, VOID, 1, 1, VOID, VOID]
    assert judged({"ground": True, "hole": True, "crack": False}) == [0, 0, VOID, VOID, 2, 2]
    # All that were judged are right: the mask is, with the classes that were not.
    assert judged({"hole": True}) == [0, 0, 1, 1, 2, 2]
    # The whole was called right.
    assert judged({}, correct=True) == [0, 0, 1, 1, 2, 2]
    # A class that the new model does not know is no pixel to learn.
    assert judged({"hole": True, "scratch": True, "crack": False}) == [VOID, VOID, VOID, VOID, 2, 2]


def test_judged_classes_are_mapped_to_the_classes_of_the_new_model() -> None:
    mask = corrected_mask(said({"classes": {"hole": True, "crack": False}}, found=FOUND, ids=(1, 2, 0)))
    # The model's class 1 is the hole now, and its class 2 the ground.
    assert mask[0].tolist() == [VOID, VOID, 2, 2, VOID, VOID]


def test_a_mask_of_which_nothing_right_is_left_is_not_learnt() -> None:
    for classes in ({"crack": False}, {"scratch": True, "crack": False}):
        with pytest.raises(NotUsableError, match="which classes are wrong"):
            corrected_mask(said({"classes": classes}, found=FOUND))
    bare = SimpleNamespace(mask=np.zeros((4, 6), np.uint8))
    with pytest.raises(NotUsableError, match="which classes are wrong"):
        corrected_mask(said({"classes": {"hole": True, "crack": False}}, found=bare))
    for content in ({"correct": False}, {"classes": {}}, {"comment": "?"}):
        with pytest.raises(NotUsableError, match="not what is right"):
            corrected_mask(said(content, found=FOUND))
