"""An epoch of the article's network with the article's recipe: ours against the plain PyTorch loop, in one run.

    python benchmarks/conv_net.py [--images 10000] [--rounds 5]

Both train `conv_net` on 32x32x3 with Adam, batch 32, cross-entropy, no augmentation. The peer is the loop of a PyTorch
tutorial: TensorDataset, DataLoader, NCHW float tensors, Adam. CPU-seconds of the process are compared, in pairs.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from eyewright.nets import PixelNet, conv_net
from eyewright.training.augment import Augmentation
from eyewright.training.fit import FitData, fit
from eyewright.training.objectives import classification_objective
from eyewright.training.recipe import Recipe


def ours(pixels: np.ndarray, targets: np.ndarray) -> float:
    net = PixelNet(conv_net(10), mean=(0.5,) * 3, std=(0.25,) * 3)
    recipe = Recipe(optimizer="adam", batch=32, epochs=1, ema=0.0, label_smoothing=0.0, schedule="constant", warmup=0.0)
    data = FitData(pixels, targets, pixels[:64], targets[:64])
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        fit(
            net,
            data,
            recipe,
            objective=classification_objective(recipe),
            augmentation=Augmentation(),
            measure=lambda logits, truth: {"accuracy": float((logits.argmax(1) == truth).mean())},
            main_metric="accuracy",
            folder=Path(folder) / "checkpoints",
            device=torch.device("cpu"),
        )
        return time.process_time() - started


def theirs(pixels: np.ndarray, targets: np.ndarray) -> float:
    net = conv_net(10)
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255).contiguous()
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x, torch.from_numpy(targets)), batch_size=32, shuffle=True
    )
    optimiser = torch.optim.Adam(net.parameters())
    started = time.process_time()
    for images, labels in loader:
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(images), labels).backward()
        optimiser.step()
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    o = parser.parse_args()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (o.images, 32, 32, 3)).astype(np.uint8)
    targets = rng.integers(0, 10, o.images)
    ours(pixels[:640], targets[:640]), theirs(pixels[:640], targets[:640])  # what is only done once is not timed
    ratios = []
    for _ in range(o.rounds):
        a, b = ours(pixels, targets), theirs(pixels, targets)
        ratios.append(b / a)
        print(f"CPU-seconds an epoch of {o.images}: ours {a:.1f}, plain PyTorch {b:.1f}")
    spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
    print(f"theirs / ours: median {statistics.median(ratios):.2f} ({spread}, n={o.rounds})")


if __name__ == "__main__":
    main()
