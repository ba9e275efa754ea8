"""How often 95% intervals of an accuracy contain the truth when images form few groups of unequal sizes.

Right and wrong are drawn beta-binomially: `alike` is the intraclass correlation, group sizes are lognormal about 6.
Each row compares the t interval over groups (`share_interval`) with percentiles of the cluster bootstrap.

With `--ap`, average precision over groups: detectors from hardly trained to good, whose rate of finding, false alarms
and scores differ between groups by `spread`. "agreeing" is the tenth of all cases in which the groups differ least for
their average precision: there an interval that trusts the jackknife alone is too narrow.

    python benchmarks/groups_coverage.py [--rounds 1000] [--ap]
"""

import argparse
import math

import numpy as np
from numpy.typing import NDArray

from eyewright.metrics.bootstrap import share_interval
from eyewright.metrics.groups import Clusters, grouped_interval, jackknife_variance

# The probability that an object is found, false alarms an image, and how far apart their scores are.
DETECTORS = {
    "hardly trained": (0.35, 25, 0.2),
    "poor": (0.5, 12, 0.6),
    "weak": (0.55, 8, 1.2),
    "fair": (0.8, 3, 1.7),
    "good": (0.95, 1, 2.6),
}


def coverage(groups: int, rate: float, alike: float, rounds: int) -> tuple[float, float, float, float]:
    """Return coverage and mean width of the t interval, then of the cluster bootstrap."""
    rng = np.random.default_rng(groups)
    seen = np.zeros(4)
    for _ in range(rounds):
        sizes = np.maximum(1, np.round(6 * rng.lognormal(0, 0.8, groups))).astype(int)
        own = rng.beta(rate * (1 - alike) / alike, (1 - rate) * (1 - alike) / alike, groups)
        hits = rng.binomial(sizes, own)
        right = np.concatenate([np.arange(n) < k for n, k in zip(sizes, hits, strict=True)])
        low, high = share_interval(right, np.ones(len(right)), Clusters(np.repeat(np.arange(groups), sizes)))
        drawn = rng.integers(groups, size=(400, groups))
        a, b = np.quantile(hits[drawn].sum(1) / sizes[drawn].sum(1), [0.025, 0.975])
        seen += (low <= rate <= high, high - low, a <= rate <= b, b - a)
    return tuple((seen / rounds).tolist())  # type: ignore[return-value]


def average_precision(right: NDArray[np.float64], objects: int) -> float:
    """Return the average precision at COCO's 101 recalls of answers in the order of their scores."""
    if not objects or not len(right):
        return 0.0 if objects else math.nan
    found = np.cumsum(right)
    envelope = np.maximum.accumulate((found / np.arange(1, len(right) + 1))[::-1])[::-1]
    at = np.searchsorted(found / objects, np.linspace(0, 1, 101))
    return float(np.where(at < len(envelope), envelope[np.minimum(at, len(envelope) - 1)], 0).mean())


def detected(groups: int, detector: str, spread: float, rng: np.random.Generator) -> tuple[NDArray[np.float64], ...]:
    """Return of each answer, by score, whether it is right and its group; of each group its objects and its images."""
    rate, alarms, apart = DETECTORS[detector]
    scores, right, owner, objects, images = [], [], [], [], []
    for g in range(groups):
        count = max(1, round(6 * rng.lognormal(0, 0.6)))
        there = int(rng.poisson(4 * rng.lognormal(0, 0.7), count).sum())
        found = rng.binomial(there, 1 / (1 + (1 / rate - 1) * math.exp(-spread * rng.normal())))
        wrong = rng.poisson(alarms * count * rng.lognormal(-(spread**2) / 2, spread))
        scores += [rng.normal(apart + spread / 2 * rng.normal(), 1, found), rng.normal(0, 1, wrong)]
        right += [np.ones(found), np.zeros(wrong)]
        owner.append(np.full(found + wrong, g))
        objects.append(there)
        images.append(count)
    order = np.argsort(-np.concatenate(scores))
    return np.concatenate(right)[order], np.concatenate(owner)[order], np.array(objects), np.array(images)


def precision_coverage(rounds: int) -> None:
    """Print how often intervals of average precision contain it, on the whole and where groups happen to agree."""
    rng = np.random.default_rng(2)
    print("groups   coverage  width   agreeing: coverage  width")
    for groups in (3, 4, 5, 6, 8, 10, 15, 20):
        cases = []
        for detector in DETECTORS:
            for spread in (0.3, 0.6, 1.0):
                right, _, objects, _ = detected(1200, detector, spread, rng)
                truth = average_precision(right, int(objects.sum()))
                for _ in range(rounds):
                    right, owner, objects, images = detected(groups, detector, spread, rng)
                    value = average_precision(right, int(objects.sum()))
                    rest = [
                        average_precision(right[owner != g], int(objects.sum() - objects[g])) for g in range(groups)
                    ]
                    if not 0 < value < 1:
                        continue
                    left, clusters = np.array(rest), Clusters(np.repeat(np.arange(groups), images))
                    low, high = grouped_interval(value, left, clusters, kind="bounded")
                    differ = jackknife_variance(value, left) * clusters.effective / (value * (1 - value))
                    cases.append((differ, low <= truth <= high, high - low))
        every = np.array(sorted(cases))
        agreeing = every[: len(every) // 10]
        numbers = [*every[:, 1:].mean(0), *agreeing[:, 1:].mean(0)]
        print(f"{groups:6} {numbers[0]:10.3f} {numbers[1]:6.3f} {numbers[2]:20.3f} {numbers[3]:6.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--ap", action="store_true", help="intervals of average precision")
    options = parser.parse_args()
    rounds = options.rounds
    if options.ap:
        precision_coverage(rounds)
        return
    print("groups  rate  alike  t: coverage  width   bootstrap: coverage  width")
    for groups in (5, 8, 10, 15, 20, 30):
        for rate in (0.7, 0.9, 0.97):
            for alike in (0.1, 0.5):
                t, wide, boot, narrow = coverage(groups, rate, alike, rounds)
                print(f"{groups:6} {rate:5} {alike:6} {t:12.3f} {wide:6.3f} {boot:20.3f} {narrow:6.3f}")


if __name__ == "__main__":
    main()
