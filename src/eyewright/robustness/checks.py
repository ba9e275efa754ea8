"""Eight checks of an evaluation by itself: whether its attacks work on this model, or something hides the gradients.

They follow Carlini et al. 2019, "On evaluating adversarial robustness", and Athalye et al. 2018, "Obfuscated gradients
give a false sense of security". A number whose checks fail is no evidence.
"""

__all__ = ["CHECKS", "NOT_APPLIED", "Check", "Status", "check_passes", "run_checks", "settle_randomness"]


from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import BudgetError
from eyewright.core.rng import generator
from eyewright.metrics.bootstrap import mcnemar_exact
from eyewright.robustness.attacks.square import square
from eyewright.robustness.loop import Plan, run_attack
from eyewright.robustness.model import Victim, ask_in_parts, is_right, margins
from eyewright.robustness.threat import Threat, show_eps

if TYPE_CHECKING:
    from eyewright.robustness.attacks.apgd import Climb
    from eyewright.robustness.white import White

Status = Literal["pass", "warn", "fail", "none"]
Images = NDArray[np.float32]
Labels = NDArray[np.int64]

CHECKS: tuple[str, ...] = (
    "eps 0",
    "unbounded eps",
    "monotone in eps",
    "more steps",
    "black box",
    "zero gradients",
    "determinism",
    "loss rises",
)

NOT_APPLIED = "does not apply: "
"""What the sentence of a check begins with that is not made."""

_SIGNIFICANT = 0.05
_PASSES = 20
_GRADIENTS_WARN, _GRADIENTS_FAIL = 0.01, 0.10
_RISES_PASS, _RISES_WARN = 0.95, 0.80
_MORE = 4


@dataclass(frozen=True)
class Check:
    """One check: its name, "pass", "warn", "fail" or "none" where it does not apply, its number, and a sentence."""

    name: str
    status: Status
    value: float | None
    said: str


def settle_randomness(victim: Victim, images: Images) -> float:
    """Return the largest difference of scores between two passes of the same images.

    If there is one, a net is asked 20 times from now on and its logits are averaged (expectation over transformation).
    """
    first, second = (ask_in_parts(victim.scores, images) for _ in range(2))
    apart = float(np.abs(first - second).max(initial=0.0))
    if apart > 0 and hasattr(victim, "passes"):
        victim.passes = _PASSES
    return apart


def check_passes(plan: Plan, *, gradients: bool) -> int:
    """Return how many forward passes of an image the checks take at most; a step along a gradient counts as three."""
    if not gradients:
        # Unbounded, four bounds at half the queries, more queries, and the rise of the loss.
        return round((1 + 4 * 0.5 + 1 + _MORE + 1) * plan.queries)
    steps = max(plan.steps, 50) + 4 * max(0.5 * plan.steps, 20) + (1 + _MORE + 2 + 1) * plan.steps
    return round(3 * steps) + plan.queries


def run_checks(
    victim: Victim,
    predicted: Labels,
    images: Images,
    labels: Labels,
    plan: Plan,
    threat: Threat,
    *,
    apart: float,
    n_classes: int,
    late: Callable[[], bool] = lambda: False,
    say: Callable[[Check], None] = lambda check: None,
) -> tuple[Check, ...]:
    """Return the eight checks on some images, float32 (N, H, W, C) with whole 8-bit values.

    `predicted` are the classes that the model predicts for the same images outside of any attack, `apart` what
    `settle_randomness` returned. Each is told by `say` when it is made.

    Raises:
        BudgetError: it became `late` before all were made, or with the last.
    """
    scores = ask_in_parts(victim.scores, images)
    own = scores.argmax(1)
    right = is_right(scores, labels) & (predicted == labels)
    kept, wanted = images[right], labels[right]
    look = _Look(victim, kept, wanted, plan, len(images), n_classes)
    makers: tuple[Callable[[], Check], ...] = (
        lambda: _eps_0(look, predicted, own, images, labels),
        lambda: _unbounded(look),
        lambda: _monotone(look, threat),
        lambda: _more_steps(look, threat),
        lambda: _black_box(look, threat),
        lambda: _gradients(look),
        lambda: _determinism(victim, apart),
        lambda: _loss_rises(look, threat),
    )
    checks: list[Check] = []
    for make, name in zip(makers, CHECKS, strict=True):
        checks.append(replace(make(), name=name))
        say(checks[-1])
        if late():
            raise BudgetError(
                "the budget ended while the measurement was checked, before an image was attacked",
                fix="give a larger --budget, or a smaller --queries or --steps",
                details={"attacked": 0, "checks": [c.name for c in checks if c.status == "fail"]},
            )
    return tuple(checks)


