"""A small trained net on scikit-learn's digits, as a predictor, with images that it was not trained on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import nn

from eyewright.core.labels import LabelSpace
from eyewright.data import Dataset, Sample
from eyewright.data.tree import ArrayTree
from eyewright.imaging.preparation import Preparation
from eyewright.nets.pixels import PixelNet
from eyewright.training.predictor import TorchPredictor

DIGITS = LabelSpace(tuple(str(i) for i in range(10)))
PREPARATION = Preparation(size_hw=(8, 8), channels=1, fit="stretch")


@dataclass
class Toy:
    """The net (images in [0, 1] to logits), its images uint8 (N, 8, 8, 1) and labels, and both as a dataset."""

    body: nn.Module
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    dataset: Dataset

    def net(self, defence: Callable[[nn.Module], nn.Module] = lambda body: body) -> PixelNet:
        return PixelNet(defence(self.body), mean=(0.0,), std=(1.0,))

    def predictor(self, defence: Callable[[nn.Module], nn.Module] = lambda body: body) -> TorchPredictor:
        return TorchPredictor(self.net(defence), labels=DIGITS, preparation=PREPARATION)

    @property
    def images(self) -> NDArray[np.float32]:
        return self.pixels.astype(np.float32) / np.float32(255)


@pytest.fixture(scope="session")
def toy() -> Toy:
    digits = load_digits()
    pixels = np.rint(digits.images / 16 * 255).astype(np.uint8)
    labels = digits.target.astype(np.int64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 16, 3, stride=2), nn.ReLU(), nn.Flatten(),
            nn.Linear(144, 10),
        )  # fmt: skip
        optimiser = torch.optim.Adam(body.parameters(), 4e-3)
        x, y = torch.from_numpy(pixels[:1200, None] / np.float32(255)), torch.from_numpy(labels[:1200])
        for _ in range(12):
            for rows in torch.randperm(1200).split(64):
                optimiser.zero_grad()
                nn.functional.cross_entropy(body(x[rows]), y[rows]).backward()
                optimiser.step()
    body.eval().requires_grad_(False)
    held = slice(1300, 1380)
    tree = ArrayTree(Path("."), {"x": pixels[held]})
    samples = tuple(Sample(f"x/{i:06d}", int(t), "test") for i, t in enumerate(labels[held]))
    dataset = Dataset(tree, samples, DIGITS, "arrays", "classify")
    return Toy(body, pixels[held, ..., None], labels[held], dataset)
