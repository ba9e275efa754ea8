"""How new the test set is: the metric over the distance to the nearest training image."""

__all__ = ["MAIN", "Novelty", "measure_novelty", "novelty_finding", "say_novelty"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Finding
from eyewright.core.rng import generator
from eyewright.metrics.bootstrap import Resampling, resample, share_interval
from eyewright.metrics.detection import centred_interval
from eyewright.metrics.novelty import Nearness

MAIN: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "classify": ("accuracy", "accuracy"),
        "detect": ("ap50", "AP50"),
        "instance": ("ap50", "AP50"),
        "segment": ("miou", "mean IoU"),
    }
)
"""The metric that is followed over the distance, by task: its key and how a person is told of it."""

Number = Callable[[NDArray[np.float64]], NDArray[np.float64]]

_LEAST = 12
_POINTS = 15
_REPLICATES = 400
_CURVE_ROWS = 120_000
_HALF_WIDTH = 0.3
_LEAST_IN_KERNEL = 12
_ALL_SIBLINGS = 0.9
_MANY_SIBLINGS = 0.2
_PARTS = ("most like a training image", "in between", "least like any training image")


@dataclass(frozen=True, eq=False)
class Novelty:
    """How near each measured image is to the training images, or the `reason` why that is not known.

    `note` is a sentence about how it was found, such as that only some of the training images were compared.
    """

    near: Nearness | None = None
    reason: str = ""
    note: str = ""


