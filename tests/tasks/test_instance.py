"""Masks of instances: prototypes and coefficients to pixels of the source, inside each object's box."""

import numpy as np
import pytest

from eyewright.core import LabelSpace
from eyewright.core.errors import BundleError
from eyewright.core.task import task_of
from eyewright.imaging.preparation import Placement
from eyewright.tasks.detect import BoxPrediction
from eyewright.tasks.instance import _crop

LABELS = LabelSpace(("cross", "disc"))
DECODE = task_of("instance").decode


def raw(boxes: list[list[float]], coefficients: list[list[float]], prototypes: np.ndarray) -> dict[str, np.ndarray]:
    scores = np.zeros((1, len(boxes), 2), np.float32)
    scores[0, :, 0] = np.linspace(0.9, 0.6, len(boxes))
    return {
        "boxes": np.array([boxes], np.float32), "scores": scores,
        "coefficients": np.array([coefficients], np.float32), "prototypes": prototypes[None].astype(np.float32),
    }  # fmt: skip


def decoded(boxes: list[list[float]], logits: np.ndarray, placement: Placement) -> BoxPrediction:
    (found,) = DECODE(raw(boxes, [[1.0]] * len(boxes), logits[None]), [placement], LABELS, iou=1.0)
    return found


def test_a_mask_is_the_weighted_sum_of_prototypes_of_its_own_image_and_point() -> None:
    """Prototypes of two images, each one quarter of 16x24 prepared pixels; the mask is where the sum is above 0."""
    rng = np.random.default_rng(0)
    prototypes = rng.normal(size=(2, 3, 4, 6)).astype(np.float32)
    coefficients = rng.normal(size=(2, 2, 3)).astype(np.float32)
    boxes = np.tile(np.array([[0, 0, 24, 16]], np.float32), (2, 2, 1))
    scores = np.array([[[0.5, 0], [0.9, 0]], [[0.8, 0], [0, 0.3]]], np.float32)
    arrays = {"boxes": boxes, "scores": scores, "coefficients": coefficients, "prototypes": prototypes}
    # A source of the size of the prototypes: no pixel is interpolated.
    placement = Placement((4, 6), (4.0, 4.0), (0.0, 0.0))
    found = DECODE(arrays, [placement, placement], LABELS, iou=1.0)
    for i, points in enumerate(([1, 0], [0, 1])):
        masks = found[i].masks
        assert masks is not None
        expected = np.einsum("nk,khw->nhw", coefficients[i, points].astype(float), prototypes[i].astype(float)) > 0
        assert np.array_equal(masks, expected)


def test_a_mask_is_cut_to_whole_pixels_around_its_box_and_to_the_image() -> None:
    placement = Placement((12, 20), (2.0, 2.0), (0.0, 0.0))
    boxes = [[8.2, 4.2, 19.8, 12.0], [30, 16, 60, 60], [-9, -9, 3, 3]]
    found = decoded(boxes, np.ones((6, 10)), placement)
    assert found.crops is not None
    places = [(c.top, c.left, *c.mask.shape) for c in found.crops]
    # In source pixels (4.1, 2.1)-(9.9, 6), (15, 8)-(20, 12) and (0, 0)-(1.5, 1.5).
    assert places == [(2, 4, 4, 6), (8, 15, 4, 5), (0, 0, 2, 2)]
    assert all(c.mask.all() for c in found.crops)
    masks = found.masks
    assert masks is not None
    assert masks.sum((1, 2)).tolist() == [24, 20, 4]


def test_masks_of_a_letterboxed_image_come_back_without_its_margins() -> None:
    """16x32 source pixels lie at half their size in 16x16 prepared ones, with 4 rows above and below."""
    logits = np.full((4, 4), -1.0)
    logits[1:3, 2:] = 1.0
    placement = Placement((16, 32), (0.5, 0.5), (4.0, 0.0))
    found = decoded([[0, 4, 16, 12]], logits, placement)
    assert found.boxes_xyxy.tolist() == [[0, 0, 32, 16]]
    masks = found.masks
    assert masks is not None
    assert masks[0][:, 24:].all()
    assert masks[0][4:12, 17:].all()
    assert not masks[0][:, :16].any()


