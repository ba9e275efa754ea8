"""Two towers in one space: images and texts as vectors of length 1 whose dot product says how well they fit.

A vector has two parts. The fixed part is kernel ridge regression from fixed features of colours and edges into the
space of the captions' tf-idf vectors, solved in closed form; its kernel is the mean of one for each kind of feature.
The learnt part comes from a net and a table of n-grams. A weight joins them, chosen on validation images, so that the
dot product is the weighted mean of both parts' cosines: with weight 0 the model is the ridge alone.
"""

__all__ = [
    "BUCKETS",
    "CENTRES",
    "FIXED",
    "LEARNT",
    "TEXTS",
    "PairBody",
    "PairOutputs",
    "nearness",
    "pair_net",
    "pair_ridge",
]

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyewright.core.errors import UsageError
from eyewright.core.ngrams import TextPreparation
from eyewright.nets.classifiers import photo_net, quick_net

FIXED, LEARNT = 256, 128
"""The lengths of the two parts of an embedding."""
CENTRES = 2048
"""The most training images that the ridge compares an image with."""
BUCKETS = 16_384
TEXTS = TextPreparation(buckets=BUCKETS)
"""How these nets take texts: as numbers of buckets."""

_ORIENTATIONS, _SHARPNESS = 9, 8
_SIDE, _CELL = 48, 8
_MIX_STEPS = 20
# How far around 0 the kernel is smooth, in typical distances.
_ROUND = 0.1
# exp(4.6) is 100, where CLIP clamps its own.
_LARGEST_SCALE, _FIRST_SCALE = 4.6, 2.66


def unit(x: Tensor) -> Tensor:
    """Return vectors at length 1; zeros stay zeros."""
    return x / x.pow(2).sum(1, keepdim=True).clamp(min=1e-12).sqrt()


def nearness(apart: Tensor, gamma: Tensor) -> Tensor:
    """Return the kernel of squared distances between features: 1 at 0, falling as a Laplacian.

    Its tail is heavier than a Gaussian's, so that more than the few nearest images count. Near 0 it is smooth: a root
    would make the rounding of a distance of 0, which each runtime has its own of, a thousand times as large.

    >>> [round(v, 3) for v in nearness(torch.tensor([0.0, 1.0]), torch.tensor(1.0)).tolist()]
    [1.0, 0.405]
    """
    return torch.exp(_ROUND - (gamma * apart + _ROUND**2).sqrt())


