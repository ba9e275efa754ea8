"""Numbers of boxes and masks against pycocotools, and against hand-made cases whose answer is known."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest

from eyewright.metrics.detection import (
    COCO_METRICS,
    best_points,
    detection_errors,
    detection_metrics,
    object_confusion,
    panoptic_quality,
)
from eyewright.metrics.masks import boundary_scores, image_confusion, mask_metrics
from eyewright.metrics.matching import Detected, crop_mask, mask_overlaps, match_detections


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
