"""Validation against test: do they differ significantly, and how optimistic is the validation score?"""

__all__ = [
    "Validation",
    "choice_optimism",
    "compare_validation",
    "history_optimism",
    "measure_validation",
    "say_choice",
    "say_validated",
    "validation_facts",
    "validation_finding",
]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.predictor import Predictor
from eyewright.core.report import Finding, Report
from eyewright.core.rng import generator
from eyewright.core.task import metric_named, task_of
from eyewright.data.dataset import Dataset
from eyewright.evaluation.novelty import followed_metric
from eyewright.evaluation.reporting import Results, reporting_of
from eyewright.evaluation.results import gather_results
from eyewright.evaluation.together import group_names
from eyewright.evaluation.units import is_rate, say_metric, show_number
from eyewright.metrics.groups import Clusters, clusters_of, two_sample_p_value
from eyewright.metrics.novelty import Nearness

_LEVEL = 0.05
_MOST = 500
_AROUND = 5
_LEAST_EPOCHS = 8
_SMALL = 500
_LEAST_IMAGES = 8
_MANY_EPOCHS = 10
_EXPLAINS = 0.3


def say_choice(
    metric: str,
    score: float,
    epochs: int,
    n: int,
    *,
    groups: int | None = None,
    optimism: float | None = None,
    unit: str = "",
    counted: str = "image",
) -> str:
    """Say a best epoch's validation score, and in plain words that it is too high where few images chose the epoch.

    `groups` is the number of groups that the images come in, `optimism` an estimate of `choice_optimism`, `counted`
    what one of them is called.

    >>> say_choice("accuracy", 0.69, 108, 53, groups=11, optimism=0.043)[:70]
    'validation accuracy 69.0%, which tends to be too high, by about 4 poin'
    >>> say_choice("accuracy", 0.69, 12, 5000)
    'validation accuracy 69.0% (best of 12 epochs on 5,000 images)'
    """
    text = f"validation {metric_named(metric).title} {show_number(metric, score, unit)}"
    of = f"{n:,} {counted}{'s' * (n != 1)}"
    if groups is not None and groups < n:
        of += f" in {groups:,} group{'s' * (groups != 1)}"
    if epochs < 2:
        return f"{text} on {of}"
    if min(n, n if groups is None else groups) >= _SMALL:
        return f"{text} (best of {epochs} epochs on {of})"
    points = round(100 * (optimism or 0)) if is_rate(metric) else 0
    about = f", by about {points} point{'s' * (points != 1)}" if points else ""
    return (
        f"{text}, which tends to be too high{about}: the best of {epochs} epochs was chosen on these {of}; "
        "trust the test part"
    )


