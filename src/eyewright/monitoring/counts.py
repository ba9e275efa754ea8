"""Counts of live sources an hour: what crossed which line, what entered which zone, and whether that is usual."""

__all__ = ["Count", "CountRow", "count_row", "seen_row", "summarise_counts", "unusual_counts"]

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CountRow = tuple[str, float, int, str, str, str, str]
"""A line of the log: id, time, hour, source, line or zone, direction, label. Without a line: the source was seen."""

_HOUR_S = 3600
_SLOT_S = 600
_DAY = 24
_FEWEST_DAYS = 7
_MOST_DAYS = 28
_WIDTH = 4.0


@dataclass(frozen=True)
class Count:
    """How many crossed in an hour (of UTC, since 1970), and what is usual at that hour of the day."""

    source: str
    line: str
    direction: str
    hour: int
    n: int
    low: float
    high: float

    @property
    def unusual(self) -> bool:
        """Whether the count lies outside the usual range."""
        return not self.low <= self.n <= self.high

    def line_of_text(self) -> str:
        """Say it in one line."""
        when = time.strftime("%Y-%m-%d %H:00", time.gmtime(self.hour * _HOUR_S))
        return (
            f"{self.source}: {self.n:,} {self.line} {self.direction} in the hour from {when} UTC; "
            f"{max(0.0, self.low):,.0f} to {self.high:,.0f} is the usual range"
        )


def count_row(source: str, event: Mapping[str, Any]) -> CountRow:
    """Return the log's line of one crossing, with `time`, `line`, `direction` and `label`."""
    when = float(event["time"])
    name = f"{time.time_ns():016x}{os.urandom(4).hex()}"
    return name, when, int(when // _HOUR_S), source, str(event["line"]), str(event["direction"]), str(event["label"])


def seen_row(source: str, when: float) -> CountRow:
    """Return the log's line that a source gave frames: one every ten minutes, always of the same id."""
    slot = int(when // _SLOT_S)
    return f"seen-{source}-{slot}", when, int(when // _HOUR_S), source, "", "", ""


Counted = tuple[int, str, str, str, str, int]
"""An hour's number of crossings, as the log returns it: hour, source, line, direction, label, number."""


def _by_line(
    rows: Sequence[Counted],
) -> tuple[dict[tuple[str, str, str], dict[int, int]], dict[str, set[int]]]:
    """Return counts by (source, line, direction) and hour, and the hours that each source was seen through."""
    counts: dict[tuple[str, str, str], dict[int, int]] = {}
    whole: dict[str, set[int]] = {}
    for hour, source, line, direction, _, n in rows:
        if not line:
            if n >= _HOUR_S // _SLOT_S:
                whole.setdefault(source, set()).add(hour)
            continue
        hours = counts.setdefault((source, line, direction), {})
        hours[hour] = hours.get(hour, 0) + n
    return counts, whole


def unusual_counts(rows: Sequence[Counted], hour: int) -> list[Count]:
    """Return the counts of an hour, each with its usual range, where enough is known of earlier days.

    The usual range is the median of the same hour of up to 28 earlier days, and on each side four times the larger of
    the square root of the median plus one (of a Poisson count) and the scaled median absolute deviation. Days on which
    the source was not seen through the hour do not count; at least seven are needed.
    """
    counts, whole = _by_line(rows)
    found = []
    for (source, line, direction), hours in sorted(counts.items()):
        seen = whole.get(source, set())
        if hour not in seen:
            continue
        earlier = [hour - _DAY * k for k in range(1, _MOST_DAYS + 1)]
        values = np.array([hours.get(h, 0) for h in earlier if h in seen], np.float64)
        if len(values) < _FEWEST_DAYS:
            continue
        middle = float(np.median(values))
        deviation = 1.4826 * float(np.median(np.abs(values - middle)))
        reach = _WIDTH * max((middle + 1) ** 0.5, deviation)
        found.append(Count(source, line, direction, hour, hours.get(hour, 0), middle - reach, middle + reach))
    return found


def summarise_counts(rows: Sequence[Counted], *, now: float) -> dict[str, Any]:
    """Return by source and line the last 24 hours by direction, oldest first, their sums by label, and their start."""
    this = int(now // _HOUR_S)
    found: dict[str, Any] = {}
    for hour, source, line, direction, label, n in rows:
        if hour <= this - _DAY:
            continue
        lines = found.setdefault(source, {})
        if not line:
            continue
        one = lines.setdefault(line, {"hours": {}, "labels": {}, "first_hour": (this - _DAY + 1) * _HOUR_S})
        one["hours"].setdefault(direction, [0] * _DAY)[hour - (this - _DAY + 1)] += n
        labels = one["labels"].setdefault(direction, {})
        labels[label] = labels.get(label, 0) + n
    return found
