"""Copies found among unlike pictures, beside perceptual hashes; false links; time for 20,000 pictures.

    python benchmarks/groups.py FOLDER [--copies 100] [--images 2000] [--peer PYTHON]
    python benchmarks/groups.py --time 20000 [--rounds 3]

FOLDER holds images, in any depth. For every alteration, altered copies of the first images are put beside all of them.
False links are those between an altered copy and another image, per 10,000 images looked at.
The peers are phash, dhash and whash of imagehash at distances of 4, 8 and 12, over the eight orientations. PYTHON is
that of an environment with imagehash. The peer's column is its best setting for this alteration: the highest recall at
a precision of 0.9 or more, else the highest F1.
"""

import argparse
import io
import json
import random
import resource
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from eyewright.data.links import find_links
from eyewright.data.looks import STRUCTURE, find_sessions, look_spaces
from eyewright.imaging import FORMATS, read_image
from eyewright.imaging.fingerprint import describe_pictures, thumbnails_of

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


def captioned(image: Image.Image, share: float) -> Image.Image:
    """Draw a caption over the lowest part of an image."""
    result = image.copy()
    draw = ImageDraw.Draw(result)
    top = round(image.height * (1 - share))
    draw.rectangle((0, top, image.width, image.height), fill="black")
    draw.text((4, top + 1), "a caption, 2024-05-01", fill="white")
    return result


def written(image: Image.Image, below: bool) -> Image.Image:
    """Write two lines of text over the lowest part of an image, or on a strip below it."""
    high = max(10, round(0.13 * image.height))
    size = max(6, round(high * 0.38))
    result = Image.new("RGB", (image.width, image.height + high * below), "white")
    result.paste(image)
    pen = ImageDraw.Draw(result)
    for row, text in enumerate(("Figure 12: sample B-7, 40x", "station 3, 2024-05-17 08:12")):
        place = (4, result.height - high + 1 + row * (size + 1))
        pen.text(place, text, fill="black" if below else "white", font=ImageFont.load_default(size))
    return result


def tinted(image: Image.Image, red: float, blue: float) -> Image.Image:
    return image.point([min(255, round(v * gain)) for gain in (red, 1.0, blue) for v in range(256)])


def curved(image: Image.Image, gamma: float) -> Image.Image:
    return image.point([round(255 * (v / 255) ** gamma) for v in range(256)] * 3)


def cornered(image: Image.Image, share: float, corner: int) -> Image.Image:
    w, h = (max(8, round(side * share)) for side in image.size)
    x, y = (corner & 1) * (image.width - w), (corner >> 1) * (image.height - h)
    return image.crop((x, y, x + w, y + h))


Change = Callable[[Image.Image, random.Random], Image.Image]
ALTERED: dict[str, Change] = {
    "PNG": lambda im, r: im,
    **{f"JPEG, quality {q}": lambda im, r, q=q: coded(im, "JPEG", q) for q in (80, 40, 15)},
    **{f"WebP, quality {q}": lambda im, r, q=q: coded(im, "WEBP", q) for q in (80, 50, 20)},
    **{f"resized to {s}": lambda im, r, s=s: scaled(im, s) for s in (0.7, 0.5, 0.3)},
    **{f"exposure {(g - 1) * 100:+.0f} %": lambda im, r, g=g: brighter(im, g) for g in (0.4, 0.6, 0.8, 1.2, 1.4, 1.6)},
    **{f"contrast {c}": lambda im, r, c=c: ImageEnhance.Contrast(im).enhance(c) for c in (0.8, 0.6, 0.4)},
    **{f"gamma {g}": lambda im, r, g=g: curved(im, g) for g in (0.6, 1.3, 1.6, 2.0)},
    **{f"white balance {k}": lambda im, r, k=k: tinted(im, k, 2 - k) for k in (1.1, 1.2, 1.3)},
    **{f"crop to {s:.0%}": lambda im, r, s=s: cropped(im, s, r) for s in (0.95, 0.9, 0.85)},
    **{f"corner {c} of 90 %": lambda im, r, c=c: cornered(im, 0.9, c) for c in range(4)},
    "mirrored": lambda im, r: ImageOps.mirror(im),
    "turned by 90°": lambda im, r: im.transpose(Image.Transpose.ROTATE_90),
    "crop, mirrored": lambda im, r: ImageOps.mirror(cropped(im, 0.95, r)),
    **{f"caption of {s:.0%}": lambda im, r, s=s: captioned(im, s) for s in (0.06, 0.1, 0.15)},
    "text over it": lambda im, r: written(im, False),
    "text below it": lambda im, r: written(im, True),
    **{f"border of {s:.0%}": lambda im, r, s=s: ImageOps.expand(im, round(s * im.width), "white")
       for s in (0.03, 0.06, 0.1, 0.2)},
    "black frame of 10%": lambda im, r: ImageOps.expand(im, round(0.1 * im.width), "black"),
    "letterbox bars": lambda im, r: ImageOps.expand(im, (0, round(0.15 * im.height)), "black"),
}  # fmt: skip

