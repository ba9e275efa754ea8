"""`doctor --labels` on real data with labels changed on purpose: how many are found, how many findings are right.

    python benchmarks/mislabels.py [DATA] [--share 0.03]

Without DATA, scikit-learn's digits. The peer is the plain rule "the out-of-fold answer is another one" on the same
nets' answers, which finds about as many and is wrong more often.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

import eyewright as ew
from eyewright import metrics
from eyewright.data import open_dataset, write_digits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?")
    parser.add_argument("--share", type=float, default=0.03)
    o = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(o.data) if o.data else write_digits(Path(folder) / "digits")
        dataset = open_dataset(source)
        names = dataset.labels.names
        wrong = set(rng.choice(len(dataset), round(o.share * len(dataset)), replace=False).tolist())
        moved = set()
        for i, sample in enumerate(dataset.samples):
            target = sample.target
            if i in wrong:
                target = int((target + rng.integers(1, len(names))) % len(names))
            place = Path(folder) / "data" / names[target] / f"{i:06d}{os.path.splitext(sample.id)[1]}"
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(dataset.root / sample.id, place)
            if i in wrong:
                moved.add(f"{names[target]}/{place.name}")
        asked: list[tuple[np.ndarray, np.ndarray]] = []
        real = metrics.confident_errors

        def remembering(true: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            asked.append((true, probabilities))
            return real(true, probabilities)

        metrics.confident_errors = remembering
        started = time.monotonic()
        found = [f.path for f in ew.doctor(Path(folder) / "data", labels=True) if f.code == "mislabelled"]
        took = time.monotonic() - started
        hits = sum(path in moved for path in found)
        print(f"{source.name}: {len(dataset)} images, {len(moved)} labels changed, {took:.0f} s")
        print(
            f"ours: {len(found)} findings, {hits} of them changed labels: {hits / len(moved):.0%} found, "
            f"{hits / max(1, len(found)):.0%} right"
        )
        true, p = asked[0]
        plain = int((p.argmax(1) != true).sum())
        print(f"'the answer is another one': {plain} findings (at most 200 findings a code are listed)")


if __name__ == "__main__":
    main()
