"""Clipped sums are exact, noise follows from the secret and the step, and a run keeps what it promises."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from eyewright.nets.attention import vit
from eyewright.nets.classifiers import conv_net, mlp
from eyewright.nets.pixels import PixelNet
from eyewright.nets.private import FeatureNet, private_net, scatter_linear, without_batch_norm
from eyewright.privacy.gradients import clipped_sum, functional_sum, mode_of
from eyewright.privacy.sampling import noise_of, poisson_rows
from eyewright.privacy.steps import Clipping, private_step
from eyewright.training.optimisers import build_optimiser
from eyewright.training.recipe import Recipe
from eyewright.training.steps import Batch, TrainState

SECRET = bytes(32)


def _net(body: nn.Module, channels: int = 1) -> PixelNet:
    return PixelNet(body, mean=[0.5] * channels, std=[0.25] * channels)


def _batch(n: int, channels: int = 1, side: int = 20) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (n, side, side, channels), dtype=torch.uint8, generator=rng)
    return pixels, torch.randint(0, 3, (n,), generator=rng)


def _loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets)


def _one_by_one(net: PixelNet, pixels: Tensor, targets: Tensor, clip: float) -> list[Tensor]:
    """The definition: a backward pass for every image."""
    learnt = [p for p in net.parameters() if p.requires_grad]
    sums = [torch.zeros_like(p) for p in learnt]
    for i in range(len(pixels)):
        grads = torch.autograd.grad(_loss(net(pixels[i : i + 1]), targets[i : i + 1]), learnt)
        length = torch.cat([g.flatten() for g in grads]).norm()
        for total, g in zip(sums, grads, strict=True):
            total += g * min(1.0, clip / float(length))
    return sums


BODIES = {
    "private_net": lambda: private_net(3, channels=1, size_hw=(20, 20)),
    "scatter_linear": lambda: scatter_linear(3, channels=1, size_hw=(20, 20)),
    "conv_net": lambda: conv_net(3, channels=1, size_hw=(20, 20)),
    "mlp": lambda: mlp(3, channels=1, size_hw=(20, 20)),
}


@pytest.mark.parametrize("name", BODIES)
def test_the_clipped_sum_is_that_of_one_backward_pass_an_image(name: str) -> None:
    torch.manual_seed(0)
    net = _net(BODIES[name]())
    pixels, targets = _batch(5)
    assert mode_of(net) == "layers"
    found = clipped_sum(net, lambda: net(pixels), targets, _loss, clip=0.3, mode="layers")
    for ours, theirs in zip(found.gradients, _one_by_one(net, pixels, targets, 0.3), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    # Every weight learns again afterwards.
    assert all(p.requires_grad for p in net.parameters())


def test_a_net_of_other_layers_takes_the_functional_way_to_the_same_sum() -> None:
    torch.manual_seed(0)
    net = _net(vit(3, channels=1, size_hw=(16, 16)).eval())
    pixels, targets = _batch(3, side=16)
    found = functional_sum(net, pixels, targets, _loss, clip=0.5)
    for ours, theirs in zip(found.gradients, _one_by_one(net, pixels, targets, 0.5), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_shared_and_grouped_weights_are_not_taken_layer_by_layer() -> None:
    twice = nn.Linear(4, 4)
    assert mode_of(nn.Sequential(twice, nn.Linear(4, 2))) == "layers"
    tied = nn.Sequential(twice, nn.Linear(4, 4))
    tied[1].weight = twice.weight
    assert mode_of(tied) == "functional"
    assert mode_of(nn.Sequential(nn.Conv2d(4, 4, 3, groups=2))) == "functional"


def test_a_gradient_that_is_no_number_counts_nothing() -> None:
    net = _net(nn.Sequential(nn.Flatten(), nn.Linear(400, 3)))
    pixels, targets = _batch(4)

    def loss(outputs: Tensor, truth: Tensor) -> Tensor:
        each = functional.cross_entropy(outputs, truth, reduction="none")
        return (each * torch.tensor([1.0, float("inf"), 1.0, 1.0])).mean()

    found = clipped_sum(net, lambda: net(pixels), targets, loss, clip=0.1, mode="layers")
    assert all(bool(torch.isfinite(g).all()) for g in found.gradients)
    assert sum(g.pow(2).sum() for g in found.gradients).sqrt() <= 0.3 + 1e-6


def test_samples_are_independent_coins_and_noise_follows_from_secret_and_step() -> None:
    sizes = [len(poisson_rows(SECRET, step, n=1000, rate=0.1)) for step in range(300)]
    # Binomial: mean 100, variance 90; of 300 draws the bounds below fail once in 10 ** 5.
    assert abs(np.mean(sizes) - 100) < 4.5 * np.sqrt(90 / 300)
    assert 60 < np.var(sizes) < 125
    zero = [torch.zeros(2000)]
    assert torch.equal(noise_of(SECRET, 7, zero, deviation=2.0)[0], noise_of(SECRET, 7, zero, deviation=2.0)[0])
    assert not torch.equal(noise_of(SECRET, 7, zero, deviation=2.0)[0], noise_of(SECRET, 8, zero, deviation=2.0)[0])
    assert not torch.equal(noise_of(SECRET, 7, zero, deviation=2.0)[0], noise_of(b"x" * 32, 7, zero, deviation=2.0)[0])
    assert 1.8 < float(noise_of(SECRET, 7, zero, deviation=2.0)[0].std()) < 2.2


def _state(net: PixelNet, lr: float = 1.0) -> TrainState:
    recipe = Recipe(optimizer="sgd", lr=lr, weight_decay=0.0)
    return TrainState(net, build_optimiser(net, recipe), _loss, recipe)


def test_an_update_in_parts_is_the_update_of_the_whole_with_its_noise_once() -> None:
    pixels, targets = _batch(6)
    weights = []
    for cuts in ([0, 6], [0, 2, 6]):
        torch.manual_seed(0)
        net = _net(nn.Sequential(nn.Flatten(), nn.Linear(400, 3)))
        step, state = private_step(Clipping(0.5, 1.3, 8.0, SECRET)), _state(net)
        for a, b in itertools.pairwise(cuts):
            step(state, Batch(pixels[a:b], targets[a:b], opens=a == 0, closes=b == 6))
        weights.append(torch.cat([p.detach().flatten() for p in net.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-6, atol=1e-7)


def test_an_empty_sample_is_an_update_of_noise_alone_divided_by_the_expected_batch() -> None:
    net = _net(nn.Sequential(nn.Flatten(), nn.Linear(400, 3)))
    before = [p.detach().clone() for p in net.parameters()]
    pixels, targets = _batch(2)
    private_step(Clipping(0.5, 1.3, 8.0, SECRET))(_state(net), Batch(pixels[:0], targets[:0]))
    noise = noise_of(SECRET, 0, before, deviation=1.3 * 0.5)
    for was, now, added in zip(before, net.parameters(), noise, strict=True):
        torch.testing.assert_close(now.detach(), was - added / 8.0)


def test_batch_normalisation_becomes_group_normalisation() -> None:
    net = nn.Sequential(nn.Conv2d(3, 48, 3), nn.BatchNorm2d(48), nn.Sequential(nn.BatchNorm2d(7)))
    assert without_batch_norm(net) == 2
    assert isinstance(net[1], nn.GroupNorm)
    assert net[1].num_groups == 16
    assert net[2][0].num_groups == 1


def test_scattering_features_see_no_flat_image_and_move_little_when_an_image_moves() -> None:
    body = scatter_linear(3, channels=1, size_hw=(28, 28))
    assert isinstance(body, FeatureNet)
    flat = body.features.scattering(torch.full((1, 1, 28, 28), 0.7))  # type: ignore[operator, union-attr]
    assert float(flat[:, 1:].max()) < 1e-3
    assert float((flat[:, 0] - 0.7).abs().max()) < 1e-5
    rng = torch.Generator().manual_seed(0)
    image = torch.zeros(1, 1, 28, 28)
    image[..., 8:18, 8:18] = torch.rand(1, 1, 10, 10, generator=rng)
    moved = torch.roll(image, 1, 3)
    near = (body.features(image) - body.features(moved)).norm()  # type: ignore[operator]
    far = (image.flatten() / image.norm() - moved.flatten() / moved.norm()).norm()
    assert float(near) < 0.8 * float(far)
