"""The verbs: each calls one function of the same name and prints the result."""

__all__ = ["NUMBERS", "VERBS", "WORDS"]

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from eyewright.cli import (
    anonymizing,
    anywhere,
    attacking,
    attending,
    auditing,
    browsing,
    clusters,
    completion,
    doctoring,
    evaluating,
    explaining,
    federating,
    field,
    following,
    following_convert,
    forgetting,
    generating,
    listing,
    pictures,
    predicting,
    reading,
    restoring,
    scaling,
    scenes,
    searching,
)
from eyewright.cli.adding import asked_generated, refuse_generated, said_generated
from eyewright.cli.numbers import Fraction, Number
from eyewright.cli.signing import key_password
from eyewright.cli.terminal import (
    Result,
    finding,
    is_quiet,
    metrics,
    per_label,
    shown_path,
    talk,
    warn,
)
from eyewright.cli.training import spread_options, train_elsewhere
from eyewright.cli.uses import uses_of
from eyewright.core.errors import UsageError
from eyewright.core.quoting import quoted

_SHARE = Number(0, 1, whole=False, open_high=True)
_COUNT = Number(1, 1_000_000)
_WEIGHT = Number(0, 1_000_000, whole=False)
NUMBERS: Mapping[str, Number] = {
    "epochs": _COUNT,
    "batch": _COUNT,
    "accumulate": _COUNT,
    "imgsz": Number(4, 16_384),
    "frames": Number(2, 256),
    "span": Number(0.05, 3600, whole=False),
    "lr": _WEIGHT,
    "weight_decay": _WEIGHT,
    "l1": _WEIGHT,
    "dropout": _SHARE,
    "label_smoothing": _SHARE,
    "huber_delta": Number(0, 1_000_000, whole=False, open_low=True),
    "ema": _SHARE,
    "clip_norm": _WEIGHT,
    "patience": _COUNT,
    "warmup": _SHARE,
    "preview": _SHARE,
    "mixup": _WEIGHT,
    "cutmix": _WEIGHT,
    "freeze": _SHARE,
    "layer_decay": Number(0, 1, whole=False, open_low=True),
    "eps": Fraction(0, 255, whole=False),
    "attack_steps": _COUNT,
    "beta": _WEIGHT,
    "sigma": Number(0, 100, whole=False, open_low=True),
}

WORDS = (
    "optimizer", "loss", "schedule", "augment", "flip", "baseline", "activation", "device", "amp", "steps", "degrade",
    "masks",
    "step", "norm",
)  # fmt: skip


