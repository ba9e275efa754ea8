import numpy as np
import pytest
from scipy import stats

from eyewright.metrics import (
    accuracy,
    average_precision,
    brier_score,
    classification_metrics,
    cohen_kappa,
    confusion_matrix,
    expected_calibration_error,
    fisher_less,
    fit_temperature,
    log_loss,
    mcnemar_exact,
    paired_differences,
    percentile_interval,
    precision_recall_f1,
    roc_auc,
    wilson_interval,
)
from eyewright.metrics import bootstrap as module
from eyewright.metrics.bootstrap import Resampling, bootstrap_weights, resample, share_interval
from eyewright.metrics.groups import Clusters, grouped_interval, grouped_share


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (357, 359), (1, 1)])
def test_wilson_is_scipys(k: int, n: int) -> None:
    expected = stats.binomtest(k, n).proportion_ci(method="wilson")
    assert np.allclose(wilson_interval(k, n), (expected.low, expected.high), atol=1e-12)


def test_the_accuracy_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    # 200 test sets of 200 answers from a model that is right with probability 0.9.
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        right = rng.random(200) < 0.9
        true = np.where(right, 0, 1)
        scores = np.tile([0.8, 0.2], (200, 1))
        metric = classification_metrics(true, scores, rng=rng, replicates=120)["accuracy"]
        covered += metric.low <= 0.9 <= metric.high  # type: ignore[operator]
    # A binomial with n = 200, p = 0.95 falls below 0.90 about once in 700 times.
    assert 0.90 <= covered / 200 <= 0.99


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


