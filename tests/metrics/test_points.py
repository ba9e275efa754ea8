"""Operating points from few images; scikit-learn's curves, a hand calculation and copies are the oracles."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_recall_curve

from eyewright.metrics import points
from eyewright.metrics.bootstrap import bootstrap_weights
from eyewright.metrics.points import best_threshold, choose_point, group_numbers, unknown_point


def drawn(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores of images of which a third hold the class, calibrated by construction: P(right | score) = score."""
    rng = np.random.default_rng(seed)
    scores = rng.beta(0.6, 1.2, n)
    return scores, rng.random(n) < scores


def chosen(scores: np.ndarray, right: np.ndarray, groups: np.ndarray | None = None, seed: int = 1):
    rng = np.random.default_rng(seed)
    return choose_point(scores, right, np.arange(len(scores)), right.astype(np.int64), groups=groups, rng=rng)


def test_the_best_threshold_has_the_largest_f1_of_scikit_learns_curve() -> None:
    scores, right = drawn(400)
    precision, recall, _ = precision_recall_curve(right, scores)
    best = (2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()
    cut = best_threshold(scores, right, int(right.sum()))
    assert f1_score(right, scores >= cut) == pytest.approx(best, abs=1e-12)
    assert chosen(scores, right).best == cut


def test_a_point_by_hand_where_one_group_holds_the_class() -> None:
    scores, right = np.array([0.99, 0.97, 0.93, 0.9]), np.array([True, True, False, True])
    point = chosen(scores, right, np.zeros(4, np.int64))
    # F1 is 4/5 after two answers and 6/7 after four: the best cut is at 0.45, below half of 6/7 it is not lowered.
    assert (point.best, point.threshold) == (0.45, pytest.approx((0.45 + 3 / 7) / 2, abs=1e-6))
    assert (point.low, point.high, point.groups, point.images, point.n) == (None, None, 1, 3, 3)
    assert (point.precision, point.recall) == (0.75, 1.0)


def test_few_groups_lower_a_point_and_many_leave_it_where_f1_is_largest() -> None:
    # What a handful of tiles says: the hits are those of the very surest answers.
    scores = np.array([0.9995, 0.9993, 0.9991, 0.9985, 0.998, 0.99, 0.98, 0.97])
    right = np.array([True, True, True, False, False, False, False, False])
    few = chosen(scores, right)
    assert few.best > 0.998
    assert few.threshold < 0.88
    assert few.low <= few.threshold < few.high
    many = chosen(np.tile(scores, 200), np.tile(right, 200))
    assert many.threshold == pytest.approx(many.best, abs=0.01)
    assert many.threshold <= many.best
    assert few.low < many.low


def test_copies_in_one_group_count_once() -> None:
    scores, right = drawn(30)
    once = chosen(scores, right)
    copies = chosen(np.repeat(scores, 5), np.repeat(right, 5), np.repeat(np.arange(30), 5))
    assert (copies.threshold, copies.low, copies.high, copies.groups) == (
        once.threshold,
        once.low,
        once.high,
        once.groups,
    )
    assert (copies.n, copies.images) == (5 * once.n, 5 * once.images)
    alone = chosen(np.repeat(scores, 5), np.repeat(right, 5))
    assert alone.high - alone.low < copies.high - copies.low


def test_the_interval_holds_the_threshold_that_is_best_for_all_images() -> None:
    scores, right = drawn(100_000, seed=9)
    truth = best_threshold(scores, right, int(right.sum()))
    held = []
    for seed in range(60):
        point = chosen(*drawn(60, seed), seed=seed)
        held.append(point.low <= truth <= point.high)
    assert np.mean(held) >= 0.9


def test_chosen_points_are_better_on_new_images_and_show_more_in_the_worst_case() -> None:
    new_scores, new_right = drawn(20_000, seed=99)

    def measured(cut: float) -> tuple[float, float]:
        shown = new_scores >= cut
        return f1_score(new_right, shown), float(shown[new_right].mean())

    plain, ours = [], []
    for seed in range(80):
        point = chosen(*drawn(24, 1000 + seed), seed=seed)
        assert point.threshold <= point.best
        plain.append(measured(point.best))
        ours.append(measured(point.threshold))
    (plain_f1, plain_recall), (f1, recall) = np.array(plain).T, np.array(ours).T
    assert f1.mean() > plain_f1.mean()
    assert np.quantile(recall, 0.1) > np.quantile(plain_recall, 0.1) + 0.1


def test_groups_are_numbered_and_an_image_without_one_is_its_own() -> None:
    groups = group_numbers(["x", None, "x", "y", None])
    assert groups.tolist() == [0, 1, 0, 2, 3]
    point = unknown_point(0.25, np.array([2, 0, 1, 1, 0]), groups=groups)
    assert (point.threshold, point.n, point.images, point.groups, point.f1) == (0.25, 4, 3, 2, None)
    assert group_numbers([]).shape == (0,)


def test_thresholds_lie_between_scores_and_of_equally_good_ones_the_highest_is_taken() -> None:
    # F1 is 2/3 after one answer, 1/2 after two and 4/5 after three.
    assert best_threshold(np.array([0.3, 0.9, 0.6]), np.array([True, True, False]), 2) == pytest.approx(0.15)
    # F1 is 1/2 after one and after three answers.
    assert best_threshold(np.array([0.9, 0.6, 0.5]), np.array([True, False, False]), 3) == pytest.approx(0.75)
    # And 2/3 after one and after four.
    assert best_threshold(np.array([0.8, 0.6, 0.4, 0.2]), np.array([True, False, False, True]), 2) == pytest.approx(0.7)
    # Answers of one score cannot be parted; the last cut is half of the lowest score.
    assert best_threshold(np.array([0.5, 0.5]), np.array([True, False]), 1) == 0.25
    assert best_threshold(np.array([1 / 3, 0.0]), np.array([True, False]), 1) == 0.166667


def plain_point(
    scores: np.ndarray, right: np.ndarray, images: np.ndarray, truths: np.ndarray, groups: np.ndarray, seed: int
) -> tuple[float, float, float, float]:
    """Threshold, low, high and best by loops over resamples of the groups, as the docstring says."""
    there = np.bincount(groups, truths)
    values = np.unique(scores)[::-1]
    cuts = (values + np.append(values[1:], 0)) / 2

    def f1(weights: np.ndarray) -> np.ndarray:
        counted = weights[groups[images]]
        rows = [(counted * (scores > c)).sum() for c in cuts], [(counted * right * (scores > c)).sum() for c in cuts]
        return 2 * np.array(rows[1]) / (np.array(rows[0]) + weights @ there)

    whole = f1(np.ones(len(there)))
    best = int(whole.argmax())
    drawn_cuts, lower = [], []
    for weights in bootstrap_weights(len(there), replicates=200, rng=np.random.default_rng(seed)):
        for row in weights:
            if row @ there > 0:
                curve = f1(row)
                top = np.flatnonzero(curve == curve.max())
                drawn_cuts.append((cuts[top[0]] + cuts[top[-1]]) / 2)
                lower.append(curve[best] - curve)
    as_good = cuts[whole[best] - whole <= 1.645 * np.std(lower, 0) + 1e-12]
    safe = min(cuts[best], max(0, np.mean(drawn_cuts) - 0.5 * np.std(drawn_cuts)))
    prior, share = min(safe, whole[best] / 2), 1 / ((there > 0).sum() + 1)
    threshold = (1 - share) * safe + share * prior
    return threshold, min(as_good.min(), threshold), max(as_good.max(), threshold), cuts[best]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_point_is_that_of_a_plain_loop_over_resamples(seed: int) -> None:
    """Several answers an image, images of three to a group, groups without the class, and ties."""
    rng = np.random.default_rng(seed)
    truths = rng.integers(0, 3, 24)
    truths[:3] = 0
    images = rng.integers(0, 24, 60)
    scores = rng.random(60).round(2)
    right = (rng.random(60) < scores) & (truths[images] > 0)
    groups = np.arange(24) // 3
    point = choose_point(scores, right, images, truths, groups=groups + 5, rng=np.random.default_rng(seed))
    wanted = plain_point(scores, right, images, truths, groups, seed)
    assert (point.threshold, point.low, point.high, point.best) == pytest.approx(wanted, abs=2e-6)
    shown = scores >= point.threshold
    assert point.precision == pytest.approx(right[shown].mean())
    assert point.recall == pytest.approx(right[shown].sum() / truths.sum())
    assert point.f1 == pytest.approx(2 * right[shown].sum() / (shown.sum() + truths.sum()))
    assert (point.n, point.images) == (truths.sum(), (truths > 0).sum())
    assert point.groups == len(np.unique(groups[truths > 0]))
    assert point.low < point.threshold < point.high


def test_in_parts_the_same_resamples_give_the_same_point(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, right = drawn(40)
    whole = chosen(scores, right)
    monkeypatch.setattr(points, "_CELLS", 8 * 40 * 7)
    monkeypatch.setattr(points, "_FEWEST_REPLICATES", 200)
    parts = chosen(scores, right)
    assert (parts.threshold, parts.low, parts.high) == (whole.threshold, whole.low, whole.high)


def test_an_unknown_point_counts_what_is_there() -> None:
    point = unknown_point(0.5, np.array([0, 3, 1]))
    assert (point.threshold, point.n, point.images, point.groups) == (0.5, 4, 2, 2)
    assert (point.low, point.high, point.best, point.precision, point.recall) == (None,) * 5
    assert unknown_point(0.5, np.array([1, 1, 0]), groups=np.array([4, 4, 7])).groups == 1
    assert group_numbers([None, "a", None, "a", "b"]).tolist() == [0, 1, 2, 1, 3]
