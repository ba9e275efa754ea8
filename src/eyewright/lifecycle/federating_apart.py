"""Federated learning between processes: a coordinator that serves rounds, and clients that join it."""

__all__ = ["serve_federation"]

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import msgspec

from eyewright import __version__
from eyewright.core.errors import EyewrightError, UsageError
from eyewright.core.jsonable import dumps_json
from eyewright.core.task import task_of
from eyewright.lifecycle.datasets import PathLike, Say, dataset_of, scan_of, settled, silent
from eyewright.lifecycle.federating import Federated, allowed_faulty, private_words, reported
from eyewright.lifecycle.loading import need_torch
from eyewright.lifecycle.opening import asked_of, check_model, free_folder, recipe_of
from eyewright.lifecycle.stages import train_on
from eyewright.privacy.federated_messages import NAME, PROTOCOL, Description
from eyewright.privacy.rounds import Rounds
from eyewright.privacy.secret_keys import need_cryptography
from eyewright.serving.federation import FederationServer
from eyewright.serving.settings import Settings
from eyewright.training.federated_options import FederatedOptions
from eyewright.training.options import FederateOptions, named_options
from eyewright.training.plan import RunPlan

if TYPE_CHECKING:
    from eyewright.data import Dataset
    from eyewright.imaging.preparation import Preparation
    from eyewright.training.recipe import Recipe

_LINGER_S = 30.0
_MOST_BODY = 2**33
_MOST_MASKED = 500


@named_options(FederateOptions)
def serve_federation(
    data: PathLike,
    *,
    clients: "int | Sequence[str]",
    host: str = "127.0.0.1",
    port: int = 8470,
    token: str | None = None,
    hosts: Sequence[str] = (),
    tls_cert: PathLike | None = None,
    tls_key: PathLike | None = None,
    rounds: int = 20,
    strategy: str = "fedavg",
    local_epochs: int = 1,
    faulty: int | None = None,
    mu: float = 0.01,
    server_lr: float = 0.01,
    norm: str = "group",
    secure: bool = False,
    secure_range: float = 4.0,
    least: float = 0.5,
    private: str = "",
    deadline_s: float = 600.0,
    wait_s: float = 3600.0,
    out: PathLike | None = None,
    resume: bool = False,
    group_by: str | None = None,
    label_depth: int | None = None,
    ignore: Sequence[str] = (),
    workers: int | None = None,
    quiet: bool = True,
    say: Say = silent,
    ready: "Callable[[str], None] | None" = None,
    **options: Unpack[FederateOptions],
) -> Federated:
    """Coordinate federated learning: wait for clients, send them weights, join their updates, and write a run folder.

    `data` is the coordinator's own: its validation part chooses the best round, its test part is for `evaluate`, its
    classes and sizes are those of the federation. Its training part is not learnt from. Clients run
    `join_federation`; one round gives the weights that `federate` gives in one process.

    Args:
        clients: how many must join before the first round, or their names; no others may join then.
        host, port: where to listen; anything but a loopback address needs a `token`. Port 0 takes a free one.
        hosts: other names by which clients may call it.
        tls_cert, tls_key: files of PEM; without them requests are not encrypted.
        rounds, strategy, local_epochs, faulty, mu, server_lr, norm, private: as for `federate`.
        secure, secure_range: the coordinator sees only the sum of updates, whose values times the client's part of all
            images are in this range.
        least: the fraction of the clients that a round needs.
        deadline_s: how long a round waits for clients; those that are late are dropped until they ask again.
        wait_s: how long it waits where too few clients are there.
        resume: continue after the last round in `out`.
        ready: called with the address once clients can connect.
        options: fields of `Recipe`, such as model, lr, batch (of a client), imgsz, seed.

    Raises:
        UsageError: options that do not belong together, a port in use, a missing token.
        RefusedError: clients did not come in `wait_s`.
    """
    need_torch()
    from eyewright.privacy.federating import Federation, federated_step, resolved_recipe
    from eyewright.privacy.remote import RemoteClients

    names = () if isinstance(clients, int) else tuple(clients)
    n = clients if isinstance(clients, int) else len(names)
    _check_names(names)
    if secure:
        need_cryptography()
        if n > _MOST_MASKED:
            raise UsageError(
                f"expected at most {_MOST_MASKED} clients with --secure, found {n:,}: every two share a mask",
                fix="lower --clients, or leave --secure out",
            )
    settings = FederatedOptions(
        clients=n, strategy=strategy, local_epochs=local_epochs, mu=mu, server_lr=server_lr, norm=norm, least=least,
        secure=secure, secure_range=secure_range,
        faulty=allowed_faulty(strategy, n, faulty), **private_words(private),
    )  # fmt: skip
    if settings.noise_from == "seed":
        raise UsageError(
            "expected noise from the operating system with remote clients, found noise-from=seed: the coordinator "
            "could subtract it",
            fix="leave noise-from out",
        )
    if resume and out is None:
        raise UsageError("expected --out with --resume, found none", fix="name the run folder to continue in")
    recipe = resolved_recipe(recipe_of(None, epochs=rounds, **options), settings)
    _check_sendable(recipe)
    server_settings = Settings(
        host=host, port=port, token=token, hosts=tuple(hosts), body_s=deadline_s, body_bytes=_MOST_BODY
    )
    resumes = resume and out is not None and _begun(Path(out))
    meeting = Rounds(n, names=names, deadline_s=deadline_s, resumes=resumes, say=say)
    server = FederationServer(
        meeting, server_settings, certificate=None if tls_cert is None else Path(tls_cert),
        key=None if tls_key is None else Path(tls_key),
    )  # fmt: skip
    dataset = dataset_of(
        data, **asked_of(recipe), group_by=group_by, label_depth=label_depth, ignore=ignore, quiet=quiet, say=say
    )
    task_of(dataset.task).require("federate")
    check_model(recipe.model, dataset.task)
    folder = Path(out) if out is not None else free_folder(Path("runs") / "federated", dataset.name)
    sent, preparation = _resolved(recipe, settled(dataset, None, quiet=quiet), quiet=quiet)

    def describe(parameters: int) -> Description:
        scaling = {k: list(v)[: preparation.channels] for k, v in federation.scaling.items()}
        return _described(sent, dataset.labels.names, preparation, scaling, parameters, deadline_s)

    federation = Federation(recipe, settings, RemoteClients(meeting, settings, describe, wait_s=wait_s, say=say))
    plan = RunPlan(
        guard=federation, step=federated_step(federation), preparation=preparation, resume=resumes,
        workers=workers, quiet=quiet, say=say,
    )  # fmt: skip
    with server.listening():
        say(f"the coordinator listens on {server.address} for {n} clients; {rounds} rounds, {strategy}")
        say(f"each client runs: eyewright federate join {server.address} DATA --name NAME")
        if server.open_to_eavesdroppers:
            say("warning: without --tls-cert others on the network can read the token and the updates")
        if ready is not None:
            ready(server.address)
        try:
            run = train_on(dataset, recipe, folder, plan)
        except EyewrightError as error:
            meeting.stop(error.message)
            meeting.linger(2)
            raise
        done = reported(run.folder, federation.about())
        from eyewright.privacy.local_training import vector_of

        meeting.finish(vector_of(done.run.net))
        meeting.linger(_LINGER_S)
    return done


