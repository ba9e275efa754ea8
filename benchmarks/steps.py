"""Each step beside its peers for the same result, on a picture of 2 megapixels.

    python benchmarks/steps.py [--rounds 7] [--only resize]

For every step ours and each peer (OpenCV, scikit-image, SciPy, Pillow) run in turn in one process, from array to
array, `--rounds` times; the medians are compared. "same" is the mean difference of the two results in levels of
0-255. A peer far slower than the others is run once. The ratio is ours over the fastest peer: below 1 we are faster.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image, ImageFilter, ImageOps
from scipy import ndimage
from skimage import color, data, exposure, feature, filters, measure, restoration
from skimage import morphology as sk_morphology
from skimage import transform as sk_transform

from eyewright.imaging.steps import parse_steps
from eyewright.imaging.steps.enhance import point_spread

RGB = cv2.resize(data.astronaut(), (1632, 1224), interpolation=cv2.INTER_CUBIC)
GREY = cv2.cvtColor(RGB, cv2.COLOR_RGB2GRAY)


def unit(f: Callable[[np.ndarray], np.ndarray], image: np.ndarray) -> np.ndarray:
    """Call a function that works in [0, 1] and give 8 bits, as a user has to."""
    return np.rint(np.clip(f(image / np.float32(255)), 0, 1) * 255).astype(np.uint8)


def adaptive(image: np.ndarray) -> np.ndarray:
    return cv2.adaptiveThreshold(image, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 31, 5)


def cv_sobel(image: np.ndarray) -> np.ndarray:
    x, y = (cv2.Sobel(image, cv2.CV_32F, a, b) for a, b in ((1, 0), (0, 1)))
    return cv2.convertScaleAbs(cv2.magnitude(x, y), alpha=0.25)


def cv_unsharp(image: np.ndarray) -> np.ndarray:
    return cv2.addWeighted(image, 2.0, cv2.GaussianBlur(image, (0, 0), 2), -1.0, 0)


def cv_rotate(image: np.ndarray) -> np.ndarray:
    h, w = image.shape[:2]
    m = cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), 12.5, 1)
    return cv2.warpAffine(image, m, (w, h), flags=cv2.INTER_CUBIC, borderValue=(255, 255, 255))


def guided(image: np.ndarray) -> np.ndarray:
    x = image.astype(np.float32) / 255
    return cv2.convertScaleAbs(cv2.ximgproc.guidedFilter(x, x, 8, (25 / 255) ** 2), alpha=255)


def edge(image: np.ndarray) -> np.ndarray:
    x = image.astype(np.float32) / 255
    return cv2.convertScaleAbs(cv2.ximgproc.dtFilter(x, x, 8, 25 / 255, mode=cv2.ximgproc.DTF_RF), alpha=255)


KERNEL = np.array([[0, 1, 0, 0, 0], [1, 2, 1, 0, 0], [0, 1, -8, 1, 0], [0, 0, 1, 2, 1], [0, 0, 0, 1, 0]], np.float32)
KERNEL[2, 2] = 1 - KERNEL.sum() + KERNEL[2, 2]
GAMMA = [round((v / 255) ** (1 / 2.2) * 255) for v in range(256)]
PIL_KERNEL = ImageFilter.Kernel((5, 5), KERNEL.ravel().tolist(), scale=1)
WHITE = (255, 255, 255)
TEXT = "/".join(" ".join(f"{v:g}" for v in row) for row in KERNEL)
PSF = point_spread("gaussian", 2.0, 0.0)
SQUARE = np.ones((5, 5), np.uint8)
QUAD = np.array([[60, 40], [1500, 90], [1560, 1150], [30, 1100]], np.float32)
RECT = np.array([[0, 0], [1440 - 1, 0], [1440 - 1, 1000 - 1], [0, 1000 - 1]], np.float32)
CAMERA = np.array([[1632.0, 0, 815.5], [0, 1632.0, 611.5], [0, 0, 1]])

CASES: dict[str, tuple[np.ndarray, dict[str, Callable[[], object]]]] = {
    "denoise:gaussian,strength=2": (RGB, {
        "OpenCV": lambda: cv2.GaussianBlur(RGB, (0, 0), 2),
        "SciPy": lambda: ndimage.gaussian_filter(RGB, (2, 2, 0)),
        "scikit-image": lambda: unit(lambda x: filters.gaussian(x, 2, channel_axis=-1), RGB),
    }),
    "median:5": (RGB, {
        "OpenCV": lambda: cv2.medianBlur(RGB, 5),
        "Pillow": lambda: np.asarray(Image.fromarray(RGB).filter(ImageFilter.MedianFilter(5))),
    }),
    "denoise:bilateral,strength=25": (RGB, {"OpenCV": lambda: cv2.bilateralFilter(RGB, 0, 25, 2)}),
    "denoise:nlm,strength=8": (RGB, {"OpenCV": lambda: cv2.fastNlMeansDenoising(RGB, None, 8, 7, 21)}),
    "denoise:tv,strength=20": (RGB, {
        "scikit-image": lambda: unit(lambda x: restoration.denoise_tv_chambolle(x, 20 / 255, channel_axis=-1), RGB),
    }),
    "denoise:wavelet,strength=20": (RGB, {
        "scikit-image": lambda: unit(lambda x: restoration.denoise_wavelet(
            x, sigma=20 / 255, channel_axis=-1, convert2ycbcr=True, rescale_sigma=True), RGB),
    }),
    "equalise": (GREY, {
        "OpenCV": lambda: cv2.equalizeHist(GREY),
        "Pillow": lambda: np.asarray(ImageOps.equalize(Image.fromarray(GREY))),
        "scikit-image": lambda: unit(exposure.equalize_hist, GREY),
    }),
    "clahe:clip=2,tiles=8": (GREY, {
        "OpenCV": lambda: cv2.createCLAHE(2, (8, 8)).apply(GREY),
        "scikit-image": lambda: unit(lambda x: exposure.equalize_adapthist(x), GREY),
    }),
    "gamma:2.2": (RGB, {
        "Pillow": lambda: np.asarray(Image.fromarray(RGB).point(GAMMA * 3)),
        "scikit-image": lambda: exposure.adjust_gamma(RGB, 1 / 2.2),
    }),
    "autocontrast:0.5": (GREY, {
        "Pillow": lambda: np.asarray(ImageOps.autocontrast(Image.fromarray(GREY), cutoff=0.5)),
        "scikit-image": lambda: exposure.rescale_intensity(GREY, tuple(np.percentile(GREY, (0.5, 99.5)))),
    }),
    "unsharp:radius=2,amount=1": (RGB, {
        "OpenCV": lambda: cv_unsharp(RGB),
        "Pillow": lambda: np.asarray(Image.fromarray(RGB).filter(ImageFilter.UnsharpMask(2, 100, 0))),
        "scikit-image": lambda: unit(lambda x: filters.unsharp_mask(x, 2, 1, channel_axis=-1), RGB),
    }),
    "deblur:wiener,size=2": (GREY, {"scikit-image": lambda: unit(lambda x: restoration.wiener(x, PSF, 0.01), GREY)}),
    "deblur:richardson-lucy,size=2,iterations=10": (GREY, {
        "scikit-image": lambda: unit(lambda x: restoration.richardson_lucy(x, PSF, 10), GREY),
    }),
    "smooth:box,size=4": (RGB, {
        "OpenCV": lambda: cv2.blur(RGB, (9, 9)),
        "Pillow": lambda: np.asarray(Image.fromarray(RGB).filter(ImageFilter.BoxBlur(4))),
        "SciPy": lambda: ndimage.uniform_filter(RGB, (9, 9, 1)),
    }),
    "smooth:guided,size=8": (GREY, {"OpenCV": lambda: guided(GREY)}),
    "smooth:edge,size=8": (RGB, {"OpenCV": lambda: edge(RGB)}),
    f"convolve:{TEXT}": (GREY, {
        "OpenCV": lambda: cv2.filter2D(GREY, -1, KERNEL[::-1, ::-1]),
        "Pillow": lambda: np.asarray(Image.fromarray(GREY).filter(PIL_KERNEL)),
        "SciPy": lambda: ndimage.convolve(GREY.astype(np.float32), KERNEL).clip(0, 255).astype(np.uint8),
    }),
    "pool:max,size=2": (RGB, {"scikit-image": lambda: measure.block_reduce(RGB, (2, 2, 1), np.max)}),
    "pool:average,size=2": (RGB, {
        "Pillow": lambda: np.asarray(Image.fromarray(RGB).reduce(2)),
        "OpenCV": lambda: cv2.resize(RGB, (816, 612), interpolation=cv2.INTER_AREA),
    }),
    "resize:640,filter=bicubic": (RGB, {
        "Pillow": lambda: np.asarray(Image.fromarray(RGB).resize((640, 480), Image.Resampling.BICUBIC)),
        "scikit-image": lambda: unit(lambda x: sk_transform.resize(x, (480, 640), order=3, anti_aliasing=True), RGB),
    }),
    "rotate:12.5,expand=false": (RGB, {
        "OpenCV": lambda: cv_rotate(RGB),
        "Pillow": lambda: np.asarray(Image.fromarray(RGB).rotate(12.5, Image.Resampling.BICUBIC, fillcolor=WHITE)),
    }),
    "flip:horizontal": (RGB, {
        "OpenCV": lambda: cv2.flip(RGB, 1),
        "Pillow": lambda: np.asarray(Image.fromarray(RGB).transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    }),
    "perspective:60 40/1500 90/1560 1150/30 1100,size=1440x1000": (RGB, {
        "OpenCV": lambda: cv2.warpPerspective(
            RGB, cv2.getPerspectiveTransform(QUAD, RECT), (1440, 1000), borderMode=cv2.BORDER_REPLICATE),
    }),
    "undistort:k1=-0.2": (RGB, {"OpenCV": lambda: cv2.undistort(RGB, CAMERA, np.array([-0.2, 0, 0, 0, 0.0]))}),
    "grey": (RGB, {
        "OpenCV": lambda: cv2.cvtColor(RGB, cv2.COLOR_RGB2GRAY),
        "Pillow": lambda: np.asarray(Image.fromarray(RGB).convert("L")),
    }),
    "colour:lab": (RGB, {
        "OpenCV": lambda: cv2.cvtColor(RGB, cv2.COLOR_RGB2Lab),
        "scikit-image": lambda: color.rgb2lab(RGB),
    }),
    "morphology:open,size=5,shape=square": (GREY, {
        "OpenCV": lambda: cv2.morphologyEx(GREY, cv2.MORPH_OPEN, SQUARE),
        "SciPy": lambda: ndimage.grey_opening(GREY, (5, 5)),
        "scikit-image": lambda: sk_morphology.opening(GREY, SQUARE),
    }),
    "sobel": (GREY, {"OpenCV": lambda: cv_sobel(GREY), "scikit-image": lambda: unit(filters.sobel, GREY)}),
    "laplacian": (GREY, {
        "OpenCV": lambda: cv2.convertScaleAbs(cv2.Laplacian(GREY, cv2.CV_32F)),
        "SciPy": lambda: np.abs(ndimage.laplace(GREY.astype(np.float32), mode="mirror")).clip(0, 255).astype(np.uint8),
    }),
    "canny:low=50,high=150,sigma=1.4": (GREY, {
        "OpenCV": lambda: cv2.Canny(cv2.GaussianBlur(GREY, (0, 0), 1.4), 50, 150, L2gradient=True),
        "scikit-image": lambda: feature.canny(GREY, 1.4).astype(np.uint8) * 255,
    }),
    "threshold:otsu": (GREY, {
        "OpenCV": lambda: cv2.threshold(GREY, 0, 255, cv2.THRESH_OTSU)[1],
        "scikit-image": lambda: (filters.threshold_otsu(GREY) < GREY).astype(np.uint8) * 255,
    }),
    "threshold:mean,window=31,offset=5": (GREY, {"OpenCV": lambda: adaptive(GREY)}),
    "threshold:sauvola,window=31": (GREY, {
        "scikit-image": lambda: (filters.threshold_sauvola(GREY, 31, k=0.2, r=128) < GREY).astype(np.uint8) * 255,
    }),
    "invert": (RGB, {
        "OpenCV": lambda: cv2.bitwise_not(RGB),
        "Pillow": lambda: np.asarray(ImageOps.invert(Image.fromarray(RGB))),
    }),
}  # fmt: skip


def timed(call: Callable[[], object]) -> tuple[float, object]:
    started = time.perf_counter()
    found = call()
    return time.perf_counter() - started, found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--only", default="")
    o = options.parse_args()
    warnings.simplefilter("ignore")
    print(f"{RGB.shape[1]}x{RGB.shape[0]} pixels, {cv2.getNumThreads()} threads of OpenCV, medians of {o.rounds}")
    print(f"{'step':44} {'ours ms':>8} {'fastest peer':>22} {'ratio':>6} {'same':>6}")
    over = []
    for line, (image, peers) in CASES.items():
        if o.only not in line:
            continue
        steps = parse_steps(line)
        calls = {"ours": lambda steps=steps, image=image: steps(image), **peers}
        first = {name: timed(call) for name, call in calls.items()}
        quick = min(t for name, (t, _) in first.items() if name != "ours")
        times: dict[str, list[float]] = {name: [] for name in calls}
        for k in range(o.rounds):
            # Whoever comes first pays for cold memory: everyone does in turn.
            turn = list(calls.items())
            for name, call in turn[k % len(turn) :] + turn[: k % len(turn)]:
                if name == "ours" or first[name][0] < 4 * quick:
                    times[name].append(timed(call)[0])
        medians = {name: statistics.median(t or [first[name][0]]) for name, t in times.items()}
        best = min((name for name in medians if name != "ours"), key=medians.__getitem__)
        ratio = medians["ours"] / medians[best]
        a, b = (np.asarray(first[name][1]) for name in ("ours", best))
        same = f"{np.abs(a.astype(float) - b).mean():6.2f}" if a.shape == b.shape else "other"
        peer = f"{best} {medians[best] * 1000:.1f}"
        shown = line if len(line) <= 44 else line[:43] + "…"
        print(f"{shown:44} {medians['ours'] * 1000:8.1f} {peer:>22} {ratio:6.2f} {same}", flush=True)
        if ratio > 1.1:
            over.append(f"{line.partition(',')[0][:30]} {ratio:.2f}")
    print(f"above 1.1: {', '.join(over) or 'none'}")


if __name__ == "__main__":
    main()
