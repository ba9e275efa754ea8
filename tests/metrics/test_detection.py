"""Numbers of boxes and masks against pycocotools, and against hand-made cases whose answer is known."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest

from eyewright.metrics.detection import (
    COCO_METRICS,
    average_precisions,
    best_points,
    centred_interval,
    detection_errors,
    detection_metrics,
    object_confusion,
    panoptic_quality,
    precision_curve,
    sort_errors,
)
from eyewright.metrics.masks import boundary_scores, image_confusion, mask_metrics
from eyewright.metrics.matching import Detected, crop_mask, mask_overlaps, match_detections, overlaps_of


def synthetic(
    rng: np.random.Generator, n_classes: int, *, masks: bool = False
) -> tuple[list[Detected], list[Detected]]:
    """Objects of all sizes, answers that miss, repeat, confuse and invent, scores with ties, crowds."""
    found, truth = [], []
    for _ in range(12):
        n = int(rng.integers(0, 9))
        sides = np.exp(rng.uniform(np.log(5), np.log(130), (n, 2)))
        corner = rng.random((n, 2)) * 120
        boxes = np.concatenate([corner, corner + sides], 1).round(1)
        labels = rng.integers(0, n_classes, n)
        crowd = rng.random(n) < 0.15
        kept = rng.random(n) > 0.2
        moved = boxes[kept] + rng.normal(0, 0.07, (int(kept.sum()), 4)) * np.tile(sides[kept], 2)
        twice = rng.random(len(moved)) < 0.2
        stray = rng.random((int(rng.integers(0, 4)), 2)) * 150
        every = np.concatenate([moved, moved[twice] + 1, np.concatenate([stray, stray + 30], 1)])
        every[:, 2:] = np.maximum(every[:, 2:], every[:, :2] + 1)
        answers = np.concatenate([labels[kept], labels[kept][twice], rng.integers(0, n_classes, len(stray))])
        wrong = rng.random(len(answers)) < 0.1
        answers[wrong] = rng.integers(0, n_classes, int(wrong.sum()))
        scores = rng.random(len(every)).round(1)
        given = [crop_mask(_painted(b)) for b in every] if masks else None
        real = [crop_mask(_painted(b)) for b in boxes] if masks else None
        found.append(Detected(every, answers, scores, masks=given))
        truth.append(Detected(boxes, labels, crowd=crowd, masks=real))
    return found, truth


def _painted(box: np.ndarray) -> np.ndarray:
    rows, columns = np.mgrid[0:300, 0:300]
    cy, cx = (box[1] + box[3]) / 2, (box[0] + box[2]) / 2
    ry, rx = max(1.0, (box[3] - box[1]) / 2), max(1.0, (box[2] - box[0]) / 2)
    ellipse: np.ndarray = ((rows - cy) / ry) ** 2 + ((columns - cx) / rx) ** 2 <= 1
    return ellipse


def by_pycocotools(found: list[Detected], truth: list[Detected], n_classes: int, kind: str) -> list[float]:
    from pycocotools import mask as rle
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def whole(crop: Any) -> dict[str, Any]:
        mask = np.zeros((300, 300), np.uint8)
        mask[crop.top : crop.top + crop.mask.shape[0], crop.left : crop.left + crop.mask.shape[1]] = crop.mask
        encoded: dict[str, Any] = rle.encode(np.asfortranarray(mask))
        return encoded

    def rows(objects: list[Detected]) -> list[dict[str, Any]]:
        result = []
        for i, o in enumerate(objects):
            areas = o.area()
            for k in range(len(o)):
                b = o.boxes[k]
                row = {
                    "id": len(result) + 1, "image_id": i, "category_id": int(o.labels[k]), "area": float(areas[k]),
                    "iscrowd": int(o.crowd[k]) if o.crowd is not None else 0,
                    "score": float(o.scores[k]) if o.scores is not None else 1.0,
                }  # fmt: skip
                if kind == "bbox":
                    row["bbox"] = [b[0], b[1], b[2] - b[0], b[3] - b[1]]
                else:
                    row["segmentation"] = whole(o.masks[k])  # type: ignore[index]
                result.append(row)
        return result

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        images = [{"id": i, "height": 300, "width": 300} for i in range(len(truth))]
        categories = [{"id": c} for c in range(n_classes)]
        coco.dataset = {"images": images, "annotations": rows(truth), "categories": categories}
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(rows(found)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    numbers: list[float] = evaluation.stats.tolist()
    return numbers


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_the_twelve_numbers_are_pycocotools(seed: int, kind: str) -> None:
    if kind == "segm" and seed > 2:
        pytest.skip("masks are slow in the oracle; three seeds say the same")
    rng = np.random.default_rng(seed)
    n_classes = int(rng.integers(1, 5))
    found, truth = synthetic(rng, n_classes, masks=kind == "segm")
    ours = detection_metrics(found, truth, n_classes, rng=rng, replicates=20)
    expected = by_pycocotools(found, truth, n_classes, kind)
    values = [ours[k].value if ours[k].value is not None else -1.0 for k in COCO_METRICS]
    assert values == pytest.approx(expected, abs=1e-12)


def test_mask_overlaps_are_pycocotools() -> None:
    from pycocotools import mask as rle

    rng = np.random.default_rng(0)
    masks = [
        _painted(np.concatenate([c, c + s]))
        for c, s in zip(rng.random((8, 2)) * 150, rng.random((8, 2)) * 140, strict=True)
    ]
    crowd = rng.random(4) < 0.5
    encoded = [rle.encode(np.asfortranarray(m.astype(np.uint8))) for m in masks]
    expected = rle.iou(encoded[:4], encoded[4:], crowd.astype(np.uint8).tolist())
    crops = [crop_mask(m) for m in masks]
    assert np.abs(mask_overlaps(crops[:4], crops[4:], crowd) - expected).max() < 1e-12


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, np.float64).reshape(-1, 4)


def test_intervals_hold_the_value_and_narrow_with_more_images() -> None:
    rng = np.random.default_rng(3)
    found, truth = synthetic(rng, 2)
    few = detection_metrics(found, truth, 2, rng=np.random.default_rng(0))["ap50"]
    many = detection_metrics(found * 8, truth * 8, 2, rng=np.random.default_rng(0))["ap50"]
    assert few.low < few.value < few.high
    assert many.high - many.low < 0.6 * (few.high - few.low)
    grouped = detection_metrics(found * 8, truth * 8, 2, rng=np.random.default_rng(0), groups=np.arange(96) % 12)[
        "ap50"
    ]
    assert grouped.high - grouped.low > 1.6 * (many.high - many.low)


def test_each_kind_of_error_is_called_by_its_name() -> None:
    truth = [Detected(boxes((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10), (60, 0, 70, 10)), np.array([0, 0, 1, 1]))]
    answers = boxes(
        (0, 0, 10, 10),  # right
        (1, 0, 11, 10),  # a duplicate of it
        (20, 0, 30, 10),  # in place, of the wrong class
        (40, 4, 50, 14),  # of the right class, badly placed
        (60, 6, 70, 16),  # wrong in both
        (90, 90, 99, 99),  # of nothing
    )
    found = [Detected(answers, np.array([0, 0, 1, 1, 0, 0]), np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]))]
    kinds = detection_errors(found, truth, 2)
    assert {k: v["n"] for k, v in kinds.items()} == {
        "class": 1, "localisation": 1, "both": 1, "duplicate": 1, "background": 1, "missed": 1,
    }  # fmt: skip
    assert kinds["class"]["ap50_lost"] > 0
    assert kinds["localisation"]["ap50_lost"] > 0
    table = object_confusion(found, truth, 2)
    assert table.tolist() == [[1, 1, 0], [0, 0, 2], [3, 1, 0]]


def test_the_operating_point_parts_right_from_wrong() -> None:
    truth = [Detected(boxes((0, 0, 10, 10)), np.array([0]))] * 3
    right = Detected(boxes((0, 0, 10, 10)), np.array([0]), np.array([0.8]))
    wrong = Detected(boxes((50, 50, 60, 60)), np.array([0]), np.array([0.4]))
    m = match_detections([right, right, wrong], truth, 2, areas=("all",), thresholds=np.array([0.5]))
    first, second = best_points(m, rng=np.random.default_rng(0))
    assert (first.best, first.precision, first.n) == (pytest.approx(0.6), 1.0, 3)
    assert 0.4 < first.threshold < 0.6
    assert first.recall == pytest.approx(2 / 3)
    # As many as one group of the images: a point from one group has no interval.
    (one, _) = best_points(m, rng=np.random.default_rng(0), groups=np.zeros(3, np.int64))
    assert (one.groups, one.images, one.low, one.threshold) == (1, 3, None, pytest.approx((0.6 + 0.4) / 2))
    assert (second.threshold, second.n, second.f1) == (0.25, 0, None)


def test_panoptic_quality_by_hand() -> None:
    truth = [Detected(boxes((0, 0, 10, 10), (20, 0, 30, 10)), np.array([0, 0]))]
    found = [Detected(boxes((0, 0, 10, 8), (50, 50, 60, 60)), np.array([0, 0]), np.array([0.9, 0.8]))]
    parts = panoptic_quality(found, truth, 1)
    quality = parts["overlap"] / (parts["right"] + (parts["false"] + parts["missed"]) / 2)
    assert quality[0, 0] == pytest.approx(0.8 / 2)


def test_mask_numbers_by_hand() -> None:
    truth, found = np.zeros((2, 10, 10), np.uint8), np.zeros((2, 10, 10), np.uint8)
    truth[0, :4], found[0, 2:6] = 1, 1
    truth[1, 9] = 255
    found[1, 9], found[1, 0, 0] = 1, 2
    tables = np.stack([image_confusion(f, t, 3) for f, t in zip(found, truth, strict=True)])
    edges = np.stack([boundary_scores(f, t, 3) for f, t in zip(found, truth, strict=True)])
    metrics, rows = mask_metrics(tables, edges, ("background", "a", "b"), (1, 2), rng=np.random.default_rng(0))
    assert metrics["miou"].value == pytest.approx(20 / 60)
    assert rows[1]["dice"] == pytest.approx(40 / 80)
    assert rows[2]["iou"]["value"] is None
    assert metrics["foreground_iou"].value == pytest.approx(20 / 61)
    assert (metrics["found_any"].value, metrics["found_any"].n) == (1.0, 1)
    # The ignored row is no false alarm, the single pixel is one.
    assert (metrics["found"].value, metrics["found"].n) == (1.0, 1)
    assert (metrics["false_alarms"].value, metrics["false_alarms"].n) == (1.0, 1)


def test_boundaries_that_lie_near_are_met() -> None:
    truth = np.zeros((200, 200), np.uint8)
    truth[50:150, 50:150] = 1
    near, far = np.roll(truth, 2, 0), np.roll(truth, 9, 0)
    assert boundary_scores(near, truth, 2)[1, 1] == boundary_scores(near, truth, 2)[1, 0]
    counts = boundary_scores(far, truth, 2)[1]
    assert counts[1] < 0.7 * counts[0]


def objects(*rows: tuple[float, ...], scores: tuple[float, ...] | None = None, **more: Any) -> Detected:
    """Objects as x0, y0, x1, y1, label."""
    table = np.array(rows, np.float64).reshape(-1, 5)
    given = None if scores is None else np.array(scores, np.float64)
    return Detected(table[:, :4], table[:, 4].astype(np.int64), given, **more)


def test_the_confusion_of_objects_by_hand() -> None:
    truth = objects((0, 0, 10, 10, 0), (20, 0, 30, 10, 1), (40, 0, 50, 10, 2), (100, 0, 200, 50, 1),
                    crowd=np.array([False, False, False, True]))  # fmt: skip
    found = objects(
        (0, 0, 10, 5, 1),  # level with the threshold, of another class
        (0, 0, 10, 9, 0),  # nearer: taken first
        (20, 0, 30, 4.9, 1),  # too far
        (110, 0, 120, 10, 2),  # in the crowd
        (195, 0, 205, 10, 2),  # half in the crowd
        (196, 0, 206, 10, 2),  # less than half
        scores=(0.9, 0.8, 0.7, 0.6, 0.5, 0.4),
    )
    table = object_confusion([found], [truth], 3)
    assert table.tolist() == [[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 2, 1, 0]]
    # Alone, the one that is level is taken; a lower threshold takes the far one as well.
    alone = found.boxes[[0, 2]], found.labels[[0, 2]]
    assert object_confusion([Detected(*alone)], [truth], 3).tolist()[:2] == [[0, 1, 0, 0], [0, 0, 0, 1]]
    assert object_confusion([Detected(*alone)], [truth], 3, iou=0.49).tolist()[:2] == [[0, 1, 0, 0], [0, 1, 0, 0]]
    assert object_confusion([objects()], [objects((0, 0, 1, 1, 1))], 2).tolist() == [[0] * 3, [0, 0, 1], [0] * 3]
    assert object_confusion([objects((0, 0, 1, 1, 1))], [objects()], 2).tolist() == [[0] * 3, [0] * 3, [0, 1, 0]]
    given = object_confusion([objects((0, 0, 1, 1, 1))], [objects((5, 5, 6, 6, 0))], 2, overlaps=[np.array([[0.9]])])
    assert given[0, 1] == 1


def plain_panoptic(found: list[Detected], truth: list[Detected], n_classes: int) -> dict[str, np.ndarray]:
    """Kirillov's definition: pairs of one class above 0.5 are unique, so no order is needed."""
    parts = {k: np.zeros((len(truth), n_classes)) for k in ("overlap", "right", "false", "missed")}
    for i, (ours, theirs) in enumerate(zip(found, truth, strict=True)):
        overlap = overlaps_of(ours, theirs)
        crowd = theirs.crowd if theirs.crowd is not None else np.zeros(len(theirs), bool)
        used_a, used_b = set(), set()
        pairs = [(overlap[a, b], a, b) for a in range(len(ours)) for b in range(len(theirs))]
        for iou, a, b in sorted(pairs, key=lambda row: -row[0]):
            if (
                iou > 0.5
                and ours.labels[a] == theirs.labels[b]
                and not crowd[b]
                and a not in used_a
                and b not in used_b
            ):
                parts["overlap"][i, ours.labels[a]] += iou
                parts["right"][i, ours.labels[a]] += 1
                used_a.add(a)
                used_b.add(b)
        for a in range(len(ours)):
            if a not in used_a and not any(overlap[a, b] > 0.5 for b in np.flatnonzero(crowd)):
                parts["false"][i, ours.labels[a]] += 1
        for b in range(len(theirs)):
            if b not in used_b and not crowd[b]:
                parts["missed"][i, theirs.labels[b]] += 1
    return parts


