"""Federated learning in one process: clients learn from their own images, a server joins what they send.

A round is one update of the training loop, so that validation, checkpoints, reports and export are those of every run.
Everything is a function of the seed: a simulation repeats exactly. Private noise is not, unless it is asked for.
"""

__all__ = ["Client", "ClientRound", "Federation", "federated_step", "load_vector", "resolved_recipe", "vector_of"]

import copy
import hashlib
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eyewright.core.errors import RefusedError, UsageError
from eyewright.core.rng import generator
from eyewright.nets.pixels import PixelNet, memory_format_of
from eyewright.privacy.accounting import Steps, epsilon_of, noise_for
from eyewright.privacy.aggregation import Aggregator, most_faulty
from eyewright.privacy.masking import masked_update, quantise, unmasked_sum
from eyewright.privacy.sampling import poisson_rows
from eyewright.privacy.shares import dirichlet_shares, grouped_shares
from eyewright.privacy.steps import Clipping, private_step
from eyewright.training.federated_options import FederatedOptions
from eyewright.training.loop import Condense, FitData, run_through
from eyewright.training.optimisers import build_optimiser
from eyewright.training.recipe import Recipe
from eyewright.training.steps import Batch, Step, TrainState, plain_step

LEAST_IMAGES = 10
_PRIVATE_LEAST = 100
_CLIP = 1.0
_LIE = -10.0
_AT_ONCE = 256
_ALL = 2**40


@dataclass(frozen=True)
class ClientRound:
    """What a client did in a round: the bytes that left it, its mean loss, and why its update was not used, if so."""

    sent: int
    loss: float | None
    refused: str = ""


@dataclass
class Client:
    """A simulated client: its rows among the training images, what it does wrong, and its privacy."""

    name: str
    rows: NDArray[np.int64]
    fault: str = ""
    noise: float = 0.0
    delta: float = 0.0
    rate: float = 1.0
    steps: int = 0
    secret: bytes = b""
    rounds: list[ClientRound] = field(default_factory=list)
    first: NDArray[np.float32] | None = None

    @property
    def epsilon(self) -> float | None:
        """What its images have spent so far; None without differential privacy."""
        return epsilon_of([Steps(self.noise, self.rate, self.steps)], self.delta) if self.noise else None


