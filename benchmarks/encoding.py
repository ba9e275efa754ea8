"""`encode` to an SSIM: how near it lands, and how much larger the file is than exhaustive search's smallest.

    python benchmarks/encoding.py [--images 60] [--targets 0.9 0.95 0.98] [--codecs jpeg webp avif]

Exhaustive search tries every whole quality of the codec as a user can set it. Pictures: cid22, else scikit-image's.
"""

import argparse
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from skimage import data

from eyewright.imaging import encode_image, read_image
from eyewright.metrics.fidelity import ssim
from eyewright.processing import Target
from eyewright.processing.compression import CODECS, encode_to


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--images", type=int, default=60)
    options.add_argument("--targets", type=float, nargs="+", default=[0.9, 0.95, 0.98])
    options.add_argument("--codecs", nargs="+", default=["jpeg", "webp", "avif"])
    o = options.parse_args()
    root = Path(os.environ.get("EYEWRIGHT_DATA", "../shared/data")) / "cid22"
    files = sorted(root.rglob("*.png"))[: o.images]
    pictures = [np.asarray(read_image(f)) for f in files] or [data.astronaut(), data.coffee(), data.chelsea()]
    print(f"{len(pictures)} pictures")
    for codec in o.codecs:
        kind = CODECS[codec]

        def curve(picture: np.ndarray, kind=kind) -> list[tuple[float, int]]:
            found = []
            for quality in range(1, 101):
                coded = encode_image(picture, format=kind.format, quality=quality, chroma="420")
                found.append((ssim(picture, np.asarray(read_image(coded))), len(coded)))
            return found

        with ThreadPoolExecutor(2) as pool:
            curves = list(pool.map(curve, pictures))
        for target in o.targets:
            over, larger, missed = [], [], 0
            for picture, points in zip(pictures, curves, strict=True):
                possible = [size for reached, size in points if reached >= target]
                coded, _, _, meets = encode_to(picture, codec, Target("ssim", target))
                if not possible or not meets:
                    missed += bool(possible) != meets
                    continue
                over.append(ssim(picture, np.asarray(read_image(coded))) - target)
                larger.append(len(coded) / min(possible) - 1)
            print(
                f"{codec:6} SSIM {target:g}: over by {np.median(over):.4f} (most {max(over):.4f}, within 0.002 "
                f"on {np.mean(np.array(over) <= 0.002):.0%}); size against exhaustive search {np.median(larger):+.1%} "
                f"(most {max(larger):+.1%}); n={len(over)}, disagreed {missed}",
                flush=True,
            )


if __name__ == "__main__":
    main()
