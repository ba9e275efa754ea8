"""The verb that audits privacy."""

__all__ = ["add_auditing", "audit_privacy"]

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eyewright.cli.numbers import Checked, Number
from eyewright.cli.terminal import Result, shown_path, talk
from eyewright.core.durations import parse_duration_s


def add_auditing(verb: Callable[[str], argparse.ArgumentParser]) -> None:
    """Add the options of audit-privacy."""
    p = verb("audit-privacy")
    p.add_argument("model", metavar="RUN", help="the run to audit")
    p.add_argument(
        "--attack", metavar="NAMES", help="lira, rmia, threshold, canary; several with commas (default: all that apply)"
    )
    p.add_argument("--models", type=Number(4, 1024), default=16, metavar="N", help="number of shadow nets (default 16)")
    p.add_argument(
        "--targets",
        type=Number(0, 1024),
        default=4,
        metavar="N",
        help="number of shadow nets that are attacked too (default 4)",
    )
    p.add_argument(
        "-n", type=Number(40, 1_000_000), default=4000, metavar="N", help="maximum number of images (default 4000)"
    )
    p.add_argument(
        "--canaries", type=Number(20, 100_000), default=2000, metavar="N", help="number of canaries (default 2000)"
    )
    p.add_argument("--budget", type=Checked(parse_duration_s), metavar="TIME", help="time limit, such as 90s or 10m")
    p.add_argument("--resume", action="store_true", help="continue after an interruption, with the same options")
    p.add_argument(
        "--out", metavar="DIR", help="write privacy.html and privacy.json to this folder (default: inside the run)"
    )


def audit_privacy(o: argparse.Namespace) -> Result:
    """Audit a run, and print how well its training images can be distinguished from others."""
    from eyewright import lifecycle

    names = None if o.attack is None else tuple(t.strip() for t in o.attack.split(",") if t.strip())
    found = lifecycle.audit_privacy(
        o.model,
        attacks=names,
        models=o.models,
        targets=o.targets,
        n=o.n,
        canaries=o.canaries,
        budget=o.budget,
        out=o.out,
        resume=o.resume,
        **talk(o),
    )
    folder = Path(o.out) if o.out is not None else Path(o.model) / "privacy"
    report = (folder / "privacy.html").resolve()
    text = ["", found.sentence(), ""]
    text += [f"{a.name:12} AUC {a.auc.value:.3f} [{a.auc.low:.3f}, {a.auc.high:.3f}]{_rate(a)}" for a in found.run]
    text += [*found.warnings, f"report       {shown_path(report)}"]
    findings = []
    if found.refuted and found.canaries is not None:
        findings.append(
            _finding(
                "epsilon_refuted",
                f"canaries show epsilon of at least {found.canaries.epsilon_lower:.3g}, above the claimed "
                f"{found.canaries.claimed_epsilon:.3g}",
                "do not use the model: its training is not as private as it claims",
            )
        )
    if found.leaks:
        findings.append(
            _finding(
                "membership",
                "an attack distinguishes training images from others",
                "train with --private, with fewer epochs, or on more images",
            )
        )
    return {
        "out": {"report": report},
        "privacy": found.to_json(),
        "findings": findings,
        "text": text,
        "exit": int(bool(findings)),
    }


def _rate(attack: Any) -> str:
    metric = attack.found.get(0.01)
    return "" if metric is None else f", finds {metric.value:.1%} at 1% false positives"


def _finding(code: str, message: str, fix: str) -> dict[str, Any]:
    return {"code": code, "path": "", "line": None, "message": message, "fix": fix, "severity": "error"}
