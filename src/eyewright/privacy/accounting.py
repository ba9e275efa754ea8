"""Differential privacy accounting: what a number of noisy, sampled steps costs, as (epsilon, delta).

A step adds Gaussian noise of `noise` × the clipping norm to a sum over a Poisson sample: each record is in it with
probability `rate`, independently. Two data sets are neighbours when one record was added or removed. Three accountants
of the same steps: `epsilon_of` discretises the privacy loss and always rounds up (Doroshenko et al. 2022, "Connect the
dots: tighter discrete approximations of privacy loss distributions"), `renyi_epsilon` is an independent bound in closed
form (Mironov, Talwar and Zhang 2019), `gaussian_epsilon` is exact where every step sees all records (Balle and Wang
2018). The central limit figure ("GDP") is not among them: it can be too small.
"""

__all__ = [
    "Steps",
    "delta_of",
    "epsilon_of",
    "gaussian_delta",
    "gaussian_epsilon",
    "noise_for",
    "renyi_epsilon",
]

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError

_ORDERS = (*(1 + x / 10 for x in range(1, 100)), *range(11, 64), *range(64, 513, 16), 1024)
_FEW_ORDERS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512)
_POINTS = 2**17
_MOST_POINTS = 2**21
_TAIL = 1e-4
"""The part of delta that goes to what is cut off."""

_ROUNDING = 1e-15
_LEAST_NOISE, _MOST_NOISE = 1e-2, 1e6
_PRECISION = 1e-4

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Steps:
    """So many steps with the same noise multiplier and the same rate of Poisson sampling (1: all records).

    Raises:
        UsageError: a rate outside (0, 1], noise that is not above 0, or fewer than 0 steps.
    """

    noise: float
    rate: float
    steps: int

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise UsageError(f"expected a sampling rate in (0, 1], found {self.rate}", fix="change the batch size")
        if not 0 < self.noise < math.inf:
            raise UsageError(f"expected a noise multiplier above 0, found {self.noise}", fix="change noise")
        if self.steps < 0:
            raise UsageError(f"expected 0 steps or more, found {self.steps}", fix="change the number of steps")


def epsilon_of(done: Sequence[Steps], delta: float) -> float:
    """Return the epsilon of all steps together at `delta`; never below the true value, usually within 0.1 % of it.

    >>> round(epsilon_of([Steps(noise=1.0, rate=0.004, steps=15000)], 1e-5), 2)
    2.72

    Raises:
        UsageError: delta is not in (0, 1).
    """
    _check_delta(delta)
    done = [s for s in done if s.steps]
    if not done:
        return 0.0
    if all(s.rate == 1 for s in done):
        return gaussian_epsilon(_mu_of(done), delta)
    return max(_composed(done, delta, removed).epsilon(delta) for removed in (True, False))


def delta_of(done: Sequence[Steps], epsilon: float) -> float:
    """Return a delta at which all steps together are (epsilon, delta) private; never below the smallest one by more
    than what is cut off, 1e-13."""
    done = [s for s in done if s.steps]
    if not done:
        return 0.0
    if all(s.rate == 1 for s in done):
        return gaussian_delta(_mu_of(done), epsilon)
    return max(_composed(done, 1e-9, removed).delta(epsilon) for removed in (True, False))


def noise_for(epsilon: float, delta: float, *, rate: float, steps: int, others: Sequence[Steps] = ()) -> float:
    """Return the smallest noise multiplier, to 4 digits, with which so many steps and the `others` stay within
    epsilon.

    >>> noise = noise_for(3.0, 1e-5, rate=0.01, steps=1000)
    >>> 2.99 < epsilon_of([Steps(noise, 0.01, 1000)], 1e-5) <= 3.0
    True

    Raises:
        UsageError: epsilon or delta is out of range, or what is done already costs more.
    """
    if not 0 < epsilon < math.inf:
        raise UsageError(f"expected epsilon above 0, found {epsilon}", fix="change epsilon")
    if others and epsilon_of(others, delta) >= epsilon:
        raise UsageError("what was counted already costs all of epsilon", fix="give a larger epsilon")

    def spent(noise: float) -> float:
        return epsilon_of([*others, Steps(noise, rate, steps)], delta)

    # The closed form comes near, from above; the exact search starts around it.
    high = _least(lambda noise: renyi_epsilon([*others, Steps(noise, rate, steps)], delta, orders=_FEW_ORDERS), epsilon)
    return _rounded_up(_crossing(spent, epsilon, high), spent, epsilon)


