"""From the updates of several clients to one: weighted means, and rules that some wrong updates cannot move far.

Numpy alone. The results are those of Flower's strategies (flwr 1.41.0, recorded in tests/privacy/flwr.json).
"""

__all__ = ["ROBUST", "STRATEGIES", "Aggregator", "Strategy", "aggregate", "most_faulty"]

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError, spelling_hint

Strategy = Literal["fedavg", "fedprox", "fedadam", "median", "trimmed", "krum", "bulyan"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

ROBUST: tuple[Strategy, ...] = ("median", "trimmed", "krum", "bulyan")
"""Those that a minority of arbitrary updates cannot move far. They need every single update."""

_BETA_1, _BETA_2, _TAU = 0.9, 0.99, 1e-9

Vector = NDArray[np.float64]


def most_faulty(strategy: str, clients: int) -> int:
    """Return how many wrong updates of so many a strategy withstands.

    >>> [most_faulty(s, 10) for s in ("fedavg", "median", "trimmed", "krum", "bulyan")]
    [0, 4, 4, 3, 1]
    """
    if strategy in ("median", "trimmed"):
        return max(0, (clients - 1) // 2)
    if strategy == "krum":
        return max(0, (clients - 3) // 2)
    return max(0, (clients - 3) // 4) if strategy == "bulyan" else 0


def aggregate(
    updates: NDArray[np.floating], weights: NDArray[np.floating], strategy: str, *, faulty: int = 0
) -> Vector:
    """Return one update (D,) from those of clients (n, D), whose `weights` (n,) are their numbers of images.

    "fedavg", "fedprox" and "fedadam" take the weighted mean (McMahan et al. 2017). "median" and "trimmed", without the
    `faulty` largest and smallest values, go coordinate by coordinate (Yin et al. 2018). "krum" is the weighted mean of
    the n - `faulty` updates that are nearest to their n - `faulty` - 2 neighbours (Blanchard et al. 2017, Multi-Krum);
    "bulyan" chooses by Krum and takes the values nearest to the median (El Mhamdi et al. 2018).

    >>> aggregate(np.array([[1.0], [2.0], [90.0]]), np.ones(3), "median").tolist()
    [2.0]

    Raises:
        UsageError: an unknown strategy, or too few updates for `faulty`.
    """
    if strategy not in STRATEGIES:
        raise UsageError(f"unknown strategy {strategy!r}", fix=spelling_hint(strategy, STRATEGIES))
    each = np.asarray(updates, np.float64)
    n = len(each)
    if strategy in ROBUST and faulty > most_faulty(strategy, n):
        raise UsageError(
            f"expected at most {most_faulty(strategy, n)} faulty of {n} clients with {strategy}, found {faulty}",
            fix="lower --faulty, or use more clients",
        )
    if strategy == "median":
        return np.asarray(np.median(each, axis=0))
    if strategy == "trimmed":
        return np.asarray(np.sort(each, axis=0)[faulty : n - faulty].mean(0))
    if strategy == "krum":
        scores = _krum_scores(each, faulty)
        kept = np.argsort(scores, kind="stable")[: n - faulty]
        return _mean(each[kept], np.asarray(weights, np.float64)[kept])
    if strategy == "bulyan":
        return _bulyan(each, faulty)
    return _mean(each, np.asarray(weights, np.float64))


def _mean(each: Vector, weights: Vector) -> Vector:
    return np.asarray(weights @ each / weights.sum())


def _krum_scores(each: Vector, faulty: int) -> Vector:
    """Return for each update the sum of squared distances to its n - faulty - 2 nearest neighbours."""
    n = len(each)
    squares = np.array([((each - one) ** 2).sum(1) for one in each])
    near = max(1, n - faulty - 2)
    return np.asarray(np.sort(squares, axis=1)[:, 1 : near + 1].sum(1))


def _bulyan(each: Vector, faulty: int) -> Vector:
    left = list(range(len(each)))
    chosen = []
    theta = len(each) - 2 * faulty
    for _ in range(theta):
        best = int(np.argmin(_krum_scores(each[left], faulty))) if len(left) > 1 else 0
        chosen.append(left.pop(best))
    kept = each[chosen]
    middle = np.median(kept, axis=0)
    nearest = np.argsort(np.abs(kept - middle), axis=0, kind="stable")[: theta - 2 * faulty]
    return np.asarray(np.take_along_axis(kept, nearest, axis=0).mean(0))


@dataclass
class Aggregator:
    """What a server keeps between rounds: of "fedadam" two moments of the updates (Reddi et al. 2021), else nothing.

    Args:
        faulty: how many clients robust strategies allow for.
        server_lr: the step size of "fedadam".
    """

    strategy: str
    faulty: int = 0
    server_lr: float = 0.01
    rounds: int = 0
    first: Vector | None = None
    second: Vector | None = None

    def state(self) -> dict[str, Any]:
        """Return what is kept between rounds as plain JSON types; numbers in base64, without rounding."""
        moments = {"first": self.first, "second": self.second}
        packed = {
            k: None if v is None else base64.b64encode(v.astype("<f8").tobytes()).decode() for k, v in moments.items()
        }
        return {"rounds": self.rounds, **packed}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state` gave."""

        def unpacked(text: str | None) -> Vector | None:
            return None if text is None else np.frombuffer(base64.b64decode(text), "<f8").astype(np.float64)

        self.rounds = int(state["rounds"])
        self.first, self.second = unpacked(state["first"]), unpacked(state["second"])

    def __call__(self, updates: NDArray[np.floating], weights: NDArray[np.floating]) -> Vector:
        """Return what is added to the weights in this round, (D,)."""
        mean = aggregate(updates, weights, self.strategy, faulty=self.faulty)
        if self.strategy != "fedadam":
            return mean
        self.rounds += 1
        zero = np.zeros_like(mean)
        self.first = _BETA_1 * (zero if self.first is None else self.first) + (1 - _BETA_1) * mean
        self.second = _BETA_2 * (zero if self.second is None else self.second) + (1 - _BETA_2) * mean * mean
        corrected = np.sqrt(1 - _BETA_2 ** (self.rounds + 1)) / (1 - _BETA_1 ** (self.rounds + 1))
        return np.asarray(self.server_lr * corrected * self.first / (np.sqrt(self.second) + _TAU))
