"""What it takes to predict many images: machines, hours, money and energy, from a job that is measured here."""

__all__ = ["Cost", "Measured", "estimate_cost", "measure_rate", "wall_seconds"]

import contextlib
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eyewright.core.durations import show_duration, show_hours
from eyewright.core.errors import BudgetError, InputError
from eyewright.core.machine.limits import usable_cores
from eyewright.core.quoting import quoted
from eyewright.metrics.bootstrap import percentile_interval
from eyewright.scaling.fetching import holds_references, is_reference, list_references, no_images
from eyewright.scaling.jobs import SHARD_IMAGES, plan_predict, run_job
from eyewright.scaling.ledger import open_job
from eyewright.scaling.listing import Item, list_items, source_root
from eyewright.scaling.plan import has_plan
from eyewright.scaling.verifying import list_errors

_MOST_SAMPLE = 10_000
_PILOT = 64
_SHARDS_EACH = 6
_RESAMPLED = 2000
# Of machines that share the work, one more is not worth it where its start is most of its time.
_LEAST_S = 60.0


@dataclass(frozen=True)
class Measured:
    """What a job of a sample measured on this machine: images per second of one worker with its 95 % interval, while so
    many `workers` ran; seconds that a job takes in addition to its images (`start_s`: the start of all processes, plan,
    manifest); mean bytes of an image; images with a result and shards that were measured; how many images more had an
    error (`failed`), whose time counts, as a job spends it."""

    rate: float
    low: float
    high: float
    workers: int
    start_s: float
    image_bytes: float
    images: int
    shards: int
    failed: int


@dataclass(frozen=True)
class Cost:
    """An estimate for so many images. `hours` is the wall time on `machines` like this one, with the interval of the
    measured rate; `machine_hours` their sum; `money` and `kwh` are None without a price and a power. `enough` says that
    one machine meets the target."""

    images: int
    machines: int
    hours: float
    hours_low: float
    hours_high: float
    machine_hours: float
    money: float | None
    kwh: float | None
    total_bytes: float
    bytes_per_s: float
    one_machine_hours: float
    enough: bool
    advice: str


