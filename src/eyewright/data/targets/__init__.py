"""What is learnt from an image, one file a kind of target; a dataset asks them, and never which task it is for."""

from eyewright.data.targets.label import LABEL, Label
from eyewright.data.targets.mask import MASK, MaskFile, Painted
from eyewright.data.targets.objects import OBJECTS, Objects, Outline, no_objects
from eyewright.data.targets.target import Target, TargetKind, kind_of, tasks_of

__all__ = [
    "LABEL",
    "MASK",
    "OBJECTS",
    "Label",
    "MaskFile",
    "Objects",
    "Outline",
    "Painted",
    "Target",
    "TargetKind",
    "kind_of",
    "no_objects",
    "tasks_of",
]
