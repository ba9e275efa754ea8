"""What time buys: test accuracy of nets trained on the same images for the same time, over seeds.

    python benchmarks/minute.py DATA [--budgets 40s,3m] [--models auto,quick_net,photo_net] [--seeds 3] [-- OPTIONS]

DATA is a folder a class with small images. Every net sees the same split; "auto" is what the user gets. The options
after `--` are fields of a recipe, such as `cutmix=1`. Seeds are the outer loop, so that other work on the machine
meets every net.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import eyewright as ew


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--budgets", default="40s,3m")
    parser.add_argument("--models", default="auto,quick_net,photo_net")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("options", nargs="*", metavar="NAME=NUMBER")
    o = parser.parse_args()
    given: dict[str, Any] = {name: float(number) for name, number in (text.split("=") for text in o.options)}
    cells = [(budget, model) for budget in o.budgets.split(",") for model in o.models.split(",")]
    found: dict[tuple[str, str], list[float]] = {cell: [] for cell in cells}
    data = ew.load_dataset(o.data)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(o.seeds):
            for budget, model in cells:
                out = Path(folder) / f"{model}-{budget}-{seed}"
                run = ew.train(data, model=model, budget=budget, seed=seed, out=out, quiet=True, **given)
                report = ew.evaluate(run, data.test, out=out / "test")
                accuracy = report.metrics["accuracy"]
                found[budget, model].append(accuracy.value)
                epochs = len(run.history())
                print(f"{budget} {model} ({run.recipe.model}) seed {seed}: {accuracy}, {epochs} epochs", flush=True)
    for (budget, model), values in found.items():
        print(f"{budget} {model}: median {statistics.median(values):.3f} of {o.seeds}")


if __name__ == "__main__":
    main()
