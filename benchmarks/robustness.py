"""Attacks compared with torchattacks, foolbox and ART on the same net, images, bound and steps: success and speed.

    PYTHONPATH=src ENV/bin/python benchmarks/robustness.py RUN [--n 200] [--eps 0.1] [--steps 40] [--queries 500]

The peers live in an environment of their own (they pin other versions):

    uv venv ENV && uv pip install --python ENV/bin/python foolbox==3.3.4 torchattacks==3.3.0 \\
        adversarial-robustness-toolbox==1.20.1

with torch and Eyewright's dependencies visible in it (installed, or by a .pth file). A peer that cannot be imported is
named and left out. Each row gives the accuracy that is left and CPU-seconds; every result is judged by the same forward
pass of ours. Both sides run in this process, on one thread, in turns; times are the better of two rounds.

Targets: at least 1.3 times as many images per CPU-second as the fastest peer of the same attack, accuracy within one
point of the strongest.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from eyewright.core.rng import generator
from eyewright.lifecycle import load_run
from eyewright.lifecycle.datasets import part_of_run
from eyewright.robustness.evaluating import pixels_of
from eyewright.robustness.loop import Plan, run_attack
from eyewright.robustness.model import is_right
from eyewright.robustness.threat import Threat
from eyewright.robustness.white import White, from_numpy, to_numpy

Attack = Callable[[], np.ndarray]


def peers(
    net: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, o: argparse.Namespace
) -> dict[str, dict[str, Attack]]:
    """Return the peers' attacks: name of ours → name of theirs → call."""
    found: dict[str, dict[str, Attack]] = {}

    def put(name: str, peer: str, call: Attack) -> None:
        found.setdefault(name, {})[peer] = call

    size = 2.5 * o.eps / o.steps
    classes = o.classes
    try:
        import torchattacks as ta

        linf = {"eps": o.eps, "steps": o.steps}
        made = {
            "fgsm": lambda: ta.FGSM(net, eps=o.eps),
            "pgd": lambda: ta.PGD(net, alpha=size, random_start=True, **linf),
            "apgd": lambda: ta.APGD(net, norm="Linf", loss="ce", n_restarts=1, **linf),
            "apgd_t": lambda: ta.APGDT(net, norm="Linf", n_restarts=1, n_classes=classes, **linf),
            "fab_t": lambda: ta.FAB(net, norm="Linf", n_restarts=1, n_classes=classes, multi_targeted=True, **linf),
            "square": lambda: ta.Square(net, norm="Linf", eps=o.eps, n_queries=o.queries, n_restarts=1, loss="margin"),
        }
        for name, make in made.items():
            put(name, "torchattacks", lambda make=make: to_numpy(make()(x, y)))
    except ImportError as error:
        print(f"torchattacks does not load: {error}")
    try:
        import foolbox as fb

        model = fb.PyTorchModel(net, bounds=(0, 1))
        attacks = {
            "fgsm": fb.attacks.LinfFastGradientAttack(random_start=False),
            "pgd": fb.attacks.LinfProjectedGradientDescentAttack(abs_stepsize=size, steps=o.steps, random_start=True),
        }
        for name, attack in attacks.items():
            put(name, "foolbox", lambda attack=attack: to_numpy(attack(model, x, y, epsilons=o.eps)[1]))
    except ImportError as error:
        print(f"foolbox does not load: {error}")
    try:
        from art.attacks.evasion import (
            AutoProjectedGradientDescent,
            FastGradientMethod,
            ProjectedGradientDescentPyTorch,
            SquareAttack,
        )
        from art.estimators.classification import PyTorchClassifier

        art = PyTorchClassifier(
            net, loss=torch.nn.CrossEntropyLoss(), input_shape=tuple(x.shape[1:]), nb_classes=classes,
            clip_values=(0.0, 1.0), device_type="cpu",
        )  # fmt: skip
        common = {"eps": o.eps, "batch_size": 256}
        made_art = {
            "fgsm": lambda: FastGradientMethod(art, **common),
            "pgd": lambda: ProjectedGradientDescentPyTorch(
                art, eps_step=size, max_iter=o.steps, num_random_init=1, verbose=False, **common
            ),
            "apgd": lambda: AutoProjectedGradientDescent(
                art, eps_step=2 * o.eps, max_iter=o.steps, nb_random_init=1, loss_type="cross_entropy", verbose=False,
                **common,
            ),
            "square": lambda: SquareAttack(art, max_iter=o.queries, nb_restarts=1, verbose=False, **common),
        }  # fmt: skip
        images, labels = x.numpy(), np.eye(classes, dtype=np.float32)[y.numpy()]

        def run(make: Callable[[], object]) -> np.ndarray:
            return np.transpose(make().generate(x=images, y=labels), (0, 2, 3, 1))  # type: ignore[attr-defined]

        for name, make in made_art.items():
            put(name, "ART", lambda make=make: run(make))
    except ImportError as error:
        print(f"ART does not load: {error}")
    return found


class Unit(torch.nn.Module):
    """A net as the peers take it: images in [0, 1] to logits."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net.of_unit(images)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--eps", type=float, default=0.1)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", default="", help="names of attacks, with commas between")
    o = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    run = load_run(o.run)
    part = part_of_run(run, "test")
    rows = generator(0, "attacked").permutation(len(part))[: o.n]
    pixels, labels = pixels_of(run.predictor, part, rows), np.asarray(part.targets, np.int64)[rows]
    net = run.net.eval()
    white = White(net)
    images = pixels.astype(np.float32) / np.float32(255)
    right = is_right(white.scores(images), labels)
    print(
        f"{o.run}: {len(rows)} images, clean {right.mean():.4f}; linf {o.eps:g}, {o.steps} steps, {o.queries} queries"
    )
    images, labels = images[right], labels[right]
    threat = Threat("linf", o.eps)
    o.classes = len(run.labels)
    theirs = peers(Unit(net).eval(), from_numpy(images).contiguous(), torch.from_numpy(labels), o)
    print(f"{'attack':8} {'by':13} {'robust':>7} {'cpu s':>8} {'images/s':>9} {'outside':>8} {'ours is':>8}")
    for name in ("fgsm", "pgd", "apgd", "apgd_t", "fab_t", "square"):
        if o.only and name not in o.only.split(","):
            continue
        plan = Plan("linf", (o.eps,), (name,), steps=o.steps, queries=o.queries)
        calls: dict[str, Attack] = {
            "eyewright": lambda name=name, plan=plan: run_attack(name, white, images, labels, threat, plan, 0),
            **theirs.get(name, {}),
        }
        seconds: dict[str, float] = {}
        changed: dict[str, np.ndarray] = {}
        for _ in range(o.rounds):
            for by, call in calls.items():
                torch.manual_seed(0)
                np.random.seed(0)
                started = time.process_time()
                changed[by] = call()
                seconds[by] = min(seconds.get(by, np.inf), time.process_time() - started)
        for by in calls:
            valid = threat.kept_by(changed[by], images)
            left = (is_right(white.scores(changed[by].astype(np.float32)), labels) | ~valid).sum() / len(rows)
            faster = seconds[by] / seconds["eyewright"]
            ratio = "" if by == "eyewright" else f"{faster:7.2f}x"
            print(
                f"{name:8} {by:13} {left:7.4f} {seconds[by]:8.2f} {len(images) / seconds[by]:9.1f} "
                f"{int((~valid).sum()):8} {ratio:>8}",
                flush=True,
            )


if __name__ == "__main__":
    main()
