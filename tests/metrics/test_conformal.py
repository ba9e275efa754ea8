"""Conformal sets; the Beta law of their coverage, plain loops and scipy are the oracles."""

import numpy as np
import pytest
from scipy import stats

from eyewright.metrics.conformal import (
    LabelSets,
    conformal_quantile,
    least_for_coverage,
    nonconformity,
    set_coverage,
)


def drawn(n: int, rng: np.random.Generator, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (n, classes) and classes drawn from them, the first ones harder."""
    p = rng.dirichlet(np.linspace(0.3, 0.9, classes), n)
    true = (p.cumsum(1) > rng.random((n, 1))).argmax(1)
    return p, true


def true_scores(p: np.ndarray, true: np.ndarray, method: str) -> np.ndarray:
    return nonconformity(p, method)[np.arange(len(true)), true]  # type: ignore[arg-type]


def test_nonconformity_is_what_lies_above_a_class() -> None:
    p = np.array([[0.1, 0.6, 0.3], [0.2, 0.2, 0.6]])
    np.testing.assert_allclose(nonconformity(p), 1 - p)
    np.testing.assert_allclose(nonconformity(p, "adaptive"), [[0.9, 0.0, 0.6], [0.6, 0.8, 0.0]])


@pytest.mark.parametrize("method", ["threshold", "adaptive"])
def test_coverage_over_a_thousand_splits_follows_the_beta_law(method: str) -> None:
    """Given the calibration images, coverage is Beta(n + 1 - l, l) with l = floor((n + 1) alpha) (Vovk 2012)."""
    rng = np.random.default_rng(0)
    n, level = 99, 0.9
    everywhere = true_scores(*drawn(200_000, rng), method)
    # Without ties, as the law asks; adaptive scores of the most probable class are all 0.
    everywhere = everywhere + 1e-9 * rng.random(len(everywhere))
    ranked = np.sort(everywhere)
    covered = []
    for _ in range(1000):
        limit = conformal_quantile(rng.choice(everywhere, n), level)
        covered.append(np.searchsorted(ranked, limit, "right") / len(ranked))
    left = int((n + 1) * (1 - level) + 1e-9)
    assert stats.kstest(covered, stats.beta(n + 1 - left, left).cdf).pvalue > 0.01
    assert stats.kstest(covered, stats.beta(n + 1 - left, left + 2).cdf).pvalue < 0.01


@pytest.mark.parametrize("method", ["threshold", "adaptive"])
def test_by_class_every_class_keeps_its_coverage(method: str) -> None:
    rng = np.random.default_rng(1)
    by_class, overall = np.zeros(5), np.zeros(5)
    rounds = 40
    for _ in range(rounds):
        known, new = drawn(1500, rng), drawn(4000, rng)
        scores = true_scores(*known, method)
        for by, found in (("class", by_class), ("all", overall)):
            sets = LabelSets.fit(scores, known[1], 5, coverage=0.9, method=method, by=by)  # type: ignore[arg-type]
            assert sets is not None
            inside = sets.of(new[0])[np.arange(4000), new[1]]
            found += np.array([inside[new[1] == k].mean() for k in range(5)]) / rounds
    assert (by_class > 0.88).all()
    # Over all images alone, the hardest class falls short.
    assert overall.min() < 0.88


def test_images_of_one_group_count_once() -> None:
    scores = np.concatenate([np.full(50, 0.1), np.linspace(0.2, 0.9, 19)])
    groups = np.concatenate([np.zeros(50, int), np.arange(1, 20)])
    assert conformal_quantile(scores, 0.9) == pytest.approx(np.sort(scores)[int(np.ceil(70 * 0.9)) - 1])
    # Of 20 groups the 19th: the fifty images are one of them.
    assert conformal_quantile(scores, 0.9, groups) == pytest.approx(np.sort(scores)[-2])
    assert conformal_quantile(scores[:50], 0.9, groups[:50]) is None
    assert conformal_quantile(np.ones(0), 0.5) is None


def test_a_set_is_never_empty_and_too_few_images_are_said() -> None:
    sets = LabelSets(np.full(3, -1.0), 0.9, "threshold", "all", 9, 9)
    assert sets.of(np.array([[0.2, 0.5, 0.3]])).tolist() == [[False, True, False]]
    scores, labels = np.linspace(0, 0.5, 12), np.array([0] * 10 + [1] * 2)
    assert LabelSets.fit(scores[:8], labels[:8], 2, coverage=0.9) is None
    assert LabelSets.fit(scores[10:], labels[10:], 2, coverage=0.9, by="class") is None
    found = LabelSets.fit(scores, labels, 3, coverage=0.9, by="class")
    assert found is not None
    assert (found.open_classes, found.n, found.groups) == ((1, 2), 12, 12)
    # What has too few images of its own is in every set.
    assert found.of(np.array([[0.99, 0.01, 0.0]])).tolist() == [[True, True, True]]
    assert [least_for_coverage(c) for c in (0.5, 0.8, 0.9, 0.99)] == [1, 4, 9, 99]


def test_coverage_of_sets_has_an_interval_over_groups() -> None:
    inside = np.array([[True, False], [False, True], [True, True], [True, False]])
    found = set_coverage(inside, np.array([0, 0, 1, 0]))
    assert (found.value, found.n, found.groups, found.method) == (0.75, 4, None, "wilson")
    grouped = set_coverage(inside, np.array([0, 0, 1, 0]), groups=np.array(["a", "a", "b", "b"]))
    assert (grouped.groups, grouped.method) == (2, "t over groups")
