"""Train a GAN and a flow for the same time on MNIST, and measure both with the same judge and the same real images.

    python benchmarks/generation.py --work DIR [--budget 20m] [--seeds 3] [--models gan_net flow_net]

Each line is one `eyewright train` with `--task generate`, measured on the test images by `evaluate`; the median over
seeds follows. A run that is there already is measured again and not trained. The judge, a classifier that is trained
before the generator and never used in it, is printed with its digest and its accuracy: numbers are comparable only
where both runs have judges of about the same accuracy. Targets after 20 minutes on two cores: coverage >= 0.85, label
agreement >= 0.97, copies <= 0.015; FID <= 4 times that of real images is a goal. The better of coverage and FID decides
which net `--model auto` is. No peer prints such numbers; PyTorch's DCGAN example, the usual starting point, has none.
"""

import argparse
import os
import statistics
from pathlib import Path

import eyewright as ew

DATA = Path(os.environ.get("EYEWRIGHT_DATA", "../shared/data"))
SHOWN = ("coverage", "label_agreement", "copies", "fid", "fid_floor", "precision", "recall", "density", "kid")
TARGETS = {"coverage": (0.85, True), "label_agreement": (0.97, True), "copies": (0.015, False)}


def measured(work: Path, model: str, seed: int, budget: str) -> dict[str, float]:
    """Return the numbers of one run on test images, trained where it is missing."""
    folder = work / f"{model}-{seed}"
    if not (folder / "run.json").exists():
        ew.train(DATA / "mnist", task="generate", model=model, budget=budget, seed=seed, out=folder, quiet=True)
    report = ew.evaluate(folder)
    found = {name: report.metrics[name].value for name in SHOWN if name in report.metrics}
    print(
        f"{model:10} seed {seed}  " + "  ".join(f"{k} {v:.3f}" for k, v in found.items() if v is not None), flush=True
    )
    for finding in report.sections.get("findings", ()):
        print(f"{'':10} {finding.severity}: {finding.message}")
    return {k: v for k, v in found.items() if v is not None}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--work", type=Path, required=True)
    options.add_argument("--budget", default="20m")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--models", nargs="+", default=["gan_net", "flow_net"])
    given = options.parse_args()
    if not (DATA / "mnist").is_dir():
        raise SystemExit(f"expected MNIST in {DATA}/mnist, found nothing; set EYEWRIGHT_DATA")
    for model in given.models:
        rows = [measured(given.work, model, seed, given.budget) for seed in range(given.seeds)]
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
