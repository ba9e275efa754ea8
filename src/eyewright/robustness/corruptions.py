"""Accuracy under what happens to images without an attacker: corruptions at five levels, rotations and shifts."""

__all__ = ["LEVELS", "corrupted_accuracy", "spatial_worst"]

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from eyewright.core.rng import generator
from eyewright.imaging.steps.corrupt import CORRUPTIONS, corrupt
from eyewright.robustness.model import Victim, ask_in_parts, is_right

LEVELS = (1, 2, 3, 4, 5)
_TURNS_DEG = (-30.0, -15.0, 0.0, 15.0, 30.0)
_SHIFTS = (-0.1, 0.0, 0.1)


def corrupted_accuracy(
    victim: Victim,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    seed: int,
    deadline: float | None = None,
    advance: Callable[[int, str], None] = lambda n, text: None,
) -> dict[str, NDArray[np.bool_]]:
    """Return for each of ImageNet-C's fifteen corruptions which images are predicted right at each level, (5, N).

    Pixels are uint8 (N, H, W, C), corrupted as prepared for the model. With a `deadline` the last corruptions may be
    missing.
    """
    found: dict[str, NDArray[np.bool_]] = {}
    for kind in CORRUPTIONS:
        if deadline is not None and time.monotonic() >= deadline:
            break
        levels = []
        for level in LEVELS:
            changed = np.stack([_corrupted(p, kind, level, i, seed) for i, p in enumerate(pixels)])
            scores = ask_in_parts(victim.scores, changed.astype(np.float32) / np.float32(255))
            levels.append(is_right(scores, labels))
        found[kind] = np.stack(levels)
        advance(1, kind)
    return found


def _corrupted(image: NDArray[np.uint8], kind: str, level: int, i: int, seed: int) -> NDArray[np.uint8]:
    given = image[..., 0] if image.shape[-1] == 1 else image
    changed = np.asarray(corrupt(given, kind=kind, severity=level, rng=generator(seed, "corrupt", kind, level, i)))
    return changed.reshape(image.shape).astype(np.uint8)


def spatial_worst(victim: Victim, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of uint8 (N, H, W, C) are predicted right after every rotation and shift of a grid, (N,).

    The grid is five rotations of up to 30 degrees by nine shifts of up to a tenth of the side (Engstrom et al. 2019,
    "Exploring the landscape of spatial robustness"); what comes in from outside is black.
    """
    right = np.ones(len(pixels), np.bool_)
    images = pixels.astype(np.float32) / np.float32(255)
    for turn in _TURNS_DEG:
        for down in _SHIFTS:
            for across in _SHIFTS:
                left = np.flatnonzero(right)
                if not len(left):
                    return right
                moved = _moved(images[left], turn, down, across)
                grid = (np.rint(moved * 255) / 255).astype(np.float32)
                right[left] = is_right(ask_in_parts(victim.scores, grid), labels[left])
    return right


def _moved(images: NDArray[np.float32], turn_deg: float, down: float, across: float) -> NDArray[np.float32]:
    """Return images rotated about the middle and shifted by fractions of the sides, bilinearly resampled."""
    _, height, width, _ = images.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    y, x = rows - middle_y - down * height, columns - middle_x - across * width
    angle = np.deg2rad(turn_deg)
    from_y = np.cos(angle) * y - np.sin(angle) * x + middle_y
    from_x = np.sin(angle) * y + np.cos(angle) * x + middle_x
    top, left = np.floor(from_y).astype(int), np.floor(from_x).astype(int)
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    found = np.zeros_like(images, np.float64)
    for dy in (0, 1):
        for dx in (0, 1):
            weight = np.abs(1 - dy - (from_y - top)) * np.abs(1 - dx - (from_x - left))
            at_y, at_x = np.clip(top + dy + 1, 0, height + 1), np.clip(left + dx + 1, 0, width + 1)
            found += padded[:, at_y, at_x] * weight[None, ..., None]
    return np.clip(found, 0, 1).astype(np.float32)
