"""Overlaps and the matching of objects: exact values by hand on a few boxes and masks."""

import numpy as np
import pytest

from eyewright.core.rng import generator
from eyewright.metrics import matching
from eyewright.metrics.matching import (
    Answers,
    Detected,
    MaskCrop,
    box_overlaps,
    crop_mask,
    mask_overlaps,
    match_detections,
    overlaps_of,
    whole_masks,
)


def objects(*rows: tuple[float, ...], scores: tuple[float, ...] | None = None, **more: object) -> Detected:
    """Objects as x0, y0, x1, y1, label."""
    table = np.array(rows, np.float64).reshape(-1, 5)
    given = None if scores is None else np.array(scores, np.float64)
    return Detected(table[:, :4], table[:, 4].astype(np.int64), given, **more)  # type: ignore[arg-type]


def test_box_overlaps_by_hand() -> None:
    a = np.array([[0, 0, 4, 2], [10, 10, 12, 13]], np.float64)
    b = np.array([[2, 1, 6, 3], [0, 0, 4, 2], [5, 5, 6, 6], [4, 0, 8, 2]], np.float64)
    # 2x1 of 8 + 8 - 2; the same; apart; side by side.
    assert box_overlaps(a, b)[0].tolist() == pytest.approx([2 / 14, 1.0, 0.0, 0.0])
    assert box_overlaps(a, b)[1].tolist() == [0, 0, 0, 0]
    crowd = np.array([True, True, False, False])
    assert box_overlaps(a, b, crowd)[0].tolist() == pytest.approx([2 / 8, 1.0, 0.0, 0.0])
    assert box_overlaps(a, np.array([[0, 0, 40, 20]], np.float64), np.array([True]))[0, 0] == 1.0
    # Apart on both axes: no product of two negatives; and a point of a box has no overlap.
    assert box_overlaps(a[:1], np.array([[6, 4, 8, 6], [1, 1, 1, 1]], np.float64)).tolist() == [[0.0, 0.0]]
    assert box_overlaps(np.zeros((0, 4)), b).shape == (0, 4)
    assert box_overlaps(np.zeros((1, 4)), np.zeros((1, 4))).tolist() == [[0.0]]


def test_crops_hold_what_is_there_and_come_back_whole() -> None:
    mask = np.zeros((5, 7), bool)
    mask[1, 3], mask[3, 5] = True, True
    crop = crop_mask(mask)
    assert (crop.top, crop.left, crop.mask.shape) == (1, 3, (3, 3))
    empty = crop_mask(np.zeros((5, 7), bool))
    assert (empty.top, empty.left, empty.mask.shape) == (0, 0, (0, 0))
    assert np.array_equal(whole_masks([crop, empty], (5, 7)), np.stack([mask, np.zeros((5, 7), bool)]))
    assert whole_masks([], (5, 7)).shape == (0, 5, 7)


def test_mask_overlaps_by_hand() -> None:
    square = MaskCrop(2, 3, np.ones((2, 4), bool))
    corner = np.ones((3, 3), bool)
    corner[0, 0] = False
    others = [
        MaskCrop(3, 5, corner),
        MaskCrop(4, 3, np.ones((2, 4), bool)),
        MaskCrop(2, 7, np.ones((2, 1), bool)),
        square,
    ]
    # Row 3 and columns 5 and 6 are in both; of the corner, column 5 is missing there.
    found = mask_overlaps([square], others)
    assert found[0].tolist() == pytest.approx([1 / (8 + 8 - 1), 0.0, 0.0, 1.0])
    crowd = np.array([True, False, False, True])
    assert mask_overlaps([square], others, crowd)[0].tolist() == pytest.approx([1 / 8, 0.0, 0.0, 1.0])
    nothing = MaskCrop(2, 3, np.zeros((2, 4), bool))
    assert mask_overlaps([nothing], [nothing]).tolist() == [[0.0]]
    assert mask_overlaps([], others).shape == (0, 4)


def test_the_area_is_the_stated_one_or_that_of_the_mask_or_of_the_box() -> None:
    box = (1, 2, 4, 7, 0)
    assert objects(box).area().tolist() == [15]
    masks = [MaskCrop(2, 1, np.eye(3, dtype=bool))]
    assert objects(box, masks=masks).area().tolist() == [3]
    assert objects(box, masks=masks, areas=np.array([9.0])).area().tolist() == [9]
    ours, theirs = objects(box, masks=masks), objects(box)
    assert overlaps_of(ours, theirs).tolist() == [[1.0]]
    half = objects(box, masks=[MaskCrop(2, 1, np.array([[1, 1, 0]] + [[0, 0, 0]] * 2, bool))])
    assert overlaps_of(ours, half).tolist() == [[pytest.approx(1 / 4)]]
    assert overlaps_of(ours, objects((0, 2, 3, 7, 0), crowd=np.array([True]))).tolist() == [[pytest.approx(10 / 15)]]


