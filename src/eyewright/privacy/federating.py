"""Federated learning: what the server does in a round, whoever its clients are.

A round is one update of the training loop, so that validation, checkpoints, reports and export are those of every run.
Clients are simulated in this process (`SimulatedClients`), or are processes of their own (`privacy.remote`).
"""

__all__ = ["Answer", "Clients", "Collected", "Federation", "SimulatedClients", "federated_step", "resolved_recipe"]

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eyewright.core.errors import RefusedError, UsageError
from eyewright.core.rng import generator
from eyewright.nets.pixels import PixelNet
from eyewright.privacy.aggregation import Aggregator, most_faulty
from eyewright.privacy.local_training import (
    Client,
    ClientRound,
    LocalTraining,
    load_vector,
    make_private,
    vector_of,
    working_copy,
)
from eyewright.privacy.masking import masked_update, unmasked_sum, weighed
from eyewright.privacy.shares import dirichlet_shares, grouped_shares
from eyewright.privacy.updates import UpdateCheck
from eyewright.training.federated_options import FederatedOptions
from eyewright.training.loop import Condense, FitData, run_through
from eyewright.training.recipe import Recipe
from eyewright.training.steps import Batch, Step, TrainState

LEAST_IMAGES = 10
_LIE = -10.0
_ALL = 2**40


@dataclass(frozen=True)
class Answer:
    """What a client sent in a round: its update, None where none can be used, and its mean loss, where it is known."""

    client: int
    update: NDArray[np.floating] | None
    loss: float | None = None


@dataclass(frozen=True)
class Collected:
    """What clients sent in a round.

    With secure aggregation `total` is the sum of weighed updates, float64 (D,), and `added` holds the numbers of the
    clients whose updates are in it. It is None where too few are left.
    """

    answers: Sequence[Answer]
    total: NDArray[np.float64] | None = None
    added: Sequence[int] = ()


