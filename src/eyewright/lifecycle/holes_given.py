"""Where an image is to be filled: under masks, in boxes, or where a bundle finds objects."""

__all__ = ["boxes_hole", "masks_hole", "objects_hole"]

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.bundle.manifest import bundle_folder
from eyewright.core.errors import BundleError, UsageError, spelling_hint
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.core.task import task_of
from eyewright.imaging.decode import name_unreadable, read_image
from eyewright.imaging.headers import Limits
from eyewright.imaging.layers import checked_hole, read_mask
from eyewright.lifecycle.restoring import lost_frames

PathLike = str | Path
Corners = tuple[float, float, float, float]

_MANY_GREY = 0.1
# A mask of more is often inverted.
_LARGE = 0.5


def masks_hole(
    masks: Sequence[PathLike], size_hw: tuple[int, ...], limits: Limits
) -> tuple[NDArray[np.bool_], list[Finding]]:
    """Return what any of these mask files marks, bool (H, W), and what was noticed in them.

    Raises:
        UsageError: a mask of another size, or a photograph in place of one.
        UnreadableImageError, LimitError: a file cannot be read.
    """
    hole, findings = np.zeros(size_hw[:2], bool), []
    for path in masks:
        with name_unreadable(str(path)):
            values = read_mask(path, limits)
        own, grey = checked_hole(values, str(path))
        if own.shape != hole.shape:
            raise UsageError(
                f"expected a mask of {hole.shape[1]}x{hole.shape[0]} pixels, as the image has upright, found "
                f"{own.shape[1]}x{own.shape[0]} in {quoted(path)}",
                fix="make it as large as the image",
            )
        place = str(path)
        if not own.any():
            top = "1" if values.dtype.kind == "f" else f"{np.iinfo(values.dtype).max:,}"
            text = f"the mask is empty: its brightest opaque value is {values.max():,} of {top}"
            findings.append(Finding("mask_empty", text, "make what is to be filled white and opaque", place))
        elif own.mean() > _LARGE:
            text = f"the mask marks {own.mean():.0%} of the image"
            findings.append(Finding("mask_large", text, "invert it if black is to be filled", place, severity="note"))
        if grey > _MANY_GREY:
            text = f"{grey:.0%} of the mask is grey: what is brighter than the middle is filled"
            findings.append(Finding("mask_grey", text, "make it black and white", place, severity="note"))
        findings += lost_frames(Path(path), limits)
        hole |= own
    return hole, findings


def boxes_hole(
    size_hw: tuple[int, ...], boxes: Sequence[Corners], place: str
) -> tuple[NDArray[np.bool_], list[Finding]]:
    """Return what lies in any of these boxes, x, y, width and height in pixels, bool (H, W), and notes about boxes that
    reach over the edge of the image at `place`.

    Raises:
        UsageError: a box lies outside the image.
    """
    hole, findings = np.zeros(size_hw[:2], bool), []
    for x, y, width, height in boxes:
        one = _boxed(size_hw, (x, y, x + width, y + height))
        shown, size = f"the box {x:g},{y:g},{width:g},{height:g}", f"{size_hw[1]}x{size_hw[0]} pixels"
        if not one.any():
            raise UsageError(f"{shown} lies outside the image of {size}", fix="change --box")
        if x < 0 or y < 0 or x + width > size_hw[1] or y + height > size_hw[0]:
            text = f"{shown} reaches over the edge of the image of {size}: what lies inside is filled"
            findings.append(Finding("box_cut", text, "", place, severity="note"))
        hole |= one
    return hole, findings


def objects_hole(
    model: Path, image: Path, size_hw: tuple[int, ...], labels: Sequence[str], conf: float | None
) -> tuple[NDArray[np.bool_], int]:
    """Return where a bundle finds objects of these classes, bool (H, W), by their masks or else their boxes, and how
    many.

    Raises:
        UsageError: a class that the bundle does not know.
        BundleError: the bundle finds no objects.
    """
    from eyewright.lifecycle.loading import open_any

    bundle: Any = open_any(bundle_folder(model))
    for label in labels:
        if label not in bundle.labels.names:
            raise UsageError(f"the bundle knows no {label!r}", fix=spelling_hint(label, bundle.labels.names))
    (found,) = bundle.predict_images([np.asarray(read_image(image))], conf=conf)
    boxes: Any = getattr(found, "boxes_xyxy", None)
    masks: Any = getattr(found, "masks", None)
    if boxes is None and masks is None:
        raise BundleError(
            f"expected a bundle that says where objects are, found one for {task_of(bundle.task_name).words.noun}",
            fix="use one that was trained to find boxes or masks",
        )
    hole, n = np.zeros(size_hw[:2], bool), 0
    for k, name in enumerate(found.labels):
        if name in labels:
            hole |= masks[k] if masks is not None else _boxed(size_hw, tuple(boxes[k]))
            n += 1
    return hole, n


def _boxed(size_hw: tuple[int, ...], corners: Corners) -> NDArray[np.bool_]:
    hole = np.zeros(size_hw[:2], bool)
    x0, y0, x1, y1 = corners
    hole[max(0, int(np.floor(y0))) : max(0, int(np.ceil(y1))), max(0, int(np.floor(x0))) : max(0, int(np.ceil(x1)))] = 1
    return hole
