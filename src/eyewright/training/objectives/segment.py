"""Learning to outline: what a class at every pixel costs, where most pixels are background."""

__all__ = ["IGNORE", "class_balance", "segmentation_objective"]

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from eyewright.training.recipe import Recipe, unknown_loss

IGNORE = 255
"""The class id of pixels that are ignored: ignore regions, and what lies outside the image."""

_MOST_WEIGHT = 8.0


def class_balance(pixels: Tensor) -> Tensor:
    """Return each class's weight, (C,), from how many pixels it has: the root of its rarity, at most 8 times the least.

    The root and not the rarity itself: a class of a thousandth of the pixels would otherwise be seen everywhere.
    """
    share = pixels.double() / pixels.sum().clamp(min=1)
    weight = 1 / share.clamp(min=1e-8).sqrt()
    weight = (weight / weight.min()).clamp(max=_MOST_WEIGHT)
    weight = torch.where(pixels > 0, weight, 1.0)
    # The mean weight of a pixel is 1, so that rates mean what they do elsewhere.
    return (weight / (weight * share).sum().clamp(min=1e-8)).float()


def segmentation_objective(recipe: Recipe, weights: Tensor | None = None) -> Callable[[Tensor, Tensor], Tensor]:
    """Return `loss(logits (N, C, H, W), masks uint8 (N, H, W)) -> scalar`; 255 in a mask is ignored.

    "dice_cross_entropy" adds to the weighted cross-entropy the soft Dice loss of every class in the batch but the
    background (Milletari et al. 2016, "V-Net"); "dice" is that alone; "focal" is Lin et al. 2017 with gamma 2;
    "boundary" is "dice_cross_entropy" in which pixels within 2 of an edge count three times.
    """

    name = recipe.loss or "dice_cross_entropy"

    def loss(logits: Tensor, masks: Tensor) -> Tensor:
        if name not in ("dice_cross_entropy", "cross_entropy", "dice", "focal", "boundary"):
            raise unknown_loss(name)
        known = masks != IGNORE
        wanted = torch.where(known, masks, 0).long()
        own = None if weights is None else weights.to(logits.device)
        total = known.sum().clamp(min=1)
        parts = []
        if name != "dice":
            if name == "focal":
                log_p = functional.log_softmax(logits, 1).gather(1, wanted[:, None])[:, 0]
                each = -((1 - log_p.exp()) ** 2) * log_p * (1.0 if own is None else own[wanted])
            else:
                each = functional.cross_entropy(logits, wanted, weight=own, reduction="none")
            if name == "boundary":
                each = each * (1 + 2 * _edges(wanted))
            parts.append((each * known).sum() / total)
        if name in ("dice", "dice_cross_entropy", "boundary"):
            parts.append(_dice_loss(logits, wanted, known))
        return torch.stack(parts).sum()

    return loss


def _dice_loss(logits: Tensor, wanted: Tensor, known: Tensor) -> Tensor:
    """Return the mean over the classes that the batch holds, the background (0) left out, of 1 - soft Dice."""
    p = logits.softmax(1) * known[:, None]
    hot = torch.zeros_like(p).scatter_(1, wanted[:, None], 1.0) * known[:, None]
    both, sizes = (p * hot).sum((0, 2, 3)), p.sum((0, 2, 3)) + hot.sum((0, 2, 3))
    present = hot.sum((0, 2, 3)) > 0
    present[0] = False
    if not present.any():
        return logits.new_zeros(())
    return (1 - (2 * both[present] + 1) / (sizes[present] + 1)).mean()


def _edges(masks: Tensor) -> Tensor:
    """Return 1 within 2 pixels of where the class changes, float32 (N, H, W)."""
    x = masks[:, None].float()
    high = functional.max_pool2d(x, 5, 1, 2)
    low = -functional.max_pool2d(-x, 5, 1, 2)
    return (high != low).float()[:, 0]
