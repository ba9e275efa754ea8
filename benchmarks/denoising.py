"""Denoising quality: each method beside its namesake, and `auto` beside the best setting that a search finds.

    python benchmarks/denoising.py [--images 60] [--sigmas 15 25 50]

Clean pictures: cid22 in ../shared/data, else scikit-image's. White Gaussian noise is added, rounded and clipped to 8
bits. PSNR in dB and SSIM of the luma, medians over the pictures.
"""

import argparse
import os
import warnings
from pathlib import Path

import cv2
import numpy as np
from skimage import data as pictures
from skimage import restoration

from eyewright.imaging import read_image
from eyewright.imaging.steps.denoise import METHODS, auto_strength, denoise
from eyewright.metrics.fidelity import psnr, ssim

SEARCH = {
    "gaussian": np.geomspace(0.3, 4, 18),
    "median": (0, 1, 2, 3, 4, 5),
    "bilateral": np.geomspace(0.4, 8, 18),
    "nlm": np.geomspace(0.25, 2.2, 14),
    "tv": np.geomspace(0.1, 2.5, 16),
    "wavelet": np.geomspace(0.25, 2.5, 14),
}


def namesake(image: np.ndarray, method: str, strength: float) -> np.ndarray:
    """The same method by the library that is known for it, called as its documentation shows."""
    if strength == 0:
        return image
    unit = image / 255.0
    if method == "gaussian":
        return cv2.GaussianBlur(image, (0, 0), strength)
    if method == "median":
        return cv2.medianBlur(image, 2 * int(strength) + 1)
    if method == "bilateral":
        return cv2.bilateralFilter(image, 0, strength, 2.0)
    if method == "nlm":
        return cv2.fastNlMeansDenoising(image, None, strength, 7, 21)
    if method == "tv":
        clean = restoration.denoise_tv_chambolle(unit, weight=strength / 255, channel_axis=-1)
    else:
        clean = restoration.denoise_wavelet(
            unit, sigma=strength / 255, channel_axis=-1, convert2ycbcr=True, rescale_sigma=True
        )
    return np.rint(np.clip(clean, 0, 1) * 255).astype(np.uint8)


def clean_pictures(n: int) -> list[np.ndarray]:
    root = Path(os.environ.get("EYEWRIGHT_DATA", "../shared/data")) / "cid22"
    files = sorted(root.rglob("*.png"))
    if files:
        return [np.asarray(read_image(f)) for f in files[:n]]
    return [p[:512, :512] for p in (pictures.astronaut(), pictures.coffee(), pictures.chelsea(), pictures.rocket())]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--images", type=int, default=60)
    options.add_argument("--sigmas", type=float, nargs="+", default=[15, 25, 50])
    options.add_argument("--methods", nargs="+", default=list(METHODS))
    o = options.parse_args()
    warnings.simplefilter("ignore")
    clean = clean_pictures(o.images)
    print(f"{len(clean)} pictures; PSNR dB / SSIM, medians; 'ours - namesake' at the namesake's best setting")
    print(
        f"{'sigma':>5} {'method':10} {'noisy':>7} {'best':>7} {'auto':>7} {'best - auto':>23} "
        f"{'ours - namesake':>16} ssim auto"
    )
    for sigma in o.sigmas:
        for method in o.methods:
            rows = []
            for k, picture in enumerate(clean):
                rng = np.random.default_rng(k)
                noisy = np.rint(np.clip(picture + rng.normal(0, sigma, picture.shape), 0, 255)).astype(np.uint8)
                scale = 1 if method in ("gaussian", "median") else sigma
                scored = [
                    (psnr(picture, denoise(noisy, method=method, strength=float(s * scale))), s) for s in SEARCH[method]
                ]
                best, at = max(scored)
                ours = denoise(noisy, method=method, strength=float(auto_strength(noisy, method=method)))
                theirs = psnr(picture, namesake(noisy, method, float(at * scale)))
                rows.append((psnr(picture, noisy), best, psnr(picture, ours), best - theirs, ssim(picture, ours)))
            noisy_db, best_db, auto_db, over, similar = np.array(rows).T
            gap = best_db - auto_db
            print(
                f"{sigma:5g} {method:10} {np.median(noisy_db):7.2f} {np.median(best_db):7.2f} "
                f"{np.median(auto_db):7.2f} {np.median(gap):7.2f} (worst {gap.max():5.2f}) "
                f"{np.median(over):+8.3f} ({over.min():+.3f}) {np.median(similar):.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
