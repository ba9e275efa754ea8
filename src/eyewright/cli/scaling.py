"""Jobs of shards on the command line: predict --on ENGINE, --plan, --verify, --resume; and what they cost."""

__all__ = [
    "ON_HELP",
    "add_cost",
    "add_job",
    "cost",
    "encode_job",
    "engine_of",
    "evaluate_job",
    "is_job",
    "placed",
    "plan_report",
    "planned_job",
    "predict_job",
    "process_job",
    "refuse_ray",
    "refuse_with_job",
    "shown_place",
    "told_job",
    "verified_job",
    "verify_report",
]

import argparse
import shlex
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyewright.cli.numbers import Checked, Number
from eyewright.cli.terminal import Result, finding, finding_line, is_quiet, printable, shown_path, shown_program
from eyewright.core.durations import parse_duration_s, show_hours
from eyewright.core.errors import UsageError
from eyewright.scaling.addresses import is_address
from eyewright.scaling.engines import check_engine, is_ray

if TYPE_CHECKING:
    from eyewright.core.report import Report
    from eyewright.processing import Target
    from eyewright.scaling import Job, Plan
    from eyewright.scaling.starting import Ahead

ON_HELP = (
    "run as a job of shards in --out that survives kill -9: local (worker processes on this machine), or on a Ray "
    "cluster: ray (that of RAY_ADDRESS, else one that is started here), HOST:PORT, ray://HOST:PORT"
)
"""What `--on ENGINE` does."""
# What a job does not do, with the value of each where it is not given.
_NOT_WITH = {
    "save": None, "review": None, "labels": None, "classes": None, "tile": None, "test_time_flip": False,
    "window": None, "latest": False,
    "coverage": None, "coverage_by": None, "sets": None, "miss_rate": None, "stride": 1, "max_frames": None,
}  # fmt: skip
_JOB_ONLY = {
    "predict": ("workers", "shard_size", "format"), "process": ("shard_size", "format"),
    "encode": ("shard_size", "format"), "index": ("workers", "shard_size"), "evaluate": ("workers", "shard_size"),
}  # fmt: skip
# Verbs that --resume continues without a job too: what lies in --out says which of both it is.
_ALSO_RESUMED = {"process": "", "index": ".job"}
_NOT_WITH_PROCESS = {"preview": False, "pages": False, "overwrite": False, "stride": 1, "max_frames": None}


def add_job(
    p: argparse.ArgumentParser,
    *,
    on: bool = True,
    resume: bool = True,
    workers: bool = True,
    plan: bool = True,
    verify: bool = True,
    format: bool = True,
) -> None:
    """Add the options of a job to a verb that reads a source and writes to `--out`; those that are the verb's own, as
    they mean something without a job too, and those that mean nothing to it are left out."""
    if on:
        p.add_argument("--on", type=Checked(check_engine), metavar="ENGINE", help=ON_HELP)
    if plan:
        p.add_argument("--plan", action="store_true", help="jobs: write the plan to --out, show it and stop")
    if verify:
        p.add_argument("--verify", action="store_true", help="jobs: check that each planned image has exactly one row")
    if resume:
        p.add_argument("--resume", action="store_true", help="continue the job in --out")
    if workers:
        p.add_argument(
            "--workers",
            type=Number(1, 1024),
            metavar="N",
            help="jobs: number of worker processes (default: one per core)",
        )
    p.add_argument("--shard-size", type=Number(1, 1_000_000), metavar="N", help="jobs: images per shard (default 512)")
    if format:
        p.add_argument("--format", choices=("jsonl", "parquet"), help="jobs: format of the results (default jsonl)")


def is_job(o: argparse.Namespace) -> bool:
    """Return whether a command is about a job.

    Raises:
        UsageError: it has options of a job, and is not.
    """
    if isinstance(getattr(o, "on", None), str) or getattr(o, "plan", False) or getattr(o, "verify", False):
        return True
    if o.verb not in _JOB_ONLY:
        return False
    if o.resume and is_address(o.out or ""):
        return True
    if o.resume and (o.verb not in _ALSO_RESUMED or (Path(o.out) / _ALSO_RESUMED[o.verb] / "plan/plan.json").is_file()):
        return True
    for name in _JOB_ONLY[o.verb]:
        if getattr(o, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} needs a job", fix="pass --on local")
    return False


