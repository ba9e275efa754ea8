"""CPU-seconds to the best validation accuracy that the founding article's own program reaches: ours over theirs.

    python benchmarks/time_to_accuracy.py DATA [--side 32] [--epochs 10] [--rounds 3] [--keras PYTHON]

DATA is any ImageFolder or idx data; images are reduced to --side pixels unless they are smaller. Theirs is the
article's program as it is printed, in TensorFlow/Keras: its network, pixels over 255, Adam, batch 32, 10 epochs. Ours
is `eyewright.train` without a single option. Both learn from the same training arrays and are validated on the same
test arrays after every epoch; CPU-seconds count from the start of fitting, with all data in memory, validation
included. Then one epoch of the same network with the same recipe is compared.

Keras lives in an environment of its own, made by uv in benchmarks/.peers the first time, or named by --keras.
Without DATA, 60,000 crops are cut from scikit-learn's two photographs, which only shows that the command works.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PEERS = Path(__file__).parent / ".peers"


def keras_side(data: dict[str, np.ndarray], epochs: int) -> list[dict[str, float]]:
    """The article's program."""
    import tensorflow as tf
    from tensorflow.keras import layers, models

    x, y, vx, vy = data["x"] / 255.0, data["y"], data["vx"] / 255.0, data["vy"]
    model = models.Sequential(
        [
            layers.Input(shape=x.shape[1:]),
            layers.Conv2D(32, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(int(y.max()) + 1),
        ]
    )
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    rows: list[dict[str, float]] = []
    started = time.process_time()

    class Note(tf.keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            rows.append({"cpu_s": time.process_time() - started, "accuracy": float(logs["val_accuracy"])})

    model.fit(x, y, epochs=epochs, validation_data=(vx, vy), callbacks=[Note()], verbose=0)
    return rows


def our_side(data: dict[str, np.ndarray], *, article: bool, seed: int, threads: int) -> list[dict[str, float]]:
    """What `eyewright.train` does with arrays in memory: everything by default, or the article's net and recipe."""
    import torch

    from eyewright.catalog import build_of
    from eyewright.core.labels import LabelSpace
    from eyewright.imaging.preparation import Preparation
    from eyewright.training.augment import Augmentation, plan_augmentation
    from eyewright.training.defaults import resolve_recipe
    from eyewright.training.fit import fit
    from eyewright.training.loop import FitData
    from eyewright.training.objectives import classification_objective
    from eyewright.training.recipe import Recipe
    from eyewright.training.run import build_net
    from eyewright.training.session import pixel_scaling

    if threads:
        torch.set_num_threads(threads)
    recipe = Recipe(seed=seed)
    if article:
        recipe = Recipe(
            model="conv_net", optimizer="adam", lr=1e-3, batch=32, epochs=3, schedule="constant", warmup=0.0,
            ema=0.0, label_smoothing=0.0, weight_decay=0.0, augment="none", preview=0.0, seed=seed,
        )  # fmt: skip
    x = data["x"]
    preparation = Preparation(x.shape[1:3], channels=x.shape[3])
    recipe = resolve_recipe(recipe, len(x), preparation)
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        torch.manual_seed(seed)
        labels = LabelSpace(tuple(map(str, range(int(data["y"].max()) + 1))))
        net = build_net(build_of(recipe.model), recipe, labels, preparation, pixel_scaling(x))
        augmentation = plan_augmentation(recipe, grey=x.shape[3] == 1, n_train=len(x))
        fit(
            net,
            FitData(x, data["y"].astype(np.int64), data["vx"], data["vy"].astype(np.int64)),
            recipe,
            objective=classification_objective(recipe),
            augmentation=Augmentation() if article else augmentation,
            measure=lambda logits, truth: {"accuracy": float((logits.argmax(1) == truth).mean())},
            main_metric="accuracy",
            folder=Path(folder) / "checkpoints",
            device=torch.device("cpu"),
            quiet=True,
            observe=lambda row: rows.append(
                {"cpu_s": time.process_time() - started, "accuracy": float(row["val_accuracy"])}
            ),
        )
    return rows


def arrays_of(path: str | None, side: int) -> dict[str, np.ndarray]:
    """Read training and test arrays; validation images of the split are learnt from too, as in the article."""
    if path is None:
        from sklearn.datasets import load_sample_images

        rng = np.random.default_rng(0)
        found: dict[str, list[np.ndarray]] = {"x": [], "y": [], "vx": [], "vy": []}
        for k, photo in enumerate(load_sample_images().images):
            for part, n, columns in (("", 5000, (0, 460)), ("v", 1000, (460, 640))):
                for _ in range(n):
                    top, left = rng.integers(0, 427 - side), rng.integers(columns[0], columns[1] - side)
                    found[part + "x"].append(photo[top : top + side, left : left + side])
                    found[part + "y"].append(np.array(k))
        return {k: np.stack(v) for k, v in found.items()}
    from eyewright.data.scan import scan_dataset
    from eyewright.imaging.preparation import Preparation
    from eyewright.lifecycle import load_dataset
    from eyewright.training.cache import build_cache

    dataset = load_dataset(path)
    train, test = dataset.select(lambda s: s.split != "test"), dataset.test
    scan = scan_dataset(train, quiet=True)
    side = min(side, int(np.median(scan.sizes_hw.min(1))))
    preparation = Preparation((side, side), channels=1 if scan.is_grey() else 3)

    def pixels(part: object) -> np.ndarray:
        digests = tuple(r.digest for r in scan_dataset(part, quiet=True).records)
        return np.array(build_cache(part, preparation, digests=digests, quiet=True))

    return {"x": pixels(train), "y": train.targets, "vx": pixels(test), "vy": test.targets}


def keras_python(given: str | None) -> str:
    if given:
        return given
    python = PEERS / "keras" / "bin" / "python"
    if not python.exists():
        subprocess.run(["uv", "venv", "-q", "--python", "3.11", str(PEERS / "keras")], check=True)
        subprocess.run(["uv", "pip", "install", "-q", "--python", str(python), "tensorflow-cpu"], check=True)
    return str(python)


def run_side(python: str, name: str, arrays: Path, *options: str) -> list[dict[str, float]]:
    command = [python, __file__, "--only", name, "--arrays", str(arrays), *options]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    rows: list[dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?")
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keras")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--arrays", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.only:
        with np.load(o.arrays, allow_pickle=False) as found:
            data = dict(found)
        rows = (
            keras_side(data, o.epochs)
            if o.only == "keras"
            else our_side(data, article=o.only == "article", seed=o.seed, threads=o.threads)
        )
        print(json.dumps(rows))
        return
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "arrays.npz"
        data = arrays_of(o.data, o.side)
        np.savez(arrays, **data)
        print(f"{len(data['x']):,} training and {len(data['vx']):,} validation images of {data['x'].shape[1:]}")
        theirs = run_side(keras_python(o.keras), "keras", arrays, "--epochs", str(o.epochs))
        peak = max(theirs, key=lambda r: r["accuracy"])
        an_epoch = statistics.median(np.diff([0.0, *(r["cpu_s"] for r in theirs)]))
        print(f"Keras: peak {peak['accuracy']:.4f} after {peak['cpu_s']:.1f} CPU-s; {an_epoch:.1f} CPU-s an epoch")
        ratios = []
        for seed in range(o.rounds):
            ours = run_side(sys.executable, "ours", arrays, "--seed", str(seed))
            there = next((r for r in ours if r["accuracy"] >= peak["accuracy"]), None)
            best = max(r["accuracy"] for r in ours)
            shown = ", ".join(f"{r['accuracy']:.4f} at {r['cpu_s']:.1f}" for r in ours[:3])
            if there is None:
                print(f"ours, seed {seed}: never reaches it; best {best:.4f} after {ours[-1]['cpu_s']:.1f} CPU-s")
                continue
            ratios.append(peak["cpu_s"] / there["cpu_s"])
            print(
                f"ours, seed {seed}: {there['accuracy']:.4f} after {there['cpu_s']:.1f} CPU-s, {ratios[-1]:.1f} times "
                f"less; best {best:.4f} after {ours[-1]['cpu_s']:.1f} ({shown}, ...)"
            )
        if ratios:
            spread = f"({min(ratios):.1f}-{max(ratios):.1f}), n={len(ratios)}"
            print(f"time to accuracy: {statistics.median(ratios):.1f}x {spread}")
        for threads in (1, 2):
            # From the second epoch on: what is imported in the first is not the epoch's.
            rows = run_side(sys.executable, "article", arrays, "--threads", str(threads))
            same = statistics.median(np.diff([r["cpu_s"] for r in rows]))
            print(
                f"the same network and recipe on {threads} thread{'s' * (threads > 1)}: {same:.1f} CPU-s an epoch, "
                f"{an_epoch / same:.2f}x less"
            )


if __name__ == "__main__":
    main()
