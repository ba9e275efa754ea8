"""What a user allows a smaller model to cost, and what it must gain."""

__all__ = ["Budget", "parse_budget"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eyewright.compression.measuring import Judged, Ratio, metric_names, spelled
from eyewright.core.errors import UsageError, spelling_hint
from eyewright.core.sizes import parse_bytes
from eyewright.core.task import task_of
from eyewright.evaluation.changes import is_amount

_RISE = 0.05


@dataclass(frozen=True)
class Budget:
    """The bounds of a search: `max_drop` by metric, absolute (0.01 is one point); least speedup, most bytes.

    Of the metrics in `relative` the drop is a fraction of the model's own value. `units` are those of metrics that have
    one.

    >>> budget = parse_budget("classify", ["accuracy=1%"], min_speedup="2x")
    >>> budget.max_drop["accuracy"], budget.min_speedup
    (0.01, 2.0)
    """

    max_drop: Mapping[str, float] = field(default_factory=dict)
    min_speedup: float | None = None
    max_bytes: int | None = None
    relative: frozenset[str] = frozenset()
    units: Mapping[str, str] = field(default_factory=dict)

    @property
    def wants_gain(self) -> bool:
        """Whether it says what is to be gained; otherwise the fastest model that loses no more is chosen."""
        return self.min_speedup is not None or self.max_bytes is not None

    def losses(self, judged: Judged) -> list[str]:
        """Return the bounds that the predictions violate."""
        found = []
        for name, most in self.max_drop.items():
            drop = judged.drops[name].value
            if name in self.relative and drop is not None:
                after = judged.metrics[name].value
                most *= abs((after or 0.0) - drop)
            # A drop of 0.01 is 0.010000000000000009 where two accuracies are subtracted.
            if drop is None or drop > most + 1e-9:
                found.append(self._broken(name, drop, most))
        return found

    def _broken(self, name: str, drop: float | None, most: float) -> str:
        if not is_amount(name):
            lost = "unknown" if drop is None else f"{100 * drop:.2f}"
            return f"{name} falls by {lost} points, {100 * most:g} are allowed"
        unit = self.units.get(name, "")
        lost = "an unknown amount" if drop is None else f"{drop:.4g}{f' {unit}' * bool(unit)}"
        return f"{name} rises by {lost}, {most:.4g} {'is' if most == 1 else 'are'} allowed"

    def shortfalls(self, speedup: Ratio | None, size: int) -> list[str]:
        """Return the bounds that speed and size violate."""
        found = []
        if self.min_speedup is not None and speedup is not None and speedup.value < self.min_speedup:
            found.append(f"{speedup.value:.2f} times as fast, {self.min_speedup:g} are asked for")
        if self.max_bytes is not None and size > self.max_bytes:
            found.append(f"{size:,} bytes, {self.max_bytes:,} are allowed")
        return found

    def to_json(self) -> dict[str, Any]:
        found = {"max_drop": dict(self.max_drop), "min_speedup": self.min_speedup, "max_bytes": self.max_bytes}
        return found | ({"relative": sorted(self.relative)} if self.relative else {})

    def shown(self, name: str) -> str:
        """Say what a metric may lose, as the command line takes it.

        >>> parse_budget("classify", ["ece=0.02"]).shown("ece")
        '2%'
        """
        most = self.max_drop[name]
        if not is_amount(name) or name in self.relative:
            return f"{100 * most:g}%"
        unit = self.units.get(name, "")
        return f"{most:g} {unit}".strip()


def parse_budget(
    task: str,
    max_drop: Sequence[str] = (),
    *,
    min_speedup: str | float | None = None,
    max_bytes: str | int | None = None,
    labels: Sequence[str] = (),
) -> Budget:
    """Read a budget as the command line takes it: "accuracy=1%", "ece=0.02", "2x", "500k".

    Of an error in a unit, "mae=0.5" is that much in the unit, "mae=5%" relative to its own error. Without
    `max_drop` the main metric may fall by one point; an error may rise by 5 %.

    Raises:
        UsageError: an unknown metric, or an invalid value.
    """
    known = metric_names(task)
    drops: dict[str, float] = {}
    relative: set[str] = set()
    for text in max_drop:
        name, equals, value = text.partition("=")
        name = spelled(name.strip(), task)
        if not equals:
            raise UsageError(
                f"expected a metric and a drop such as accuracy=1%, found {text!r}", fix="write METRIC=DROP"
            )
        if name not in known:
            raise UsageError(
                f"unknown metric {name!r} for {task}",
                fix=f"{spelling_hint(name, known)} (there are {', '.join(known)})",
            )
        drops[name] = _amount(name, value.strip()) if is_amount(name) else _share(name, value.strip())
        relative |= {name} if is_amount(name) and value.strip().endswith("%") else set()
    main = task_of(task).main_metric
    if not drops:
        drops = {main: _RISE if is_amount(main) else 0.01}
        relative = {main} if is_amount(main) else set()
    return Budget(
        drops,
        _speedup(min_speedup),
        None if max_bytes is None else int(parse_bytes(str(max_bytes))),
        frozenset(relative),
        {name: task_of(task).unit(labels, name) for name in drops},
    )


def _amount(name: str, text: str) -> float:
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise UsageError(
            f"expected a rise of {name} in its unit, such as 0.5, or in per cent of the model's own, such as 5%, "
            f"found {text!r}",
            fix=f"write {name}=5%",
        )
    return value


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
