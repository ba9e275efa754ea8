"""Tests of `tracking.confidence`; the oracle is numpy's quantile."""

import numpy as np
import pytest

from eyewright.tracking.confidence import ScoreScale


def test_the_scale_is_the_score_that_a_tenth_exceeds() -> None:
    scores, scale = np.random.default_rng(0).uniform(0, 40, (64, 30)), ScoreScale()
    found = [scale.update(row) for row in scores]
    assert found[0] == pytest.approx(np.quantile(scores[0], 0.9))
    assert found[-1] == pytest.approx(np.quantile(scores, 0.9))


def test_a_detector_that_changes_is_followed_and_memory_is_bounded() -> None:
    scale = ScoreScale()
    for k in range(3_000):
        found = scale.update(np.array([1.0 if k < 1_500 else 0.2]))
    assert found == pytest.approx(0.2)
    assert sum(map(len, [*scale._batches, *scale._open])) <= 64 * 9


def test_frames_without_scores_and_scores_of_zero_leave_it_as_it_is() -> None:
    scale = ScoreScale()
    assert scale.update(np.zeros(0)) == 1.0
    assert scale.update(np.zeros(3)) == 1.0
