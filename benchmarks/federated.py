"""Federated learning on MNIST: how much it loses against training in one place, and with clients that lie.

    python benchmarks/federated.py --mnist FOLDER [--rounds 20] [--only central,fedavg,…] [--model conv_net]

All runs train the same net on the same 54,000 images and are measured once on the 10,000 test images. Central training
is `eyewright train` with its own recipe for as many epochs as there are rounds, its batch normalisation in place.
Clients: 10, classes divided by a Dirichlet distribution of 0.5, one pass over their images a round. With `-lie`, three
of the ten send ten times the reverse of their update.

Targets: within 1 point of central training after 20 rounds; 3 of 10 lying clients cost at most 2 points of what the
federation reaches without them.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eyewright.lifecycle import evaluate, federate, train

Run = Callable[[Path], Any]


def runs(data: Path, rounds: int, model: str, seed: int) -> dict[str, Run]:
    """Return what can be measured, by name."""
    common = {"model": model, "seed": seed}

    def federated(**given: Any) -> Run:
        return lambda out: federate(data, clients=10, alpha=0.5, rounds=rounds, out=out, **common, **given).run

    found: dict[str, Run] = {
        "central": lambda out: train(data, epochs=rounds, out=out, preview=0.0, baseline="none", **common),
        "fedavg": federated(),
        "fedavg-lie": federated(faults="lie:3"),
    }
    for strategy in ("median", "trimmed", "krum"):
        found[strategy] = federated(strategy=strategy, faulty=3)
        found[f"{strategy}-lie"] = federated(strategy=strategy, faults="lie:3")
    found["fedprox"] = federated(strategy="fedprox")
    found["secure"] = federated(secure=True)
    return found


def main(data: Path, rounds: int, model: str, seed: int, only: list[str]) -> None:
    """Train and measure each run."""
    known = runs(data, rounds, model, seed)
    for name in only or ["central", "fedavg", "median-lie"]:
        with tempfile.TemporaryDirectory() as place:
            began = time.monotonic()
            run = known[name](Path(place, name))
            seconds = time.monotonic() - began
            metric = evaluate(run, split="test").metrics["accuracy"]
            print(
                f"{name:12} seed {seed}: test accuracy {metric.value:.4f} [{metric.low:.4f}, {metric.high:.4f}] "
                f"n={metric.n}, {rounds} rounds, {seconds:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mnist", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--model", default="conv_net")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", metavar="NAMES")
    o = parser.parse_args()
    main(o.mnist, o.rounds, o.model, o.seed, [t for t in o.only.split(",") if t])
