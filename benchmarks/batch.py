"""`process` on 500 photographs: two cores against one, and memory as the number of files grows.

    python benchmarks/batch.py [--files 500]

Photographs are crops of cid22 (else of scikit-image's) as JPEGs of 1024 x 768. Memory is the sum over the command and
its workers, at its highest, of what is resident and not shared (USS), read every second.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from skimage import data

from eyewright.imaging import read_image, write_image
from eyewright.imaging.steps import process

STEPS = "denoise:bilateral,strength=20 | clahe:clip=2 | unsharp | resize:640"


def make(folder: Path, n: int) -> None:
    root = Path(os.environ.get("EYEWRIGHT_DATA", "../shared/data")) / "cid22"
    pictures = [np.asarray(read_image(p)) for p in sorted(root.rglob("*.png"))[:20]]
    pictures = pictures or [data.astronaut(), data.coffee(), data.rocket()]
    large = [process(p, "resize:1024x768,filter=bicubic") for p in pictures]
    for k in range(n):
        write_image(folder / f"{k:04d}.jpg", np.roll(large[k % len(large)], 7 * k, 1), quality=90)


def run(folder: Path, workers: int) -> tuple[float, float]:
    """Return seconds and the most megabytes that the command and its workers held."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "eyewright", "process", str(folder), "--steps", STEPS, "--out", out + "/o"]
        started = time.perf_counter()
        running = subprocess.Popen([*command, "--workers", str(workers), "--quiet"])
        most, done = [0.0], threading.Event()

        def watch() -> None:
            while not done.wait(1.0):
                try:
                    whole = psutil.Process(running.pid)
                    held = sum(p.memory_full_info().uss for p in (whole, *whole.children(recursive=True)))
                    most[0] = max(most[0], held / 2**20)
                except psutil.Error:
                    continue

        thread = threading.Thread(target=watch)
        thread.start()
        code = running.wait()
        done.set()
        thread.join()
        if code:
            raise SystemExit(f"process ended with {code}")
        return time.perf_counter() - started, most[0]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--files", type=int, default=500)
    options.add_argument("--rounds", type=int, default=3)
    o = options.parse_args()
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as tenth:
        make(Path(one), o.files)
        make(Path(tenth), max(10, o.files // 10))
        ratios, rates = [], []
        for k in range(o.rounds):
            # In turn, so that what else the machine does falls on both.
            order = (1, 2) if k % 2 else (2, 1)
            seconds = {w: run(Path(one), w) for w in order}
            ratios.append(seconds[1][0] / seconds[2][0])
            rates.append(o.files / seconds[2][0])
            print(f"one worker {seconds[1][0]:6.1f} s, two {seconds[2][0]:6.1f} s: {ratios[-1]:.2f}x", flush=True)
        few, many = run(Path(tenth), 2)[1], run(Path(one), 2)[1]
    print(f"speed-up on two cores, median of {o.rounds}: {statistics.median(ratios):.2f}x")
    print(f"{statistics.median(rates):.1f} photographs of 1024x768 a second on two workers, start included")
    print(f"memory at most: {few:.0f} MB for {max(10, o.files // 10)} files, {many:.0f} MB for {o.files}")


if __name__ == "__main__":
    main()
