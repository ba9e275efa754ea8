"""Run a job: every shard is worked on at least once and committed exactly once, whoever dies meanwhile.

The engine decides what is done next; a `Crew` does it, in processes of this machine or elsewhere. A range of images
that fails is done again with more care, then in halves, until the one image is found that causes it; that image
becomes a row with the error `crashed`.
"""

__all__ = ["Crew", "Outcome", "Progress", "Settings", "Task", "Totals", "asked_of", "run_shards", "settled"]

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from eyewright.core.errors import LostError, OutputError, UsageError
from eyewright.core.once import sync_path
from eyewright.imaging.workers import error_from
from eyewright.scaling.leases import Leases
from eyewright.scaling.ledger import Ledger
from eyewright.scaling.plan import Shard
from eyewright.scaling.rows import Part, error_row, write_part, write_rows

Progress: TypeAlias = Callable[[int, str], None]

_WAIT_S = 0.5
_AGAIN_S = 1.0


@dataclass(frozen=True)
class Settings:
    """How failures are treated: `tries` of a whole shard before it is halved, and of a single image before it counts as
    crashed; a job stops after so many `most_crashed` images, since then something else is wrong."""

    tries: int = 2
    most_crashed: int = 1000


@dataclass(frozen=True)
class Task:
    """The images `begin` to `end` (excluded) of a shard, to be written to the file `out`."""

    shard: Shard
    begin: int
    end: int
    out: Path
    careful: bool = False
    tries: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of a task: `part` if it was done; otherwise what failed, in words, and the error's `code`. A task
    that was `lost` because its worker died before it was ready does not count as a try."""

    task: Task
    part: Part | None = None
    failure: str = ""
    code: str = "crashed"
    lost: bool = False


def asked_of(task: Task) -> dict[str, Any]:
    """Return a task as a worker is told it, in JSON types."""
    return {
        "shard": asdict(task.shard), "begin": task.begin, "end": task.end, "out": str(task.out),
        "careful": task.careful,
    }  # fmt: skip


def settled(task: Task, message: Mapping[str, Any]) -> Outcome:
    """Return what became of a task from the message of its worker, `done` or `failed`.

    Raises:
        EyewrightError: it failed for a reason that is no image's: the worker cannot write, or refuses the job.
    """
    if "done" in message:
        return Outcome(task, Part(**message["done"]))
    error = error_from(message["failed"])
    if isinstance(error, OutputError | UsageError) or error.code == "job":
        raise error
    return Outcome(task, failure=error.message, code="crashed" if error.code == "fault" else error.code)


class Crew(Protocol):
    """Who does the work; an error that it raises ends the job, which can be resumed."""

    @property
    def idle(self) -> int:
        """How many more tasks can be given now."""
        ...

    def give(self, task: Task) -> None:
        """Have a task done."""
        ...

    def wait(self, timeout_s: float) -> list[Outcome]:
        """Return what has ended, at the latest after `timeout_s`."""
        ...

    def close(self) -> None:
        """End all work at once."""
        ...


@dataclass
class Totals:
    """What this run of a job did: committed shards and images, images with an error, images that crashed a worker,
    failed attempts, and shards that another process committed first."""

    shards: int = 0
    images: int = 0
    failed: int = 0
    crashed: int = 0
    attempts_failed: int = 0
    second: int = 0


@dataclass
class _Open:
    """A shard that is being worked on: its pieces by their first image."""

    shard: Shard
    began: float
    pieces: dict[int, tuple[Path, Part]] = field(default_factory=dict)
    crashed: int = 0

    @property
    def rows(self) -> int:
        return sum(part.rows for _, part in self.pieces.values())


def run_shards(
    ledger: Ledger,
    leases: Leases,
    crew: Crew,
    *,
    advance: Progress,
    settings: Settings | None = None,
    first: int = 0,
    beat: Callable[[], None] = lambda: None,
) -> Totals:
    """Do every shard that is not committed, and wait for those that other processes have leased. `advance` is called
    with the images of each committed shard, `beat` at least every second. `first` is the shard to begin with: several
    processes that begin apart rarely want the same one.

    Raises:
        EyewrightError: the model was refused, the disk is full, or too many images crash their worker; what is
            committed stays, and the job can be resumed.
    """
    run = _Run(ledger, leases, crew, advance, settings or Settings(), first, beat)
    try:
        return run.run()
    finally:
        crew.close()
        run.clean()
        leases.release_all()


class _Run:
    def __init__(
        self,
        ledger: Ledger,
        leases: Leases,
        crew: Crew,
        advance: Progress,
        settings: Settings,
        first: int,
        beat: Callable[[], None],
    ) -> None:
        self._ledger, self._leases, self._crew, self._first = ledger, leases, crew, first
        self._advance, self._settings, self._beat = advance, settings, beat
        self._again: deque[Task] = deque()
        self._open: dict[int, _Open] = {}
        self._elsewhere: deque[Shard] = deque()
        self._flying: dict[Path, Task] = {}
        self.totals = Totals()

    def run(self) -> Totals:
        plan = self._ledger.plan
        shards = chain(islice(plan.shards(), self._first, None), islice(plan.shards(), self._first))
        fresh = self._fresh(shards)
        exhausted, looked = False, 0.0
        while True:
            while self._crew.idle:
                task = self._again.popleft() if self._again else None
                if task is None and not exhausted:
                    task = next(fresh, None)
                    exhausted = task is None
                if task is None and self._elsewhere and time.monotonic() - looked > _AGAIN_S:
                    task = self._taken_over()
                    looked = time.monotonic() if task is None else looked
                if task is None:
                    break
                self._flying[task.out] = task
                self._crew.give(task)
            if not (self._flying or self._again or self._elsewhere) and exhausted:
                return self.totals
            # A crew without work and without a free worker waits for one, such as a machine that starts.
            if self._flying or not self._crew.idle:
                for outcome in self._crew.wait(_WAIT_S):
                    self._settle(outcome)
            else:
                # Others work on what is left.
                time.sleep(_WAIT_S)
            self._leases.renew()
            self._beat()

    def clean(self) -> None:
        """Remove what was staged and not committed."""
        for task in (*self._flying.values(), *self._again):
            with suppress(OSError):
                task.out.unlink(missing_ok=True)
        for one in self._open.values():
            for path, _ in one.pieces.values():
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    def _fresh(self, shards: Iterator[Shard]) -> Iterator[Task]:
        """Yield tasks of whole shards that nobody has done or is doing."""
        for shard in shards:
            if self._ledger.is_done(shard.shard):
                continue
            if not self._leases.take(shard.shard):
                self._elsewhere.append(shard)
                continue
            if self._ledger.is_done(shard.shard):
                # Between the look and the lease.
                self._leases.release(shard.shard)
                continue
            self._open[shard.shard] = _Open(shard, time.monotonic())
            yield Task(shard, 0, shard.images, self._ledger.stage(shard))

    def _taken_over(self) -> Task | None:
        """Return the first shard of those that other processes had, whose holder has died."""
        for _ in range(len(self._elsewhere)):
            if task := next(self._fresh(iter([self._elsewhere.popleft()])), None):
                return task
        return None

    def _settle(self, outcome: Outcome) -> None:
        task = outcome.task
        self._flying.pop(task.out, None)
        one = self._open[task.shard.shard]
        if outcome.part is not None:
            self._add(one, task.begin, task.out, outcome.part)
            return
        task.out.unlink(missing_ok=True)
        if outcome.lost:
            self._again.append(self._task(task, task.begin, task.end, tries=task.tries, careful=task.careful))
            return
        self.totals.attempts_failed += 1
        tries, n = task.tries + 1, task.end - task.begin
        whole = n == task.shard.images
        if tries < self._settings.tries and (whole or n == 1):
            self._again.append(self._task(task, task.begin, task.end, tries=tries))
        elif n > 1:
            middle = task.begin + n // 2
            self._again.append(self._task(task, task.begin, middle))
            self._again.append(self._task(task, middle, task.end))
        else:
            self._quarantine(one, task, outcome)

    def _task(self, task: Task, begin: int, end: int, *, tries: int = 0, careful: bool = True) -> Task:
        return Task(task.shard, begin, end, self._ledger.stage(task.shard), careful, tries)

    def _quarantine(self, one: _Open, task: Task, outcome: Outcome) -> None:
        item = self._ledger.plan.items(task.shard)[task.begin]
        row = error_row(task.shard.first + task.begin, item.path, outcome.code, outcome.failure)
        path = self._ledger.stage(task.shard)
        one.crashed += 1
        self.totals.crashed += 1
        if self.totals.crashed > self._settings.most_crashed:
            raise LostError(
                f"{self.totals.crashed:,} images failed in their worker, the last with: {outcome.failure}",
                fix="look for what they share, then continue with --resume",
            )
        self._add(one, task.begin, path, write_rows(path, [row]))

    def _add(self, one: _Open, begin: int, path: Path, part: Part) -> None:
        one.pieces[begin] = (path, part)
        if one.rows < one.shard.images:
            return
        ledger, ordered = self._ledger, [one.pieces[k] for k in sorted(one.pieces)]
        if len(ordered) == 1 and ledger.format == "jsonl":
            staged, whole = ordered[0]
        else:
            staged = ledger.stage(one.shard, ledger.format)
            whole = write_part([p for p, _ in ordered], staged, ledger.format)
            for piece, _ in ordered:
                piece.unlink(missing_ok=True)
        # The staged name too has to be on disk before a record names it.
        sync_path(ledger.staging)
        seconds = time.monotonic() - one.began
        del self._open[one.shard.shard]
        if ledger.commit(one.shard, staged, whole, crashed=one.crashed, seconds=seconds):
            self.totals.shards += 1
            self.totals.images += whole.rows
            self.totals.failed += whole.failed
        else:
            self.totals.second += 1
        self._leases.release(one.shard.shard)
        self._advance(one.shard.images, f"shard {one.shard.shard + 1:,}")
