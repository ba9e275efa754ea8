"""The verb that makes a run forget images."""

__all__ = ["add_forgetting", "forget"]

import argparse
from collections.abc import Callable

from eyewright.cli.numbers import Number
from eyewright.cli.terminal import Result, shown_path, talk


def add_forgetting(verb: Callable[[str], argparse.ArgumentParser]) -> None:
    """Add the options of forget."""
    p = verb("forget")
    p.add_argument("run", metavar="RUN", help="the run that was trained on them")
    p.add_argument(
        "images", metavar="IMAGE", nargs="+", help="names as in split.csv, files, or group:NAME for all of a group"
    )
    p.add_argument("--out", required=True, metavar="DIR", help="folder of the new run (required)")
    p.add_argument(
        "--models",
        type=Number(4, 1024),
        default=16,
        metavar="N",
        help="number of shadow nets of the attack (default 16)",
    )
    p.add_argument("--no-audit", action="store_true", help="skip the membership attack before and after")
    p.add_argument(
        "--workers", type=Number(1, 1024), metavar="N", help="number of decoding threads (default: all cores)"
    )


def forget(o: argparse.Namespace) -> Result:
    """Train again without images, and print the proof."""
    from eyewright import lifecycle

    done = lifecycle.forget(
        o.run, o.images, out=o.out, models=o.models, audit=not o.no_audit, workers=o.workers, **talk(o)
    )
    n = len(done.images)
    again = f"trained again: {', '.join(done.retrained)}"
    if not done.retrained:
        again = "nothing is trained again, because none was trained or validated on"
    text = [
        f"forgotten    {n:,} image{'s' * (n != 1)}; {again}",
        f"proof        {len(done.read):,} files were read, none of them forgotten: {shown_path(done.proof)}",
    ]
    if done.before is not None and done.after is not None:
        text.append(f"LiRA, AUC    before {done.before}, after {done.after}")
    elif not o.no_audit:
        text.append(f"LiRA         not measured: {done.unmeasured}")
    text.append(f"run          {shown_path(done.run.folder)}")
    return {
        "task": done.run.task_name,
        "out": {"run": done.run.folder.resolve(), "proof": done.proof.resolve()},
        "forgotten": {
            "images": dict(done.images),
            "retrained": list(done.retrained),
            "files_read": len(done.read),
            "lira_before": None if done.before is None else vars(done.before),
            "lira_after": None if done.after is None else vars(done.after),
            "unmeasured": done.unmeasured,
        },
        "text": text,
    }
