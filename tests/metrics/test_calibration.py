"""Temperature and operating points; scikit-learn's curves are the oracle."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_recall_curve

from eyewright.metrics import fit_temperature, operating_points, uncalibrated


def scores(n: int = 300, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    true = rng.integers(0, classes, n)
    logits = rng.normal(0, 1, (n, classes)) + 1.5 * np.eye(classes)[true]
    p = np.exp(logits)
    return true, p / p.sum(1, keepdims=True)


def test_operating_points_are_near_the_largest_f1_of_scikit_learns_curve() -> None:
    true, p = scores()
    for k, point in enumerate(operating_points(true, p, rng=np.random.default_rng(1))):
        precision, recall, _ = precision_recall_curve(true == k, p[:, k])
        best = (2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()
        answered = p[:, k] >= point.threshold
        assert point.f1 == pytest.approx(f1_score(true == k, answered), abs=1e-12)
        assert best - 0.06 < point.f1 <= best + 1e-12
        assert point.low <= point.threshold <= point.best <= point.high
        assert point.precision == pytest.approx((true == k)[answered].mean())
        assert point.recall == pytest.approx(answered[true == k].mean())
        assert point.n == point.images == point.groups == (true == k).sum()


def test_ties_cannot_be_cut_and_a_class_without_images_has_no_point() -> None:
    p = np.array([[0.5, 0.5, 0.0]] * 4)
    first, second, third = operating_points(np.array([0, 0, 0, 1]), p, rng=np.random.default_rng(1))
    assert first.threshold < 0.5
    assert (first.precision, first.recall) == (0.75, 1.0)
    assert (second.precision, second.recall) == (0.25, 1.0)
    assert (third.threshold, third.f1, third.n) == (0.5, None, 0)


def test_before_calibration_is_what_the_net_said() -> None:
    true, p = scores()
    logits = np.log(p) * 3
    raw = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    t = fit_temperature(logits, true)
    after = np.exp(logits / t) / np.exp(logits / t).sum(1, keepdims=True)
    np.testing.assert_allclose(uncalibrated(after, t), raw, atol=1e-12)
