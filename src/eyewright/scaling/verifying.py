"""Check the results of a job against its plan: every planned image has exactly one row, and every digest holds."""

__all__ = ["list_errors", "verify_job"]

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from eyewright.core.errors import EyewrightError, InputError, RefusedError
from eyewright.core.jsonable import to_jsonable
from eyewright.core.quoting import quoted
from eyewright.core.regular import digest_of
from eyewright.core.report import Finding
from eyewright.scaling.ledger import Ledger, Record
from eyewright.scaling.outputs import WITH_OUTPUTS
from eyewright.scaling.plan import Shard
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
    for _, record in ledger.records():
        if record is None or not record.failed:
            continue
        with ledger.part(record) as place:
            rows = list(islice(read_errors(place, ledger.format), most - len(found)))
        fix = "check the file"
        found += [Finding(str(r["error"]), str(r["message"]), fix, str(r["source"]), severity="error") for r in rows]
        if len(found) == most:
            break
    return found


def _problems(ledger: Ledger) -> Iterator[Finding]:
    plan = ledger.plan
    for shard in plan.shards():
        try:
            record = ledger.read(shard.shard)
            if record is None:
                said = f"shard {shard.shard} with {shard.images:,} images is not done"
                yield Finding("not_done", said, "continue with --resume", plan.shown, severity="error")
                continue
            yield from _wrong_record(ledger, shard, record)
            yield from _wrong_part(ledger, shard, record)
        except RefusedError as error:
            yield Finding(error.code, error.message, error.fix, plan.shown, severity="error")
    for place in ledger.unknown_parts():
        said = "this file is not a part of the job, and readers of the folder would count its rows"
        yield Finding("unknown_part", said, "remove it", place, severity="error")


def _wrong_record(ledger: Ledger, shard: Shard, record: Record) -> Iterator[Finding]:
    plan = ledger.plan
    for name, found, expected in (
        ("plan", record.plan, plan.digest),
        ("model", record.model, plan.model_digest),
        ("input", record.input, shard.sha256),
    ):
        if found != expected:
            said = f"shard {shard.shard} was committed with the {name} {found[:12]}, the plan has {expected[:12]}"
            place = ledger.place.shown(f"commits/{shard.shard:08d}.json")
            yield Finding("other_plan", said, _AGAIN, place, severity="error")


def _wrong_part(ledger: Ledger, shard: Shard, record: Record) -> Iterator[Finding]:
    shown = ledger.place.shown(f"results/{record.part}")
    try:
        with ledger.part(record) as place:
            yield from _wrong_rows(ledger, shard, record, place, shown)
    except FileNotFoundError:
        said = f"nothing is at {quoted(shown)}"
        yield Finding("part_missing", said, "continue with --resume", shown, severity="error")


def _wrong_rows(ledger: Ledger, shard: Shard, record: Record, place: Path, shown: str) -> Iterator[Finding]:
    try:
        digest, _ = digest_of(place, most=_MOST_BYTES)
    except InputError as error:
        yield Finding("part_missing", error.message, "continue with --resume", shown, severity="error")
        return
    if digest != record.sha256:
        said = f"the rows of shard {shard.shard} are not those that were committed"
        yield Finding("part_changed", said, _AGAIN, shown, severity="error")
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
        yield Finding("rows", said, _AGAIN, shown, severity="error")
    elif ledger.plan.verb in WITH_OUTPUTS:
        yield from _wrong_outputs(ledger, record, place)


def _wrong_outputs(ledger: Ledger, record: Record, part: Path) -> Iterator[Finding]:
    """Yield what is wrong with the files that the rows of a part name: `output_missing`, `output_changed`."""
    for source, result in read_results(part, ledger.format):
        name = str(result["output"])
        place = ledger.place.shown(name)
        fix = f"remove the commit record of {record.part} and continue with --resume"
        try:
            digest = ledger.place.digest(name)
        except InputError as error:
            yield Finding("output_missing", f"{quoted(source)}: {error.message}", fix, place, severity="error")
            continue
        if digest != result["sha256"]:
            said = f"the image that was written for {quoted(source)} is not the one that was written"
            yield Finding("output_changed", said, fix, place, severity="error")
