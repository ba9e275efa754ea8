"""A lower bound of epsilon from one training run with canaries (Steinke, Nasr and Jagielski 2023).

Each of m canaries takes part with probability one half. Whoever sees the weights guesses for some of them whether they
did; too many right guesses disprove a claimed epsilon. A canary here is an image with a single bright pixel, trained on
by a linear layer: its gradient shares no weight with another's and is far longer than the clipping norm, so that
only the noise hides it. The images pass through the very sampling and step that `train --private` uses.
"""

__all__ = ["CanaryAudit", "CanaryPlan", "audit_canaries", "epsilon_lower_bound", "guesses_of", "p_value"]

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from eyewright.core.errors import UsageError
from eyewright.core.rng import generator
from eyewright.nets.pixels import PixelNet
from eyewright.privacy.sampling import poisson_rows
from eyewright.privacy.steps import Clipping, private_step
from eyewright.training.optimisers import build_optimiser
from eyewright.training.recipe import Recipe
from eyewright.training.steps import Batch, Step, TrainState

_BRIGHT = 100.0
_MOST_EPSILON = 100.0
_HIGH, _LOW = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.35, 0.5), (0.0, 1.0)
_PHYSICAL = 256

Rows = Callable[[int], NDArray[np.int64]]


@dataclass(frozen=True)
class CanaryPlan:
    """What is claimed: so many steps at a rate, with noise on gradients of at most `clip`; and how it is tried."""

    noise: float
    clip: float
    rate: float
    steps: int
    claimed_epsilon: float
    delta: float
    canaries: int = 2000
    confidence: float = 0.95
    seed: int = 0


@dataclass(frozen=True)
class CanaryAudit:
    """What one run with canaries shows: at this confidence epsilon is at least `epsilon_lower`."""

    epsilon_lower: float
    claimed_epsilon: float
    delta: float
    confidence: float
    canaries: int
    guesses: int
    correct: int
    scores: tuple[float, ...]
    inside: tuple[bool, ...]

    @property
    def refuted(self) -> bool:
        """Whether the claim is disproved."""
        return self.epsilon_lower > self.claimed_epsilon

    def to_json(self) -> dict[str, Any]:
        """Return the result without the single canaries."""
        kept = {k: v for k, v in asdict(self).items() if k not in ("scores", "inside")}
        return {**kept, "refuted": self.refuted}


def audit_canaries(
    plan: CanaryPlan, *, secret: bytes, step: Step | None = None, rows: Rows | None = None
) -> CanaryAudit:
    """Train on canaries as the plan says, guess, and return the bound.

    The number of guesses is chosen on one half of the canaries and used on the other half. `step` and `rows` stand for
    the run's own: private_step and Poisson samples by default.

    Raises:
        UsageError: fewer than 20 canaries.
    """
    m = plan.canaries
    if m < 20:
        raise UsageError(f"expected 20 canaries or more, found {m}", fix="change --canaries")
    rng = generator(plan.seed, "canaries")
    inside = rng.random(m) < 0.5
    weights = _trained(plan, np.flatnonzero(inside), secret, step, rows)
    scores = np.asarray(weights[1] - weights[0], np.float64)
    tried = rng.random(m) < 0.5
    share = _best_share(scores[tried], inside[tried], plan)
    guessed, right = guesses_of(scores[~tried], inside[~tried], share)
    lower = epsilon_lower_bound(
        m=int((~tried).sum()), guesses=guessed, correct=right, delta=plan.delta, confidence=plan.confidence
    )
    return CanaryAudit(
        lower,
        plan.claimed_epsilon,
        plan.delta,
        plan.confidence,
        m,
        guessed,
        right,
        tuple(scores.tolist()),
        tuple(inside.tolist()),
    )


