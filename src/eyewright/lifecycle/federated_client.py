"""A client of a federation: it learns from its own images, and sends changes of weights to a coordinator."""

__all__ = ["Joining", "join_federation"]

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyewright.catalog import build_of
from eyewright.core.errors import BundleError, DatasetError, EyewrightError, RefusedError, UsageError
from eyewright.core.files import held_lock, write_bytes
from eyewright.core.labels import LabelSpace
from eyewright.core.quoting import quoted
from eyewright.core.task import task_of
from eyewright.data.grouped import find_groups, with_groups
from eyewright.imaging.preparation import Preparation
from eyewright.lifecycle.datasets import PathLike, Say, open_readable, scan_of, silent
from eyewright.lifecycle.loading import need_torch
from eyewright.privacy.coordinator import Coordinator
from eyewright.privacy.federated_messages import (
    NAME,
    PROTOCOL,
    Description,
    Join,
    Keys,
    Revealed,
    Sealed,
    Spent,
    Task,
    Update,
    pack_weights,
    unpack_weights,
)
from eyewright.privacy.masked_rounds import MaskedClient
from eyewright.privacy.masking import weighed
from eyewright.privacy.participation import Done, Participation, read_participation
from eyewright.privacy.rounds import ConflictError, ForeignError
from eyewright.privacy.secret_keys import need_cryptography
from eyewright.privacy.updates import digest_of
from eyewright.training.federated_options import FederatedOptions, parse_federated
from eyewright.training.recipe import Recipe

if TYPE_CHECKING:
    from eyewright.data import Dataset
    from eyewright.privacy.local_training import Client, LocalTraining

WEIGHTS = "model.safetensors"
_LEAST_IMAGES = 10
_MOST_WEIGHTS = 2**31
# A coordinator that says "wait" at once is not asked again at once.
_LONGEST_PAUSE_S, _PAUSE_S = 1.0, 0.1


@dataclass(frozen=True)
class Joining:
    """What became of a client: its folder, its rounds, the epsilon of its images, and the weights that were learnt."""

    folder: Path
    name: str
    images: int
    rounds: tuple[Done, ...]
    epsilon: float | None
    weights: Path | None

    @property
    def refused(self) -> tuple[Done, ...]:
        """The rounds whose update was not used."""
        return tuple(d for d in self.rounds if not d.accepted)


def join_federation(
    address: str,
    data: PathLike,
    *,
    name: str,
    token: str | None = None,
    ca: PathLike | None = None,
    max_epsilon: float | None = None,
    secure: bool = False,
    patience_s: float = 600.0,
    out: PathLike | None = None,
    group_by: str | None = None,
    label_depth: int | None = None,
    ignore: tuple[str, ...] = (),
    device: str = "auto",
    workers: int | None = None,
    quiet: bool = True,
    say: Say = silent,
) -> Joining:
    """Take part in federated learning until its last round; images never leave this process.

    All images of `data` are learnt from, or its training part where it comes with parts. Classes are joined by name.
    `out` holds the client's key, what its images have spent, and in the end the weights: a client that ended comes
    back with it.

    Args:
        address: as the coordinator printed it.
        name: of this client; the same one to come back.
        token, ca: as for `privacy.coordinator.Coordinator`.
        max_epsilon: take no part unless each image (or group) is protected by differential privacy of at most this.
        secure: take no part unless the coordinator sees only the sum of all updates.
        patience_s: how long the coordinator may be unreachable.

    Raises:
        UsageError: an address or a name that cannot be used, a missing token.
        RefusedError: what the coordinator asks for is refused, or it has stopped, or is unreachable.
        BudgetError: the images have spent their epsilon.
        DatasetError: the data cannot be learnt from, or has a class that the federation does not know.
    """
    need_torch()
    if not NAME.fullmatch(name):
        raise UsageError(
            f"expected a name of up to 64 letters, digits, '.', '_' and '-', found {name!r}", fix="change --name"
        )
    coordinator = Coordinator(address, token=token, ca=None if ca is None else Path(ca), patience_s=patience_s, say=say)
    folder = Path(out) if out is not None else Path("runs") / "federated-clients" / name
    told = coordinator.description()
    recipe, options, preparation = _checked(told, max_epsilon, secure)
    recipe = replace(recipe, device=device)
    say(_in_words(coordinator, told, recipe, options))
    local, client, digest = _prepared(
        told, recipe, options, preparation, data, name=name, group_by=group_by, label_depth=label_depth,
        ignore=ignore, workers=workers, quiet=quiet, say=say,
    )  # fmt: skip
    most = 0
    state = read_participation(folder, federation=told.id, name=name, images=digest)
    if options.epsilon is not None:
        from eyewright.privacy.local_training import local_steps, make_private

        make_private(client, recipe, options)
        most = (recipe.epochs or 1) * local_steps(client.units, recipe, options)
        if state.secret:
            client.secret = bytes.fromhex(state.secret)
        state.secret = client.secret.hex()
    state.write(folder)
    busy = f"another client is using {quoted(folder)}"
    with held_lock(folder / ".lock", busy=busy, code="client_in_use"):
        member = _Member(coordinator, told, local, client, state, folder, most, say)
        member.join()
        try:
            weights = member.take_part()
        except BaseException:
            coordinator.leave()
            raise
    return Joining(folder, name, client.images, tuple(state.done), client.epsilon, weights)


