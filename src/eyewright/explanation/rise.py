"""RISE: which random masks keep the score high (Petsiuk et al. 2018). Needs no gradients, so no torch."""

__all__ = ["rise"]

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyewright.core.predictor import Predictor
from eyewright.core.rng import generator
from eyewright.core.task import Explained

_KEPT = 0.5
_CHUNK = 64


def rise(
    predictor: Predictor,
    pixels: NDArray[np.uint8],
    targets: Sequence[Explained],
    *,
    seed: int = 0,
    n_masks: int = 1000,
) -> list[NDArray[np.float32]]:
    """Return the heat, float32 (h, w) in [0, 1], of each target for one prepared image, uint8 (h, w, C).

    The targets of an image share its masks: what is run for one is run for all. `n_masks` soft masks of as
    many cells a side as the targets want, each cell kept with a chance of 0.5, moved by a random part of a cell, dim
    what they cover to the mean colour. A pixel's heat is the mean score over the masks that showed it, less the mean
    over all, so that what makes no difference is 0; what lowers the score is cut off.
    """
    rng = generator(seed, "rise")
    cells = max((t.cells for t in targets), default=1)
    height, width, _ = pixels.shape
    cell_h, cell_w = -(-height // cells), -(-width // cells)
    large = ((cells + 1) * cell_w, (cells + 1) * cell_h)
    mean = pixels.mean((0, 1))
    whole = pixels.astype(np.float32)
    shown, scores = np.zeros((height, width)), np.zeros(len(targets))
    scored = np.zeros((len(targets), height, width))
    for start in range(0, n_masks, _CHUNK):
        masks = np.empty((min(_CHUNK, n_masks - start), height, width), np.float32)
        for mask in masks:
            small = Image.fromarray((rng.random((cells + 1, cells + 1)) < _KEPT).astype(np.float32))
            top, left = rng.integers(cell_h), rng.integers(cell_w)
            soft = np.asarray(small.resize(large, Image.Resampling.BILINEAR))
            mask[:] = soft[top : top + height, left : left + width]
        images = np.rint(masks[..., None] * whole + (1 - masks[..., None]) * mean).astype(np.uint8)
        raw = predictor.raw(images)
        shown += masks.sum(0)
        for k, target in enumerate(targets):
            found = target(raw)
            scored[k] += np.tensordot(found, masks, 1)
            scores[k] += float(found.sum())
    heats = np.maximum(scored / np.maximum(shown, 1e-9) - (scores / n_masks)[:, None, None], 0)
    return [(heat / max(float(heat.max()), 1e-12)).astype(np.float32) for heat in heats]
