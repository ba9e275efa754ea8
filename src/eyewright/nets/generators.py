"""Generator builders. Each is a function `(n_classes, *, channels, size_hw, dropout, activation) -> nn.Module`.

A body has `draw(noise, classes, *, steps, guidance)`: normal noise float32 (N, *noise_shape) and class ids int64 (N,)
to images float32 (N, channels, H, W) in about [-1, 1]. How it is learnt differs: see `GanNet` and `FlowNet`.
"""

__all__ = ["FlowNet", "GanNet", "flow_net", "gan_net"]

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyewright.core.errors import UsageError
from eyewright.nets.activations import activation_of
from eyewright.nets.augmenting import augment_images

_NOISE = 64
_SLOPE = 0.2
_COARSEST, _FOLD = 4, 2
_GAN_WIDTHS = (32, 64, 128, 192)
_FLOW_WIDTHS = (64, 128, 192)
_FLOW_FOLD = 4
_KNOWN = 128
# Karras et al. (2020): aim at a mean sign of 0.6; runs on a CPU see fewer images, so the strength moves faster.
_OVERFIT, _STRONGEST, _ADAPTED_OVER, _MEMORY = 0.6, 0.8, 50_000, 0.02
SIZES = (32, 64, 128)


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels at each place, without weights: a condition gives scale and shift."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # ONNX takes the number as a constant: read off the tensor, a trace would compute it.
        self.channels = (channels,)

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x.permute(0, 2, 3, 1), self.channels).permute(0, 3, 1, 2)


class Conditioned(nn.Module):
    """Normalise, scale and shift by a condition (N, K), activate, convolve."""

    def __init__(self, inward: int, outward: int, known: int, act: nn.Module) -> None:
        super().__init__()
        self.norm, self.act = ChannelNorm(inward), act
        self.film = nn.Linear(known, 2 * inward)
        self.conv = nn.Conv2d(inward, outward, 3, padding=1)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        scale, shift = self.film(known)[:, :, None, None].chunk(2, 1)
        return cast("Tensor", self.conv(self.act(self.norm(x) * (1 + scale) + shift)))


class Generator(nn.Module):
    """Noise and class to an image: from 4x4 up, each time upsampled and then convolved, which leaves no checkerboard as
    transposed convolutions do (Odena et al. 2016). Noise and class scale and shift every layer's channels."""

    def __init__(self, n_classes: int, *, channels: int, side: int, widths: Sequence[int], act: nn.Module) -> None:
        super().__init__()
        self.coarsest = _COARSEST
        inner = list(widths)[::-1]
        self.classes = nn.Embedding(n_classes, _KNOWN)
        self.enter = nn.Linear(_NOISE, _KNOWN)
        self.mix = nn.Sequential(act, nn.Linear(_KNOWN, _KNOWN), act)
        self.start = nn.Linear(_KNOWN, inner[0] * _COARSEST**2)
        self.first = Conditioned(inner[0], inner[0], _KNOWN, act)
        self.narrow = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairwise(inner))
        self.blocks = nn.ModuleList(Conditioned(b, b, _KNOWN, act) for b in inner[1:])
        self.again = nn.ModuleList(Conditioned(b, b, _KNOWN, act) for b in inner[1:])
        self.last = Conditioned(inner[-1], channels * _FOLD**2, _KNOWN, act)

    def forward(self, noise: Tensor, classes: Tensor) -> Tensor:
        known = self.mix(self.enter(noise) + self.classes(classes))
        x = self.start(known).view(len(noise), -1, self.coarsest, self.coarsest)
        x = x + self.first(x, known)
        for narrow, block, again in zip(self.narrow, self.blocks, self.again, strict=True):
            x = functional.interpolate(narrow(x), scale_factor=2.0, mode="nearest")
            x = x + block(x, known)
            x = x + again(x, known)
        return torch.tanh(functional.pixel_shuffle(self.last(x, known), _FOLD))