def measure_novelty(
    novelty: Novelty | None,
    number: Number,
    *,
    task: str,
    groups: NDArray[Any] | None,
    hits: NDArray[np.bool_] | None = None,
    classes: int = 1,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Return the metric over thirds of the distance to the nearest training image, and as a smooth curve, as a table.

    `number` computes the metric under weights of the images, (R, N) -> (R,); of classification `hits`, bool (N,), says
    which answers are right. Intervals and the curve's band resample groups. The curve is the metric under tricube
    weights of the rank of the distance, three tenths of the images to either side. None without a novelty; a table with
    "reason" alone where it is not known.
    """
    if novelty is None:
        return None
    if novelty.near is None:
        return {"reason": novelty.reason}
    known = np.flatnonzero(novelty.near.known)
    if len(known) < _LEAST:
        return {"reason": f"expected {_LEAST} images or more with a known distance, found {len(known)}"}
    near = novelty.near.chosen(known)
    n = len(novelty.near.distance)
    own = None if groups is None else groups[known]

    def under(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        whole = np.zeros((len(weights), n))
        whole[:, known] = weights
        return number(whole)

    measured = _Measured(under, task, own, None if hits is None else hits[known], seed)
    siblings = near.siblings
    table: dict[str, Any] = {
        "metric": MAIN[task][0],
        "n": len(known),
        "note": novelty.note,
        "thirds": [],
        "difference": None,
        "lower": False,
        "siblings": int(siblings.sum()),
        "no_new": bool(siblings.mean() >= _ALL_SIBLINGS),
        "without_sibling": None,
        "curve": [],
    }
    if 5 <= (~siblings).sum() < len(known) - 4:
        table["without_sibling"] = measured.part(~siblings)
    low, high = np.quantile(near.distance, [1 / 3, 2 / 3])
    members = (near.distance <= low, (near.distance > low) & (near.distance <= high), near.distance > high)
    if all(m.sum() >= 3 for m in members):
        for name, member in zip(_PARTS, members, strict=True):
            own_distances = near.distance[member]
            ends = {"from": float(own_distances.min()), "to": float(own_distances.max())}
            table["thirds"].append({"part": name, **ends, **measured.part(member)})
        table["rest"] = measured.part(~members[2])
        table["difference"] = measured.difference(~members[2], members[2])
        table["lower"] = table["difference"]["low"] is not None and table["difference"]["low"] > 0
        table["curve"] = measured.curve(near.distance, classes)
    return table


@dataclass(frozen=True, eq=False)
class _Measured:
    """A metric under weights of the images whose distance is known."""

    number: Number
    task: str
    groups: NDArray[Any] | None
    hits: NDArray[np.bool_] | None
    seed: int

    def part(self, member: NDArray[np.bool_]) -> dict[str, Any]:
        """Return the metric of some images with its interval."""
        rows = np.flatnonzero(member)
        groups = None if self.groups is None else self.groups[rows]
        plan = resample(len(rows), replicates=_REPLICATES, rng=generator(self.seed, "novelty"), groups=groups)

        def under(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            whole = np.zeros((len(weights), len(member)))
            whole[:, rows] = weights
            return self.number(whole)

        value = float(self.number(member[None].astype(np.float64))[0])
        low, high = self._interval(plan, value, np.concatenate([under(w) for w in plan.weights()]))
        if self.hits is not None and (low == high or not np.isfinite(low)):
            low, high = share_interval(self.hits[rows], np.ones(len(rows)), plan.clusters)
        found = {"n": len(rows), "value": _finite(value), "low": _finite(low), "high": _finite(high)}
        return found if self.groups is None else {**found, "groups": len(np.unique(self.groups[rows]))}

    def difference(self, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> dict[str, Any]:
        """Return the metric of `first` minus that of `second` with the interval of the difference."""
        n = len(first)
        plan = resample(n, replicates=_REPLICATES, rng=generator(self.seed, "newest"), groups=self.groups)

        def apart(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            return self.number(weights * first) - self.number(weights * second)

        value = float(apart(np.ones((1, n)))[0])
        samples = np.concatenate([apart(w) for w in plan.weights()])
        if plan.by_t:
            low, high = plan.interval(value, samples, kind="plain")
        else:
            # Of average precision the bootstrap is off centre: see `centred_interval`.
            samples = samples[np.isfinite(samples)]
            moved = value - float(np.median(samples)) if self.task in ("detect", "instance") and len(samples) else 0.0
            low, high = (v + moved for v in plan.interval(value, samples))
        return {"value": _finite(value), "low": _finite(low), "high": _finite(high)}

    def curve(self, distance: NDArray[np.float64], classes: int) -> list[dict[str, Any]]:
        """Return the smooth curve of the metric with its band, at distances that split the images evenly."""
        n = len(distance)
        rank = np.empty(n)
        rank[np.argsort(distance, kind="stable")] = np.arange(n)
        half = max(_HALF_WIDTH * n, _LEAST_IN_KERNEL / 2)
        rounds = int(np.clip(_CURVE_ROWS // (_POINTS * max(1, classes)), 60, _REPLICATES // 2))
        plan = resample(n, replicates=rounds, rng=generator(self.seed, "curve"), groups=self.groups)
        weights = np.concatenate(list(plan.weights()))
        points = []
        for at in np.linspace(0, n - 1, _POINTS):
            kernel = (1 - np.minimum(1.0, np.abs(rank - at) / half) ** 3) ** 3
            value = float(self.number(kernel[None])[0])
            low, high = self._interval(plan, value, self.number(weights * kernel))
            here = float(np.sort(distance)[round(at)])
            points.append({"distance": here, "value": _finite(value), "low": _finite(low), "high": _finite(high)})
        return points

    def _interval(self, plan: Resampling, value: float, samples: NDArray[np.float64]) -> tuple[float, float]:
        if not plan.by_t and self.task in ("detect", "instance"):
            return centred_interval(value, samples)
        return plan.interval(value, samples, kind="share" if self.hits is not None else "bounded")


def say_novelty(table: Mapping[str, Any] | None, task: str) -> str:
    """Say in a sentence or two what the headline must not hide; nothing where there is nothing to say."""
    if not table or "thirds" not in table:
        return ""
    n, siblings = table["n"], table["siblings"]
    text = ""
    if table["no_new"]:
        whole = "Every" if siblings == n else "Nearly every"
        count = f"all {n:,}" if siblings == n else f"{siblings:,} of {n:,}"
        text = (
            f"{whole} test image ({count}) has a near copy or sibling in the training data: "
            "this number does not say how the model will do on new things."
        )
    elif siblings >= _MANY_SIBLINGS * n:
        text = f"{siblings:,} of the {n:,} test images have a near copy or sibling in the training data."
    apart = table["difference"]
    if table["lower"]:
        newest, rest = table["thirds"][-1], table["rest"]
        name = MAIN[task][1]
        low, high = (f"{100 * apart[k]:.0f}" for k in ("low", "high"))
        return (
            f"On the third of the images least like any training image the {name} is only {newest['value']:.1%}, "
            f"against {rest['value']:.1%} on the rest ({100 * apart['value']:.0f} points lower, 95% interval {low} to "
            f"{high}). {text}"
        ).strip()
    return text


def novelty_finding(table: Mapping[str, Any] | None, task: str) -> Finding | None:
    """Return what `say_novelty` says as a finding; None where there is nothing to say."""
    text = say_novelty(table, task)
    if not text or table is None:
        return None
    code = "weaker_on_new" if table["lower"] else "nothing_new" if table["no_new"] else "siblings_in_train"
    fix = "keep what belongs together on one side of the split (--group-by), or collect test images of new things"
    return Finding(code, text, fix, severity="warning" if code != "siblings_in_train" else "note")


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
