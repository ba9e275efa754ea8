"""How often 95% intervals of an accuracy contain the truth when images come in few groups of unequal sizes.

Right and wrong are drawn beta-binomially: `alike` is the intraclass correlation, group sizes are lognormal about 6.
Each row compares the t interval over groups (`share_interval`) with percentiles of the cluster bootstrap.

    python benchmarks/groups_coverage.py [--rounds 1000]
"""

import argparse

import numpy as np

from eyewright.metrics.bootstrap import share_interval
from eyewright.metrics.groups import Clusters


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    rounds = parser.parse_args().rounds
    print("groups  rate  alike  t: coverage  width   bootstrap: coverage  width")
    for groups in (5, 8, 10, 15, 20, 30):
        for rate in (0.7, 0.9, 0.97):
            for alike in (0.1, 0.5):
                t, wide, boot, narrow = coverage(groups, rate, alike, rounds)
                print(f"{groups:6} {rate:5} {alike:6} {t:12.3f} {wide:6.3f} {boot:20.3f} {narrow:6.3f}")


if __name__ == "__main__":
    main()
