"""Measure the rule of `inpaint --method auto`: by image, kind and size of mask, against what it may choose.

    python benchmarks/inpaint_rule.py --work DIR [--sets cid22 coco_cc] [--net BUNDLE] [--images N] [--report]

Every image of cid22 and coco_cc (../shared/data) is reduced to half, and 128x128 pixels of its centre are kept. In
each, holes of 8 kinds are drawn (seeded) and filled by every method: thin and wide strokes, letters, boxes, a disc.
Patches are tried in holes of 16 pixels and more: strokes they leave to fsr. What counts is PSNR inside the hole, in 8
bits. `DIR/rows.jsonl` has one line an image and kind; a run that was cut off is continued. The report gives, by kind,
the mean of each method and the paired difference of "auto" to each of them, with the 95 % interval of a bootstrap over
images; and the same for parts of the roughness that the rule looks at.
"""

import argparse
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from eyewright.bundle.restoring import open_filler
from eyewright.core.rng import generator
from eyewright.imaging import read_image
from eyewright.imaging.inpainting import choose_method, inpaint_pixels, roughness

DATA = Path(os.environ.get("EYEWRIGHT_DATA", "../shared/data"))
SIDE, SHARE = 128, 0.04
METHODS = ("ns", "fsr", "biharmonic", "exemplar")
THICK = ("boxes of 16", "box of 32", "disc of 48")
REPLICATES = 2000


def strokes(width: int) -> Callable[[np.ndarray, np.random.Generator], None]:
    def draw(mask: np.ndarray, rng: np.random.Generator) -> None:
        while mask.mean() < SHARE:
            points = np.cumsum([rng.integers(0, SIDE, 2), *rng.integers(-40, 41, (2, 2))], 0)
            cv2.polylines(mask, [points.astype(np.int32)], False, 1, width)

    return draw


