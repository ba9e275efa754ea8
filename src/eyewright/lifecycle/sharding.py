"""Train on shards, so that an image can be forgotten by training its shard again (Bourtoule et al. 2021, SISA)."""

__all__ = ["join_shards", "shard_of", "train_shards"]

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eyewright.core.errors import DatasetError, UsageError
from eyewright.core.quoting import quoted
from eyewright.core.rng import generator
from eyewright.core.task import task_of
from eyewright.lifecycle.datasets import scan_of
from eyewright.lifecycle.joining import write_ensemble
from eyewright.lifecycle.opening import load_run
from eyewright.training.plan import RunPlan

if TYPE_CHECKING:
    from eyewright.data import Dataset
    from eyewright.training import Recipe
    from eyewright.training.run import Run

_NAME = "shard-{}"


def shard_of(dataset: "Dataset", count: int, seed: int) -> Mapping[str, int]:
    """Return the number of the shard, from 0, of every training image of a split dataset.

    Classes are spread evenly. Images of one group stay in one shard: a person can then be forgotten in one.

    Raises:
        UsageError: fewer than 2 shards.
        DatasetError: a class has fewer images, or groups, than there are shards.
    """
    if count < 2:
        raise UsageError(f"expected 2 shards or more, found {count}", fix="change --shards")
    units: dict[str, list[int]] = {}
    samples = dataset.train.samples
    for i, s in enumerate(samples):
        units.setdefault(f"image {s.id}" if s.group is None else f"group {s.group}", []).append(i)
    strata = dataset.train.strata
    full: list[Counter[int]] = [Counter() for _ in range(count)]
    found: dict[str, int] = {}
    names = list(units)
    for k in generator(seed, "shards").permutation(len(names)).tolist():
        own = units[names[k]]
        label = Counter(strata[i] for i in own).most_common(1)[0][0]
        best = min(range(count), key=lambda s: (full[s][label], full[s].total(), s))
        full[best].update(strata[i] for i in own)
        found.update({samples[i].id: best for i in own})
    for label in sorted(set(strata)):
        if any(not f[label] for f in full):
            raise DatasetError(
                f"expected training images of {dataset.stratum(label)!r} in each of {count} shards, found too few",
                fix="lower --shards",
            )
    return found


def train_shards(
    dataset: "Dataset", recipe: "Recipe", folder: Path, plan: RunPlan, *, count: int, train: Callable[..., "Run"]
) -> "Run":
    """Train a net for each shard into `folder/shard-K`, and write all of them as one run to `folder`.

    `train` is what trains one (`stages.train_on`). With `plan.resume` finished shards are kept. The deadline of `plan`
    is for all of them together.

    Raises:
        UsageError: a task or an option that has no shards.
        DatasetError: a class has too few images.
    """
    task_of(dataset.task).require("ensemble")
    if recipe.private or plan.step is not None or plan.log is not None:
        raise UsageError("expected --shards without --private, --teacher and --log, found one", fix="leave it out")
    if not plan.resume and (folder / "run.json").exists():
        raise UsageError(f"a run is already in {quoted(folder)}", fix="choose another --out, or continue with --resume")
    place = shard_of(dataset, count, recipe.seed)
    runs = []
    for k in range(count):
        own = folder / _NAME.format(k + 1)
        plan.say(f"shard {k + 1} of {count}")
        if plan.resume and (own / "run.json").exists():
            runs.append(load_run(own))
            continue
        shard, end = replace(recipe, seed=recipe.seed + k, baseline="none"), plan.deadline
        if end is not None:
            left = (end - time.monotonic()) / (count - k)
            end, shard = time.monotonic() + left, replace(shard, budget_s=left)
        part = dataset.select(lambda s, k=k: s.split != "train" or place[s.id] == k)  # type: ignore[misc]
        begun = plan.resume and (own / "checkpoints" / "last").exists()
        given = replace(plan, deadline=end, resume=begun, baseline=False)
        runs.append(train(part, shard, own, given, leaks="allow"))
    return join_shards(dataset, runs, folder)


def join_shards(dataset: "Dataset", runs: Sequence["Run"], folder: Path) -> "Run":
    """Write the runs of shards as one run."""
    rows: dict[str, dict[str, str]] = {}
    for run in runs:
        # How near an image is to one shard says nothing of those of all shards.
        rows |= {r["id"]: {**r, "novelty": "", "novelty_ratio": ""} for r in run.split_rows()}
    scan = scan_of(dataset)
    learnt = [i for i, s in enumerate(dataset.samples) if rows[s.id]["split"] == "train"]
    names = [run.folder.name for run in runs]
    first = runs[0].about
    counts = Counter(r["split"] for r in rows.values())
    notes = {"shards": names, "dataset": {**first["dataset"], "images": dict(counts)}}
    return write_ensemble(
        runs, folder, rows=list(rows.values()), scan=scan, learnt=np.array(learnt, np.int64), notes=notes
    )
