"""What a model of each task answers: how raw arrays are read, how good they are, how they look; one file per task."""

import sys
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

from eyewright.core.late import late_names

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
        "regress": "eyewright.tasks.regress:TASK",
        "tag": "eyewright.tasks.tag:TASK",
        "video": "eyewright.tasks.video:TASK",
        "read": "eyewright.tasks.read:TASK",
        "embed": "eyewright.tasks.embed:TASK",
        "restore": "eyewright.tasks.restore:TASK",
        "generate": "eyewright.tasks.generate:TASK",
    }
)
"""Where each task lies, by the name that bundles and `--task` use; `core.task.task_of` opens it late."""

_HOMES = {
    "classify": ("ClassPrediction",),
    "detect": ("BoxPrediction", "MaskCrop"),
    "segment": ("MaskPrediction",),
}

__all__ = ["TASKS", "BoxPrediction", "ClassPrediction", "MaskCrop", "MaskPrediction"]


class _Callable(ModuleType):
    """`eyewright.tasks` is this package and `ew.tasks()` the table of all tasks, whichever was imported first."""

    def __call__(self) -> dict[str, dict[str, Any]]:
        from eyewright.tasks.table import tasks

        return tasks()


sys.modules[__name__].__class__ = _Callable


__getattr__ = late_names("eyewright.tasks", _HOMES)
