"""What detectors and segmenters are built of."""

__all__ = ["ConvNorm", "Residual", "depthwise"]

from torch import Tensor, nn


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
    """Give a depthwise-separable convolution (Howard et al. 2017): one filter a channel, then a mix of the channels."""
    return nn.Sequential(
        ConvNorm(inward, inward, act=act, kernel=kernel, stride=stride, groups=inward, dilation=dilation),
        ConvNorm(inward, outward, act=act, kernel=1),
    )
