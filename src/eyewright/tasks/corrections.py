"""From what somebody said of a prediction to what can be learnt from it."""

__all__ = [
    "VOID",
    "Correction",
    "NotUsableError",
    "corrected_label",
    "corrected_mask",
    "corrected_objects",
    "labels_in",
    "taught_objects",
    "true_objects",
]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eyewright.data.dataset import BACKGROUND
from eyewright.data.targets.label import Label
from eyewright.data.targets.mask import MaskFile
from eyewright.data.targets.objects import Objects, Outline, no_objects
from eyewright.imaging.rasters import decode_counts, encode_counts, parse_counts

VOID = 255
"""The id of pixels of a mask that nothing is learnt from."""


class Found(Protocol):
    """Predicted objects: `boxes_xyxy` float (n, 4) in source pixels, `label_ids` int64 (n,), `masks` bool (n, H, W)."""

    @property
    def boxes_xyxy(self) -> NDArray[np.float32]: ...

    @property
    def label_ids(self) -> NDArray[np.int64]: ...

    @property
    def masks(self) -> NDArray[np.bool_] | None: ...


class NotUsableError(Exception):
    """Why nothing can be learnt from feedback, in a few words; it is counted, never shown as an error."""


@dataclass(frozen=True)
class Correction:
    """Checked feedback on one prediction of a kept image.

    Args:
        content: what was said, as `tasks.feedback.check_feedback` returns it.
        predicted: the label of the prediction; "" if it has none.
        source_hw: height and width of the image that was predicted, which `content` is in.
        size_hw: height and width of the kept image, which the target is in.
        names: the classes, those of the model first.
        again: predicts the kept image again with the model that was judged, and returns the prediction with the ids of
            its classes among `names`; raises `NotUsableError`.
        keep: stores class ids of pixels, uint8 (H, W), and returns the target that reads them.
    """

    content: Mapping[str, Any]
    predicted: str
    source_hw: tuple[int, int]
    size_hw: tuple[int, int]
    names: Sequence[str]
    again: Callable[[], tuple[Any, NDArray[np.int64]]]
    keep: Callable[[NDArray[np.uint8]], MaskFile]

    @property
    def right(self) -> bool:
        """Whether the prediction was called right as a whole."""
        return self.content.get("correct") is True

    def expect_right(self) -> None:
        """Refuse a prediction that was not called right, where nothing says what is.

        Raises:
            NotUsableError: it is so.
        """
        if not self.right:
            raise NotUsableError("it says that the prediction is wrong, and not what is right")


def labels_in(content: Mapping[str, Any]) -> list[str]:
    """Return the labels that feedback says are there.

    >>> labels_in({"objects": [{"label": "cat", "box_xyxy": [0, 0, 4, 4]}]})
    ['cat']
    >>> labels_in({"tags": {"cat": True, "dog": False}})
    ['cat']
    """
    tags = [name for name, has in (content.get("tags") or {}).items() if has]
    found = [content.get("label"), *(o.get("label") for o in content.get("objects") or ()), *tags]
    return [name for name in found if name is not None]


