"""Find labels that are probably wrong, by nets that have not seen them."""

__all__ = ["find_mislabels"]

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eyewright.core.report import Finding
from eyewright.lifecycle.datasets import Say, scan_of, silent
from eyewright.lifecycle.folds import train_folds
from eyewright.lifecycle.opening import need_torch

if TYPE_CHECKING:
    from eyewright.data import Dataset

_SIDE = 32
_IMAGES = 120_000


def find_mislabels(
    dataset: "Dataset", *, folds: int = 4, seed: int = 0, quiet: bool = True, say: Say = silent
) -> tuple[Finding, ...]:
    """Train a quick net on each three quarters of the images and doubt the labels that the last quarter's answers deny.

    Every image takes part, whatever its split. The nets see at most 32 pixels a side and few epochs: enough to tell
    classes apart that differ in more than detail. Where they do not, few findings or wrong ones are to be expected.

    Raises:
        DatasetError: a class has fewer images that are not alike than two.
        MissingExtraError: torch is not installed.
    """
    need_torch()
    from eyewright.data.splits import group_samples
    from eyewright.metrics import confident_errors
    from eyewright.training import Recipe

    whole = replace(dataset, samples=tuple(replace(s, split=None) for s in dataset.samples))
    groups = group_samples(whole, scan_of(whole, quiet=quiet))
    fewest = min(
        len({g for g, s in zip(groups, whole.samples, strict=True) if s.target == t}) for t in set(whole.targets)
    )
    folds = max(2, min(folds, fewest))
    epochs = int(np.clip(_IMAGES // (len(whole) * folds), 3, 40))
    # Smaller images keep the size that they are given by default.
    side = _SIDE if np.median(scan_of(whole).sizes_hw.min(1)) > _SIDE else None
    recipe = Recipe(model="quick_net", imgsz=side, epochs=epochs, batch=_batch(len(whole)), seed=seed, preview=0.0)
    scores = np.zeros((len(whole), len(whole.labels)))
    index = {s.id: i for i, s in enumerate(whole.samples)}
    with tempfile.TemporaryDirectory(prefix="eyewright-labels-") as folder:
        parts, runs = train_folds(whole, recipe, Path(folder), folds=folds, quiet=quiet, say=say)
        from eyewright.evaluation import predict_dataset

        for part, run in zip(parts, runs, strict=True):
            predictions, _ = predict_dataset(run.predictor, part.test, quiet=quiet)
            for sample, prediction in zip(part.test.samples, predictions, strict=True):
                scores[index[sample.id]] = prediction.probabilities
    names = whole.labels.names
    found = []
    for i, seems in zip(*confident_errors(whole.targets, scores), strict=True):
        sample = whole.samples[i]
        found.append(
            Finding(
                "mislabelled",
                f"labelled {names[sample.target]!r}, but nets that have not seen it say {names[seems]!r} "
                f"({scores[i, seems]:.0%} against {scores[i, sample.target]:.0%})",
                f"look at it; if they are right, move it to {names[seems]!r}",
                sample.id,
            )
        )
    return tuple(found)


def _batch(n: int) -> int:
    """Larger batches than training for its own sake would take: what is asked for is an opinion soon."""
    return int(2 ** np.clip(round(np.log2(max(n, 1) / 8)), 3, 6))
