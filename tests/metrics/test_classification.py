"""Every metric against scikit-learn, to 1e-9."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from eyewright import metrics as ours


def draw(seed: int, n: int, n_classes: int, *, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.integers(0, n_classes, n)
    logits = rng.normal(size=(n, n_classes)) + 1.5 * np.eye(n_classes)[true]
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    if ties:
        scores = np.maximum(np.round(scores, 1), 0.01)
        scores /= scores.sum(1, keepdims=True)
    return true, scores


cases = pytest.mark.parametrize(
    ("n", "n_classes", "ties"), [(50, 2, False), (400, 3, True), (333, 10, False), (64, 2, True), (40, 25, False)]
)


def close(a: float, b: float) -> None:
    assert abs(a - b) <= 1e-9, (a, b)


@cases
def test_counts_and_what_follows_from_them_equal_scikit_learn(n: int, n_classes: int, ties: bool) -> None:
    true, scores = draw(1, n, n_classes, ties=ties)
    predicted = scores.argmax(1)
    confusion = ours.confusion_matrix(true, predicted, n_classes)
    assert np.array_equal(confusion, oracle.confusion_matrix(true, predicted, labels=range(n_classes)))
    close(ours.accuracy(confusion), oracle.accuracy_score(true, predicted))
    close(
        ours.balanced_accuracy(confusion), oracle.recall_score(true, predicted, average="macro", labels=np.unique(true))
    )
    close(ours.cohen_kappa(confusion), oracle.cohen_kappa_score(true, predicted))
    for average in (None, "macro", "micro", "weighted"):
        found = ours.precision_recall_f1(confusion, average=average)  # type: ignore[arg-type]
        labels = range(n_classes) if average is None else None
        expected = oracle.precision_recall_fscore_support(
            true, predicted, average=average, labels=labels, zero_division=0
        )
        for a, b in zip(found, expected[:3], strict=True):
            assert np.abs(np.asarray(a) - b).max() <= 1e-9


@cases
def test_scores_equal_scikit_learn(n: int, n_classes: int, ties: bool) -> None:
    true, scores = draw(2, n, n_classes, ties=ties)
    close(ours.log_loss(true, scores), oracle.log_loss(true, scores, labels=range(n_classes)))
    present = np.unique(true)
    auc = np.mean([oracle.roc_auc_score(true == k, scores[:, k]) for k in present])
    close(ours.roc_auc(true, scores), auc)
    ap = np.mean([oracle.average_precision_score(true == k, scores[:, k]) for k in present])
    close(ours.average_precision(true, scores), ap)
    brier = np.mean(((scores - np.eye(n_classes)[true]) ** 2).sum(1))
    close(ours.brier_score(true, scores), brier)


def test_multiclass_auc_is_scikit_learns_one_against_rest() -> None:
    true, scores = draw(3, 500, 6, ties=False)
    close(ours.roc_auc(true, scores), oracle.roc_auc_score(true, scores, multi_class="ovr", average="macro"))


@cases
def test_curves_equal_scikit_learn(n: int, n_classes: int, ties: bool) -> None:
    true, scores = draw(4, n, n_classes, ties=ties)
    positive, score = true == 1, scores[:, 1]
    fpr, tpr, thresholds = ours.roc_curve(positive, score)
    expected = oracle.roc_curve(positive, score, drop_intermediate=False)
    for a, b in zip((fpr, tpr, thresholds), expected, strict=True):
        assert np.abs(a[1:] - b[1:]).max() <= 1e-9
    precision, recall, at = ours.precision_recall_curve(positive, score)
    p, r, t = oracle.precision_recall_curve(positive, score)
    assert np.abs(precision[::-1] - p[:-1]).max() <= 1e-9
    assert np.abs(recall[::-1] - r[:-1]).max() <= 1e-9
    assert np.abs(at[::-1] - t).max() <= 1e-9


def test_a_metric_that_is_not_defined_is_nan_not_zero() -> None:
    true, scores = np.zeros(4, np.int64), np.full((4, 2), 0.5)
    assert np.isnan(ours.roc_auc(true, scores))


def test_calibration_error_by_hand() -> None:
    # Two bins: 3 answers at 0.9 of which 2 right, 1 at 0.6 that is wrong: (3 * |2/3 - 0.9| + 1 * 0.6) / 4.
    confidence = np.array([0.9, 0.9, 0.9, 0.6])
    right = np.array([True, True, False, False])
    close(ours.expected_calibration_error(confidence, right), (3 * abs(2 / 3 - 0.9) + 0.6) / 4)


def test_a_confidence_of_one_and_of_a_bins_edge_falls_in_the_bin_below() -> None:
    bins = ours.calibration_bins(np.array([1.0, 0.5]), np.array([True, True]), bins=2)
    assert bins["count"].tolist() == [1.0, 1.0]


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 60), st.integers(2, 6), st.integers(0, 1000))
def test_weighted_metrics_of_a_resample_equal_those_of_the_repeated_rows(n: int, n_classes: int, seed: int) -> None:
    from eyewright.metrics.bootstrap import _weighted_ap
    from eyewright.metrics.classification import _weighted_auc, _weighted_ece

    true, scores = draw(seed, n, n_classes, ties=True)
    weights = np.bincount(np.random.default_rng(seed).integers(0, n, n), minlength=n).astype(float)
    rows = np.repeat(np.arange(n), weights.astype(int))
    for weighted, plain in (
        (_weighted_auc(true, scores, weights[None])[0], ours.roc_auc(true[rows], scores[rows])),
        (_weighted_ap(true, scores, weights[None])[0], ours.average_precision(true[rows], scores[rows])),
        (
            _weighted_ece(scores.max(1), scores.argmax(1) == true, weights[None], 15)[0],
            ours.expected_calibration_error(scores.max(1)[rows], (scores.argmax(1) == true)[rows]),
        ),
    ):
        assert (np.isnan(weighted) and np.isnan(plain)) or abs(weighted - plain) <= 1e-9


def test_two_classes_are_ranked_by_the_second_and_ties_count_half() -> None:
    true = np.array([0, 0, 1, 1, 1])
    second = np.array([0.1, 0.5, 0.5, 0.9, 0.2])
    # Unlike distributions the rows do not sum to 1: only the second column is looked at.
    scores = np.stack([np.array([0.9, 0.1, 0.1, 0.1, 0.3]), second], 1)
    close(ours.roc_auc(true, scores), (1.5 + 2 + 1) / 6)
    close(ours.roc_auc(true, scores), oracle.roc_auc_score(true, second))
    assert np.isnan(ours.roc_auc(np.zeros(0, int), np.zeros((0, 3))))
    assert np.isnan(ours.average_precision(np.zeros(0, int), np.zeros((0, 3))))
    # Of three classes the one that is nowhere is left out of the mean.
    wide = np.concatenate([scores, np.full((5, 1), 0.3)], 1)
    wanted = np.mean([oracle.roc_auc_score(true == k, wide[:, k]) for k in (0, 1)])
    close(ours.roc_auc(true, wide), wanted)


def test_margins_of_several_confusions_at_once() -> None:
    tables = np.random.default_rng(0).integers(0, 9, (4, 3, 3))
    tables[1, 2], tables[2, :, 1], tables[3] = 0, 0, 0
    for measure in (ours.accuracy, ours.balanced_accuracy, ours.cohen_kappa):
        found = measure(tables)
        for k in range(4):
            np.testing.assert_allclose(found[k], measure(tables[k]))
    assert np.isnan(ours.accuracy(tables[3]))
    assert np.isnan(ours.balanced_accuracy(tables[3]))
    assert np.isnan(ours.cohen_kappa(tables[3]))
    # Everything of one class and answered so: nothing is beyond chance.
    assert np.isnan(ours.cohen_kappa(np.array([[5, 0], [0, 0]])))
    precision, recall, f1 = ours.precision_recall_f1(np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]]))
    assert precision.tolist() == pytest.approx([3 / 5, 4 / 5, 0])
    assert recall.tolist() == pytest.approx([3 / 4, 4 / 6, 0])
    assert f1.tolist() == pytest.approx([6 / 9, 8 / 11, 0])
    # A class that is answered and is nowhere counts in the macro mean, one that is neither does not.
    answered = np.array([[3, 1, 1], [0, 0, 0], [0, 0, 5]])
    macro = ours.precision_recall_f1(answered, average="macro")
    assert macro.recall == pytest.approx((3 / 5 + 0 + 1) / 3)
    assert ours.balanced_accuracy(answered) == pytest.approx((3 / 5 + 1) / 2)
    weighted = ours.precision_recall_f1(answered, average="weighted")
    assert weighted.recall == pytest.approx((5 * 3 / 5 + 5) / 10)


def test_log_loss_is_clipped_and_scores_are_brought_to_sum_to_one() -> None:
    true = np.array([0, 1, 1])
    scores = np.array([[1.0, 0.0], [1.0, 0.0], [0.5, 1.5]])
    eps = np.finfo(np.float64).eps
    close(ours.log_loss(true, scores), (-np.log(1 - eps) - np.log(eps) - np.log(0.75)) / 3)
    before = scores.copy()
    # By hand: 0, 2, and 0.25 + 0.25.
    close(ours.brier_score(true, scores), (0 + 2 + 0.5) / 3)
    assert np.array_equal(scores, before)


def test_curves_start_at_their_ends_and_are_empty_where_nothing_was_scored() -> None:
    fpr, tpr, thresholds = ours.roc_curve(np.array([True, False, True]), np.array([0.9, 0.4, 0.4]))
    assert (fpr.tolist(), tpr.tolist(), thresholds.tolist()) == ([0, 0, 1], [0, 0.5, 1], [np.inf, 0.9, 0.4])
    precision, recall, at = ours.precision_recall_curve(np.array([True, False, True]), np.array([0.9, 0.4, 0.4]))
    assert (precision.tolist(), recall.tolist(), at.tolist()) == ([1, pytest.approx(2 / 3)], [0.5, 1], [0.9, 0.4])
    none = np.zeros(0)
    assert [len(v) for v in ours.precision_recall_curve(none.astype(bool), none)] == [0, 0, 0]
    empty = ours.roc_curve(none.astype(bool), none)
    assert [len(v) for v in empty] == [1, 1, 1]
    assert np.isnan(empty[0][0])
    # Without positives there is no rate of them.
    assert np.isnan(ours.roc_curve(np.zeros(2, bool), np.array([0.2, 0.4]))[1]).all()


def test_calibration_bins_by_hand() -> None:
    confidence = np.array([0.0, 0.2, 0.21, 0.4, 0.99, 1.0])
    bins = ours.calibration_bins(confidence, np.array([True, False, True, True, False, True]), bins=5)
    assert bins["count"].tolist() == [2, 2, 0, 0, 2]
    assert bins["confidence"].tolist()[:2] == pytest.approx([0.1, 0.305])
    assert bins["accuracy"].tolist()[:2] == [0.5, 1.0]
    assert np.isnan(bins["accuracy"][2:4]).all()
    assert len(ours.calibration_bins(confidence, confidence > 0)["count"]) == 15
    # (|0.5 - 0.1| + |1 - 0.305| + |0.5 - 0.995|) times 2 of 6.
    close(
        ours.expected_calibration_error(confidence, np.array([1, 0, 1, 1, 0, 1], bool), bins=5),
        2 / 6 * (0.4 + 0.695 + 0.495),
    )
    # At the usual fifteen bins 0.2 and 0.21 are apart.
    usual = ours.expected_calibration_error(np.array([0.2, 0.21]), np.array([True, False]))
    close(usual, (0.8 + 0.21) / 2)


def test_the_confusion_has_a_place_for_every_class() -> None:
    table = ours.confusion_matrix(np.array([2, 0, 2], np.uint8), np.array([1, 0, 2]), 4)
    assert table.tolist() == [[1, 0, 0, 0], [0] * 4, [0, 1, 1, 0], [0] * 4]
    assert table.dtype == np.int64
    assert ours.confusion_matrix(np.zeros(0, int), np.zeros(0, int), 2).tolist() == [[0, 0], [0, 0]]


def test_a_confidence_that_rounding_took_above_1_is_in_the_last_bin() -> None:
    bins = ours.calibration_bins(np.array([1.0 + 1e-7, 0.05, 0.0]), np.array([True, True, False]), bins=10)
    assert bins["count"].tolist() == [2, *[0] * 8, 1]
