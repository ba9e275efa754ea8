"""What the images of a dataset belong to, as the measurements need it, and what a report says of it."""

__all__ = ["count_groups", "group_names", "image_scores", "say_groups"]

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.data.dataset import Dataset
from eyewright.metrics.groups import FEW_GROUPS, clusters_of, effective_n


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
    }


def image_scores(task: str, items: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Return how well each image went, float64 (N,) by its index, from a report's items.

    Of classes 1 where the answer is right; of boxes F1 at the operating points; of masks the mean IoU of what is or was
    seen. An image without objects in which none was seen went well.
    """
    scores = np.full(len(items), np.nan)
    for item in items:
        if task == "classify":
            value = float(item["right"])
        elif task == "segment":
            value = 1.0 if item["miou"] is None else item["miou"]
        else:
            right, wrong = item["right"], len(item["false"]) + len(item["missed"])
            value = 1.0 if right + wrong == 0 else 2 * right / (2 * right + wrong)
        scores[item["index"]] = value
    return scores


def say_groups(counted: Mapping[str, Any] | None) -> str:
    """Say in a sentence what the intervals rest on; nothing where every image stands alone.

    >>> say_groups({"n": 90, "groups": 30, "largest": 6, "effective_n": 41.2, "few": False})
    'The 90 images come in 30 groups and count as about 41 independent ones; intervals are over groups.'
    """
    if not counted:
        return ""
    n, groups = counted["n"], counted["groups"]
    if groups == 1:
        return f"All {n:,} images are of one group: no interval can be given, and other groups may fare differently."
    worth = f"{counted['effective_n']:,.0f}"
    text = f"The {n:,} images come in {groups:,} groups and count as about {worth} independent ones; "
    if counted["few"]:
        return text + f"intervals are t intervals over only {groups} groups, so they are wide and rough."
    return text + "intervals are over groups."
