"""Train with images that a generator draws for rare classes, and measure on real images whether they help."""

__all__ = ["AddGenerated", "drawn_for", "train_with_generated", "with_added"]

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.drawing import CLASS, NOISE, noise_of
from eyewright.core.errors import BudgetError, CheckpointError, DatasetError, LeakError, RefusedError, UsageError
from eyewright.core.files import checked_output, write_bytes, write_json
from eyewright.core.inputs import prepare
from eyewright.core.predictor import inputs_of
from eyewright.core.progress import track_progress
from eyewright.core.quoting import quoted
from eyewright.core.report import Report
from eyewright.core.task import task_of
from eyewright.data.dataset import Sample
from eyewright.data.likeness import copy_links
from eyewright.data.tree import FolderTree, JoinedTree
from eyewright.lifecycle.datasets import GENERATED, Say, scan_of
from eyewright.lifecycle.opening import load_model, load_run
from eyewright.training.plan import RunPlan

if TYPE_CHECKING:
    from eyewright.bundle.judge import Judge
    from eyewright.data import Dataset
    from eyewright.training import Recipe
    from eyewright.training.run import Run

FOLDER, RECORD, PAIRS = "generated", "generated.json", "pairs"
_RARE = 0.5
_TRIES, _AT_ONCE, _MOST = 4, 250, 100_000
_FEWEST_S = 3.0


@dataclass(frozen=True)
class AddGenerated:
    """Which images are added to training, and how many pairs of nets tell whether they help.

    Args:
        model: a bundle or a run of the task generate, trained on the same data with the same split.
        fraction: of the training images of such a class that are to be generated, between 0 and 1.
        labels: the classes; none for those that have fewer than half as many training images as the median class,
            which are filled up to the median at most.
        pairs: how many nets are trained with and without the images, of the same seeds.
    """

    model: str | Path
    fraction: float = 0.5
    labels: tuple[str, ...] = ()
    pairs: int = 3


def train_with_generated(
    dataset: "Dataset",
    recipe: "Recipe",
    folder: Path,
    plan: RunPlan,
    asked: AddGenerated,
    *,
    leaks: str | None,
    train: "Callable[..., Run]",
) -> "Run":
    """Train on a dataset and generated images into `folder`, and pairs of nets with and without them into its `pairs`.

    `dataset` is settled. The first net with the images is the run itself. `run.json` holds under "generated" which
    images were added and the verdict on the validation images (`evaluation.added.compare_pairs`). The deadline of the
    plan is for all nets together.

    Raises:
        UsageError, RefusedError, LeakError: as `drawn_for`.
        BudgetError: the deadline is too near for so many nets.
    """
    from eyewright.evaluation.added import compare_pairs, say_added
    from eyewright.training.distributed import launched_by_torchrun

    if recipe.private:
        raise UsageError("expected --add-generated without --private, found both", fix="leave one out")
    if launched_by_torchrun():
        raise UsageError("--add-generated is not supported with torchrun", fix="start it without torchrun")
    if plan.resume:
        _check_begun(folder, asked)
    merged, about = drawn_for(dataset, asked, folder / FOLDER, seed=recipe.seed, quiet=plan.quiet, say=plan.say)
    counts = ", ".join(f"{n:,} of {label!r}" for label, n in about["images"].items())
    plan.say(f"generated images in training: {counts}; {_said_left_out(about['left_out'])}")
    jobs = []
    for k in range(asked.pairs):
        jobs.append((merged, folder if k == 0 else folder / PAIRS / f"{k}-with", k))
        jobs.append((dataset, folder / PAIRS / f"{k}-without", k))
    runs: list[Run] = []
    for i, (data, place, k) in enumerate(jobs):
        own = replace(recipe, seed=recipe.seed + k)
        end = plan.deadline
        if plan.deadline is not None:
            # What is left is divided among the nets that are left.
            part = (plan.deadline - time.monotonic()) / (len(jobs) - i)
            if part < _FEWEST_S:
                raise BudgetError(
                    f"the budget is too short for {len(jobs)} nets ({asked.pairs} with and without generated images)",
                    fix="give a larger --budget, or fewer --generated-pairs",
                )
            end, own = time.monotonic() + part, replace(own, budget_s=part)
        if plan.resume and (place / "run.json").exists():
            runs.append(load_run(place))
            _check_same(runs[-1], data)
            continue
        plan.say(f"net {i + 1} of {len(jobs)}: {'with' if data is merged else 'without'} generated images, seed {k}")
        started = plan.resume and any((place / "checkpoints" / n).exists() for n in ("last", "previous"))
        notes = {**plan.notes, **({"generated": about} if data is merged else {})}
        run = train(
            data,
            own,
            place,
            replace(plan, deadline=end, reserve=plan.reserve if i == 0 else None, resume=started, notes=notes),
            leaks=leaks,
        )
        runs.append(run)
    pairs = [(runs[2 * k + 1].predictor, runs[2 * k].predictor) for k in range(asked.pairs)]
    verdict = compare_pairs(pairs, dataset.val, list(about["images"]), seed=recipe.seed)
    main = replace(runs[0], about={**runs[0].about, "generated": {**about, "verdict": verdict}})
    write_json(folder / "run.json", dict(main.about))
    plan.say(say_added(main.about["generated"]))
    return main


