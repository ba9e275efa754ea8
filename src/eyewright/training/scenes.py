"""Augmentation of whole batches with what is marked in them: boxes and masks move as their pixels do."""

__all__ = ["SceneAugmentation", "augment_boxes", "augment_masks", "augment_objects", "plan_scenes"]

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from eyewright.training.objectives.detect import CROWD, PADDING
from eyewright.training.recipe import Recipe

# An object of which less is left is no longer one to be found, and no background either.
_VISIBLE = 0.25
_SMALLEST = 2.0
_IGNORE = 255
# The share of parts that lie around something, and how far from their middle it may be, in shares of their side.
_AROUND = 0.65
_OFF_CENTRE = 0.35
# From this share of the run on images look as they will in use.
_CALM = 0.85


@dataclass(frozen=True)
class SceneAugmentation:
    """What may be done to a training image and to what is marked in it. Every draw is uniform.

    `zoom` scales by 1 ± that share, `shift` moves by up to that share of the side, `rotate_deg` turns masks (boxes are
    never turned: a turned box no longer fits). `mosaic` is the fraction of images that are put together from four,
    `paste` the share that get objects of another image put into them. `light` changes brightness and contrast, `shade`
    how evenly light falls, `colour` saturation and the balance of the channels, each by up to that share; `grain` adds
    noise of up to so many grey levels to a third of the images and bends the grey scale. `fill` is what lies outside,
    `kind` says what is marked.

    With `crop_hw` masks are learnt from parts of that size. Of three parts two lie around a pixel of one of the
    `foreground` classes, each class of the image as likely as the others (Isensee et al. 2021, "nnU-Net"): small and
    rare things are seen as often as large and common ones.
    """

    flip: bool = False
    upside_down: bool = False
    zoom: float = 0.0
    shift: float = 0.0
    rotate_deg: float = 0.0
    mosaic: float = 0.0
    paste: float = 0.0
    light: float = 0.0
    shade: float = 0.0
    colour: float = 0.0
    grain: float = 0.0
    crop_hw: tuple[int, int] | None = None
    foreground: tuple[int, ...] = ()
    fill: int = 114
    kind: Literal["boxes", "objects", "masks"] = "boxes"

    def is_none(self) -> bool:
        """Return whether nothing is done."""
        return self.describe() == "none"

    def describe(self) -> str:
        """Say it in a few words, for the console and the report."""
        parts = [
            self.flip and "mirror",
            self.upside_down and "upside down",
            self.zoom and f"zoom {self.zoom:.0%}",
            self.shift and f"shift {self.shift:.0%}",
            self.rotate_deg and f"turn {self.rotate_deg:g}°",
            self.mosaic and f"mosaic {self.mosaic:.0%}",
            self.paste and f"paste {self.paste:.0%}",
            self.light and f"light {self.light:.0%}",
            self.shade and f"shade {self.shade:.0%}",
            self.colour and f"colour {self.colour:.0%}",
            self.grain and f"noise {self.grain:g}",
            self.crop_hw and f"parts of {self.crop_hw[1]}x{self.crop_hw[0]}",
        ]
        return ", ".join(p for p in parts if p) or "none"

    def apply(self, pixels: Tensor, targets: Any, *, rng: torch.Generator, progress: float = 0.0) -> tuple[Tensor, Any]:
        """Return an augmented batch, uint8 (N, H, W, C), with its targets; at the end of training less is done."""
        plan = self if progress < _CALM else self.calmed()
        if self.kind == "masks":
            return augment_masks(pixels, targets, plan, rng=rng)
        if self.kind == "objects":
            return augment_objects(pixels, targets, plan, rng=rng)
        return augment_boxes(pixels, targets, plan, rng=rng)

    def calmed(self) -> "SceneAugmentation":
        """Return what is left for the end of training, when images should look as they will in use."""
        return replace(self, mosaic=0.0, paste=0.0, zoom=self.zoom / 2)


