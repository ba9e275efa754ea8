"""What raw arrays mean (decode), how good they are (score), how they look (draw): one file a task."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.tasks.classify import Classify, ClassPrediction
from eyewright.tasks.detect import BoxPrediction, Detect, Instance, MaskCrop
from eyewright.tasks.segment import MaskPrediction, Segment

if TYPE_CHECKING:
    from eyewright.imaging.preparation import Placement

TASKS: MappingProxyType[str, Any] = MappingProxyType(
    {"classify": Classify(), "detect": Detect(), "segment": Segment(), "instance": Instance()}
)
"""Every task by the name that bundles and `--task` use."""


def predict_everything(
    predictor: Any,
    images: Sequence[NDArray[np.uint8]],
    *,
    least: float | None = None,
    iou: float | None = None,
) -> list[Any]:
    """Give one prediction an image with everything in it that is measured, also what is below its operating point.

    Of boxes only those that reach `least`, where it is given: what nobody is shown need not be sorted out. `iou` stands
    for the overlap from which on two boxes of one class are one object.
    """
    pixels, placements = predictor.preparation.batch(images)
    return decode_everything(predictor, predictor.raw(pixels), placements, least=least, iou=iou)


def decode_everything(
    predictor: Any,
    raw: Mapping[str, NDArray[np.float32]],
    placements: Sequence["Placement"],
    *,
    least: float | None = None,
    iou: float | None = None,
) -> list[Any]:
    """Give what `predict_everything` gives, from the raw arrays of images that were prepared already."""
    decoding = dict(getattr(predictor, "decoding", {}))
    if least is not None and predictor.task_name in ("detect", "instance"):
        decoding["least"] = least
    if iou is not None:
        if predictor.task_name not in ("detect", "instance") or not 0 < iou <= 1:
            raise UsageError(
                f"expected iou in (0, 1] for boxes, found {iou} for {predictor.task_name!r}", fix="change it"
            )
        decoding["iou"] = iou
    found: list[Any] = TASKS[predictor.task_name].decode(raw, placements, predictor.labels, **decoding)
    return found


__all__ = [
    "TASKS",
    "BoxPrediction",
    "ClassPrediction",
    "Classify",
    "Detect",
    "Instance",
    "MaskCrop",
    "MaskPrediction",
    "Segment",
    "decode_everything",
    "predict_everything",
]