def drawn_for(
    dataset: "Dataset", asked: AddGenerated, place: Path, *, seed: int = 0, quiet: bool = True, say: Say
) -> "tuple[Dataset, dict[str, Any]]":
    """Generate images for the rare classes of a split dataset into `place`; return it with them, and what was done.

    An image is left out if the generator's judge classifies it as another class or finds it nearer to a training image
    than 99 % of held-out images are, or if the check of `doctor` finds it to be a copy of a real image of any part or
    of another generated one. Their ids begin with `GENERATED`, they are in train alone, and their files say that a
    model made them.

    Raises:
        UsageError: the task does not support it; the model draws no images; no class is rare; a class that is not
            there; a fraction or number out of range.
        RefusedError: the generator has other classes, does not say what it was trained on, or draws nothing usable.
        LeakError: the generator has learnt from images of the dataset's validation or test part.
    """
    task_of(dataset.task).require("generated")
    if not 0 < asked.fraction < 1:
        raise UsageError(
            f"expected a fraction between 0 and 1, found {asked.fraction:g}", fix="change --generated-fraction"
        )
    if not 1 <= asked.pairs <= 100:
        raise UsageError(f"expected 1 to 100 pairs of nets, found {asked.pairs}", fix="change --generated-pairs")
    if any(s.id.startswith(GENERATED) for s in dataset.samples):
        raise DatasetError(f"the data holds a folder {GENERATED!r}, which generated images need", fix="rename it")
    wanted = _wanted(dataset, asked)
    predictor, owner = load_model(asked.model)
    inputs = inputs_of(predictor)
    if set(inputs) != {NOISE, CLASS}:
        raise UsageError(
            f"expected a model that generates images, found one for {predictor.task_name!r}",
            fix="train one with --task generate on the same data",
        )
    _check_classes(predictor.labels.names, dataset.labels.names)
    _check_seen(predictor, owner, dataset)
    judge = predictor.judge
    if judge is None:
        raise RefusedError("the generator has no judge, so its images cannot be checked", fix="train it again")
    drawn, left_out = _draw(predictor, judge, wanted, quiet=quiet)
    from eyewright.lifecycle.generating import digest_of

    digest = digest_of(predictor, owner)
    samples = _write(drawn, place, dataset, digest)
    merged = with_added(dataset, place, samples)
    merged, copies = _without_copies(merged, place, quiet=quiet)
    left_out["copies_of_files"] = copies
    kept = dict.fromkeys(wanted, 0)
    for sample in merged.samples[len(dataset.samples) :]:
        kept[sample.target.cell(dataset.labels.names)] += 1
    kept = {label: n for label, n in kept.items() if n}
    if not kept:
        raise RefusedError(
            f"no generated image can be used: {_said_left_out(left_out)}", fix="train the generator longer"
        )
    for label, n in wanted.items():
        if kept.get(label, 0) < n:
            say(f"{kept.get(label, 0):,} of {n:,} requested images of {label!r} could be generated")
    about = {
        "model": digest,
        "fraction": asked.fraction,
        "wanted": wanted,
        "images": kept,
        "left_out": left_out,
    }
    write_json(place / RECORD, {**about, "labels": list(asked.labels)})
    for line in _smaller(merged, len(dataset.samples)):
        say(line)
    return merged.with_samples(merged.samples, f"{sum(kept.values())} generated images"), about


def with_added(dataset: "Dataset", place: Path, samples: Sequence[Sample]) -> "Dataset":
    """Return a dataset with images that were drawn for it into `place`, under `GENERATED`."""
    tree = JoinedTree(dataset.tree, {GENERATED: FolderTree(place)})
    return replace(dataset, tree=tree, samples=(*dataset.samples, *samples))


def measured_again(report: Report, owner: "Run | None", dataset: "Dataset", *, seed: int, quiet: bool) -> Report:
    """Return the report of a run with generated images: what was added, the verdict on validation images, and the same
    comparison on the images of the report, as `tables["generated"]`, facts and a finding."""
    from eyewright.evaluation.added import added_finding, compare_pairs, say_added

    about = {} if owner is None else owner.about.get("generated") or {}
    if owner is None or not about:
        return report
    facts = {"generated images": say_added(about)}
    table = dict(about)
    pairs = [_pair_at(owner, k) for k in range((about.get("verdict") or {}).get("pairs", 0))]
    if pairs and all(p is not None for p in pairs):
        measured = compare_pairs([p for p in pairs if p is not None], dataset, list(about["images"]), seed=seed)
        table["measured"] = measured
        facts["generated images, on these"] = say_added({**about, "verdict": measured}, on="measured")
    found = added_finding(about)
    findings = (*report.sections.get("findings", ()), *([] if found is None else [found]))
    sections = {**report.sections, "facts": {**report.sections.get("facts", {}), **facts}, "findings": findings}
    return replace(report, tables={**report.tables, "generated": table}, sections=sections)


