"""Read 12-megapixel JPEGs for a target of 640 pixels: at reduced scale, against Pillow's open, convert and resize.

    python benchmarks/reading.py [--rounds 15]

Both give 640 x 480 RGB. "off" is the mean difference of the two results in levels, and the PSNR between them.
"""

import argparse
import io
import os
import statistics
import time
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from eyewright.imaging import encode_image, read_image
from eyewright.imaging.steps import process
from eyewright.metrics.fidelity import psnr


def theirs(coded: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(coded)).convert("RGB").resize((640, 480)))


def ours(coded: bytes) -> np.ndarray:
    return process(np.asarray(read_image(coded, at_least=(480, 640))), "resize:640x480")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=15)
    o = options.parse_args()
    root = Path(os.environ.get("EYEWRIGHT_DATA", "../shared/data")) / "cid22"
    files = sorted(root.rglob("*.png"))[:4]
    pictures = [np.asarray(read_image(f)) for f in files] or [data.astronaut(), data.coffee()]
    coded = [encode_image(process(p, "resize:4000x3000"), format="JPEG", quality=90) for p in pictures]
    plain = []
    for p in pictures:
        buffer = io.BytesIO()
        Image.fromarray(process(p, "resize:4000x3000")).save(buffer, "JPEG", quality=90)
        plain.append(buffer.getvalue())
    for name, set_of in (("baseline", plain), ("progressive", coded)):
        ratios = []
        for k in range(o.rounds):
            data_of = set_of[k % len(set_of)]
            times = {}
            for call in (ours, theirs) if k % 2 else (theirs, ours):
                started = time.perf_counter()
                call(data_of)
                times[call] = time.perf_counter() - started
            ratios.append(times[theirs] / times[ours])
        a, b = ours(set_of[0]), theirs(set_of[0])
        off = np.abs(a.astype(int) - b).mean()
        print(
            f"{name:12} 12-megapixel JPEG: {statistics.median(ratios):.2f}x sooner (off {off:.2f}, {psnr(a, b):.1f} dB)"
        )


if __name__ == "__main__":
    main()
