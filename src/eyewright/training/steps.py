"""One update of a net, as a function that can be exchanged for another."""

__all__ = ["Batch", "Step", "TrainState", "alternating_step", "own_loss", "plain_step", "update"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eyewright.nets.pixels import PixelNet
from eyewright.training.distributed import World
from eyewright.training.objectives import Objective
from eyewright.training.optimisers import Joined, Optimiser
from eyewright.training.recipe import Recipe

if TYPE_CHECKING:
    from eyewright.training.loop import Augmenter


@dataclass(frozen=True)
class Batch:
    """Augmented images that pass through the net at once: uint8 (B, H, W, C) and their targets, class ids int64 (B,)
    or what else the task learns from, a tensor or a tuple of tensors with one row per image.

    `share` is the part that they have in the update; `opens` and `closes` say whether the update begins and ends with
    them; `rows` are their rows among the training images, where there is a guard. Where images are mixed, `others` are
    the class ids of what was mixed in, int64 (B,), and `kept` is the fraction of an image that stayed its own.
    """

    pixels: Tensor
    targets: Any
    share: float = 1.0
    rows: NDArray[np.int64] | None = None
    opens: bool = True
    closes: bool = True
    others: Tensor | None = None
    kept: float = 1.0


@dataclass
class TrainState:
    """What an update reads and changes. `low_precision` asks for bfloat16 in forward and loss; `progress` is how far
    the run is, in [0, 1], and `step` how many updates were done.

    `augmentation` is what is applied to the images of a batch, for a step that takes images of its own; `signals` are
    those that came and wait for the end of the update, for a step that waits for others.
    """

    net: PixelNet
    optimiser: Optimiser
    objective: Objective
    recipe: Recipe
    world: World = field(default_factory=World)
    low_precision: bool = False
    progress: float = 0.0
    step: int = 0
    augmentation: "Augmenter | None" = None
    signals: Sequence[int] = ()


class Step(Protocol):
    """Forward and backward for one batch, and the update when the batch closes one; gives the loss before it."""

    def __call__(self, state: TrainState, batch: Batch) -> Tensor: ...


def in_float32(outputs: Any) -> Any:
    """Return the outputs of a net with every tensor of floats in float32; tuples, lists and dicts keep their form."""
    if isinstance(outputs, Tensor):
        return outputs.float() if outputs.is_floating_point() else outputs
    if isinstance(outputs, dict):
        return {name: in_float32(value) for name, value in outputs.items()}
    if isinstance(outputs, tuple) and hasattr(outputs, "_fields"):
        return type(outputs)(*map(in_float32, outputs))
    if type(outputs) in (tuple, list):
        return type(outputs)(in_float32(value) for value in outputs)
    return outputs


def plain_step(state: TrainState, batch: Batch) -> Tensor:
    """Do the usual update: forward, loss, backward, and where an update closes, penalty, clip, step."""
    return update(state, batch, lambda outputs: own_loss(state, batch, outputs))


def alternating_step(state: TrainState, batch: Batch) -> Tensor:
    """Update the parts of a body that are learnt apart (`learnt_apart`), one after the other, each against the others
    as they are then; return the loss of the first.

    The objective gets `(name of the part, body, images float32 (N, C, H, W))` and the targets. A body's `note_update`
    is called at the end: what it counts is part of its state.
    """
    body: Any = state.net.body
    optimisers = cast("Joined", state.optimiser).parts
    images = state.net.scale(batch.pixels)
    losses = []
    for name in body.learnt_apart:
        for other in body.learnt_apart:
            getattr(body, other).requires_grad_(other == name)
        optimisers[name].zero_grad(set_to_none=True)
        with torch.autocast(batch.pixels.device.type, torch.bfloat16, enabled=state.low_precision):
            loss = state.objective((name, body, images), batch.targets)
        (loss * batch.share).backward()  # type: ignore[no-untyped-call]
        learnt = list(getattr(body, name).parameters())
        state.world.sum_gradients(learnt)
        optimisers[name].step()
        losses.append(loss.detach())
    for name in body.learnt_apart:
        getattr(body, name).requires_grad_(True)
    body.note_update(len(images))
    return losses[0]


def own_loss(state: TrainState, batch: Batch, outputs: Any) -> Tensor:
    """Return the objective's loss of a batch, of both labels where images are mixed."""
    loss = state.objective(outputs, batch.targets)
    if batch.others is not None:
        loss = batch.kept * loss + (1 - batch.kept) * state.objective(outputs, batch.others)
    return loss


def update(state: TrainState, batch: Batch, loss_of: Callable[[Any], Tensor]) -> Tensor:
    """Do an update whose loss is `loss_of(outputs)`; return that loss."""
    recipe = state.recipe
    if batch.opens:
        state.optimiser.zero_grad(set_to_none=True)
    with torch.autocast(batch.pixels.device.type, torch.bfloat16, enabled=state.low_precision):
        outputs = in_float32(state.net(batch.pixels, batch.targets))
    # Losses assign boxes and compare numbers close to each other: they are computed in float32.
    loss = loss_of(outputs)
    (loss * batch.share).backward()  # type: ignore[no-untyped-call]
    if batch.closes:
        learnt = [p for p in state.net.parameters() if p.requires_grad]
        state.world.sum_gradients(learnt)
        if recipe.l1:
            with torch.no_grad():
                for p in learnt:
                    if p.ndim >= 2 and p.grad is not None:
                        # The penalty's gradient, once an update and not once a batch.
                        p.grad.add_(p.sign(), alpha=recipe.l1)
        if recipe.clip_norm:
            torch.nn.utils.clip_grad_norm_(learnt, recipe.clip_norm)
        state.optimiser.step()
    return loss.detach()
