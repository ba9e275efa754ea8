"""What became of one way to a smaller model: a row of the search, and what is read from it again."""

__all__ = ["Row", "judged_of", "metrics_of", "points_of", "ratio_of"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from eyewright.compression.measuring import Judged, Ratio
from eyewright.core.report import Metric
from eyewright.evaluation.changes import change_unit, say_change


@dataclass(frozen=True)
class Row:
    """The result of one configuration: `state` is "measured", "refused" or "skipped", `reason` says why.

    `metrics` and `drops` are on validation images; `test_drops` where test images were measured too.
    """

    name: str
    how: str
    state: str
    reason: str = ""
    bytes: int = 0
    precision: str = "float32"
    speedup: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    drops: Mapping[str, Any] = field(default_factory=dict)
    test_drops: Mapping[str, Any] = field(default_factory=dict)
    changed: int = 0
    seconds: float = 0.0
    structure: str = ""
    method: str = ""
    keep: tuple[str, ...] = ()
    breaks: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether it was measured and breaks no bound."""
        return self.state == "measured" and not self.breaks


def ratio_of(values: Mapping[str, float]) -> Ratio:
    """Return the ratio of speeds that a row holds."""
    return Ratio(values["value"], values["low"], values["high"], values["before_ms"], values["after_ms"])


def metrics_of(rows: Mapping[str, Any]) -> dict[str, Any]:
    """Return metrics from what a row holds of them."""
    return {k: Metric(**v) for k, v in rows.items()}


def judged_of(row: Row) -> Judged:
    """Return what the validation images said of a row."""
    return Judged(metrics_of(row.metrics), metrics_of(row.drops), (), 0)


def points_of(name: str, drop: Mapping[str, Any], unit: str = "") -> str:
    """Say a drop as the change of its metric: in points, or in the metric's unit."""
    if drop["value"] is None:
        return "unknown"
    return say_change(name, drop["value"], unit=change_unit(name, unit), digits=2)
