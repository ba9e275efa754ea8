"""A net as an attacker with its weights sees it: images in [0, 1] in, logits out, gradients back."""

__all__ = ["White", "class_loss", "from_numpy", "grad_of", "to_numpy"]

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from eyewright.nets.pixels import PixelNet

_AT_ONCE = 512
Loss = Callable[[Tensor], Tensor]
"""Logits (N, C) to one loss per image, (N,)."""


class White:
    """A net for gradient attacks. Normalisation is inside the net, so images are pixels in [0, 1].

    The net is put into evaluation mode: dropout and the statistics of a batch would make the attack weaker than it is.
    `passes` above 1 averages the logits of a net that answers at random (expectation over transformation, Athalye et
    al. 2018).
    """

    on_grid = False

    def __init__(self, net: PixelNet, *, passes: int = 1) -> None:
        self.net, self.passes = net.eval(), passes
        self.queries = 0

    def logits(self, images: Tensor) -> Tensor:
        """Return logits (N, C) for float32 (N, C, H, W) in [0, 1]."""
        self.queries += len(images)
        found: Tensor = self.net.of_unit(images)
        for _ in range(self.passes - 1):
            found = found + self.net.of_unit(images)
        return found / self.passes if self.passes > 1 else found

    def scores(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return logits (N, C) for float32 (N, H, W, C) in [0, 1]."""
        with torch.no_grad():
            parts = [
                self.logits(from_numpy(images[i : i + _AT_ONCE])).double().cpu().numpy()
                for i in range(0, len(images), _AT_ONCE)
            ]
        return np.concatenate(parts) if parts else np.zeros((0, 1))


def from_numpy(images: NDArray[np.float32]) -> Tensor:
    """Return float32 (N, H, W, C) as (N, C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)


def to_numpy(images: Tensor) -> NDArray[np.float32]:
    """Return float32 (N, C, H, W) as (N, H, W, C)."""
    found: NDArray[np.float32] = np.ascontiguousarray(images.detach().permute(0, 2, 3, 1).cpu().numpy())
    return found


def grad_of(white: White, images: Tensor, loss: Loss) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient of each image's loss, the losses (N,) and the logits (N, C), without a graph.

    Where no gradient comes back at all it is 0.
    """
    images = images.detach().requires_grad_(True)
    with torch.enable_grad():
        logits = white.logits(images)
        each = loss(logits)
        total = each.sum()
        if total.requires_grad:
            (gradient,) = torch.autograd.grad(total, images, allow_unused=True)
        else:
            gradient = None
    if gradient is None:
        gradient = torch.zeros_like(images)
    return torch.nan_to_num(gradient), each.detach(), logits.detach()


def class_loss(labels: Tensor) -> Loss:
    """Return cross-entropy per image.

    It is computed in float64: in float32 the loss of an image with a margin above 16 is exactly 0, and its gradient
    too, which hides the way from every attack that follows it.
    """
    return lambda logits: functional.cross_entropy(logits.double(), labels, reduction="none")
