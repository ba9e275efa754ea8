"""Options that a simulated federation and a coordinator share, and what both print."""

__all__ = [
    "add_images_of",
    "add_private",
    "add_recipe",
    "add_secure",
    "add_strategy",
    "images_of",
    "recipe_of",
    "shown",
    "strategy_of",
]

import argparse
from typing import TYPE_CHECKING, Any

from eyewright.cli.numbers import Number
from eyewright.cli.recipe_help import RECIPE_HELP
from eyewright.cli.terminal import Result, finding, shown_path, warn_of
from eyewright.core.errors import UsageError

if TYPE_CHECKING:
    from eyewright.lifecycle import Federated

_NUMBERS = {
    "batch": Number(1, 1_000_000),
    "lr": Number(0, 1_000_000, whole=False),
    "imgsz": Number(4, 16_384),
    "weight_decay": Number(0, 1_000_000, whole=False),
    "dropout": Number(0, 1, whole=False, open_high=True),
    "patience": Number(1, 1_000_000),
}
_MEANS = ("fedavg", "fedprox", "fedadam")
_WORDS = ("optimizer", "loss", "schedule", "augment", "flip", "activation", "device")


def add_strategy(p: argparse.ArgumentParser) -> None:
    """Add what a round is, and how updates become one."""
    p.add_argument("--rounds", type=Number(1, 1_000_000), default=20, metavar="N", help="number of rounds (default 20)")
    p.add_argument(
        "--strategy",
        default="fedavg",
        metavar="NAME",
        help="fedavg, fedprox, fedadam, median, trimmed, krum, bulyan (default fedavg)",
    )
    p.add_argument(
        "--local-epochs",
        type=Number(1, 1000),
        default=1,
        metavar="N",
        help="epochs of a client per round (default 1)",
    )
    p.add_argument(
        "--faulty",
        type=Number(0, 10_000),
        metavar="N",
        help="number of faulty clients that a robust strategy tolerates (default: those of --faults, or 3 of 10)",
    )
    p.add_argument(
        "--mu",
        type=Number(0, 1e9, whole=False),
        metavar="M",
        help="weight of the proximal term of fedprox (default 0.01)",
    )
    p.add_argument(
        "--server-lr",
        type=Number(1e-12, 1e9, whole=False),
        metavar="R",
        help="server learning rate of fedadam (default 0.01)",
    )
    p.add_argument(
        "--norm",
        default="group",
        choices=("group", "average"),
        help="group: replace batch by group normalisation (default); average: average the statistics of batch "
        "normalisation",
    )
    p.add_argument(
        "--least",
        type=Number(0, 1, whole=False, open_low=True),
        default=0.5,
        metavar="F",
        help="minimum fraction of clients per round (default 0.5)",
    )


def add_secure(p: argparse.ArgumentParser) -> None:
    """Add secure aggregation."""
    p.add_argument("--secure", action="store_true", help="the server sees only the sum of masked updates")
    p.add_argument(
        "--secure-range",
        type=Number(1e-9, 1e6, whole=False),
        metavar="R",
        help="public range of an update's values with --secure; larger ones are refused (default 4)",
    )


def add_private(p: argparse.ArgumentParser) -> None:
    """Add differential privacy of each client."""
    p.add_argument(
        "--private",
        nargs="+",
        metavar="K=V",
        help="differential privacy of each client: epsilon=3 [delta=1e-5 clip=1 unit=group noise-from=seed]",
    )


def add_images_of(p: argparse.ArgumentParser) -> None:
    """Add how data is read."""
    p.add_argument(
        "--group-by",
        metavar="RULE",
        help="how images are grouped: 'folder', 'none', a regular expression, or a CSV of path,group",
    )
    p.add_argument(
        "--label-depth", type=Number(1, 100), metavar="N", help="number of folder levels that form a class name"
    )
    p.add_argument(
        "--ignore",
        metavar="NAME",
        action="append",
        default=[],
        help="leave this class out of training and metrics (repeatable)",
    )
    p.add_argument(
        "--workers", type=Number(1, 1024), metavar="N", help="number of decoding threads (default: all cores)"
    )