@pytest.mark.parametrize("seed", range(4))
def test_panoptic_parts_are_those_of_the_definition(seed: int) -> None:
    found, truth = synthetic(np.random.default_rng(seed), 3)
    ours, wanted = panoptic_quality(found, truth, 3), plain_panoptic(found, truth, 3)
    for name, values in wanted.items():
        np.testing.assert_allclose(ours[name], values, atol=1e-12, err_msg=name)
        assert values.any(), name
    given = panoptic_quality(found, truth, 3, overlaps=[overlaps_of(a, b) for a, b in zip(found, truth, strict=True)])
    assert given["overlap"].tolist() == ours["overlap"].tolist()


def test_an_iou_of_a_half_is_no_pair_of_panoptic_quality() -> None:
    truth = [objects((0, 0, 10, 10, 0))]
    for height, right in ((5, 0), (5.01, 1)):
        parts = panoptic_quality([objects((0, 0, 10, height, 0))], truth, 1)
        assert [float(parts[k][0, 0]) for k in ("right", "false", "missed")] == [right, 1 - right, 1 - right]
    crowd = [objects((0, 0, 10, 10, 1), crowd=np.array([True]))]
    for width, false in ((10, 1), (9.9, 0)):
        # Half of it lies in the crowd, or a little more.
        parts = panoptic_quality([objects((5, 0, 5 + width, 10, 0))], crowd, 2)
        assert (parts["false"].sum(), parts["missed"].sum()) == (false, 0)


