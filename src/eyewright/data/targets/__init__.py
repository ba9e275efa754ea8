"""What is learnt from an image, one file per kind of target; a dataset asks them, and never which task it is for.

A module is imported when one of its names is used: a task needs its own kind alone.
"""

from typing import TYPE_CHECKING

from eyewright.core.late import late_names

if TYPE_CHECKING:
    from eyewright.data.targets.captions import CAPTIONS, Captions
    from eyewright.data.targets.label import LABEL, Label
    from eyewright.data.targets.mask import MASK, MaskFile, Painted
    from eyewright.data.targets.numbers import NUMBERS, Numbers, Quantity
    from eyewright.data.targets.objects import OBJECTS, Objects, Outline, no_objects
    from eyewright.data.targets.tags import TAGS, Tags
    from eyewright.data.targets.target import Target, TargetKind, kind_of, tasks_of
    from eyewright.data.targets.text import TEXT, Text

_HOMES = {
    "captions": ("CAPTIONS", "Captions"),
    "label": ("LABEL", "Label"),
    "mask": ("MASK", "MaskFile", "Painted"),
    "numbers": ("NUMBERS", "Numbers", "Quantity"),
    "objects": ("OBJECTS", "Objects", "Outline", "no_objects"),
    "tags": ("TAGS", "Tags"),
    "target": ("Target", "TargetKind", "kind_of", "tasks_of"),
    "text": ("TEXT", "Text"),
}

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


__getattr__ = late_names(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