class Discriminator(nn.Module):
    """An image and its class to one number, high where it looks real: strided convolutions, the deviation within the
    batch as one more channel (Karras et al. 2018), and the class by projection (Miyato and Koyama 2018)."""

    def __init__(self, n_classes: int, *, channels: int, side: int, widths: Sequence[int], act: nn.Module) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels * _FOLD**2, widths[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.stay = nn.ModuleList(nn.Conv2d(b, b, 3, padding=1) for b in widths[1:])
        self.act = act
        self.whole = nn.Linear((widths[-1] + 1) * _COARSEST**2, _KNOWN)
        self.out = nn.Linear(_KNOWN, 1)
        self.classes = nn.Embedding(n_classes, _KNOWN)
        nn.init.normal_(self.classes.weight, std=1 / math.sqrt(_KNOWN))

    def forward(self, images: Tensor, classes: Tensor) -> Tensor:
        x = self.act(self.enter(functional.pixel_unshuffle(images, _FOLD)))
        for down, stay in zip(self.down, self.stay, strict=True):
            x = self.act(down(x))
            x = self.act(x + stay(x))
        apart = (x - x.mean(0, keepdim=True)).square().mean(0, keepdim=True).add(1e-8).sqrt().mean()
        x = torch.cat([x, apart.expand(len(x), 1, *x.shape[2:])], 1)
        seen = self.act(self.whole(x.flatten(1)))
        found: Tensor = self.out(seen)[:, 0] + (seen * self.classes(classes)).sum(1) / math.sqrt(_KNOWN)
        return found


class GanNet(nn.Module):
    """A generator and the discriminator that it is learnt against (Goodfellow et al. 2014), conditional on the class.

    The two are learnt apart, each by an optimiser of its own; only the generator is exported. `strength` is the
    probability with which each image is augmented before the discriminator sees it; it follows `overfit`, the mean sign
    of what the discriminator says of real images (Karras et al. 2020, "ADA"). Both are state and part of a checkpoint.
    """

    learnt_apart = ("discriminator", "generator")
    steps_of_drawing = 1
    guided = False

    strength: Tensor
    overfit: Tensor
    updates: Tensor

    def __init__(self, n_classes: int, *, channels: int, size_hw: tuple[int, int], activation: str = "") -> None:
        super().__init__()
        side, widths = _levels(size_hw, _FOLD, _GAN_WIDTHS)
        self.n_classes = n_classes
        self.noise_shape: tuple[int, ...] = (_NOISE,)
        act: nn.Module = activation_of(activation)() if activation else nn.LeakyReLU(_SLOPE)
        self.generator = Generator(n_classes, channels=channels, side=side, widths=widths, act=act)
        self.discriminator = Discriminator(n_classes, channels=channels, side=side, widths=widths, act=act)
        self.adapts = True
        self.register_buffer("strength", torch.zeros(()))
        self.register_buffer("overfit", torch.zeros(()))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def draw(self, noise: Tensor, classes: Tensor, *, steps: int = 1, guidance: Any = None) -> Tensor:
        """Return images, float32 (N, channels, H, W) in [-1, 1]; one pass, whatever `steps` and `guidance`."""
        found: Tensor = self.generator(noise, classes)
        return found

    def judged(self, images: Tensor, classes: Tensor) -> Tensor:
        """Return what the discriminator says of images, (N,), augmented with the present strength."""
        found: Tensor = self.discriminator(augment_images(images, self.strength), classes)
        return found

    @torch.no_grad()
    def note_update(self, n: int) -> None:
        """Note an update from `n` images: the augmentation's strength rises while the discriminator overfits."""
        self.updates += 1
        if self.adapts:
            up = torch.sign(self.overfit - _OVERFIT) * (n / _ADAPTED_OVER)
            self.strength.copy_((self.strength + up).clamp(0, _STRONGEST))

    @torch.no_grad()
    def note_real(self, logits: Tensor) -> None:
        """Note what the discriminator says of real images: its mean sign is 1 where it knows them by heart."""
        self.overfit.lerp_(logits.float().sign().mean(), _MEMORY)

    def forward(self, images: Tensor) -> "GanNet":
        """Return the net itself: what it draws depends on noise and classes, which an image does not hold."""
        return self


class Block(nn.Module):
    """Two convolutions that add to what there is, each under the condition."""

    def __init__(self, width: int, known: int, act: nn.Module) -> None:
        super().__init__()
        self.one, self.two = Conditioned(width, width, known, act), Conditioned(width, width, known, act)
        nn.init.zeros_(self.two.conv.weight)
        if self.two.conv.bias is not None:
            nn.init.zeros_(self.two.conv.bias)

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        return cast("Tensor", x + self.two(self.one(x, known), known))


class Velocity(nn.Module):
    """The velocity of a point between noise and image, by a U-Net on folded pixels under time and class."""

    def __init__(self, n_classes: int, *, channels: int, widths: Sequence[int], act: nn.Module) -> None:
        super().__init__()
        self.left_out = n_classes
        self.classes = nn.Embedding(n_classes + 1, _KNOWN)
        self.time = nn.Sequential(nn.Linear(64, _KNOWN), act, nn.Linear(_KNOWN, _KNOWN))
        self.act = act
        folded = channels * _FLOW_FOLD**2
        self.enter = nn.Conv2d(folded, widths[0], 3, padding=1)
        pairs = list(pairwise(widths))
        self.before = nn.ModuleList(Block(w, _KNOWN, act) for w in widths[:-1])
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairs)
        self.middle = nn.ModuleList(Block(widths[-1], _KNOWN, act) for _ in range(3))
        self.up = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for a, b in pairs)
        self.join = nn.ModuleList(nn.Conv2d(2 * a, a, 1) for a, _ in pairs)
        self.after = nn.ModuleList(Block(w, _KNOWN, act) for w in widths[:-1])
        self.last = Conditioned(widths[0], folded, _KNOWN, act)
        self.register_buffer("waves", torch.exp(torch.linspace(0, math.log(256), 32)), persistent=False)
        self.waves: Tensor

    def forward(self, x: Tensor, time: Tensor, classes: Tensor) -> Tensor:
        phase = time[:, None] * self.waves[None]
        known = self.act(self.time(torch.cat([phase.sin(), phase.cos()], 1)) + self.classes(classes))
        seen = self.enter(functional.pixel_unshuffle(x, _FLOW_FOLD))
        kept = []
        for block, down in zip(self.before, self.down, strict=True):
            seen = block(seen, known)
            kept.append(seen)
            seen = down(seen)
        for block in self.middle:
            seen = block(seen, known)
        for k in range(len(kept) - 1, -1, -1):
            seen = functional.pixel_shuffle(self.up[k](seen), 2)
            seen = self.join[k](torch.cat([seen, kept[k]], 1))
            seen = self.after[k](seen, known)
        return functional.pixel_shuffle(self.last(seen, known), _FLOW_FOLD)


