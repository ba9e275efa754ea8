"""Nets for clips: one small convolutional encoder for every frame, and a head that joins the frames over time.

Each builder is a function `(n_classes, *, channels, size_hw, frames, dropout, activation) -> nn.Module`. A module takes
the normalised strips of clips, float32 (N, channels, frames * H, W), and gives logits (N, n_classes). `mean_net` cannot
tell the order of frames; it is the baseline that the others are compared with.
"""

__all__ = [
    "ClipNet",
    "RunningPlanes",
    "clip_former",
    "gru_net",
    "gru_stream_net",
    "lstm_net",
    "lstm_stream_net",
    "mean_net",
    "share_encoder",
]

from collections.abc import Callable

import torch
from torch import Tensor, nn

from eyewright.core.errors import UsageError
from eyewright.nets.activations import activation_of

_WIDTH = 96
_HIDDEN = 64


class MotionPlanes(nn.Module):
    """What moves, and what is there: three planes for every channel, in units of the clip's own contrast.

    From (N, C, T, H, W) to (N * T, 3 * C, H, W): the frame less the clip's mean brightness, the frame less the mean
    picture of the clip (what stands still vanishes), and the change from the frame before to the frame after. The
    first two do not depend on the order of frames; without `change` there are no others, (N * T, 2 * C, H, W).
    """

    def __init__(self, *, change: bool) -> None:
        super().__init__()
        self.change = change

    def forward(self, clips: Tensor) -> Tensor:
        still = clips.mean(2, keepdim=True)
        level = still.mean((1, 3, 4), keepdim=True)
        contrast = (still - level).square().mean((1, 3, 4), keepdim=True).sqrt() + 0.05
        shown = [clips - level, clips - still]
        if self.change:
            before = torch.cat([clips[:, :, :1], clips[:, :, :-1]], 2)
            after = torch.cat([clips[:, :, 1:], clips[:, :, -1:]], 2)
            shown.append(after - before)
        planes = torch.cat(shown, 1) / contrast
        return planes.transpose(1, 2).flatten(0, 1)


