"""The verbs: each stage of a model's life as one function, and `run`, which walks through all of them."""

__all__ = [
    "RunResult",
    "doctor",
    "evaluate",
    "explain",
    "export",
    "formats",
    "info",
    "load_dataset",
    "load_model",
    "load_run",
    "models",
    "predict",
    "quickstart",
    "run",
    "train",
    "verify",
]

import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyewright.core.durations import parse_duration_s, show_duration
from eyewright.core.errors import (
    BudgetError,
    CheckpointError,
    DatasetError,
    LeakError,
    MissingExtraError,
    UsageError,
)
from eyewright.core.report import Finding, Report

if TYPE_CHECKING:
    from eyewright.bundle import Bundle
    from eyewright.data import Dataset, Scan
    from eyewright.explanation import Explanation
    from eyewright.exporting import Parity
    from eyewright.training import Recipe
    from eyewright.training.run import Run

Say = Callable[[str], None]
PathLike = str | Path

# A scan belongs to the files, not to one selection of them: train() after load_dataset() need not read them again.
_scans: "weakref.WeakKeyDictionary[Any, tuple[dict[str, int], Scan]]" = weakref.WeakKeyDictionary()


def _silent(text: str) -> None:
    pass


@dataclass(frozen=True)
class RunResult:
    """What `run` made: the run, the bundle, the report, and where they lie."""

    run: "Run"
    bundle: "Bundle"
    report: Report
    parity: "Parity"
    findings: tuple[Finding, ...]
    paths: Mapping[str, Path]


def load_dataset(
    path: PathLike,
    *,
    seed: int = 0,
    group_by: str | None = None,
    label_depth: int | None = None,
    quiet: bool = True,
    say: Say = _silent,
) -> "Dataset":
    """Read a dataset and split it into train, val and test, leak-safe and stratified; see `data.train` and so on.

    A split that comes with the data is kept. Images that cannot be read are left out, and `notes` says so.

    Raises:
        DatasetError: nothing there, of no known format, or too small to split.
    """
    from eyewright.data import open_dataset, split_dataset

    dataset = open_dataset(path, label_depth=label_depth)
    say(f"found {dataset.describe()}")
    scan = _scan_of(dataset, quiet=quiet)
    readable = scan.readable
    if not readable.any():
        first = next(r.error for r in scan.records if r.error is not None)
        raise DatasetError(
            f"none of the {len(dataset)} images can be read; the first, {dataset.samples[0].id!r}: {first.message}",
            fix=first.fix,
        )
    if not readable.all():
        bad = [s.id for s, ok in zip(dataset.samples, readable, strict=True) if not ok]
        note = f"{len(bad)} of {len(readable)} images cannot be read and are left out, such as {bad[0]!r}"
        kept = (s for s, ok in zip(dataset.samples, readable, strict=True) if ok)
        dataset = dataset.with_samples(kept, note)
        say(note)
    return split_dataset(dataset, scan=_scan_of(dataset), seed=seed, group_by=group_by)


def doctor(
    path: PathLike, *, label_depth: int | None = None, quiet: bool = True, say: Say = _silent
) -> tuple[Finding, ...]:
    """Audit a dataset as it lies on disk: every finding with file, reason and fix, the most serious first.

    Raises:
        DatasetError: nothing there, or of no known format.
    """
    from eyewright.data import audit_dataset, open_dataset

    dataset = open_dataset(path, label_depth=label_depth)
    say(f"found {dataset.describe()}")
    return audit_dataset(dataset, _scan_of(dataset, quiet=quiet))


