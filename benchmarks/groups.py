"""Copies found among unlike pictures, beside perceptual hashes; false links; time for 20,000 pictures.

    python benchmarks/groups.py FOLDER [--copies 100] [--images 2000]
    python benchmarks/groups.py --time 20000

FOLDER holds images, in any depth. For every alteration, altered copies of the first images are put beside all of them.
The peer is `imagehash.phash` at a distance of 8 or less, over the eight orientations, where imagehash is installed.
"""

import argparse
import io
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from eyewright.data.links import find_links
from eyewright.imaging import FORMATS, read_image
from eyewright.imaging.fingerprint import thumbnails_of

SIDE = 64


def coded(image: Image.Image, kind: str, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=quality)
    return Image.fromarray(read_image(buffer.getvalue()))


def scaled(image: Image.Image, share: float) -> Image.Image:
    size = (max(8, round(image.width * share)), max(8, round(image.height * share)))
    return image.resize(size, Image.Resampling.BICUBIC)


def brighter(image: Image.Image, gain: float) -> Image.Image:
    return image.point([min(255, round(v * gain)) for v in range(256)] * 3)


def cropped(image: Image.Image, share: float, rng: random.Random) -> Image.Image:
    w, h = (max(8, round(side * share)) for side in image.size)
    x, y = rng.randint(0, image.width - w), rng.randint(0, image.height - h)
    return image.crop((x, y, x + w, y + h))


def captioned(image: Image.Image, place: str) -> Image.Image:
    """Return the image with two lines of text: over it ("over"), in a bar that covers it ("bar"), or below it ("below")."""
    high = max(10, round(0.13 * image.height))
    size = max(6, round(high * 0.38))
    result = ImageOps.expand(image, (0, 0, 0, high), "white") if place == "below" else image.copy()
    pen = ImageDraw.Draw(result)
    top = result.height - high
    if place == "bar":
        pen.rectangle((0, top, result.width, result.height), fill="black")
    colour = "black" if place == "below" else "white"
    for row, text in enumerate(("Figure 12: sample B-7, 40x", "station 3, 2024-05-17 08:12")):
        pen.text((4, top + 1 + row * (size + 1)), text, fill=colour, font=ImageFont.load_default(size))
    return result


ALTERED: dict[str, Callable[[Image.Image, random.Random], Image.Image]] = {
    "PNG": lambda im, r: im,
    "JPEG, quality 40": lambda im, r: coded(im, "JPEG", 40),
    "WebP, quality 50": lambda im, r: coded(im, "WEBP", 50),
    "resized to 0.5": lambda im, r: scaled(im, 0.5),
    "resized to 0.7": lambda im, r: scaled(im, 0.7),
    "exposure -40 %": lambda im, r: brighter(im, 0.6),
    "exposure +40 %": lambda im, r: brighter(im, 1.4),
    "contrast 0.6": lambda im, r: ImageEnhance.Contrast(im).enhance(0.6),
    "gamma 1.6": lambda im, r: im.point([round(255 * (v / 255) ** 1.6) for v in range(256)] * 3),
    "crop to 95 %": lambda im, r: cropped(im, 0.95, r),
    "crop to 90 %": lambda im, r: cropped(im, 0.9, r),
    "mirrored": lambda im, r: ImageOps.mirror(im),
    "turned by 90°": lambda im, r: im.transpose(Image.Transpose.ROTATE_90),
    "white balance": lambda im, r: Image.merge(
        "RGB",
        [
            c.point([min(255, round(v * g)) for v in range(256)])
            for c, g in zip(im.split(), (1.15, 1.0, 0.82), strict=True)
        ],
    ),
    "border of 6 %": lambda im, r: ImageOps.expand(im, round(0.06 * max(im.size)), "black"),
    "caption over it": lambda im, r: captioned(im, "over"),
    "caption in a bar": lambda im, r: captioned(im, "bar"),
    "caption below": lambda im, r: captioned(im, "below"),
    "crop, mirrored": lambda im, r: ImageOps.mirror(cropped(im, 0.95, r)),
}


def small(images: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(im.resize((SIDE, SIDE), Image.Resampling.BOX)) for im in images])


def links(pictures: np.ndarray) -> set[tuple[int, int]]:
    return {(k.i, k.j) for k in find_links(*thumbnails_of(pictures), np.ones(len(pictures), bool))}


def hashes(images: list[Image.Image]) -> list[list[object]] | None:
    """Return the perceptual hashes of the eight orientations of every image; None without imagehash."""
    try:
        import imagehash
    except ImportError:
        return None
    turns = [None, *Image.Transpose]
    return [[imagehash.phash(im if t is None else im.transpose(t)) for t in turns] for im in images]


def measure(folder: Path, copies: int, most: int) -> None:
    endings = {e for own in FORMATS.values() for e in own}
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in endings)
    random.Random(0).shuffle(files)
    images = [Image.fromarray(read_image(p)) for p in files[:most]]
    base, n, m = small(images), len(images), min(copies, len(images))
    known = links(base)
    print(f"{n} images of {folder.name}, {m} copies; links among the images themselves: {len(known)}")
    print(f"{'alteration':18} {'found':>6} {'false':>6} {'phash':>6} {'false':>6}")
    peer = hashes(images)
    for name, change in ALTERED.items():
        rng = random.Random(1)
        altered = [change(im, rng) for im in images[:m]]
        found = links(np.concatenate([base, small(altered)]))
        hits = sum((k, n + k) in found for k in range(m))
        wrong = sum(j >= n and i < n and j - n != i and (min(i, j - n), max(i, j - n)) not in known for i, j in found)
        row = f"{name:18} {hits / m:6.3f} {wrong:6d}"
        if peer is not None:
            own = hashes(altered)
            assert own is not None
            near = [[min(h - o[0] for h in p) <= 8 for p in peer] for o in own]
            right = sum(row_[k] for k, row_ in enumerate(near))
            other = sum(sum(row_) - row_[k] for k, row_ in enumerate(near))
            row += f" {right / m:6.3f} {other:6d}"
        print(row)


def measure_time(n: int) -> None:
    """Print the time of decoding alone and of the links among drawn pictures of 100x100."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(200):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3)).astype(np.uint8)).resize((100, 100), 3)
        buffer = io.BytesIO()
        Image.fromarray(np.clip(np.asarray(coarse) + rng.normal(0, 6, (100, 100, 3)), 0, 255).astype(np.uint8)).save(
            buffer, "JPEG", quality=90
        )
        drawn.append(buffer.getvalue())
    start = time.perf_counter()
    for k in range(n):
        np.asarray(Image.open(io.BytesIO(drawn[k % 200])).convert("RGB"))
    decoding = time.perf_counter() - start
    pictures = np.empty((n, SIDE, SIDE, 3), np.uint8)
    for k in range(n):
        coarse = Image.fromarray(rng.integers(0, 256, (7, 7, 3)).astype(np.uint8))
        pictures[k] = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    start = time.perf_counter()
    found = links(pictures)
    took = time.perf_counter() - start
    print(
        f"{n} pictures: links {took:.1f} s ({len(found)} found), decoding alone, one thread, {decoding:.1f} s: ", end=""
    )
    print(f"{took / decoding:.2f}x")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--copies", type=int, default=100)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--time", type=int)
    options = parser.parse_args()
    if options.time:
        measure_time(options.time)
    elif options.folder is not None:
        measure(options.folder, options.copies, options.images)
    else:
        # `make bench` passes no folder, and the photographs that ship inside dependencies are too few.
        measure_time(2000)
