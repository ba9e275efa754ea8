"""Jobs on a cluster: work, which every machine runs, and export --to slurm, kubernetes, kuberay or kserve."""

__all__ = ["add_job_target", "add_work", "export_job", "is_job_target", "work"]

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from eyewright.cli.numbers import Checked, Number
from eyewright.cli.scaling import ON_HELP, engine_of, placed, refuse_ray, shown_place, told_job, verified_job
from eyewright.cli.terminal import Result, finding, finding_line, is_quiet, shown_path
from eyewright.core.durations import parse_duration_s, show_duration
from eyewright.core.errors import UsageError, spelling_hint
from eyewright.core.quoting import quoted
from eyewright.core.sizes import parse_bytes
from eyewright.scaling.addresses import is_address
from eyewright.scaling.engines import check_engine

if TYPE_CHECKING:
    from eyewright.scaling import JobTarget

_TARGETS = ("slurm", "kubernetes", "kuberay", "kserve")
# Options that not every target takes.
_OWN = {
    "time": ("slurm",), "program": ("slurm",), "image": ("kubernetes", "kuberay", "kserve"),
    "volume": ("kubernetes", "kuberay"),
}  # fmt: skip
_NOT_WITH = {"runtime": None, "data": None, "name": None, "with_attention": False, "policy": None, "sign": None}


def add_work(verb: Callable[[str], argparse.ArgumentParser]) -> None:
    """Add the options of work."""
    p = verb("work")
    p.add_argument("job", metavar="JOB", help="the folder or address of a planned job")
    p.add_argument("--workers", type=Number(1, 1024), metavar="N", help="number of processes (default: one per core)")
    p.add_argument(
        "--bundle", metavar="BUNDLE", help="path of the planned bundle on this machine (default: as planned)"
    )
    p.add_argument(
        "--part",
        type=Checked(_part),
        metavar="K/N",
        help="begin at shard K of N, so that machines start at different shards (default 0/1)",
    )
    p.add_argument("--on", type=Checked(check_engine), metavar="ENGINE", help=f"{ON_HELP} (default local)")
    p.add_argument("--verify", action="store_true", help="check that each planned image has exactly one row")
    p.add_argument("--status", action="store_true", help="show progress and workers; do no work")


def _part(text: str) -> tuple[int, int]:
    k, _, n = text.partition("/")
    try:
        part = int(k), int(n)
    except ValueError:
        part = (0, 0)
    if not 0 <= part[0] < part[1] <= 1_000_000:
        raise UsageError(f"expected a part such as 0/4, found {text!r}", fix="use K/N, with K from 0 to N - 1")
    return part


def work(o: argparse.Namespace) -> Result:
    """Do shards of a planned job until all are done: what each machine of a cluster runs."""
    if o.verify:
        return verified_job(o, o.job)
    if o.status:
        return _status(o.job)
    from eyewright.scaling.starting import start_ahead

    part = (0, 1) if o.part is None else _part(o.part)
    model = "" if o.bundle is None else str(Path(o.bundle).resolve())
    on = engine_of(o)
    if is_address(o.job):
        refuse_ray(on)
    with start_ahead(Path(o.job), model=model, workers=o.workers, on=on) as ahead:
        from eyewright.scaling import work_on_job

        job = work_on_job(o.job, bundle=o.bundle, workers=o.workers, part=part, quiet=is_quiet(o), ahead=ahead, on=on)
    # A scheduler would start a task again that ends with 1: errors of images are in the rows and in the counts.
    return {**told_job(job), "exit": 0}


def _status(folder: str) -> Result:
    """Return what a command says of the state of a job, whose page it writes."""
    from dataclasses import asdict

    from eyewright.core.errors import OutputError
    from eyewright.core.report import Finding
    from eyewright.scaling.fleet import read_fleet
    from eyewright.scaling.fleet_page import PAGE, render_fleet, summarize_fleet, write_fleet

    fleet = read_fleet(folder)
    out, found = {"job": placed(fleet.plan)}, [*fleet.crashed, *fleet.failed]
    try:
        write_fleet(fleet.plan.place, render_fleet(fleet))
        out["fleet"] = placed(fleet.plan, PAGE)
    except OutputError as error:
        # A full disk, or a folder that is only read here, is when the state is asked for.
        page = fleet.plan.place.shown(PAGE)
        found.insert(0, Finding("page", error.message, error.fix, page, severity="warning"))
    shards, plan = fleet.shards, fleet.plan
    by_state = ", ".join(f"{shards[k]:,} {k}" for k in ("done", "running", "waiting"))
    text = [f"state    {summarize_fleet(fleet)}", f"shards   {by_state}"]
    if fleet.rate is not None:
        text.append(
            f"rate     {fleet.rate:,.1f} images/s with {_many(fleet.workers, 'worker')} "
            f"on {_many(fleet.machines, 'machine')}"
        )
    text += [
        f"slow     shard {s.shard:,}: {s.images:,} images in {show_duration(s.seconds)}" for s in fleet.slowest[:3]
    ]
    if "fleet" in out:
        text.append(f"page     {shown_place(out['fleet'])}")
    text += [f"{'no page ' if f.code == 'page' else 'no result'} {finding_line(f)}" for f in found[:20]]
    return {
        "out": out,
        "plan": {"images": plan.n_images, "bytes": plan.n_bytes, "shards": plan.n_shards, "digest": plan.digest},
        "shards": shards,
        "counts": {
            "images": fleet.done_images, "failed": fleet.failed_images, "crashed": fleet.crashed_images,
        },
        "rate": {
            "images_per_s": fleet.rate, "worker_images_per_s": fleet.worker_rate, "left_s": fleet.left_s,
            "worker_s_left": fleet.worker_s_left, "workers": fleet.workers, "processes": fleet.processes,
            "machines": fleet.machines,
        },
        "slowest": [asdict(s) for s in fleet.slowest],
        "findings": [finding(f) for f in found],
        "text": text,
    }  # fmt: skip


