"""Pairs of tracks and detections, in plain Python for few boxes and in numpy for many."""

import numpy as np
import pytest

from eyewright.tracking import Tracker, association, checking, confidence, filters, tracker


def _scene(rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return boxes and scores of 60 frames: up to nine objects that pass each other, misses, false and low boxes."""
    at, speed = rng.uniform(0, 200, (9, 2)), rng.normal(0, 4, (9, 2))
    frames = []
    for _ in range(60):
        at += speed
        seen = rng.random(9) > 0.15
        boxes = np.tile(at, 2) + np.array([-15, -30, 15, 30]) + rng.normal(0, 2, (9, 4))
        frames.append((boxes[seen], rng.uniform(0.02, 1, int(seen.sum()))))
    return frames


@pytest.mark.parametrize("seed", range(5))
def test_few_boxes_are_followed_as_many_are_to_the_last_bit(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    scene = _scene(np.random.default_rng(seed))
    found = []
    for plain in (True, False):
        if not plain:
            for module in (association, tracker):
                monkeypatch.setattr(module, "FEW_PAIRS", 0)
            for module in (checking, confidence, filters):
                monkeypatch.setattr(module, "_SMALL", 0)
        method = Tracker()
        rows = [method.update(boxes, scores, time_s=k / 10) for k, (boxes, scores) in enumerate(scene)]
        found.append((rows, method.lost()))
    assert len(found[0][0][-1]) > 1
    for a, b in zip(found[0][0], found[1][0], strict=True):
        assert a.track_ids.tolist() == b.track_ids.tolist()
        assert a.keys.tolist() == b.keys.tolist()
        assert a.unconfirmed.tolist() == b.unconfirmed.tolist()
        assert np.array_equal(a.boxes_xyxy, b.boxes_xyxy)
    assert np.array_equal(found[0][1][1], found[1][1][1])


def test_an_expected_box_that_shrank_to_less_than_nothing_takes_no_detection() -> None:
    assert association.associate_few([[10.0, 0, 4, 8]], [[0.0, 0, 20, 8]], 0.1) == ([], [])
    boxes = np.array([[0.0, 0, 20, 8]] * 101)
    rows, _ = association.associate(np.array([[10.0, 0, 4, 8]]), boxes, 0.1)
    assert not len(rows)