def _trained(
    plan: CanaryPlan, members: NDArray[np.int64], secret: bytes, step: Step | None, rows: Rows | None
) -> NDArray[np.float64]:
    """Return the weights (2, m) of a linear layer that was trained on the canaries that take part."""
    m = plan.canaries
    net = PixelNet(nn.Sequential(nn.Flatten(), nn.Linear(m, 2, bias=False)), mean=[0.0], std=[1 / _BRIGHT])
    nn.init.zeros_(net.body[1].weight)  # type: ignore[index]
    recipe = Recipe(optimizer="sgd", lr=1.0, weight_decay=0.0)
    state = TrainState(net, build_optimiser(net, recipe), _loss, recipe)
    expected = max(1.0, plan.rate * len(members))
    # Steps so small that a canary's gradient stays what it was: the weights are the sum of all updates.
    state.optimiser.param_groups[0]["lr"] = 1e-9
    do = step or private_step(Clipping(plan.clip, plan.noise, expected, secret))

    def sample(at: int) -> NDArray[np.int64]:
        return poisson_rows(secret, at, n=len(members), rate=plan.rate)

    pick = rows or sample
    for at in range(plan.steps):
        state.step = at
        chosen = members[pick(at)]
        starts = list(range(0, len(chosen), _PHYSICAL)) or [0]
        for start in starts:
            part = chosen[start : start + _PHYSICAL]
            pixels = torch.zeros(len(part), 1, m, 1, dtype=torch.uint8)
            pixels[torch.arange(len(part)), 0, torch.from_numpy(part), 0] = 255
            last = start + _PHYSICAL >= len(chosen)
            do(state, Batch(pixels, torch.ones(len(part), dtype=torch.long), opens=start == 0, closes=last))
    weights: Any = net.body[1].weight.detach().double().numpy()  # type: ignore[index]
    found: NDArray[np.float64] = weights
    return found


def _loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets)


def guesses_of(scores: NDArray[np.float64], inside: NDArray[np.bool_], share: tuple[float, float]) -> tuple[int, int]:
    """Return how many guesses are made and how many are right: of the canaries, the fraction `share[0]` with the
    highest scores is guessed to take part, and `share[1]` with the lowest ones not to.

    >>> guesses_of(np.array([3.0, 2.0, 1.0, 0.0]), np.array([True, False, True, False]), (0.25, 0.25))
    (2, 2)
    """
    high, low = (int(len(scores) * part) for part in share)
    order = np.argsort(-scores, kind="stable")
    right = int(inside[order[:high]].sum() + (~inside[order[len(order) - low :]]).sum())
    return high + low, right


def _best_share(scores: NDArray[np.float64], inside: NDArray[np.bool_], plan: CanaryPlan) -> tuple[float, float]:
    """Return how many guesses, as fractions, give the best bound on these canaries: on both sides, or high ones."""
    shares = [(high, factor * high) for high in _HIGH for factor in _LOW]
    bounds = []
    for share in shares:
        made, right = guesses_of(scores, inside, share)
        bounds.append(
            epsilon_lower_bound(
                m=len(scores), guesses=made, correct=right, delta=plan.delta, confidence=plan.confidence
            )
        )
    return shares[int(np.argmax(bounds))]


def epsilon_lower_bound(*, m: int, guesses: int, correct: int, delta: float, confidence: float) -> float:
    """Return the largest epsilon that so many right guesses disprove at this confidence, 0 where there is none.

    >>> round(epsilon_lower_bound(m=100, guesses=100, correct=100, delta=0.0, confidence=0.95), 3)
    3.493
    """
    risk = 1 - confidence
    if p_value(m=m, guesses=guesses, correct=correct, epsilon=0.0, delta=delta) > risk:
        return 0.0
    low, high = 0.0, _MOST_EPSILON
    if p_value(m=m, guesses=guesses, correct=correct, epsilon=high, delta=delta) <= risk:
        return high
    for _ in range(50):
        middle = (low + high) / 2
        fits = p_value(m=m, guesses=guesses, correct=correct, epsilon=middle, delta=delta) <= risk
        low, high = (middle, high) if fits else (low, middle)
    return low


def p_value(*, m: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """Return the most probable that `correct` of `guesses` or more can be under (epsilon, delta) (Steinke et al. 2023,
    theorem 5.2 and appendix D): a binomial tail, and what delta may add to it."""
    if not 0 <= correct <= guesses <= m:
        raise ValueError(f"expected 0 <= correct <= guesses <= m, found {correct}, {guesses}, {m}")
    if guesses == 0:
        return 1.0
    log_q, log_not = -math.log1p(math.exp(-epsilon)), -epsilon - math.log1p(math.exp(-epsilon))
    k = np.arange(guesses + 1)
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, guesses + 1)))])
    logs = log_factorials[-1] - log_factorials - log_factorials[::-1] + k * log_q + (guesses - k) * log_not
    mass = np.exp(logs)
    tail = float(mass[correct:].sum())
    if correct == 0 or delta == 0:
        return min(1.0, tail)
    # The largest of P(correct - i <= W < correct) / i.
    below = np.cumsum(mass[:correct][::-1]) / np.arange(1, correct + 1)
    return min(1.0, tail + 2 * m * delta * float(below.max()))