class FlowNet(nn.Module):
    """Rectified flow (Liu et al. 2023, Lipman et al. 2023): the velocity along straight paths from noise to images.

    In training `forward(images, classes)` returns the velocities that it finds and those that are true, each
    (N, channels, H, W), at times from a logit-normal distribution (Esser et al. 2024); one class in ten is left out, so
    that sampling can be guided (Ho and Salimans 2022). Sampling follows the velocity in a few Euler or Heun steps.
    """

    takes_targets = True
    steps_of_drawing = 8
    guided = True

    def __init__(self, n_classes: int, *, channels: int, size_hw: tuple[int, int], activation: str = "") -> None:
        super().__init__()
        _, widths = _levels(size_hw, _FLOW_FOLD, _FLOW_WIDTHS)
        self.n_classes = n_classes
        self.noise_shape: tuple[int, ...] = (channels, *size_hw)
        act: nn.Module = activation_of(activation or "silu")()
        self.velocity = Velocity(n_classes, channels=channels, widths=widths, act=act)
        self.class_free = 0.1
        self.heun = False

    def draw(self, noise: Tensor, classes: Tensor, *, steps: int | None = None, guidance: Any = None) -> Tensor:
        """Return images, float32 (N, channels, H, W), by that many steps; `guidance`, (N,), scales how far the velocity
        of the class is from that of no class: 1 or None is the class's own."""
        x, n = noise, steps or self.steps_of_drawing
        for k in range(n):
            first = self._at(x, k / n, classes, guidance)
            ahead = x + first / n
            if self.heun and k < n - 1:
                ahead = x + (first + self._at(ahead, (k + 1) / n, classes, guidance)) / (2 * n)
            x = ahead
        return x

    def _at(self, x: Tensor, time: float, classes: Tensor, guidance: Any) -> Tensor:
        t = torch.full_like(x[:, 0, 0, 0], time)
        if guidance is None:
            return cast("Tensor", self.velocity(x, t, classes))
        none = torch.full_like(classes, self.velocity.left_out)
        both = self.velocity(torch.cat([x, x]), torch.cat([t, t]), torch.cat([classes, none]))
        own, free = both.chunk(2)
        return cast("Tensor", free + guidance.view(-1, 1, 1, 1) * (own - free))

    def forward(self, images: Tensor, targets: Tensor | None = None) -> Any:
        """Return the found and the true velocity for images with classes; without classes the net itself, as
        `GanNet`."""
        if targets is None:
            return self
        noise = torch.randn_like(images)
        time = torch.sigmoid(torch.randn(len(images), device=images.device))
        left = torch.rand(len(images), device=images.device) < self.class_free
        classes = torch.where(left, self.velocity.left_out, targets)
        at = time.view(-1, 1, 1, 1)
        return self.velocity((1 - at) * noise + at * images, time, classes), images - noise


