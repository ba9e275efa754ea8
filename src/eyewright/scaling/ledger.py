"""What of a job is done: a commit record per shard, which decides once whose results count.

A worker may do a shard again, but only the first commit of it takes effect: the record is a file that is never
replaced. It names the staged file that then becomes the part in `results/`; a process that is killed between the two
steps leaves a record whose part is still staged, and the next one moves it.

In a store nothing is moved: there the part is the file that is never replaced, and comes before its record. A process
that is killed between the two leaves a part, of which the next one makes the record.
"""

__all__ = ["Ledger", "Record", "open_job"]

import contextlib
import json
import os
import re
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from eyewright.core.errors import RefusedError
from eyewright.core.files import checked_output, write_parts
from eyewright.core.jsonable import dumps_json
from eyewright.core.once import move_new
from eyewright.core.quoting import quoted
from eyewright.scaling.places import StorePlace
from eyewright.scaling.plan import Plan, Shard, found_plan
from eyewright.scaling.rows import Part, Row, read_ids, read_part, read_rows

_STAGED = re.compile(r"(\d{8,})-[0-9a-f]+\.(jsonl|parquet|image)")
_RECORD = re.compile(r"(\d{8,})\.json")
_PART = re.compile(r"part-(\d{8,})\.(jsonl|parquet)")
_COMMITTED, _THERE = 1, 2
MANIFEST = "manifest.json"
# Records of a store that are read at once.
_AT_ONCE = 16


@dataclass(frozen=True)
class Record:
    """A shard that is done: by which plan and model, from which list of images, and the part with its rows."""

    shard: int
    plan: str
    model: str
    input: str
    rows: int
    failed: int
    crashed: int
    bytes: int
    sha256: str
    part: str
    staged: str
    seconds: float


def open_job(folder: str | Path) -> "Ledger":
    """Return what a job has done: of a folder, or an address in a store.

    Raises:
        InputError: there is no job, or the store cannot be read.
        RefusedError: its plan was changed.
    """
    plan = found_plan(folder)
    return Ledger(plan, str(plan.options.get("format", "jsonl")))


def staged_name(shard: int, format: str) -> str:
    """Return a new name in `tmp/` for a file of a shard that is not finished."""
    return f"{shard:08d}-{secrets.token_hex(8)}.{format}"


