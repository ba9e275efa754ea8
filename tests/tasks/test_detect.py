"""Detection and instances: what raw arrays mean, and what a person is shown of them."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from eyewright.core import LabelSpace
from eyewright.core.errors import BundleError, DatasetError
from eyewright.core.task import task_of
from eyewright.imaging.preparation import Placement, Preparation
from eyewright.imaging.rasters import decode_counts, parse_counts
from eyewright.metrics.matching import Detected, MaskCrop
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
    assert one.line() == "disc × 2"
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


def test_unknown_classes_are_named() -> None:
    with pytest.raises(DatasetError, match="did you mean"):
        LABELS.id("discs")


BOXES = np.array([[1, 2, 5, 9], [3.456, 0, 20, 10.5]], np.float32)


def two(**more: object) -> BoxPrediction:
    given = {"scores": (0.9, 0.5), "label_ids": (1, 0), **more}
    scores, ids = np.array(given.pop("scores"), np.float32), np.array(given.pop("label_ids"))
    return BoxPrediction(BOXES, scores, ids, LABELS, (20, 30), **given)  # type: ignore[arg-type]


def test_json_has_every_field_in_pixels_of_two_digits() -> None:
    found = two(scores=(0.9, 0.1234567), source="a.png", index=4)
    assert found.to_json() == {
        "source": "a.png", "index": 4, "width": 30, "height": 20, "labels": ["disc", "cross"], "label_ids": [1, 0],
        "scores": [0.9, 0.123457], "boxes_xyxy": [[1.0, 2.0, 5.0, 9.0], [3.46, 0.0, 20.0, 10.5]],
    }  # fmt: skip
    top = two(track_ids=np.array([7, 9]), time_s=0.0).to_json(top=1)
    assert (top["labels"], top["track_ids"], top["time_s"], len(top["boxes_xyxy"])) == (["disc"], [7], 0.0, 1)
    crops = (MaskCrop(2, 1, np.ones((2, 3), bool)), MaskCrop(0, 3, np.ones((1, 1), bool)))
    masks = two(crops=crops).to_json()["segmentations"]
    assert [m["size"] for m in masks] == [[20, 30]] * 2
    first = decode_counts(parse_counts(masks[0]["counts"]), (20, 30))
    assert first.sum() == 6
    assert first[2:4, 1:4].all()


def test_the_hub_gets_whole_corners_and_masks() -> None:
    rows = two(crops=(MaskCrop(2, 1, np.ones((2, 3), bool)), MaskCrop(0, 3, np.ones((1, 1), bool)))).to_hub()
    assert [r["label"] for r in rows] == ["disc", "cross"]
    assert rows[1]["box"] == {"xmin": 3, "ymin": 0, "xmax": 20, "ymax": 10}
    assert rows[1]["score"] == pytest.approx(0.5)
    mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(rows[0]["mask"]))))
    assert mask.shape == (20, 30)
    assert (mask > 0).sum() == 6
    assert "mask" not in two().to_hub()[0]


def test_a_line_counts_the_objects_of_six_classes_at_most() -> None:
    def line(*ids: int) -> str:
        n = len(ids)
        names = LabelSpace(tuple("abcdefgh"))
        return BoxPrediction(np.zeros((n, 4), np.float32), np.ones(n, np.float32), np.array(ids), names, (9, 9)).line()

    assert line(0, 1, 1) == "b × 2, a × 1"
    assert line(0, 1, 2, 3, 4, 5) == "a × 1, b × 1, c × 1, d × 1, e × 1, f × 1"
    assert line(0, 1, 2, 3, 4, 5, 6) == "a × 1, b × 1, c × 1, d × 1, e × 1, f × 1, …"


def test_chosen_objects_keep_all_that_is_known_of_them() -> None:
    crops = (MaskCrop(2, 1, np.ones((2, 3), bool)), MaskCrop(0, 3, np.ones((1, 1), bool)))
    whole = two(crops=crops, track_ids=np.array([7, 9]), source="a.png")
    for rows in (np.array([False, True]), np.array([1])):
        one = whole.chosen(rows)
        assert (one.labels, one.scores.tolist(), one.source) == (("cross",), [0.5], "a.png")
        assert one.boxes_xyxy.tolist() == [BOXES[1].tolist()]
        assert one.crops == (crops[1],)
        assert one.track_ids is not None
        assert one.track_ids.tolist() == [9]
    assert whole.chosen(np.array([1, 0])).labels == ("cross", "disc")
    bare = two().chosen(np.array([1]))
    assert (bare.crops, bare.track_ids) == (None, None)
    detected = whole.detected()
    assert detected.scores is not None
    assert (detected.boxes.dtype, detected.scores.dtype) == (np.float64, np.float64)
    assert (detected.labels.tolist(), detected.masks) == ([1, 0], crops)


def test_objects_are_drawn_in_the_colours_of_their_tracks_or_classes() -> None:
    # Larger than the texts, which otherwise cover the boxes.
    image = np.zeros((90, 160, 3), np.uint8)

    def drawn(**more: object) -> np.ndarray:
        return two(**more).drawn_on(image)

    assert drawn().shape == (90, 160, 3)
    assert drawn().any()
    assert not image.any()
    assert not np.array_equal(drawn(), drawn(label_ids=(0, 0)))
    assert not np.array_equal(drawn(track_ids=np.array([1, 0])), drawn(track_ids=np.array([3, 5])))


def test_settled_objects_reach_a_quarter_without_operating_points() -> None:
    settle = task_of("detect").settle
    assert settle(two(scores=(0.25, 0.2499)), None).labels == ("disc",)
    assert settle(two(scores=(0.25, 0.2499)), np.array([0.2, 0.3])).labels == ("cross",)
    assert len(settle(two(scores=(0.25, 0.2499)), np.array([0.9, 0.9]), conf=0.2)) == 2


def test_the_usual_options_of_decoding() -> None:
    decode = task_of("detect").decode
    grid = [[x, y, x + 4, y + 4] for y in range(0, 100, 5) for x in range(0, 200, 5)]
    (many,) = decode(arrays(grid, [[0.5, 0.0]] * len(grid)), [WHOLE], LABELS)
    assert len(grid) == 800
    assert len(many) == 300
    (scored,) = decode(arrays([[0, 0, 9, 9], [20, 0, 29, 9]], [[0.0101, 0], [0.0099, 0]]), [WHOLE], LABELS)
    assert scored.scores.tolist() == pytest.approx([0.0101])
    # 6 of 10 rows: an IoU of 0.6 is two objects, a little more is one.
    for height, objects in ((5.99, 2), (6.01, 1)):
        raw = arrays([[0, 0, 10, 10], [0, 0, 10, height]], [[0.9, 0], [0.8, 0]])
        assert len(decode(raw, [WHOLE], LABELS)[0]) == objects


def test_each_image_is_read_with_its_own_arrays_and_placement() -> None:
    boxes = np.array([[[4, 6, 8, 10]], [[4, 6, 8, 10]]], np.float32)
    scores = np.array([[[0.9, 0.0]], [[0.0, 0.8]]], np.float32)
    places = [Placement((20, 40), (1.0, 1.0), (0.0, 0.0)), Placement((10, 10), (2.0, 0.5), (2.0, 3.0))]
    first, second = task_of("detect").decode({"boxes": boxes, "scores": scores}, places, LABELS)
    assert (first.boxes_xyxy.tolist(), first.labels, first.size_hw) == ([[4, 6, 8, 10]], ("cross",), (20, 40))
    assert (second.boxes_xyxy.tolist(), second.labels, second.size_hw) == ([[2, 2, 10, 4]], ("disc",), (10, 10))


@pytest.mark.parametrize(
    "box", [[-9, 5, 0, 9], [30, 5, 40, 9], [5, -9, 9, 0], [5, 20, 9, 30], [5, 5, 5, 9], [5, 9, 9, 9]]
)
def test_a_box_without_a_pixel_in_the_image_is_no_object(box: list[float]) -> None:
    (found,) = task_of("detect").decode(
        arrays([box], [[0.9, 0]]), [Placement((20, 30), (1.0, 1.0), (0.0, 0.0))], LABELS
    )
    assert len(found) == 0
    assert found.boxes_xyxy.shape == (0, 4)


def test_scores_may_leave_the_range_by_a_thousandth() -> None:
    decode = task_of("detect").decode
    for value, fits in ((1.0009, True), (1.0011, False), (-0.0009, True), (-0.0011, False), (np.inf, False)):
        raw = arrays([[0, 0, 9, 9]], [[0.5, value]])
        if fits:
            assert len(decode(raw, [WHOLE], LABELS)[0]) >= 1
        else:
            with pytest.raises(BundleError):
                decode(raw, [WHOLE], LABELS)
    empty = {"boxes": np.zeros((1, 0, 4), np.float32), "scores": np.zeros((1, 0, 2), np.float32)}
    assert len(decode(empty, [WHOLE], LABELS)[0]) == 0
    for wrong in (
        {**empty, "boxes": np.zeros((1, 4), np.float32)}, {**empty, "scores": np.zeros((1, 2), np.float32)},
        {**empty, "boxes": np.zeros((2, 0, 4), np.float32)}, {**empty, "scores": np.zeros((2, 0, 2), np.float32)},
        {**empty, "scores": np.zeros((1, 3, 2), np.float32)}, {"boxes": empty["boxes"]}, {"scores": empty["scores"]},
    ):  # fmt: skip
        with pytest.raises(BundleError, match="expected boxes"):
            decode(wrong, [WHOLE], LABELS)


def test_an_object_is_explained_by_its_best_overlap_times_score() -> None:
    task = task_of("detect")
    placement = Placement((20, 30), (2.0, 3.0), (5.0, 7.0))
    targets = task.explained({}, two(), placement, None)
    assert [(t.label, t.cells) for t in targets] == [(1, 12), (0, 12)]
    # x by 3 and 7, y by 2 and 5.
    assert targets[0].box.tolist() == [10, 9, 22, 23]
    assert [t.label for t in task.explained({}, two(), placement, 0)] == [0]
    assert task.explained({}, two(label_ids=(1, 1)), placement, 0) == []
    boxes = np.array([
        [[10, 9, 22, 23], [10, 9, 16, 23], [10, 9, 22, 16]],
        [[16, 16, 28, 30], [30, 30, 40, 40], [9, 30, 20, 20]],
        [[4, 2, 16, 16], [0, 0, 5, 5], [22, 23, 10, 9]],
    ], np.float32)  # fmt: skip
    scores = np.zeros((3, 3, 2), np.float32)
    scores[..., 0], scores[..., 1] = 1.0, [[0.2, 0.5, 0.3], [0.6, 1.0, 1.0], [0.4, 1.0, 1.0]]
    found = targets[0]({"boxes": boxes, "scores": scores})
    # Halves of it with 0.5 and 0.3; a quarter of it (6x7 of 12x14 each) is an IoU of 42 / (2 x 168 - 42).
    assert found.tolist() == pytest.approx([0.25, 0.6 / 7, 0.4 / 7])
    assert found.dtype == np.float64


def test_what_is_counted_and_learnt_of_answers() -> None:
    task = task_of("detect")
    answers = np.array([[2.0, 1.0], [0.0, 0.0]])
    name, values = task.summary(answers)
    assert (name, values.tolist()) == ("amount", [3.0, 0.0])
    assert task.labelled(answers) is answers
    assert list(task.counted([1, 1, 0])) == [1, 1, 0]
    assert task.feedback is not None
    learnt = task.feedback.taught(two(), np.array([3, 5]), None)
    assert learnt.label_ids.tolist() == [5, 3]
    raw, truth = task.example(np.random.default_rng(0))
    assert (raw["boxes"].shape, raw["scores"].shape) == ((12, 6, 4), (12, 6, 3))
    sides = raw["boxes"][..., 2:] - raw["boxes"][..., :2]
    assert ((sides >= 2) & (sides <= 6)).all()
    assert (sides[..., 0] != sides[..., 1]).all()
    assert (raw["boxes"].min((0, 1)) >= 0).all()
    assert (raw["boxes"].max((0, 1)) <= [22, 16, 22, 16]).all()
    assert [t.labels.tolist() for t in truth] == [[0, 2]] * 12
    assert truth[3].boxes.tolist() == raw["boxes"][3, :2].tolist()


def test_scores_are_measured_on_all_images_and_of_none_there_is_nothing_to_count() -> None:
    task = task_of("detect")
    truth = [Detected(BOXES.astype(np.float64), np.array([1, 0]))] * 2
    found = task.score([two(), two(label_ids=(0, 1))], truth, rng=np.random.default_rng(0))
    assert found["ar_100"].value == pytest.approx(0.5)
    assert found["ar_100"].n == 2


def test_the_example_has_boxes_of_2_to_6_pixels_of_which_the_first_two_are_there() -> None:
    raw, truth = task_of("detect").example(np.random.default_rng(0))
    boxes = raw["boxes"]
    assert (boxes.shape, raw["scores"].shape) == ((12, 6, 4), (12, 6, 3))
    sides = boxes[..., 2:] - boxes[..., :2]
    # Of 144 sides the least and the largest are near the ends.
    assert 2 <= sides.min() < 2.2
    assert 5.8 < sides.max() < 6
    # They begin anywhere in 16 columns and 10 rows.
    assert [14 < boxes[..., 0].max() < 16, 9 < boxes[..., 1].max() < 10, boxes.min() >= 0] == [True] * 3
    for one, there in zip(boxes, truth, strict=True):
        assert np.array_equal(there.boxes, one[:2].astype(np.float64))
        assert there.labels.tolist() == [0, 2]
