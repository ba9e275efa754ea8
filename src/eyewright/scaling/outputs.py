"""Files that a job writes next to its rows, below `images/`: their names are checked before, their digests after."""

__all__ = ["WITH_OUTPUTS", "check_outputs", "refuse_same_prefix", "write_output"]

import hashlib
import os
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from eyewright.core.errors import UsageError
from eyewright.core.files import checked_output
from eyewright.core.once import sync_path
from eyewright.core.quoting import quoted
from eyewright.scaling.addresses import is_address
from eyewright.scaling.ledger import staged_name
from eyewright.scaling.listing import Item
from eyewright.scaling.plan import Plan

WITH_OUTPUTS = frozenset({"process", "encode"})
"""The verbs whose rows name a file each: `output` and `sha256` of the result."""


def check_outputs(plan: Plan, name_of: Callable[[Item], Path], *, fix: str) -> None:
    """Check that no two images of a plan become one file; 8 bytes of memory per image.

    Raises:
        UsageError: two do; both are named.
    """
    hashes = array("Q")
    for item in _items(plan):
        hashes.append(_hash(name_of(item)))
    ordered = np.sort(np.frombuffer(hashes, np.uint64))
    twice = {int(h) for h in ordered[1:][ordered[1:] == ordered[:-1]]}
    seen: dict[Path, str] = {}
    # A hash can be shared by chance; a name cannot.
    for item in _items(plan) if twice else ():
        target = name_of(item)
        if _hash(target) not in twice:
            continue
        if target in seen:
            raise UsageError(
                f"{quoted(seen[target])} and {quoted(item.path)} would both become {quoted(target)}",
                fix=fix if seen[target] != item.path else "list each image once",
                code="same_output",
            )
        seen[target] = item.path


def refuse_same_prefix(source: str, out: str | Path) -> None:
    """Raise `UsageError` if results would be written below the prefix that is read, or that below them: outputs would
    be inputs of the next job."""
    read, written = source.rstrip("/") + "/", str(out).rstrip("/") + "/"
    if is_address(str(out)) and is_address(source) and (read.startswith(written) or written.startswith(read)):
        raise UsageError(
            f"the output {quoted(str(out))} and the input {quoted(source)} overlap: one is inside the other",
            fix="choose another --out",
            code="overlap",
        )


def write_output(plan: Plan, shard: int, output: Path, data: bytes) -> str:
    """Write a file of a job and return its SHA-256; it has a staged name until it is whole and on disk, so that what a
    killed worker leaves is never below `images/`. A file that is done again is replaced.

    Raises:
        OutputError: it cannot be written, or the disk is full.
    """
    kept = plan.place
    if not kept.is_local:
        kept.replace(output.as_posix(), data)
        return hashlib.sha256(data).hexdigest()
    place = plan.folder / output
    staged = plan.folder / "tmp" / staged_name(shard, "image")
    with checked_output(plan.folder):
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(staged, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(staged, place)
        sync_path(place.parent)
    return hashlib.sha256(data).hexdigest()


def _items(plan: Plan) -> Iterator[Item]:
    for shard in plan.shards():
        yield from plan.items(shard)


def _hash(target: Path) -> int:
    return int.from_bytes(hashlib.blake2b(bytes(target), digest_size=8).digest(), "little")