def test_each_side_has_its_own_scale_and_offset() -> None:
    """A source of 8x24 pixels, stretched to 16x12 at (2, 4): a mark at source rows 4-8 and columns 8-16."""
    placement = Placement((8, 24), (2.0, 0.5), (4.0, 8.0))
    logits = np.full((5, 5), -1.0)
    logits[3:5, 3] = 1.0
    (crop,) = decoded([[8, 4, 20, 20]], logits, placement).crops or ()
    assert (crop.top, crop.left, crop.mask.shape) == (0, 0, (8, 24))
    # Cells are 2x8 source pixels: rows 4-8, columns 8-16; bilinear edges lie halfway between centres of cells.
    assert np.array_equal(np.flatnonzero(crop.mask.any(1)), np.arange(4, 8))
    assert np.array_equal(np.flatnonzero(crop.mask.any(0)), np.arange(8, 16))


def test_a_logit_of_zero_is_outside() -> None:
    placement = Placement((8, 8), (1.0, 1.0), (0.0, 0.0))
    for value, inside in ((0.0, False), (1e-3, True), (-1e-3, False)):
        (crop,) = decoded([[0, 0, 8, 8]], np.full((2, 2), value), placement).crops or ()
        assert (crop.mask == inside).all()


def test_a_box_beyond_the_prototypes_or_within_a_pixel_has_a_mask_of_its_place() -> None:
    ones = np.ones((2, 2), np.float32)
    # The source reaches to x = 40 in prepared pixels, the prototypes only to 8.
    placement = Placement((4, 20), (2.0, 2.0), (0.0, 0.0))
    beyond = _crop(ones, np.array([10, 1, 14, 3], np.float32), placement)
    assert (beyond.top, beyond.left, beyond.mask.shape, beyond.mask.any()) == (1, 10, (2, 4), False)
    below = _crop(ones, np.array([1, 10, 3, 14], np.float32), Placement((20, 4), (2.0, 2.0), (0.0, 0.0)))
    assert (below.top, below.left, below.mask.shape, below.mask.any()) == (10, 1, (4, 2), False)
    within = _crop(ones, np.array([2.2, 1.2, 2.4, 1.4], np.float32), placement)
    assert (within.top, within.left, within.mask.tolist()) == (1, 2, [[True]])
    on_a_line = _crop(ones, np.array([2, 1, 2, 1], np.float32), placement)
    assert (on_a_line.top, on_a_line.left, on_a_line.mask.tolist()) == (1, 2, [[True]])


@pytest.mark.parametrize("missing", ["coefficients", "prototypes"])
def test_arrays_that_do_not_belong_together_are_refused(missing: str) -> None:
    good = raw([[0, 0, 8, 8]], [[1.0, 0.0]], np.ones((2, 2, 2)))
    placement = Placement((8, 8), (1.0, 1.0), (0.0, 0.0))
    assert len(DECODE(good, [placement], LABELS)[0]) == 1
    with pytest.raises(BundleError, match="expected coefficients"):
        DECODE({k: v for k, v in good.items() if k != missing}, [placement], LABELS)
    with pytest.raises(BundleError, match="expected coefficients"):
        DECODE({**good, "prototypes": np.ones((1, 3, 2, 2), np.float32)}, [placement], LABELS)


def test_without_objects_there_are_no_masks_of_the_images_size() -> None:
    empty = {**raw([[0, 0, 8, 8]], [[1.0]], np.ones((1, 2, 2)))}
    empty["scores"] = np.zeros((1, 1, 2), np.float32)
    (found,) = DECODE(empty, [Placement((5, 7), (1.0, 1.0), (0.0, 0.0))], LABELS)
    assert found.crops == ()
    assert found.masks is not None
    assert found.masks.shape == (0, 5, 7)


def test_the_example_holds_masks_for_every_object() -> None:
    arrays, truth = task_of("instance").example(np.random.default_rng(0))
    assert {k: v.shape for k, v in arrays.items()} == {
        "boxes": (12, 6, 4), "scores": (12, 6, 3), "coefficients": (12, 6, 2), "prototypes": (12, 2, 4, 6),
    }  # fmt: skip
    assert all(len(t.masks) == len(t) == 2 for t in truth)
    assert all(m.mask.shape == (16, 24) for t in truth for m in t.masks)
