"""What the tasks declare of their metrics and models: directions, bounds, intervals, budgets and parity limits.

A report shows a metric in per cent or as a number, sorts two models and cuts an interval by these values.
"""

import math

import pytest

from eyewright.core.task import MetricInfo, task_names, task_of
from eyewright.evaluation import reporting_of

OWN = [name for name in task_names() if name not in ("instance", "video")]
INF = math.inf

# All others are fractions, from 0 to 1.
BOUNDS = {
    ("classify", "kappa"): (-1, 1), ("classify", "log_loss"): (0, INF), ("classify", "brier"): (0, 2),
    ("regress", "mae"): (0, INF), ("regress", "rmse"): (0, INF), ("regress", "median_error"): (0, INF),
    ("regress", "r2"): (-INF, 1),
    ("read", "cer"): (0, INF), ("read", "wer"): (0, INF), ("read", "char_accuracy"): (-INF, 1),
    ("embed", "median_rank"): (1, INF), ("embed", "back_median_rank"): (1, INF),
    ("restore", "baseline_gain"): (-INF, INF), ("restore", "psnr_gain"): (-INF, INF),
    ("restore", "psnr"): (0, INF), ("restore", "psnr_input"): (0, INF), ("restore", "psnr_baseline"): (0, INF),
    ("restore", "ssim"): (-1, 1), ("restore", "ssim_input"): (-1, 1),
    ("generate", "fid"): (0, INF), ("generate", "fid_floor"): (0, INF), ("generate", "density"): (0, INF),
    ("generate", "kid"): (-INF, INF),
}  # fmt: skip
# Errors, distances, ranks, false alarms and copies.
SMALLER_IS_BETTER = {
    "ece", "log_loss", "brier", "false_alarms", "mae", "rmse", "median_error", "cer", "wer", "median_rank",
    "back_median_rank", "fid", "copies", "kid", "fid_floor",
}  # fmt: skip
# Fractions of images: the interval is that of a share.
SHARES = {
    "classify": {"accuracy", "balanced_accuracy", "f1_macro"}, "detect": set(), "segment": set(),
    "regress": {"coverage"}, "tag": {"exact_match"}, "read": {"exact"}, "restore": set(),
    "embed": {f"{way}recall_at_{k}" for way in ("", "back_") for k in (1, 5, 10)},
    "generate": {"coverage", "label_agreement", "copies", "precision", "recall", "coverage_floor"},
}  # fmt: skip
# Calibration errors are not defined by the images one by one.
PLAIN_FRACTIONS = {"ece"}
# What is not among the tiles at the top of a report.
NO_TILE = {
    "classify": {"worst_class_recall", "log_loss", "brier"}, "detect": {"pq"}, "segment": {"pixel_accuracy"},
    "regress": set(), "tag": set(), "read": {"char_accuracy"},
    "embed": {"recall_at_5", "back_recall_at_5", "back_median_rank"},
    "restore": {"psnr_input", "psnr_baseline", "ssim_input"},
    "generate": {"density", "kid", "fid_floor", "coverage_floor", "pixel_coverage", "pixel_recall"},
}  # fmt: skip
# What two models are compared by on the same images, and what a budget of `compress --max-drop` can name.
PAIRED = {
    "classify": {"accuracy", "balanced_accuracy", "f1_macro", "worst_class_recall", "kappa", "ece", "log_loss",
                 "brier"},
    "detect": {"ap", "ap50"}, "segment": {"miou", "pixel_accuracy"},
    "regress": {"mae", "rmse", "r2", "median_error"}, "tag": {"map", "f1_macro", "f1_micro", "exact_match", "ece"},
    "read": {"cer", "wer", "exact", "char_accuracy"}, "embed": SHARES["embed"],
    "restore": {"baseline_gain", "psnr", "ssim"}, "generate": set(),
}  # fmt: skip


def metrics(task: str) -> dict[str, MetricInfo]:
    return {m.name: m for m in task_of(task).metrics}


@pytest.mark.parametrize("task", OWN)
def test_a_metric_has_the_bounds_of_its_definition_and_the_direction_of_its_name(task: str) -> None:
    for name, metric in metrics(task).items():
        assert metric.bounds == BOUNDS.get((task, name), (0, 1)), name
        assert metric.higher_is_better is (name not in SMALLER_IS_BETTER), name
        outside = metric.bounds != (0, 1) or name in PLAIN_FRACTIONS
        assert metric.kind == ("share" if name in SHARES[task] else "plain" if outside else "bounded"), name


@pytest.mark.parametrize("task", OWN)
def test_tiles_and_paired_metrics_are_those_that_are_named(task: str) -> None:
    found = metrics(task).values()
    assert {m.name for m in found if not m.tile} == NO_TILE[task]
    assert {m.name for m in found if m.paired} == PAIRED[task]


def test_error_rates_are_shown_in_per_cent_although_they_may_pass_1() -> None:
    assert {(t, m.name) for t in OWN for m in metrics(t).values() if m.rate} == {
        ("read", "cer"), ("read", "wer"), ("read", "char_accuracy"),
    }  # fmt: skip


def test_counts_of_images_have_an_interval_of_some_width_where_no_image_differs() -> None:
    assert {(t, m.name) for t in OWN for m in metrics(t).values() if m.counts} == {
        ("classify", "accuracy"), ("classify", "balanced_accuracy"), ("classify", "f1_macro"),
        ("classify", "worst_class_recall"), ("classify", "kappa"), ("tag", "exact_match"), ("read", "exact"),
        ("generate", "coverage"),
    }  # fmt: skip


def test_instances_and_clips_have_the_metrics_of_boxes_and_classes() -> None:
    assert task_of("instance").metrics == task_of("detect").metrics
    assert task_of("video").metrics == task_of("classify").metrics


@pytest.mark.parametrize(
    ("task", "float32", "float16", "int8"),
    [("classify", 1e-4, 0.02, 0.05), ("video", 1e-4, 0.02, 0.05), ("tag", 1e-4, 0.02, 0.05),
     ("detect", 1e-3, 0.02, 0.05), ("instance", 1e-3, 0.02, 0.05), ("segment", 1e-3, 0.02, 0.05),
     ("regress", 1e-3, 0.02, 0.1), ("read", 1e-4, 0.03, 0.1), ("embed", 1e-4, 0.005, 0.1),
     ("restore", 1e-3, 0.01, 0.1), ("generate", 1 / 255, 0.02, 0.1)],
)  # fmt: skip
def test_parity_is_checked_at_these_limits(task: str, float32: float, float16: float, int8: float) -> None:
    limits = task_of(task).limits
    assert {k: v.tolerance for k, v in limits.items()} == {"float32": float32, "float16": float16, "int8": int8}
    assert {k: v.same_iou for k, v in limits.items()} == {"float32": 0.99, "float16": 0.95, "int8": 0.9}


@pytest.mark.parametrize(
    ("task", "replicates"),
    [("classify", 1000), ("video", 1000), ("detect", 200), ("instance", 200), ("segment", 200), ("regress", 1000),
     ("tag", 400), ("read", 1000), ("embed", 400), ("restore", 1000), ("generate", 200)],
)  # fmt: skip
def test_paired_differences_are_drawn_as_often_as_a_task_can_afford(task: str, replicates: int) -> None:
    assert reporting_of(task).replicates == replicates


def test_operating_points_are_probabilities_and_those_of_numbers_are_half_widths_of_any_size() -> None:
    assert {t: task_of(t).points for t in task_names() if t != "regress"} == {
        t: (0, 1) for t in task_names() if t != "regress"
    }
    assert task_of("regress").points == (0, 1e300)