def matched(found: Detected, truth: Detected, **options: object) -> Answers:
    given = {"areas": ("all",), "thresholds": np.array([0.5]), **options}
    return match_detections([found], [truth], 1, **given).classes[0]  # type: ignore[arg-type]


def test_the_answer_of_highest_score_takes_the_object_and_each_object_is_taken_once() -> None:
    truth = objects((0, 0, 10, 10, 0))
    found = objects((0, 0, 10, 10, 0), (0, 0, 10, 9, 0), scores=(0.5, 0.8))
    one = matched(found, truth)
    assert one.scores.tolist() == [0.8, 0.5]
    assert one.ranks.tolist() == [0, 1]
    assert one.right[0, 0].tolist() == [True, False]
    assert not one.ignored.any()
    # Level with the threshold is enough; below it is not.
    assert matched(objects((0, 0, 10, 5, 0), scores=(0.5,)), truth).right.all()
    assert not matched(objects((0, 0, 10, 4.99, 0), scores=(0.5,)), truth).right.any()
    # Without scores answers are taken in their order.
    assert matched(objects((0, 0, 10, 9, 0), (0, 0, 10, 10, 0)), truth).scores.tolist() == [1, 1]
    perfect = matched(objects((0, 0, 10, 10, 0), scores=(0.5,)), truth, thresholds=np.array([1.0]))
    assert perfect.right.all()


def test_an_answer_takes_the_object_it_overlaps_most_and_of_equals_the_last() -> None:
    truth = objects((0, 0, 10, 10, 0), (2, 0, 12, 10, 0), (0, 0, 10, 10, 0))
    found = objects((0, 0, 10, 10, 0), (0, 0, 10, 10, 0), (2, 0, 12, 10, 0), scores=(0.9, 0.8, 0.7))
    assert matched(found, truth).right[0, 0].tolist() == [True, True, True]
    # The first answer takes what it overlaps most, though the second would have more of it.
    both = objects((0, 0, 10, 10, 0), (2, 0, 12, 10, 0))
    beside = objects((1.5, 0, 11.5, 10, 0), (2, 0, 12, 10, 0), scores=(0.9, 0.8))
    assert matched(beside, both, thresholds=np.array([0.7])).right[0, 0].tolist() == [True, False]
    assert matched(beside, both, thresholds=np.array([0.6])).right[0, 0].tolist() == [True, True]


def test_a_crowd_takes_many_answers_and_none_of_them_counts() -> None:
    truth = objects((0, 0, 100, 100, 0), (200, 0, 210, 10, 0), crowd=np.array([True, False]))
    found = objects(
        (0, 0, 10, 10, 0), (20, 20, 30, 30, 0), (200, 0, 210, 10, 0), (300, 0, 310, 10, 0), scores=(0.9, 0.8, 0.7, 0.6)
    )
    one = matched(found, truth)
    assert one.right[0, 0].tolist() == [False, False, True, False]
    assert one.ignored[0, 0].tolist() == [True, True, False, False]
    assert one.truths.tolist() == [[1]]
    # A real object goes before a crowd that is overlapped more.
    both = objects((0, 0, 10, 10, 0), (0, 0, 10, 12, 0), crowd=np.array([True, False]))
    assert matched(objects((0, 0, 10, 10, 0), scores=(0.9,)), both).right.all()


def test_objects_of_another_size_are_ignored_and_the_ends_of_a_range_belong_to_it() -> None:
    areas = ("all", "small", "medium", "large")
    for side, sizes in ((31, "small"), (32, "small medium"), (33, "medium"), (96, "medium large"), (97, "large")):
        box = objects((0, 0, side, side, 0), scores=(0.9,))
        one = matched(box, objects((0, 0, side, side, 0)), areas=areas)
        own = [True, *(a in sizes.split() for a in areas[1:])]
        assert one.truths[:, 0].tolist() == [int(v) for v in own]
        assert one.right[:, 0, 0].tolist() == own
        assert one.ignored[:, 0, 0].tolist() == [not v for v in own]
        alone = matched(box, objects(), areas=areas)
        assert alone.ignored[:, 0, 0].tolist() == [not v for v in own]
        assert not alone.right.any()
        assert not alone.truths.any()


