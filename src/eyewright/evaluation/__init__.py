"""Predictor × Dataset → Report, and the report as a page."""

from eyewright.evaluation.comparison import Comparison, compare_predictors
from eyewright.evaluation.evaluator import evaluate_predictor
from eyewright.evaluation.pages import render_html, render_markdown, said_findings, summarise, write_report
from eyewright.evaluation.private import told
from eyewright.evaluation.reporting import Pictures, reporting_of
from eyewright.evaluation.results import gather_results, predict_dataset
from eyewright.evaluation.trust_pages import say_trust
from eyewright.evaluation.units import show_metric, show_number

__all__ = [
    "Comparison",
    "Pictures",
    "compare_predictors",
    "evaluate_predictor",
    "gather_results",
    "predict_dataset",
    "render_html",
    "render_markdown",
    "reporting_of",
    "said_findings",
    "say_trust",
    "show_metric",
    "show_number",
    "summarise",
    "told",
    "write_report",
]
