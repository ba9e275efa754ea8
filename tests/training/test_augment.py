import numpy as np
import pytest
import torch

from eyewright.training.augment import Augmentation, augment_batch, plan_augmentation
from eyewright.training.recipe import Recipe


def batch(n: int = 16, side: int = 20) -> torch.Tensor:
    values = np.random.default_rng(0).integers(0, 256, (n, side, side, 3)).astype(np.uint8)
    return torch.from_numpy(values)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


PLANS = [
    Augmentation(),
    Augmentation(shift=0.1),
    Augmentation(flip=True),
    Augmentation(shift=0.1, flip=True),
    Augmentation(shift=0.1, flip=True, rotate_deg=10, zoom=0.1, light=0.2),
]


@pytest.mark.parametrize("plan", PLANS, ids=lambda p: p.describe())
def test_augmentation_keeps_shape_and_type_and_depends_on_its_generator_only(plan: Augmentation) -> None:
    pixels = batch()
    before = pixels.clone()
    found = augment_batch(pixels, plan, rng=rng())
    assert found.shape == pixels.shape
    assert found.dtype == torch.uint8
    assert torch.equal(pixels, before)
    assert torch.equal(found, augment_batch(pixels, plan, rng=rng()))
    assert torch.equal(found, pixels) == (plan == Augmentation())


def test_a_shift_moves_whole_pixels() -> None:
    pixels = batch(side=20)
    found = augment_batch(pixels, Augmentation(shift=0.1), rng=rng())
    middle = found[:, 8:12, 8:12]
    for one, image in zip(middle, pixels, strict=True):
        windows = [image[8 + dy : 12 + dy, 8 + dx : 12 + dx] for dy in range(-2, 3) for dx in range(-2, 3)]
        assert any(torch.equal(one, w) for w in windows)


def test_about_half_are_mirrored() -> None:
    pixels = batch(400, 8)
    found = augment_batch(pixels, Augmentation(flip=True), rng=rng())
    mirrored = [torch.equal(a, b.flip(1)) for a, b in zip(found, pixels, strict=True)]
    assert 150 < sum(mirrored) < 250
    assert all(m or torch.equal(a, b) for m, a, b in zip(mirrored, found, pixels, strict=True))


def test_a_resampled_batch_without_any_turn_is_the_batch() -> None:
    pixels = batch()
    found = augment_batch(pixels, Augmentation(rotate_deg=1e-9), rng=rng())
    assert (found.int() - pixels.int()).abs().max() <= 1


def test_grey_images_are_not_mirrored_unless_asked() -> None:
    assert not plan_augmentation(Recipe(), grey=True, n_train=100).flip
    assert plan_augmentation(Recipe(), grey=False, n_train=100).flip
    assert plan_augmentation(Recipe(flip="horizontal"), grey=True, n_train=100).flip
    assert not plan_augmentation(Recipe(flip="none"), grey=False, n_train=100).flip
    assert plan_augmentation(Recipe(augment="none"), grey=False, n_train=100) == Augmentation()