@dataclass
class _Member:
    """A client that has all that it needs to take part."""

    coordinator: Coordinator
    told: Description
    local: "LocalTraining"
    client: "Client"
    state: Participation
    folder: Path
    most: int
    say: Callable[[str], None]
    sent: Update | None = None
    learnt: tuple[str, NDArray[np.float32]] | None = None
    masked: MaskedClient | None = None

    def join(self) -> None:
        client = self.client
        asked = Join(
            PROTOCOL, self.told.id, client.name, client.images, self.told.parameters, client.group_count, self.state.key
        )
        self.state.key = self.coordinator.join(asked).key
        self.state.write(self.folder)
        self.say(f"joined as {client.name} with {client.images:,} images; waiting for the other clients")

    def take_part(self) -> Path | None:
        """Learn until the last round; return where the weights are that were learnt."""
        while True:
            began = time.monotonic()
            try:
                task = self.coordinator.task()
                if task.state == "end":
                    return self._keep(task.model)
                if task.state == "stopped":
                    raise RefusedError(f"the coordinator has stopped: {task.why[:400]}", fix="ask who started it")
                if task.session:
                    self._masked_step(task)
                elif task.state == "learn":
                    self._round(task)
                elif time.monotonic() - began < _LONGEST_PAUSE_S:
                    time.sleep(_PAUSE_S)
            except ForeignError:
                # The coordinator began again from before this client had joined.
                self.join()
            except ConflictError as error:
                self.say(f"not in time: {error.message}")

    def _round(self, task: Task) -> None:
        """Learn from the weights of a round and send the update; one that was made before is sent again."""
        update = self.sent
        if update is None or (update.round, update.model) != (task.round, task.model):
            update = self.sent = self._learn(task)
        self._send(task, update)

    def _send(self, task: Task, update: Update) -> None:
        taken = self.coordinator.send(update)
        epsilon = self.client.epsilon
        self.state.note(Done(task.round, len(update.numbers), update.loss, taken.accepted, taken.why[:400], epsilon))
        self.state.write(self.folder)
        words = [f"round {task.round + 1} of {self.local.recipe.epochs}"]
        words += [] if update.loss is None else [f"loss {update.loss:.4f}"]
        words += [f"{len(update.numbers) / 1e6:.2f} MB sent"]
        words += [] if epsilon is None else [f"epsilon {epsilon:.3g}"]
        words += [] if taken.accepted else [f"refused by the coordinator: {taken.why[:400]}"]
        self.say(", ".join(words))

    def _masked_step(self, task: Task) -> None:
        """Do a step of secure aggregation: keys, shares, a masked update, or what removes the masks of the sum."""
        if not self.local.options.secure:
            raise RefusedError("the coordinator asks for secure aggregation, which it did not describe")
        if task.state == "keys" and (self.masked is None or self.masked.session != task.session):
            self.masked = MaskedClient(task.session, task.number)
        masked = self.masked
        if masked is None or (masked.session, masked.number) != (task.session, task.number):
            # The coordinator names a round whose secrets are gone: joining again says so.
            self.join()
            return
        if task.state == "keys":
            self._step(masked.keys())
        elif task.state == "shares":
            self._step(masked.shares(task.keys, task.threshold))
        elif task.state == "learn":
            self._send(task, self._masked_update(task, masked))
        elif task.state == "reveal":
            self._step(self._revealed(task, masked))

    def _step(self, sent: Keys | Sealed | Revealed) -> None:
        taken = self.coordinator.step(sent)
        if not taken.accepted:
            self.say(f"left out of this round: {taken.why[:400]}")

    def _masked_update(self, task: Task, masked: MaskedClient) -> Update:
        """Return the update of a round, weighed and masked; one that was made before is not made again."""
        asked = _asked(task)
        if self.learnt is None or self.learnt[0] != asked:
            self.learnt = (asked, self._update(task)[0])
        vector = self.learnt[1]
        if not self.client.images <= task.images < 2**60:
            raise RefusedError(f"the coordinator counts {task.images:,} images of all clients")
        if not np.isfinite(vector).all():
            raise RefusedError("training gave a number that is not finite", fix="ask for a lower --lr")
        numbers = weighed(vector, self.client.images, task.images, self.local.options.secure_range)
        raw = masked.mask(numbers, task.sealed).astype("<u8").tobytes()
        return Update(task.round, task.model, digest_of(raw), raw, None, self._spent(), task.session)

    def _revealed(self, task: Task, masked: MaskedClient) -> Revealed:
        """Return what removes the masks of the sum, unless it and an earlier sum would tell single updates."""
        marks = (_asked(task), digest_of(str(sorted(task.clients)).encode()))
        before = self.state.revealed.get(task.round)
        if before is not None and before[0] == marks[0] and before[1] != marks[1]:
            why = "a sum of other clients' updates of this round is known; the difference would reveal single updates"
            self.say(f"round {task.round + 1}: nothing is revealed: {why}")
            return Revealed(task.session, why=why)
        found = masked.reveal(task.clients)
        # Written before it leaves: also after a restart, of this round only the same sum is revealed.
        self.state.revealed[task.round] = marks
        self.state.write(self.folder)
        return found

    def _learn(self, task: Task) -> Update:
        update, loss = self._update(task)
        numbers = pack_weights(update)
        private = self.local.options.epsilon is not None
        shown = None if private or not math.isfinite(loss) else loss
        return Update(task.round, task.model, digest_of(numbers), numbers, shown, self._spent())

    def _spent(self) -> Spent | None:
        client = self.client
        if self.local.options.epsilon is None or client.epsilon is None:
            return None
        return Spent(client.epsilon, client.delta, client.noise)

    def _update(self, task: Task) -> tuple[NDArray[np.float32], float]:
        """Learn from the weights of a round; return the update and the mean loss."""
        client, local = self.client, self.local
        if not 0 <= task.number < 2**31 or not 0 <= task.round < (local.recipe.epochs or 0):
            raise RefusedError(f"the coordinator asks for round {task.round + 1} of {local.recipe.epochs}")
        raw = self.coordinator.weights(task.model, numbers=self.told.parameters)
        before = unpack_weights(raw)
        if not np.isfinite(before).all() or not all(math.isfinite(v) for v in (*task.lr, task.progress)):
            raise RefusedError("the coordinator sent a number that is not finite", fix="ask who started it")
        client.number = task.number
        private = local.options.epsilon is not None
        if private:
            from eyewright.privacy.local_training import local_steps

            steps = local_steps(client.units, local.recipe, local.options)
            # Noise may be repeated only where all else is: a difference of two updates would be without it.
            client.steps = self.state.begin(task.round, _asked(task), steps, self.most)
            # Counted before anything is computed: whatever happens now, it is paid for.
            self.state.write(self.folder)
        update, loss = local.learn(client, before, number=task.round, lr=task.lr, progress=task.progress)
        client.steps = self.state.steps if private else 0
        return update, loss

    def _keep(self, digest: str) -> Path:
        """Write the weights that were learnt, as `train --weights` reads them."""
        from safetensors.torch import save

        from eyewright.privacy.local_training import load_vector

        raw = self.coordinator.weights(digest, numbers=self.told.parameters)
        load_vector(self.local.net, unpack_weights(raw))
        path = self.folder / WEIGHTS
        write_bytes(path, save({k: v.contiguous().cpu() for k, v in self.local.net.state_dict().items()}))
        return path


