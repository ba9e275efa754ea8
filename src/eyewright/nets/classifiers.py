"""Classifier builders. Each is a function `(n_classes, *, channels, size_hw, dropout, activation) -> nn.Module`.

A module takes float32 (N, channels, H, W), normalised, and gives logits (N, n_classes).
"""

__all__ = ["conv_net", "mlp", "photo_net", "quick_net", "resnet"]

import torch
from torch import Tensor, nn

from eyewright.core.errors import UsageError
from eyewright.nets.activations import activation_of


def conv_net(
    n_classes: int,
    *,
    channels: int = 3,
    size_hw: tuple[int, int] = (32, 32),
    dropout: float = 0.0,
    activation: str = "relu",
) -> nn.Module:
    """Build the founding article's network, layer by layer as it is printed.

    Conv 32-3x3, MaxPool 2, Conv 64-3x3, MaxPool 2, Conv 64-3x3, Flatten, Dense 64, Dense classes; no padding. The
    activation comes after the pooling where it never falls, since the largest of four then stays the largest: the same
    numbers for a quarter of the work.

    >>> from eyewright.nets.pixels import parameter_count
    >>> parameter_count(conv_net(10))
    122570

    Raises:
        UsageError: the image is smaller than 18 pixels a side, so nothing is left to flatten.
    """
    rows, columns = (((side - 2) // 2 - 2) // 2 - 2 for side in size_hw)
    if min(rows, columns) < 1:
        raise UsageError(f"conv_net needs images of 18 pixels a side or more, found {size_hw}", fix="raise --imgsz")
    act = activation_of(activation)

    def pooled() -> list[nn.Module]:
        rising = activation in ("relu", "tanh", "sigmoid")
        return [nn.MaxPool2d(2), act()] if rising else [act(), nn.MaxPool2d(2)]

    return nn.Sequential(
        nn.Conv2d(channels, 32, 3),
        *pooled(),
        nn.Conv2d(32, 64, 3),
        *pooled(),
        nn.Conv2d(64, 64, 3),
        act(),
        nn.Flatten(),
        nn.Linear(64 * rows * columns, 64),
        act(),
        nn.Dropout(dropout),
        nn.Linear(64, n_classes),
    )


def mlp(
    n_classes: int,
    *,
    channels: int = 3,
    size_hw: tuple[int, int] = (32, 32),
    dropout: float = 0.0,
    activation: str = "relu",
    hidden: tuple[int, ...] = (256, 128),
) -> nn.Module:
    """Build a multilayer perceptron: flatten, `hidden` dense layers, classes."""
    act = activation_of(activation)
    layers: list[nn.Module] = [nn.Flatten()]
    width = channels * size_hw[0] * size_hw[1]
    for size in hidden:
        layers += [nn.Linear(width, size), act(), nn.Dropout(dropout)]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, n_classes))


class WhitenedStem(nn.Module):
    """A fixed first convolution that decorrelates patches (K. Jordan, "94% on CIFAR-10 in 3.29 seconds", 2024).

    Its filters are the leading eigenvectors of the covariance of training patches, each scaled to unit variance and
    taken with both signs. `fit_patches` computes them; nothing here is learnt, which saves the costliest gradient.
    """

    def __init__(self, channels: int, *, kernel: int, stride: int, most: int) -> None:
        super().__init__()
        self.channels, self.kernel, self.stride = channels, kernel, stride
        self.n_vectors = min(most, channels * kernel * kernel)
        self.register_buffer("weight", torch.zeros(2 * self.n_vectors, channels, kernel, kernel))
        nn.init.orthogonal_(self.weight)
        self.weight: Tensor

    @property
    def out_channels(self) -> int:
        return 2 * self.n_vectors

    @torch.no_grad()
    def fit_patches(self, images: Tensor, *, eps: float = 5e-4) -> None:
        """Set the filters from images, float32 (N, C, H, W), normalised as in training."""
        patches = nn.functional.unfold(images[:2048], self.kernel, stride=max(1, self.stride))
        flat = patches.permute(0, 2, 1).reshape(-1, patches.shape[1]).double()
        covariance = flat.T @ flat / len(flat)
        values, vectors = torch.linalg.eigh(covariance)
        values, vectors = values.flip(0)[: self.n_vectors], vectors.flip(1)[:, : self.n_vectors]
        # An eigenvector's sign is arbitrary; fixing it makes equal data give equal filters on every machine.
        vectors = vectors * torch.sign(vectors[vectors.abs().argmax(0), torch.arange(vectors.shape[1])])
        filters = (vectors / (values.clamp(min=0) + eps).sqrt()).T.float()
        shaped = filters.reshape(-1, self.channels, self.kernel, self.kernel)
        self.weight.copy_(torch.cat([shaped, -shaped]))

    def forward(self, x: Tensor) -> Tensor:
        pad = (self.kernel - self.stride) // 2
        return nn.functional.conv2d(x, self.weight, stride=self.stride, padding=pad)


class _Stage(nn.Module):
    """Conv, halve, normalise, activate; then `extra` more convolutions around which the signal can pass."""

    def __init__(self, inward: int, outward: int, *, halve: bool, extra: int, act: type[nn.Module]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inward, outward, 3, padding=1, bias=False)
        self.halve = nn.MaxPool2d(2) if halve else nn.Identity()
        self.norm = nn.BatchNorm2d(outward)
        self.act = act()
        self.more = nn.ModuleList(
            nn.Sequential(nn.Conv2d(outward, outward, 3, padding=1, bias=False), nn.BatchNorm2d(outward), act())
            for _ in range(extra)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.halve(self.conv(x))))
        for block in self.more:
            x = x + block(x)
        return x


