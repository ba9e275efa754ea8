"""Metrics of tags against scikit-learn, masks of what nobody has judged, intervals, operating points."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special
from sklearn import metrics as oracle

from eyewright.metrics.bootstrap import resample, wilson_interval
from eyewright.metrics.tagging import TagNumbers, _ranked, fit_tag_temperature, measure_tags, tag_points

RNG = np.random.default_rng


def _draw(n: int, c: int, seed: int = 0, unknown: float = 0.0) -> tuple[NDArray[Any], NDArray[Any]]:
    rng = RNG(seed)
    true = (rng.random((n, c)) < np.linspace(0.15, 0.6, c)).astype(float)
    true[0], true[1] = 1, 0
    # Rounded scores are tied.
    scores = np.clip(0.35 * true + 0.65 * rng.random((n, c)), 0, 1).round(2)
    true[rng.random(true.shape) < unknown] = np.nan
    return true, scores


@pytest.mark.parametrize(("n", "c"), [(15, 2), (80, 5)])
def test_every_metric_is_that_of_scikit_learn(n: int, c: int) -> None:
    true, scores = _draw(n, c, n)
    points = np.linspace(0.3, 0.6, c)
    metrics, rows = measure_tags(true, scores, points, rng=RNG(0), replicates=20)
    said = scores >= points
    each = oracle.average_precision_score(true, scores, average=None)
    assert [r["average_precision"]["value"] for r in rows] == pytest.approx(list(each))
    assert metrics["map"].value == pytest.approx(each.mean())
    for average in ("macro", "micro"):
        f1 = oracle.f1_score(true, said, average=average)
        assert metrics[f"f1_{average}"].value == pytest.approx(f1)
    assert metrics["exact_match"].value == pytest.approx(oracle.accuracy_score(true, said))
    for name, score in (("precision", oracle.precision_score), ("recall", oracle.recall_score)):
        assert [r[name]["value"] for r in rows] == pytest.approx(list(score(true, said, average=None)))
    assert [r["prevalence"] for r in rows] == pytest.approx(list(true.mean(0)))


def test_what_nobody_has_judged_counts_for_nothing() -> None:
    true, scores = _draw(60, 3, 1, unknown=0.3)
    metrics, rows = measure_tags(true, scores, rng=RNG(0), replicates=20)
    for k, row in enumerate(rows):
        judged = ~np.isnan(true[:, k])
        ap = oracle.average_precision_score(true[judged, k], scores[judged, k])
        assert row["average_precision"]["value"] == pytest.approx(ap)
        assert row["f1"]["value"] == pytest.approx(oracle.f1_score(true[judged, k], scores[judged, k] >= 0.5))
        assert row["judged"] == judged.sum()
    worse = np.where(np.isnan(true), 1 - scores, scores)
    assert measure_tags(true, worse, rng=RNG(0), replicates=20) == (metrics, rows)
    judged = ~np.isnan(true)
    pairs = (true[judged], scores[judged] >= 0.5)
    assert metrics["f1_micro"].value == pytest.approx(oracle.f1_score(*pairs))


def test_weights_count_as_copies() -> None:
    true, scores = _draw(30, 3, 2, unknown=0.1)
    weights = RNG(3).integers(0, 4, 30)
    copies = np.repeat(np.arange(30), weights)
    weighted = TagNumbers(true, scores)(weights[None].astype(float))
    copied = TagNumbers(true[copies], scores[copies])(np.ones((1, len(copies))))
    for name, value in copied.items():
        assert weighted[name][0] == pytest.approx(value[0]), name


def test_a_tag_of_no_image_or_of_all_is_no_part_of_the_mean() -> None:
    true = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1]], float)
    scores = np.array([[0.9, 0.8, 0.7], [0.3, 0.1, 0.9], [0.2, 0.2, 0.2]])
    metrics, rows = measure_tags(true, scores, rng=RNG(0), replicates=20)
    assert [r["average_precision"]["value"] is None for r in rows] == [False, True, True]
    assert metrics["map"].value == pytest.approx(oracle.average_precision_score(true[:, 0], scores[:, 0]))
    assert rows[1]["recall"]["value"] is None
    assert measure_tags(true[:0], scores[:0], rng=RNG(0)) == ({}, [])


def test_all_right_is_not_certain_and_groups_widen_intervals() -> None:
    true, scores = _draw(40, 2, 4)
    perfect, rows = measure_tags(true, true, rng=RNG(0))
    for one in perfect["map"], perfect["exact_match"], perfect["f1_micro"]:
        assert one.value == 1
        assert one.low is not None
        assert 0.8 < one.low < 1
    assert rows[0]["recall"]["low"] < 1
    ap = rows[0]["average_precision"]
    assert (ap["value"], ap["high"]) == (1, 1)
    assert ap["low"] == pytest.approx(wilson_interval(rows[0]["n"], rows[0]["n"])[0])
    alike = np.repeat(np.arange(5), 8)
    shifted = np.clip(scores + 0.4 * np.repeat(RNG(5).normal(size=5), 8)[:, None], 0, 1)
    alone, grouped = (measure_tags(true, shifted, rng=RNG(0), groups=g)[0]["f1_micro"] for g in (None, alike))
    assert grouped.high - grouped.low > alone.high - alone.low  # type: ignore[operator]
    assert grouped.groups == 5


def test_the_interval_of_map_covers_as_often_as_it_says() -> None:
    def drawn(rng: np.random.Generator, n: int) -> tuple[NDArray[Any], NDArray[Any]]:
        true = (rng.random((n, 3)) < 0.3).astype(float)
        return true, true + rng.normal(0, 0.7, (n, 3))

    rng = RNG(6)
    whole, scores = drawn(rng, 100_000)
    wanted = float(TagNumbers(whole, scores)(np.ones((1, len(whole))))["map"][0])
    inside = 0
    for _ in range(300):
        found = measure_tags(*drawn(rng, 80), rng=rng, replicates=200)[0]["map"]
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= wanted <= found.high
    assert 0.9 <= inside / 300 <= 0.99


def test_points_rest_on_judged_images_and_are_lower_with_few_positives() -> None:
    rng = RNG(7)
    true = np.zeros((200, 3))
    true[:100, 0] = 1
    true[:3, 1] = 1
    scores = np.clip(0.5 * true + 0.25 + 0.2 * rng.random(true.shape), 0, 1)
    many, few, none = tag_points(true, scores, rng=RNG(0))
    assert few.best - few.threshold > many.best - many.threshold > 0  # type: ignore[operator]
    assert (many.n, few.n, none.n) == (100, 3, 0)
    assert none.threshold == 0.5
    assert none.low is None
    true[50:150, 0] = np.nan
    masked = tag_points(true, scores, rng=RNG(0))[0]
    assert masked.n == 50


def test_calibration_knows_only_judged_tags() -> None:
    rng = RNG(8)
    z = rng.normal(0, 2, (800, 2))
    true = (rng.random(z.shape) < 1 / (1 + np.exp(-z))).astype(float)
    hidden = true.copy()
    hidden[::2] = np.nan
    z[::2] = 50
    assert fit_tag_temperature(2 * z, hidden) == pytest.approx(2, rel=0.2)
    assert fit_tag_temperature(z[:0], true[:0]) == 1


@pytest.mark.parametrize(
    ("value", "n", "nearest"),
    # Half an image of those with the tag, half of what lies above or below the value, or a thousandth.
    [(0.8, 9, 0.05), (0.8, 3, 0.1), (0.3, 1, 0.15), (0.999, 40, 1e-3), (0.5, 1999, 1e-3)],
)
def test_the_interval_of_an_average_precision_is_two_deviations_in_logits(value: float, n: int, nearest: float) -> None:
    samples = np.array([0.6, 0.7, np.nan, 0.9, 1.0])
    there = np.arange(n + 5) < n
    plan = resample(n + 5, replicates=4, rng=RNG(0), groups=None)
    low, high = _ranked(plan, value, samples, there)
    logits = special.logit(np.clip(samples[np.isfinite(samples)], nearest, 1 - nearest))
    middle = special.logit(np.clip(value, nearest, 1 - nearest))
    ends = special.expit([middle - 1.96 * logits.std(), middle + 1.96 * logits.std()])
    assert (low, high) == (pytest.approx(min(ends[0], value)), pytest.approx(max(ends[1], value)))
    assert all(np.isnan(v) for v in _ranked(plan, np.nan, samples, there))
    assert all(np.isnan(v) for v in _ranked(plan, value, samples * np.nan, there))
    assert _ranked(plan, value, samples * 0 + 0.5, there) == wilson_interval(value * n, n)