def sorted_kinds(found: Detected, truth: Detected) -> tuple[list[str], list[int], list[bool]]:
    kinds, partners, missed = sort_errors(found, truth, overlaps_of(found, truth))
    return kinds.tolist(), partners.tolist(), missed.tolist()


def test_errors_at_the_limits_of_their_kinds() -> None:
    truth = objects((0, 0, 10, 10, 0), (20, 0, 30, 10, 1))

    def one(*box: float) -> tuple[str, int, list[bool]]:
        kinds, partners, missed = sorted_kinds(objects(box, scores=(0.9,)), truth)
        return kinds[0], partners[0], missed

    assert one(0, 0, 10, 5, 0) == ("", 0, [False, True])
    assert one(0, 0, 10, 4.9, 0) == ("localisation", 0, [False, True])
    assert one(0, 0, 10, 1, 0) == ("localisation", 0, [False, True])
    assert one(0, 0, 10, 0.9, 0) == ("background", -1, [True, True])
    assert one(0, 0, 10, 5, 1) == ("class", 0, [False, True])
    assert one(0, 0, 10, 4.9, 1) == ("both", 0, [True, True])
    assert one(20, 0, 30, 5, 0) == ("class", 1, [True, False])
    assert one(20, 0, 30, 1, 0) == ("both", 1, [True, True])
    assert one(20, 0, 30, 10, 1) == ("", 1, [True, False])
    assert one(500, 500, 510, 510, 0) == ("background", -1, [True, True])
    # An object that is missed though an answer lies on it of both kinds wrong.
    assert sorted_kinds(objects(), truth) == ([], [], [True, True])
    assert sorted_kinds(objects((0, 0, 1, 1, 0)), objects()) == (["background"], [-1], [])


