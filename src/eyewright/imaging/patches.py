"""The patches of an image as tokens: their names, and where they lie in the source image."""

__all__ = ["image_tokens", "patch_boxes", "whole_boxes"]

import numpy as np
from numpy.typing import NDArray

from eyewright.imaging.preparation import Placement


def image_tokens(n: int, grid_hw: tuple[int, int], model_type: str = "") -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """Return the names of an image's `n` tokens and which are no patches; the patches come last, row by row.

    Before them stand the class, DeiT's second token, DINOv2's registers.

    >>> image_tokens(5, (2, 2))
    (('[CLS]', '0,0', '0,1', '1,0', '1,1'), (True, False, False, False, False))
    """
    rows, columns = grid_hw
    before = n - rows * columns
    rest = ["[DIST]"] if before == 2 and model_type == "deit" else [f"[REG{k}]" for k in range(1, before)]
    first = ["[CLS]", *rest] if before else []
    names = (*first, *(f"{y},{x}" for y in range(rows) for x in range(columns)))
    return names, tuple(k < before for k in range(n))


def patch_boxes(grid_hw: tuple[int, int], size_hw: tuple[int, int], placement: Placement) -> NDArray[np.float64]:
    """Return where each patch of a prepared image lies in the source image, (patches, 4) x0, y0, x1, y1, inside it."""
    corners = whole_boxes(grid_hw, size_hw).reshape(-1, 2)
    height, width = placement.source_hw
    return np.clip(placement.to_source(corners).reshape(-1, 4), 0, [width, height, width, height])


def whole_boxes(grid_hw: tuple[int, int], size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """Return the boxes of a grid that fills an image, (patches, 4) x0, y0, x1, y1.

    >>> whole_boxes((1, 2), (10, 8)).tolist()
    [[0.0, 0.0, 4.0, 10.0], [4.0, 0.0, 8.0, 10.0]]
    """
    height, width = size_hw[0] / grid_hw[0], size_hw[1] / grid_hw[1]
    y, x = (a.ravel() for a in np.mgrid[: grid_hw[0], : grid_hw[1]])
    return np.stack([x * width, y * height, (x + 1) * width, (y + 1) * height], 1).astype(np.float64)
