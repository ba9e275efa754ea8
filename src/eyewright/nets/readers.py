"""Nets that read a line of text: convolutions, a recurrent layer in both directions, a class a step (Shi et al. 2017).

A builder is a function `(n_classes, *, channels, size_hw, dropout, activation) -> nn.Module`. A module takes prepared
lines in [0, 1], float32 (N, channels, H, W), of which columns of 0 at the right are no part of the line, and gives
logits (N, W / 4, 1 + n_classes); class 0 is the blank. Steps beyond the end of a line are certain blanks. What comes
out for a line does not depend on what it is batched with, nor on how far it is padded.
"""

__all__ = ["LineNet", "crnn", "crnn_gru", "steps_in"]

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyewright.core.errors import UsageError
from eyewright.nets.activations import activation_of

_STRIDE = 4
_NEVER = -1e4


def _columns_in(pixels: Tensor) -> Tensor:
    """Return which columns of lines (N, C, H, W) are part of the line, float32 (N, 1, 1, W): those before the first
    that is 0 in all rows and channels."""
    empty = (pixels.amax((1, 2), keepdim=True) <= 0).to(torch.float32)
    return (empty.cumsum(3) < 0.5).to(torch.float32)


def steps_in(pixels: Tensor) -> Tensor:
    """Return which steps of lines (N, C, H, W), of 4 columns each, are part of the line, bool (N, W / 4).

    A line ends before its first column that is 0 in all rows and channels.
    """
    return functional.max_pool2d(_columns_in(pixels), (1, _STRIDE))[:, 0, 0] > 0.5


class _Stage(nn.Module):
    """Convolution, normalisation, activation, and pooling, in which what is beyond a line stays 0."""

    def __init__(self, inside: int, outside: int, act: Callable[[], nn.Module], pool: tuple[int, int] | None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(outside)
        self.act = act()
        self.pool = nn.Identity() if pool is None else nn.MaxPool2d(pool)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        # The convolution of the next stage sees zeros beyond the line, as it does beyond the picture.
        found: Tensor = self.pool(self.act(self.norm(self.conv(x)))) * mask
        return found


class _BothWays(nn.Module):
    """A recurrent layer from the left and one from the end of each line, (N, T, D) to (N, T, 2 * hidden).

    The lines of a batch end at different steps. The second layer reads each line turned round at its own end, so that
    it begins with its last step and not with padding.
    """

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU], inside: int, hidden: int) -> None:
        super().__init__()
        self.ahead = kind(inside, hidden, batch_first=True)
        self.back = kind(inside, hidden, batch_first=True)

    def forward(self, features: Tensor, steps: Tensor) -> Tensor:
        length = steps.sum(1, keepdim=True)
        place = torch.arange(features.shape[1], device=features.device)[None]
        turned = torch.where(place < length, length - 1 - place, place)[..., None]
        ahead = self.ahead(features)[0]
        back = self.back(features.gather(1, turned.expand(-1, -1, features.shape[2])))[0]
        back = back.gather(1, turned.expand(-1, -1, back.shape[2]))
        return torch.cat([ahead, back], 2)


