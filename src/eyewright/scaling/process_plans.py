"""Plans of jobs that process images; apart from `jobs`, so that predicting does not load what only steps need."""

__all__ = ["plan_process"]

from pathlib import Path

from eyewright.core.errors import UsageError
from eyewright.imaging.steps import Steps, parse_steps
from eyewright.imaging.steps.nets import check_nets
from eyewright.processing.batch import format_named, refuse_overlap
from eyewright.scaling.jobs import make_plan
from eyewright.scaling.outputs import check_outputs, refuse_same_prefix
from eyewright.scaling.plan import Plan, Value
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
    options = {**_options(steps, to=to, quality=quality, seed=seed, draft=draft), "format": format}
    refuse_same_prefix(source, out)
    refuse_overlap(source, Path(out))

    def check(plan: Plan) -> None:
        fix = "rename one" if options["to"] is None else "rename one, or leave --to out"
        check_outputs(plan, lambda item: planned_target(plan, item)[0], fix=fix)

    return make_plan(out, source, "process", options, "", "", shard_size, resume=resume, check=check)


def _options(steps: str | Steps, *, to: str | None, quality: float, seed: int, draft: bool) -> dict[str, Value]:
    if not 1 <= quality <= 100:
        raise UsageError(f"expected a quality of 1 to 100, found {quality:g}", fix="change --quality")
    chain = steps if isinstance(steps, Steps) else parse_steps(steps)
    check_nets([(s.name, s.values) for s in chain.steps])
    return {"steps": str(chain), "to": format_named(to), "quality": float(quality), "seed": seed, "draft": draft}