def predict_job(o: argparse.Namespace) -> Result:
    """Plan, run, continue or verify the job of predicting a source."""
    if o.out is None:
        raise UsageError("a job needs a folder for its plan and results", fix="pass --out JOB")
    refuse_with_job(o, _NOT_WITH)
    if o.verify:
        return verified_job(o, o.out)
    with _ahead(o, str(Path(o.bundle).resolve())) as ahead:
        from eyewright.scaling import plan_predict

        plan = plan_predict(
            o.bundle, o.source, o.out, conf=o.conf, iou=o.iou, top=o.top, format=o.format or "jsonl",
            shard_size=o.shard_size, key=o.require_signature, resume=o.resume,
        )  # fmt: skip
        again = ["predict", o.bundle, "--source", o.source]
        return _done(o, plan, _given(o, again, {"conf": None, "iou": None, "top": None, "format": None}), ahead)


def _ahead(o: argparse.Namespace, model: str = "") -> "AbstractContextManager[Ahead | None]":
    """Start the workers of a job that is continued, or join its Ray cluster, while the plan is made or checked."""
    from eyewright.scaling.starting import start_ahead

    # A signature that is asked for is checked first: what is not signed is not opened.
    signed = getattr(o, "require_signature", None) is not None
    on = engine_of(o)
    if is_address(o.out):
        refuse_ray(on)
        # Workers start when the plan is copied to this machine.
        return nullcontext()
    ahead = not (signed or o.plan) and (o.resume or is_ray(on))
    return start_ahead(Path(o.out), model=model, workers=o.workers, on=on) if ahead else nullcontext()


def refuse_ray(on: str) -> None:
    """Raise `UsageError` if the job in a store is to be done on a Ray cluster."""
    if is_ray(on):
        raise UsageError(
            "--on local is expected for a job in a store, found a Ray cluster",
            fix="run eyewright work ADDRESS on each machine",
        )


def engine_of(o: argparse.Namespace) -> str:
    """Return the engine of a job: the one that was asked for, or worker processes of this machine."""
    return o.on if isinstance(o.on, str) else "local"


def process_job(o: argparse.Namespace) -> Result:
    """Plan, run, continue or verify the job of applying steps to a source."""
    refuse_with_job(o, _NOT_WITH_PROCESS)
    if o.verify:
        return verified_job(o, o.out)
    with _ahead(o) as ahead:
        from eyewright.scaling import plan_process

        plan = plan_process(
            o.source, o.steps, o.out, to=o.to, quality=o.quality, draft=o.draft, seed=o.seed or 0,
            format=o.format or "jsonl", shard_size=o.shard_size, resume=o.resume,
        )  # fmt: skip
        again = ["process", o.source, "--steps", o.steps, *(["--draft"] if o.draft else [])]
        usual = {"to": None, "quality": 90, "seed": None, "format": None}
        result = _done(o, plan, _given(o, again, usual), ahead)
    if o.plan:
        return result
    out = {**result["out"], "images": placed(plan, "images")}
    return {**_with_lost(result, o.out), "out": out}


def _with_lost(result: Result, folder: str) -> Result:
    """Return a result with a line for each kind of content that the outputs do not hold."""
    from eyewright.scaling import count_lost

    lost = count_lost(folder)
    said = [f"left out {printable(what)} ({_many(n, 'image')})" for what, n in lost.items()]
    return {
        **result,
        "text": [*result["text"], *said],
        **({"lost": [f"{w} ({n})" for w, n in lost.items()]} if lost else {}),
    }