class LineNet(nn.Module):
    """Convolutions that reduce the height to 1 and the width to a fourth, a recurrent layer both ways, and logits.

    >>> lines = torch.rand(2, 1, 32, 64)
    >>> crnn(5, channels=1, size_hw=(32, 64))(lines).shape
    torch.Size([2, 16, 6])
    """

    blank: Tensor
    is_traced = True
    """Its ONNX model is made by tracing: other exporters take minutes for recurrent layers over any width."""

    def __init__(
        self,
        n_classes: int,
        *,
        channels: int,
        height: int,
        kind: type[nn.LSTM] | type[nn.GRU],
        dropout: float,
        act: Callable[[], nn.Module],
        widths: tuple[int, ...] = (16, 32, 64, 96),
        hidden: int = 96,
    ) -> None:
        super().__init__()
        a, b, c, d = widths
        self.stages = nn.ModuleList(
            [
                _Stage(channels, a, act, (2, 2)),
                _Stage(a, b, act, (2, 2)),
                _Stage(b, c, act, None),
                _Stage(c, c, act, (2, 1)),
                _Stage(c, d, act, (2, 1)),
            ]
        )
        self.squeeze = nn.Conv2d(d, d, (height // 16, 1), bias=False)
        self.squeeze_norm = nn.BatchNorm2d(d)
        self.squeeze_act = act()
        self.drop = nn.Dropout(dropout)
        self.recurrent = _BothWays(kind, d, hidden)
        self.out = nn.Linear(2 * hidden, 1 + n_classes)
        blank = torch.full((1 + n_classes,), _NEVER)
        blank[0] = 0
        self.register_buffer("blank", blank, persistent=False)

    def forward(self, lines: Tensor) -> Tensor:
        if torch.compiler.is_exporting() or torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
            return self._read(lines)
        # What is beyond the longest line of a batch costs time and changes nothing.
        whole = lines.shape[3] // _STRIDE
        longest = max(1, int(steps_in(lines).sum(1).max())) if len(lines) else 1
        found = self._read(lines[..., : longest * _STRIDE])
        if longest == whole:
            return found
        blank = torch.full_like(found[:, :1], _NEVER)
        blank[..., 0] = 0
        return torch.cat([found, blank.expand(-1, whole - longest, -1)], 1)

    def _read(self, lines: Tensor) -> Tensor:
        columns = _columns_in(lines)
        finer = functional.max_pool2d(columns, (1, 2))
        mask = functional.max_pool2d(finer, (1, 2))
        steps = mask[:, 0, 0] > 0.5
        # Dark ink on bright paper: with the paper at 0 a line begins and ends as if there were more paper.
        x = (1 - lines) * columns
        for stage, own in zip(self.stages, (finer, mask, mask, mask, mask), strict=True):
            x = stage(x, own)
        x = self.squeeze_act(self.squeeze_norm(self.squeeze(x)))[:, :, 0].transpose(1, 2)
        found = self.out(self.drop(self.recurrent(self.drop(x), steps)))
        inside = steps[..., None].to(found.dtype)
        # Beyond its end a line has certain blanks.
        answers: Tensor = found * inside + self.blank * (1 - inside)
        return answers


def crnn(
    n_classes: int,
    *,
    channels: int = 1,
    size_hw: tuple[int, int] = (32, 256),
    dropout: float = 0.1,
    activation: str = "relu",
) -> nn.Module:
    """Build the reader with an LSTM each way (Hochreiter and Schmidhuber 1997), 96 units: ~0.4 M weights."""
    return _build(n_classes, channels, size_hw, nn.LSTM, dropout, activation)


def crnn_gru(
    n_classes: int,
    *,
    channels: int = 1,
    size_hw: tuple[int, int] = (32, 256),
    dropout: float = 0.1,
    activation: str = "relu",
) -> nn.Module:
    """Build the reader with a GRU each way (Cho et al. 2014), 96 units."""
    return _build(n_classes, channels, size_hw, nn.GRU, dropout, activation)


def _build(
    n_classes: int,
    channels: int,
    size_hw: tuple[int, int],
    kind: type[nn.LSTM] | type[nn.GRU],
    dropout: float,
    activation: str,
) -> LineNet:
    if size_hw[0] % 16 or size_hw[1] % _STRIDE:
        raise UsageError(
            f"expected lines of a height that is a multiple of 16, and of a width that is one of {_STRIDE}, found "
            f"{size_hw[0]}x{size_hw[1]}",
            fix="use --imgsz 32",
        )
    return LineNet(
        n_classes,
        channels=channels,
        height=size_hw[0],
        kind=kind,
        dropout=dropout,
        act=activation_of(activation),
    )


for _builder in (crnn, crnn_gru):
    # Pixels stay as they are, so that what is 0 can be told to be no part of a line.
    _builder.scaling = {"mean": [0.0], "std": [1.0]}  # type: ignore[attr-defined]