PEER = """
import json, sys
import imagehash, numpy as np
from PIL import Image
known = {}
for line in sys.stdin:
    folder, n, m = json.loads(line)
    found = {}
    for name in ("phash", "dhash", "whash"):
        code = getattr(imagehash, name)
        def bits(path, turned):
            image = Image.open(path)
            turns = [None, *Image.Transpose] if turned else [None]
            return [code(image if t is None else image.transpose(t)).hash.ravel() for t in turns]
        if (name, n) not in known:
            known[name, n] = np.array([bits(f"{folder}/base{i}.png", False)[0] for i in range(n)], np.float32) * 2 - 1
        own = np.array([bits(f"{folder}/copy{k}.png", True) for k in range(m)], np.float32) * 2 - 1
        base = known[name, n]
        apart = ((base.shape[1] - own @ base.T) / 2).min(1)
        for most in (4, 8, 12):
            near = apart <= most
            right = int(sum(near[k, k] for k in range(m)))
            found[f"{name} {most}"] = [right, int(near.sum()) - right]
    print(json.dumps(found), flush=True)
"""


class Peer:
    """imagehash in a process of its own: pixels go to it as files."""

    def __init__(self, python: Path, base: list[Image.Image]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._n = len(base)
        for i, image in enumerate(base):
            image.resize((256, 256), Image.Resampling.BOX).save(Path(self._folder.name, f"base{i}.png"))
        self._process = subprocess.Popen([python, "-c", PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def best(self, copies: list[Image.Image]) -> tuple[str, float, int]:
        """Return the best setting, its recall and its false links."""
        for k, image in enumerate(copies):
            image.resize((256, 256), Image.Resampling.BOX).save(Path(self._folder.name, f"copy{k}.png"))
        m = len(copies)
        print(json.dumps([self._folder.name, self._n, m]), file=self._process.stdin, flush=True)
        found = json.loads(self._process.stdout.readline())

        def worth(setting: str) -> tuple[bool, float]:
            right, wrong = found[setting]
            precise = right >= 0.9 * max(right + wrong, 1)
            return precise, right / m if precise else 2 * right / (right + wrong + m)

        best = max(found, key=worth)
        return best, found[best][0] / m, found[best][1]


def small(images: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(im.resize((SIDE, SIDE), Image.Resampling.BOX)) for im in images])


def links(pictures: np.ndarray) -> set[tuple[int, int]]:
    return {(k.i, k.j) for k in find_links(*thumbnails_of(pictures), np.ones(len(pictures), bool))}


def measure(folder: Path, copies: int, most: int, python: Path | None, only: str) -> None:
    endings = {e for own in FORMATS.values() for e in own}
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in endings)
    random.Random(0).shuffle(files)
    images = [Image.fromarray(read_image(p)) for p in files[:most]]
    base, n, m = small(images), len(images), min(copies, len(images))
    known = links(base)
    print(f"{n} images of {folder.name}, {m} copies; links among the images themselves: {len(known)}")
    head = f"{'alteration':18} {'found':>6} {'false':>6} {'per 10,000':>10} {'precision':>9}"
    peer = None if python is None else Peer(python, images)
    print(head + (f" | {'imagehash':9} {'found':>6} {'false':>6} {'ratio':>6}" if peer else ""))
    if peer is None:
        print("(imagehash is skipped: pass --peer PYTHON of an environment that has it)")
    for name, change in ALTERED.items():
        if only not in name:
            continue
        rng = random.Random(1)
        altered = [change(im, rng) for im in images[:m]]
        found = links(np.concatenate([base, small(altered)]))
        hits = sum((k, n + k) in found for k in range(m))
        wrong = sum(j >= n and i < n and j - n != i and (min(i, j - n), max(i, j - n)) not in known for i, j in found)
        row = f"{name:18} {hits / m:6.3f} {wrong:6d} {wrong * 10_000 / (n + m):10.1f} "
        row += f"{hits / max(hits + wrong, 1):9.3f}"
        if peer is not None:
            setting, recall, other = peer.best(altered)
            ratio = f"{hits / m / recall:5.2f}x" if recall else "     -"
            row += f" | {setting:9} {recall:6.3f} {other:6d} {ratio}"
        print(row, flush=True)


def processor() -> float:
    """Return the seconds of processor time that this process has used, in all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure_time(n: int, rounds: int) -> None:
    """Print processor seconds of decoding alone and of each part of the grouping, among drawn pictures of 100x100."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(200):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3)).astype(np.uint8)).resize((100, 100), 3)
        buffer = io.BytesIO()
        Image.fromarray(np.clip(np.asarray(coarse) + rng.normal(0, 6, (100, 100, 3)), 0, 255).astype(np.uint8)).save(
            buffer, "JPEG", quality=90
        )
        drawn.append(buffer.getvalue())
    pictures = np.empty((n, SIDE, SIDE, 3), np.uint8)
    for k in range(n):
        coarse = Image.fromarray(rng.integers(0, 256, (7, 7, 3)).astype(np.uint8))
        pictures[k] = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    parts = [thumbnails_of(pictures[k : k + 1000]) for k in range(0, n, 1000)]
    grey, colours = (np.concatenate(held) for held in zip(*parts, strict=True))
    del pictures, parts
    for _ in range(rounds):
        used = [processor()]
        for k in range(n):
            np.asarray(Image.open(io.BytesIO(drawn[k % 200])).convert("RGB"))
        used.append(processor())
        found = find_links(grey, colours, np.ones(n, bool))
        used.append(processor())
        features = np.concatenate(
            [describe_pictures(grey[k : k + 128], colours[k : k + 128]) for k in range(0, n, 128)]
        )
        used.append(processor())
        spaces = {STRUCTURE: features, **look_spaces(grey, colours)}
        used.append(processor())
        for name, vectors in spaces.items():
            find_sessions(vectors, range(n), [-1] * n, name)
        used.append(processor())
        decoding, *parts = np.diff(used).tolist()
        print(f"{n} pictures, seconds of processor time: decoding alone {decoding:.2f}", end="")
        for name, seconds in zip(("links", "features", "looks", "sessions"), parts, strict=True):
            print(f", {name} {seconds:.2f}", end="")
        print(f"; groups / decoding {sum(parts) / decoding:.2f} ({len(found)} links)", end="")
        print(f"; peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--copies", type=int, default=100)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--time", type=int)
    parser.add_argument("--rounds", type=int, default=3, help="repeats of --time, decoding and groups alternating")
    parser.add_argument("--peer", type=Path, metavar="PYTHON", help="the python of an environment with imagehash")
    parser.add_argument("--only", default="", help="alterations whose name holds this")
    options = parser.parse_args()
    if options.time:
        measure_time(options.time, options.rounds)
    elif options.folder is not None:
        measure(options.folder, options.copies, options.images, options.peer, options.only)
    else:
        # `make bench` passes no folder, and the photographs that ship inside dependencies are too few.
        measure_time(2000, options.rounds)