def _quickstart(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    return _run_result(lifecycle.quickstart(o.out or "eyewright-quickstart", **talk(o), **recipe_options(o)))


def _run(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    added = asked_generated(o)
    return _run_result(
        lifecycle.run(o.data, out=o.out, add_generated=added, **talk(o), **data_options(o), **recipe_options(o))
    )


def _run_result(done: Any) -> Result:
    from eyewright.evaluation import said_findings, summarise
    from eyewright.evaluation.validation import validation_facts

    text = [
        "",
        summarise(done.report),
        *said_findings(done.report),
        "",
        f"  report   {shown_path(done.paths['report'])}",
    ]
    if done.bundle is not None:
        bundle = shown_path(done.paths["bundle"])
        text += [f"  bundle   {bundle}", "", "Use it:", *uses_of(done.bundle, done.report.task, bundle)]
    return {
        "task": done.report.task,
        "out": dict(done.paths),
        "metrics": metrics(done.report),
        **per_label(done.report),
        "account": done.run.about["dataset"].get("account", {}),
        "leaks": _leaks(done.run.about),
        "validation": validation_facts(done.run.about),
        **({"generated": done.run.about["generated"]} if done.run.about.get("generated") else {}),
        "findings": [finding(f) for f in (*done.findings, *done.report.sections.get("findings", ()))],
        "text": text,
        "exit": 1 if done.bundle is None else 0,
    }


def _train(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle
    from eyewright.evaluation.validation import say_validated, validation_facts

    study = o.folds is not None or o.tune is not None or o.repeats is not None or o.ensemble
    if (o.on is not None or o.processes is not None) and not study:
        return train_elsewhere(o)
    if o.shards is not None and (o.folds is not None or o.tune is not None):
        raise UsageError("expected --shards without --folds and --tune, found them", fix="leave one out")
    if o.folds is not None or o.repeats is not None or o.ensemble:
        refuse_generated(o, "--folds")
        return _train_folds(o)
    if o.tune is not None:
        refuse_generated(o, "--tune")
        return _tune(o)
    run = lifecycle.train(
        o.data,
        out=o.out,
        resume=o.resume,
        weights=o.weights,
        teacher=o.teacher,
        shards=o.shards,
        add_generated=asked_generated(o),
        log=o.log,
        **talk(o),
        **data_options(o),
        **recipe_options(o),
    )
    about = run.about["training"]
    metric = f"val_{about.get('metric', 'accuracy')}"
    value = {"value": about[metric], "low": None, "high": None, "n": run.about["calibration"]["n"]}
    text = [
        f"scored   {say_validated(run.about)}",
        f"run      {shown_path(run.folder)}",
        f"export   eyewright export {shown_path(run.folder)} --out BUNDLE",
    ]
    added = said_generated(run.about)
    return {
        "task": run.task_name,
        "out": {"run": run.folder.resolve()},
        "metrics": {metric: value},
        "account": run.about["dataset"].get("account", {}),
        "leaks": _leaks(run.about),
        "validation": validation_facts(run.about),
        **added,
        "text": text,
        "exit": 1 if any(f["severity"] == "error" for f in added.get("findings", ())) else 0,
    }


def _leaks(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was done about copies between given parts, with the first few of them."""
    return {**about["leaks"], "list": about["leaks"]["list"][:10]}


def _train_folds(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle
    from eyewright.evaluation import show_metric, show_number

    if o.folds is None:
        raise UsageError("expected --folds with --repeats and --ensemble, found none", fix="add --folds 5")
    if o.tune is not None or o.log is not None:
        raise UsageError("expected --folds alone, found it with --tune or --log", fix="leave one out")
    if o.allow_leaks or o.leaks is not None:
        named = "--leaks" if o.leaks is not None else "--allow-leaks"
        raise UsageError(f"expected no {named} with --folds, whose parts never leak", fix="leave it out")
    data = {k: v for k, v in data_options(o).items() if k not in ("leaks", "allow_leaks")}
    found = lifecycle.cross_validate(
        o.data,
        folds=o.folds,
        repeats=o.repeats or 1,
        ensemble=o.ensemble,
        out=o.out,
        resume=o.resume,
        **spread_options(o),
        **talk(o),
        **data,
        **recipe_options(o),
    )
    text = [
        f"{name:20} {show_metric(name, metric)}, spread {show_number(name, found.spread[name], metric.unit)}"
        for name, metric in found.between.items()
    ]
    out = {"run": found.folder.resolve(), "report": (found.folder / "report.html").resolve()}
    if found.ensemble is not None:
        out["ensemble"] = found.ensemble.folder.resolve()
    text += [f"{name:20} {shown_path(path)}" for name, path in out.items()]
    return {
        "task": found.report.task,
        "out": out,
        "metrics": metrics(found.report),
        **per_label(found.report),
        "account": found.runs[0].about["dataset"].get("account", {}),
        "folds": {"between": found.between, "spread": found.spread},
        **({} if o.on is None else {"restarts": found.restarts}),
        "text": text,
    }


def _tune(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle
    from eyewright.evaluation.validation import say_validated, validation_facts

    if o.log is not None:
        raise UsageError("expected --tune without --log, whose trials are in study.db", fix="leave --log out")
    found = lifecycle.tune(
        o.data,
        trials=o.tune,
        out=o.out,
        resume=o.resume,
        **spread_options(o),
        **talk(o),
        **data_options(o),
        **recipe_options(o),
    )
    best = found.run.about["training"]
    metric = f"val_{best.get('metric', 'accuracy')}"
    value = {"value": best[metric], "low": None, "high": None, "n": found.run.about["calibration"]["n"]}
    changed = ", ".join(f"{k} {v}" for k, v in found.chosen.items()) or "the unchanged recipe"
    text = [
        f"chosen   {changed}",
        f"scored   {say_validated(found.run.about)}; it is the best of {found.measured} trials too",
        f"run      {shown_path(found.run.folder)}",
        f"measure  eyewright evaluate {shown_path(found.run.folder)}",
    ]
    return {
        "task": found.run.task_name,
        "out": {"run": found.run.folder.resolve(), "study": (found.folder / "study.db").resolve()},
        "metrics": {metric: value},
        "validation": validation_facts(found.run.about),
        "account": found.run.about["dataset"].get("account", {}),
        "chosen": dict(found.chosen),
        "trials": list(found.trials),
        **({} if o.on is None else {"restarts": found.restarts}),
        "text": text,
    }


def _compare(o: argparse.Namespace) -> Result:
    if o.task is not None:
        return following.compare_tracks(o)
    from eyewright import lifecycle

    found = lifecycle.compare(
        o.a,
        o.b,
        o.data,
        split=o.split,
        label_depth=o.label_depth,
        ignore=tuple(o.ignore),
        allow_leaks=o.allow_leaks,
        group_by=o.group_by,
        seed=o.seed or 0,
        quiet=is_quiet(o),
        say=warn,
    )
    # A model that got worse is a finding: a script that ships B only if it is no worse can go by the exit code.
    return {"task": found.task, "comparison": found.to_json(), "text": [str(found)], "exit": int(found.better == "a")}


def _export(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle
    from eyewright.bundle.policy import parse_policy

    if clusters.is_job_target(o):
        return clusters.export_job(o)
    password = key_password(o)
    if o.to != "onnx":
        return anywhere.export_to(o, password)
    if o.sign is not None and (Path(o.run) / "bundle.json").is_file():
        return _signed_copy(o, password)
    if (Path(o.run) / "bundle.json").is_file():
        raise UsageError(
            f"expected a run to export, found {quoted(o.run)}, which is a bundle and holds its ONNX model in onnx/",
            fix="use it as it is, or take it to another target with --to",
        )
    bundle, parity = lifecycle.export_checked(
        o.run, o.out, validation=o.data, name=o.name, policy=parse_policy(o.policy or []), attention=o.with_attention
    )
    text = [
        f"bundle   {shown_path(bundle.folder)}",
        f"parity   {parity}",
    ]
    out = {"bundle": bundle.folder.resolve()}
    if o.sign is not None:
        out["signature"] = lifecycle.sign(bundle.folder, o.sign, password=password).resolve()
        text.append(f"signed   {shown_path(out['signature'])}")
    return {
        "task": bundle.task_name,
        "out": out,
        "parity": parity.to_json(),
        "text": text,
    }


def _signed_copy(o: argparse.Namespace, password: bytes | None) -> Result:
    """Copy a bundle that exists, and sign the copy; with its own folder as --out it is signed where it is."""
    from eyewright import lifecycle

    if o.name is not None or o.policy or o.with_attention or o.data is not None:
        raise UsageError("expected --sign alone with a bundle, found --name, --policy or --data", fix="omit them")
    signature = lifecycle.sign_copy(o.run, o.out, o.sign, password=password)
    out = {"bundle": signature.parent.resolve(), "signature": signature.resolve()}
    return {"out": out, "text": [f"bundle   {shown_path(out['bundle'])}", f"signed   {shown_path(signature)}"]}


def _verify(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle
    from eyewright.core.task import task_of

    bundle = lifecycle.open_any(o.bundle, key=o.key)
    m = bundle.manifest
    files = f"{len(m.files)} files" if m.files else "all files"
    text = [f"{shown_path(bundle.folder)}: {files} unchanged, golden pairs agree"]
    words = task_of(m.task).words
    labels = f"{words.count(len(m.labels))}, " if words.names_labels else ""
    text.append(f"{m.task}, {labels}{m.takes}")
    signed = "verified" if o.key is not None else "not_checked" if _is_signed(o.bundle, bundle.folder) else "none"
    if o.key is not None:
        text.append(f"signature made with the key of {o.key}")
    elif signed == "not_checked":
        text.append("signature not checked; pass --key PUB to check who signed it")
    out = {"bundle": bundle.folder.resolve()}
    return {"task": m.task, "out": out, "signature": signed, "findings": [], "text": text}


def _is_signed(given: str, opened: Path) -> bool:
    return any((Path(folder) / "model.sig").is_file() for folder in (given, opened))


def _convert(o: argparse.Namespace) -> Result:
    return following_convert.convert_tracks(o) if o.task == following.TRACKS else scenes.convert(o)


def recipe_options(o: argparse.Namespace) -> dict[str, Any]:
    from eyewright.training.recipe import read_recipe

    found = {name: getattr(o, name) for name in (*NUMBERS, *WORDS, "edits", "seed") if getattr(o, name) is not None}
    if o.private is not None:
        found["private"] = " ".join(o.private)
    return {
        **found,
        "task": o.task,
        "model": o.model,
        "budget": o.budget,
        "recipe": None if o.recipe is None else read_recipe(Path(o.recipe)),
    }


def data_options(o: argparse.Namespace) -> dict[str, Any]:
    return {
        "group_by": o.group_by,
        "label_depth": o.label_depth,
        "ignore": tuple(o.ignore),
        "target": o.target,
        "leaks": o.leaks,
        "allow_leaks": o.allow_leaks,
        "label_errors": o.label_errors,
        "workers": o.workers,
    }


VERBS: Mapping[str, tuple[Callable[[argparse.Namespace], Result], str, str]] = {
    "quickstart": (
        _quickstart,
        "run the whole life cycle on handwritten digits that ship with scikit-learn",
        "quickstart",
    ),
    "run": (
        _run,
        "audit, split, train, evaluate, explain, export and verify: folder to bundle",
        "run photos/ --budget 10m",
    ),
    "doctor": (
        doctoring.doctor,
        "find problems in a dataset: unreadable files, duplicates, leaks, wrong labels",
        "doctor photos/ --out audit",
    ),
    "browse": (
        browsing.browse,
        "view a dataset in the web browser: filter, select, correct labels",
        "browse photos/ --run runs/classify/photos",
    ),
    "train": (_train, "train a model and write a run folder", "train photos/ --model conv_net --epochs 10"),
    "harden": (
        _train,
        "train a model that is robust to attacks (adversarial training)",
        "harden photos/ --eps 8/255 --epochs 20",
    ),
    "evaluate": (
        evaluating.evaluate,
        "measure a model on labelled images and write a report",
        "evaluate photos.bundle test-photos/ --out report",
    ),
    "compare": (
        _compare,
        "test whether one model is significantly better than another",
        "compare old.bundle runs/classify/new",
    ),
    "explain": (
        explaining.explain,
        "explain predictions as heatmaps, each tested for faithfulness",
        "explain photos.bundle cat.jpg --out heatmaps",
    ),
    "attack": (
        attacking.attack,
        "measure accuracy under adversarial attack",
        "attack runs/classify/photos --eps 2/255,8/255",
    ),
    "audit-privacy": (
        auditing.audit_privacy,
        "test whether a model reveals its training images, and whether epsilon holds",
        "audit-privacy runs/classify/photos",
    ),
    "anonymize": (
        anonymizing.anonymize,
        "hide faces, plates and text in images and videos, and remove metadata",
        "anonymize photos/ --find faces,plates --detector faces.bundle --out anonymous",
    ),
    "federate": (
        federating.federate,
        "train by federated learning, simulated or between machines (serve, join)",
        "federate photos/ --clients 10 --alpha 0.5 --rounds 20 --strategy median",
    ),
    "forget": (
        forgetting.forget,
        "retrain without some images, and prove that they were not used",
        "forget runs/classify/photos cat/3.jpg --out runs/classify/without",
    ),
    "certify": (
        attacking.certify,
        "certify the accuracy that no attack can lower",
        "certify runs/classify/a --sigma 0.25,0.5",
    ),
    "attend": (
        attending.attend,
        "show the attention weights of a transformer, per layer and head",
        "attend hf:./bert-base-uncased 'Hello, my name is John.' --out attention",
    ),
    "index": (
        searching.index,
        "index a folder of images by embeddings, for search",
        "index photos/ --model hf:./clip-vit-base-patch32 --out photos.index",
    ),
    "search": (
        searching.search,
        "search an index by words or by image; find near-duplicates",
        "search photos.index 'a red car' -n 10",
    ),
    "compress": (
        anywhere.compress,
        "prune, quantise and distil a model within an accuracy budget",
        "compress runs/classify/photos --max-drop accuracy=1% --min-speedup 2",
    ),
    "export": (
        _export,
        "export a run as a bundle, or for another target, with a parity check",
        "export runs/classify/photos --out photos.bundle",
    ),
    "bench": (
        anywhere.bench,
        "measure latency, throughput and memory of a bundle on this machine",
        "bench photos.bundle --batch 1,8 --out bench",
    ),
    "verify": (
        _verify,
        "check that a bundle is unchanged and gives the same outputs as at export",
        "verify photos.bundle",
    ),
    "predict": (
        predicting.predict,
        "predict images, videos, cameras, streams and scanners",
        "predict photos.bundle cat.jpg",
    ),
    "work": (
        clusters.work,
        "process shards of a planned job, on any number of machines with a common folder",
        "work job --workers 4",
    ),
    "cost": (
        scaling.cost,
        "estimate machines, hours, money and energy of a large job from a sample",
        "cost photos.bundle --source sample/ --images 1e6 --price 0.10 --watts 65",
    ),
    "track": (
        following.track,
        "track objects in a video: identities, line crossings, zone counts",
        "track det.bundle --source street.mp4 --line door=100,300,500,300 --out street",
    ),
    "read": (
        reading.read,
        "read the text of a page: find its lines and recognise them",
        "read receipts.bundle receipt.jpg --out page",
    ),
    "generate-lines": (
        reading.generate,
        "draw synthetic text lines to train a reader, in the installed fonts",
        "generate-lines --texts receipts/ --case upper -n 20000 --out lines",
    ),
    "serve": (field.serve, "serve bundles over HTTP, with a web page", "serve photos.bundle --port 8000"),
    "monitor": (
        field.monitor,
        "monitor served models: traffic, drift, feedback, retraining, promotion",
        "monitor status",
    ),
    "convert": (
        _convert,
        "convert a dataset to another format, and report what the format cannot hold",
        "convert labels/ --to coco --out coco-labels",
    ),
    "import": (
        scenes.import_model,
        "import an existing ONNX model as a bundle",
        "import det.onnx --task detect --labels names.txt --contract yolov8 --out det.bundle",
    ),
    "process": (
        pictures.process,
        "apply image-processing steps to any number of files",
        "process scans/ --steps 'deskew | clahe' --out clean",
    ),
    "restore": (
        restoring.restore,
        "denoise, deblur or enlarge images with a trained bundle",
        "restore denoise.bundle scans/ --out clean --map",
    ),
    "inpaint": (
        restoring.inpaint,
        "fill scratches, boxes or objects from their surroundings",
        "inpaint street.jpg --object person --with det.bundle --out empty.png",
    ),
    "generate": (
        generating.generate,
        "generate new images with a trained bundle, marked as generated",
        "generate digits.bundle -n 64 --class 7 --grid --out new",
    ),
    "segment": (
        pictures.segment,
        "segment an image by classical methods, without a model",
        "segment cells.png --method watershed --out regions",
    ),
    "encode": (
        pictures.encode,
        "compress images to a measured quality",
        "encode photos/ --to auto --target-ssim 0.98 --out small",
    ),
    "steps": (pictures.steps, "list the image-processing steps", "steps --out steps"),
    "models": (listing.models, "list the models, and what each task supports", "models"),
    "formats": (listing.formats, "list the dataset and image formats that can be read", "formats"),
    "completion": (
        completion.completion,
        "print a shell completion script",
        "completion bash > ~/.local/share/bash-completion/completions/eyewright",
    ),
    "info": (listing.info, "show versions and hardware", "info --json"),
}
"""Every verb: what it calls, what it is, an example."""
