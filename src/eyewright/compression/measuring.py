"""What a smaller model costs: its numbers beside those of the model it comes from, on the same images."""

__all__ = ["Judge", "Judged", "Ratio", "metric_names", "paired_speedup", "spelled"]

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.predictor import Predictor
from eyewright.core.report import Metric
from eyewright.core.rng import generator
from eyewright.core.task import MetricInfo, task_of
from eyewright.data.dataset import Dataset
from eyewright.evaluation.scene_comparison import Numbers, mask_numbers, object_numbers
from eyewright.imaging.steps.corrupt import CORRUPTIONS, corrupt
from eyewright.metrics.bootstrap import ClassNumbers, bootstrap_weights, percentile_interval, wilson_interval

_REPLICATES = 1000
_CHUNK = 64
_SEVERITY = 3
# Images are held in memory while candidates are tried on them.
_HELD_BYTES = 400_000_000
# A mask that differs in less than this share of the image looks the same.
_SAME_SHARE = 0.01


def metric_names(task: str) -> tuple[str, ...]:
    """Return the metrics that a budget for `task` may name; other spellings such as "map" are known too."""
    return (*(m.name for m in task_of(task).metrics if m.paired), "corruption")


def spelled(name: str, task: str) -> str:
    """Return a metric's own name for one of its spellings."""
    return task_of(task).spellings.get(name.lower(), name.lower())


