"""What a smaller model costs: its metrics compared with those of the model it comes from, on the same images."""

__all__ = ["Judge", "Judged", "Ratio", "metric_names", "paired_speedup", "spelled"]

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import EyewrightError
from eyewright.core.predictor import Predictor
from eyewright.core.report import Metric
from eyewright.core.rng import generator
from eyewright.core.task import MetricInfo, task_of
from eyewright.data.dataset import Dataset
from eyewright.evaluation.reporting import Numbers, Results, reporting_of
from eyewright.evaluation.results import gather_results
from eyewright.evaluation.together import group_names
from eyewright.imaging.ahead import caught, first_images, read_ahead
from eyewright.imaging.decode import Pixels
from eyewright.imaging.preparation import Preparation
from eyewright.imaging.reduction import Prepared
from eyewright.imaging.steps.corrupt import CORRUPTIONS, corrupt
from eyewright.metrics.bootstrap import Resampling, percentile_interval, resample, share_interval

_WITH_CORRUPTION = 200
_SEVERITY = 3
# Images are held in memory while candidates are tried on them.
_HELD_BYTES = 400_000_000


def metric_names(task: str) -> tuple[str, ...]:
    """Return the metrics that a budget for `task` may name; other spellings such as "map" are known too."""
    return (*(m.name for m in task_of(task).metrics if m.paired), "corruption")


def spelled(name: str, task: str) -> str:
    """Return a metric's own name for one of its spellings."""
    return task_of(task).spellings.get(name.lower(), name.lower())


@dataclass(frozen=True)
class Judged:
    """A model on a set of images, with the model it is compared with.

    `metrics` are its own; `drops` how much worse it is (positive is worse), both with 95 % intervals, the drops from a
    paired bootstrap; where images form groups, both are over groups. `changed` names the images whose answer is
    another: `id`, `before`, `after`, and for classes `true`.
    """

    metrics: Mapping[str, Metric]
    drops: Mapping[str, Metric]
    changed: tuple[Mapping[str, Any], ...]
    n: int
    groups: int | None = None


@dataclass(frozen=True)
class Ratio:
    """A ratio with the interval of its bootstrap, and both medians in milliseconds."""

    value: float
    low: float
    high: float
    before_ms: float
    after_ms: float

    def to_json(self) -> dict[str, float]:
        return {
            "value": round(self.value, 3),
            "low": round(self.low, 3),
            "high": round(self.high, 3),
            "before_ms": round(self.before_ms, 3),
            "after_ms": round(self.after_ms, 3),
        }


