import pytest
import torch
from torch import nn

from eyewright.training.optimisers import Muon, _orthogonalise, build_optimiser, schedule_factor
from eyewright.training.recipe import OPTIMIZERS, Recipe


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_lowers_the_loss(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))
        x = torch.randn(64, 8)
        y = x[:, :3].argmax(1)
        optimiser = build_optimiser(net, Recipe(optimizer=name, lr=0.02 if name != "sgd" else 0.5))
        losses = []
        for _ in range(60):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        assert losses[-1] < 0.8 * losses[0]


def test_newton_schulz_brings_the_singular_values_near_one() -> None:
    for shape in ((16, 48), (48, 16)):
        matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
        found = torch.linalg.svdvals(_orthogonalise(matrix))
        assert found.min() > 0.6
        assert found.max() < 1.3


def test_muon_leaves_the_last_layer_to_adam() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    optimiser = build_optimiser(net, Recipe())
    assert isinstance(optimiser, Muon)
    orthogonal = [p.shape for g in optimiser.param_groups if g["orthogonal"] for p in g["params"]]
    assert orthogonal == [net[0].weight.shape]


def test_biases_and_norms_are_not_decayed() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    optimiser = build_optimiser(net, Recipe(optimizer="adamw", weight_decay=0.1))
    assert {p.ndim for g in optimiser.param_groups if g["weight_decay"] for p in g["params"]} == {2}


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
def test_schedules_climb_to_the_peak_and_stay_in_bounds(schedule: str) -> None:
    recipe = Recipe(schedule=schedule, warmup=0.25)  # type: ignore[arg-type]
    factors = [schedule_factor(recipe, k / 100) for k in range(101)]
    assert max(factors) == pytest.approx(1.0)
    assert factors[:25] == sorted(factors[:25])
    assert factors[-1] == pytest.approx(1.0 if schedule == "constant" else 0.0)
