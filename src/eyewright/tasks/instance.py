"""Instance segmentation: where objects are, of which class, and which pixels are theirs."""

__all__ = ["TASK"]

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.errors import BundleError
from eyewright.core.labels import LabelSpace
from eyewright.core.task import OBJECT_FILES, Feedback, Output, Raw, Words
from eyewright.metrics.matching import MaskCrop, crop_mask
from eyewright.tasks import detect
from eyewright.tasks.corrections import corrected_objects
from eyewright.tasks.detect import BoxPrediction

if TYPE_CHECKING:
    from eyewright.data.targets.objects import Objects
    from eyewright.imaging.preparation import Placement
    from eyewright.tasks.corrections import Correction

_STRIDE = 4


def decode(raw: Raw, placements: Sequence["Placement"], labels: LabelSpace, **options: Any) -> list[BoxPrediction]:
    """Return one prediction per image with a mask per object: as `detect.decode`, with "coefficients", float32 (N, A,
    K), of "prototypes", float32 (N, K, H/4, W/4), whose weighted sum is a mask in logits.

    Raises:
        BundleError: the arrays do not have the promised names, shapes or range.
    """
    return detect.decode(raw, placements, labels, **options, crops=_crops)


def _crops(
    raw: Raw, index: int, points: NDArray[np.int64], boxes: NDArray[np.float32], placement: "Placement"
) -> tuple[MaskCrop, ...]:
    coefficients, prototypes = raw.get("coefficients"), raw.get("prototypes")
    if coefficients is None or prototypes is None or coefficients.shape[2:] != prototypes.shape[1:2]:
        raise BundleError("expected coefficients (N, A, K) and prototypes (N, K, h, w)", fix="export again")
    shape = prototypes.shape[2:]
    logits = (coefficients[index, points] @ prototypes[index].reshape(prototypes.shape[1], -1)).reshape(-1, *shape)
    return tuple(_crop(one, box, placement) for one, box in zip(logits, boxes, strict=True))


def _crop(logits: NDArray[np.float32], box: NDArray[np.float32], placement: "Placement") -> MaskCrop:
    """Bring one mask from a quarter of the prepared size to source pixels, inside its box."""
    height, width = placement.source_hw
    left, top = (int(np.floor(v)) for v in box[:2])
    right, bottom = min(width, int(np.ceil(box[2]))), min(height, int(np.ceil(box[3])))
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    corners = np.array([[left, top], [right, bottom]], np.float64)
    scale, offset = np.array(placement.scale_yx[::-1]), np.array(placement.offset_yx[::-1])
    (x0, y0), (x1, y1) = (corners * scale + offset) / _STRIDE
    limit = (logits.shape[1], logits.shape[0])
    x0, x1 = (float(np.clip(v, 0, limit[0])) for v in (x0, x1))
    y0, y1 = (float(np.clip(v, 0, limit[1])) for v in (y0, y1))
    if x1 - x0 <= 0 or y1 - y0 <= 0:
        return MaskCrop(top, left, np.zeros((bottom - top, right - left), bool))
    picture = Image.fromarray(np.ascontiguousarray(logits, np.float32))
    size = (right - left, bottom - top)
    large = np.asarray(picture.resize(size, Image.Resampling.BILINEAR, box=(x0, y0, x1, y1)))
    return MaskCrop(top, left, large > 0)


def example(rng: np.random.Generator) -> tuple[Raw, Sequence[Any]]:
    """Return six boxes with masks in each of 12 images, and two true objects in each."""
    raw, truth = detect.example(rng)
    masks = {"coefficients": np.ones((12, 6, 2), np.float32), "prototypes": np.ones((12, 2, 4, 6), np.float32)}
    outlined = [crop_mask(np.ones((16, 24), bool))] * 2
    return {**raw, **masks}, [replace(t, masks=outlined) for t in truth]


def corrected(said: "Correction") -> "Objects":
    return corrected_objects(said, outlined=True)


TASK = replace(
    detect.TASK,
    name="instance",
    words=Words(
        noun="instance segmentation",
        does="Finds objects, their boxes and outlines, of",
        gives="`boxes`, `scores`, and `coefficients` of `prototypes`, whose sum is an object's mask in logits",
        usage="masks",
        limits=detect.TASK.words.limits,
        counted="object",
        score="a score",
        wins="images that one does better",
    ),
    outputs=(
        *detect.TASK.outputs,
        Output("coefficients", ("A", "K")),
        Output("prototypes", ("K", "h", "w")),
    ),
    options=frozenset({"attack", "classes", "conf", "coverage", "iou", "miss_rate", "tile", "top"}) | OBJECT_FILES,
    foreign={"hub": "image-segmentation", "label-studio": "BrushLabels RectangleLabels"},
    contracts=(),
    decode=decode,
    example=example,
    needs=frozenset({"outlines"}),
    feedback=Feedback(("objects",), ("box_xyxy", "segmentation"), corrected, detect.taught, "coco"),
    net="boxes and masks",
    learner="eyewright.learners.instance:LEARNER",
    reporting="eyewright.tasks.box_report:INSTANCE_REPORTING",
)
"""Boxes and masks of objects."""
