"""Several processes that train one net: each takes its part of each batch, and all make the same update."""

__all__ = ["World", "join_world", "launched_by_torchrun", "rank_of"]

import contextlib
import datetime
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch import distributed as dist

from eyewright.core.errors import UsageError
from eyewright.core.machine.lifeline import die_with_parent

# A process that waits this long for another one has lost it.
_PATIENCE = datetime.timedelta(minutes=10)


@dataclass(frozen=True)
class World:
    """The processes of one training, and which of them this is. Alone, every method is free."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """True in the one process that writes and speaks."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """Return this process's part of `n` images.

        >>> World(rank=1, size=2).share(5)
        slice(1, None, 2)
        """
        return slice(self.rank, None, self.size)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up the gradients of all processes, in one message."""
        if self.size == 1:
            return
        grads = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in grads])
        dist.all_reduce(flat)
        for grad, summed in zip(grads, torch.split(flat, [g.numel() for g in grads]), strict=True):
            grad.copy_(summed.view_as(grad))

    def agree(self, values: list[float]) -> list[float]:
        """Send every process the sum of all processes' values, so that all decide the same."""
        if self.size == 1:
            return values
        together = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(together)
        return [float(v) for v in together]

    def wait(self) -> None:
        """Continue when every process has come here."""
        if self.size > 1:
            dist.barrier()


def rank_of() -> int:
    """Return this process's number among those that `torchrun` started; 0 when it was started alone."""
    return int(os.environ.get("RANK", "0")) if launched_by_torchrun() else 0


def launched_by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextlib.contextmanager
def join_world(net: nn.Module, *, batch: int, device: torch.device) -> Iterator[World]:
    """Meet the other processes that `torchrun` started (gloo on a CPU, nccl on GPUs); alone, there is nobody to meet.

    Batch normalisation of `net` takes its statistics over all processes meanwhile, so that the result is that of one
    process up to the order of floating-point sums.

    Raises:
        UsageError: a batch that has fewer images than there are processes.
    """
    if not launched_by_torchrun():
        yield World()
        return
    size = int(os.environ["WORLD_SIZE"])
    if batch < size:
        raise UsageError(f"expected --batch of {size} or more for {size} processes, found {batch}", fix="raise --batch")
    # torchrun that is killed leaves its processes waiting for each other.
    die_with_parent()
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    norms = [m for m in net.modules() if type(m) in (nn.BatchNorm1d, nn.BatchNorm2d)]
    kinds = [type(m) for m in norms]
    try:
        for norm in norms:
            norm.__class__ = _SharedBatchNorm
        yield World(dist.get_rank(), size)
    finally:
        for norm, kind in zip(norms, kinds, strict=True):
            norm.__class__ = kind
        dist.destroy_process_group()


class _SharedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the batches of all processes; PyTorch's own does so on GPUs only."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        from torch.distributed.nn.functional import all_reduce

        axes = [0, *range(2, x.ndim)]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        count = torch.full((1,), x.numel() / x.shape[1], dtype=x.dtype, device=x.device)
        sums = torch.cat([x.sum(axes), (x * x).sum(axes), count])
        sums = all_reduce(sums)  # type: ignore[no-untyped-call]
        n = sums[-1]
        channels = x.shape[1]
        mean, square = sums[:channels] / n, sums[channels:-1] / n
        variance = (square - mean * mean).clamp(min=0)
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                assert self.num_batches_tracked is not None
                self.num_batches_tracked += 1
                rate = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean, rate)
                self.running_var.lerp_(variance * (n / (n - 1)), rate)
        out: Tensor = (x - mean.view(shape)) * torch.rsqrt(variance.view(shape) + self.eps)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out

    def _check_input_dim(self, input: Tensor) -> None:
        pass
