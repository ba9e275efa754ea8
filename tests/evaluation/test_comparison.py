from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import eyewright as ew
from eyewright.core import LabelSpace
from eyewright.core.errors import DatasetError, LeakError, UsageError
from eyewright.core.report import Metric
from eyewright.core.task import task_of
from eyewright.data import Dataset, Sample
from eyewright.data.tree import ArrayTree
from eyewright.evaluation.comparison import Comparison, _p_value, compare_numbers, compare_predictors
from eyewright.evaluation.slices import slice_accuracy
from eyewright.metrics import fisher_less, mcnemar_exact, paired_differences
from eyewright.metrics.bootstrap import resample
from eyewright.tasks.class_results import compare_scores


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (0, 5), (3, 9), (10, 10), (400, 460)])
def test_mcnemar_is_scipys_binomial_test(only_a: int, only_b: int) -> None:
    expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert mcnemar_exact(only_a, only_b) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("table", [(2, 10, 9, 10), (0, 10, 5, 100), (50, 60, 300, 400), (10, 10, 10, 10), (7, 9, 0, 4)])
def test_fisher_is_scipys(table: tuple[int, int, int, int]) -> None:
    a, n_a, b, n_b = table
    expected = stats.fisher_exact([[a, n_a - a], [b, n_b - b]], alternative="less").pvalue
    assert fisher_less(*table) == pytest.approx(expected, abs=1e-9)


def scores_of(right: np.ndarray) -> np.ndarray:
    return np.where(right[:, None], [0.8, 0.2], [0.3, 0.7])


def test_two_equal_models_differ_significantly_about_as_rarely_as_promised() -> None:
    """Two seeds of one recipe: images differ in how hard they are, the models err on their own."""
    rng = np.random.default_rng(0)
    called = 0
    for _ in range(400):
        ease = rng.beta(8, 1.5, 400)
        a, b = rng.random(400) < ease, rng.random(400) < ease
        called += mcnemar_exact(int((a & ~b).sum()), int((b & ~a).sum())) < 0.05
    # The exact test is a little stricter than its level; of 400, more than 31 happens once in 100 times at 0.05.
    assert 4 <= called <= 31


def test_a_real_difference_is_found_and_has_the_right_sign() -> None:
    rng = np.random.default_rng(0)
    a = rng.random(1000) < 0.85
    b = a | (rng.random(1000) < 0.4)
    found = compare_scores(np.zeros(1000, int), scores_of(a), scores_of(b))
    assert found.better == "b"
    assert "B is significantly better" in str(found)
    assert found.only_a == 0
    difference = found.differences["accuracy"]
    assert difference.low > 0  # type: ignore[operator]
    assert difference.value == pytest.approx(b.mean() - a.mean())
    assert found.lead == found.only_b - found.only_a
    other = compare_scores(np.zeros(1000, int), scores_of(b), scores_of(a))
    assert (other.better, other.lead) == ("a", pytest.approx(-found.lead))


@pytest.mark.parametrize(("above", "p"), [(1.0, 0.0), (0.98, 0.04), (0.5, 1.0), (0.02, 0.04), (0.0, 0.0)])
def test_a_bootstraps_p_value_is_twice_its_smaller_tail(above: float, p: float) -> None:
    plan = resample(50, replicates=100, rng=np.random.default_rng(0), groups=None)
    samples = np.where(np.arange(100) < round(100 * above), 0.3, -0.2)
    assert _p_value(plan, 0.1, samples) == pytest.approx(p)
    # What could not be computed says nothing, and a difference of exactly 0 belongs to both tails.
    assert _p_value(plan, 0.1, np.append(samples, np.nan)) == pytest.approx(p)
    assert _p_value(plan, 0.0, np.zeros(10)) == _p_value(plan, 0.0, np.full(3, np.nan)) == 1.0


