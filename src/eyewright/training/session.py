"""Train a model on a split dataset: from samples to a run folder."""

__all__ = ["Builder", "pixel_scaling", "train_model"]

import csv
import io
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from eyewright.core.errors import CheckpointError, UsageError
from eyewright.core.files import write_bytes, write_json, write_text
from eyewright.core.jsonable import dumps_json
from eyewright.core.provenance import describe_machine
from eyewright.core.quoting import quoted
from eyewright.core.rng import generator
from eyewright.core.task import task_of
from eyewright.data.dataset import Dataset
from eyewright.data.grouping import Grouping
from eyewright.data.scan import Scan, dataset_fingerprint, target_text
from eyewright.evaluation.known import FEATURES_FILE, pack_features
from eyewright.evaluation.validation import history_optimism, say_score
from eyewright.metrics.novelty import nearness
from eyewright.metrics.points import group_numbers
from eyewright.nets.hub import HubBuilder
from eyewright.nets.pixels import PixelNet, parameter_count
from eyewright.training.cache import build_cache
from eyewright.training.distributed import rank_of
from eyewright.training.fit import fit
from eyewright.training.learner import learner_of
from eyewright.training.looks import Looks, looks_of, write_looks
from eyewright.training.loop import FitData, run_through
from eyewright.training.own_steps import packages_in
from eyewright.training.plan import Probe, RunPlan
from eyewright.training.predictor import choose_device
from eyewright.training.recipe import Recipe, changed_options, read_recipe, write_recipe
from eyewright.training.run import SPLIT_COLUMNS, Builder, Run, begin_with, build_net, open_run_folder

_SCALING_IMAGES = 4096
_TIMED_IMAGES = 16
# Up to 65,536 squares of 255 fit into 32 bits; fewer images at once need less memory.
_SCALING_BLOCK = 32