class Federation:
    """The server and its clients, as what guards a run's images (`training.plan.Guard`): a round sees all clients."""

    keeps_last = False
    units: int | None = None

    def __init__(self, recipe: Recipe, options: FederatedOptions, owners: Mapping[str, str] | None = None) -> None:
        self.recipe, self.options, self._owners = recipe, options, owners
        # All images are one batch of the loop, however many there are.
        self.n, self.expected, self.physical = 0, float(_ALL), _ALL
        self.scaling: Mapping[str, Sequence[float]] = {"mean": [0.5] * 3, "std": [0.25] * 3}
        self.clients: list[Client] = []
        self.aggregator = Aggregator(options.strategy, options.faulty, options.server_lr)
        self.aborted: list[int] = []
        self.size = 0
        self._seen: set[bytes] = set()
        self._work: PixelNet | None = None
        self.labels: NDArray[np.int64] = np.zeros(0, np.int64)

    def begin(self, net: PixelNet, data: FitData, device: torch.device) -> None:
        """Divide the images among the clients."""
        self.n = len(data.train_targets)
        body: Any = net.body
        if hasattr(body, "fit_patches") and not net.has_learnt:
            raise UsageError(
                "expected a net that does not look at all training images beforehand, found one whose stem is computed "
                "from them",
                fix="use --model conv_net or private_net, or begin with public --weights",
            )
        o, rng = self.options, generator(self.recipe.seed, "clients")
        self.labels = np.asarray(data.train_targets[np.arange(self.n)], np.int64)
        if self._owners is not None:
            shares, names = grouped_shares([self._owners[i] for i in data.train_ids], least=LEAST_IMAGES)
        else:
            shares = dirichlet_shares(self.labels, o.clients, alpha=o.alpha, least=LEAST_IMAGES, rng=rng)
            names = tuple(f"client {k + 1}" for k in range(o.clients))
        faults = [kind for kind, number in o.faults.items() for _ in range(number)]
        if len(faults) >= len(shares):
            raise UsageError(
                f"expected a client without a fault, found {len(faults)} faults for {len(shares)} clients",
                fix="lower --faults",
            )
        faulty = dict(zip(rng.permutation(len(shares)).tolist(), faults, strict=False))
        self.clients = [Client(n, r, faulty.get(k, "")) for k, (n, r) in enumerate(zip(names, shares, strict=True))]
        if o.epsilon is not None:
            for k, client in enumerate(self.clients):
                self._make_private(client, k)
        self.size = len(vector_of(net))

    def _make_private(self, client: Client, number: int) -> None:
        """Choose a client's noise from its own number of images."""
        o, n = self.options, len(client.rows)
        assert o.epsilon is not None
        if n < _PRIVATE_LEAST:
            raise UsageError(
                f"expected {_PRIVATE_LEAST} images or more for each client with --private, found {n} for "
                f"{client.name!r}",
                fix="lower --clients, raise --alpha, or leave --private out",
            )
        client.delta = o.delta if o.delta is not None else 10.0 ** -(math.floor(math.log10(n)) + 1)
        if client.delta >= 1 / n:
            raise UsageError(f"expected delta below 1 / {n:,}, found {client.delta:g}", fix="lower delta")
        client.rate = min(1.0, (self.recipe.batch or 64) / n)
        steps = (self.recipe.epochs or 1) * self.local_steps(client)
        client.noise = noise_for(o.epsilon, client.delta, rate=client.rate, steps=steps)
        seeded = hashlib.sha256(f"eyewright client {self.recipe.seed} {number}".encode()).digest()
        client.secret = seeded if o.noise_from == "seed" else secrets.token_bytes(32)

    def local_steps(self, client: Client) -> int:
        """Return the number of updates of a client in a round."""
        return self.options.local_epochs * max(1, round(len(client.rows) / (self.recipe.batch or 64)))

    def rows(self, step: int) -> NDArray[np.int64]:
        """Return all images: every client takes part in every round."""
        return np.arange(self.n)

    def validate(self, net: PixelNet, data: FitData, condense: Condense, device: torch.device) -> NDArray[Any]:
        """Return what is kept of the outputs for the server's own validation images."""
        return run_through(net, data.val_pixels, data.val_targets, condense, device)

    def state(self, steps: int) -> Mapping[str, Any]:
        """Return the number of rounds."""
        return {"rounds": steps}

    def resume(self, state: Mapping[str, Any] | None) -> None:
        """Refuse: what clients and server hold between rounds is not in a checkpoint."""
        raise UsageError("a federated simulation cannot be resumed", fix="start it again in another folder")

    def work(self, net: PixelNet) -> PixelNet:
        """Return the net that clients learn in, one after the other."""
        if self._work is None:
            self._work = copy.deepcopy(net).to(memory_format=memory_format_of(net))  # type: ignore[call-overload]
        return self._work

    def checked(self, client: Client, update: NDArray[np.floating]) -> str:
        """Return why the server refuses an update; empty where it does not."""
        if update.shape != (self.size,):
            return f"expected {self.size:,} numbers, found {update.size:,}"
        if not np.isfinite(update).all():
            return "a number is not finite"
        digest = hashlib.sha256(np.ascontiguousarray(update).tobytes()).digest()
        if digest in self._seen:
            return "the update was sent before"
        self._seen.add(digest)
        return ""

    def about(self) -> dict[str, Any]:
        """Return what is written into `run.json`: options, clients, and what left each of them."""
        o = self.options
        return {
            "options": str(o),
            "strategy": o.strategy,
            "secure": o.secure,
            "parameters": self.size,
            "rounds": len(self.clients[0].rounds) if self.clients else 0,
            "aborted": self.aborted,
            "clients": [
                {
                    "name": c.name,
                    "images": len(c.rows),
                    "classes": np.bincount(self.labels[c.rows], minlength=int(self.labels.max()) + 1).tolist(),
                    "fault": c.fault,
                    "bytes": sum(r.sent for r in c.rounds),
                    "refused": [{"round": i + 1, "why": r.refused} for i, r in enumerate(c.rounds) if r.refused],
                    "losses": [None if r.loss is None else round(r.loss, 5) for r in c.rounds],
                    "epsilon": c.epsilon,
                    "delta": c.delta or None,
                    "noise": c.noise or None,
                }
                for c in self.clients
            ],
        }


