"""Jobs of shards on the command line: predict --on local, --plan, --verify, --resume."""

__all__ = ["add_job", "is_job", "predict_job"]

import argparse
from pathlib import Path
from typing import Any

from eyewright.cli.numbers import Number
from eyewright.cli.terminal import Result, finding, is_quiet, printable, shown_path, shown_program
from eyewright.core.errors import UsageError

_ENGINES = ("local",)
# What a job does not do, with the value of each where it is not given.
_NOT_WITH = {
    "save": None, "labels": None, "classes": None, "tile": None, "test_time_flip": False, "window": None,
    "latest": False, "stride": 1, "max_frames": None,
}  # fmt: skip
_JOB_ONLY = ("workers", "shard_size", "format")


def add_job(p: argparse.ArgumentParser) -> None:
    """Add the options of a job to a verb that reads a source and writes to `--out`; `--on` is the verb's own."""
    p.add_argument("--plan", action="store_true", help="of a job: write the plan to --out, show it and end")
    p.add_argument("--verify", action="store_true", help="of a job: check that each planned image has exactly one row")
    p.add_argument("--resume", action="store_true", help="continue the job in --out")
    p.add_argument("--workers", type=Number(1, 1024), metavar="N", help="of a job: processes (default: one a core)")
    p.add_argument(
        "--shard-size", type=Number(1, 1_000_000), metavar="N", help="of a job: images a shard (default 512)"
    )
    p.add_argument("--format", choices=("jsonl", "parquet"), help="of a job: format of results (default jsonl)")


def is_job(o: argparse.Namespace) -> bool:
    """Return whether a command is about a job.

    Raises:
        UsageError: it has options of a job, and is not.
    """
    if getattr(o, "on", None) in _ENGINES or getattr(o, "plan", False) or getattr(o, "verify", False):
        return True
    if o.verb != "predict":
        return False
    if o.resume:
        return True
    for name in _JOB_ONLY:
        if getattr(o, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} needs a job", fix="pass --on local")
    return False


def predict_job(o: argparse.Namespace) -> Result:
    """Plan, run, continue or verify the job of predicting a source."""
    from eyewright.scaling import plan_predict, run_job

    if o.out is None:
        raise UsageError("a job needs a folder for its plan and results", fix="pass --out JOB")
    for name, usual in _NOT_WITH.items():
        if getattr(o, name) != usual:
            raise UsageError(f"--{name.replace('_', '-')} is not supported with --on", fix="leave it out")
    folder = Path(o.out)
    if o.verify:
        return _verified(o, folder)
    plan = plan_predict(
        o.bundle, o.source, folder, conf=o.conf, iou=o.iou, top=o.top, format=o.format or "jsonl",
        shard_size=o.shard_size, key=o.require_signature, resume=o.resume,
    )  # fmt: skip
    planned = {"images": plan.n_images, "bytes": plan.n_bytes, "shards": plan.n_shards, "digest": plan.digest}
    out = {"job": folder.resolve(), "plan": (folder / "plan" / "plan.json").resolve()}
    text = [f"planned  {plan.n_images:,} images, {plan.n_bytes / 1e6:,.1f} MB, {plan.n_shards:,} shards"]
    text += [f"digest   {plan.digest}"]
    if o.plan:
        run = (
            f"{shown_program('eyewright')} predict {o.bundle} --source {o.source} --out {shown_path(folder)} --on local"
        )
        return {"out": out, "plan": planned, "text": [*text, f"run      {printable(run)}"]}
    job = run_job(plan, workers=o.workers, quiet=is_quiet(o))
    totals, counts = job.totals, dict(job.counts)
    rate = totals.images / job.seconds if job.seconds else 0.0
    text += [
        f"done     {counts['images']:,} rows, {counts['failed']:,} without a result "
        f"({counts['crashed']:,} crashed their worker)",
        f"now      {totals.images:,} images in {totals.shards:,} shards, {job.seconds:.1f} s, {rate:,.1f} images/s",
    ]
    text += [f"no result {printable(f.path)}: {printable(f.message)}" for f in job.findings[:20]]
    if job.redone:
        text.append(f"{job.redone:,} shards were done again, since their files in results/ were gone")
    text.append(f"results  {shown_path(folder / 'results')}")
    now: dict[str, Any] = {"images": totals.images, "shards": totals.shards, "failed_attempts": totals.attempts_failed}
    return {
        "out": {**out, "results": (folder / "results").resolve(), "manifest": (folder / "manifest.json").resolve()},
        "plan": planned,
        "counts": counts,
        "rate": {"images_per_s": round(rate, 3), "seconds": round(job.seconds, 3), **now},
        "findings": [finding(f) for f in job.findings],
        "text": text,
        "exit": 1 if counts["failed"] else 0,
    }


def _verified(o: argparse.Namespace, folder: Path) -> Result:
    from eyewright.scaling import verify_folder

    plan, found = verify_folder(folder)
    text = [f"{'damaged' if found else 'verified'} {plan.n_images:,} images in {plan.n_shards:,} shards"]
    text += [printable(str(f)) for f in found[:20]]
    return {
        "out": {"job": folder.resolve()},
        "plan": {"images": plan.n_images, "shards": plan.n_shards, "digest": plan.digest},
        "findings": [finding(f) for f in found],
        "text": text,
        "exit": 1 if found else 0,
    }
