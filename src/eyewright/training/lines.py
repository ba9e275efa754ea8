"""Augmentation of lines of text, and batches of lines of similar length."""

__all__ = ["LineAugmentation", "TextTargets", "by_length", "plan_lines"]

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

_WINDOW = 24
_PAD = -1


class TextTargets:
    """Texts of N lines, each ids from 1 (0 is the blank); `lengths` says how wide each line is, in steps.

    >>> some = TextTargets([[3, 1], [2]], np.array([9, 4]))
    >>> some[np.array([0, 1])].tolist()
    [[3, 1], [2, -1]]
    """

    def __init__(self, rows: Sequence[Sequence[int]], lengths: NDArray[np.int64]) -> None:
        self._rows = [np.asarray(r, np.int64) for r in rows]
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        chosen = [self._rows[int(i)] for i in rows]
        out = np.full((len(chosen), max([1, *(len(c) for c in chosen)])), _PAD, np.int64)
        for k, own in enumerate(chosen):
            out[k, : len(own)] = own
        return out


def by_length(
    order: NDArray[np.int64], lengths: NDArray[np.int64], size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return an order of images in which those of a batch of `size` are of about one length.

    Windows of 24 batches are sorted, and the batches shuffled: what is learnt from is still drawn at random.

    >>> order = by_length(np.arange(4), np.array([9, 1, 8, 2]), 2, np.random.default_rng(0))
    >>> sorted(map(sorted, order.reshape(2, 2).tolist()))
    [[0, 2], [1, 3]]
    """
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(order), size * _WINDOW):
        window = order[start : start + size * _WINDOW]
        window = window[np.argsort(lengths[window], kind="stable")]
        batches += [window[i : i + size] for i in range(0, len(window), size)]
    whole = [b for b in batches if len(b) == size]
    rest = [b for b in batches if len(b) < size]
    shuffled = [whole[i] for i in rng.permutation(len(whole))]
    return np.concatenate([*shuffled, *rest]) if batches else order


@dataclass(frozen=True)
class LineAugmentation:
    """What may be done to a line; every draw is uniform.

    `shift` moves up or down by up to that fraction of the height, `narrow` makes lines narrower by up to that fraction,
    `zoom` changes the height by up to that fraction, `slant` leans by up to that many pixels a pixel of height,
    `rotate_deg` turns. `light` changes contrast and brightness, `noise` is the most standard deviation of added noise,
    `blur` and `spread` are the chance of a blur, and of thicker or thinner ink.
    """

    shift: float = 0.0
    narrow: float = 0.0
    zoom: float = 0.0
    slant: float = 0.0
    rotate_deg: float = 0.0
    light: float = 0.0
    noise: float = 0.0
    blur: float = 0.0
    spread: float = 0.0

    def describe(self) -> str:
        """Say it in a few words, for the console and the report."""
        parts = [
            self.shift and f"shift {self.shift:.0%}",
            self.zoom and f"zoom {self.zoom:.0%}",
            self.slant and f"slant {self.slant:g}",
            self.rotate_deg and f"turn {self.rotate_deg:g}°",
            self.light and f"light {self.light:.0%}",
            self.noise and f"noise {self.noise:g}",
            (self.blur or self.spread) and "blur and ink spread",
        ]
        return ", ".join(p for p in parts if p) or "none"

    def apply(self, pixels: Tensor, targets: Any, *, rng: torch.Generator, progress: float = 0.0) -> tuple[Tensor, Any]:
        """Return an augmented batch, uint8 (N, H, W, C), with its texts, which stay.

        Where a line ends stays too: its pixels are 1 or more, and all beyond it 0.
        """
        if self == LineAugmentation():
            return pixels, targets
        held = (pixels.amax((1, 3)) > 0).to(torch.float32)
        longest = max(4, int(held.sum(1).max()))
        x = pixels[:, :, :longest].permute(0, 3, 1, 2).to(torch.float32)
        inside = held[:, None, None, :longest]
        x = self._moved(x, inside, rng)
        x = self._worn(x, rng)
        x = x.round_().clamp_(1, 255) * inside
        out = torch.zeros_like(pixels)
        out[:, :, :longest] = x.to(torch.uint8).permute(0, 2, 3, 1)
        return out, targets

    def _moved(self, x: Tensor, inside: Tensor, rng: torch.Generator) -> Tensor:
        n, _, height, width = x.shape

        def draw(most: float) -> Tensor:
            return (torch.rand(n, generator=rng) * 2 - 1) * most

        length = inside.sum((1, 2, 3)).cpu().clamp(min=4)
        tall = 1 + draw(self.zoom)
        wide = 1 + torch.rand(n, generator=rng) * self.narrow
        tilt = torch.tan(draw(math.radians(self.rotate_deg)))
        lean, up = draw(self.slant), draw(self.shift) * height
        left = torch.rand(n, generator=rng) * (wide - 1) * length
        # Source pixel of each output pixel: lines are turned and leaned about their own middle.
        y = torch.arange(height, dtype=torch.float32)[None, :, None] - (height - 1) / 2
        col = torch.arange(width, dtype=torch.float32)[None, None]
        middle = length[:, None, None] / 2
        from_x = (col * wide[:, None, None] - left[:, None, None]) + lean[:, None, None] * y
        slope = (tilt[:, None, None] * (col - middle)).clamp(-0.12 * height, 0.12 * height)
        from_y = y * tall[:, None, None] + up[:, None, None] + slope
        # Beyond the end of a line the paper is as it is there.
        from_x = torch.minimum(from_x.clamp(min=0), (length - 1)[:, None, None])
        grid = torch.stack(
            [
                (from_x.expand(n, height, width) + 0.5) / width * 2 - 1,
                (from_y.expand(n, height, width) + height / 2) / height * 2 - 1,
            ],
            3,
        ).to(x.device)
        return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)

    def _worn(self, x: Tensor, rng: torch.Generator) -> Tensor:
        n = len(x)

        def some(chance: float) -> Tensor:
            return (torch.rand(n, 1, 1, 1, generator=rng) < chance).to(x.device)

        def amount(low: float, high: float) -> Tensor:
            return (low + torch.rand(n, 1, 1, 1, generator=rng) * (high - low)).to(x.device)

        if self.spread:
            bold = -functional.max_pool2d(-x, 3, 1, 1)
            thin = functional.max_pool2d(x, (1, 2), 1, (0, 1))[..., : x.shape[3]]
            x = torch.where(some(self.spread / 2), torch.lerp(x, bold, amount(0.2, 0.8)), x)
            x = torch.where(some(self.spread / 2), torch.lerp(x, thin, amount(0.2, 0.8)), x)
        if self.blur:
            soft = functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
            x = torch.where(some(self.blur), torch.lerp(x, soft, amount(0.3, 1.0)), x)
        if self.light:
            contrast = 1 + amount(-self.light, 0.3 * self.light)
            x = (x - 255) * contrast + 255 - amount(0.0, 255 * self.light * 0.5)
        if self.noise:
            grain = torch.randn(x.shape, generator=rng).to(x.device)
            x = x + grain * amount(0.0, self.noise)
        return x


def plan_lines(level: str) -> LineAugmentation:
    """Return the augmentation for a recipe's level; "auto" is "light"."""
    if level == "none":
        return LineAugmentation()
    if level == "strong":
        return LineAugmentation(0.12, 0.2, 0.15, 0.25, 1.5, 0.5, 24.0, 0.35, 0.4)
    return LineAugmentation(0.08, 0.12, 0.1, 0.15, 1.0, 0.35, 14.0, 0.2, 0.25)
