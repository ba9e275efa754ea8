"""What a model of each task answers: how raw arrays are read, how good they are, how they look; one file a task."""

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eyewright.tasks.classify import ClassPrediction
    from eyewright.tasks.detect import BoxPrediction, MaskCrop
    from eyewright.tasks.segment import MaskPrediction

TASKS = MappingProxyType(
    {
        "classify": "eyewright.tasks.classify:TASK",
        "detect": "eyewright.tasks.detect:TASK",
        "segment": "eyewright.tasks.segment:TASK",
        "instance": "eyewright.tasks.instance:TASK",
    }
)
"""Where each task lies, by the name that bundles and `--task` use; `core.task.task_of` opens it late."""

_HOMES = {
    "BoxPrediction": "eyewright.tasks.detect",
    "ClassPrediction": "eyewright.tasks.classify",
    "MaskCrop": "eyewright.tasks.detect",
    "MaskPrediction": "eyewright.tasks.segment",
}

__all__ = ["TASKS", "BoxPrediction", "ClassPrediction", "MaskCrop", "MaskPrediction"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
