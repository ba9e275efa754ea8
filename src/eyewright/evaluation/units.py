"""One unit in reports: rates are per cent, everything else is a plain number."""

__all__ = ["is_rate", "say_rate", "show_count", "show_interval", "show_metric", "show_number"]

from eyewright.core.report import Metric
from eyewright.core.task import metric_named


def is_rate(name: str) -> bool:
    """Return whether a metric is a rate from 0 to 1, which is shown in per cent."""
    return metric_named(name).bounds == (0.0, 1.0)


def show_number(name: str, value: float | None) -> str:
    """Show a metric's value.

    >>> show_number("accuracy", 0.9432), show_number("kappa", 0.9432), show_number("auc", None)
    ('94.3%', '0.943', '–')
    """
    if value is None:
        return "–"
    return f"{value:.1%}" if is_rate(name) else f"{value:.3f}"


def show_interval(name: str, low: float | None, high: float | None) -> str:
    """Show an interval in the metric's unit; nothing where there is none.

    >>> show_interval("accuracy", 0.898, 0.989), show_interval("kappa", 0.8, 1.0)
    ('[89.8, 98.9]', '[0.800, 1.000]')
    """
    if low is None or high is None:
        return ""
    return f"[{100 * low:.1f}, {100 * high:.1f}]" if is_rate(name) else f"[{low:.3f}, {high:.3f}]"


def show_metric(name: str, metric: Metric) -> str:
    """Show a metric with its interval and what it rests on, for a terminal.

    >>> show_metric("accuracy", Metric(0.9432, 0.898, 0.989, n=88, groups=30))
    '94.3% [89.8, 98.9] n=88 in 30 groups'
    """
    if metric.value is None:
        return f"not defined n={show_count(metric)}"
    interval = show_interval(name, metric.low, metric.high)
    return f"{show_number(name, metric.value)} {interval}".strip() + f" n={show_count(metric)}"


def show_count(metric: Metric) -> str:
    """Show the number of images, and of groups where they come in groups."""
    if metric.groups is None:
        return f"{metric.n:,}"
    return f"{metric.n:,} in {metric.groups:,} group{'s' * (metric.groups != 1)}"


def say_rate(metric: Metric) -> str:
    """Say a rate with its interval, for a sentence.

    >>> say_rate(Metric(0.9432, 0.898, 0.989, n=88)), say_rate(Metric(None))
    ('94.3% (95% interval 89.8% to 98.9%)', 'not defined')
    """
    if metric.value is None:
        return "not defined"
    if metric.low is None or metric.high is None:
        return f"{metric.value:.1%}"
    return f"{metric.value:.1%} (95% interval {metric.low:.1%} to {metric.high:.1%})"