def _pair_at(owner: "Run", k: int) -> "tuple[Any, Any] | None":
    """Return the nets without and with generated images of a pair; None where a run was moved without them."""
    without, own = owner.folder / PAIRS / f"{k}-without", owner.folder / PAIRS / f"{k}-with"
    if not (without / "run.json").is_file() or (k and not (own / "run.json").is_file()):
        return None
    return load_run(without).predictor, (load_run(own) if k else owner).predictor


def _wanted(dataset: "Dataset", asked: AddGenerated) -> dict[str, int]:
    """Return how many images are wanted of each class.

    Raises:
        UsageError: no class is rare, or one is not there.
    """
    counts = dataset.train.counts()
    middle = float(np.median([n for n in counts.values() if n]))
    share = asked.fraction / (1 - asked.fraction)
    if asked.labels:
        task = task_of(dataset.task)
        names = [dataset.labels.names[task.label_id(name, dataset.labels.names)] for name in asked.labels]
        return {name: min(_MOST, max(1, round(share * counts[name]))) for name in dict.fromkeys(names)}
    rare = {name: n for name, n in counts.items() if 0 < n < _RARE * middle}
    if not rare:
        raise UsageError(
            f"expected a class with fewer than half of the {middle:g} training images of the median class, found none",
            fix="name classes with --generated-for",
        )
    return {name: max(1, min(round(share * n), int(middle) - n)) for name, n in rare.items()}


def _check_classes(theirs: Sequence[str], ours: Sequence[str]) -> None:
    """Refuse a generator of other classes.

    Raises:
        RefusedError: they differ.
    """
    lacking, foreign = [n for n in ours if n not in theirs], [n for n in theirs if n not in ours]
    if lacking or foreign:
        differ = [f"it does not know {', '.join(map(repr, lacking[:5]))}"] if lacking else []
        differ += [f"it also knows {', '.join(map(repr, foreign[:5]))}"] if foreign else []
        raise RefusedError(
            f"expected a generator of the {len(ours)} classes of the data, found one of {len(theirs)}: "
            f"{'; '.join(differ)}",
            fix="train the generator on the same data",
            code="other_classes",
        )


def _check_seen(predictor: Any, owner: Any, dataset: "Dataset") -> None:
    """Refuse a generator that has learnt from validation or test images: what it draws would give them away.

    Raises:
        RefusedError: it does not say what it was trained on.
        LeakError: it has learnt from some of them.
    """
    split = (
        dict(getattr(predictor, "split", {}))
        if owner is None
        else {r["sha256"]: r["split"] for r in owner.split_rows()}
    )
    if not split:
        raise RefusedError(
            "the generator does not say which images it was trained on", fix="use a bundle that `run` or `export` made"
        )
    scan = scan_of(dataset)
    seen: dict[str, int] = {}
    for sample, record in zip(dataset.samples, scan.records, strict=True):
        part = split.get(record.digest)
        # Its validation images chose its epoch: that may be the same images here, but not ones to be tested on.
        if (part == "train" and sample.split in ("val", "test")) or (part == "val" and sample.split == "test"):
            seen[str(sample.split)] = seen.get(str(sample.split), 0) + 1
    if seen:
        counts = " and ".join(f"{n:,} {part}" for part, n in sorted(seen.items()))
        raise LeakError(
            f"the generator has learnt from {counts} images of this data, so its images would leak them",
            fix="train the generator on the same data with the same --seed and --group-by, which split it in one way",
        )


