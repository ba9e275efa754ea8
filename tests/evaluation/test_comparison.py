from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import eyewright as ew
from eyewright.core.errors import LeakError, UsageError
from eyewright.data import Dataset, Sample
from eyewright.data.tree import ArrayTree
from eyewright.evaluation.comparison import _p_value
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
    assert "no difference beyond chance" in str(found)


def test_images_that_one_of_the_two_was_trained_on_are_refused(finished, shapes: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(LeakError, match="trained on by one of the two"):
        ew.compare(finished.bundle, finished.run, shapes)
    with pytest.raises(UsageError, match="expected data to compare"):
        ew.compare(finished.bundle, finished.bundle)


def sliced(right: np.ndarray, *, site: list[str], ids: list[str]) -> list[dict]:  # type: ignore[type-arg]
    from eyewright.core import LabelSpace

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