def train(
    data: "Dataset | PathLike",
    *,
    model: str | None = None,
    epochs: int | None = None,
    budget: str | float | None = None,
    out: PathLike | None = None,
    recipe: "Recipe | None" = None,
    resume: bool = False,
    allow_leaks: bool = False,
    group_by: str | None = None,
    label_depth: int | None = None,
    workers: int | None = None,
    step: Any = None,
    quiet: bool = True,
    say: Say = _silent,
    **options: Any,
) -> "Run":
    """Train a classifier and write a run folder, `runs/classify/<name>` unless `out` names another.

    `options` are fields of `Recipe` (lr, optimizer, loss, batch, imgsz, ...). With `budget` ("10m") training ends
    annealed when the time is over, counted from this call.

    Raises:
        DatasetError, LeakError: the data cannot be trained on; `allow_leaks` overrides a leak and is written down.
        UsageError: an option that is unknown or out of range.
    """
    started = time.monotonic()
    _need_torch()
    resolved = _recipe(recipe, model=model, epochs=epochs, budget=budget, **options)
    _check_model(resolved.model)
    dataset = _dataset(data, seed=resolved.seed, group_by=group_by, label_depth=label_depth, quiet=quiet, say=say)
    deadline = None if resolved.budget_s is None else started + resolved.budget_s - 1.0
    folder = Path(out) if out is not None else _free_folder(Path("runs") / resolved.task, dataset.root.stem)
    return _train(dataset, resolved, folder, deadline, resume, allow_leaks, workers, step, quiet, say)


def _train(
    dataset: "Dataset",
    recipe: "Recipe",
    folder: Path,
    deadline: float | None,
    resume: bool,
    allow_leaks: bool,
    workers: int | None,
    step: Any,
    quiet: bool,
    say: Say,
) -> "Run":
    from eyewright.catalog import build_of
    from eyewright.data import audit_dataset, find_leaks
    from eyewright.training.fit import plain_step
    from eyewright.training.session import train_classifier

    scan = _scan_of(dataset, quiet=quiet)
    findings = audit_dataset(dataset, scan)
    leaks = find_leaks(findings)
    if leaks and not allow_leaks:
        raise LeakError(
            f"{len(leaks)} image{'s' * (len(leaks) != 1)} on both sides of the split: "
            f"{leaks[0].path!r} is {leaks[0].message}",
            fix="see eyewright doctor; remove them, or override with --allow-leaks",
        )
    if deadline is not None and deadline - time.monotonic() < 2:
        raise BudgetError("the budget is too short to train in", fix="give a larger --budget")
    say(dataset.describe() + "".join(f"; {n}" for n in dataset.notes))
    warning = f"Trained with {len(leaks)} images on both sides of the split (--allow-leaks): results are too good."
    return train_classifier(
        dataset,
        scan,
        recipe,
        folder=folder,
        build_of=build_of,
        deadline=deadline,
        resume=resume,
        workers=workers,
        step=step or plain_step,
        notes={
            "data_path": str(dataset.root.resolve()),
            "audit": findings,
            "warnings": [warning] if leaks else [],
        },
        quiet=quiet,
        say=say,
    )


def evaluate(
    model: "Run | Bundle | PathLike",
    data: "Dataset | PathLike | None" = None,
    *,
    out: PathLike | None = None,
    split: str | None = None,
    allow_leaks: bool = False,
    label_depth: int | None = None,
    seed: int = 0,
    quiet: bool = True,
    pictures: Mapping[str, Mapping[str, Any]] | None = None,
) -> Report:
    """Measure a run or a bundle; with `out` the report is written there as HTML, JSON and Markdown.

    `data` is a dataset, or a path. A run without `data` is measured on its own test part. Of a path the part `split`
    is used, else its test part, else all of it. Images that the run was trained on are refused (`allow_leaks`).

    Raises:
        LeakError: some of the images were trained on.
        DatasetError: the data holds a class that the model does not know.
    """
    from eyewright.evaluation import evaluate_predictor, write_report
    from eyewright.evaluation.pictures import choose_pictures

    predictor, owner = load_model(model)
    warnings = list(owner.about.get("warnings", [])) if owner is not None else []
    if data is None:
        if owner is None:
            raise UsageError("expected data to evaluate the bundle on, found none", fix="pass a dataset")
        dataset = _part_of_run(owner, split or "test")
    else:
        dataset = _part_of_path(data, split, label_depth) if isinstance(data, str | Path) else data
        known = _known_images(owner)
        if known:
            seen = _count_seen(dataset, known, quiet=quiet)
            if seen and not allow_leaks:
                raise LeakError(
                    f"{seen} of the {len(dataset)} images were trained on", fix="use other images, or --allow-leaks"
                )
            warnings += [f"{seen} of these {len(dataset)} images were trained on (--allow-leaks)."] if seen else []
    report = evaluate_predictor(
        predictor,
        dataset,
        seed=seed,
        sections=_sections(owner, warnings, dataset),
        provenance=_report_provenance(predictor, owner),
        quiet=quiet,
    )
    if out is not None:
        shown = pictures if pictures is not None else choose_pictures(report, dataset)
        write_report(report, Path(out), title=_title(predictor, owner), pictures=shown)
    return report


