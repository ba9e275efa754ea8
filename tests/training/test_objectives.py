"""Losses against direct implementations of their formulas."""

import numpy as np
import pytest
import torch

from eyewright.training.objectives import classification_objective
from eyewright.training.recipe import Recipe

rng = np.random.default_rng(0)
LOGITS = rng.normal(size=(7, 4))
TARGETS = rng.integers(0, 4, 7)
P = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
Y = np.eye(4)[TARGETS]


def huber(error: np.ndarray) -> np.ndarray:
    return np.where(np.abs(error) <= 1, error**2 / 2, np.abs(error) - 0.5)


FORMULAS = {
    "cross_entropy": -(Y * np.log(P)).sum(1).mean(),
    "binary_cross_entropy": -(
        Y * np.log(1 / (1 + np.exp(-LOGITS))) + (1 - Y) * np.log(1 - 1 / (1 + np.exp(-LOGITS)))
    ).mean(),
    "mse": ((P - Y) ** 2).mean(),
    "huber": huber(P - Y).mean(),
    "focal": (-((1 - (Y * P).sum(1)) ** 2) * np.log((Y * P).sum(1))).mean(),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_a_loss_equals_its_formula(name: str) -> None:
    loss = classification_objective(Recipe(loss=name, label_smoothing=0.0))
    found = float(loss(torch.from_numpy(LOGITS), torch.from_numpy(TARGETS)))
    assert found == pytest.approx(FORMULAS[name], abs=1e-9)


def test_binary_questions_are_smoothed_towards_a_half() -> None:
    logits = torch.tensor([[2.0, -1.0]])
    loss = classification_objective(Recipe(loss="binary_cross_entropy", label_smoothing=0.2))
    p = logits.sigmoid()
    truth = torch.tensor([[0.9, 0.1]])
    assert float(loss(logits, torch.tensor([0]))) == pytest.approx(
        float(-(truth * p.log() + (1 - truth) * (1 - p).log()).mean())
    )


def test_label_smoothing_equals_its_formula() -> None:
    loss = classification_objective(Recipe(label_smoothing=0.2))
    smooth = 0.8 * Y + 0.2 / 4
    found = float(loss(torch.from_numpy(LOGITS), torch.from_numpy(TARGETS)))
    assert found == pytest.approx(-(smooth * np.log(P)).sum(1).mean(), abs=1e-9)


def test_class_weights_weigh_samples_by_their_class() -> None:
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    loss = classification_objective(Recipe(label_smoothing=0.0), weights)
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(LOGITS), torch.from_numpy(TARGETS), weight=weights, reduction="none"
    ).mean()
    assert float(loss(torch.from_numpy(LOGITS), torch.from_numpy(TARGETS))) == pytest.approx(float(expected), abs=1e-9)