def _least(bounded: Callable[[float], float], epsilon: float) -> float:
    """Return about the smallest noise at which a bound is epsilon or less, by bisection of its logarithm.

    Raises:
        UsageError: there is none.
    """
    low, high = _LEAST_NOISE, _MOST_NOISE
    if bounded(high) > epsilon:
        raise UsageError(f"no noise keeps epsilon below {epsilon:g}", fix="give a larger epsilon or fewer steps")
    while high / low > 1.02:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if bounded(middle) <= epsilon else (middle, high)
    return high


def _crossing(spent: Callable[[float], float], epsilon: float, high: float) -> float:
    """Return the noise at which epsilon is spent, by the Illinois method on logarithms, in which the curve is almost a
    straight line; `high` spends no more."""

    def over(noise: float) -> float:
        return math.log(max(spent(noise), 1e-300) / epsilon)

    above = over(high)
    low, below = high, above
    while below <= 0 and low > _LEAST_NOISE:
        high, above = low, below
        low *= 0.9
        below = over(low)
    a, b = math.log(low), math.log(high)
    for _ in range(50):
        if b - a < _PRECISION or above == 0:
            break
        c = b - above * (b - a) / (above - below)
        # A step that ends on the border would leave the other side where it is.
        c = min(max(c, a + 0.01 * (b - a)), b - 0.01 * (b - a))
        found = over(math.exp(c))
        if found <= 0:
            b, above, below = c, found, below / 2
            if -found < _PRECISION:
                break
        else:
            a, below, above = c, found, above / 2
    return math.exp(b)


def _rounded_up(noise: float, spent: Callable[[float], float], epsilon: float) -> float:
    """Return noise rounded up to 4 digits, and more where that is needed."""
    unit = 10.0 ** (math.floor(math.log10(noise)) - 3)
    rounded = math.ceil(noise / unit) * unit
    while spent(rounded) > epsilon:
        rounded += unit
    return float(f"{rounded:.6g}")


# Exact: every record in every step.