class RunningPlanes(nn.Module):
    """The planes of `MotionPlanes` from the frames until now only, so that a stream needs each frame once.

    The mean picture is that of the frames until now, after `frames` of them an exponential mean that forgets at that
    rate; the change is that since two frames before. From (N, C, T, H, W) to (N * T, 3 * C, H, W).
    """

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.change = True

    def forward(self, clips: Tensor) -> Tensor:
        counts = torch.arange(1, clips.shape[2] + 1, dtype=clips.dtype, device=clips.device)
        still = clips.cumsum(2) / counts[:, None, None]
        before = torch.cat([clips[:, :, :1], clips[:, :, :1], clips[:, :, :-2]], 2)
        return _planes_of(clips, still, before).transpose(1, 2).flatten(0, 1)

    def step(self, frame: Tensor, still: Tensor, before: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the planes of the next frame, the mean picture with it, and the last two frames.

        `frame` and `still` are (N, C, H, W), `before` (N, 2, C, H, W), `seen` (1,) the number of frames until now.
        """
        first = (seen < 0.5).to(frame.dtype)
        still = still + (frame - still) / torch.clamp(seen + 1, max=float(self.frames))
        older, newer = (first * frame + (1 - first) * b for b in before.unbind(1))
        planes = _planes_of(frame[:, :, None], still[:, :, None], older[:, :, None])[:, :, 0]
        return planes, still, torch.stack([newer, frame], 1)


def _planes_of(clips: Tensor, still: Tensor, before: Tensor) -> Tensor:
    level = still.mean((1, 3, 4), keepdim=True)
    contrast = (still - level).square().mean((1, 3, 4), keepdim=True).sqrt() + 0.05
    return torch.cat([clips - level, clips - still, clips - before], 1) / contrast


class _Residual(nn.Module):
    def __init__(self, inside: int, outside: int, act: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.first = nn.Conv2d(inside, outside, 3, 2, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outside)
        self.second = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outside)
        self.skip = nn.Conv2d(inside, outside, 1, 2, bias=False)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.act(self.first_norm(self.first(x)))
        out: Tensor = self.act(self.second_norm(self.second(inner)) + self.skip(x))
        return out


class FrameEncoder(nn.Module):
    """Frames as planes, (M, planes, H, W), to features (M, 96): mean and maximum over the picture."""

    def __init__(self, planes: int, act: Callable[[], nn.Module], dropout: float, width: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(planes, width, 5, 2, 2, bias=False),
            nn.BatchNorm2d(width),
            act(),
            _Residual(width, 2 * width, act),
            _Residual(2 * width, 4 * width, act),
            _Residual(4 * width, 6 * width, act),
        )
        self.out = nn.Sequential(nn.Linear(12 * width, _WIDTH), act(), nn.Dropout(dropout))

    def forward(self, frames: Tensor) -> Tensor:
        found = self.body(frames)
        out: Tensor = self.out(torch.cat([found.mean((2, 3)), found.amax((2, 3))], 1))
        return out


class _Recurrent(nn.Module):
    """A bidirectional recurrent layer over features (N, T, D)."""

    def __init__(self, kind: type[nn.GRU] | type[nn.LSTM]) -> None:
        super().__init__()
        self.layer = kind(_WIDTH, _HIDDEN, batch_first=True, bidirectional=True)
        self.width = 2 * _HIDDEN

    def forward(self, features: Tensor) -> Tensor:
        found: Tensor = self.layer(features)[0]
        return found


class _Attentive(nn.Module):
    """Two layers of self-attention over time, with learnt positions (Vaswani et al. 2017)."""

    def __init__(self, frames: int, dropout: float) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(1, frames, _WIDTH) * 0.02)
        layer = nn.TransformerEncoderLayer(_WIDTH, 4, 2 * _WIDTH, dropout, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.width = _WIDTH

    def forward(self, features: Tensor) -> Tensor:
        found: Tensor = self.layers(features + self.positions)
        return found


class _Orderless(nn.Module):
    """Features as they are: what is taken of them afterwards does not depend on their order."""

    width = _WIDTH

    def forward(self, features: Tensor) -> Tensor:
        return features


class ClipNet(nn.Module):
    """An encoder for frames, a head over time, and logits from the head's mean and maximum over time.

    >>> clips = torch.rand(2, 1, 8 * 24, 32)
    >>> gru_net(3, channels=1, size_hw=(8 * 24, 32), frames=8)(clips).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        planes: nn.Module,
        encoder: nn.Module,
        head: nn.Module,
        n_classes: int,
        *,
        frames: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.planes, self.encoder, self.head, self.frames = planes, encoder, head, frames
        width: int = head.width  # type: ignore[assignment]
        self.out = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * width, n_classes))

    def features(self, strips: Tensor) -> Tensor:
        """Return each frame's features, (N, T, 96)."""
        n, channels, height, width = strips.shape
        clips = strips.reshape(n, channels, self.frames, height // self.frames, width)
        found: Tensor = self.encoder(self.planes(clips))
        return found.reshape(n, self.frames, -1)

    def forward(self, strips: Tensor) -> Tensor:
        return self.join(self.features(strips))

    def join(self, features: Tensor) -> Tensor:
        """Return logits from the features of a clip's frames, (N, T, 96)."""
        found = self.head(features)
        logits: Tensor = self.out(torch.cat([found.mean(1), found.amax(1)], 1))
        return logits


def gru_net(
    n_classes: int,
    *,
    channels: int = 3,
    size_hw: tuple[int, int] = (32 * 72, 96),
    frames: int = 32,
    dropout: float = 0.3,
    activation: str = "relu",
) -> nn.Module:
    """Build an encoder with a bidirectional GRU of 64 units (Cho et al. 2014)."""
    return _build(n_classes, channels, size_hw, frames, dropout, activation, _Recurrent(nn.GRU))


def lstm_net(
    n_classes: int,
    *,
    channels: int = 3,
    size_hw: tuple[int, int] = (32 * 72, 96),
    frames: int = 32,
    dropout: float = 0.3,
    activation: str = "relu",
) -> nn.Module:
    """Build an encoder with a bidirectional LSTM of 64 units (Hochreiter and Schmidhuber 1997)."""
    return _build(n_classes, channels, size_hw, frames, dropout, activation, _Recurrent(nn.LSTM))


def gru_stream_net(
    n_classes: int,
    *,
    channels: int = 3,
    size_hw: tuple[int, int] = (32 * 72, 96),
    frames: int = 32,
    dropout: float = 0.3,
    activation: str = "relu",
) -> nn.Module:
    """Build `gru_net` with planes that do not look ahead: for streams, where each frame is encoded once."""
    head, planes = _Recurrent(nn.GRU), RunningPlanes(frames)
    return _build(n_classes, channels, size_hw, frames, dropout, activation, head, planes)


def lstm_stream_net(
    n_classes: int,
    *,
    channels: int = 3,
    size_hw: tuple[int, int] = (32 * 72, 96),
    frames: int = 32,
    dropout: float = 0.3,
    activation: str = "relu",
) -> nn.Module:
    """Build `lstm_net` with planes that do not look ahead: for streams, where each frame is encoded once."""
    head, planes = _Recurrent(nn.LSTM), RunningPlanes(frames)
    return _build(n_classes, channels, size_hw, frames, dropout, activation, head, planes)


def clip_former(
    n_classes: int,
    *,
    channels: int = 3,
    size_hw: tuple[int, int] = (32 * 72, 96),
    frames: int = 32,
    dropout: float = 0.3,
    activation: str = "relu",
) -> nn.Module:
    """Build an encoder with a transformer over time: two layers of four heads."""
    return _build(n_classes, channels, size_hw, frames, dropout, activation, _Attentive(frames, dropout))


def mean_net(
    n_classes: int,
    *,
    channels: int = 3,
    size_hw: tuple[int, int] = (32 * 72, 96),
    frames: int = 32,
    dropout: float = 0.3,
    activation: str = "relu",
) -> nn.Module:
    """Build an encoder whose features are averaged over time: the baseline that cannot see the order of frames."""
    return _build(n_classes, channels, size_hw, frames, dropout, activation, _Orderless())


@torch.no_grad()
def share_encoder(trained: nn.Module, new: nn.Module) -> None:
    """Copy the frame encoder of a net of clips into another; of planes that the other lacks, nothing is copied."""
    assert isinstance(trained, ClipNet)
    assert isinstance(new, ClipNet)
    theirs = trained.encoder.state_dict()
    for name, own in new.encoder.state_dict().items():
        # The planes of motion come last (`MotionPlanes`).
        own.copy_(theirs[name][:, : own.shape[1]] if own.ndim == 4 else theirs[name])


def _build(
    n_classes: int,
    channels: int,
    size_hw: tuple[int, int],
    frames: int,
    dropout: float,
    activation: str,
    head: nn.Module,
    planes: nn.Module | None = None,
) -> nn.Module:
    if size_hw[0] % frames or min(size_hw[0] // frames, size_hw[1]) < 16:
        raise UsageError(
            f"expected {frames} frames of 16 pixels a side or more, found a strip of {size_hw}", fix="raise --imgsz"
        )
    ordered = not isinstance(head, _Orderless)
    planes = planes or MotionPlanes(change=ordered)
    encoder = FrameEncoder((3 if ordered else 2) * channels, activation_of(activation), dropout)
    return ClipNet(planes, encoder, head, n_classes, frames=frames, dropout=dropout)
