"""Make a model smaller and faster within a budget of what it may lose."""

__all__ = ["CompressResult", "compress"]

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eyewright.catalog import build_of
from eyewright.core.durations import parse_duration_s
from eyewright.core.errors import BudgetError, DatasetError, RefusedError, UsageError
from eyewright.core.predictor import inputs_of
from eyewright.core.report import Report
from eyewright.core.task import task_of
from eyewright.imaging.preparation import image_preparation
from eyewright.imaging.sources import iter_images
from eyewright.lifecycle.datasets import (
    PathLike,
    Say,
    data_of_run,
    fingerprint_of,
    ignored_by,
    load_dataset,
    scan_of,
    settled,
    silent,
    target_of,
)
from eyewright.lifecycle.loading import need_torch
from eyewright.lifecycle.opening import free_folder, load_model, load_run, refuse_private, run_in
from eyewright.lifecycle.stages import evaluate, export_checked
from eyewright.lifecycle.teaching import teacher_for, with_unlabelled

if TYPE_CHECKING:
    from eyewright.bundle import Bundle
    from eyewright.compression.rows import Row
    from eyewright.compression.search import Search, SearchResult
    from eyewright.compression.trials import Parent
    from eyewright.core.labels import LabelSpace
    from eyewright.data import Dataset
    from eyewright.training.run import Run

_DEFAULT_S = 600.0


@dataclass(frozen=True)
class CompressResult:
    """The smaller bundle, its report on test images, the chosen configuration, and everything that was tried;
    `process` holds seconds to the first prediction and peak bytes of memory of a whole process, before and after."""

    bundle: "Bundle"
    report: Report
    winner: "Row"
    search: "SearchResult"
    paths: dict[str, Path]
    process: dict[str, dict[str, float | None]]


def compress(
    model: "Run | PathLike",
    *,
    data: "Dataset | PathLike | None" = None,
    out: PathLike | None = None,
    max_drop: Sequence[str] = (),
    min_speedup: str | float | None = None,
    max_bytes: str | int | None = None,
    methods: Sequence[str] | None = None,
    budget: str | float | None = None,
    teacher: Any = None,
    students: Sequence[str] = (),
    unlabelled: PathLike | None = None,
    calibration: PathLike | None = None,
    threads: int | None = None,
    resume: bool = False,
    ignore: Sequence[str] = (),
    seed: int = 0,
    quiet: bool = True,
    say: Say = silent,
) -> CompressResult:
    """Look for a smaller model that keeps what the user asks for, and write it as a bundle.

    `max_drop` bounds what may be lost on held-out images, absolute ("accuracy=1%" is one point; the default is one
    point of the main metric; of an error "mae=0.5" is in its unit, "mae=5%", the default, relative to the model's
    own error); `min_speedup` and `max_bytes` say what must be gained. Where they do, the first way
    that fits wins; else the fastest that fits. `methods` are some of `compression.METHODS`, tried from cheap to
    expensive. `budget` is the time for all of it (default 10 minutes, or as long as the model was trained). `teacher`,
    a bundle, a run or `hf:` and a folder, stands for the model itself as the one to learn from; `students` are
    catalogue nets to distil into. `unlabelled` images are learnt from too; ranges are calibrated on training images or
    on those in `calibration`.

    `out` becomes a folder with the bundle, a report and what the search needs to be resumed.

    Raises:
        BudgetError: nothing fits; the report and the best that was found are in `out`.
        RefusedError: the model has no weights to learn from, or the teacher knows other classes.
        DatasetError: no images to measure on.
    """
    from eyewright.compression.budget import parse_budget
    from eyewright.compression.search import METHODS, Search

    need_torch()
    started = time.monotonic()
    name = Path(model).name if isinstance(model, str | Path) else model.folder.name
    folder = Path(out) if out is not None else free_folder(Path("runs") / "compressed", name)
    if resume and out is None:
        raise UsageError("expected --out with --resume, found none", fix="name the folder to continue in")
    predictor = load_model(model)[0]
    task_of(predictor.task_name).require("compress")
    image_preparation(inputs_of(predictor), "compress")
    parent = _parent_of(model, data, folder, ignore=ignore, seed=seed, quiet=quiet, say=say)
    task = parent.bundle.task_name
    refuse_private(parent.bundle.manifest.provenance, "compress")
    bounds = parse_budget(
        task, max_drop, min_speedup=min_speedup, max_bytes=max_bytes, labels=parent.bundle.labels.names
    )
    wanted = tuple(methods) if methods is not None else tuple(m for m in METHODS if m != "sparse")
    if calibration is not None:
        parent = _calibrated_on(parent, calibration, seed=seed, say=say)
    own = parent.bundle
    taught = None if teacher is None else teacher_for(teacher, task, own.labels, own.preparation)
    if unlabelled is not None:
        taught_by = own if taught is None else taught[0]
        data_ = with_unlabelled(parent.data, unlabelled, taught_by, folder / "unlabelled", quiet=quiet, say=say)
        parent = replace(parent, data=data_, scan=scan_of(data_, quiet=quiet))
    seconds = parse_duration_s(budget) if budget is not None else max(_DEFAULT_S, parent.seconds)
    search = Search(
        parent,
        bounds,
        folder,
        methods=wanted,
        seconds=max(1.0, seconds - (time.monotonic() - started)),
        build_of=build_of,
        teacher=None if taught is None else taught[1],
        students=students,
        asked=methods is not None,
        threads=threads,
        resume=resume,
        seed=seed,
        quiet=quiet,
        say=say,
    )
    found = search.run()
    if found.winner is None:
        page = _write_pages(folder, parent, bounds, found, None, None)
        raise BudgetError(
            f"no configuration fits the budget: {_nearest(found)}",
            fix=f"allow a larger budget, or see {page}",
            details={
                "out": {"report": str(page.resolve())},
                "pareto": [_point(r) for r in found.front],
                "tried": [_point(r) for r in found.rows],
            },
        )
    return _finish(search, found, parent, bounds, folder, name=name, quiet=quiet, say=say)