def measure_rate(
    bundle: str | Path, sample: str, *, workers: int | None = None, seconds: float = 10.0, timeout_s: float = 300.0
) -> Measured:
    """Predict a sample of images (a folder, glob or `@LIST`) as a job, for about so many seconds, and return how quick
    each worker was after its start. A small sample is predicted several times; then its files come from memory, and
    slower storage has to be considered separately.

    Raises:
        InputError: there are no images, or none has a result.
        EyewrightError: as `plan_predict` and `run_job`.
    """
    n = workers or usable_cores()
    with tempfile.TemporaryDirectory(prefix="eyewright-cost-") as temporary:
        work = Path(temporary)
        root = source_root(sample)
        listed = list_references(sample) if holds_references(sample) else list_items(sample, work)
        found = [_place(root, item) for item in islice(listed, _MOST_SAMPLE)]
        if not found:
            raise no_images(sample)
        pilot, took_s = _run_apart(bundle, islice(cycle(found), _PILOT * n), work / "pilot", _PILOT // 4, n, timeout_s)
        wanted = max(_SHARDS_EACH * n * 8, math.ceil(_rate(pilot[n:, 0], pilot[n:, 1]) * n * seconds))
        size = min(SHARD_IMAGES, max(8, wanted // (_SHARDS_EACH * n)))
        table = _run(bundle, islice(cycle(found), wanted), work / "job", size, n, timeout_s)
        ledger = open_job(work / "job")
        plan = ledger.plan
        # A worker's first shard takes longer by its start.
        rest = table[n:]
        good = rest[:, 0] - rest[:, 2]
        if not good.sum():
            (first,) = list_errors(ledger, 1)
            raise InputError(
                f"expected images that can be predicted in {quoted(sample)}, found none: {first.message}",
                fix="check --source",
                code="no_images",
            )
        rate, rows = _rate(good, rest[:, 1]), _rate(rest[:, 0], rest[:, 1])
        picked = np.random.default_rng(0).integers(0, len(rest), (_RESAMPLED, len(rest)))
        low, high = percentile_interval(good[picked].sum(1) / rest[picked, 1].sum(1))
        return Measured(
            rate=rate,
            low=float(low),
            high=float(high),
            workers=n,
            start_s=max(0.0, took_s - wall_seconds(_PILOT * n, rows, n, 0.0, _PILOT // 4)),
            image_bytes=plan.n_bytes / plan.n_images,
            images=int(good.sum()),
            shards=len(rest),
            failed=int(rest[:, 2].sum()),
        )


def estimate_cost(
    measured: Measured,
    images: int,
    *,
    target_h: float = 24.0,
    price: float | None = None,
    watts: float | None = None,
    machines: int | None = None,
    shard_size: int = SHARD_IMAGES,
) -> Cost:
    """Return what so many images take on machines like the measured one: as many `machines` as meet the target, if they
    are not given. `price` is per machine and hour, `watts` the power of a machine under load.

    Work is divided by shards, so that machines wait for the last one at the end; that the storage is quick enough for
    all of them, `bytes_per_s`, is an assumption.

    >>> at = Measured(100.0, 90.0, 110.0, 2, 1.0, 1e5, 4000, 12, 0)
    >>> cost = estimate_cost(at, 1_000_000, price=0.5)
    >>> cost.machines, round(cost.hours, 2), round(cost.money, 2), cost.enough
    (1, 1.39, 0.69, True)

    Raises:
        BudgetError: no number of machines meets the target.
    """

    def hours(rate: float, n: int) -> float:
        return wall_seconds(images, rate, measured.workers * n, measured.start_s, shard_size) / 3600

    one = hours(measured.rate, 1)
    if machines is None:
        machines = 1
        if one > target_h:
            left_s = target_h * 3600 - measured.start_s
            # The last shard is waited for: no number of machines is quicker than it.
            if left_s < min(images, shard_size) / measured.rate:
                raise BudgetError(
                    f"expected {images:,} images in {show_hours(target_h)}, found that one shard takes "
                    f"{show_duration(measured.start_s + min(images, shard_size) / measured.rate)}",
                    fix="raise --target",
                )
            machines = max(2, math.ceil(images / (measured.rate * measured.workers * left_s)))
            while hours(measured.rate, machines) > target_h:
                machines += max(1, machines // 100)
    wall = hours(measured.rate, machines)
    enough = one <= target_h
    return Cost(
        images=images,
        machines=machines,
        hours=wall,
        hours_low=hours(measured.high, machines),
        hours_high=hours(measured.low, machines),
        machine_hours=wall * machines,
        money=None if price is None else wall * machines * price,
        kwh=None if watts is None else wall * machines * watts / 1000,
        total_bytes=images * measured.image_bytes,
        bytes_per_s=measured.rate * measured.workers * machines * measured.image_bytes,
        one_machine_hours=one,
        enough=enough,
        advice=_advice(one, machines, target_h, enough),
    )


def wall_seconds(images: int, rate: float, workers: int, start_s: float, shard_size: int = SHARD_IMAGES) -> float:
    """Return the seconds that so many workers take for shards of equal images, each doing `rate` images per second.

    >>> wall_seconds(1000, 10.0, 2, 1.0, 500), wall_seconds(1500, 10.0, 2, 1.0, 500)
    (51.0, 101.0)
    """
    whole, rest = divmod(images, shard_size)
    rounds, over = divmod(whole, workers)
    # The last, smaller shard is done next to whole ones, or alone.
    last = shard_size if over else rest
    return start_s + (rounds * shard_size + last) / rate


def _advice(one_h: float, machines: int, target_h: float, enough: bool) -> str:
    if enough and machines == 1:
        return f"one machine like this one is enough: {_said(one_h)}; do not scale out"
    if enough:
        return f"one machine like this one would be enough for {show_hours(target_h)}: {_said(one_h)}"
    return f"one machine would take {_said(one_h)}; {machines:,} meet the target of {show_hours(target_h)}"


def _said(hours: float) -> str:
    return (
        f"{hours:,.1f} h" if hours >= 1 else f"{hours * 60:.1f} min" if hours * 3600 >= _LEAST_S else "under a minute"
    )


def _run_apart(
    bundle: str | Path, paths: Iterable[str], folder: Path, size: int, workers: int, timeout_s: float
) -> tuple[NDArray[np.float64], float]:
    """Run a job as the command does it, which is a process of its own; return its shards as `_run` does, and how long
    the command took."""
    listed = _listed(paths, folder)
    options = ("--on", "local", "--workers", str(workers), "--shard-size", str(size), "--quiet")
    words = ("predict", str(bundle), "--source", f"@{listed}", "--out", str(folder), *options)
    began = time.monotonic()
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(
            (sys.executable, "-m", "eyewright", *words), check=False, capture_output=True, stdin=subprocess.DEVNULL,
            timeout=timeout_s,
        )  # fmt: skip
    took = time.monotonic() - began
    if not (folder / "manifest.json").is_file():
        # Here it raises the error that stopped it there.
        began = time.monotonic()
        run_job(plan_predict(bundle, f"@{listed}", folder, shard_size=size, resume=has_plan(folder)), workers=workers)
        took = time.monotonic() - began
    return _table(folder), took


def _run(
    bundle: str | Path, paths: Iterable[str], folder: Path, size: int, workers: int, timeout_s: float
) -> NDArray[np.float64]:
    """Run a job of these files; return images, seconds and errors of each shard, in the order of the plan."""
    plan = plan_predict(bundle, f"@{_listed(paths, folder)}", folder, shard_size=size)
    run_job(plan, workers=workers, timeout_s=timeout_s)
    return _table(folder)


def _listed(paths: Iterable[str], folder: Path) -> Path:
    listed = folder.with_suffix(".txt")
    with open(listed, "x", encoding="utf-8", errors="surrogateescape") as file:
        file.writelines(f"{path}\n" for path in paths)
    return listed


def _table(folder: Path) -> NDArray[np.float64]:
    ledger = open_job(folder)
    records = [ledger.read(shard.shard) for shard in ledger.plan.shards()]
    return np.array([(r.rows, r.seconds, r.failed) for r in records if r is not None], np.float64)


def _place(root: Path, item: Item) -> str:
    return item.path if is_reference(item.path) else str(root / item.path)


def _rate(images: NDArray[np.float64], seconds: NDArray[np.float64]) -> float:
    return float(images.sum() / max(1e-9, seconds.sum()))
