"""The state of a job while it runs: which shards are done, who works on which, how fast, and what is left.

All of it is read from the commit records and leases in the folder of the job, so any process that sees the folder can
tell, on any machine. Rates come from the seconds that a shard took its worker: neither the clocks of the machines nor a
pause between two runs of a job count.
"""

__all__ = ["DONE", "RUNNING", "WAITING", "WITH_CRASHES", "WITH_ERRORS", "Fleet", "FleetReader", "Slow", "read_fleet"]

import heapq
import os
from array import array
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from eyewright.core.report import Finding
from eyewright.scaling.leases import Leases
from eyewright.scaling.ledger import Ledger, Record, open_job
from eyewright.scaling.places import Place
from eyewright.scaling.plan import Plan
from eyewright.scaling.rows import Row, read_errors

WAITING, RUNNING, DONE, WITH_ERRORS, WITH_CRASHES = range(5)
"""What a shard is: of those that are done, all images have results, some have an error, some crashed their worker."""

_SLOWEST = 10
_SHOWN = 100


@dataclass(frozen=True)
class Slow:
    """A shard that is done: its number, its first image's number in the plan, its images, and how long it took."""

    shard: int
    first: int
    images: int
    seconds: float


@dataclass(frozen=True)
class Fleet:
    """A job at one moment.

    `states` has a byte per shard (`WAITING` to `WITH_CRASHES`), `images` and `seconds` its images and how long it took.
    `workers` is how many shards are being worked on, by `processes` on `machines`. `crashed` and `failed` are the
    first 100 images each that crashed their worker and that have another error.
    """

    plan: Plan
    states: bytes
    images: Sequence[int]
    seconds: Sequence[float]
    failed_images: int
    crashed_images: int
    workers: int
    processes: int
    machines: int
    slowest: tuple[Slow, ...]
    crashed: tuple[Finding, ...]
    failed: tuple[Finding, ...]

    @property
    def shards(self) -> dict[str, int]:
        """How many shards there are, and how many of them are in each state."""
        n = Counter(self.states)
        done = n[DONE] + n[WITH_ERRORS] + n[WITH_CRASHES]
        return {
            "total": len(self.states), "done": done, "running": n[RUNNING], "waiting": n[WAITING],
            "with_errors": n[WITH_ERRORS], "with_crashes": n[WITH_CRASHES],
        }  # fmt: skip

    @property
    def done_images(self) -> int:
        """How many images have a row that is committed."""
        return sum(n for n, state in zip(self.images, self.states, strict=True) if state >= DONE)

    @property
    def is_done(self) -> bool:
        """Whether every shard is committed."""
        return min(self.states) >= DONE

    @property
    def worker_rate(self) -> float | None:
        """Images per second of a worker, over all shards that are done; None before the first."""
        spent = sum(s for s, state in zip(self.seconds, self.states, strict=True) if state >= DONE)
        return self.done_images / spent if spent > 0 else None

    @property
    def rate(self) -> float | None:
        """Images per second of all workers; None where nobody works, or nothing is done yet."""
        one = self.worker_rate
        return one * self.workers if one is not None and self.workers else None

    @property
    def worker_s_left(self) -> float | None:
        """Seconds that one worker would need for the rest; None before the first shard is done. Of a shard that is
        being worked on, half is left on average."""
        one = self.worker_rate
        if one is None:
            return None
        weights = {WAITING: 1.0, RUNNING: 0.5}
        left = sum(n * weights.get(state, 0.0) for n, state in zip(self.images, self.states, strict=True))
        return left / one

    @property
    def left_s(self) -> float | None:
        """Seconds until the job is done with the workers that it has; None where nobody works, or nothing is done."""
        if self.is_done:
            return 0.0
        left = self.worker_s_left
        return left / self.workers if left is not None and self.workers else None


