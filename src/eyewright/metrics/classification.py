"""Classification metrics as pure functions: arrays in, numbers out. scikit-learn is the oracle in the tests.

Labels are int (N,) with values in [0, C); scores are float (N, C), each row a distribution over the C classes.
A metric that is not defined for its input (AUC with one class present) is NaN here and null in JSON.
"""

__all__ = [
    "accuracy",
    "average_precision",
    "balanced_accuracy",
    "brier_score",
    "calibration_bins",
    "cohen_kappa",
    "confusion_matrix",
    "expected_calibration_error",
    "log_loss",
    "precision_recall_curve",
    "precision_recall_f1",
    "roc_auc",
    "roc_curve",
]

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]
Average = Literal["macro", "micro", "weighted"]


class PrecisionRecallF1(NamedTuple):
    """Per-class or averaged precision, recall and F1, in [0, 1]."""

    precision: Floats
    recall: Floats
    f1: Floats


def confusion_matrix(true: Labels, predicted: Labels, n_classes: int) -> NDArray[np.int64]:
    """Count (true, predicted) pairs, int64 (C, C): rows are the true classes.

    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    flat = np.bincount(true.astype(np.int64) * n_classes + predicted, minlength=n_classes * n_classes)
    return flat.reshape(n_classes, n_classes).astype(np.int64)


class Margins(NamedTuple):
    """What most metrics need of a confusion matrix, each (..., C): right answers, true counts and answers a class."""

    right: NDArray[Any]
    truth: NDArray[Any]
    answers: NDArray[Any]


def margins(confusion: "NDArray[Any] | Margins") -> Margins:
    """Return the margins of a confusion matrix, (..., C, C); margins are given back as they are."""
    if isinstance(confusion, Margins):
        return confusion
    return Margins(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(-1), confusion.sum(-2))


def accuracy(confusion: NDArray[Any] | Margins) -> Any:
    """Return the fraction of right answers. `confusion` is (..., C, C) or its margins; leading axes are kept.

    >>> float(accuracy(np.array([[1, 1], [0, 1]])))
    0.6666666666666666
    """
    m = margins(confusion)
    return _ratio(m.right.sum(-1), m.truth.sum(-1))


def balanced_accuracy(confusion: NDArray[Any] | Margins) -> Any:
    """Return the mean recall over the classes that occur in the ground truth. `confusion` is as for `accuracy`."""
    m = margins(confusion)
    present = m.truth > 0
    return _ratio(np.where(present, _ratio(m.right, m.truth), 0.0).sum(-1), present.sum(-1))


def precision_recall_f1(confusion: NDArray[Any] | Margins, *, average: Average | None = None) -> PrecisionRecallF1:
    """Return precision, recall and F1 per class, (..., C), or averaged, (...).

    A class that was never predicted has precision 0, one that never occurs recall 0, as scikit-learn's
    `zero_division=0`. "macro" is the mean over classes that occur in the ground truth or the prediction, "weighted"
    weighs by true counts, "micro" pools all answers (for one label per image all three micro values equal the
    accuracy).
    """
    right, truth, answers = margins(confusion)
    if average == "micro":
        pooled = _ratio(right.sum(-1), truth.sum(-1))
        return PrecisionRecallF1(pooled, pooled, pooled)
    precision = _ratio(right, answers, undefined=0.0)
    recall = _ratio(right, truth, undefined=0.0)
    f1 = _ratio(2 * right, truth + answers, undefined=0.0)
    if average is None:
        return PrecisionRecallF1(precision, recall, f1)
    weight = (truth + answers > 0).astype(np.float64) if average == "macro" else truth.astype(np.float64)
    mean = [_ratio((v * weight).sum(-1), weight.sum(-1)) for v in (precision, recall, f1)]
    return PrecisionRecallF1(*mean)


def cohen_kappa(confusion: NDArray[Any] | Margins) -> Any:
    """Return Cohen's kappa (1960): agreement beyond chance; 1 is perfect, 0 chance. `confusion` as for `accuracy`."""
    right, truth, answers = margins(confusion)
    total = truth.sum(-1).astype(np.float64)
    chance = _ratio((truth * answers).sum(-1), total * total)
    return _ratio(_ratio(right.sum(-1), total) - chance, 1 - chance)


def log_loss(true: Labels, scores: Floats) -> float:
    """Return the mean negative log-likelihood in nats; scores are clipped at epsilon, as in scikit-learn."""
    return float(log_losses(true, scores).mean())


def log_losses(true: Labels, scores: Floats) -> Floats:
    """Return the negative log-likelihood of every sample in nats, (N,)."""
    eps = np.finfo(np.float64).eps
    p = np.asarray(scores, dtype=np.float64)
    p = p / p.sum(1, keepdims=True)
    losses: Floats = -np.log(np.clip(p[np.arange(len(true)), true], eps, 1 - eps))
    return losses


def brier_score(true: Labels, scores: Floats) -> float:
    """Return the mean squared error of scores and one-hot truth, summed over classes (Brier 1950), in [0, 2]."""
    error = np.array(scores, dtype=np.float64)
    error[np.arange(len(true)), true] -= 1
    return float((error**2).sum(1).mean())


