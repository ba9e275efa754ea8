"""Pure functions: arrays in, numbers out, with intervals.

A module is imported when one of its names is used.
"""

from typing import TYPE_CHECKING

from eyewright.core.late import late_names

if TYPE_CHECKING:
    from eyewright.metrics.bootstrap import (
        classification_metrics,
        fisher_less,
        mcnemar_exact,
        paired_differences,
        percentile_interval,
        wilson_interval,
    )
    from eyewright.metrics.calibration import fit_temperature, operating_points, uncalibrated
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
    from eyewright.metrics.folds import corrected_interval
    from eyewright.metrics.mislabels import confident_errors
    from eyewright.metrics.points import OperatingPoint

_HOMES = {
    "bootstrap": (
        "classification_metrics",
        "fisher_less",
        "mcnemar_exact",
        "paired_differences",
        "percentile_interval",
        "wilson_interval",
    ),
    "calibration": ("fit_temperature", "operating_points", "uncalibrated"),
    "classification": (
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
    ),
    "folds": ("corrected_interval",),
    "mislabels": ("confident_errors",),
    "points": ("OperatingPoint",),
}

__all__ = [
    "OperatingPoint",
    "accuracy",
    "average_precision",
    "balanced_accuracy",
    "brier_score",
    "calibration_bins",
    "classification_metrics",
    "cohen_kappa",
    "confident_errors",
    "confusion_matrix",
    "corrected_interval",
    "expected_calibration_error",
    "fisher_less",
    "fit_temperature",
    "log_loss",
    "mcnemar_exact",
    "operating_points",
    "paired_differences",
    "percentile_interval",
    "precision_recall_curve",
    "precision_recall_f1",
    "roc_auc",
    "roc_curve",
    "uncalibrated",
    "wilson_interval",
]


__getattr__ = late_names(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