def encode_job(o: argparse.Namespace, target: "Target | None") -> Result:
    """Plan, run, continue or verify the job of encoding a source."""
    refuse_with_job(o, {"overwrite": False, "study": None})
    if o.verify:
        return verified_job(o, o.out)
    if len(o.images) != 1:
        raise UsageError(
            f"expected one source of a job, found {len(o.images)}", fix="pass a folder, a glob in quotes, or @LIST"
        )
    with _ahead(o) as ahead:
        from eyewright.scaling import plan_encode, sum_encoded

        plan = plan_encode(
            o.images[0], o.out, to=o.to, target=target, keep_icc=o.keep_icc, format=o.format or "jsonl",
            shard_size=o.shard_size, resume=o.resume,
        )  # fmt: skip
        again = ["encode", o.images[0], *(["--keep-icc"] if o.keep_icc else [])]
        usual = {"to": "auto", "quality": None, "target_ssim": None, "target_bytes": None, "target_score": None}
        result = _done(o, plan, _given(o, again, {**usual, "format": None}), ahead)
    if o.plan:
        return result
    sums = sum_encoded(o.out)
    result = _with_lost(result, o.out)
    counts = {**result["counts"], "bytes_in": sums.bytes_in, "bytes_out": sums.bytes_out, "missed": sums.missed}
    text = [*result["text"], f"encoded  {sums.bytes_in:,} bytes became {sums.bytes_out:,}"]
    if sums.missed:
        text.append(f"missed   {_many(sums.missed, 'image')} cannot reach the target")
    out = {**result["out"], "images": placed(plan, "images")}
    return {**result, "out": out, "counts": counts, "text": text, "exit": 5 if sums.missed else result["exit"]}


def evaluate_job(o: argparse.Namespace, options: dict[str, Any]) -> "tuple[Report, dict[str, Any]]":
    """Evaluate as a job; return the report, and what `--json` says of the job."""
    from eyewright.lifecycle.evaluate_jobs import evaluate_as_job

    if o.out is None or o.data is None:
        raise UsageError("a job needs a folder for its results and data to measure on", fix="pass DATA and --out DIR")
    report, job = evaluate_as_job(
        o.model, o.data, workers=o.workers, shard_size=o.shard_size, resume=o.resume, on=engine_of(o), **options
    )  # fmt: skip
    plan, counts = job.plan, dict(job.counts)
    return report, {
        "out": {
            "job": plan.folder.resolve(),
            "manifest": (plan.folder / "manifest.json").resolve(),
            "fleet": (plan.folder / "fleet.html").resolve(),
        },
        "plan": _plan_told(plan),
        "counts": counts,
        "rate": _rate(job),
        "findings": [finding(f) for f in job.findings],
    }


def plan_report(o: argparse.Namespace, options: dict[str, Any]) -> Result:
    """Plan the job of an evaluation."""
    from eyewright.lifecycle.evaluate_jobs import plan_evaluate

    if o.out is None or o.data is None:
        raise UsageError("a job needs a folder for its results and data to measure on", fix="pass DATA and --out DIR")
    plan = plan_evaluate(o.model, o.data, shard_size=o.shard_size, resume=o.resume, **options)
    again = ["evaluate", o.model, o.data, *(word for name in o.ignore for word in ("--ignore", name))]
    usual = {"split": None, "group_by": None, "label_depth": None, "shard_size": None}
    given = _given(o, [*again, *(["--allow-leaks"] if o.allow_leaks else [])], usual)
    return planned_job(o, plan, given, o.out)


def verify_report(o: argparse.Namespace) -> Result:
    """Verify the job of an evaluation."""
    if o.out is None:
        raise UsageError("a job is verified in its folder", fix="pass --out DIR")
    return verified_job(o, str(Path(o.out) / "job"))


def _rate(job: "Job") -> dict[str, Any]:
    totals = job.totals
    rate = totals.images / job.seconds if job.seconds else 0.0
    now: dict[str, Any] = {"images": totals.images, "shards": totals.shards, "failed_attempts": totals.attempts_failed}
    return {"images_per_s": round(rate, 3), "seconds": round(job.seconds, 3), **now}