def true_objects(content: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return the objects that are in the image according to feedback, None where it does not say."""
    rows = content.get("objects")
    if not isinstance(rows, list):
        return None
    return [o for o in rows if isinstance(o, dict) and o.get("verdict") != "false_alarm"]


def corrected_label(said: Correction) -> Label:
    """Return the class that the image is of.

    Raises:
        NotUsableError: nothing says which, or it is none of the classes.
    """
    label = said.content.get("label", said.predicted if said.right else None)
    if label is None:
        raise NotUsableError("it says that the prediction is wrong, and not what is right")
    if label not in said.names:
        raise NotUsableError("its label is not one of the model's classes")
    return Label(said.names.index(label))


def corrected_objects(said: Correction, *, outlined: bool) -> Objects:
    """Return the objects that are in the image; `outlined` if they are learnt with outlines.

    Raises:
        NotUsableError: nothing says what is right.
    """
    rows = true_objects(said.content)
    if rows is None:
        said.expect_right()
        found, ids = said.again()
        return taught_objects(found, ids)
    if not rows:
        return no_objects()
    scale = np.array([said.size_hw[1] / said.source_hw[1], said.size_hw[0] / said.source_hw[0]] * 2)
    ids = np.array([said.names.index(o["label"]) for o in rows], np.int64)
    masks = [_pixels_of(o, said.source_hw, said.size_hw) for o in rows]
    boxes = [
        np.array(o["box_xyxy"], np.float64) * scale if m is None else _outline(m).box()
        for o, m in zip(rows, masks, strict=True)
    ]
    if not outlined:
        return Objects(np.stack(boxes), ids, np.zeros(len(rows), bool))
    # A box without an outline is no mask to learn, and no background either.
    crowd = np.array([m is None for m in masks])
    if crowd.all():
        raise NotUsableError("its objects have no outlines, which instances are learnt from")
    outlines = [Outline() if m is None else _outline(m) for m in masks]
    return Objects(np.stack(boxes), ids, crowd, outlines)


def taught_objects(found: Found, ids: NDArray[np.int64]) -> Objects:
    """Return predicted objects, with outlines if they have masks, as objects to learn; class k is `ids[k]`."""
    outlines = [] if found.masks is None else [_outline(m) for m in found.masks]
    own = ids[found.label_ids]
    return Objects(found.boxes_xyxy.astype(np.float64), own, np.zeros(len(own), bool), outlines)


def corrected_mask(said: Correction) -> MaskFile:
    """Return the class of every pixel.

    Where a class was called wrong, nobody knows what its pixels are: nothing is learnt from them, nor from background
    that may hide what was missed.

    Raises:
        NotUsableError: nothing says what is right, or no pixel of a class is left.
    """
    rows = true_objects(said.content)
    if rows is not None:
        mask = _painted(said, rows)
    else:
        judged = said.content.get("classes")
        if not judged:
            said.expect_right()
        found, ids = said.again()
        mask = ids[found.mask].astype(np.uint8)
        if not said.right and isinstance(judged, dict) and not all(judged.values()):
            right = [said.names.index(n) for n, ok in judged.items() if ok and n in said.names]
            if not right or not np.isin(mask, right).any():
                raise NotUsableError("it says which classes are wrong, and not what is right")
            mask = np.where(np.isin(mask, right), mask, VOID).astype(np.uint8)
    if bool((mask == VOID).all()):
        raise NotUsableError("its mask holds no pixel of a class")
    return said.keep(mask)


def _painted(said: Correction, rows: Sequence[Mapping[str, Any]]) -> NDArray[np.uint8]:
    """Paint what is there; what nothing covers is background, unless that is marked itself."""
    names = said.names
    background = next((k for k, n in enumerate(names) if n.lower() in BACKGROUND), None)
    if not rows and background is None:
        raise NotUsableError("its mask holds no pixel of a class")
    marked = any(names.index(o["label"]) == background for o in rows)
    mask = np.full(said.size_hw, VOID if background is None or marked else background, np.uint8)
    for one in sorted(rows, key=lambda o: names.index(o["label"]) != background):
        pixels = _pixels_of(one, said.source_hw, said.size_hw)
        if pixels is not None:
            mask[pixels] = names.index(one["label"])
    return mask


def _outline(mask: NDArray[np.bool_]) -> Outline:
    return Outline(rle={"size": list(mask.shape), "counts": encode_counts(mask)})


def _pixels_of(
    one: Mapping[str, Any], source_hw: tuple[int, int], size_hw: tuple[int, int]
) -> NDArray[np.bool_] | None:
    """Return the pixels of one object in the kept image, bool (H, W); None where it has none."""
    given = one.get("segmentation")
    if given is None:
        return None
    whole = decode_counts(parse_counts(given["counts"]), (given["size"][0], given["size"][1]))
    if whole.shape != tuple(size_hw):
        # The kept image is smaller than the one that was predicted: the pixel at each centre.
        rows = ((np.arange(size_hw[0]) + 0.5) * whole.shape[0] / size_hw[0]).astype(np.int64)
        columns = ((np.arange(size_hw[1]) + 0.5) * whole.shape[1] / size_hw[1]).astype(np.int64)
        whole = whole[np.ix_(rows, columns)]
    return whole if bool(whole.any()) else None
