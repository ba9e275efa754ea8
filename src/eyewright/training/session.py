"""Train a classifier on a split dataset: from samples to a run folder."""

__all__ = ["Builder", "pixel_scaling", "train_classifier"]

import csv
import io
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError
from eyewright.core.files import write_json, write_text
from eyewright.core.provenance import describe_machine
from eyewright.data.dataset import Dataset
from eyewright.data.scan import Scan, dataset_fingerprint
from eyewright.metrics.calibration import fit_temperature, operating_points, uncalibrated
from eyewright.metrics.classification import expected_calibration_error
from eyewright.nets.pixels import parameter_count
from eyewright.training.augment import plan_augmentation
from eyewright.training.cache import build_cache
from eyewright.training.defaults import choose_preparation, resolve_recipe
from eyewright.training.distributed import rank_of
from eyewright.training.fit import fit
from eyewright.training.loop import FitData
from eyewright.training.objectives import classification_objective
from eyewright.training.predictor import choose_device
from eyewright.training.recipe import Recipe, write_recipe
from eyewright.training.run import Builder, Run, build_net, open_run_folder
from eyewright.training.steps import Step, plain_step


def train_classifier(
    dataset: Dataset,
    scan: Scan,
    recipe: Recipe,
    *,
    folder: Path,
    build_of: Callable[[str], Builder],
    deadline: float | None = None,
    resume: bool = False,
    workers: int | None = None,
    step: Step = plain_step,
    observe: Callable[[Mapping[str, str]], None] = lambda row: None,
    notes: Mapping[str, Any] | None = None,
    quiet: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Run:
    """Train on `dataset.train`, choose the best epoch on `dataset.val`, and write a run folder.

    `scan` is of the same samples, all readable. `deadline` is a `time.monotonic` value. `notes` go into `run.json`.
    `observe` is called with every epoch's row. Started by `torchrun`, the first process writes and the
    others only compute.

    Raises:
        DatasetError: fewer than two classes, or a class without a training image.
        RefusedError: the loss stopped being a number.
    """
    _check_classes(dataset)
    leads = rank_of() == 0
    device = choose_device(recipe.device)
    published: Any = build_of(recipe.model) if recipe.model.startswith("hf:") else None
    preparation = choose_preparation(scan, recipe, published)
    resolved = resolve_recipe(recipe, sum(s.split == "train" for s in dataset.samples), preparation)
    build = published or build_of(resolved.model)
    with open_run_folder(folder, resume=resume):
        index = {s.id: i for i, s in enumerate(dataset.samples)}

        def pixels_of(part: Dataset) -> NDArray[np.uint8]:
            digests = tuple(scan.records[index[s.id]].digest for s in part.samples)
            return build_cache(part, preparation, digests=digests, workers=workers, quiet=quiet)

        train, val = dataset.train, dataset.val
        ids = tuple(s.id for s in train.samples)
        data = FitData(pixels_of(train), train.targets, pixels_of(val), val.targets, ids)
        scaling = getattr(build, "scaling", None) or pixel_scaling(data.train_pixels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(resolved.seed)
            net = build_net(build, resolved, dataset.labels, preparation, scaling)
        augmentation = plan_augmentation(resolved, grey=preparation.channels == 1, n_train=len(train))
        weights = _class_weights(train.targets, len(dataset.labels)) if resolved.class_weights else None
        say(
            f"{resolved.model} with {parameter_count(net):,} weights on {preparation.size_hw[1]}x"
            f"{preparation.size_hw[0]}x{preparation.channels} pixels; augmentation: {augmentation.describe()}"
        )
        if leads:
            if published is not None:
                published.write(folder / "hub", net.body)
            write_recipe(folder / "recipe.toml", resolved)
            write_text(folder / "split.csv", _split_csv(dataset, scan))
        started = time.monotonic()
        result = fit(
            net,
            data,
            resolved,
            objective=classification_objective(resolved, weights),
            augmentation=augmentation,
            measure=_measure,
            main_metric="accuracy",
            folder=folder / "checkpoints",
            device=device,
            step=step,
            deadline=deadline,
            resume=resume,
            quiet=quiet,
            say=say,
            observe=observe if leads else lambda row: None,
        )
        logits = _logits(net, data.val_pixels, device)
        about = {
            "task": resolved.task,
            "model": resolved.model_name,
            "parameters": parameter_count(net),
            "labels": list(dataset.labels.names),
            "preparation": preparation.to_json(),
            "scaling": scaling,
            "augmentation": augmentation.describe(),
            **_calibration(logits, data.val_targets, dataset.labels.names),
            "training": {
                "best_epoch": result.best_epoch,
                "epochs": len(result.history),
                "steps": result.steps,
                "val_accuracy": result.best_score,
                "stopped": result.stopped,
                "seconds": round(time.monotonic() - started, 1),
            },
            "dataset": {
                "name": dataset.name,
                "format": dataset.format,
                "fingerprint": dataset_fingerprint(dataset, scan),
                "images": {s: sum(x.split == s for x in dataset.samples) for s in dataset.splits},
                "notes": list(dataset.notes),
            },
            "seed": resolved.seed,
            **describe_machine(),
            **(notes or {}),
        }
        if leads:
            write_json(folder / "run.json", about)
        say(f"{result.stopped}; best epoch {result.best_epoch}, validation accuracy {result.best_score:.4f}")
    return Run(folder, resolved, dataset.labels, preparation, about, build)


def _check_classes(dataset: Dataset) -> None:
    if len(dataset.labels) < 2:
        only = f": {dataset.labels.names[0]!r}" if len(dataset.labels) else ""
        raise DatasetError(
            f"expected at least 2 classes, found {len(dataset.labels)}{only}", fix="add a folder of another class"
        )
    seen = set(dataset.train.targets.tolist())
    lacking = [n for i, n in enumerate(dataset.labels.names) if i not in seen]
    if lacking:
        raise DatasetError(
            f"class {lacking[0]!r} has no image to train on", fix="add images of it to train, or remove the class"
        )


def pixel_scaling(pixels: NDArray[np.uint8]) -> dict[str, list[float]]:
    """Give mean and std a channel of pixels in [0, 1], from at most 4,096 evenly spaced images."""
    some = pixels[:: max(1, len(pixels) // 4096)]
    mean = some.mean((0, 1, 2), dtype=np.float64) / 255
    std = np.sqrt((some.astype(np.float32) ** 2).mean((0, 1, 2), dtype=np.float64) / 255**2 - mean**2)
    return {"mean": [round(float(m), 6) for m in mean], "std": [round(max(float(s), 0.02), 6) for s in std]}


def _class_weights(targets: NDArray[np.int64], n_classes: int) -> torch.Tensor:
    counts = np.maximum(np.bincount(targets, minlength=n_classes), 1)
    return torch.tensor(len(targets) / (n_classes * counts), dtype=torch.float32)


def _measure(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> dict[str, float]:
    top = logits.max(1, keepdims=True)
    log_sum = np.log(np.exp(logits - top).sum(1)) + top[:, 0]
    loss = float((log_sum - logits[np.arange(len(targets)), targets]).mean())
    return {"loss": loss, "accuracy": float((logits.argmax(1) == targets).mean())}


def _calibration(
    logits: NDArray[np.float32], targets: NDArray[np.int64], names: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """Fit the temperature and every class's operating point, both on the validation images."""
    temperature = fit_temperature(logits, targets)
    scaled = logits.astype(np.float64) / temperature
    scaled = np.exp(scaled - scaled.max(1, keepdims=True))
    after = scaled / scaled.sum(1, keepdims=True)
    errors = {
        f"ece_{when}": expected_calibration_error(p.max(1), p.argmax(1) == targets)
        for when, p in (("before", uncalibrated(after, temperature)), ("after", after))
    }
    points = {name: asdict(point) for name, point in zip(names, operating_points(targets, after), strict=True)}
    return {
        "calibration": {"method": "temperature", "temperature": temperature, "n": len(targets), **errors},
        "thresholds": {"method": "largest F1 of the class against the rest, on validation images", "classes": points},
    }


def _logits(net: torch.nn.Module, pixels: NDArray[np.uint8], device: torch.device) -> NDArray[np.float32]:
    with torch.inference_mode():
        parts = [
            net(torch.from_numpy(np.ascontiguousarray(pixels[i : i + 256])).to(device)).cpu().numpy()
            for i in range(0, len(pixels), 256)
        ]
    return np.concatenate(parts)


def _split_csv(dataset: Dataset, scan: Scan) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("id", "split", "label", "sha256"))
    for sample, record in zip(dataset.samples, scan.records, strict=True):
        writer.writerow((sample.id, sample.split, dataset.labels.names[sample.target], record.digest))
    return buffer.getvalue()
