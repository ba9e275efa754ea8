"""Choose the rule of `inpaint --method auto` on half of the photographs, and measure it on the other half.

    python benchmarks/inpaint_rule.py --work DIR [--sets cid22 coco_cc] [--net BUNDLE] [--images 30] [--report]

Every image of cid22 and coco_cc (../shared/data) is reduced to half, and 128x128 pixels of its centre are kept, of the
largest holes 192x192. In each, holes of 10 kinds are drawn (seeded) and filled by every method: thin and wide strokes,
letters, boxes, discs. Patches are tried in holes of 16 pixels and more: strokes they leave to fsr. What counts is PSNR
inside the hole, in 8 bits; SSIM of its surroundings is printed too. `--images` takes so many of each set, evenly
spaced. `DIR/rows.jsonl` has one line an image and kind; a run that was cut off is continued.

The rule has two thresholds: the width above which patches are used, and the roughness below which biharmonic equations
are used where fsr cannot be (16 bits). Both are chosen on every second photograph, and reported on the others: the rule
of the code and the chosen one against each method, paired, with the 95 % interval of a bootstrap over images. The exit
code is 1 if on these the chosen rule is better than that of the code by more than chance.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from eyewright.bundle.restoring import open_filler
from eyewright.core.rng import generator
from eyewright.imaging import inpainting, read_image
from eyewright.imaging.inpainting import deep_share, inpaint_pixels, roughness
from eyewright.metrics.fidelity import ssim

DATA = Path(os.environ.get("EYEWRIGHT_DATA", "../shared/data"))
SIDE, LARGE_SIDE, SHARE = 128, 192, 0.04
METHODS = ("ns", "fsr", "biharmonic", "exemplar")
LARGE = ("disc of 64", "disc of 80")
THICK = ("boxes of 16", "box of 32", "disc of 48", *LARGE)
# Half the width above which patches are used, and the roughness below which biharmonic equations are.
DEPTHS = (6.0, 8.0, 12.0, 16.0, 20.0, 24.0, 32.0, math.inf)
ROUGH = (0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 15.0, math.inf)
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


def disc(across: int) -> Callable[[np.ndarray, np.random.Generator], None]:
    def draw(mask: np.ndarray, rng: np.random.Generator) -> None:
        room = across // 2 + 6
        cv2.circle(mask, [int(v) for v in rng.integers(room, len(mask) - room, 2)], across // 2, 1, -1)

    return draw


KINDS: dict[str, Callable[[np.ndarray, np.random.Generator], None]] = {
    "strokes of 3": strokes(3), "strokes of 8": strokes(8), "strokes of 12": strokes(12), "letters": letters,
    "boxes of 8": boxes(8), "boxes of 16": boxes(16), "box of 32": boxes(32), "disc of 48": disc(48),
    "disc of 64": disc(64), "disc of 80": disc(80),
}  # fmt: skip


def measure(image: np.ndarray, hole: np.ndarray, kind: str, net: str | None) -> dict[str, dict[str, float]]:
    """Return PSNR inside the hole and SSIM of its surroundings, by method."""
    broken = image.copy()
    broken[hole] = 255
    found = {m: inpaint_pixels(broken, hole, method=m).image for m in METHODS if m != "exemplar" or kind in THICK}
    if net is not None:
        found["net"] = inpaint_pixels(broken, hole, method="net", net=open_filler(net)).image
    errors = {m: np.mean((f[hole].astype(float) - image[hole]) ** 2) for m, f in found.items()}
    ends = [np.flatnonzero(hole.any(a)) for a in (1, 0)]
    box = tuple(slice(max(0, int(e[0]) - 8), int(e[-1]) + 9) for e in ends)
    return {
        "psnr": {m: round(float(10 * np.log10(255**2 / max(e, 0.01))), 4) for m, e in errors.items()},
        "ssim": {m: round(float(ssim(f[box], image[box])), 5) for m, f in found.items()},
    }


def photographs(name: str, n: int | None) -> list[tuple[int, Path]]:
    """Return `n` photographs of a set, evenly spaced, each with its place in the whole set."""
    files = [f for f in sorted((DATA / name).rglob("*")) if f.suffix.lower() in (".png", ".jpg", ".jpeg")]
    at = range(len(files)) if n is None else sorted({round(k) for k in np.linspace(0, len(files) - 1, n)})
    return [(k, files[k]) for k in at]


def collect(rows_file: Path, sets: list[str], net: str | None, n: int | None) -> None:
    lines = rows_file.read_text().splitlines() if rows_file.exists() else []
    done = {(r["set"], r["image"], r["kind"]) for r in map(json.loads, lines)}
    with rows_file.open("a") as out:
        for name in sets:
            for k, file in photographs(name, n):
                left = [kind for kind in KINDS if (name, file.name, kind) not in done]
                if not left:
                    continue
                whole = read_image(file)
                small = cv2.resize(whole, (whole.shape[1] // 2, whole.shape[0] // 2), interpolation=cv2.INTER_AREA)
                for kind in left:
                    side = LARGE_SIDE if kind in LARGE else SIDE
                    top, at = (max(0, edge - side) // 2 for edge in small.shape[:2])
                    image = np.ascontiguousarray(small[top : top + side, at : at + side])
                    if image.shape[:2] != (side, side):
                        continue
                    mask = np.zeros((side, side), np.uint8)
                    KINDS[kind](mask, generator(k, kind))
                    hole = mask.astype(bool)
                    row = {
                        "set": name, "image": file.name, "number": k, "kind": kind, "pixels": int(hole.sum()),
                        "rough": round(roughness(image, hole), 3),
                        "deep": {f"{d:g}": round(deep_share(hole, d), 3) for d in DEPTHS if d < math.inf},
                        **measure(image, hole, kind, net),
                    }  # fmt: skip
                    out.write(json.dumps(row) + "\n")
                    out.flush()


def by_patches(row: dict, depth: float) -> str:
    """Return what the rule takes of 8 bits."""
    deep = depth < math.inf and row["deep"][f"{depth:g}"] > inpainting._THICK_SHARE
    return "exemplar" if deep and "exemplar" in row["psnr"] else "fsr"


def by_roughness(row: dict, rough: float) -> str:
    """Return what the rule takes of 16 bits in holes that are not for patches."""
    return "biharmonic" if row["rough"] < rough else "ns"


def interval(rows: list[dict], gains: np.ndarray) -> tuple[float, float, float]:
    """Return a mean and its interval over images, of which each is drawn with all its rows."""
    names = np.unique([f"{r['set']}/{r['image']}" for r in rows], return_inverse=True)[1]
    sums, counts = (np.bincount(names, w) for w in (gains, np.ones(len(gains))))
    drawn = np.random.default_rng(0).integers(0, len(sums), (REPLICATES, len(sums)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), [0.025, 0.975])
    return float(gains.mean()), float(low), float(high)


def gain(rows: list[dict], ours: list[str], theirs: list[str], metric: str = "psnr") -> str:
    both = [(r, a, b) for r, a, b in zip(rows, ours, theirs, strict=True) if a in r[metric] and b in r[metric]]
    if not both:
        return "not measured"
    value, low, high = interval([r for r, *_ in both], np.array([r[metric][a] - r[metric][b] for r, a, b in both]))
    digits = 2 if metric == "psnr" else 3
    return f"{value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def report(rows: list[dict], net: bool) -> bool:
    """Print what was found; return whether the rule of the code holds."""
    order = sorted({(r["set"], r["number"]) for r in rows})
    chosen_on, kept = ([r for r in rows if order.index((r["set"], r["number"])) % 2 == half] for half in (0, 1))
    images = [len({(r["set"], r["image"]) for r in half}) for half in (chosen_on, kept)]
    print(f"{len(rows)} rows; thresholds are chosen on {images[0]} photographs and measured on {images[1]} others")
    holds = True
    for what, rule, choices, now, methods in (
        ("8 bits: patches above twice a depth of", by_patches, DEPTHS, inpainting._DEEP, ("fsr", "exemplar")),
        ("16 bits: biharmonic below a roughness of", by_roughness, ROUGH, inpainting._SMOOTH, ("ns", "biharmonic")),
    ):
        few = [r for r in chosen_on if rule is by_patches or r["kind"] not in THICK[2:]]
        means = {c: float(np.mean([r["psnr"][rule(r, c)] for r in few])) for c in choices}
        best = max(choices, key=lambda c: means[c])
        print(f"\n{what}: {', '.join(f'{c:g} {m:.3f} dB' for c, m in means.items())}; best {best:g}, code {now:g}")
        other = [r for r in kept if rule is by_patches or r["kind"] not in THICK[2:]]
        ours, code = ([rule(r, c) for r in other] for c in (best, now))
        apart = np.array([r["psnr"][a] - r["psnr"][b] for r, a, b in zip(other, ours, code, strict=True)])
        value, low, high = interval(other, apart)
        print(f"  on the others, best over code {value:+.3f} [{low:+.3f}, {high:+.3f}] dB")
        holds &= low <= 0
        for method in methods:
            print(f"  code over {method:10} {gain(other, code, [method] * len(other))} dB")
    print("\nby kind, on the others: PSNR dB; SSIM")
    for kind in KINDS:
        own = [r for r in kept if r["kind"] == kind]
        code = [by_patches(r, inpainting._DEEP) for r in own]
        taken = ", ".join(f"{m} {code.count(m)}" for m in sorted(set(code)))
        print(f"  {kind}: n={len(own)}, auto takes {taken}")
        for method in (*METHODS, *["net"] * net):
            if any(method in r["psnr"] for r in own) and set(code) != {method}:
                theirs = [method] * len(own)
                print(f"    over {method:10} {gain(own, code, theirs)}; {gain(own, code, theirs, 'ssim')}")
    return holds


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--work", type=Path, required=True)
    options.add_argument("--sets", nargs="+", default=["cid22", "coco_cc"])
    options.add_argument("--net")
    options.add_argument("--images", type=int, default=30, help="of each set, evenly spaced (default 30)")
    options.add_argument("--report", action="store_true", help="of the rows that there are")
    given = options.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    rows_file = given.work / "rows.jsonl"
    if not given.report:
        collect(rows_file, given.sets, given.net, given.images)
    rows = [json.loads(line) for line in rows_file.read_text().splitlines()]
    return 0 if report(rows, any("net" in r["psnr"] for r in rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
