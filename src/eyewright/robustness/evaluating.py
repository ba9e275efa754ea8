"""Attack a model on a dataset: choose images, check the measurement, run the suite, return the report."""

__all__ = ["attack_predictor", "pixels_of", "white_of"]

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import BudgetError, DatasetError, MissingExtraError
from eyewright.core.predictor import Predictor
from eyewright.core.progress import track_progress
from eyewright.core.report import Metric
from eyewright.core.rng import generator
from eyewright.core.task import task_of
from eyewright.data.dataset import Dataset
from eyewright.metrics.bootstrap import resample
from eyewright.metrics.points import group_numbers
from eyewright.robustness.attacks import attacks_in
from eyewright.robustness.checks import check_passes, run_checks, settle_randomness
from eyewright.robustness.corruptions import corrupted_accuracy, spatial_worst
from eyewright.robustness.loop import CHUNK, Chunk, Plan, attack_images, check_resumable, join_chunks
from eyewright.robustness.model import ScoreModel, Victim, is_right
from eyewright.robustness.report import Corrupted, RobustnessReport, fallen_of, levels_of, measure
from eyewright.robustness.threat import Norm, check_norm

if TYPE_CHECKING:
    from eyewright.robustness.white import White

CHECKED = 128
"""Images that the checks of the measurement use."""

# With a budget, the fraction of it that the checks may take, and the images that they need.
_OF_THE_BUDGET = 0.4
_FEWEST_CHECKED = 16
_CHUNKS = 4
_CORRUPTED = 200
_EPS: Mapping[tuple[str, int], tuple[float, ...]] = {
    ("linf", 1): (0.05, 0.1, 0.2, 0.3),
    ("linf", 3): (1 / 255, 2 / 255, 4 / 255, 8 / 255),
    ("l2", 1): (0.5, 1.0, 2.0),
    ("l2", 3): (0.25, 0.5, 1.0),
}
"""The bounds that are attacked by default, by the norm and the number of channels: those of the literature on MNIST and
on colour images."""


