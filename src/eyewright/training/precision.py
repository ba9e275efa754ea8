"""Whether a net is trained in bfloat16: on a CPU only where it has the instructions and a short probe shows a gain."""

__all__ = ["cpu_has_bfloat16", "cpu_speedup", "trains_in_bfloat16"]

import functools
import time

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyewright.training.recipe import Recipe

# Well above the noise of a busy machine: where bfloat16 is not computed by the processor it is 20 to 70 times slower.
_WORTH = 1.3
_ROUNDS = 3
_CONVOLUTIONAL = 0.5


def trains_in_bfloat16(recipe: Recipe, device: torch.device, net: nn.Module, *, processes: int = 1) -> bool:
    """Return whether forward and loss are computed in bfloat16; the weights and their updates stay in float32.

    On a CPU "auto" does so for nets most of whose weights are in convolutions, because others gain little, and in a
    single process, because the probes of several may disagree.
    """
    if recipe.amp == "off":
        return False
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device.type != "cpu" or not cpu_has_bfloat16():
        return False
    if recipe.amp == "on":
        return True
    return processes == 1 and _mostly_convolutions(net) and cpu_speedup() >= _WORTH


def cpu_has_bfloat16() -> bool:
    """Return whether this processor multiplies bfloat16 in hardware, by AVX512-BF16 or AMX, as PyTorch reports it."""
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name, lambda: False)()) for name in asked)


@functools.cache
def cpu_speedup() -> float:
    """Return how many times as fast a training step of a convolution is in bfloat16; measured once a process.

    CPU time and not wall time is compared, each the best of a few, so that other work on the machine does not decide.
    """
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        layer = nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = torch.randn(4, 64, 28, 28).to(memory_format=torch.channels_last)
        best = {low: min(_step_s(layer, images, low) for _ in range(_ROUNDS + 1)) for low in (False, True)}
    return best[False] / max(best[True], 1e-9)


def _step_s(layer: nn.Conv2d, images: Tensor, low: bool) -> float:
    started = time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        loss = functional.relu(layer(functional.relu(layer(images)))).float().mean()
    loss.backward()  # type: ignore[no-untyped-call]
    layer.zero_grad(set_to_none=True)
    return time.process_time() - started


def _mostly_convolutions(net: nn.Module) -> bool:
    every = sum(p.numel() for p in net.parameters())
    own = sum(m.weight.numel() for m in net.modules() if isinstance(m, nn.Conv2d))
    return own >= _CONVOLUTIONAL * max(1, every)
