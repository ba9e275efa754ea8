"""What the images of a dataset belong to, as the measurements need it, and what a report says of it."""

__all__ = [
    "count_groups",
    "count_look_alikes",
    "group_names",
    "look_alike_finding",
    "say_groups",
    "say_look_alikes",
    "say_untested",
]

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.report import Finding, Report
from eyewright.data.dataset import BACKGROUND, Dataset
from eyewright.data.grouped import LOOK_WORDS
from eyewright.metrics.groups import FEW_GROUPS, clusters_of, effective_n

_SHOWN = 4
_DIVIDED = 0.1
_WORTH = 0.7


def group_names(dataset: Dataset) -> NDArray[Any] | None:
    """Return the group of every sample, (N,), an image without one being its own; None where no sample has one."""
    groups = [s.group for s in dataset.samples]
    if not any(groups):
        return None
    # A group may be called what an image is called.
    return np.array([f"g {g}" if g else f"i {s.id}" for g, s in zip(groups, dataset.samples, strict=True)])


def count_groups(dataset: Dataset, scores: NDArray[np.float64]) -> dict[str, Any] | None:
    """Return the numbers behind "n images in k groups": `scores`, (N,), say how well each image went.

    None where every image is a group of its own.
    """
    clusters = clusters_of(group_names(dataset))
    if clusters is None:
        return None
    return {
        "n": clusters.n,
        "groups": clusters.count,
        "largest": int(clusters.sizes.max()),
        "effective_n": round(effective_n(scores, clusters), 1),
        "few": clusters.count < FEW_GROUPS,
        "lone_classes": _lone_classes(dataset, clusters.ids),
    }


def _lone_classes(dataset: Dataset, ids: NDArray[np.int64]) -> list[str]:
    """Return the names of the classes of which several images are there, all of one group."""
    held: dict[int, list[int]] = defaultdict(list)
    for i, group in enumerate(ids.tolist()):
        # What is only counted (answers that were kept) may come without its marks.
        for k in () if dataset.samples[i].target is None else dataset.held(i):
            held[k].append(group)
    names = dataset.labels.names
    if dataset.kind.open:
        return []
    lone = sorted(k for k, own in held.items() if len(own) > 1 and len(set(own)) == 1)
    return [names[k] for k in lone if k in dataset.foreground]


def say_groups(counted: Mapping[str, Any] | None) -> str:
    """Say in a sentence what the intervals rest on; nothing where every image stands alone.

    >>> say_groups({"n": 90, "groups": 30, "largest": 6, "effective_n": 41.2, "few": False})
    'The 90 images form 30 groups; intervals are computed over groups. The effective sample size
    is about 41 images.'
    """
    if not counted:
        return ""
    n, groups = counted["n"], counted["groups"]
    if groups == 1:
        return f"All {n:,} images belong to one group: no interval can be computed, and other groups may differ."
    text = f"The {n:,} images form {groups:,} groups"
    if counted["few"]:
        # What images are worth is estimated from the groups: of few it is too rough to be said.
        text += f"; intervals are t intervals over only {groups} groups, so they are wide and approximate "
        text += "(train --folds groups tests every group once, if each class occurs in two or more)."
    else:
        text += "; intervals are computed over groups."
        if counted["effective_n"] <= _WORTH * n:
            text += f" The effective sample size is about {counted['effective_n']:,.0f} images."
    lone = counted.get("lone_classes") or []
    if not lone:
        return text
    one = len(lone) == 1
    return f"{text} {_named(lone)} {'is' if one else 'are'} tested on one group{'' if one else ' each'}."


def count_look_alikes(grouping: Mapping[str, Any] | None, n: int) -> dict[str, Any] | None:
    """Return what is known of look-alikes that a split divides, of `n` test images; None where they are few.

    `grouping` is what the run says of its groups (`Grouping.to_json`).
    """
    for proposal in (grouping or {}).get("proposals", ()):
        divided = proposal.get("divided", 0)
        if divided and divided >= _DIVIDED * n:
            return {"n": n, **{k: proposal[k] for k in ("divided", "images", "groups", "look", "p_value")}}
    return None


def say_look_alikes(counted: Mapping[str, Any] | None) -> str:
    """Say in a sentence that images were taken for independent though they look as if they came in sessions.

    >>> counted = {"n": 48, "divided": 34, "images": 182, "groups": 63, "look": "background", "p_value": 0.001}
    >>> say_look_alikes(counted)[:59]
    'The interval assumes independent images, but 182 images lie'
    """
    if not counted:
        return ""
    look = LOOK_WORDS.get(counted["look"], counted["look"])
    return (
        f"The interval assumes independent images, but {counted['images']:,} images lie in {counted['groups']:,} "
        f"look-alike groups by {look} (p = {counted['p_value']:.2g}), and {counted['divided']:,} of the "
        f"{counted['n']:,} test images share one with training images: this number does not tell how the model "
        "performs on new sessions, people or devices."
    )


def look_alike_finding(counted: Mapping[str, Any] | None) -> Finding | None:
    """Return what `say_look_alikes` says as a finding; None where there is nothing to say."""
    text = say_look_alikes(counted)
    if not text:
        return None
    fix = "look at them (eyewright doctor DATA --out DIR); if they belong together, train with "
    return Finding("look_alikes", text, f"{fix}--group-by DIR/groups.csv", severity="warning")


def say_untested(report: Report) -> str:
    """Say of which classes a report says nothing, because no image shows them; nothing where all are there."""
    absent = [r["label"] for r in report.per_class if not r["n"] and r["label"].lower() not in BACKGROUND]
    if not absent:
        return ""
    of = "it" if len(absent) == 1 else "them"
    return f"No test image shows {_named(absent, 'class')}: these numbers say nothing about {of}."


def _named(labels: Sequence[str], noun: str = "Class") -> str:
    shown = ", ".join(f"“{label}”" for label in labels[:_SHOWN])
    rest = f" and {len(labels) - _SHOWN:,} more" if len(labels) > _SHOWN else ""
    return f"{noun if len(labels) == 1 else noun + 'es'} {shown}{rest}"
