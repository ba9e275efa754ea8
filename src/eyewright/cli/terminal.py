"""What the terminal is told: one JSON object, or lines that no name can break."""

__all__ = [
    "Result",
    "fails",
    "finding",
    "finding_line",
    "is_quiet",
    "metrics",
    "note_sound",
    "noting",
    "per_label",
    "plain_stem",
    "print_json",
    "printable",
    "shown_path",
    "shown_program",
    "stream_stem",
    "talk",
    "warn",
    "warn_of",
]

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eyewright.core.report import Finding

Result = dict[str, Any]
"""What a verb gives: the keys of the `--json` object, and `exit` and `text` for the terminal."""


def print_json(value: Mapping[str, Any]) -> None:
    from eyewright.core.jsonable import dumps_json

    kept = {k: v for k, v in value.items() if v not in ({}, None) or k in ("ok",)}
    text = dumps_json(kept)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if not text.isascii() and encoding.lower().replace("_", "-") not in ("utf-8", "utf8"):
        import json

        # JSON is UTF-8; its own escapes are ASCII, which every other encoding holds. Nothing is lost.
        text = json.dumps(json.loads(text))
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def warn(text: str) -> None:
    # With stderr closed or full, there is nobody left to tell.
    with contextlib.suppress(OSError, ValueError):
        print(printable(f"eyewright: {text}"), file=sys.stderr, flush=True)


def warn_of(findings: "Sequence[Finding]", *, most: int = 50) -> None:
    """Print findings, a line each, errors first; of more than `most`, those that are left are counted."""
    ordered = sorted(findings, key=lambda f: f.severity != "error")
    for f in ordered[:most]:
        warn(finding_line(f) + (f"; {f.fix}" if f.fix else ""))
    if len(ordered) > most:
        warn(f"and {len(ordered) - most:,} more such lines; --json has all of them")


def finding_line(found: "Finding") -> str:
    """Return where and what was found; a message that begins with the name of the file does not repeat it.

    >>> from eyewright.core.report import Finding
    >>> finding_line(Finding("cut_off", "'photos/a.png': the image is cut off", "", "a.png"))
    'a.png: the image is cut off'
    """
    named, colon, rest = found.message.partition("': ")
    repeats = bool(colon) and named.startswith("'") and bool(found.path) and named.endswith(found.path)
    return printable((f"{found.path}: " if found.path else "") + (rest if repeats else found.message))


def printable(text: str) -> str:
    """Show a name that is not UTF-8, or holds a control character, without breaking the line or the terminal."""
    plain = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode("ascii") for c in plain)


def plain_stem(item: Any) -> str:
    stem = "stdin" if item == "-" else Path(item).stem
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in stem)[:80]


def stream_stem(source: Any) -> str:
    """Return how files about a video, camera or stream are named: never by a password in its address.

    >>> stream_stem("rtsp://me:secret@10.0.0.5/door"), stream_stem("rtsp://me:secret@10.0.0.5"), stream_stem("0")
    ('door', '10.0.0.5', 'camera-0')
    """
    text = str(source)
    if text.isdecimal() and not Path(text).exists():
        return f"camera-{text}"
    if "://" in text:
        from urllib.parse import urlsplit

        parts = urlsplit(text)
        place = Path(parts.path.strip("/"))
        return plain_stem(place if place.name else f"{parts.netloc.rpartition('@')[2]}.x")
    return plain_stem(text.rstrip("/")) or "source"


def shown_path(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def shown_program(name: str) -> str:
    """Return a command as it can be typed here: an environment that is not activated is named with its path."""
    import shutil

    beside = Path(sys.executable).with_name(name)
    if shutil.which(name) == str(beside) or not beside.exists():
        return name
    return os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)


def talk(o: argparse.Namespace) -> dict[str, Any]:
    quiet = is_quiet(o)
    return {"quiet": quiet, "say": (lambda text: None) if quiet else lambda text: print(printable(text), flush=True)}


def is_quiet(o: argparse.Namespace) -> bool:
    # Of several processes that torchrun started, the first speaks.
    return bool(o.json or o.quiet or ("TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("RANK") != "0"))


def noting(findings: list[dict[str, Any]]) -> Callable[[Any], None]:
    """Return what takes a finding of a source: it is printed at once and kept as `--json` shows it."""

    def note(found: Any) -> None:
        findings.append(finding(found))
        warn(str(found))

    return note


def note_sound(source: str, drawn: Path, findings: list[dict[str, Any]]) -> None:
    """Note that a source has sound, where the video drawn of it has none."""
    from eyewright.imaging.video_facts import without_sound

    found = without_sound(source, drawn)
    if found is not None:
        noting(findings)(found)


def fails(findings: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether one of the findings, as `--json` shows them, is more than a note."""
    return any(f.get("severity") != "note" for f in findings)


def finding(found: Any) -> dict[str, Any]:
    """Return a finding as `--json` shows it; `paths` only where it is about several files."""
    from dataclasses import asdict

    return {k: v for k, v in asdict(found).items() if k != "paths" or v}


def metrics(report: Any) -> dict[str, Any]:
    """Return a report's metrics as `--json` shows them."""
    shown = {k: {"value": m.value, "low": m.low, "high": m.high, "n": m.n} for k, m in report.metrics.items()}
    more = {
        k: ({} if m.groups is None else {"groups": m.groups}) | ({"unit": m.unit} if m.unit else {})
        for k, m in report.metrics.items()
    }
    return {k: v | more[k] for k, v in shown.items()}


def per_label(report: Any) -> dict[str, Any]:
    """Return as `--json` shows it the metrics of each label by itself, where labels have units of their own."""
    rows = {
        str(r["label"]): {k: {**v, "n": r["n"]} for k, v in r.items() if isinstance(v, dict) and "unit" in v}
        for r in report.per_class
    }
    return {"per_label": rows} if any(rows.values()) else {}