def explain(
    model: "Run | Bundle | PathLike",
    source: Any,
    *,
    method: str | None = None,
    label: str | None = None,
    out: PathLike | None = None,
    seed: int = 0,
) -> "list[Explanation]":
    """Explain predictions as heatmaps, each with a faithfulness verdict; with `out` overlays and arrays are written.

    `method` is "gradcam", "integrated-gradients" or "occlusion"; a run defaults to the first, a bundle to the last.

    Raises:
        UsageError: an unknown method or label, or a gradient method on a bundle.
    """
    from eyewright.explanation import explain_images
    from eyewright.imaging.sources import iter_images

    predictor, owner = load_model(model)
    frames = list(iter_images(source))
    found = explain_images(
        predictor,
        [f.image for f in frames],
        method=method or ("gradcam" if owner is not None else "occlusion"),
        net=None if owner is None else owner.net,
        label=label,
        sources=[f.origin for f in frames],
        seed=seed,
    )
    if out is not None:
        _write_explanations(found, Path(out))
    return found


def _write_explanations(found: "Sequence[Explanation]", out: Path) -> None:
    import io

    import numpy as np

    from eyewright.core.files import write_bytes, write_json
    from eyewright.imaging import shrink, write_image

    for i, one in enumerate(found):
        stem = f"{i:03d}-{Path(one.source).stem or 'image'}-{one.method}"
        write_image(out / f"{stem}.png", shrink(one.overlay(), 448))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, heat=one.heat, pixels=one.pixels)
        write_bytes(out / f"{stem}.npz", buffer.getvalue())
    write_json(out / "explanations.json", [e.to_json() for e in found])


def export(
    model: "Run | PathLike",
    out: PathLike,
    *,
    validation: "Dataset | PathLike | None" = None,
    report: Report | None = None,
    name: str | None = None,
) -> "Bundle":
    """Export a run as a bundle at `out`; refused unless it answers as the trained net does on every validation image.

    The validation images are read again from where the run found them, or from `validation`.

    Raises:
        ParityError: the exported model disagrees; nothing is left at `out`.
    """
    return _export(model, out, validation=validation, report=report, name=name)[0]


def _export(
    model: "Run | PathLike",
    out: PathLike,
    *,
    validation: "Dataset | PathLike | None" = None,
    report: Report | None = None,
    name: str | None = None,
) -> "tuple[Bundle, Parity]":
    _need_torch()
    from eyewright.exporting import export_bundle

    owner = load_run(model) if isinstance(model, str | Path) else model
    if validation is None:
        validation = _part_of_run(owner, "val")
    elif isinstance(validation, str | Path):
        validation = load_dataset(validation).val
    names = ("report.html", "report.json")
    files = {n: (owner.folder / n).read_bytes() for n in names if (owner.folder / n).exists()}
    if report is None and "report.json" in files:
        report = _read_metrics(files["report.json"])
    return export_bundle(owner, Path(out), validation=validation, report=report, report_files=files, name=name)


def verify(path: PathLike) -> "Bundle":
    """Check a bundle: every digest, the model's tensors, the golden pairs; give it, ready to predict.

    Raises:
        BundleError: it is not what was exported, or does not run as it did.
    """
    from eyewright.bundle import load_bundle

    return load_bundle(_bundle_folder(Path(path)))


def predict(model: "Bundle | Run | PathLike", source: Any, *, stream: bool = False) -> Any:
    """Predict an image, several, a folder or a glob; see `Bundle.predict`.

    Raises:
        BundleError, InputError: as `verify` and `iter_images`.
    """
    from eyewright.bundle import Bundle

    bundle = model if isinstance(model, Bundle) else verify(model if isinstance(model, str | Path) else model.folder)
    return bundle.predict(source, stream=stream)