def _asked(task: Task) -> str:
    """Return a digest of all that an update follows from, except the client's own images."""
    return digest_of(f"{task.model} {task.number} {task.lr} {task.progress}".encode())


def _checked(
    told: Description, max_epsilon: float | None, secure: bool
) -> tuple[Recipe, FederatedOptions, Preparation]:
    """Return recipe, options and preparation of a federation, none of which runs or reads anything of this machine's.

    Raises:
        RefusedError: the coordinator asks for something else, or protects images less than `max_epsilon`.
    """

    def refused(why: str, fix: str = "ask who started the coordinator") -> RefusedError:
        return RefusedError(f"the federation is refused: {why}", fix=fix)

    if told.protocol != PROTOCOL:
        raise refused(
            f"it speaks protocol {told.protocol}, this version {PROTOCOL}",
            f"install Eyewright {told.version[:20]} here, or this version there",
        )
    try:
        recipe = Recipe.from_mapping(told.recipe)
        options = parse_federated(recipe.federated)
        preparation = Preparation.from_json(told.preparation)
        LabelSpace(tuple(told.labels))
    except (UsageError, BundleError, DatasetError, ValueError, TypeError) as error:
        why = error.message if isinstance(error, EyewrightError) else str(error)
        raise refused(f"what it describes is not valid: {why[:400]}") from None
    sizes = {name: len(values) for name, values in told.scaling.items()}
    for wrong, why in (
        (":" in recipe.model, f"its net {recipe.model[:80]!r} is not in the catalogue"),
        (bool(recipe.edits or recipe.private), "its recipe names a file, or is not for federated training"),
        (not recipe.federated or not recipe.epochs or not recipe.batch, "its recipe is not for federated training"),
        (recipe.step != "plain", f"its training step is {recipe.step!r}"),
        (not 1 <= told.parameters <= _MOST_WEIGHTS, f"its net has {told.parameters:,} weights"),
        (
            sizes != {"mean": preparation.channels, "std": preparation.channels},
            "its scaling does not fit the channels of its images",
        ),
        (max(preparation.size_hw) > 4096, f"its images have {preparation.size_hw[1]}x{preparation.size_hw[0]} pixels"),
        (secure and not options.secure, "expected secure aggregation, found none"),
        (
            options.epsilon is not None and options.noise_from == "seed",
            "its noise follows from a seed that the coordinator knows: it protects nothing",
        ),
    ):
        if wrong:
            raise refused(why)
    if max_epsilon is not None and (options.epsilon is None or options.epsilon > max_epsilon):
        found = "no differential privacy" if options.epsilon is None else f"epsilon {options.epsilon:g}"
        raise refused(f"expected epsilon of at most {max_epsilon:g}, found {found}")
    if options.secure:
        need_cryptography()
    return recipe, options, preparation


