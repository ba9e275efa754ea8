"""Intervals and tests over groups: oracles are scipy and simulation with a known truth."""

import numpy as np
import pytest
from scipy import stats

from eyewright.metrics import classification_metrics
from eyewright.metrics.bootstrap import share_interval
from eyewright.metrics.groups import (
    Clusters,
    clusters_of,
    effective_n,
    flip_p_value,
    student_quantile,
    two_sample_p_value,
    weaker_p_value,
)


@pytest.mark.parametrize("freedom", [1.0, 1.7, 4.0, 9.3, 30.0, 150.0])
def test_the_quantile_is_scipys(freedom: float) -> None:
    assert student_quantile(0.975, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=1e-9)


def drawn(rng: np.random.Generator, groups: int, rate: float, alike: float) -> tuple[np.ndarray, Clusters]:
    """Draw right and wrong in groups of unequal sizes with intraclass correlation `alike` (beta-binomial)."""
    sizes = np.maximum(1, np.round(6 * rng.lognormal(0, 0.8, groups))).astype(int)
    own = rng.beta(rate * (1 - alike) / alike, (1 - rate) * (1 - alike) / alike, groups)
    ids = np.repeat(np.arange(groups), sizes)
    return rng.random(len(ids)) < own[ids], Clusters(ids)


@pytest.mark.parametrize("groups", [5, 8, 15, 30])
@pytest.mark.parametrize(("rate", "alike"), [(0.7, 0.5), (0.9, 0.5), (0.97, 0.1)])
def test_the_interval_of_a_rate_covers_the_truth_though_groups_are_few(groups: int, rate: float, alike: float) -> None:
    rng = np.random.default_rng(groups)
    covered = 0
    for _ in range(400):
        right, clusters = drawn(rng, groups, rate, alike)
        low, high = share_interval(right, np.ones(len(right)), clusters)
        covered += low <= rate <= high
    # 0.93 is promised of 0.95; of 400, fewer than 0.905 happens about once in 40 times at 0.93.
    assert covered / 400 >= 0.905


def test_without_a_mistake_a_group_counts_once() -> None:
    clusters = Clusters(np.repeat(np.arange(6), 10))
    low, high = share_interval(np.ones(60, bool), np.ones(60), clusters)
    assert high == 1.0
    # Wilson's bound with 6 trials and Student's quantile, by hand: n / (n + t²).
    assert low == pytest.approx(6 / (6 + stats.t.ppf(0.975, 5) ** 2))


def test_metrics_of_one_group_have_no_interval_and_none_fails() -> None:
    scores = np.tile([[0.8, 0.2], [0.3, 0.7]], (5, 1))
    one = np.array(["a"] * 10)
    found = classification_metrics(np.arange(10) % 2, scores, rng=np.random.default_rng(0), groups=one)
    assert all(m.low is None or m.method == "t over groups" for m in found.values())
    assert found["accuracy"].groups == 1


def test_images_that_each_stand_alone_are_no_groups() -> None:
    assert clusters_of(np.array(["a", "b", "c"])) is None
    assert clusters_of(None) is None


def test_effective_n_lies_between_the_groups_and_the_images() -> None:
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(40), 5)
    alone, alike = rng.random(200), rng.random(40)[ids]
    assert effective_n(alike, Clusters(ids)) == pytest.approx(40)
    assert effective_n(alone, Clusters(ids)) > 120


def test_tests_over_groups_reject_as_rarely_as_promised() -> None:
    rng = np.random.default_rng(1)
    rejected = np.zeros(3)
    for _ in range(300):
        right, clusters = drawn(rng, 14, 0.85, 0.4)
        scores = right.astype(float)
        member = clusters.ids % 3 == 0
        rejected[0] += weaker_p_value(member, scores, clusters, rng=rng) < 0.05
        half = clusters.ids < 7
        first, second = Clusters(clusters.ids[half]), Clusters(clusters.ids[~half] - 7)
        rejected[1] += two_sample_p_value(scores[half], scores[~half], first, second, rng=rng, rounds=300) < 0.05
        rejected[2] += flip_p_value(clusters.sums(rng.normal(size=len(scores))), rng=rng) < 0.05
    # Of 300 at 0.05, more than 27 happens about once in 300 times.
    assert (rejected <= 27).all(), rejected


def test_tests_over_groups_find_what_is_there() -> None:
    rng = np.random.default_rng(2)
    ids = np.repeat(np.arange(20), 5)
    weak = ids % 2 == 0
    scores = np.where(weak, rng.random(100) < 0.3, rng.random(100) < 0.95).astype(float)
    assert weaker_p_value(weak, scores, Clusters(ids), rng=rng) < 0.01
    halves = [Clusters(np.repeat(np.arange(10), 5)) for _ in range(2)]
    assert two_sample_p_value(scores[weak], scores[~weak], *halves, rng=rng) < 0.01


def test_the_sign_flip_test_of_few_groups_is_exact() -> None:
    # All 2⁵ flips of five equal differences: two are as extreme.
    assert flip_p_value(np.ones(5), rng=np.random.default_rng(0)) == pytest.approx(2 / 32)