@pytest.mark.parametrize(("k", "n", "confidence"), [(3, 10, 0.9), (0, 7, 0.8), (7, 7, 0.99), (12, 40, 0.5)])
def test_wilson_at_other_confidences_is_scipys(k: int, n: int, confidence: float) -> None:
    expected = stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    assert wilson_interval(k, n, confidence=confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilsons_ends_are_exact_and_of_nothing_there_is_no_interval() -> None:
    assert np.isnan(wilson_interval(0, 0)).all()
    assert wilson_interval(0, 3)[0] == 0.0
    assert wilson_interval(3, 3)[1] == 1.0
    assert wilson_interval(1, 3)[0] > 0
    assert wilson_interval(2.5, 3)[1] < 1


def test_percentiles_are_of_what_is_defined() -> None:
    samples = np.append(np.arange(101.0), [np.nan, np.inf])
    assert percentile_interval(samples) == pytest.approx((2.5, 97.5))
    assert percentile_interval(samples, confidence=0.9) == pytest.approx((5, 95))
    assert np.isnan(percentile_interval(np.full(3, np.nan))).all()
    assert np.isnan(percentile_interval(np.zeros(0))).all()


def test_whole_groups_are_drawn_and_every_replicate_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = np.array(["a", "b", "b", "c", "a", "d"])
    monkeypatch.setattr(module, "_CHUNK_CELLS", 6 * 40)
    parts = list(bootstrap_weights(6, replicates=100, rng=np.random.default_rng(0), groups=groups))
    assert [len(p) for p in parts] == [40, 40, 20]
    rows = np.concatenate(parts)
    assert rows.dtype == np.float64
    assert np.array_equal(rows[:, 0], rows[:, 4])
    assert np.array_equal(rows[:, 1], rows[:, 2])
    # Four groups are drawn in each row, every one as often as the others.
    assert (rows[:, [0, 1, 3, 5]].sum(1) == 4).all()
    assert rows[:, [0, 1, 3, 5]].mean(0) == pytest.approx(np.ones(4), abs=0.25)
    assert len({tuple(r) for r in rows[:, [0, 1, 3, 5]]}) > 20
    single = list(bootstrap_weights(2000, replicates=3, rng=np.random.default_rng(0)))
    assert [len(p) for p in single] == [1, 1, 1]
    empty = list(bootstrap_weights(0, replicates=0, rng=np.random.default_rng(0)))
    assert empty == []


def test_many_groups_are_resampled_and_few_are_left_out_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    few = resample(400, replicates=7, rng=rng, groups=np.arange(400) // 2)
    assert (few.by_t, few.method, few.n_groups) == (True, "t over groups", 200)
    monkeypatch.setattr(module, "_CHUNK_CELLS", 400 * 150)
    assert [len(w) for w in few.weights()] == [150, 50]
    assert few.clusters is not None
    assert np.array_equal(np.concatenate(list(few.weights())), few.clusters.left_out())
    many = resample(402, replicates=7, rng=rng, groups=np.arange(402) // 2)
    assert (many.by_t, many.method, many.n_groups) == (False, "bootstrap", 201)
    assert sum(len(w) for w in many.weights()) == 7
    alone = resample(4, replicates=7, rng=rng, groups=None)
    assert (alone.by_t, alone.method, alone.n_groups) == (False, "bootstrap", None)
    assert np.concatenate(list(alone.weights())).shape == (7, 4)


def test_intervals_of_a_plan_are_those_of_its_kind() -> None:
    clusters = Clusters(np.array([0, 0, 1, 2]))
    plan = Resampling(4, 9, np.random.default_rng(0), None, clusters)
    left = np.array([0.5, 0.6, 0.7])
    for kind in ("share", "bounded", "plain"):
        wanted = grouped_interval(0.6, left, clusters, kind=kind, confidence=0.9, bounds=(0.4, 0.8))  # type: ignore[arg-type]
        assert plan.interval(0.6, left, kind=kind, confidence=0.9, bounds=(0.4, 0.8)) == wanted  # type: ignore[arg-type]
    assert plan.interval(0.6, left) == plan.bounded(0.6, left) == grouped_interval(0.6, left, clusters, kind="bounded")
    free = Resampling(4, 9, np.random.default_rng(0), None, None)
    assert free.interval(0.6, left, confidence=0.5) == percentile_interval(left, confidence=0.5)
    assert free.bounded(0.6, left) == percentile_interval(left)
    assert free.bounded(0.5, np.full(5, 0.5)) == wilson_interval(2, 4)
    hits, counts = np.array([1, 0, 1, 1]), np.array([1, 1, 2, 1])
    assert share_interval(hits, counts, None, confidence=0.9) == wilson_interval(3, 5, confidence=0.9)
    assert share_interval(hits, counts, clusters, confidence=0.9) == grouped_share(
        hits, counts, clusters, confidence=0.9
    )


def drawn(n: int, classes: int, seed: int, lift: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, n)
    p = np.exp(rng.normal(0, 1, (n, classes)) + lift * np.eye(classes)[true])
    return true, p / p.sum(1, keepdims=True)


def plain(true: np.ndarray, p: np.ndarray) -> dict[str, float]:
    table = confusion_matrix(true, p.argmax(1), p.shape[1])
    found = {
        "accuracy": accuracy(table), "kappa": cohen_kappa(table), "log_loss": log_loss(true, p),
        "brier": brier_score(true, p), "auc": roc_auc(true, p), "average_precision": average_precision(true, p),
        "ece": expected_calibration_error(p.max(1), p.argmax(1) == true),
    }  # fmt: skip
    for average in ("macro", "micro", "weighted"):
        triple = precision_recall_f1(table, average=average)  # type: ignore[arg-type]
        found |= {f"{name}_{average}": float(v) for name, v in zip(("precision", "recall", "f1"), triple, strict=True)}
    return found


@pytest.mark.parametrize(("n", "classes", "groups"), [(90, 3, None), (60, 2, 6), (50, 4, 5)])
def test_values_are_those_of_the_plain_functions_whatever_the_scores_sum_to(
    n: int, classes: int, groups: int | None
) -> None:
    true, p = drawn(n, classes, 0)
    names = None if groups is None else np.arange(n) % groups
    found = classification_metrics(true, 3 * p, rng=np.random.default_rng(0), replicates=60, groups=names)
    wanted = plain(true, p)
    assert set(wanted) | {"balanced_accuracy"} == set(found)
    for name, value in wanted.items():
        metric = found[name]
        assert metric.value == pytest.approx(value, abs=1e-12), name
        assert metric.low < metric.value < metric.high, name
        assert (metric.n, metric.confidence, metric.groups) == (n, 0.95, groups), name
        assert metric.method == ("bootstrap" if groups is None else "t over groups"), name


def test_intervals_over_groups_are_those_of_leaving_one_out() -> None:
    true, p = drawn(60, 3, 1)
    groups = np.arange(60) % 6
    found = classification_metrics(true, p, rng=np.random.default_rng(0), groups=groups, confidence=0.9)
    left = [plain(true[groups != g], p[groups != g]) for g in range(6)]
    bounds = {"kappa": (-1, 1), "log_loss": (0, np.inf), "brier": (0, 2), "ece": (0, 1)}
    for name, value in plain(true, p).items():
        kind = "plain" if name in bounds else "bounded" if name in ("auc", "average_precision") else "share"
        samples = np.array([row[name] for row in left])
        wanted = grouped_interval(
            value, samples, Clusters(groups), kind=kind, confidence=0.9, bounds=bounds.get(name, (-np.inf, np.inf))  # type: ignore[arg-type]
        )  # fmt: skip
        assert (found[name].low, found[name].high) == pytest.approx(wanted, abs=1e-12), name


def test_where_nothing_varies_counts_have_wilsons_interval_and_kappa_its_image() -> None:
    true = np.array([0, 0, 0, 1] * 10)
    right = classification_metrics(true, np.eye(2)[true] * 0.8 + 0.1, rng=np.random.default_rng(0), replicates=50)
    low, high = wilson_interval(40, 40)
    chance = 0.75**2 + 0.25**2
    assert (right["accuracy"].low, right["accuracy"].high) == (low, high)
    assert (right["kappa"].low, right["kappa"].high) == pytest.approx(((low - chance) / (1 - chance), 1.0))
    assert right["kappa"].method == right["f1_macro"].method == "wilson"
    # Scores that do not vary have no counts behind them: the interval is a point.
    assert right["log_loss"].low == pytest.approx(right["log_loss"].high)
    assert right["log_loss"].method == "bootstrap"
    one = classification_metrics(np.zeros(9, int), np.tile([0.9, 0.1], (9, 1)), rng=np.random.default_rng(0))
    assert (one["kappa"].low, one["kappa"].high) == (None, None)
    grouped = classification_metrics(true, np.eye(2)[true], rng=np.random.default_rng(0), groups=np.arange(40) % 4)
    wanted = grouped_share(np.ones(40), np.ones(40), Clusters(np.arange(40) % 4))
    assert (grouped["accuracy"].low, grouped["accuracy"].high) == pytest.approx(wanted)
    assert grouped["kappa"].method == "t over groups"


def test_ranking_is_bounded_on_large_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    true, p = drawn(40, 2, 2)
    counted: list[int] = []
    ranks = module.ClassNumbers.ranks

    def counting(self: module.ClassNumbers, weights: np.ndarray) -> dict[str, np.ndarray]:
        counted.append(len(weights))
        return ranks(self, weights)

    monkeypatch.setattr(module.ClassNumbers, "ranks", counting)

    def rounds(cells: int, groups: np.ndarray | None = None, replicates: int = 100) -> int:
        counted.clear()
        monkeypatch.setattr(module, "_RANKED_CELLS", cells)
        classification_metrics(true, p, rng=np.random.default_rng(0), replicates=replicates, groups=groups)
        return sum(counted) - 1

    # 80 scores: 25 replicates at least, as many as fit, and no more than there are.
    assert [rounds(c) for c in (80, 80 * 25, 80 * 60, 80 * 100, 80 * 300)] == [25, 25, 60, 100, 100]
    groups = np.arange(40) % 8
    # Over groups all of the eight or none: eight times 80 scores, of ten times the bound.
    assert [rounds(c, groups) for c in (64, 63)] == [8, 0]
    monkeypatch.setattr(module, "_CHUNK_CELLS", 40 * 30)
    assert rounds(80 * 70) == 70


@pytest.mark.parametrize(("a", "b"), [(0, 0), (0, 1), (3, 3), (2, 10), (10, 2), (0, 9), (40, 61)])
def test_mcnemars_test_is_scipys_binomial_test(a: int, b: int) -> None:
    wanted = 1.0 if a + b == 0 else stats.binomtest(min(a, b), a + b).pvalue
    assert mcnemar_exact(a, b) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(
    "table", [(2, 10, 9, 10), (9, 10, 2, 10), (0, 5, 0, 7), (5, 5, 7, 7), (3, 4, 20, 50), (7, 12, 3, 4)]
)
def test_fishers_test_is_scipys(table: tuple[int, int, int, int]) -> None:
    right_a, n_a, right_b, n_b = table
    counts = [[right_a, n_a - right_a], [right_b, n_b - right_b]]
    assert fisher_less(*table) == pytest.approx(stats.fisher_exact(counts, "less").pvalue, rel=1e-9)


def test_paired_differences_are_of_the_second_less_the_first_on_the_same_resamples() -> None:
    true, p = drawn(80, 3, 3)
    _, q = drawn(80, 3, 3, lift=2.0)
    found = paired_differences(true, p, q, rng=np.random.default_rng(0), replicates=200)
    first, second = plain(true, p), plain(true, q)
    for name, metric in found.items():
        if name in first:
            assert metric.value == pytest.approx(second[name] - first[name], abs=1e-12), name
        assert metric.low <= metric.value <= metric.high, name
        assert (metric.n, metric.method, metric.groups, metric.confidence) == (80, "paired bootstrap", None, 0.95)
    assert found["accuracy"].value > 0
    assert "auc" not in found
    # What is the same for both cancels out, on every resample.
    same = paired_differences(true, p, p, rng=np.random.default_rng(0), replicates=50)
    assert all((m.value, m.low, m.high) == (0, 0, 0) for m in same.values())
    rows = np.random.default_rng(0)
    wanted = []
    for weights in bootstrap_weights(80, replicates=200, rng=rows):
        right = (q.argmax(1) == true).astype(float) - (p.argmax(1) == true)
        wanted += (weights @ right / 80).tolist()
    assert (found["accuracy"].low, found["accuracy"].high) == pytest.approx(percentile_interval(np.array(wanted)))


def test_paired_differences_over_groups_are_t_intervals() -> None:
    true, p = drawn(60, 3, 4)
    _, q = drawn(60, 3, 4, lift=2.0)
    groups = np.arange(60) % 6
    found = paired_differences(true, p, q, rng=np.random.default_rng(0), groups=groups, confidence=0.9)
    right = (q.argmax(1) == true).astype(float) - (p.argmax(1) == true)
    left = np.array([right[groups != g].mean() for g in range(6)])
    wanted = grouped_interval(right.mean(), left, Clusters(groups), kind="plain", confidence=0.9)
    assert (found["accuracy"].low, found["accuracy"].high) == pytest.approx(wanted)
    assert (found["accuracy"].method, found["accuracy"].groups) == ("paired t over groups", 6)