class WhitenedNet(nn.Module):
    """A whitened stem, a few stages, mean and maximum over the map, one linear layer.

    `soften` takes the mean over 2x2 of what the stem found: a quarter of the cost of the first stage, which is most of
    the whole, and in photographs no loss.
    """

    def __init__(
        self,
        n_classes: int,
        *,
        channels: int,
        stem: WhitenedStem,
        soften: bool = False,
        widths: tuple[int, ...],
        extra: int,
        halvings: int,
        dropout: float,
        act: type[nn.Module],
    ) -> None:
        super().__init__()
        self.stem = stem
        self.act = act()
        self.soften = nn.AvgPool2d(2) if soften else nn.Identity()
        inward = (stem.out_channels, *widths)
        self.stages = nn.Sequential(
            *(
                _Stage(a, b, halve=i < halvings, extra=extra, act=act)
                for i, (a, b) in enumerate(zip(inward, widths, strict=False))
            )
        )
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(2 * widths[-1], n_classes)

    def fit_patches(self, images: Tensor) -> None:
        """Set the stem from training images, float32 (N, C, H, W), normalised."""
        self.stem.fit_patches(images)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.soften(self.act(self.stem(x))))
        pooled = torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)
        out: Tensor = self.head(self.drop(pooled))
        return out


def quick_net(
    n_classes: int,
    *,
    channels: int = 3,
    size_hw: tuple[int, int] = (32, 32),
    dropout: float = 0.0,
    activation: str = "relu",
) -> nn.Module:
    """Build the default for small images (up to about 64 pixels a side): 0.08 to 0.2 M weights, made to train fast.

    Colour images of 28 pixels or more are softened after the stem, which pays for wider stages; in drawings and
    letters, which are grey, single strokes count.
    """
    side = min(size_hw)
    stride = 1 if side < 20 else 2
    stem = WhitenedStem(channels, kernel=3 if stride == 1 else 4, stride=stride, most=24)
    soften = channels == 3 and side // stride >= 14
    # Down to a map of 4x4 or a little more: fewer cells would leave Grad-CAM nothing to point with.
    halvings = max(1, min(3, (side // stride // (2 if soften else 1)).bit_length() - 3))
    return WhitenedNet(
        n_classes,
        channels=channels,
        stem=stem,
        soften=soften,
        widths=(64, 96, 128) if soften else (48, 64, 64),
        extra=0,
        halvings=halvings,
        dropout=dropout,
        act=activation_of(activation),
    )


def photo_net(
    n_classes: int,
    *,
    channels: int = 3,
    size_hw: tuple[int, int] = (96, 96),
    dropout: float = 0.0,
    activation: str = "gelu",
) -> nn.Module:
    """Build the default for photographs: a whitened stem that sees 8x8 patches, three residual stages."""
    side = min(size_hw)
    stride = 4 if side >= 80 else 2 if side >= 24 else 1
    stem = WhitenedStem(channels, kernel=2 * stride if stride > 1 else 3, stride=stride, most=32)
    halvings = max(1, min(3, (side // stride).bit_length() - 3))
    return WhitenedNet(
        n_classes,
        channels=channels,
        stem=stem,
        widths=(64, 128, 192),
        extra=1,
        halvings=halvings,
        dropout=dropout,
        act=activation_of(activation),
    )


class _Residual(nn.Module):
    """The basic block of He et al. 2016, "Deep residual learning for image recognition", figure 2."""

    def __init__(self, inward: int, outward: int, *, stride: int, act: type[nn.Module]) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inward, outward, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outward),
            act(),
            nn.Conv2d(outward, outward, 3, padding=1, bias=False),
            nn.BatchNorm2d(outward),
        )
        self.around = (
            nn.Identity()
            if stride == 1 and inward == outward
            else nn.Sequential(nn.Conv2d(inward, outward, 1, stride=stride, bias=False), nn.BatchNorm2d(outward))
        )
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.body(x) + self.around(x))
        return out


def resnet(
    n_classes: int,
    *,
    channels: int = 3,
    size_hw: tuple[int, int] = (32, 32),
    dropout: float = 0.0,
    activation: str = "relu",
    widths: tuple[int, ...] = (32, 64, 128, 256),
    depth: int = 2,
) -> nn.Module:
    """Build a residual network: `depth` basic blocks per stage; images of 96 pixels or more get the large stem."""
    act = activation_of(activation)
    large = min(size_hw) >= 96
    stem: list[nn.Module] = [
        nn.Conv2d(
            channels, widths[0], 7 if large else 3, stride=2 if large else 1, padding=3 if large else 1, bias=False
        ),
        nn.BatchNorm2d(widths[0]),
        act(),
    ]
    if large:
        stem.append(nn.MaxPool2d(3, stride=2, padding=1))
    inward = widths[0]
    blocks: list[nn.Module] = []
    for stage, width in enumerate(widths):
        for i in range(depth):
            blocks.append(_Residual(inward, width, stride=2 if i == 0 and stage > 0 else 1, act=act))
            inward = width
    return nn.Sequential(*stem, *blocks, _MeanPool(), nn.Dropout(dropout), nn.Linear(inward, n_classes))


class _MeanPool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))
