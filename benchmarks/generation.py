"""Train a GAN and a flow for the same time on MNIST, and measure both with the same judge and the same real images.

    python benchmarks/generation.py --work DIR [--budget 20m] [--cpu] [--seeds 3] [--models gan_net flow_net]

Each line is one `eyewright train` with `--task generate`, measured on the test images by `evaluate`; the median over
seeds follows. It can be stopped at any time and called again: a run that is finished is kept, and its numbers are read
from `measured.json`. One that was stopped halfway is trained again from the start, since a budget that is continued
would be longer than that of the others. All nets of a seed come before those of the next, so that what is done is
comparable. The processor seconds that a training took are printed: on a busy machine they are fewer than its budget.
With `--cpu` the budget counts processor seconds, so that both nets get the same on a busy machine too.
The judge, a classifier that is trained before the generator and never used in it, is printed with its digest and its
accuracy: numbers are comparable only where both runs have judges of about the same accuracy. Targets after 20 minutes
on two cores: coverage >= 0.85, label agreement >= 0.97, copies <= 0.015; FID <= 4 times that of real images is a goal.
The better of coverage and FID decides
which net `--model auto` is. No peer prints such numbers; PyTorch's DCGAN example, the usual starting point, has none.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

if "--cpu" in sys.argv:
    # The clock of every budget, before it is imported anywhere.
    time.monotonic = time.process_time

import eyewright as ew
from eyewright.core.files import write_json

DATA = Path(os.environ.get("EYEWRIGHT_DATA", "../shared/data"))
MEASURED, SPENT = "measured.json", "spent.json"
SHOWN = ("coverage", "label_agreement", "copies", "fid", "fid_floor", "precision", "recall", "density", "kid")
TARGETS = {"coverage": (0.85, True), "label_agreement": (0.97, True), "copies": (0.015, False)}


def measured(work: Path, model: str, seed: int, budget: str) -> dict[str, float]:
    """Return the numbers of one run on test images, trained and measured where that was not done yet.

    Raises:
        SystemExit: the run in `work` was trained for another budget.
    """
    folder = work / f"{model}-{seed}"
    kept = folder / MEASURED
    if kept.is_file():
        content = json.loads(kept.read_text("utf-8"))
        if content["budget"] != budget:
            raise SystemExit(f"{folder} was trained for {content['budget']}, not {budget}; choose another --work")
        show(model, seed, content, again=True)
        return dict(content["numbers"])
    spent = folder / SPENT
    if not (folder / "run.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        began = cpu_seconds()
        ew.train(
            DATA / "mnist",
            task="generate",
            model=model,
            budget=budget.partition(" ")[0],
            seed=seed,
            out=folder,
            quiet=True,
        )
        write_json(spent, {"budget": budget, "cpu_s": round(cpu_seconds() - began, 1)})
    report = ew.evaluate(folder)
    # Without the file, whoever trained the run did not say how long it took.
    taken = json.loads(spent.read_text("utf-8")) if spent.is_file() else {"budget": budget, "cpu_s": None}
    numbers = {k: report.metrics[k].value for k in SHOWN if k in report.metrics}
    content = {
        **taken,
        "numbers": {k: v for k, v in numbers.items() if v is not None},
        "findings": [f"{f.severity}: {f.message}" for f in report.sections.get("findings", ())],
    }
    if content["budget"] != budget:
        raise SystemExit(f"{folder} was trained for {content['budget']}, not {budget}; choose another --work")
    write_json(kept, content)
    show(model, seed, content, again=False)
    return dict(content["numbers"])


def show(model: str, seed: int, content: dict[str, Any], *, again: bool) -> None:
    """Print the numbers of one run."""
    numbers = "  ".join(f"{k} {v:.3f}" for k, v in content["numbers"].items())
    spent = "CPU s not known" if content["cpu_s"] is None else f"{content['cpu_s']:.0f} CPU s"
    print(f"{model:10} seed {seed}  {spent}{' (kept)' * again}  {numbers}", flush=True)
    for finding in content["findings"]:
        print(f"{'':10} {finding}")


def cpu_seconds() -> float:
    """Return the processor seconds of this process and of its children that ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--work", type=Path, required=True)
    options.add_argument("--budget", default="20m")
    options.add_argument("--cpu", action="store_true", help="count the budget in processor seconds")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--models", nargs="+", default=["gan_net", "flow_net"])
    given = options.parse_args()
    if not (DATA / "mnist").is_dir():
        raise SystemExit(f"expected MNIST in {DATA}/mnist, found nothing; set EYEWRIGHT_DATA")
    given.work.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[dict[str, float]]] = {model: [] for model in given.models}
    for seed in range(given.seeds):
        for model in given.models:
            found[model].append(measured(given.work, model, seed, f"{given.budget}{' of CPU time' * given.cpu}"))
    for model, rows in found.items():
        medians = {name: statistics.median(r[name] for r in rows) for name in SHOWN if all(name in r for r in rows)}
        print(f"{model}: medians of {len(rows)} seeds after {given.budget} each")
        for name, value in medians.items():
            target, more = TARGETS.get(name, (None, True))
            met = "" if target is None else f"{'>=' if more else '<='} {target}: "
            met += "" if target is None else "met" if (value >= target) == more or value == target else "MISSED"
            print(f"  {name:16} {value:8.3f}  {met}")
        if "fid" in medians and medians.get("fid_floor"):
            print(f"  FID / that of real images {medians['fid'] / medians['fid_floor']:.1f} (goal <= 4)")


if __name__ == "__main__":
    main()
