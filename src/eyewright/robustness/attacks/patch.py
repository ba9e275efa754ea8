"""A patch that changes the prediction wherever it is (Brown et al. 2017, "Adversarial patch"), by expectation over
places."""

__all__ = ["patched_right"]

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from eyewright.core.rng import generator
from eyewright.robustness.white import White, from_numpy

AREA = 0.05
"""The fraction of the image that the patch covers."""

_ROUNDS = 150
_BATCH = 64
_PLACES = 8


def patched_right(
    white: White, pixels: NDArray[np.uint8], labels: NDArray[np.int64], *, seed: int, area: float = AREA
) -> NDArray[np.bool_]:
    """Return which of uint8 (N, H, W, C) are predicted right with one and the same patch at each of eight places, (N,).

    The square patch is trained on these images, at random places, to raise the cross-entropy.
    """
    rng = generator(seed, "patch")
    images, wanted = from_numpy(pixels.astype(np.float32) / np.float32(255)), torch.from_numpy(labels)
    _, channels, height, width = images.shape
    side = max(1, min(height, width, round(float(np.sqrt(area * height * width)))))
    raw = torch.zeros(1, channels, side, side, requires_grad=True)
    optimiser = torch.optim.Adam([raw], lr=0.1)
    for _ in range(_ROUNDS):
        rows = rng.choice(len(images), min(_BATCH, len(images)), replace=False)
        top, left = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
        logits = white.logits(_put(images[rows], raw.sigmoid(), top, left))
        loss = -functional.cross_entropy(logits.double(), wanted[rows])
        if not loss.requires_grad:
            break
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    # What is printed has whole 8-bit values.
    patch = (raw.detach().sigmoid() * 255).round() / 255
    right = np.ones(len(images), np.bool_)
    for _ in range(_PLACES):
        top, left = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
        with torch.no_grad():
            parts = [
                white.logits(_put(images[i : i + 512], patch, top, left)).argmax(1) for i in range(0, len(images), 512)
            ]
        right &= (torch.cat(parts) == wanted).numpy()
    return right


def _put(images: Tensor, patch: Tensor, top: int, left: int) -> Tensor:
    side = patch.shape[-1]
    height, width = images.shape[2:]
    padded = functional.pad(patch, (left, width - side - left, top, height - side - top))
    mask = functional.pad(torch.ones_like(patch), (left, width - side - left, top, height - side - top))
    return images * (1 - mask) + padded