def validation_facts(about: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a best epoch's validation score, what it rests on and what is to be said of it, for `--json`.

    `about` is the content of run.json or the provenance of a bundle. None where nothing was validated.
    """
    training, data = about.get("training") or {}, about.get("dataset") or {}
    metric = training.get("metric", "accuracy")
    score = training.get(f"val_{metric}")
    if score is None:
        return None
    # Some tasks keep validation images from the choice of the epoch.
    chosen_on = about.get("chosen_on") or {}
    n = int((data.get("images") or {}).get("val", (about.get("calibration") or {}).get("n", 0)))
    n, groups = chosen_on.get("images", n), chosen_on.get("groups", (data.get("groups") or {}).get("val"))
    epochs, optimism = int(training.get("epochs", 0)), training.get("optimism")
    if training.get("chosen") == "last":
        # No validation image chose among the epochs.
        epochs, optimism = 1, None
    said = say_choice(
        metric, score, epochs, n, groups=groups, optimism=optimism, unit=_unit(about, metric), counted=_counted(about)
    )
    return {
        "metric": metric,
        "value": score,
        "epochs": epochs,
        "n": n,
        "groups": groups,
        "optimism": optimism,
        "said": said,
    }


def say_validated(about: Mapping[str, Any]) -> str:
    """Return the sentence of `validation_facts`; empty where nothing was validated."""
    facts = validation_facts(about)
    return "" if facts is None else str(facts["said"])


def say_score(about: Mapping[str, Any], *, before: str = "") -> str:
    """Return the best epoch's validation score alone, after `before`; empty where nothing was validated.

    >>> say_score({"training": {"metric": "accuracy", "val_accuracy": 0.69}}, before=", ")
    ', validation accuracy 69.0%'
    """
    facts = validation_facts(about)
    if facts is None:
        return ""
    metric = str(facts["metric"])
    return (
        f"{before}validation {metric_named(metric).title} {show_number(metric, facts['value'], _unit(about, metric))}"
    )


def _counted(about: Mapping[str, Any]) -> str:
    task = about.get("task")
    return task_of(task).reads if task else "image"


def _unit(about: Mapping[str, Any], metric: str) -> str:
    task = about.get("task")
    return task_of(task).unit(about.get("labels") or (), metric) if task else ""


def choice_optimism(scores: Sequence[float]) -> float | None:
    """Estimate by how much the best of several epochs' validation scores is too high, because it is the best.

    The best score is compared with a straight line through the scores of up to 5 epochs to either side of it, itself
    left out: what an epoch like it scores when it is not chosen for its score. What validation images share over all
    epochs (an easy or a hard sample) is not part of it. None with fewer than 8 epochs.

    >>> round(choice_optimism([0.5, 0.6, 0.62, 0.6, 0.7, 0.6, 0.62, 0.6]), 1)
    0.1
    >>> choice_optimism([0.5, 0.8, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    0.0
    """
    values = np.asarray(scores, np.float64)
    if len(values) < _LEAST_EPOCHS or not np.isfinite(values).all():
        return None
    # Of equals the last is chosen, and a score that many epochs reach is no lucky one.
    best = len(values) - 1 - int(values[::-1].argmax())
    around = np.arange(max(0, best - _AROUND), min(len(values), best + _AROUND + 1))
    around = around[around != best]
    _, level = np.polyfit(around - best, values[around], 1)
    # At the end of the history a line would run ahead of the data.
    like_it = level if around.min() < best < around.max() else min(level, float(values[around].max()))
    # Rounded, so that equal scores give 0 on every machine.
    return max(0.0, round(float(values[best] - like_it), 12))


def history_optimism(history: Sequence[Mapping[str, str]], metric: str) -> float | None:
    """Return `choice_optimism` of the rows of `metrics.csv`."""
    return choice_optimism([_number(r.get(f"val_{metric}")) for r in history])


@dataclass(frozen=True, eq=False)
class Validation:
    """Validation images as they were measured: `scores` (N,) say how well each went, `value` is the main metric.

    `results` are what numbers are made of. `near` says how near the images are to the training images.
    """

    dataset: Dataset
    results: Results
    scores: NDArray[np.float64]
    value: float | None
    near: Nearness | None


def measure_validation(
    predictor: Predictor, dataset: Dataset, *, near: Nearness | None = None, quiet: bool = True
) -> Validation:
    """Predict at most 500 validation images, evenly chosen."""
    if len(dataset) > _MOST:
        rows = np.unique(np.linspace(0, len(dataset) - 1, _MOST).round().astype(np.int64))
        dataset = replace(dataset, samples=tuple(dataset.samples[i] for i in rows.tolist()))
        near = None if near is None else near.chosen(rows)
    (results,) = gather_results([predictor], dataset, quiet=quiet)
    reporting = reporting_of(dataset.task)
    scores = reporting.image_scores(reporting.items(results))
    value = float(results.followed().number(np.ones((1, len(dataset))))[0])
    return Validation(dataset, results, scores, value if math.isfinite(value) else None, near)


def compare_validation(
    validation: Validation,
    test: Dataset,
    report: Report,
    *,
    training: Mapping[str, Any],
    history: Sequence[Mapping[str, str]] = (),
    near: Nearness | None = None,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Compare how validation and test images went, by whole groups, and say what may be behind a difference.

    `report` is of `test`; `training` and `history` are the run's, `near` says how near the test images are to the
    training images. Returns each part's main metric, n and groups, the p-value of equal mean scores, `choice` (see
    `choice_optimism`) and `causes` in words. None with fewer than 8 images on a side.
    """
    if min(len(validation.dataset), len(test)) < _LEAST_IMAGES:
        return None
    task, scores = report.task, validation.scores
    test_scores = reporting_of(task).image_scores(report.items)
    sides = [(validation.dataset, scores), (test, test_scores)]
    clusters = [_clusters(d) for d, _ in sides]
    rng = generator(seed, "validation")
    p_value = two_sample_p_value(scores, test_scores, clusters[0], clusters[1], rng=rng)
    info = followed_metric(task)
    metric = info.name
    told = (validation.value, report.metrics[metric].value)
    # The scores of single images may rest on how many there are, as a rank does: the metric must differ the same way,
    # by more than its interval.
    gap = float(scores.mean() - test_scores.mean()) * (1 if info.higher_is_better else -1)
    agrees = told[0] is None or told[1] is None or (told[0] - told[1]) * gap > 0
    low, high = report.metrics[metric].low, report.metrics[metric].high
    if told[0] is not None and low is not None and high is not None:
        agrees &= not low <= told[0] <= high
    table: dict[str, Any] = {
        "metric": metric,
        **({"unit": unit} if (unit := report.metrics[metric].unit) else {}),
        "p_value": p_value,
        "differs": p_value < _LEVEL and agrees,
        "choice": None,
        "causes": [],
    }
    for name, value, (_, own), groups in zip(("validation", "test"), told, sides, clusters, strict=True):
        table[name] = {"value": value, "n": groups.n, "groups": groups.count, "score": float(own.mean())}
    chosen_by = training.get("metric", "accuracy")
    optimism = history_optimism(history, chosen_by)
    epochs = int(training.get("epochs", 0))
    if epochs > 1:
        table["choice"] = {"metric": chosen_by, "epochs": epochs, "optimism": optimism}
    if table["differs"]:
        one = sides[0][0].reads
        higher = float(scores.mean()) > float(test_scores.mean())
        table["causes"] = [
            *_by_choice(higher, epochs, len(scores), optimism if is_rate(chosen_by) else None, one),
            *_by_distance(higher, (validation.near, near), clusters, rng, one),
            *_by_class(sides, clusters, rng),
        ]
    return table


def validation_finding(table: Mapping[str, Any] | None, task: str) -> Finding | None:
    """Return the finding that validation and test differ; None where they do not differ significantly."""
    if not table or not table["differs"]:
        return None
    info, unit = followed_metric(task), table.get("unit", "")
    name, one = info.title, task_of(task).reads
    parts = [
        f"{say_metric(info.name, table[side]['value'], unit=unit)} on {table[side]['n']:,} {side} {one}s"
        for side in ("validation", "test")
    ]
    text = f"the {name} is {parts[0]} and {parts[1]}, a significant difference (p = {table['p_value']:.2g})"
    causes = table["causes"] or ["no cause was found in classes, distances to training images or the number of epochs"]
    return Finding(
        "validation_differs",
        f"{text}: {'; '.join(causes)}",
        "trust the test part; use more validation images, or --folds, and keep what belongs together (--group-by)",
    )


def _clusters(dataset: Dataset) -> Clusters:
    return clusters_of(group_names(dataset)) or Clusters(np.arange(len(dataset)))


def _by_choice(higher: bool, epochs: int, n: int, optimism: float | None, one: str = "image") -> list[str]:
    if not higher or epochs < _MANY_EPOCHS:
        return []
    text = f"the best of {epochs} epochs was chosen on these {n:,} validation {one}s"
    return [text if not optimism else f"{text}, which alone makes about {100 * optimism:.1f} points"]


def _by_distance(
    higher: bool,
    near: tuple[Nearness | None, Nearness | None],
    clusters: Sequence[Clusters],
    rng: np.random.Generator,
    one: str = "image",
) -> list[str]:
    sides = [s for s in near if s is not None and s.known.all()]
    if len(sides) < 2:
        return []
    first, second = (s.distance for s in sides)
    shares = [float(s.siblings.mean()) for s in sides]
    # The distance itself, or how many have a copy or sibling: either may be what differs.
    far = [two_sample_p_value(first, second, clusters[0], clusters[1], rng=rng)]
    alone = [(~s.siblings).astype(np.float64) for s in sides]
    far.append(two_sample_p_value(alone[0], alone[1], clusters[0], clusters[1], rng=rng))
    p_value = min(1.0, 2 * min(far))
    way = (second.mean() > first.mean()) if far[0] <= far[1] else (shares[1] < shares[0])
    if p_value >= _LEVEL or way != higher:
        return []
    closer, farther = ("validation", "test") if higher else ("test", "validation")
    text = f"{farther} {one}s are less like the training {one}s than {closer} {one}s are (p = {p_value:.2g})"
    if abs(shares[0] - shares[1]) > 0.1:
        text += f": {shares[0]:.0%} of validation and {shares[1]:.0%} of test have a near copy or sibling there"
    return [text]


def _by_class(
    sides: Sequence[tuple[Dataset, NDArray[np.float64]]], clusters: Sequence[Clusters], rng: np.random.Generator
) -> list[str]:
    """Say that a class is more frequent in one part than in the other, beyond chance.

    Where every image holds one class, only if the test part's mixture of classes explains a good part of the
    difference in score.
    """
    names = sides[0][0].labels.names
    if all(len(d.held(i)) == 1 for d, _ in sides for i in range(len(d))) and not _mixture_explains(sides):
        return []
    ids = sides[1][0].labels.mapping_to(sides[0][0].labels)
    first = [set(sides[0][0].held(i)) for i in range(len(sides[0][0]))]
    second = [{int(ids[k]) for k in sides[1][0].held(i)} for i in range(len(sides[1][0]))]
    held = [np.array([[k in own for k in range(len(names))] for own in side], np.float64) for side in (first, second)]
    apart = np.abs(held[0].mean(0) - held[1].mean(0))
    moved = int(apart.argmax())
    p_value = two_sample_p_value(held[0][:, moved], held[1][:, moved], clusters[0], clusters[1], rng=rng)
    if p_value * len(names) >= _LEVEL:
        return []
    shares = [f"{h[:, moved].mean():.0%}" for h in held]
    one = sides[0][0].reads
    return [f"“{names[moved]}” is in {shares[0]} of the validation {one}s and in {shares[1]} of the test {one}s"]


def _mixture_explains(sides: Sequence[tuple[Dataset, NDArray[np.float64]]]) -> bool:
    strata = [np.array([d.labels.names[d.held(i)[0]] for i in range(len(d))]) for d, _ in sides]
    scores = [s for _, s in sides]
    shared = sorted(set(strata[0].tolist()) & set(strata[1].tolist()))
    gap = float(scores[0].mean() - scores[1].mean())
    if len(shared) < 2 or gap == 0:
        return False
    weights = np.array([(strata[1] == k).mean() for k in shared])
    mixed = float(np.average([scores[0][strata[0] == k].mean() for k in shared], weights=weights))
    return (float(scores[0].mean()) - mixed) / gap >= _EXPLAINS


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
