"""What a model must have shown before it may be used: "min_recall.person" = 0.8 and the like."""

__all__ = ["check_policy", "parse_policy"]

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eyewright.bundle.manifest import Manifest
from eyewright.core.errors import PolicyError, UsageError
from eyewright.core.regular import read_regular

_CLAIMED = "epsilon"
_EVIDENCE = {
    "robust_accuracy": "attack the run and export it again with its report",
    _CLAIMED: "train it with --private epsilon=E: only private training gives this evidence",
}
"""How a bundle gets evidence that no evaluation gives."""
_REMEDIES = {"max_epsilon": "train it with a smaller epsilon, or change the policy"}
_MOST_REPORT = 256 * 2**20


def parse_policy(rules: Sequence[str]) -> dict[str, float]:
    """Read rules such as "min_recall.person=0.8" or "max_ece=0.05".

    >>> parse_policy(["min_recall.person=0.8"])
    {'min_recall.person': 0.8}

    Raises:
        UsageError: a rule of another form.
    """
    found = {}
    for rule in rules:
        name, _, value = rule.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            name = ""
        if not name.strip().startswith(("min_", "max_")):
            raise UsageError(
                f"expected a rule like min_recall.person=0.8 or max_ece=0.05, found {rule!r}", fix="change --policy"
            )
    return found


def check_policy(folder: Path, manifest: Manifest, more: Mapping[str, float] | None = None) -> None:
    """Refuse a bundle whose evidence is below its own policy, or below `more` rules.

    A rule names a metric of the manifest, or with a dot a number of one class in the bundle's report. The measured
    value counts, unchanged. What was never measured is no evidence.

    Raises:
        PolicyError: a rule is not kept, or there is no evidence for it.
    """
    rules = {**dict(manifest.policy), **(more or {})}
    for rule, bound in rules.items():
        direction, _, name = rule.partition("_")
        if direction not in ("min", "max") or not isinstance(bound, int | float):
            raise PolicyError(f"unknown policy rule {rule!r}", fix="write it as min_… or max_…")
        value = _evidence(folder, manifest, name)
        if value is None:
            raise PolicyError(
                f"the policy asks for {rule} = {bound:g}, and the bundle holds no evidence for {name!r}",
                fix=_EVIDENCE.get(name, "evaluate the run and export it again with its report"),
            )
        if value < bound if direction == "min" else value > bound:
            raise PolicyError(
                f"the policy asks for {rule} = {bound:g}, found {value:.4g}",
                fix=_REMEDIES.get(rule, "train a better model, or change it"),
            )


def _evidence(folder: Path, manifest: Manifest, name: str) -> float | None:
    metric, _, label = name.partition(".")
    if not label:
        if metric == _CLAIMED and not (manifest.provenance.get("privacy") or {}).get("steps"):
            # A number without the noise and the steps that it was computed from is a claim, no evidence.
            return None
        return _number(manifest.metrics.get(metric))
    for row in _class_rows(folder, manifest):
        if row.get("label") == label:
            return _number(row.get(metric))
    return None


def _class_rows(folder: Path, manifest: Manifest) -> list[dict[str, Any]]:
    listed = manifest.files.get("report.json")
    if listed is None:
        return []
    data = read_regular(folder / "report.json", most=_MOST_REPORT, error=PolicyError, fix="export it again")
    if hashlib.sha256(data).hexdigest() != listed["sha256"]:
        raise PolicyError("report.json has been changed since the bundle was exported", fix="export it again")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"report.json is damaged: {type(error).__name__}", fix="export it again") from error
    rows = content.get("per_class") if isinstance(content, dict) else None
    return [r for r in rows if isinstance(r, dict)] if isinstance(rows, list) else []


def _number(value: Any) -> float | None:
    found = value.get("value") if isinstance(value, Mapping) else value
    try:
        return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None
    except OverflowError:
        return None
