"""How what a smaller model costs is said: points of a rate, or the unit of an error."""

__all__ = ["change_unit", "changed_by", "is_amount", "say_change"]

import math

from eyewright.core.task import metric_named


def is_amount(name: str) -> bool:
    """Return whether a metric is an error in a unit, without a largest value, and not a fraction of 1.

    >>> is_amount("accuracy")
    False
    """
    return math.isinf(metric_named(name).bounds[1])


def changed_by(name: str, drop: float) -> float:
    """Return a drop (positive is worse) as it is shown: the change of a rate in points, the rise of an error.

    >>> changed_by("accuracy", 0.01)
    -1.0
    """
    return drop + 0.0 if is_amount(name) else -100 * drop + 0.0


def change_unit(name: str, unit: str = "") -> str:
    """Return the unit of `changed_by`."""
    return unit if is_amount(name) else "points"


def say_change(
    name: str,
    value: float | None,
    low: float | None = None,
    high: float | None = None,
    *,
    unit: str = "",
    digits: int = 1,
) -> str:
    """Say a drop with its interval; without a `unit` the numbers alone.

    >>> say_change("accuracy", 0.01, 0.0, 0.02, unit="points")
    '-1.0 points [-2.0, +0.0]'
    """
    if value is None:
        return "–"
    form = "+.3g" if is_amount(name) else f"+.{digits}f"
    text = f"{changed_by(name, value):{form}}{f' {unit}' * bool(unit)}"
    if low is None or high is None:
        return text
    ends = sorted((changed_by(name, low), changed_by(name, high)))
    return f"{text} [{ends[0]:{form}}, {ends[1]:{form}}]"