def _many(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' * (n != 1)}"


def add_job_target(p: argparse.ArgumentParser) -> None:
    """Add the options of export that are for a planned job."""
    p.add_argument(
        "--tasks",
        type=Number(1, 100_000),
        metavar="N",
        help="jobs: array tasks, pods or Ray nodes; kserve: maximum number of pods (default 4)",
    )
    p.add_argument("--cpus", type=Number(1, 1024), metavar="N", help="jobs: cores per task (default 2)")
    p.add_argument("--memory", type=Checked(parse_bytes), metavar="N", help="jobs: memory per task (default 4G)")
    p.add_argument(
        "--time", type=Checked(parse_duration_s), metavar="TIME", help="slurm: time limit of a task (default 4h)"
    )
    p.add_argument("--program", metavar="PATH", help="slurm: path of eyewright on the cluster (default: this one)")
    p.add_argument("--image", metavar="IMAGE", help="kubernetes, kuberay, kserve: container image with eyewright")
    p.add_argument(
        "--volume",
        action="append",
        metavar="CLAIM:/PATH",
        help="kubernetes, kuberay: volume claim and where it is mounted (repeatable)",
    )


def is_job_target(o: argparse.Namespace) -> bool:
    """Return whether export is asked to take a job to a cluster.

    Raises:
        UsageError: it has options of a job, and is not.
    """
    if o.to in _TARGETS:
        return True
    if (Path(o.run) / "plan" / "plan.json").is_file():
        raise UsageError(
            f"expected --to {', '.join(_TARGETS[:-1])} or {_TARGETS[-1]} for the job {quoted(o.run)}, found {o.to!r}",
            fix=spelling_hint(o.to, _TARGETS),
        )
    for name in ("tasks", "cpus", "memory", *_OWN):
        if getattr(o, name) is not None:
            raise UsageError(f"--{name} needs --to {', '.join(_TARGETS[:-1])} or {_TARGETS[-1]}", fix="leave it out")
    return False


def export_job(o: argparse.Namespace) -> Result:
    """Write the files that run a planned job on a cluster."""
    from eyewright.bundle.manifest import bundle_folder
    from eyewright.scaling import JobTarget, export_service
    from eyewright.scaling import export_job as write_files

    for name, usual in _NOT_WITH.items():
        if getattr(o, name) != usual:
            raise UsageError(f"--{name.replace('_', '-')} is not supported with --to {o.to}", fix="leave it out")
    for name, targets in _OWN.items():
        if o.to not in targets and getattr(o, name) is not None:
            raise UsageError(f"--{name} is not supported with --to {o.to}", fix="leave it out")
    default = JobTarget()
    chosen = JobTarget(
        tasks=o.tasks or default.tasks,
        cpus=o.cpus or default.cpus,
        memory_mb=default.memory_mb if o.memory is None else max(1, round(parse_bytes(o.memory) / 2**20)),
        minutes=default.minutes if o.time is None else max(1, round(parse_duration_s(o.time) / 60)),
        program=default.program if o.program is None else (o.program,),
        image=o.image,
        volumes=_volumes(o.volume or ()),
    )
    if o.to == "kserve":
        folder = export_service(bundle_folder(Path(o.run)), o.out, target=chosen)
    else:
        folder = write_files(o.run, o.out, to=o.to, target=chosen)
    files = sorted(p.name for p in folder.iterdir())
    text = [f"{o.to:8} {shown_path(folder)}: {', '.join(files)}", f"next     {shown_path(folder / 'README.md')}"]
    text += [] if o.to == "kserve" else _about_tasks(o.run, chosen)
    return {"out": {o.to: folder.resolve()}, "files": files, "text": text}


def _about_tasks(job: str, target: "JobTarget") -> list[str]:
    """Return what a user does not expect of an export: fewer tasks than asked for, and nothing that is left to do."""
    from eyewright.scaling.exports import tasks_of
    from eyewright.scaling.ledger import open_job

    ledger = open_job(job)
    plan, said = ledger.plan, []
    tasks = tasks_of(plan, target)
    if tasks < target.tasks:
        said.append(f"tasks    {tasks:,}, not {target.tasks:,}: the job has as many shards, and each task needs one")
    done = sum(ledger.committed())
    if done == plan.n_shards:
        said.append("done     all shards are done: nothing is left to do for these tasks")
    elif done:
        said.append(f"done     {done:,} of {plan.n_shards:,} shards")
    return said


def _volumes(given: Iterable[str]) -> dict[str, str]:
    """Return where each claim is mounted.

    Raises:
        UsageError: a text that is no volume, or a claim that is given twice.
    """
    found: dict[str, str] = {}
    for claim, path in map(_volume, given):
        if claim in found:
            raise UsageError(
                f"expected --volume {claim} once, found it at {quoted(found[claim])} and {quoted(path)}",
                fix="mount it once, at one path",
            )
        found[claim] = path
    return found


def _volume(text: str) -> tuple[str, str]:
    claim, mark, path = text.partition(":")
    if not mark:
        raise UsageError(f"expected a volume CLAIM:/PATH, found {text!r}", fix="as in --volume photos:/data")
    return claim, path
