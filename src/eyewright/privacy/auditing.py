"""The audit of a run: attacks that try to tell its training images from others, and canaries through its own step."""

__all__ = ["ATTACKS", "Exposed", "PrivacyAudit", "audit_membership", "canary_plan"]

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eyewright.core.errors import UsageError
from eyewright.core.report import Metric
from eyewright.nets.private import FeatureNet
from eyewright.privacy.canaries import CanaryAudit, CanaryPlan
from eyewright.privacy.membership import AttackResult, lira_scores, log_odds, measure_attack, rmia_scores
from eyewright.privacy.shadows import halves, train_shadows
from eyewright.training.run import Run, build_net

ATTACKS = ("lira", "rmia", "threshold", "canary")
_LR = 2e-3
_BATCH = 64
_LEAST_STEPS, _MOST_STEPS = 100, 4000
_EXPOSED = 12
_FORWARD = 512
_LOUD = 0.6
"""From this AUC on, or this many times more members than others found, a run is said to tell of its images."""
_RATIO = 5.0


@dataclass(frozen=True)
class Exposed:
    """A training image with one of the highest attack scores: its row among those that were attacked, and the score."""

    row: int
    id: str
    label: str
    score: float


@dataclass(frozen=True)
class PrivacyAudit:
    """What an audit found. `run` are attacks on the run itself, `recipe` on nets that were trained like it."""

    run: tuple[AttackResult, ...]
    recipe: tuple[AttackResult, ...]
    canaries: CanaryAudit | None
    claim: Mapping[str, Any] | None
    models: int
    targets: int
    exposed: tuple[Exposed, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def refuted(self) -> bool:
        """Whether a claimed epsilon is disproved."""
        return self.canaries is not None and self.canaries.refuted

    @property
    def leaks(self) -> bool:
        """Whether an attack on the run finds its training images clearly better than by chance."""
        for a in self.run:
            if a.auc.low is not None and a.auc.low > _LOUD:
                return True
            if any(m is not None and m.low is not None and m.low > _RATIO * rate for rate, m in a.found.items()):
                return True
        return False

    def sentence(self) -> str:
        """Return the finding in one sentence."""
        if self.canaries is not None and self.claim is not None:
            c = self.canaries
            word = "disprove" if c.refuted else "do not disprove"
            said = (
                f"The canaries {word} the claimed epsilon of {c.claimed_epsilon:.3g}: at {c.confidence:.0%} confidence "
                f"epsilon is at least {c.epsilon_lower:.3g}."
            )
            if not self.run:
                return said
        else:
            said = ""
        best = max(self.run, key=lambda a: a.auc.value or 0.0)
        word = "can be distinguished" if self.leaks else "can hardly be distinguished"
        sentence = (
            f"Training images {word} from others: the best attack on this run ({best.name}) has AUC "
            f"{best.auc.value:.3f}, where 0.5 is chance."
        )
        return f"{sentence} {said}".rstrip()

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON types."""
        return {
            "sentence": self.sentence(),
            "leaks": self.leaks,
            "refuted": self.refuted,
            "models": self.models,
            "targets": self.targets,
            "run": [_result(a) for a in self.run],
            "recipe": [_result(a) for a in self.recipe],
            "canaries": None if self.canaries is None else self.canaries.to_json(),
            "claim": None if self.claim is None else dict(self.claim),
            "exposed": [{"id": e.id, "label": e.label, "score": e.score} for e in self.exposed],
            "warnings": list(self.warnings),
            "seconds": self.seconds,
            **self.facts,
        }


def _result(a: AttackResult) -> dict[str, Any]:
    return {
        "attack": a.name,
        "auc": _metric(a.auc),
        "found": {f"{rate:g}": None if m is None else _metric(m) for rate, m in a.found.items()},
        "members": a.members,
        "others": a.others,
    }


def _metric(m: Metric) -> dict[str, Any]:
    return {"value": m.value, "low": m.low, "high": m.high, "n": m.n}


def canary_plan(claim: Mapping[str, Any] | None, *, canaries: int, seed: int) -> CanaryPlan:
    """Return the plan of an audit by canaries of what a run claims.

    Raises:
        UsageError: the run claims nothing.
    """
    if claim is None:
        raise UsageError(
            "expected a run that was trained with --private for --attack canary, found another", fix="use --attack lira"
        )
    return CanaryPlan(
        noise=float(claim["noise"]),
        clip=float(claim["clip"]),
        rate=float(claim["rate"]),
        steps=int(claim["steps"]),
        claimed_epsilon=float(claim["epsilon"]),
        delta=float(claim["delta"]),
        canaries=canaries,
        seed=seed,
    )


def audit_membership(
    run: Run,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    members: NDArray[np.bool_],
    ids: Sequence[str],
    *,
    attacks: Sequence[str],
    models: int,
    targets: int,
    seed: int,
    goes_on: Callable[[], bool] = lambda: True,
    say: Callable[[str], None] = lambda text: None,
    keep: Path | None = None,
    resume: bool = False,
) -> PrivacyAudit:
    """Attack a run: which of these prepared pixels (N, H, W, C) were its training images, `members` (N,)?

    `models` nets of the run's kind are trained on random halves of the images, all at once; they tell what an image's
    log-odds are for nets that saw it and for others. `targets` of them are attacked in turn as the run is, by the rest.
    `keep` and `resume` are those of `train_shadows`.

    Raises:
        UsageError: fewer than 4 models, more targets than models, or nothing to resume.
    """
    if models < 4 or targets > models:
        raise UsageError(
            f"expected 4 models or more and at most as many targets, found {models} and {targets}",
            fix="change --models",
        )
    began = time.monotonic()
    build, inputs, own = _parts(run, pixels)
    inside = halves(len(labels), models, seed)
    steps = min(_MOST_STEPS, max(_LEAST_STEPS, int(run.about["training"]["steps"])))
    say(f"training {models} nets at once, each on half of {len(labels):,} images, for up to {steps:,} steps")
    known = log_odds(
        train_shadows(
            build,
            inputs,
            labels,
            inside,
            steps=steps,
            batch=_BATCH,
            lr=_LR,
            seed=seed,
            goes_on=goes_on,
            say=say,
            keep=keep,
            resume=resume,
        ),
        labels,
    )
    attacked = log_odds(own, labels)
    run_results, best_scores = [], None
    for name in attacks:
        scores = _scores(name, attacked, known, inside)
        run_results.append(measure_attack(name, scores, members))
        if name == "lira" or best_scores is None:
            best_scores = scores
    recipe_results = []
    for name in attacks if targets else ():
        found, truth = [], []
        for k in range(targets):
            rest = np.arange(models) != k
            found.append(_scores(name, known[k], known[rest], inside[rest]))
            truth.append(inside[k])
        recipe_results.append(measure_attack(name, np.concatenate(found), np.concatenate(truth)))
    exposed = _most_exposed(best_scores, members, ids, labels, run.labels.names)
    return PrivacyAudit(
        tuple(run_results),
        tuple(recipe_results),
        None,
        run.about.get("privacy"),
        models,
        targets,
        exposed,
        _warnings(run, models, members),
        round(time.monotonic() - began, 1),
        {"images": len(labels), "shadow_accuracy": _accuracies(known, inside)},
    )


def lira_of(
    runs: Sequence[Run],
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    members: NDArray[np.bool_],
    measured: NDArray[np.bool_],
    *,
    models: int,
    seed: int,
    say: Callable[[str], None] = lambda text: None,
) -> list[Metric]:
    """Return the AUC with which LiRA tells `members` from other images by each of several runs of one kind.

    Only the images `measured` (N,) count; nets to compare with are trained once, on random halves of all (N, H, W, C).
    """
    build, inputs, _ = _parts(runs[0], pixels)
    inside = halves(len(labels), models, seed)
    steps = min(_MOST_STEPS, max(_LEAST_STEPS, int(runs[0].about["training"]["steps"])))
    say(f"training {models} nets at once, each on half of {len(labels):,} images, for up to {steps:,} steps")
    shadows = train_shadows(build, inputs, labels, inside, steps=steps, batch=_BATCH, lr=_LR, seed=seed, say=say)
    known = log_odds(shadows, labels)
    found = []
    for run in runs:
        scores = lira_scores(log_odds(_parts(run, pixels)[2], labels), known, inside)
        found.append(measure_attack("lira", scores[measured], members[measured]).auc)
    return found


def _scores(
    name: str, attacked: NDArray[np.float64], known: NDArray[np.float64], inside: NDArray[np.bool_]
) -> NDArray[np.float64]:
    if name == "lira":
        return lira_scores(attacked, known, inside)
    if name == "lira-offline":
        return lira_scores(attacked, known, inside, online=False)
    if name == "rmia":
        return rmia_scores(attacked, known, inside)
    return attacked


def _accuracies(known: NDArray[np.float64], inside: NDArray[np.bool_]) -> dict[str, float]:
    """Return how often the nets are at least as sure of the true class as of all others together."""
    right = known > 0
    return {"seen": float(right[inside].mean()), "unseen": float(right[~inside].mean())}


def _parts(run: Run, pixels: NDArray[np.uint8]) -> tuple[Callable[[], nn.Module], Tensor, NDArray[np.float32]]:
    """Return what makes a net like the run's, what it takes, and the run's own logits.

    Of a linear layer on fixed features only the layer is trained, on features that are computed once.
    """
    net, taken = run.net, torch.from_numpy(np.ascontiguousarray(pixels))
    body: Any = net.body
    with torch.inference_mode():
        if isinstance(body, FeatureNet):
            parts = [
                body.centred(body.features(net.scale(taken[i : i + _FORWARD]))) for i in range(0, len(taken), _FORWARD)
            ]
            features = torch.cat(parts).clone()
            logits = body.head(features).numpy()
        else:
            logits = np.concatenate([net(taken[i : i + _FORWARD]).numpy() for i in range(0, len(taken), _FORWARD)])
    if isinstance(body, FeatureNet):
        size, classes = body.head.in_features, len(run.labels)
        # Features have length 1: scaled, they suit a usual learning rate.
        return (lambda: nn.Linear(size, classes)), features * math.sqrt(size), logits

    def build() -> nn.Module:
        made = build_net(run.build, run.recipe, run.labels, run.preparation, run.about["scaling"])
        made.load_state_dict({k: v for k, v in net.state_dict().items() if k.endswith("stem.weight")}, strict=False)
        return made.body

    with torch.no_grad():
        return build, net.scale(taken), logits


def _most_exposed(
    scores: NDArray[np.float64] | None,
    members: NDArray[np.bool_],
    ids: Sequence[str],
    labels: NDArray[np.int64],
    names: Sequence[str],
) -> tuple[Exposed, ...]:
    if scores is None:
        return ()
    rows = np.flatnonzero(members)
    top = rows[np.argsort(-scores[rows], kind="stable")[:_EXPOSED]]
    return tuple(Exposed(int(i), ids[i], names[labels[i]], float(scores[i])) for i in top)


def _warnings(run: Run, models: int, members: NDArray[np.bool_]) -> tuple[str, ...]:
    found = [f"{models} models were trained: attacks with hundreds of them find more, so these rates are lower bounds"]
    others = int((~members).sum())
    if others < 1000:
        found.append(f"{others} images were not trained on: the rate at 0.1% false positives needs 1,000")
    if run.about.get("privacy"):
        found.append("the other nets were trained without noise, unlike this run: a nearer imitation may find more")
    return tuple(found)