def test_a_hundred_answers_of_an_image_and_class_are_matched() -> None:
    rows = [(20.0 * k, 0, 20.0 * k + 10, 10, 0) for k in range(102)]
    found = objects(*rows, scores=tuple(np.linspace(0.1, 0.9, 102)))
    one = matched(found, objects(*rows))
    assert len(one.scores) == 100
    assert one.right.all()
    assert one.scores.min() == pytest.approx(0.1 + 2 * 0.8 / 101)
    assert one.ranks.tolist() == list(range(100))


def test_classes_and_images_are_kept_apart_and_joined_by_score() -> None:
    box = (0, 0, 10, 10)
    found = [
        objects((*box, 0), (*box, 1), scores=(0.3, 0.9)),
        objects(),
        objects((*box, 0), (*box, 0), scores=(0.2, 0.6)),
    ]
    truth = [objects((*box, 0)), objects((*box, 2)), objects((*box, 1), (*box, 0))]
    all_of = match_detections(found, truth, 3)
    assert (all_of.n, all_of.areas, len(all_of.thresholds)) == (3, ("all", "small", "medium", "large"), 10)
    first, second, third = all_of.classes
    assert (first.scores.tolist(), first.images.tolist(), first.ranks.tolist()) == (
        [0.6, 0.3, 0.2],
        [2, 0, 2],
        [0, 0, 1],
    )
    assert first.right[0, 0].tolist() == [True, True, False]
    assert first.truths[0].tolist() == [1, 0, 1]
    assert (second.scores.tolist(), second.right.any()) == ([0.9], False)
    assert second.truths[0].tolist() == [0, 0, 1]
    assert (third.scores.shape, third.right.shape, third.truths[0].tolist()) == ((0,), (4, 10, 0), [0, 1, 0])


def test_given_overlaps_are_those_that_count() -> None:
    found, truth = (
        objects((0, 0, 1, 1, 0), (0, 0, 1, 1, 1), scores=(0.9, 0.8)),
        objects((50, 50, 60, 60, 1), (70, 70, 80, 80, 0)),
    )
    given = [np.array([[0.0, 0.7], [0.4, 0.9]])]
    both = match_detections([found], [truth], 2, areas=("all",), thresholds=np.array([0.5]), overlaps=given)
    assert [c.right[0, 0].tolist() for c in both.classes] == [[True], [False]]
    masked = [
        objects((0, 0, 4, 4, 0), scores=(0.9,), masks=[MaskCrop(0, 0, np.ones((4, 4), bool))]),
    ]
    half = [objects((0, 0, 4, 4, 0), masks=[MaskCrop(0, 0, np.arange(16).reshape(4, 4) < 7)])]
    assert not match_detections(masked, half, 1, areas=("all",), thresholds=np.array([0.5])).classes[0].right.any()


@pytest.mark.parametrize("seed", range(8))
def test_what_is_matched_does_not_depend_on_how_much_is_matched_at_once(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = generator(seed, "matching")

    def objects(found: bool) -> Detected:
        n = int(rng.integers(0, 40))
        corner = rng.integers(0, 6, (n, 2)) * 4.0
        boxes = np.concatenate([corner, corner + rng.integers(1, 12, (n, 2)) * 4.0], 1)
        masks = [MaskCrop(int(y), int(x), rng.random((9, 9)) < 0.8) for x, y in corner] if seed % 2 else None
        labels = rng.integers(0, 2, n)
        if found:
            return Detected(boxes, labels, rng.integers(0, 4, n) / 4, masks=masks)
        return Detected(boxes, labels, crowd=rng.random(n) < 0.2, masks=masks)

    found, truth = [objects(True) for _ in range(5)], [objects(False) for _ in range(5)]
    at_once = match_detections(found, truth, 2)
    assert any(c.right.any() for c in at_once.classes)
    alone = [match_detections([f], [t], 2) for f, t in zip(found, truth, strict=True)]
    monkeypatch.setattr(matching, "_TABLE", 1)
    monkeypatch.setattr(matching, "_PAIRS", 1)
    in_pieces = match_detections(
        found, truth, 2, overlaps=[overlaps_of(f, t) for f, t in zip(found, truth, strict=True)]
    )
    for k, (a, b) in enumerate(zip(at_once.classes, in_pieces.classes, strict=True)):
        for name in ("scores", "images", "ranks", "right", "ignored", "truths"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        for i, one in enumerate(alone):
            np.testing.assert_array_equal(a.right[..., a.images == i], one.classes[k].right)
            np.testing.assert_array_equal(a.truths[:, i : i + 1], one.classes[k].truths)
