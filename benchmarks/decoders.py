"""Mutated files of every format through every door of the decoder: how many crash it, and how many it lets through.

    python benchmarks/decoders.py [--files 20000] [--seed 0]

Each file is decoded in nine ways in a worker process; a crash costs the worker and is counted.
"""

import argparse
import collections
import sys
import time

from eyewright.core.errors import LimitError, UnreadableImageError
from eyewright.imaging.workers import Bounds, Worker
from eyewright.testing.mutated import mutated_files


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--files", type=int, default=20_000)
    options.add_argument("--seed", type=int, default=0)
    o = options.parse_args()
    worker = Worker("eyewright.testing.mutated:try_mutated", Bounds(wall_s=60.0, cpu_s=60, answers=2**31))
    counts: collections.Counter[str] = collections.Counter()
    faults: list[str] = []
    crashes: list[str] = []
    began = time.monotonic()
    for name, data in mutated_files(o.files, seed=o.seed):
        try:
            answer, _ = worker.ask({}, data)
        except LimitError as error:
            counts[f"limit: {error.code}"] += 1
        except UnreadableImageError as error:
            crashes.append(f"{name}: {error}")
        else:
            if "fault" in answer:
                faults.append(f"{name}: {answer['fault']}")
            else:
                counts["read by some door" if "decoded" in answer["said"].values() else "refused by every door"] += 1
    worker.close()
    print(f"{o.files} files, {9 * o.files} readings in {time.monotonic() - began:.0f} s, seed {o.seed}")
    print(f"crashes {len(crashes)}, exceptions let through {len(faults)}; {dict(counts)}")
    for line in [*crashes[:10], *faults[:10]]:
        print("  ", line)
    return int(bool(crashes or faults))


if __name__ == "__main__":
    sys.exit(main())
