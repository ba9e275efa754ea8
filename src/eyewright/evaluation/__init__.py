"""Predictor × Dataset → Report, and the report as a page."""

from eyewright.evaluation.comparison import Comparison, compare_predictors
from eyewright.evaluation.evaluator import evaluate_predictor, predict_dataset, report_predictions
from eyewright.evaluation.pages import render_html, render_markdown, said_findings, summarise, write_report
from eyewright.evaluation.units import show_metric, show_number

__all__ = [
    "Comparison",
    "compare_predictors",
    "evaluate_predictor",
    "predict_dataset",
    "render_html",
    "render_markdown",
    "report_predictions",
    "said_findings",
    "show_metric",
    "show_number",
    "summarise",
    "write_report",
]
