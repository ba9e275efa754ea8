"""What is learnt from an image, one file per kind of target; a dataset asks them, and never which task it is for."""

from eyewright.data.targets.captions import CAPTIONS, Captions
from eyewright.data.targets.label import LABEL, Label
from eyewright.data.targets.mask import MASK, MaskFile, Painted
from eyewright.data.targets.numbers import NUMBERS, Numbers, Quantity
from eyewright.data.targets.objects import OBJECTS, Objects, Outline, no_objects
from eyewright.data.targets.tags import TAGS, Tags
from eyewright.data.targets.target import Target, TargetKind, kind_of, tasks_of
from eyewright.data.targets.text import TEXT, Text

__all__ = [
    "CAPTIONS",
    "LABEL",
    "MASK",
    "NUMBERS",
    "OBJECTS",
    "TAGS",
    "TEXT",
    "Captions",
    "Label",
    "MaskFile",
    "Numbers",
    "Objects",
    "Outline",
    "Painted",
    "Quantity",
    "Tags",
    "Target",
    "TargetKind",
    "Text",
    "kind_of",
    "no_objects",
    "tasks_of",
]