def vector_of(net: nn.Module) -> NDArray[np.float32]:
    """Return what clients send of a net, float32 (D,): its weights, and the statistics of batch normalisation."""
    return torch.cat([t.detach().flatten().float() for t in _shared(net)]).numpy()


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


def federated_step(federation: Federation) -> Step:
    """Return the step of a training loop that is one round: every client learns, and the server joins the updates."""

    def step(state: TrainState, batch: Batch) -> Tensor:
        number, o = state.step, federation.options
        before = vector_of(state.net)
        updates: dict[int, NDArray[np.floating]] = {}
        losses = []
        for k, client in enumerate(federation.clients):
            if client.fault == "die" and number >= (federation.recipe.epochs or 1) // 2:
                client.rounds.append(ClientRound(0, None, "nothing was sent"))
                continue
            loss = _learn(federation, client, k, state, batch, before)
            losses.append(loss)
            update = _sent(client, vector_of(federation.work(state.net)) - before)
            size = 8 * update.size if o.secure else 4 * update.size
            # Behind masks a server cannot check anything: what is wrong there is in the sum.
            why = "" if o.secure and update.shape == (federation.size,) else federation.checked(client, update)
            client.rounds.append(ClientRound(size, loss if math.isfinite(loss) else None, why))
            if not why:
                updates[k] = update
        if len(updates) < max(1, math.ceil(o.least * len(federation.clients))):
            federation.aborted.append(number + 1)
        else:
            load_vector(state.net, before + _joined(federation, updates, number))
        good = [v for v in losses if math.isfinite(v)]
        return torch.tensor(float(np.mean(good)) if good else 0.0)

    return step


def _learn(
    federation: Federation, client: Client, number: int, state: TrainState, batch: Batch, before: NDArray[np.float32]
) -> float:
    """Train a client's net from the server's weights on its own images; return the mean loss."""
    o, recipe = federation.options, federation.recipe
    net = federation.work(state.net)
    load_vector(net, before)
    net.train()
    optimiser = build_optimiser(net, recipe)
    for group, given in zip(optimiser.param_groups, state.optimiser.param_groups, strict=True):
        group["lr"] = given["lr"]
    objective = state.objective if o.strategy != "fedprox" else _near(state.objective, net, before, o.mu)
    own = TrainState(net, optimiser, objective, recipe, low_precision=state.low_precision, progress=state.progress)
    torch.manual_seed(int(generator(recipe.seed, "client", state.step, number).integers(2**31)))
    losses: list[Tensor] = []
    if o.epsilon is not None:
        _learn_privately(federation, client, own, batch, losses)
    else:
        size = recipe.batch or 64
        for epoch in range(o.local_epochs):
            order = generator(recipe.seed, "order", state.step, number, epoch).permutation(client.rows)
            # A last batch of one image breaks batch normalisation; what is left over is seen in another round.
            for start in range(0, max(1, len(order) - len(order) % size), size):
                rows = torch.from_numpy(np.sort(order[start : start + size]))
                losses.append(plain_step(own, Batch(batch.pixels[rows], batch.targets[rows])))
    return float(torch.stack(losses).mean()) if losses else math.nan


def _learn_privately(
    federation: Federation, client: Client, own: TrainState, batch: Batch, losses: list[Tensor]
) -> None:
    """Do a client's updates of a round by DP-SGD on Poisson samples of its images."""
    o, n = federation.options, len(client.rows)
    update = private_step(Clipping(o.clip or _CLIP, client.noise, client.rate * n, client.secret))
    for _ in range(federation.local_steps(client)):
        chosen = client.rows[poisson_rows(client.secret, client.steps, n=n, rate=client.rate)]
        own.step = client.steps
        # An empty sample is an update of noise alone.
        for start in range(0, max(1, len(chosen)), _AT_ONCE):
            rows = torch.from_numpy(chosen[start : start + _AT_ONCE])
            last = start + _AT_ONCE >= len(chosen)
            part = Batch(batch.pixels[rows], batch.targets[rows], opens=start == 0, closes=last)
            losses.append(update(own, part))
        client.steps += 1


