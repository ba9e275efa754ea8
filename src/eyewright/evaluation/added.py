"""Do generated images in training help? Nets with and without them, of the same seeds, on the same real images."""

__all__ = ["added_finding", "compare_pairs", "say_added"]

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Finding
from eyewright.core.rng import generator
from eyewright.core.task import task_of
from eyewright.evaluation.results import gather_results
from eyewright.evaluation.together import group_names
from eyewright.metrics.bootstrap import Resampling, resample

if TYPE_CHECKING:
    from eyewright.core.predictor import Predictor
    from eyewright.data.dataset import Dataset
    from eyewright.evaluation.reporting import Numbers

_REPLICATES = 400
_EVEN = "balanced_accuracy"
"""The metric of the verdict where a task has it: every class counts the same, also a rare one."""

_WORDS = {"better": "better", "worse": "worse", "same": "no significant difference"}


def compare_pairs(
    pairs: "Sequence[tuple[Predictor, Predictor]]",
    dataset: "Dataset",
    labels: Sequence[str],
    *,
    seed: int = 0,
    quiet: bool = True,
) -> dict[str, Any]:
    """Return what nets with generated images do better than nets without, on real images.

    `pairs` are (without, with), trained with the same seed each; `labels` are the classes that generated images were
    added to. A difference is the mean over the pairs. Its interval holds both sources of chance: which images are
    measured (all pairs on the same resampled images or groups) and, with two pairs or more, how much the difference
    varies between seeds (Student's t); the half widths are joined as independent ones.

    Returns:
        "metric" and "verdict" ("better", "worse" or "same", by the interval of that metric), "pairs", "n", "method",
        "differences": name → "without", "with", "value", "low", "high", and "classes": the same of the main metric on
        the images of each of `labels` alone, with "n".
    """
    found = [gather_results([a, b], dataset, looks=False, quiet=quiet, doing="comparing") for a, b in pairs]
    real = found[0][0].dataset
    task, n = task_of(real.task), len(real)
    plan = resample(n, replicates=_REPLICATES, rng=generator(seed, "generated"), groups=group_names(real))
    numbers = [(a.numbers(), b.numbers()) for a, b in found]
    whole = np.ones((1, n))
    weights = list(plan.weights())
    names = list(numbers[0][0](whole))
    differences = {name: _difference(plan, numbers, name, whole, weights) for name in names}
    classes = {}
    for label in labels:
        k = real.labels.names.index(label)
        of = np.array([k in real.held(i) for i in range(n)], np.float64)
        if of.any():
            own = _difference(plan, numbers, task.main_metric, whole * of, [w * of for w in weights])
            classes[label] = {**own, "n": int(of.sum())}
    metric = _EVEN if _EVEN in names else task.main_metric
    sign = 1 if task.metric(metric).higher_is_better else -1
    low, high = differences[metric]["low"], differences[metric]["high"]
    verdict = "same"
    if low is not None and high is not None and low * high > 0:
        verdict = "better" if sign * low > 0 else "worse"
    method = f"{plan.method}, seeds by t" if len(pairs) > 1 else plan.method
    return {
        "metric": metric,
        "main": task.main_metric,
        "verdict": verdict,
        "pairs": len(pairs),
        "n": n,
        "method": method,
        "differences": differences,
        "classes": classes,
    }


def _difference(
    plan: Resampling,
    numbers: "Sequence[tuple[Numbers, Numbers]]",
    name: str,
    whole: NDArray[np.float64],
    weights: Sequence[NDArray[np.float64]],
) -> dict[str, float | None]:
    """Return the mean of a metric without and with, their difference and its interval."""
    point = np.array([[float(side(whole)[name][0]) for side in pair] for pair in numbers])
    drawn = np.mean([np.concatenate([b(w)[name] - a(w)[name] for w in weights]) for a, b in numbers], axis=0)
    each = point[:, 1] - point[:, 0]
    value = float(each.mean())
    low, high = plan.interval(value, drawn, kind="plain")
    apart = _seeds_half_width(each)
    ends = (value - math.hypot(max(0.0, value - low), apart), value + math.hypot(max(0.0, high - value), apart))
    shown = (*point.mean(0).tolist(), value, *ends)
    keys = ("without", "with", "value", "low", "high")
    return {k: float(v) if math.isfinite(v) else None for k, v in zip(keys, shown, strict=True)}


def _seeds_half_width(each: NDArray[np.float64], confidence: float = 0.95) -> float:
    """Return half the width of Student's t interval of the mean over seeds; 0 of one seed, which says nothing of it."""
    if len(each) < 2:
        return 0.0
    from scipy.stats import t

    spread = float(each.std(ddof=1)) / math.sqrt(len(each))
    return float(t.ppf((1 + confidence) / 2, len(each) - 1)) * spread


def say_added(about: Mapping[str, Any], *, on: str = "validation") -> str:
    """Say in a sentence which generated images were trained on, and whether they helped; nothing where none were.

    >>> say_added({})
    ''
    >>> one = {"without": 0.8, "with": 0.9, "value": 0.1, "low": 0.02, "high": 0.18}
    >>> found = {"metric": "accuracy", "main": "accuracy", "verdict": "better", "pairs": 3, "n": 50}
    >>> found |= {"differences": {"accuracy": one}, "classes": {}}
    >>> say_added({"images": {"cat": 40}, "verdict": found})
    "40 generated images of 'cat' are in training; accuracy on 50 real validation images 0.800 without, 0.900 with \
them, difference +0.100 [+0.020, +0.180] over 3 pairs of nets: better"
    """
    if not about:
        return ""
    several = sum(about["images"].values()) != 1
    counts = ", ".join(f"{n:,} generated image{'s' * (n != 1)} of {label!r}" for label, n in about["images"].items())
    text = f"{counts} {'are' if several else 'is'} in training"
    found = about.get("verdict")
    if not found:
        return text
    name = found["metric"]
    pairs = f"{found['pairs']} pair{'s' * (found['pairs'] != 1)} of nets"
    title = task_title(name)
    text += f"; {title} on {found['n']:,} real {on} images {_two(found['differences'][name])} over {pairs}"
    for label, one in found["classes"].items():
        text += f"; {task_title(found['main'])} on the {one['n']:,} of {label!r} {_two(one)}"
    return f"{text}: {_WORDS[found['verdict']]}"


def task_title(metric: str) -> str:
    return metric.replace("_", " ")


def _two(one: Mapping[str, float | None]) -> str:
    def shown(key: str, sign: str = "") -> str:
        value = one[key]
        return "not defined" if value is None else f"{value:{sign}.3f}"

    return (
        f"{shown('without')} without, {shown('with')} with them, "
        f"difference {shown('value', '+')} [{shown('low', '+')}, {shown('high', '+')}]"
    )


def added_finding(about: Mapping[str, Any]) -> Finding | None:
    """Return what a report finds wrong with generated images in training: an error where they did harm on validation
    images, a warning where no gain was found; None where they helped or there are none."""
    found = (about or {}).get("verdict")
    if not found or found["verdict"] == "better":
        return None
    if found["verdict"] == "worse":
        fix = "use the net without them (pairs/0-without of the run), or a better generator"
        return Finding("generated_images_harm", say_added(about), fix, severity="error")
    fix = "leave --add-generated out, or measure on more validation images"
    return Finding("generated_images_no_gain", say_added(about), fix, severity="warning")
