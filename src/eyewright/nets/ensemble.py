"""Several trained nets that answer as one."""

__all__ = ["Ensemble", "ensemble_builder"]

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from eyewright.nets.pixels import PixelNet


class Ensemble(nn.Module):
    """The mean of the members' calibrated probabilities, as logits: log of the mean of softmax(logits / temperature).

    A body for `PixelNet` with mean 0 and std 1: pixels come in [0, 1], each member scales them by its own numbers.
    """

    temperatures: Tensor

    def __init__(self, members: Sequence[PixelNet], temperatures: Sequence[float]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.register_buffer("temperatures", torch.tensor(temperatures, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        total: Any = 0
        for member, temperature in zip(self.members, self.temperatures.unbind(), strict=True):
            logits = member.body((x - member.mean) / member.std)  # type: ignore[operator]
            total = total + torch.softmax(logits / temperature, 1)
        out: Tensor = torch.log(total / len(self.members) + 1e-12)
        return out


def ensemble_builder(build: Callable[..., nn.Module], count: int) -> Callable[..., nn.Module]:
    """Return a builder of an ensemble of `count` nets that `build` makes; their weights come from the run."""

    class Builder:
        """A builder like any other; classes are passed on to a builder that asks for them."""

        def __init__(self, inner: Callable[..., nn.Module]) -> None:
            self._inner = inner

        def for_labels(self, labels: Any) -> "Builder":
            return Builder(self._inner.for_labels(labels)) if hasattr(self._inner, "for_labels") else self

        def __call__(self, n_classes: int, *, channels: int, **options: Any) -> nn.Module:
            flat = [0.0] * channels
            bodies = (self._inner(n_classes, channels=channels, **options) for _ in range(count))
            return Ensemble([PixelNet(b, mean=flat, std=[1.0] * channels) for b in bodies], [1.0] * count)

    return Builder(build)