def test_the_answer_of_highest_score_is_right_and_the_next_a_duplicate_of_the_object_it_lies_on() -> None:
    truth = objects((0, 0, 10, 10, 0), (0, 2, 10, 12, 0))
    rows = [(0, 0, 10, 9, 0), (0, 0, 10, 10, 0), (0, 0, 10, 10, 0)]
    kinds, partners, missed = sorted_kinds(objects(*rows, scores=(0.5, 0.9, 0.7)), truth)
    # The first by score takes the one in place, the second the other (an IoU of 8 of 12), the last is a duplicate.
    assert (kinds, partners, missed) == (["duplicate", "", ""], [0, 0, 1], [False, False])
    # Without scores they are taken in their order.
    assert sorted_kinds(objects(*rows), truth)[0] == ["", "", "duplicate"]
    nearer = objects((0, 0, 10, 10, 0), (0, 5, 10, 15, 1))
    # The nearest object of the other class is the partner, the one of its own class before it.
    assert sorted_kinds(objects((0, 4, 10, 14, 1), scores=(0.9,)), nearer)[:2] == ([""], [1])
    assert sorted_kinds(objects((0, 4, 10, 14, 0), scores=(0.9,)), nearer)[:2] == (["class"], [1])


def test_what_lies_in_a_crowd_is_no_error_and_a_crowd_is_not_missed() -> None:
    truth = objects((0, 0, 100, 100, 0), (200, 0, 210, 10, 0), crowd=np.array([True, False]))
    for box, kind in (((10, 10, 20, 20, 1), ""), ((95, 10, 105, 20, 0), ""), ((96, 10, 106, 20, 0), "background")):
        kinds, partners, missed = sorted_kinds(objects(box, scores=(0.9,)), truth)
        assert (kinds, partners, missed) == ([kind], [-1], [False, True])


