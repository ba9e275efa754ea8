"""Predictor × Dataset → Report, and the report as a page."""

from eyewright.evaluation.evaluator import evaluate_predictor
from eyewright.evaluation.pages import render_html, render_markdown, summarise, write_report

__all__ = ["evaluate_predictor", "render_html", "render_markdown", "summarise", "write_report"]