def run(
    data: PathLike,
    *,
    task: str = "classify",
    budget: str | float | None = None,
    out: PathLike | None = None,
    recipe: "Recipe | None" = None,
    allow_leaks: bool = False,
    group_by: str | None = None,
    label_depth: int | None = None,
    workers: int | None = None,
    quiet: bool = True,
    say: Say = _silent,
    **options: Any,
) -> RunResult:
    """Walk the whole life cycle: audit → split → train → evaluate → explain → export → verify.

    `budget` is for all of it; a sixth of it, between 12 s and a minute, is kept for what comes after training.

    Raises:
        EyewrightError: as the single verbs; what was finished stays in the run folder.
    """
    started = time.monotonic()
    _need_torch()
    if task != "classify":
        raise UsageError(f"unknown task {task!r}", fix="this version knows --task classify")
    resolved = _recipe(recipe, budget=budget, **options)
    _check_model(resolved.model)
    dataset = load_dataset(data, seed=resolved.seed, group_by=group_by, label_depth=label_depth, quiet=quiet, say=say)
    folder = Path(out) if out is not None else _free_folder(Path("runs") / task, dataset.root.stem)
    deadline = None
    if resolved.budget_s is not None:
        kept = min(60.0, max(12.0, resolved.budget_s / 6))
        deadline = started + resolved.budget_s - kept
        if deadline - time.monotonic() < 3:
            raise BudgetError(
                f"expected a budget of {show_duration(time.monotonic() - started + kept + 3)} or more for this data, "
                f"found {show_duration(resolved.budget_s)}",
                fix="give a larger --budget",
            )
    owner = _train(dataset, resolved, folder, deadline, False, allow_leaks, workers, None, quiet, say)
    findings = tuple(owner.about["audit"])
    for finding in findings[:5]:
        say(str(finding))
    if len(findings) > 5:
        say(f"and {len(findings) - 5} more findings: see the report")
    report, paths = _report_of_run(owner, dataset, quiet=quiet)
    say(f"test: accuracy {report.metrics['accuracy']}")
    bundle, parity = _export(owner, folder / "bundle", validation=dataset.val, report=report)
    say(
        f"bundle verified: {parity.n} validation images answered alike, "
        f"probabilities within {parity.worst:.1e} of the trained net"
    )
    paths = {"run": folder, "bundle": folder / "bundle", **paths}
    return RunResult(owner, bundle, report, parity, findings, {k: p.resolve() for k, p in paths.items()})


def _report_of_run(owner: "Run", dataset: "Dataset", *, quiet: bool) -> tuple[Report, dict[str, Path]]:
    """Evaluate a run on its test part and write its report, with heatmaps for the surest mistakes."""
    from eyewright.evaluation import write_report
    from eyewright.evaluation.pictures import choose_pictures
    from eyewright.explanation import METHODS, explain_images
    from eyewright.imaging import data_uri, shrink

    test = dataset.test
    report = evaluate(owner, test, allow_leaks=bool(owner.about["warnings"]), quiet=quiet)
    pictures = choose_pictures(report, test)
    wrong = [i for i in report.items if not i["right"] and i["id"] in pictures][:12]
    method = next(iter(METHODS)) if _has_convolution(owner) else "occlusion"
    images = [test.image(i["index"]) for i in wrong]
    for item, found in zip(wrong, explain_images(owner.predictor, images, method=method, net=owner.net), strict=True):
        picture = pictures[item["id"]]
        picture["heat"] = data_uri(shrink(found.overlay(), 112))
        picture["verdict"], picture["faithful"] = str(found.verdict), found.verdict.faithful
    return report, write_report(report, owner.folder, title=_title(owner.predictor, owner), pictures=pictures)


def quickstart(
    out: PathLike = "eyewright-quickstart", *, quiet: bool = True, say: Say = _silent, **options: Any
) -> RunResult:
    """Walk the whole life cycle on real images that ship with scikit-learn: 1,797 handwritten digits.

    They are written to `out/digits` as an ImageFolder first, so that the way is the way of a user's own folder.

    Raises:
        MissingExtraError: scikit-learn or torch is not installed.
        OutputError: `out` cannot be written.
    """
    _need_torch()
    from eyewright.data import write_digits

    out = Path(out)
    say(f"writing 1,797 real handwritten digits to {out / 'digits'}")
    write_digits(out / "digits")
    return run(out / "digits", out=_free_folder(out, "run"), quiet=quiet, say=say, **options)


