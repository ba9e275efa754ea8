"""Federated learning between processes: `federate serve` and `federate join`."""

__all__ = ["AddForm", "add_federating_apart"]

import argparse
from typing import Protocol

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
from eyewright.cli.field import read_token
from eyewright.cli.numbers import Number
from eyewright.cli.terminal import Result, shown_path, talk
from eyewright.core.durations import parse_duration_s
from eyewright.core.errors import UsageError

_PORT = 8470


class AddForm(Protocol):
    """Returns the options of their own that a command has where a word comes first."""

    def __call__(self, word: str, about: str) -> argparse.ArgumentParser: ...


def add_federating_apart(form: AddForm) -> None:
    """Add the forms serve and join to federate."""
    _add_serve(form("serve", "coordinate clients in other processes or on other machines"))
    _add_join(form("join", "take part as a client with local images"))


def _add_serve(p: argparse.ArgumentParser) -> None:
    p.set_defaults(call=_serve)
    p.add_argument(
        "data",
        metavar="DATA",
        help="the coordinator's own images: its classes are learnt, its validation part chooses the best round",
    )
    p.add_argument(
        "--clients",
        required=True,
        metavar="N|A,B",
        help="how many must join before the first round, or their names (required)",
    )
    p.add_argument("--host", default="127.0.0.1", metavar="H", help="address to listen on (default 127.0.0.1)")
    p.add_argument(
        "--port", type=Number(0, 65_535), default=_PORT, metavar="P", help=f"port, 0 for a free one (default {_PORT})"
    )
    p.add_argument("--token-file", metavar="FILE", help="file with the token of all clients (or EYEWRIGHT_TOKEN)")
    p.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name by which clients may call it (repeatable)",
    )
    p.add_argument("--tls-cert", metavar="FILE", help="certificate (PEM), for https")
    p.add_argument("--tls-key", metavar="FILE", help="its private key (PEM)")
    add_strategy(p)
    add_secure(p)
    add_private(p)
    p.add_argument(
        "--deadline",
        default="10m",
        metavar="T",
        help="how long a round waits; clients that are late are dropped until they ask again (default 10m)",
    )
    p.add_argument("--wait", default="1h", metavar="T", help="how long it waits for clients to come (default 1h)")
    p.add_argument("--out", metavar="DIR", help="run folder (default runs/federated/NAME)")
    p.add_argument("--resume", action="store_true", help="continue after the last round in --out")
    add_images_of(p)
    add_recipe(p)


def _add_join(p: argparse.ArgumentParser) -> None:
    p.set_defaults(call=_join)
    p.add_argument("address", metavar="ADDRESS", help="of the coordinator, as it printed it")
    p.add_argument("data", metavar="DATA", help="images to learn from; of data with parts, the training part")
    p.add_argument("--name", required=True, metavar="NAME", help="of this client; the same one to come back (required)")
    p.add_argument("--token-file", metavar="FILE", help="file with the coordinator's token (or EYEWRIGHT_TOKEN)")
    p.add_argument("--ca", metavar="FILE", help="certificate (PEM) to trust, for https (default: those of the system)")
    p.add_argument(
        "--max-epsilon",
        type=Number(0, 1e9, whole=False, open_low=True),
        metavar="E",
        help="take part only with differential privacy of at most this epsilon",
    )
    p.add_argument(
        "--secure", action="store_true", help="take part only if the coordinator sees only the sum of all updates"
    )
    p.add_argument(
        "--patience", default="10m", metavar="T", help="how long the coordinator may be out of reach (default 10m)"
    )
    p.add_argument(
        "--out",
        metavar="DIR",
        help="folder of this client: its key, what it has spent, the weights (default runs/federated-clients/NAME)",
    )
    p.add_argument("--device", default="auto", metavar="NAME", help="cpu, cuda or auto (default auto)")
    add_images_of(p)


def _serve(o: argparse.Namespace) -> Result:
    """Coordinate until the last round, and print what each client had, sent and spent."""
    from eyewright import lifecycle

    clients: int | list[str]
    if o.clients.isascii() and o.clients.isdecimal():
        clients = int(o.clients)
    else:
        clients = [name.strip() for name in o.clients.split(",")]
    if (clients if isinstance(clients, int) else len(clients)) < 2:
        raise UsageError(f"expected --clients as 2 or more, or names, found {o.clients!r}", fix="change it")
    done = lifecycle.serve_federation(
        o.data,
        clients=clients,
        host=o.host,
        port=o.port,
        token=read_token(o.token_file, "EYEWRIGHT_TOKEN"),
        hosts=o.allow_host,
        tls_cert=o.tls_cert,
        tls_key=o.tls_key,
        deadline_s=parse_duration_s(o.deadline),
        wait_s=parse_duration_s(o.wait),
        out=o.out,
        resume=o.resume,
        **strategy_of(o),
        **images_of(o),
        **talk(o),
        **recipe_of(o),
    )
    return shown(o, done)


def _join(o: argparse.Namespace) -> Result:
    """Take part until the last round, and print what left this machine."""
    from eyewright import lifecycle

    done = lifecycle.join_federation(
        o.address,
        o.data,
        name=o.name,
        token=read_token(o.token_file, "EYEWRIGHT_TOKEN"),
        ca=o.ca,
        max_epsilon=o.max_epsilon,
        secure=o.secure,
        patience_s=parse_duration_s(o.patience),
        out=o.out,
        device=o.device,
        **images_of(o),
        **talk(o),
    )
    sent = sum(d.sent for d in done.rounds)
    spent = "" if done.epsilon is None else f", epsilon {done.epsilon:.3g}"
    text = [
        f"rounds       {len(done.rounds)}, of which {len(done.refused)} were refused",
        f"sent         {sent / 1e6:.2f} MB{spent}",
        f"weights      {shown_path(done.weights)}" if done.weights else "weights      none",
    ]
    return {
        "out": {"folder": done.folder.resolve(), "weights": None if done.weights is None else done.weights.resolve()},
        "client": {
            "name": done.name,
            "images": done.images,
            "sent": sent,
            "epsilon": done.epsilon,
            "rounds": [
                {"round": d.round + 1, "sent": d.sent, "loss": d.loss, "accepted": d.accepted, "why": d.why,
                 "epsilon": d.epsilon}
                for d in done.rounds
            ],
        },
        "text": text,
        "exit": int(bool(done.refused)),
    }  # fmt: skip
