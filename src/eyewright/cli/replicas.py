"""serve --on: one address here, servers on the nodes of a Ray cluster."""

__all__ = ["add_serve_on", "serve_elsewhere"]

import argparse
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from eyewright.cli.numbers import Checked, Number
from eyewright.cli.terminal import Result, print_json, printable
from eyewright.core.errors import UsageError
from eyewright.scaling.engines import check_engine, is_ray

if TYPE_CHECKING:
    from eyewright.serving import Settings

# What a server keeps, or what is of one machine, with the value of each where it is not given.
_NOT_WITH: Mapping[str, Any] = {
    "admin_token_file": None, "allow_origin": [], "keep": None, "keep_days": 90.0, "keep_rows": 1_000_000,
    "window": 200, "label_studio_files": None, "alert_webhook": None, "alert_email": None, "index": [],
    "source": [], "follow": None, "line": [], "zone": [], "log": None,
}  # fmt: skip
# What each replica is given, with the value of each where it is not given.
_GIVEN: Mapping[str, Any] = {
    "workers": None, "threads": 1, "max_batch": 4, "max_wait_ms": 0.0, "queue": 256, "deadline": 30.0,
    "max_body": "32m", "max_pixels": 40e6, "require_signature": None, "refuse": None, "coverage": None,
}  # fmt: skip


def add_serve_on(p: argparse.ArgumentParser) -> None:
    """Add the options that say where replicas of a server run."""
    p.add_argument(
        "--on",
        type=Checked(check_engine),
        metavar="ENGINE",
        help="run servers on a Ray cluster, and forward requests to them: ray (that of RAY_ADDRESS, else one that is "
        "started here), HOST:PORT, ray://HOST:PORT; they do not log predictions",
    )
    p.add_argument(
        "--replicas", type=Number(1, 1024), metavar="N", help="with --on: number of servers (default: one per node)"
    )


def serve_elsewhere(o: argparse.Namespace, settings: "Settings") -> Result:
    """Forward requests to servers on a Ray cluster until told to end."""
    if o.on is None:
        raise UsageError("--replicas needs --on", fix="pass --on ray")
    if not is_ray(o.on):
        raise UsageError("expected a Ray cluster to serve on, found local", fix="pass --on ray, or --workers N")
    if not o.bundles:
        raise UsageError("expected bundles to serve with --on, found none", fix="name a bundle")
    for name, usual in _NOT_WITH.items():
        if getattr(o, name) != usual:
            raise UsageError(f"--{name.replace('_', '-')} is not supported with --on", fix="leave one out")
    from eyewright import lifecycle

    words = [_on_every_node(text) for text in o.bundles]
    for name, usual in _GIVEN.items():
        value = getattr(o, name)
        if value != usual:
            words += [f"--{name.replace('_', '-')}", str(value)]
    words += [word for rule in o.policy or [] for word in ("--policy", rule)]
    words += ["--no-log", *(["--scaled-decode"] if o.scaled_decode else [])]

    def ready(address: str, replicas: int) -> None:
        if o.json:
            print_json({"verb": "serve", "ok": True, "address": address, "replicas": replicas})
        elif not o.quiet:
            print(printable(f"serving  at {address}, by up to {replicas} replicas on {o.on}"), flush=True)
            print("log      none: replicas do not log predictions", flush=True)

    lifecycle.serve_replicas(words, settings, on=o.on, replicas=o.replicas, ready=ready)
    return {"silent": True, "text": []}


def _on_every_node(text: str) -> str:
    """Return `[NAME=]BUNDLE` with an absolute path.

    >>> _on_every_node("a=/b")
    'a=/b'
    """
    name, sign, path = text.rpartition("=")
    return f"{name}{sign}{os.path.abspath(path)}"
