"""The hostile corpus through the killable decoder: time and memory of the worst file, beside Pillow and OpenCV.

    python benchmarks/hostile.py [--files 20000]

A million files: --files 1000000. The limits are the product's own, two seconds and 512 MB a file.
"""

import argparse
import collections
import io
import statistics
import time

import cv2
import numpy as np
import psutil
from PIL import Image

from eyewright.core.errors import LimitError, UnreadableImageError
from eyewright.imaging.workers import Bounds, DecodePool
from eyewright.testing.hostile import check_hostile, hostile_files


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--files", type=int, default=20_000)
    o = options.parse_args()
    outcomes: collections.Counter[str] = collections.Counter()
    wrong, slowest, times = [], (0.0, ""), []
    with DecodePool(1, bounds=Bounds(answers=2**31)) as pool:
        pool.read(_small())
        (pid,) = pool.processes
        start_mb = psutil.Process(pid).memory_info().rss / 2**20
        peak = 0.0
        for file in hostile_files(o.files):
            started = time.perf_counter()

            def read(data: bytes, **options: object) -> np.ndarray:
                try:
                    found = pool.read(data, **options)
                    outcomes["read"] += 1
                    return found
                except UnreadableImageError as error:
                    outcomes[f"{'limit' if isinstance(error, LimitError) else 'refused'}: {error.code}"] += 1
                    raise

            try:
                check_hostile(file, read)
            except AssertionError as error:
                wrong.append(str(error))
            times.append(time.perf_counter() - started)
            slowest = max(slowest, (times[-1], file.name))
        for pid in pool.processes:
            peak = max(peak, _peak_mb(pid))
        replaced = pool.replaced
    print(f"{o.files} files: {len(wrong)} wrong, {replaced} workers killed or crashed")
    for line in wrong[:10]:
        print("  ", line)
    print(dict(outcomes))
    print(f"median {statistics.median(times) * 1000:.1f} ms, slowest {slowest[0]:.2f} s ({slowest[1]})")
    print(f"worker: {start_mb:.0f} MB fresh, {peak:.0f} MB at its highest")
    _peers()


def _small() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


def _peak_mb(pid: int) -> float:
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def _peers() -> None:
    """Return the scans bomb to Pillow and to OpenCV as they come; the others would need gigabytes."""
    bomb = next(f for f in hostile_files() if f.name == "bomb-jpeg-scans")
    for name, call in (
        ("Pillow", lambda: Image.open(io.BytesIO(bomb.data)).load()),
        ("OpenCV", lambda: cv2.imdecode(np.frombuffer(bomb.data, np.uint8), cv2.IMREAD_COLOR)),
    ):
        started = time.perf_counter()
        call()
        print(
            f"{name} on a JPEG of {len(bomb.data) // 1024} KB with 1,500 scans: {time.perf_counter() - started:.1f} s"
        )


if __name__ == "__main__":
    main()