def _in_words(coordinator: Coordinator, told: Description, recipe: Recipe, options: FederatedOptions) -> str:
    labels = ", ".join(told.labels[:8]) + (f" and {len(told.labels) - 8} more" if len(told.labels) > 8 else "")
    private = "none" if options.epsilon is None else f"epsilon {options.epsilon:g} for one {options.unit}"
    return (
        f"{coordinator.address}: {recipe.epochs} rounds of {options.strategy}, {options.clients} clients, "
        f"{recipe.model} with {told.parameters:,} weights; classes {labels}; differential privacy: {private}"
        f"{'; secure aggregation' if options.secure else ''}"
    )


def _prepared(
    told: Description,
    recipe: Recipe,
    options: FederatedOptions,
    preparation: Preparation,
    data: PathLike,
    *,
    name: str,
    group_by: str | None,
    label_depth: int | None,
    ignore: tuple[str, ...],
    workers: int | None,
    quiet: bool,
    say: Say,
) -> "tuple[LocalTraining, Client, str]":
    """Return what this client learns with, the client, and the digest of its images."""
    import torch

    from eyewright.nets.pixels import memory_format_of
    from eyewright.privacy.guarding import owners_of
    from eyewright.privacy.local_training import Client, LocalTraining, vector_of
    from eyewright.training.cache import build_cache
    from eyewright.training.learner import learner_of
    from eyewright.training.loop import FitData
    from eyewright.training.predictor import choose_device
    from eyewright.training.run import build_net

    task_of(recipe.task).require("federate")
    dataset = _own_images(told, recipe, data, label_depth=label_depth, ignore=ignore, quiet=quiet, say=say)
    scan = scan_of(dataset, quiet=quiet)
    learner, device = learner_of(recipe.task), choose_device(recipe.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        net = build_net(build_of(recipe.model, recipe.task), recipe, dataset.labels, preparation, told.scaling)
    net = net.to(device=device, memory_format=memory_format_of(net))  # type: ignore[call-overload]
    if (found := len(vector_of(net))) != told.parameters:
        raise RefusedError(
            f"expected {recipe.model!r} with {told.parameters:,} weights, found {found:,} here",
            fix=f"use Eyewright {told.version[:20]} on both sides",
        )
    digests = tuple(r.digest for r in scan.records)
    pixels = build_cache(dataset, preparation, digests=digests, workers=workers, quiet=quiet)
    sizes = [r.info.size_hw for r in scan.records if r.info is not None]
    targets = learner.targets(dataset, sizes, preparation, "")
    data_of_client = FitData(pixels, targets, pixels[:0], targets[:0], tuple(s.id for s in dataset.samples))
    learning = learner.learn(net, data_of_client, recipe, dataset, preparation)
    local = LocalTraining(net, pixels, targets, recipe, options, learning.objective, learning.augmentation, device)
    client = Client(name, np.arange(len(dataset), dtype=np.int64))
    if options.unit == "group":
        grouped = with_groups(dataset, find_groups(dataset, scan, group_by=group_by))
        owners = owners_of(grouped.with_samples(replace(s, split="train") for s in grouped.samples))
        owned = [owners[s.id] for s in dataset.samples]
        client.groups = np.unique(owned, return_inverse=True)[1].reshape(-1).astype(np.int64)
    marks: list[Any] = [*digests, *(s.target.cell(dataset.labels.names) for s in dataset.samples)]
    marks += [] if client.groups is None else client.groups.tolist()
    return local, client, hashlib.sha256("\n".join(map(str, marks)).encode()).hexdigest()


def _own_images(
    told: Description,
    recipe: Recipe,
    data: PathLike,
    *,
    label_depth: int | None,
    ignore: tuple[str, ...],
    quiet: bool,
    say: Say,
) -> "Dataset":
    """Return the images that a client learns from, in the classes of the federation."""
    dataset = open_readable(data, label_depth=label_depth, task=recipe.task, ignore=ignore, quiet=quiet, say=say)
    if "train" in dataset.splits:
        dataset = dataset.train
    elif any(s.split is not None for s in dataset.samples):
        raise DatasetError(
            f"expected images to learn from, found {' and '.join(dataset.splits)} only", fix="pass training images"
        )
    labels = LabelSpace(tuple(told.labels))
    unknown = [n for n in dataset.labels.names if n not in set(labels.names)]
    if unknown:
        raise DatasetError(
            f"the federation has no class {unknown[0]!r}; it has {', '.join(map(repr, labels.names[:8]))}",
            fix=f"rename the class, or leave it out with --ignore {unknown[0]}",
        )
    dataset = dataset.relabelled(labels)
    if len(dataset) < _LEAST_IMAGES:
        raise DatasetError(
            f"expected {_LEAST_IMAGES} images or more to learn from, found {len(dataset)}", fix="add images"
        )
    return dataset
