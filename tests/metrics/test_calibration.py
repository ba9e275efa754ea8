"""Temperature and operating points; scikit-learn's curves are the oracle."""

import numpy as np
import pytest
from scipy import optimize, special
from sklearn.metrics import f1_score, precision_recall_curve

from eyewright.metrics import fit_temperature, operating_points, uncalibrated
from eyewright.metrics.calibration import fit_confidence


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


def test_the_temperature_is_scipys_minimum_of_the_smoothed_cross_entropy() -> None:
    for n, classes, seed in ((40, 2, 0), (300, 5, 1), (8, 3, 2)):
        rng = np.random.default_rng(seed)
        true = rng.integers(0, classes, n)
        logits = 3 * (rng.normal(0, 1, (n, classes)) + np.eye(classes)[true])
        target = np.full((n, classes), 1 / (n + 2) / (classes - 1))
        target[np.arange(n), true] = 1 - 1 / (n + 2)

        def loss(log_t: float, logits: np.ndarray = logits, target: np.ndarray = target) -> float:
            return float(-(target * special.log_softmax(logits / np.exp(log_t), 1)).sum(1).mean())

        wanted = np.exp(optimize.minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded",
                                                 options={"xatol": 1e-9}).x)  # fmt: skip
        assert fit_temperature(logits, true) == pytest.approx(wanted, rel=1e-5)


def test_the_temperature_has_bounds_and_is_one_where_nothing_can_be_fitted() -> None:
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, int)) == 1.0
    assert fit_temperature(np.zeros((5, 1)), np.zeros(5, int)) == 1.0
    assert fit_temperature(np.zeros((0, 2)), np.zeros(0, int)) == 1.0
    # Wrong every time: as flat as can be; right by a hair on many: as sharp.
    assert fit_temperature(np.tile([9.0, 0.0], (50, 1)), np.ones(50, int)) == pytest.approx(20, rel=1e-6)
    assert fit_temperature(np.tile([1e-3, 0.0], (5000, 1)), np.zeros(5000, int)) == pytest.approx(0.05, rel=1e-6)


def test_probabilities_of_zero_and_one_can_be_uncalibrated() -> None:
    found = uncalibrated(np.array([[0.0, 1.0], [0.5, 0.5]]), 2.0)
    assert found.tolist() == [[0.0, 1.0], [0.5, 0.5]]
    assert uncalibrated(np.array([[0.2, 0.8]]), 2.0)[0] == pytest.approx([0.04 / 0.68, 0.64 / 0.68])


def test_points_of_groups_count_groups() -> None:
    true, p = scores(60, 3)
    for k, point in enumerate(operating_points(true, p, rng=np.random.default_rng(0), groups=np.arange(60) // 6)):
        assert point.groups == len(np.unique((np.arange(60) // 6)[true == k]))
        assert point.images == (true == k).sum()


def test_too_few_groups_leave_the_confidences_as_they_are_and_say_why() -> None:
    true, p = scores(60)
    logits = 3 * np.log(p)
    for groups, fitted in ((np.arange(60), True), (np.arange(60) % 20, True), (np.arange(60) % 19, False)):
        found = fit_confidence(logits, true, list("abcd"), groups=groups, rng=np.random.default_rng(0))["calibration"]
        assert ("temperature" in found) is fitted
        assert ("reason" in found) is not fitted
        assert (found["method"], found["groups"]) == ("temperature" if fitted else "none", len(set(groups.tolist())))
        assert (found["ece_before"] == pytest.approx(found["ece_after"])) is not fitted
    assert found["reason"] == "the 60 validation samples are of 19 groups, and a temperature needs at least 20"
    few = fit_confidence(logits[:3], true[:3], list("abcd"), groups=np.arange(3), rng=np.random.default_rng(0))
    assert few["calibration"]["reason"].startswith("there are 3 validation samples")
