"""What was found about a model's robustness: values, a verdict and a plain sentence."""

__all__ = ["Corrupted", "Fallen", "Level", "RobustnessReport", "fallen_of", "levels_of", "measure"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eyewright.core.jsonable import to_jsonable
from eyewright.core.report import Metric
from eyewright.core.task import metric_named
from eyewright.evaluation.units import say_metric, say_rate, show_number
from eyewright.metrics.bootstrap import share_interval
from eyewright.metrics.groups import clusters_of
from eyewright.robustness.checks import Check
from eyewright.robustness.loop import Chunk, Plan
from eyewright.robustness.threat import show_eps

MOST_SHOWN = 12


def measure(right: NDArray[Any], groups: NDArray[Any] | None) -> Metric:
    """Return the fraction of images that are right, bool (N,), with its interval: over groups where there are any."""
    clusters = clusters_of(groups)
    n = len(right)
    if not n:
        return Metric(None, n=0, method="wilson")
    low, high = share_interval(right.astype(np.float64), np.ones(n), clusters)
    method = "wilson" if clusters is None else "t over groups"
    return Metric(float(right.mean()), low, high, n, method, groups=None if clusters is None else clusters.count)


@dataclass(frozen=True)
class Level:
    """What is left at one bound: `robust` after all attacks, `eight_bit` where the attacker must hand in whole 8-bit
    values, `after` each attack of the plan in turn, and how many images each of them was the one to change."""

    eps: float
    robust: Metric
    eight_bit: Metric
    after: Mapping[str, Metric]
    fell_to: Mapping[str, int]

    @property
    def shown(self) -> str:
        return show_eps(self.eps)


@dataclass(frozen=True, eq=False)
class Fallen:
    """An image that fell: its id, the smallest bound, the attack, true class and answer, both pictures uint8."""

    id: str
    eps: float
    attack: str
    label: str
    answer: str
    clean: NDArray[np.uint8]
    changed: NDArray[np.uint8]

    def to_json(self) -> dict[str, Any]:
        return {k: getattr(self, k) for k in ("id", "eps", "attack", "label", "answer")}


@dataclass(frozen=True)
class Corrupted:
    """Accuracy under each corruption, (kind → five levels), and the mean error over all of them."""

    accuracy: Mapping[str, tuple[float, ...]]
    mean_error: Metric

    def to_json(self) -> dict[str, Any]:
        return {"accuracy": {k: list(v) for k, v in self.accuracy.items()}, "mean_error": to_jsonable(self.mean_error)}


@dataclass(frozen=True)
class RobustnessReport:
    """How robust a model is, and whether the measurement can be relied on.

    `access` is "gradients" or "scores": what the attacks could use. `asked` is how many images were to be attacked,
    `n` how many were before the budget ended. `model` names what was attacked, `extra` holds accuracies under other
    changes (spatial, patch), by name. `metric` is what `clean` and the levels hold; with `one_attack` it was lowered by
    one attack on the loss, not by a suite.
    """

    task: str
    plan: Plan
    access: Literal["gradients", "scores"]
    n: int
    asked: int
    clean: Metric
    levels: tuple[Level, ...]
    checks: tuple[Check, ...]
    fallen: tuple[Fallen, ...] = ()
    corrupted: Corrupted | None = None
    extra: Mapping[str, Metric] = field(default_factory=dict)
    invalid: int = 0
    headline_eps: float | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    data: str = ""
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    metric: str = "accuracy"
    one_attack: bool = False

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(c for c in self.checks if c.status == "fail")

    @property
    def is_evidence(self) -> bool:
        """Whether no check failed."""
        return not self.failed

    @property
    def verdict(self) -> str:
        """Return "evidence", "upper bound" (only scores, or one attack), or "not evidence" where a check failed."""
        if not self.is_evidence:
            return "not evidence"
        return "upper bound" if self.access == "scores" or self.one_attack else "evidence"

    @property
    def headline(self) -> Level:
        """The bound that the report is about: the one the model was trained for, else the largest."""
        wanted = self.headline_eps
        near = [lv for lv in self.levels if wanted is not None and abs(lv.eps - wanted) < 1e-9]
        return near[0] if near else self.levels[-1]

    @property
    def metrics(self) -> dict[str, Metric]:
        """Return the clean accuracy and, where the measurement is evidence, the robust accuracy."""
        found = {f"clean_{self.metric}": self.clean}
        if self.is_evidence:
            found[f"robust_{self.metric}"] = self.headline.robust
        return found

    def sentence(self) -> str:
        """Say the result in one plain sentence."""
        level = self.headline
        change = (
            f"every pixel by up to {level.shown} of its range"
            if self.plan.norm == "linf"
            else f"an image by up to {level.shown} in Euclidean distance (pixels from 0 to 1)"
        )
        if not self.is_evidence:
            names = ", ".join(c.name for c in self.failed)
            what = "accuracy" if not self.one_attack else metric_named(self.metric).title
            failed = "a check" if len(self.failed) == 1 else f"{len(self.failed)} checks"
            return (
                f"Not evidence: {failed} of the measurement failed ({names}), so the {what} of "
                f"{show_number(self.metric, level.robust.value, level.robust.unit)} under attack says nothing about a "
                "better attacker."
            )
        if self.one_attack:
            name, unit = metric_named(self.metric).title, level.robust.unit
            now = say_metric(self.metric, level.robust.value, level.robust.low, level.robust.high, unit)
            return (
                f"An attacker who knows the model and may change {change} moves {name} from "
                f"{show_number(self.metric, self.clean.value, unit)} to {now} or further, on {self.n:,} images."
            )
        who = "An attacker who knows the model and" if self.access == "gradients" else "An attacker who sees scores and"
        most = "at most " if self.access == "scores" else ""
        return (
            f"{who} may change {change} leaves {most}{say_rate(level.robust)} of {level.robust.n:,} images "
            f"predicted right; without an attack it is {self.clean.value or 0:.1%}."
        )

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON types, without pictures."""
        plan = to_jsonable(self.plan)
        return {
            "task": self.task,
            "verdict": self.verdict,
            "sentence": self.sentence(),
            "access": self.access,
            "metric": self.metric,
            "threat": {"norm": self.plan.norm, "eps": self.headline.eps},
            "plan": plan,
            "n": self.n,
            "asked": self.asked,
            f"clean_{self.metric}": to_jsonable(self.clean),
            f"robust_{self.metric}": to_jsonable(self.headline.robust),
            "levels": [
                {
                    "eps": lv.eps,
                    "robust": to_jsonable(lv.robust),
                    "eight_bit": to_jsonable(lv.eight_bit),
                    "after": {k: to_jsonable(m) for k, m in lv.after.items()},
                    "fell_to": dict(lv.fell_to),
                }
                for lv in self.levels
            ],
            "checks": [to_jsonable(c) for c in self.checks],
            "fallen": [f.to_json() for f in self.fallen],
            "corruptions": None if self.corrupted is None else self.corrupted.to_json(),
            "extra": {k: to_jsonable(m) for k, m in self.extra.items()},
            "invalid": self.invalid,
            "model": dict(self.model),
            "data": self.data,
            "warnings": list(self.warnings),
            "seconds": round(self.seconds, 1),
        }


def levels_of(found: Chunk, plan: Plan, groups: NDArray[Any] | None) -> tuple[Level, ...]:
    """Return what is left at every bound of a plan."""
    levels = []
    for e, eps in enumerate(plan.eps):
        by = found.by[e]
        right = found.clean & (by == -1)
        after = {name: measure(found.clean & ((by == -1) | (by > a)), groups) for a, name in enumerate(plan.attacks)}
        counts = {name: int((by == a).sum()) for a, name in enumerate(plan.attacks)}
        levels.append(Level(eps, measure(right, groups), measure(found.eight_bit[e], groups), after, counts))
    return tuple(levels)


def fallen_of(
    found: Chunk,
    plan: Plan,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    ids: Sequence[str],
    names: Sequence[str],
) -> tuple[Fallen, ...]:
    """Return the images that fell at the smallest bounds, at most twelve."""
    fell = found.by >= 0
    rows = np.flatnonzero(fell.any(0))
    first = fell[:, rows].argmax(0) if len(rows) else np.zeros(0, np.int64)
    shown = []
    for k in np.argsort(first, kind="stable")[:MOST_SHOWN].tolist():
        i, e = int(rows[k]), int(first[k])
        at = int(found.rows[i])
        shown.append(
            Fallen(
                ids[at],
                plan.eps[e],
                plan.attacks[int(found.by[e, i])],
                names[int(labels[at])],
                names[int(found.answer[i])],
                pixels[at],
                found.picture[i],
            )
        )
    return tuple(shown)