def train_model(
    dataset: Dataset,
    scan: Scan,
    recipe: Recipe,
    *,
    folder: Path,
    build_of: Callable[..., Builder],
    plan: RunPlan = RunPlan(),  # noqa: B008
) -> Run:
    """Train on `dataset.train`, choose the best epoch on `dataset.val`, and write a run folder.

    `scan` is of the same samples, all readable; `plan.log` is not looked at here. Started by `torchrun`, the first
    process writes and the others only compute.

    Raises:
        DatasetError: nothing that can be learnt, such as a class without a training image.
        RefusedError: the loss stopped being a number.
    """
    recipe = replace(recipe, task=dataset.task)
    recipe = replace(recipe, loss=recipe.loss or task_of(recipe.task).losses[0])
    learner = learner_of(dataset.task)
    learner.check(dataset)
    leads = rank_of() == 0
    device = choose_device(recipe.device)
    published = cast(HubBuilder, build_of(recipe.model, recipe.task)) if recipe.model.startswith("hf:") else None
    preparation = plan.preparation or learner.preparation(dataset, scan, recipe, published)
    resolved = learner.resolve(recipe, sum(s.split == "train" for s in dataset.samples), preparation)
    build = published or build_of(resolved.model, resolved.task)
    with open_run_folder(folder, resume=plan.resume):
        if plan.resume:
            _check_same_recipe(folder, resolved)
        index = {s.id: i for i, s in enumerate(dataset.samples)}

        def learnt_from(part: Dataset) -> tuple[NDArray[np.uint8], Any]:
            records = [scan.records[index[s.id]] for s in part.samples]
            digests = tuple(r.digest for r in records)
            pixels = build_cache(part, preparation, digests=digests, workers=plan.workers, quiet=plan.quiet)
            sizes = [r.info.size_hw for r in records if r.info is not None]
            marks = "\n".join(
                [*digests, *(target_text(part, s) for s in part.samples), dumps_json(preparation.to_json())]
            )
            return pixels, learner.targets(part, sizes, preparation, f"{part.task}\n{marks}")

        def looks(part: Dataset, pixels: NDArray[np.uint8]) -> Looks:
            records = [scan.records[index[s.id]] for s in part.samples]
            sizes = [r.info.size_hw if r.info is not None else preparation.size_hw for r in records]
            return looks_of(pixels, sizes, [s.group for s in part.samples], preparation, seed=resolved.seed)

        train, val = dataset.train, dataset.val
        ids = tuple(s.id for s in train.samples)
        data = FitData(*learnt_from(train), *learnt_from(val), ids)
        if plan.guard is not None:
            scaling = {name: list(values)[: preparation.channels] for name, values in plan.guard.scaling.items()}
        else:
            scaling = getattr(build, "scaling", None) or pixel_scaling(data.train_pixels)
            scaling = {**scaling, **learner.outgoing(train)}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(resolved.seed)
            net = build_net(build, resolved, dataset.labels, preparation, scaling)
        if plan.start is not None:
            plan.start(net)
        if plan.weights is not None:
            begin_with(net, plan.weights)
            # The weights bring the scaling that they were learnt under.
            learnt = {k: getattr(net, k).flatten().tolist() for k in ("centre", "spread") if net.scaled}
            scaling = {"mean": net.mean.flatten().tolist(), "std": net.std.flatten().tolist(), **learnt}
        prepared = data.train_pixels
        data = learner.fed(data, resolved, dataset, preparation)
        learning = learner.learn(net, data, resolved, dataset, preparation)
        augmentation = learning.augmentation
        plan.say(
            f"{resolved.model} with {parameter_count(net):,} weights on {preparation.size_hw[1]}x"
            f"{preparation.size_hw[0]}x{preparation.channels} pixels; augmentation: {augmentation.describe()}"
        )
        for line in getattr(learning, "notes", ()):
            plan.say(line)
        if leads:
            if published is not None:
                published.write(folder / "hub", net.body)
            write_recipe(folder / "recipe.toml", resolved)
            _write_split(folder, dataset, scan, private=bool(resolved.private))
        main_metric = learning.main_metric if plan.probe is None else plan.probe.prefix + learning.main_metric
        started = time.monotonic()
        result = fit(
            net,
            data,
            resolved,
            objective=learning.objective,
            augmentation=augmentation,
            measure=learning.measure,
            condense=learning.condense,
            main_metric=main_metric,
            probe=plan.probe,
            guard=plan.guard,
            learnt=learning,
            folder=folder / "checkpoints",
            device=device,
            step=plan.step or learner.step(net),
            deadline=_deadline(plan, net, data.val_pixels, device),
            resume=plan.resume,
            quiet=plan.quiet,
            say=plan.say,
            observe=plan.observe if leads and plan.observe is not None else lambda row: None,
        )
        val_groups = group_numbers([s.group for s in val.samples])
        kept = run_through(net, data.val_pixels, data.val_targets, learning.condense, device)
        machine = describe_machine()
        about = {
            "task": resolved.task,
            "model": resolved.model_name,
            "parameters": parameter_count(net),
            "labels": list(dataset.labels.names),
            "preparation": preparation.to_json(),
            "scaling": scaling,
            "augmentation": augmentation.describe(),
            **(
                _nothing_chosen(len(val), val_groups)
                if plan.guard is not None and plan.guard.keeps_last
                else learning.conclude(
                    kept, data.val_targets, groups=val_groups, rng=generator(resolved.seed, "points")
                )
            ),
            **_chosen_on(plan.probe, val_groups),
            "training": {
                "best_epoch": result.best_epoch,
                "epochs": len(result.history),
                "steps": result.steps,
                "metric": main_metric,
                f"val_{main_metric}": result.best_score,
                "optimism": history_optimism(result.history, main_metric),
                "stopped": result.stopped,
                **({"chosen": "last"} if plan.guard is not None and plan.guard.keeps_last else {}),
                "seconds": round(time.monotonic() - started, 1),
                "precision": result.precision,
            },
            "dataset": {
                "name": dataset.name,
                "format": dataset.format,
                "fingerprint": dataset_fingerprint(dataset, scan),
                "images": {s: sum(x.split == s for x in dataset.samples) for s in dataset.splits},
                "groups": {s: _groups_of(dataset, s) for s in dataset.splits},
                "notes": list(dataset.notes),
                "account": dataset.account.to_json(),
                "edits": None if dataset.edits is None else dataset.edits.to_json(),
                "leaks": None if dataset.leaks is None else dataset.leaks.to_json(),
            },
            "grouping": None if dataset.grouping is None else _grouping(dataset, dataset.grouping),
            "seed": resolved.seed,
            **machine,
            "versions": {**machine["versions"], **packages_in(resolved)},
            **plan.notes,
        }
        unlearnt = str(getattr(learning, "unlearnt", ""))
        if result.best_epoch == 0 and getattr(learning, "keeps_start", False):
            unlearnt = "no epoch was better than the net before training, which is kept"
        if unlearnt:
            about["training"]["unlearnt"] = unlearnt
            about["warnings"] = [*(about.get("warnings") or ()), f"{unlearnt[0].upper()}{unlearnt[1:]}."]
            plan.say(f"warning: {unlearnt}; train longer, or on more data")
        if leads:
            if not resolved.private:
                write_looks(folder, looks(train, prepared))
            write_json(folder / "run.json", about)
        plan.say(f"{result.stopped}; best epoch {result.best_epoch}{say_score(about, before=', ')}")
    return Run(folder, resolved, dataset.labels, preparation, about, build)


def _deadline(plan: RunPlan, net: PixelNet, pixels: NDArray[np.uint8], device: torch.device) -> float | None:
    """Return when training ends, after the net was timed on a few validation images, if the plan asks for that."""
    if plan.deadline is None or plan.reserve is None or device.type != "cpu" or not len(pixels):
        return plan.deadline
    few = torch.from_numpy(np.ascontiguousarray(pixels[:_TIMED_IMAGES]))
    trains = net.training
    net.eval()
    with torch.inference_mode():
        # The first call sets the net up.
        net(few)
        began = time.monotonic()
        net(few)
    net.train(trains)
    now = time.monotonic()
    earlier = plan.deadline - plan.reserve((now - began) / len(few))
    return min(plan.deadline, max(earlier, now + (plan.deadline - now) / 4))


