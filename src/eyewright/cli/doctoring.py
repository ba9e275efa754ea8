"""The verb `doctor`: findings as JSON, or as much of them as a screen holds."""

__all__ = ["doctor", "summary_lines"]

import argparse
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyewright.cli.terminal import Result, finding, shown_path, talk

if TYPE_CHECKING:
    from eyewright.core.report import Finding

_ROWS = (22, 46)
_COLUMNS = (60, 120)
_NARROW = 24


def doctor(o: argparse.Namespace) -> Result:
    """Audit a dataset; show what weighs most, and write a page of all of it with --out."""
    from eyewright import lifecycle

    seen: list[Any] = []
    findings = lifecycle.doctor(
        o.data,
        labels=o.labels,
        out=o.out,
        group_by=o.group_by,
        features=o.features,
        label_depth=o.label_depth,
        task=o.task,
        ignore=tuple(o.ignore),
        target=o.target,
        edits=o.edits,
        seed=o.seed or 0,
        observe=seen.append,
        **talk(o),
    )
    serious = [f for f in findings if o.strict or f.severity != "note"]
    out = {}
    if o.out is not None:
        out = {"report": Path(o.out, "doctor.html").resolve(), "findings": Path(o.out, "findings.json").resolve()}
    return {
        "task": seen[0].task,
        "out": out,
        "account": seen[0].account.to_json(),
        "findings": [finding(f) for f in findings],
        "text": [
            *summary_lines(findings, sum(max(1, _hidden(f)) for f in serious)),
            *(f"{k:8} {shown_path(p)}" for k, p in out.items()),
        ],
        "exit": 1 if serious else 0,
    }


def summary_lines(findings: Sequence["Finding"], serious: int) -> list[str]:
    """Return the lines for a terminal: every finding if they fit, else a table by code and the heaviest of each."""
    size = shutil.get_terminal_size((80, _ROWS[0] + 2))
    width = min(max(size.columns, _COLUMNS[0]), _COLUMNS[1])
    rows = min(max(size.lines - 2, _ROWS[0]), _ROWS[1])
    said = f"{serious:,} finding{'s' * (serious != 1)}" if serious else "nothing to fix"
    whole = [str(f) for f in findings]
    if sum(-(-len(line) // width) for line in whole) + 1 <= rows:
        return [*whole, said]
    by_code: dict[tuple[str, str], list[Finding]] = {}
    for f in findings:
        by_code.setdefault((f.severity, f.code), []).append(f)
    table = [_row(key, own, width) for key, own in by_code.items()]
    last = [said, "all of them: --out DIR (a page with pictures) or --json"]
    room = rows - len(last)
    if len(table) > room - 4:
        hidden = len(table) - (room - 4)
        table = [*table[: room - 5], f"and {hidden + 1} more codes"]
    lines = [*table, "", *_heaviest(list(by_code.values()), room - len(table) - 1, width), *last]
    return lines


def _row(key: tuple[str, str], own: Sequence["Finding"], width: int) -> str:
    severity, code = key
    more = sum(_hidden(f) for f in own)
    n = len(own) - sum(1 for f in own if _hidden(f)) + more
    # A dataset-wide finding has no files of its own, and one about a single file has one.
    images = len({p for f in own for p in (f.paths or ((f.path,) if f.path else ()))})
    about = f", {images:,} file{'s' * (images != 1)}" if images and not more else ""
    return _cut(f"{severity:8} {code:{_NARROW}} {n:,} finding{'s' * (n != 1)}{about}", width)


def _hidden(f: "Finding") -> int:
    """Return how many findings of its code the last one stands for."""
    words = f.message.split()
    is_rest = not f.path and f.message.startswith("and ") and f.message.endswith(" more of this kind")
    return int(words[1]) if is_rest else 0


def _heaviest(codes: Sequence[Sequence["Finding"]], room: int, width: int) -> list[str]:
    """Return a few findings of each code, the most serious codes first: what it is, and what to do."""
    chosen: list[tuple[int, int, list[str]]] = []
    for depth in range(max(map(len, codes))):
        for k, own in enumerate(codes):
            if depth >= len(own) or _hidden(own[depth]):
                continue
            lines = [*_message(own[depth], width), *_fix(own[depth], width)]
            if len(lines) <= room:
                room -= len(lines)
                chosen.append((k, depth, lines))
        if room < 2:
            break
    return [line for _, _, lines in sorted(chosen) for line in lines]


def _message(f: "Finding", width: int) -> list[str]:
    where = f"{f.path}:{f.line}: " if f.line is not None else (f"{f.path}: " if f.path and not f.paths else "")
    return textwrap.wrap(f"{f.heading} {where}{f.message}", width, subsequent_indent="  ")


def _fix(f: "Finding", width: int) -> list[str]:
    return textwrap.wrap(f"→ {f.fix}", width, initial_indent="  ", subsequent_indent="    ")


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
