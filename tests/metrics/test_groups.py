"""Intervals and tests over groups: oracles are scipy and simulation with a known truth."""

from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from eyewright.metrics import classification_metrics
from eyewright.metrics.bootstrap import share_interval
from eyewright.metrics.groups import (
    MOST_LEFT_OUT,
    Clusters,
    clusters_of,
    effective_n,
    flip_p_value,
    grouped_interval,
    grouped_share,
    jackknife_variance,
    student_quantile,
    t_p_value,
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
    for _ in range(200):
        right, clusters = drawn(rng, groups, rate, alike)
        low, high = share_interval(right, np.ones(len(right)), clusters)
        covered += low <= rate <= high
    # 0.93 is promised of 0.95; of 200, fewer than 0.895 happens about once in 40 times at 0.93.
    assert covered / 200 >= 0.895


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


@pytest.mark.parametrize("p", [0.6, 0.9, 0.995])
@pytest.mark.parametrize("freedom", [1.0, 3.3, 60.0, 1000.0])
def test_other_quantiles_are_scipys(p: float, freedom: float) -> None:
    assert student_quantile(p, freedom) == pytest.approx(stats.t.ppf(p, freedom), rel=1e-9)


SIZES = Clusters(np.array([0, 0, 0, 1, 2, 2]))


def test_clusters_know_their_sizes_and_how_many_they_are_worth() -> None:
    assert (SIZES.n, SIZES.count, SIZES.sizes.tolist()) == (6, 3, [3, 1, 2])
    assert SIZES.effective == pytest.approx(36 / 14)
    assert SIZES.left_out().tolist() == [[0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 1, 1], [1, 1, 1, 1, 0, 0]]
    assert SIZES.sums(np.arange(6.0)).tolist() == [3, 3, 9]
    none = Clusters(np.zeros(0, np.int64))
    assert (none.n, none.count, none.effective) == (0, 0, 0.0)
    assert Clusters(np.arange(MOST_LEFT_OUT)).by_t
    assert not Clusters(np.arange(MOST_LEFT_OUT + 1)).by_t
    assert MOST_LEFT_OUT == 200
    named = clusters_of(np.array(["b", "a", "b"]))
    assert named is not None
    assert named.ids.tolist() == [1, 0, 1]
    assert clusters_of(np.array([])) is None
    # One group of several images is a group; a single image is not.
    assert clusters_of(np.array(["a", "a"])) is not None
    assert clusters_of(np.array(["a"])) is None


def test_the_variance_of_the_jackknife_by_hand() -> None:
    assert jackknife_variance(0.5, np.array([0.4, 0.5, 0.7])) == pytest.approx(2 / 3 * 0.05)
    assert jackknife_variance(0.5, np.array([0.4, np.nan, 0.7])) == pytest.approx(1 / 2 * 0.05)
    assert np.isnan(jackknife_variance(0.5, np.array([0.4])))
    assert np.isnan(jackknife_variance(0.5, np.array([0.4, np.nan])))
    assert np.isnan(jackknife_variance(float("nan"), np.array([0.4, 0.5])))
    # Of a mean of groups of one size it is that of their mean.
    rows = np.random.default_rng(0).random(9)
    left = (rows.sum() - rows) / 8
    assert jackknife_variance(rows.mean(), left) == pytest.approx(rows.var(ddof=1) / 9)


LEFT = np.array([0.55, 0.6, 0.65])


def wilson(p: float, n: float, z: float) -> tuple[float, float]:
    middle, half = (
        (p + z * z / 2 / n) / (1 + z * z / n),
        z / (1 + z * z / n) * (p * (1 - p) / n + z * z / 4 / n**2) ** 0.5,
    )
    return middle - half, middle + half


def test_plain_intervals_are_t_intervals_within_their_bounds() -> None:
    variance = 2 / 3 * 0.005
    half = stats.t.ppf(0.975, 36 / 14 - 1) * variance**0.5
    assert grouped_interval(0.6, LEFT, SIZES, kind="plain") == pytest.approx((0.6 - half, 0.6 + half), abs=1e-9)
    assert grouped_interval(0.6, LEFT, SIZES, kind="plain", bounds=(0.5, 0.7)) == (0.5, 0.7)
    narrow = stats.t.ppf(0.75, 36 / 14 - 1) * variance**0.5
    found = grouped_interval(0.6, LEFT, SIZES, kind="plain", confidence=0.5, bounds=(0.0, 1.0))
    assert found == pytest.approx((0.6 - narrow, 0.6 + narrow), abs=1e-9)
    assert np.isnan(grouped_interval(0.6, LEFT[:1], SIZES, kind="plain")).all()
    # With less than two groups' worth there is one degree of freedom.
    lopsided = Clusters(np.array([0] * 50 + [1]))
    wide = stats.t.ppf(0.975, 1) * jackknife_variance(0.6, LEFT[:2]) ** 0.5
    assert grouped_interval(0.6, LEFT[:2], lopsided, kind="plain") == pytest.approx((0.6 - wide, 0.6 + wide), rel=1e-9)


def test_bounded_intervals_are_wilsons_with_the_worth_of_the_variance() -> None:
    z = stats.t.ppf(0.975, 36 / 14 - 1)
    # The variance is drawn a little towards that of groups that are each of one mind.
    n = 0.24 / ((3 * (2 / 3 * 0.005) + 0.1 * 0.24 / (36 / 14)) / 3.1)
    assert grouped_interval(0.6, LEFT, SIZES, kind="bounded") == pytest.approx(wilson(0.6, n, z), abs=1e-9)
    # Of rates the variance is drawn towards that of groups that are each of one mind, with a weight of two.
    prior = 0.6 * 0.4 / (36 / 14)
    mixed = (3 * (2 / 3 * 0.005) + 2 * prior) / 5
    share = grouped_interval(0.6, LEFT, SIZES, kind="share")
    assert share == pytest.approx(wilson(0.6, min(6, 0.24 / mixed), z), abs=1e-9)
    # A rate is never more certain than that many images would make it.
    level = Clusters(np.repeat(np.arange(40), 2))
    by_images = grouped_interval(0.5, np.full(40, 0.5), level, kind="share")
    assert by_images == pytest.approx(wilson(0.5, 80, stats.t.ppf(0.975, 39)), abs=1e-9)
    # Where all groups agree each counts once; the ends are exact, and values are cut to the range.
    alone = grouped_interval(0.5, np.full(3, 0.5), SIZES, kind="bounded")
    assert alone == pytest.approx(wilson(0.5, 36 / 14 * 31, z), abs=1e-9)
    low, high = grouped_interval(1.0, np.ones(3), SIZES, kind="bounded")
    assert (low, high) == (pytest.approx(wilson(1.0, 36 / 14, z)[0]), 1.0)
    assert grouped_interval(0.0, np.zeros(3), SIZES, kind="share")[0] == 0.0
    assert grouped_interval(1.2, np.ones(3), SIZES, kind="bounded")[1] == 1.0
    assert grouped_interval(-0.1, np.zeros(3), SIZES, kind="bounded")[0] == 0.0


def test_groups_that_agree_by_chance_do_not_make_a_narrow_interval() -> None:
    four = Clusters(np.repeat(np.arange(4), 5))
    low, high = grouped_interval(0.023, np.array([0.022, 0.023, 0.024, 0.025]), four, kind="bounded")
    assert low < 0.01
    assert high > 0.06


def test_shares_are_those_of_hits_and_counts_of_groups_that_count() -> None:
    hits, counts = np.array([1, 0, 1, 1, 0, 0]), np.array([2, 1, 1, 1, 0, 0])
    # Groups 0 and 1 count: 2 of 4 and 1 of 1; group 2 has nothing to count.
    found = grouped_share(hits, counts, SIZES)
    kept = Clusters(np.array([0, 0, 0, 0, 1]))
    assert found == grouped_interval(3 / 5, np.array([1.0, 0.5]), kept, kind="share")
    assert grouped_share(hits, counts, SIZES, confidence=0.5) != found
    assert grouped_share(hits[:3], counts[:3], Clusters(np.zeros(3, int))) == (0.0, 1.0)
    assert np.isnan(grouped_share(np.zeros(6), np.zeros(6), SIZES)).all()
    # Parts of a count weigh as one image at least.
    parts = grouped_share(np.array([0.2, 0.1]), np.array([0.4, 0.3]), Clusters(np.array([0, 1])))
    assert parts == grouped_interval(0.3 / 0.7, np.array([0.1 / 0.3, 0.5]), Clusters(np.array([0, 1])), kind="share")


def test_the_p_value_over_groups_is_that_of_the_t_test() -> None:
    rows = np.random.default_rng(0).normal(0.4, 1, 9)
    left, clusters = (rows.sum() - rows) / 8, Clusters(np.arange(9))
    wanted = stats.ttest_1samp(rows, 0).pvalue
    assert t_p_value(rows.mean(), left, clusters) == pytest.approx(wanted, rel=1e-9)
    assert t_p_value(-rows.mean(), -left, clusters) == pytest.approx(wanted, rel=1e-9)
    assert t_p_value(0.0, left, clusters) == 1.0
    assert t_p_value(0.5, left[:1], clusters) == 1.0
    # Without any spread: as likely as that all groups fall on one side.
    assert t_p_value(0.5, np.full(9, 0.5), clusters) == 2 / 2**9


def test_effective_n_by_the_analysis_of_variance() -> None:
    ids, values = np.array([0, 0, 0, 1, 1, 2]), np.array([1.0, 0.5, 0.6, 0.2, 0.4, 0.9])
    means = np.array([0.7, 0.3, 0.9])
    within = sum((values[ids == g] - means[g]) @ (values[ids == g] - means[g]) for g in range(3)) / 3
    between = (np.array([3, 2, 1]) * (means - 0.6) ** 2).sum() / 2
    typical, seen = (6 - 14 / 6) / 2, 14 / 6
    rho = (between - within) / (between + (typical - 1) * within)
    assert 0 < rho < 1
    assert effective_n(values, Clusters(ids)) == pytest.approx(6 / (1 + (seen - 1) * rho))
    unknown = np.append(values, np.nan)
    assert effective_n(unknown, Clusters(np.append(ids, 1))) == pytest.approx(effective_n(values, Clusters(ids)))
    # Groups less alike than chance are images; one group is one; the same score everywhere shows nothing.
    assert effective_n(np.array([0.0, 1, 0, 1]), Clusters(np.array([0, 0, 1, 1]))) == 4
    assert effective_n(values, Clusters(np.zeros(6, int))) == 1
    assert effective_n(np.ones(6), Clusters(ids)) == pytest.approx(6 / seen)
    assert effective_n(values, Clusters(np.arange(6))) == 6
    assert effective_n(np.array([0.5]), Clusters(np.array([0]))) == 1.0
    assert effective_n(np.array([np.nan]), Clusters(np.array([0]))) == 0.0
    assert effective_n(np.array([0.5, 0.7]), Clusters(np.array([0, 1]))) == 2.0
    assert effective_n(np.array([0.5, 0.7]), Clusters(np.array([0, 0]))) == 1.0


@pytest.mark.parametrize("n", [1, 4, 12])
def test_the_sign_flip_test_is_scipys(n: int) -> None:
    rows = np.random.default_rng(n).normal(0.5, 1, n)
    flips = (list(product([1, -1], repeat=n)) * rows).sum(1)
    wanted = (np.abs(flips) >= abs(rows.sum()) - 1e-9).mean()
    assert flip_p_value(np.append(rows, [0.0, 0.0]), rng=np.random.default_rng(0)) == wanted
    if n > 1:
        again = stats.permutation_test((rows,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue
        assert wanted == pytest.approx(again)


def test_many_groups_are_flipped_at_random() -> None:
    assert flip_p_value(np.ones(13), rng=np.random.default_rng(0)) == pytest.approx(
        (1 + 4000 * 2 / 2**13) / 4001, abs=1e-3
    )
    assert flip_p_value(np.ones(60), rng=np.random.default_rng(0)) == 1 / 4001
    assert flip_p_value(np.array([1.0, -1.0] * 30), rng=np.random.default_rng(0)) == 1.0
    assert flip_p_value(np.zeros(5), rng=np.random.default_rng(0)) == 1.0
    assert (
        weaker_p_value(
            np.arange(60) % 2 == 0, np.arange(60) % 2 * 1.0, Clusters(np.arange(60)), rng=np.random.default_rng(0)
        )
        == 1 / 4001
    )


def test_a_weaker_slice_is_found_by_the_flips_of_group_scores() -> None:
    """Eight groups of two images, one in the slice and one not: the scores of the regression are exact."""
    rng = np.random.default_rng(3)
    ids, member = np.repeat(np.arange(8), 2), np.tile([True, False], 8)
    scores = rng.random(16) - 0.3 * member
    parts = np.bincount(ids, (member - 0.5) * (scores - scores.mean()))
    flips = (list(product([1, -1], repeat=8)) * parts).sum(1)
    found = weaker_p_value(member, scores, Clusters(ids), rng=rng)
    assert found == (flips <= parts.sum() + 1e-9).mean()
    assert found < 0.1
    assert weaker_p_value(~member, scores, Clusters(ids), rng=rng) > 0.9
    assert weaker_p_value(member, np.ones(16), Clusters(ids), rng=rng) == 1.0


def test_two_sets_are_compared_by_all_permutations_of_their_groups() -> None:
    """Four groups against three, of other sizes: the share of the 35 divisions that are as far apart."""
    rng = np.random.default_rng(4)
    first_ids, second_ids = np.repeat(np.arange(4), [3, 1, 2, 4]), np.repeat(np.arange(3), [2, 3, 1])
    first, second = rng.random(10), rng.random(6) + 0.35
    sizes, sums = (
        np.array([3, 1, 2, 4, 2, 3, 1]),
        np.append(np.bincount(first_ids, first), np.bincount(second_ids, second)),
    )

    def apart(rows: tuple[int, ...]) -> float:
        means, variances = [], []
        for own in (list(rows), [k for k in range(7) if k not in rows]):
            mean = sums[own].sum() / sizes[own].sum()
            residuals = ((sums[own] - mean * sizes[own]) ** 2).sum() / sizes[own].sum() ** 2
            means.append(mean)
            variances.append(residuals * len(own) / (len(own) - 1))
        return abs(means[0] - means[1]) / float(np.sqrt(sum(variances)))

    wanted = np.mean([apart(rows) >= apart((0, 1, 2, 3)) - 1e-9 for rows in combinations(range(7), 4)])
    given = first, second, Clusters(first_ids), Clusters(second_ids)
    found = two_sample_p_value(*given, rng=np.random.default_rng(0), rounds=20_000)
    assert found == pytest.approx(wanted, abs=0.012)
    assert 0.02 < wanted < 0.6
    assert two_sample_p_value(*given, rng=np.random.default_rng(0), rounds=9) in [k / 10 for k in range(1, 11)]
    one = Clusters(np.zeros(6, int))
    assert two_sample_p_value(first, second, given[2], one, rng=rng) == 1.0
    assert two_sample_p_value(second, first, one, given[2], rng=rng) == 1.0
    two = Clusters(np.array([0, 0, 0, 1, 1, 1]))
    assert two_sample_p_value(second, first, two, given[2], rng=rng) < 1.0
