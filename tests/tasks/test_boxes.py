"""Suppression and choice of boxes: limits just reached and just missed, blocks, ties; a plain loop is the oracle."""

import numpy as np
import pytest

from eyewright.tasks import boxes as module
from eyewright.tasks.boxes import choose_boxes, keep_apart


def kept(rows: list[list[float]], scores: list[float], iou: float, **options: object) -> list[int]:
    return keep_apart(np.array(rows, np.float64).reshape(-1, 4), np.array(scores), iou=iou, **options).tolist()  # type: ignore[arg-type]


def test_a_box_goes_where_the_iou_is_above_the_threshold_and_stays_where_it_is_level() -> None:
    """Two boxes of 6x4 and 3x4 pixels inside: an IoU of exactly 0.5. Both sides are measured."""
    wide = [[0, 0, 6, 4], [3, 0, 6, 4]]
    assert kept(wide, [0.9, 0.8], 0.5) == [0, 1]
    assert kept(wide, [0.9, 0.8], 0.4999) == [0]
    high = [[0, 0, 4, 6], [0, 3, 4, 6]]
    assert kept(high, [0.9, 0.8], 0.5) == [0, 1]
    assert kept(high, [0.9, 0.8], 0.4999) == [0]
    # 6 of 24 + 24 - 6 pixels.
    crossed = [[0, 0, 6, 4], [3, 2, 9, 6]]
    assert kept(crossed, [0.9, 0.8], 1 / 7 + 1e-9) == [0, 1]
    assert kept(crossed, [0.9, 0.8], 1 / 7 - 1e-9) == [0]


def test_boxes_apart_on_both_sides_do_not_meet() -> None:
    """Negative overlaps on both axes are no overlap of two negatives."""
    assert kept([[0, 0, 2, 2], [5, 5, 7, 7], [0, 5, 2, 7]], [0.9, 0.8, 0.7], 0.0) == [0, 1, 2]
    # Nor is a box with its corners exchanged.
    assert kept([[0, 0, 4, 4], [3, 3, 1, 1]], [0.9, 0.8], 0.0) == [0, 1]
    assert kept([[3, 3, 1, 1], [0, 0, 4, 4]], [0.9, 0.8], 0.0) == [0, 1]


def test_of_level_scores_the_first_stays_and_nothing_gives_nothing() -> None:
    same = [[0, 0, 4, 4]] * 3
    assert kept(same, [0.5, 0.5, 0.5], 0.5) == [0]
    assert kept(same, [0.4, 0.5, 0.5], 0.5) == [1]
    assert kept([], [], 0.5) == []
    assert keep_apart(np.zeros((0, 4)), np.zeros(0), iou=0.5).dtype == np.int64
    assert kept(same, [0.5, 0.5, 0.5], 1.0) == [0, 1, 2]
    assert kept(same, [0.4, 0.5, 0.5], 1.0, most=2) == [1, 2]


def test_a_suppressed_box_suppresses_nothing() -> None:
    chain = [[0, 0, 10, 4], [4, 0, 14, 4], [8, 0, 18, 4]]
    assert kept(chain, [0.9, 0.8, 0.7], 0.4) == [0, 2]


def test_a_box_goes_where_more_than_a_share_of_it_is_contained() -> None:
    inner = [[0, 0, 20, 20], [16, 4, 24, 8]]
    # 4 of its 8 columns lie inside.
    assert kept(inner, [0.9, 0.8], 0.9, contained=0.5) == [0, 1]
    assert kept(inner, [0.9, 0.8], 0.9, contained=0.499) == [0]
    # The larger one is not contained in the smaller.
    assert kept(inner, [0.8, 0.9], 0.9, contained=0.499) == [1, 0]
    labels = np.array([0, 1])
    assert kept(inner, [0.9, 0.8], 0.9, contained=0.1, labels=labels) == [0, 1]
    assert kept(inner, [0.9, 0.8], 0.9, contained=0.1, labels=np.array([1, 1])) == [0]


@pytest.mark.parametrize("block", [1, 3, 7, 128])
def test_the_size_of_a_block_changes_nothing(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    corner = rng.random((60, 2)) * 30
    rows = np.concatenate([corner, corner + 4 + rng.random((60, 2)) * 12], 1)
    scores, labels = rng.random(60), rng.integers(0, 2, 60)
    options = {"labels": labels, "contained": 0.8}
    alone = keep_apart(rows, scores, iou=0.3, **options)  # type: ignore[arg-type]
    monkeypatch.setattr(module, "_BLOCK", block)
    assert keep_apart(rows, scores, iou=0.3, **options).tolist() == alone.tolist()  # type: ignore[arg-type]
    assert keep_apart(rows, scores, iou=0.3, most=5, **options).tolist() == alone[:5].tolist()  # type: ignore[arg-type]
    assert 5 < len(alone) < 55


def test_every_class_that_reaches_the_least_score_is_a_candidate() -> None:
    places = np.array([[0, 0, 4, 4], [10, 0, 14, 4]], np.float64)
    scores = np.array([[0.5, 0.25, 0.1], [0.2, 0.9, 0.25]])
    points, labels = choose_boxes(places, scores, least=0.25, iou=0.6, most=10)
    assert list(zip(points.tolist(), labels.tolist(), strict=True)) == [(1, 1), (0, 0), (0, 1), (1, 2)]
    points, labels = choose_boxes(places, scores, least=0.2501, iou=0.6, most=10)
    assert list(zip(points.tolist(), labels.tolist(), strict=True)) == [(1, 1), (0, 0)]
    assert [len(v) for v in choose_boxes(places, scores, least=0.95, iou=0.6, most=10)] == [0, 0]


def test_candidates_of_level_scores_keep_their_order_though_there_are_very_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 4)
    places = np.arange(6)[:, None] * 10.0 + np.array([0, 0, 4, 4])
    scores = np.full((6, 2), 0.1)
    scores[[1, 3, 4], [1, 0, 1]], scores[3, 1] = 0.5, 0.5
    points, labels = choose_boxes(places, scores, least=0.05, iou=0.6, most=10)
    assert list(zip(points.tolist(), labels.tolist(), strict=True)) == [(1, 1), (3, 0), (3, 1), (4, 1)]
    # As many as can go on are not cut.
    scores[5, 0] = 0.6
    four, _ = choose_boxes(places, np.where(scores > 0.2, scores, 0), least=0.4, iou=0.6, most=4)
    assert four.tolist()[0] == 5
    assert len(four) == 4


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
