"""train --on: the same command by several processes on a Ray cluster."""

__all__ = ["add_train_on", "spread_options", "train_elsewhere"]

import argparse
import json
from pathlib import Path
from typing import Any

from eyewright.cli.numbers import Checked, Number
from eyewright.cli.terminal import Result
from eyewright.core.errors import UsageError
from eyewright.scaling.engines import check_engine, is_ray

# Options with a value that the processes are not given.
_OWN = ("--on", "--processes")


def add_train_on(p: argparse.ArgumentParser) -> None:
    """Add the options that say where several processes train."""
    # The words of the command, which are repeated there.
    p.set_defaults(words=[])
    p.add_argument(
        "--on",
        type=Checked(check_engine),
        metavar="ENGINE",
        help="train by several processes on a Ray cluster: ray (that of RAY_ADDRESS, else one that is started here), "
        "HOST:PORT, ray://HOST:PORT; needs --out in storage that all nodes share. With --folds and --tune each process "
        "trains folds or trials of its own, with local on this machine",
    )
    p.add_argument(
        "--processes", type=Number(1, 1024), metavar="N", help="with --on: number of processes (default: one per core)"
    )


def spread_options(o: argparse.Namespace) -> dict[str, Any]:
    """Return where the trainings of a study are done.

    Raises:
        UsageError: a number of processes, but not where.
    """
    if o.on is None and o.processes is not None:
        raise UsageError("--processes needs --on", fix="pass --on local, or --on ray")
    if o.on is not None and is_ray(o.on) and o.out is None:
        raise UsageError("expected --out with --on, found none", fix="name a folder that all nodes share")
    return {"on": o.on, "processes": o.processes}


def train_elsewhere(o: argparse.Namespace) -> Result:
    """Train by several processes on a Ray cluster, and return what the first of them says."""
    if o.on is None:
        raise UsageError("--processes needs --on", fix="pass --on ray, or start it with torchrun")
    if not is_ray(o.on):
        raise UsageError(
            "expected a Ray cluster to train one model on, found local",
            fix="pass --on ray, or use torchrun --nproc-per-node N -m eyewright train",
        )
    if o.shards is not None:
        raise UsageError("--shards is not supported with --on", fix="leave --on out")
    if o.out is None:
        raise UsageError("expected --out with --on, found none", fix="name one run folder for all processes")
    from eyewright.scaling.ray_training import failure_of, train_on_ray

    answer = train_on_ray(_words_of(o.words), Path(o.out), on=o.on, processes=o.processes)
    if answer["code"] > 1:
        raise failure_of(answer)
    if o.json:
        told = json.loads(answer["out"])
        return {**told, "restarts": answer["restarts"], "exit": answer["code"]}
    again = answer["restarts"]
    text = answer["out"].splitlines()
    text += [f"restarts {again:,}: continued from the last checkpoint when a process was lost"] if again else []
    return {"out": {"run": Path(o.out).resolve()}, "restarts": again, "text": text, "exit": answer["code"]}


def _words_of(words: list[str]) -> list[str]:
    """Return the words of the command without those that say where it is run.

    >>> _words_of(["train", "a", "--on", "ray", "--processes=2", "--out", "b"])
    ['train', 'a', '--out', 'b']
    """
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in _OWN:
            skip = True
        elif word.partition("=")[0] not in _OWN:
            kept.append(word)
    return kept