class FixedFeatures(nn.Module):
    """Colours and edges of an image in [0, 1], (N, C, S, S) to (N, F): nothing in it is learnt.

    Mean colours on a grid of 8 x 8, histograms of colours of the whole and of its quarters, and histograms of edge
    directions on grids of 4 x 4 and 8 x 8. Each block is standardised by what `fit` saw.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.channels = channels
        self.shrink = _shrink_of(side)
        bins = 64 if channels == 3 else 16
        self.blocks = (channels * 64, _ORIENTATIONS * 16, _ORIENTATIONS * 64, bins, bins * 4)
        self.register_buffer("centre", torch.zeros(sum(self.blocks)))
        self.register_buffer("scale", torch.ones(sum(self.blocks)))
        angles = torch.arange(_ORIENTATIONS) * (math.pi / _ORIENTATIONS)
        self.register_buffer("cos", angles.cos().view(1, -1, 1, 1))
        self.register_buffer("sin", angles.sin().view(1, -1, 1, 1))
        self.cos: Tensor
        self.sin: Tensor

    @property
    def size(self) -> int:
        """The number of features."""
        return sum(self.blocks)

    def describe(self, x: Tensor) -> Tensor:
        """Return the features as they are measured."""
        if self.shrink > 1:
            x = functional.avg_pool2d(x, self.shrink)
        side = x.shape[-1]
        grey = x.mean(1, keepdim=True)
        dx = functional.pad(grey[..., :, 2:] - grey[..., :, :-2], (1, 1, 0, 0))
        dy = functional.pad(grey[..., 2:, :] - grey[..., :-2, :], (0, 0, 1, 1))
        strength = (dx * dx + dy * dy + 1e-12).sqrt()
        # How far an edge lies along each direction; no arctangent, which not every runtime has.
        along = ((dx * self.cos + dy * self.sin).abs() / strength).pow(_SHARPNESS) * strength
        parts = [functional.avg_pool2d(x, side // 8).flatten(1)]
        for grid in (4, 8):
            cells = functional.avg_pool2d(along, side // grid)
            cells = cells / (cells.pow(2).sum(1, keepdim=True) + 1e-3).sqrt()
            parts.append(cells.sqrt().flatten(1))
        bins = self._bins(x)
        parts.append(bins.mean((2, 3)).clamp(min=0).sqrt())
        parts.append(functional.avg_pool2d(bins, side // 2).clamp(min=0).sqrt().flatten(1))
        return torch.cat(parts, 1)

    def _bins(self, x: Tensor) -> Tensor:
        """Return how much of each pixel is in each bin of colours, (N, bins, S, S)."""
        steps = 4 if self.channels == 3 else 16
        middles = torch.linspace(0, 1, steps, device=x.device).view(1, 1, -1, 1, 1)
        near = functional.relu(1 - (x[:, :, None] - middles).abs() * (steps - 1))
        if self.channels == 1:
            return near[:, 0]
        red, green, blue = near[:, 0], near[:, 1], near[:, 2]
        joint = red[:, :, None, None] * green[:, None, :, None] * blue[:, None, None]
        return joint.flatten(1, 3)

    def squares(self, a: Tensor, b: Tensor) -> list[Tensor]:
        """Return the squared distances of features (N, F) and (M, F) in each block, (N, M)."""
        parts = zip(a.split(self.blocks, 1), b.split(self.blocks, 1), strict=True)  # type: ignore[no-untyped-call]
        return [((x * x).sum(1, keepdim=True) + (y * y).sum(1) - 2 * x @ y.T).clamp(min=0) for x, y in parts]

    @torch.no_grad()
    def fit(self, described: Tensor) -> None:
        """Standardise by features of training images, (N, F): each block has the same weight."""
        self.centre.copy_(described.mean(0))
        start = 0
        for size in self.blocks:
            own = described[:, start : start + size]
            self.scale[start : start + size] = 1 / (max(float(own.std()), 1e-6) * math.sqrt(size))
            start += size

    def forward(self, x: Tensor) -> Tensor:
        return (self.describe(x) - self.centre) * self.scale


def _shrink_of(side: int) -> int:
    """Return by how much an image is reduced before it is described."""
    if side % _CELL or side < 16:
        raise UsageError(f"expected imgsz of 16 or more in steps of {_CELL}, found {side}", fix="change --imgsz")
    fits = [k for k in range(1, max(1, side // _SIDE) + 1) if side % k == 0 and (side // k) % _CELL == 0]
    return max(fits)


class PairOutputs(NamedTuple):
    """What the body gives: the parts of the images' vectors, and where texts or a second view came with them theirs.

    `scores` are the logits of every image (row) with every text (column), float32 (N, N). `body` and `pixels` are there
    so that texts and views can be embedded by the very weights that gave the outputs.
    """

    fixed: Tensor
    learnt: Tensor
    scores: Tensor | None
    views: Tensor | None
    body: Any
    pixels: Tensor


class PairBody(nn.Module):
    """Both towers; pixels come in [0, 1]. `learns` tells whether there is a learnt part."""

    takes_targets = True
    texts = TEXTS
    widths = (FIXED, LEARNT)
    centres: Tensor
    alpha: Tensor
    decay: Tensor
    table: Tensor
    squares: Tensor
    middle: Tensor
    mix: Tensor

    def __init__(self, *, channels: int, side: int, learns: bool, dropout: float) -> None:
        super().__init__()
        self.learns = self.sees_views = learns
        self.shares = tuple(k / _MIX_STEPS for k in range(_MIX_STEPS + 1)) if learns else (0.0,)
        self.features = FixedFeatures(channels, side)
        self.register_buffer("centres", torch.zeros(CENTRES, self.features.size))
        self.register_buffer("alpha", torch.zeros(CENTRES, FIXED))
        self.register_buffer("decay", torch.ones(len(self.features.blocks)))
        self.register_buffer("table", torch.zeros(BUCKETS, FIXED))
        self.register_buffer("squares", torch.zeros(BUCKETS))
        self.register_buffer("middle", torch.zeros(FIXED))
        self.register_buffer("mix", torch.zeros((), dtype=torch.int64))
        self.log_scale = nn.Parameter(torch.tensor(_FIRST_SCALE))
        self.bias = nn.Parameter(torch.tensor(0.0))
        self.head_names: tuple[str, ...] = ("tower.head", "straight", "bend") if learns else ()
        if learns:
            build = quick_net if side <= 64 else photo_net
            self.tower = build(LEARNT, channels=channels, size_hw=(side, side), dropout=dropout)
            self.straight = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.features.size, LEARNT, bias=False))
            self.grams = nn.Embedding(BUCKETS, LEARNT, padding_idx=0)
            nn.init.normal_(self.grams.weight, std=0.02)
            self.bend = nn.Sequential(nn.Linear(LEARNT, LEARNT), nn.GELU(), nn.Linear(LEARNT, LEARNT))

    @property
    def weight(self) -> Tensor:
        """The weight of the learnt part, in [0, 1]."""
        return self.mix.to(torch.float32) / _MIX_STEPS

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied by in the loss; clamped, since it would be learnt away otherwise."""
        return self.log_scale.clamp(0.0, _LARGEST_SCALE).exp()

    @torch.no_grad()
    def begin(self, loss: str, batch: int, *, fresh: bool, whole: bool) -> None:
        """Set the bias for a loss: pairs that are judged one by one begin with the odds of a right one in a batch."""
        # A softmax does not see it, and an optimiser would make rounding errors into steps.
        self.bias.requires_grad_(loss == "sigmoid")
        if fresh:
            self.bias.fill_(math.log(1 / (batch - 1)) if loss == "sigmoid" else 0.0)

    @torch.no_grad()
    def choose(self, place: int) -> None:
        """Set the weight of the learnt part to one of the `shares`."""
        self.mix.fill_(place)

    def settle(self, seen: Sequence[Tensor]) -> None:
        """Do nothing: the ridge knows its training images already."""

    def fit_patches(self, images: Tensor) -> None:
        """Set the stem of the net from training images in [0, 1]."""
        if self.learns:
            self.tower.fit_patches((images - 0.5) * 4)  # type: ignore[operator]

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return both parts of the images' vectors, and how near the nearest training image is, in [0, 1]."""
        z = self.features(x)
        apart = self.features.squares(z, self.centres)
        kernel = torch.stack([nearness(own, self.decay[k]) for k, own in enumerate(apart)]).mean(0)
        fixed = unit(kernel @ self.alpha)
        return fixed, self._learnt(x, z), kernel.amax(1, keepdim=True)

    def _learnt(self, x: Tensor, z: Tensor) -> Tensor:
        if not self.learns:
            # Zeros of a shape that an exporter cannot take for a constant.
            return z[:, :LEARNT] * 0
        return unit(self.tower((x - 0.5) * 4) + self.straight(z))

    def text_parts(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Return both parts of the texts' vectors, from bucket numbers (N, L)."""
        numbers = numbers.to(torch.int64)
        length = self.squares[numbers].sum(1, keepdim=True).clamp(min=1e-12).sqrt()
        fixed = unit(self.table[numbers].sum(1) / length - self.middle)
        if not self.learns:
            return fixed, fixed[:, :LEARNT] * 0
        bag = self.grams(numbers).sum(1)
        return fixed, unit(bag + self.bend(unit(bag)))

    def join(self, fixed: Tensor, learnt: Tensor) -> Tensor:
        """Return embeddings from their parts, (N, FIXED + LEARNT)."""
        weight = self.weight
        return unit(torch.cat([(1 - weight).sqrt() * fixed, weight.sqrt() * learnt], 1))

    def forward(self, x: Tensor, targets: Any = None) -> PairOutputs:
        """Return the parts; with `targets`, bucket numbers (N, L) or an empty tensor, also of texts, and of a second
        view where the pixels hold one below the other in their channels."""
        if targets is None:
            fixed, learnt, _ = self.parts(x)
            return PairOutputs(fixed, learnt, None, None, self, x)
        numbers, views = targets[0], None
        channels = self.features.channels
        if x.shape[1] > channels:
            both = torch.cat([x[:, :channels], x[:, channels:]])
            fixed, learnt, _ = self.parts(both)
            half = len(x)
            fixed, learnt, views = fixed[:half], learnt[:half], learnt[half:]
        else:
            fixed, learnt, _ = self.parts(x)
        images = learnt if self.learns else fixed
        texts = self.text_parts(numbers)[1 if self.learns else 0]
        return PairOutputs(fixed, images, self.scale * images @ texts.T + self.bias, views, self, x)

    def example_targets(self, n: int) -> tuple[Tensor]:
        """Return what a training batch of `n` images brings: bucket numbers of one text each, int32 (n, 8)."""
        return (torch.arange(1, 1 + 8 * n, dtype=torch.int32).reshape(n, 8),)


def _body(channels: int, size_hw: tuple[int, int], dropout: float, *, learns: bool) -> PairBody:
    if size_hw[0] != size_hw[1]:
        raise UsageError(f"expected square images, found {size_hw[1]}x{size_hw[0]}", fix="change --imgsz")
    return PairBody(channels=channels, side=size_hw[0], learns=learns, dropout=dropout)


def pair_ridge(
    n_classes: int, *, channels: int = 3, size_hw: tuple[int, int] = (48, 48), dropout: float = 0.0
) -> PairBody:
    """Build the floor: fixed features and kernel ridge regression, fitted in closed form in seconds."""
    return _body(channels, size_hw, dropout, learns=False)


def pair_net(
    n_classes: int, *, channels: int = 3, size_hw: tuple[int, int] = (48, 48), dropout: float = 0.0
) -> PairBody:
    """Build the ridge, and in addition a net for images and a table of n-grams for texts, which are learnt."""
    return _body(channels, size_hw, dropout, learns=True)


# Pixels stay in [0, 1], where colours have their meaning.
pair_ridge.scaling = {"mean": [0.0], "std": [1.0]}  # type: ignore[attr-defined]
pair_net.scaling = {"mean": [0.0], "std": [1.0]}  # type: ignore[attr-defined]
