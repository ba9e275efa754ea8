"""Process the images of a shard: apply steps and write each result below `images/` of the job."""

__all__ = ["OUTPUTS", "check_targets", "open_process", "process_options", "wrong_outputs"]

import hashlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from eyewright.core.errors import EyewrightError, InputError, OutputError, UsageError
from eyewright.core.regular import digest_of
from eyewright.core.report import Finding
from eyewright.imaging.headers import Limits
from eyewright.imaging.steps import Steps, parse_steps
from eyewright.processing.batch import format_named, target_of
from eyewright.processing.jobs import process_file
from eyewright.scaling.listing import Item, has_changed
from eyewright.scaling.plan import Plan, Value
from eyewright.scaling.rows import Row, changed_row, error_row, read_results

OUTPUTS = "images"
_MOST_BYTES = 2**40


def process_options(steps: str | Steps, *, to: str | None, quality: float, seed: int, draft: bool) -> dict[str, Value]:
    """Return the options of a plan, checked before anything is listed.

    Raises:
        UsageError: steps that are not known, a format that is not written, a quality outside 1 to 100.
    """
    if not 1 <= quality <= 100:
        raise UsageError(f"expected a quality of 1 to 100, found {quality:g}", fix="change --quality")
    chain = steps if isinstance(steps, Steps) else parse_steps(steps)
    return {"steps": str(chain), "to": format_named(to), "quality": float(quality), "seed": seed, "draft": draft}


def check_targets(plan: Plan) -> None:
    """Check that no two images of a plan become one file; 8 bytes of memory per image.

    Raises:
        UsageError: two do; both are named.
    """
    hashes = array("Q")
    for item in _items(plan):
        hashes.append(_hash(_target(plan, item)[0]))
    ordered = np.sort(np.frombuffer(hashes, np.uint64))
    twice = {int(h) for h in ordered[1:][ordered[1:] == ordered[:-1]]}
    seen: dict[Path, str] = {}
    # A hash can be shared by chance; a name cannot.
    for item in _items(plan) if twice else ():
        target = _target(plan, item)[0]
        if _hash(target) not in twice:
            continue
        if target in seen:
            raise UsageError(
                f"{seen[target]!r} and {item.path!r} would both become {str(target)!r}",
                fix="rename one, or leave --to out",
                code="same_output",
            )
        seen[target] = item.path


def open_process(plan: Plan, threads: int) -> "_Process":
    """Prepare the steps of a plan; each worker uses one thread, whatever `threads` is.

    Raises:
        UsageError: this version does not know the steps.
    """
    return _Process(plan)


def wrong_outputs(plan: Plan, part: Path, format: str) -> Iterator[Finding]:
    """Yield what is wrong with the files that the rows of a part name: `output_missing`, `output_changed`."""
    for source, result in read_results(part, format):
        place = plan.folder / str(result["output"])
        fix = f"remove the commit record of {part.name} and continue with --resume"
        try:
            digest, _ = digest_of(place, most=_MOST_BYTES)
        except InputError as error:
            yield Finding("output_missing", f"{source!r}: {error.message}", fix, str(place), severity="error")
            continue
        if digest != result["sha256"]:
            said = f"the processed image of {source!r} is not the one that was written"
            yield Finding("output_changed", said, fix, str(place), severity="error")


class _Process:
    def __init__(self, plan: Plan) -> None:
        self._plan, options = plan, plan.options
        self._request: Mapping[str, object] = {
            "steps": parse_steps(str(options["steps"])).to_json(),
            "quality": options["quality"],
            "seed": options["seed"],
            "draft": options["draft"],
            "limits": asdict(Limits()),
        }

    def rows(self, items: Sequence[Item], first: int) -> Iterator[Row]:
        for number, item in enumerate(items, first):
            if has_changed(item):
                yield changed_row(number, item.path)
                continue
            target, format = _target(self._plan, item)
            output = Path(OUTPUTS) / target
            request = {**self._request, "path": item.path, "out": str(self._plan.folder / output), "format": format}
            try:
                # The same bytes whoever writes them and however often: a shard that is done twice changes nothing.
                done, _ = process_file(request, b"")
            except OutputError:
                raise
            except EyewrightError as error:
                yield error_row(number, item.path, error.code, error.message)
                continue
            about = {"ok": True, "error": None, "message": None, "label": None, "score": None}
            result = {"output": str(output), "format": format, **done}
            yield {"id": number, "source": item.path, **about, "result": result}


def _items(plan: Plan) -> Iterator[Item]:
    for shard in plan.shards():
        yield from plan.items(shard)


def _target(plan: Plan, item: Item) -> tuple[Path, str]:
    to = plan.options["to"]
    return target_of(Path(item.path).relative_to(plan.root), None if to is None else str(to))


def _hash(target: Path) -> int:
    return int.from_bytes(hashlib.blake2b(bytes(target), digest_size=8).digest(), "little")