def test_the_cost_of_errors_by_hand() -> None:
    """Two objects a class; of class 0 one is found and one missed, of class 1 one is called 0 and one badly placed."""
    truth = [objects((0, 0, 10, 10, 0), (20, 0, 30, 10, 0)), objects((0, 0, 10, 10, 1), (20, 0, 30, 10, 1))]
    found = [objects((0, 0, 10, 10, 0), (50, 50, 60, 60, 0), scores=(0.9, 0.95)),
             objects((0, 0, 10, 10, 0), (20, 0, 30, 4, 1), scores=(0.8, 0.7))]  # fmt: skip
    kinds = detection_errors(found, truth, 2)
    assert {k: v["n"] for k, v in kinds.items()} == {
        "class": 1, "localisation": 1, "both": 0, "duplicate": 0, "background": 1, "missed": 1,
    }  # fmt: skip
    # 51 of 101 recalls are at most 0.5. Class 0: precision 1/2 there; class 1: nothing.
    assert kinds["localisation"]["ap50_lost"] == pytest.approx(51 / 101 / 2)
    assert kinds["class"]["ap50_lost"] == pytest.approx(51 / 101 / 2)
    assert kinds["background"]["ap50_lost"] == pytest.approx(51 / 101 / 2 / 2)
    # Without the missed object the one that is found is all there is of its class.
    assert kinds["missed"]["ap50_lost"] == pytest.approx((1 - 51 / 101) / 2 / 2)
    assert kinds["both"]["ap50_lost"] == kinds["duplicate"]["ap50_lost"] == 0
    # Below the operating point an answer is weighed and not counted, and what it found is missed.
    sure = detection_errors(found, truth, 2, points=(0.95, 0.71))
    assert [sure[k]["n"] for k in ("class", "localisation", "background", "missed")] == [0, 0, 1, 4]
    assert all(sure[k]["ap50_lost"] == kinds[k]["ap50_lost"] for k in kinds)
    level = detection_errors(found, truth, 2, points=(0.9, 0.7))
    assert [level[k]["n"] for k in ("class", "localisation", "background", "missed")] == [0, 1, 1, 2]
    assert all(v == {"n": 0.0, "ap50_lost": 0.0} for v in detection_errors([], [], 2).values())


