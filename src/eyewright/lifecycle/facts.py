"""What a report says in addition to its metrics: where data and model come from, in words."""

__all__ = ["sections_of"]

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from eyewright.core.durations import show_duration
from eyewright.core.report import Finding
from eyewright.core.task import task_of

if TYPE_CHECKING:
    from eyewright.data import Dataset
    from eyewright.training.run import Run


def sections_of(
    owner: "Run | None", about: Mapping[str, Any], warnings: list[str], dataset: "Dataset"
) -> dict[str, Any]:
    """Return what a report says in addition to its metrics; `about` is the run's, or a bundle's provenance."""
    from eyewright.evaluation.private import private_facts
    from eyewright.evaluation.validation import say_validated

    grouping = about.get("grouping") or {}
    sections: dict[str, Any] = {"warnings": [*warnings, *grouping.get("warnings", ())]}
    facts: dict[str, Any] = {"data": dataset.describe()}
    if owner is not None:
        sections |= {
            "history": owner.history(),
            "recipe": owner.recipe.without_places().to_json(),
            "usual": owner.recipe.defaults(),
            "thresholds": about.get("thresholds", {}),
            "audit": []
            if about.get("privacy")
            else [f if isinstance(f, Finding) else Finding(**f) for f in about.get("audit", [])],
        }
        training = about["training"]
        facts |= {
            "net": f"{about['model']}, {about['parameters']:,} weights",
            "augmentation": about["augmentation"],
            "training": f"{_epochs(training)} in {show_duration(training['seconds'])}; {training['stopped']}",
            "best epoch": f"{training['best_epoch']}, {say_validated(about)}",
        }
        if "temperature" in about["calibration"]:
            n = about["calibration"]["n"]
            reads = task_of(owner.task_name).reads
            facts["temperature"] = f"{owner.temperature:.3f}, fitted on {n} validation {reads}{'s' * (n != 1)}"
        elif "reason" in about["calibration"] and "ece_before" in about["calibration"]:
            facts["calibration"] = f"none: {about['calibration']['reason']}"
    elif (about.get("training") or {}).get("epochs"):
        training = about["training"]
        facts["training"] = f"{_epochs(training)}; best epoch {training['best_epoch']}, {say_validated(about)}"
    if about.get("privacy"):
        facts |= private_facts(about["privacy"])
    left_out = ((about.get("dataset") or {}).get("leaks") or {}).get("said")
    if left_out:
        facts["left out of training"] = left_out
    if edits := (about.get("dataset") or {}).get("edits"):
        facts["edits"] = f"{edits['file']}: {edits['relabelled']:,} relabelled, {edits['left_out']:,} left out"
    if "words" in grouping:
        facts["what belongs together"] = f"{grouping['words']} (rule: {grouping['rule']})"
    if dataset.grouping is not None and dataset.grouping.to_json() != _found_of(grouping):
        found = dataset.grouping
        facts["groups of these images"] = f"{found.describe()} (rule: {found.rule})"
    return {**sections, "facts": facts}


def _found_of(grouping: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in grouping.items() if k != "words"}


def _epochs(training: Mapping[str, Any]) -> str:
    return f"{training['epochs']} epoch{'s' * (training['epochs'] != 1)}"
