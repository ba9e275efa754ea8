"""What a client of a federation does in a round: learn from the server's weights on its own images.

A simulation calls it for each of its clients, and `federate join` for the one it is: updates are bit-identical.
"""

__all__ = [
    "Client",
    "ClientRound",
    "LocalTraining",
    "load_vector",
    "local_steps",
    "make_private",
    "vector_of",
    "working_copy",
]

import copy
import hashlib
import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eyewright.core.errors import UsageError
from eyewright.core.rng import generator
from eyewright.nets.pixels import PixelNet, memory_format_of
from eyewright.privacy.accounting import Steps, epsilon_of, noise_for
from eyewright.privacy.sampling import member_rows, poisson_rows
from eyewright.privacy.steps import Clipping, private_step
from eyewright.training.federated_options import FederatedOptions
from eyewright.training.loop import Augmenter, Targets, tensors_of
from eyewright.training.objectives import Objective
from eyewright.training.optimisers import build_optimiser
from eyewright.training.recipe import Recipe
from eyewright.training.steps import Batch, TrainState, plain_step

PRIVATE_LEAST = 100
_CLIP = 1.0
_AT_ONCE = 256


@dataclass(frozen=True)
class ClientRound:
    """What a client did in a round: the bytes that left it, its mean loss, and why its update was not used, if so.

    `digest` is that of the update, SHA-256 in hexadecimal; empty where none came.
    """

    sent: int
    loss: float | None
    refused: str = ""
    digest: str = ""


@dataclass
class Client:
    """A client: its number, its rows among the training images, what it does wrong, and its privacy.

    `groups` is the number of the group that each of its rows is of, from 0 on, where epsilon holds for groups. Of a
    client `elsewhere` only the numbers of its images and groups are known, and the epsilon that it claims.
    """

    name: str
    rows: NDArray[np.int64]
    fault: str = ""
    number: int = 0
    noise: float = 0.0
    delta: float = 0.0
    rate: float = 1.0
    steps: int = 0
    secret: bytes = b""
    rounds: list[ClientRound] = field(default_factory=list)
    first: NDArray[np.float32] | None = None
    groups: NDArray[np.int64] | None = None
    classes: Sequence[int] = ()
    elsewhere: tuple[int, int | None] | None = None
    claimed: float | None = None

    @property
    def images(self) -> int:
        """How many images it has, or says that it has."""
        return len(self.rows) if self.elsewhere is None else self.elsewhere[0]

    @property
    def group_count(self) -> int | None:
        """How many groups its images come in, where epsilon holds for groups."""
        if self.elsewhere is not None:
            return self.elsewhere[1]
        return None if self.groups is None else int(self.groups.max(initial=-1)) + 1

    @property
    def units(self) -> int:
        """What epsilon holds for one of: its images, or their groups."""
        return self.images if self.group_count is None else self.group_count

    def sample(self) -> NDArray[np.int64]:
        """Return the rows of its next private update; of a group, one that is drawn at random."""
        if self.groups is not None:
            return self.rows[member_rows(self.secret, self.steps, self.groups, rate=self.rate)]
        return self.rows[poisson_rows(self.secret, self.steps, n=len(self.rows), rate=self.rate)]

    @property
    def epsilon(self) -> float | None:
        """What its images have spent so far; None without differential privacy."""
        if self.elsewhere is not None:
            return self.claimed
        return epsilon_of([Steps(self.noise, self.rate, self.steps)], self.delta) if self.noise else None


def make_private(client: Client, recipe: Recipe, options: FederatedOptions) -> None:
    """Choose a client's noise from its own number of images, and a secret from which its samples and noise follow.

    Raises:
        UsageError: it has too few images, or delta is too large for them.
    """
    n, unit = client.units, options.unit
    assert options.epsilon is not None
    if n < PRIVATE_LEAST:
        raise UsageError(
            f"expected {PRIVATE_LEAST} {unit}s or more for each client with --private, found {n} for {client.name!r}",
            fix="lower --clients, raise --alpha, or leave --private out",
        )
    client.delta = options.delta if options.delta is not None else 10.0 ** -(math.floor(math.log10(n)) + 1)
    if client.delta >= 1 / n:
        raise UsageError(f"expected delta below 1 / {n:,}, found {client.delta:g}", fix="lower delta")
    client.rate = min(1.0, (recipe.batch or 64) / n)
    steps = (recipe.epochs or 1) * local_steps(n, recipe, options)
    client.noise = noise_for(options.epsilon, client.delta, rate=client.rate, steps=steps)
    seeded = hashlib.sha256(f"eyewright client {recipe.seed} {client.number}".encode()).digest()
    client.secret = seeded if options.noise_from == "seed" else secrets.token_bytes(32)


def local_steps(n: int, recipe: Recipe, options: FederatedOptions) -> int:
    """Return the number of updates in a round of a client of n images, or groups of them."""
    return options.local_epochs * max(1, round(n / (recipe.batch or 64)))


