"""Drawn answers of a model for each task, without a net: what the tests of reports measure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eyewright.core import LabelSpace, Report
from eyewright.data import Dataset, Sample
from eyewright.data.tree import ArrayTree
from eyewright.evaluation.reporting import Results, reporting_of
from eyewright.metrics.masks import boundary_scores, image_confusion
from eyewright.metrics.matching import Detected, box_overlaps
from eyewright.tasks.box_results import BoxResults, Scene
from eyewright.tasks.class_results import ClassResults
from eyewright.tasks.mask_results import MaskResults

NAMES = ("bolt", "nut", "washer")
MASKS = ("background", "crack", "dent")


@dataclass
class Answers:
    """A dataset, and the results of a model on it, from which a report is made under any groups and distances."""

    dataset: Dataset
    results: Results

    def report(self, **options: Any) -> Report:
        return reporting_of(self.dataset.task).report(self.results, **options)


def grouped(dataset: Dataset, groups: Sequence[str | None] | None) -> tuple[Sample, ...]:
    from dataclasses import replace

    given = groups or [None] * len(dataset)
    return tuple(replace(s, group=g) for s, g in zip(dataset.samples, given, strict=True))


def answers(
    task: str,
    n: int = 60,
    *,
    groups: Sequence[str | None] | None = None,
    skill: Sequence[float] | None = None,
    seed: int = 0,
) -> Answers:
    """Draw what a model answers on `n` images; `skill` is how likely each image goes well (0.8 without it)."""
    rng = np.random.default_rng(seed)
    good = rng.random(n) < (np.full(n, 0.8) if skill is None else np.asarray(skill))
    looks = tuple(zip(rng.uniform(50, 500, n).tolist(), rng.uniform(0, 255, n).tolist(), strict=True))
    tree = ArrayTree(Path("."), {"x": np.zeros((n, 4, 4), np.uint8)})
    if task == "classify":
        targets = rng.integers(3, size=n)
        said = np.where(good, targets, (targets + rng.integers(1, 3, size=n)) % 3)
        scores = rng.dirichlet([1.0, 1.0, 1.0], n) * 0.4 + 0.6 * np.eye(3)[said]
        space = LabelSpace(NAMES)
        samples = tuple(Sample(f"x/{i:06d}", int(t)) for i, t in enumerate(targets))
        data = Dataset(tree, samples, space, "drawn", "classify")
        data = _with(data, groups)
        return Answers(data, ClassResults(data, scores.astype(np.float32), looks))
    if task == "segment":
        tables, edges = [], []
        for i in range(n):
            truth = np.zeros((16, 16), np.uint8)
            if i % 5:
                y, x = rng.integers(0, 9, 2)
                truth[y : y + 6, x : x + 6] = 1 + i % 2
            found = np.roll(truth, int(rng.integers(0, 2)) if good[i] else int(rng.integers(4, 9)), 1)
            tables.append(image_confusion(found, truth, 3))
            edges.append(boundary_scores(found, truth, 3))
        samples = tuple(Sample(f"x/{i:06d}", None) for i in range(n))
        data = Dataset(tree, samples, LabelSpace(MASKS), "drawn", task="segment")
        data = _with(data, groups)
        return Answers(data, MaskResults(data, np.stack(tables), np.stack(edges), looks))
    scenes = []
    for i in range(n):
        k = 1 + int(rng.integers(3))
        corner = rng.uniform(0, 60, (k, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(15, 40, (k, 2))], 1)
        labels = rng.integers(3, size=k)
        moved = boxes + rng.normal(0, 1.5 if good[i] else 14.0, boxes.shape)
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        said = np.where(rng.random(k) < 0.92, labels, (labels + 1) % 3)
        extra = int(rng.random() < 0.3)
        if extra:
            at = rng.uniform(0, 60, (1, 2))
            moved, said = np.concatenate([moved, np.concatenate([at, at + 20], 1)]), np.append(said, rng.integers(3))
        score = np.clip(rng.normal(0.7 if good[i] else 0.5, 0.2, k + extra), 0.02, 0.99)
        order = np.argsort(-score)
        found = Detected(moved[order], said[order], score[order])
        true = Detected(boxes, labels, crowd=np.zeros(k, bool))
        scenes.append(Scene(found, true, box_overlaps(found.boxes, true.boxes)))
    samples = tuple(Sample(f"x/{i:06d}", None) for i in range(n))
    data = Dataset(tree, samples, LabelSpace(NAMES), "drawn", task=task)
    data = _with(data, groups)
    return Answers(data, BoxResults(data, tuple(scenes), looks, np.full(len(NAMES), 0.4)))


def _with(dataset: Dataset, groups: Sequence[str | None] | None) -> Dataset:
    from dataclasses import replace

    return replace(dataset, samples=grouped(dataset, groups))
