"""What training must know of a task: one file a task, found by the task's name."""

from types import MappingProxyType

from eyewright.training.subjects.classify import ClassSubject
from eyewright.training.subjects.detect import BoxSubject
from eyewright.training.subjects.segment import MaskSubject
from eyewright.training.subjects.subject import Learnt, Subject

SUBJECTS: MappingProxyType[str, Subject] = MappingProxyType(
    {
        "classify": ClassSubject(),
        "detect": BoxSubject("detect"),
        "segment": MaskSubject(),
        "instance": BoxSubject("instance"),
    }
)
"""Every task that can be learnt, by the name that recipes and `--task` use."""

__all__ = ["SUBJECTS", "BoxSubject", "ClassSubject", "Learnt", "MaskSubject", "Subject"]
