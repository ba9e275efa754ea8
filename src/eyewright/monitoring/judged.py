"""What people said of predicted numbers and tags, and which of them were predicted: by quantity and by tag."""

__all__ = ["has_tag", "judged_numbers", "judged_tags", "number_spread", "same_numbers"]

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.rng import generator
from eyewright.core.task import task_names, task_of
from eyewright.metrics.bootstrap import wilson_interval
from eyewright.metrics.regression import regression_metrics
from eyewright.monitoring.store import Row

_BINS = 20
_REPLICATES = 500
# Answers are logged in 32 bits.
_ROUNDING = 1e-6


Models = Mapping[str, tuple[str, tuple[str, ...]]]
"""Task and labels of models, in the order of their answers, by the digest of the bundle."""
Said = Sequence[tuple[Row, Mapping[str, Any], float]]


def judged_numbers(rows: Said, models: Models) -> dict[str, dict[str, Any]]:
    """Return of each quantity that people corrected the mean absolute error of its predictions, with an interval, and
    the mean error: `{name: {"mae": {"value", "low", "high", "n", "unit"}, "bias"}}`.

    `models` are the task and labels of each model by the digest of its bundle; predictions of others are left out.
    """
    pairs: dict[str, list[tuple[float, float]]] = {}
    units: dict[str, str] = {}
    for row, content, _ in rows:
        task, names = models.get(row.digest, ("", ()))
        known = task in task_names() and len(row.answer) == len(names)
        if not known or not isinstance(content.get("values"), dict):
            continue
        for name, value in content["values"].items():
            if name in names:
                pairs.setdefault(name, []).append((float(value), float(row.answer[names.index(name)])))
                units[name] = task_of(task).unit((name,), "mae")
    found = {}
    for name, each in pairs.items():
        true, answered = np.array(each).T
        rng = generator(0, "feedback", name)
        m = regression_metrics(true[:, None], answered[:, None], rng=rng, replicates=_REPLICATES)["mae"]
        mae = {"value": m.value, "low": m.low, "high": m.high, "n": len(each), "unit": units[name]}
        found[name] = {"mae": mae, "bias": float((answered - true).mean())}
    return found


def same_numbers(row: Row, values: Mapping[str, float], names: Sequence[str]) -> bool | None:
    """Return whether `values` that a person gave are those that were predicted; None where it is not known."""
    if len(row.answer) != len(names) or not set(values) <= set(names):
        return None
    pairs = [(float(v), float(row.answer[names.index(n)])) for n, v in values.items()]
    return all(abs(a - b) <= _ROUNDING * max(1.0, abs(a)) for a, b in pairs)


def has_tag(row: Row, tag: str) -> bool:
    """Return whether a prediction has a tag, of those that its label joins by "|"."""
    return f"|{tag}|" in f"|{row.label}|"


def judged_tags(rows: Said) -> dict[str, Any]:
    """Return the fraction of predictions of which every tag that people judged is right, and each judged tag's counts:
    `{"exact_match": {"value", "low", "high", "n"}, "each": {tag: {"n", "right", "missed", "false"}}}`; {} without any.

    "missed" had the tag and were predicted without it, "false" the other way round.
    """
    judged = [(row, content["tags"]) for row, content, _ in rows if isinstance(content.get("tags"), dict)]
    judged = [(row, tags) for row, tags in judged if tags]
    if not judged:
        return {}
    each: dict[str, dict[str, int]] = {}
    exact = 0
    for row, tags in judged:
        wrong = 0
        for tag, has in tags.items():
            counts = each.setdefault(tag, {"n": 0, "right": 0, "missed": 0, "false": 0})
            key = "right" if has_tag(row, tag) == bool(has) else "missed" if has else "false"
            counts["n"] += 1
            counts[key] += 1
            wrong += key != "right"
        exact += not wrong
    low, high = wilson_interval(exact, len(judged))
    value = {"value": exact / len(judged), "low": low, "high": high, "n": len(judged)}
    return {"exact_match": value, "each": dict(sorted(each.items(), key=lambda e: (-e[1]["n"], e[0])))}


def number_spread(
    rows: Sequence[Row], names: Sequence[str], usual: NDArray[np.float32] | None
) -> dict[str, dict[str, Any]]:
    """Return a histogram of each predicted quantity, with that of the reference images on the same edges where `usual`,
    (N, C) predictions of validation images, is known: `{name: {"edges", "recent", "usual", "median"}}`.
    """
    answers = np.array([r.answer for r in rows if len(r.answer) == len(names)], np.float64).reshape(-1, len(names))
    if not len(answers):
        return {}
    if usual is not None and (usual.ndim != 2 or usual.shape[1] != len(names) or not len(usual)):
        usual = None
    found = {}
    for k, name in enumerate(names):
        own = answers[:, k]
        both = own if usual is None else np.concatenate([own, usual[:, k].astype(np.float64)])
        # A value far off must not push all others into one column; those beyond the edges count in the outer ones.
        low, high = np.quantile(both, [0.005, 0.995])
        if not high > low:
            low, high = low - 0.5, high + 0.5
        edges = np.linspace(low, high, _BINS + 1)
        found[name] = {
            "edges": [float(f"{e:.6g}") for e in edges],
            "recent": _counts(own, edges),
            "usual": None if usual is None else _counts(usual[:, k], edges),
            "median": float(f"{np.median(own):.6g}"),
        }
    return found


def _counts(values: NDArray[np.floating[Any]], edges: NDArray[np.float64]) -> list[int]:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), bins=edges)
    return [int(c) for c in counts]
