"""One unit in reports: rates are per cent, amounts are in the unit of their metric, the rest are plain numbers."""

__all__ = [
    "is_rate",
    "say_metric",
    "say_rate",
    "show_amount",
    "show_change",
    "show_count",
    "show_interval",
    "show_metric",
    "show_number",
]

import math

from eyewright.core.report import Metric
from eyewright.core.task import metric_named


def is_rate(name: str) -> bool:
    """Return whether a metric is a rate, which is shown in per cent."""
    return metric_named(name).in_percent


def show_amount(value: float, low: float | None = None, high: float | None = None) -> str:
    """Show an amount of any size with four significant digits, or with the digits that its interval leaves certain.

    >>> [show_amount(v) for v in (0.0012345, 12.3456, 1234.56, 1e-9, 0.0)]
    ['0.001234', '12.35', '1,235', '1e-09', '0']
    >>> show_amount(6.3042, 4.8654, 7.7012), show_amount(0.0303, 0.0291, 0.0315)
    ('6.3', '0.0303')
    """
    half = 0.0 if low is None or high is None else (high - low) / 2
    if 1e-6 <= half < 1e9:
        # Two digits of what is uncertain.
        return f"{value + 0.0:,.{max(0, 1 - math.floor(math.log10(half)))}f}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


def show_number(
    name: str, value: float | None, unit: str = "", *, low: float | None = None, high: float | None = None
) -> str:
    """Show a metric's value; an amount with the digits that its interval, `low` to `high`, leaves certain.

    >>> show_number("accuracy", 0.9432), show_number("kappa", 0.9432), show_number("auc", None)
    ('94.3%', '0.943', '–')
    """
    if value is None:
        return "–"
    if is_rate(name):
        return f"{value:.1%}"
    shown = show_amount(value, low, high) if math.isinf(metric_named(name).bounds[1]) else f"{value:.3f}"
    return f"{shown} {unit}" if unit else shown


def show_change(name: str, value: float, unit: str = "", *, digits: int = 2) -> str:
    """Show by how much a metric moved: points of a rate, else in its unit.

    >>> show_change("accuracy", -0.0123), show_change("kappa", 0.01)
    ('-1.23 points', '+0.010')
    """
    if is_rate(name):
        return f"{100 * value + 0.0:+.{digits}f} points"
    sign = "-" if value < 0 else "+"
    return f"{sign}{show_number(name, abs(value), unit)}"


def show_interval(name: str, low: float | None, high: float | None) -> str:
    """Show an interval in the metric's unit; nothing where there is none.

    >>> show_interval("accuracy", 0.898, 0.989), show_interval("kappa", 0.8, 1.0)
    ('[89.8, 98.9]', '[0.800, 1.000]')
    """
    if low is None or high is None:
        return ""
    if is_rate(name):
        return f"[{100 * low:.1f}, {100 * high:.1f}]"
    ends = (show_number(name, end, low=low, high=high) for end in (low, high))
    return f"[{', '.join(ends)}]"


def show_metric(name: str, metric: Metric) -> str:
    """Show a metric with its interval and what it rests on, for a terminal.

    >>> show_metric("accuracy", Metric(0.9432, 0.898, 0.989, n=88, groups=30))
    '94.3% [89.8, 98.9] n=88 in 30 groups'
    """
    if metric.value is None:
        return f"not defined n={show_count(metric)}"
    interval = show_interval(name, metric.low, metric.high)
    value = show_number(name, metric.value, metric.unit, low=metric.low, high=metric.high)
    return f"{value} {interval}".strip() + f" n={show_count(metric)}"


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
    return say_metric("rate", metric.value, metric.low, metric.high)


def say_metric(
    name: str, value: float | None, low: float | None = None, high: float | None = None, unit: str = ""
) -> str:
    """Say a metric with its interval, for a sentence.

    >>> say_metric("kappa", 0.9432, 0.898, 0.989), say_metric("accuracy", 0.5), say_metric("accuracy", None)
    ('0.943 (95% interval 0.898 to 0.989)', '50.0%', 'not defined')
    """
    if value is None:
        return "not defined"
    if low is None or high is None:
        return show_number(name, value, unit)
    shown, first, last = (
        show_number(name, v, u, low=low, high=high) for v, u in ((value, unit), (low, ""), (high, ""))
    )
    return f"{shown} (95% interval {first} to {last})"
