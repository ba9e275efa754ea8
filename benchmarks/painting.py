"""A mask of 12 megapixels painted from small probabilities and as JSON, and pixel statistics of images: CPU-seconds.

    python benchmarks/painting.py [--classes 2 6 150] [--rounds 7]

Run it with two checkouts (`PYTHONPATH=OTHER/src`) in turn to compare them; a digest says whether the masks are equal.
Process time, which other work on the machine changes less than wall time.
"""

import argparse
import hashlib
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from eyewright.core.labels import LabelSpace
from eyewright.imaging.preparation import Placement
from eyewright.tasks.segment import paint
from eyewright.training.session import pixel_scaling


def timed(name: str, rounds: int, work: Callable[[], object]) -> None:
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    print(f"{name:<52} {statistics.median(times):6.3f} s (n={rounds}, {min(times):.3f}-{max(times):.3f})")


def probabilities(n: int, side: int) -> np.ndarray:
    """Return smooth maps that sum to 1, as a trained net gives them: float32 (n, side, side)."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(n, 10, 10)).repeat(-(-side // 10), 1).repeat(-(-side // 10), 2)[:, :side, :side]
    window = np.ones(15) / 15
    for axis in (1, 2):
        coarse = np.apply_along_axis(np.convolve, axis, coarse, window, "same")
    scores = np.exp(8 * (coarse - coarse.max(0)))
    return (scores / scores.sum(0)).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 6, 150])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    size_hw, rounds = (3000, 4000), options.rounds
    for n in options.classes:
        maps = probabilities(n, 256)
        placement = Placement(size_hw, (256 / size_hw[0], 256 / size_hw[1]), (0.0, 0.0))
        labels = LabelSpace(tuple(f"c{k}" for k in range(n)))
        found = paint(maps, placement, labels)
        sure = found.sureness.round(5).tobytes()
        digest = hashlib.sha256(found.mask.tobytes() + found.second.tobytes() + sure).hexdigest()
        timed(
            f"12 megapixels, {n} classes ({digest[:12]})", rounds, lambda m=maps, p=placement, c=labels: paint(m, p, c)
        )
        # What `predict --json` and the server need of it: areas, order and run lengths.
        timed(f"the same as JSON, {n} classes", rounds, lambda f=found: replace(f).to_json())
    rng = np.random.default_rng(0)
    for shape in ((2048, 96, 96, 3), (2048, 224, 224, 3)):
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        timed(f"mean and std of {shape}", rounds, lambda p=pixels: pixel_scaling(p))


if __name__ == "__main__":
    main()
