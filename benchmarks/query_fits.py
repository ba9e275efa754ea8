"""Whether hits fit, on unlike populations: how many queries of one set reach p <= 0.05 in an index of another.

    python benchmarks/query_fits.py ../shared/data [--model pair_ridge|pair_net --budget 60s] [--bundle BUNDLE] [-n 400]

The folder has twemoji_text, coco_cc and sign_digits. A model of pairs is trained on the emoji (or `--bundle` names
one), and each set is indexed with it. No photograph and no hand sign is in the index of emoji, so that each query of
theirs that reaches p <= 0.05 is an error; an image of the index itself must find itself. "fits" also asks whether the
model was trained on queries like this one. Then come words that some emoji fits and words that none fits, and random
vectors in an index of random vectors, whose p-values are right if 5 % reach 0.05.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import eyewright as ew
from eyewright.lifecycle.searching import Embedder, nearest, open_embedder
from eyewright.retrieval import Index, Row, create_index
from eyewright.retrieval.coding import unit_vectors

_ALPHA = 0.05
FIT = ("dog face", "red heart", "airplane", "pizza", "umbrella with rain drops", "clock", "flag", "crying face",
       "birthday cake", "bicycle", "musical note", "snowman", "banana", "key")  # fmt: skip
NO_FIT = ("invoice", "tomography", "democracy", "deployment", "kubernetes", "mortgage", "chest", "photosynthesis",
          "syntax error", "quarterly revenue", "asphalt", "granite countertop", "plaintiff", "enzyme", "turbine blade",
          "tax return", "subnet mask")  # fmt: skip


def images_of(folder: Path, n: int) -> list[Path]:
    """Return `n` images below a folder, evenly spread over their sorted names."""
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
    return [found[i] for i in np.unique(np.linspace(0, len(found) - 1, min(n, len(found))).round().astype(int))]


def share(flags: Sequence[bool]) -> str:
    return f"{sum(flags):4,} of {len(flags):4,} ({np.mean(flags):5.1%})"


def measure(index: Index, vectors: NDArray[np.float32], familiar: Sequence[bool], own: Sequence[int | None]) -> str:
    """Return how many queries reach the p-value and how many fit; `own` is the id that is left out for each."""
    low, fits, unknown = [], [], []
    for vector, known, without in zip(vectors, familiar, own, strict=True):
        found = nearest(index, [vector], n=1, without=() if without is None else (without,))
        p = found.hits[0].p
        low.append(p is not None and p <= _ALPHA)
        fits.append(low[-1] and known)
        unknown.append(found.fits is None or (low[-1] and not known))
    return f"p <= {_ALPHA}: {share(low)}   fits: {share(fits)}   unknown: {share(unknown)}"


def main() -> None:
    """Print a line for each population of queries in each index."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="pair_ridge")
    parser.add_argument("--budget")
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("-n", type=int, default=400)
    o = parser.parse_args()
    began = time.process_time()
    with tempfile.TemporaryDirectory() as place:
        bundle = o.bundle
        if bundle is None:
            run = ew.train(
                o.data / "twemoji_text",
                task="embed",
                model=o.model,
                budget=o.budget,
                leaks="allow",
                out=Path(place) / "run",
                quiet=True,
            )
            bundle = ew.export(run, Path(place) / "bundle").folder
        embedder = open_embedder(str(bundle))
        sets = {
            "emoji": images_of(o.data / "twemoji_text", 100_000),
            "photographs": images_of(o.data / "coco_cc", o.n),
            "hand signs": images_of(o.data / "sign_digits", o.n),
        }
        vectors = {name: embedded(embedder, files) for name, files in sets.items()}
        familiar = {
            name: [embedder.doubt_image(ew.read_image(p)).familiar for p in files[:: max(1, len(files) // 400)]]
            for name, files in sets.items()
        }
        for name, own in vectors.items():
            index = create_index(Path(place) / f"{name}.index", model="m", digest="1", dim=own.shape[1])
            ids = index.add(own, [Row(p.name) for p in sets[name]])
            print(f"index of {len(ids):,} {name}")
            for queries, given in vectors.items():
                step = max(1, len(given) // 400)
                some, known = given[::step], familiar[queries]
                if queries != name:
                    print(f"  {queries:12} {measure(index, some, known, [None] * len(some))}")
                    continue
                print(f"  {'themselves':12} {measure(index, some, known, [None] * len(some))}")
                print(f"  {'the others':12} {measure(index, some, known, ids[::step])}")
            if name == "emoji" and embedder.texts is not None:
                for title, words in (("words that fit", FIT), ("that do not", NO_FIT)):
                    known = [embedder.doubt_words(w).familiar for w in words]
                    asked = unit_vectors(embedder.texts(words))
                    print(f"  {title:13} {measure(index, asked, known, [None] * len(words))}")
        rng = np.random.default_rng(0)
        for spread in ("normal", "heavy"):
            made = rng.standard_normal((2400, 64)) if spread == "normal" else rng.standard_t(3, (2400, 64))
            index = create_index(Path(place) / f"{spread}.index", model="m", digest="1", dim=64)
            index.add(made[:2000], [Row(str(k)) for k in range(2000)])
            queries = unit_vectors(made[2000:])
            print(f"random vectors, {spread} tails: {measure(index, queries, [True] * 400, [None] * 400)}")
    print(f"{time.process_time() - began:.0f} CPU-seconds")


def embedded(embedder: Embedder, files: Sequence[Path]) -> NDArray[np.float32]:
    return unit_vectors(embedder.images(ew.read_image(p) for p in files))


if __name__ == "__main__":
    main()
