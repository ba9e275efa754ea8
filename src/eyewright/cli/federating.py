"""The verb of federated learning, simulated on this machine."""

__all__ = ["add_federating", "federate"]

import argparse
from collections.abc import Callable

from eyewright.cli.federated_options import (
    add_images_of,
    add_private,
    add_recipe,
    add_secure,
    add_strategy,
    images_of,
    recipe_of,
    shown,
    strategy_of,
)
from eyewright.cli.federating_apart import AddForm, add_federating_apart
from eyewright.cli.numbers import Number
from eyewright.cli.terminal import Result, talk
from eyewright.core.errors import UsageError


def add_federating(
    verb: Callable[[str], argparse.ArgumentParser], form: Callable[[argparse.ArgumentParser], AddForm]
) -> None:
    """Add the options of federate, and of the forms that `form` adds to its parser."""
    p = verb("federate")
    add_federating_apart(form(p))
    p.add_argument("data", metavar="DATA", nargs="+", help="a dataset that is divided, or a folder for each client")
    p.add_argument(
        "--clients",
        metavar="N|groups",
        help="number of clients, or groups: one per group (default 10)",
    )
    p.add_argument(
        "--alpha",
        type=Number(1e-6, 1e9, whole=False),
        metavar="A",
        help="concentration of the Dirichlet distribution of classes over clients; small: each client has few "
        "classes (default 0.5)",
    )
    add_strategy(p)
    add_secure(p)
    add_private(p)
    p.add_argument(
        "--faults",
        metavar="F:N",
        help="simulate faulty clients: die, lie, nan, shape, replay, such as lie:3,die:1",
    )
    p.add_argument("--out", metavar="DIR", help="run folder (default runs/federated/NAME)")
    add_images_of(p)
    p.add_argument(
        "--leaks", metavar="RULE", help="copies between the data's own parts: drop (the default), refuse or allow"
    )
    add_recipe(p)


def federate(o: argparse.Namespace) -> Result:
    """Train on simulated clients, and print what each of them had, sent and spent."""
    from eyewright import lifecycle

    if o.clients not in (None, "groups") and not (
        o.clients.isascii() and o.clients.isdecimal() and int(o.clients) >= 2
    ):
        raise UsageError(f"expected --clients as a number from 2 on, or groups, found {o.clients!r}", fix="change it")
    done = lifecycle.federate(
        o.data,
        clients=o.clients if o.clients in (None, "groups") else int(o.clients),
        alpha=o.alpha,
        faults=o.faults or "",
        out=o.out,
        leaks=o.leaks,
        **strategy_of(o),
        **images_of(o),
        **talk(o),
        **recipe_of(o),
    )
    return shown(o, done)
