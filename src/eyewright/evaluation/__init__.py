"""Predictor × Dataset → Report, and the report as a page."""

from eyewright.evaluation.comparison import Comparison, compare_predictors
from eyewright.evaluation.evaluator import evaluate_predictor, predict_dataset, report_predictions
from eyewright.evaluation.pages import render_html, render_markdown, summarise, write_report

__all__ = [
    "Comparison",
    "compare_predictors",
    "evaluate_predictor",
    "predict_dataset",
    "render_html",
    "render_markdown",
    "report_predictions",
    "summarise",
    "write_report",
]
