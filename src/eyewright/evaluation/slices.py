"""Where a model is weaker: accuracy by folder, size, brightness and every metadata column, with intervals."""

__all__ = ["SMALLEST_SLICE", "slice_accuracy", "thirds"]

import posixpath
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.rng import generator
from eyewright.data.dataset import Dataset
from eyewright.evaluation.together import group_names
from eyewright.metrics import fisher_less
from eyewright.metrics.bootstrap import share_interval
from eyewright.metrics.groups import clusters_of, weaker_p_value

_LEVEL = 0.05
SMALLEST_SLICE = 10
"""A slice of fewer images says too little."""

_MOST_VALUES = 20


def slice_accuracy(
    dataset: Dataset, right: NDArray[np.bool_], looks: Sequence[tuple[float, float]]
) -> list[dict[str, Any]]:
    """Return the accuracy of every slice of 10 images or more, the weakest first.

    `right` is bool (N,); `looks` holds each image's longer side in pixels and its mean brightness, 0-255. Size and
    brightness are cut into thirds. A slice is marked `weaker` when Fisher's exact test against the rest says so at 5 %,
    divided by the number of slices looked at (Bonferroni). Where images form groups the intervals are over groups,
    and the test is one that flips the signs of groups' scores (`weaker_p_value`).
    """
    clusters = clusters_of(group_names(dataset))
    rng = generator(0, "slices")
    slices: list[tuple[str, str, NDArray[np.bool_]]] = []
    sides, brightness = (np.array([look[k] for look in looks]) for k in (0, 1))
    for name, values, unit in (("longer side", sides, "px"), ("brightness", brightness, "")):
        slices += [(name, text, member) for text, member in thirds(values, unit)]
    columns: dict[str, list[str]] = defaultdict(list)
    for sample in dataset.samples:
        columns["folder"].append(_folder_below_class(sample.id, sample.target.text(dataset.labels.names)))
    for name in sorted({k for s in dataset.samples for k in s.meta}):
        columns[name] = [s.meta.get(name, "") for s in dataset.samples]
    for name, column in columns.items():
        distinct = sorted(set(column) - {""})
        if 1 < len(distinct) <= _MOST_VALUES:
            slices += [(name, value, np.array([v == value for v in column])) for value in distinct]
    slices = [s for s in slices if SMALLEST_SLICE <= s[2].sum() < len(right)]
    rows = []
    for name, value, member in slices:
        n, k = int(member.sum()), int(right[member].sum())
        low, high = share_interval(right & member, member, clusters)
        others = int(right.sum()) - k
        row: dict[str, Any] = {"slice": name, "value": value, "n": n, "accuracy": k / n, "low": low, "high": high}
        if clusters is None:
            p_value = fisher_less(k, n, others, len(right) - n)
        else:
            p_value = weaker_p_value(member, right.astype(np.float64), clusters, rng=rng)
            row["groups"] = len(np.unique(clusters.ids[member]))
        rows.append({**row, "rest": others / (len(right) - n), "weaker": p_value * len(slices) < _LEVEL})
    return sorted(rows, key=lambda r: r["accuracy"])


def thirds(values: NDArray[np.float64], unit: str) -> list[tuple[str, NDArray[np.bool_]]]:
    """Cut images into thirds by a value, (N,), that may be NaN; return what each third is called, and its members.

    None where all values are equal.

    >>> [name for name, _ in thirds(np.arange(30.0), "px")]
    ['up to 10 px', '10 to 19 px', 'above 19 px']
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return []
    low, high = np.quantile(known, [1 / 3, 2 / 3])
    if low == high:
        return []
    members = (values <= low, (values > low) & (values <= high), values > high)
    ends = (f"up to {low:.0f}", f"{low:.0f} to {high:.0f}", f"above {high:.0f}")
    return [(f"{end} {unit}".strip(), m) for end, m in zip(ends, members, strict=True)]


def _folder_below_class(name: str, label: str) -> str:
    """Return the part of the path that does not say the class: what a site, a day or a camera may be called."""
    folder = posixpath.dirname(name)
    parts = [p for p in folder.split("/") if p and p not in label.split("/")]
    return "/".join(parts)