def _finish(
    search: "Search",
    found: "SearchResult",
    parent: "Parent",
    bounds: Any,
    folder: Path,
    *,
    name: str,
    quiet: bool,
    say: Say,
) -> CompressResult:
    """Measure the winner as any model is, and write its bundle and the page."""
    from eyewright.compression.writer import write_compressed
    from eyewright.delivery.benchmark import whole_process
    from eyewright.evaluation import write_report

    winner = found.winner
    assert winner is not None
    judged = search.judge_held_out(winner)
    base, precise = search.base_of(winner), search.precise_of(winner)
    candidate = search.candidate(winner)
    part = parent.data.test if "test" in parent.data.splits else parent.data.val
    report = evaluate(candidate, part, allow_leaks=True, quiet=quiet)
    title = f"{parent.bundle.manifest.name}, {winner.name}"
    files = write_report(report, folder / "evaluation", title=title, pictures={})
    compression = {
        "way": winner.name,
        "how": winner.how,
        "bytes": winner.bytes,
        "parent_bytes": search.parent_bytes,
        "speedup": dict(winner.speedup),
        "method": winner.method,
        "kept_in_float": list(winner.keep),
        "budget": bounds.to_json(),
        "measured_on": {"split": "test" if "test" in parent.data.splits else "val", "images": judged.n}
        | ({} if judged.groups is None else {"groups": judged.groups}),
        "drops": {k: asdict(m) for k, m in judged.drops.items()},
        "changed": [dict(c) for c in judged.changed[:200]],
        "changed_answers": len(judged.changed),
    }
    bundle = write_compressed(
        base,
        precise,
        folder / "bundle",
        parent=parent.digest,
        policy=parent.bundle.manifest.policy,
        compression=compression,
        validation=parent.data.val,
        familiar=parent.bundle,
        report=report,
        report_files={k: files["report"].with_name(k).read_bytes() for k in ("report.html", "report.json")},
        name=f"{parent.bundle.manifest.name}-{winner.name}",
    )
    process: dict[str, dict[str, float | None]] = {}
    for when, place in (("before", parent.bundle.folder), ("after", bundle.folder)):
        start_s, memory = whole_process(place)
        process[when] = {"start_s": round(start_s, 3), "memory_bytes": memory}
    page = _write_pages(folder, parent, bounds, found, judged, bundle, process)
    say(f"{winner.name}: {winner.how}")
    paths = {"bundle": bundle.folder, "report": page, "search": folder / "search.json"}
    return CompressResult(bundle, report, winner, found, {k: p.resolve() for k, p in paths.items()}, process)