def gaussian_delta(mu: float, epsilon: float) -> float:
    """Return the delta of a Gaussian mechanism whose sensitivity is `mu` standard deviations (Balle and Wang 2018,
    theorem 8).

    >>> round(gaussian_delta(1.0, 0.0), 4)  # 2 Φ(1/2) - 1, by hand
    0.3829
    """
    if mu <= 0:
        return 0.0
    first = 0.5 * math.erfc((epsilon / mu - mu / 2) / math.sqrt(2))
    log_second = epsilon + _log_upper(epsilon / mu + mu / 2)
    return max(0.0, first - math.exp(min(log_second, 0.0)))


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Return the epsilon of a Gaussian mechanism whose sensitivity is `mu` standard deviations; exact.

    T steps with noise multiplier s over all records have mu = sqrt(T) / s.
    """
    _check_delta(delta)
    if gaussian_delta(mu, 0.0) <= delta:
        return 0.0
    low, high = 0.0, 1.0
    while gaussian_delta(mu, high) > delta:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if gaussian_delta(mu, middle) <= delta else (middle, high)
    return high


def _mu_of(done: Sequence[Steps]) -> float:
    return math.sqrt(sum(s.steps / s.noise**2 for s in done))


# Rényi: an independent bound.


def renyi_epsilon(done: Sequence[Steps], delta: float, *, orders: Sequence[float] = _ORDERS) -> float:
    """Return a bound on epsilon by Rényi differential privacy, which sums over steps.

    The moments of the sampled Gaussian are those of Mironov et al. 2019 (sections 3.3), the conversion that of Canonne,
    Kamath and Steinke 2020, proposition 12.
    """
    _check_delta(delta)
    best = math.inf
    done = [s for s in done if s.steps]
    if not done:
        return 0.0
    for order in orders:
        divergence = sum(s.steps * _renyi(s.noise, s.rate, order) for s in done)
        epsilon = divergence + math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1)
        best = min(best, max(0.0, epsilon))
    return best


def _renyi(noise: float, rate: float, order: float) -> float:
    """Return the Rényi divergence of one step at an order above 1."""
    if rate == 1:
        return order / (2 * noise * noise)
    if float(order).is_integer():
        terms = [
            _log_binomial(order, k)
            + k * math.log(rate)
            + (order - k) * math.log1p(-rate)
            + (k * k - k) / (2 * noise * noise)
            for k in range(int(order) + 1)
        ]
        return _log_sum(terms) / (order - 1)
    return _log_fractional(noise, rate, order) / (order - 1)


def _log_fractional(noise: float, rate: float, order: float) -> float:
    """Return log E[(mixture / base) ** order] at an order that is no integer: two series, split where both densities of
    the mixture are equal."""
    split = noise * noise * math.log(1 / rate - 1) + 0.5
    total, i = -math.inf, 0
    coefficient, sign = 0.0, 1.0
    while True:
        j = order - i
        below = coefficient + i * math.log(rate) + j * math.log1p(-rate)
        below += (i * i - i) / (2 * noise * noise) + _log_upper((i - split) / noise)
        above = coefficient + j * math.log(rate) + i * math.log1p(-rate)
        above += (j * j - j) / (2 * noise * noise) + _log_upper((split - j) / noise)
        term = _log_sum([below, above])
        if sign > 0:
            total = _log_sum([total, term])
        elif term < total:
            total += math.log1p(-math.exp(term - total))
        if i > order and term < total - 30:
            return total
        # The next generalised binomial coefficient; from i > order on the signs alternate.
        ratio = (order - i) / (i + 1)
        sign = sign if ratio > 0 else -sign
        coefficient += math.log(abs(ratio))
        i += 1


def _log_binomial(n: float, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _log_sum(terms: Sequence[float]) -> float:
    top = max(terms)
    return top if top == -math.inf else top + math.log(math.fsum(math.exp(t - top) for t in terms))


def _log_upper(z: float) -> float:
    """Return log P(N(0, 1) > z)."""
    if z < 30:
        return math.log(0.5 * math.erfc(z / math.sqrt(2)))
    # The asymptotic series; its first term left out is below 1e-8 of the sum here.
    series = 1 - 1 / z**2 + 3 / z**4 - 15 / z**6 + 105 / z**8
    return -z * z / 2 - math.log(z * math.sqrt(2 * math.pi)) + math.log(series)


# Privacy loss distributions.


@dataclass(frozen=True)
class _Losses:
    """A discrete distribution of the privacy loss: `masses[i]` at (first + i) * grid, and `infinite` beyond."""

    grid: float
    first: int
    masses: Array
    infinite: float

    def losses(self) -> Array:
        return (self.grid * (self.first + np.arange(len(self.masses)))).astype(np.float64)

    def delta(self, epsilon: float) -> float:
        """Return the hockey-stick divergence at epsilon."""
        losses = self.losses()
        above = losses > epsilon
        return float(self.infinite + (self.masses[above] * -np.expm1(epsilon - losses[above])).sum())

    def epsilon(self, delta: float) -> float:
        """Return the smallest epsilon of at least 0 at which the divergence is delta or less."""
        if self.infinite >= delta:
            return math.inf
        if self.delta(0.0) <= delta:
            return 0.0
        losses = self.losses()
        positive = losses > 0
        losses, masses = losses[positive], self.masses[positive]
        # Between two points of the grid the divergence is P(loss > epsilon) - exp(epsilon) Q(loss > epsilon).
        upper = np.append(np.cumsum(masses[::-1])[::-1], 0.0) + self.infinite
        lower = np.append(np.cumsum((masses * np.exp(-losses))[::-1])[::-1], 0.0)
        at_points = upper[1:] - np.exp(losses) * lower[1:]
        first = int(np.argmax(at_points <= delta))
        left = lower[first]
        found = math.log((upper[first] - delta) / left) if left > 0 else float(losses[first])
        # Rounding up by what the sums may have lost.
        return min(max(found, 0.0), float(losses[first])) * (1 + 1e-9)


def _composed(done: Sequence[Steps], delta: float, removed: bool) -> _Losses:
    """Return the losses of all steps together, where the neighbour has a record less (`removed`) or one more."""
    count = sum(s.steps for s in done)
    reach = _upper_quantile(_TAIL * delta / (4 * count))
    # A coarse look at the single steps tells how wide the sum is, and so how fine a grid pays.
    coarse = [_single(s, removed, reach, grid=_typical(s) / 64) for s in done]
    low, high = _range_of([(s.steps, c) for s, c in zip(done, coarse, strict=True)], _TAIL * delta / 4)
    grid = (high - low) / _POINTS
    # A step is never cut coarser than its own spread, or rounding up would count.
    grid = max(min(grid, min(_typical(s) for s in done) / 16), (high - low) / _MOST_POINTS)
    size = 2 ** math.ceil(math.log2((high - low) / grid + 2))
    transform = np.ones(size // 2 + 1, complex)
    first, kept = 0, 1.0
    for s in done:
        single = _single(s, removed, reach, grid=grid)
        wrapped = np.bincount(np.arange(len(single.masses)) % size, weights=single.masses, minlength=size)
        transform = transform * np.fft.rfft(wrapped) ** s.steps
        first += s.steps * single.first
        kept *= (1 - single.infinite) ** s.steps
    masses = np.maximum(np.fft.irfft(transform, size), 0)
    # The transform is cyclic: bring the window to where the sum lies.
    start = math.floor(low / grid)
    masses = np.roll(masses, first - start)
    infinite = (1 - kept) + 2 * _TAIL * delta / 4 + _ROUNDING * math.sqrt(count)
    return _Losses(grid, start, masses, infinite)


def _typical(s: Steps) -> float:
    """Return about the standard deviation of one step's loss."""
    if s.rate == 1:
        return 1 / s.noise
    ratio = math.expm1(min(1 / s.noise**2, 30.0))
    return max(1e-9, min(s.rate * math.sqrt(ratio), 1 / s.noise, 1.0))


