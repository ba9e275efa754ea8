"""A job from its plan to its manifest: planned, run, resumed and verified in one folder."""

__all__ = ["Job", "make_plan", "plan_predict", "run_job", "verify_folder", "work_on_job"]

import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from eyewright.bundle.signature import PublicKey, read_public_key
from eyewright.bundle.verify import read_sealed
from eyewright.core.errors import EyewrightError, RefusedError, UsageError
from eyewright.core.progress import track_progress
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.scaling.crews import open_crew
from eyewright.scaling.engine import Settings, Totals, run_shards
from eyewright.scaling.engines import is_ray
from eyewright.scaling.fleet import FleetReader
from eyewright.scaling.fleet_page import FleetPage
from eyewright.scaling.leases import Leases
from eyewright.scaling.ledger import Ledger, open_job
from eyewright.scaling.listing import Item
from eyewright.scaling.places import Place, fetch_plan, new_work, place_of, publish_plan, shown_place
from eyewright.scaling.plan import OUTPUTS, Plan, Value, absolute_source, found_plan, open_plan, write_plan
from eyewright.scaling.predict_options import check_model
from eyewright.scaling.rows import check_format
from eyewright.scaling.starting import Ahead
from eyewright.scaling.verifying import list_errors, verify_job

SHARD_IMAGES = 512
_SHOWN_ERRORS = 200
_DOING = {
    "predict": "predicting", "process": "processing", "encode": "encoding", "index": "indexing",
    "evaluate": "evaluating",
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """A job that is done: its plan, what this run did (`totals`), the sums over all of its results (`images`, `failed`,
    `crashed`, `bytes`), the first images with errors, and the seconds of this run."""

    plan: Plan
    totals: Totals
    counts: Mapping[str, int]
    findings: tuple[Finding, ...]
    redone: int
    seconds: float

    @property
    def folder(self) -> Path:
        """The folder of the job; of one in a store, that of this process (`plan.shown` is its address)."""
        return self.plan.folder


def plan_predict(
    bundle: str | Path,
    source: str,
    out: str | Path,
    *,
    conf: float | None = None,
    iou: float | None = None,
    top: int | None = None,
    format: str = "jsonl",
    shard_size: int | None = None,
    key: PublicKey | str | Path | None = None,
    resume: bool = False,
) -> Plan:
    """Return the plan of predicting a folder, glob or `@LIST` with a bundle: a new one written to `out`, or the one
    that is there if it was not started, or with `resume` any that is there.

    Raises:
        InputError: nothing is there, or there are no images.
        UsageError: the options are not supported, or `out` has a job that was started.
        RefusedError: the job in `out` is another one; both digests are named.
    """
    check_format(format)
    manifest, _, digest = read_sealed(Path(bundle), key=read_public_key(key) if isinstance(key, str | Path) else key)
    options: dict[str, Value] = {"conf": conf, "iou": iou, "top": top, "format": format}
    check_model(manifest, options)
    model = str(Path(bundle).resolve())
    return make_plan(out, source, "predict", options, model, digest, shard_size, resume=resume)


def run_job(
    plan: Plan,
    *,
    workers: int | None = None,
    timeout_s: float = 300.0,
    lease_s: float = 60.0,
    settings: Settings | None = None,
    part: tuple[int, int] = (0, 1),
    quiet: bool = True,
    ahead: Ahead | None = None,
    on: str = "local",
) -> Job:
    """Do what is left of a job with worker processes on this machine, by default one per core that may be used, or `on`
    a Ray cluster ("ray", "HOST:PORT", "ray://HOST:PORT"; with "ray" that of RAY_ADDRESS, else one that is started), and
    write its manifest and its page (`fleet.html`, which shows the state while it runs). A process that is killed leaves
    a job that can be run again.

    Any number of such calls, on machines that share the folder, work on one job: leases say who does which shard. The
    k-th of n begins with the k-th part of the shards (`part`), and helps the others when that is done. Workers that
    were started `ahead` are used (`start_ahead`).

    Raises:
        EyewrightError: the model is refused, the disk is full, or workers cannot be started.
    """
    began = time.monotonic()
    if is_ray(on) and not plan.place.is_local:
        raise UsageError(
            f"the job in {quoted(plan.shown)} is not done on Ray", fix="run eyewright work ADDRESS on each machine"
        )
    first = plan.n_shards * part[0] // part[1]
    ledger = Ledger(plan, str(plan.options.get("format", "jsonl")))
    ledger.prepare()
    leases = Leases(ledger.place.below("leases"), ttl_s=lease_s)
    redone = ledger.recover(leases.is_held)
    leases.sweep(ledger.is_done)
    crew = open_crew(plan, on, workers=workers, timeout_s=timeout_s, ahead=ahead)
    page = FleetPage(FleetReader(ledger, leases))
    try:
        with track_progress(_DOING[plan.verb], plan.n_images, quiet=quiet) as advance:
            totals = run_shards(
                ledger, leases, crew, advance=advance, settings=settings, first=first, beat=page.refresh
            )
    except EyewrightError as error:
        # The page must not hide why the work ended: a full disk ends both.
        with suppress(EyewrightError, OSError):
            page.write(stopped=str(error))
        raise
    if totals.attempts_failed:
        # What workers had staged when they died.
        ledger.recover(leases.is_held)
    counts = ledger.write_manifest()
    page.write()
    findings = tuple(list_errors(ledger, _SHOWN_ERRORS)) if counts["failed"] else ()
    return Job(plan, totals, counts, findings, redone, time.monotonic() - began)


def work_on_job(
    folder: str | Path,
    *,
    bundle: str | Path | None = None,
    workers: int | None = None,
    part: tuple[int, int] = (0, 1),
    lease_s: float = 60.0,
    quiet: bool = True,
    ahead: Ahead | None = None,
    on: str = "local",
) -> Job:
    """Do what is left of a planned job, without what it was planned from: what a machine of a cluster runs; see
    `run_job`. `bundle` says where the planned bundle lies on this machine.

    Raises:
        InputError: there is no job.
        UsageError: there is no such part.
        RefusedError: the plan was changed.
        EyewrightError: as `run_job`.
    """
    if not 0 <= part[0] < part[1]:
        raise UsageError(f"expected a part from 0 to {part[1] - 1}, found {part[0]}", fix="change --part")
    plan = found_plan(folder)
    if bundle is not None:
        plan = replace(plan, model=str(Path(bundle).resolve()))
    return run_job(plan, workers=workers, part=part, lease_s=lease_s, quiet=quiet, ahead=ahead, on=on)


def verify_folder(folder: str | Path) -> tuple[Plan, list[Finding]]:
    """Return the plan of a job and what is wrong with its results: see `verify_job`.

    Raises:
        InputError: there is no job.
        RefusedError: its plan was changed.
    """
    ledger = open_job(folder)
    ledger.prepare(writes=False)
    return ledger.plan, verify_job(ledger)


def make_plan(
    out: str | Path,
    source: str,
    verb: str,
    options: Mapping[str, Value],
    model: str,
    digest: str,
    shard_size: int | None,
    *,
    resume: bool,
    items: Iterable[Item] | None = None,
    check: Callable[[Plan], None] = lambda plan: None,
) -> Plan:
    """Return the plan that is there, if it is of the same work and was not started or `resume` is set; otherwise write
    one, of the images of the source or of `items` (`write_plan`). A plan that is not started has to pass `check`, and a
    new one that does not is not kept. `out` is a folder or an address.

    Raises:
        InputError: nothing is there, or there are no images.
        UsageError: the folder has a job that was started or something else, or none to resume.
        RefusedError: it has another job.
    """
    folder = new_work(out)
    place, shown = place_of(folder), quoted(shown_place(folder))
    if fetch_plan(folder):
        started = _has(place, "commits")
        if started and not resume:
            raise UsageError(
                f"{shown} has a job already", fix="continue it with --resume, or choose another --out", code="job"
            )
        plan = open_plan(folder)
        _refuse_other(plan, source, verb, options, digest, shard_size)
        if not started:
            check(plan)
        return replace(plan, model=model)
    if resume:
        raise UsageError(f"there is no job in {shown} to continue", fix="leave --resume out", code="job")
    if any(_has(place, name) for name in ("commits", "results", "plan", OUTPUTS) if place.is_local or name != "plan"):
        raise UsageError(f"{shown} has files of something else", fix="choose another --out", code="job")
    plan = write_plan(
        folder,
        source,
        verb=verb,
        options=options,
        model=model,
        model_digest=digest,
        shard_images=shard_size or SHARD_IMAGES,
        items=items,
    )
    try:
        check(plan)
    except EyewrightError:
        shutil.rmtree(folder / "plan")
        raise
    if not publish_plan(folder):
        raise UsageError(
            f"{shown} got a job meanwhile", fix="continue it with --resume, or choose another --out", code="job"
        )
    return plan


def _has(place: Place, name: str) -> bool:
    """Return whether a job has a folder: of one in a store, whether anything is right in it."""
    return place.exists(name) if place.is_local else any(True for _ in place.names(name))


def _refuse_other(
    plan: Plan, source: str, verb: str, options: Mapping[str, Value], digest: str, shard_size: int | None
) -> None:
    fix, shown = "use what it was planned with, or choose another --out", quoted(plan.shown)
    if plan.verb != verb:
        raise RefusedError(f"the job in {shown} is of {plan.verb}", fix=fix, code="job")
    if plan.model_digest != digest:
        raise RefusedError(
            f"the job in {shown} was planned with the bundle {plan.model_digest[:16]}, this one is {digest[:16]}",
            fix=fix,
            code="job",
        )
    for name, found, expected in (
        ("source", absolute_source(source), plan.source),
        *((name, options[name], plan.options.get(name)) for name in options),
        ("shard-size", shard_size or plan.shard_images, plan.shard_images),
    ):
        if found != expected:
            raise RefusedError(
                f"the job in {shown} was planned {_option(name, expected)}, found {_option(name, found, '')}",
                fix=fix,
                code="job",
            )


def _option(name: str, value: Value, word: str = "with ") -> str:
    """Return an option as it is typed, with its value; no option where it was not given."""
    if value is None or value is False:
        return f"without --{name}" if word else "none"
    return f"{word}--{name}" + ("" if value is True else f" {value}")
