"""Separation of familiar and unfamiliar images; scikit-learn and plain counts are the oracles."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from eyewright.metrics.separation import missed_at, separation


def test_the_area_is_that_of_scikit_learn_with_ties() -> None:
    rng = np.random.default_rng(0)
    known, other = rng.integers(0, 8, 90).astype(float), rng.integers(3, 12, 40).astype(float)
    found = separation(known, other, rng=np.random.default_rng(1), replicates=200)
    true, scores = np.r_[np.zeros(90), np.ones(40)], np.r_[known, other]
    assert found["auroc"].value == pytest.approx(roc_auc_score(true, scores), abs=1e-12)
    low, high = found["auroc"].low, found["auroc"].high
    assert low is not None
    assert high is not None
    assert low < found["auroc"].value < high  # type: ignore[operator]
    assert (found["auroc"].n, found["auroc"].groups) == (130, None)


def test_what_is_missed_where_95_of_100_pass() -> None:
    rng = np.random.default_rng(2)
    known, other = rng.normal(size=200), rng.normal(1.5, size=100)
    false, right, _ = roc_curve(np.r_[np.ones(200), np.zeros(100)], -np.r_[known, other], drop_intermediate=False)
    expected = false[(right >= 0.95).argmax()]
    assert missed_at(known, other) == pytest.approx(expected)
    found = separation(known, other, rng=np.random.default_rng(1), replicates=100)["missed_at_95"]
    assert found.value == pytest.approx(expected)


def test_a_perfect_separation_still_has_an_interval() -> None:
    found = separation(np.zeros(10), np.ones(10), rng=np.random.default_rng(0), replicates=50)
    assert found["auroc"].value == 1.0
    assert found["auroc"].low is not None
    assert found["auroc"].low < 0.9
    assert found["missed_at_95"].value == 0.0


def test_groups_of_known_images_are_drawn_together() -> None:
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(300), 4)
    known = np.repeat(rng.normal(size=300), 4)
    other = rng.normal(0.5, size=900)
    alone = separation(known, other, rng=np.random.default_rng(1), replicates=300)["auroc"]
    together = separation(known, other, rng=np.random.default_rng(1), groups=groups, replicates=300)["auroc"]
    assert together.groups == 1200
    assert together.high - together.low > 1.2 * (alone.high - alone.low)  # type: ignore[operator]