def _single(s: Steps, removed: bool, reach: float, *, grid: float) -> _Losses:
    """Return the losses of one step on a grid, never smaller: the mass between two points of the grid is divided among
    them so that both distributions keep theirs (connect the dots)."""
    variance = s.noise * s.noise
    low_x, high_x = -reach * s.noise, 1 + reach * s.noise

    def loss_at(x: float) -> float:
        """The log of mixture / base."""
        shifted = (2 * x - 1) / (2 * variance)
        if s.rate == 1:
            return shifted
        return float(np.logaddexp(math.log1p(-s.rate), math.log(s.rate) + shifted))

    ends = (loss_at(low_x), loss_at(high_x))
    low, high = ends if removed else (-ends[1], -ends[0])
    first, last = math.floor(low / grid), math.ceil(high / grid)
    points = grid * np.arange(first, last + 1)
    at = points if removed else -points[::-1]
    # Where along the noise each loss is reached; what no point reaches lies at minus infinity.
    with np.errstate(divide="ignore", invalid="ignore"):
        if s.rate == 1:
            x = variance * at + 0.5
        else:
            inner = np.exp(np.minimum(at, 700)) - (1 - s.rate)
            logs = np.where(at > 30, at, np.log(np.maximum(inner, 0)))
            x = variance * (logs - math.log(s.rate)) + 0.5
    base, shifted = (_masses(np.asarray((x - mean) / s.noise, np.float64)) for mean in (0.0, 1.0))
    mixture = (1 - s.rate) * base + s.rate * shifted
    # Below the first point and above the last one.
    outer_base = np.array([_lower(x[0] / s.noise), _lower(-x[-1] / s.noise)])
    outer_shifted = np.array([_lower((x[0] - 1) / s.noise), _lower((1 - x[-1]) / s.noise)])
    outer_mixture = (1 - s.rate) * outer_base + s.rate * outer_shifted
    if removed:
        upper, lower, outside = mixture, base, outer_mixture
    else:
        upper, lower, outside = base[::-1], mixture[::-1], outer_base[::-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.exp(points[:-1]) * lower / upper
        right = np.where(upper > 0, (1 - ratio) / -math.expm1(-grid), 1.0)
    right = np.clip(np.nan_to_num(right, nan=1.0), 0, 1)
    masses = np.zeros(len(points))
    masses[1:] += upper * right
    masses[:-1] += upper * (1 - right)
    masses[0] += outside[0]
    return _Losses(grid, first, masses, float(outside[1]))


def _range_of(parts: Sequence[tuple[int, _Losses]], tail: float) -> tuple[float, float]:
    """Return where the sum of the losses lies, except for `tail` on each side, by Chernoff's bound."""
    spread = math.sqrt(sum(n * float((p.masses * (p.losses() - _mean(p)) ** 2).sum()) for n, p in parts))
    centre = sum(n * _mean(p) for n, p in parts)
    ends = []
    for sign in (-1, 1):
        best = math.inf
        for factor in np.geomspace(0.05, 40, 60) / max(spread, 1e-12):
            logs = sum(n * _log_moment(p, sign * factor) for n, p in parts)
            best = min(best, (logs - sign * factor * centre - math.log(tail)) / factor)
        ends.append(centre + sign * best)
    return ends[0], ends[1]


def _mean(p: _Losses) -> float:
    return float((p.masses * p.losses()).sum() / p.masses.sum())


def _log_moment(p: _Losses, factor: float) -> float:
    exponents = factor * p.losses()
    top = float(exponents.max())
    return top + math.log(float((p.masses * np.exp(exponents - top)).sum()))


_erfc = np.frompyfunc(math.erfc, 1, 1)


def _masses(z: Array) -> Array:
    """Return the probability of N(0, 1) between neighbouring values, from the tail that is the smaller one."""
    upper, lower = (0.5 * np.asarray(_erfc(side / math.sqrt(2)), np.float64) for side in (z, -z))
    between: Array = np.where(z[:-1] > 0, upper[:-1] - upper[1:], lower[1:] - lower[:-1])
    return np.maximum(between, 0)


def _lower(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


def _upper_quantile(tail: float) -> float:
    """Return the z that N(0, 1) exceeds with probability `tail`."""
    low, high = 0.0, 38.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (low, middle) if _lower(-middle) <= tail else (middle, high)
    return high


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise UsageError(f"expected delta in (0, 1), found {delta}", fix="change delta")