def test_pairing_narrows_the_interval() -> None:
    rng = np.random.default_rng(1)
    a = rng.random(800) < 0.8
    b = a ^ (rng.random(800) < 0.02)
    d = paired_differences(np.zeros(800, int), scores_of(a), scores_of(b), rng=rng)["accuracy"]
    unpaired = 2 * 1.96 * np.sqrt(2 * 0.8 * 0.2 / 800)
    assert d.high - d.low < unpaired / 2  # type: ignore[operator]


def test_a_run_equals_its_bundle(finished) -> None:  # type: ignore[no-untyped-def]
    found = ew.compare(finished.run, finished.bundle)
    assert found.better == "neither"
    assert (found.only_a, found.only_b, found.p_value) == (0, 0, 1.0)
    assert "no significant difference" in str(found)


def test_images_that_one_of_the_two_was_trained_on_are_refused(finished, shapes: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(LeakError, match="trained on by one of the two"):
        ew.compare(finished.bundle, finished.run, shapes)
    with pytest.raises(UsageError, match="expected data to compare"):
        ew.compare(finished.bundle, finished.bundle)


def sliced(right: np.ndarray, *, site: list[str], ids: list[str]) -> list[dict]:  # type: ignore[type-arg]
    samples = tuple(Sample(i, 0, meta={"site": s}) for i, s in zip(ids, site, strict=True))
    data = Dataset(ArrayTree(Path("."), {}), samples, LabelSpace(("nut", "bolt")), "made", "classify")
    rng = np.random.default_rng(99)
    looks = list(zip(rng.uniform(50, 500, len(right)), rng.uniform(0, 255, len(right)), strict=True))
    return slice_accuracy(data, right, looks)


def test_a_weak_slice_is_found_by_its_metadata_and_by_its_folder() -> None:
    rng = np.random.default_rng(0)
    bad = np.arange(300) % 3 == 0
    right = np.where(bad, rng.random(300) < 0.6, rng.random(300) < 0.98)
    site = ["north" if b else "south" for b in bad]
    ids = [f"nut/{'night' if b else 'day'}/{i}.png" for i, b in enumerate(bad)]
    rows = sliced(right, site=site, ids=ids)
    weak = {(r["slice"], r["value"]) for r in rows if r["weaker"]}
    assert weak == {("site", "north"), ("folder", "night")}
    assert rows[0]["accuracy"] == pytest.approx(right[bad].mean())
    assert [r["rest"] for r in rows if r["weaker"]] == pytest.approx([right[~bad].mean()] * 2)


def test_slices_of_a_model_that_errs_at_random_are_rarely_marked() -> None:
    marked = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        site = rng.choice(["a", "b", "c", "d"], 200).tolist()
        rows = sliced(rng.random(200) < 0.9, site=site, ids=[f"nut/{i}.png" for i in range(200)])
        marked += any(r["weaker"] for r in rows)
    # At most 5 in 100 by construction; more than 10 would happen about once in 100 times.
    assert marked <= 10


def drawn(p_value: float, lead: float, **given: Any) -> Comparison:
    metrics = {"accuracy": Metric(0.9, 0.8, 1.0, n=1200)}
    differences = {"accuracy": Metric(-0.05, -0.1, 0.0, n=1200)}
    return Comparison(metrics, metrics, differences, 3, 4, p_value, 1200, "classify", lead, **given)


@pytest.mark.parametrize(
    ("p_value", "lead", "better", "verdict"),
    [
        (0.05, 1.0, "neither", "no significant difference"),
        (0.0499, 1.0, "b", "B is significantly better"),
        (0.0499, -1.0, "a", "A is significantly better"),
        (0.0, 0.0, "a", "A is significantly better"),
    ],
)
def test_the_verdict_needs_five_per_cent(p_value: float, lead: float, better: str, verdict: str) -> None:
    found = drawn(p_value, lead)
    assert found.better == better
    assert str(found).startswith(
        f"{verdict}: accuracy 0.9000 → 0.9000, difference -0.0500 [-0.1000, +0.0000] on 1200 im"
    )
    assert found.to_json()["better"] == better


def test_a_comparison_says_its_groups_and_what_was_trained_on() -> None:
    assert "on 1200 images; " in str(drawn(0.5, 1.0))
    assert "on 1200 images in 1 group; " in str(drawn(0.5, 1.0, groups=1))
    assert "on 1200 images in 0 groups; " in str(drawn(0.5, 1.0, groups=0))
    assert str(drawn(0.25, 1.0, groups=2, trained_on=7)).endswith(
        "on 1200 images in 2 groups; right alone: A 3, B 4; p = 0.25; 7 of these images were trained on by one of the "
        "two (--allow-leaks)"
    )
    assert str(drawn(0.12345, 1.0)).endswith("A 3, B 4; p = 0.123")


def test_amounts_of_a_comparison_have_their_unit() -> None:
    one = {"mae": Metric(1234.56, 1.0, None, unit="g")}
    found = Comparison(one, one, {"mae": Metric(None, -1e-6, 0.5, unit="g")}, 0, 0, 1.0, 9, "regress", 0.0)
    assert "mae 1235 → 1235 g, difference +0 [-1e-06, +0.5] on 9 images" in str(found)
    assert found.to_json()["differences"] == {"mae": {"value": None, "low": -1e-6, "high": 0.5, "unit": "g"}}
    assert drawn(0.5, 0.1).to_json() == {
        "better": "neither", "p_value": 0.5, "only_a": 3, "only_b": 4, "n": 1200, "groups": None, "trained_on": 0,
        "differences": {"accuracy": {"value": -0.05, "low": -0.1, "high": 0.0}},
    }  # fmt: skip


@dataclass(frozen=True)
class Means:
    """Results whose only number is the mean of some amounts."""

    dataset: Dataset
    values: np.ndarray

    def numbers(self) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
        name = task_of(self.dataset.task).main_metric

        def means(weights: np.ndarray) -> dict[str, np.ndarray]:
            total = weights.sum(1)
            return {name: (weights @ self.values) / total, "empty": np.full(len(weights), np.nan)}

        return means


@pytest.mark.parametrize(("task", "sign"), [("classify", 1), ("regress", -1)])
def test_numbers_are_compared_in_pairs_and_a_lead_is_what_is_better(task: str, sign: int) -> None:
    rng = np.random.default_rng(0)
    n = 60
    samples = tuple(Sample(f"{i}", 0) for i in range(n))
    data = Dataset(ArrayTree(Path("."), {}), samples, LabelSpace(("nut", "bolt")), "made", task)
    low = rng.normal(10, 3, n)
    high = low + rng.normal(1, 0.5, n)
    each = np.arange(n) < 20, np.arange(n) < 25
    main = task_of(task).main_metric
    found = compare_numbers(
        Means(data, low), Means(data, high), each[0].astype(float), each[1].astype(float), seed=3,  # type: ignore[arg-type]
    )  # fmt: skip
    gap = float(high.mean() - low.mean())
    assert found.lead == pytest.approx(sign * gap)
    assert found.better == ("b" if sign > 0 else "a")
    assert (found.only_a, found.only_b, found.n, found.task, found.groups, found.p_value) == (0, 5, n, task, None, 0.0)
    difference = found.differences[main]
    assert difference.value == pytest.approx(gap)
    # The same images are drawn for both: the interval is that of the pairs, 1.96 standard errors to either side.
    error = (high - low).std() / np.sqrt(n)
    assert (difference.low, difference.high) == pytest.approx((gap - 1.96 * error, gap + 1.96 * error), abs=0.5 * error)
    assert (found.a[main].value, found.b[main].value) == pytest.approx((low.mean(), high.mean()))
    wide = low.std() / np.sqrt(n)
    assert found.a[main].high - found.a[main].low == pytest.approx(2 * 1.96 * wide, rel=0.25)  # type: ignore[operator]
    assert found.a[main].method == "bootstrap"
    empty = found.a["empty"]
    assert (empty.value, empty.low, empty.high, empty.n) == (None, None, None, n)
    same = compare_numbers(Means(data, low), Means(data, low), each[0], each[0], seed=3)  # type: ignore[arg-type]
    assert (same.lead, same.p_value, same.better) == (0.0, 1.0, "neither")


@pytest.mark.parametrize("grouped", [False, True])
def test_the_last_digits_of_another_runtime_are_no_difference(grouped: bool) -> None:
    n = 60
    samples = tuple(Sample(f"{i}", 0, group=f"g{i // 10}" if grouped else None) for i in range(n))
    data = Dataset(ArrayTree(Path("."), {}), samples, LabelSpace(("nut", "bolt")), "made", "regress")
    one = np.random.default_rng(1).random(n)
    other = one * (1 + 1e-6)
    found = compare_numbers(Means(data, one), Means(data, other), one, other, seed=0)  # type: ignore[arg-type]
    assert (found.lead, found.only_a, found.only_b, found.p_value, found.better) == (0.0, 0, 0, 1.0, "neither")


def test_few_groups_are_compared_by_students_t() -> None:
    n = 60
    samples = tuple(Sample(f"{i}", 0, group=f"g{i // 10}") for i in range(n))
    data = Dataset(ArrayTree(Path("."), {}), samples, LabelSpace(("nut", "bolt")), "made", "classify")
    rng = np.random.default_rng(1)
    low = rng.random(n)
    high = low + np.repeat(rng.normal(0.2, 0.2, 6), 10)
    found = compare_numbers(Means(data, low), Means(data, high), low, high, seed=0)  # type: ignore[arg-type]
    apart = (high - low).reshape(6, 10).mean(1)
    # With groups of one size the jackknife over groups is the t test of their means.
    assert found.p_value == pytest.approx(stats.ttest_1samp(apart, 0).pvalue)
    assert (found.groups, found.a["accuracy"].method) == (6, "t over groups")
    ends = stats.t.interval(0.95, 5, apart.mean(), stats.sem(apart))
    difference = found.differences["accuracy"]
    assert (difference.low, difference.high) == pytest.approx(ends)


class Told:
    """A model that is asked nothing, because it is refused before."""

    def __init__(self, names: tuple[str, ...], task: str = "classify") -> None:
        self.labels, self.task_name = LabelSpace(names), task


def test_models_that_cannot_be_compared_are_refused() -> None:
    data = Dataset(ArrayTree(Path("."), {}), (Sample("a", 0),), LabelSpace(("nut", "bolt")), "made", "classify")
    one, other = Told(("nut", "bolt")), Told(("bolt", "nut"), "tag")
    with pytest.raises(DatasetError, match="expected images to compare on, found none"):
        compare_predictors(one, one, replace(data, samples=()))  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match="two models of the same classes"):
        compare_predictors(one, Told(("nut", "screw")), data)  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match="two models of one task, found classify and tag"):
        compare_predictors(one, other, data)  # type: ignore[arg-type]


@pytest.mark.parametrize("errors", [-1.0, 1.0, 2.5])
def test_the_p_value_is_that_of_the_paired_differences(errors: float) -> None:
    n, rng = 200, np.random.default_rng(4)
    data = Dataset(
        ArrayTree(Path("."), {}), tuple(Sample(f"{i}", 0) for i in range(n)), LabelSpace(("a", "b")), "made", "classify"
    )
    a, noise = rng.normal(10, 3, n), rng.normal(0, 0.5, n)
    noise -= noise.mean()
    b = a + noise + errors * noise.std() / np.sqrt(n)
    found = compare_numbers(Means(data, a), Means(data, b), a, b, seed=0)  # type: ignore[arg-type]
    # So many standard errors apart, whatever the numbers themselves scatter.
    assert found.p_value == pytest.approx(2 * stats.norm.sf(abs(errors)), abs=0.07)
    assert np.sign(found.lead) == np.sign(errors)
