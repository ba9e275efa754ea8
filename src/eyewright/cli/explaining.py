"""The verb explain: heatmaps of images, each shown when it is made."""

__all__ = ["explain"]

import argparse
from pathlib import Path
from typing import Any

from eyewright.cli.given import given_images, refuse_swapped
from eyewright.cli.terminal import Result, printable, shown_path, warn
from eyewright.core.errors import UnreadableImageError


def explain(o: argparse.Namespace) -> Result:
    """Explain the predictions of images; files that cannot be read are findings."""
    from eyewright import lifecycle

    given = given_images(o)
    refuse_swapped(o.model, given, "explain")
    findings: list[dict[str, Any]] = []

    def left_out(path: str, error: UnreadableImageError) -> None:
        findings.append({"code": error.code, "path": path, "message": error.message, "fix": error.fix})
        warn(f"left out: {error}")

    found = []
    each = lifecycle.explain_each(
        o.model, given, method=o.method, label=o.label, out=o.out, seed=o.seed or 0, left_out=left_out
    )
    for one in each:
        found.append(one)
        if not (o.json or o.quiet):
            # An explanation takes seconds: each is shown when it is made.
            print(printable(f"{shown_path(Path(one.source))}: {one.said} by {one.method}: {one.verdict}"), flush=True)
    text = [f"wrote    {shown_path(Path(o.out))}" if o.out is not None else "pass --out DIR to write the heatmaps"]
    out = {} if o.out is None else {"explanations": Path(o.out).resolve()}
    task = {"task": found[0].task} if found else {}
    return {
        **task,
        "out": out,
        "explanations": [e.to_json() for e in found],
        "text": text,
        "findings": findings,
        "exit": 1 if findings else 0,
    }
