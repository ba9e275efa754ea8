"""Augmentation of whole batches in torch: no Python a sample."""

__all__ = ["Augmentation", "augment_batch", "mix_batch", "plan_augmentation"]

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from eyewright.training.recipe import Recipe


@dataclass(frozen=True)
class Augmentation:
    """What may be done to a training image. Shares are of the image's side; every draw is uniform.

    `shift` moves by up to that share, `rotate_deg` turns by up to that many degrees, `zoom` scales by 1 ± that share,
    `light` changes brightness and contrast by up to that share; `flip` mirrors left-right half of the time,
    `upside_down` top-bottom.
    """

    shift: float = 0.0
    flip: bool = False
    upside_down: bool = False
    rotate_deg: float = 0.0
    zoom: float = 0.0
    light: float = 0.0

    def apply(self, pixels: Tensor, targets: Any, *, rng: torch.Generator, progress: float = 0.0) -> tuple[Tensor, Any]:
        """Return an augmented batch, uint8 (N, H, W, C), with its class ids, which stay."""
        return augment_batch(pixels, self, rng=rng), targets

    def describe(self) -> str:
        """Say it in a few words, for the console and the report."""
        parts = [
            self.shift and f"shift {self.shift:.0%}",
            self.flip and "mirror",
            self.upside_down and "upside down",
            self.rotate_deg and f"turn {self.rotate_deg:g}°",
            self.zoom and f"zoom {self.zoom:.0%}",
            self.light and f"light {self.light:.0%}",
        ]
        return ", ".join(p for p in parts if p) or "none"


def plan_augmentation(recipe: Recipe, *, grey: bool, n_train: int) -> Augmentation:
    """Choose the augmentation for a recipe.

    "auto" is "strong" for up to 20,000 training images and "light" above, where shifts do nearly all of the work.
    Mirroring is on for colour and off for grey: drawings, letters and digits change their meaning in a mirror, most
    photographs do not. `--flip` overrides.
    """
    level = ("strong" if n_train <= 20_000 else "light") if recipe.augment == "auto" else recipe.augment
    flip = not grey if recipe.flip == "auto" else recipe.flip in ("horizontal", "both")
    upside_down = recipe.flip == "both"
    if level == "none":
        return Augmentation(flip=recipe.flip in ("horizontal", "both"), upside_down=upside_down)
    if level == "light":
        return Augmentation(shift=0.08, flip=flip, upside_down=upside_down)
    light = 0.0 if grey else 0.2
    return Augmentation(shift=0.08, flip=flip, upside_down=upside_down, rotate_deg=10.0, zoom=0.12, light=light)


def augment_batch(pixels: Tensor, plan: Augmentation, *, rng: torch.Generator) -> Tensor:
    """Return an augmented batch, uint8 (N, H, W, C), from one of the same shape.

    Shifts and flips alone move whole pixels; with turning or zooming the batch is resampled bilinearly. The border
    repeats the mirrored image, so that no black frame is learnt.
    """
    if plan == Augmentation():
        return pixels
    n, height, width, _ = pixels.shape
    if plan.rotate_deg or plan.zoom or plan.light:
        return _resample(pixels, plan, rng)

    def draw(side: int) -> Tensor:
        most = max(1, round(plan.shift * side)) if plan.shift else 0
        return torch.randint(-most, most + 1, (n, 1), generator=rng)

    rows = _mirror(torch.arange(height)[None] + draw(height), height)
    columns = _mirror(torch.arange(width)[None] + draw(width), width)
    if plan.flip:
        flipped = torch.rand(n, 1, generator=rng) < 0.5
        columns = torch.where(flipped, columns.flip(1), columns)
    if plan.upside_down:
        rows = torch.where(torch.rand(n, 1, generator=rng) < 0.5, rows.flip(1), rows)
    rows, columns = rows.to(pixels.device), columns.to(pixels.device)
    return pixels[torch.arange(n, device=pixels.device)[:, None, None], rows[:, :, None], columns[:, None, :]]


def mix_batch(pixels: Tensor, *, mixup: float, cutmix: float, rng: np.random.Generator) -> tuple[Tensor, Tensor, float]:
    """Mix every image of a batch, uint8 (N, H, W, C), with a partner from it; return partners (N,) and the share kept.

    `mixup` and `cutmix` are the alpha of the beta distribution that the share is drawn from: of all pixels for mixup
    (Zhang et al. 2018), of the area for cutmix (Yun et al. 2019). With both, a coin decides for each batch; one of
    them is more than 0.

    >>> batch = torch.tensor([0, 100], dtype=torch.uint8).view(2, 1, 1, 1)
    >>> mixed, partners, kept = mix_batch(batch, mixup=1.0, cutmix=0, rng=np.random.default_rng(0))
    >>> partners.tolist(), round(kept, 2), mixed.flatten().tolist()
    ([1, 0], 0.7, [30, 70])
    """
    by_area = bool(cutmix) and (not mixup or rng.random() < 0.5)
    alpha = cutmix if by_area else mixup
    kept = float(rng.beta(alpha, alpha))
    partners = torch.from_numpy(rng.permutation(len(pixels))).to(pixels.device)
    other = pixels[partners]
    if not by_area:
        mixed = pixels.float().mul_(kept).add_(other.float(), alpha=1 - kept)
        return mixed.round_().to(torch.uint8), partners, kept
    height, width = pixels.shape[1:3]
    side = math.sqrt(1 - kept)
    y, x = rng.integers(height), rng.integers(width)
    top, bottom = (int(np.clip(y + sign * height * side / 2, 0, height)) for sign in (-1, 1))
    left, right = (int(np.clip(x + sign * width * side / 2, 0, width)) for sign in (-1, 1))
    mixed = pixels.clone()
    mixed[:, top:bottom, left:right] = other[:, top:bottom, left:right]
    # The patch was cut at the border: what counts is what was really replaced.
    return mixed, partners, 1 - (bottom - top) * (right - left) / (height * width)


def _mirror(index: Tensor, side: int) -> Tensor:
    index = torch.where(index < 0, -index, index)
    return torch.where(index >= side, 2 * (side - 1) - index, index).clamp_(0, side - 1)


def _resample(pixels: Tensor, plan: Augmentation, rng: torch.Generator) -> Tensor:
    n = len(pixels)

    def draw(most: float) -> Tensor:
        return (torch.rand(n, generator=rng) * 2 - 1) * most

    angle = draw(math.radians(plan.rotate_deg))
    scale = 1 + draw(plan.zoom)
    sign = torch.where(torch.rand(n, generator=rng) < 0.5, -1.0, 1.0) if plan.flip else torch.ones(n)
    over = torch.where(torch.rand(n, generator=rng) < 0.5, -1.0, 1.0) if plan.upside_down else torch.ones(n)
    # Shares of the side become grid units, in which the image reaches from -1 to 1.
    theta = torch.stack(
        [
            torch.stack([sign * scale * angle.cos(), -over * scale * angle.sin(), 2 * draw(plan.shift)], 1),
            torch.stack([sign * scale * angle.sin(), over * scale * angle.cos(), 2 * draw(plan.shift)], 1),
        ],
        1,
    ).to(pixels.device)
    x = pixels.permute(0, 3, 1, 2).to(torch.float32)
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    x = functional.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    if plan.light:
        contrast = (1 + draw(plan.light)).view(n, 1, 1, 1).to(pixels.device)
        brightness = (draw(plan.light) * 128).view(n, 1, 1, 1).to(pixels.device)
        x = (x - 128) * contrast + 128 + brightness
    return x.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
