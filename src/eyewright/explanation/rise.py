"""RISE: which random windows let the score live (Petsiuk et al. 2018). Needs no gradients, so no torch."""

__all__ = ["rise"]

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.predictor import Predictor
from eyewright.core.rng import generator

_CELLS = 8
_KEPT = 0.5
_CHUNK = 64


def rise(
    predictor: Predictor, pixels: NDArray[np.uint8], target: int, *, seed: int = 0, n_masks: int = 1000
) -> NDArray[np.float32]:
    """Give the heat, float32 (h, w) in [0, 1], for one prepared image, uint8 (h, w, C).

    `n_masks` soft masks of 8x8 cells, each cell kept with a chance of 0.5, moved by a random part of a cell, dim
    what they cover to the mean colour. A pixel's heat is the mean score over the masks that showed it, less the mean
    over all, so that what makes no difference is 0; what lowers the score is cut off.
    """
    rng = generator(seed, "rise")
    height, width, _ = pixels.shape
    cell_h, cell_w = -(-height // _CELLS), -(-width // _CELLS)
    large = ((_CELLS + 1) * cell_w, (_CELLS + 1) * cell_h)
    mean = pixels.mean((0, 1))
    whole = pixels.astype(np.float32)
    shown, scored, scores = np.zeros((height, width)), np.zeros((height, width)), 0.0
    for start in range(0, n_masks, _CHUNK):
        masks = np.empty((min(_CHUNK, n_masks - start), height, width), np.float32)
        for mask in masks:
            cells = Image.fromarray((rng.random((_CELLS + 1, _CELLS + 1)) < _KEPT).astype(np.float32))
            top, left = rng.integers(cell_h), rng.integers(cell_w)
            soft = np.asarray(cells.resize(large, Image.Resampling.BILINEAR))
            mask[:] = soft[top : top + height, left : left + width]
        images = np.rint(masks[..., None] * whole + (1 - masks[..., None]) * mean).astype(np.uint8)
        found = predictor.raw(images)["probabilities"][:, target].astype(np.float64)
        shown += masks.sum(0)
        scored += np.tensordot(found, masks, 1)
        scores += float(found.sum())
    heat = np.maximum(scored / np.maximum(shown, 1e-9) - scores / n_masks, 0)
    result: NDArray[np.float32] = (heat / max(float(heat.max()), 1e-12)).astype(np.float32)
    return result
