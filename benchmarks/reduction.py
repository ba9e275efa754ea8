"""Version 2 of the Preparation compared with version 1: pixels, time, and accuracy of nets trained with either.

    python benchmarks/reduction.py pixels [FOLDER …] [--sides 96 128 224]
    python benchmarks/reduction.py accuracy DATA --imgsz N [--seeds 3 --epochs N] [--classes LABELS.CSV]

`pixels`: JPEG files prepared by either version and, decoded, as arrays: mean, 99th percentile and maximum of the
difference in levels, and milliseconds a file. `accuracy`: classifiers
trained with the same seed on images of either version, each measured on both: the off-diagonal is what an old bundle
would give if its images were reduced, and a new one for arrays of whole images. `imgsz` has to be small enough that the
images are reduced. With `--classes`, a table split,stem,class, the folders are made of links first.
"""

import argparse
import csv
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

import eyewright as ew
from eyewright.evaluation.evaluator import evaluate_predictor
from eyewright.imaging.ahead import read_prepared
from eyewright.learners import classify
from eyewright.training import defaults


def pixels(folders: list[Path], sides: list[int]) -> None:
    files = [p for folder in folders for p in sorted(folder.rglob("*.jpg"))[:24]]
    sizes = Counter(Image.open(p).size for p in files)
    print(f"{len(files)} files, most of {sizes.most_common(1)[0][0]}")
    for side in sides:
        old, new = (ew.Preparation((side, side), version=v) for v in (1, 2))
        rows: dict[str, list] = {"file 2 - file 1": [], "array 2 - array 1": [], "file 2 - array 2": []}
        spent = {1: 0.0, 2: 0.0, "arrays 1": 0.0, "arrays 2": 0.0}
        factors: Counter = Counter()
        for path in files:
            data, whole = path.read_bytes(), ew.read_image(path)
            factor = new.reduction(whole.shape[:2])
            factors[factor] += 1
            found = {}
            for version, preparation in ((1, old), (2, new)):
                began = time.process_time()
                (one,) = read_prepared([data], preparation)
                spent[version] += time.process_time() - began
                began = time.process_time()
                array = preparation(whole)[0]
                spent[f"arrays {version}"] += time.process_time() - began
                found[version] = (one.pixels.astype(np.int16), array.astype(np.int16))
            if factor == 1:
                continue
            (file_1, array_1), (file_2, array_2) = found[1], found[2]
            for name, apart in zip(rows, (file_2 - file_1, array_2 - array_1, file_2 - array_2), strict=True):
                apart = np.abs(apart)
                rows[name].append((apart.mean(), np.percentile(apart, 99), apart.max()))
        told = ", ".join(f"{k} for {v}" for k, v in sorted(factors.items()))
        times = ", ".join(f"{k}: {v * 1000 / len(files):.1f} ms" for k, v in spent.items())
        print(f"{side} px, reduced by {told}; version {times}")
        for name, values in rows.items():
            if values:
                mean, high, top = np.array(values).T
                print(f"  {name:18} mean {mean.mean():.2f}, 99 % {high.mean():.1f}, largest {top.max():.0f} levels")


def linked(data: Path, table: Path, to: Path) -> Path:
    for row in csv.DictReader(table.open()):
        place = to / row["split"] / row["class"]
        place.mkdir(parents=True, exist_ok=True)
        found = next(data.rglob(f"{row['stem']}.jpg"))
        (place / found.name).symlink_to(found.resolve())
    return to


def accuracy(data: Path, imgsz: int, seeds: int, epochs: int | None) -> None:
    dataset = ew.load_dataset(data)
    test = dataset.test if hasattr(dataset, "test") else dataset
    own = defaults.choose_preparation
    scores: dict[tuple[int, int], list[float]] = {}
    for seed in range(seeds):
        for version in (1, 2):

            def chosen(*given, version: int = version, **more):
                return replace(own(*given, **more), version=version)

            classify.choose_preparation = chosen
            with tempfile.TemporaryDirectory() as place:
                run = ew.train(data, imgsz=imgsz, seed=seed, epochs=epochs, out=Path(place) / "run")
                predictor = run.predictor
                assert predictor.preparation.version == version
                for seen in (1, 2):
                    predictor.inputs = {"image": replace(run.preparation, version=seen)}
                    metric = evaluate_predictor(predictor, test, quiet=True).metrics["accuracy"]
                    scores.setdefault((version, seen), []).append(metric.value)
                    print(
                        f"seed {seed}, trained with version {version}, measured with {seen}: {metric.value:.4f} ",
                        end="",
                    )
                    print(f"[{metric.low:.3f}, {metric.high:.3f}] n={metric.n}", flush=True)
    for (version, seen), values in scores.items():
        print(f"trained {version}, measured {seen}: mean {np.mean(values):.4f} ({min(values):.4f}-{max(values):.4f})")
    apart = np.array(scores[2, 2]) - np.array(scores[1, 1])
    print(f"version 2 - version 1, paired by seed: {apart.mean():+.4f} ({apart.min():+.4f} to {apart.max():+.4f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pixels", "accuracy"))
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--sides", type=int, nargs="+", default=[96, 128, 224])
    parser.add_argument("--imgsz", type=int)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--classes", type=Path)
    args = parser.parse_args()
    if args.what == "pixels":
        pixels(args.data, args.sides)
        return
    with tempfile.TemporaryDirectory() as place:
        data = args.data[0] if args.classes is None else linked(args.data[0], args.classes, Path(place))
        accuracy(data, args.imgsz, args.seeds, args.epochs)


if __name__ == "__main__":
    main()
