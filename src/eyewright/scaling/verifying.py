"""Check the results of a job against its plan: every planned image has exactly one row, and every digest holds."""

__all__ = ["list_errors", "verify_job"]

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eyewright.core.errors import EyewrightError, InputError, RefusedError
from eyewright.core.jsonable import to_jsonable
from eyewright.core.quoting import quoted
from eyewright.core.regular import digest_of
from eyewright.core.report import Finding
from eyewright.scaling.ledger import Ledger, Record
from eyewright.scaling.outputs import WITH_OUTPUTS
from eyewright.scaling.plan import Plan, Shard
from eyewright.scaling.rows import read_errors, read_ids, read_results

_MOST_FINDINGS = 1000
_MOST_BYTES = 2**40
_AGAIN = "remove its commit record and continue with --resume"


def verify_job(ledger: Ledger) -> list[Finding]:
    """Return what is wrong with the results of a job, at most 1,000 findings; an empty list if every planned image has
    exactly one row, and plan, model, lists and parts have the digests of their commits.

    Codes: `not_done` (a shard without a commit), `part_missing`, `part_changed`, `rows` (missing, double or foreign
    rows), `other_plan`, `unknown_part`, `job` (a damaged record or list), and of images that were
    written `output_missing` and `output_changed`.
    """
    found: list[Finding] = []
    for one in _problems(ledger):
        found.append(one)
        if len(found) == _MOST_FINDINGS:
            break
    return found


def list_errors(ledger: Ledger, most: int) -> list[Finding]:
    """Return the first images of a job that have an error instead of a result, as findings."""
    found: list[Finding] = []
    for shard in ledger.plan.shards():
        record = ledger.read(shard.shard)
        if record is None or not record.failed:
            continue
        for row in read_errors(ledger.results / record.part, ledger.format):
            fix = "check the file"
            found.append(Finding(str(row["error"]), str(row["message"]), fix, str(row["source"]), severity="error"))
            if len(found) == most:
                return found
    return found


def _problems(ledger: Ledger) -> Iterator[Finding]:
    plan = ledger.plan
    for shard in plan.shards():
        try:
            record = ledger.read(shard.shard)
            if record is None:
                said = f"shard {shard.shard} with {shard.images:,} images is not done"
                yield Finding("not_done", said, "continue with --resume", str(plan.folder), severity="error")
                continue
            yield from _wrong_record(plan, shard, record, ledger.commits)
            yield from _wrong_part(ledger, shard, record)
        except RefusedError as error:
            yield Finding(error.code, error.message, error.fix, str(plan.folder), severity="error")
    for path in ledger.unknown_parts():
        said = "this file is not a part of the job, and readers of the folder would count its rows"
        yield Finding("unknown_part", said, "remove it", str(path), severity="error")


def _wrong_record(plan: Plan, shard: Shard, record: Record, commits: Path) -> Iterator[Finding]:
    for name, found, expected in (
        ("plan", record.plan, plan.digest),
        ("model", record.model, plan.model_digest),
        ("input", record.input, shard.sha256),
    ):
        if found != expected:
            said = f"shard {shard.shard} was committed with the {name} {found[:12]}, the plan has {expected[:12]}"
            place = commits / f"{shard.shard:08d}.json"
            yield Finding("other_plan", said, _AGAIN, str(place), severity="error")


def _wrong_part(ledger: Ledger, shard: Shard, record: Record) -> Iterator[Finding]:
    place = ledger.results / record.part
    try:
        digest, _ = digest_of(place, most=_MOST_BYTES)
    except InputError as error:
        yield Finding("part_missing", error.message, "continue with --resume", str(place), severity="error")
        return
    if digest != record.sha256:
        said = f"the rows of shard {shard.shard} are not those that were committed"
        yield Finding("part_changed", said, _AGAIN, str(place), severity="error")
        return
    planned: list[tuple[int, Any]] = [
        (shard.first + k, to_jsonable(item.path)) for k, item in enumerate(ledger.plan.items(shard))
    ]
    try:
        rows: list[tuple[int, Any]] = list(read_ids(place, ledger.format))
    except EyewrightError:
        raise
    except (ValueError, KeyError, TypeError, OSError, json.JSONDecodeError):
        rows = []
    if rows != planned:
        missing, foreign = len(set(planned) - set(rows)), len(set(rows) - set(planned))
        double = len(rows) - len(set(rows))
        said = f"shard {shard.shard} has {missing} planned images without a row, {double} double rows, {foreign} others"
        yield Finding("rows", said, _AGAIN, str(place), severity="error")
    elif ledger.plan.verb in WITH_OUTPUTS:
        yield from _wrong_outputs(ledger.plan, place, ledger.format)


def _wrong_outputs(plan: Plan, part: Path, format: str) -> Iterator[Finding]:
    """Yield what is wrong with the files that the rows of a part name: `output_missing`, `output_changed`."""
    for source, result in read_results(part, format):
        place = plan.folder / str(result["output"])
        fix = f"remove the commit record of {part.name} and continue with --resume"
        try:
            digest, _ = digest_of(place, most=_MOST_BYTES)
        except InputError as error:
            yield Finding("output_missing", f"{quoted(source)}: {error.message}", fix, str(place), severity="error")
            continue
        if digest != result["sha256"]:
            said = f"the image that was written for {quoted(source)} is not the one that was written"
            yield Finding("output_changed", said, fix, str(place), severity="error")
