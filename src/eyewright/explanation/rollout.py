"""Attention rollout: what a vision transformer's answer attended to, through all of its layers."""

__all__ = ["attention_rollout"]

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eyewright.core.errors import UsageError
from eyewright.explanation.attention_maps import rolled
from eyewright.nets.pixels import PixelNet


def attention_rollout(net: PixelNet, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the heat, float32 (h, w) in [0, 1], for one prepared image, uint8 (h, w, C) (Abnar & Zuidema 2020).

    Heads are averaged, the identity is added for the way around each layer, rows are made to sum to 1, and the
    layers' matrices are multiplied. The row of the class token over the patches is the map, or where there is none the
    mean over the rows. It says where the net
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
    through = rolled(np.stack([a[0].cpu().double().numpy() for a in found]))
    # SigLIP has no class token: its answer is read from all patches.
    row = through[0] if len(through) > rows * columns else through.mean(0)
    heat = torch.from_numpy(row[-rows * columns :].reshape(1, 1, rows, columns))
    large = nn.functional.interpolate(heat, pixels.shape[:2], mode="bilinear", align_corners=False)[0, 0].numpy()
    large = large - large.min()
    result: NDArray[np.float32] = (large / max(float(large.max()), 1e-12)).astype(np.float32)
    return result
