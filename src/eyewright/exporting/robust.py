"""How robust a run was found to be, as its bundle holds it: a metric, two files, and sentences of the card."""

__all__ = ["KEPT", "Robust", "robustness_of", "say_robust"]

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eyewright.core.errors import RefusedError, plain_reason
from eyewright.core.quoting import quoted
from eyewright.core.regular import read_regular

KEPT = ("robustness.html", "robustness.json")
"""The files that `attack` leaves in the folder "robustness" of a run."""

_MOST = 256 * 2**20


@dataclass(frozen=True)
class Robust:
    """What a bundle takes from an attack on its run: `metrics` only where the measurement is evidence, `about` what is
    said of it, and the files."""

    metrics: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)


def robustness_of(run: Path) -> Robust:
    """Return what the attack on a run's weights found; nothing where there was none, or it was on other weights."""
    place = run / "robustness" / KEPT[1]
    if not place.is_file():
        return Robust()
    files = {
        name: read_regular(run / "robustness" / name, most=_MOST, error=RefusedError, fix="attack the run again")
        for name in KEPT
        if (run / "robustness" / name).is_file()
    }
    try:
        found = json.loads(files[KEPT[1]])
        weights = (run / "checkpoints" / "best" / "model.safetensors").read_bytes()
        if found["model"]["digest"] != hashlib.sha256(weights).hexdigest():
            return Robust()
        about = {
            "verdict": found["verdict"],
            "said": found["sentence"],
            "threat": found["threat"],
            "attacks": found["plan"]["attacks"],
            "n": found["n"],
            "failed_checks": [c["name"] for c in found["checks"] if c["status"] == "fail"],
        }
        evidence = found["verdict"] == "evidence"
        return Robust({"robust_accuracy": found["robust_accuracy"]} if evidence else {}, about, files)
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError(f"{quoted(place)} is damaged: {plain_reason(error)}", fix="attack the run again") from error


def say_robust(about: Mapping[str, Any]) -> list[str]:
    """Return what the card says: what the model was trained against, and what is left of it under attack."""
    threat, found = about.get("threat") or {}, about.get("robustness") or {}
    lines = []
    if threat:
        how = ", ".join(
            f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in threat.items() if k != "step"
        )
        lines.append(f"Trained with step {threat.get('step')}" + (f" ({how})." if how else "."))
    if found:
        by = ", ".join(found.get("attacks", ()))
        lines.append(f"{found.get('said')} Attacks: {by} (see robustness.html).")
    elif threat:
        lines.append("It was not attacked: how robust it is was not measured.")
    return lines
