"""Federated learning, simulated on this machine: clients, rounds, a report, and a run as every other."""

__all__ = ["Federated", "allowed_faulty", "federate", "private_words", "reported"]

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from eyewright.core.errors import DatasetError, EyewrightError, UsageError
from eyewright.core.files import write_json
from eyewright.core.labels import LabelSpace
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.core.task import task_of
from eyewright.data.dataset import Dataset
from eyewright.data.formats import open_dataset
from eyewright.data.splits import split_dataset
from eyewright.data.tree import JoinedTree
from eyewright.lifecycle.datasets import PathLike, Say, dataset_of, scan_of, silent
from eyewright.lifecycle.loading import need_torch
from eyewright.lifecycle.opening import asked_of, check_model, free_folder, load_run, recipe_of
from eyewright.lifecycle.stages import train_on
from eyewright.privacy.aggregation import ROBUST, most_faulty
from eyewright.training.federated_options import FederatedOptions, parse_faults
from eyewright.training.options import FederateOptions, named_options
from eyewright.training.plan import RunPlan
from eyewright.training.private_options import parse_private

if TYPE_CHECKING:
    from eyewright.training.recipe import Recipe
    from eyewright.training.run import Run

_CLIENTS, _ALPHA = 10, 0.5


@dataclass(frozen=True, eq=False)
class Federated:
    """What `federate` made: the run, what `run.json` says of the federation, findings, and the report's path."""

    run: "Run"
    about: Mapping[str, Any]
    findings: tuple[Finding, ...]
    report: Path


@named_options(FederateOptions)
def federate(
    data: "Dataset | PathLike | Sequence[PathLike]",
    *,
    clients: int | str | None = None,
    alpha: float | None = None,
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
    faults: str = "",
    out: PathLike | None = None,
    group_by: str | None = None,
    label_depth: int | None = None,
    ignore: Sequence[str] = (),
    leaks: str | None = None,
    workers: int | None = None,
    quiet: bool = True,
    say: Say = silent,
    **options: Unpack[FederateOptions],
) -> Federated:
    """Train one model on the images of several clients, which never leave them, in a deterministic simulation.

    Each of several folders in `data` is a client. Of one, the training part is divided among `clients` (10 by default),
    class by class by a Dirichlet distribution of `alpha` (0.5); with "groups" each group of images (`group_by`) is a
    client. Validation and test images are the server's. The result is a run folder, with `federated.html`.

    Args:
        rounds: how often all clients learn and the server joins their updates.
        strategy: "fedavg", "fedprox" (`mu`), "fedadam" (`server_lr`), "median", "trimmed", "krum" or "bulyan".
        local_epochs: how often a client sees its images in a round.
        faulty: how many wrong updates a robust strategy allows for; by default the number of `faults`, or as many as
            it withstands up to 3 of 10.
        norm: "group": batch normalisation becomes group normalisation; "average": its statistics are averaged.
        secure: the server sees the sum of masked updates only; values outside `secure_range` end training.
        least: the fraction of the clients that a round needs; with fewer it changes nothing.
        private: differential privacy of each client's images, such as "epsilon=3 delta=1e-5 clip=1 unit=group".
        faults: clients that do something wrong, such as "lie:3,die:1" (`training.federated_options.FAULTS`).
        options: fields of `Recipe`, such as model, lr, batch (of a client), imgsz, seed.

    Raises:
        UsageError: options that do not belong together.
        DatasetError: the data cannot be read, or a client has too few images.
        RefusedError: an update outside the public range with `secure`.
    """
    need_torch()
    from eyewright.privacy.federating import Federation, SimulatedClients, federated_step, resolved_recipe
    from eyewright.privacy.guarding import owners_of

    by_groups = clients == "groups"
    several = isinstance(data, Sequence) and not isinstance(data, str) and len(data) > 1
    if several:
        _check_folders(list(data), clients, alpha)  # type: ignore[arg-type]
    if by_groups and alpha is not None:
        raise UsageError(
            "expected no --alpha with --clients groups, found one: a group is a client", fix="leave it out"
        )
    count = len(data) if several and isinstance(data, Sequence) else 0 if by_groups else int(clients or _CLIENTS)
    wrong = parse_faults(faults)
    settings = FederatedOptions(
        clients=0 if several else count, alpha=_ALPHA if alpha is None else alpha, strategy=strategy,
        local_epochs=local_epochs, mu=mu,
        server_lr=server_lr, norm=norm, secure=secure, secure_range=secure_range, least=least, faults=wrong,
        **private_words(private),
    )  # fmt: skip
    recipe = recipe_of(None, epochs=rounds, **options)
    if isinstance(data, Dataset):
        given: Any = data
    elif several:
        given = _joined(list(data), recipe, group_by)  # type: ignore[arg-type]
    else:
        given = data if isinstance(data, str | Path) else next(iter(data))
    dataset = dataset_of(
        given, **asked_of(recipe), group_by=group_by, label_depth=label_depth, ignore=ignore, quiet=quiet, say=say
    )
    task_of(dataset.task).require("federate")
    owners = _owners(dataset, several=several, by_groups=by_groups)
    n = len(set(owners.values())) if owners is not None else count
    settings = replace(settings, faulty=allowed_faulty(strategy, n, faulty, sum(wrong.values())))
    resolved = resolved_recipe(recipe, settings)
    check_model(resolved.model, dataset.task)
    folder = Path(out) if out is not None else free_folder(Path("runs") / "federated", dataset.name)
    groups = owners_of(dataset) if settings.unit == "group" else None
    federation = Federation(resolved, settings, SimulatedClients(resolved, settings, owners, groups))
    plan = RunPlan(guard=federation, step=federated_step(federation), workers=workers, quiet=quiet, say=say)
    say(f"{n} clients, {rounds} round{'s' * (rounds != 1)}, {strategy}{', secure aggregation' if secure else ''}")
    fresh = not folder.exists()
    try:
        run = train_on(dataset, resolved, folder, plan, leaks=leaks)
    except EyewrightError:
        # A run that was refused cannot be continued: half a folder would only stand in the way of the next one.
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return reported(run.folder, federation.about())