class Clients(Protocol):
    """The clients of a federation: where they are, and how a round reaches them."""

    clients: list[Client]
    """In the order of their numbers; a round is noted with each of them."""
    simulated: bool
    saves_every_step: bool
    """Whether a checkpoint is written before every round."""

    def begin(self, net: PixelNet, data: FitData, device: torch.device) -> None:
        """Prepare for the first round, or to continue after one."""
        ...

    def collect(self, state: TrainState, before: NDArray[np.float32]) -> Collected:
        """Let every client learn from the weights `before`; return their answers in the order of their numbers."""
        ...

    def state(self) -> Mapping[str, Any]:
        """Return what a checkpoint holds of them."""
        ...

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go back to what a checkpoint holds of them."""
        ...


class Federation:
    """The server, as what guards a run's images (`training.plan.Guard`): a round sees all clients."""

    keeps_last = False
    units: int | None = None

    def __init__(self, recipe: Recipe, options: FederatedOptions, clients: Clients) -> None:
        self.recipe, self.options, self._clients = recipe, options, clients
        # All images are one batch of the loop, however many there are.
        self.n, self.expected, self.physical = 0, float(_ALL), _ALL
        self.scaling: Mapping[str, Sequence[float]] = {"mean": [0.5] * 3, "std": [0.25] * 3}
        self.aggregator = Aggregator(options.strategy, options.faulty, options.server_lr)
        self.saves_every_step = clients.saves_every_step
        self.aborted: list[int] = []
        self.size = 0

    @property
    def clients(self) -> list[Client]:
        """The clients, in the order of their numbers."""
        return self._clients.clients

    def begin(self, net: PixelNet, data: FitData, device: torch.device) -> None:
        """Divide the images among the clients, or tell those elsewhere what is learnt."""
        self.n = len(data.train_targets)
        body: Any = net.body
        if hasattr(body, "fit_patches") and not net.has_learnt:
            raise UsageError(
                "expected a net that does not look at all training images beforehand, found one whose stem is computed "
                "from them",
                fix="use --model conv_net or private_net, or begin with public --weights",
            )
        self.size = len(vector_of(net))
        self._clients.begin(net, data, device)

    def rows(self, step: int) -> NDArray[np.int64]:
        """Return no image: clients take their own."""
        return np.zeros(0, np.int64)

    def validate(self, net: PixelNet, data: FitData, condense: Condense, device: torch.device) -> NDArray[Any]:
        """Return what is kept of the outputs for the server's own validation images."""
        return run_through(net, data.val_pixels, data.val_targets, condense, device)

    def state(self, steps: int) -> Mapping[str, Any]:
        """Return what a checkpoint holds: the rounds, what the strategy keeps, and the clients."""
        kept = self._clients.state()
        return {"rounds": steps, "aborted": self.aborted, "strategy": self.aggregator.state(), "clients": kept}

    def resume(self, state: Mapping[str, Any] | None) -> None:
        """Go back to the round of a checkpoint.

        Raises:
            UsageError: the clients are simulated; what they hold between rounds is not in a checkpoint.
        """
        if self._clients.simulated or state is None:
            raise UsageError("a federated simulation cannot be resumed", fix="start it again in another folder")
        self.aborted = list(state["aborted"])
        self.aggregator.restore(state["strategy"])
        self._clients.resume(state["clients"])

    def about(self) -> dict[str, Any]:
        """Return what is written into `run.json`: options, clients, and what left each of them."""
        o = self.options
        return {
            "options": str(o),
            "simulated": self._clients.simulated,
            "strategy": o.strategy,
            "secure": o.secure,
            "parameters": self.size,
            "rounds": max((len(c.rounds) for c in self.clients), default=0),
            "aborted": self.aborted,
            "unit": o.unit if o.epsilon is not None else None,
            "clients": [
                {
                    "name": c.name,
                    "images": c.images,
                    "groups": c.group_count,
                    "classes": list(c.classes),
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


def federated_step(federation: Federation) -> Step:
    """Return the step of a training loop that is one round: every client learns, and the server joins the updates."""

    def step(state: TrainState, batch: Batch) -> Tensor:
        number, o = state.step, federation.options
        before = vector_of(state.net)
        came = federation._clients.collect(state, before)
        updates = {a.client: a.update for a in came.answers if a.update is not None}
        used = list(came.added) if o.secure else list(updates)
        weights = np.array([federation.clients[k].images for k in used], np.float64)
        if len(used) < max(1, math.ceil(o.least * len(federation.clients))):
            federation.aborted.append(number + 1)
        elif not o.secure:
            # Updates that were refused are no longer among those that a rule must withstand.
            federation.aggregator.faulty = min(o.faulty, most_faulty(o.strategy, len(updates)))
            load_vector(state.net, before + federation.aggregator(np.stack(list(updates.values())), weights))
        elif came.total is not None:
            everyone = float(sum(c.images for c in federation.clients))
            mean = came.total * (everyone / weights.sum())
            load_vector(state.net, before + federation.aggregator(mean[None], np.ones(1)))
        good = [a.loss for a in came.answers if a.loss is not None and a.update is not None]
        return torch.tensor(float(np.mean(good)) if good else 0.0)

    return step


class SimulatedClients:
    """Clients in this process, one after the other: everything is a function of the seed, and repeats exactly.

    Private noise is not, unless it is asked for.
    """

    simulated, saves_every_step = True, False

    def __init__(
        self,
        recipe: Recipe,
        options: FederatedOptions,
        owners: Mapping[str, str] | None = None,
        groups: Mapping[str, str] | None = None,
    ) -> None:
        """`owners` names the client of each training image, and `groups` what it belongs together with."""
        self.recipe, self.options, self._owners, self._groups = recipe, options, owners, groups
        self.clients: list[Client] = []
        self._data: FitData | None = None
        self._local: LocalTraining | None = None
        self._check = UpdateCheck(0)

    def begin(self, net: PixelNet, data: FitData, device: torch.device) -> None:
        """Divide the images among the clients."""
        o, rng = self.options, generator(self.recipe.seed, "clients")
        self._data, self._check = data, UpdateCheck(len(vector_of(net)))
        labels = np.asarray(data.train_targets[np.arange(len(data.train_targets))], np.int64)
        grouped = None if self._groups is None else [self._groups[i] for i in data.train_ids]
        if self._owners is not None:
            shares, names = grouped_shares([self._owners[i] for i in data.train_ids], least=LEAST_IMAGES)
        else:
            shares = dirichlet_shares(labels, o.clients, alpha=o.alpha, least=LEAST_IMAGES, rng=rng, groups=grouped)
            names = tuple(f"client {k + 1}" for k in range(o.clients))
        faults = [kind for kind, number in o.faults.items() for _ in range(number)]
        if len(faults) >= len(shares):
            raise UsageError(
                f"expected a client without a fault, found {len(faults)} faults for {len(shares)} clients",
                fix="lower --faults",
            )
        faulty = dict(zip(rng.permutation(len(shares)).tolist(), faults, strict=False))
        most = int(labels.max(initial=0)) + 1
        for k, (name, rows) in enumerate(zip(names, shares, strict=True)):
            classes = np.bincount(labels[rows], minlength=most).tolist()
            client = Client(name, rows, faulty.get(k, ""), number=k, classes=classes)
            if grouped is not None:
                owned = [grouped[r] for r in rows.tolist()]
                client.groups = np.unique(owned, return_inverse=True)[1].reshape(-1).astype(np.int64)
            if o.epsilon is not None:
                make_private(client, self.recipe, o)
            self.clients.append(client)

    def collect(self, state: TrainState, before: NDArray[np.float32]) -> Collected:
        """Let every client learn, and check what it sends."""
        o, number = self.options, state.step
        local = self._training(state)
        answers: list[Answer] = []
        for k, client in enumerate(self.clients):
            if client.fault == "die" and number >= (self.recipe.epochs or 1) // 2:
                client.rounds.append(ClientRound(0, None, "nothing was sent"))
                continue
            lr = [float(g["lr"]) for g in state.optimiser.param_groups]
            learnt, mean = local.learn(client, before, number=number, lr=lr, progress=state.progress)
            update = _sent(client, learnt)
            loss = mean if math.isfinite(mean) else None
            size = 8 * update.size if o.secure else 4 * update.size
            # Behind masks a server cannot check anything: what is wrong there is in the sum.
            why = "" if o.secure and update.size == self._check.size else self._check(update)
            client.rounds.append(ClientRound(size, loss, why))
            answers.append(Answer(k, None if why else update, loss))
        if not o.secure:
            return Collected(answers)
        updates = {a.client: a.update for a in answers if a.update is not None}
        if len(updates) < max(1, math.ceil(o.least * len(self.clients))):
            return Collected(answers, None, list(updates))
        return Collected(answers, self._masked_total(updates, number), list(updates))

    def _masked_total(self, updates: Mapping[int, NDArray[np.floating]], number: int) -> NDArray[np.float64]:
        """Return the sum of masked updates, as a server computes it."""
        o, everyone = self.options, list(range(len(self.clients)))
        secret = hashlib.sha256(f"round {number} of seed {self.recipe.seed}".encode()).digest()
        images = sum(c.images for c in self.clients)
        sent = {}
        for k, update in updates.items():
            try:
                numbers = weighed(update, self.clients[k].images, images, o.secure_range)
            except RefusedError as error:
                raise RefusedError(
                    f"{self.clients[k].name}, round {number + 1}: {error.message}", fix=error.fix
                ) from None
            sent[k] = masked_update(numbers, k, everyone, secret=secret)
        least = max(2, math.ceil(o.least * len(self.clients)))
        return unmasked_sum(sent, everyone, largest=o.secure_range, secret=secret, least=least)

    def state(self) -> Mapping[str, Any]:
        """Return nothing: a simulation cannot be resumed."""
        return {}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Do nothing: a simulation cannot be resumed."""

    def _training(self, state: TrainState) -> LocalTraining:
        """Return what clients learn with, one after the other."""
        if self._local is None:
            assert self._data is not None
            self._local = LocalTraining(
                working_copy(state.net),
                self._data.train_pixels,
                self._data.train_targets,
                self.recipe,
                self.options,
                state.objective,
                state.augmentation,
                next(state.net.parameters()).device,
                state.low_precision,
            )
        return self._local


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
