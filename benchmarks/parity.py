"""Parity: the trained net against its bundle, on every validation image, from the file up.

    python benchmarks/parity.py [DATA ...]      (default: the embedded digits, seeds 0-2)

Targets: max |difference of a probability| <= 1e-4, answers equal on every validation image.
"""

import argparse
import tempfile
from pathlib import Path

import eyewright as ew
from eyewright.data import write_digits
from eyewright.exporting import check_parity


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="*", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    o = parser.parse_args()
    worst, changed, images = 0.0, 0, 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sources = o.data or [write_digits(folder / "digits")]
        for source in sources:
            for model in ("quick_net", "photo_net", "conv_net", "mlp", "resnet"):
                for seed in range(3 if not o.data and model == "quick_net" else 1):
                    out = folder / f"{source.stem}-{model}-{seed}"
                    options = {"model": model, "seed": seed, "epochs": o.epochs}
                    data = ew.load_dataset(source, seed=seed)
                    run = ew.train(data, out=out, imgsz=32 if model == "conv_net" else None, **options)
                    found = check_parity(run.predictor, ew.export(run, out / "bundle"), data.val)
                    worst, changed = max(worst, found.worst), changed + found.decisions_changed
                    images += found.n
                    print(f"{source.name:24} {model:10} seed {seed}: max |dp| {found.worst:.1e}, n={found.n}")
    print(f"all: max |dp| {worst:.1e} (target <= 1e-4), {changed} of {images} answers differ (target 0)")


if __name__ == "__main__":
    main()