def add_recipe(p: argparse.ArgumentParser) -> None:
    """Add what clients learn, and how."""
    p.add_argument("--task", metavar="T", help="classify (default: the data decides)")
    p.add_argument("--model", metavar="NAME", help="see eyewright models (default conv_net)")
    for name, kind in _NUMBERS.items():
        p.add_argument("--" + name.replace("_", "-"), type=kind, metavar="N", help=RECIPE_HELP[name])
    for name in _WORDS:
        p.add_argument("--" + name.replace("_", "-"), metavar="NAME", help=RECIPE_HELP[name])


def strategy_of(o: argparse.Namespace) -> dict[str, Any]:
    """Return what was asked of rounds, updates and the privacy of clients.

    Raises:
        UsageError: an option that has no effect with the others.
    """
    for option, value, used, needed in (
        ("--mu", o.mu, o.strategy == "fedprox", "--strategy fedprox"),
        ("--server-lr", o.server_lr, o.strategy == "fedadam", "--strategy fedadam"),
        ("--faulty", o.faulty, o.strategy not in _MEANS, "--strategy median, trimmed, krum or bulyan"),
        ("--secure-range", o.secure_range, o.secure, "--secure"),
    ):
        if value is not None and not used:
            raise UsageError(f"expected {needed} with {option}, found none", fix=f"add {needed}, or leave {option} out")
    given = {"mu": o.mu, "server_lr": o.server_lr, "secure_range": o.secure_range}
    return {
        "rounds": o.rounds,
        "strategy": o.strategy,
        "local_epochs": o.local_epochs,
        "faulty": o.faulty,
        "norm": o.norm,
        "secure": o.secure,
        "least": o.least,
        "private": " ".join(o.private or ()),
        **{name: value for name, value in given.items() if value is not None},
    }


def images_of(o: argparse.Namespace) -> dict[str, Any]:
    """Return what was asked of how data is read."""
    return {
        "group_by": o.group_by,
        "label_depth": o.label_depth,
        "ignore": tuple(o.ignore),
        "workers": o.workers,
    }


def recipe_of(o: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of the recipe that were given."""
    return {n: getattr(o, n) for n in (*_NUMBERS, *_WORDS, "task", "model", "seed") if getattr(o, n) is not None}


def shown(o: argparse.Namespace, done: "Federated") -> Result:
    """Return what is printed of a federation: a line per client, and where its run is."""
    training = done.run.about["training"]
    metric = f"val_{training.get('metric', 'accuracy')}"
    text = [f"{'client':24} {'images':>8} {'sent':>10} {'refused':>8}  epsilon"]
    for c in done.about["clients"][:50]:
        spent = "–" if c["epsilon"] is None else f"{c['epsilon']:.3g}"
        text.append(f"{c['name'][:24]:24} {c['images']:8,} {c['bytes'] / 1e6:7.1f} MB {len(c['refused']):8}  {spent}")
    text += [
        f"{metric:12} {training[metric]:.4f}",
        f"run          {shown_path(done.run.folder)}",
        f"report       {shown_path(done.report)}",
        f"measure      eyewright evaluate {shown_path(done.run.folder)}",
    ]
    if not o.json:
        warn_of(done.findings)
    value = {"value": training[metric], "low": None, "high": None, "n": done.run.about["calibration"]["n"]}
    return {
        "task": done.run.task_name,
        "out": {"run": done.run.folder.resolve(), "report": done.report.resolve()},
        "metrics": {metric: value},
        "federated": done.about,
        "findings": [finding(f) for f in done.findings],
        "text": text,
        "exit": int(any(f.severity == "error" for f in done.findings)),
    }
