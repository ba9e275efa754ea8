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
    federating,
    field,
    following,
    forgetting,
    generating,
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
from eyewright.cli.tables import task_table
from eyewright.cli.terminal import (
    Result,
    finding,
    is_quiet,
    metrics,
    per_label,
    shown_path,
    shown_program,
    talk,
    warn,
)
from eyewright.core.errors import UsageError

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
    from eyewright.core.task import task_of
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
        task = task_of(done.report.task)
        what = task.reads.upper()
        use = f"import eyewright as ew; print(ew.load_bundle('{bundle}').predict('{what}').{task.words.usage})"
        text += [
            f"  bundle   {bundle}",
            "",
            "Use it:",
            f"  {shown_program('eyewright')} predict {bundle} --source {what}",
            f"  {shown_program('eyewright')} explain {bundle} {what} --out heatmaps",
            f"  {shown_program('eyewright')} serve {bundle}",
            f'  {shown_program("python")} -c "{use}"',
        ]
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
        "text": text,
    }


def _tune(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle
    from eyewright.evaluation.validation import say_validated, validation_facts

    if o.log is not None:
        raise UsageError("expected --tune without --log, whose trials are in study.db", fix="leave --log out")
    found = lifecycle.tune(
        o.data, trials=o.tune, out=o.out, resume=o.resume, **talk(o), **data_options(o), **recipe_options(o)
    )
    best = found.run.about["training"]
    metric = f"val_{best.get('metric', 'accuracy')}"
    value = {"value": best[metric], "low": None, "high": None, "n": found.run.about["calibration"]["n"]}
    changed = ", ".join(f"{k} {v}" for k, v in found.chosen.items()) or "the recipe as it was"
    text = [
        f"chosen   {changed}",
        f"scored   {say_validated(found.run.about)}; it is the best of {len(found.trials)} trials too",
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


def _explain(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    found = lifecycle.explain(o.model, o.images, method=o.method, label=o.label, out=o.out, seed=o.seed or 0)
    text = [f"{e.source}: {e.said} by {e.method}: {e.verdict}" for e in found]
    if o.out is None:
        text.append("pass --out DIR to write the heatmaps")
    out = {} if o.out is None else {"explanations": Path(o.out).resolve()}
    task = {"task": found[0].task} if found else {}
    return {**task, "out": out, "explanations": [e.to_json() for e in found], "text": text}


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
    text.append(f"{m.task}, {task_of(m.task).words.count(len(m.labels))}, {m.takes}")
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
    return following.convert_tracks(o) if o.task == following.TRACKS else scenes.convert(o)


def _models(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle
    from eyewright.tasks.table import tasks as all_tasks

    found, tasks = lifecycle.models(), all_tasks()
    wide = max(map(len, found))
    text = [*task_table(tasks), "", *(f"{name:{wide}} {about}" for name, about in found.items())]
    return {"tasks": tasks, "models": found, "text": text}


def _formats(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    found = lifecycle.formats()
    text = [f"{name:16} {about}" for kind in found.values() for name, about in kind.items()]
    return {"formats": found, "text": text}


def _info(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    found = lifecycle.info()
    text = [f"{name:16} {value}" for part in ("versions", "hardware") for name, value in found[part].items()]
    return {"info": found, "text": text}


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
    "quickstart": (_quickstart, "the whole life cycle on real images that ship inside dependencies", "quickstart"),
    "run": (_run, "audit, split, train, evaluate, explain, export, verify on your images", "run photos/ --budget 10m"),
    "doctor": (
        doctoring.doctor,
        "audit a dataset: unreadable, duplicate, leaking, misnamed",
        "doctor photos/ --out audit",
    ),
    "browse": (
        browsing.browse,
        "look at a dataset in the browser: filter, select, correct labels",
        "browse photos/ --run runs/classify/photos",
    ),
    "train": (_train, "train; writes a run folder", "train photos/ --model conv_net --epochs 10"),
    "harden": (_train, "train against attacks (--step adversarial)", "harden photos/ --eps 8/255 --epochs 20"),
    "evaluate": (evaluating.evaluate, "a report with intervals", "evaluate photos.bundle test-photos/ --out report"),
    "compare": (_compare, "is B better than A, beyond chance?", "compare old.bundle runs/classify/new"),
    "explain": (_explain, "heatmaps with a faithfulness verdict", "explain photos.bundle cat.jpg --out heatmaps"),
    "attack": (
        attacking.attack,
        "how much accuracy is left when images are changed on purpose",
        "attack runs/classify/photos --eps 2/255,8/255",
    ),
    "audit-privacy": (
        auditing.audit_privacy,
        "can training images be told from others, and does epsilon hold?",
        "audit-privacy runs/classify/photos",
    ),
    "anonymize": (
        anonymizing.anonymize,
        "hide faces, heads, plates and text in images and videos, and remove metadata",
        "anonymize photos/ --find faces,plates --detector faces.bundle --out anonymous",
    ),
    "federate": (
        federating.federate,
        "train on the images of several clients, which stay where they are (simulated)",
        "federate photos/ --clients 10 --alpha 0.5 --rounds 20 --strategy median",
    ),
    "forget": (
        forgetting.forget,
        "train again without some images, and prove that they were not read",
        "forget runs/classify/photos cat/3.jpg --out runs/classify/without",
    ),
    "certify": (attacking.certify, "accuracy that no attack can lower", "certify runs/classify/a --sigma 0.25,0.5"),
    "attend": (
        attending.attend,
        "attention weights of a transformer, per layer and head",
        "attend hf:./bert-base-uncased 'Hello, my name is John.' --out attention",
    ),
    "index": (
        searching.index,
        "an index of a folder's images by a model's embeddings",
        "index photos/ --model hf:./clip-vit-base-patch32 --out photos.index",
    ),
    "search": (
        searching.search,
        "images by words or by image, near copies, labels without training",
        "search photos.index 'a red car' -n 10",
    ),
    "compress": (
        anywhere.compress,
        "prune, quantise, distil within a budget of accuracy",
        "compress runs/classify/photos --max-drop accuracy=1% --min-speedup 2",
    ),
    "export": (_export, "a bundle, after the parity check", "export runs/classify/photos --out photos.bundle"),
    "bench": (
        anywhere.bench,
        "what this machine does with a bundle: latency, throughput, memory",
        "bench photos.bundle --batch 1,8 --out bench",
    ),
    "verify": (_verify, "check a bundle: digests, tensors, golden pairs", "verify photos.bundle"),
    "predict": (
        predicting.predict,
        "predict images, videos, cameras, streams, scanners",
        "predict photos.bundle --source cat.jpg",
    ),
    "work": (
        clusters.work,
        "do shards of a planned job, on any number of machines that share its folder",
        "work job --workers 4",
    ),
    "cost": (
        scaling.cost,
        "machines, hours, money and energy to predict many images, from a measured sample",
        "cost photos.bundle --source sample/ --images 1e6 --price 0.10 --watts 65",
    ),
    "track": (
        following.track,
        "follow objects over time: identities, lines, zones",
        "track det.bundle --source street.mp4 --line door=100,300,500,300 --out street",
    ),
    "read": (
        reading.read,
        "the text of a page: lines found and read",
        "read receipts.bundle receipt.jpg --out page",
    ),
    "generate-lines": (
        reading.generate,
        "lines of text to learn from, drawn in the fonts that are there",
        "generate-lines --texts receipts/ --case upper -n 20000 --out lines",
    ),
    "serve": (field.serve, "server and web page for one or many bundles", "serve photos.bundle --port 8000"),
    "monitor": (field.monitor, "what happened to the served model, and which one is in use", "monitor status"),
    "convert": (
        _convert,
        "write a dataset in another format, saying what is lost",
        "convert labels/ --to coco --out coco-labels",
    ),
    "import": (
        scenes.import_model,
        "wrap somebody else's ONNX model as a bundle",
        "import det.onnx --task detect --labels names.txt --contract yolov8 --out det.bundle",
    ),
    "process": (
        pictures.process,
        "image processing, any number of files",
        "process scans/ --steps 'deskew | clahe' --out clean",
    ),
    "restore": (
        restoring.restore,
        "denoise, deblur or enlarge images by a bundle",
        "restore denoise.bundle scans/ --out clean --map",
    ),
    "inpaint": (
        restoring.inpaint,
        "fill scratches, boxes or objects from what surrounds them",
        "inpaint street.jpg --object person --with det.bundle --out empty.png",
    ),
    "generate": (
        generating.generate,
        "draw new images by a bundle, marked as generated",
        "generate digits.bundle -n 64 --class 7 --grid --out new",
    ),
    "segment": (
        pictures.segment,
        "classical segmentation, measured",
        "segment cells.png --method watershed --out regions",
    ),
    "encode": (
        pictures.encode,
        "image compression to a measured quality",
        "encode photos/ --to auto --target-ssim 0.98 --out small",
    ),
    "steps": (pictures.steps, "the processing steps there are", "steps --out steps"),
    "models": (_models, "the networks there are", "models"),
    "formats": (_formats, "the dataset and image formats that are read", "formats"),
    "completion": (
        completion.completion,
        "print a script that completes commands and options in a shell",
        "completion bash > ~/.local/share/bash-completion/completions/eyewright",
    ),
    "info": (_info, "versions and hardware", "info --json"),
}
"""Every verb: what it calls, what it is, an example."""
