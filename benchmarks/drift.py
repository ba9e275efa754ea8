"""How often drift tests raise an alarm where nothing drifted, and how surely they find the corruptions of ImageNet-C.

    python benchmarks/drift.py [DATA] [--bundle BUNDLE] [--windows 1000]

DATA is any folder of images a class, `../shared/data/sign_digits` by default. Windows of 200 and references of 600
images are drawn from it at random, without an image in both. Then each of 15 corruptions at severity 3 is applied, and
windows of 200 corrupted images are tested against references of clean ones. SciPy's KS test of the mean brightness
alone, the usual home-made monitor, is paired with ours on the same windows.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.stats import ks_2samp

import eyewright as ew
from eyewright.core.rng import generator
from eyewright.imaging.sources import iter_images
from eyewright.imaging.steps.corrupt import CORRUPTIONS, corrupt
from eyewright.lifecycle.field import sample_of
from eyewright.metrics.bootstrap import wilson_interval
from eyewright.monitoring import drift_between

DATA = Path(os.environ.get("EYEWRIGHT_DATA", "../shared/data")) / "sign_digits"
WINDOW, REFERENCE = 200, 600


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", default=str(DATA))
    parser.add_argument("--bundle")
    parser.add_argument("--windows", type=int, default=1000)
    parser.add_argument("--most", type=int, default=1600, help="images that are looked at")
    o = parser.parse_args()
    if o.bundle:
        bundle = ew.load_bundle(o.bundle)
    else:
        place = Path(tempfile.mkdtemp())
        bundle = ew.export(ew.train(o.data, epochs=3, out=place / "run", say=print), place / "b.bundle")
    rng = generator(0, "drift-benchmark")
    images = [f.image for f in iter_images(o.data)]
    images = [images[i] for i in rng.permutation(len(images))[: o.most]]
    pool = sample_of(bundle, images)
    alarms = usual = 0
    began = time.perf_counter()
    for _ in range(o.windows):
        order = rng.permutation(len(pool))
        known, window = pool.some(order[:REFERENCE]), pool.some(order[REFERENCE : REFERENCE + WINDOW])
        alarms += drift_between(known, window, rng=rng, permutations=499).p <= 0.05
        usual += ks_2samp(known.looks[:, 0], window.looks[:, 0]).pvalue <= 0.05
    spent = (time.perf_counter() - began) / o.windows
    low, high = wilson_interval(alarms, o.windows)
    share = f"{alarms / o.windows:.3f} [{low:.3f}, {high:.3f}]"
    print(f"nothing drifted: {share} of {o.windows} windows at 0.05 (target 0.036 to 0.064)")
    print(f"KS of the brightness alone: {usual / o.windows:.3f}")
    print(f"{spent * 1000:.0f} ms a test of {WINDOW} against {REFERENCE}")
    found = 0
    for kind in CORRUPTIONS:
        chosen = rng.permutation(len(images))[:500]
        bad = sample_of(bundle, [corrupt(images[i], kind=kind, severity=3, rng=rng) for i in chosen])
        clean = pool.some(np.setdiff1d(np.arange(len(pool)), chosen))
        hits = plain = 0
        moved: dict[str, int] = {}
        for _ in range(50):
            known = clean.some(rng.permutation(len(clean))[:REFERENCE])
            window = bad.some(rng.permutation(len(bad))[:WINDOW])
            one = drift_between(known, window, rng=rng, permutations=499)
            hits += one.p <= 0.05
            plain += ks_2samp(known.looks[:, 0], window.looks[:, 0]).pvalue <= 0.05
            for name in one.moved[:2]:
                moved[name] = moved.get(name, 0) + 1
        found += hits >= 48
        names = ", ".join(sorted(moved, key=lambda k: -moved[k])[:3])
        print(f"{kind:18} found in {hits / 50:.2f} of 50 windows (brightness alone {plain / 50:.2f}); moved: {names}")
    print(f"{found} of {len(CORRUPTIONS)} corruptions found in at least 95 % of windows (target 12)")


if __name__ == "__main__":
    main()
