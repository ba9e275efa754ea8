"""What `run --task regress` reads off images: errors beside those of the median guess, and whether its intervals hold.

    python benchmarks/regression.py [cells tiles gauge] [--data DIR] [--budget 4m] [--imgsz 96]
    python benchmarks/regression.py --seeds 20

`cells` counts all boxes in the photographs of bccd; `tiles` is the defective fraction of each picture of magnetic_tile
in percent, with the exposures of a tile as one group; `gauge` is the angle of a drawn pointer. The split is that of
`run`, not the one of the data. The peer is the median of the training values, measured on the same test images.

With `--seeds`: a small net is trained on newly drawn data with each seed, and its 90 % prediction intervals are
measured on 400 new images. Their mean over seeds must not be below 90 %; single seeds vary, since few errors decide
each interval.
"""

import argparse
import csv
import json
import math
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import eyewright as ew
from eyewright import lifecycle
from eyewright.core.predictor import predict_everything

DATA = Path(os.environ.get("EYEWRIGHT_DATA", "../shared/data"))
NEW = 400


def _table(folder: Path, column: str, rows: list[tuple[str, float]]) -> None:
    with open(folder / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", column), *rows])


def cells(data: Path, folder: Path) -> str | None:
    """Write the photographs of bccd with the number of their boxes."""
    counts: Counter[str] = Counter()
    for part in ("train", "val", "test"):
        read = json.loads((data / f"bccd/instances_{part}.json").read_text())
        names = {i["id"]: i["file_name"] for i in read["images"]}
        counts.update(dict.fromkeys(names.values(), 0))
        counts.update(names[a["image_id"]] for a in read["annotations"])
    shutil.copytree(data / "bccd/images", folder / "images")
    _table(folder, "count", [(f"images/{name}", n) for name, n in sorted(counts.items())])
    return None


def tiles(data: Path, folder: Path) -> str | None:
    """Write the pictures of magnetic_tile with the percentage of defective pixels; return a table of their tiles."""
    rows, groups = [], [("path", "group")]
    (folder / "images").mkdir()
    with open(data / "magnetic_tile/labels.csv", newline="") as file:
        for row in csv.DictReader(file):
            mask = np.asarray(Image.open(data / f"magnetic_tile/{row['split']}/masks/{row['stem']}.png"))
            name = f"images/{row['stem']}.jpg"
            source = data / f"magnetic_tile/{row['split']}/images/{row['stem']}.jpg"
            (folder / name).write_bytes(source.read_bytes())
            rows.append((name, round(100 * float((mask > 0).mean()), 4)))
            groups.append((name, row["tile_group"]))
    _table(folder, "defective_pct", rows)
    with open(folder.parent / "groups.csv", "w", newline="") as file:
        csv.writer(file).writerows(groups)
    return str(folder.parent / "groups.csv")


def draw_gauge(rng: np.random.Generator, side: int = 96) -> tuple[Image.Image, float]:
    """Return a dial with a pointer between -135 and 135 degrees from the top, of random place, light and length."""
    angle = float(rng.uniform(-135, 135))
    grey = int(rng.integers(120, 230))
    image = Image.new("RGB", (side, side), (grey, grey, grey))
    draw = ImageDraw.Draw(image)
    x, y = side / 2 + rng.uniform(-8, 8, 2)
    radius = rng.uniform(0.28, 0.38) * side
    draw.ellipse(
        (x - radius, y - radius, x + radius, y + radius), fill=(min(255, grey + 25),) * 3, outline=(30, 30, 30)
    )
    for mark in range(-135, 136, 27):
        s, c = math.sin(math.radians(mark)), math.cos(math.radians(mark))
        draw.line((x + 0.85 * radius * s, y - 0.85 * radius * c, x + radius * s, y - radius * c), fill=(30, 30, 30))
    s, c, length = math.sin(math.radians(angle)), math.cos(math.radians(angle)), rng.uniform(0.65, 0.8) * radius
    draw.line((x, y, x + length * s, y - length * c), fill=(150, 20, 20), width=3)
    noisy = np.asarray(image, np.float64) + rng.normal(0, 8, (side, side, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)), angle


def gauge(data: Path, folder: Path) -> str | None:
    """Write 600 drawn gauges with the angle of their pointers."""
    rng, rows = np.random.default_rng(0), []
    for i in range(600):
        image, angle = draw_gauge(rng)
        image.save(folder / f"{i:03d}.png")
        rows.append((f"{i:03d}.png", round(angle, 3)))
    _table(folder, "angle_deg", rows)
    return None


SETS: dict[str, Callable[[Path, Path], str | None]] = {"cells": cells, "tiles": tiles, "gauge": gauge}


def measure(name: str, data: Path, budget: str, imgsz: int) -> None:
    """Print what a whole run reports for one set."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / name
        folder.mkdir()
        group_by = SETS[name](data, folder)
        started = time.monotonic()
        made = ew.run(folder, task="regress", budget=budget, imgsz=imgsz, group_by=group_by, out=Path(scratch) / "run")
        took = time.monotonic() - started
        dataset = ew.load_dataset(folder, task="regress", group_by=group_by)
        true = {
            p: np.array([s.target.values[0] for s in getattr(dataset, p).samples]) for p in ("train", "val", "test")
        }
        guess = float(np.abs(true["test"] - np.median(true["train"])).mean())
        metrics, about = made.report.metrics, made.run.about
        sizes = "/".join(str(len(v)) for v in true.values())
        print(f"{name}: {dataset.labels.names[0]}, {sizes} images, {about['model']}, {took:.0f} s")
        for key in ("mae", "r2", "coverage"):
            print(
                f"  {key} {metrics[key]}" if key in metrics else f"  {key} none: {about['calibration'].get('reason')}"
            )
        reach = made.run.thresholds
        width = "" if reach is None else f"; intervals +-{float(reach[0]):.3g}"
        print(f"  the median of training is off by {guess:.3g} on the same images{width}", flush=True)


def draw_level(rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Return an image of a dark level, uint8 (24, 24, 3), and its height as read by an instrument that errs."""
    level = int(rng.integers(2, 23))
    image = rng.integers(200, 230, (24, 24, 3)).astype(np.uint8)
    image[24 - level :] = rng.integers(20, 50, (level, 24, 3))
    return image, level + float(rng.normal(0, 0.7))


def cover(seeds: int) -> None:
    """Print the share of new true values inside the intervals of each trained seed, and their mean.

    Each run has all three parts: of train and val alone `split_dataset` makes the given val the test part and takes a
    tenth of train for validation, which is too few for intervals.
    """
    held = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "data"
            folder.mkdir()
            parts = ["train"] * 90 + ["val"] * 38 + ["test"] * 4
            rows: list[tuple[str, object, str]] = [("path", "value", "split")]
            for i, part in enumerate(parts):
                image, value = draw_level(rng)
                Image.fromarray(image).save(folder / f"{i}.png")
                rows.append((f"{i}.png", round(value, 4), part))
            with open(folder / "labels.csv", "w", newline="") as file:
                csv.writer(file).writerows(rows)
            made = lifecycle.train(
                folder, task="regress", epochs=6, seed=seed, out=Path(scratch) / "run", leaks="allow", group_by="none"
            )
            reach = made.thresholds
            if reach is None:
                raise SystemExit(f"seed {seed}: no intervals, {made.about['calibration'].get('reason')}")
            new = [draw_level(rng) for _ in range(NEW)]
            found = predict_everything(made.predictor, [image for image, _ in new])
            errors = np.abs(np.array([p.values[0] for p in found]) - np.array([value for _, value in new]))
            held.append(float((errors <= reach[0]).mean()))
            n = made.about["calibration"]["n"]
            print(f"seed {seed}: {held[-1]:.3f} of {NEW} inside +-{float(reach[0]):.2f} (n={n})", flush=True)
    error = np.std(held, ddof=1) / math.sqrt(len(held)) if len(held) > 1 else float("nan")
    print(f"coverage over {len(held)} seeds: mean {np.mean(held):.3f} (standard error {error:.3f}), "
          f"smallest {min(held):.3f}, largest {max(held):.3f}; nominal 0.9")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(SETS)}")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--budget", default="4m", help="of each run")
    parser.add_argument("--imgsz", type=int, default=96)
    parser.add_argument("--seeds", type=int, default=0, help="measure coverage over so many trained seeds instead")
    o = parser.parse_args()
    if o.seeds:
        return cover(o.seeds)
    for name in o.sets or SETS:
        measure(name, o.data, o.budget, o.imgsz)


if __name__ == "__main__":
    main()
