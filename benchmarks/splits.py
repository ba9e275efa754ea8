"""Split and folds of images in 1,000 classes, alone and in groups of seven, and misspelt names among 3,500 classes.

Prints CPU-seconds of this process and a digest of the result, so that two checkouts can be compared.
"""

import argparse
import hashlib
import random
import string
import time
from pathlib import Path

from eyewright.core.labels import LabelSpace
from eyewright.data.audit import _typos
from eyewright.data.dataset import Dataset, Sample
from eyewright.data.splits import fold_datasets, split_dataset
from eyewright.data.tree import FolderTree


def dataset(n: int, classes: int, group: int) -> Dataset:
    """Return n images of as many classes, every `group` of them one group."""
    samples = tuple(
        Sample(f"{k:06d}.png", k % classes, group=f"g{k // group}" if group > 1 else None)  # type: ignore[arg-type]
        for k in range(n)
    )
    names = tuple(f"c{k:04d}" for k in range(classes))
    return Dataset(FolderTree(Path("/nowhere")), samples, LabelSpace(names), "test", "classify")


def named(names: list[str]) -> Dataset:
    """Return a dataset of classes with these names, some rare and some common."""
    samples = tuple(
        Sample(f"{name}-{k}.png", i)  # type: ignore[arg-type]
        for i, name in enumerate(names)
        for k in range(20 if len(name) % 3 else 2)
    )
    return Dataset(FolderTree(Path("/nowhere")), samples, LabelSpace(tuple(names)), "test", "classify")


def digest(parts: list[str | None]) -> str:
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()[:12]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=1_000)
    args = parser.parse_args()
    for group in (1, 7):
        data = dataset(args.images, args.classes, group)
        begin = time.process_time()
        split = split_dataset(data, seed=1)
        middle = time.process_time()
        folds = fold_datasets(data, 5, seed=1)
        end = time.process_time()
        print(f"groups of {group}: split {middle - begin:.2f} s ({digest([s.split for s in split.samples])})", end=", ")
        print(f"5 folds {end - middle:.2f} s ({digest([s.split for f in folds for s in f.samples])})")
    rng = random.Random(0)
    names = {"".join(rng.choices(string.ascii_lowercase, k=rng.randint(4, 12))) for _ in range(3000)}
    names |= {f"class{k:04d}" for k in range(500)}
    names |= {name[:-1] for name in sorted(names)[:50] if len(name) > 5}
    data = named(sorted(names))
    begin = time.process_time()
    found = _typos(data)
    print(f"misspelt names of {len(names)} classes: {len(found)} in {time.process_time() - begin:.2f} s", end=" ")
    print(f"({digest([f.message for f in found])})")


if __name__ == "__main__":
    main()
