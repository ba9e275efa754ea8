"""Budgets as people type them: `90s`, `10m`, `1h30m`."""

__all__ = ["parse_duration_s", "show_duration", "show_hours"]

import re

from eyewright.core.errors import UsageError

_MOST_S = 10 * 365 * 86_400


def parse_duration_s(text: str | float | int) -> float:
    """Return seconds from "90", "90s", "10m", "1.5h" or "1h30m"; numbers are seconds.

    >>> parse_duration_s("1h30m"), parse_duration_s("45s"), parse_duration_s(20)
    (5400.0, 45.0, 20.0)

    Raises:
        UsageError: not a duration, or not above zero.
    """
    if isinstance(text, int | float):
        seconds = float(text)
    else:
        parts = re.fullmatch(r"\s*(?:([\d.]+)h)?\s*(?:([\d.]+)m)?\s*(?:([\d.]+)s?)?\s*", text.lower())
        try:
            if parts is None or not any(parts.groups()):
                raise ValueError
            seconds = sum(float(p) * unit for p, unit in zip(parts.groups(), (3600, 60, 1), strict=True) if p)
        except ValueError:
            raise UsageError(
                f"expected a duration such as 90s, 10m or 1h30m, found {text!r}", fix="change --budget"
            ) from None
    if not 0 < seconds <= _MOST_S:
        raise UsageError(
            f"expected a duration above zero and of at most 10 years, found {text!r}", fix="change --budget"
        )
    return seconds


def show_duration(seconds: float) -> str:
    """Show seconds as a person reads them.

    >>> show_duration(4.25), show_duration(75), show_duration(3700)
    ('4.2 s', '1 min 15 s', '1 h 1 min')
    >>> show_duration(0.0421), show_duration(0.0002), show_duration(0)
    ('42 ms', '1 ms', '0.0 s')
    """
    if 0 < seconds < 0.0995:
        # What took time is not shown as if it took none.
        return f"{max(1, round(1000 * seconds))} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def show_hours(hours: float) -> str:
    """Show hours; less than one as `show_duration` does it.

    >>> show_hours(24.0), show_hours(13.888), show_hours(1 / 3600)
    ('24 h', '13.89 h', '1.0 s')
    """
    return f"{hours:,.2f}".rstrip("0").rstrip(".") + " h" if hours >= 1 else show_duration(3600 * hours)
