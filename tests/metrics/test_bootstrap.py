import numpy as np
import pytest
from scipy import stats

from eyewright.metrics import classification_metrics, fit_temperature, wilson_interval
from eyewright.metrics.bootstrap import bootstrap_weights


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (357, 359), (1, 1)])
def test_wilson_is_scipys(k: int, n: int) -> None:
    expected = stats.binomtest(k, n).proportion_ci(method="wilson")
    assert np.allclose(wilson_interval(k, n), (expected.low, expected.high), atol=1e-12)


def test_the_accuracy_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    # 300 test sets of 200 answers from a model that is right with probability 0.9.
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        right = rng.random(200) < 0.9
        true = np.where(right, 0, 1)
        scores = np.tile([0.8, 0.2], (200, 1))
        metric = classification_metrics(true, scores, rng=rng, replicates=300)["accuracy"]
        covered += metric.low <= 0.9 <= metric.high  # type: ignore[operator]
    # A binomial with n = 300, p = 0.95 falls below 0.90 once in 10,000 times.
    assert 0.90 <= covered / 300 <= 0.99


def test_the_bootstrap_agrees_with_scipys() -> None:
    rng = np.random.default_rng(1)
    right = rng.random(400) < 0.8
    expected = stats.bootstrap((right,), np.mean, n_resamples=4000, method="percentile", rng=2).confidence_interval
    scores = np.tile([0.7, 0.3], (400, 1))
    found = classification_metrics(np.where(right, 0, 1), scores, rng=rng, replicates=4000)["accuracy"]
    assert abs(found.low - expected.low) < 0.006  # type: ignore[operator]
    assert abs(found.high - expected.high) < 0.006  # type: ignore[operator]


def test_all_right_does_not_prove_a_hundred_per_cent() -> None:
    metric = classification_metrics(np.zeros(50, int), np.tile([0.9, 0.1], (50, 1)), rng=np.random.default_rng(0))
    assert metric["accuracy"].method == "wilson"
    for name in ("accuracy", "balanced_accuracy", "f1_macro"):
        assert metric[name].low == pytest.approx(0.9287, abs=1e-4)
    assert metric["auc"].value is None


def test_groups_widen_the_interval() -> None:
    # 40 videos of 25 frames that are right or wrong together: 40 draws, not 1,000.
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(40), 25)
    true = np.where(np.repeat(rng.random(40) < 0.8, 25), 0, 1)
    scores = np.tile([0.7, 0.3], (1000, 1))
    alone = classification_metrics(true, scores, rng=np.random.default_rng(0))["accuracy"]
    together = classification_metrics(true, scores, rng=np.random.default_rng(0), groups=groups)["accuracy"]
    assert together.high - together.low > 3 * (alone.high - alone.low)  # type: ignore[operator]


def test_every_resample_has_as_many_samples_as_the_data() -> None:
    for weights in bootstrap_weights(37, replicates=50, rng=np.random.default_rng(0)):
        assert (weights.sum(1) == 37).all()


def test_no_data_gives_no_numbers() -> None:
    assert classification_metrics(np.zeros(0, int), np.zeros((0, 2)), rng=np.random.default_rng(0)) == {}


def test_the_temperature_is_the_one_that_made_the_data() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (20_000, 4))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    true = (p.cumsum(1) > rng.random((20_000, 1))).argmax(1)
    assert fit_temperature(logits * 2.5, true) == pytest.approx(2.5, rel=0.03)


def test_a_net_that_is_always_right_is_not_made_infinitely_sure() -> None:
    logits = 5 * np.eye(3)[np.arange(60) % 3]
    assert fit_temperature(logits, np.arange(60) % 3) > 0.5