@dataclass(frozen=True)
class Judged:
    """A model on a set of images, beside the model it is compared with.

    `metrics` are its own; `drops` how much worse it is (positive is worse), both with 95 % intervals, the drops from a
    paired bootstrap. `changed` names the images whose answer is another: `id`, `before`, `after`, and for classes
    `true`.
    """

    metrics: Mapping[str, Metric]
    drops: Mapping[str, Metric]
    changed: tuple[Mapping[str, Any], ...]
    n: int


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
        self._dataset = _Held.of(dataset if dataset.task == "classify" else dataset.relabelled(parent.labels))
        self._task = task_of(dataset.task)
        self._labels = parent.labels
        self._seed = seed
        groups = [s.group for s in dataset.samples]
        several = any(groups)
        self._groups = np.array([g or s.id for g, s in zip(groups, dataset.samples, strict=True)]) if several else None
        self._worse = [_Corrupted.by(self._dataset, kind) for kind in CORRUPTIONS] if corruption else []
        self._parent, self._shown = self._look(parent)

    def __len__(self) -> int:
        return len(self._dataset)

    @property
    def _least_class(self) -> int:
        counts = [k for k in self._dataset.counts().values() if k]
        return min(counts, default=1)

    @property
    def parent_metrics(self) -> dict[str, Metric]:
        """The parent's own numbers."""
        return self._metrics(self._parent)

    def compare(self, candidate: Predictor) -> Judged:
        """Measure a candidate on the same images."""
        numbers, shown = self._look(candidate)
        n = len(self)
        ones = np.ones((1, n))
        first, second = self._parent(ones), numbers(ones)
        drawn: dict[str, list[NDArray[np.float64]]] = {name: [] for name in first}
        for weights in self._weights():
            before, after = self._parent(weights), numbers(weights)
            for name, values in drawn.items():
                values.append(_worse(self._task.metric(name), before[name], after[name]))
        drops = {}
        for name, values in drawn.items():
            low, high = percentile_interval(np.concatenate(values))
            value = float(_worse(self._task.metric(name), first[name], second[name])[0])
            if low == high and (self._task.metric(name).counts or name == "corruption"):
                # No answer that differs in a sample does not mean none at all.
                spread = wilson_interval(0, self._least_class if name == "worst_class_recall" else n)[1]
                low, high = low - spread, high + spread
            drops[name] = Metric(_number(value), _number(low), _number(high), n, "paired bootstrap")
        return Judged(self._metrics(numbers), drops, tuple(self._changes(shown)), n)

    def _weights(self) -> Any:
        few = 200 if self._dataset.task != "classify" or self._worse else _REPLICATES
        return bootstrap_weights(
            len(self), replicates=few, rng=generator(self._seed, "compression"), groups=self._groups
        )

    def _metrics(self, numbers: Numbers) -> dict[str, Metric]:
        point = numbers(np.ones((1, len(self))))
        drawn = [numbers(w) for w in self._weights()]
        found = {}
        for name, value in point.items():
            low, high = percentile_interval(np.concatenate([d[name] for d in drawn]))
            found[name] = Metric(_number(float(value[0])), _number(low), _number(high), len(self))
        return found

    def _look(self, predictor: Predictor) -> tuple[Numbers, NDArray[np.float64]]:
        numbers, shown = _numbers_of(predictor, self._dataset, self._labels)
        if not self._worse:
            return numbers, shown
        main = self._task.main_metric
        several = [_numbers_of(predictor, one, self._labels)[0] for one in self._worse]

        def with_corruption(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
            return {**numbers(weights), "corruption": np.mean([n(weights)[main] for n in several], 0)}

        return with_corruption, shown

    def _changes(self, shown: NDArray[np.float64]) -> list[dict[str, Any]]:
        names = self._labels.names
        task = self._dataset.task
        limit = {"classify": 0.0, "segment": _SAME_SHARE}.get(task, 0.5)
        found = []
        for i in np.flatnonzero(np.abs(shown - self._shown).max(1) > limit):
            sample = self._dataset.samples[i]
            row: dict[str, Any] = {"id": sample.id}
            for when, answers in (("before", self._shown[i]), ("after", shown[i])):
                if task == "classify":
                    row[when] = names[int(answers.argmax())]
                else:
                    row[when] = {n: round(float(a), 4) for n, a in zip(names, answers, strict=True) if a > 0}
            if task == "classify":
                row["true"] = self._dataset.labels.names[sample.target]
            found.append(row)
        return found


def _worse(metric: MetricInfo, before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = before - after if metric.higher_is_better else after - before
    return found


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _numbers_of(predictor: Predictor, dataset: Dataset, labels: Any) -> tuple[Numbers, NDArray[np.float64]]:
    """Give a model's numbers under weights of the images, and what it answers for each, (N, C)."""
    if dataset.task == "segment":
        found, _, shown = mask_numbers(predictor, dataset, True)
        return found, shown
    if dataset.task != "classify":
        found, _, counts = object_numbers(predictor, dataset, True)
        return found, counts
    order = labels.mapping_to(predictor.labels)
    rows = []
    for start in range(0, len(dataset), _CHUNK):
        images = [dataset.image(i) for i in range(start, min(start + _CHUNK, len(dataset)))]
        pixels, _ = predictor.preparation.batch(images)
        rows.append(predictor.raw(pixels)["probabilities"][:, order])
    scores = np.concatenate(rows)
    targets = dataset.labels.mapping_to(labels)[dataset.targets]
    own = ClassNumbers(targets, scores)

    def numbers(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        every = own(weights)
        found = {k: every[k] for k in metric_names(dataset.task) if k in every}
        recalls = []
        for c in range(len(labels)):
            of = targets == c
            total = weights[:, of].sum(1)
            with np.errstate(invalid="ignore", divide="ignore"):
                recalls.append((weights[:, of] @ own.right[of]) / total)
        with np.errstate(invalid="ignore"):
            found["worst_class_recall"] = np.nanmin(np.where(np.isfinite(recalls), recalls, np.inf), 0)
        return found

    return numbers, np.eye(len(labels))[scores.argmax(1)]


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

    def _made(self, index: int) -> NDArray[np.uint8]:
        return super().image(index)


class _Corrupted(_Held):
    """A dataset whose images are damaged in one way."""

    @classmethod
    def by(cls, dataset: Dataset, kind: str) -> "_Corrupted":
        made = cls(**{k: getattr(dataset, k) for k in dataset.__dataclass_fields__})
        made.__dict__["_source"], made.__dict__["_kind"] = dataset, kind
        return made

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
