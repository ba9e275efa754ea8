"""Several trained nets that answer as one."""

__all__ = ["Ensemble", "MeanOf", "ensemble_builder", "mean_of_distributions"]

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from eyewright.nets.pixels import PixelNet

MeanOf = Callable[[Iterable[Tensor], int], Tensor]
"""`(logits of each net, number of nets)`, divided by their temperatures already, to the logits of the mean answer."""


def mean_of_distributions(logits: Iterable[Tensor], count: int) -> Tensor:
    """Return the log of the mean of softmax(logits)."""
    total: Any = 0
    for own in logits:
        total = total + torch.softmax(own, 1)
    out: Tensor = torch.log(total / count + 1e-12)
    return out


class Ensemble(nn.Module):
    """The mean of the members' calibrated probabilities, as logits that `mean` makes of those of the members.

    A body for `PixelNet` with mean 0 and std 1: pixels come in [0, 1], each member scales them by its own numbers.
    """

    temperatures: Tensor

    def __init__(
        self, members: Sequence[PixelNet], temperatures: Sequence[float], mean: MeanOf = mean_of_distributions
    ) -> None:
        super().__init__()
        self._mean = mean
        self.members = nn.ModuleList(members)
        self.register_buffer("temperatures", torch.tensor(temperatures, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        each = zip(self.members, self.temperatures.unbind(), strict=True)
        logits = (m.body((x - m.mean) / m.std) / temperature for m, temperature in each)  # type: ignore[operator]
        return self._mean(logits, len(self.members))


def ensemble_builder(
    build: Callable[..., nn.Module], count: int, mean: MeanOf = mean_of_distributions
) -> Callable[..., nn.Module]:
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
            return Ensemble([PixelNet(b, mean=flat, std=[1.0] * channels) for b in bodies], [1.0] * count, mean)

    return Builder(build)
