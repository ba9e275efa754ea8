"""Images that a model answers in another way than before, where its answer is an amount of each class."""

__all__ = ["changed_amounts"]

from typing import Any

import numpy as np

from eyewright.evaluation.reporting import Results


def changed_amounts(before: Results, after: Results, *, least: float) -> list[dict[str, Any]]:
    """Return the images in which the amount of some class differs by more than `least`, with both amounts."""
    names = before.dataset.labels.names
    first = before.answers()
    second = after.answers()[:, before.dataset.labels.mapping_to(after.dataset.labels)]

    def said(amounts: Any) -> dict[str, float]:
        return {n: round(float(a), 4) for n, a in zip(names, amounts, strict=True) if a > 0}

    return [
        {"id": before.dataset.samples[i].id, "before": said(first[i]), "after": said(second[i])}
        for i in np.flatnonzero(np.abs(second - first).max(1) > least)
    ]
