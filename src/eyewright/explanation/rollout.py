"""Attention rollout: what a vision transformer's answer attended to, through all of its layers."""

__all__ = ["attention_rollout"]

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eyewright.core.errors import UsageError
from eyewright.nets.pixels import PixelNet


def attention_rollout(net: PixelNet, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the heat, float32 (h, w) in [0, 1], for one prepared image, uint8 (h, w, C) (Abnar & Zuidema 2020).

    Heads are averaged, the identity is added for the way around each layer, rows are made to sum to 1, and the
    layers' matrices are multiplied. The row of the class token over the patches is the map. It says where the net
    looked, not for which class: the same map explains every answer.

    Raises:
        UsageError: the net has no attention over the whole image.
    """
    body: Any = net.body
    grid_hw: tuple[int, int] = getattr(body, "grid_hw", (0, 0))
    found: list[Tensor] = []
    if grid_hw != (0, 0):
        device = next(net.parameters()).device
        with torch.no_grad():
            found = body.attentions(net.scale(torch.from_numpy(np.array(pixels[None])).to(device)))
    rows, columns = grid_hw
    if not found or found[0].ndim != 4 or found[0].shape[-1] < rows * columns:
        raise UsageError(
            "attention rollout needs a vision transformer with attention over the whole image",
            fix="use --method gradcam or occlusion",
        )
    heat = _rolled([a.cpu().double()[0] for a in found])[-rows * columns :].view(1, 1, rows, columns)
    large = nn.functional.interpolate(heat, pixels.shape[:2], mode="bilinear", align_corners=False)[0, 0].numpy()
    large = large - large.min()
    result: NDArray[np.float32] = (large / max(float(large.max()), 1e-12)).astype(np.float32)
    return result


def _rolled(layers: list[Tensor]) -> Tensor:
    """Return how much of every token's first-layer value reaches the class token; layers are (heads, T, T).

    >>> half = torch.full((1, 2, 2), 0.5, dtype=torch.float64)
    >>> _rolled([half]).tolist()
    [0.75, 0.25]
    """
    eye = torch.eye(layers[0].shape[-1], dtype=torch.float64)
    rolled = eye
    for weights in layers:
        mixed = weights.mean(0) + eye
        rolled = (mixed / mixed.sum(-1, keepdim=True)) @ rolled
    return rolled[0]
