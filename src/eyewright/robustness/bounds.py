"""Interval bounds: what a small net's logits can be at most and at least within an linf ball (Gowal et al. 2018)."""

__all__ = ["bounded_right", "unsupported"]

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from eyewright.nets.pixels import PixelNet

_MONOTONE = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.ELU, nn.Hardtanh)
_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Flatten)
_NOTHING = (nn.Identity, nn.Dropout, nn.Dropout2d)
_AFFINE = (nn.Linear, nn.Conv2d, nn.BatchNorm2d)
_SLACK = 1e-6
_AT_ONCE = 64


def layers_of(body: nn.Module) -> list[nn.Module]:
    """Return the layers of nested `nn.Sequential`s in order."""
    if isinstance(body, nn.Sequential):
        return [layer for part in body for layer in layers_of(part)]
    return [body]


def unsupported(net: PixelNet) -> str:
    """Return the name of the first layer that has no interval bounds here; empty where all have."""
    for layer in layers_of(net.body):
        if isinstance(layer, nn.LeakyReLU) and layer.negative_slope < 0:
            return "LeakyReLU with a negative slope"
        if not isinstance(layer, (*_MONOTONE, *_POOLS, *_NOTHING, *_AFFINE)):
            return type(layer).__name__
    return "" if isinstance(layers_of(net.body)[-1], nn.Linear) else "a last layer that is not Linear"


def bounded_right(net: PixelNet, pixels: NDArray[np.uint8], labels: NDArray[np.int64], eps: float) -> NDArray[np.bool_]:
    """Return which of uint8 (N, H, W, C) keep their true class whatever each pixel does within `eps` of [0, 1], (N,).

    The net must be a sequence of layers for which `unsupported` is empty. Bounds are computed in float64 with a slack
    of 1e-6; they are sound and often loose.
    """
    whole = [p.double() for p in (net.mean, net.std)]
    layers, last = layers_of(net.body)[:-1], layers_of(net.body)[-1]
    assert isinstance(last, nn.Linear)
    found = []
    with torch.no_grad():
        for start in range(0, len(pixels), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            x = torch.from_numpy(np.ascontiguousarray(pixels[part])).permute(0, 3, 1, 2).double() / 255
            own = torch.from_numpy(labels[part])
            low, high = ((v - whole[0]) / whole[1] for v in ((x - eps).clamp(0, 1), (x + eps).clamp(0, 1)))
            for layer in layers:
                low, high = _through(layer, low, high)
            found.append(_margin(last, low.flatten(1), high.flatten(1), own) > _SLACK)
    return torch.cat(found).numpy()


def _through(layer: nn.Module, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    if isinstance(layer, _NOTHING):
        return low, high
    if isinstance(layer, (*_MONOTONE, *_POOLS)):
        return layer(low), layer(high)
    middle, radius = (low + high) / 2, (high - low) / 2
    if isinstance(layer, nn.Linear):
        weight, bias = layer.weight.double(), None if layer.bias is None else layer.bias.double()
        centre, spread = functional.linear(middle, weight, bias), functional.linear(radius, weight.abs())
    elif isinstance(layer, nn.Conv2d):
        doubled = copy.deepcopy(layer).double()
        centre = doubled(middle)
        # The radius passes through the same convolution without signs and bias; what is padded is known.
        doubled.weight.copy_(doubled.weight.abs())
        if doubled.bias is not None:
            doubled.bias.zero_()
        spread = doubled(radius)
    else:
        assert isinstance(layer, nn.BatchNorm2d)
        assert layer.running_var is not None
        assert layer.running_mean is not None
        scale = 1 / (layer.running_var.double() + layer.eps).sqrt()
        if layer.affine:
            scale = scale * layer.weight.double()
        shift = (layer.bias.double() if layer.affine else 0) - layer.running_mean.double() * scale
        scale = scale.view(1, -1, 1, 1)
        centre, spread = middle * scale + shift.view(1, -1, 1, 1), radius * scale.abs()
    return centre - spread, centre + spread


def _margin(last: nn.Linear, low: Tensor, high: Tensor, labels: Tensor) -> Tensor:
    """Return the least that the true class's logit can be above any other, (N,): the last layer's rows are subtracted
    before they are bounded, which is tighter than bounds of each logit."""
    weight = last.weight.double()
    bias = torch.zeros(len(weight), dtype=torch.float64) if last.bias is None else last.bias.double()
    middle, radius = (low + high) / 2, (high - low) / 2
    gaps = weight[labels][:, None] - weight[None]
    least = (gaps * middle[:, None]).sum(2) - (gaps.abs() * radius[:, None]).sum(2)
    least = least + bias[labels][:, None] - bias[None]
    least[torch.arange(len(labels)), labels] = torch.inf
    return least.amin(1)
