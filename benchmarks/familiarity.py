"""How often `unfamiliar` flags images like the reference, and strangers: over many splits, from few images.

    python benchmarks/familiarity.py [DATA] [--images 100,120,164] [--splits 100]
    python benchmarks/familiarity.py [DATA] --leave-one-out [--epochs 15] [--work DIR]

DATA is the folder of the shared sets, `../shared/data` by default. Of sign_digits, bccd and magnetic_tile some images
are the reference, drawn anew for every split, and the others are new; the strangers are the other sets, photographs and
noise. It prints the rate of false flags, its largest value in one split, the lowest AUROC of any strangers and how many
of them are flagged.

With --leave-one-out a net is trained on sign_digits without each of its ten classes: the class left out is the near
unfamiliar one, the other sets are far ones. Test images of the nine classes were not trained on.
"""

import argparse
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

import eyewright as ew
from eyewright.data import open_dataset
from eyewright.imaging import Preparation
from eyewright.imaging.appearance import appearance
from eyewright.imaging.sources import iter_images
from eyewright.metrics.familiarity import FLAGGED, CrossConformal

DATA = Path(os.environ.get("EYEWRIGHT_DATA", "../shared/data"))
KNOWN = (("sign_digits", "classify"), ("bccd", "detect"), ("magnetic_tile", "segment"))
FAR = (("coco_cc", "jpg"), ("cid22", "png"), ("magnetic_tile", "jpg"))
MOST_STRANGERS = 150


def measured(data: Path) -> dict[str, NDArray[np.float64]]:
    """Return what the images of every set look like, prepared to 96x96."""
    prepare = Preparation((96, 96), fit="letterbox", fill=114)
    rng = np.random.default_rng(0)
    sets = {name: open_dataset(data / name, task=task) for name, task in (*KNOWN, ("coco_cc", "detect"))}
    images: dict[str, Iterable[NDArray[np.uint8]]] = {name: map(d.image, range(len(d))) for name, d in sets.items()}
    images["cid22"] = (f.image for f in iter_images(data / "cid22"))
    images["noise"] = (rng.integers(0, 256, (100, 100, 3)).astype(np.uint8) for _ in range(60))
    return {name: np.array([appearance(*prepare(i)) for i in some], np.float64) for name, some in images.items()}


def leave_one_out(data: Path, work: Path, epochs: int) -> None:
    """Train without each class in turn; print how well it, and the other sets, are told from test images."""
    places = {name: str(data / name / "**" / f"*.{kind}") for name, kind in FAR}
    rows = []
    for left in sorted(p.name for p in (data / "sign_digits" / "train").iterdir()):
        own, other = work / f"without-{left}", work / f"only-{left}"
        for part in ("train", "test"):
            for folder in (data / "sign_digits" / part).iterdir():
                target = other / part if folder.name == left else own / part / folder.name
                shutil.copytree(folder, target, dirs_exist_ok=True)
        bundle = work / f"bundle-{left}"
        if not bundle.exists():
            ew.export(ew.train(own, epochs=epochs, out=work / f"run-{left}"), bundle)
        near, *far = (
            ew.evaluate(bundle, own, split="test", allow_leaks=True, unfamiliar=place)
            for place in (other / "**" / "*.jpg", *places.values())
        )
        areas = [r.metrics["unfamiliar_auroc"].value or 0.0 for r in (near, *far)]
        flagged = [r.metrics["unfamiliar_flagged"].value or 0.0 for r in (near, *far)]
        confidence = near.tables["trust"]["unfamiliar"]["by_confidence"]
        false = near.metrics["familiar_flagged"].value or 0.0
        rows.append((areas[0], confidence, min(areas[1:]), false))
        print(
            f"without {left}: near AUROC {areas[0]:.4f} (confidence {confidence:.4f}), {flagged[0]:.3f} flagged; far "
            + ", ".join(f"{name} {a:.4f}, {f:.3f}" for name, a, f in zip(places, areas[1:], flagged[1:], strict=True))
            + f"; false flags {false:.4f}",
            flush=True,
        )
    near_mean, confidence_mean, far_least, false_mean = np.mean(np.array(rows), 0)
    print(
        f"mean of {len(rows)}: near {near_mean:.4f}, confidence alone {confidence_mean:.4f}, lowest far "
        f"{far_least:.4f}, false flags {false_mean:.4f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", default=str(DATA))
    parser.add_argument("--images", default="100,120,164")
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--leave-one-out", action="store_true")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--work", default="familiarity-work")
    options = parser.parse_args()
    if options.leave_one_out:
        leave_one_out(Path(options.data), Path(options.work), options.epochs)
        return
    looks = measured(Path(options.data))
    for name, _ in KNOWN:
        for n in (int(v) for v in options.images.split(",")):
            rng, started = np.random.default_rng(n), time.monotonic()
            flags, areas, caught = [], [], []
            for _ in range(options.splits):
                order = rng.permutation(len(looks[name]))
                known = CrossConformal(looks[name][order[:n]], np.arange(n))
                new = known.p(looks[name][order[n:]])
                flags.append((new <= FLAGGED).mean())
                for other in looks.keys() - {name}:
                    strange = known.p(looks[other][:MOST_STRANGERS])
                    truth = np.repeat([0, 1], [len(new), len(strange)])
                    areas.append(roc_auc_score(truth, -np.concatenate([new, strange])))
                    caught.append((strange <= FLAGGED).mean())
            print(
                f"{name:14} {n:4} reference images, {options.splits} splits: false flags {np.mean(flags):.4f} "
                f"(at most {max(flags):.3f} in one split), AUROC of strangers {min(areas):.4f} at least, "
                f"{np.mean(areas):.4f} on average, {np.mean(caught):.3f} of them flagged; "
                f"{time.monotonic() - started:.1f} s"
            )


if __name__ == "__main__":
    main()