def _parent_of(
    model: "Run | PathLike",
    data: "Dataset | PathLike | None",
    folder: Path,
    *,
    ignore: Sequence[str],
    seed: int,
    quiet: bool,
    say: Say,
) -> "Parent":
    """Open what is to be made smaller, and the images it is to be judged on."""
    from eyewright.bundle import load_bundle
    from eyewright.bundle.verify import bundle_digest
    from eyewright.compression.trials import Parent, calibration_pixels

    owner: Run | None = None
    if isinstance(model, str | Path) and (Path(model) / "bundle.json").exists():
        bundle = load_bundle(Path(model))
        if bundle.manifest.parent:
            raise RefusedError(
                f"expected an uncompressed model, found one compressed by {bundle.manifest.compression.get('way')}",
                fix="compress the model that it was made from",
                code="already_compressed",
            )
        dataset = _data_for(bundle, data, ignore, seed=seed, quiet=quiet, say=say)
        dataset = _settled_as(bundle.manifest.provenance, dataset, quiet=quiet)
        made_from = (bundle.manifest.provenance.get("dataset") or {}).get("fingerprint")
        if made_from is not None and made_from != fingerprint_of(dataset, quiet=quiet):
            say("warning: this is not the data that the bundle was trained on, or not split as it was then")
        owner = run_in(bundle)
    else:
        owner = load_run(model) if isinstance(model, str | Path) else model
        dataset = (
            data_of_run(owner)
            if data is None
            else _split(
                data, owner.task_name, owner.labels, ignore or ignored_by(owner), seed=seed, quiet=quiet, say=say
            )
        )
        dataset = _settled_as(owner.about, dataset, among=frozenset() if data is None else None, quiet=quiet)
        place = folder / "parent"
        inner = owner.folder / "bundle"
        if (inner / "bundle.json").exists() and _same_weights(owner, inner):
            bundle = load_bundle(inner)
        else:
            made = (place / "bundle.json").exists() and _same_weights(owner, place)
            bundle = load_bundle(place) if made else export_checked(owner, place, validation=dataset.val)[0]
    for split in ("train", "val"):
        if split not in dataset.splits:
            raise DatasetError(f"expected images of {split} to compress with, found none", fix="pass data with a split")
    dataset = dataset.seen_by(*bundle.inputs.values())
    scan = scan_of(dataset, quiet=quiet)
    readable = {s.id for s, ok in zip(dataset.samples, scan.readable, strict=True) if ok}
    if len(readable) < len(dataset):
        dataset = dataset.select(lambda s: s.id in readable)
        scan = scan_of(dataset, quiet=quiet)
    training = (owner.about if owner is not None else bundle.manifest.provenance).get("training") or {}
    return Parent(
        bundle,
        bundle_digest(bundle.folder),
        dataset,
        scan,
        owner,
        calibration_pixels(dataset.train, bundle),
        float(training.get("seconds") or 0.0),
    )


