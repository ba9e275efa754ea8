"""The doctor on a large set: 100,000 PNG files of 32x32, whole process, time and private memory.

    python benchmarks/audit.py [--images 100000]

Target: <= 3 minutes on 2 cores with flat memory. A tenth of the size is measured too, to show the growth.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from eyewright.imaging import encode_image


def write_images(folder: Path, n: int) -> None:
    rng = np.random.default_rng(0)
    for i in range(n):
        place = folder / f"class{i % 10}" / f"{i:06d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        blocks = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        place.write_bytes(encode_image(np.kron(blocks, np.ones((4, 4, 1), np.uint8))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    n = parser.parse_args().images
    for size in (n // 10, n):
        with tempfile.TemporaryDirectory() as temporary:
            write_images(Path(temporary), size)
            started = time.perf_counter()
            command = [sys.executable, "-m", "eyewright", "doctor", temporary, "--json"]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            peak = 0
            while process.poll() is None:
                try:
                    status = Path(f"/proc/{process.pid}/status").read_text()
                    peak = max(peak, int(status.split("RssAnon:")[1].split()[0]))
                except (OSError, IndexError):
                    pass
                time.sleep(0.05)
            seconds = time.perf_counter() - started
            print(f"{size} images: {seconds:.1f} s, exit {process.returncode}, private memory {peak / 1024:.0f} MB")
    print(f"on {os.cpu_count()} cores; target for 100,000: <= 180 s")


if __name__ == "__main__":
    main()
