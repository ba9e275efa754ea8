"""Restorer builders. Each is a function `(n_classes, *, channels, size_hw, scale, dropout, activation) -> nn.Module`.

A module takes float32 (N, channels + 1, H, W) in [0, 1], the last channel being the level of the noise, and gives what
has to be added to the image, enlarged by `scale`: float32 (N, channels, scale * H, scale * W).
"""

__all__ = ["FINE_REACH", "FineNet", "fine_net"]

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyewright.nets.activations import activation_of

_WIDTH, _DEPTH = 64, 12
_FOLD = 2

FINE_REACH = _FOLD * _DEPTH + _FOLD - 1
"""How far a pixel of the result may lie from the source pixels that it depends on."""


class FineNet(nn.Module):
    """Convolutions at half the resolution, whose sum is added to the image: FFDNet (Zhang, Zuo and Zhang 2018).

    2x2 pixels are folded into the channels, so that a layer costs a quarter and sees twice as far; a plane says how
    strong the noise is, so that one net does for all levels. Every second layer adds to what the last but one gave.
    Enlarging works at the resolution of the small image and unfolds at the end (Shi et al. 2016).
    """

    def __init__(self, *, channels: int, scale: int, width: int, depth: int, act: type[nn.Module]) -> None:
        super().__init__()
        self.head_names = ("draw",)
        self.channels = channels
        # What it takes: the image, and the level of its noise.
        self.n_given = channels + 1
        self.fold = _FOLD if scale == 1 else 1
        out = channels * (self.fold * scale) ** 2
        # The level is the same everywhere: folding it would only repeat it.
        self.enter = nn.Conv2d(channels * self.fold**2 + 1, width, 3, padding=1)
        inner = [nn.Conv2d(width, width, 3, padding=1) for _ in range(depth - 2)]
        self.layers = nn.ModuleList(inner)
        self.draw = nn.Conv2d(width, out, 3, padding=1)
        self.act = act()
        self.unfold = self.fold * scale
        # He et al. (2015): without it what the layers tell each other fades, and L1 stays where nothing is added.
        for k, layer in enumerate((self.enter, *inner)):
            # Every second inner layer adds to what there is.
            nn.init.kaiming_normal_(layer.weight, a=3.0 if k and k % 2 == 0 else 0.0)
        # Untrained, the net changes nothing; the last layer learns from the first update on. Random weights of 1e-3
        # made a picture with little noise 5 dB worse, which a short budget had to undo first.
        nn.init.zeros_(self.draw.weight)
        for layer in (self.enter, *inner, self.draw):
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        image, level = x[:, : self.channels], x[:, self.channels :]
        if self.fold > 1:
            image = functional.pixel_unshuffle(image, self.fold)
            level = level[:, :, :: self.fold, :: self.fold]
        seen = self.act(self.enter(torch.cat([image, level], 1)))
        for first, second in zip(self.layers[::2], self.layers[1::2], strict=True):
            seen = self.act(seen + second(self.act(first(seen))))
        return functional.pixel_shuffle(self.draw(seen), self.unfold)


def fine_net(
    n_classes: int,
    *,
    channels: int = 3,
    size_hw: tuple[int, int] = (256, 256),
    scale: int = 1,
    dropout: float = 0.0,
    activation: str = "relu",
) -> nn.Module:
    """Build the default restorer: about 0.4 M weights.

    >>> tuple(fine_net(1, channels=1, scale=2)(torch.zeros(2, 2, 8, 12)).shape)
    (2, 1, 16, 24)
    """
    return FineNet(channels=channels, scale=scale, width=_WIDTH, depth=_DEPTH, act=activation_of(activation))
