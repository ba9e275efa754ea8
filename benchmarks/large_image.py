"""Peak memory of nets on one large photograph, each in a process of its own: denoise, enlarge, fill holes.

    python benchmarks/large_image.py BUNDLE… [--megapixels 24] [--work DIR] [--scratches 6] [--no-tiles]
                                     [--first N]

BUNDLE is a bundle of the task restore; what it does decides what is measured. The photograph is a drawn picture of
6000x4000 pixels with noise. A net for holes fills scratches of 10 pixels across the whole of it (`inpaint --method
net`), and pixels outside the mask are compared. A net that enlarges is given an image of a quarter of the pixels, so
that its result has as many. Peak memory is `ru_maxrss` of the child, which reads, restores and writes PNG. Tiles are
compared with the largest ones on a part of 800x600 pixels. `--first N` runs the net on the first N tiles only and takes
0 for the others: memory is the same, and on a busy machine it ends.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from eyewright.bundle.load import load_bundle
from eyewright.bundle.restoring import Filler, Restorer, fills_holes
from eyewright.imaging import read_image, write_image
from eyewright.imaging.first_filling import fill_smoothly

MOST_MB = 700
CHILD = """
import json, resource, sys, time
import eyewright as ew
verb, bundle, image, mask, out, first = sys.argv[1:]
if first != "all":
    import numpy as np
    from eyewright.bundle.load import Bundle
    run, left = Bundle._run, [int(first)]
    def some(self, named, options, outputs):
        if left[0] <= 0:
            tiles = named["image"]
            scale = self.preparation.tile.scale if set(named) == {"image"} else 1
            height, width = (side * scale for side in tiles.shape[1:3])
            return {"residual": np.zeros((len(tiles), height, width, 3), np.float32)}
        left[0] -= 1
        return run(self, named, options, outputs)
    ew.load_bundle(bundle)
    Bundle._run = some
began = time.monotonic()
if verb == "inpaint":
    ew.inpaint(image, out, mask=mask, net=bundle, method="net", overwrite=True)
else:
    from eyewright import lifecycle
    lifecycle.restore(bundle, [image], out, overwrite=True)
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([used.ru_maxrss / 1024, used.ru_utime + used.ru_stime, time.monotonic() - began]))
"""


def photograph(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (height // 50 + 2, width // 50 + 2, 3)).astype(np.uint8)
    image = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    for top in range(0, height, 500):
        part = image[top : top + 500]
        noise = rng.normal(0, 8, part.shape).astype(np.float32)
        image[top : top + 500] = np.clip(part + noise, 0, 255)
    return image


def scratches(height: int, width: int, n: int) -> np.ndarray:
    rng, mask = np.random.default_rng(1), np.zeros((height, width), np.uint8)
    for _ in range(n):
        ends = [(0, int(rng.integers(height))), (width - 1, int(rng.integers(height)))]
        cv2.line(mask, *ends, 255, 10)
    return mask


def tiles_differ(bundle: str) -> int:
    """Return how many values differ between tiles of two sizes, on a part of a photograph."""
    loaded, image = load_bundle(Path(bundle), threads=1), photograph(600, 800)
    if fills_holes(loaded):
        hole = scratches(600, 800, 3) > 0
        filler, first = Filler(loaded), fill_smoothly(image, hole)
        side = filler.preparation.size_hw[0]
        return int((filler(first, hole, tile=side - 32) != filler(first, hole)).sum())
    restorer = Restorer(loaded)
    side = loaded.preparation.size_hw[0]
    return int((restorer(image, tile=side - 32).image != restorer(image).image).sum())


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("bundles", nargs="+")
    options.add_argument("--megapixels", type=float, default=24)
    options.add_argument("--scratches", type=int, default=6)
    options.add_argument("--no-tiles", action="store_true", help="only memory")
    options.add_argument("--first", type=int, help="run the net on so many tiles only")
    options.add_argument("--work", type=Path)
    o = options.parse_args()
    missed = 0
    with tempfile.TemporaryDirectory() as made:
        work = o.work or Path(made)
        work.mkdir(parents=True, exist_ok=True)
        for bundle in o.bundles:
            loaded = load_bundle(Path(bundle))
            fills = fills_holes(loaded)
            scale = 1 if fills else loaded.preparation.tile.scale
            height, width = (int(side * (o.megapixels / 24) ** 0.5) // scale for side in (4000, 6000))
            image, mask = work / f"{height}.png", work / f"{height}-mask.png"
            if not image.exists():
                write_image(image, photograph(height, width))
                write_image(mask, scratches(height, width, o.scratches))
            out = work / ("filled.png" if fills else "restored")
            verb = "inpaint" if fills else "restore"
            argv = [sys.executable, "-c", CHILD, verb, bundle, str(image), str(mask), str(out), str(o.first or "all")]
            done = subprocess.run(argv, check=True, capture_output=True, text=True)
            megabytes, cpu_s, wall_s = json.loads(done.stdout.splitlines()[-1])
            does = "fill holes" if fills else loaded.preparation.tile.degrade
            only = "" if o.first is None else f" (the net on the first {o.first} tiles only)"
            print(f"{does}, {width}x{height} to {width * scale}x{height * scale}{only}: ", end="")
            print(f"{megabytes:.0f} MB at most, ", end="")
            print(f"{cpu_s:.0f} CPU s, {wall_s:.0f} s", end="")
            differ = [] if o.no_tiles else [tiles_differ(bundle)]
            if fills:
                known = read_image(mask)[..., 0] == 0
                differ.append(int((read_image(out)[known] != read_image(image)[known]).sum()))
            said = (["tiles"] * (not o.no_tiles)) + ["outside the mask"] * fills
            print("".join(f", {d} differ ({s})" for d, s in zip(differ, said, strict=True)), flush=True)
            missed += megabytes > MOST_MB or any(differ)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
