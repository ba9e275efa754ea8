"""Occlusion: cover a patch and see how much the score falls (Zeiler & Fergus 2014). Needs no gradients, so no torch."""

__all__ = ["OCCLUSION_CELLS", "occlusion"]

import numpy as np
from numpy.typing import NDArray

from eyewright.core.predictor import Predictor
from eyewright.core.task import Explained

OCCLUSION_CELLS = 8
_CHUNK = 64


def occlusion(predictor: Predictor, pixels: NDArray[np.uint8], target: Explained) -> NDArray[np.float32]:
    """Return the heat, float32 (h, w) in [0, 1], for one prepared image, uint8 (h, w, C).

    A window of a quarter of the side slides over a 16x16 grid of positions; a pixel's heat is the mean fall of the
    target's score over the windows that covered it. Where covering raises the score, the heat is 0.

    Of a clip, moments are covered in place of patches: an eighth of its frames give way to the clip's mean picture, in
    which nothing moves, and all pixels of a frame have one heat.
    """
    height, width, channels = pixels.shape
    clip = getattr(predictor.preparation, "clip", None)
    if clip is None:
        win_h, win_w = max(1, height // 4), max(1, width // 4)
        tops = np.unique(np.linspace(0, height - win_h, 2 * OCCLUSION_CELLS).astype(int))
        lefts = np.unique(np.linspace(0, width - win_w, 2 * OCCLUSION_CELLS).astype(int))
        fill = np.broadcast_to(np.rint(pixels.mean((0, 1))).astype(np.uint8), pixels.shape)
    else:
        a_frame = height // clip.frames
        win_h, win_w = a_frame * max(1, clip.frames // OCCLUSION_CELLS), width
        tops, lefts = np.arange(0, height - win_h + 1, a_frame), np.zeros(1, int)
        mean = pixels.reshape(clip.frames, a_frame, width, channels).mean(0)
        fill = np.tile(np.rint(mean).astype(np.uint8), (clip.frames, 1, 1))
    places = [(int(top), int(left)) for top in tops for left in lefts]
    covered = np.repeat(pixels[None], len(places), axis=0)
    for k, (top, left) in enumerate(places):
        window = (slice(top, top + win_h), slice(left, left + win_w))
        covered[k][window] = fill[window]
    whole = float(target(predictor.raw(pixels[None]))[0])
    parts = [target(predictor.raw(covered[i : i + _CHUNK])) for i in range(0, len(covered), _CHUNK)]
    falls = whole - np.concatenate(parts)
    total = np.zeros((height, width), np.float64)
    count = np.zeros((height, width), np.float64)
    for fall, (top, left) in zip(falls, places, strict=True):
        total[top : top + win_h, left : left + win_w] += fall
        count[top : top + win_h, left : left + win_w] += 1
    heat = np.maximum(total / np.maximum(count, 1), 0)
    result: NDArray[np.float32] = (heat / max(float(heat.max()), 1e-12)).astype(np.float32)
    return result
