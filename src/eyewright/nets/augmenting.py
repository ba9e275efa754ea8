"""Augmentation that a gradient passes: of real and generated images in front of a discriminator."""

__all__ = ["augment_images"]

import torch
from torch import Tensor

_SHIFT, _LIGHT, _CUT = 0.125, 0.5, 0.5


def augment_images(images: Tensor, strength: Tensor) -> Tensor:
    """Return images, float32 (N, C, H, W) in [-1, 1], moved, lit and cut at random, each with the probability
    `strength`, a number in [0, 1].

    Translation by up to an eighth of the side, brightness by up to a half and contrast by 0.5 to 1.5, and a square of
    half the side left out (Zhao et al. 2020, "DiffAugment"). None of them mirrors or turns, so a generator that sees
    them does not learn to draw mirrored images. Gradients pass from the result to the images.
    """
    if float(strength) <= 0:
        return images
    n, _, height, width = images.shape

    def chosen() -> Tensor:
        return torch.rand(n, device=images.device) < strength

    def uniform() -> Tensor:
        return torch.rand(n, device=images.device) * 2 - 1

    lit, moved, cut = chosen(), chosen(), chosen()
    mean = images.mean((1, 2, 3), keepdim=True)
    contrast = torch.where(lit, 1 + _LIGHT * uniform(), 1.0).view(-1, 1, 1, 1)
    light = torch.where(lit, _LIGHT * uniform(), 0.0).view(-1, 1, 1, 1)
    x = (images - mean) * contrast + mean + light
    down, right = (torch.where(moved, (uniform() * (_SHIFT * side)).round(), 0.0).long() for side in (height, width))
    rows = torch.arange(height, device=images.device)[None] + down[:, None]
    columns = torch.arange(width, device=images.device)[None] + right[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    every = torch.arange(n, device=images.device)[:, None, None]
    own = x.permute(0, 2, 3, 1)[every, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]]
    x = own.permute(0, 3, 1, 2)
    # What moves in from outside is the darkest value, as padding would be.
    x = torch.where(inside[:, None], x, -1.0)
    top, left = ((torch.rand(n, device=images.device) * (side + 1)).long() for side in (height, width))
    half_h, half_w = int(height * _CUT / 2), int(width * _CUT / 2)
    r, c = (torch.arange(side, device=images.device)[None] for side in (height, width))
    in_rows = (r - top[:, None]).abs() < half_h
    in_columns = (c - left[:, None]).abs() < half_w
    hidden = cut[:, None, None] & in_rows[:, :, None] & in_columns[:, None, :]
    return x.masked_fill(hidden[:, None], 0.0)