def _given(o: argparse.Namespace, again: list[str], usual: Mapping[str, object]) -> str:
    """Return a command with all that a resumed job is compared with: without it what is shown would be refused."""
    given = [(name, getattr(o, name)) for name, value in usual.items() if getattr(o, name) != value]
    return shlex.join(
        [*again, *(text for name, value in given for text in (f"--{name.replace('_', '-')}", str(value)))]
    )


def refuse_with_job(o: argparse.Namespace, usual: Mapping[str, object]) -> None:
    """Raise `UsageError` where an option that a job does not have is not at its default."""
    for name, value in usual.items():
        if getattr(o, name) != value:
            raise UsageError(f"--{name.replace('_', '-')} is not supported with --on", fix="leave it out")


def _done(o: argparse.Namespace, plan: "Plan", again: str, ahead: "Ahead | None" = None) -> Result:
    """Show a plan with the command that runs it, or run it."""
    from eyewright.scaling import run_job

    if o.plan:
        return planned_job(o, plan, again, plan.shown)
    result = told_job(run_job(plan, workers=o.workers, quiet=is_quiet(o), ahead=ahead, on=engine_of(o)))
    return {**result, "text": [*_planned(plan), *result["text"]]}


def placed(plan: "Plan", name: str = "") -> Path | str:
    """Return where a file of a job is: its path, or its address in a store."""
    return plan.place.shown(name) if is_address(plan.shown) else (plan.folder / name).resolve()


def shown_place(place: Path | str) -> str:
    return place if isinstance(place, str) else shown_path(place)


def planned_job(o: argparse.Namespace, plan: "Plan", again: str, out: str) -> Result:
    """Return what a command says of a plan: its size, and the command that does it with the results in `out`."""
    named = out if is_address(out) else shown_path(Path(out))
    # A job that has results is continued only if it is asked for.
    more = " --resume" if getattr(o, "resume", False) else ""
    run = f"{shown_program('eyewright')} {again} --out {shlex.quote(named)} --on {engine_of(o)}{more}"
    return {
        "out": {"job": placed(plan), "plan": placed(plan, "plan/plan.json")},
        "plan": _plan_told(plan),
        "text": [*_planned(plan), f"run      {printable(run)}"],
    }


def _planned(plan: "Plan") -> list[str]:
    size = f"{_many(plan.n_images, 'image')}, {plan.n_bytes / 1e6:,.1f} MB, {_many(plan.n_shards, 'shard')}"
    from eyewright.scaling.fetching import count_left_out

    others = count_left_out(plan.left_out)
    return [f"planned  {size}", *([f"left out {printable(others)}"] if others else []), f"digest   {plan.digest}"]


def _plan_told(plan: "Plan") -> dict[str, Any]:
    told = {"images": plan.n_images, "bytes": plan.n_bytes, "shards": plan.n_shards, "digest": plan.digest}
    return {**told, **({"left_out": dict(plan.left_out)} if plan.left_out else {})}


def told_job(job: "Job") -> Result:
    """Return what a command says of a job that is done."""
    plan = job.plan
    planned = _plan_told(plan)
    out = {"job": placed(plan), "plan": placed(plan, "plan/plan.json")}
    totals, counts, rate = job.totals, dict(job.counts), _rate(job)
    text = [
        f"done     {_many(counts['images'], 'row')}, {counts['failed']:,} without a result "
        f"({counts['crashed']:,} crashed their worker)",
        f"now      {_many(totals.images, 'image')} in {_many(totals.shards, 'shard')}, "
        f"{job.seconds:.1f} s, {rate['images_per_s']:,.1f} images/s",
    ]
    text += [f"no result {finding_line(f)}" for f in job.findings[:20]]
    if job.redone:
        text.append(f"repeated: {_many(job.redone, 'shard')}, because the files in results/ were missing")
    places = {"results": "results", "manifest": "manifest.json", "fleet": "fleet.html"}
    found = {name: placed(plan, place) for name, place in places.items()}
    text.append(f"results  {shown_place(found['results'])}")
    text.append(f"page     {shown_place(found['fleet'])}")
    return {
        "out": {**out, **found},
        "plan": planned,
        "counts": counts,
        "rate": rate,
        "findings": [finding(f) for f in job.findings],
        "text": text,
        "exit": 1 if counts["failed"] else 0,
    }


