"""Sizes of files as people type them: `50k`, `1.5MB`, `2MiB`."""

__all__ = ["parse_bytes", "say_memory"]

import math

from eyewright.core.errors import UsageError


def parse_bytes(text: str) -> float:
    """Read a number of bytes such as 50k, 1.5M or 20000.

    >>> parse_bytes("50k")
    50000.0

    Raises:
        UsageError: not one.
    """
    units = {
        "": 1,
        "k": 1e3,
        "kb": 1e3,
        "m": 1e6,
        "mb": 1e6,
        "kib": 1024,
        "mib": 1024**2,
        "g": 1e9,
        "gb": 1e9,
        "gib": 1024**3,
    }
    plain = text.strip().lower()
    number = plain.rstrip("kmgib")
    try:
        value = float(number) * units[plain[len(number) :]]
    except (ValueError, KeyError):
        value = math.nan
    if not math.isfinite(value) or value <= 0:
        raise UsageError(
            f"expected a number of bytes such as 50k, found {text!r}", fix="write a number, with k, M or G if needed"
        )
    return value


def say_memory(n: float | None) -> str:
    """Return bytes in MB, or that nothing tells them.

    >>> say_memory(57e6), say_memory(None)
    ('57 MB', 'unknown memory (needs psutil)')
    """
    return "unknown memory (needs psutil)" if n is None else f"{n / 1e6:.0f} MB"
