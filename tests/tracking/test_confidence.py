"""Tests of `tracking.confidence`; the oracles are numpy's quantile and ranks."""

import numpy as np
import pytest

from eyewright.tracking.confidence import ScoreScale


def test_the_scale_is_the_score_that_a_tenth_exceeds() -> None:
    scores, scale = np.random.default_rng(0).uniform(0, 0.4, (64, 30)), ScoreScale()
    found = [scale.update(row)[1] for row in scores]
    assert found[0] == pytest.approx(np.quantile(scores[0], 0.9))
    assert found[-1] == pytest.approx(np.quantile(scores, 0.9))
    assert not scale.ranked


def test_a_detector_that_changes_is_followed_and_memory_is_bounded() -> None:
    scale = ScoreScale()
    for k in range(3_000):
        found = scale.update(np.array([1.0 if k < 1_500 else 0.2]))[1]
    assert found == pytest.approx(0.2)
    assert sum(map(len, [*scale._batches, *scale._open])) <= 64 * 9


def test_frames_without_scores_and_scores_of_zero_leave_it_as_it_is() -> None:
    scale = ScoreScale()
    assert scale.update(np.zeros(0))[1] == 1.0
    assert scale.update(np.zeros(3))[1] == 1.0


@pytest.mark.parametrize("rise", [lambda x: 3 * x - 2, np.exp, lambda x: 40 * x**3 - 7, lambda x: -np.exp(-x)])
def test_only_the_order_of_scores_that_are_no_probabilities_is_used(rise) -> None:  # type: ignore[no-untyped-def]
    logits = np.random.default_rng(3).normal(1, 4, (200, 6))
    one, other = ScoreScale(), ScoreScale()
    for row in logits:
        weights, certain = one.update(row)
        assert np.array_equal(weights, other.update(rise(row))[0])
        assert certain == 1.0
        assert (np.diff(weights[np.argsort(row)]) >= 0).all()
    assert weights.min() >= 0.5
    assert weights.max() <= 1.0
    assert sum(map(len, [*one._batches, *one._open])) <= 64 * 9 * 6


def test_the_rank_is_that_among_the_last_scores() -> None:
    scale = ScoreScale()
    scale.update(np.array([0.2, 0.9]))
    weights, _ = scale.update(np.array([-5.0, 0.5]))
    # Of -5, 0.2, 0.5, 0.9 a quarter and three quarters are not higher.
    assert weights.tolist() == [0.5 + 0.5 * 0.25, 0.5 + 0.5 * 0.75]


def test_scores_say_nothing_until_two_of_them_differ() -> None:
    scale = ScoreScale()
    scale.update(np.full(3, 0.8))
    scale.update(np.full(2, 0.8))
    assert scale.flat
    scale.update(np.array([0.8, 0.81]))
    scale.update(np.full(2, 0.8))
    assert not scale.flat
