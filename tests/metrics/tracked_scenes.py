"""Drawn sequences for the tests of tracking metrics: truth, and what a poor tracker would make of it.

Its numbers by TrackEval 1.3.0 are in `trackeval-1.3.0.json`, made by `benchmarks/peers/trackeval_numbers.py`.
"""

import numpy as np
from tests.conftest import SHARED

from eyewright.core.tracks import Tracks

MOT15 = SHARED / "mot15_mini"


def scene(seed: int) -> tuple[Tracks, Tracks]:
    """Return walking boxes, and the same with jitter, misses, false boxes, gaps and changes of identity."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    n, length = int(rng.integers(1, 9)), int(rng.integers(5, 40))
    offset = dict(zip(range(n), rng.integers(1, 50, n) + 60 * np.arange(n), strict=True))
    for i in range(n):
        x, y, w, h = rng.uniform(0, 200), rng.uniform(0, 100), rng.uniform(20, 60), rng.uniform(30, 90)
        vx, vy = rng.normal(0, 3, 2)
        first, last = sorted(rng.integers(1, length + 1, 2))
        for frame in range(first, last + 1):
            box = np.round([x, y, x + w, y + h], 1)
            x, y = x + vx, y + vy
            truth.append((frame, i + 1, *box))
            if rng.random() < 0.15:
                continue
            if rng.random() < 0.08:
                offset[i] = int(rng.integers(600, 640)) + i * 100
            noisy = np.round(box + rng.normal(0, 4, 4), 2)
            found.append((frame, int(offset[i]), *noisy))
    for frame in range(1, length + 1):
        if rng.random() < 0.3:
            x, y = rng.uniform(0, 200, 2)
            found.append((frame, 9000, x, y, x + 30, y + 60))
    if seed % 10 == 9:
        found = []
    return Tracks.of(truth), Tracks.of(found)


def flagged(seed: int) -> tuple[Tracks, Tracks]:
    """Return a scene with the columns of MOT17's truth: some objects distractors, some rows not measured."""
    truth, found = scene(seed)
    rng = np.random.default_rng(seed + 1000)
    distractor = np.isin(truth.ids, truth.ids[rng.integers(0, len(truth), 1)])
    ignored = distractor | (rng.random(len(truth)) < 0.05)
    return (
        Tracks(
            truth.frames,
            truth.ids,
            truth.boxes_xyxy,
            truth.scores,
            truth.label_ids,
            ignored=ignored,
            distractor=distractor,
        ),
        found,
    )


def mot15(name: str) -> tuple[Tracks, Tracks]:
    """Return a sequence of mot15_mini, and its truth made worse by a fixed rule, without a tracker."""
    table = np.loadtxt(MOT15 / name / "gt/gt.txt", delimiter=",")
    boxes = np.column_stack([table[:, 2:4], table[:, 2:4] + table[:, 4:6]])
    n = len(table)
    truth = Tracks(
        table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), boxes, np.full(n, np.nan), np.zeros(n, np.int64),
        ignored=table[:, 6] == 0,
    )  # fmt: skip
    rng = np.random.default_rng(7)
    kept = rng.random(n) > 0.2
    ids = truth.ids + 100 * (truth.frames // 37 + truth.ids % 3)
    worse = Tracks(truth.frames, ids, boxes + rng.normal(0, 5, (n, 4)), truth.scores, truth.label_ids)
    return truth, worse.keep(kept)
