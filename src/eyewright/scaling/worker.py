"""A worker process: it prepares itself once, then does the ranges of images that its driver names.

Messages are lines of JSON: a range in, signs of life and the result out. It ends with its driver.
"""

__all__ = ["do_range", "main"]

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from eyewright.core.errors import EyewrightError
from eyewright.core.machine import limits
from eyewright.core.machine.lifeline import hold_lifeline
from eyewright.imaging.isolation import decode_here, isolate_decoding
from eyewright.imaging.workers import told
from eyewright.scaling.fetching import fetched_rows, is_reference
from eyewright.scaling.plan import Plan, Shard, open_plan
from eyewright.scaling.rows import Row, write_rows
from eyewright.scaling.work import Work, open_work

_SIGN_S = 1.0


def main(arguments: list[str]) -> None:
    """Serve a job's driver until it is gone; the arguments are the job's folder, how many threads to use, and where the
    model is ("": where the plan says)."""
    hold_lifeline()
    # Ctrl-C reaches the driver, which decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limits.no_core_dump()
    # Where memory runs out, the kernel ends this process rather than its driver, which finds the image.
    limits.end_first(900)
    # A print from a library must not land between messages.
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        plan = open_plan(Path(arguments[0]), check=False)
        plan = replace(plan, model=arguments[2] or plan.model)
        work = open_work(plan, int(arguments[1]))
    except EyewrightError as error:
        _say(out, {"refused": told(error)})
        return
    _say(out, {"ready": True})
    for line in sys.stdin.buffer:
        _say(out, do_range(plan, work, json.loads(line), partial(_sign, out, [time.monotonic()])))


def do_range(plan: Plan, work: Work, request: Mapping[str, Any], sign: Callable[[int], None]) -> dict[str, Any]:
    """Do a range of images and return the message that says what became of it; `sign` is called after each image with
    its place in the range."""
    shard, begin, end = Shard(**request["shard"]), int(request["begin"]), int(request["end"])
    # Quicker in this process; after a crash each image is decoded in one of its own, where it costs no second one.
    if request["careful"]:
        isolate_decoding()
    else:
        decode_here()
    try:
        items = plan.items(shard)[begin:end]
        do = partial(fetched_rows, work) if any(is_reference(item.path) for item in items) else work.rows
        part = write_rows(Path(request["out"]), _showing(do(items, shard.first + begin, shard.shard), sign))
    except EyewrightError as error:
        return {"failed": told(error)}
    except Exception as fault:  # noqa: BLE001 - whatever an image causes is said with its name
        kind = {"kind": "EyewrightError", "fix": "", "code": "fault"}
        return {"failed": {**kind, "message": f"{type(fault).__name__}: {fault}"[:2000]}}
    if part.rows != end - begin:
        message = f"expected {end - begin} rows, found {part.rows}"
        return {"failed": {"kind": "EyewrightError", "fix": "", "code": "fault", "message": message}}
    return {"done": {"rows": part.rows, "failed": part.failed, "bytes": part.bytes, "sha256": part.sha256}}


def _showing(rows: Iterable[Row], sign: Callable[[int], None]) -> Iterator[Row]:
    for n, row in enumerate(rows):
        yield row
        sign(n)


def _sign(out: TextIO, last: list[float], n: int) -> None:
    """Send a sign of life every second: a worker without one is ended."""
    if time.monotonic() - last[0] > _SIGN_S:
        last[0] = time.monotonic()
        _say(out, {"at": n})


def _say(out: TextIO, message: Mapping[str, Any]) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