@dataclass(frozen=True, eq=False)
class _Look:
    """Images that are predicted right, and how they are attacked; `n` counts those that are not right too."""

    victim: Victim
    images: Images
    labels: Labels
    plan: Plan
    n: int
    n_classes: int

    @property
    def white(self) -> bool:
        return not self.victim.on_grid

    def climbed(self, threat: Threat, steps: int, name: str) -> "Climb":
        import torch

        from eyewright.robustness.attacks.apgd import climb
        from eyewright.robustness.white import from_numpy

        white: White = self.victim  # type: ignore[assignment]
        seed = int(generator(self.plan.seed, "check", name).integers(2**62))
        given = from_numpy(self.images), torch.from_numpy(self.labels)
        return climb(white, *given, threat, rng=torch.Generator().manual_seed(seed), steps=steps)

    def broken(self, threat: Threat, amount: float, name: str) -> NDArray[np.bool_]:
        """Return which images APGD changes, with `amount` times the steps of the plan; of a model without gradients
        Square, with as many times its queries."""
        if self.white:
            fooled: NDArray[np.bool_] = self.climbed(
                threat, max(1, round(amount * self.plan.steps)), name
            ).fooled.numpy()
            return fooled
        return self.by_square(threat, max(1, round(amount * self.plan.queries)), name)

    def by_square(self, threat: Threat, queries: int, name: str) -> NDArray[np.bool_]:
        rng = generator(self.plan.seed, "check", name)
        changed = square(self.victim, self.images, self.labels, threat, rng=rng, steps=queries)
        return self.wrong(changed)

    def wrong(self, changed: Images) -> NDArray[np.bool_]:
        if not len(changed):
            return np.zeros(0, np.bool_)
        return ~is_right(ask_in_parts(self.victim.scores, changed), self.labels)

    def accuracy(self, broken: NDArray[np.bool_]) -> float:
        return float((~broken).sum() / max(1, self.n))


def _eps_0(look: _Look, predicted: Labels, own: Labels, images: Images, labels: Labels) -> Check:
    attack = look.plan.attacks[0]
    still = np.ones(len(look.labels), np.bool_)
    if len(look.labels):
        nothing = run_attack(attack, look.victim, look.images, look.labels, Threat(look.plan.norm, 0.0), look.plan, 0)
        still = (nothing == look.images).all(axis=(1, 2, 3)) & ~look.wrong(nothing)
    differ = int((own != predicted).sum() + (~still).sum())
    if differ:
        return Check("", "fail", float(differ), f"without any change {differ} of {len(images)} predictions differ")
    return Check("", "pass", 0.0, "without any change the accuracy is the clean accuracy exactly")


def _unbounded(look: _Look) -> Check:
    if not len(look.labels):
        return _none("no image is predicted right")
    threat = Threat(look.plan.norm, 0.0).unbounded(int(np.prod(look.images.shape[1:])))
    # A bound without limits leaves the whole range to search.
    accuracy = look.accuracy(look.broken(threat, max(1.0, 50 / look.plan.steps) if look.white else 1, "unbounded"))
    chance = 1 / look.n_classes
    said = f"with any image allowed the accuracy is {accuracy:.1%}, where chance is {chance:.1%}"
    return Check("", "pass" if accuracy <= chance else "fail", accuracy, said)


def _monotone(look: _Look, threat: Threat) -> Check:
    if not len(look.labels) or threat.eps == 0:
        return _none("nothing to attack")
    top = Threat(look.plan.norm, 0.0).unbounded(int(np.prod(look.images.shape[1:]))).eps
    grid = sorted({min(top, threat.eps * f) for f in (0.25, 0.5, 1.0, 2.0)})
    amount = max(0.5, 20 / look.plan.steps) if look.white else 0.5
    broken = [look.broken(Threat(look.plan.norm, e), amount, f"eps {e:.6f}") for e in grid]
    rises, worst, p = [0.0], "", 1.0
    for low, high, small, large in zip(grid, grid[1:], broken, broken[1:], strict=False):
        rises.append(float((small & ~large).sum() - (large & ~small).sum()) / look.n)
        if rises[-1] == max(rises) and rises[-1] > 0:
            worst = f", from {show_eps(low)} to {show_eps(high)}"
            p = mcnemar_exact(int((small & ~large).sum()), int((large & ~small).sum()))
    shown = ", ".join(f"{show_eps(e)}: {look.accuracy(b):.1%}" for e, b in zip(grid, broken, strict=True))
    rise = max(rises)
    if rise <= 0:
        return Check("", "pass", 0.0, f"accuracy falls as eps grows ({shown})")
    status: Status = "fail" if p < _SIGNIFICANT else "warn" if rise > 0.01 else "pass"
    return Check("", status, rise, f"accuracy rises by {rise:.1%}{worst} ({shown})")