def models() -> dict[str, str]:
    """Give the networks there are: name → what it is."""
    from eyewright.catalog import MODELS

    return {name: about for name, (_, about) in MODELS.items()}


def formats() -> dict[str, dict[str, str]]:
    """Give what can be read: dataset formats and image formats."""
    from eyewright.data import DATASET_FORMATS
    from eyewright.imaging import FORMATS

    return {"datasets": dict(DATASET_FORMATS), "images": {k: " ".join(v) for k, v in FORMATS.items()}}


def info() -> dict[str, Any]:
    """Give versions and hardware."""
    from eyewright.core.provenance import describe_machine

    return describe_machine()


def load_run(folder: PathLike) -> "Run":
    """Read a run folder.

    Raises:
        CheckpointError: no finished run is there.
    """
    _need_torch()
    from eyewright.catalog import build_of
    from eyewright.training.run import read_run

    return read_run(Path(folder), build_of)


def load_model(model: Any) -> "tuple[Any, Run | None]":
    """Give the Predictor behind a bundle, a run or the path of either, and the run if it is one.

    Raises:
        CheckpointError, BundleError: nothing that can be used is there.
    """
    if isinstance(model, str | Path):
        folder = Path(model)
        if (folder / "bundle.json").exists():
            return verify(folder), None
        if not (folder / "run.json").exists():
            raise CheckpointError(f"expected a run or a bundle, found neither at {str(folder)!r}", fix="check the path")
        model = load_run(folder)
    if hasattr(model, "predictor"):
        return model.predictor, model
    return model, None


def _bundle_folder(path: Path) -> Path:
    """A run folder stands for the bundle inside it."""
    inner = path / "bundle"
    return inner if not (path / "bundle.json").exists() and (inner / "bundle.json").exists() else path


def _scan_of(dataset: "Dataset", *, quiet: bool = True) -> "Scan":
    from eyewright.data import Scan, scan_dataset

    known = _scans.get(dataset.tree)
    if known is None or any(s.id not in known[0] for s in dataset.samples):
        scan = scan_dataset(dataset, quiet=quiet)
        _scans[dataset.tree] = ({s.id: i for i, s in enumerate(dataset.samples)}, scan)
        return scan
    import numpy as np

    chosen = np.array([known[0][s.id] for s in dataset.samples], dtype=np.int64)
    scan = known[1]
    if len(chosen) == len(scan.records) and bool((chosen == np.arange(len(chosen))).all()):
        return scan
    return Scan(tuple(scan.records[i] for i in chosen), scan.hashes[chosen], scan.thumbnails[chosen])


def _dataset(data: "Dataset | PathLike", **options: Any) -> "Dataset":
    if isinstance(data, str | Path):
        return load_dataset(data, **options)
    if not {"train", "val"} <= set(data.splits):
        raise DatasetError("expected a dataset with train and val", fix="load it with eyewright.load_dataset")
    return data


def _part_of_path(path: PathLike, split: str | None, label_depth: int | None) -> "Dataset":
    from eyewright.data import open_dataset

    dataset = open_dataset(path, label_depth=label_depth)
    if split is not None and split not in ("train", "val", "test"):
        raise UsageError(f"unknown split {split!r}", fix="use train, val or test")
    chosen = split or ("test" if "test" in dataset.splits else None)
    return dataset if chosen is None else dataset.part(chosen)  # type: ignore[arg-type]


def _part_of_run(owner: "Run", split: str) -> "Dataset":
    """Open the data that a run was trained on, and give a part as the run's own `split.csv` says, by name."""
    from eyewright.data import open_dataset

    rows = {r["id"]: r for r in owner.split_rows() if r["split"] == split}
    path = Path(owner.about["data_path"])
    if not path.exists():
        raise DatasetError(f"the run's data is no longer at {str(path)!r}", fix="pass the dataset")
    depth = {label.count("/") + 1 for label in owner.labels.names}
    dataset = open_dataset(path, label_depth=None if len(depth) > 1 or depth == {1} else depth.pop())
    here = {s.id: s for s in dataset.samples}
    missing = [i for i in rows if i not in here]
    if missing:
        raise DatasetError(
            f"{len(missing)} of the run's {split} images are gone, such as {missing[0]!r}", fix="pass the dataset"
        )
    samples = (replace(here[i], split=split, target=owner.labels.id(r["label"])) for i, r in rows.items())  # type: ignore[arg-type]
    return replace(dataset, labels=owner.labels, samples=tuple(samples))


