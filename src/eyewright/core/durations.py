"""Budgets as people type them: `90s`, `10m`, `1h30m`, `2d`, and as Slurm has them: `2-12:00:00`."""

__all__ = ["parse_duration_s", "show_duration", "show_hours"]

import re

from eyewright.core.errors import UsageError

_MOST_S = 10 * 365 * 86_400
_NAMED = re.compile(
    r"\s*(?:([\d.]+)d)?\s*(?:([\d.]+)h)?\s*(?:([\d.]+)m)?\s*(?:([\d.]+)s?)?\s*", re.IGNORECASE | re.ASCII
)
# Not Slurm's MM:SS, which others read as hours and minutes.
_CLOCK = re.compile(r"\s*(?:(\d+)-)?(\d{1,4}):([0-5]\d):([0-5]\d)\s*|\s*(\d+)-(\d{1,2})(?::([0-5]\d))?\s*", re.ASCII)
_UNITS = (86_400, 3600, 60, 1)


def parse_duration_s(text: str | float | int) -> float:
    """Return seconds from "90", "90s", "10m", "1.5h", "1h30m" or "2d", or from Slurm's "HH:MM:SS", "D-HH", "D-HH:MM"
    and "D-HH:MM:SS"; numbers are seconds.

    >>> parse_duration_s("1h30m"), parse_duration_s("45s"), parse_duration_s(20)
    (5400.0, 45.0, 20.0)
    >>> parse_duration_s("2d"), parse_duration_s("2-00:00:00"), parse_duration_s("1-12"), parse_duration_s("02:00:00")
    (172800.0, 172800.0, 129600.0, 7200.0)

    Raises:
        UsageError: not a duration, or not above zero.
    """
    if isinstance(text, int | float):
        seconds = float(text)
    else:
        clock = _CLOCK.fullmatch(text)
        named = None if clock else _NAMED.fullmatch(text)
        # Of a clock either the first four groups are set, or the last three.
        parts = clock.groups() if clock else named.groups() if named else ()
        try:
            if not any(parts):
                raise ValueError
            seconds = sum(float(p) * unit for p, unit in zip(parts, (*_UNITS, *_UNITS), strict=False) if p)
        except ValueError:
            raise UsageError(
                f"expected a duration such as 90s, 10m, 1h30m or 2d, found {text!r}", fix="write it like these"
            ) from None
    if not 0 < seconds <= _MOST_S:
        raise UsageError(f"expected a duration above zero and of at most 10 years, found {text!r}", fix="change it")
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
