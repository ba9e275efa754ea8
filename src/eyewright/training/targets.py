"""What is learnt from, as a batch takes it: boxes padded to the most of a batch, and whose each pixel is."""

__all__ = ["BoxTargets", "ObjectTargets", "box_rows", "owner_map"]

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eyewright.core.rng import generator
from eyewright.data.targets.objects import Objects
from eyewright.imaging.preparation import Placement
from eyewright.training.objectives.detect import CROWD, PADDING

MOST_OBJECTS = 1000
"""Objects of one image that are learnt from; of more a random thousand, and the rest is ignored there."""


class BoxTargets:
    """Boxes of N images, each float32 (m, 5): x0, y0, x1, y1 in prepared pixels and the class id.

    >>> some = BoxTargets([np.zeros((0, 5), np.float32), np.ones((2, 5), np.float32)])
    >>> some[np.array([0, 1])][..., 4].tolist()
    [[-1.0, -1.0], [1.0, 1.0]]
    """

    def __init__(self, rows: Sequence[NDArray[np.float32]]) -> None:
        self._rows = list(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        chosen = [self._rows[int(i)] for i in rows]
        most = max([1, *(len(c) for c in chosen)])
        out = np.full((len(chosen), most, 5), PADDING, np.float32)
        for k, own in enumerate(chosen):
            out[k, : len(own)] = own
        return out


class ObjectTargets:
    """Boxes as `BoxTargets`, and for every pixel the number of the object it belongs to, uint16 (N, H, W) from 1."""

    def __init__(self, boxes: BoxTargets, owners: NDArray[np.uint16]) -> None:
        self._boxes, self._owners = boxes, owners

    def __len__(self) -> int:
        return len(self._boxes)

    def __getitem__(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        return self._boxes[rows], self._owners[rows].astype(np.int64)


def box_rows(objects: Objects, placement: Placement, *, seed: str = "") -> NDArray[np.float32]:
    """Return the rows of one image's objects, in source pixels, where its preparation puts them; crowds are `CROWD`."""
    scale = np.array(placement.scale_yx[::-1] * 2)
    offset = np.array(placement.offset_yx[::-1] * 2)
    boxes = objects.boxes_xyxy * scale + offset
    labels = np.where(objects.crowd, CROWD, objects.label_ids)
    rows = np.concatenate([boxes, labels[:, None]], 1).astype(np.float32)
    if len(rows) > MOST_OBJECTS:
        rest = generator(0, "crowded", seed).permutation(len(rows))[MOST_OBJECTS:]
        rows[rest, 4] = CROWD
    return rows


def owner_map(masks: Sequence[NDArray[np.bool_]], size_hw: tuple[int, int]) -> NDArray[np.uint16]:
    """Return whose each pixel is, uint16 (H, W) from 1; where masks overlap, the smaller is on top."""
    owners = np.zeros(size_hw, np.uint16)
    for k in sorted(range(len(masks)), key=lambda k: -int(masks[k].sum())):
        owners[masks[k]] = k + 1
    return owners
