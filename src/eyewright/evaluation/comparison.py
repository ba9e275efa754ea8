"""Is B better than A, and is the difference significant?"""

__all__ = ["Comparison", "compare_numbers", "compare_predictors"]

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError
from eyewright.core.predictor import Predictor
from eyewright.core.report import Metric
from eyewright.core.rng import generator
from eyewright.core.task import task_of
from eyewright.data.dataset import Dataset
from eyewright.evaluation.reporting import Results, reporting_of
from eyewright.evaluation.results import gather_results
from eyewright.evaluation.together import group_names
from eyewright.metrics.bootstrap import Resampling, resample
from eyewright.metrics.groups import Kind, t_p_value

_REPLICATES = 400
_LEVEL = 0.05
_ROUNDING = 1e-5
"""Differences below this fraction of the values are those of two runtimes of one model, and no difference of models."""


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images.

    `differences` are B minus A with paired bootstrap intervals; `only_a` and `only_b` count the images that one model
    alone got right; `p_value` is McNemar's exact test on them. Of boxes and masks they count the images that one model
    does better, and `p_value` is that of the paired bootstrap. Where images form `groups`, the p-value is that of a
    sign-flip test over groups; of boxes and masks that of the t interval, with up to 200 groups. `lead` is above 0
    where B does better, in what the p-value is of; `better` is "a", "b" or "neither". `trained_on` of the images were
    trained on by one of the two, where that was allowed.
    """

    a: Mapping[str, Metric]
    b: Mapping[str, Metric]
    differences: Mapping[str, Metric]
    only_a: int
    only_b: int
    p_value: float
    n: int
    task: str
    lead: float
    groups: int | None = None
    trained_on: int = 0

    @property
    def better(self) -> str:
        if self.p_value >= _LEVEL:
            return "neither"
        return "b" if self.lead > 0 else "a"

    def __str__(self) -> str:
        name = task_of(self.task).main_metric
        d, unit = self.differences[name], self.a[name].unit
        together = "" if self.groups is None else f" in {self.groups} group{'s' * (self.groups != 1)}"
        alone = task_of(self.task).words.wins
        # Amounts may be of any size; everything else is from 0 to 1.
        amount = math.isinf(task_of(self.task).metric(name).bounds[1])

        def shown(value: float | None, sign: str = "") -> str:
            return f"{(value or 0) + 0.0:{sign}.4{'g' if amount else 'f'}}"

        seen = (
            f"{name} {shown(self.a[name].value)} → {shown(self.b[name].value)}{f' {unit}' * bool(unit)}, "
            f"difference {shown(d.value, '+')} [{shown(d.low, '+')}, {shown(d.high, '+')}] "
            f"on {self.n} images{together}; "
            f"{alone}: A {self.only_a}, B {self.only_b}; p = {self.p_value:.3g}"
        )
        verdict = {
            "a": "A is significantly better",
            "b": "B is significantly better",
            "neither": "no significant difference",
        }
        known = f"; {self.trained_on} of these images were trained on by one of the two (--allow-leaks)"
        return f"{verdict[self.better]}: {seen}{known * bool(self.trained_on)}"

    def to_json(self) -> dict[str, Any]:
        """Return the verdict and the counts behind it."""
        return {
            "better": self.better,
            "p_value": self.p_value,
            "only_a": self.only_a,
            "only_b": self.only_b,
            "n": self.n,
            "groups": self.groups,
            "trained_on": self.trained_on,
            "differences": {
                k: {"value": m.value, "low": m.low, "high": m.high, **({"unit": m.unit} if m.unit else {})}
                for k, m in self.differences.items()
            },
        }


def compare_predictors(
    a: Predictor, b: Predictor, dataset: Dataset, *, seed: int = 0, quiet: bool = False
) -> Comparison:
    """Measure two models on every image of `dataset`, each through its own preparation.

    Both must know the dataset's classes; they may hold them in another order.

    Raises:
        DatasetError: the dataset is empty, or the models do not have the same classes.
    """
    if not len(dataset):
        raise DatasetError("expected images to compare on, found none", fix="check the dataset")
    if set(a.labels.names) != set(b.labels.names):
        raise DatasetError("expected two models of the same classes, found others", fix="compare models of one task")
    if a.task_name != b.task_name:
        raise DatasetError(f"expected two models of one task, found {a.task_name} and {b.task_name}")
    first, second = gather_results([a, b], dataset, looks=False, quiet=quiet, doing="comparing")
    return reporting_of(dataset.task).compare(first, second, seed)


def compare_numbers(
    a: Results, b: Results, each_a: NDArray[np.float64], each_b: NDArray[np.float64], *, seed: int
) -> Comparison:
    """Compare the numbers of two models on the same images: every replicate draws the same images for both.

    `each_a` and `each_b`, (N,), say how well each image went. The p-value is twice the smaller share of replicates on
    one side of no difference, of the main metric; with up to 200 groups it is that of Student's t over groups.
    Differences that are rounding count as none.
    """
    numbers_a, numbers_b, n = a.numbers(), b.numbers(), len(a.dataset)
    plan = resample(n, replicates=_REPLICATES, rng=generator(seed, "paired"), groups=group_names(a.dataset))
    point = [f(np.ones((1, n))) for f in (numbers_a, numbers_b)]
    drawn = [(numbers_a(w), numbers_b(w)) for w in plan.weights()]
    samples = [{k: np.concatenate([d[side][k] for d in drawn]) for k in point[0]} for side in (0, 1)]

    task = task_of(a.dataset.task)

    names = a.dataset.labels.names

    def metric(name: str, value: NDArray[np.float64], several: NDArray[np.float64], kind: Kind | None = None) -> Metric:
        low, high = plan.interval(float(value[0]), several, kind=kind or task.metric(name).kind)
        shown = [float(v) if np.isfinite(v) else None for v in (value[0], low, high)]
        unit = task.unit(names, name)
        return Metric(shown[0], shown[1], shown[2], n, method=plan.method, groups=plan.n_groups, unit=unit)

    main = next(iter(point[0]))
    better = 1 if task.metric(main).higher_is_better else -1
    lead = better * float(_apart(point[0][main], point[1][main])[0])
    ahead = _apart(each_b, each_a)
    return Comparison(
        a={k: metric(k, v, samples[0][k]) for k, v in point[0].items()},
        b={k: metric(k, v, samples[1][k]) for k, v in point[1].items()},
        differences={
            k: metric(k, point[1][k] - v, samples[1][k] - samples[0][k], "plain") for k, v in point[0].items()
        },
        only_a=int((ahead > 0).sum()),
        only_b=int((ahead < 0).sum()),
        p_value=_p_value(plan, lead, better * _apart(samples[0][main], samples[1][main])),
        n=n,
        task=a.dataset.task,
        lead=lead,
        groups=plan.n_groups,
    )


def _apart(before: NDArray[Any], after: NDArray[Any]) -> NDArray[np.float64]:
    """Return `after` minus `before`, and 0 where that is rounding."""
    before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
    difference = after - before
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(difference) <= _ROUNDING * np.maximum(np.abs(before), np.abs(after)), 0.0, difference)


def _p_value(plan: Resampling, difference: float, samples: NDArray[np.float64]) -> float:
    """Return the two-sided p-value of a difference: of the bootstrap, or of Student's t over groups."""
    samples = samples[np.isfinite(samples)]
    if not len(samples):
        return 1.0
    if plan.clusters is not None and plan.by_t:
        return t_p_value(difference, samples, plan.clusters)
    return float(min(1.0, 2 * min((samples <= 0).mean(), (samples >= 0).mean())))
