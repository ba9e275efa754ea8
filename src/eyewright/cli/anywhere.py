"""The verbs that make a model smaller and take it to where it must run: compress and bench."""

__all__ = ["add_anywhere", "bench", "compress", "export_to"]

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eyewright.cli.numbers import Checked, Number, Numbers
from eyewright.cli.terminal import Result, metrics, per_label, shown_path, shown_program, talk
from eyewright.core.durations import parse_duration_s
from eyewright.core.errors import UsageError
from eyewright.core.sizes import parse_bytes, say_memory


def add_anywhere(verb: Callable[[str], argparse.ArgumentParser]) -> None:
    """Add the options of compress and bench."""
    p = verb("compress")
    p.add_argument("model", metavar="RUN|BUNDLE", help="a run folder, or a bundle")
    p.add_argument("--data", metavar="DATA", help="the images that the model was trained on (a run knows its own)")
    p.add_argument("--ignore", metavar="NAME", action="append", default=[], help="a class of --data to ignore")
    p.add_argument("--out", metavar="DIR", help="output folder (default runs/compressed/NAME)")
    p.add_argument(
        "--max-drop",
        nargs="+",
        default=[],
        metavar="METRIC=DROP",
        help="accuracy=1%% worst_class_recall=2%% ece=0.02 corruption=3%%, map=1%%, miou=1%%: the largest drop "
        "allowed; "
        "errors: mae=0.5 in the unit, or mae=5%% of the model's own",
    )
    p.add_argument(
        "--min-speedup",
        type=Number(0, 1000, whole=False, open_low=True),
        metavar="X",
        help="minimum speed-up on this machine at batch size 1, such as 2",
    )
    p.add_argument(
        "--max-bytes", type=Checked(parse_bytes), metavar="SIZE", help="maximum size of the model file, such as 500k"
    )
    p.add_argument("--methods", metavar="A,B", help="some of int8,weights,half,dynamic,prune,qat,distil,sparse")
    p.add_argument(
        "--budget",
        type=Checked(parse_duration_s),
        metavar="TIME",
        help="total time (default 10m, or the training time if it was longer)",
    )
    p.add_argument("--teacher", metavar="MODEL", help="distil from this bundle, run or hf:FOLDER instead of the model")
    p.add_argument(
        "--student", action="append", default=[], metavar="NAME", help="model to distil into (see eyewright models)"
    )
    p.add_argument("--unlabelled", metavar="DIR", help="unlabelled images for distillation")
    p.add_argument(
        "--calibration", metavar="DIR", help="calibration images for 8-bit ranges (default: training images)"
    )
    p.add_argument(
        "--threads",
        type=Number(1, 1024),
        metavar="N",
        help="number of threads for speed measurements (default: all cores)",
    )
    p.add_argument("--resume", action="store_true", help="continue the search in --out, or reuse it for another budget")

    p = verb("bench")
    p.add_argument("bundle", metavar="BUNDLE", help="a bundle, or the run folder that holds it")
    p.add_argument(
        "--batch", type=Numbers(Number(1, 4096)), default=(1, 8), metavar="N,N", help="batch sizes (default 1,8)"
    )
    p.add_argument(
        "--threads",
        type=Numbers(Number(1, 1024)),
        metavar="N,N",
        help="numbers of threads (default 1, 2, 4 … up to all cores)",
    )
    p.add_argument("--against", metavar="BUNDLE", help="compare with another bundle, such as the uncompressed one")
    p.add_argument(
        "--seconds",
        type=Number(0.01, 3600, whole=False),
        default=1.0,
        metavar="S",
        help="seconds per combination (default 1)",
    )
    p.add_argument(
        "--store", action="store_true", help="store the fastest setting in the bundle, for machines like this one"
    )
    p.add_argument("--out", metavar="DIR", help="write bench.html and bench.json to this folder")


