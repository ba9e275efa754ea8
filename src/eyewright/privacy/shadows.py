"""Nets like the attacked one, trained at once as one batched net, each on its own half of the images."""

__all__ = ["halves", "train_shadows"]

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from eyewright.core.errors import UsageError
from eyewright.core.files import write_bytes
from eyewright.core.quoting import quoted
from eyewright.core.rng import generator

_FORWARD = 2048
_SAID_EVERY_S, _KEPT_EVERY_S = 10.0, 30.0
# Large nets take long to write: that takes at most a twentieth of the time.
_WRITING_COSTS = 20.0
_MOMENTS = ("exp_avg", "exp_avg_sq")


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
    keep: Path | None = None,
    resume: bool = False,
) -> NDArray[np.float32]:
    """Return the logits (K, N, C) of K nets for all inputs (N, ...), each trained on its rows of `inside` (K, N).

    `build` makes one net; its initial weights differ between the nets. They are trained by Adam with a rate that falls
    to 0, for `steps` updates of `batch` images or until `goes_on` says no. `say` is told every 10 seconds how far they
    are and how long it will take. The nets are written to the file `keep` every 30 seconds, less often where that takes
    long; with `resume` training continues from there, and ends with the same numbers.

    Raises:
        UsageError: `resume`, and `keep` is not there, or of other images or options.
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
        mark = "" if keep is None else _mark(inputs, labels, inside, (steps, batch, lr, seed), learnt)
        first = _resumed(keep, mark, learnt, optimiser) if keep is not None and resume else 0
        if first:
            say(f"continued at step {first:,} of {steps:,}")
        written, every = began, _KEPT_EVERY_S
        for step in range(first, steps):
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
            at = now()
            if step == first:
                # The first step also prepares what all others use: it says little about how long they take.
                began = at
            elif at - told >= _SAID_EVERY_S:
                told = at
                left = (at - began) / (step - first) * (steps - step - 1)
                say(f"step {step + 1:,} of {steps:,}, loss {float(loss.detach()) / count:.3f}, {left:.0f} s left")
            if keep is not None and at - written >= every:
                _write(keep, mark, step + 1, learnt, optimiser)
                written = now()
                every = max(_KEPT_EVERY_S, _WRITING_COSTS * (written - at))
        parts = []
        with torch.no_grad():
            for start in range(0, len(inputs), _FORWARD):
                parts.append(alone(learnt, buffers, inputs[start : start + _FORWARD]).numpy())
    found: NDArray[np.float32] = np.concatenate(parts, 1)
    return found


def _mark(
    inputs: Tensor,
    labels: NDArray[np.int64],
    inside: NDArray[np.bool_],
    numbers: tuple[float, ...],
    learnt: Mapping[str, Tensor],
) -> str:
    """Return a digest of all that trained nets follow from."""
    found = hashlib.sha256(
        repr((numbers, tuple(inputs.shape), [(k, tuple(v.shape)) for k, v in learnt.items()])).encode()
    )
    for array in (inputs.numpy(), labels, inside):
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _write(path: Path, mark: str, step: int, learnt: Mapping[str, Tensor], optimiser: torch.optim.Adam) -> None:
    from safetensors.torch import save

    tensors = {f"weight {k}": v.detach() for k, v in learnt.items()}
    tensors |= {f"{m} {k}": optimiser.state[v][m] for k, v in learnt.items() for m in _MOMENTS}
    content = save({k: v.contiguous() for k, v in tensors.items()}, {"mark": mark, "step": str(step)})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content)


def _resumed(path: Path, mark: str, learnt: Mapping[str, Tensor], optimiser: torch.optim.Adam) -> int:
    """Load what `_write` wrote; return the number of steps that were done."""
    from safetensors import SafetensorError, safe_open

    fix = "leave --resume out, or use the options and the images of the first time"
    try:
        with safe_open(path, framework="pt") as file:
            told = file.metadata() or {}
            if told.get("mark") != mark:
                raise UsageError(
                    f"expected nets of the same images and options in {quoted(path)}, found others", fix=fix
                )
            step = int(told["step"])
            with torch.no_grad():
                for k, v in learnt.items():
                    v.copy_(file.get_tensor(f"weight {k}"))
                    moments = {m: file.get_tensor(f"{m} {k}") for m in _MOMENTS}
                    optimiser.state[v] = {"step": torch.tensor(float(step)), **moments}
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise UsageError(f"expected nets to continue with in {quoted(path)}, found none", fix=fix) from error
    return step
