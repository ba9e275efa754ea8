"""Train the default segmenter from scratch in a budget and measure it on the test part.

    python benchmarks/segmentation.py [DATA] [--budget 19m] [--out DIR]

DATA is any segmentation dataset with its own test part, `../shared/data/magnetic_tile` by default. It prints mean IoU
over the foreground with its interval, every class, defects found (IoU > 0.1), false alarms on clean images, parity.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import eyewright as ew

DATA = Path(os.environ.get("EYEWRIGHT_DATA", "../shared/data")) / "magnetic_tile"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", default=str(DATA))
    parser.add_argument("--budget", default="19m")
    parser.add_argument("--out", default=None)
    options = parser.parse_args()
    out = Path(options.out or tempfile.mkdtemp()) / "run"
    started = time.monotonic()
    done = ew.run(options.data, task="segment", budget=options.budget, out=out, say=print)
    print(f"everything: {(time.monotonic() - started) / 60:.1f} minutes")
    for name in ("miou", "foreground_iou", "dice", "boundary_f", "found", "found_any", "false_alarms"):
        print(f"{name:15} {done.report.metrics[name]}")
    for row in done.report.per_class:
        iou = row["iou"]["value"]
        print(f"  {row['label']:20} IoU {'-' if iou is None else f'{iou:.3f}'}  in {row['n']} images")
    print(f"parity: {done.parity}")


if __name__ == "__main__":
    main()
