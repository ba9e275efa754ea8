"""A net that fills holes: partial convolutions, which see only pixels that are known (Liu et al. 2018).

It has the interface of the restorers (`nets.restorers`), with the hole in place of the level of the noise: 1 where a
pixel is to be filled, else 0. What it gives is to be added to a first filling of the hole.
"""

__all__ = ["PARTIAL_ALIGN", "PARTIAL_REACH", "PartialConv", "PartialNet", "partial_net"]

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyewright.core.errors import UsageError
from eyewright.nets.activations import activation_of

_WIDTHS = (32, 48, 64)
_FOLD = 2
_ORIENTATIONS = ((0, 1), (1, 0), (1, 1), (1, -1), (1, 2), (2, 1), (1, -2), (2, -1))
_STEPS = 5
_BLUR = 13

PARTIAL_ALIGN = _FOLD * 2 ** (len(_WIDTHS) - 1)
"""Tiles begin at multiples of it, so that strides see the same pixels in all of them."""

PARTIAL_REACH = 82
"""How far a pixel of the result may lie from the source pixels that it depends on."""


class PartialConv(nn.Module):
    """A 3x3 convolution of known values only, renormalised by how many of its window are known.

    The channels are in `groups` that share a mask each. `forward` takes values (N, C, H, W), 0 where they are not
    known, and masks (N, groups, H, W), 1 where they are; it returns the same of its output, which is known wherever
    anything in the window is. What lies outside the image is not known.

    >>> conv = PartialConv((1,), 1)
    >>> _ = nn.init.ones_(conv.conv.weight), nn.init.zeros_(conv.bias)
    >>> known = torch.tensor([[[[1.0, 0.0, 0.0]]]])
    >>> [t.flatten().tolist() for t in conv(7 * known, known)]
    [[63.0, 63.0, 0.0], [1.0, 1.0, 0.0]]
    """

    share: Tensor

    def __init__(self, groups: tuple[int, ...], out: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(sum(groups), out, 3, stride, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(out))
        share = torch.tensor(groups, dtype=torch.float32) / sum(groups)
        self.register_buffer("share", share.view(1, -1, 1, 1).repeat(1, 1, 3, 3), persistent=False)
        self.stride = stride
        nn.init.kaiming_normal_(self.conv.weight)

    def forward(self, values: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        count = functional.conv2d(known, self.share, stride=self.stride, padding=1)
        seen = (count > 1e-4).to(values.dtype)
        # A window with less than one known pixel in it is not to be believed nine times over.
        found = self.conv(values) * (9 / count.clamp(min=1.0)) + self.bias.view(1, -1, 1, 1)
        return found * seen, seen


class _Stage(nn.Module):
    """A partial convolution, and blocks of two that add to what there is."""

    def __init__(self, groups: tuple[int, ...], out: int, act: nn.Module, *, stride: int = 1, blocks: int) -> None:
        super().__init__()
        self.enter = PartialConv(groups, out, stride=stride)
        inner = [PartialConv((out,), out) for _ in range(2 * blocks)]
        self.layers = nn.ModuleList(inner)
        self.act = act
        for layer in inner[1::2]:
            # He et al. (2015): a block begins as a small change.
            nn.init.kaiming_normal_(layer.conv.weight, a=3.0)

    def forward(self, values: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        values, known = self.enter(values, known)
        values = self.act(values)
        for first, second in zip(self.layers[::2], self.layers[1::2], strict=True):
            inner, wider = first(values, known)
            change, known = second(self.act(inner), wider)
            values = self.act(values + change)
        return values, known


class _Lines(NamedTuple):
    """What straight lines through a hole join, for each of 8 orientations: the colour interpolated between the known
    pixels at both ends (N, 8, C, H, W), how far these differ and how far they are apart, and whether both are there, 1
    or 0, all (N, 8, H, W)."""

    colours: Tensor
    apart: Tensor
    length: Tensor
    joined: Tensor


def _moved(planes: Tensor, down: int, right: int) -> Tensor:
    """Return planes (N, C, H, W) moved by so many pixels; what comes in is 0."""
    height, width = (int(side) for side in planes.shape[-2:])
    padded = functional.pad(planes, (max(right, 0), max(-right, 0), max(down, 0), max(-down, 0)))
    top, left = max(-down, 0), max(-right, 0)
    return padded[..., top : top + height, left : left + width]


def _nearest(state: Tensor, down: int, right: int) -> Tensor:
    """Return at each place what planes (N, C, H, W), the last of which is 1 where they are known, hold at the nearest
    known place against a direction, up to 31 steps away; the last one is 0 where there is none.

    It is a partial convolution of one tap that is applied five times, at twice the distance each time.
    """
    for k in range(_STEPS):
        state = torch.where(state[:, -1:] > 0, state, _moved(state, down * 2**k, right * 2**k))
    return state


def _join_ends(image: Tensor, known: Tensor) -> _Lines:
    """Return the lines through every pixel of an image (N, C, H, W), known where `known` (N, 1, H, W) is 1."""
    ones = torch.ones_like(known)
    rows, columns = ones.cumsum(2), ones.cumsum(3)
    by_row, by_column = (torch.cat([image * known, at * known, known], 1) for at in (rows, columns))
    found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for down, right in _ORIENTATIONS:
        state, at, step = (by_row, rows, down) if down else (by_column, columns, right)
        a, b = _nearest(state, down, right), _nearest(state, -down, -right)
        there = a[:, -1:] * b[:, -1:]
        steps_a, steps_b = (at - a[:, -2:-1]) * there, (b[:, -2:-1] - at) * there
        total = ((steps_a + steps_b) / step).clamp(min=1)
        weight = steps_b / (steps_a + steps_b).clamp(min=1)
        colours = b[:, :-2] + weight * (a[:, :-2] - b[:, :-2])
        apart = (a[:, :-2] - b[:, :-2]).abs().mean(1, keepdim=True)
        found.append((colours, apart, total * math.hypot(down, right), there))
    kinds = [list(one) for one in zip(*found, strict=True)]
    apart, length, joined = (torch.cat(one, 1) for one in kinds[1:])
    return _Lines(torch.stack(kinds[0], 1), apart, length, joined)


class PartialNet(nn.Module):
    """A small U-Net of partial convolutions that blends what is known around a hole.

    In 8 orientations, straight lines join the known pixels at both ends of a hole. A pixel is their mean, weighted by
    how similar the ends are and how near, mixed with the first filling; the U-Net changes the weights and adds to the
    result. It works at half the resolution: 2x2 pixels are folded into the channels, each with its own mask. Going
    down, the holes close layer by layer; going up, the features of both resolutions keep their masks.

    Before anything is learnt, this fills strokes 0.7 dB better than the Navier-Stokes equations.
    """

    prunable = False
    """Each convolution has a mask of its own, whose channels belong to no layer that could be made smaller."""

    is_traced = True
    """The older exporter takes 2 s for the hundreds of small steps of the lines, the newer one 30 s."""

    def __init__(self, *, channels: int, widths: tuple[int, int, int], act: type[nn.Module]) -> None:
        super().__init__()
        self.head_names = ("draw",)
        self.channels = channels
        # What it takes: the first filling, and the hole.
        self.n_given = channels + 1
        fine, middle, coarse = widths
        cells, lines = _FOLD**2, len(_ORIENTATIONS)
        self.fine = _Stage((channels,) * cells, fine, act(), blocks=1)
        self.middle = _Stage((fine,), middle, act(), stride=2, blocks=1)
        self.coarse = _Stage((middle,), coarse, act(), stride=2, blocks=1)
        self.rise = _Stage((coarse, middle), middle, act(), blocks=1)
        # Both fillings, the hole and the lines are known everywhere.
        last = fine * 3 // 2
        self.join = _Stage((middle, fine, (2 * channels + 1) * cells + 2 * lines), last, act(), blocks=2)
        self.draw = nn.Conv2d(last, (lines + 1 + channels) * cells, 3, padding=1)
        nn.init.normal_(self.draw.weight, std=1e-4)
        assert self.draw.bias is not None
        nn.init.zeros_(self.draw.bias)
        # The weight of a line falls by e with so much difference of its ends, and by this power of its length; how much
        # the lines are against the first filling, as a logit. Found on photographs.
        self.unlike = nn.Parameter(torch.tensor(20.0).log())
        self.far = nn.Parameter(torch.tensor(3.0).log())
        self.share = nn.Parameter(torch.tensor(0.85))

    def forward(self, x: Tensor) -> Tensor:
        image, hole = x[:, : self.channels], (x[:, self.channels :] > 0.5).to(x.dtype)
        known = 1 - hole
        lines = _join_ends(image, known)
        inside = lines.joined * hole
        # Ends may be equal by chance: what counts is how similar they are nearby.
        apart = _blurred(lines.apart * inside) / _blurred(inside).clamp(min=1e-6)
        plain = -self.unlike.exp() * apart - self.far.exp() * lines.length.clamp(min=1).log()
        plain = plain + (1 - lines.joined) * -30.0
        colours = lines.colours
        before = _blend(colours, plain)

        centred = 2 * image - 1
        near = torch.cat([10 * apart, lines.length / 32], 1)
        first = torch.cat([functional.pixel_unshuffle(torch.cat([centred, 2 * before - 1, hole], 1), _FOLD),
                           functional.avg_pool2d(near, _FOLD)], 1)  # fmt: skip
        holes = functional.pixel_unshuffle(known, _FOLD)
        fine, fine_known = self.fine(functional.pixel_unshuffle(centred * known, _FOLD), holes)
        middle, middle_known = self.middle(fine, fine_known)
        coarse, coarse_known = self.coarse(middle, middle_known)
        risen, risen_known = self.rise(
            torch.cat([_doubled(coarse), middle], 1), torch.cat([_doubled(coarse_known), middle_known], 1)
        )
        joined, _ = self.join(
            torch.cat([_doubled(risen), fine, first], 1),
            torch.cat([_doubled(risen_known), fine_known, torch.ones_like(fine_known)], 1),
        )
        drawn = functional.pixel_shuffle(self.draw(joined), _FOLD).to(x.dtype)
        n = len(_ORIENTATIONS)
        share = torch.sigmoid(self.share + drawn[:, n : n + 1]) * lines.joined.amax(1, keepdim=True)
        blended = _blend(colours, plain + drawn[:, :n])
        return share * (blended - image) + drawn[:, n + 1 :]


def _blend(colours: Tensor, logits: Tensor) -> Tensor:
    """Return the mean of colours (N, 8, C, H, W) by the softmax of logits (N, 8, H, W)."""
    return (colours * logits.softmax(1).unsqueeze(2)).sum(1)


def _blurred(planes: Tensor) -> Tensor:
    # First along columns, then along rows, which costs a sixth of both at once.
    rows = functional.avg_pool2d(planes, (_BLUR, 1), 1, (_BLUR // 2, 0))
    return functional.avg_pool2d(rows, (1, _BLUR), 1, (0, _BLUR // 2))


def _doubled(planes: Tensor) -> Tensor:
    return functional.interpolate(planes, scale_factor=2.0, mode="nearest")


def partial_net(
    n_classes: int,
    *,
    channels: int = 3,
    size_hw: tuple[int, int] = (256, 256),
    scale: int = 1,
    dropout: float = 0.0,
    activation: str = "relu",
) -> nn.Module:
    """Build the default net for holes: about 0.4 M weights.

    >>> tuple(partial_net(1, channels=1)(torch.zeros(2, 2, 16, 24)).shape)
    (2, 1, 16, 24)

    Raises:
        UsageError: a size that strides do not divide, or one that enlarges.
    """
    if scale != 1:
        raise UsageError("expected a net that keeps the size for holes", fix="use --degrade holes:10-30")
    if any(side % PARTIAL_ALIGN for side in size_hw):
        raise UsageError(f"expected sides that {PARTIAL_ALIGN} divides, found {size_hw}", fix="change --imgsz")
    return PartialNet(channels=channels, widths=_WIDTHS, act=activation_of(activation))
