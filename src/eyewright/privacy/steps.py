"""The private training step: clip every image's gradient, add noise to the sum, divide by the expected batch."""

__all__ = ["Clipping", "private_step"]

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from eyewright.nets.pixels import PixelNet
from eyewright.privacy.gradients import Mode, clipped_sum, functional_sum, mode_of
from eyewright.privacy.sampling import noise_of
from eyewright.training.steps import Batch, Step, TrainState


@dataclass
class Clipping:
    """What a private step does: noise of `noise` × `clip` on the sum of gradients of at most `clip`, divided by the
    batch that is expected. `most` images pass through the net at once.

    `features` are what the head of a net with fixed features takes of all training images, (n, F).
    """

    clip: float
    noise: float
    expected: float
    secret: bytes
    sums: list[Tensor] = field(default_factory=list)
    mode: Mode | None = None
    features: Tensor | None = None


def private_step(clipping: Clipping) -> Step:
    """Return the step of DP-SGD (Abadi et al. 2016).

    An update may come in several batches: their clipped sums add up, and the noise is added once, when the last one
    closes it. An empty batch is an update of noise alone.
    """

    def step(state: TrainState, batch: Batch) -> Tensor:
        learnt = [p for p in state.net.parameters() if p.requires_grad]
        if batch.opens:
            clipping.sums = [torch.zeros_like(p) for p in learnt]
        loss = torch.zeros(())
        if len(batch.pixels):
            if clipping.mode is None:
                clipping.mode = mode_of(state.net)
            if clipping.mode == "layers":
                call = _call(clipping, state.net, batch)
                found = clipped_sum(
                    state.net, call, batch.targets, state.objective, clip=clipping.clip, mode=clipping.mode
                )
            else:
                found = functional_sum(state.net, batch.pixels, batch.targets, state.objective, clip=clipping.clip)
            torch._foreach_add_(clipping.sums, list(found.gradients))
            loss = found.loss
        if batch.closes:
            noise = noise_of(clipping.secret, state.step, learnt, deviation=clipping.noise * clipping.clip)
            for p, total, added in zip(learnt, clipping.sums, noise, strict=True):
                p.grad = (total + added) / clipping.expected
            clipping.sums = []
            state.optimiser.step()
        return loss

    return step


def _call(clipping: Clipping, net: PixelNet, batch: Batch) -> Callable[[], Any]:
    """Return what computes the outputs, of a net of fixed features from those that were computed beforehand."""
    body: Any = net.body
    features = clipping.features
    if features is None or batch.rows is None:
        return lambda: net(batch.pixels)
    rows = torch.from_numpy(batch.rows)
    return lambda: body.head(features[rows].float())