def _near(objective: Callable[..., Tensor], net: nn.Module, before: NDArray[np.float32], mu: float) -> Any:
    """Return the objective plus the distance to the server's weights (Li et al. 2020, FedProx)."""
    learnt = [p for p in net.parameters() if p.requires_grad]
    anchors, at = [], 0
    for p in learnt:
        anchors.append(torch.from_numpy(before[at : at + p.numel()]).view(p.shape))
        at += p.numel()

    def near(outputs: Any, targets: Any) -> Tensor:
        distance = torch.stack([(p - a).pow(2).sum() for p, a in zip(learnt, anchors, strict=True)]).sum()
        return objective(outputs, targets) + mu / 2 * distance

    return near


def _sent(client: Client, update: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what a client sends in place of its update, by its fault."""
    if client.fault == "lie":
        return update * np.float32(_LIE)
    if client.fault == "nan":
        wrong = update.copy()
        wrong[len(wrong) // 2] = np.nan
        return wrong
    if client.fault == "shape":
        return update[:-1]
    if client.fault == "replay":
        client.first = update if client.first is None else client.first
        return client.first
    return update


def _joined(federation: Federation, updates: Mapping[int, NDArray[np.floating]], number: int) -> NDArray[np.float64]:
    """Return what the server adds to its weights."""
    o, clients = federation.options, federation.clients
    weights = np.array([len(clients[k].rows) for k in updates], np.float64)
    if not o.secure:
        # Updates that were refused are no longer among those that a rule must withstand.
        federation.aggregator.faulty = min(o.faulty, most_faulty(o.strategy, len(updates)))
        return federation.aggregator(np.stack(list(updates.values())), weights)
    everyone = list(range(len(clients)))
    secret = hashlib.sha256(f"round {number} of seed {federation.recipe.seed}".encode()).digest()
    total = float(sum(len(c.rows) for c in clients))
    sent = {}
    for k, update in updates.items():
        # Clients weigh their updates themselves: the numbers of images are public.
        own = np.asarray(update, np.float64) * (len(clients[k].rows) / total)
        try:
            numbers = quantise(own, o.secure_range)
        except RefusedError as error:
            raise RefusedError(f"{clients[k].name}, round {number + 1}: {error.message}", fix=error.fix) from None
        sent[k] = masked_update(numbers, k, everyone, secret=secret)
    least = max(2, math.ceil(o.least * len(clients)))
    found = unmasked_sum(sent, everyone, largest=o.secure_range, secret=secret, least=least)
    return federation.aggregator((found * total / weights.sum())[None], np.ones(1))


def resolved_recipe(recipe: Recipe, options: FederatedOptions) -> Recipe:
    """Return a recipe in which what a simulation does otherwise is chosen: no average of weights over rounds, plain
    momentum on clients, one update of the loop a round."""
    return replace(
        recipe,
        model="conv_net" if recipe.model == "auto" else recipe.model,
        federated=str(options),
        epochs=recipe.epochs or 20,
        batch=recipe.batch or 32,
        optimizer=recipe.optimizer or "momentum",
        lr=recipe.lr if recipe.lr is not None else 0.05,
        weight_decay=0.0 if recipe.weight_decay == Recipe.weight_decay else recipe.weight_decay,
        schedule="cosine" if recipe.schedule == Recipe.schedule else recipe.schedule,
        warmup=0.0 if recipe.warmup == Recipe.warmup else recipe.warmup,
        label_smoothing=recipe.label_smoothing or 0.0,
        augment="none" if options.epsilon is not None and recipe.augment == "auto" else recipe.augment,
        flip="none" if options.epsilon is not None and recipe.flip == "auto" else recipe.flip,
        layer_decay=1.0,
        preview=0.0,
        ema=0.0,
        baseline="none",
        amp="off",
    )