def bench(o: argparse.Namespace) -> Result:
    """Tell what this machine does with a bundle."""
    from eyewright import lifecycle

    found = lifecycle.bench(
        o.bundle,
        batches=o.batch,
        threads=o.threads,
        against=o.against,
        seconds=o.seconds,
        store=o.store,
        out=o.out,
    )
    text = [f"{'provider':9}{'threads':>8}{'at once':>8}{'median ms':>26}{'p99 ms':>9}{'images/s':>10}"]
    for r in found.rows:
        median = f"{r.p50_ms:.2f} [{r.p50_low_ms:.2f}, {r.p50_high_ms:.2f}]"
        joules = "" if r.joules_per_image is None else f"  {1e3 * r.joules_per_image:.1f} mJ an image"
        row = f"{r.provider:9}{r.threads:>8}{r.batch:>8}{median:>26}{r.p99_ms:>9.2f}{r.images_per_s:>10,.0f}"
        text.append(row + joules)
    text.append(
        f"start    {found.start_s:.2f} s to the first answer, {say_memory(found.memory_bytes)}, "
        f"{found.model_bytes:,} bytes of model"
    )
    best, dense = found.quickest, found.densest
    text.append(
        f"best     one image: {best.provider}, {_threads(best.threads)}, {best.p50_ms:.2f} ms; "
        f"many: {dense.batch} at once, {_threads(dense.threads)}, {dense.images_per_s:,.0f} images/s"
    )
    if found.speedup is not None:
        s = found.speedup
        text.append(f"speed    {s['value']:.2f} times as fast [{s['low']:.2f}, {s['high']:.2f}] as the other bundle")
    out = {} if o.out is None else {"bench": Path(o.out, "bench.html").resolve()}
    text += [f"page     {shown_path(p)}" for p in out.values()]
    text += ["stored   in the bundle"] if o.store else []
    return {"out": out, "bench": found.to_json(), "text": text}


def _threads(n: int) -> str:
    return "1 thread" if n == 1 else f"{n} threads"


def compress(o: argparse.Namespace) -> Result:
    """Look for a smaller model within a budget."""
    from eyewright import lifecycle
    from eyewright.core.task import task_of

    methods = None if o.methods is None else tuple(m.strip() for m in o.methods.split(",") if m.strip())
    found = lifecycle.compress(
        o.model,
        data=o.data,
        out=o.out,
        max_drop=o.max_drop,
        min_speedup=o.min_speedup,
        max_bytes=o.max_bytes,
        methods=methods,
        budget=o.budget,
        teacher=o.teacher,
        students=o.student,
        unlabelled=o.unlabelled,
        calibration=o.calibration,
        threads=o.threads,
        resume=o.resume,
        ignore=tuple(o.ignore),
        seed=o.seed or 0,
        **talk(o),
    )
    about = found.bundle.manifest.compression
    speed, n = about["speedup"], about["measured_on"]["images"]
    bundle = shown_path(found.paths["bundle"])
    text = [
        "",
        f"size     {about['parent_bytes']:,} → {about['bytes']:,} bytes, "
        f"{about['parent_bytes'] / about['bytes']:.1f} times smaller",
        f"speed    {speed['before_ms']:.2f} → {speed['after_ms']:.2f} ms, {speed['value']:.2f} times as fast "
        f"[{speed['low']:.2f}, {speed['high']:.2f}]",
        *(_loss(name, about["drops"][name], about["measured_on"]) for name in about["budget"]["max_drop"]),
        "memory   " + " → ".join(say_memory(found.process[k]["memory_bytes"]) for k in ("before", "after")),
        f"answers  {about['changed_answers']} of {n} changed",
        f"bundle   {bundle}",
        f"report   {shown_path(found.paths['report'])}",
        f"use it   {shown_program('eyewright')} predict {bundle} --source {task_of(found.report.task).reads.upper()}",
    ]
    return {
        "task": found.report.task,
        "out": dict(found.paths),
        "metrics": metrics(found.report),
        **per_label(found.report),
        "compression": {**about, "process": found.process},
        "text": text,
    }


def export_to(o: argparse.Namespace, password: bytes | None = None) -> Result:
    """Take a bundle to another runtime."""
    from eyewright import lifecycle

    if o.name is not None or o.policy or o.with_attention:
        raise UsageError(
            "expected --name, --policy and --with-attention with a bundle, found --to",
            fix="export the bundle with them",
        )
    found = lifecycle.deliver(o.run, o.out, to=o.to, data=o.data, runtime=o.runtime, **talk(o))
    text = [f"{o.to:8} {shown_path(found.folder)}"]
    out = {o.to: found.folder.resolve()}
    if o.sign is not None:
        out["signature"] = lifecycle.sign(found.folder, o.sign, password=password).resolve()
        text.append(f"signed   {shown_path(out['signature'])}")
    if found.parity is not None:
        text.append(f"parity   {found.parity}")
    if "download_bytes" in found.about:
        text.append(f"visit    a browser downloads {found.about['download_bytes']:,} bytes, once")
        text.append(f"open     python -m http.server --bind 127.0.0.1 --directory {shown_path(found.folder)} 8080")
    return {
        "task": found.task,
        "out": out,
        "parity": {} if found.parity is None else found.parity.to_json(),
        "about": dict(found.about),
        "text": text,
    }


def _loss(name: str, drop: dict[str, Any], where: dict[str, Any]) -> str:
    from eyewright.evaluation.changes import change_unit, say_change

    on = f"{where['images']} {where['split']} images"
    unit = change_unit(name, drop.get("unit", ""))
    return f"{name:8} {say_change(name, drop['value'], drop['low'], drop['high'], unit=unit, digits=2)} on {on}"