def _levels(size_hw: tuple[int, int], fold: int, widths: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """Return the side and the widths from the finest level to that of 4x4."""
    side = size_hw[0]
    if size_hw[0] != size_hw[1] or side not in SIZES:
        raise UsageError(
            f"expected square images of 32, 64 or 128 pixels to generate, found {size_hw[1]}x{size_hw[0]}",
            fix="change --imgsz",
        )
    n = round(math.log2(side / fold / _COARSEST)) + 1
    more = [widths[-1]] * (n - len(widths))
    return side, (*widths[: min(n, len(widths))], *more)


def gan_net(
    n_classes: int,
    *,
    channels: int = 3,
    size_hw: tuple[int, int] = (32, 32),
    dropout: float = 0.0,
    activation: str = "",
) -> nn.Module:
    """Build a conditional generator with its discriminator: about 1 M weights at 32x32, one pass per image.

    >>> net = gan_net(3, channels=1)
    >>> tuple(net.draw(torch.zeros(2, 64), torch.tensor([0, 2])).shape)
    (2, 1, 32, 32)

    Raises:
        UsageError: images that are not square, or not of 32, 64 or 128 pixels.
    """
    return GanNet(n_classes, channels=channels, size_hw=size_hw, activation=activation)


def flow_net(
    n_classes: int,
    *,
    channels: int = 3,
    size_hw: tuple[int, int] = (32, 32),
    dropout: float = 0.0,
    activation: str = "",
) -> nn.Module:
    """Build a rectified flow: about 1.3 M weights at 32x32, 8 passes per image.

    >>> net = flow_net(3, channels=1)
    >>> tuple(net.draw(torch.zeros(2, 1, 32, 32), torch.tensor([0, 2])).shape)
    (2, 1, 32, 32)

    Raises:
        UsageError: images that are not square, or not of 32, 64 or 128 pixels.
    """
    return FlowNet(n_classes, channels=channels, size_hw=size_hw, activation=activation)