def attack_predictor(
    predictor: Predictor,
    dataset: Dataset,
    *,
    suite: str = "standard",
    attacks: tuple[str, ...] | None = None,
    norm: Norm = "linf",
    eps: tuple[float, ...] | None = None,
    steps: int = 50,
    restarts: int = 1,
    queries: int = 1000,
    n: int = 1000,
    seed: int = 0,
    trained_for: float | None = None,
    deadline: float | None = None,
    work: Path | None = None,
    resume: bool = False,
    model: Mapping[str, Any] | None = None,
    quiet: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> RobustnessReport:
    """Return how robust a model is on `n` images of a dataset, drawn by `seed`.

    A predictor with a net is attacked by its gradients, any other by its scores: then what is left is an upper bound.
    `eps` defaults to what the literature uses, with `trained_for`, the bound the model was trained against, among them.
    With `deadline`, a value of `time.monotonic`, the report is about the images that were attacked until then.

    Raises:
        UsageError: the task has no attacks, or an option is wrong.
        DatasetError: no image, one class, or no image that is predicted right.
        BudgetError: the deadline passed before the first images were attacked.
    """
    started = time.monotonic()
    task = task_of(predictor.task_name)
    task.require("attack")
    check_norm(norm)
    scores = ScoreModel(predictor)
    victim = white_of(predictor) or scores
    chosen = attacks_in(suite, attacks, gradients=not victim.on_grid)
    dataset = dataset.relabelled(predictor.labels)
    _check(dataset, predictor)
    # In random order, so that a budget that ends early leaves a fair sample.
    rows = generator(seed, "attacked").permutation(len(dataset))[:n]
    pixels, labels = pixels_of(predictor, dataset, rows), np.asarray(dataset.targets, np.int64)[rows]
    bounds = eps or _EPS[(norm, 1 if pixels.shape[-1] == 1 else 3)]
    if trained_for is not None and eps is None:
        bounds = tuple(sorted({e for e in bounds if e < trained_for - 1e-9} | {trained_for}))
    plan = Plan(norm, bounds, chosen, steps, restarts, queries, seed)
    identity = {**(model or {}), "ids": _digest(dataset, rows)}
    if resume and work is not None:
        # Before the checks, which take minutes.
        check_resumable(work, plan, identity)
    threats = plan.threats
    headline = next((e for e in bounds if trained_for is not None and abs(e - trained_for) < 1e-9), bounds[-1])
    images = pixels.astype(np.float32) / np.float32(255)
    checked = _affordable(victim, images, plan, deadline)
    clean = is_right(victim.scores(images[:checked]), labels[:checked])
    if not clean.any():
        raise DatasetError(
            f"expected images that the model predicts right, found none among {len(clean)}",
            fix="check that the data shows what the model was trained on",
        )
    say(f"checking the measurement on {len(clean)} images")
    check_started = time.monotonic()
    apart = settle_randomness(victim, images[:checked])
    predicted = predictor.raw(pixels[:checked])[task.outputs[0].name].argmax(1)
    threat = next(t for t in threats if t.eps == headline)
    checks = run_checks(
        victim,
        predicted,
        images[:checked],
        labels[:checked],
        plan,
        threat,
        apart=apart,
        n_classes=len(predictor.labels),
        late=lambda: deadline is not None and time.monotonic() >= deadline,
        say=lambda check: say(f"{check.status:5} {check.name}: {check.said}"),
    )
    chunk = None
    if deadline is not None:
        # The checks cost an image about what the attack within one bound costs it. Several chunks fit in what is left.
        each = (time.monotonic() - check_started) / len(clean) * len(bounds)
        chunk = int(np.clip((deadline - time.monotonic()) / _CHUNKS / each, 1, CHUNK))
    found = _run(victim, pixels, labels, plan, work, resume, identity, deadline, chunk, quiet)
    done = len(found.rows)
    names = predictor.labels.names
    groups = group_numbers([dataset.samples[int(i)].group for i in rows])[:done]
    report = RobustnessReport(
        task=predictor.task_name,
        plan=plan,
        access="scores" if victim.on_grid else "gradients",
        n=done,
        asked=len(rows),
        clean=measure(found.clean, groups),
        levels=levels_of(found, plan, groups),
        checks=checks,
        fallen=fallen_of(found, plan, pixels, labels, [dataset.samples[int(i)].id for i in rows], names),
        invalid=int(found.invalid.sum()),
        headline_eps=headline,
        model=dict(model or {}),
        data=dataset.describe(),
        warnings=_warnings(done, len(rows), int(found.invalid.sum())),
    )
    if suite == "full" and attacks is None:
        report = _with_other_changes(report, victim, pixels[:done], labels[:done], groups, seed, deadline, quiet)
    return replace(report, seconds=time.monotonic() - started)


def _affordable(victim: Victim, images: NDArray[np.float32], plan: Plan, deadline: float | None) -> int:
    """Return how many images the checks use; a budget is for the attack, of which they take a part."""
    if deadline is None:
        return CHECKED
    few = images[:_FEWEST_CHECKED]
    # The first pass also allocates.
    victim.scores(few)
    started = time.monotonic()
    victim.scores(few)
    now = time.monotonic()
    each = max(now - started, 1e-6) / max(1, len(few)) * check_passes(plan, gradients=not victim.on_grid)
    return int(np.clip(_OF_THE_BUDGET * (deadline - now) / each, _FEWEST_CHECKED, CHECKED // 2))


def white_of(predictor: Predictor) -> "White | None":
    """Return the net of a predictor for gradient attacks; None where there is no net."""
    net = getattr(predictor, "net", None)
    if net is None or not hasattr(net, "of_unit"):
        return None
    from eyewright.robustness.white import White

    return White(net)


def pixels_of(predictor: Predictor, dataset: Dataset, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return some images of a dataset as the model takes them, uint8 (N, H, W, C)."""
    parts = []
    for start in range(0, len(rows), 128):
        images = dataset.examples(predictor.preparation, [int(i) for i in rows[start : start + 128]])
        parts.append(predictor.preparation.batch(list(images))[0])
    return np.concatenate(parts)


def _check(dataset: Dataset, predictor: Predictor) -> None:
    if not len(dataset):
        raise DatasetError("expected images to attack, found none", fix="check the dataset")
    if len(predictor.labels) < 2:
        raise DatasetError(
            f"expected a model of at least 2 classes, found {len(predictor.labels)}", fix="use another model"
        )


def _digest(dataset: Dataset, rows: NDArray[np.int64]) -> str:
    import hashlib

    text = "\n".join(
        f"{dataset.samples[int(i)].id}\t{dataset.samples[int(i)].target.text(dataset.labels.names)}" for i in rows
    )
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _run(
    victim: Victim,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    plan: Plan,
    work: Path | None,
    resume: bool,
    identity: dict[str, Any],
    deadline: float | None,
    chunk: int | None,
    quiet: bool,
) -> Chunk:
    with track_progress("attacking", len(pixels), quiet=quiet) as advance:
        chunks = list(
            attack_images(
                victim, pixels, labels, plan, folder=work, resume=resume, identity=identity, deadline=deadline,
                chunk=chunk, advance=advance,
            )
        )  # fmt: skip
    if not chunks:
        raise BudgetError(
            "the budget ended before an image was attacked",
            fix="give a larger --budget, or fewer --attacks or --eps",
            details={"attacked": 0},
        )
    return join_chunks(chunks)


def _warnings(done: int, asked: int, invalid: int) -> tuple[str, ...]:
    found = []
    if done < asked:
        found.append(f"The budget ended after {done:,} of {asked:,} images; the rest was not attacked.")
    if invalid:
        found.append(f"{invalid:,} changed images were outside the bound and count as failures of the attack.")
    return tuple(found)


def _with_other_changes(
    report: RobustnessReport,
    victim: Victim,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    seed: int,
    deadline: float | None,
    quiet: bool,
) -> RobustnessReport:
    """Add accuracies under rotations and shifts, a patch and the corruptions, as far as the deadline lets."""
    few = slice(0, _CORRUPTED)
    extra = {"spatial": measure(spatial_worst(victim, pixels[few], labels[few]), groups[few])}
    if not victim.on_grid:
        from eyewright.robustness.attacks.patch import patched_right

        extra["patch"] = measure(patched_right(victim, pixels, labels, seed=seed)[few], groups[few])  # type: ignore[arg-type]
    corrupted, warnings = None, report.warnings
    with suppress(MissingExtraError), track_progress("corrupting", 15, quiet=quiet) as advance:
        right = corrupted_accuracy(victim, pixels[few], labels[few], seed=seed, deadline=deadline, advance=advance)
        if right:
            error = 1 - np.mean([r.mean(0) for r in right.values()], axis=0)
            corrupted = Corrupted(
                {k: tuple(float(v) for v in r.mean(1)) for k, r in right.items()}, _mean_metric(error, groups[few])
            )
    if corrupted is None:
        warnings = (*warnings, "Corruptions were not measured: they need the pixels extra and time within the budget.")
    elif len(corrupted.accuracy) < 15:
        warnings = (*warnings, f"The budget ended after {len(corrupted.accuracy)} of 15 corruptions.")
    return replace(report, extra=extra, corrupted=corrupted, warnings=warnings)


def _mean_metric(values: NDArray[np.float64], groups: NDArray[np.int64]) -> Metric:
    """Return the mean of a number from 0 to 1 per image, with its interval over groups or images."""
    way = resample(len(values), replicates=1000, rng=generator(0, "corruptions"), groups=groups)
    drawn = np.concatenate([w @ values / w.sum(1) for w in way.weights()])
    low, high = way.bounded(float(values.mean()), drawn)
    return Metric(float(values.mean()), low, high, len(values), way.method, groups=way.n_groups)