def _draw(
    predictor: Any, judge: "Judge", wanted: Mapping[str, int], *, quiet: bool
) -> tuple[dict[str, list[tuple[int, NDArray[np.uint8]]]], dict[str, int]]:
    """Return (seed, image) for each class, and how many were left out and why; up to four are drawn for one kept."""
    from eyewright.metrics.generation import copy_test

    inputs, names = inputs_of(predictor), predictor.labels.names
    found: dict[str, list[tuple[int, NDArray[np.uint8]]]] = {}
    left_out = {"other_class": 0, "near_training": 0}
    seed = 0
    with track_progress("drawing", sum(wanted.values()), quiet=quiet) as advance:
        for label, n in wanted.items():
            class_id, tried = names.index(label), 0
            own: list[tuple[int, NDArray[np.uint8]]] = []
            judged = judge.labels.names.index(label) if label in judge.labels.names else -1
            while len(own) < n and tried < _TRIES * n:
                size = min(_AT_ONCE, _TRIES * n - tried)
                seeds = range(seed, seed + size)
                examples = [{NOISE: noise_of(s, inputs[NOISE].shape), CLASS: class_id} for s in seeds]
                raw = np.asarray(predictor.raw(prepare(inputs, examples)[0])["image"])
                images: NDArray[np.uint8] = np.clip(np.rint(raw), 0, 255).astype(np.uint8)
                features, ids = judge(images)
                near = copy_test(judge.train, judge.held_out, features).near
                seed, tried, before = seed + size, tried + size, len(own)
                for s, image, other, copied in zip(seeds, images, ids != judged, near, strict=True):
                    if len(own) == n:
                        break
                    if other or copied:
                        left_out["other_class" if other else "near_training"] += 1
                        continue
                    own.append((s, image))
                advance(len(own) - before, label)
            found[label] = own
    return found, left_out


def _write(
    drawn: Mapping[str, Sequence[tuple[int, NDArray[np.uint8]]]], place: Path, dataset: "Dataset", digest: str
) -> list[Sample]:
    """Write the images as PNG files that say what they are; return them as training samples."""
    from eyewright.imaging.marking import marked_png

    samples = []
    with checked_output(place):
        place.mkdir(parents=True, exist_ok=True)
    for label, images in drawn.items():
        k = dataset.labels.names.index(label)
        target = dataset.kind.of_cell(label, dataset.labels.names)
        assert target is not None, "a task with the option has targets of one class"
        for seed, image in images:
            # Names of classes may hold anything, numbers are files everywhere.
            name = f"{k:03d}-{seed:07d}.png"
            write_bytes(place / name, marked_png(image, {"model": digest, "class": label, "seed": str(seed)}))
            samples.append(Sample(GENERATED + name, target, "train"))
    return samples


def _without_copies(merged: "Dataset", place: Path, *, quiet: bool) -> "tuple[Dataset, int]":
    """Return the dataset without generated images that are copies of real or of earlier generated ones, and how many
    these were: by the same check as `doctor`."""
    scan = scan_of(merged, quiet=quiet)
    made = [s.id.startswith(GENERATED) for s in merged.samples]
    first: dict[str, int] = {}
    out = set()
    for i, record in enumerate(scan.records):
        if first.setdefault(record.digest, i) != i and made[i]:
            out.add(i)
    for link in copy_links(merged, scan):
        i, j = sorted((link.i, link.j))
        # Generated images come last, so the second of two is one if either is.
        if made[j]:
            out.add(j)
    for i in out:
        (place / merged.samples[i].id.removeprefix(GENERATED)).unlink(missing_ok=True)
    return merged.with_samples(s for i, s in enumerate(merged.samples) if i not in out), len(out)


def _smaller(merged: "Dataset", real: int) -> list[str]:
    """Warn where generated images are much smaller than real ones: a net may tell a class by its sharpness."""
    records = scan_of(merged).records
    sides = [max(r.info.size_hw) if r.info is not None else 0 for r in records]
    ours, theirs = float(np.median(sides[:real])), float(np.median(sides[real:]))
    if theirs >= ours / 2:
        return []
    return [
        f"warning: generated images have {theirs:g} pixels on their longer side, real ones {ours:g}: a net can "
        "recognise them by their sharpness; train the generator with a larger --imgsz"
    ]


def _said_left_out(left_out: Mapping[str, int]) -> str:
    words = {
        "other_class": "classified as another class",
        "near_training": "too close to training images",
        "copies_of_files": "copies of real or other generated images",
    }
    said = [f"{n:,} {words[k]}" for k, n in left_out.items() if n]
    return f"left out: {', '.join(said)}" if said else "none left out"


def _check_begun(folder: Path, asked: AddGenerated) -> None:
    """Refuse to continue a run with other generated images than it was started with.

    Raises:
        CheckpointError: the fraction or the classes differ.
    """
    path = folder / FOLDER / RECORD
    if not path.is_file():
        return
    try:
        started = json.loads(path.read_text("utf-8"))
        same = started["fraction"] == asked.fraction and tuple(started["labels"]) == asked.labels
    except (ValueError, KeyError, TypeError):
        same = True
    if not same:
        raise CheckpointError(
            f"the run in {quoted(folder)} was started with other options of --add-generated",
            fix="resume with the same options, or choose another --out",
        )


def _check_same(run: "Run", data: "Dataset") -> None:
    known = {(r["id"], r["split"]) for r in run.split_rows()}
    if known != {(s.id, str(s.split)) for s in data.samples}:
        raise CheckpointError(
            f"the net in {quoted(run.folder)} was trained on other images", fix="use another --out, or the same data"
        )
