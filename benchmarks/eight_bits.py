"""What 8 bits cost every net of the catalogue: trained, exported, quantised by `compress --methods int8`, nothing else.

    python benchmarks/eight_bits.py [--seconds 60]

Classifiers learn ../shared/data/sign_digits, the detector ../shared/data/bccd, the segmenter
../shared/data/magnetic_tile, instances the objects of ../shared/data/coco_cc, for so many seconds each (five times that
for boxes and masks): not their best, but nets that have learnt. Target: within half a point of float32 on test images,
beside the interval of the pair.
"""

import argparse
import os
import tempfile
from pathlib import Path

import eyewright as ew
from eyewright.catalog import MODELS, tasks_of_net
from eyewright.core.errors import BudgetError
from eyewright.core.task import task_of

DATA = Path(os.environ.get("EYEWRIGHT_DATA", "../shared/data"))
SETS = {"classify": "sign_digits", "detect": "bccd", "segment": "magnetic_tile", "instance": "coco_cc"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--models", default=",".join(MODELS))
    o = parser.parse_args()
    place = Path(tempfile.mkdtemp())
    for name in o.models.split(","):
        task = tasks_of_net(name)[0]
        seconds = o.seconds if task == "classify" else 5 * o.seconds
        run = ew.train(DATA / SETS[task], model=name, task=task, budget=seconds, out=place / name / "run")
        main_metric = task_of(task).main_metric
        budget = [f"{main_metric}=99%"]
        try:
            found = ew.compress(run, out=place / name / "small", max_drop=budget, methods=("int8",), max_bytes="1G")
        except BudgetError as error:
            print(f"{name}: {error}")
            continue
        about = found.bundle.manifest.compression
        drop, speed = about["drops"][main_metric], about["speedup"]
        after = found.report.metrics[main_metric].value
        lost = [-100 * drop[k] + 0.0 for k in ("value", "high", "low")]
        n, kept = about["measured_on"]["images"], about["kept_in_float"]
        times = about["parent_bytes"] / about["bytes"]
        print(
            f"{name}: {main_metric} {after + drop['value']:.4f} -> {after:.4f}, "
            f"{lost[0]:+.2f} points [{lost[1]:+.2f}, {lost[2]:+.2f}], n = {n}; {times:.2f} times smaller, "
            f"{speed['value']:.2f} times as fast [{speed['low']:.2f}, {speed['high']:.2f}], {about['method']} ranges"
            f"{f', {len(kept)} layers in float' if kept else ''}",
            flush=True,
        )


if __name__ == "__main__":
    main()