def plan_scenes(recipe: Recipe, strong: SceneAugmentation, *, grey: bool, fill: int) -> SceneAugmentation:
    """Choose the augmentation for a recipe; "auto" is "strong", what the task does at its strongest."""
    level = "strong" if recipe.augment == "auto" else recipe.augment
    flip = recipe.flip in ("auto", "horizontal", "both")
    upside_down = recipe.flip == "both"
    if level == "none":
        plan = SceneAugmentation(flip=recipe.flip in ("horizontal", "both"), upside_down=upside_down, fill=fill)
    elif level == "light":
        plan = SceneAugmentation(flip=flip, upside_down=upside_down, zoom=0.1, shift=0.1, light=0.1, fill=fill)
    else:
        plan = replace(strong, flip=flip, upside_down=upside_down, colour=0.0 if grey else strong.colour, fill=fill)
    return replace(plan, kind=strong.kind)


class _Layer(NamedTuple):
    """Where source images go: out = source * scale + offset in x, y; only what lies in `window` is shown."""

    source: Tensor
    scale: Tensor
    offset: Tensor
    window: Tensor


def augment_boxes(
    pixels: Tensor, objects: Tensor, plan: SceneAugmentation, *, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return an augmented batch, uint8 (N, H, W, C), with its objects, float32 (N, M, 5).

    Objects of which less than a quarter is left become ignore regions.
    """
    if plan.is_none():
        return pixels, objects
    images, found = pixels.permute(0, 3, 1, 2).float().contiguous() - plan.fill, []
    out = torch.zeros_like(images)
    for layer in _layers(len(images), images.shape[-2:], plan, rng):
        out = torch.where(_window_mask(layer, out.shape[-2:]), _sample(images, layer), out)
        found.append(_moved(objects, layer))
    return _finish(out, plan, rng), _compact(torch.cat(found, 1))


def augment_objects(
    pixels: Tensor, targets: tuple[Tensor, Tensor], plan: SceneAugmentation, *, rng: torch.Generator
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return an augmented batch with its objects, float32 (N, M, 5), and the number of the object that each pixel
    belongs to, int64 (N, H, W), from 1; numbers are rows of the objects."""
    objects, owners = targets
    if plan.is_none():
        return pixels, targets
    images, found = pixels.permute(0, 3, 1, 2).float().contiguous() - plan.fill, []
    out, whose = torch.zeros_like(images), torch.zeros_like(owners)
    rows = objects.shape[1]
    for k, layer in enumerate(_layers(len(images), images.shape[-2:], plan, rng)):
        shown = _window_mask(layer, out.shape[-2:])
        out = torch.where(shown, _sample(images, layer), out)
        moved = _sample(owners[:, None].float(), layer, mode="nearest").long()[:, 0]
        whose = torch.where(shown[:, 0], torch.where(moved > 0, moved + k * rows, 0), whose)
        found.append(_moved(objects, layer))
    joined = torch.cat(found, 1)
    if plan.paste:
        out, joined, whose = _paste_objects(out, joined, whose, plan.paste, rng)
    return _finish(out, plan, rng), (joined, whose)


def augment_masks(
    pixels: Tensor, masks: Tensor, plan: SceneAugmentation, *, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return an augmented batch with its masks, uint8 (N, H, W), class ids; what comes in from outside is 255."""
    if plan.is_none():
        return pixels, masks
    n, height, width, channels = pixels.shape
    images = pixels.permute(0, 3, 1, 2).float().contiguous() - plan.fill
    part_h, part_w = plan.crop_hw or (height, width)
    angle = _draw(n, math.radians(plan.rotate_deg), rng)
    size = 1 + _draw(n, plan.zoom, rng)
    flips = [
        torch.where(torch.rand(n, generator=rng) < 0.5, -1.0, 1.0) if on else torch.ones(n)
        for on in (plan.flip, plan.upside_down)
    ]
    cos, sin = size * angle.cos(), size * angle.sin()
    if plan.crop_hw is None:
        x, y = 2 * _draw(n, plan.shift, rng), 2 * _draw(n, plan.shift, rng)
    else:
        x, y = _centres(masks, plan, rng)
    theta = torch.stack(
        [
            torch.stack([flips[0] * cos * part_w / width, -sin * part_h / width, x], 1),
            torch.stack([flips[0] * sin * part_w / height, flips[1] * cos * part_h / height, y], 1),
        ],
        1,
    ).to(pixels.device)
    grid = functional.affine_grid(theta, [n, channels, part_h, part_w], align_corners=False)
    out = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    # Mirrored at the border as the image is: the mask of what is seen there is known.
    moved = functional.grid_sample(
        masks[:, None].float(), grid, mode="nearest", padding_mode="reflection", align_corners=False
    )[:, 0].to(torch.uint8)
    if plan.paste:
        partner = torch.randperm(n, generator=rng)
        chosen = torch.rand(n, generator=rng) < plan.paste
        there = (moved[partner] > 0) & (moved[partner] != _IGNORE) & chosen.to(moved.device)[:, None, None]
        out = torch.where(there[:, None], out[partner], out)
        moved = torch.where(there, moved[partner], moved)
    return _finish(out, plan, rng), moved


def _centres(masks: Tensor, plan: SceneAugmentation, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return where each part has its middle, x and y (N,), in units in which the image reaches from -1 to 1."""
    assert plan.crop_hw is not None
    n, height, width = masks.shape
    centres = torch.zeros(n, 2)
    wanted, chance = torch.rand(n, generator=rng) < _AROUND, torch.rand(n, 2, generator=rng)
    for i, mask in enumerate(masks.cpu()):
        known = mask != _IGNORE
        there = [c for c in plan.foreground if bool((mask == c).any())] if wanted[i] else []
        if there:
            known = mask == there[min(len(there) - 1, int(chance[i, 0] * len(there)))]
        at = known.flatten().nonzero()[:, 0]
        if len(at):
            one = int(at[min(len(at) - 1, int(chance[i, 1] * len(at)))])
            centres[i] = torch.tensor([one % width, one // width])
    # What is looked for may lie anywhere in its part but at the very edge.
    reach = torch.tensor([plan.crop_hw[1], plan.crop_hw[0]]) * _OFF_CENTRE
    centres += torch.stack([_draw(n, 1.0, rng), _draw(n, 1.0, rng)], 1) * reach
    return (centres[:, 0] + 0.5) / width * 2 - 1, (centres[:, 1] + 0.5) / height * 2 - 1


def _layers(
    n: int, size_hw: tuple[int, int] | torch.Size, plan: SceneAugmentation, rng: torch.Generator
) -> list[_Layer]:
    height, width = size_hw
    side = torch.tensor([width, height], dtype=torch.float32)
    whole = torch.tensor([0.0, 0.0, width, height]).repeat(n, 1)
    first = _one_layer(torch.arange(n), torch.zeros(n, 2) + side / 2, n, side, plan, rng, whole)
    if not plan.mosaic:
        return [first]
    joined = torch.rand(n, generator=rng) < plan.mosaic
    centre = (0.3 + 0.4 * torch.rand(n, 2, generator=rng)) * side
    layers = []
    for quarter in range(4):
        right, low = quarter % 2, quarter // 2
        window = torch.stack(
            [
                centre[:, 0] * right,
                centre[:, 1] * low,
                torch.where(torch.tensor(bool(right)), side[0], centre[:, 0]),
                torch.where(torch.tensor(bool(low)), side[1], centre[:, 1]),
            ],
            1,
        )
        source = torch.arange(n) if quarter == 0 else torch.randperm(n, generator=rng)
        middle = (window[:, :2] + window[:, 2:]) / 2
        layer = _one_layer(source, middle, n, side, plan, rng, window, smaller=0.7)
        if quarter == 0:
            kept = joined[:, None]
            layer = _Layer(
                layer.source,
                torch.where(kept, layer.scale, first.scale),
                torch.where(kept, layer.offset, first.offset),
                torch.where(kept, layer.window, first.window),
            )
        else:
            layer = layer._replace(window=layer.window * joined[:, None])
        layers.append(layer)
    return layers


def _one_layer(
    source: Tensor,
    middle: Tensor,
    n: int,
    side: Tensor,
    plan: SceneAugmentation,
    rng: torch.Generator,
    window: Tensor,
    *,
    smaller: float = 1.0,
) -> _Layer:
    """Scale about the image's centre and put that near `middle`, (N, 2)."""
    size = smaller * (1 + _draw(n, plan.zoom, rng))
    # A little of its own for each side: things are seen from other directions too.
    scale = torch.stack([size * (1 + _draw(n, plan.zoom / 5, rng)) for _ in range(2)], 1)
    for axis, on in enumerate((plan.flip, plan.upside_down)):
        if on:
            scale[:, axis] *= torch.where(torch.rand(n, generator=rng) < 0.5, -1.0, 1.0)
    offset = middle - scale * side / 2 + torch.stack([_draw(n, plan.shift, rng) for _ in range(2)], 1) * side
    return _Layer(source, scale, offset, window)


def _sample(images: Tensor, layer: _Layer, *, mode: str = "bilinear") -> Tensor:
    n, _, height, width = images.shape
    side = torch.tensor([width, height], dtype=torch.float32)
    # affine_grid speaks of where an output pixel comes from, in units in which the image reaches from -1 to 1.
    back = 1 / layer.scale
    shift = (side - 2 * layer.offset) / (side * layer.scale) - 1
    zero = torch.zeros(n)
    theta = torch.stack(
        [torch.stack([back[:, 0], zero, shift[:, 0]], 1), torch.stack([zero, back[:, 1], shift[:, 1]], 1)], 1
    ).to(images.device)
    grid = functional.affine_grid(theta, [n, 1, height, width], align_corners=False)
    source = images if bool((layer.source == torch.arange(n)).all()) else images[layer.source.to(images.device)]
    return functional.grid_sample(source, grid, mode=mode, padding_mode="zeros", align_corners=False)


def _window_mask(layer: _Layer, size_hw: tuple[int, int] | torch.Size) -> Tensor:
    y, x = torch.arange(size_hw[0]) + 0.5, torch.arange(size_hw[1]) + 0.5
    w = layer.window
    rows = (y >= w[:, 1:2]) & (y < w[:, 3:4])
    columns = (x >= w[:, 0:1]) & (x < w[:, 2:3])
    return rows[:, None, :, None] & columns[:, None, None, :]


def _moved(objects: Tensor, layer: _Layer) -> Tensor:
    """Return the objects where their pixels went, cut off at the window."""
    device = objects.device
    rows = objects[layer.source.to(device)]
    scale, offset = layer.scale.to(device)[:, None], layer.offset.to(device)[:, None]
    a, b = rows[..., :2] * scale + offset, rows[..., 2:4] * scale + offset
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    window = layer.window.to(device)[:, None]
    cut_low = torch.minimum(torch.maximum(low, window[..., :2]), window[..., 2:])
    cut_high = torch.minimum(torch.maximum(high, window[..., :2]), window[..., 2:])
    whole, left = (high - low).clamp(min=0).prod(-1), (cut_high - cut_low).clamp(min=0).prod(-1)
    label = rows[..., 4]
    share = left / whole.clamp(min=1e-6)
    partly = (share < _VISIBLE) | ((cut_high - cut_low).amin(-1) < _SMALLEST)
    label = torch.where((label >= 0) & partly, float(CROWD), label)
    label = torch.where(left <= 0, float(PADDING), label)
    return torch.cat([cut_low, cut_high, label[..., None]], -1)


def _compact(objects: Tensor) -> Tensor:
    """Put rows that hold something first and leave out columns that hold nothing in any image."""
    empty = objects[..., 4] == PADDING
    most = int((~empty).sum(1).max()) if objects.numel() else 0
    order = empty.to(torch.int8).argsort(dim=1, stable=True)[:, : max(1, most)]
    return objects.gather(1, order[..., None].expand(-1, -1, 5))


def _paste_objects(
    out: Tensor, objects: Tensor, whose: Tensor, share: float, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Put about half of the objects of a partner into some images (Ghiasi et al. 2021, "Simple copy-paste")."""
    n, rows = objects.shape[:2]
    partner = torch.randperm(n, generator=rng)
    chosen = (torch.rand(n, rows, generator=rng) < 0.5) & (torch.rand(n, 1, generator=rng) < share)
    theirs = objects[partner].clone()
    chosen = chosen.to(objects.device) & (theirs[..., 4] >= 0)
    theirs[..., 4] = torch.where(chosen, theirs[..., 4], float(PADDING))
    number = whose[partner]
    taken = torch.cat([torch.zeros_like(chosen[:, :1]), chosen], 1).gather(1, number.flatten(1)).view_as(number)
    out = torch.where(taken[:, None], out[partner], out)
    joined = torch.cat([objects, theirs], 1)
    before = _areas(whose, 2 * rows)
    whose = torch.where(taken, number + rows, whose)
    after = _areas(whose, 2 * rows)
    hidden = (before > 0) & (after < _VISIBLE * before)
    joined[..., 4] = torch.where(hidden & (joined[..., 4] >= 0), float(CROWD), joined[..., 4])
    return out, joined, whose


def _areas(whose: Tensor, rows: int) -> Tensor:
    counts = torch.zeros(len(whose), rows + 1, device=whose.device)
    counts.scatter_add_(1, whose.flatten(1), torch.ones_like(whose, dtype=torch.float32).flatten(1))
    return counts[:, 1:]


def _finish(images: Tensor, plan: SceneAugmentation, rng: torch.Generator) -> Tensor:
    """Change light and colour, and give uint8 (N, H, W, C)."""
    n, channels = images.shape[:2]

    def gain(most: float, *shape: int) -> Tensor:
        return (1 + _draw(n * math.prod(shape), most, rng)).view(n, *shape).to(images.device)

    if plan.colour and channels == 3:
        grey = images.mean(1, keepdim=True)
        images = torch.lerp(grey, images, gain(plan.colour, 1, 1, 1)) * gain(plan.colour / 4, 3, 1, 1)
    if plan.shade:
        field = (1 + _draw(n * 9, plan.shade, rng)).view(n, 1, 3, 3).to(images.device)
        field = functional.interpolate(field, size=images.shape[-2:], mode="bilinear", align_corners=True)
        images = (images + plan.fill) * field - plan.fill
    if plan.light:
        images = images * gain(plan.light, 1, 1, 1) + (gain(plan.light, 1, 1, 1) - 1) * 96
    if plan.grain:
        images = images + plan.fill
        images = 255 * (images.clamp(0, 255) / 255) ** torch.exp(_normal(n, rng).to(images.device) * 0.2)
        much = torch.rand(n, 1, 1, 1, generator=rng) * (torch.rand(n, 1, 1, 1, generator=rng) < 0.33) * plan.grain
        noise = torch.randn(images.shape, generator=rng).to(images.device)
        images = images + noise * much.to(images.device) - plan.fill
    return (images + plan.fill).round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def _normal(n: int, rng: torch.Generator) -> Tensor:
    return torch.randn(n, 1, 1, 1, generator=rng)


def _draw(n: int, most: float, rng: torch.Generator) -> Tensor:
    return (torch.rand(n, generator=rng) * 2 - 1) * most
