"""Compare the denoisers at their automatic strength, to choose the default of `denoise`.

    python benchmarks/denoiser_choice.py [--images 60] [--side 256] [--methods nlm tv …]

Clean pictures: the centre crops of cid22 in ../shared/data and of photographs of bccd, coco_cc and magnetic_tile, else
scikit-image's. Noise: white Gaussian (σ 5, 10, 15, 25, 50), Poisson (photon counts of at most 30 and 100) and JPEG
(quality 10, 25, 50). PSNR in dB and SSIM of the luma are means over the pictures; `best` counts the pictures on which
the method has the highest PSNR, of equal ones the first; milliseconds per megapixel include measuring the noise and
choosing the strength.
"""

import argparse
import io
import os
import time
import warnings
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data as pictures

from eyewright.imaging import read_image
from eyewright.imaging.steps.denoise import METHODS, denoise
from eyewright.metrics.fidelity import psnr, ssim

NOISES = ("sigma 5", "sigma 10", "sigma 15", "sigma 25", "sigma 50", "poisson 100", "poisson 30", "jpeg 50", "jpeg 25",
          "jpeg 10")  # fmt: skip
SETS = {"cid22": "*.png", "bccd": "*.jpg", "coco_cc": "*.jpg", "magnetic_tile": "*.jpg"}


def degrade(clean: np.ndarray, noise: str, seed: int) -> np.ndarray:
    """Return the picture with the noise that `noise` names, rounded and clipped to 8 bits."""
    kind, value = noise.split()
    rng = np.random.default_rng(seed)
    if kind == "jpeg":
        held = io.BytesIO()
        Image.fromarray(clean).save(held, "jpeg", quality=int(value))
        return np.asarray(Image.open(held))
    if kind == "poisson":
        found = rng.poisson(clean / 255 * float(value)) * 255 / float(value)
    else:
        found = clean + rng.normal(0, float(value), clean.shape)
    return np.rint(np.clip(found, 0, 255)).astype(np.uint8)


def clean_pictures(n: int, side: int) -> dict[str, list[np.ndarray]]:
    """Return up to `n` centre crops of each set that is there."""
    root = Path(os.environ.get("EYEWRIGHT_DATA", "../shared/data"))
    found: dict[str, list[np.ndarray]] = {}
    for name, pattern in SETS.items():
        files = sorted((root / name).rglob(pattern))
        step = max(1, len(files) // n)
        crops = [crop(np.asarray(read_image(f)), side) for f in files[::step][:n]]
        if crops:
            found[name] = crops
    shipped = (pictures.astronaut(), pictures.coffee(), pictures.chelsea(), pictures.rocket())
    return found or {"scikit-image": [crop(p, side) for p in shipped]}


def crop(image: np.ndarray, side: int) -> np.ndarray:
    y, x = (max(0, (n - side) // 2) for n in image.shape[:2])
    return np.ascontiguousarray(image[y : y + side, x : x + side])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--images", type=int, default=60)
    options.add_argument("--side", type=int, default=256)
    options.add_argument("--methods", nargs="+", default=[*METHODS[1:], METHODS[0]])
    options.add_argument("--noises", nargs="+", default=list(NOISES))
    options.add_argument("--sets", nargs="+", default=list(SETS))
    o = options.parse_args()
    warnings.simplefilter("ignore")
    for name, clean in clean_pictures(o.images, o.side).items():
        if name not in o.sets and name != "scikit-image":
            continue
        for noise in o.noises:
            given = [degrade(picture, noise, k) for k, picture in enumerate(clean)]
            before = [psnr(c, g) for c, g in zip(clean, given, strict=True)]
            similar = [ssim(c, g) for c, g in zip(clean, given, strict=True)]
            print(
                f"{name} n={len(clean)} {noise:11} {'none':9} {np.mean(before):6.2f} {np.mean(similar):.3f}", flush=True
            )
            scores, rest = [], []
            for method in o.methods:
                begun = time.perf_counter()
                done = [denoise(g, method=method) for g in given]
                per = (time.perf_counter() - begun) * 1e9 / sum(g.shape[0] * g.shape[1] for g in given)
                scores.append([psnr(c, d) for c, d in zip(clean, done, strict=True)])
                rest.append((float(np.mean([ssim(c, d) for c, d in zip(clean, done, strict=True)])), per))
            winners = np.argmax(scores, 0)
            for k, method in enumerate(o.methods):
                print(
                    f"{name} n={len(clean)} {noise:11} {method:9} {np.mean(scores[k]):6.2f} {rest[k][0]:.3f} "
                    f"best {int((winners == k).sum()):2} {rest[k][1]:6.0f} ms/MP",
                    flush=True,
                )


if __name__ == "__main__":
    main()
