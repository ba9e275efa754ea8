"""Train a net while its numbers are rounded to 8 bits, so that it learns to tolerate it."""

__all__ = ["rounded", "rounding_step"]

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyewright.training.steps import Batch, Step, TrainState, plain_step

# As the quantiser does: 7 bits for weights, 8 bits for what flows.
_MOST_WEIGHT = 64
_MOST_CODE = 255


@contextlib.contextmanager
def rounded(net: nn.Module) -> Iterator[None]:
    """Let every convolution and dense layer of `net` compute with rounded weights and inputs while this is open.

    Weights have one scale per channel, inputs the range of their batch; gradients pass as if nothing were rounded
    (Jacob et al. 2018, "Quantization and training of neural networks"). Since batch normalisation only scales channels,
    scales a channel need not know of it.
    """
    changed: list[Any] = []
    try:
        for module in net.modules():
            if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros":
                module.forward = _convolution(module)  # type: ignore[method-assign]
            elif isinstance(module, nn.Linear):
                module.forward = _dense(module)  # type: ignore[method-assign]
            else:
                continue
            changed.append(module)
        yield
    finally:
        for module in changed:
            del module.forward


def rounding_step(inner: Step = plain_step) -> Step:
    """Return `inner` done with rounded numbers: quantisation-aware training of whatever `inner` learns."""

    def step(state: TrainState, batch: Batch) -> Tensor:
        with rounded(state.net):
            return inner(state, batch)

    return step


def _convolution(layer: nn.Conv2d) -> Any:
    def forward(x: Tensor) -> Tensor:
        weight = _round_channels(layer.weight)
        return functional.conv2d(
            _round_values(x), weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups
        )

    return forward


def _dense(layer: nn.Linear) -> Any:
    def forward(x: Tensor) -> Tensor:
        return functional.linear(_round_values(x), _round_channels(layer.weight), layer.bias)

    return forward


def _round_channels(weight: Tensor) -> Tensor:
    scale = (weight.detach().abs().flatten(1).amax(1) / _MOST_WEIGHT).clamp(min=1e-12)
    zero = torch.zeros(len(weight), dtype=torch.int32, device=weight.device)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -_MOST_WEIGHT, _MOST_WEIGHT)


def _round_values(x: Tensor) -> Tensor:
    seen = x.detach()
    low, high = seen.amin().clamp(max=0.0), seen.amax().clamp(min=0.0)
    scale = ((high - low) / _MOST_CODE).clamp(min=1e-12).reshape(1)
    zero = (-low / scale).round().clamp(0, _MOST_CODE).to(torch.int32).reshape(1)
    return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, _MOST_CODE)
