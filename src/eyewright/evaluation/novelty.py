"""How new the test set is: the metric over the distance to the nearest training image."""

__all__ = ["Followed", "Novelty", "followed_metric", "measure_novelty", "novelty_finding", "say_novelty"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Finding
from eyewright.core.rng import generator
from eyewright.core.task import MetricInfo, task_of
from eyewright.evaluation.reporting import Results
from eyewright.evaluation.together import group_names
from eyewright.evaluation.units import is_rate, say_metric, show_number
from eyewright.metrics.bootstrap import Resampling, resample, share_interval
from eyewright.metrics.novelty import Nearness

if TYPE_CHECKING:
    from eyewright.evaluation.validation import Validation

Number = Callable[[NDArray[np.float64]], NDArray[np.float64]]
Interval = Callable[[Resampling, float, NDArray[np.float64]], tuple[float, float]]

_LEAST = 12
_LEAST_PART = 8
_POINTS = 15
_REPLICATES = 400
_CURVE_ROWS = 120_000
_HALF_WIDTH = 0.3
_LEAST_IN_KERNEL = 12
# What has a sibling that no search found cannot be told from what has none: where most images have one, the rest are
# suspect as well, and no part of the data stands for new things.
_MOST_SIBLINGS = 0.5
_MANY_SIBLINGS = 0.1
_PARTS = ("most like a training image", "in between", "least like any training image")


@dataclass(frozen=True, eq=False)
class Novelty:
    """How near each measured image is to the training images, or the `reason` why that is not known.

    `note` is a sentence about how it was found, such as that only some of the training images were compared.
    `validation` are images that are measured in addition, so that the dependence on the distance rests on more images.
    """

    near: Nearness | None = None
    reason: str = ""
    note: str = ""
    validation: "Validation | None" = None

    @property
    def beside(self) -> "Validation | None":
        """The validation images, where it is known how near they and the measured images are."""
        useful = self.near is not None and self.validation is not None and self.validation.near is not None
        return self.validation if useful else None


def _plain(plan: Resampling, value: float, samples: NDArray[np.float64]) -> tuple[float, float]:
    return plan.interval(value, samples)


@dataclass(frozen=True, eq=False)
class Followed:
    """The metric that is followed over the distance to the training images.

    Args:
        number: the metric under weights of the images, (R, N) to (R,).
        interval: its interval from resamples.
        apart: the interval of a difference of two such numbers where single images are resampled.
        hits: bool (N,), which images went well, where the metric is their share; its interval has a width even where
            all images went well.
        cost: how much more expensive the metric is than a sum over images: fewer resamples are drawn.
        unit: that of the metric, where it has one.
    """

    number: Number
    interval: Interval
    apart: Interval = _plain
    hits: NDArray[np.bool_] | None = None
    cost: int = 1
    unit: str = ""


def measure_novelty(novelty: Novelty | None, results: Results, *, seed: int = 0) -> dict[str, Any] | None:
    """Return the metric over thirds of the distance to the nearest training image, and as a smooth curve, as a table.

    It is measured on the images of `results` and those that the novelty has in addition. Intervals and the curve's
    band resample groups. The curve is the metric under tricube weights of the rank of the distance, three tenths of
    the images to either side. None without a novelty; a table with "reason" alone where it is not known.
    """
    if novelty is None:
        return None
    if novelty.near is None:
        return {"reason": novelty.reason}
    whole = novelty.near if novelty.beside is None else novelty.near.joined(novelty.beside.near)
    known = np.flatnonzero(whole.known)
    if len(known) < _LEAST:
        return {"reason": f"expected {_LEAST} images or more with a known distance, found {len(known)}"}
    near, n, info = whole.chosen(known), len(whole.distance), followed_metric(results.dataset.task)
    every = results if novelty.beside is None else results.joined(novelty.beside.results)
    groups, followed = group_names(every.dataset), every.followed()

    def under(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        whole_weights = np.zeros((len(weights), n))
        whole_weights[:, known] = weights
        return followed.number(whole_weights)

    hits = None if followed.hits is None else followed.hits[known]
    measured = _Measured(
        replace(followed, number=under, hits=hits),
        None if groups is None else groups[known],
        seed,
        info,
        int((known < len(novelty.near.distance)).sum()),
    )
    siblings = near.siblings
    table: dict[str, Any] = {
        "metric": info.name,
        **({"unit": followed.unit} if followed.unit else {}),
        "n": len(known),
        "validation": int((known >= len(novelty.near.distance)).sum()),
        "note": novelty.note,
        "thirds": [],
        "difference": None,
        "lower": False,
        "siblings": int(siblings.sum()),
        "with_sibling": None,
        "no_new": bool(siblings.mean() >= _MOST_SIBLINGS),
        "without_sibling": None,
        "sibling_difference": None,
        "lower_without": False,
        "curve": [],
    }
    alone = (~siblings).sum() >= _LEAST_PART
    if alone and siblings.any():
        table["without_sibling"] = measured.part(~siblings)
    if alone and siblings.sum() >= _LEAST_PART:
        table["with_sibling"] = measured.part(siblings)
        table["sibling_difference"] = measured.difference(siblings, ~siblings)
        table["lower_without"] = _is_above(table["sibling_difference"])
    low, high = np.quantile(near.distance, [1 / 3, 2 / 3])
    members = (near.distance <= low, (near.distance > low) & (near.distance <= high), near.distance > high)
    if all(m.sum() >= 3 for m in members):
        for name, member in zip(_PARTS, members, strict=True):
            own_distances = near.distance[member]
            ends = {"from": float(own_distances.min()), "to": float(own_distances.max())}
            table["thirds"].append({"part": name, **ends, **measured.part(member)})
        table["rest"] = measured.part(~members[2])
        table["difference"] = measured.difference(~members[2], members[2])
        table["lower"] = _is_above(table["difference"])
        table["curve"] = measured.curve(near.distance)
    return table


@dataclass(frozen=True, eq=False)
class _Measured:
    """A metric under weights of the images whose distance is known; the first `n_test` are test images, the others
    validation images."""

    followed: Followed
    groups: NDArray[Any] | None
    seed: int
    info: MetricInfo
    n_test: int

    def part(self, member: NDArray[np.bool_]) -> dict[str, Any]:
        """Return the metric of some images with its interval."""
        rows = np.flatnonzero(member)
        groups = None if self.groups is None else self.groups[rows]
        plan = resample(len(rows), replicates=_REPLICATES, rng=generator(self.seed, "novelty"), groups=groups)

        def under(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            whole = np.zeros((len(weights), len(member)))
            whole[:, rows] = weights
            return self.followed.number(whole)

        value = float(self.followed.number(member[None].astype(np.float64))[0])
        low, high = self.followed.interval(plan, value, np.concatenate([under(w) for w in plan.weights()]))
        hits = self.followed.hits
        if hits is not None and (low == high or not np.isfinite(low)):
            low, high = share_interval(hits[rows], np.ones(len(rows)), plan.clusters)
        found = {"n": len(rows), "value": _finite(value), "low": _finite(low), "high": _finite(high)}
        if self.n_test < len(member):
            found["validation"] = int((rows >= self.n_test).sum())
        return found if self.groups is None else {**found, "groups": len(np.unique(self.groups[rows]))}

    def difference(self, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> dict[str, Any]:
        """Return by how much worse the metric of `second` is than that of `first`, with the interval of that."""
        n, better = len(first), 1 if self.info.higher_is_better else -1
        plan = resample(n, replicates=_REPLICATES, rng=generator(self.seed, "newest"), groups=self.groups)

        def apart(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            return better * (self.followed.number(weights * first) - self.followed.number(weights * second))

        value = float(apart(np.ones((1, n)))[0])
        samples = np.concatenate([apart(w) for w in plan.weights()])
        if plan.by_t:
            low, high = plan.interval(value, samples, kind="plain")
        else:
            low, high = self.followed.apart(plan, value, samples[np.isfinite(samples)])
        return {"value": _finite(value), "low": _finite(low), "high": _finite(high)}

    def curve(self, distance: NDArray[np.float64]) -> list[dict[str, Any]]:
        """Return the smooth curve of the metric with its band, at distances that split the images evenly."""
        n = len(distance)
        rank = np.empty(n)
        rank[np.argsort(distance, kind="stable")] = np.arange(n)
        half = max(_HALF_WIDTH * n, _LEAST_IN_KERNEL / 2)
        rounds = int(np.clip(_CURVE_ROWS // (_POINTS * max(1, self.followed.cost)), 60, _REPLICATES // 2))
        plan = resample(n, replicates=rounds, rng=generator(self.seed, "curve"), groups=self.groups)
        weights = np.concatenate(list(plan.weights()))
        points = []
        for at in np.linspace(0, n - 1, _POINTS):
            kernel = (1 - np.minimum(1.0, np.abs(rank - at) / half) ** 3) ** 3
            value = float(self.followed.number(kernel[None])[0])
            low, high = self.followed.interval(plan, value, self.followed.number(weights * kernel))
            here = float(np.sort(distance)[round(at)])
            points.append({"distance": here, "value": _finite(value), "low": _finite(low), "high": _finite(high)})
        return points


def followed_metric(task: str) -> MetricInfo:
    """Return the metric of a task that is followed over the distance: its key and how it is named in reports."""
    return task_of(task).metric(task_of(task).followed)


def say_novelty(table: Mapping[str, Any] | None, task: str) -> str:
    """Say in a sentence or two what the headline must not hide; nothing where there is nothing to say."""
    if not table or "thirds" not in table:
        return ""
    n, siblings, beside = table["n"], table["siblings"], table["validation"]
    one = task_of(task).reads
    images = f"test {one}s" if not beside else f"validation and test {one}s"
    info, unit = followed_metric(task), table.get("unit", "")
    name = info.title

    def said(part: Mapping[str, Any]) -> str:
        return say_metric(info.name, part["value"], part["low"], part["high"], unit)

    def plainly(part: Mapping[str, Any]) -> str:
        return say_metric(info.name, part["value"], unit=unit)

    def counted(part: Mapping[str, Any]) -> str:
        """Say how many: validation images chose the epoch, and the headline is of test images alone."""
        of = part.get("validation")
        return f"{part['n']:,}" + (f" ({of:,} validation, {part['n'] - of:,} test)" if of else "")

    def apart(difference: Mapping[str, Any]) -> str:
        return _apart(info, unit, difference)

    if table["lower_without"]:
        alone, others = table["without_sibling"], table["with_sibling"]
        return (
            f"On the {counted(alone)} of {n:,} {images} without a near copy or sibling in the training data the {name} "
            f"is {said(alone)}, against {plainly(others)} on the rest "
            f"({apart(table['sibling_difference'])}): things that are new are harder."
        )
    alone = table["without_sibling"]
    if table["no_new"]:
        whole = f"Every one of the {n:,}" if siblings == n else f"{siblings:,} of the {n:,}"
        text = (
            f"{whole} {images} {'has' if siblings == n else 'have'} a near copy or sibling in the training data: "
            "this number does not tell how the model performs on new things."
        )
    elif siblings >= _MANY_SIBLINGS * n:
        text = f"{siblings:,} of the {n:,} {images} have a near copy or sibling in the training data"
        text += f"; on the other {counted(alone)} the {name} is {said(alone)}." if alone else "."
    else:
        text = ""
    if table["lower"]:
        newest, rest = table["thirds"][-1], table["rest"]
        return (
            f"On the third of the {n:,} {images} least like any training {one} the {name} is "
            f"{'only ' * info.higher_is_better}{said(newest)}, against {plainly(rest)} on the rest "
            f"({apart(table['difference'])}). {text}"
        ).strip()
    return text


def _apart(info: MetricInfo, unit: str, difference: Mapping[str, Any]) -> str:
    """Say by how much worse a part is."""
    way = "lower" if info.higher_is_better else "higher"
    if is_rate(info.name):
        value, low, high = (f"{100 * difference[k]:.0f}" for k in ("value", "low", "high"))
        return f"{value} points {way}, 95% interval {low} to {high}"
    value, low, high = (
        show_number(info.name, difference[k], low=difference["low"], high=difference["high"])
        for k in ("value", "low", "high")
    )
    return f"{value}{f' {unit}' if unit else ''} {way}, 95% interval {low} to {high}"


def _is_above(difference: Mapping[str, Any]) -> bool:
    return difference["low"] is not None and difference["low"] > 0


def novelty_finding(table: Mapping[str, Any] | None, task: str) -> Finding | None:
    """Return what `say_novelty` says as a finding; None where there is nothing to say."""
    text = say_novelty(table, task)
    if not text or table is None:
        return None
    lower = table["lower"] or table["lower_without"]
    code = "weaker_on_new" if lower else "nothing_new" if table["no_new"] else "siblings_in_train"
    fix = "keep what belongs together on one side of the split (--group-by), or collect test images of new things"
    return Finding(code, text, fix, severity="warning" if code != "siblings_in_train" else "note")


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