def _many(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' * (n != 1)}"


def verified_job(o: argparse.Namespace, folder: str) -> Result:
    """Return what a command says of the job in a folder that it has verified."""
    from eyewright.scaling import verify_folder

    plan, found = verify_folder(folder)
    text = [f"{'damaged' if found else 'verified'} {_many(plan.n_images, 'image')} in {_many(plan.n_shards, 'shard')}"]
    text += [printable(str(f)) for f in found[:20]]
    return {
        "out": {"job": placed(plan)},
        "plan": {"images": plan.n_images, "shards": plan.n_shards, "digest": plan.digest},
        "findings": [finding(f) for f in found],
        "text": text,
        "exit": 1 if found else 0,
    }


def add_cost(verb: Callable[[str], argparse.ArgumentParser]) -> None:
    """Add the options of cost."""
    p = verb("cost")
    p.add_argument("bundle", metavar="BUNDLE", help="the bundle to measure")
    p.add_argument(
        "--source", metavar="SAMPLE", required=True, help="a sample of the images to predict: folder, glob, @LIST"
    )
    p.add_argument(
        "--images",
        type=Number(1, 1e15, whole=False),
        required=True,
        metavar="N",
        help="number of images to predict, such as 1e6",
    )
    p.add_argument(
        "--target", type=Checked(parse_duration_s), default="24h", metavar="TIME", help="deadline (default 24h)"
    )
    p.add_argument(
        "--machines",
        type=Number(1, 1_000_000),
        metavar="N",
        help="number of machines (default: as many as --target needs)",
    )
    p.add_argument(
        "--price", type=Number(0, 1e6, whole=False), metavar="P", help="price of one machine per hour, in any currency"
    )
    p.add_argument(
        "--watts", type=Number(0, 1e6, whole=False), metavar="W", help="power of one machine under load, in watts"
    )
    p.add_argument("--workers", type=Number(1, 1024), metavar="N", help="number of processes (default: one per core)")
    p.add_argument(
        "--seconds",
        type=Number(1, 3600, whole=False),
        default=10.0,
        metavar="S",
        help="duration of the measurement (default 10)",
    )


def cost(o: argparse.Namespace) -> Result:
    """Estimate machines, hours, money and energy from a job that is measured on a sample."""
    from dataclasses import asdict

    from eyewright.scaling import estimate_cost, measure_rate

    measured = measure_rate(o.bundle, o.source, workers=o.workers, seconds=o.seconds)
    found = estimate_cost(
        measured, round(o.images), target_h=parse_duration_s(o.target) / 3600, price=o.price, watts=o.watts,
        machines=o.machines,
    )  # fmt: skip
    n = measured.workers
    text = [
        f"measured {_many(measured.images, 'image')} in {_many(measured.shards, 'shard')}: "
        f"{measured.rate * n:,.1f} images/s [{measured.low * n:,.1f}, {measured.high * n:,.1f}] "
        f"with {_many(n, 'worker')}, {measured.start_s:.1f} s to start",
        f"time     {_many(found.images, 'image')} on {_many(found.machines, 'machine')}: "
        f"{show_hours(found.hours)} [{show_hours(found.hours_low)}, {show_hours(found.hours_high)}]",
        f"reads    {found.total_bytes / 1e9:,.2f} GB, {found.bytes_per_s / 1e6:,.1f} MB/s",
    ]
    if measured.failed:
        text.insert(1, f"failed   {_many(measured.failed, 'image')} more had no result; the rate does not count them")
    text += [] if found.money is None else [f"money    {found.money:,.2f} at {o.price:g} per machine and hour"]
    text += [] if found.kwh is None else [f"energy   {found.kwh:,.2f} kWh at {o.watts:g} W per machine"]
    text += [
        f"advice   {found.advice}",
        "assumed  the same machine and load, images like the sample, and storage with that MB/s",
    ]
    return {"measured": asdict(measured), "cost": asdict(found), "text": text}
