"""The verb of federated learning, simulated on this machine."""

__all__ = ["add_federating", "federate"]

import argparse
from collections.abc import Callable

from eyewright.cli.numbers import Number
from eyewright.cli.recipe_help import RECIPE_HELP
from eyewright.cli.terminal import Result, finding, shown_path, talk, warn_of
from eyewright.core.errors import UsageError

_NUMBERS = {
    "batch": Number(1, 1_000_000),
    "lr": Number(0, 1_000_000, whole=False),
    "imgsz": Number(4, 16_384),
    "weight_decay": Number(0, 1_000_000, whole=False),
    "dropout": Number(0, 1, whole=False, open_high=True),
    "patience": Number(1, 1_000_000),
}
_WORDS = ("optimizer", "loss", "schedule", "augment", "flip", "activation", "device")


def add_federating(verb: Callable[[str], argparse.ArgumentParser]) -> None:
    """Add the options of federate."""
    p = verb("federate")
    p.add_argument("data", metavar="DATA", nargs="+", help="a dataset that is divided, or a folder for each client")
    p.add_argument(
        "--clients",
        default="10",
        metavar="N|groups",
        help="how many, or groups: one per group (default 10)",
    )
    p.add_argument(
        "--alpha",
        type=Number(1e-6, 1e9, whole=False),
        default=0.5,
        metavar="A",
        help="of the Dirichlet distribution that divides classes; small: each client has few classes (default 0.5)",
    )
    p.add_argument("--rounds", type=Number(1, 1_000_000), default=20, metavar="N", help="rounds (default 20)")
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
        help="passes of a client over its images in a round (default 1)",
    )
    p.add_argument(
        "--faulty",
        type=Number(0, 10_000),
        metavar="N",
        help="wrong updates that a robust strategy allows for (default: those of --faults, or 3 of 10)",
    )
    p.add_argument(
        "--mu",
        type=Number(0, 1e9, whole=False),
        default=0.01,
        metavar="M",
        help="proximal term of fedprox (default 0.01)",
    )
    p.add_argument(
        "--server-lr",
        type=Number(1e-12, 1e9, whole=False),
        default=0.01,
        metavar="R",
        help="step of fedadam (default 0.01)",
    )
    p.add_argument(
        "--norm",
        default="group",
        choices=("group", "average"),
        help="batch normalisation becomes group normalisation, or its statistics are averaged (default group)",
    )
    p.add_argument("--secure", action="store_true", help="the server sees only the sum of masked updates")
    p.add_argument(
        "--secure-range",
        type=Number(1e-9, 1e6, whole=False),
        default=4.0,
        metavar="R",
        help="public range of an update's values with --secure; larger ones end training (default 4)",
    )
    p.add_argument(
        "--least",
        type=Number(0, 1, whole=False, open_low=True),
        default=0.5,
        metavar="F",
        help="fraction of the clients that a round needs (default 0.5)",
    )
    p.add_argument(
        "--private",
        nargs="+",
        metavar="K=V",
        help="differential privacy of each client: epsilon=3 [delta=1e-5 clip=1 noise-from=system|seed]",
    )
    p.add_argument(
        "--faults",
        metavar="F:N",
        help="clients that do something wrong: die, lie, nan, shape, replay, such as lie:3,die:1",
    )
    p.add_argument("--out", metavar="DIR", help="run folder (default runs/federated/NAME)")
    p.add_argument("--task", metavar="T", help="classify (default: the data decides)")
    p.add_argument("--model", metavar="NAME", help="see eyewright models (default conv_net)")
    p.add_argument(
        "--group-by", metavar="RULE", help="'folder', 'none', a pattern or a CSV of path,group: what is a group"
    )
    p.add_argument("--label-depth", type=Number(1, 100), metavar="N", help="folder levels that make a class name")
    p.add_argument("--ignore", metavar="NAME", action="append", default=[], help="leave this class out (repeatable)")
    p.add_argument(
        "--leaks", metavar="RULE", help="copies between the data's own parts: drop (the default), refuse or allow"
    )
    p.add_argument("--workers", type=Number(1, 1024), metavar="N", help="threads that decode (default: all cores)")
    for name, kind in _NUMBERS.items():
        p.add_argument("--" + name.replace("_", "-"), type=kind, metavar="N", help=RECIPE_HELP[name])
    for name in _WORDS:
        p.add_argument("--" + name.replace("_", "-"), metavar="NAME", help=RECIPE_HELP[name])


def federate(o: argparse.Namespace) -> Result:
    """Train on simulated clients, and print what each of them had, sent and spent."""
    from eyewright import lifecycle

    if o.clients != "groups" and not (o.clients.isascii() and o.clients.isdecimal() and int(o.clients) >= 2):
        raise UsageError(f"expected --clients as a number from 2 on, or groups, found {o.clients!r}", fix="change it")
    recipe = {n: getattr(o, n) for n in (*_NUMBERS, *_WORDS, "task", "model", "seed") if getattr(o, n) is not None}
    done = lifecycle.federate(
        o.data,
        clients=o.clients if o.clients == "groups" else int(o.clients),
        alpha=o.alpha,
        rounds=o.rounds,
        strategy=o.strategy,
        local_epochs=o.local_epochs,
        faulty=o.faulty,
        mu=o.mu,
        server_lr=o.server_lr,
        norm=o.norm,
        secure=o.secure,
        secure_range=o.secure_range,
        least=o.least,
        private=" ".join(o.private or ()),
        faults=o.faults or "",
        out=o.out,
        group_by=o.group_by,
        label_depth=o.label_depth,
        ignore=tuple(o.ignore),
        leaks=o.leaks,
        workers=o.workers,
        **talk(o),
        **recipe,
    )
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
