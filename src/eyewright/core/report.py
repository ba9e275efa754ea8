"""The values a measurement consists of: a metric with its interval, a finding, a report."""

__all__ = ["Finding", "Metric", "Report"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from eyewright.core.jsonable import to_jsonable
from eyewright.core.notebook import html_card


@dataclass(frozen=True)
class Metric:
    """A number with its interval and the count it rests on.

    `low` and `high` bound the two-sided interval at `confidence`; `None` where none can be given (say, AUC with one
    class present). `value` is `None` where the metric itself is not defined. `groups` is the number of groups that the
    images come in, where images of one group are not independent; the interval is over groups then. `unit` is that of
    the value, where it has one.

    >>> print(Metric(0.975, 0.96, 0.99, n=360))
    0.975 [0.960, 0.990] n=360
    >>> print(Metric(0.975, 0.93, 0.99, n=360, groups=41))
    0.975 [0.930, 0.990] n=360 in 41 groups
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    method: str = "bootstrap"
    confidence: float = 0.95
    groups: int | None = None
    unit: str = ""

    def __str__(self) -> str:
        count = f"n={self.n}" + ("" if self.groups is None else f" in {self.groups} group{'s' * (self.groups != 1)}")
        if self.value is None:
            return f"not defined {count}"
        interval = "" if self.low is None or self.high is None else f" [{self.low:.3f}, {self.high:.3f}]"
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.value:.3f}{unit}{interval} {count}"


@dataclass(frozen=True)
class Finding:
    """One thing found in a dataset or bundle: where, why it matters, what to do.

    `severity` is "error" where training on it would be wrong, "warning" where a person should look, "note" otherwise.
    A finding about several files names all of them in `paths`; `path` is then the first to look at.
    """

    code: str
    message: str
    fix: str
    path: str = ""
    line: int | None = None
    severity: Literal["error", "warning", "note"] = "warning"
    paths: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        """Severity and code, as the terminal prints them before the message.

        >>> Finding("tiny_class", "", "").heading, Finding("note", "", "", severity="note").heading
        ('warning[tiny_class]', 'note')
        """
        return self.severity if self.code == self.severity else f"{self.severity}[{self.code}]"

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}: " if self.line is not None else (f"{self.path}: " if self.path else "")
        return f"{self.heading} {where}{self.message} → {self.fix}"


@dataclass(frozen=True)
class Report:
    """What was measured, on what, by what: the value behind report.json, report.md and report.html.

    `tables` holds the arrays that the plots are drawn from (confusion, curves); `items` the images worth a look;
    `sections` what other rooms add (audit, recipe, history, parity).
    """

    task: str
    labels: tuple[str, ...]
    n: int
    metrics: Mapping[str, Metric]
    per_class: tuple[Mapping[str, Any], ...] = ()
    tables: Mapping[str, Any] = field(default_factory=dict)
    items: tuple[Mapping[str, Any], ...] = ()
    sections: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {metric}" for name, metric in list(self.metrics.items())[:1])
        return f"<Report: {self.task}, {shown or f'n={self.n}'}>"

    def _repr_html_(self) -> str:
        """Return the metrics as a table, for notebooks."""
        rows = [(name, *_cells(m)) for name, m in self.metrics.items()]
        head = ("metric", "value", "95 % interval", "n")
        return html_card(f"Report: {self.task}, {self.n:,} images", rows, head=head)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON types, without NaN."""
        result: dict[str, Any] = to_jsonable(self)
        return result


def _cells(metric: Metric) -> tuple[str, str, str]:
    if metric.value is None:
        return "not defined", "", str(metric.n)
    bounded = metric.low is not None and metric.high is not None
    unit = f" {metric.unit}" if metric.unit else ""
    return f"{metric.value:.3f}{unit}", f"{metric.low:.3f} to {metric.high:.3f}" if bounded else "", f"{metric.n:,}"