def test_average_precision_by_hand_and_under_weights() -> None:
    truth = [objects((0, 0, 10, 10, 0)), objects((0, 0, 10, 10, 0)), objects()]
    good = objects((0, 0, 10, 10, 0), scores=(0.9,))
    bad = objects((50, 0, 60, 10, 0), scores=(0.95,))
    m = match_detections([good, objects(), bad], truth, 2, areas=("all",), thresholds=np.array([0.5]))
    first, second = m.classes
    weights = np.array([[1.0, 1, 1], [1, 1, 0], [1, 0, 0], [0, 1, 1], [2, 1, 2], [0, 0, 1]])
    found = average_precisions(first, weights)[:, 0]
    # Recall 1/2 at precision 1/2 or 1; all found; nothing found; recall 2/3 at precision 1/2; nothing to find.
    assert found[:5].tolist() == pytest.approx([51 / 101 / 2, 51 / 101, 1.0, 0.0, 67 / 101 / 2])
    assert np.isnan(found[5])
    assert np.isnan(average_precisions(second, weights)).all()
    precision, recall, scores = precision_curve(first)
    assert (precision.tolist(), recall.tolist(), scores.tolist()) == ([0.0, 0.5], [0.0, 0.5], [0.95, 0.9])
    assert [len(v) for v in precision_curve(second)] == [0, 0, 0]
    alone = match_detections([objects()] * 3, truth, 1, areas=("all",), thresholds=np.array([0.5])).classes[0]
    assert average_precisions(alone, weights[:2])[:, 0].tolist() == [0.0, 0.0]


def test_the_mean_is_over_classes_that_are_there_and_vocs_area_is_exact() -> None:
    truth = [objects((0, 0, 10, 10, 0), (20, 0, 30, 10, 0), (40, 0, 50, 10, 0), (60, 0, 70, 10, 2))]
    found = [objects((0, 0, 10, 10, 0), (90, 0, 99, 9, 0), (20, 0, 30, 10, 0), (0, 0, 10, 10, 1),
                     scores=(0.9, 0.8, 0.7, 0.6))]  # fmt: skip
    metrics = detection_metrics(found, truth, 3, rng=np.random.default_rng(0), replicates=50)
    # Class 0: 1/3 of recall at precision 1, 1/3 at 2/3; class 2: none; class 1 is not there.
    assert metrics["voc_ap50"].value == pytest.approx((1 / 3 + 2 / 9) / 2)
    assert metrics["ap50"].value == pytest.approx((34 + 33 * 2 / 3) / 101 / 2)
    assert metrics["ar_100"].value == pytest.approx((2 / 3) / 2)
    assert metrics["ar_1"].value == pytest.approx((1 / 3) / 2)
    assert (metrics["ap50"].n, metrics["ap50"].method, metrics["ap50"].groups) == (1, "bootstrap", None)
    assert list(metrics) == [*COCO_METRICS, "voc_ap50"]
    assert metrics["ap_large"].value is None
    with_nothing = detection_metrics([objects()], [objects()], 1, rng=np.random.default_rng(0), replicates=50)
    assert with_nothing["ap"].value is None
    assert with_nothing["ap"].low is None


def test_intervals_are_moved_to_the_value_and_cut_at_the_ends() -> None:
    samples = np.linspace(0.5, 0.7, 201)
    assert centred_interval(0.4, samples) == pytest.approx((0.305, 0.495))
    assert centred_interval(0.05, samples) == pytest.approx((0.0, 0.145))
    assert centred_interval(0.98, samples) == pytest.approx((0.885, 1.0))
    assert centred_interval(0.4, np.append(samples, np.nan)) == pytest.approx((0.305, 0.495))
    assert all(np.isnan(v) for v in centred_interval(float("nan"), samples))
    assert all(np.isnan(v) for v in centred_interval(0.5, np.full(3, np.nan)))


def test_operating_points_of_classes_without_an_answer_are_a_quarter() -> None:
    truth = [objects((0, 0, 10, 10, 0), (20, 0, 30, 10, 1)), objects((0, 0, 10, 10, 1))]
    found = [objects((50, 0, 60, 10, 0), (20, 0, 30, 10, 1), scores=(0.9, 0.8)), objects()]
    m = match_detections(found, truth, 3, areas=("all",), thresholds=np.array([0.5]))
    wrong, right, none = best_points(m, rng=np.random.default_rng(0), groups=np.array([0, 1]))
    assert (wrong.threshold, wrong.n, wrong.images, wrong.groups, wrong.f1) == (0.25, 1, 1, 1, None)
    assert (right.n, right.groups, right.recall) == (2, 2, 0.5)
    assert (none.threshold, none.n, none.groups) == (0.25, 0, 0)