def letters(mask: np.ndarray, rng: np.random.Generator) -> None:
    while mask.mean() < SHARE:
        word = "".join(chr(int(c)) for c in rng.integers(65, 91, 5))
        at = (int(rng.integers(0, SIDE // 2)), int(rng.integers(20, SIDE)))
        cv2.putText(mask, word, at, cv2.FONT_HERSHEY_SIMPLEX, 0.8, 1, 2)


def boxes(side: int) -> Callable[[np.ndarray, np.random.Generator], None]:
    def draw(mask: np.ndarray, rng: np.random.Generator) -> None:
        while mask.mean() < min(SHARE, side * side / SIDE**2):
            top, left = rng.integers(0, SIDE - side, 2)
            mask[top : top + side, left : left + side] = 1

    return draw


def disc(mask: np.ndarray, rng: np.random.Generator) -> None:
    cv2.circle(mask, [int(v) for v in rng.integers(30, SIDE - 30, 2)], 24, 1, -1)


KINDS: dict[str, Callable[[np.ndarray, np.random.Generator], None]] = {
    "strokes of 3": strokes(3), "strokes of 8": strokes(8), "strokes of 12": strokes(12), "letters": letters,
    "boxes of 8": boxes(8), "boxes of 16": boxes(16), "box of 32": boxes(32), "disc of 48": disc,
}  # fmt: skip


PARTS = {"roughness below 2": (0, 2), "2 to 4": (2, 4), "4 to 8": (4, 8), "8 and more": (8, 1e9), "all": (0, 1e9)}


def measure(image: np.ndarray, hole: np.ndarray, kind: str, net: str | None) -> dict[str, float]:
    broken = image.copy()
    broken[hole] = 255
    found = {m: inpaint_pixels(broken, hole, method=m).image for m in METHODS if m != "exemplar" or kind in THICK}
    if net is not None:
        found["net"] = inpaint_pixels(broken, hole, method="net", net=open_filler(net)).image
    errors = {m: np.mean((f[hole].astype(float) - image[hole]) ** 2) for m, f in found.items()}
    return {m: round(float(10 * np.log10(255**2 / max(e, 0.01))), 4) for m, e in errors.items()}


def collect(rows_file: Path, sets: list[str], net: str | None, n: int | None) -> None:
    lines = rows_file.read_text().splitlines() if rows_file.exists() else []
    done = {(r["set"], r["image"], r["kind"]) for r in map(json.loads, lines)}
    with rows_file.open("a") as out:
        for name in sets:
            files = [f for f in sorted((DATA / name).rglob("*")) if f.suffix.lower() in (".png", ".jpg", ".jpeg")][:n]
            for k, file in enumerate(files):
                whole = read_image(file)
                small = cv2.resize(whole, (whole.shape[1] // 2, whole.shape[0] // 2), interpolation=cv2.INTER_AREA)
                top, left = (max(0, side - SIDE) // 2 for side in small.shape[:2])
                image = np.ascontiguousarray(small[top : top + SIDE, left : left + SIDE])
                for kind, draw in KINDS.items():
                    if (name, file.name, kind) in done or image.shape[:2] != (SIDE, SIDE):
                        continue
                    mask = np.zeros((SIDE, SIDE), np.uint8)
                    draw(mask, generator(k, kind))
                    hole = mask.astype(bool)
                    row = {
                        "set": name, "image": file.name, "kind": kind, "pixels": int(hole.sum()),
                        "rough": round(roughness(image, hole), 3), "psnr": measure(image, hole, kind, net),
                    }  # fmt: skip
                    out.write(json.dumps(row) + "\n")
                    out.flush()


def again(row: dict[str, object]) -> str:
    """Return what the rule of today chooses for a row: the rows of an earlier rule stay valid."""
    name, image, kind = (str(row[k]) for k in ("set", "image", "kind"))
    files = [f for f in sorted((DATA / name).rglob("*")) if f.suffix.lower() in (".png", ".jpg", ".jpeg")]
    k = next(i for i, f in enumerate(files) if f.name == image)
    whole = read_image(files[k])
    small = cv2.resize(whole, (whole.shape[1] // 2, whole.shape[0] // 2), interpolation=cv2.INTER_AREA)
    top, left = (max(0, side - SIDE) // 2 for side in small.shape[:2])
    mask = np.zeros((SIDE, SIDE), np.uint8)
    KINDS[kind](mask, generator(k, kind))
    return choose_method(np.ascontiguousarray(small[top : top + SIDE, left : left + SIDE]), mask.astype(bool))


def interval(rows: list[dict], gains: np.ndarray) -> str:
    """Return a mean and its interval over images, of which each is drawn with all its rows."""
    names = np.unique([f"{r['set']}/{r['image']}" for r in rows], return_inverse=True)[1]
    sums, counts = (np.bincount(names, w) for w in (gains, np.ones(len(gains))))
    drawn = np.random.default_rng(0).integers(0, len(sums), (REPLICATES, len(sums)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), [0.025, 0.975])
    return f"{gains.mean():+.2f} [{low:+.2f}, {high:+.2f}]"


def report(rows: list[dict]) -> None:
    for row in rows:
        row["auto"] = again(row)
    methods = [m for m in (*METHODS, "net") if any(m in r["psnr"] for r in rows)]
    for name in [*sorted({r["set"] for r in rows}), "all"]:
        of_set = [r for r in rows if name in (r["set"], "all")]
        print(f"\n{name}: {len({(r['set'], r['image']) for r in of_set})} images")
        for kind in [*KINDS, *PARTS]:
            low, high = PARTS.get(kind, (0, 1e9))
            own = [r for r in of_set if (r["kind"] == kind or kind in PARTS) and low <= r["rough"] < high]
            print(
                f"  {kind:24} n={len(own)}" + "".join(f", {m} {k}" for m, k in Counter(r["auto"] for r in own).items())
            )
            for method in methods:
                both = [r for r in own if method in r["psnr"] and r["auto"] in r["psnr"]]
                if both:
                    theirs, auto = (np.array([r["psnr"][m or r["auto"]] for r in both]) for m in (method, ""))
                    gain = interval(both, auto - theirs)
                    print(f"    auto {auto.mean():6.2f}, {method:10} {theirs.mean():6.2f} dB: {gain}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--work", type=Path, required=True)
    options.add_argument("--sets", nargs="+", default=["cid22", "coco_cc"])
    options.add_argument("--net")
    options.add_argument("--images", type=int)
    options.add_argument("--report", action="store_true", help="of the rows that there are")
    given = options.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    rows_file = given.work / "rows.jsonl"
    if not given.report:
        collect(rows_file, given.sets, given.net, given.images)
    report([json.loads(line) for line in rows_file.read_text().splitlines()])


if __name__ == "__main__":
    main()