def _nothing_chosen(n: int, groups: NDArray[np.int64]) -> dict[str, Any]:
    """Return what a run says of calibration and thresholds where validation images may not choose any."""
    return {"calibration": {"method": "none", "n": n, "groups": len(np.unique(groups))}, "thresholds": {}}


def _chosen_on(probe: Probe | None, groups: NDArray[np.int64]) -> dict[str, Any]:
    """Return which validation images chose the epoch, where a probe measured some of them."""
    if probe is None:
        return {}
    rows = probe.rows(len(groups))
    return {"chosen_on": {"images": len(rows), "groups": len(np.unique(groups[rows]))}}


def _groups_of(dataset: Dataset, split: str) -> int:
    return len(set(group_numbers([s.group for s in dataset.samples if s.split == split]).tolist()))


def pixel_scaling(pixels: NDArray[np.uint8]) -> dict[str, list[float]]:
    """Return mean and std a channel of pixels in [0, 1], from at most 4,096 evenly spaced images (N, H, W, C).

    >>> pixel_scaling(np.array([0, 255], np.uint8).reshape(2, 1, 1, 1))
    {'mean': [0.5], 'std': [0.5]}
    """
    some = pixels[:: max(1, len(pixels) // _SCALING_IMAGES)]
    sums, squares = (np.zeros(math.prod(some.shape[1:]), np.uint64) for _ in range(2))
    # Sums of whole numbers are exact in any order, and image by image they need no copy of the pixels as floats.
    for first in range(0, len(some), _SCALING_BLOCK):
        block = some[first : first + _SCALING_BLOCK].reshape(-1, len(sums))
        sums += block.sum(0, dtype=np.uint32)
        wide = block.astype(np.uint16)
        squares += (wide * wide).sum(0, dtype=np.uint32)
    n = len(some) * some.shape[1] * some.shape[2]
    mean, square = (v.reshape(-1, some.shape[-1]).sum(0) / n for v in (sums, squares))
    std = np.sqrt(np.maximum(square - mean**2, 0))
    return {"mean": [round(float(m) / 255, 6) for m in mean], "std": [round(max(float(s) / 255, 0.02), 6) for s in std]}


def _grouping(dataset: Dataset, grouping: Grouping) -> dict[str, Any]:
    return {"words": grouping.describe(), **grouping.to_json([s.split for s in dataset.samples])}


def _check_same_recipe(folder: Path, recipe: Recipe) -> None:
    """Refuse to continue with other options than the run was started with, before its recipe is written again.

    Raises:
        CheckpointError: it has a checkpoint of another recipe.
    """
    if not any((folder / "checkpoints" / name / "state.safetensors").exists() for name in ("last", "previous")):
        return
    try:
        begun = read_recipe(folder / "recipe.toml")
    except UsageError:
        # The checkpoint itself tells whether it is of this recipe, only not in which option.
        return
    if changed := changed_options(begun, recipe):
        raise CheckpointError(
            f"the run in {quoted(folder)} was started with other options: {'; '.join(changed)}",
            fix="resume with the same options, or choose another --out",
        )


def _write_split(folder: Path, dataset: Dataset, scan: Scan, *, private: bool) -> None:
    """Write `split.csv` and, so that other images can be compared later, `features.npz` of the training images.

    A `private` run describes no training image: it gets neither distances to them nor `features.npz`. Its `split.csv`
    is readable by the owner alone, because names and digests of training images are in it: `evaluate` and
    `audit-privacy` need them.
    """
    if private:
        write_bytes(folder / "split.csv", _split_csv(dataset, scan, {}).encode("utf-8", "surrogateescape"), mode=0o600)
        return
    splits = np.array([s.split for s in dataset.samples])
    train, held_out = np.flatnonzero(splits == "train"), np.flatnonzero(splits != "train")
    near = nearness(scan.features[held_out], scan.features[train])
    rows = dict(zip(held_out.tolist(), zip(near.distance.tolist(), near.ratio.tolist(), strict=True), strict=True))
    write_text(folder / "split.csv", _split_csv(dataset, scan, rows))
    write_bytes(folder / FEATURES_FILE, pack_features(scan, train))


def _split_csv(dataset: Dataset, scan: Scan, near: Mapping[int, tuple[float, float]]) -> str:
    """Return one row per sample; `near` holds, by its index, how near one that is not trained on is to the training
    images: the distance, and its ratio to that of the tenth nearest."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(SPLIT_COLUMNS)
    for i, (sample, record) in enumerate(zip(dataset.samples, scan.records, strict=True)):
        label = sample.target.cell(dataset.labels.names)
        cells = ["" if math.isnan(v) else f"{v:.6g}" for v in near.get(i, (math.nan, math.nan))]
        writer.writerow((sample.id, sample.split, label, record.digest, sample.group or "", *cells))
    return buffer.getvalue()
