"""Plans of jobs that process images; apart from `jobs`, so that predicting does not load what only steps need."""

__all__ = ["plan_process"]

import hashlib
import shutil
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from eyewright.core.errors import UsageError
from eyewright.imaging.steps import Steps, parse_steps
from eyewright.processing.batch import format_named, refuse_overlap
from eyewright.scaling.jobs import make_plan
from eyewright.scaling.listing import Item
from eyewright.scaling.plan import Plan, Value, has_plan
from eyewright.scaling.processing import planned_target
from eyewright.scaling.rows import check_format


def plan_process(
    source: str,
    steps: str | Steps,
    out: str | Path,
    *,
    to: str | None = None,
    quality: float = 90,
    draft: bool = False,
    seed: int = 0,
    format: str = "jsonl",
    shard_size: int | None = None,
    resume: bool = False,
) -> Plan:
    """Return the plan of applying steps to the images of a folder, glob or `@LIST`, as `plan_predict` does; the results
    are written below `images/` of the job, with the paths that they have in the folder (of a glob or list: their
    absolute paths), in the format they came in or in `to`. `format` is that of the rows.

    Raises:
        InputError: nothing is there, or there are no images.
        UsageError: the options are not supported, two images would become one file, `out` lies in the source, or has a
            job that was started.
        RefusedError: the job in `out` is another one.
    """
    check_format(format)
    folder = Path(out)
    options = {**_options(steps, to=to, quality=quality, seed=seed, draft=draft), "format": format}
    refuse_overlap(source, folder)
    fresh = not has_plan(folder)
    plan = make_plan(folder, source, "process", options, "", "", shard_size, resume=resume)
    try:
        if not (folder / "commits").exists():
            _check_targets(plan)
    except UsageError:
        if fresh:
            shutil.rmtree(folder / "plan")
        raise
    return plan


def _options(steps: str | Steps, *, to: str | None, quality: float, seed: int, draft: bool) -> dict[str, Value]:
    if not 1 <= quality <= 100:
        raise UsageError(f"expected a quality of 1 to 100, found {quality:g}", fix="change --quality")
    chain = steps if isinstance(steps, Steps) else parse_steps(steps)
    return {"steps": str(chain), "to": format_named(to), "quality": float(quality), "seed": seed, "draft": draft}


def _check_targets(plan: Plan) -> None:
    """Check that no two images of a plan become one file; 8 bytes of memory per image.

    Raises:
        UsageError: two do; both are named.
    """
    hashes = array("Q")
    for item in _items(plan):
        hashes.append(_hash(planned_target(plan, item)[0]))
    ordered = np.sort(np.frombuffer(hashes, np.uint64))
    twice = {int(h) for h in ordered[1:][ordered[1:] == ordered[:-1]]}
    seen: dict[Path, str] = {}
    # A hash can be shared by chance; a name cannot.
    for item in _items(plan) if twice else ():
        target = planned_target(plan, item)[0]
        if _hash(target) not in twice:
            continue
        if target in seen:
            raise UsageError(
                f"{seen[target]!r} and {item.path!r} would both become {str(target)!r}",
                fix="rename one, or leave --to out",
                code="same_output",
            )
        seen[target] = item.path


def _items(plan: Plan) -> Iterator[Item]:
    for shard in plan.shards():
        yield from plan.items(shard)


def _hash(target: Path) -> int:
    return int.from_bytes(hashlib.blake2b(bytes(target), digest_size=8).digest(), "little")