def allowed_faulty(strategy: str, clients: int, asked: int | None, wrong: int = 0) -> int:
    """Return how many faulty clients a strategy allows for: as asked, or as many as do `wrong`, or 3 of 10.

    Raises:
        UsageError: it cannot allow for so many.
    """
    if strategy not in ROBUST:
        return 0
    most = most_faulty(strategy, clients)
    chosen = asked if asked is not None else wrong or min(most, 3 * clients // 10)
    if chosen > most:
        source = "--faulty" if asked is not None else "--faults (each counts, also a client that sends nothing)"
        better = max(ROBUST, key=lambda name: most_faulty(name, clients))
        # Median is the first of those that withstand most.
        other = f", or use --strategy {better}" if most_faulty(better, clients) >= chosen else ""
        raise UsageError(
            f"expected at most {most} faulty of {clients} clients with {strategy}, found {chosen} by {source}",
            fix=f"lower {source.partition(' ')[0]}{other or ', or use more clients'}",
        )
    return chosen


def _check_folders(places: Sequence[PathLike], clients: int | str | None, alpha: float | None) -> None:
    """Check what is asked of several folders, each of which is a client.

    Raises:
        UsageError: a number of clients or how to divide them, or a folder that is there twice.
    """
    for name, value in (("--clients", clients), ("--alpha", alpha)):
        if value is not None:
            raise UsageError(
                f"expected no {name} with several folders, found {value}: each folder is a client",
                fix=f"leave {name} out, or pass one dataset",
            )
    seen: dict[Path, PathLike] = {}
    for place in places:
        own = Path(place).resolve()
        if own in seen:
            raise UsageError(
                f"expected different folders, found {quoted(seen[own])} and {quoted(place)}, which are the same",
                fix="pass each folder once: each is a client",
            )
        seen[own] = place


def reported(folder: Path, about: Mapping[str, Any]) -> Federated:
    """Write what a federation did into its run folder: `run.json`, and the page."""
    from eyewright.privacy.federated_pages import write_federated

    stored = json.loads((folder / "run.json").read_text("utf-8"))
    write_json(folder / "run.json", {**stored, "federated": about})
    finished = load_run(folder)
    metric = str(finished.about["training"]["metric"])
    report = write_federated(folder, about, history=finished.history(), metric=metric, labels=finished.labels.names)
    return Federated(finished, about, tuple(_findings(about)), report)


def private_words(text: str) -> dict[str, Any]:
    """Return the fields of `FederatedOptions` that `--private` gives.

    Raises:
        UsageError: a word that federated learning does not take.
    """
    if not text:
        return {}
    asked = parse_private(text)
    if asked.noise is not None or asked.physical_batch is not None:
        raise UsageError(
            "expected only epsilon, delta, clip, noise-from and unit in --private of federate, found others",
            fix="leave them out",
        )
    names = ("epsilon", "delta", "clip", "noise_from", "unit")
    return {name: getattr(asked, name) for name in names}


def _joined(places: Sequence[PathLike], recipe: "Recipe", group_by: str | None) -> Dataset:
    """Return several datasets as one, split; the names of samples begin with the number of their folder."""
    wanted = None if recipe.task == "auto" else recipe.task
    parts = [open_dataset(p, task=wanted) for p in places]
    first = parts[0]
    if len({p.task for p in parts}) > 1:
        raise DatasetError(
            f"expected data of one task for all clients, found {', '.join(p.task for p in parts)}", fix="pass --task"
        )
    labels = LabelSpace(tuple(dict.fromkeys(n for p in parts for n in p.labels.names)))
    prefixes = ["", *(f"client-{k}/" for k in range(2, len(parts) + 1))]
    samples = []
    for prefix, part in zip(prefixes, parts, strict=True):
        for s in part.relabelled(labels).samples:
            samples.append(
                replace(s, id=prefix + s.id, group=None if s.group is None else prefix + s.group,
                        meta={**s.meta, "client": Path(part.root).name})
            )  # fmt: skip
    tree = JoinedTree(first.tree, {p: d.tree for p, d in zip(prefixes[1:], parts[1:], strict=True)})
    whole = replace(first, tree=tree, samples=tuple(samples), labels=labels)
    return split_dataset(whole, scan=scan_of(whole), seed=recipe.seed, group_by=group_by)


def _owners(dataset: Dataset, *, several: bool, by_groups: bool) -> dict[str, str] | None:
    """Return the name of the client that each training image is of; None where they are divided by chance."""
    train = dataset.train.samples
    if several:
        # Folders of one name are different clients.
        names = {s.id: (s.id.split("/")[0] if s.id.startswith("client-") else "client-1") for s in train}
        shown = {n: s.meta.get("client", n) for s in train for n in [names[s.id]]}
        unique = len(set(shown.values())) == len(shown)
        return {i: shown[n] if unique else n for i, n in names.items()}
    if not by_groups:
        return None
    if any(s.group is None for s in train):
        raise DatasetError(
            "expected a group for every training image with --clients groups, found images without one",
            fix="say what a group is with --group-by",
        )
    return {s.id: str(s.group) for s in train}


def _findings(about: Mapping[str, Any]) -> list[Finding]:
    found = []
    for client in about["clients"]:
        reasons: dict[str, list[int]] = {}
        for one in client["refused"]:
            reasons.setdefault(one["why"], []).append(one["round"])
        for why, rounds in reasons.items():
            many = f"{len(rounds)} round{'s' * (len(rounds) != 1)}, the first {rounds[0]}"
            found.append(
                Finding("update_refused", f"{client['name']}: {why} ({many})", "check this client", client["name"])
            )
    if about["aborted"]:
        text = f"{len(about['aborted'])} of {about['rounds']} rounds had too few updates and changed nothing"
        found.append(Finding("rounds_aborted", text, "lower --least, or use clients that stay", severity="error"))
    return found