@dataclass(frozen=True)
class LocalTraining:
    """A net and prepared images that clients learn with; `client.rows` are rows among these images."""

    net: PixelNet
    pixels: NDArray[np.uint8]
    targets: Targets
    recipe: Recipe
    options: FederatedOptions
    objective: Objective
    augmentation: Augmenter | None
    device: torch.device
    low_precision: bool = False

    def learn(
        self, client: Client, before: NDArray[np.float32], *, number: int, lr: Sequence[float], progress: float
    ) -> tuple[NDArray[np.float32], float]:
        """Return a client's update of a round, float32 (D,), and its mean loss.

        Args:
            before: the server's weights (`vector_of`).
            number: of the round, from 0 on.
            lr: the learning rate of each group of weights.
            progress: how far training is, in [0, 1].
        """
        net, o, seed = self.net, self.options, self.recipe.seed
        load_vector(net, before)
        net.train()
        optimiser = build_optimiser(net, self.recipe)
        for group, rate in zip(optimiser.param_groups, lr, strict=True):
            group["lr"] = rate
        objective = self.objective if o.strategy != "fedprox" else _near(self.objective, net, before, o.mu)
        own = TrainState(net, optimiser, objective, self.recipe, low_precision=self.low_precision, progress=progress)
        torch.manual_seed(int(generator(seed, "client", number, client.number).integers(2**31)))
        if o.epsilon is not None:
            losses = self._private_losses(client, own, number)
        else:
            losses = []
            size = self.recipe.batch or 64
            for epoch in range(o.local_epochs):
                order = generator(seed, "order", number, client.number, epoch).permutation(client.rows)
                # A last batch of one image breaks batch normalisation; what is left over is seen in another round.
                for start in range(0, max(1, len(order) - len(order) % size), size):
                    rows = np.sort(order[start : start + size])
                    losses.append(plain_step(own, self._batch(rows, client, number, len(losses), progress)))
        mean = float(torch.stack(losses).mean()) if losses else math.nan
        return vector_of(net) - before, mean

    def _private_losses(self, client: Client, own: TrainState, number: int) -> list[Tensor]:
        """Do a client's updates of a round by DP-SGD on Poisson samples of its images."""
        o = self.options
        losses: list[Tensor] = []
        update = private_step(Clipping(o.clip or _CLIP, client.noise, client.rate * client.units, client.secret))
        for _ in range(local_steps(client.units, self.recipe, o)):
            chosen = client.sample()
            own.step = client.steps
            # An empty sample is an update of noise alone.
            for start in range(0, max(1, len(chosen)), _AT_ONCE):
                last = start + _AT_ONCE >= len(chosen)
                rows = chosen[start : start + _AT_ONCE]
                part = self._batch(rows, client, number, len(losses), own.progress, opens=start == 0, closes=last)
                losses.append(update(own, part))
            client.steps += 1
        return losses

    def _batch(
        self,
        rows: NDArray[np.int64],
        client: Client,
        number: int,
        k: int,
        progress: float,
        *,
        opens: bool = True,
        closes: bool = True,
    ) -> Batch:
        """Return some images of a client, augmented; what is drawn follows from the round, the client and the batch."""
        pixels = torch.from_numpy(np.ascontiguousarray(self.pixels[rows])).to(self.device)
        targets = tensors_of(self.targets[rows], self.device)
        if self.augmentation is not None and len(rows):
            draw = int(generator(self.recipe.seed, "augment", number, client.number, k).integers(2**62))
            rng = torch.Generator().manual_seed(draw)
            pixels, targets = self.augmentation.apply(pixels, targets, rng=rng, progress=progress)
        return Batch(pixels, targets, opens=opens, closes=closes)


def working_copy(net: PixelNet) -> PixelNet:
    """Return a net of the same kind and layout in memory, to learn in."""
    return copy.deepcopy(net).to(memory_format=memory_format_of(net))  # type: ignore[call-overload,no-any-return]


def vector_of(net: nn.Module) -> NDArray[np.float32]:
    """Return what clients send of a net, float32 (D,): its weights, and the statistics of batch normalisation."""
    return torch.cat([t.detach().flatten().float() for t in _shared(net)]).cpu().numpy()


def load_vector(net: nn.Module, vector: NDArray[np.floating]) -> None:
    """Put into a net what `vector_of` gave."""
    at = 0
    values = torch.from_numpy(np.asarray(vector, np.float32))
    with torch.no_grad():
        for t in _shared(net):
            t.copy_(values[at : at + t.numel()].view(t.shape))
            at += t.numel()


def _shared(net: nn.Module) -> list[Tensor]:
    found: list[Tensor] = [p for p in net.parameters() if p.requires_grad]
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            # Left out, they would stay at their first values: a plain mean of weights loses them.
            found += [module.running_mean, module.running_var]  # type: ignore[list-item]
    return found


def _near(objective: Callable[..., Tensor], net: nn.Module, before: NDArray[np.float32], mu: float) -> Any:
    """Return the objective plus the distance to the server's weights (Li et al. 2020, FedProx)."""
    learnt = [p for p in net.parameters() if p.requires_grad]
    anchors, at = [], 0
    for p in learnt:
        anchors.append(torch.from_numpy(before[at : at + p.numel()]).view(p.shape).to(p.device))
        at += p.numel()

    def near(outputs: Any, targets: Any) -> Tensor:
        distance = torch.stack([(p - a).pow(2).sum() for p, a in zip(learnt, anchors, strict=True)]).sum()
        return objective(outputs, targets) + mu / 2 * distance

    return near