def _known_images(owner: "Run | None") -> set[str]:
    """Give the digests of the images that a run has learnt from: those it was trained and validated on."""
    if owner is None:
        return set()
    return {r["sha256"] for r in owner.split_rows() if r["split"] in ("train", "val")}


def _count_seen(dataset: "Dataset", known: set[str], *, quiet: bool) -> int:
    return sum(r.digest in known for r in _scan_of(dataset, quiet=quiet).records)


def _sections(owner: "Run | None", warnings: list[str], dataset: "Dataset") -> dict[str, Any]:
    sections: dict[str, Any] = {"warnings": warnings}
    facts: dict[str, Any] = {"data": dataset.describe()}
    if owner is not None:
        about = owner.about
        sections |= {
            "history": owner.history(),
            "recipe": owner.recipe.to_json(),
            "audit": [f if isinstance(f, Finding) else Finding(**f) for f in about.get("audit", [])],
        }
        training = about["training"]
        facts |= {
            "net": f"{about['model']}, {about['parameters']:,} weights",
            "augmentation": about["augmentation"],
            "training": f"{training['epochs']} epochs in {show_duration(training['seconds'])}; {training['stopped']}",
            "best epoch": f"{training['best_epoch']}, validation accuracy {training['val_accuracy']:.4f}",
            "temperature": f"{owner.temperature:.3f}, fitted on {about['calibration']['n']} validation images",
        }
    return {**sections, "facts": facts}


def _report_provenance(predictor: Any, owner: "Run | None") -> dict[str, Any]:
    about = owner.about if owner is not None else dict(predictor.manifest.provenance)
    keys = ("dataset", "seed", "versions", "hardware", "commit")
    return {k: about[k] for k in keys if about.get(k) is not None}


def _title(predictor: Any, owner: "Run | None") -> str:
    if owner is None:
        return str(predictor.manifest.name)
    return f"{owner.about['dataset']['name']}: {owner.recipe.model}"


def _read_metrics(data: bytes) -> Report:
    import json

    from eyewright.core.report import Metric

    content = json.loads(data)
    metrics = {k: Metric(**v) for k, v in content["metrics"].items()}
    return Report(content["task"], tuple(content["labels"]), content["n"], metrics)


def _recipe(
    recipe: "Recipe | None" = None,
    *,
    model: str | None = None,
    epochs: int | None = None,
    budget: str | float | None = None,
    **options: Any,
) -> "Recipe":
    from eyewright.training import Recipe

    named = {k: v for k, v in {**options, "model": model, "epochs": epochs}.items() if v is not None}
    if budget is not None:
        named["budget_s"] = parse_duration_s(budget)
    given = recipe.to_json() if recipe is not None else {}
    if "epochs" in named and "budget_s" not in named:
        given.pop("budget_s", None)
    if "budget_s" in named and "epochs" not in named:
        given.pop("epochs", None)
    return Recipe.from_mapping({**given, **named})


def _check_model(name: str) -> None:
    """Refuse a wrong model name before an hour of anything."""
    from eyewright.catalog import build_of

    if name != "auto":
        build_of(name)


def _has_convolution(owner: "Run") -> bool:
    return any(p.ndim == 4 for p in owner.net.parameters())


def _free_folder(parent: Path, name: str) -> Path:
    """Give `parent/name`, or `name-2` and so on where that is taken."""

    def candidates() -> Iterator[Path]:
        yield parent / name
        k = 2
        while True:
            yield parent / f"{name}-{k}"
            k += 1

    return next(p for p in candidates() if not p.exists())


def _need_torch() -> None:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise MissingExtraError(
            "training, and reading a run, need torch, which is not installed", fix="pip install 'eyewright[train]'"
        )
