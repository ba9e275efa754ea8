"""Data path: decode + resize + augment of 500x400 JPEGs, ours against a torch DataLoader with PIL on the same cores.

    python benchmarks/data_path.py [--images 800] [--epochs 10] [--rounds 3]

Both give uint8-derived batches of 64 at 128x128 with a random shift and flip. Ours decodes in the first epoch and
reads its cache after; the peer (2 workers, persistent) decodes in every one. Images are crops of scikit-learn's two
photographs. Target: >= 3x over a training of `--epochs`; memory flat with the number of images.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from eyewright.data import open_dataset
from eyewright.imaging import Preparation
from eyewright.training.augment import Augmentation, augment_batch
from eyewright.training.cache import build_cache

SIDE, BATCH = 128, 64


def write_photos(folder: Path, n: int) -> None:
    rng = np.random.default_rng(0)
    photos = [Image.fromarray(p) for p in load_sample_images().images]
    for i in range(n):
        photo = photos[i % 2]
        width, height = rng.integers(300, photo.width), rng.integers(240, photo.height)
        left, top = rng.integers(0, photo.width - width), rng.integers(0, photo.height - height)
        place = folder / "ab"[i % 2] / f"{i:05d}.jpg"
        place.parent.mkdir(exist_ok=True)
        crop = photo.crop((left, top, left + width, top + height)).resize((500, 400), Image.Resampling.BICUBIC)
        crop.save(place, quality=90)


class PilDataset(torch.utils.data.Dataset):
    """What most scripts do: open, resize, shift, flip, to tensor, one image at a time."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        image = Image.open(self.paths[index]).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        pixels = np.pad(np.asarray(image), ((10, 10), (10, 10), (0, 0)), mode="reflect")
        y, x = torch.randint(0, 21, (2,)).tolist()
        pixels = pixels[y : y + SIDE, x : x + SIDE]
        if torch.rand(()) < 0.5:
            pixels = pixels[:, ::-1]
        return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).float().div_(255)


def theirs(folder: Path, epochs: int) -> list[float]:
    loader = torch.utils.data.DataLoader(
        PilDataset(sorted(folder.rglob("*.jpg"))), BATCH, shuffle=True, num_workers=2, persistent_workers=True
    )
    seconds = []
    for _ in range(epochs):
        started = time.perf_counter()
        for batch in loader:
            batch.sum()
        seconds.append(time.perf_counter() - started)
    return seconds


def ours(folder: Path, epochs: int) -> list[float]:
    seconds = []
    started = time.perf_counter()
    data = open_dataset(folder)
    pixels = build_cache(data, Preparation((SIDE, SIDE)), digests=("benchmark", str(time.time())), workers=2)
    plan, rng = Augmentation(shift=0.08, flip=True), torch.Generator().manual_seed(0)
    for _ in range(epochs):
        order = np.random.default_rng(0).permutation(len(pixels))
        for i in range(0, len(order), BATCH):
            batch = torch.from_numpy(pixels[np.sort(order[i : i + BATCH])])
            augment_batch(batch, plan, rng=rng).permute(0, 3, 1, 2).float().div_(255).sum()
        seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
    return seconds


def memory_of(folder: Path) -> float:
    """Return the peak of private memory, in MB, of a process that builds the cache and walks it once."""
    code = (
        "import sys, threading, time; sys.path.insert(0, sys.argv[2]); import data_path as d\n"
        "from pathlib import Path; peak = [0]\n"
        "def watch():\n"
        "    while True:\n"
        "        text = open('/proc/self/status').read()\n"
        "        peak[0] = max(peak[0], int(text.split('RssAnon:')[1].split()[0])); time.sleep(0.02)\n"
        "threading.Thread(target=watch, daemon=True).start()\n"
        "d.ours(Path(sys.argv[1]), 1); print(peak[0] / 1024)"
    )
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", code, str(folder), here]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=800)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    o = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["EYEWRIGHT_CACHE"] = str(Path(temporary, "cache"))
        folder = Path(temporary, "photos")
        folder.mkdir()
        write_photos(folder, o.images)
        first, later, whole = [], [], []
        for _ in range(o.rounds):
            a, b = ours(folder, o.epochs), theirs(folder, o.epochs)
            first.append(b[0] / a[0])
            later.append(statistics.median(b[1:]) / statistics.median(a[1:]))
            whole.append(sum(b) / sum(a))
            print(
                f"images/s: ours {o.images * o.epochs / sum(a):.0f}, DataLoader+PIL {o.images * o.epochs / sum(b):.0f}"
            )
        for name, values in (("first epoch", first), ("each later epoch", later), (f"all {o.epochs} epochs", whole)):
            spread = f"{min(values):.1f}-{max(values):.1f}"
            print(f"times faster, {name:18} median {statistics.median(values):6.1f}  ({spread}, n={o.rounds})")
        sizes = {}
        for n in (3000, 9000):
            many = Path(temporary, f"many{n}")
            for i in range(n):
                source = folder / "ab"[i % 2] / f"{i % (o.images // 2 * 2):05d}.jpg"
                place = many / "ab"[i % 2] / f"{i:05d}.jpg"
                place.parent.mkdir(parents=True, exist_ok=True)
                os.link(source, place)
            sizes[n] = memory_of(many)
        print("private memory: " + ", ".join(f"{n} images {mb:.0f} MB" for n, mb in sizes.items()))


if __name__ == "__main__":
    main()