class FleetReader:
    """Reads the state of a job again and again; a commit record is read once, so that each time costs little more than
    the names of the records. Memory grows by 21 bytes per shard."""

    def __init__(self, ledger: Ledger, leases: Leases | None) -> None:
        plan = ledger.plan
        self._ledger, self._leases = ledger, leases
        # Of the shards, read when they are first needed: a short job ends before.
        self._images = array("q")
        self._seconds = array("f", bytes(4 * plan.n_shards))
        self._states = bytearray(plan.n_shards)
        self._bad: dict[int, tuple[int, int]] = {}
        self._rows: dict[int, list[Row]] = {}

    @property
    def place(self) -> Place:
        """Where the job is kept."""
        return self._ledger.place

    def read(self) -> Fleet:
        """Return the state of the job now.

        Raises:
            RefusedError: a commit record is damaged.
        """
        if not self._images:
            self._images.extend(shard.images for shard in self._ledger.plan.shards())
        # Leases first: a shard that is committed meanwhile is done and no longer worked on.
        holders = self._leases.holders() if self._leases is not None else {}
        self._update(holders)
        working = {n: who for n, who in holders.items() if n < len(self._states) and self._states[n] == RUNNING}
        crashed, failed = self._findings()
        return Fleet(
            plan=self._ledger.plan,
            states=bytes(self._states),
            images=self._images,
            seconds=array("f", self._seconds),
            failed_images=sum(n for n, _ in self._bad.values()),
            crashed_images=sum(n for _, n in self._bad.values()),
            workers=len(working),
            processes=len(set(working.values())),
            machines=len({boot for boot, _ in working.values()}),
            slowest=self._slowest(),
            crashed=crashed,
            failed=failed,
        )

    def _update(self, holders: dict[int, tuple[str, int]]) -> None:
        states = self._states
        for number, committed in enumerate(self._ledger.committed()):
            if committed and states[number] >= DONE:
                continue
            record = self._ledger.read(number) if committed else None
            if record is None:
                # Also one whose record was removed, to be done again.
                states[number] = RUNNING if number in holders else WAITING
                self._bad.pop(number, None)
                self._rows.pop(number, None)
                continue
            states[number] = WITH_CRASHES if record.crashed else WITH_ERRORS if record.failed else DONE
            self._seconds[number] = record.seconds
            if record.failed:
                self._bad[number] = (record.failed, record.crashed)
                self._read_bad(number, record)

    def _read_bad(self, number: int, record: Record) -> None:
        """Keep the rows without a result of the first shards that have some; those of crashes in any case."""
        kept = sum(map(len, self._rows.values()))
        if (kept >= _SHOWN and not record.crashed) or kept >= 10 * _SHOWN:
            return
        for place in (self._ledger.part(record), nullcontext(self._ledger.staging / record.staged)):
            try:
                with place as path:
                    rows = list(read_errors(path, self._ledger.format))
            except (FileNotFoundError, IsADirectoryError):
                # Between its commit and the move of its part, or the part was removed, which --verify reports.
                continue
            # Those that crashed their worker first: they are fewer, and more urgent.
            self._rows[number] = sorted(rows, key=_order)[:_SHOWN]
            return

    def _findings(self) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
        rows = [row for number in sorted(self._rows) for row in self._rows[number]]
        crashed = [_finding(row) for row in rows if row["error"] == "crashed"]
        failed = [_finding(row) for row in rows if row["error"] != "crashed"]
        return tuple(crashed[:_SHOWN]), tuple(failed[:_SHOWN])

    def _slowest(self) -> tuple[Slow, ...]:
        done = (n for n, state in enumerate(self._states) if state >= DONE)
        slow = heapq.nlargest(_SLOWEST, done, key=lambda n: self._seconds[n] / self._images[n])
        firsts: dict[int, int] = dict.fromkeys(slow, 0)
        first = 0
        for number, images in enumerate(self._images):
            if number in firsts:
                firsts[number] = first
            first += images
        return tuple(Slow(n, firsts[n], self._images[n], round(self._seconds[n], 3)) for n in slow)


def _order(row: Row) -> tuple[bool, int]:
    return row["error"] != "crashed", int(row["id"])


def _finding(row: Row) -> Finding:
    return Finding(str(row["error"]), str(row["message"]), "check the file", str(row["source"]), severity="error")


def read_fleet(folder: str | Path) -> Fleet:
    """Return the state of a job, on any machine that sees its folder; nothing is written.

    Whether a process on another machine lives is known only to who watches its leases for a minute: here every shard
    with a lease of another machine counts as being worked on.

    Raises:
        InputError: there is no job.
        RefusedError: its plan was changed, or a commit record is damaged.
    """
    ledger = open_job(folder)
    plan = ledger.plan
    started = not ledger.place.is_local or os.path.isdir(plan.folder / "leases")
    return FleetReader(ledger, Leases(ledger.place.below("leases")) if started else None).read()
