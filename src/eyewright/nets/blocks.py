"""What detectors and segmenters are built of."""

__all__ = ["ConvNorm", "Residual", "Trunk", "depthwise"]

from torch import Tensor, nn

from eyewright.core.errors import UsageError
from eyewright.nets.classifiers import WhitenedStem


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch normalisation, activation; padded so that only `stride` changes the size."""

    def __init__(
        self,
        inward: int,
        outward: int,
        *,
        act: type[nn.Module],
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
    ) -> None:
        pad = dilation * (kernel // 2)
        super().__init__(
            nn.Conv2d(
                inward, outward, kernel, stride=stride, padding=pad, groups=groups, dilation=dilation, bias=False
            ),
            nn.BatchNorm2d(outward),
            act(),
        )


class Residual(nn.Module):
    """A convolution around which the signal can pass."""

    def __init__(self, width: int, *, act: type[nn.Module]) -> None:
        super().__init__()
        self.conv = ConvNorm(width, width, act=act)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv(x)
        return out


def depthwise(
    inward: int, outward: int, *, act: type[nn.Module], kernel: int = 3, stride: int = 1, dilation: int = 1
) -> nn.Module:
    """Return a depthwise-separable convolution (Howard et al. 2017): one filter per channel, then a 1x1 convolution."""
    return nn.Sequential(
        ConvNorm(inward, inward, act=act, kernel=kernel, stride=stride, groups=inward, dilation=dilation),
        ConvNorm(inward, outward, act=act, kernel=1),
    )


class Trunk(nn.Module):
    """The backbone of detectors and segmenters: a whitened stem that sees 8x8 pixels, and a stage of convolutions for
    each of `widths`, which halves the map. Gives the stem's map, at a quarter of the size, and every stage's."""

    def __init__(
        self,
        *,
        channels: int,
        size_hw: tuple[int, int],
        widths: tuple[int, int, int],
        depth: int,
        act: type[nn.Module],
    ) -> None:
        super().__init__()
        smallest = 4 * 2 ** len(widths)
        if size_hw[0] % smallest or size_hw[1] % smallest:
            raise UsageError(
                f"expected an image size in steps of {smallest}, found {size_hw[1]}x{size_hw[0]}", fix="change --imgsz"
            )
        self.stem = WhitenedStem(channels, kernel=8, stride=4, most=32)
        self.act = act()
        inward = (self.stem.out_channels, *widths[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(ConvNorm(a, b, act=act, stride=2), *(Residual(b, act=act) for _ in range(depth)))
            for a, b in zip(inward, widths, strict=True)
        )

    def fit_patches(self, images: Tensor) -> None:
        """Set the stem from training images, float32 (N, C, H, W), normalised."""
        self.stem.fit_patches(images[:256])

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [self.act(self.stem(x))]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps
