"""Training next to other nets: seconds of `eyewright train`, alone and next to two torch programs.

    python benchmarks/sharing.py [--runs 3] [--epochs 3]

Waiting threads of GNU OpenMP spin before they sleep. "GNU's default" is the number of rounds that libgomp itself takes
(300,000 with as many threads as cores), "ours" is what the program sets (`eyewright.__main__.SPINS`), "passive" never
spins. Targets, ours against GNU's default: alone within 5 %, next to two others at most 0.7 x its time.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

WAITING = {
    "GNU's default": {"GOMP_SPINCOUNT": "300000"},
    "ours": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
}
CLASSES, EACH, SIDE, OTHERS = 3, 40, 96, 2


def draw(folder: Path) -> None:
    """Write noisy stripes, one frequency a class: the net's work is the same whatever they show."""
    rng = np.random.default_rng(0)
    for kind in range(CLASSES):
        (folder / f"stripes{kind}").mkdir(parents=True)
        for number in range(EACH):
            wave = 127 + 60 * np.sin(np.arange(SIDE) / (kind + 1) + rng.uniform(0, 6))
            pixels = np.broadcast_to(wave[:, None, None], (SIDE, SIDE, 3)) + rng.normal(0, 20, (SIDE, SIDE, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"stripes{kind}" / f"{number:03}.png")


# Another user's net, on all cores, as torch runs it by default.
OTHER = "import torch as t; a, w = t.randn(64, 64, 48, 48), t.randn(64, 64, 3, 3)\nwhile True: t.conv2d(a, w)"


@contextmanager
def busy(others: int) -> Iterator[None]:
    """Run other nets on the same cores."""
    running = [subprocess.Popen([sys.executable, "-c", OTHER], env=clean()) for _ in range(others)]
    time.sleep(3 * bool(others))
    try:
        yield
    finally:
        for other in running:
            other.kill()
            other.wait()


def clean() -> dict[str, str]:
    """Return the environment without what decides how threads wait."""
    return {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")}


def seconds(data: Path, out: Path, epochs: int, extra: dict[str, str]) -> float:
    """Return the wall seconds of one whole `eyewright train`."""
    command = [sys.executable, "-m", "eyewright", "train", str(data), "--model", "photo_net", "--epochs", str(epochs)]
    started = time.perf_counter()
    subprocess.run(
        [*command, "--out", str(out), "--quiet"], check=True, env={**clean(), **extra}, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    given = parser.parse_args()
    times: dict[tuple[str, int], list[float]] = {(name, n): [] for name in WAITING for n in (0, OTHERS)}
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder) / "data")
        for run in range(given.runs):
            for others in (0, OTHERS):
                with busy(others):
                    for name, extra in WAITING.items():
                        out = Path(folder) / f"{run}-{others}-{name[:3]}"
                        times[name, others].append(seconds(Path(folder) / "data", out, given.epochs, extra))
    print(f"train photo_net, {CLASSES * EACH} images, {given.epochs} epochs, whole process, median of {given.runs}")
    print(f"{'threads wait':16} {'alone s':>9} {f'next to {OTHERS} s':>17} {'ratio':>7}")
    for name in WAITING:
        alone, beside = (statistics.median(times[name, n]) for n in (0, OTHERS))
        print(f"{name:16} {alone:9.1f} {beside:17.1f} {beside / alone:7.1f}")
    for others, where in ((0, "alone"), (OTHERS, f"next to {OTHERS}")):
        ratios = [a / b for a, b in zip(times["ours", others], times["GNU's default", others], strict=True)]
        print(f"{where}, ours / GNU's default: {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")


if __name__ == "__main__":
    main()
