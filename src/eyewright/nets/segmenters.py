"""Segmenter builders. Each is a function `(n_classes, *, channels, size_hw, dropout, activation) -> nn.Module`.

A module takes float32 (N, channels, H, W), normalised, and gives logits (N, n_classes, H, W).
"""

__all__ = ["OutlineNet", "outline_net"]

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyewright.nets.activations import activation_of
from eyewright.nets.blocks import Residual, Trunk, depthwise

_FOLD = 4


class _Overview(nn.Module):
    """What the whole image looks like, told to every place in it."""

    def __init__(self, width: int, *, act: type[nn.Module]) -> None:
        super().__init__()
        self.look = nn.Sequential(nn.Conv2d(width, width // 2, 1), act(), nn.Conv2d(width // 2, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.look(x.mean((2, 3), keepdim=True))
        return out


class OutlineNet(nn.Module):
    """An encoder and a decoder with a way across at every size (Ronneberger et al. 2015, "U-Net"), made light.

    No layer works at full resolution, and no detail is lost: at the door 4x4 pixels are folded into the channels of
    one place, next to a whitened stem that sees 8x8; at the end every place answers for its 4x4 pixels, each with
    classes of its own (Shi et al. 2016, sub-pixel convolution). Cracks a pixel wide are seen and drawn so.
    """

    def __init__(
        self,
        n_classes: int,
        *,
        channels: int,
        size_hw: tuple[int, int],
        widths: tuple[int, int, int],
        neck: int,
        depth: int,
        dropout: float,
        act: type[nn.Module],
    ) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.head_names = ("classes",)
        self.trunk = Trunk(channels=channels, size_hw=size_hw, widths=widths, depth=depth, act=act)
        first = self.trunk.stem.out_channels
        self.overview = _Overview(widths[-1], act=act)
        self.lateral = nn.ModuleList(nn.Conv2d(w, neck, 1, bias=False) for w in widths)
        self.fine = nn.Conv2d(first + channels * _FOLD * _FOLD, neck, 1, bias=False)
        self.join = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(neck), act(), depthwise(neck, neck, act=act, kernel=5)) for _ in widths
        )
        self.draw = Residual(neck, act=act)
        self.drop = nn.Dropout2d(dropout)
        self.classes = nn.Conv2d(neck, _FOLD * _FOLD * n_classes, 1)

    def fit_patches(self, images: Tensor) -> None:
        """Set the stem from training images, float32 (N, C, H, W), normalised."""
        self.trunk.fit_patches(images)

    def forward(self, x: Tensor) -> Tensor:
        seen, *below = self.trunk(x)
        below[-1] = self.overview(below[-1])
        ways = [self.fine(torch.cat([seen, functional.pixel_unshuffle(x, _FOLD)], 1))]
        ways += [lateral(one) for lateral, one in zip(self.lateral, below, strict=True)]
        out = ways.pop()
        for join in self.join:
            larger = functional.interpolate(out, scale_factor=2.0, mode="bilinear", align_corners=False)
            out = join(ways.pop() + larger)
        return functional.pixel_shuffle(self.classes(self.drop(self.draw(out))), _FOLD)


def outline_net(
    n_classes: int,
    *,
    channels: int = 3,
    size_hw: tuple[int, int] = (256, 256),
    dropout: float = 0.0,
    activation: str = "relu",
) -> nn.Module:
    """Build the default segmenter: about 1.2 M weights, full resolution in and out.

    >>> tuple(outline_net(4, size_hw=(32, 64))(torch.zeros(2, 3, 32, 64)).shape)
    (2, 4, 32, 64)
    """
    return OutlineNet(
        n_classes,
        channels=channels,
        size_hw=size_hw,
        widths=(96, 144, 192),
        neck=64,
        depth=1,
        dropout=dropout,
        act=activation_of(activation),
    )