class Ledger:
    """The commits, staged files and results of a job."""

    def __init__(self, plan: Plan, format: str) -> None:
        self.plan, self.format, self.place = plan, format, plan.place
        self.staging = plan.folder / "tmp"
        # Shards that a listing has shown to be done: a store is not asked for each.
        self._done = bytearray(0 if self.place.is_local else plan.n_shards)

    def prepare(self, *, writes: bool = True) -> None:
        """Make the folders, and with `writes` check a store.

        Raises:
            OutputError: they cannot be written, or the store replaces what it is asked to keep.
        """
        with checked_output(self.plan.folder):
            for name in ("commits", "results", "tmp") if self.place.is_local else ("tmp",):
                (self.plan.folder / name).mkdir(parents=True, exist_ok=True)
        if isinstance(self.place, StorePlace):
            if writes:
                self.place.store.check_written(self.place.address)
            self._done = self.committed()

    def stage(self, shard: Shard, format: str = "jsonl") -> Path:
        """Return a new name for rows of a shard that are not committed yet."""
        return self.staging / staged_name(shard.shard, format)

    def is_done(self, number: int) -> bool:
        """Return whether a shard is committed."""
        if self._done and self._done[number]:
            return True
        return self.place.exists(_record(number))

    def commit(self, shard: Shard, staged: Path, part: Part, *, crashed: int, seconds: float) -> bool:
        """Make a staged file, which is on disk, the result of a shard; return False, and remove the file, where another
        process was first.

        Raises:
            OutputError: the folder cannot be written.
        """
        record = self._made(shard, part, staged.name, crashed, seconds)
        if not self.place.is_local:
            while not self.place.publish(staged, f"results/{record.part}"):
                if self._adopt(shard):
                    staged.unlink(missing_ok=True)
                    return False
            return self._write(record)
        if not self._write(record):
            staged.unlink(missing_ok=True)
            return False
        # Another process that saw the record may have moved it.
        with contextlib.suppress(FileNotFoundError):
            self.place.publish(staged, f"results/{record.part}")
        return True

    def _made(self, shard: Shard, part: Part, staged: str, crashed: int, seconds: float) -> Record:
        return Record(
            shard=shard.shard,
            plan=self.plan.digest,
            model=self.plan.model_digest,
            input=shard.sha256,
            rows=part.rows,
            failed=part.failed,
            crashed=crashed,
            bytes=part.bytes,
            sha256=part.sha256,
            part=f"part-{shard.shard:08d}.{self.format}",
            staged=staged,
            seconds=round(seconds, 3),
        )

    def _write(self, record: Record) -> bool:
        return self.place.write_new(_record(record.shard), dumps_json(asdict(record)).encode() + b"\n")

    def _adopt(self, shard: Shard) -> bool:
        """Write the record of a part that a killed process has left in a store; one that has other rows than planned is
        removed. Return whether the shard is done, by this process or another."""
        name = f"results/part-{shard.shard:08d}.{self.format}"
        try:
            with self.place.local(name) as path:
                part, crashed = read_part(path, self.format)
                ids = [number for number, _ in read_ids(path, self.format)]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            ids = []
        if ids != list(range(shard.first, shard.first + shard.images)):
            self.place.remove(name)
            return self.is_done(shard.shard)
        self._write(self._made(shard, part, "", crashed, 0.0))
        return True

    def read(self, number: int) -> Record | None:
        """Return the commit of a shard, if it has one.

        Raises:
            RefusedError: the record is damaged.
        """
        try:
            return Record(**json.loads(self.place.read(_record(number))))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError):
            raise RefusedError(
                f"the commit record {quoted(self.place.shown(_record(number)))} is damaged",
                fix="remove it and continue with --resume",
                code="job",
            ) from None

    def recover(self, is_leased: Callable[[int], bool]) -> int:
        """Finish what killed processes have left: move parts that are committed, remove staged files that nobody works
        on and records whose part is gone. Return how many shards have to be done again because their part is gone.

        Raises:
            OutputError: the folder cannot be written.
            RefusedError: a record is damaged.
        """
        if not self.place.is_local:
            return self._recover_store(is_leased)
        results = self.plan.folder / "results"
        with checked_output(self.plan.folder):
            for staged in [e for e in os.scandir(self.staging) if e.is_file(follow_symlinks=False)]:
                match = _STAGED.fullmatch(staged.name)
                record = self.read(int(match[1])) if match else None
                if record is not None and record.staged == staged.name:
                    with contextlib.suppress(FileNotFoundError):
                        if not move_new(Path(staged.path), results / record.part):
                            # Killed when it had its new name and not yet lost the old one.
                            Path(staged.path).unlink()
                elif record is not None or match is None or not is_leased(int(match[1])):
                    Path(staged.path).unlink(missing_ok=True)
            lost = 0
            for number, state in enumerate(self._states()):
                # Another process that works on the shard has committed it and is about to move its part.
                if state != _COMMITTED or is_leased(number) or (record := self.read(number)) is None:
                    continue
                # In this order: a part that is no longer staged has been moved before.
                if not (self.staging / record.staged).exists() and not (results / record.part).exists():
                    self.place.remove(_record(number))
                    lost += 1
        return lost

    def _recover_store(self, is_leased: Callable[[int], bool]) -> int:
        """Do in a store what `recover` says: records are made of parts that have none, those whose part is gone are
        removed, and so are uploads in parts that nobody continues."""
        assert isinstance(self.place, StorePlace)
        for address, upload in self.place.store.uploads(f"{self.place.address}/results/"):
            match = _PART.fullmatch(address.rpartition("/")[2])
            if match and not is_leased(int(match[1])):
                self.place.store.abort(address, upload)
        lost, states = 0, self._states()
        for shard in self.plan.shards() if _THERE in states or _COMMITTED in states else ():
            state = states[shard.shard]
            if state in (0, _COMMITTED | _THERE) or is_leased(shard.shard):
                continue
            if state == _THERE:
                self._adopt(shard)
            elif not self.place.exists(f"results/part-{shard.shard:08d}.{self.format}"):
                self.place.remove(_record(shard.shard))
                lost += 1
        self._done = self.committed()
        return lost

    def part(self, record: Record) -> contextlib.AbstractContextManager[Path]:
        """Return a path of this machine with the rows of a shard.

        Raises:
            FileNotFoundError: its part is gone (also where the path is opened).
        """
        return self.place.local(f"results/{record.part}")

    def rows(self, record: Record) -> Iterator[Row]:
        """Yield the rows of a shard of a job in JSON Lines."""
        with self.part(record) as place:
            yield from read_rows(place)

    def records(self) -> Iterator[tuple[Shard, Record | None]]:
        """Yield each shard with its commit, if it has one; of a store several are read at once.

        Raises:
            RefusedError: a record is damaged.
        """
        if self.place.is_local:
            yield from ((shard, self.read(shard.shard)) for shard in self.plan.shards())
            return
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            waiting: deque[tuple[Shard, Future[Record | None]]] = deque()
            for shard in self.plan.shards():
                waiting.append((shard, pool.submit(self.read, shard.shard)))
                if len(waiting) > 2 * _AT_ONCE:
                    first, found = waiting.popleft()
                    yield first, found.result()
            for first, found in waiting:
                yield first, found.result()

    def count(self) -> int:
        """Return how many shards are committed."""
        return sum(bool(state & _COMMITTED) for state in self._states())

    def committed(self) -> bytearray:
        """Return a byte per shard: 1 if it is committed."""
        states = bytearray(self.plan.n_shards)
        self._mark(states, "commits", _RECORD, _COMMITTED)
        return states

    def unknown_parts(self) -> Iterator[str]:
        """Yield the paths or addresses of files in `results/` that are no part of a committed shard."""
        states = self._states()
        for name in self.place.names("results"):
            match = _PART.fullmatch(name)
            known = match and match[2] == self.format and int(match[1]) < len(states)
            if not (known and match and states[int(match[1])] & _COMMITTED):
                yield self.place.shown(f"results/{name}")

    def write_manifest(self) -> dict[str, int]:
        """Write `manifest.json`, the list of all parts, and return the sums over them.

        Raises:
            OutputError: it cannot be written.
        """
        sums = {"images": 0, "failed": 0, "crashed": 0, "bytes": 0}
        head = {"plan": self.plan.digest, "model": self.plan.model_digest, "format": self.format}

        def parts() -> Iterator[bytes]:
            yield dumps_json(head).encode()[:-1] + b', "parts": ['
            between = b"\n"
            for _, record in self.records():
                if record is None:
                    continue
                row = {"part": record.part, "rows": record.rows, "bytes": record.bytes, "sha256": record.sha256}
                yield between + dumps_json(row).encode()
                between = b",\n"
                sums["images"] += record.rows
                sums["failed"] += record.failed
                sums["crashed"] += record.crashed
                sums["bytes"] += record.bytes
            yield b'\n], "rows": ' + str(sums["images"]).encode() + b"}\n"

        write_parts(self.plan.folder / MANIFEST, parts())
        if not self.place.is_local:
            self.place.replace(MANIFEST, (self.plan.folder / MANIFEST).read_bytes())
        return sums

    def _states(self) -> bytearray:
        """Return a byte per shard: a million of them are 1 MB, and no set of names."""
        states = bytearray(self.plan.n_shards)
        self._mark(states, "commits", _RECORD, _COMMITTED)
        self._mark(states, "results", _PART, _THERE)
        return states

    def _mark(self, states: bytearray, folder: str, pattern: re.Pattern[str], bit: int) -> None:
        for name in self.place.names(folder):
            match = pattern.fullmatch(name)
            if match and int(match[1]) < len(states):
                states[int(match[1])] |= bit


def _record(number: int) -> str:
    return f"commits/{number:08d}.json"
