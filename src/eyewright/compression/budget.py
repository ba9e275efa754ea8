"""What a user allows a smaller model to cost, and what it must gain."""

__all__ = ["Budget", "parse_budget"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eyewright.compression.measuring import Judged, Ratio, metric_names, spelled
from eyewright.core.errors import UsageError, spelling_hint
from eyewright.core.sizes import parse_bytes
from eyewright.core.task import task_of


@dataclass(frozen=True)
class Budget:
    """The bounds of a search: `max_drop` by metric, absolute (0.01 is one point); least speedup, most bytes.

    >>> budget = parse_budget("classify", ["accuracy=1%"], min_speedup="2x")
    >>> budget.max_drop["accuracy"], budget.min_speedup
    (0.01, 2.0)
    """

    max_drop: Mapping[str, float] = field(default_factory=dict)
    min_speedup: float | None = None
    max_bytes: int | None = None

    @property
    def wants_gain(self) -> bool:
        """Whether it says what is to be gained; else the fastest model that loses no more is sought."""
        return self.min_speedup is not None or self.max_bytes is not None

    def losses(self, judged: Judged) -> list[str]:
        """Name the bounds that the answers break."""
        found = []
        for name, most in self.max_drop.items():
            drop = judged.drops[name].value
            # A drop of 0.01 is 0.010000000000000009 where two accuracies are subtracted.
            if drop is None or drop > most + 1e-9:
                lost = "unknown" if drop is None else f"{100 * drop:.2f}"
                found.append(f"{name} falls by {lost} points, {100 * most:g} are allowed")
        return found

    def shortfalls(self, speedup: Ratio | None, size: int) -> list[str]:
        """Name the bounds that speed and size break."""
        found = []
        if self.min_speedup is not None and speedup is not None and speedup.value < self.min_speedup:
            found.append(f"{speedup.value:.2f} times as fast, {self.min_speedup:g} are asked for")
        if self.max_bytes is not None and size > self.max_bytes:
            found.append(f"{size:,} bytes, {self.max_bytes:,} are allowed")
        return found

    def to_json(self) -> dict[str, Any]:
        return {"max_drop": dict(self.max_drop), "min_speedup": self.min_speedup, "max_bytes": self.max_bytes}


def parse_budget(
    task: str,
    max_drop: Sequence[str] = (),
    *,
    min_speedup: str | float | None = None,
    max_bytes: str | int | None = None,
) -> Budget:
    """Read a budget as the command line takes it: "accuracy=1%", "ece=0.02", "2x", "500k".

    Without `max_drop` the main metric may fall by one point.

    Raises:
        UsageError: an unknown metric, or an invalid value.
    """
    known = metric_names(task)
    drops: dict[str, float] = {}
    for text in max_drop:
        name, equals, value = text.partition("=")
        name = spelled(name.strip(), task)
        if not equals:
            raise UsageError(f"expected a metric and a drop such as accuracy=1%, found {text!r}", fix="write it so")
        if name not in known:
            raise UsageError(
                f"unknown metric {name!r} for {task}",
                fix=f"{spelling_hint(name, known)} (there are {', '.join(known)})",
            )
        drops[name] = _share(name, value.strip())
    return Budget(
        drops or {task_of(task).main_metric: 0.01},
        _speedup(min_speedup),
        None if max_bytes is None else int(parse_bytes(str(max_bytes))),
    )


def _share(name: str, text: str) -> float:
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise UsageError(f"expected a drop of {name} such as 1% or 0.01, found {text!r}", fix=f"write {name}=1%")
    return value


def _speedup(value: str | float | None) -> float | None:
    if value is None:
        return None
    try:
        number = float(str(value).lower().removesuffix("x"))
    except ValueError:
        number = 0.0
    if not 0 < number < 1e6:
        raise UsageError(f"expected a speedup such as 2 or 2x, found {value!r}", fix="write --min-speedup 2")
    return number
