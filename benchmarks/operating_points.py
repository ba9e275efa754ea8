"""What operating points chosen on few images are worth on others: the largest F1 beside the rule that is used.

    python benchmarks/operating_points.py RUN [--groups 8,16,32] [--repeats 100] [--group-column CSV]

RUN is a finished run of detection or segmentation whose data is still there. Its validation and test images are pooled;
some groups of them, drawn anew each time, choose the points, and all others measure recall, precision and F1. With
`--group-column`, a CSV whose columns `stem` and `tile_group` name each image's group, groups are drawn and not images.
"""

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.predictor import predict_everything
from eyewright.data import Dataset
from eyewright.evaluation.results import gather_results
from eyewright.lifecycle.datasets import data_of_run
from eyewright.lifecycle.opening import load_run
from eyewright.metrics.masks import FOUND_IOU, image_confusion
from eyewright.metrics.points import choose_point, group_numbers


@dataclass(frozen=True)
class Answered:
    """One class's answers: scores, hits and images (D,), and how many are to be found in each image (N,)."""

    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    images: NDArray[np.int64]
    truths: NDArray[np.int64]

    def of(self, images: NDArray[np.int64]) -> "Answered":
        place = np.full(len(self.truths), -1)
        place[images] = np.arange(len(images))
        kept = place[self.images] >= 0
        return Answered(self.scores[kept], self.right[kept], place[self.images[kept]], self.truths[images])


def answers(predictor: Any, data: Dataset) -> list[Answered]:
    """Return the answers of every class but the background."""
    n = len(predictor.labels)
    if data.task != "segment":
        (results,) = gather_results([predictor], data, looks=False)
        m = results.matched(np.array([0.5]))  # type: ignore[attr-defined]
        kept = [~c.ignored[0, 0] for c in m.classes]
        return [
            Answered(c.scores[k], c.right[0, 0, k], c.images[k], c.truths[0])
            for c, k in zip(m.classes, kept, strict=True)
        ]
    tables, sureness = [], []
    for i in range(len(data)):
        image = data.image(i)
        (one,) = predict_everything(predictor, [image])
        tables.append(image_confusion(one.mask, data.mask(i, image.shape[:2]), n))
        sureness.append(one.sureness)
    table, sure = np.array(tables), np.array(sureness, np.float64)
    right, truth, given = np.einsum("nii->ni", table), table.sum(2), table.sum(1)
    hit = right / np.maximum(truth + given - right, 1) > FOUND_IOU
    shown = [np.flatnonzero(given[:, c]) for c in range(n)]
    return [
        Answered(sure[shown[c], c], hit[shown[c], c], shown[c], (truth[:, c] > 0).astype(np.int64))
        for c in data.foreground
    ]


def scored(classes: Sequence[Answered], points: Sequence[float]) -> tuple[float, float, float]:
    """Return recall, precision and F1 over all classes."""
    kept = [c.scores >= p for c, p in zip(classes, points, strict=True)]
    hits = sum(int(c.right[k].sum()) for c, k in zip(classes, kept, strict=True))
    given, total = sum(int(k.sum()) for k in kept), sum(int(c.truths.sum()) for c in classes)
    return hits / max(1, total), hits / max(1, given), 2 * hits / max(1, given + total)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--groups", default="8,16,32")
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--group-column", default=None)
    options = parser.parse_args()
    run = load_run(Path(options.run))
    data = data_of_run(run, ("val", "test"))
    names = [s.group for s in data.samples]
    if options.group_column:
        with open(options.group_column, encoding="utf-8", newline="") as file:
            known = {row["stem"]: row["tile_group"] for row in csv.DictReader(file)}
        names = [known[Path(s.id).stem] for s in data.samples]
    groups, classes = group_numbers(names), answers(run.predictor, data)
    total, nothing = int(groups.max()) + 1, 0.25 if data.task != "segment" else 0.0
    print(f"{len(data)} images in {total} groups")
    for n in (int(v) for v in options.groups.split(",")):
        if n > total * 2 // 3:
            continue
        rng = np.random.default_rng(n)
        found: dict[str, list[tuple[float, float, float]]] = {"largest F1": [], "as chosen": []}
        for _ in range(options.repeats):
            mine = np.isin(groups, rng.choice(total, n, replace=False))
            chosen, rest = np.flatnonzero(mine), [c.of(np.flatnonzero(~mine)) for c in classes]
            best, ours = [], []
            for c in (c.of(chosen) for c in classes):
                if not c.right.any():
                    best.append(nothing)
                    ours.append(nothing)
                    continue
                point = choose_point(c.scores, c.right, c.images, c.truths, groups=groups[chosen], rng=rng)
                best.append(point.best if point.best is not None else nothing)
                ours.append(point.threshold)
            found["largest F1"].append(scored(rest, best))
            found["as chosen"].append(scored(rest, ours))
        for name, rows in found.items():
            recall, precision, f1 = np.array(rows).T
            print(
                f"{n:3} groups, {name:10}: recall {recall.mean():.3f} "
                f"(10th percentile {np.quantile(recall, 0.1):.3f}), "
                f"precision {precision.mean():.3f}, F1 {f1.mean():.3f} ({np.quantile(f1, 0.1):.3f})"
            )


if __name__ == "__main__":
    main()
