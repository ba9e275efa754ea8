"""Detector builders. Each is a function `(n_classes, *, channels, size_hw, dropout, activation) -> nn.Module`.

A module takes float32 (N, channels, H, W), normalised, and gives a `Detections` of what it sees at every grid point.
"""

__all__ = ["STRIDES", "Detections", "SpotNet", "grid_points", "spot_mask_net", "spot_net"]

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyewright.nets.activations import activation_of
from eyewright.nets.blocks import ConvNorm, Trunk, depthwise

STRIDES = (8, 16, 32)
"""Pixels between the grid points of the three maps that objects are found on."""

# A side of a box is found as a mean over this many bins, each a stride wide, so it reaches 15 strides far.
_BINS = 16
_RARE = 0.01


class Detections(NamedTuple):
    """What a detector says at its A grid points, before anything is chosen.

    `logits` (N, A, C) of each class; `sides` (N, A, 4, bins): log weights of the distance to the left, top, right and
    bottom edge in strides (Li et al. 2020, "Generalized focal loss"). With masks, `coefficients` (N, A, K) weigh the
    `prototypes` (N, K, H/4, W/4), whose sum is an object's mask in logits (Bolya et al. 2019, "YOLACT"); else both are
    empty.
    """

    logits: Tensor
    sides: Tensor
    coefficients: Tensor
    prototypes: Tensor


def grid_points(size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the grid points x, y in pixels, float32 (A, 2), and the stride of each, float32 (A,).

    >>> points, strides = grid_points((64, 32))
    >>> len(points), points[0].tolist(), strides[-1].item()
    (42, [4.0, 4.0], 32.0)
    """
    points, strides = [], []
    for stride in STRIDES:
        rows, columns = (torch.arange(side // stride, dtype=torch.float32) + 0.5 for side in size_hw)
        y, x = torch.meshgrid(rows * stride, columns * stride, indexing="ij")
        points.append(torch.stack([x.flatten(), y.flatten()], 1))
        strides.append(torch.full((len(rows) * len(columns),), float(stride)))
    return torch.cat(points), torch.cat(strides)


class SpotNet(nn.Module):
    """A one-stage, anchor-free detector: whitened stem, three maps, features passed down and up, one head for all.

    The way down and up is that of Liu et al. 2018, "Path aggregation network"; the head that of Tian et al. 2019,
    "FCOS", with the distribution of Li et al. 2020. `n_prototypes` adds masks.
    """

    points: Tensor
    strides: Tensor

    def __init__(
        self,
        n_classes: int,
        *,
        channels: int,
        size_hw: tuple[int, int],
        widths: tuple[int, int, int],
        neck: int,
        depth: int,
        n_prototypes: int,
        dropout: float,
        act: type[nn.Module],
    ) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.head_names = ("classes", "sides", "coefficients", "paint.1")
        points, strides = grid_points(size_hw)
        self.register_buffer("points", points, persistent=False)
        self.register_buffer("strides", strides, persistent=False)
        self.trunk = Trunk(channels=channels, size_hw=size_hw, widths=widths, depth=depth, act=act)
        self.lateral = nn.ModuleList(nn.Conv2d(w, neck, 1) for w in widths)
        self.down = nn.ModuleList(ConvNorm(neck, neck, act=act) for _ in widths[1:])
        self.up = nn.ModuleList(ConvNorm(neck, neck, act=act, stride=2) for _ in widths[1:])
        self.drop = nn.Dropout2d(dropout)
        self.class_tower, self.side_tower = (depthwise(neck, neck, act=act) for _ in range(2))
        self.classes = nn.Conv2d(neck, n_classes, 1)
        self.sides = nn.Conv2d(neck, 4 * _BINS, 1)
        # At first nearly every point sees nothing: starting there keeps the first steps from going to unlearn the rest.
        nn.init.constant_(self.classes.bias, -math.log((1 - _RARE) / _RARE))  # type: ignore[arg-type]
        self.n_prototypes = n_prototypes
        if n_prototypes:
            self.mask_tower = depthwise(neck, neck, act=act)
            self.coefficients = nn.Conv2d(neck, n_prototypes, 1)
            self.fine = nn.Conv2d(self.trunk.stem.out_channels, neck, 1)
            self.paint = nn.Sequential(ConvNorm(neck, neck, act=act), nn.Conv2d(neck, n_prototypes, 1))

    def fit_patches(self, images: Tensor) -> None:
        """Set the stem from training images, float32 (N, C, H, W), normalised."""
        self.trunk.fit_patches(images)

    def forward(self, x: Tensor) -> Detections:
        seen, *below = self.trunk(x)
        maps = [lateral(one) for lateral, one in zip(self.lateral, below, strict=True)]
        for i in (1, 0):
            larger = functional.interpolate(maps[i + 1], scale_factor=2.0, mode="nearest")
            maps[i] = self.down[i](maps[i] + larger)
        for i in (0, 1):
            maps[i + 1] = maps[i + 1] + self.up[i](maps[i])
        logits, sides, coefficients = [], [], []
        for one in maps:
            logits.append(self.classes(self.drop(self.class_tower(one))).flatten(2))
            sides.append(self.sides(self.drop(self.side_tower(one))).flatten(2))
            if self.n_prototypes:
                coefficients.append(torch.tanh(self.coefficients(self.mask_tower(one))).flatten(2))
        n = x.shape[0]
        side = torch.cat(sides, 2).transpose(1, 2).reshape(n, -1, 4, _BINS)
        if not self.n_prototypes:
            none = x.new_zeros(n, 0, 0)
            return Detections(torch.cat(logits, 2).transpose(1, 2), side, none, none)
        fine = self.fine(seen) + functional.interpolate(maps[0], scale_factor=2.0, mode="nearest")
        return Detections(
            torch.cat(logits, 2).transpose(1, 2), side, torch.cat(coefficients, 2).transpose(1, 2), self.paint(fine)
        )


def spot_net(
    n_classes: int,
    *,
    channels: int = 3,
    size_hw: tuple[int, int] = (320, 320),
    dropout: float = 0.0,
    activation: str = "relu",
) -> nn.Module:
    """Build the default detector: about 1.3 M weights, made to learn from few images on a CPU.

    >>> found = spot_net(3, size_hw=(64, 96)).eval()(torch.zeros(2, 3, 64, 96))
    >>> tuple(found.logits.shape), tuple(found.sides.shape)
    ((2, 126, 3), (2, 126, 4, 16))
    """
    return _spot(n_classes, channels, size_hw, dropout, activation, n_prototypes=0)


def spot_mask_net(
    n_classes: int,
    *,
    channels: int = 3,
    size_hw: tuple[int, int] = (320, 320),
    dropout: float = 0.0,
    activation: str = "relu",
) -> nn.Module:
    """Build `spot_net` with a mask for every object: the default for instance segmentation."""
    return _spot(n_classes, channels, size_hw, dropout, activation, n_prototypes=16)


def _spot(
    n_classes: int, channels: int, size_hw: tuple[int, int], dropout: float, activation: str, *, n_prototypes: int
) -> nn.Module:
    return SpotNet(
        n_classes,
        channels=channels,
        size_hw=size_hw,
        widths=(96, 144, 192),
        neck=80,
        depth=1,
        n_prototypes=n_prototypes,
        dropout=dropout,
        act=activation_of(activation),
    )
