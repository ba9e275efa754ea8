"""Classifiers that learn well from noisy gradients: a small net of bounded activations, and a linear layer on features.

Training with differential privacy adds noise to every weight's gradient, so few weights and features that are known
beforehand beat large nets (Tramèr and Boneh 2021, "Differentially private learning needs better features"). Nothing in
these nets is a statistic of a batch or of the training data.
"""

__all__ = ["DIRECTIONS", "FeatureNet", "Scattering", "private_net", "scatter_linear", "without_batch_norm"]

import math
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyewright.core.errors import UsageError
from eyewright.nets.activations import activation_of

_FIRST_SIGMA, _FIRST_FREQUENCY = 0.8, 3 * math.pi / 4
_REACH = 3.0
_MOST_CELLS, _SMALL, _LEAST_SIDE = 8, 48, 16
_TINY = 1e-6
DIRECTIONS = 64
"""The most directions of features that are scaled."""


class Scattering(nn.Module):
    """The scattering transform, (N, C, H, W) to (N, C · K, h, w): nothing in it is learnt (Bruna and Mallat 2013).

    Moduli of Morlet wavelets at `scales` octaves and `angles` directions, the moduli of their wavelets at the next
    octaves, all smoothed and reduced by 2 ** scales. K is 1 + L J + L² J (J - 1) / 2. The wavelets are small
    convolutions, which every runtime of bundles has; they reach 3 standard deviations.
    """

    def __init__(self, *, scales: int = 2, angles: int = 8) -> None:
        super().__init__()
        self.scales, self.angles = scales, angles
        for octave in range(scales):
            self.register_buffer(f"wavelets{octave}", _wavelets(octave, angles), persistent=False)
        for left in range(1, scales + 1):
            self.register_buffer(f"smooth{left}", _gaussian(_FIRST_SIGMA * 2 ** (left - 1)), persistent=False)

    @property
    def paths(self) -> int:
        """The number of features that a channel has in each place."""
        j, angles = self.scales, self.angles
        return 1 + angles * j + angles * angles * j * (j - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        n = len(x)
        # Each channel by itself, each map at the resolution that its octave needs.
        flat = x.reshape(-1, 1, *x.shape[2:])
        paths = [self._smoothed(flat, 0)]
        for first in range(self.scales):
            found = self._moduli(flat, first, 0)
            paths.append(self._smoothed(found, first))
            for second in range(first + 1, self.scales):
                again = self._moduli(found.reshape(-1, 1, *found.shape[2:]), second, first)
                again = again.reshape(len(flat), -1, *again.shape[2:])
                paths.append(self._smoothed(again, second))
        out = torch.cat(paths, 1)
        return out.reshape(n, -1, *out.shape[2:])

    def _moduli(self, x: Tensor, octave: int, reduced: int) -> Tensor:
        """Return |x * wavelets of an octave|, reduced by 2 ** octave in all, of maps (N, 1, h, w) that are reduced by
        2 ** reduced already."""
        kernel: Tensor = getattr(self, f"wavelets{octave - reduced}")
        by = kernel.shape[-1] // 2
        parts = functional.conv2d(_padded(x, by, by), kernel, stride=2 ** (octave - reduced))
        real, imaginary = parts.chunk(2, 1)
        return (real * real + imaginary * imaginary + _TINY * _TINY).sqrt()

    def _smoothed(self, x: Tensor, reduced: int) -> Tensor:
        """Return maps smoothed and reduced to 2 ** scales, of those that are reduced by 2 ** reduced already."""
        left = self.scales - reduced
        taps: Tensor = getattr(self, f"smooth{left}")
        by, step = len(taps) // 2, 2**left
        flat = x.reshape(-1, 1, *x.shape[2:])
        flat = functional.conv2d(_padded(flat, 0, by), taps.view(1, 1, 1, -1), stride=(1, step))
        flat = functional.conv2d(_padded(flat, by, 0), taps.view(1, 1, -1, 1), stride=(step, 1))
        return flat.reshape(*x.shape[:2], *flat.shape[2:])


def _padded(x: Tensor, rows: int, columns: int) -> Tensor:
    """Return maps with mirrored borders, repeated ones where a map is too small to be mirrored."""
    mode = "reflect" if rows < x.shape[2] and columns < x.shape[3] else "replicate"
    return functional.pad(x, (columns, columns, rows, rows), mode=mode)


def _gaussian(sigma: float) -> Tensor:
    reach = math.ceil(_REACH * sigma)
    at = torch.arange(-reach, reach + 1, dtype=torch.float64)
    taps = torch.exp(-at * at / (2 * sigma * sigma))
    return (taps / taps.sum()).float()


def _wavelets(octave: int, angles: int) -> Tensor:
    """Return Morlet wavelets of an octave, (2 L, 1, k, k): the real parts, then the imaginary ones.

    Frequency 3π/4, standard deviation 0.8 and slant 4 / L at the first octave, as Kymatio has them (Andreux et al.
    2020).
    """
    sigma, frequency, slant = _FIRST_SIGMA * 2**octave, _FIRST_FREQUENCY / 2**octave, 4 / angles
    reach = math.ceil(_REACH * sigma / min(1.0, slant) / math.sqrt(2))
    at = torch.arange(-reach, reach + 1, dtype=torch.float64)
    y, x = torch.meshgrid(at, at, indexing="ij")
    found = []
    for k in range(angles):
        turn = math.pi * k / angles
        along, across = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
        envelope = torch.exp(-(along * along + slant * slant * across * across) / (2 * sigma * sigma))
        wave = torch.polar(envelope, frequency * along)
        # Less the envelope in the amount that makes the mean 0: a flat image has no edges.
        wave = wave - envelope * (wave.sum() / envelope.sum())
        found.append(wave * (slant / (2 * math.pi * sigma * sigma)))
    filters = torch.stack(found)
    return torch.cat([filters.real, filters.imag])[:, None].float()


class FeatureNet(nn.Module):
    """A linear layer on features that are computed by fixed rules, so that they need to be computed once per image.

    `features` has no weights and gives (N, F) of length 1. `centre` is subtracted from them and the rest is brought to
    length 1 again: it is 0, or the mean of training images that was released with noise. Along the columns of `basis`,
    directions in which training images vary most, features are multiplied by 1 + `gains`, so that gradient descent
    moves along all directions at a like pace. `usual` holds what suits private training of this net where the user
    chooses nothing.
    """

    centre: Tensor
    basis: Tensor
    gains: Tensor
    usual = MappingProxyType(
        {"clip": 0.03, "lr": 2000.0, "epochs": 200, "whole": True, "schedule": "constant", "warmup": 0.0, "ema": 0.95}
    )

    def __init__(self, features: nn.Module, size: int, n_classes: int) -> None:
        super().__init__()
        self.features = features
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("basis", torch.zeros(size, DIRECTIONS))
        self.register_buffer("gains", torch.zeros(DIRECTIONS))
        self.head = nn.Linear(size, n_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def centred(self, features: Tensor) -> Tensor:
        """Return features (N, F) as the linear layer takes them."""
        unit = _unit(features - self.centre)
        return _unit(unit + ((unit @ self.basis) * self.gains) @ self.basis.T)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.centred(self.features(x)))
        return found


class _Features(nn.Module):
    """Scattering coefficients on a grid of at most 8 x 8, normalised over groups of three paths, of length 1."""

    def __init__(self, channels: int, size_hw: tuple[int, int]) -> None:
        super().__init__()
        self.scattering = Scattering(scales=2 if min(size_hw) <= _SMALL else 3)
        self.paths = channels * self.scattering.paths
        sides = [-(-s // 2**self.scattering.scales) for s in size_hw]
        self.pool = tuple(-(-s // _MOST_CELLS) for s in sides)
        cells = [-(-s // p) for s, p in zip(sides, self.pool, strict=True)]
        self.size = self.paths * cells[0] * cells[1]
        self.groups = self.paths // next(k for k in (3, 7, 1) if self.paths % k == 0)

    def forward(self, x: Tensor) -> Tensor:
        found = self.scattering(x)
        if max(self.pool) > 1:
            found = functional.avg_pool2d(found, self.pool, ceil_mode=True)
        return _unit(functional.group_norm(found, self.groups).flatten(1))


def scatter_linear(
    n_classes: int,
    *,
    channels: int = 3,
    size_hw: tuple[int, int] = (32, 32),
    dropout: float = 0.0,
    activation: str = "relu",
) -> nn.Module:
    """Build a linear classifier on scattering coefficients (Tramèr and Boneh 2021); `activation` is not used.

    >>> scatter_linear(10, channels=1, size_hw=(28, 28)).head.in_features
    3969
    """
    features = _Features(channels, size_hw)
    return FeatureNet(features, features.size, n_classes)


def private_net(
    n_classes: int,
    *,
    channels: int = 3,
    size_hw: tuple[int, int] = (32, 32),
    dropout: float = 0.0,
    activation: str = "tanh",
) -> nn.Module:
    """Build a small convolutional net of tempered sigmoids (Papernot et al. 2021): tanh, whose bounded outputs bound
    gradients too, and group normalisation.

    Raises:
        UsageError: the image is smaller than 16 pixels a side.
    """
    if min(size_hw) < _LEAST_SIDE:
        raise UsageError(f"private_net needs images of 16 pixels a side or more, found {size_hw}", fix="raise --imgsz")
    act = activation_of(activation)
    layers: list[nn.Module] = [
        nn.Conv2d(channels, 16, 8, stride=2, padding=3), nn.GroupNorm(4, 16), act(), nn.MaxPool2d(2, 1),
        nn.Conv2d(16, 32, 4, stride=2), nn.GroupNorm(4, 32), act(), nn.MaxPool2d(2, 1),
    ]  # fmt: skip
    sides = [((s - 2) // 2 + 1 - 1 - 4) // 2 for s in size_hw]
    pool = max(1, *(-(-s // 5) for s in sides))
    if pool > 1:
        layers.append(nn.AvgPool2d(pool, ceil_mode=True))
    cells = [-(-s // pool) for s in sides]
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(32 * cells[0] * cells[1], 32),
        act(),
        nn.Dropout(dropout),
        nn.Linear(32, n_classes),
    )


def without_batch_norm(net: nn.Module) -> int:
    """Replace batch normalisation, which mixes the images of a batch, by group normalisation (Wu and He 2018); return
    how many layers were replaced.

    >>> net = nn.Sequential(nn.Conv2d(3, 48, 3), nn.BatchNorm2d(48))
    >>> without_batch_norm(net), net[1].num_groups
    (1, 16)
    """
    replaced = 0
    for name, child in list(net.named_children()):
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            width = child.num_features
            groups = next(g for g in (16, 12, 8, 6, 4, 3, 2, 1) if width % g == 0)
            setattr(net, name, nn.GroupNorm(groups, width, eps=child.eps, affine=child.affine))
            replaced += 1
        else:
            replaced += without_batch_norm(child)
    return replaced


def _unit(x: Tensor) -> Tensor:
    return x / x.pow(2).sum(1, keepdim=True).clamp(min=_TINY * _TINY).sqrt()