class Judge:
    """Compares models with one parent on one set of images; the parent is looked at once.

    With `corruption` the metric of that name is measured too: the main metric on the same images under the 15
    corruptions of Hendrycks & Dietterich (2019) at severity 3, their mean.
    """

    def __init__(self, parent: Predictor, dataset: Dataset, *, seed: int = 0, corruption: bool = False) -> None:
        self._dataset = _Held.of(dataset.relabelled(parent.labels))
        self._task = task_of(dataset.task)
        self._seed = seed
        self._groups = group_names(dataset)
        self._worse = [_Corrupted.by(self._dataset, kind) for kind in CORRUPTIONS] if corruption else []
        self._results, self._parent = self._look(parent)

    def __len__(self) -> int:
        return len(self._dataset)

    @property
    def parent_metrics(self) -> dict[str, Metric]:
        """The parent's own numbers."""
        return self._metrics(self._parent)

    def compare(self, candidate: Predictor) -> Judged:
        """Measure a candidate on the same images."""
        results, numbers = self._look(candidate)
        n = len(self)
        ones = np.ones((1, n))
        first, second = self._parent(ones), numbers(ones)
        drawn: dict[str, list[NDArray[np.float64]]] = {name: [] for name in first}
        plan = self._plan()
        for weights in plan.weights():
            before, after = self._parent(weights), numbers(weights)
            for name, values in drawn.items():
                values.append(_worse(self._task.metric(name), before[name], after[name]))
        drops = {}
        method = "paired t over groups" if plan.by_t else "paired bootstrap"
        for name, values in drawn.items():
            value = float(_worse(self._task.metric(name), first[name], second[name])[0])
            low, high = plan.interval(value, np.concatenate(values), kind="plain")
            if low == high and (self._task.metric(name).counts or name == "corruption"):
                # No answer that differs in a sample does not mean none at all.
                spread = self._none_seen(name, plan)
                low, high = low - spread, high + spread
            shown = (_number(value), _number(low), _number(high))
            drops[name] = Metric(*shown, n, method, groups=plan.n_groups, unit=self._unit(name))
        changed = reporting_of(self._task.name).changed(self._results, results)
        return Judged(self._metrics(numbers), drops, tuple(changed), n, plan.n_groups)

    def _unit(self, name: str) -> str:
        return self._task.unit(self._dataset.labels.names, name)

    def _plan(self) -> Resampling:
        replicates = reporting_of(self._task.name).replicates
        few = min(replicates, _WITH_CORRUPTION) if self._worse else replicates
        return resample(len(self), replicates=few, rng=generator(self._seed, "compression"), groups=self._groups)

    def _none_seen(self, name: str, plan: Resampling) -> float:
        """Return how large a share may be of which these images, or those of the rarest class, show nothing."""
        asked = self._results.asked(name)
        return share_interval(np.zeros(len(self)), asked, plan.clusters)[1]

    def _metrics(self, numbers: Numbers) -> dict[str, Metric]:
        point = numbers(np.ones((1, len(self))))
        plan = self._plan()
        drawn = [numbers(w) for w in plan.weights()]
        found = {}
        for name, value in point.items():
            samples = np.concatenate([d[name] for d in drawn])
            info = self._task.metric(name)
            low, high = plan.interval(float(value[0]), samples, kind=info.kind, bounds=info.bounds)
            shown = (_number(float(value[0])), _number(low), _number(high))
            found[name] = Metric(*shown, len(self), plan.method, groups=plan.n_groups, unit=self._unit(name))
        return found

    def _look(self, predictor: Predictor) -> tuple[Results, Numbers]:
        """Return what a model answers, and its numbers under weights of the images."""
        (results,) = gather_results([predictor], self._dataset, looks=False)
        numbers = results.numbers()
        if not self._worse:
            return results, numbers
        main = self._task.main_metric
        several = [gather_results([predictor], one, looks=False)[0].numbers() for one in self._worse]

        def with_corruption(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
            return {**numbers(weights), "corruption": np.mean([n(weights)[main] for n in several], 0)}

        return results, with_corruption


def _worse(metric: MetricInfo, before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = before - after if metric.higher_is_better else after - before
    return found


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


class _Held(Dataset):
    """A dataset whose images stay in memory, as far as they fit."""

    @classmethod
    def of(cls, dataset: Dataset) -> "_Held":
        return cls(**{k: getattr(dataset, k) for k in dataset.__dataclass_fields__})

    def image(self, index: int) -> NDArray[np.uint8]:
        kept: dict[Any, Any] = self.__dict__.setdefault("_kept", {"bytes": 0})
        if index not in kept:
            image = self._made(index)
            if kept["bytes"] + image.nbytes > _HELD_BYTES:
                return image
            kept["bytes"] += image.nbytes
            kept[index] = image
        held: NDArray[np.uint8] = kept[index]
        return held

    def images(self, rows: Sequence[int] | None = None, *, threads: int | None = None) -> Iterator[NDArray[np.uint8]]:
        """Yield what `image` returns, several made at the same time."""

        def made(part: Sequence[int]) -> list[Pixels | EyewrightError]:
            return first_images(caught(self.image, i) for i in part)

        for found in read_ahead(range(len(self)) if rows is None else rows, made, size_of=lambda _: 0, threads=threads):
            if isinstance(found, EyewrightError):
                raise found
            yield found

    def examples(
        self, preparation: object, rows: Sequence[int] | None = None, *, threads: int | None = None
    ) -> Iterator[NDArray[np.uint8] | Prepared]:
        """Yield what `Dataset.examples` yields, kept in memory as far as it fits."""
        if not (isinstance(preparation, Preparation) and preparation.reduces):
            yield from self.images(rows, threads=threads)
            return
        kept: dict[Any, Any] = self.__dict__.setdefault("_kept", {"bytes": 0})
        wanted = range(len(self)) if rows is None else rows
        missing = [i for i in wanted if (preparation, i) not in kept]
        new = iter(super().examples(preparation, missing, threads=threads))
        for i in wanted:
            if (preparation, i) in kept:
                yield kept[preparation, i]
                continue
            found = next(new)
            if kept["bytes"] + found.nbytes <= _HELD_BYTES:
                kept["bytes"] += found.nbytes
                kept[preparation, i] = found
            yield found

    def _made(self, index: int) -> NDArray[np.uint8]:
        return super().image(index)


class _Corrupted(_Held):
    """A dataset whose images are damaged in one way."""

    @classmethod
    def by(cls, dataset: Dataset, kind: str) -> "_Corrupted":
        made = cls(**{k: getattr(dataset, k) for k in dataset.__dataclass_fields__})
        made.__dict__["_source"], made.__dict__["_kind"] = dataset, kind
        return made

    def examples(
        self, preparation: object, rows: Sequence[int] | None = None, *, threads: int | None = None
    ) -> Iterator[NDArray[np.uint8] | Prepared]:
        """Yield corrupted pixels: a corruption is applied to whole images, not while they are decoded."""
        yield from self.images(rows, threads=threads)

    def _made(self, index: int) -> NDArray[np.uint8]:
        source, kind = self.__dict__["_source"], self.__dict__["_kind"]
        rng = generator(0, "corruption", kind, index)
        return corrupt(source.image(index), kind=kind, severity=_SEVERITY, rng=rng)


def paired_speedup(
    before: Callable[[], Any],
    after: Callable[[], Any],
    *,
    rounds: int = 40,
    warm: int = 5,
    seed: int = 0,
    now: Callable[[], float] = time.perf_counter,
) -> Ratio:
    """Tell how many times faster `after` is than `before`: both in turns, so that what disturbs one disturbs both.

    The ratio of the medians, with the interval of a bootstrap over rounds.
    """
    for _ in range(warm):
        before()
        after()
    times = np.zeros((rounds, 2))
    for k in range(rounds):
        for side in (0, 1) if k % 2 else (1, 0):
            started = now()
            (before, after)[side]()
            times[k, side] = now() - started
    rng = np.random.default_rng(seed)
    drawn = rng.integers(rounds, size=(500, rounds))
    medians = np.median(times[drawn], 1)
    low, high = percentile_interval(medians[:, 0] / medians[:, 1])
    first, second = np.median(times, 0)
    return Ratio(float(first / second), float(low), float(high), float(first) * 1e3, float(second) * 1e3)
