"""What a bundle is and how it was measured, in one line and as a card for notebooks."""

__all__ = ["card_of", "in_one_line"]

from pathlib import Path

from eyewright.bundle.manifest import Manifest
from eyewright.core.labels import LabelSpace
from eyewright.core.notebook import html_card, joined
from eyewright.core.task import task_of


def in_one_line(manifest: Manifest, labels: LabelSpace) -> str:
    """Return name, task, number of classes and main metric."""
    task = task_of(manifest.task)
    main, words = task.metric(task.main_metric), task.words
    value = manifest.metrics.get(main.name, {}).get("value")
    shown = "" if value is None else f", {main.title} {main.show(value)}"
    counted = f", {words.count(len(labels))}" if words.names_labels else ""
    return f"<Bundle {manifest.name!r}: {manifest.task}{counted}{shown}>"


def card_of(manifest: Manifest, labels: LabelSpace, folder: Path) -> str:
    """Return HTML: classes, and each metric with its interval and number of images."""
    task = task_of(manifest.task)
    rows = [(task.words.label[1], joined(labels.names, 8))] if task.words.names_labels else []
    rows += [*task.metric_rows(manifest.metrics, labels.names), ("folder", str(folder))]
    return html_card(f"Bundle {manifest.name}: {manifest.task}", rows)
