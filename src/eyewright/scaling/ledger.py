"""What of a job is done: a commit record per shard, which decides once whose results count.

A worker may do a shard again, but only the first commit of it takes effect: the record is a file that is never
replaced. It names the staged file that then becomes the part in `results/`; a process that is killed between the two
steps leaves a record whose part is still staged, and the next one moves it.
"""

__all__ = ["Ledger", "Record"]

import contextlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from eyewright.core.errors import RefusedError
from eyewright.core.files import checked_output, write_parts
from eyewright.core.jsonable import dumps_json
from eyewright.core.once import move_new, write_new
from eyewright.core.quoting import quoted
from eyewright.scaling.plan import Plan, Shard
from eyewright.scaling.rows import Part

_STAGED = re.compile(r"(\d{8,})-[0-9a-f]+\.(jsonl|parquet|image)")
_RECORD = re.compile(r"(\d{8,})\.json")
_PART = re.compile(r"part-(\d{8,})\.(jsonl|parquet)")
_COMMITTED, _THERE = 1, 2


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


def staged_name(shard: int, format: str) -> str:
    """Return a new name in `tmp/` for a file of a shard that is not finished."""
    return f"{shard:08d}-{secrets.token_hex(8)}.{format}"


class Ledger:
    """The commits, staged files and results of a job."""

    def __init__(self, plan: Plan, format: str) -> None:
        self.plan, self.format = plan, format
        self.commits, self.results = plan.folder / "commits", plan.folder / "results"
        self.staging = plan.folder / "tmp"

    def prepare(self) -> None:
        """Make the folders.

        Raises:
            OutputError: they cannot be written.
        """
        with checked_output(self.plan.folder):
            for folder in (self.commits, self.results, self.staging):
                folder.mkdir(parents=True, exist_ok=True)

    def stage(self, shard: Shard, format: str = "jsonl") -> Path:
        """Return a new name for rows of a shard that are not committed yet."""
        return self.staging / staged_name(shard.shard, format)

    def is_done(self, number: int) -> bool:
        """Return whether a shard is committed."""
        return self._record(number).exists()

    def commit(self, shard: Shard, staged: Path, part: Part, *, crashed: int, seconds: float) -> bool:
        """Make a staged file, which is on disk, the result of a shard; return False, and remove the file, where another
        process was first.

        Raises:
            OutputError: the folder cannot be written.
        """
        record = Record(
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
            staged=staged.name,
            seconds=round(seconds, 3),
        )
        if not write_new(self._record(shard.shard), dumps_json(asdict(record)).encode() + b"\n"):
            staged.unlink(missing_ok=True)
            return False
        # Another process that saw the record may have moved it.
        with contextlib.suppress(FileNotFoundError):
            move_new(staged, self.results / record.part)
        return True

    def read(self, number: int) -> Record | None:
        """Return the commit of a shard, if it has one.

        Raises:
            RefusedError: the record is damaged.
        """
        place = self._record(number)
        try:
            return Record(**json.loads(place.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError):
            raise RefusedError(
                f"the commit record {quoted(place)} is damaged", fix="remove it and continue with --resume", code="job"
            ) from None

    def recover(self, is_leased: Callable[[int], bool]) -> int:
        """Finish what killed processes have left: move parts that are committed, remove staged files that nobody works
        on and records whose part is gone. Return how many shards have to be done again because their part is gone.

        Raises:
            OutputError: the folder cannot be written.
            RefusedError: a record is damaged.
        """
        with checked_output(self.plan.folder):
            for staged in [e for e in os.scandir(self.staging) if e.is_file(follow_symlinks=False)]:
                match = _STAGED.fullmatch(staged.name)
                record = self.read(int(match[1])) if match else None
                if record is not None and record.staged == staged.name:
                    with contextlib.suppress(FileNotFoundError):
                        if not move_new(Path(staged.path), self.results / record.part):
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
                if not (self.staging / record.staged).exists() and not (self.results / record.part).exists():
                    self._record(number).unlink(missing_ok=True)
                    lost += 1
        return lost

    def count(self) -> int:
        """Return how many shards are committed."""
        return sum(bool(state & _COMMITTED) for state in self._states())

    def committed(self) -> bytearray:
        """Return a byte per shard: 1 if it is committed."""
        states = bytearray(self.plan.n_shards)
        # Before a job is started there is no folder.
        with contextlib.suppress(FileNotFoundError):
            self._mark(states, self.commits, _RECORD, _COMMITTED)
        return states

    def unknown_parts(self) -> Iterator[Path]:
        """Yield files in `results/` that are no part of a committed shard."""
        states = self._states()
        for entry in os.scandir(self.results):
            match = _PART.fullmatch(entry.name)
            known = match and match[2] == self.format and int(match[1]) < len(states)
            if not (known and match and states[int(match[1])] & _COMMITTED):
                yield Path(entry.path)

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
            for shard in self.plan.shards():
                record = self.read(shard.shard)
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

        write_parts(self.plan.folder / "manifest.json", parts())
        return sums

    def _record(self, number: int) -> Path:
        return self.commits / f"{number:08d}.json"

    def _states(self) -> bytearray:
        """Return a byte per shard: a million of them are 1 MB, and no set of names."""
        states = bytearray(self.plan.n_shards)
        self._mark(states, self.commits, _RECORD, _COMMITTED)
        self._mark(states, self.results, _PART, _THERE)
        return states

    @staticmethod
    def _mark(states: bytearray, folder: Path, pattern: re.Pattern[str], bit: int) -> None:
        with os.scandir(folder) as entries:
            for entry in entries:
                match = pattern.fullmatch(entry.name)
                if match and int(match[1]) < len(states):
                    states[int(match[1])] |= bit
