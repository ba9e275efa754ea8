"""The door from pixels into a net: uint8 NHWC in, scaling and normalisation inside, logits out."""

__all__ = ["PixelNet", "memory_format_of", "parameter_count"]

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class PixelNet(nn.Module):
    """A body with its input scaling: what is trained, exported and run is this whole.

    `forward` takes uint8 (N, H, W, C) and gives the body's output, say logits (N, classes). `mean` and `std` are per
    channel, for pixels in [0, 1]. With `centre` and `spread`, (K,), the body's output (N, K) is multiplied by the
    spread and moved by the centre, so that it is in the units of what is learnt. `has_learnt` tells whether it began
    with weights that were learnt before.

    >>> net = PixelNet(nn.Flatten(), mean=(0.5,), std=(0.5,))
    >>> net(torch.full((1, 1, 2, 1), 255, dtype=torch.uint8)).tolist()
    [[1.0, 1.0]]
    """

    mean: Tensor
    std: Tensor
    centre: Tensor
    spread: Tensor
    has_learnt = False

    def __init__(
        self,
        body: nn.Module,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        centre: Sequence[float] | None = None,
        spread: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.scaled = centre is not None
        if centre is not None:
            self.register_buffer("centre", torch.tensor(centre, dtype=torch.float32))
            self.register_buffer("spread", torch.tensor(spread or [1.0], dtype=torch.float32))
        self.body = body
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def scale(self, pixels: Tensor) -> Tensor:
        """Return float32 (N, C, H, W), normalised, from uint8 (N, H, W, C); the memory stays channels-last."""
        # In place and without a division a pixel: for small nets this is a share of the whole that can be felt.
        return pixels.permute(0, 3, 1, 2).to(torch.float32).sub_(255 * self.mean).mul_(1 / (255 * self.std))

    def of_unit(self, images: Tensor) -> Any:
        """Return the body's outputs for float32 (N, C, H, W) in [0, 1]: `forward`, with a gradient in the images.

        Of whole 8-bit values divided by 255 it returns what `forward` does, bit for bit.

        >>> pixels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1)
        >>> net = PixelNet(nn.Flatten(), mean=(0.4,), std=(0.2,))
        >>> torch.equal(net(pixels), net.of_unit(pixels.permute(0, 3, 1, 2) / 255))
        True
        """
        found = self.body((images * 255 - 255 * self.mean) * (1 / (255 * self.std)))
        return found * self.spread + self.centre if self.scaled else found

    def forward(self, pixels: Tensor, targets: Any = None) -> Any:
        """Return the body's outputs; a body with `takes_targets` gets the targets of a training batch."""
        if targets is not None and getattr(self.body, "takes_targets", False):
            return self.body(self.scale(pixels), targets)
        found = self.body(self.scale(pixels))
        return found * self.spread + self.centre if self.scaled else found


def parameter_count(net: nn.Module) -> int:
    """Count the weights that are learnt."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def memory_format_of(net: nn.Module) -> torch.memory_format:
    """Return the order of memory in which a net is fast: channels last, which convolutions over time do not have."""
    return torch.preserve_format if any(p.ndim == 5 for p in net.parameters()) else torch.channels_last