def _begun(folder: Path) -> bool:
    """Return whether a checkpoint is there: a coordinator that ended before its first round begins again."""
    return any((folder / "checkpoints" / name / "state.safetensors").exists() for name in ("last", "previous"))


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if not NAME.fullmatch(name):
            raise UsageError(
                f"expected names of up to 64 letters, digits, '.', '_' and '-' in --clients, found {name!r}",
                fix="change it",
            )
    if len(set(names)) < len(names):
        raise UsageError("expected each name once in --clients, found one repeated", fix="leave one out")


def _check_sendable(recipe: "Recipe") -> None:
    """Refuse what clients would have to run or read: a net of the user's own, published weights, files."""
    if ":" in recipe.model:
        raise UsageError(
            f"expected a net of the catalogue for remote clients, found {recipe.model!r}", fix="see eyewright models"
        )
    if recipe.edits:
        raise UsageError("expected no edits with remote clients, found a file of them", fix="leave --edits out")


def _resolved(recipe: "Recipe", dataset: "Dataset", *, quiet: bool) -> "tuple[Recipe, Preparation]":
    """Return the recipe that clients learn by, with everything chosen, and how all prepare their images."""
    from eyewright.training.learner import learner_of

    learner = learner_of(dataset.task)
    whole = replace(recipe, task=dataset.task)
    whole = replace(whole, loss=whole.loss or task_of(dataset.task).losses[0])
    preparation = learner.preparation(dataset, scan_of(dataset, quiet=quiet), whole, None)
    # No client's number of images is known yet, and none may decide for all: as for many.
    chosen = learner.resolve(whole, 10**6, preparation)
    return replace(chosen, batch=recipe.batch, device="auto"), preparation


def _described(
    recipe: "Recipe",
    labels: Sequence[str],
    preparation: "Preparation",
    scaling: dict[str, list[float]],
    parameters: int,
    deadline_s: float,
) -> Description:
    found = Description(
        protocol=PROTOCOL, id="", version=__version__, recipe=dict(recipe.to_json()), labels=list(labels),
        preparation=preparation.to_json(), scaling=scaling, parameters=parameters, deadline_s=deadline_s,
    )  # fmt: skip
    if not math.isfinite(deadline_s):
        raise UsageError(f"expected a finite deadline, found {deadline_s}", fix="change --deadline")
    plain = dumps_json(msgspec.to_builtins(found))
    return msgspec.structs.replace(found, id=hashlib.sha256(plain.encode()).hexdigest())
