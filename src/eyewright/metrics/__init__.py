"""Pure functions: arrays in, numbers out, with intervals."""

from eyewright.metrics.bootstrap import (
    classification_metrics,
    fisher_less,
    mcnemar_exact,
    paired_differences,
    percentile_interval,
    wilson_interval,
)
from eyewright.metrics.calibration import fit_temperature
from eyewright.metrics.classification import (
    accuracy,
    average_precision,
    balanced_accuracy,
    brier_score,
    calibration_bins,
    cohen_kappa,
    confusion_matrix,
    expected_calibration_error,
    log_loss,
    precision_recall_curve,
    precision_recall_f1,
    roc_auc,
    roc_curve,
)

__all__ = [
    "accuracy",
    "average_precision",
    "balanced_accuracy",
    "brier_score",
    "calibration_bins",
    "classification_metrics",
    "cohen_kappa",
    "confusion_matrix",
    "expected_calibration_error",
    "fisher_less",
    "fit_temperature",
    "log_loss",
    "mcnemar_exact",
    "paired_differences",
    "percentile_interval",
    "precision_recall_curve",
    "precision_recall_f1",
    "roc_auc",
    "roc_curve",
    "wilson_interval",
]
