"""Nets like the attacked one, trained at once as one batched net, each on its own half of the images."""

__all__ = ["halves", "train_shadows"]

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from eyewright.core.errors import UsageError
from eyewright.core.rng import generator

_FORWARD = 2048
_SAID_EVERY_S = 10.0


def halves(n: int, count: int, seed: int) -> NDArray[np.bool_]:
    """Return which of n images each of `count` nets sees, (count, n): every image is seen by half of the nets.

    >>> seen = halves(10, 4, 0)
    >>> seen.shape, set(seen.sum(0).tolist())
    ((4, 10), {2})

    Raises:
        UsageError: fewer than 2 nets.
    """
    if count < 2:
        raise UsageError(f"expected 2 models or more, found {count}", fix="change --models")
    order = generator(seed, "shadows").random((count, n)).argsort(0)
    return order < count // 2


def train_shadows(
    build: Callable[[], nn.Module],
    inputs: Tensor,
    labels: NDArray[np.int64],
    inside: NDArray[np.bool_],
    *,
    steps: int,
    batch: int,
    lr: float,
    seed: int,
    goes_on: Callable[[], bool] = lambda: True,
    say: Callable[[str], None] = lambda text: None,
    now: Callable[[], float] = time.monotonic,
) -> NDArray[np.float32]:
    """Return the logits (K, N, C) of K nets for all inputs (N, ...), each trained on its rows of `inside` (K, N).

    `build` makes one net; its initial weights differ between the nets. They are trained by Adam with a rate that falls
    to 0, for `steps` updates of `batch` images or until `goes_on` says no. `say` is told every 10 seconds how far they
    are and how long it will take.
    """
    began = told = now()
    # Group normalisation has no batched form for channels-last memory.
    inputs = torch.empty(inputs.shape, dtype=inputs.dtype).copy_(inputs)
    count = len(inside)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        nets = [build().eval() for _ in range(count)]
        weights, buffers = torch.func.stack_module_state(nets)
        shape: Any = nets[0]
        # One net without memory of its own: the weights come from the stack.
        learnt = {k: v.detach().requires_grad_(True) for k, v in weights.items()}

        def answer(own: dict[str, Tensor], fixed: dict[str, Tensor], x: Tensor) -> Tensor:
            found: Tensor = torch.func.functional_call(shape, (own, fixed), (x,))
            return found

        together = torch.func.vmap(answer, in_dims=(0, 0, 0))
        alone = torch.func.vmap(answer, in_dims=(0, 0, None))
        optimiser = torch.optim.Adam(list(learnt.values()), lr=lr)
        rows = [np.flatnonzero(seen) for seen in inside]
        truth = torch.from_numpy(labels)
        for step in range(steps):
            if not goes_on():
                break
            rng = generator(seed, "shadow batch", step)
            chosen = torch.from_numpy(np.stack([own[rng.integers(len(own), size=batch)] for own in rows]))
            for group in optimiser.param_groups:
                group["lr"] = lr * (1 - step / steps)
            outputs = together(learnt, buffers, inputs[chosen])
            loss = functional.cross_entropy(outputs.flatten(0, 1), truth[chosen].flatten(), reduction="sum") / batch
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if now() - told >= _SAID_EVERY_S:
                told = now()
                left = (told - began) / (step + 1) * (steps - step - 1)
                say(f"step {step + 1:,} of {steps:,}, loss {float(loss.detach()) / count:.3f}, {left:.0f} s left")
        parts = []
        with torch.no_grad():
            for start in range(0, len(inputs), _FORWARD):
                parts.append(alone(learnt, buffers, inputs[start : start + _FORWARD]).numpy())
    found: NDArray[np.float32] = np.concatenate(parts, 1)
    return found