def _more_steps(look: _Look, threat: Threat) -> Check:
    if not len(look.labels) or threat.eps == 0:
        return _none("nothing to attack")
    less, more = (look.broken(threat, n, "steps") for n in (1, _MORE))
    few, unit = (look.plan.steps, "steps") if look.white else (look.plan.queries, "queries")
    lost, gained = int((less & ~more).sum()), int((more & ~less).sum())
    change = (gained - lost) / look.n
    said = f"{_MORE * few} {unit} instead of {few} change the accuracy by {0.0 - 100 * change:+.1f} points"
    p = mcnemar_exact(lost, gained)
    if lost > gained and p < _SIGNIFICANT:
        return Check("", "fail", -change, said)
    if gained > lost and p < _SIGNIFICANT:
        return Check("", "warn", -change, f"{said}: the attack has not converged, use more --steps or --queries")
    return Check("", "pass", 0.0 - change, said)


def _black_box(look: _Look, threat: Threat) -> Check:
    if not look.white:
        return _none("no gradients are there to compare with")
    if not len(look.labels) or threat.eps == 0:
        return _none("nothing to attack")
    by_gradient = look.broken(threat, 1, "white")
    left = np.flatnonzero(~by_gradient)
    if len(left) and look.n_classes > 2:
        changed = run_attack("apgd_t", look.victim, look.images[left], look.labels[left], threat, look.plan, 1)
        by_gradient[left] = ~is_right(ask_in_parts(look.victim.scores, changed), look.labels[left])
    by_scores = look.by_square(threat, look.plan.queries, "square")
    only_square, only_white = int((by_scores & ~by_gradient).sum()), int((by_gradient & ~by_scores).sum())
    ahead = (only_square - only_white) / look.n
    said = (
        f"accuracy {look.accuracy(by_scores):.1%} by scores alone, {look.accuracy(by_gradient):.1%} by gradients; "
        f"{only_square} images fell by scores alone"
    )
    p = mcnemar_exact(only_square, only_white)
    if only_square > only_white and p < _SIGNIFICANT:
        return Check("", "fail", ahead, said)
    return Check("", "warn" if only_square > max(1, 0.02 * look.n) else "pass", ahead, said)


def _gradients(look: _Look) -> Check:
    if not look.white:
        return _none("a bundle has no gradients")
    if not len(look.labels):
        return _none("no image is predicted right")
    import torch

    from eyewright.robustness.white import class_loss, from_numpy, grad_of

    white: White = look.victim  # type: ignore[assignment]
    gradient, _, _ = grad_of(white, from_numpy(look.images), class_loss(torch.from_numpy(look.labels)))
    share = float((gradient.flatten(1).abs().amax(1) == 0).float().mean())
    said = f"the gradient is exactly 0 for {share:.1%} of the images"
    status: Status = "fail" if share > _GRADIENTS_FAIL else "warn" if share > _GRADIENTS_WARN else "pass"
    return Check("", status, share, said)


def _determinism(victim: Victim, apart: float) -> Check:
    if apart == 0:
        return Check("", "pass", 0.0, "two passes of the same images give the same scores")
    averaged = f"; attacks average {_PASSES} passes" if hasattr(victim, "passes") else ""
    return Check("", "fail", apart, f"two passes of the same images differ by up to {apart:.3g}{averaged}")


def _loss_rises(look: _Look, threat: Threat) -> Check:
    if not len(look.labels) or threat.eps == 0:
        return _none("nothing to attack")
    if look.white:
        climb = look.climbed(threat, look.plan.steps, "loss")
        # One that is wrong from the start has no way to climb.
        rises = (climb.best > climb.first) | (climb.fooled & (climb.best >= climb.first))
        share = float(rises.double().mean())
    else:
        before = margins(ask_in_parts(look.victim.scores, look.images), look.labels)
        rng = generator(look.plan.seed, "check", "loss")
        changed = square(look.victim, look.images, look.labels, threat, rng=rng, steps=look.plan.queries)
        share = float((margins(ask_in_parts(look.victim.scores, changed), look.labels) < before).mean())
    said = f"the loss rises along the attack for {share:.1%} of the images"
    status: Status = "pass" if share >= _RISES_PASS else "warn" if share >= _RISES_WARN else "fail"
    return Check("", status, share, said)


def _none(why: str) -> Check:
    return Check("", "none", None, f"{NOT_APPLIED}{why}")
