"""Plans of jobs that encode images, and the sums over what they wrote."""

__all__ = ["EncodedSums", "plan_encode", "sum_encoded"]

from dataclasses import dataclass
from pathlib import Path

from eyewright.processing.batch import refuse_overlap
from eyewright.processing.compression import Target, codecs_named
from eyewright.scaling.encoding import planned_stem
from eyewright.scaling.jobs import make_plan
from eyewright.scaling.ledger import open_job
from eyewright.scaling.outputs import check_outputs, refuse_same_prefix
from eyewright.scaling.plan import Plan, Value
from eyewright.scaling.rows import check_format, read_results


@dataclass(frozen=True)
class EncodedSums:
    """Sums over the images of a job of `encode`: bytes before and after, and how many images miss the target."""

    bytes_in: int
    bytes_out: int
    missed: int


def plan_encode(
    source: str,
    out: str | Path,
    *,
    to: str = "auto",
    target: Target | None = None,
    keep_icc: bool = False,
    format: str = "jsonl",
    shard_size: int | None = None,
    resume: bool = False,
) -> Plan:
    """Return the plan of encoding the images of a folder, glob or `@LIST`, as `plan_predict` does; codecs and target
    are those of `encode_files`. The files are written below `images/` of the job, with the paths that they have in the
    folder (of a glob or list: their absolute paths) and the extension of their codec. With "auto" the codecs that are
    installed here are planned.

    Raises:
        InputError: nothing is there, or there are no images.
        UsageError: there is no such codec, two images differ in their extension only, `out` lies in the source, or has
            a job that was started.
        RefusedError: the job in `out` is another one.
    """
    check_format(format)
    wanted = target or Target()
    options: dict[str, Value] = {
        "to": ",".join(codecs_named(to)), "target": wanted.kind, "value": float(wanted.value), "keep_icc": keep_icc,
        "format": format,
    }  # fmt: skip
    refuse_same_prefix(source, out)
    refuse_overlap(source, Path(out))

    def check(plan: Plan) -> None:
        check_outputs(plan, lambda item: planned_stem(plan, item), fix="rename one")

    return make_plan(out, source, "encode", options, "", "", shard_size, resume=resume, check=check)


def sum_encoded(folder: str | Path) -> EncodedSums:
    """Return the sums over the images that a job of `encode` has written.

    Raises:
        InputError: there is no job.
        RefusedError: its plan or a record was changed.
    """
    ledger = open_job(folder)
    before = after = missed = 0
    for _, record in ledger.records():
        if record is None:
            continue
        with ledger.part(record) as place:
            for _, result in read_results(place, ledger.format):
                before, after = before + int(result["bytes_in"]), after + int(result["bytes_out"])
                missed += bool(result["missed"])
    return EncodedSums(before, after, missed)
