"""Find labels that are probably wrong, by nets that have not seen them."""

__all__ = ["find_mislabels"]

import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eyewright.core.labels import LabelSpace
from eyewright.core.report import Finding
from eyewright.data.splits import group_samples
from eyewright.data.targets.label import Label
from eyewright.evaluation import predict_dataset
from eyewright.lifecycle.datasets import Say, scan_of, silent
from eyewright.lifecycle.folds import train_folds
from eyewright.lifecycle.loading import need_torch
from eyewright.metrics import confident_errors
from eyewright.training import Recipe
from eyewright.training.plan import RunPlan

if TYPE_CHECKING:
    from eyewright.data import Dataset

_SIDE = 32
_IMAGES = 120_000


def find_mislabels(
    dataset: "Dataset", *, folds: int = 4, seed: int = 0, quiet: bool = True, say: Say = silent
) -> tuple[Finding, ...]:
    """Train a quick net on each three quarters of the images and doubt the labels that the last quarter's answers deny.

    Every image takes part, whatever its split. The nets see at most 32 pixels a side and few epochs: enough to
    distinguish classes that differ in more than detail. Where they do not, few findings or wrong ones are to be
    expected.

    Classes with a single image are left out.

    Raises:
        MissingExtraError: torch is not installed.
    """
    need_torch()
    groups = group_samples(dataset, scan_of(dataset, quiet=quiet))
    different: dict[int, set[int]] = defaultdict(set)
    for group, sample in zip(groups, dataset.samples, strict=True):
        different[sample.marked(Label)].add(group)
    # A class of one image cannot be both learnt and asked about.
    kept = sorted(t for t, own in different.items() if len(own) > 1)
    if len(kept) < 2:
        return ()
    if len(kept) < len(different):
        say(f"{len(different) - len(kept)} classes with one image each are left out")
    place = {t: k for k, t in enumerate(kept)}
    whole = replace(
        dataset,
        labels=LabelSpace(tuple(dataset.labels.names[t] for t in kept)),
        samples=tuple(
            replace(s, split=None, target=Label(place[s.marked(Label)]))
            for s in dataset.samples
            if s.marked(Label) in place
        ),
    )
    folds = min(folds, *(len(different[t]) for t in kept))
    epochs = int(np.clip(_IMAGES // (len(whole) * folds), 3, 40))
    # Smaller images keep the size that they are given by default.
    side = _SIDE if np.median(scan_of(whole).sizes_hw.min(1)) > _SIDE else None
    recipe = Recipe(model="quick_net", imgsz=side, epochs=epochs, batch=_batch(len(whole)), seed=seed, preview=0.0)
    scores = np.zeros((len(whole), len(whole.labels)))
    index = {s.id: i for i, s in enumerate(whole.samples)}
    with tempfile.TemporaryDirectory(prefix="eyewright-labels-") as folder:
        parts, runs = train_folds(whole, recipe, Path(folder), folds=folds, plan=RunPlan(quiet=quiet, say=say))
        for part, run in zip(parts, runs, strict=True):
            predictions = predict_dataset(run.predictor, part.test, quiet=quiet)
            for sample, prediction in zip(part.test.samples, predictions, strict=True):
                scores[index[sample.id]] = prediction.numbers()
    names = whole.labels.names
    found = []
    for i, seems in zip(*confident_errors(whole.targets, scores), strict=True):
        sample = whole.samples[i]
        found.append(
            Finding(
                "mislabelled",
                f"labelled {names[sample.target]!r}, but models that were not trained on it predict {names[seems]!r} "
                f"({scores[i, seems]:.0%} against {scores[i, sample.target]:.0%})",
                f"look at it; if they are right, move it to {names[seems]!r}",
                sample.id,
            )
        )
    return tuple(found)


def _batch(n: int) -> int:
    """Larger batches than training for its own sake would take: what is asked for is an opinion soon."""
    return int(2 ** np.clip(round(np.log2(max(n, 1) / 8)), 3, 6))