def _same_weights(owner: "Run", inner: Path) -> bool:
    """Return whether the bundle inside a run was made from its present weights."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        kept = load((inner / "model.safetensors").read_bytes())
    except (OSError, SafetensorError):
        return False
    own = owner.net.state_dict()
    return all(k in own and kept[k].shape == own[k].shape and bool((kept[k] == own[k]).all()) for k in kept)


def _settled_as(
    about: Mapping[str, Any], dataset: "Dataset", *, among: frozenset[str] | None = None, quiet: bool
) -> "Dataset":
    """Return the dataset without the copies that were left out of the model's training too."""
    rule = ((about.get("dataset") or {}).get("leaks") or {}).get("rule")
    return settled(dataset, "drop" if rule == "drop" else "allow", quiet=quiet, among=among)


def _split(
    data: "Dataset | PathLike",
    task: str,
    labels: "LabelSpace",
    ignore: Sequence[str],
    *,
    seed: int,
    quiet: bool,
    say: Say,
) -> "Dataset":
    if not isinstance(data, str | Path):
        return data
    target = target_of(task, labels)
    return load_dataset(data, task=task, ignore=ignore, target=target, seed=seed, quiet=quiet, say=say)


def _data_for(
    bundle: "Bundle",
    data: "Dataset | PathLike | None",
    ignore: Sequence[str],
    *,
    seed: int,
    quiet: bool,
    say: Say,
) -> "Dataset":
    if data is None:
        raise UsageError(
            "expected --data with a bundle, found none", fix="pass the images it was trained on, or compress its run"
        )
    own_seed = bundle.manifest.provenance.get("seed")
    own = own_seed if isinstance(own_seed, int) else seed
    dataset = _split(data, bundle.task_name, bundle.labels, ignore, seed=own, quiet=quiet, say=say)
    if set(dataset.labels.names) != set(bundle.labels.names):
        raise DatasetError("the data does not have the classes of the model", fix="pass the data it was trained on")
    return dataset.relabelled(bundle.labels)


def _calibrated_on(parent: "Parent", place: PathLike, *, seed: int, say: Say) -> "Parent":
    """Take calibration images from a folder, and warn where they are not like those the model knows."""
    from eyewright.imaging.appearance import appearance
    from eyewright.monitoring.drift import Sample, drift_between

    images = [f.image for f in iter_images(place)][:256]
    pixels, placements = parent.bundle.preparation.batch(images)
    reference = Sample.of_reference(parent.bundle.reference, parent.bundle.task_name)
    if reference is not None and len(images) >= 8:
        looks = np.array([appearance(p, q) for p, q in zip(pixels, placements, strict=True)], np.float32)
        # Only what the images look like is asked; so the answers of both are the same.
        flat = Sample(reference.looks, np.zeros((len(reference), 1), np.float32))
        window = Sample(looks, np.zeros((len(looks), 1), np.float32))
        drift = drift_between(flat, window, rng=np.random.default_rng(seed))
        if drift.p <= 0.01:
            moved = ", ".join(drift.moved[:3]) or drift.tests[0]["name"]
            say(
                f"warning: the {len(images)} calibration images are not like those the model was validated on "
                f"(p = {drift.p:.3f}; {moved}); ranges found on them may not fit"
            )
    return replace(parent, calibration=pixels)


def _nearest(found: "SearchResult") -> str:
    measured = [r for r in found.rows if r.state == "measured"]
    if not measured:
        reasons = [r.reason for r in found.rows if r.reason]
        return reasons[-1] if reasons else "no configuration could be tried"
    best = min(measured, key=lambda r: (len(r.breaks), -r.speedup["value"]))
    return f"the nearest is {best.name} ({'; '.join(best.breaks)})"


def _point(row: "Row") -> dict[str, Any]:
    kept = {k: v for k, v in asdict(row).items() if v not in ("", (), {})}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in kept.items() if k != "metrics"}


def _write_pages(
    folder: Path,
    parent: "Parent",
    bounds: Any,
    found: "SearchResult",
    judged: Any,
    bundle: "Bundle | None",
    process: Any = None,
) -> Path:
    from eyewright.compression.pages import write_pages

    return write_pages(folder, parent, bounds, found, judged, bundle, process=process)
