"""Metrics of numbers against scikit-learn, and how often conformal intervals cover."""

import numpy as np
import pytest
from sklearn import metrics as oracle

from eyewright.metrics.conformal import least_for_coverage
from eyewright.metrics.regression import (
    NumberErrors,
    conformal_reach,
    errors_by_range,
    regression_metrics,
)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("n", [9, 40])
def test_every_metric_is_that_of_scikit_learn(n: int, k: int) -> None:
    rng = np.random.default_rng(n + k)
    true = rng.normal(50, 10, (n, k))
    found = true + rng.normal(1, 4, (n, k))
    scale = true.std(0) if k > 1 else np.ones(1)
    r2 = oracle.r2_score(true, found)
    values = {name: m.value for name, m in regression_metrics(true, found, rng=rng, replicates=50).items()}
    assert values["mae"] == pytest.approx(oracle.mean_absolute_error(true / scale, found / scale))
    assert values["rmse"] == pytest.approx(oracle.root_mean_squared_error(true / scale, found / scale))
    assert values["r2"] == pytest.approx(r2)
    assert values["median_error"] == pytest.approx(oracle.median_absolute_error(true / scale, found / scale))


def test_weights_count_as_copies() -> None:
    rng = np.random.default_rng(1)
    true, found = rng.normal(size=(12, 2)), rng.normal(size=(12, 2))
    weights = rng.integers(0, 4, 12)
    copies = np.repeat(np.arange(12), weights)
    unit = np.array([1.0, 2.0])
    weighted = NumberErrors(true, found, unit=unit)(weights[None].astype(float))
    copied = NumberErrors(true[copies], found[copies], unit=unit)(np.ones((1, len(copies))))
    for name, value in copied.items():
        assert weighted[name][0] == pytest.approx(value[0]), name


def test_r2_of_equal_numbers_is_not_defined() -> None:
    found = regression_metrics(np.full((5, 1), 2.0), np.arange(5.0)[:, None], rng=np.random.default_rng(0))
    assert found["r2"].value is None
    assert found["mae"].value == pytest.approx(1.2)


def test_groups_widen_the_interval_and_coverage_of_all_is_not_certain() -> None:
    rng = np.random.default_rng(2)
    true = rng.normal(size=(60, 1))
    groups = np.repeat(np.arange(6), 10)
    found = true + np.repeat(rng.normal(size=6), 10)[:, None]
    reach = np.array([100.0])
    alone = regression_metrics(true, found, reach=reach, rng=np.random.default_rng(0))
    grouped = regression_metrics(true, found, reach=reach, rng=np.random.default_rng(0), groups=groups)
    width = {k: m["mae"].high - m["mae"].low for k, m in (("alone", alone), ("grouped", grouped))}  # type: ignore[operator]
    assert width["grouped"] > width["alone"]
    assert alone["coverage"].value == 1
    assert alone["coverage"].low is not None
    assert 0.9 < alone["coverage"].low < 1


def test_conformal_intervals_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    inside = []
    for _ in range(400):
        reach = conformal_reach(np.abs(rng.normal(size=(39, 1))))
        inside.append((np.abs(rng.normal(size=200)) <= reach[0]).mean())
    assert np.mean(inside) == pytest.approx(0.9, abs=0.01)


def test_too_few_images_or_groups_have_no_interval() -> None:
    assert conformal_reach(np.ones((8, 1))) is None
    assert conformal_reach(np.arange(9.0)[:, None]).tolist() == [8.0]  # type: ignore[union-attr]
    assert conformal_reach(np.ones((80, 1)), groups=np.repeat(np.arange(8), 10)) is None
    assert conformal_reach(np.ones((0, 2))) is None
    assert least_for_coverage(0.9) == 9


def test_intervals_cover_images_of_a_new_group() -> None:
    rng = np.random.default_rng(4)

    def draw(groups: int, each: int) -> np.ndarray:  # type: ignore[type-arg]
        return np.abs(np.repeat(rng.normal(0, 2, groups), each) + rng.normal(0, 0.5, groups * each))

    inside, alone = [], []
    for _ in range(400):
        errors, new = draw(19, 20), draw(40, 5)
        reach = conformal_reach(errors[:, None], groups=np.repeat(np.arange(19), 20))
        assert reach is not None
        inside.append((new <= reach[0]).mean())
        alone.append((new <= np.quantile(errors, 0.9)).mean())
    assert np.mean(inside) >= 0.895
    assert np.mean(alone) < 0.88, "images of one group are not independent"


def test_coverage_is_what_was_promised_over_many_small_sets() -> None:
    rng = np.random.default_rng(5)
    for n in (9, 12, 15, 20):
        inside = []
        for _ in range(600):
            reach = conformal_reach(np.abs(rng.standard_t(3, (n, 1))))
            assert reach is not None
            inside.append((np.abs(rng.standard_t(3, 50)) <= reach[0]).mean())
        assert np.mean(inside) == pytest.approx(np.ceil(0.9 * (n + 1) - 1e-9) / (n + 1), abs=0.012), n


def test_ranges_hold_every_image_once_and_tell_the_bias() -> None:
    true = np.arange(50.0)
    rows = errors_by_range(true, true + 2, rng=np.random.default_rng(0))
    assert [r["n"] for r in rows] == [10] * 5
    assert all(r["bias"] == pytest.approx(2) and r["mae"]["value"] == pytest.approx(2) for r in rows)
