"""The verbs that list what there is: models, formats, versions."""

__all__ = ["formats", "info", "models"]

import argparse
import shutil
import textwrap
from collections.abc import Mapping

from eyewright.cli.tables import task_table
from eyewright.cli.terminal import Result

_TITLES = {"datasets": "DATASET FORMATS", "images": "IMAGE FORMATS"}


def models(o: argparse.Namespace) -> Result:
    """List the models, and what each task supports."""
    from eyewright import lifecycle
    from eyewright.tasks.table import tasks as all_tasks

    found, tasks = lifecycle.models(), all_tasks()
    steps = lifecycle.training_steps()
    text = ["MODELS", *_described(found), "", "TRAINING STEPS (--step)", *_described(steps)]
    text += ["", "WHAT EACH TASK SUPPORTS", *task_table(tasks)]
    return {"tasks": tasks, "models": found, "training_steps": steps, "text": text}


def formats(o: argparse.Namespace) -> Result:
    """List the formats of datasets and images that can be read."""
    from eyewright import lifecycle

    found = lifecycle.formats()
    text = [line for title, kind in found.items() for line in ("", _TITLES[title], *_described(kind))]
    return {"formats": found, "text": text[1:]}


def info(o: argparse.Namespace) -> Result:
    """Show versions and hardware."""
    from eyewright import lifecycle

    found = lifecycle.info()
    text = [f"{name:16} {value}" for part in ("versions", "hardware") for name, value in found[part].items()]
    extras = found["extras"]
    missing = [name for name, there in extras.items() if not there]
    if extras:
        text.append(f"{'extras':16} {', '.join(n for n, there in extras.items() if there) or 'none'}")
    if missing:
        text.append(f"{'not installed':16} {', '.join(missing)}; such as: pip install 'eyewright[{missing[0]}]'")
    return {"info": found, "text": text}


def _described(items: Mapping[str, str]) -> list[str]:
    """Return lines of names and what they mean, wrapped to the terminal."""
    wide = max(map(len, items)) + 1
    width = max(40, shutil.get_terminal_size().columns)
    return [
        line
        for name, about in items.items()
        for line in textwrap.wrap(
            f"{name:{wide}}{about}", width, subsequent_indent=" " * wide, break_long_words=False, break_on_hyphens=False
        )
    ]