def roc_curve(positive: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats, Floats]:
    """Return false-positive rate, true-positive rate and threshold, from (0, 0) to (1, 1), a point a score."""
    hits, misses, thresholds = _cumulative(positive, score)
    tpr = _ratio(np.r_[0, hits], hits[-1] if len(hits) else 0)
    fpr = _ratio(np.r_[0, misses], misses[-1] if len(misses) else 0)
    return fpr, tpr, np.r_[np.inf, thresholds]


def roc_auc(true: Labels, scores: Floats) -> float:
    """Return the area under the ROC curve; over several classes the mean of one-against-rest over those present.

    NaN unless at least two classes occur in the ground truth.
    """
    return float(_weighted_auc(true, scores, np.ones((1, len(true))))[0])


def precision_recall_curve(positive: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats, Floats]:
    """Return precision, recall and threshold at every distinct score, from the highest threshold down."""
    hits, misses, thresholds = _cumulative(positive, score)
    return _ratio(hits, hits + misses), _ratio(hits, hits[-1] if len(hits) else 0), thresholds


def average_precision(true: Labels, scores: Floats) -> float:
    """Return average precision (sum of precision x recall step), the mean of one-against-rest over classes present."""
    values = []
    for k in np.unique(true):
        precision, recall, _ = precision_recall_curve(true == k, scores[:, k])
        values.append(float(np.sum(np.diff(np.r_[0, recall]) * precision)))
    return float(np.mean(values)) if values else float("nan")


def calibration_bins(confidence: Floats, right: NDArray[np.bool_], *, bins: int = 15) -> dict[str, Floats]:
    """Sort answers into `bins` equal steps of confidence, each (low, high]; return count, confidence and accuracy."""
    at = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(at, minlength=bins).astype(np.float64)
    return {
        "count": count,
        "confidence": _ratio(np.bincount(at, weights=confidence, minlength=bins), count),
        "accuracy": _ratio(np.bincount(at, weights=right.astype(np.float64), minlength=bins), count),
    }


def expected_calibration_error(confidence: Floats, right: NDArray[np.bool_], *, bins: int = 15) -> float:
    """Return the count-weighted mean of |accuracy - confidence| over `bins` steps (Guo et al. 2017, eq. 3), in [0, 1].

    >>> expected_calibration_error(np.array([0.9, 0.9]), np.array([True, False]))
    0.4
    """
    return float(_weighted_ece(confidence, right, np.ones((1, len(right))), bins)[0])


def _ratio(a: Any, b: Any, *, undefined: float = np.nan) -> Any:
    a = np.asarray(a, dtype=np.float64)
    b = np.asarray(b, dtype=np.float64)
    return np.divide(a, b, out=np.full(np.broadcast_shapes(a.shape, b.shape), undefined), where=b != 0)


def _cumulative(positive: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats, Floats]:
    """Count hits and misses at or above every distinct score, from the highest down."""
    order = np.argsort(-score, kind="stable")
    ranked, sorted_scores = positive[order], score[order]
    last = np.r_[np.flatnonzero(np.diff(sorted_scores)), len(sorted_scores) - 1] if len(score) else np.zeros(0, int)
    hits = np.cumsum(ranked)[last].astype(np.float64)
    return hits, last + 1.0 - hits, sorted_scores[last]


def _weighted_auc(true: Labels, scores: Floats, weights: Floats) -> Floats:
    """Return the AUC for every row of sample weights, (B, N) -> (B,).

    The Mann-Whitney form: each positive counts the negatives below it, and half of those level with it.
    """
    total = np.zeros(len(weights))
    classes = np.zeros(len(weights))
    n_classes = scores.shape[1] if len(true) else 0
    for k in range(1, 2) if n_classes == 2 else range(n_classes):
        order = np.argsort(scores[:, k], kind="stable")
        level = np.r_[0, np.cumsum(np.diff(scores[order, k]) != 0)]
        positive = (true == k)[order]
        w = weights[:, order]
        starts = np.flatnonzero(np.r_[True, np.diff(level) != 0]) if len(level) else np.zeros(0, int)
        pos = np.add.reduceat(w * positive, starts, axis=1)
        neg = np.add.reduceat(w * ~positive, starts, axis=1)
        below = np.cumsum(neg, axis=1) - neg
        n_pos, n_neg = pos.sum(1), neg.sum(1)
        auc = _ratio((pos * (below + neg / 2)).sum(1), n_pos * n_neg)
        defined = np.isfinite(auc)
        total[defined] += auc[defined]
        classes += defined
    result: Floats = _ratio(total, classes)
    return result


def _weighted_ece(confidence: Floats, right: NDArray[np.bool_], weights: Floats, bins: int) -> Floats:
    at = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    member = np.zeros((len(at), bins))
    member[np.arange(len(at)), at] = right.astype(np.float64) - confidence
    result: Floats = _ratio(np.abs(weights @ member).sum(1), weights.sum(1))
    return result
